//! A client of CD2N Retriever gateways.
//!
//! Such a gateway takes and gives bytes; what is stored, where, and whose it is, only the chain knows
//! ([`FileBank`]). So this store asks the chain for everything but bytes: an object counts as stored
//! when its file is active there, reads are held against its segments there, and deleting is a call
//! to it.
//!
//! An upload goes in chunks, each with its place. The gateway answers how far it got; a chunk whose
//! answer was lost is sent again, and what the gateway had is not sent twice. Because the size must be
//! said first, the source is written to a temporary file before; that is also where a repeated chunk
//! comes from.
//!
//! CD2N computes fids by [`FidRule::Retriever`] only.

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::SeekFrom;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::bank::{FileBank, FileRecord, wait_active};
use crate::client::get::{Expected, stream};
use crate::embedded::blocking;
use crate::error::StorageError;
use crate::fid::{Fid, FidRule};
use crate::http::auth::RequestSigner;
use crate::http::range::parse_content_range;
use crate::layout::{Codec, FRAGMENTS, FidHasher, Geometry, MAX_SEGMENTS};
use crate::object::{
    ByteRange, Deleted, FragmentLocation, FragmentState, ListedObject, ObjectInfo, Page,
    PutOptions, Stored,
};
use crate::store::ObjectStore;
use crate::stream::{ByteSource, ObjectStream};

/// The longest answer that is not an object.
const MAX_ANSWER: usize = 4 << 20;
/// How often a chunk is sent before the upload is given up.
const TRIES: u32 = 4;
/// How long tokens are asked for, in hours, and when they are asked for anew.
const TOKEN_HOURS: u64 = 24;
const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);

const DONE: i64 = 10100;
const DOWNLOADED: i64 = 10200;
const PLAIN_OK: i64 = 200;
const PARTIAL: i64 = 308;
const UNAUTHORISED: i64 = 10111;
const BAD_NAME: i64 = 10112;
const NO_SPACE: i64 = 10113;

/// Limits of a [`RetrieverStore`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RetrieverConfig {
    /// The territory that objects are stored in.
    pub territory: String,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the other side may be silent: before it begins to answer, and between two pieces of
    /// an answer.
    pub idle_timeout: Duration,
    /// How long a chunk may take on its way.
    pub chunk_timeout: Duration,
    /// How long the chain may take to say that an object is active, once it is sent.
    pub active_within: Duration,
    /// Bytes of a chunk.
    pub chunk: usize,
    /// The largest object in bytes that is sent.
    pub max_object: u64,
    pub(crate) geometry: Geometry,
}

impl Default for RetrieverConfig {
    fn default() -> Self {
        let geometry = Geometry::CESS;
        Self {
            territory: "default".to_owned(),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            chunk_timeout: Duration::from_secs(600),
            active_within: Duration::from_secs(600),
            chunk: 32 << 20,
            max_object: (geometry.segment() * MAX_SEGMENTS) as u64,
            geometry,
        }
    }
}

/// A store behind a CD2N Retriever gateway. A cheap handle: clones share connections.
#[derive(Clone)]
pub struct RetrieverStore {
    http: Client,
    base: Url,
    config: RetrieverConfig,
    signer: Arc<dyn RequestSigner>,
    bank: Arc<dyn FileBank>,
    token: Arc<Mutex<Option<Token>>>,
}

/// What stands for the account for some hours.
struct Token {
    text: Zeroizing<String>,
    since: Instant,
}

/// An answer of the gateway.
#[derive(Deserialize)]
struct Answer {
    code: i64,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    data: serde_json::Value,
}

#[derive(Serialize)]
struct BatchRequest<'a> {
    file_name: &'a str,
    territory: &'a str,
    total_size: u64,
    encrypt: bool,
    async_upload: bool,
    no_tx_proxy: bool,
}

#[derive(Deserialize)]
struct ChunkData {
    #[serde(default)]
    fid: Option<Fid>,
    chunk_end: u64,
}

#[derive(Deserialize)]
struct LimitData {
    limit: u64,
}

impl RetrieverStore {
    /// A store at this URL, for example `https://retriever.cess.network` behind a proxy that ends
    /// TLS, for the account of `signer`. Connects when first used.
    ///
    /// # Errors
    ///
    /// [`StorageError::BaseUrl`] if this is not an `http` URL.
    pub fn new(
        base_url: &str,
        config: RetrieverConfig,
        signer: Arc<dyn RequestSigner>,
        bank: Arc<dyn FileBank>,
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
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .map_err(StorageError::Transport)?;
        Ok(Self {
            http,
            base,
            config,
            signer,
            bank,
            token: Arc::default(),
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

    /// A token of the gateway, which stands for the account for some hours.
    async fn token(&self) -> Result<Zeroizing<String>, StorageError> {
        let mut kept = self.token.lock().await;
        if let Some(Token { text, since }) = &*kept
            && since.elapsed() < TOKEN_LIFE
        {
            return Ok(text.clone());
        }
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let message = since.as_secs().to_string();
        let signature = self.signer.sign(&token_message(&message));
        let form = [
            ("account", self.signer.account().to_string()),
            ("message", message),
            ("sign", hex::encode(signature)),
            ("exp", TOKEN_HOURS.to_string()),
        ];
        let request = self
            .http
            .post(self.url(&["gateway", "gentoken"]))
            .form(&form);
        let token: String = self.ask(request, &[DONE, PLAIN_OK]).await?.1;
        let token = Zeroizing::new(token);
        *kept = Some(Token {
            text: token.clone(),
            since: Instant::now(),
        });
        Ok(token)
    }

    async fn signed(&self, request: RequestBuilder) -> Result<RequestBuilder, StorageError> {
        let token = self.token().await?;
        Ok(request.header("token", format!("Bearer {}", *token)))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        fine: &[i64],
    ) -> Result<(i64, T), StorageError> {
        let response = self.send(request, self.config.idle_timeout).await?;
        self.open(response, fine).await
    }

    async fn send(
        &self,
        request: RequestBuilder,
        after: Duration,
    ) -> Result<Response, StorageError> {
        match tokio::time::timeout(after, request.send()).await {
            Ok(response) => response.map_err(StorageError::Transport),
            Err(_) => Err(StorageError::TimedOut {
                what: "answer",
                after,
            }),
        }
    }

    async fn open<T: DeserializeOwned>(
        &self,
        mut response: Response,
        fine: &[i64],
    ) -> Result<(i64, T), StorageError> {
        let malformed = |what: String| StorageError::Malformed { what };
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(StorageError::Transport)? {
            if bytes.len() + piece.len() > MAX_ANSWER {
                return Err(malformed(format!("it has more than {MAX_ANSWER} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        let (code, data) = parse_answer(&bytes, fine)?;
        let data = serde_json::from_value(data)
            .map_err(|error| malformed(format!("its data is of another kind ({error})")))?;
        Ok((code, data))
    }

    /// Sends a file in chunks; gives what the gateway calls it.
    async fn upload(
        &self,
        file: &mut tokio::fs::File,
        size: u64,
        name: &str,
    ) -> Result<Fid, StorageError> {
        let batch = BatchRequest {
            file_name: name,
            territory: &self.config.territory,
            total_size: size,
            encrypt: false,
            async_upload: false,
            no_tx_proxy: false,
        };
        let request = self
            .http
            .post(self.url(&["gateway", "upload", "batch", "request"]));
        let request = self.signed(request).await?.json(&batch);
        let (_, hash): (_, String) = self.ask(request, &[DONE, PLAIN_OK]).await?;
        let mut at = 0;
        let mut failures = 0;
        loop {
            let end = size.min(at + self.config.chunk as u64);
            let answer = match self.chunk(file, &hash, at..end).await {
                Ok(answer) => answer,
                // The gateway may have got it all the same: it says so when it is sent again.
                Err(error) if is_passing(&error) && failures + 1 < TRIES => {
                    failures += 1;
                    tracing::warn!(at, %error, "a chunk is sent again");
                    tokio::time::sleep(Duration::from_millis(100 << failures)).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(fid) = answer.fid {
                return Ok(fid);
            }
            // A gateway that goes back, or nowhere, would keep us here for ever.
            if answer.chunk_end <= at || answer.chunk_end > size {
                failures += 1;
                if failures >= TRIES || answer.chunk_end > size {
                    let what = format!("it is at byte {} after {end}", answer.chunk_end);
                    return Err(StorageError::Malformed { what });
                }
            } else {
                failures = 0;
            }
            at = answer.chunk_end.min(end);
        }
    }

    async fn chunk(
        &self,
        file: &mut tokio::fs::File,
        hash: &str,
        range: Range<u64>,
    ) -> Result<ChunkData, StorageError> {
        let io = StorageError::io;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.seek(SeekFrom::Start(range.start))
            .await
            .map_err(io("read what is uploaded"))?;
        file.read_exact(&mut bytes)
            .await
            .map_err(io("read what is uploaded"))?;
        let (kind, body) = form(&bytes)?;
        drop(bytes);
        let request = self
            .http
            .post(self.url(&["gateway", "upload", "batch", "file"]));
        let request = self
            .signed(request)
            .await?
            .header("hash", hash)
            .header(RANGE, format!("bytes={}-{}", range.start, range.end))
            .header(CONTENT_TYPE, kind)
            .body(body);
        let response = self.send(request, self.config.chunk_timeout).await?;
        let (_, data) = self.open(response, &[DONE, PLAIN_OK, PARTIAL]).await?;
        Ok(data)
    }

    async fn record(&self, fid: Fid) -> Result<FileRecord, StorageError> {
        let record = self
            .bank
            .file(fid)
            .await?
            .ok_or(StorageError::NotFound { fid })?;
        let hashes = record.segment_hashes();
        if FidRule::matching(fid, &hashes).is_none()
            || self.config.geometry.segments(record.size) != hashes.len() as u64
        {
            return Err(StorageError::FidMismatch { fid });
        }
        Ok(record)
    }
}

#[async_trait]
impl ObjectStore for RetrieverStore {
    async fn put(
        &self,
        mut source: ByteSource<'_>,
        options: PutOptions,
    ) -> Result<Stored, StorageError> {
        if options.rule != FidRule::Retriever {
            return Err(StorageError::RuleNotOffered { rule: options.rule });
        }
        if options.policy.is_some() {
            let reason = "Retriever gateways know none".to_owned();
            return Err(StorageError::PolicyNotOffered { reason });
        }
        let limit = self.config.max_object;
        let spooling = "wrote what is to be uploaded";
        let file =
            blocking(move || tempfile::tempfile().map_err(StorageError::io(spooling))).await?;
        let mut file = tokio::fs::File::from_std(file);
        let mut hasher = FidHasher::with_geometry(self.config.geometry);
        let mut piece = vec![0; 1 << 20];
        loop {
            let count = source
                .read(&mut piece)
                .await
                .map_err(StorageError::Source)?;
            if count == 0 {
                break;
            }
            hasher.update(&piece[..count]);
            if hasher.size() > limit {
                return Err(StorageError::TooLarge { limit });
            }
            file.write_all(&piece[..count])
                .await
                .map_err(StorageError::io(spooling))?;
        }
        file.flush().await.map_err(StorageError::io(spooling))?;
        let size = hasher.size();
        let segments = blocking(move || Ok(hasher.finish())).await?;
        let computed = options.rule.fid(&segments).ok_or(StorageError::Empty)?;
        let answered = self.upload(&mut file, size, options.name.as_str()).await?;
        if answered != computed {
            return Err(StorageError::FidChanged { answered, computed });
        }
        wait_active(&*self.bank, computed, self.config.active_within).await?;
        let record = self.record(computed).await?;
        if record.size != size {
            return Err(StorageError::OtherSize {
                fid: computed,
                stored: record.size,
                given: size,
            });
        }
        Ok(Stored {
            fid: computed,
            size,
            segments,
        })
    }

    async fn get(&self, fid: Fid, range: Option<ByteRange>) -> Result<ObjectStream, StorageError> {
        let record = self.record(fid).await?;
        let size = record.size;
        let wanted = match range {
            None => 0..size,
            Some(range) => range
                .within(size)
                .ok_or(StorageError::RangeNotSatisfiable {
                    fid,
                    start: range.start(),
                    size,
                })?,
        };
        let segment = self.config.geometry.segment() as u64;
        // Only whole segments can be verified.
        let left = wanted.start / segment * segment..wanted.end.next_multiple_of(segment).min(size);
        let request = self
            .http
            .get(self.url(&["gateway", "download", &fid.to_string()]))
            .header(RANGE, format!("bytes={}-{}", left.start, left.end - 1));
        let response = self.send(request, self.config.idle_timeout).await?;
        let malformed = |what: String| StorageError::Malformed { what };
        let header = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        if header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json")) {
            let refused: Result<(i64, serde_json::Value), _> =
                self.open(response, &[DONE, DOWNLOADED, PLAIN_OK]).await;
            refused?;
            return Err(malformed(
                "it is data about the object instead of it".to_owned(),
            ));
        }
        let whole = response.status() == StatusCode::OK && left == (0..size);
        let told = header(reqwest::header::CONTENT_RANGE).and_then(parse_content_range);
        let part =
            response.status() == StatusCode::PARTIAL_CONTENT && told == Some((left.clone(), size));
        if !whole && !part {
            let what = format!("it has HTTP status {} or another range", response.status());
            return Err(malformed(what));
        }
        let expected = Expected::Listed(record.segment_hashes());
        let (geometry, idle) = (self.config.geometry, self.config.idle_timeout);
        Ok(stream(
            fid,
            geometry,
            idle,
            response,
            (size, left, wanted),
            expected,
        ))
    }

    async fn stat(&self, fid: Fid) -> Result<ObjectInfo, StorageError> {
        let record = self.record(fid).await?;
        Ok(ObjectInfo {
            fid,
            size: record.size,
            segments: Some(record.segment_hashes()),
            owners: self.bank.owners(fid).await?,
        })
    }

    async fn list(&self, page: Page) -> Result<Vec<ListedObject>, StorageError> {
        self.bank.list(self.signer.account(), page).await
    }

    async fn delete(&self, fid: Fid) -> Result<Deleted, StorageError> {
        self.bank.delete(fid, self.signer.account()).await
    }

    async fn locate(&self, fid: Fid) -> Result<Vec<FragmentLocation>, StorageError> {
        let record = self.record(fid).await?;
        let zero = Codec::new(self.config.geometry).zero_fragment();
        let mut locations = Vec::with_capacity(record.segments.len() * FRAGMENTS);
        for (segment, coded) in (0..).zip(&record.segments) {
            for (index, hash) in (0..).zip(coded.fragments) {
                locations.push(FragmentLocation {
                    segment,
                    index,
                    hash,
                    node: record.placement[usize::from(index)].to_string(),
                    site: None,
                    // By the word of the chain.
                    state: if hash == zero {
                        FragmentState::Zero
                    } else {
                        FragmentState::Present
                    },
                });
            }
        }
        Ok(locations)
    }
}

impl fmt::Debug for RetrieverStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetrieverStore")
            .field("base", &self.base.as_str())
            .field("account", &self.signer.account())
            .finish_non_exhaustive()
    }
}

/// What is signed for a token: `<Bytes>`, the SHA-256 of the time as text, `</Bytes>`.
pub(crate) fn token_message(message: &str) -> Vec<u8> {
    let hash: [u8; 32] = Sha256::digest(message).into();
    [b"<Bytes>", &hash[..], b"</Bytes>"].concat()
}

/// Takes code and data out of an answer; any code but those that are `fine` is an error.
pub(crate) fn parse_answer(
    bytes: &[u8],
    fine: &[i64],
) -> Result<(i64, serde_json::Value), StorageError> {
    let answer: Answer = serde_json::from_slice(bytes).map_err(|error| {
        let what = format!("it is not an envelope ({error})");
        StorageError::Malformed { what }
    })?;
    if fine.contains(&answer.code) {
        return Ok((answer.code, answer.data));
    }
    let message: String = answer.msg.chars().take(256).collect();
    Err(match answer.code {
        UNAUTHORISED => StorageError::NoPermission { reason: message },
        NO_SPACE => match serde_json::from_value(answer.data) {
            Ok(LimitData { limit }) => StorageError::Full { capacity: limit },
            Err(_) => StorageError::Refused {
                code: NO_SPACE as u16,
                message,
            },
        },
        code => StorageError::Refused {
            code: u16::try_from(code).unwrap_or(BAD_NAME as u16),
            message,
        },
    })
}

/// A form with one field, `file`: its type, and the whole body.
fn form(bytes: &[u8]) -> Result<(String, Vec<u8>), StorageError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| StorageError::NoEntropy)?;
    // Random, so that no content has it.
    let boundary = hex::encode(random);
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"chunk\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let body = [head.as_bytes(), bytes, tail.as_bytes()].concat();
    Ok((format!("multipart/form-data; boundary={boundary}"), body))
}

/// Whether trying again may help.
fn is_passing(error: &StorageError) -> bool {
    matches!(
        error,
        StorageError::Transport(_) | StorageError::TimedOut { .. }
    )
}
