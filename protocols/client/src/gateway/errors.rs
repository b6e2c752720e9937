//! Errors in the protocol's own shape: `{"error": "text"}` with an HTTP status.

use std::error::Error;

use ai_link_text::{SampleError, TextError};
use ai_link_wire::Refusal;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::oip::RequestError;
use crate::{AttemptError, InferError, ModelError};

/// What the gateway answers instead of a result.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The body is larger than configured.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// `body_bytes` in the configuration.
        limit: usize,
    },
    /// Parts of a group that the level does not have.
    #[error("at this level there is one worker and nobody deals: leave out {name}")]
    NoGroup {
        /// What was asked for.
        name: &'static str,
    },
    /// A header and a parameter that say different things.
    #[error("header and parameter {name} contradict each other; send one")]
    Contradiction {
        /// The header's name.
        name: &'static str,
    },
    /// An answer that JSON cannot carry.
    #[error("the answer holds a value that JSON has no form for; ask for binary data")]
    Encode(#[source] serde_json::Error),
    /// The evaluation.
    #[error("the inference failed")]
    Infer(#[source] InferError),
    /// A header that cannot be read.
    #[error("the header {name} is not valid")]
    Header {
        /// Its name.
        name: &'static str,
    },
    /// The model.
    #[error("the model cannot be used")]
    Model(#[source] ModelError),
    /// A name or version that cannot be one.
    #[error("`{0}` is not a model name or version")]
    Name(String),
    /// The inputs do not fit the model.
    #[error("the model has no input `{name}`; it has {known}")]
    NoSuchInput {
        /// As sent.
        name: String,
        /// The model's.
        known: String,
    },
    /// An input that was not sent.
    #[error("input `{name}` is missing")]
    MissingInput {
        /// The model's.
        name: String,
    },
    /// A shape with a size below zero, which gRPC can carry.
    #[error("input `{name}` has shape {found:?}; no size is below zero")]
    NegativeSize {
        /// The input.
        name: String,
        /// As sent.
        found: Vec<i64>,
    },
    /// An output that the model does not have.
    #[error("the model has no output `{name}`")]
    NoSuchOutput {
        /// As asked.
        name: String,
    },
    /// A shape that is not the model's.
    #[error("input `{name}` has shape {found:?}; the model takes {wanted:?} (-1: records)")]
    Shape {
        /// The input.
        name: String,
        /// As sent.
        found: Vec<usize>,
        /// The model's.
        wanted: Vec<i64>,
    },
    /// The request contradicts the protocol.
    #[error("the request is not valid")]
    Request(#[source] RequestError),
    /// No key, or none that is known.
    #[error("the request shows no key that is known here; send `Authorization: Bearer` and one")]
    Unauthorised,
    /// Too many at once.
    #[error("{limit} requests are being worked on; try again in a moment")]
    Busy {
        /// `concurrency` in the configuration.
        limit: usize,
    },
}

impl GatewayError {
    /// Whose fault it is decides the status: 4xx the application's, 502 and 503 the network's.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthorised => StatusCode::UNAUTHORIZED,
            Self::Encode(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Contradiction { .. }
            | Self::Header { .. }
            | Self::MissingInput { .. }
            | Self::Name(_)
            | Self::NegativeSize { .. }
            | Self::NoGroup { .. }
            | Self::NoSuchInput { .. }
            | Self::NoSuchOutput { .. }
            | Self::Request(_)
            | Self::Shape { .. } => StatusCode::BAD_REQUEST,
            Self::Model(error) | Self::Infer(InferError::Model(error)) => model(error),
            Self::Infer(error) => infer(error),
        }
    }
}

fn model(error: &ModelError) -> StatusCode {
    match error {
        ModelError::Unknown { .. } | ModelError::UnknownVersion { .. } => StatusCode::NOT_FOUND,
        ModelError::Chain(_) | ModelError::Fetch { .. } => StatusCode::SERVICE_UNAVAILABLE,
        ModelError::Bundle { .. }
        | ModelError::Commitment { .. }
        | ModelError::Offer { .. }
        | ModelError::Package { .. }
        | ModelError::Text { .. }
        | ModelError::TooLarge { .. } => StatusCode::BAD_GATEWAY,
    }
}

fn infer(error: &InferError) -> StatusCode {
    match error {
        InferError::Attempt(AttemptError::Fhe(failure)) if failure.is_the_inputs() => {
            StatusCode::BAD_REQUEST
        }
        InferError::Attempt(AttemptError::Sealed(failure)) if failure.is_the_inputs() => {
            StatusCode::BAD_REQUEST
        }
        InferError::Attempt(AttemptError::Sealed(failure)) if failure.is_busy() => {
            StatusCode::TOO_MANY_REQUESTS
        }
        InferError::NobodyTrusted | InferError::Refused(Refusal::NotLicensed { .. }) => {
            StatusCode::FORBIDDEN
        }
        InferError::Refused(Refusal::Yanked { .. }) => StatusCode::GONE,
        InferError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        InferError::Text(TextError::Fits { .. } | TextError::Sample(SampleError::NotANumber)) => {
            StatusCode::BAD_GATEWAY
        }
        InferError::Attempt(AttemptError::Input(_))
        | InferError::Batch { .. }
        | InferError::BatchRange { .. }
        | InferError::InputCount { .. }
        | InferError::InputShape { .. }
        | InferError::Level(_)
        | InferError::NoSuchGroup { .. }
        | InferError::NotFinite { .. }
        | InferError::NoText { .. }
        | InferError::Text(_)
        | InferError::Stored(_)
        | InferError::WeakerGroup { .. } => StatusCode::BAD_REQUEST,
        InferError::Refused(Refusal::InsufficientEscrow { .. } | Refusal::PriceTooHigh { .. }) => {
            StatusCode::PAYMENT_REQUIRED
        }
        InferError::Keep(_) | InferError::Key(_) | InferError::Sign(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        // No worker will do, and none that does is on its way.
        InferError::NoMatch { .. } if !error.may_pass() => StatusCode::CONFLICT,
        InferError::Deadline => StatusCode::GATEWAY_TIMEOUT,
        InferError::Attempt(_)
        | InferError::Protocol
        | InferError::Receipt(_)
        | InferError::Ticket(_) => StatusCode::BAD_GATEWAY,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl IntoResponse for GatewayError {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::warn!(%status, error = chain(&self), "request failed");
        }
        let mut response = (status, Json(json!({ "error": chain(&self) }))).into_response();
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The whole chain of causes, once, here at the edge.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
