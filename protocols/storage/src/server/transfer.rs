//! Bodies of uploads and downloads.

use std::io;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use crate::error::StorageError;
use crate::stream::ObjectStream;

/// Pieces in which a download is handed to the connection. Small, so that a slow but moving client
/// is seen to move.
const PIECE: usize = 256 << 10;
/// How much of a refused upload is still taken, and for how long, so that the client gets to read
/// the answer instead of a reset connection.
const DRAIN_BYTES: u64 = 4 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Takes what is left of an upload, within reason.
pub(super) async fn drain(body: &mut (impl AsyncRead + Unpin)) {
    let mut sink = tokio::io::sink();
    let mut body = body.take(DRAIN_BYTES);
    // Whatever happens, the answer follows.
    let _ = timeout(DRAIN_TIME, tokio::io::copy(&mut body, &mut sink)).await;
}

/// A body that gives `object`. The slot is kept until the body ended, the client left, or it took
/// nothing for `idle`.
///
/// The first piece is read before this returns, so that an object that is lost is refused in an
/// envelope.
pub(super) async fn body(
    mut object: ObjectStream,
    slot: OwnedSemaphorePermit,
    idle: Duration,
) -> Result<Body, StorageError> {
    let mut next = object.next().await.transpose()?;
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(1);
    tokio::spawn(async move {
        let _slot = slot;
        while let Some(mut bytes) = next {
            while !bytes.is_empty() {
                let piece = bytes.split_to(PIECE.min(bytes.len()));
                match timeout(idle, sender.send(Ok(piece))).await {
                    Ok(Ok(())) => {}
                    // The client left or stands still.
                    Ok(Err(_)) | Err(_) => return,
                }
            }
            next = match object.next().await.transpose() {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(%error, "a download was cut");
                    // The connection is cut, so the client sees that the body is not complete.
                    let error = io::Error::other("the object cannot be read further");
                    let _ = timeout(idle, sender.send(Err(error))).await;
                    return;
                }
            };
        }
    });
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    Ok(Body::from_stream(pieces))
}
