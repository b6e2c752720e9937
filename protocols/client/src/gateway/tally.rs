//! What a gateway counts, for its operator's metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_link_observe::{Gauges, Metrics, Timings, Triple, label};
use ai_link_wire::Level;
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

use super::Gateway;
use super::grpc::SERVICE;

label! {
    /// What was asked.
    pub(super) enum Route: "route" {
        /// An inference by the Open Inference Protocol.
        Infer = "infer",
        /// A chat.
        Chat = "chat",
        /// A completion of a text.
        Completion = "completion",
        /// Vectors.
        Embeddings = "embeddings",
        /// What a model is, or which there are.
        Metadata = "metadata",
        /// Whether the gateway is there.
        Health = "health",
        /// How far a request is.
        Progress = "progress",
        /// Something that there is not.
        Unknown = "unknown",
    }
}

label! {
    /// Why a request was not answered.
    pub(super) enum Failed: "reason" {
        /// The request does not make sense.
        Invalid = "invalid",
        /// No key, or a wrong one.
        Unauthorised = "unauthorised",
        /// The model's terms, or the gateway's own, do not permit it.
        Forbidden = "forbidden",
        /// There is no such thing.
        NotFound = "not_found",
        /// Too long.
        TooLarge = "too_large",
        /// Too many at once.
        Busy = "busy",
        /// The network did not do what was asked.
        Network = "network",
        /// It took too long.
        Late = "late",
        /// The application closed the connection.
        Cancelled = "cancelled",
        /// The gateway failed.
        Internal = "internal",
    }
}

/// The counters.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    requests: Triple<Route, Failed>,
    answers: Timings<Level>,
}

impl Tally {
    /// Counts an inference that succeeded.
    pub(super) fn answered(&self, level: Level, taken: Duration) {
        self.answers.observe(level, taken);
    }

    pub(super) fn metrics(&self, gateway: &Gateway) -> Metrics {
        let metrics = Metrics::new("gateway", env!("CARGO_PKG_VERSION"));
        metrics.triple("gateway_requests", "Requests", &self.requests);
        metrics.timings(
            "gateway_answer",
            "From a request to its answer, or the beginning of one that is streamed, of inferences that succeeded",
            &self.answers,
        );
        let active = Gauges::<()>::default();
        metrics.gauges("gateway_active_inferences", "Inferences that run", &active);
        let (permits, all) = (Arc::clone(&gateway.permits), gateway.concurrency);
        metrics.before_reading(move || {
            let running = all.saturating_sub(permits.available_permits());
            active.set((), running as u64);
        });
        metrics
    }
}

impl Route {
    fn of(path: Option<&MatchedPath>) -> Self {
        let Some(path) = path.map(MatchedPath::as_str) else {
            return Self::Unknown;
        };
        match path {
            "/v1/chat/completions" => Self::Chat,
            "/v1/completions" => Self::Completion,
            "/v1/embeddings" => Self::Embeddings,
            _ if path.starts_with("/v2/health/") => Self::Health,
            _ if path.starts_with(SERVICE) => match &path[SERVICE.len()..] {
                "ModelInfer" => Self::Infer,
                "ServerLive" | "ServerReady" => Self::Health,
                "{method}" => Self::Unknown,
                _ => Self::Metadata,
            },
            _ if path.starts_with("/v2/progress/") => Self::Progress,
            _ if path.ends_with("/infer") => Self::Infer,
            _ => Self::Metadata,
        }
    }
}

impl Failed {
    /// Of gRPC, whose failures are told beside HTTP's status (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
    fn of_call(code: &[u8]) -> Option<Self> {
        Some(match code {
            b"0" => return None,
            b"1" => Self::Cancelled,
            b"3" | b"9" | b"11" | b"12" => Self::Invalid,
            b"4" => Self::Late,
            b"5" => Self::NotFound,
            b"7" => Self::Forbidden,
            b"8" => Self::Busy,
            b"14" => Self::Network,
            b"16" => Self::Unauthorised,
            _ => Self::Internal,
        })
    }

    fn of(status: StatusCode) -> Option<Self> {
        Some(match status {
            _ if !status.is_client_error() && !status.is_server_error() => return None,
            StatusCode::UNAUTHORIZED => Self::Unauthorised,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND | StatusCode::GONE => Self::NotFound,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            StatusCode::TOO_MANY_REQUESTS => Self::Busy,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Self::Network,
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => Self::Late,
            _ if status.is_client_error() => Self::Invalid,
            _ => Self::Internal,
        })
    }
}

/// Counts how it ended when it is dropped: also when the connection is closed in the middle.
struct Counting {
    tally: Tally,
    route: Route,
    outcome: Result<(), Failed>,
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.tally.requests.end(self.route, self.outcome);
    }
}

/// Counts a request.
pub(super) async fn count(
    State(gateway): State<Gateway>,
    request: Request,
    next: Next,
) -> Response {
    let route = Route::of(request.extensions().get());
    let tally = gateway.tally;
    tally.requests.attempt(route);
    let mut counting = Counting {
        tally,
        route,
        outcome: Err(Failed::Cancelled),
    };
    let started = Instant::now();
    let response = next.run(request).await;
    // A call that fails has its status among the headers; one that succeeds, behind its answer.
    let call = response.headers().get("grpc-status");
    let failed = match call {
        Some(code) => Failed::of_call(code.as_bytes()),
        None => Failed::of(response.status()),
    };
    counting.outcome = failed.map_or(Ok(()), Err);
    // What the other interfaces count themselves, OpenAI's answers tell in a header.
    let told = response.headers().get("ai-link-level");
    let level = told.and_then(|told| told.to_str().ok()?.parse().ok());
    if let (Ok(()), Some(level)) = (counting.outcome, level) {
        counting.tally.answers.observe(level, started.elapsed());
    }
    response
}
