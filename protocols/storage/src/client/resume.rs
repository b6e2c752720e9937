//! Sending a file in chunks, over connections that break.

use std::io::SeekFrom;
use std::time::Duration;

use reqwest::header::CONTENT_RANGE;
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::HttpStore;
use crate::buffers::Buffer;
use crate::embedded::blocking;
use crate::error::StorageError;
use crate::fid::{Fid, FidRule};
use crate::http::LOCATION_POLICY;
use crate::http::envelope::FidData;
use crate::layout::FidHasher;
use crate::object::{ObjectName, PutOptions, Stored};
use crate::store::ObjectStore as _;

/// How often a chunk, or with DeOSS a whole upload, is tried.
const TRIES: u32 = 4;

impl HttpStore {
    /// Stores a file that can be read again: in chunks of [`chunk`](super::HttpStoreConfig::chunk)
    /// bytes, each of which is sent again if its answer does not come.
    ///
    /// DeOSS appends a chunk that it is sent twice, so with such a gateway an upload that got into
    /// doubt begins anew under another name, which is the object's name there then.
    ///
    /// # Errors
    ///
    /// Those of [`ObjectStore::put`](crate::ObjectStore::put).
    pub async fn put_file(
        &self,
        file: &mut tokio::fs::File,
        options: PutOptions,
    ) -> Result<Stored, StorageError> {
        if options.rule != FidRule::DeOss {
            return Err(StorageError::RuleNotOffered { rule: options.rule });
        }
        let mut hasher = FidHasher::with_geometry(self.config.geometry);
        file.seek(SeekFrom::Start(0))
            .await
            .map_err(StorageError::Source)?;
        let mut piece = vec![0; 1 << 20];
        loop {
            let count = file.read(&mut piece).await.map_err(StorageError::Source)?;
            if count == 0 {
                break;
            }
            hasher.update(&piece[..count]);
        }
        let size = hasher.size();
        let limit = self.config.max_object;
        if size > limit {
            return Err(StorageError::TooLarge { limit });
        }
        let segments = blocking(move || Ok(hasher.finish())).await?;
        let computed = options.rule.fid(&segments).ok_or(StorageError::Empty)?;
        let appends = !self.version().await?.starts_with("ai-link-storage/");
        let mut attempt = 0;
        let answer = loop {
            let name = renamed(&options.name, attempt);
            match self.chunks(file, size, &name, &options, appends).await {
                Err(error) if appends && is_passing(&error) && attempt + 1 < TRIES => {
                    tracing::warn!(%error, "an upload begins anew under another name");
                    attempt += 1;
                }
                result => break result?,
            }
        };
        let FidData {
            fid: answered,
            policy_kept,
        } = answer;
        if answered != computed {
            return Err(StorageError::FidChanged { answered, computed });
        }
        self.follows(computed, &options, policy_kept).await?;
        self.active(computed).await?;
        Ok(Stored {
            fid: computed,
            size,
            segments,
        })
    }

    /// Sends all chunks under one name.
    async fn chunks(
        &self,
        file: &mut tokio::fs::File,
        size: u64,
        name: &ObjectName,
        options: &PutOptions,
        appends: bool,
    ) -> Result<FidData, StorageError> {
        let (mut at, mut failures) = (0, 0);
        loop {
            let end = size.min(at + self.config.chunk as u64);
            match self.chunk(file, (at, end, size), name, options).await {
                Ok(Some(data)) => return Ok(data),
                Ok(None) if end < size => {
                    at = end;
                    failures = 0;
                }
                Ok(None) => {
                    let what = "the last chunk was answered without a fid".to_owned();
                    return Err(StorageError::Malformed { what });
                }
                Err(error) if !appends && is_passing(&error) && failures + 1 < TRIES => {
                    failures += 1;
                    tracing::warn!(at, %error, "a chunk is sent again");
                    tokio::time::sleep(Duration::from_millis(50 << failures)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends one chunk; gives what the last one is answered with.
    async fn chunk(
        &self,
        file: &mut tokio::fs::File,
        (start, end, size): (u64, u64, u64),
        name: &ObjectName,
        options: &PutOptions,
    ) -> Result<Option<FidData>, StorageError> {
        let mut chunk = Buffer::zeros((end - start) as usize);
        file.seek(SeekFrom::Start(start))
            .await
            .map_err(StorageError::Source)?;
        file.read_exact(chunk.bytes())
            .await
            .map_err(StorageError::Source)?;
        let url = self.url(["resume", name.as_str()]);
        let mut request = self
            .signed(Method::PUT, url)?
            .header(CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1))
            .timeout(self.config.upload_timeout)
            .body(chunk.freeze());
        if let Some(policy) = &options.policy {
            request = request.header(LOCATION_POLICY, policy.to_json());
        }
        let response = request.send().await.map_err(StorageError::Transport)?;
        if response.status() == StatusCode::PERMANENT_REDIRECT {
            return Ok(None);
        }
        self.open(response, None).await.map(Some)
    }

    /// What the other side calls itself.
    async fn version(&self) -> Result<String, StorageError> {
        let response = self.send(self.http.get(self.url(["version"]))).await?;
        let bytes = self.collect(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| StorageError::Malformed {
            what: format!("its version is not a text ({error})"),
        })
    }

    /// Whether the location policy of a put was followed; what was stored without is deleted.
    pub(super) async fn follows(
        &self,
        fid: Fid,
        options: &PutOptions,
        kept: Option<bool>,
    ) -> Result<(), StorageError> {
        if options.policy.is_none() || kept == Some(true) {
            return Ok(());
        }
        // It lies anywhere now. It must not stay there.
        if let Err(error) = self.delete(fid).await {
            tracing::error!(%fid, %error, "an object that lies anywhere could not be deleted");
        }
        let reason = "it does not know them; what was sent was deleted again".to_owned();
        Err(StorageError::PolicyNotOffered { reason })
    }
}

/// The name of another attempt.
fn renamed(name: &ObjectName, attempt: u32) -> ObjectName {
    let mut text = name.as_str().to_owned();
    while attempt > 0 && text.len() > 60 {
        text.pop();
    }
    let text = if attempt == 0 {
        text
    } else {
        format!("{text}.{attempt}")
    };
    text.parse().unwrap_or_else(|_| name.clone())
}

fn is_passing(error: &StorageError) -> bool {
    matches!(
        error,
        StorageError::Transport(_) | StorageError::TimedOut { .. }
    )
}
