//! The tagger: a process that holds the RSA key and nothing else.
//!
//! `GET /key` tells its public key; `POST /tag`, signed by a store that it works for, headers
//! `Fragment` and `Trimmed`, takes a fragment and gives its tags. It checks that the fragment is what
//! it says, keeps nothing, and tags one fragment at a time, with all cores.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes as Body;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::HeaderMap;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::server::{Answer, FRAGMENT, TRIMMED, TaggerEntry, binary, claim, header, success};
use crate::account::Account;
use crate::config::RunError;
use crate::embedded::blocking;
use crate::error::StorageError;
use crate::fid::ContentHash;
use crate::http::auth::{
    Access, Authorizer as _, RequestSigner, SignatureAuthorizer, sign_request,
};
use crate::http::envelope::{self, Refusal};
use crate::layout::{Codec, Geometry};
use crate::podr2::{PublicKey, TagSet, TaggingKey};
use crate::server::{ServerConfig, serve_router};
use crate::spread::Tagger;

/// The longest answer.
const MAX_TAGS: usize = 1 << 20;

/// Configuration of a tagger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaggerConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// File of the secret key; made, for its owner alone to read, if it is not there.
    pub key: PathBuf,
    /// Which stores it works for.
    pub accounts: Vec<Account>,
}

struct App {
    key: Arc<TaggingKey>,
    codec: Codec,
    authorizer: SignatureAuthorizer,
    turn: Semaphore,
}

/// Runs a tagger until `shutdown` ends. Calls `ready` with address and key once requests are taken.
///
/// # Errors
///
/// See [`RunError`]; all of them come before `ready` is called.
pub async fn run_tagger(
    config: TaggerConfig,
    ready: impl FnOnce(SocketAddr, &PublicKey),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let TaggerConfig {
        listen,
        key,
        accounts,
    } = config;
    let key = blocking(move || Ok(load(&key)))
        .await
        .map_err(RunError::Nodes)??;
    let failed = |source| RunError::Listen { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    ready(address, &key.public());
    let router = router(key, Geometry::CESS, Access::Only(accounts));
    serve_router(router, listener, ServerConfig::default(), shutdown).await;
    Ok(())
}

pub(crate) fn router(key: TaggingKey, geometry: Geometry, access: Access) -> Router {
    let app = App {
        key: Arc::new(key),
        codec: Codec::new(geometry),
        authorizer: SignatureAuthorizer::new(access),
        turn: Semaphore::new(1),
    };
    Router::new()
        .route("/key", get(public))
        .route("/tag", post(tag))
        .fallback(async || Refusal::no_route())
        .method_not_allowed_fallback(async || Refusal::no_route())
        .layer(DefaultBodyLimit::max(geometry.fragment()))
        .with_state(Arc::new(app))
}

async fn public(State(app): State<Arc<App>>) -> Answer {
    success(TaggerEntry::from(&app.key.public()))
}

async fn tag(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Body, BytesRejection>,
) -> Answer {
    app.authorizer
        .authorize(&claim(&method, &uri, &headers), SystemTime::now())
        .map_err(|error| Refusal::forbidden(error.to_string()))?;
    let name: ContentHash = header(&headers, FRAGMENT)?;
    let body = body.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let _turn = app.turn.acquire().await.map_err(|_| Refusal::busy())?;
    let mut draw = [0; 32];
    getrandom::fill(&mut draw).map_err(|_| Refusal::internal())?;
    let work = Arc::clone(&app);
    let tags = blocking(move || {
        let size = work.codec.geometry().fragment();
        let right = work.codec.fragment_hash(&body) == name;
        Ok(right.then(|| work.key.tag(name, &body, size, &draw).to_bytes()))
    });
    let tags = tags.await.map_err(|_| Refusal::internal())?;
    let tags = tags.ok_or_else(|| Refusal::bad_request("the fragment does not have its hash"))?;
    Ok(binary(StatusCode::OK, tags.into()))
}

/// A tagger in another process.
pub struct HttpTagger {
    base: String,
    http: reqwest::Client,
    public: PublicKey,
    signer: Arc<dyn RequestSigner>,
}

impl HttpTagger {
    /// The tagger at this URL, whose key is `public`, asked with signatures of `signer`.
    ///
    /// # Errors
    ///
    /// [`StorageError::Transport`] if there can be no HTTP client.
    pub fn new(
        base_url: &str,
        public: PublicKey,
        signer: Arc<dyn RequestSigner>,
    ) -> Result<Self, StorageError> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(300))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(StorageError::Transport)?;
        Ok(Self {
            base: base_url.trim_end_matches('/').to_owned(),
            http,
            public,
            signer,
        })
    }
}

#[async_trait]
impl Tagger for HttpTagger {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    async fn tag(&self, fragment: ContentHash, bytes: Bytes) -> Result<TagSet, StorageError> {
        let deadline = SystemTime::now() + Duration::from_secs(300);
        let signed = sign_request(&*self.signer, "POST", "/tag", deadline);
        let mut request = self.http.post(format!("{}/tag", self.base));
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let request = request
            .header(FRAGMENT, fragment.to_string())
            .header(TRIMMED, "1");
        let response = request.body(bytes).send().await;
        let mut response = response.map_err(StorageError::Transport)?;
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(StorageError::Transport)? {
            if answer.len() + piece.len() > MAX_TAGS {
                let what = format!("it has more than {MAX_TAGS} bytes");
                return Err(StorageError::Malformed { what });
            }
            answer.extend_from_slice(&piece);
        }
        TagSet::from_bytes(&answer).map_err(|error| {
            match envelope::open::<serde_json::Value>(&answer) {
                Err(refused) => refused.into_storage_error(None),
                Ok(_) => StorageError::Tags(error),
            }
        })
    }
}

impl std::fmt::Debug for HttpTagger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpTagger")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// Reads the key, or makes one.
fn load(path: &PathBuf) -> Result<TaggingKey, RunError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed =
        |doing: &'static str| move |source| RunError::Nodes(StorageError::Io { doing, source });
    match fs::read(path) {
        Ok(bytes) => {
            let bytes = zeroize::Zeroizing::new(bytes);
            TaggingKey::from_bytes(&bytes).map_err(RunError::TaggingKey)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = TaggingKey::generate(&mut rand_core::OsRng).map_err(RunError::TaggingKey)?;
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let mut file = options.open(path).map_err(failed("made its key"))?;
            file.write_all(&key.to_bytes())
                .and_then(|()| file.sync_all())
                .map_err(failed("wrote its key"))?;
            Ok(key)
        }
        Err(error) => Err(failed("read its key")(error)),
    }
}
