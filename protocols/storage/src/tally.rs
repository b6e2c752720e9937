//! What storage processes count, for their operators' metrics.

use std::sync::Arc;
use std::time::Instant;

use ai_link_observe::{Gauges, Metrics, Timings, Triple, label};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

label! {
    /// What was asked.
    pub(crate) enum Operation: "operation" {
        /// Store an object, or a fragment of one.
        Put = "put",
        /// Read one, or a part.
        Get = "get",
        /// Say what and where it is.
        Describe = "describe",
        /// Remove one.
        Delete = "delete",
        /// Versions of objects that change.
        Version = "version",
        /// Prove to have a fragment.
        Prove = "prove",
        /// Make or take a fragment's tags.
        Tag = "tag",
        /// Something that there is not.
        Unknown = "unknown",
    }
}

label! {
    /// Why a request was not answered.
    pub(crate) enum Failed: "reason" {
        /// It makes no sense.
        Invalid = "invalid",
        /// Not signed, or by somebody who may not.
        Forbidden = "forbidden",
        /// There is no such thing.
        NotFound = "not_found",
        /// Too long, or no room.
        TooLarge = "too_large",
        /// Too many at once.
        Busy = "busy",
        /// Whoever asked went away.
        Cancelled = "cancelled",
        /// The process, its disk or its nodes failed.
        Internal = "internal",
    }
}

label! {
    /// Why a node is not known to have a fragment.
    pub(crate) enum Unproven: "reason" {
        /// It did not answer in time, or what it answered is no proof.
        Failed = "failed",
    }
}

/// Requests of a server.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    requests: Triple<Operation, Failed>,
    latency: Timings<Operation>,
}

impl Requests {
    /// Has them served.
    pub(crate) fn register(&self, metrics: &Metrics) {
        metrics.triple("storage_requests", "Requests", &self.requests);
        metrics.timings(
            "storage_request",
            "From a request to its answer, or the beginning of one that is streamed, of requests that succeeded",
            &self.latency,
        );
    }
}

/// Challenges to nodes.
pub(crate) type Proofs = Triple<(), Unproven>;

/// What a store has on disk and what it may take, looked at when it is asked for.
pub(crate) fn space(metrics: &Metrics, limit: u64, occupied: impl Fn() -> u64 + Send + 'static) {
    let (used, most) = (Gauges::<()>::default(), Gauges::<()>::default());
    metrics.gauges("storage_occupied_bytes", "Fragments on disk", &used);
    metrics.gauges("storage_capacity_bytes", "What fragments may take", &most);
    most.set((), limit);
    metrics.before_reading(move || used.set((), occupied()));
}

impl Operation {
    fn of(method: &Method, path: Option<&MatchedPath>) -> Self {
        let Some(path) = path.map(MatchedPath::as_str) else {
            return Self::Unknown;
        };
        match path {
            "/fragment/proof" => Self::Prove,
            "/fragment/tags" | "/tag" => Self::Tag,
            _ if path.starts_with("/mutable/") => Self::Version,
            _ if method == Method::DELETE => Self::Delete,
            _ if method == Method::PUT || path.starts_with("/upload/") => Self::Put,
            "/fragment" | "/fragment/download" => Self::Get,
            _ if path.starts_with("/file/download/") || path.starts_with("/file/open/") => {
                Self::Get
            }
            _ => Self::Describe,
        }
    }
}

impl Failed {
    fn of(status: StatusCode) -> Option<Self> {
        Some(match status {
            _ if !status.is_client_error() && !status.is_server_error() => return None,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::INSUFFICIENT_STORAGE => Self::TooLarge,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Self::Busy,
            _ if status.is_client_error() => Self::Invalid,
            _ => Self::Internal,
        })
    }
}

/// Counts how it ended when it is dropped: also when the connection is closed in the middle.
struct Counting {
    requests: Requests,
    operation: Operation,
    outcome: Result<(), Failed>,
}

impl Drop for Counting {
    fn drop(&mut self) {
        let ended = &self.requests.requests;
        ended.end(self.operation, self.outcome);
    }
}

/// Counts a request.
pub(crate) async fn count(
    State(requests): State<Arc<Requests>>,
    request: Request,
    next: Next,
) -> Response {
    let operation = Operation::of(request.method(), request.extensions().get());
    requests.requests.attempt(operation);
    let mut counting = Counting {
        requests: Requests::clone(&requests),
        operation,
        outcome: Err(Failed::Cancelled),
    };
    let started = Instant::now();
    let response = next.run(request).await;
    counting.outcome = Failed::of(response.status()).map_or(Ok(()), Err);
    if counting.outcome.is_ok() {
        requests.latency.observe(operation, started.elapsed());
    }
    response
}
