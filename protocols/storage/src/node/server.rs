//! The process of a storage node.
//!
//! Answers are in the envelope of DeOSS; fragments and proofs come bare. As CESS's miners have them:
//!
//! - `PUT /fragment`, signed, multipart field `file` or a raw body, headers `Fid` and `Fragment`. The
//!   fragment of zeros needs no body.
//! - `GET /fragment`, headers `Fragment` and, for a part, `Range: bytes=start-end/total`, end
//!   exclusive. Reading needs no signature here.
//! - `GET /status`, `GET /file/list`.
//!
//! Ours alone: header `Trimmed` on both (trailing zeros are left out), header `Upload` instead of
//! `Fid` (staged), `POST /upload/{id}` with header `Fid` (commit), `DELETE /upload/{id}`,
//! `DELETE /file/{fid}`, `POST /fragment/missing`, `PUT /fragment/tags`, `POST /fragment/proof`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ai_link_observe::{Loopback, Metrics};
use axum::body::Bytes as Body;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Path, Query, Request, State};
use axum::http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, RANGE};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::{LocalNode, NodeError, NodeId, StorageNode, UploadId};
use crate::account::Account;
use crate::config::RunError;
use crate::embedded::Durability;
use crate::fid::{ContentHash, Fid};
use crate::http::auth::{
    ACCOUNT, Access, Authorizer, Claim, MESSAGE, SIGNATURE, SignatureAuthorizer,
};
use crate::http::envelope::{Envelope, OK, Refusal};
use crate::http::range::parse_exclusive;
use crate::layout::{Geometry, trim_zeros};
use crate::location::Site;
use crate::podr2::{Challenge, PublicKey, TagSet};
use crate::server::{ServerConfig, serve_router};
use crate::tally;

/// Header with a file's id.
pub(super) const FID: &str = "fid";
/// Header with a fragment's hash.
pub(super) const FRAGMENT: &str = "fragment";
/// Header that says that trailing zeros are left out.
pub(super) const TRIMMED: &str = "trimmed";
/// Header with the number of an upload.
pub(super) const UPLOAD: &str = "upload";

/// Room in a body for what multipart adds to a fragment, and the longest body that is none.
const BODY_EXTRA: usize = 512 << 10;

pub(super) type Answer = Result<Response, Refusal>;

/// Configuration of a storage node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Where to listen; port 0 takes a free one. There is no TLS: beyond one machine put a proxy in
    /// front.
    pub listen: SocketAddr,
    /// Directory of the node; made if it is not there.
    pub data: PathBuf,
    /// Its account.
    pub account: NodeId,
    /// Who may write to it: the stores it works for.
    pub accounts: Vec<Account>,
    /// Where it is.
    pub site: Site,
    /// N of the tagger, in hex, and whose signature its tags have: with it, the node proves what it
    /// has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tagger: Option<TaggerEntry>,
    /// Where to serve metrics, at `/metrics`: an address on loopback; nowhere if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Loopback>,
    /// Limits; all have defaults.
    #[serde(default)]
    pub limits: NodeLimits,
}

/// The public key of a tagger in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaggerEntry {
    /// N, 512 hexadecimal digits.
    pub modulus: String,
    /// Whose signature tags have.
    pub signer: Account,
}

/// Limits of a storage node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeLimits {
    /// How many bytes fragments may take on disk.
    pub capacity_bytes: u64,
    /// Connections at a time.
    pub max_connections: usize,
    /// Fragments sent or received at a time; each takes up to 16 MiB of memory. More wait.
    pub max_transfers: usize,
    /// How long a connection may stand still, in milliseconds.
    pub idle_timeout_ms: u64,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self {
            capacity_bytes: 64 << 30,
            max_connections: 256,
            max_transfers: 4,
            idle_timeout_ms: 60_000,
        }
    }
}

impl TaggerEntry {
    /// The key.
    ///
    /// # Errors
    ///
    /// [`RunError::Tagger`].
    pub fn key(&self) -> Result<PublicKey, RunError> {
        let mut modulus = [0; crate::podr2::MODULUS];
        hex::decode_to_slice(&self.modulus, &mut modulus).map_err(|_| RunError::Tagger)?;
        PublicKey::new(&modulus, self.signer).map_err(|_| RunError::Tagger)
    }
}

impl From<&PublicKey> for TaggerEntry {
    fn from(key: &PublicKey) -> Self {
        Self {
            modulus: hex::encode(key.modulus()),
            signer: key.signer(),
        }
    }
}

/// Runs a storage node until `shutdown` ends. Calls `ready` with the address once requests are taken.
///
/// # Errors
///
/// See [`RunError`]; all of them come before `ready` is called.
pub async fn run_node(
    config: NodeConfig,
    ready: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let NodeConfig {
        listen,
        data,
        account,
        site,
        accounts,
        tagger,
        metrics: metrics_at,
        limits,
    } = config;
    for (limit, value) in [
        ("max_connections", limits.max_connections as u64),
        ("max_transfers", limits.max_transfers as u64),
        ("capacity_bytes", limits.capacity_bytes),
        ("idle_timeout_ms", limits.idle_timeout_ms),
    ] {
        if value == 0 {
            return Err(RunError::Zero(limit));
        }
    }
    let parts = (Geometry::CESS, Durability::Forced);
    let mut node = LocalNode::with(data, account, site, limits.capacity_bytes, parts).await?;
    if let Some(tagger) = tagger {
        node = node.with_tagger(tagger.key()?);
    }
    let failed = |source| RunError::Listen { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let server = ServerConfig {
        max_connections: limits.max_connections,
        idle_timeout: Duration::from_millis(limits.idle_timeout_ms),
        ..ServerConfig::default()
    };
    let metrics = Metrics::new("storage-node", env!("CARGO_PKG_VERSION"));
    server.requests.register(&metrics);
    let looked_at = node.clone();
    tally::space(&metrics, limits.capacity_bytes, move || {
        looked_at.occupied()
    });
    let _served = ai_link_observe::serve("metrics", metrics_at, metrics).await?;
    tracing::info!(%address, %account, "a storage node is ready");
    ready(address);
    let router = router(
        node,
        Geometry::CESS,
        Access::Only(accounts),
        limits.max_transfers,
    );
    serve_router(router, listener, server, shutdown).await;
    tracing::info!("the storage node stopped");
    Ok(())
}

struct App {
    node: LocalNode,
    size: usize,
    authorizer: SignatureAuthorizer,
    transfers: Semaphore,
}

pub(crate) fn router(
    node: LocalNode,
    geometry: Geometry,
    access: Access,
    transfers: usize,
) -> Router {
    let app = App {
        node: node.for_strangers(),
        size: geometry.fragment(),
        authorizer: SignatureAuthorizer::new(access),
        transfers: Semaphore::new(transfers),
    };
    Router::new()
        .route("/fragment", put(put_fragment).get(get_fragment))
        .route("/fragment/missing", post(missing))
        .route("/fragment/tags", put(put_tags))
        .route("/fragment/proof", post(prove))
        .route("/upload/{id}", post(commit).delete(abort))
        .route("/file/list", get(list))
        .route("/file/{fid}", axum::routing::delete(release))
        .route("/status", get(status))
        .fallback(async || Refusal::no_route())
        .method_not_allowed_fallback(async || Refusal::no_route())
        .layer(DefaultBodyLimit::max(geometry.fragment() + BODY_EXTRA))
        .with_state(Arc::new(app))
}

impl App {
    fn authorize(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        self.authorizer
            .authorize(&claim(method, uri, headers), SystemTime::now())
            .map_err(|error| Refusal::forbidden(error.to_string()))?;
        Ok(())
    }
}

/// What a request says about its sender.
pub(super) fn claim<'a>(method: &'a Method, uri: &'a Uri, headers: &'a HeaderMap) -> Claim<'a> {
    Claim {
        method: method.as_str(),
        path: uri.path(),
        account: text(headers, ACCOUNT),
        message: text(headers, MESSAGE),
        signature: text(headers, SIGNATURE),
    }
}

async fn put_fragment(State(app): State<Arc<App>>, request: Request) -> Answer {
    app.authorize(request.method(), request.uri(), request.headers())?;
    let headers = request.headers().clone();
    let hash: ContentHash = header(&headers, FRAGMENT)?;
    let _slot = app.transfers.acquire().await.map_err(|_| Refusal::busy())?;
    let bytes = body(request).await?;
    if bytes.len() > app.size
        || (bytes.len() < app.size && !bytes.is_empty() && !headers.contains_key(TRIMMED))
    {
        return Err(Refusal::bad_request(format!(
            "a fragment has {} bytes",
            app.size
        )));
    }
    let bytes = bytes.slice(..trim_zeros(&bytes).len());
    let done = if headers.contains_key(UPLOAD) {
        app.node.stage(header(&headers, UPLOAD)?, hash, bytes).await
    } else {
        app.node.put(header(&headers, FID)?, hash, bytes).await
    };
    done.map_err(told)?;
    success(())
}

async fn get_fragment(State(app): State<Arc<App>>, headers: HeaderMap) -> Answer {
    let hash: ContentHash = header(&headers, FRAGMENT)?;
    let _slot = app.transfers.acquire().await.map_err(|_| Refusal::busy())?;
    let bytes = app.node.get(hash).await.map_err(told)?;
    if headers.contains_key(TRIMMED) {
        return Ok(binary(StatusCode::OK, bytes));
    }
    let mut padded = Vec::from(bytes);
    padded.resize(app.size, 0);
    let padded = Body::from(padded);
    let Some(range) = text(&headers, RANGE) else {
        return Ok(binary(StatusCode::OK, padded));
    };
    let range = parse_exclusive(range, app.size as u64)
        .ok_or_else(|| Refusal::bad_request("invalid range value"))?;
    let value = format!("bytes {}-{}/{}", range.start, range.end, app.size);
    let part = padded.slice(range.start as usize..range.end as usize);
    let mut answer = binary(StatusCode::PARTIAL_CONTENT, part);
    if let Ok(value) = value.parse() {
        answer.headers_mut().insert(CONTENT_RANGE, value);
    }
    Ok(answer)
}

async fn missing(
    State(app): State<Arc<App>>,
    hashes: Result<Json<Vec<ContentHash>>, axum::extract::rejection::JsonRejection>,
) -> Answer {
    let Json(hashes) = hashes.map_err(|error| Refusal::bad_request(error.body_text()))?;
    success(app.node.lacks(&hashes).await.map_err(told)?)
}

async fn put_tags(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Body, BytesRejection>,
) -> Answer {
    app.authorize(&method, &uri, &headers)?;
    let body = body.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let tags = TagSet::from_bytes(&body).map_err(|e| Refusal::bad_request(e.to_string()))?;
    app.node.put_tags(&tags).await.map_err(told)?;
    success(())
}

async fn prove(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Body, BytesRejection>,
) -> Answer {
    let hash: ContentHash = header(&headers, FRAGMENT)?;
    let body = body.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let challenge =
        Challenge::from_bytes(&body).map_err(|e| Refusal::bad_request(e.to_string()))?;
    let _slot = app.transfers.acquire().await.map_err(|_| Refusal::busy())?;
    let proof = app.node.prove(hash, &challenge).await.map_err(told)?;
    Ok(binary(StatusCode::OK, proof.to_bytes().into()))
}

async fn commit(
    State(app): State<Arc<App>>,
    Path(upload): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    app.authorize(&method, &uri, &headers)?;
    let fid: Fid = header(&headers, FID)?;
    app.node
        .commit(upload_id(&upload)?, fid)
        .await
        .map_err(told)?;
    success(())
}

async fn abort(
    State(app): State<Arc<App>>,
    Path(upload): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    app.authorize(&method, &uri, &headers)?;
    app.node.abort(upload_id(&upload)?).await.map_err(told)?;
    success(())
}

async fn release(
    State(app): State<Arc<App>>,
    Path(fid): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    app.authorize(&method, &uri, &headers)?;
    let fid = fid
        .parse()
        .map_err(|_| Refusal::bad_request("invalid fid"))?;
    app.node.release(fid).await.map_err(told)?;
    success(())
}

#[derive(Deserialize)]
struct After {
    #[serde(rename = "After")]
    after: Option<Fid>,
}

async fn list(State(app): State<Arc<App>>, query: Result<Query<After>, QueryRejection>) -> Answer {
    let Query(query) = query.map_err(|error| Refusal::bad_request(error.body_text()))?;
    success(app.node.files(query.after).await.map_err(told)?)
}

async fn status(State(app): State<Arc<App>>) -> Answer {
    success(app.node.status().await.map_err(told)?)
}

/// The fragment in a request: the field `file` of a form, or the body itself.
async fn body(request: Request) -> Result<Body, Refusal> {
    let kind = request.headers().get(CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/form-data")) {
        let body = Body::from_request(request, &()).await;
        return body.map_err(|error| Refusal::bad_request(error.body_text()));
    }
    let invalid = || Refusal::bad_request("invalid form file");
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|_| invalid())?;
    while let Some(field) = form.next_field().await.map_err(|_| invalid())? {
        if field.name() == Some("file") {
            return field.bytes().await.map_err(|_| invalid());
        }
    }
    Err(invalid())
}

pub(super) fn header<T: std::str::FromStr>(
    headers: &HeaderMap,
    name: &'static str,
) -> Result<T, Refusal> {
    text(headers, name)
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| Refusal::bad_request(format!("the header {name} is missing or wrong")))
}

fn text(headers: &HeaderMap, name: impl axum::http::header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn upload_id(text: &str) -> Result<UploadId, Refusal> {
    text.parse()
        .map_err(|_| Refusal::bad_request("invalid upload"))
}

fn told(error: NodeError) -> Refusal {
    match &error {
        NodeError::Missing => Refusal::not_found("Not found"),
        NodeError::Full => Refusal::full(),
        NodeError::Damaged { .. } => Refusal::bad_request(error.to_string()),
        NodeError::Malformed(what) => Refusal::bad_request(what.as_str()),
        _ => {
            tracing::error!(%error, cause = ?std::error::Error::source(&error), "a request failed");
            Refusal::internal()
        }
    }
}

pub(super) fn success(data: impl Serialize) -> Answer {
    let msg = "success".to_owned();
    Ok(Json(Envelope {
        code: OK,
        msg,
        data,
    })
    .into_response())
}

pub(super) fn binary(status: StatusCode, bytes: Body) -> Response {
    (status, [(CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
}
