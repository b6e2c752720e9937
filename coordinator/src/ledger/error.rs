//! Why the ledger does not do what it is asked.

use ai_link_wire::Planck;

use super::entry::Phase;
use super::store::StoreError;

/// Why a change was refused. Nothing was changed, except where [`LedgerError::Store`] says that this
/// is not known.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Attempts count upwards; this one's number is used up.
    #[error(
        "attempt {attempt} of this job is used up, the latest is {latest}; ask for a later one"
    )]
    AttemptUsedUp {
        /// What was asked for.
        attempt: u32,
        /// The job's latest attempt.
        latest: u32,
    },
    /// The client itself reported this attempt as failed.
    #[error("this attempt was reported as failed and is not paid")]
    AttemptFailed,
    /// Amounts beyond what can be counted.
    #[error("the amounts add up to more than there can be")]
    Overflow,
    /// The job was for something else.
    #[error("this job was accepted for another model, level or batch; take a new job id")]
    OtherTerms,
    /// The client's escrow does not cover the price.
    #[error("{have} of the escrow is free and {need} is needed; deposit more")]
    InsufficientEscrow {
        /// What is neither reserved nor owed.
        have: Planck,
        /// What is needed.
        need: Planck,
    },
    /// Another client's job has this id.
    #[error("this job id belongs to another client; take a random one")]
    JobIdTaken,
    /// Storage failed; it is unknown whether the change was stored. Everything is refused until the
    /// ledger is opened again.
    #[error("the ledger could not be read or written")]
    Store(#[from] StoreError),
    /// An earlier write failed, so what is stored is not known.
    #[error("the ledger stopped after a failed write; restart the coordinator")]
    Stopped,
    /// The receipt's ticket is not the one this attempt was given.
    #[error("the ticket is not the one that was given for this attempt")]
    TicketMismatch,
    /// The job has had all the attempts it gets.
    #[error("the job has had all of its {limit} attempts; start another job")]
    TooManyAttempts {
        /// Attempts of one job.
        limit: u32,
    },
    /// The client has too many jobs that are open or not yet settled, or all clients together have.
    #[error("{open} jobs are open or not settled, {limit} are allowed; try again later")]
    TooManyJobs {
        /// How many there are.
        open: u32,
        /// How many are allowed.
        limit: u32,
    },
    /// No such job, or not this client's.
    #[error("no such job of this client")]
    UnknownJob,
    /// A voucher must add exactly the price to what the client owes already.
    #[error("the voucher says {got}; with this job it must say exactly {expected}")]
    VoucherMismatch {
        /// What it must say.
        expected: Planck,
        /// What it says.
        got: Planck,
    },
    /// The job is past this.
    #[error("the job is {phase:?}")]
    WrongPhase {
        /// Where it stands.
        phase: Phase,
    },
}
