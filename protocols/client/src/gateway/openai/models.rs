//! Models that can be used here.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::super::{Gateway, GatewayError};
use super::OpenAiError;
use crate::{InferError, LevelProblem};
use ai_link_wire::{Level, ModelName};

pub(super) async fn list(State(gateway): State<Gateway>) -> Result<Json<Value>, OpenAiError> {
    let names = gateway.client.sealed_models().await;
    let names = names.map_err(|e| OpenAiError::from(InferError::Chain(e)))?;
    let models: Vec<Value> = names.iter().map(|name| entry(name, "ai-link")).collect();
    Ok(Json(json!({"object": "list", "data": models})))
}

pub(super) async fn show(
    State(gateway): State<Gateway>,
    Path(name): Path<String>,
) -> Result<Json<Value>, OpenAiError> {
    let parsed: ModelName = name.parse().map_err(|_| GatewayError::Name(name))?;
    let model = gateway.client.model(&parsed, None).await;
    let model = model.map_err(GatewayError::Model)?;
    let shared = model.content.text.is_some() && model.levels.contains(&Level::Mpc);
    if !shared && !model.levels.contains(&Level::Sealed) {
        let (asked, offered) = (Level::Sealed, model.levels);
        return Err(InferError::Level(LevelProblem::NotOffered { asked, offered }).into());
    }
    Ok(Json(entry(&parsed, &model.owner.to_string())))
}

fn entry(name: &ModelName, owner: &str) -> Value {
    json!({"id": name.to_string(), "object": "model", "created": 0, "owned_by": owner})
}
