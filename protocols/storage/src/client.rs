//! A store behind HTTP: the embedded store of another process, or a DeOSS gateway.
//!
//! Nothing is taken on trust. What is sent is hashed on the way, and the fid in the answer must be
//! the one this side computed. What is read is hashed per segment and held against the segment
//! list, and the list against the fid, before it is handed out.
//!
//! DeOSS gateways do not tell the segment list. Objects of one segment (32 MiB) are verified from
//! such a gateway all the same; of larger ones, the last segment is withheld until all segments
//! together make up the fid, and ranges are refused with [`StorageError::SegmentsUnknown`].

pub(crate) mod get;
mod put;
mod resume;
#[cfg(test)]
mod tests;
mod versions;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::TryStreamExt;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

use crate::bank::{ActiveFiles, wait_active};
use crate::error::StorageError;
use crate::fid::{Fid, FidRule};
use crate::http::auth::{ACCOUNT, RequestSigner, sign_request};
use crate::http::body::with_idle_limit;
use crate::http::envelope::{
    self, Batch, DeletedData, DeletedResult, ListEntry, Metadata, batch_key,
};
use crate::layout::{FRAGMENTS, Geometry, MAX_SEGMENTS};
use crate::object::{
    ByteRange, Deleted, FragmentLocation, ListedObject, ObjectInfo, Owner, Page, PutOptions, Stored,
};
use crate::store::ObjectStore;
use crate::stream::{ByteSource, ObjectStream};

/// The longest answer that is not an object: a thousand segments with twelve fragments each.
const MAX_ANSWER: usize = 4 << 20;
/// How long a signature is good for when it is made; ten minutes are the most a server takes.
const SIGNATURE_LIFE: Duration = Duration::from_secs(300);

/// Limits of an [`HttpStore`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpStoreConfig {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the other side may be silent: before it begins to answer, and between two pieces of
    /// an answer.
    pub idle_timeout: Duration,
    /// How long storing an object may take.
    pub upload_timeout: Duration,
    /// The largest object in bytes that is sent or fetched.
    pub max_object: u64,
    /// Bytes of a chunk of a resumable upload.
    pub chunk: usize,
    /// How long the chain may take to say that an object is active, once it is sent.
    pub active_within: Duration,
    pub(crate) geometry: Geometry,
}

impl Default for HttpStoreConfig {
    fn default() -> Self {
        let geometry = Geometry::CESS;
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            upload_timeout: Duration::from_secs(3600),
            max_object: (geometry.segment() * MAX_SEGMENTS) as u64,
            chunk: 32 << 20,
            active_within: Duration::from_secs(600),
            geometry,
        }
    }
}

/// A store behind HTTP. A cheap handle: clones share connections.
#[derive(Clone)]
pub struct HttpStore {
    http: Client,
    base: Url,
    config: HttpStoreConfig,
    signer: Option<Arc<dyn RequestSigner>>,
    /// Who is asked whether what was put is stored.
    files: Option<Arc<dyn ActiveFiles>>,
}

impl HttpStore {
    /// A store at this URL, for example `http://127.0.0.1:8080`, with the usual limits. It can only
    /// be read from until it is given a signer. Connects when first used.
    ///
    /// # Errors
    ///
    /// [`StorageError::BaseUrl`] if this is not an `http` URL.
    pub fn new(base_url: &str) -> Result<Self, StorageError> {
        Self::with_config(base_url, HttpStoreConfig::default())
    }

    /// A store at this URL with these limits.
    ///
    /// # Errors
    ///
    /// [`StorageError::BaseUrl`] if this is not an `http` URL.
    pub fn with_config(base_url: &str, config: HttpStoreConfig) -> Result<Self, StorageError> {
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
            // A redirect would carry signed headers elsewhere, and no gateway sends any.
            .redirect(Policy::none())
            // Whom to talk to is the caller's choice alone, not that of the environment.
            .no_proxy()
            .build()
            .map_err(StorageError::Transport)?;
        Ok(Self {
            http,
            base,
            config,
            signer: None,
            files: None,
        })
    }

    /// The same store, acting for the account of `signer`.
    #[must_use]
    pub fn with_signer(self, signer: impl RequestSigner + 'static) -> Self {
        Self {
            signer: Some(Arc::new(signer)),
            ..self
        }
    }

    /// The same store, for which an object is stored only when `files`, usually a chain, says that it is
    /// active. A DeOSS gateway answers with a fid long before; the embedded store answers when it is active,
    /// and need not be believed.
    #[must_use]
    pub fn asking(self, files: Arc<dyn ActiveFiles>) -> Self {
        Self {
            files: Some(files),
            ..self
        }
    }

    /// Waits until the chain says that a file is stored, if there is a chain to ask.
    async fn active(&self, fid: Fid) -> Result<(), StorageError> {
        match &self.files {
            Some(files) => wait_active(&**files, fid, self.config.active_within).await,
            None => Ok(()),
        }
    }

    fn url<const N: usize>(&self, path: [&str; N]) -> Url {
        let mut url = self.base.clone();
        // Only URLs that cannot be a base have no path, and those were refused.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn signer(&self) -> Result<&dyn RequestSigner, StorageError> {
        self.signer.as_deref().ok_or(StorageError::NoSigner)
    }

    /// A request signed for this store's account.
    fn signed(&self, method: Method, url: Url) -> Result<RequestBuilder, StorageError> {
        let deadline = SystemTime::now() + SIGNATURE_LIFE;
        let headers = sign_request(self.signer()?, method.as_str(), url.path(), deadline);
        let request = self.http.request(method, url);
        Ok(headers.into_iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        }))
    }

    /// Sends a request without a body and waits for the head of the answer.
    async fn send(&self, request: RequestBuilder) -> Result<Response, StorageError> {
        let after = self.config.idle_timeout;
        match tokio::time::timeout(after, request.send()).await {
            Ok(response) => response.map_err(StorageError::Transport),
            Err(_) => Err(StorageError::TimedOut {
                what: "answer",
                after,
            }),
        }
    }

    /// Sends a request without a body and takes the data out of the answer's envelope.
    async fn ask<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        about: Option<Fid>,
    ) -> Result<T, StorageError> {
        let response = self.send(request).await?;
        self.open(response, about).await
    }

    async fn open<T: DeserializeOwned>(
        &self,
        response: Response,
        about: Option<Fid>,
    ) -> Result<T, StorageError> {
        let status = response.status();
        let bytes = self.collect(response).await?;
        envelope::open(&bytes).map_err(|error| match error {
            envelope::EnvelopeError::Malformed(_) if !status.is_success() => {
                StorageError::Malformed {
                    what: format!("it has HTTP status {status}"),
                }
            }
            error => error.into_storage_error(about),
        })
    }

    /// Reads a short answer.
    async fn collect(&self, response: Response) -> Result<Vec<u8>, StorageError> {
        let mut pieces = pin!(with_idle_limit(
            response.bytes_stream().into_stream(),
            self.config.idle_timeout
        ));
        let mut bytes = Vec::new();
        while let Some(piece) = pieces
            .try_next()
            .await
            .map_err(|error| self.read_error(error))?
        {
            if bytes.len() + piece.len() > MAX_ANSWER {
                let what = format!("it has more than {MAX_ANSWER} bytes");
                return Err(StorageError::Malformed { what });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// What an error of [`with_idle_limit`] means.
    fn read_error(&self, error: std::io::Error) -> StorageError {
        read_error(error, self.config.idle_timeout)
    }

    async fn metadata(&self, fid: Fid) -> Result<Metadata, StorageError> {
        let request = self
            .http
            .get(self.url(["file", "metadata", &fid.to_string()]));
        let metadata: Metadata = self.ask(request, Some(fid)).await?;
        let malformed = |what: String| Err(StorageError::Malformed { what });
        if metadata.fid != fid {
            return malformed(format!("it is about {} instead of {fid}", metadata.fid));
        }
        let needed = self.config.geometry.segments(metadata.size);
        if needed == 0 || needed > MAX_SEGMENTS as u64 {
            return malformed(format!("no object has {} bytes", metadata.size));
        }
        if let Some(segments) = &metadata.segments {
            if segments.len() as u64 != needed {
                let (size, count) = (metadata.size, segments.len());
                return malformed(format!(
                    "an object of {size} bytes has not {count} segments"
                ));
            }
            if FidRule::matching(fid, segments).is_none() {
                return Err(StorageError::FidMismatch { fid });
            }
        }
        Ok(metadata)
    }
}

#[async_trait]
impl ObjectStore for HttpStore {
    async fn put(
        &self,
        source: ByteSource<'_>,
        options: PutOptions,
    ) -> Result<Stored, StorageError> {
        put::put(self, source, options).await
    }

    async fn get(&self, fid: Fid, range: Option<ByteRange>) -> Result<ObjectStream, StorageError> {
        get::get(self, fid, range).await
    }

    async fn stat(&self, fid: Fid) -> Result<ObjectInfo, StorageError> {
        let Metadata {
            fid,
            size,
            owner,
            segments,
        } = self.metadata(fid).await?;
        // Owners that are no accounts or have names we would refuse exist on CESS; they are left
        // out.
        let owners = owner.into_iter().filter_map(|owner| {
            let account = owner.user.parse().ok()?;
            Some(Owner {
                account,
                name: owner.file_name.parse().ok()?,
            })
        });
        Ok(ObjectInfo {
            fid,
            size,
            segments,
            owners: owners.take(100).collect(),
        })
    }

    async fn list(&self, page: Page) -> Result<Vec<ListedObject>, StorageError> {
        let account = self.signer()?.account().to_string();
        let mut url = self.url(["file", "list"]);
        url.query_pairs_mut()
            .append_pair("Account", &account)
            .append_pair("Limit", &page.limit.min(Page::MAX).to_string());
        if let Some(after) = page.after {
            url.query_pairs_mut()
                .append_pair("After", &after.to_string());
        }
        let entries: Vec<ListEntry> = self
            .ask(self.http.get(url).header(ACCOUNT, account), None)
            .await?;
        let listed = entries.into_iter().map(|entry| ListedObject {
            fid: entry.fid,
            size: entry.size,
            name: entry.file_name.and_then(|name| name.parse().ok()),
        });
        Ok(listed.collect())
    }

    async fn delete(&self, fid: Fid) -> Result<Deleted, StorageError> {
        let url = self.url(["file", &fid.to_string()]);
        let deleted: DeletedData = self
            .ask(self.signed(Method::DELETE, url)?, Some(fid))
            .await?;
        Ok(match deleted.result {
            DeletedResult::Released => Deleted::Released,
            DeletedResult::Removed => Deleted::Removed,
        })
    }

    async fn locate(&self, fid: Fid) -> Result<Vec<FragmentLocation>, StorageError> {
        let request = self
            .http
            .get(self.url(["file", "location", &fid.to_string()]));
        let mut batches: BTreeMap<String, Batch> = self.ask(request, Some(fid)).await?;
        let mut locations = Vec::new();
        for index in 0..FRAGMENTS {
            let malformed = || StorageError::Malformed {
                what: format!("fragment {index} is nowhere"),
            };
            let batch = batches.remove(&batch_key(index)).ok_or_else(malformed)?;
            let fragments = batch.fragments.ok_or_else(malformed)?;
            for (segment, fragment) in (0..).zip(fragments) {
                locations.push(FragmentLocation {
                    segment,
                    index: index as u8,
                    hash: fragment.hash,
                    node: batch.account.clone(),
                    site: batch.site.clone(),
                    state: fragment.state,
                });
            }
        }
        locations.sort_by_key(|at| (at.segment, at.index));
        Ok(locations)
    }
}

impl fmt::Debug for HttpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpStore")
            .field("base", &self.base.as_str())
            .field(
                "account",
                &self.signer.as_ref().map(|signer| signer.account()),
            )
            .finish_non_exhaustive()
    }
}

/// What an error of [`with_idle_limit`] around a response means.
pub(crate) fn read_error(error: std::io::Error, after: Duration) -> StorageError {
    if error.kind() == std::io::ErrorKind::TimedOut {
        return StorageError::TimedOut {
            what: "go on answering",
            after,
        };
    }
    let text = error.to_string();
    match error
        .into_inner()
        .map(|inner| inner.downcast::<reqwest::Error>())
    {
        Some(Ok(error)) => StorageError::Transport(*error),
        _ => StorageError::Malformed { what: text },
    }
}

/// Whether an answer is an envelope, which means an error where an object was asked for.
fn is_envelope(response: &Response) -> bool {
    let value = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.starts_with("application/json"))
}
