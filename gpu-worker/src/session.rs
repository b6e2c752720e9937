//! Sessions: from a stream that someone opened to a signed receipt.
//!
//! `admit` decides from the ticket alone; [`board`] collects the streams of a session; `run` marks the session
//! as used, durably, and only then evaluates. Where one worker does all (`alone`), there is nothing to collect.

pub(crate) mod admit;
#[cfg(any(feature = "fhe", feature = "sealed"))]
pub(crate) mod alone;
pub mod board;
mod run;

use std::sync::Arc;
use std::time::Duration;

use ai_link_mpc::{Party, StoredShare};
use ai_link_program::Program;
use ai_link_session::hello::{self, AcceptError, Greeting};
use ai_link_session::{links, parties};
use ai_link_wire::node::{BulkStream, FrameKind};
use ai_link_wire::{
    Abort, Digest, HelloReply, Level, PeerId, PeerKey, Role, SessionHello, Ticket, UnixMillis,
    codec,
};
use tokio::sync::OwnedSemaphorePermit;

use crate::activity::Running;
use crate::dealing;
use crate::engine::Weights;
use crate::fhe;
use crate::hosting;
use crate::nearby;
use crate::pool::Claim;
use crate::sealed;
use crate::tally::{Attempt, Failure};
use crate::worker::Worker;
use board::Offer;

/// A peer that opens a stream has this long to say what it is for.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// How long a stream waits for the others of its session.
const MEET_WITHIN: Duration = Duration::from_secs(20);
/// How long a dealer may take to find out whether all evaluators have the pool that it offers.
const SETTLE_WITHIN: Duration = Duration::from_secs(15);
/// How long an abort may take to leave.
const TELL_WITHIN: Duration = Duration::from_secs(2);

/// A stream that was admitted.
#[derive(Debug)]
pub(crate) struct Seat {
    peer: PeerKey,
    stream: BulkStream,
    ticket: Ticket,
    /// With the client's stream come the model and a place among the sessions run at once.
    work: Option<Work>,
    /// With the dealer's stream comes the pool, if the session takes from one.
    claim: Option<Claim>,
    /// With the client's stream the session counts as attempted.
    attempt: Option<Attempt>,
}

#[derive(Debug)]
struct Work {
    program: Arc<Program>,
    weights: Weights,
    /// Shares of inputs that come from storage.
    inputs: Vec<StoredShare>,
    /// At the dealer, an entry of a pool of this group: to be used if all evaluators have theirs.
    claim: Option<Claim>,
    /// Held, not read: their drop frees the place.
    _permit: OwnedSemaphorePermit,
    _running: Running,
}

/// A session that may run: everything about it is checked.
#[derive(Debug)]
struct Admitted {
    session: Digest,
    role: Role,
    from: Party,
    peer: PeerKey,
    ticket: Ticket,
    work: Option<Work>,
}

/// Takes a stream from its first frame to the end of its session, if it completes one.
pub(crate) async fn incoming(worker: Arc<Worker>, peer: PeerId, mut stream: BulkStream) {
    let hello = match hello::accept(&mut stream, HELLO_WITHIN).await {
        Ok(Greeting::Session(hello)) if level(&hello) == Some(Level::Fhe) => {
            return fhe::incoming(worker, peer, stream, *hello).await;
        }
        Ok(Greeting::Session(hello)) if level(&hello) == Some(Level::Sealed) => {
            return sealed::incoming(worker, peer, stream, *hello).await;
        }
        Ok(Greeting::Session(hello)) => *hello,
        Ok(Greeting::Pool(hello)) => return dealing::incoming(worker, peer, stream, *hello).await,
        Ok(Greeting::Hosting(signed)) => {
            return hosting::receive(&worker, peer, stream, &signed).await;
        }
        Ok(Greeting::Copy(hello)) => return nearby::incoming(worker, peer, stream, hello).await,
        Err(error) => {
            tracing::debug!(%peer, error = &error as &dyn std::error::Error, "stream without hello");
            return;
        }
    };
    let is_client = hello.from == ai_link_wire::Party::Client;
    let attempt = is_client.then(|| worker.tally.begin(Level::Mpc));
    let admitted = match admit::admit(&worker, peer, &hello).await {
        Ok(admitted) => admitted,
        Err(refusal) => {
            if let Some(attempt) = attempt {
                attempt.ended(Err((&refusal).into()));
            }
            tracing::info!(%peer, %refusal, "session refused");
            let _ = hello::reply(&mut stream, &HelloReply::Refused(refusal)).await;
            let _ = stream.close().await;
            return;
        }
    };
    let claim = match answer(&worker, &admitted, &hello, &mut stream).await {
        Ok(claim) => claim,
        Err(error) => {
            tracing::debug!(%peer, error = &error as &dyn std::error::Error, "peer left after its hello");
            return;
        }
    };
    let Admitted {
        session,
        role,
        from,
        peer,
        ticket,
        work,
    } = admitted;
    let expected = parties::opened_by_others(&ticket, role);
    let seat = Seat {
        peer,
        stream,
        ticket,
        work,
        claim,
        attempt,
    };
    let until = UnixMillis::now().saturating_add(MEET_WITHIN);
    // Poisoned by a panic while offering: the streams are dropped, which the peers see.
    let offer = worker
        .board
        .lock()
        .ok()
        .map(|mut b| b.offer(session, &expected, from, seat, until));
    match offer {
        Some(Offer::Complete(seats)) => run::run(&worker, &hello.ticket, role, seats).await,
        Some(Offer::Waiting) => {}
        Some(Offer::Refused(error, seat)) => abort(seat, error.to_string(), None).await,
        None => tracing::error!("the board of sessions is unusable; restart the worker"),
    }
}

/// The level of a hello's ticket, if the ticket is signed at all.
fn level(hello: &SessionHello) -> Option<Level> {
    let ticket = hello.ticket.verify_at_any_time().ok()?;
    Some(ticket.level)
}

/// Answers an admitted hello. At an evaluator whose dealer offers a pool: agrees with it whether the session takes
/// from it, and returns the evaluator's part if it does.
///
/// A dealer that has an entry for the session answers its client [later](run), when it knows whether all evaluators
/// have theirs: until then nothing is masked, so that dealing for this session is still possible.
async fn answer(
    worker: &Arc<Worker>,
    admitted: &Admitted,
    hello: &SessionHello,
    stream: &mut BulkStream,
) -> Result<Option<Claim>, AcceptError> {
    let undecided = |work: &Work| work.claim.is_some();
    if admitted.work.as_ref().is_some_and(undecided) {
        return Ok(None);
    }
    let offered = hello.pool.filter(|_| admitted.from == Party::Dealer);
    let Some(offered) = offered else {
        hello::reply(stream, &HelloReply::Accepted { pool: None }).await?;
        return Ok(None);
    };
    let claim = dealing::part(worker, &admitted.ticket, offered).await;
    let pool = claim.as_ref().map(|_| offered);
    hello::reply(stream, &HelloReply::Accepted { pool }).await?;
    match hello::settled(stream, SETTLE_WITHIN).await? {
        None => Ok(None),
        // Without the material the stream is of no use: dropped, which the dealer sees.
        Some(settled) if Some(settled) != pool => Err(AcceptError::Pool { settled }),
        Some(_) => Ok(claim),
    }
}

/// Gives up sessions whose parties never came, and tells those that did who is missing.
pub(crate) async fn sweep(worker: Arc<Worker>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let expired = match worker.board.lock() {
            Ok(mut board) => board.expire(UnixMillis::now()),
            Err(_) => return,
        };
        for (seats, missing) in expired {
            for (_, seat) in seats {
                let culprit = missing
                    .iter()
                    .find_map(|p| parties::peer_key(&seat.ticket, *p));
                abort(seat, format!("no stream came from {missing:?}"), culprit).await;
            }
        }
    }
}

/// Tells the far end why its stream is of no use, and closes it.
async fn abort(mut seat: Seat, reason: String, culprit: Option<PeerKey>) {
    if let Some(attempt) = seat.attempt.take() {
        attempt.ended(Err(Failure::Party));
    }
    let telling = async {
        if let Ok(bytes) = codec::encode(&Abort::new(reason, culprit), links::ABORT) {
            let _ = seat.stream.send(FrameKind::Abort, &bytes).await;
        }
        let _ = seat.stream.close().await;
    };
    let _ = tokio::time::timeout(TELL_WITHIN, telling).await;
}
