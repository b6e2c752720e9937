//! The gateway: plain HTTP on the application's own machine, masks outwards.
//!
//! Open Inference Protocol v2 (KServe, Triton): health, metadata, inference, with JSON and with the binary
//! tensor extension, so that existing clients work unchanged:
//!
//! ```text
//! GET  /v2                                      GET  /v2/models/{model}[/versions/{version}]
//! GET  /v2/health/live                          GET  /v2/models/{model}[/versions/{version}]/ready
//! GET  /v2/health/ready                         POST /v2/models/{model}[/versions/{version}]/infer
//! POST /v2/repository/index                     GET  /v2/progress/{id}
//! ```
//!
//! An input may have the parameter `permit` in the place of data: then the workers bring it from storage, and the
//! gateway never sees it ([`stored`](crate::stored)).
//! The same protocol over gRPC is on the same port (`grpc`). OpenAI's interface, for models at level `sealed`, is in `openai`. With `api_keys`, requests must show a key (`keys`).
//!
//! A request may ask for a stronger level or group than is configured (`level`, `dealer`, `evaluators`, see `wish`), not
//! for a weaker one. The answer's `parameters` name what was paid for: `level`, `dealer`, `evaluators`, `receipt`,
//! `attempts`, `price`, and bytes. While a request with an `id` is worked on at level `fhe`, `progress` tells how far it
//! is; an application that closes its connection has cancelled it.

mod errors;
mod grpc;
mod infer;
mod keys;
mod metadata;
pub mod oip;
mod openai;
mod progress;
mod tally;
mod wish;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use errors::GatewayError;

use crate::{Client, GatewayConfig, StartError};

/// After the signal to stop, requests in flight may take this long.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// What the handlers share.
#[derive(Clone, Debug)]
struct Gateway {
    client: Client,
    /// One permit a request: an application that sends more is told to wait, not queued without bound.
    permits: Arc<Semaphore>,
    concurrency: usize,
    body_bytes: usize,
    keys: Arc<keys::ApiKeys>,
    /// Requests that are being worked on, by id.
    progress: progress::Board,
    tally: tally::Tally,
}

impl Gateway {
    /// The right to be worked on.
    fn permit(&self) -> Result<SemaphorePermit<'_>, GatewayError> {
        let limit = self.concurrency;
        self.permits
            .try_acquire()
            .map_err(|_| GatewayError::Busy { limit })
    }
}

/// Serves until `shutdown` resolves. `ready` is told the bound address.
/// Where and who a gateway is, once it serves.
#[derive(Clone, Copy, Debug)]
pub struct Serving {
    /// Where it serves HTTP.
    pub address: SocketAddr,
    /// The application's account.
    pub account: ai_link_wire::AccountId,
    /// Where its metrics are, if they are served.
    pub metrics: Option<SocketAddr>,
}

/// Serves until `shutdown` resolves. `ready` is told where.
///
/// # Errors
/// [`ServeError`].
pub async fn run(
    config: GatewayConfig,
    ready: impl FnOnce(Serving),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let client = Client::start(config.client)
        .await
        .map_err(ServeError::Client)?;
    let bind = |source| ServeError::Bind {
        address: config.listen,
        source,
    };
    let keys = keys::ApiKeys::read(config.api_keys.as_deref());
    let keys = keys.map_err(|source| ServeError::Keys {
        path: config.api_keys.clone().unwrap_or_default(),
        source,
    })?;
    let listener = TcpListener::bind(config.listen).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let account = client.account();
    let gateway = Gateway {
        client,
        permits: Arc::new(Semaphore::new(config.concurrency)),
        concurrency: config.concurrency,
        body_bytes: config.body_bytes,
        keys: Arc::new(keys),
        progress: progress::Board::default(),
        tally: tally::Tally::default(),
    };
    let metrics = gateway.tally.metrics(&gateway);
    let served = ai_link_observe::serve("metrics", config.metrics, metrics);
    let served = served.await.map_err(ServeError::Observe)?;
    ready(Serving {
        address,
        account,
        metrics: served.as_ref().map(ai_link_observe::Served::address),
    });
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let serving = axum::serve(listener, router(gateway)).with_graceful_shutdown(async move {
        shutdown.await;
        let _ = stopping.send(());
    });
    tokio::select! {
        served = async { serving.await } => served.map_err(ServeError::Serve),
        () = async {
            // Ends only after the signal; without it, serving decides.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(DRAIN_WITHIN).await;
        } => Ok(()),
    }
}

fn router(gateway: Gateway) -> Router {
    let model = |path: &str| format!("/v2/models/{{model}}{path}");
    let versioned = |path: &str| format!("/v2/models/{{model}}/versions/{{version}}{path}");
    let limit = DefaultBodyLimit::max(gateway.body_bytes);
    Router::new()
        .route("/v2", get(metadata::server))
        .route("/v2/", get(metadata::server))
        .route("/v2/health/live", get(metadata::live))
        .route("/v2/health/ready", get(metadata::ready))
        .route("/v2/repository/index", post(metadata::index))
        .route("/v2/progress/{id}", get(progress::progress))
        .route(&model(""), get(metadata::model))
        .route(&model("/ready"), get(metadata::model_ready))
        .route(&model("/infer"), post(infer::infer))
        .route(&versioned(""), get(metadata::model))
        .route(&versioned("/ready"), get(metadata::model_ready))
        .route(&versioned("/infer"), post(infer::infer))
        .merge(grpc::routes())
        .merge(openai::routes())
        .layer(limit)
        .layer(from_fn_with_state(gateway.clone(), keys::check))
        // Outermost: what is refused for its key counts too.
        .layer(from_fn_with_state(gateway.clone(), tally::count))
        .with_state(gateway)
}

/// Why the gateway stopped or did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}; choose another address with `listen`")]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The SDK did not start.
    #[error("cannot join the network")]
    Client(#[source] StartError),
    /// The file of keys.
    #[error("cannot read the keys in {path}", path = .path.display())]
    Keys {
        /// As configured.
        path: std::path::PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Metrics cannot be served.
    #[error("what the operator is to see cannot be served")]
    Observe(#[source] ai_link_observe::ServeError),
    /// The server failed.
    #[error("the HTTP server failed")]
    Serve(#[source] std::io::Error),
}
