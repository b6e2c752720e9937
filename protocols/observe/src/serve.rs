//! Serves pages to this machine over HTTP.
//!
//! Everything is bounded: connections, their time, the time for a head. Requests with bodies are not read. Pages are for
//! GET and HEAD; a `Host` that is no name of loopback is refused, so that no page of a stranger, opened in the operator's
//! browser, reads them by pointing a name of its own here (DNS rebinding).

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{Loopback, Metrics};

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 16;
/// How long one may stay.
const CONNECTION_WITHIN: Duration = Duration::from_secs(300);
/// How long a request's head may take.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long the accept loop rests after an error: mostly there are no file descriptors left.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// With every page: nothing from elsewhere, no frames, nothing kept.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Pages by their paths.
pub trait Pages: Clone + Send + Sync + 'static {
    /// What is at `path`, if anything is.
    fn get(&self, path: &str) -> impl Future<Output = Option<Page>> + Send;
}

/// What is at a path.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its type.
    pub kind: &'static str,
    /// The page; `Err`: it cannot be made now, for this reason.
    pub body: Result<String, String>,
}

impl Pages for Metrics {
    async fn get(&self, path: &str) -> Option<Page> {
        if path != "/metrics" {
            return None;
        }
        // Looking may wait for a lock that is held while a disk writes.
        let metrics = self.clone();
        let reading = tokio::task::spawn_blocking(move || metrics.exposition()).await;
        Some(Page {
            kind: "application/openmetrics-text; version=1.0.0; charset=utf-8",
            body: reading.map_err(|_| "the metrics cannot be read; see the log\n".to_owned()),
        })
    }
}

/// Pages that are being served, until this is dropped.
#[derive(Debug)]
pub struct Served {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Served {
    /// Where.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Why pages cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve {what} on {address}: choose another address or stop what uses it")]
pub struct ServeError {
    /// What.
    pub what: &'static str,
    /// The address.
    pub address: Loopback,
    /// What the system says.
    pub source: std::io::Error,
}

/// Serves `pages` at `at`, if it is anywhere. `what` they are is for errors and the log.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    what: &'static str,
    at: Option<Loopback>,
    pages: impl Pages,
) -> Result<Option<Served>, ServeError> {
    let Some(at) = at else {
        return Ok(None);
    };
    let failed = |source| ServeError {
        what,
        address: at,
        source,
    };
    let listener = TcpListener::bind(at.address()).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(%address, what, "serving to this machine");
    let serving = tokio::spawn(accept(listener, pages));
    Ok(Some(Served { address, serving }))
}

async fn accept(listener: TcpListener, pages: impl Pages) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Ends its connections when it is dropped.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let pages = pages.clone();
        connections.spawn(async move {
            let answering = service_fn(move |request| {
                let pages = pages.clone();
                async move { Ok::<_, Infallible>(answer(&request, &pages).await) }
            });
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .serve_connection(TokioIo::new(stream), answering);
            // Who leaves in the middle is no news.
            let _ = timeout(CONNECTION_WITHIN, serving).await;
            drop(place);
        });
    }
}

async fn answer(request: &Request<Incoming>, pages: &impl Pages) -> Response<String> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let host = request.headers().get(header::HOST);
    let (status, kind, body) = if !host.is_some_and(is_loopback) {
        let text = "this is served to this machine alone, as 127.0.0.1 or localhost\n";
        (StatusCode::MISDIRECTED_REQUEST, TEXT, text.to_owned())
    } else if request.method() != Method::GET && request.method() != Method::HEAD {
        (StatusCode::METHOD_NOT_ALLOWED, TEXT, String::new())
    } else {
        match pages.get(request.uri().path()).await {
            Some(Page {
                kind,
                body: Ok(body),
            }) => (StatusCode::OK, kind, body),
            Some(Page { body: Err(why), .. }) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, why),
            None => (StatusCode::NOT_FOUND, TEXT, "nothing is here\n".to_owned()),
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// Whether a `Host` names loopback, with any port.
fn is_loopback(host: &HeaderValue) -> bool {
    let Ok(host) = host.to_str() else {
        return false;
    };
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    is_loopback || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_loopback_are_answered() {
        for (host, is) in [
            ("127.0.0.1:9100", true),
            ("127.0.0.1", true),
            ("localhost", true),
            ("LocalHost:1", true),
            ("[::1]:9", true),
            ("[::1]", true),
            ("evil.example", false),
            ("evil.example:9100", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:9100", false),
            ("10.0.0.1:9100", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(&HeaderValue::from_static(host)), is, "{host}");
        }
    }
}
