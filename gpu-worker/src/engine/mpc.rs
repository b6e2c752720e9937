//! Masked evaluation: dealer and evaluators of `ai-link-mpc`.

use ai_link_mpc::{
    Dealer, DriveError, Evaluator, EvaluatorIndex, Machine, MpcError, Secret32, SessionSpec, Stats,
    drive,
};
use ai_link_session::blame;
use ai_link_session::links::SessionLinks;
use ai_link_wire::{Bytes, Digest, Level, PeerKey, Role, Ticket};
use zeroize::Zeroize as _;

use super::{Assignment, Engine, Outcome};

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
        let spec = SessionSpec::new(
            assignment.program,
            assignment.session.0,
            assignment.batch as usize,
        );
        let evaluator = |index| Evaluator::new(spec.clone(), index, entropy.clone());
        let deadline = assignment.deadline.into_std();
        let stats = match assignment.role {
            Role::Dealer => {
                let dealer =
                    Dealer::new(spec.clone(), entropy.clone()).map_err(EngineError::Setup)?;
                finish(drive(dealer, links, deadline).await)?
            }
            Role::Evaluator0 => {
                let machine = evaluator(EvaluatorIndex::ZERO).map_err(EngineError::Setup)?;
                finish(drive(machine, links, deadline).await)?
            }
            Role::Evaluator1 => {
                let machine = evaluator(EvaluatorIndex::ONE).map_err(EngineError::Setup)?;
                finish(drive(machine, links, deadline).await)?
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
    /// The session's sizes are impossible.
    #[error("the session cannot be set up")]
    Setup(#[source] MpcError),
}

impl EngineError {
    /// Who is at fault, if anyone else is.
    pub fn culprit(&self, ticket: &Ticket) -> Option<PeerKey> {
        match self {
            Self::Drive(error) => blame::culprits(error, ticket).into_iter().next(),
            Self::Entropy(_) | Self::Setup(_) => None,
        }
    }
}
