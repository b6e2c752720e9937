//! Evaluating a session whose streams are all here.

use std::sync::Arc;
use std::time::Duration;

use ai_link_mpc::Party;
use ai_link_session::hello::{self, HelloError};
use ai_link_session::links::{SessionError, SessionLinks};
use ai_link_session::parties;
use ai_link_wire::node::FrameKind;
use ai_link_wire::{
    Abort, CodecError, Limit, PeerKey, Role, SignError, Signed, Ticket, UnixMillis, WorkerReceipt,
    codec,
};
use tokio::time::Instant;

use super::board::Streams;
use super::{Seat, Work};
use crate::engine::{Assignment, Engine as _, EngineError, MpcEngine, Outcome};
use crate::used::UsedError;
use crate::worker::Worker;

/// How long another worker may take to accept our stream.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// Receipts are evidence about the past: this is when they stop being worth keeping.
const RECEIPT_VALID: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// A signed [`WorkerReceipt`].
const RECEIPT: Limit = Limit::bytes(4096);

/// Runs the session and tells all parties how it ended.
pub(super) async fn run(
    worker: &Arc<Worker>,
    signed: &Signed<Ticket>,
    role: Role,
    seats: Streams<Seat>,
) {
    let Some(session) = Session::new(worker, signed, role, seats) else {
        return;
    };
    session.run().await;
}

struct Session<'a> {
    worker: &'a Worker,
    signed: &'a Signed<Ticket>,
    ticket: Ticket,
    role: Role,
    links: SessionLinks,
    work: Work,
    started: UnixMillis,
}

impl<'a> Session<'a> {
    /// `None` if the client's stream, which carries the model, is not among the seats: `board` sees to it
    /// that it is.
    fn new(
        worker: &'a Worker,
        signed: &'a Signed<Ticket>,
        role: Role,
        seats: Streams<Seat>,
    ) -> Option<Self> {
        let ticket = seats.first()?.1.ticket.clone();
        let mut work = None;
        let streams: Vec<_> = seats
            .into_iter()
            .map(|(party, seat)| {
                work = work.take().or(seat.work);
                (party, seat.peer, seat.stream)
            })
            .collect();
        Some(Self {
            worker,
            signed,
            ticket,
            role,
            links: SessionLinks::new(streams),
            work: work?,
            started: UnixMillis::now(),
        })
    }

    async fn run(mut self) {
        let job = self.ticket.job;
        match self.evaluate().await {
            Ok(()) => tracing::info!(%job, role = %self.role, "session done"),
            Err(error) => {
                let culprit = error.culprit(&self.ticket);
                tracing::warn!(
                    %job, role = %self.role, error = &error as &dyn std::error::Error,
                    "session failed"
                );
                let abort = Abort::new(crate::chain(&error), culprit);
                self.links.abort(Party::Client, &abort).await;
            }
        }
        self.links.close().await;
    }

    async fn evaluate(&mut self) -> Result<(), RunError> {
        // Before anything masked is sent: from here on this ticket is spent, whatever happens.
        self.worker
            .used
            .mark(
                &self.signed.digest(),
                self.signed.expires_at(),
                UnixMillis::now(),
            )
            .map_err(RunError::Used)?;
        self.open().await?;
        let left =
            Duration::from_millis(self.ticket.deadline.0.saturating_sub(UnixMillis::now().0));
        let program = Arc::clone(&self.work.program);
        let assignment = Assignment {
            spec: parties::spec(&self.ticket, self.signed.digest(), program),
            role: self.role,
            weights: self.work.weights.clone(),
            deadline: Instant::now() + left,
        };
        let outcome = MpcEngine
            .evaluate(assignment, &mut self.links)
            .await
            .map_err(RunError::Engine)?;
        self.send_receipt(outcome).await
    }

    async fn open(&mut self) -> Result<(), RunError> {
        let from = ai_link_wire::Party::from(self.role);
        for party in parties::opened_by_us(&self.ticket, self.role) {
            let Some(member) = parties::member(&self.ticket, party) else {
                continue;
            };
            let opened = hello::open(&self.worker.node, self.signed, from, member, OPEN_WITHIN)
                .await
                .map_err(RunError::Open)?;
            self.links.add(party, member.peer, opened.stream);
        }
        Ok(())
    }

    async fn send_receipt(&mut self, outcome: Outcome) -> Result<(), RunError> {
        let now = UnixMillis::now();
        let receipt = WorkerReceipt {
            ticket: self.signed.digest(),
            role: self.role,
            commitment: self.ticket.commitment,
            input: outcome.input,
            output: outcome.output,
            bytes_sent: outcome.bytes_sent,
            bytes_received: outcome.bytes_received,
            rounds: outcome.rounds,
            started: self.started,
            finished: now.max(self.started),
        };
        let until = now.saturating_add(RECEIPT_VALID);
        let signed =
            Signed::sign(&self.worker.identity, receipt, now, until).map_err(RunError::Sign)?;
        let bytes = codec::encode(&signed, RECEIPT).map_err(RunError::Encode)?;
        self.links
            .send_frame(Party::Client, FrameKind::Receipt, bytes)
            .await
            .map_err(RunError::Receipt)
    }
}

/// Why a session failed on this worker.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("the receipt cannot be encoded")]
    Encode(#[source] CodecError),
    #[error("the evaluation did not finish")]
    Engine(#[source] EngineError),
    #[error("another worker of the group cannot be had")]
    Open(#[source] HelloError),
    #[error("the receipt could not be delivered")]
    Receipt(#[source] SessionError),
    #[error("the receipt cannot be signed")]
    Sign(#[source] SignError),
    #[error("the session may not begin")]
    Used(#[source] UsedError),
}

impl RunError {
    fn culprit(&self, ticket: &Ticket) -> Option<PeerKey> {
        match self {
            Self::Engine(error) => error.culprit(ticket),
            Self::Open(error) => Some(error.culprit()),
            Self::Receipt(error) => error.culprit(),
            Self::Encode(_) | Self::Sign(_) | Self::Used(_) => None,
        }
    }
}
