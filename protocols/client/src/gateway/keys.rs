//! Keys that requests must show.

use std::path::Path;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::openai::OpenAiError;
use super::{Gateway, GatewayError, grpc};

/// Hashes of the keys; none where requests need none.
#[derive(Debug, Default)]
pub(super) struct ApiKeys(Option<Vec<[u8; 32]>>);

impl ApiKeys {
    /// From a file of keys, one a line. A file without any lets nobody in.
    pub(super) fn read(path: Option<&Path>) -> std::io::Result<Self> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let text = std::fs::read_to_string(path)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Ok(Self(Some(lines.map(hash).collect())))
    }

    fn admits(&self, shown: Option<&str>) -> bool {
        let Some(keys) = &self.0 else {
            return true;
        };
        let shown = shown
            .and_then(|value| value.strip_prefix("Bearer "))
            .map(hash);
        // All of them are compared, each in constant time: how long it takes tells nothing.
        shown.is_some_and(|shown| {
            let found = keys.iter().map(|key| key.ct_eq(&shown));
            bool::from(found.fold(subtle::Choice::from(0), |any, this| any | this))
        })
    }
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.trim().as_bytes()).into()
}

/// Lets requests pass that show a key, and questions for health.
pub(super) async fn check(
    State(gateway): State<Gateway>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let shown = request.headers().get(AUTHORIZATION);
    let shown = shown.and_then(|value| value.to_str().ok());
    let health = |path: &str| {
        let method = path.strip_prefix(grpc::SERVICE);
        path.starts_with("/v2/health/") || matches!(method, Some("ServerLive" | "ServerReady"))
    };
    if health(path) || gateway.keys.admits(shown) {
        return next.run(request).await;
    }
    let error = GatewayError::Unauthorised;
    match path {
        path if path.starts_with("/v1/") => OpenAiError::from(error).into_response(),
        path if path.starts_with(grpc::SERVICE) => grpc::status(&error).into_http(),
        _ => error.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_of_the_file_is_let_in() {
        assert!(ApiKeys::default().admits(None), "where none are needed");
        let dir = tempfile::tempdir().expect("there is room");
        let path = dir.path().join("keys");
        std::fs::write(&path, "one\n\n two \n").expect("there is room");
        let keys = ApiKeys::read(Some(&path)).expect("it is there");
        assert!(keys.admits(Some("Bearer one")) && keys.admits(Some("Bearer two")));
        for wrong in [
            None,
            Some("one"),
            Some("Bearer "),
            Some("Bearer three"),
            Some("Basic one"),
        ] {
            assert!(!keys.admits(wrong), "{wrong:?}");
        }
        std::fs::write(&path, "").expect("there is room");
        let none = ApiKeys::read(Some(&path)).expect("it is there");
        assert!(!none.admits(Some("Bearer ")));
        assert!(ApiKeys::read(Some(&dir.path().join("absent"))).is_err());
    }
}
