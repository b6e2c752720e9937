//! What computes. One engine per privacy level, behind one trait; `mpc` is the first.

mod mpc;

use std::future::Future;
use std::sync::Arc;

use ai_link_mpc::weights::{WeightMask, WeightShare};
use ai_link_mpc::{SessionSpec, StoredShare};
use ai_link_session::links::SessionLinks;
use ai_link_wire::{Bytes, Digest, Level, Role};
use tokio::time::Instant;

use crate::pool::Claim;

pub use mpc::{EngineError, MpcEngine};

/// What a worker is to do in a session.
#[derive(Debug)]
pub struct Assignment {
    /// The model, already checked against its commitment; the digest of the signed ticket, which names the session
    /// and is bound into every derived key; records and group.
    pub spec: SessionSpec,
    /// This worker's part.
    pub role: Role,
    /// What it keeps of the model's weights.
    pub weights: Weights,
    /// Its shares of the inputs that come from storage.
    pub inputs: Vec<StoredShare>,
    /// Where what is dealt comes from.
    pub material: Material,
    /// When the answer is of no more use.
    pub deadline: Instant,
}

/// Where a session's dealt material comes from. All of its parties have agreed on it.
#[derive(Debug)]
pub enum Material {
    /// It is dealt in the session.
    Dealt,
    /// From a pool that was filled ahead.
    Pool(Claim),
}

/// What a worker keeps of a model's weights.
#[derive(Clone, Debug)]
pub enum Weights {
    /// Nothing: they are public and in the program.
    Public,
    /// As dealer: the mask of private weights.
    Mask(Arc<WeightMask>),
    /// As evaluator: a share of private weights.
    Share(Arc<WeightShare>),
}

/// What a worker can attest after a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// SHA-256 of what came in from the client.
    pub input: Digest,
    /// SHA-256 of what went out to the client.
    pub output: Digest,
    /// Payload bytes to all parties.
    pub bytes_sent: Bytes,
    /// Payload bytes from all parties.
    pub bytes_received: Bytes,
    /// Payload bytes of dealing, in both directions: those from a pool moved before.
    pub bytes_dealt: Bytes,
    /// Rounds between the evaluators.
    pub rounds: u32,
}

/// An engine.
pub trait Engine {
    /// The level that it implements.
    const LEVEL: Level;
    /// Why it fails.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Plays the assigned part to the end.
    fn evaluate(
        &self,
        assignment: Assignment,
        links: &mut SessionLinks,
    ) -> impl Future<Output = Result<Outcome, Self::Error>> + Send;
}
