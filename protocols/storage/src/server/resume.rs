//! `PUT /resume/{name}`: uploads in chunks, which may be sent again.
//!
//! What came is kept in a temporary file for an hour, under account, name and size. DeOSS appends
//! every chunk, also one that it has; here a chunk goes to the place that it names.

use std::collections::HashMap;
use std::io::SeekFrom;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_RANGE, HeaderMap};
use axum::http::{Method, StatusCode, Uri};
use axum::response::IntoResponse;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::StreamReader;

use super::handlers::{Answer, App, internal, policy, slot, success, text, told};
use super::transfer;
use crate::account::Account;
use crate::error::StorageError;
use crate::fid::Fid;
use crate::http::body::with_idle_limit;
use crate::http::envelope::{FidData, Refusal};
use crate::http::range::parse_content_range;
use crate::object::{ObjectName, PutOptions};
use crate::stream::ByteSource;

/// How long an upload may stand still.
const KEPT_FOR: Duration = Duration::from_secs(3600);
/// The most uploads that are kept.
const MAX_PARTIAL: usize = 16;

type Key = (Account, ObjectName, u64);

/// Uploads that are not complete.
#[derive(Default)]
pub(super) struct Partials(Mutex<HashMap<Key, Kept>>);

struct Kept {
    used: Instant,
    partial: Arc<tokio::sync::Mutex<Partial>>,
}

#[derive(Default)]
struct Partial {
    file: Option<tokio::fs::File>,
    received: u64,
    /// What became of it: an answer that was lost is given again.
    done: Option<Fid>,
}

impl Partials {
    fn find(&self, key: Key) -> Result<Arc<tokio::sync::Mutex<Partial>>, Refusal> {
        let mut partials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        partials.retain(|_, kept| kept.used.elapsed() < KEPT_FOR);
        if !partials.contains_key(&key) && partials.len() >= MAX_PARTIAL {
            return Err(Refusal::busy());
        }
        let kept = partials.entry(key).or_insert_with(|| Kept {
            used: Instant::now(),
            partial: Arc::default(),
        });
        kept.used = Instant::now();
        Ok(Arc::clone(&kept.partial))
    }
}

pub(super) async fn resume(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let body = with_idle_limit(Box::pin(body.into_data_stream()), app.config.idle_timeout);
    let mut body = StreamReader::new(Box::pin(body));
    let chunk = async {
        let owner = app.authorize(&method, &uri, &headers)?;
        let name: ObjectName = text(name)?.parse()?;
        let header = headers.get(CONTENT_RANGE).ok_or_else(|| {
            Refusal::bad_request("Content-Range is missing from the request header")
        })?;
        let (range, total) = header
            .to_str()
            .ok()
            .and_then(parse_content_range)
            .ok_or_else(|| Refusal::bad_request("Illegal Content-Range content"))?;
        let limit = app.store.max_object();
        if total > limit {
            return Err(Refusal::from(&StorageError::TooLarge { limit }));
        }
        let _slot = slot(&app.uploads)?;
        let partial = app.partials.find((owner, name.clone(), total))?;
        let mut partial = partial.lock().await;
        if range.start > partial.received {
            return Err(Refusal::bad_request("Illegal Content-Range content"));
        }
        let file = match &mut partial.file {
            Some(file) => file,
            empty => empty.insert(tokio::fs::File::from_std(
                tempfile::tempfile().map_err(internal)?,
            )),
        };
        file.seek(SeekFrom::Start(range.start))
            .await
            .map_err(internal)?;
        let length = range.end - range.start;
        let taken = tokio::io::copy(&mut (&mut body).take(length), file).await;
        let taken = taken.map_err(|_| Refusal::bad_request("the body was cut short"))?;
        file.flush().await.map_err(internal)?;
        if taken < length {
            return Err(Refusal::bad_request("received less file content"));
        }
        if tokio::io::copy(&mut (&mut body).take(1), &mut tokio::io::sink())
            .await
            .unwrap_or(1)
            > 0
        {
            return Err(Refusal::bad_request("received more file content"));
        }
        partial.received = partial.received.max(range.end);
        if range.end < total {
            return Ok(None);
        }
        if partial.received < total {
            return Err(Refusal::bad_request("Illegal Content-Range content"));
        }
        if partial.done.is_none() {
            let options = PutOptions {
                policy: policy(&headers)?,
                ..PutOptions::named(name)
            };
            let mut file = partial.file.take().ok_or_else(Refusal::internal)?;
            file.seek(SeekFrom::Start(0)).await.map_err(internal)?;
            let stored = app
                .store
                .put_as(owner, ByteSource::new(&mut file), options)
                .await;
            // It may be tried again if it was not stored.
            partial.file = Some(file);
            partial.done = Some(stored.map_err(told)?.fid);
            partial.file = None;
        }
        Ok(partial.done)
    };
    let result = chunk.await;
    if result.is_err() {
        transfer::drain(&mut body).await;
    }
    match result? {
        Some(fid) => Ok(success(FidData {
            fid,
            policy_kept: policy(&headers)?.map(|_| true),
        })),
        None => {
            let range = headers[CONTENT_RANGE].clone();
            Ok((
                StatusCode::PERMANENT_REDIRECT,
                [(CONTENT_RANGE, range)],
                "null",
            )
                .into_response())
        }
    }
}
