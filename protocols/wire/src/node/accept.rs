//! Taking streams that others open.
//!
//! The first byte on a new stream goes from the taker to the opener and says whether the stream was
//! taken. So `open` means "the other side has it", an overloaded node refuses in words, and a stream
//! that was lost in between is noticed before anything is sent on it.

use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{PeerId, Stream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::admission::{Admission, Permit};
use super::error::{OpenError, StreamRefusal};
use super::{BulkStream, Shared};

const TAKEN: u8 = 1;
const BUSY: u8 = 2;
const NOT_SERVING: u8 = 3;

/// How long an opener may take to receive one byte.
const VERDICT_WITHIN: Duration = Duration::from_secs(10);

/// Takes streams until the node is gone.
pub(super) async fn run(
    mut incoming: libp2p_stream::IncomingStreams,
    taken: mpsc::Sender<(PeerId, BulkStream)>,
    shared: Arc<Shared>,
) {
    let limits = &shared.limits;
    let admission = Admission::new(limits.inbound_streams, limits.inbound_streams_per_peer);
    // Telling a peer that it is refused also takes a task and time: past this many the stream is
    // just dropped, which the peer sees as closed.
    let refusals = Admission::new(64, 8);
    while let Some((peer, stream)) = incoming.next().await {
        if taken.is_closed() {
            refuse(&refusals, peer, stream, NOT_SERVING);
        } else if let Some(permit) = admission.admit(peer) {
            tokio::spawn(take(peer, stream, permit, taken.clone(), shared.clone()));
        } else {
            tracing::debug!(%peer, "too many streams, refused one");
            refuse(&refusals, peer, stream, BUSY);
        }
    }
}

async fn take(
    peer: PeerId,
    mut stream: Stream,
    permit: Permit,
    taken: mpsc::Sender<(PeerId, BulkStream)>,
    shared: Arc<Shared>,
) {
    // A place in the queue first: what the opener is told must be true.
    let place = match timeout(VERDICT_WITHIN, taken.reserve()).await {
        Ok(Ok(place)) => place,
        Ok(Err(_)) => return tell(stream, NOT_SERVING).await,
        Err(_) => return tell(stream, BUSY).await,
    };
    match timeout(VERDICT_WITHIN, write_verdict(&mut stream, TAKEN)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "an opener left"),
        Err(_) => return tracing::debug!(%peer, "an opener does not read"),
    }
    match BulkStream::new(peer, stream, &shared, Some(permit)) {
        Ok(stream) => place.send((peer, stream)),
        Err(error) => tracing::error!(%peer, %error, "stream dropped: cannot capture it"),
    }
}

fn refuse(refusals: &Admission, peer: PeerId, stream: Stream, verdict: u8) {
    if let Some(permit) = refusals.admit(peer) {
        tokio::spawn(async move {
            tell(stream, verdict).await;
            drop(permit);
        });
    }
}

async fn tell(mut stream: Stream, verdict: u8) {
    let telling = async {
        write_verdict(&mut stream, verdict).await?;
        stream.close().await
    };
    // Best effort: without it the opener sees a closed stream.
    let _ = timeout(VERDICT_WITHIN, telling).await;
}

async fn write_verdict(stream: &mut Stream, verdict: u8) -> std::io::Result<()> {
    stream.write_all(&[verdict]).await?;
    stream.flush().await
}

/// The opener's side: waits for the verdict. The caller sets the deadline.
pub(super) async fn await_verdict(stream: &mut Stream, peer: PeerId) -> Result<(), OpenError> {
    let mut verdict = [0];
    stream
        .read_exact(&mut verdict)
        .await
        .map_err(|source| OpenError::Closed {
            peer,
            tries: 1,
            source,
        })?;
    let refusal = match verdict[0] {
        TAKEN => return Ok(()),
        BUSY => StreamRefusal::Busy,
        NOT_SERVING => StreamRefusal::NotServing,
        verdict => return Err(OpenError::Malformed { peer, verdict }),
    };
    Err(OpenError::Refused { peer, refusal })
}
