//! Fetching an object.

use std::io;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode};

use super::{HttpStore, is_envelope, read_error};
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid, FidRule};
use crate::http::body::with_idle_limit;
use crate::http::range::parse_content_range;
use crate::layout::{FidHasher, Geometry};
use crate::object::ByteRange;
use crate::stream::ObjectStream;

/// A download under way.
struct Download {
    fid: Fid,
    geometry: Geometry,
    idle: Duration,
    body: BoxStream<'static, io::Result<Bytes>>,
    /// Of the body's bytes, what was received but belongs to the next segment.
    rest: Bytes,
    /// Which bytes of the object the body still has; begins at a segment.
    left: Range<u64>,
    /// Which bytes of the object were asked for.
    wanted: Range<u64>,
    expected: Expected,
}

/// What the segments are held against.
pub(crate) enum Expected {
    /// All of the object's segments.
    Listed(Vec<ContentHash>),
    /// The fid, when all segments are known: those that came so far.
    Unlisted(Vec<ContentHash>),
}

pub(super) async fn get(
    store: &HttpStore,
    fid: Fid,
    range: Option<ByteRange>,
) -> Result<ObjectStream, StorageError> {
    let metadata = store.metadata(fid).await?;
    let size = metadata.size;
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
    let limit = store.config.max_object;
    if wanted.end - wanted.start > limit {
        return Err(StorageError::TooLarge { limit });
    }
    let geometry = store.config.geometry;
    let segment = geometry.segment() as u64;
    // Only whole segments can be verified.
    let left = match &metadata.segments {
        Some(_) => wanted.start / segment * segment..wanted.end.next_multiple_of(segment).min(size),
        None if wanted == (0..size) || geometry.segments(size) == 1 => 0..size,
        None => return Err(StorageError::SegmentsUnknown { fid }),
    };
    let response = request(store, fid, &left, size).await?;
    let idle = store.config.idle_timeout;
    let expected = match metadata.segments {
        Some(segments) => Expected::Listed(segments),
        None => Expected::Unlisted(Vec::new()),
    };
    Ok(stream(
        fid,
        geometry,
        idle,
        response,
        (size, left, wanted),
        expected,
    ))
}

/// The verified bytes `wanted` of an object of `size` bytes, of which `response` gives `left`, which
/// begins at a segment.
pub(crate) fn stream(
    fid: Fid,
    geometry: Geometry,
    idle: Duration,
    response: Response,
    (size, left, wanted): (u64, Range<u64>, Range<u64>),
    expected: Expected,
) -> ObjectStream {
    let download = Download {
        fid,
        geometry,
        idle,
        body: with_idle_limit(response.bytes_stream().boxed(), idle).boxed(),
        rest: Bytes::new(),
        left,
        wanted: wanted.clone(),
        expected,
    };
    let segments = stream::try_unfold(download, |mut download| async move {
        if download.left.is_empty() {
            return Ok(None);
        }
        let bytes = download.segment().await?;
        Ok(Some((bytes, download)))
    });
    ObjectStream::new(size, wanted, segments)
}

/// Asks for some bytes of an object of `size` bytes.
async fn request(
    store: &HttpStore,
    fid: Fid,
    range: &Range<u64>,
    size: u64,
) -> Result<Response, StorageError> {
    let text = fid.to_string();
    let whole = *range == (0..size);
    let request = if whole {
        store.http.get(store.url(["file", "download", &text]))
    } else {
        let value = format!("bytes={}-{}", range.start, range.end - 1);
        // DeOSS looks at the second one.
        store
            .http
            .get(store.url(["file", "open", &text]))
            .header(RANGE, &value)
            .header(CONTENT_RANGE, &value)
    };
    let response = store.send(request).await?;
    let malformed = |what: String| StorageError::Malformed { what };
    if is_envelope(&response) {
        let data: serde_json::Value = store.open(response, Some(fid)).await?;
        drop(data);
        return Err(malformed(
            "it is data about the object instead of the object".to_owned(),
        ));
    }
    let status = response.status();
    let header = response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok());
    match status {
        StatusCode::OK if whole => Ok(response),
        StatusCode::PARTIAL_CONTENT if !whole => {
            if header.and_then(parse_content_range) != Some((range.clone(), size)) {
                return Err(malformed(
                    "it is another range than was asked for".to_owned(),
                ));
            }
            Ok(response)
        }
        _ => Err(malformed(format!("it has HTTP status {status}"))),
    }
}

impl Download {
    /// Receives the next segment, verifies it and gives what was asked for of it.
    async fn segment(&mut self) -> Result<Bytes, StorageError> {
        let size = self.geometry.segment() as u64;
        let start = self.left.start;
        let end = (start + size).min(self.left.end);
        let bytes = self.receive((end - start) as usize).await?;
        self.left.start = end;
        let last = self.left.is_empty();
        if last {
            self.expect_end().await?;
        }

        let (bytes, found) = hash(self.geometry, bytes).await?;
        let number = start / size;
        match &mut self.expected {
            Expected::Listed(segments) => {
                let expected = segments.get(number as usize).copied();
                let expected = expected.ok_or(StorageError::FidMismatch { fid: self.fid })?;
                if found != expected {
                    let (fid, segment) = (self.fid, number);
                    return Err(StorageError::SegmentMismatch {
                        fid,
                        segment,
                        expected,
                        found,
                    });
                }
            }
            Expected::Unlisted(segments) => {
                segments.push(found);
                if last && FidRule::matching(self.fid, segments).is_none() {
                    return Err(StorageError::FidMismatch { fid: self.fid });
                }
            }
        }
        let from = self.wanted.start.max(start) - start;
        let to = self.wanted.end.min(end) - start;
        Ok(bytes.slice(from as usize..to as usize))
    }

    async fn receive(&mut self, count: usize) -> Result<Vec<u8>, StorageError> {
        // Grows with what arrives, not with what was announced.
        let mut bytes = Vec::new();
        loop {
            let now = self.rest.len().min(count - bytes.len());
            bytes.extend_from_slice(&self.rest.split_to(now));
            if bytes.len() == count {
                return Ok(bytes);
            }
            let piece = self
                .body
                .try_next()
                .await
                .map_err(|error| read_error(error, self.idle))?;
            let Some(piece) = piece else {
                let missing = count - bytes.len();
                let what = format!("the object ends {missing} bytes before it should");
                return Err(StorageError::Malformed { what });
            };
            self.rest = piece;
        }
    }

    async fn expect_end(&mut self) -> Result<(), StorageError> {
        while self.rest.is_empty() {
            match self
                .body
                .try_next()
                .await
                .map_err(|error| read_error(error, self.idle))?
            {
                Some(piece) => self.rest = piece,
                None => return Ok(()),
            }
        }
        Err(StorageError::Malformed {
            what: "the object goes on behind its end".to_owned(),
        })
    }
}

/// The hash of a padded segment.
async fn hash(geometry: Geometry, bytes: Vec<u8>) -> Result<(Bytes, ContentHash), StorageError> {
    let hashed = tokio::task::spawn_blocking(move || {
        let mut hasher = FidHasher::with_geometry(geometry);
        hasher.update(&bytes);
        (bytes, hasher.finish())
    })
    .await;
    match hashed {
        Ok((bytes, segments)) => match segments[..] {
            [hash] => Ok((Bytes::from(bytes), hash)),
            _ => Err(StorageError::Malformed {
                what: "a segment is empty".to_owned(),
            }),
        },
        Err(error) => Err(StorageError::Io {
            doing: "hashed a segment",
            source: io::Error::other(error),
        }),
    }
}
