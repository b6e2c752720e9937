//! OpenAI's interface, for models at level `sealed`.
//!
//! ```text
//! GET  /v1/models[/{model}]        POST /v1/chat/completions     POST /v1/embeddings
//!                                  POST /v1/completions
//! ```
//!
//! Answers carry `AI-Link-Receipt`, the job's receipt, and `AI-Link-Level`. A streamed answer ends with `[DONE]` only when
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

use super::{Gateway, GatewayError};
use crate::InferError;

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

/// What every answer says of its job.
fn marks(headers: &mut HeaderMap, job: ai_link_wire::JobId) {
    headers.insert("ai-link-level", HeaderValue::from_static("sealed"));
    if let Ok(job) = HeaderValue::from_str(&job.to_string()) {
        headers.insert("ai-link-receipt", job.clone());
        headers.insert("x-request-id", job);
    }
}
