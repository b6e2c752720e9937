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
        let name = self
            .model
            .parse()
            .map_err(|_| GatewayError::Name(self.model.clone()))?;
        let version = match &self.version {
            None => None,
            Some(text) => {
                let number = text.parse().map_err(|_| GatewayError::Name(text.clone()))?;
                Some(ModelVersion(number))
            }
        };
        Ok((name, version))
    }
}

pub(super) async fn server() -> Json<Value> {
    Json(json!({
        "name": "ai-link",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "model_repository"],
    }))
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
    let model = gateway
        .client
        .model(&name, version)
        .await
        .map_err(GatewayError::Model)?;
    if model.levels == [Level::Sealed] {
        // What it takes is in its package, which only workers load.
        return Ok(Json(json!({
            "name": name.to_string(),
            "versions": [model.version.to_string()],
            "platform": "ailink_sealed",
            "inputs": [],
            "outputs": [],
            "parameters": { "level": "sealed", "levels": ["sealed"] },
        })));
    }
    // Inputs and outputs are those at the level that a request gets which asks for none.
    let resolved = gateway.client.resolve(&model, None);
    let (level, Signature { inputs, outputs }) = resolved.map_err(GatewayError::Infer)?;
    let mut parameters = json!({
        "level": level.to_string(),
        "levels": model.usable().iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    if let Some(offered) = &model.content.fhe {
        parameters["classes"] = json!(offered.labels());
    }
    Ok(Json(json!({
        "name": name.to_string(),
        "versions": [model.version.to_string()],
        "platform": format!("ailink_{level}"),
        "inputs": inputs,
        "outputs": outputs,
        "parameters": parameters,
    })))
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
