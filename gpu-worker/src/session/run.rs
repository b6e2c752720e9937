//! Evaluating a session whose streams are all here.

use std::sync::Arc;
use std::time::Duration;

use ai_link_mpc::Party;
use ai_link_session::hello::{self, HelloError, Introduction, Opened};
use ai_link_session::links::{SessionError, SessionLinks};
use ai_link_session::parties;
use ai_link_wire::node::FrameKind;
use ai_link_wire::{
    Abort, Bytes, CodecError, HelloReply, PeerKey, Role, Signed, Ticket, UnixMillis, WorkerReceipt,
};
use futures::future::try_join_all;
use tokio::time::Instant;

use super::board::Streams;
use super::{Seat, Work};
use crate::dealing;
use crate::engine::{Assignment, Engine as _, EngineError, Material, MpcEngine, Outcome};
use crate::pool::Claim;
use crate::receipt::{self, ReceiptError};
use crate::tally::{Attempt, Failure};
use crate::used::UsedError;
use crate::worker::Worker;

/// How long another worker may take to accept our stream.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

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
    worker: &'a Arc<Worker>,
    signed: &'a Signed<Ticket>,
    ticket: Ticket,
    role: Role,
    links: SessionLinks,
    work: Work,
    /// At an evaluator, its part of the pool that the dealer settled on.
    claim: Option<Claim>,
    /// Ends with the session.
    attempt: Option<Attempt>,
    started: UnixMillis,
}

impl<'a> Session<'a> {
    /// `None` if the client's stream, which carries the model, is not among the seats: `board` sees to it
    /// that it is.
    fn new(
        worker: &'a Arc<Worker>,
        signed: &'a Signed<Ticket>,
        role: Role,
        seats: Streams<Seat>,
    ) -> Option<Self> {
        let ticket = seats.first()?.1.ticket.clone();
        let (mut work, mut claim, mut attempt) = (None, None, None);
        let streams: Vec<_> = seats
            .into_iter()
            .map(|(party, seat)| {
                work = work.take().or(seat.work);
                claim = claim.take().or(seat.claim);
                attempt = attempt.take().or(seat.attempt);
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
            claim,
            attempt,
            started: UnixMillis::now(),
        })
    }

    async fn run(mut self) {
        let job = self.ticket.job;
        let outcome = self.evaluate().await;
        if let Some(attempt) = self.attempt.take() {
            let failure = outcome.as_ref().err().map(RunError::failure);
            attempt.ended(failure.map_or(Ok(()), Err));
        }
        match outcome {
            Ok(dealt) => {
                // Before this session ends for whoever waits for that.
                if self.role == Role::Dealer {
                    self.worker.asked.served(self.signed, &self.ticket);
                }
                tracing::info!(%job, role = %self.role, %dealt, "session done");
            }
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

    /// Returns the bytes that were dealt in the session.
    async fn evaluate(&mut self) -> Result<Bytes, RunError> {
        // Before anything masked is sent: from here on this ticket is spent, whatever happens.
        self.worker
            .used
            .mark(
                &self.signed.digest(),
                self.signed.expires_at(),
                UnixMillis::now(),
            )
            .map_err(RunError::Used)?;
        let material = self.open().await?;
        let left =
            Duration::from_millis(self.ticket.deadline.0.saturating_sub(UnixMillis::now().0));
        let program = Arc::clone(&self.work.program);
        let assignment = Assignment {
            spec: parties::spec(&self.ticket, self.signed.digest(), program),
            role: self.role,
            weights: self.work.weights.clone(),
            inputs: std::mem::take(&mut self.work.inputs),
            material,
            deadline: Instant::now() + left,
        };
        let outcome = MpcEngine
            .evaluate(assignment, &mut self.links)
            .await
            .map_err(RunError::Engine)?;
        let dealt = outcome.bytes_dealt;
        self.send_receipt(outcome).await?;
        Ok(dealt)
    }

    /// Opens the streams that are this worker's to open, and decides where the material comes from: at the dealer,
    /// from the pool that it has an entry of if every evaluator has its part; at an evaluator the dealer has said so.
    async fn open(&mut self) -> Result<Material, RunError> {
        let offer = self.work.claim.take();
        let introduction = Introduction {
            from: self.role.into(),
            pool: offer.as_ref().map(|claim| claim.session),
            inputs: Vec::new(),
        };
        let (node, signed) = (&self.worker.node, self.signed);
        let ours = parties::opened_by_us(&self.ticket, self.role);
        let members = ours
            .iter()
            .filter_map(|party| Some((*party, parties::member(&self.ticket, *party)?)));
        let opening = members.map(async |(party, member)| {
            let opened =
                hello::open(node, signed, introduction.clone(), member, OPEN_WITHIN).await?;
            Ok((party, member.peer, opened))
        });
        let mut opened = try_join_all(opening).await.map_err(RunError::Open)?;
        let material = match offer {
            Some(offer) => self.settle(offer, &mut opened).await?,
            None => self.claim.take().map_or(Material::Dealt, Material::Pool),
        };
        for (party, peer, opened) in opened {
            self.links.add(party, peer, opened.stream);
        }
        Ok(material)
    }

    /// At the dealer: tells everyone whether the session takes from the pool. Nothing was masked so far.
    async fn settle(
        &mut self,
        offer: Claim,
        opened: &mut [(Party, PeerKey, Opened)],
    ) -> Result<Material, RunError> {
        let all = opened.iter().all(|(_, _, o)| o.pool == Some(offer.session));
        let pool = all.then_some(offer.session);
        for (_, peer, opened) in opened {
            hello::settle(&mut opened.stream, *peer, pool)
                .await
                .map_err(RunError::Open)?;
        }
        let accepted = HelloReply::Accepted { pool };
        let bytes = hello::encode_reply(&accepted).map_err(RunError::Encode)?;
        self.links
            .send_frame(Party::Client, FrameKind::HelloReply, bytes)
            .await
            .map_err(RunError::Settle)?;
        if all {
            return Ok(Material::Pool(offer));
        }
        tracing::info!(pool = %offer.name(), "an evaluator has dropped its part; dealing in the session");
        dealing::discard(self.worker, offer).await;
        Ok(Material::Dealt)
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
        let bytes = receipt::signed(self.worker, receipt).map_err(RunError::Sign)?;
        self.links
            .send_frame(Party::Client, FrameKind::Receipt, bytes)
            .await
            .map_err(RunError::Receipt)
    }
}

/// Why a session failed on this worker.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("a message cannot be encoded")]
    Encode(#[source] CodecError),
    #[error("the evaluation did not finish")]
    Engine(#[source] EngineError),
    #[error("another worker of the group cannot be had")]
    Open(#[source] HelloError),
    #[error("the receipt could not be delivered")]
    Receipt(#[source] SessionError),
    #[error("the client left before the session began")]
    Settle(#[source] SessionError),
    #[error("there is no receipt")]
    Sign(#[source] ReceiptError),
    #[error("the session may not begin")]
    Used(#[source] UsedError),
}

impl RunError {
    /// What it counts as.
    fn failure(&self) -> Failure {
        match self {
            Self::Engine(_) => Failure::Engine,
            Self::Open(_) => Failure::Party,
            Self::Receipt(_) | Self::Settle(_) => Failure::Client,
            Self::Encode(_) | Self::Sign(_) | Self::Used(_) => Failure::Internal,
        }
    }

    fn culprit(&self, ticket: &Ticket) -> Option<PeerKey> {
        match self {
            Self::Engine(error) => error.culprit(ticket),
            Self::Open(error) => Some(error.culprit()),
            Self::Receipt(error) | Self::Settle(error) => error.culprit(),
            Self::Encode(_) | Self::Sign(_) | Self::Used(_) => None,
        }
    }
}
