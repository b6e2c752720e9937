//! Masked evaluation: dealer and evaluators of `ai-link-mpc`.

use std::sync::Arc;

use ai_link_mpc::pool::Dispense;
use ai_link_mpc::{Dealer, DriveError, Evaluator, Machine, MpcError, Phase, Stats, drive};
use ai_link_session::links::SessionLinks;
use ai_link_session::{blame, parties};
use ai_link_wire::{Bytes, Digest, Level, PeerKey, Role, Ticket};

use crate::random;

use super::{Assignment, Engine, Material, Outcome, Weights};

/// The `mpc` level.
#[derive(Clone, Copy, Debug)]
pub struct MpcEngine;

impl Engine for MpcEngine {
    const LEVEL: Level = Level::Mpc;
    type Error = EngineError;

    async fn evaluate(
        &self,
        assignment: Assignment,
        links: &mut SessionLinks,
    ) -> Result<Outcome, EngineError> {
        // Fresh for every session: keys are agreed from it, and masks are derived from the keys.
        let entropy = random::entropy().map_err(EngineError::Entropy)?;
        let Assignment {
            spec,
            role,
            weights,
            inputs,
            material,
            deadline,
        } = assignment;
        let deadline = deadline.into_std();
        let stats = match (role, material) {
            (Role::Dealer, Material::Pool(claim)) => {
                let sharing = match weights {
                    Weights::Public => None,
                    Weights::Mask(mask) => Some(mask.sharing()),
                    Weights::Share(_) => return Err(EngineError::OtherPart { role }),
                };
                let taken = move || {
                    let machine = Dispense::new(&spec, &claim.pool, sharing);
                    // The promise is kept: the entry is taken, or something is wrong with it.
                    machine.map(|machine| (machine, claim.name()))
                };
                // Reads and marks the entry.
                let taken = tokio::task::spawn_blocking(taken).await;
                let (dealer, pool) = taken
                    .map_err(EngineError::Stopped)?
                    .map_err(EngineError::Setup)?;
                tracing::info!(%pool, index = dealer.index(), "session from a pool");
                finish(drive(dealer, links, deadline).await)?
            }
            (Role::Dealer, Material::Dealt) => {
                let dealer = match weights {
                    Weights::Public => Dealer::new(spec, entropy),
                    Weights::Mask(mask) => Dealer::with_weights(spec, mask, entropy),
                    Weights::Share(_) => return Err(EngineError::OtherPart { role }),
                };
                let dealer = dealer.and_then(|dealer| dealer.with_stored(inputs));
                finish(drive(dealer.map_err(EngineError::Setup)?, links, deadline).await)?
            }
            (Role::Evaluator(number), Material::Pool(claim)) => {
                let index = parties::index_of(number);
                let share = match weights {
                    Weights::Public => None,
                    Weights::Share(share) => Some(share),
                    Weights::Mask(_) => return Err(EngineError::OtherPart { role }),
                };
                let pool = Arc::clone(&claim.pool);
                let evaluator = Evaluator::from_pool(spec, index, share, pool);
                finish(drive(evaluator.map_err(EngineError::Setup)?, links, deadline).await)?
            }
            (Role::Evaluator(number), Material::Dealt) => {
                let index = parties::index_of(number);
                let evaluator = match weights {
                    Weights::Public => Evaluator::new(spec, index, entropy),
                    Weights::Share(share) => Evaluator::with_weights(spec, index, share, entropy),
                    Weights::Mask(_) => return Err(EngineError::OtherPart { role }),
                };
                let evaluator = evaluator.and_then(|evaluator| evaluator.with_stored(inputs));
                finish(drive(evaluator.map_err(EngineError::Setup)?, links, deadline).await)?
            }
        };
        Ok(outcome(&stats))
    }
}

fn finish(driven: Result<impl Machine, DriveError>) -> Result<Stats, EngineError> {
    driven
        .map(|machine| machine.stats().clone())
        .map_err(EngineError::Drive)
}

fn outcome(stats: &Stats) -> Outcome {
    Outcome {
        input: Digest(stats.input_digest),
        output: Digest(stats.output_digest),
        bytes_sent: Bytes(stats.bytes_sent.total()),
        bytes_received: Bytes(stats.bytes_received.total()),
        bytes_dealt: Bytes(
            stats.bytes_sent.of(Phase::Dealt) + stats.bytes_received.of(Phase::Dealt),
        ),
        rounds: stats.rounds,
    }
}

/// Why an evaluation was not finished.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It broke off.
    #[error("the evaluation broke off")]
    Drive(#[source] DriveError),
    /// No randomness, so nothing was begun.
    #[error("the operating system gave no randomness")]
    Entropy(#[source] getrandom::Error),
    /// What is kept of the weights is another party's.
    #[error("what is kept of the weights is not for {role}")]
    OtherPart {
        /// This worker's part in the session.
        role: Role,
    },
    /// The worker stops.
    #[error("the worker stopped while an entry of a pool was read")]
    Stopped(#[source] tokio::task::JoinError),
    /// The session's sizes are impossible.
    #[error("the session cannot be set up")]
    Setup(#[source] MpcError),
}

impl EngineError {
    /// Who is at fault, if anyone else is.
    pub fn culprit(&self, ticket: &Ticket) -> Option<PeerKey> {
        match self {
            Self::Drive(error) => blame::culprits(error, ticket).into_iter().next(),
            Self::Entropy(_) | Self::OtherPart { .. } | Self::Setup(_) | Self::Stopped(_) => None,
        }
    }
}
