//! Errors as gRPC has them: the text that REST sends, and a code instead of the HTTP status.

use axum::http::StatusCode;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::gateway::GatewayError;
use crate::gateway::errors::chain;

/// The same error.
pub(in crate::gateway) fn status(error: &GatewayError) -> Status {
    let http = error.status();
    let mut status = Status::new(code(http), chain(error));
    if http.is_server_error() {
        tracing::warn!(code = ?status.code(), error = chain(error), "request failed");
    }
    if matches!(
        http,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        let again = MetadataValue::from_static("1");
        status.metadata_mut().insert("retry-after", again);
    }
    status
}

fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        // What has to change is not the request: money, a model that was withdrawn, the workers that there are.
        StatusCode::PAYMENT_REQUIRED | StatusCode::GONE | StatusCode::CONFLICT => {
            Code::FailedPrecondition
        }
        StatusCode::PAYLOAD_TOO_LARGE => Code::OutOfRange,
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        status if status.is_client_error() => Code::InvalidArgument,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_text_of_rest_and_a_code_of_its_kind() {
        let busy = status(&GatewayError::Busy { limit: 3 });
        assert_eq!(busy.code(), Code::ResourceExhausted);
        assert!(busy.message().starts_with("3 requests are being worked on"));
        let again = busy.metadata().get("retry-after");
        assert_eq!(again.and_then(|v| v.to_str().ok()), Some("1"));

        let refused = status(&GatewayError::Unauthorised);
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert!(refused.metadata().get("retry-after").is_none());
        let name = status(&GatewayError::Name("a b".into()));
        assert_eq!(name.code(), Code::InvalidArgument);
        assert_eq!(name.message(), "`a b` is not a model name or version");
    }
}
