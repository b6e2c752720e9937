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

pub(super) const TAKEN: u8 = 1;
const BUSY: u8 = 2;
const NOT_SERVING: u8 = 3;

/// How long an opener may take to receive one byte.
const VERDICT_WITHIN: Duration = Duration::from_secs(10);

/// Where streams come in, whatever carries them: one set of places for all.
pub(super) struct Door {
    taken: mpsc::Sender<(PeerId, BulkStream)>,
    streams: Admission<PeerId>,
    /// Telling a peer that it is refused also takes a task and time: past this many the stream is
    /// just dropped, which the peer sees as closed.
    refusals: Admission<PeerId>,
    pub(super) shared: Arc<Shared>,
}

/// What becomes of a stream.
pub(super) enum Answer {
    /// It is taken, if there is a place in the queue as well.
    Take(Permit<PeerId>),
    /// The opener is told this.
    Refuse(u8, Permit<PeerId>),
    /// It is not even told.
    Drop,
}

impl Door {
    pub(super) fn new(taken: mpsc::Sender<(PeerId, BulkStream)>, shared: Arc<Shared>) -> Self {
        let limits = &shared.limits;
        Self {
            taken,
            streams: Admission::new(limits.inbound_streams, limits.inbound_streams_per_peer),
            refusals: Admission::new(64, 8),
            shared,
        }
    }

    pub(super) fn answer(&self, peer: PeerId) -> Answer {
        let verdict = if self.taken.is_closed() {
            NOT_SERVING
        } else if let Some(permit) = self.streams.admit(peer) {
            return Answer::Take(permit);
        } else {
            tracing::debug!(%peer, "too many streams, refused one");
            BUSY
        };
        match self.refusals.admit(peer) {
            Some(permit) => Answer::Refuse(verdict, permit),
            None => Answer::Drop,
        }
    }

    /// A place in the queue, which comes before the verdict: what the opener is told must be true.
    pub(super) async fn place(&self) -> Result<mpsc::Permit<'_, (PeerId, BulkStream)>, u8> {
        match timeout(VERDICT_WITHIN, self.taken.reserve()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(NOT_SERVING),
            Err(_) => Err(BUSY),
        }
    }
}

/// Takes streams of libp2p until the node is gone.
pub(super) async fn run(mut incoming: libp2p_stream::IncomingStreams, door: Arc<Door>) {
    while let Some((peer, stream)) = incoming.next().await {
        match door.answer(peer) {
            Answer::Take(permit) => drop(tokio::spawn(take(peer, stream, permit, door.clone()))),
            Answer::Refuse(verdict, permit) => {
                tokio::spawn(async move {
                    tell(stream, verdict).await;
                    drop(permit);
                });
            }
            Answer::Drop => {}
        }
    }
}

async fn take(peer: PeerId, mut stream: Stream, permit: Permit<PeerId>, door: Arc<Door>) {
    let place = match door.place().await {
        Ok(place) => place,
        Err(verdict) => return tell(stream, verdict).await,
    };
    match timeout(VERDICT_WITHIN, write_verdict(&mut stream, TAKEN)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "an opener left"),
        Err(_) => return tracing::debug!(%peer, "an opener does not read"),
    }
    match BulkStream::new(peer, stream, &door.shared, Some(permit)) {
        Ok(stream) => place.send((peer, stream)),
        Err(error) => tracing::error!(%peer, %error, "stream dropped: cannot capture it"),
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
    judge(verdict[0], peer)
}

/// What a verdict means.
pub(super) fn judge(verdict: u8, peer: PeerId) -> Result<(), OpenError> {
    let refusal = match verdict {
        TAKEN => return Ok(()),
        BUSY => StreamRefusal::Busy,
        NOT_SERVING => StreamRefusal::NotServing,
        verdict => return Err(OpenError::Malformed { peer, verdict }),
    };
    Err(OpenError::Refused { peer, refusal })
}
