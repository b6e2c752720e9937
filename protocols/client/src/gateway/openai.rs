//! OpenAI's interface, for language models at levels `sealed` and `mpc`.
//!
//! ```text
//! GET  /v1/models[/{model}]        POST /v1/chat/completions     POST /v1/embeddings
//!                                  POST /v1/completions
//! ```
//!
//! A request is served at the level that `AI-Link-Level` asks for. Where it asks for none, a model that is offered for texts
//! at level `mpc` is used at it, and every other one at level `sealed`, which takes a worker that the configuration trusts.
//! At level `mpc` texts are cut into tokens in this process and no token leaves it ([`crate::text`]); conversations are
//! refused there, since templates run at the worker.
//!
//! Answers carry `AI-Link-Level`, and `AI-Link-Receipt`: the job's receipt, or those of all jobs that were done when the
//! answer began, with commas between. At level `mpc` an answer of text has `ai_link.receipts` at its end. A streamed answer ends with `[DONE]` only when
//! all of it came and its receipt is kept; one that breaks off ends with an error instead.

mod answer;
mod embeddings;
mod generation;
mod models;

use axum::Json;
use axum::Router;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::{Gateway, GatewayError, wish};
use crate::{Group, InferError};
use ai_link_wire::{JobId, Level, ModelName};

pub(super) fn routes() -> Router<Gateway> {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{model}", get(models::show))
        .route("/v1/chat/completions", post(generation::chat))
        .route("/v1/completions", post(generation::text))
        .route("/v1/embeddings", post(embeddings::embeddings))
}

/// An error in OpenAI's shape.
#[derive(Debug)]
pub(super) struct OpenAiError {
    status: StatusCode,
    message: String,
    param: Option<&'static str>,
}

impl OpenAiError {
    /// A request that cannot be served, because of one of its fields.
    fn field(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            param: Some(param),
        }
    }

    /// A request that cannot be read.
    fn invalid(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            param: None,
        }
    }

    fn kind(&self) -> (&'static str, Option<&'static str>) {
        match self.status {
            StatusCode::UNAUTHORIZED => ("authentication_error", Some("invalid_api_key")),
            StatusCode::FORBIDDEN => ("permission_error", None),
            StatusCode::NOT_FOUND => ("invalid_request_error", Some("model_not_found")),
            StatusCode::TOO_MANY_REQUESTS => ("rate_limit_error", Some("rate_limit_exceeded")),
            status if status.is_client_error() => ("invalid_request_error", None),
            _ => ("server_error", None),
        }
    }

    /// The error alone, as a streamed answer ends with it.
    fn body(&self) -> Value {
        let (kind, code) = self.kind();
        json!({"error": {
            "message": self.message,
            "type": kind,
            "param": self.param,
            "code": code,
        }})
    }
}

impl From<GatewayError> for OpenAiError {
    fn from(error: GatewayError) -> Self {
        Self {
            status: error.status(),
            message: super::errors::chain(&error),
            param: None,
        }
    }
}

impl From<InferError> for OpenAiError {
    fn from(error: InferError) -> Self {
        GatewayError::Infer(error).into()
    }
}

impl IntoResponse for OpenAiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(status = %self.status, error = self.message, "request failed");
        }
        let mut response = (self.status, Json(self.body())).into_response();
        let later = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        if later.contains(&self.status) {
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// What every answer says of its jobs.
fn marks(headers: &mut HeaderMap, level: Level, jobs: &[JobId]) {
    if let Ok(level) = HeaderValue::from_str(&level.to_string()) {
        headers.insert("ai-link-level", level);
    }
    let names: Vec<String> = jobs.iter().map(ToString::to_string).collect();
    if let Ok(names) = HeaderValue::from_str(&names.join(",")) {
        headers.insert("ai-link-receipt", names);
    }
    let first = names.first().map(|name| HeaderValue::from_str(name));
    if let Some(Ok(first)) = first {
        headers.insert("x-request-id", first);
    }
}

/// The level at which a model serves texts.
async fn level(gateway: &Gateway, headers: &HeaderMap, model: &str) -> Result<Served, OpenAiError> {
    let name: ModelName = model
        .parse()
        .map_err(|_| GatewayError::Name(model.to_owned()))?;
    let asked = wish::level_of_headers(headers)?;
    let configured = gateway.client.group();
    let at = |level| {
        let group = wish::group_of_headers(headers, Some(level), configured)?;
        let name = name.clone();
        Ok(Served { level, group, name })
    };
    match asked {
        Some(Level::Fhe) => Err(OpenAiError::invalid(
            "no language model is served at level fhe",
        )),
        Some(level) => at(level),
        None => {
            let found = gateway.client.model(&name, None).await;
            let found = found.map_err(GatewayError::Model)?;
            let shared = found.content.text.is_some() && found.usable().contains(&Level::Mpc);
            at(if shared { Level::Mpc } else { Level::Sealed })
        }
    }
}

/// How a request for text or vectors is served.
struct Served {
    level: Level,
    group: Group,
    name: ModelName,
}
