//! Bytes on their way into and out of a store.

use std::fmt;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::StreamReader;

use crate::error::StorageError;

/// Where the bytes of a new object come from.
pub struct ByteSource<'a>(Pin<Box<dyn AsyncRead + Send + 'a>>);

impl<'a> ByteSource<'a> {
    /// Takes bytes from any reader, for example a file.
    pub fn new(reader: impl AsyncRead + Send + 'a) -> Self {
        Self(Box::pin(reader))
    }
}

impl<'a> From<&'a [u8]> for ByteSource<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::new(bytes)
    }
}

impl AsyncRead for ByteSource<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_read(cx, buffer)
    }
}

impl fmt::Debug for ByteSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByteSource")
    }
}

/// The bytes of an object, or of a range of it, in order. Every item was verified (for one exception
/// see [`HttpStore`](crate::HttpStore)), but the object is complete only when the stream ends
/// without an error.
pub struct ObjectStream {
    size: u64,
    range: Range<u64>,
    bytes: BoxStream<'static, Result<Bytes, StorageError>>,
}

impl ObjectStream {
    pub(crate) fn new(
        size: u64,
        range: Range<u64>,
        bytes: impl Stream<Item = Result<Bytes, StorageError>> + Send + 'static,
    ) -> Self {
        Self {
            size,
            range,
            bytes: bytes.boxed(),
        }
    }

    /// The size of the whole object in bytes.
    pub fn object_size(&self) -> u64 {
        self.size
    }

    /// Which bytes of the object this stream gives.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Collects the stream in memory.
    ///
    /// # Errors
    ///
    /// [`StorageError::TooLarge`] if it has more than `limit` bytes (nothing is read then), or what
    /// befell while reading.
    pub async fn into_vec(mut self, limit: u64) -> Result<Vec<u8>, StorageError> {
        if self.range.end - self.range.start > limit {
            return Err(StorageError::TooLarge { limit });
        }
        let mut collected = Vec::new();
        while let Some(bytes) = self.bytes.try_next().await? {
            collected.extend_from_slice(&bytes);
        }
        Ok(collected)
    }

    /// Reads the stream as a reader. Its errors carry the [`StorageError`] as their source.
    pub fn into_reader(self) -> impl AsyncRead + Send + Unpin + 'static {
        StreamReader::new(self.bytes.map_err(io::Error::other))
    }
}

impl Stream for ObjectStream {
    type Item = Result<Bytes, StorageError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.bytes.poll_next_unpin(cx)
    }
}

impl fmt::Debug for ObjectStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStream")
            .field("size", &self.size)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}
