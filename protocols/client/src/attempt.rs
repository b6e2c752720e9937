//! One attempt: a stream to each worker of the group, one evaluation, a receipt of each worker.

use std::sync::Arc;
use std::time::Duration;

use ai_link_mpc::{
    Client as ClientMachine, DriveError, Machine as _, MpcError, Party, PartyDigests, Phase, drive,
};
use ai_link_program::{OutputTensor, Program};
use ai_link_session::hello::{self, HelloError, Introduction};
use ai_link_session::links::{SessionError, SessionLinks};
use ai_link_session::parties;
use ai_link_wire::node::{FrameKind, Node};
use ai_link_wire::{
    CodecError, InputRefusal, JobReceipt, Limit, PeerKey, PoolTag, SessionRefusal, Signed, Ticket,
    UnixMillis, WorkerReceipt, codec,
};
use futures::future::join_all;
use tokio::time::Instant;

use crate::fhe::FheFailure;
use crate::sealed::SealedFailed;
use crate::stored::Stored;

/// How long a worker may take to accept a session: it may have to pull the model first.
const ACCEPT_WITHIN: Duration = Duration::from_secs(15);
/// A signed [`WorkerReceipt`].
const RECEIPT: Limit = Limit::bytes(4096);

/// What an attempt needs.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) node: &'a Node,
    pub(crate) signed: &'a Signed<Ticket>,
    pub(crate) ticket: &'a Ticket,
    pub(crate) program: Arc<Program>,
    /// One tensor per input port, batch first.
    pub(crate) inputs: Vec<Vec<f32>>,
    /// Inputs that the group brings from storage.
    pub(crate) stored: &'a Stored,
    pub(crate) deadline: Instant,
}

/// What an attempt gives.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) outputs: Vec<OutputTensor>,
    pub(crate) traffic: Traffic,
    /// Under masked evaluation.
    pub(crate) preprocessing: Option<Preprocessing>,
    /// Not countersigned yet.
    pub(crate) receipt: JobReceipt,
}

/// Payload bytes of a job on the application's machine. Keys, which are sent once, are not among them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    /// To workers: masked or encrypted records, and what unmasks them.
    pub input: u64,
    /// From workers: masked or encrypted answers.
    pub output: u64,
}

/// When a job's material was dealt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Preprocessing {
    /// Before the job came: from a pool of the group.
    Pool,
    /// While the job waited.
    Session,
}

impl std::fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Pool => "pool",
            Self::Session => "session",
        })
    }
}

impl Attempt<'_> {
    /// Runs the attempt.
    ///
    /// # Errors
    /// [`AttemptError`], which knows whom to leave out next time.
    pub(crate) async fn run(self) -> Result<Delivered, AttemptError> {
        let entropy = crate::entropy()?;
        let session = self.signed.digest();
        let spec = parties::spec(self.ticket, session, Arc::clone(&self.program));
        // The record is checked against the model before anyone is bothered with it.
        let machine = ClientMachine::new(spec.clone(), self.inputs.clone(), entropy)
            .map_err(AttemptError::Input)?;
        let (mut links, pool) = self.open().await?;
        let id = pool.and_then(|pool| parties::pool_id(self.ticket, &self.program, pool));
        let (machine, preprocessing) = match id {
            None => (machine, Preprocessing::Session),
            // What was masked above has not left, and does not.
            Some(id) => {
                drop(machine);
                let machine = ClientMachine::from_pool(spec, self.inputs.clone(), id);
                (machine.map_err(AttemptError::Input)?, Preprocessing::Pool)
            }
        };
        let outcome = self.evaluate(machine, preprocessing, &mut links).await;
        links.close().await;
        outcome
    }

    /// The streams, and the pool that the dealer settled on with the evaluators.
    async fn open(&self) -> Result<(SessionLinks, Option<PoolTag>), AttemptError> {
        let within = ACCEPT_WITHIN.min(self.deadline.saturating_duration_since(Instant::now()));
        let opening = self.ticket.group.iter().map(|member| async move {
            let introduction = Introduction {
                from: ai_link_wire::Party::Client,
                pool: None,
                inputs: self.stored.parts_for(member),
            };
            hello::open(self.node, self.signed, introduction, member, within)
                .await
                .map(|opened| (parties::party_of(member.role), member.peer, opened))
        });
        let mut streams = Vec::new();
        let mut pool = None;
        let mut errors = Vec::new();
        for outcome in join_all(opening).await {
            match outcome {
                Ok((party, peer, opened)) => {
                    if party == Party::Dealer {
                        pool = opened.pool;
                    }
                    streams.push((party, peer, opened.stream));
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok((SessionLinks::new(streams), pool))
        } else {
            Err(AttemptError::Open(errors))
        }
    }

    async fn evaluate(
        &self,
        machine: ClientMachine,
        preprocessing: Preprocessing,
        links: &mut SessionLinks,
    ) -> Result<Delivered, AttemptError> {
        let machine = drive(machine, links, self.deadline.into_std())
            .await
            .map_err(AttemptError::Drive)?;
        let mut workers = Vec::with_capacity(self.ticket.group.len());
        for member in &self.ticket.group {
            let party = parties::party_of(member.role);
            let receiving = links.recv_frame(party, FrameKind::Receipt, RECEIPT.get());
            let bytes = tokio::time::timeout_at(self.deadline, receiving)
                .await
                .map_err(|_| AttemptError::NoReceipt { peer: member.peer })?
                .map_err(AttemptError::Session)?;
            let signed: Signed<WorkerReceipt> =
                codec::decode(&bytes, RECEIPT).map_err(|source| AttemptError::Receipt {
                    peer: member.peer,
                    source,
                })?;
            let receipt = signed
                .verify_at_any_time()
                .map_err(|_| AttemptError::FalseReceipt { peer: member.peer })?;
            // What it signs for must be what this side sent and got.
            let seen = PartyDigests {
                input: receipt.input.0,
                output: receipt.output.0,
            };
            if machine.digests_of(party) != Some(seen) {
                return Err(AttemptError::FalseReceipt { peer: member.peer });
            }
            workers.push(signed);
        }
        let stats = machine.stats();
        let traffic = Traffic {
            input: stats.bytes_sent.of(Phase::Input),
            output: stats.bytes_received.of(Phase::Output),
        };
        let outputs = machine.into_outputs().map_err(AttemptError::Output)?;
        let receipt = JobReceipt {
            ticket: self.signed.clone(),
            workers,
            price: self.ticket.price,
            finished: UnixMillis::now(),
        };
        Ok(Delivered {
            outputs,
            traffic,
            preprocessing: Some(preprocessing),
            receipt,
        })
    }
}

/// Why an attempt gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The evaluation broke off.
    #[error("the evaluation did not finish")]
    Drive(#[source] DriveError),
    /// The operating system gave no randomness; nothing was sent.
    #[error("the operating system gave no randomness, so nothing was masked and nothing was sent")]
    Entropy(#[from] getrandom::Error),
    /// At level `fhe`.
    #[error("the encrypted evaluation gave nothing")]
    Fhe(#[source] FheFailure),
    /// A receipt for something else than was exchanged.
    #[error("worker {peer} signed a receipt for something else than was exchanged")]
    FalseReceipt {
        /// The worker.
        peer: PeerKey,
    },
    /// The record does not fit the model; nothing was sent.
    #[error("the input does not fit the model")]
    Input(#[source] MpcError),
    /// A worker delivered its share and no receipt.
    #[error("worker {peer} sent no receipt in time")]
    NoReceipt {
        /// The worker.
        peer: PeerKey,
    },
    /// Some of the group cannot be had.
    #[error("{} of the group cannot be had: {}", .0.len(), list(.0))]
    Open(Vec<HelloError>),
    /// What came back is not an answer.
    #[error("the shares that came back are not an answer")]
    Output(#[source] MpcError),
    /// A receipt that cannot be read.
    #[error("worker {peer} sent something that is no receipt")]
    Receipt {
        /// The worker.
        peer: PeerKey,
        /// What is wrong with it.
        #[source]
        source: CodecError,
    },
    /// At level `sealed`.
    #[error("the trusted worker's answer did not come, or not whole")]
    Sealed(#[source] Box<SealedFailed>),
    /// A stream broke after the evaluation.
    #[error("a worker was lost before its receipt came")]
    Session(#[source] SessionError),
}

impl AttemptError {
    /// Workers to leave out of the next group.
    pub fn culprits(&self, ticket: &Ticket) -> Vec<PeerKey> {
        match self {
            Self::Drive(error) => ai_link_session::blame::culprits(error, ticket),
            Self::Entropy(_) | Self::Input(_) => Vec::new(),
            Self::Fhe(failure) => failure.culprit().into_iter().collect(),
            Self::Sealed(failure) => failure.culprit().into_iter().collect(),
            Self::FalseReceipt { peer } | Self::NoReceipt { peer } | Self::Receipt { peer, .. } => {
                vec![*peer]
            }
            Self::Open(errors) => errors.iter().map(HelloError::culprit).collect(),
            // What came back is no value at all: nobody can tell whose doing that is.
            Self::Output(_) => ticket.group.iter().map(|m| m.peer).collect(),
            Self::Session(error) => error.culprit().into_iter().collect(),
        }
    }

    /// Whether a worker did not bring its share of a stored input.
    pub(crate) fn is_about_an_input(&self) -> bool {
        matches!(self, Self::Open(errors) if errors.iter().any(|e| input_refusal(e).is_some()))
    }

    /// Whether another group could not help either.
    pub fn is_the_callers(&self) -> bool {
        match self {
            Self::Entropy(_) | Self::Input(_) => true,
            Self::Fhe(failure) => failure.is_the_callers(),
            Self::Open(errors) => errors
                .iter()
                .filter_map(input_refusal)
                .any(InputRefusal::is_final),
            Self::Sealed(failure) => failure.is_the_callers(),
            _ => false,
        }
    }
}

/// Why a worker does not bring its share of a stored input, if that is it.
fn input_refusal(error: &HelloError) -> Option<&InputRefusal> {
    match error {
        HelloError::Refused {
            refusal: SessionRefusal::Input(refusal),
            ..
        } => Some(refusal),
        _ => None,
    }
}

fn list(errors: &[HelloError]) -> String {
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
