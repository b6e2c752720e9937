//! A storage node in another process.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::server::{FID, FRAGMENT, TRIMMED, UPLOAD};
use super::{NodeError, NodeId, NodeStatus, StorageNode, UploadId};
use crate::buffers::Buffer;
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid};
use crate::http::auth::{RequestSigner, sign_request};
use crate::http::envelope::{self, EnvelopeError};
use crate::layout::{FRAGMENT_SIZE, Geometry};
use crate::podr2::{Challenge, Proof, TagSet};

/// The longest answer that is not a fragment.
const MAX_ANSWER: usize = 1 << 20;
const SIGNATURE_LIFE: Duration = Duration::from_secs(300);

/// Limits of an [`HttpNode`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpNodeConfig {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long one request may take in all.
    pub timeout: Duration,
    pub(crate) geometry: Geometry,
}

impl Default for HttpNodeConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(60),
            geometry: Geometry::CESS,
        }
    }
}

/// A storage node behind HTTP. A cheap handle: clones share connections.
#[derive(Clone)]
pub struct HttpNode {
    account: NodeId,
    base: Url,
    http: Client,
    config: HttpNodeConfig,
    signer: Arc<dyn RequestSigner>,
}

impl HttpNode {
    /// The node of `account` at this URL, written to with signatures of `signer`. Connects when
    /// first used.
    ///
    /// # Errors
    ///
    /// [`StorageError::BaseUrl`].
    pub fn new(
        base_url: &str,
        account: NodeId,
        signer: Arc<dyn RequestSigner>,
        config: HttpNodeConfig,
    ) -> Result<Self, StorageError> {
        let refuse = |reason: String| StorageError::BaseUrl {
            url: base_url.to_owned(),
            reason,
        };
        let base = Url::parse(base_url).map_err(|error| refuse(error.to_string()))?;
        if base.scheme() != "http" || base.cannot_be_a_base() {
            return Err(refuse("it must begin with http://".to_owned()));
        }
        let http = Client::builder()
            .connect_timeout(config.connect_timeout)
            .timeout(config.timeout)
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .map_err(StorageError::Transport)?;
        Ok(Self {
            account,
            base,
            http,
            config,
            signer,
        })
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Only URLs that cannot be a base have no path, and those were refused.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn signed(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let url = self.url(path);
        let deadline = SystemTime::now() + SIGNATURE_LIFE;
        let headers = sign_request(&*self.signer, method.as_str(), url.path(), deadline);
        let request = self.http.request(method, url);
        headers.into_iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        })
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, NodeError> {
        let (_, bytes) = self.send(request, MAX_ANSWER).await?;
        open(&bytes)
    }

    /// Asks for something that does not come in an envelope.
    async fn fetch(&self, request: RequestBuilder, limit: usize) -> Result<Bytes, NodeError> {
        let (is_envelope, bytes) = self.send(request, limit.max(MAX_ANSWER)).await?;
        if is_envelope {
            let data: serde_json::Value = open(&bytes)?;
            drop(data);
            return Err(NodeError::Malformed("it is an envelope".to_owned()));
        }
        if bytes.len() > limit {
            return Err(too_long(limit));
        }
        Ok(bytes)
    }

    /// Whether the answer says that it is an envelope, and its body.
    async fn send(
        &self,
        request: RequestBuilder,
        limit: usize,
    ) -> Result<(bool, Bytes), NodeError> {
        let mut response = request.send().await.map_err(|error| self.failed(error))?;
        if !response.status().is_success() {
            let status = response.status();
            return Err(NodeError::Malformed(format!("it has HTTP status {status}")));
        }
        let kind = response.headers().get(reqwest::header::CONTENT_TYPE);
        let is_envelope = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        // What is announced is only room that is taken at once if it is sensible.
        let announced = response.content_length().unwrap_or(0).min(limit as u64);
        let mut bytes = Buffer::with_capacity(announced as usize);
        while let Some(piece) = response.chunk().await.map_err(|error| self.failed(error))? {
            if bytes.as_ref().len() + piece.len() > limit {
                return Err(too_long(limit));
            }
            bytes.bytes().extend_from_slice(&piece);
        }
        Ok((is_envelope, bytes.freeze()))
    }

    fn failed(&self, error: reqwest::Error) -> NodeError {
        if error.is_timeout() {
            NodeError::TimedOut {
                after: self.config.timeout,
            }
        } else {
            NodeError::Unreachable(error)
        }
    }

    fn upload(&self, hash: ContentHash, bytes: Bytes) -> RequestBuilder {
        self.signed(Method::PUT, &["fragment"])
            .header(FRAGMENT, hash.to_string())
            .header(TRIMMED, "1")
            .header(reqwest::header::CONTENT_TYPE, "application/octet-stream")
            .body(bytes)
    }
}

#[async_trait]
impl StorageNode for HttpNode {
    fn account(&self) -> NodeId {
        self.account
    }

    async fn status(&self) -> Result<NodeStatus, NodeError> {
        self.ask(self.http.get(self.url(&["status"]))).await
    }

    async fn stage(
        &self,
        upload: UploadId,
        hash: ContentHash,
        bytes: Bytes,
    ) -> Result<(), NodeError> {
        let request = self.upload(hash, bytes).header(UPLOAD, upload.to_string());
        self.ask(request).await
    }

    async fn commit(&self, upload: UploadId, fid: Fid) -> Result<(), NodeError> {
        let request = self
            .signed(Method::POST, &["upload", &upload.to_string()])
            .header(FID, fid.to_string());
        self.ask(request).await
    }

    async fn abort(&self, upload: UploadId) -> Result<(), NodeError> {
        self.ask(self.signed(Method::DELETE, &["upload", &upload.to_string()]))
            .await
    }

    async fn put(&self, fid: Fid, hash: ContentHash, bytes: Bytes) -> Result<(), NodeError> {
        self.ask(self.upload(hash, bytes).header(FID, fid.to_string()))
            .await
    }

    async fn get(&self, hash: ContentHash) -> Result<Bytes, NodeError> {
        let request = self
            .http
            .get(self.url(&["fragment"]))
            .header(FRAGMENT, hash.to_string())
            .header(TRIMMED, "1");
        self.fetch(request, self.config.geometry.fragment()).await
    }

    async fn lacks(&self, hashes: &[ContentHash]) -> Result<Vec<ContentHash>, NodeError> {
        let request = self.http.post(self.url(&["fragment", "missing"]));
        let lacking: Vec<ContentHash> = self.ask(request.json(&Hashes(hashes))).await?;
        Ok(lacking
            .into_iter()
            .filter(|hash| hashes.contains(hash))
            .collect())
    }

    async fn release(&self, fid: Fid) -> Result<(), NodeError> {
        self.ask(self.signed(Method::DELETE, &["file", &fid.to_string()]))
            .await
    }

    async fn files(&self, after: Option<Fid>) -> Result<Vec<Fid>, NodeError> {
        let mut url = self.url(&["file", "list"]);
        if let Some(after) = after {
            url.query_pairs_mut()
                .append_pair("After", &after.to_string());
        }
        self.ask(self.http.get(url)).await
    }

    async fn put_tags(&self, tags: &TagSet) -> Result<(), NodeError> {
        let request = self
            .signed(Method::PUT, &["fragment", "tags"])
            .body(tags.to_bytes());
        self.ask(request).await
    }

    async fn prove(&self, hash: ContentHash, challenge: &Challenge) -> Result<Proof, NodeError> {
        let request = self
            .http
            .post(self.url(&["fragment", "proof"]))
            .header(FRAGMENT, hash.to_string())
            .body(challenge.to_bytes());
        let bytes = self.fetch(request, MAX_ANSWER).await?;
        Proof::from_bytes(&bytes).map_err(|error| NodeError::Malformed(error.to_string()))
    }
}

#[derive(Serialize)]
struct Hashes<'a>(&'a [ContentHash]);

impl fmt::Debug for HttpNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpNode")
            .field("account", &self.account)
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

fn open<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, NodeError> {
    envelope::open(bytes).map_err(|error| match error {
        EnvelopeError::Malformed(what) => NodeError::Malformed(what),
        EnvelopeError::Refused { code: 404, .. } => NodeError::Missing,
        EnvelopeError::Refused { code: 507, .. } => NodeError::Full,
        EnvelopeError::Refused { code, message, .. } => NodeError::Refused { code, message },
    })
}

fn too_long(limit: usize) -> NodeError {
    NodeError::Malformed(format!("it has more than {limit} bytes"))
}

const _: () = assert!(MAX_ANSWER < FRAGMENT_SIZE as usize);
