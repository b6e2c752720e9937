//! Health and metadata.

use ai_link_program::Signature;
use ai_link_wire::{Level, ModelName, ModelVersion};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Gateway, GatewayError};

/// What the path names.
#[derive(Debug, Deserialize)]
pub(super) struct ModelPath {
    model: String,
    version: Option<String>,
}

impl ModelPath {
    pub(super) fn parse(&self) -> Result<(ModelName, Option<ModelVersion>), GatewayError> {
        named(&self.model, self.version.as_deref())
    }
}

/// A model and, if it is named, its version.
pub(super) fn named(
    model: &str,
    version: Option<&str>,
) -> Result<(ModelName, Option<ModelVersion>), GatewayError> {
    let unreadable = |text: &str| GatewayError::Name(text.to_owned());
    let name = model.parse().map_err(|_| unreadable(model))?;
    let number = |text: &str| text.parse().map_err(|_| unreadable(text));
    Ok((name, version.map(number).transpose()?.map(ModelVersion)))
}

/// What this server calls itself.
pub(super) const NAME: &str = "ai-link";
/// Its version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Extensions of the protocol that it has.
pub(super) const EXTENSIONS: [&str; 2] = ["binary_tensor_data", "model_repository"];

pub(super) async fn server() -> Json<Value> {
    Json(json!({ "name": NAME, "version": VERSION, "extensions": EXTENSIONS }))
}

pub(super) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// Ready when the chain answers: without it no model can be looked up.
pub(super) async fn ready(State(gateway): State<Gateway>) -> Result<Json<Value>, StatusCode> {
    match gateway.client.models().await {
        Ok(_) => Ok(Json(json!({ "ready": true }))),
        Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// Models on the chain (Triton's repository extension).
pub(super) async fn index(State(gateway): State<Gateway>) -> Result<Json<Value>, StatusCode> {
    let names = gateway
        .client
        .models()
        .await
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let models: Vec<Value> = names
        .iter()
        .map(|n| json!({ "name": n.to_string(), "state": "READY" }))
        .collect();
    Ok(Json(Value::Array(models)))
}

pub(super) async fn model(
    State(gateway): State<Gateway>,
    Path(path): Path<ModelPath>,
) -> Result<Json<Value>, GatewayError> {
    let (name, version) = path.parse()?;
    let described = describe(&gateway, &name, version).await?;
    Ok(Json(json!({
        "name": name.to_string(),
        "versions": [described.version.to_string()],
        "platform": described.platform(),
        "inputs": described.signature.inputs,
        "outputs": described.signature.outputs,
        "parameters": described.parameters(),
    })))
}

/// What is said of a model.
pub(super) struct Described {
    pub(super) version: ModelVersion,
    /// The level that a request gets which asks for none.
    level: Level,
    levels: Vec<Level>,
    /// Inputs and outputs at that level.
    pub(super) signature: Signature,
    classes: Option<Value>,
}

pub(super) async fn describe(
    gateway: &Gateway,
    name: &ModelName,
    version: Option<ModelVersion>,
) -> Result<Described, GatewayError> {
    let model = gateway
        .client
        .model(name, version)
        .await
        .map_err(GatewayError::Model)?;
    let sealed = model.levels == [Level::Sealed];
    let (level, signature) = match sealed {
        // What it takes is in its package, which only workers load.
        true => (
            Level::Sealed,
            Signature {
                inputs: Vec::new(),
                outputs: Vec::new(),
            },
        ),
        false => gateway
            .client
            .resolve(&model, None)
            .map_err(GatewayError::Infer)?,
    };
    Ok(Described {
        version: model.version,
        level,
        levels: model.usable(),
        signature,
        classes: model.content.fhe.as_ref().map(|o| json!(o.labels())),
    })
}

impl Described {
    pub(super) fn platform(&self) -> String {
        format!("ailink_{}", self.level)
    }

    fn parameters(&self) -> Value {
        let levels: Vec<_> = self.levels.iter().map(ToString::to_string).collect();
        let mut parameters = json!({ "level": self.level.to_string(), "levels": levels });
        if let Some(classes) = &self.classes {
            parameters["classes"] = classes.clone();
        }
        parameters
    }
}

pub(super) async fn model_ready(
    State(gateway): State<Gateway>,
    Path(path): Path<ModelPath>,
) -> Result<Json<Value>, GatewayError> {
    let (name, version) = path.parse()?;
    gateway
        .client
        .model(&name, version)
        .await
        .map_err(GatewayError::Model)?;
    Ok(Json(json!({ "name": name.to_string(), "ready": true })))
}
