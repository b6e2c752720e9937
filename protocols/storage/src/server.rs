//! Serves an embedded store over HTTP, as a DeOSS gateway would.
//!
//! Everything is bounded: connections, uploads and downloads at a time, the size of heads and
//! bodies, the time for a head, between two pieces of a body, and for a request as a whole. An
//! upload or download that finds no slot is refused with "server busy" instead of waiting.

mod connection;
mod handlers;
mod resume;
#[cfg(test)]
mod tests;
mod transfer;
mod versions;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::handlers::App;
use crate::http::auth::Authorizer;
use crate::mutable::Versions;
use crate::store::AccountStore;
use crate::tally::{self, Requests};

/// How long the accept loop rests after an error: mostly there are no file descriptors left.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Limits of a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Connections at a time; more wait to be accepted.
    pub max_connections: usize,
    /// Uploads at a time; more are refused. Each takes up to a segment of memory (32 MiB).
    pub max_uploads: usize,
    /// Downloads at a time; more are refused. Each takes up to two fragments of memory (16 MiB).
    pub max_downloads: usize,
    /// How long an upload may take.
    pub upload_timeout: Duration,
    /// How long a connection may stand still: nothing sent, nothing received. So this is also the
    /// longest that handling a request may take once its body is there.
    pub idle_timeout: Duration,
    /// How long requests that are under way may take to end when the server shuts down.
    pub grace: Duration,
    /// Where its requests are counted.
    pub requests: Requests,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_connections: 256,
            max_uploads: 4,
            max_downloads: 32,
            upload_timeout: Duration::from_secs(3600),
            idle_timeout: Duration::from_secs(60),
            grace: Duration::from_secs(5),
            requests: Requests::default(),
        }
    }
}

/// Serves `store` on `listener` until `shutdown` ends; then requests that are under way may end
/// within the grace period.
pub async fn serve(
    store: impl AccountStore,
    authorizer: impl Authorizer,
    listener: TcpListener,
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send,
) {
    let router = App::new(store, authorizer, config.clone()).into_router();
    serve_router(router, listener, config, shutdown).await;
}

/// As [`serve`], with mutable objects whose versions are published in `versions`.
pub async fn serve_mutable(
    store: impl AccountStore,
    versions: Arc<dyn Versions>,
    authorizer: impl Authorizer,
    listener: TcpListener,
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send,
) {
    let app = App::new(store, authorizer, config.clone()).with_versions(versions);
    serve_router(app.into_router(), listener, config, shutdown).await;
}

/// As [`serve`], for any routes.
pub(crate) async fn serve_router(
    router: axum::Router,
    listener: TcpListener,
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send,
) {
    let requests = Arc::new(config.requests.clone());
    let router = router.layer(from_fn_with_state(requests, tally::count));
    let slots = Arc::new(Semaphore::new(config.max_connections));
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accept = async {
            // Wait for a slot first: who has none stays in the kernel's queue.
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept => accepted,
        };
        match accepted {
            (Ok(slot), Ok((stream, _))) => {
                let (router, stopping) = (router.clone(), stopping.clone());
                let idle = config.idle_timeout;
                connections.spawn(async move {
                    connection::serve(stream, router, idle, stopping).await;
                    drop(slot);
                });
            }
            (_, Err(error)) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_REST).await;
            }
            // The slots are never closed.
            (Err(_), _) => break,
        }
    }
    drop((listener, stop));
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(config.grace, ended).await.is_err() {
        tracing::warn!(left = connections.len(), "connections were cut at shutdown");
        connections.shutdown().await;
    }
}
