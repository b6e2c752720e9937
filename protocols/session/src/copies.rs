//! Copies that workers take from each other: the stream at both ends ([`ai_link_wire::nearby`] has the picture).

use std::time::Duration;

use ai_link_wire::node::{BulkStream, FrameKind, Node, OpenError, StreamError};
use ai_link_wire::{COPY_PIECE, CodecError, CopyHello, CopyOf, CopyReply, Holder, Limit, codec};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout};

use crate::hello::COPY;

/// A word and a size.
const REPLY: Limit = Limit::bytes(32);
/// How long a holder may take to be reached and to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// What is asked of the way between two workers: who is slower is given up, since whoever waits for the copy
/// waits with everything that needs it.
const LEAST_RATE: u64 = 4 << 20;
/// In which a way may be slow to begin with.
const GRACE: Duration = Duration::from_secs(5);

/// Takes a copy of at most `most` bytes from `holder`.
///
/// What comes is what the holder says it is: hash it before it is used.
///
/// # Errors
/// [`CopyError`]; all of them mean that it must be had elsewhere.
pub async fn fetch(
    node: &Node,
    holder: &Holder,
    what: CopyOf,
    most: u64,
) -> Result<Vec<u8>, CopyError> {
    let asking = ask(node, holder, what);
    let (mut stream, reply) =
        timeout(ANSWER_WITHIN, asking)
            .await
            .map_err(|_| CopyError::Silent {
                within: ANSWER_WITHIN,
            })??;
    let bytes = match reply {
        CopyReply::Here { bytes } if bytes <= most => bytes,
        CopyReply::Here { bytes } => return Err(CopyError::TooLarge { bytes, most }),
        refusal => return Err(CopyError::Refused { refusal }),
    };
    stream.set_deadline(Instant::now() + patience(bytes));
    let mut copy = Vec::new();
    for piece in pieces(bytes) {
        copy.append(&mut stream.recv_exact(FrameKind::CopyPiece, piece).await?);
    }
    Ok(copy)
}

async fn ask(
    node: &Node,
    holder: &Holder,
    what: CopyOf,
) -> Result<(BulkStream, CopyReply), CopyError> {
    let peer = holder.peer.peer_id();
    let mut stream = node.open(peer, &holder.addresses, ANSWER_WITHIN).await?;
    let hello = codec::encode(&CopyHello { what }, COPY)?;
    stream.send(FrameKind::CopyHello, &hello).await?;
    let reply = stream.recv_bounded(FrameKind::CopyReply, REPLY.get());
    let reply = codec::decode(&reply.await?, REPLY)?;
    Ok((stream, reply))
}

/// Answers that there is no copy.
///
/// # Errors
/// [`CopyError::Stream`].
pub async fn refuse(stream: &mut BulkStream, refusal: CopyReply) -> Result<(), CopyError> {
    let reply = codec::encode(&refusal, REPLY)?;
    stream.send(FrameKind::CopyReply, &reply).await?;
    Ok(stream.close().await?)
}

/// Sends the `bytes` that `from` has.
///
/// # Errors
/// [`CopyError::Read`] if `from` has less, [`CopyError::Stream`].
pub async fn send(
    stream: &mut BulkStream,
    bytes: u64,
    mut from: impl AsyncRead + Unpin,
) -> Result<(), CopyError> {
    let reply = codec::encode(&CopyReply::Here { bytes }, REPLY)?;
    stream.send(FrameKind::CopyReply, &reply).await?;
    stream.set_deadline(Instant::now() + patience(bytes));
    let mut buffer = vec![0; COPY_PIECE];
    for piece in pieces(bytes) {
        let piece = &mut buffer[..piece];
        from.read_exact(piece).await.map_err(CopyError::Read)?;
        stream.send(FrameKind::CopyPiece, piece).await?;
    }
    Ok(stream.close().await?)
}

/// How long a copy of `bytes` may take in all.
fn patience(bytes: u64) -> Duration {
    GRACE + Duration::from_secs(bytes / LEAST_RATE)
}

/// Sizes of the pieces that carry `bytes`.
fn pieces(bytes: u64) -> impl Iterator<Item = usize> {
    let piece = COPY_PIECE as u64;
    let last = (bytes % piece) as usize;
    (0..bytes / piece)
        .map(|_| COPY_PIECE)
        .chain((last > 0).then_some(last))
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// An answer is not one.
    #[error("the answer is not one")]
    Codec(#[from] CodecError),
    /// The holder cannot be reached.
    #[error("the holder cannot be reached")]
    Open(#[from] OpenError),
    /// What was to be sent cannot be read.
    #[error("the copy cannot be read")]
    Read(#[source] std::io::Error),
    /// The holder has none, or does not give it.
    #[error("the holder answers {refusal:?}")]
    Refused {
        /// Its answer.
        refusal: CopyReply,
    },
    /// Nothing came.
    #[error("no answer within {within:?}")]
    Silent {
        /// How long the holder had.
        within: Duration,
    },
    /// The stream broke, or was too slow.
    #[error("the stream broke")]
    Stream(#[from] StreamError),
    /// Larger than what was wanted can be.
    #[error("it has {bytes} bytes, and at most {most} are taken")]
    TooLarge {
        /// What the holder says.
        bytes: u64,
        /// The limit.
        most: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_but_for_the_last() {
        let piece = COPY_PIECE as u64;
        for (bytes, wanted) in [
            (0, vec![]),
            (1, vec![1]),
            (piece, vec![COPY_PIECE]),
            (2 * piece + 5, vec![COPY_PIECE, COPY_PIECE, 5]),
        ] {
            assert_eq!(pieces(bytes).collect::<Vec<_>>(), wanted);
        }
    }
}
