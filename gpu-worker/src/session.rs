//! Sessions: from a stream that someone opened to a signed receipt.
//!
//! `admit` decides from the ticket alone; [`board`] collects the streams of a session; `run` marks the session
//! as used, durably, and only then evaluates.

mod admit;
pub mod board;
mod run;

use std::sync::Arc;
use std::time::Duration;

use ai_link_mpc::Party;
use ai_link_program::Program;
use ai_link_session::{hello, links, parties};
use ai_link_wire::node::{BulkStream, FrameKind};
use ai_link_wire::{Abort, Digest, HelloReply, PeerId, PeerKey, Role, Ticket, UnixMillis, codec};
use tokio::sync::OwnedSemaphorePermit;

use crate::engine::Weights;
use crate::worker::Worker;
use board::Offer;

/// A peer that opens a stream has this long to say what it is for.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// How long a stream waits for the others of its session.
const MEET_WITHIN: Duration = Duration::from_secs(20);
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
}

#[derive(Debug)]
struct Work {
    program: Arc<Program>,
    weights: Weights,
    /// Held, not read: its drop frees the place.
    _permit: OwnedSemaphorePermit,
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
        Ok(hello) => hello,
        Err(error) => {
            tracing::debug!(%peer, error = &error as &dyn std::error::Error, "stream without hello");
            return;
        }
    };
    let admitted = match admit::admit(&worker, peer, &hello).await {
        Ok(admitted) => admitted,
        Err(refusal) => {
            tracing::info!(%peer, %refusal, "session refused");
            let _ = hello::reply(&mut stream, &HelloReply::Refused(refusal)).await;
            let _ = stream.close().await;
            return;
        }
    };
    if let Err(error) = hello::reply(&mut stream, &HelloReply::Accepted { pool: None }).await {
        tracing::debug!(%peer, error = &error as &dyn std::error::Error, "peer left after its hello");
        return;
    }
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
    let telling = async {
        if let Ok(bytes) = codec::encode(&Abort::new(reason, culprit), links::ABORT) {
            let _ = seat.stream.send(FrameKind::Abort, &bytes).await;
        }
        let _ = seat.stream.close().await;
    };
    let _ = tokio::time::timeout(TELL_WITHIN, telling).await;
}
