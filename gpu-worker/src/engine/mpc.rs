//! Masked evaluation: dealer and evaluators of `ai-link-mpc`.

use ai_link_mpc::{Dealer, DriveError, Evaluator, Machine, MpcError, Secret32, Stats, drive};
use ai_link_session::links::SessionLinks;
use ai_link_session::{blame, parties};
use ai_link_wire::{Bytes, Digest, Level, PeerKey, Role, Ticket};
use zeroize::Zeroize as _;

use super::{Assignment, Engine, Outcome, Weights};

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
        let entropy = entropy()?;
        let Assignment {
            spec,
            role,
            weights,
            deadline,
        } = assignment;
        let deadline = deadline.into_std();
        let stats = match role {
            Role::Dealer => {
                let dealer = match weights {
                    Weights::Public => Dealer::new(spec, entropy),
                    Weights::Mask(mask) => Dealer::with_weights(spec, mask, entropy),
                    Weights::Share(_) => return Err(EngineError::OtherPart { role }),
                };
                finish(drive(dealer.map_err(EngineError::Setup)?, links, deadline).await)?
            }
            Role::Evaluator(number) => {
                let index = parties::index_of(number);
                let evaluator = match weights {
                    Weights::Public => Evaluator::new(spec, index, entropy),
                    Weights::Share(share) => Evaluator::with_weights(spec, index, share, entropy),
                    Weights::Mask(_) => return Err(EngineError::OtherPart { role }),
                };
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
        rounds: stats.rounds,
    }
}

/// Fresh for every session: keys are agreed from it, and masks are derived from the keys.
fn entropy() -> Result<Secret32, EngineError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(EngineError::Entropy)?;
    let secret = Secret32::new(bytes);
    bytes.zeroize();
    Ok(secret)
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
    /// The session's sizes are impossible.
    #[error("the session cannot be set up")]
    Setup(#[source] MpcError),
}

impl EngineError {
    /// Who is at fault, if anyone else is.
    pub fn culprit(&self, ticket: &Ticket) -> Option<PeerKey> {
        match self {
            Self::Drive(error) => blame::culprits(error, ticket).into_iter().next(),
            Self::Entropy(_) | Self::OtherPart { .. } | Self::Setup(_) => None,
        }
    }
}
