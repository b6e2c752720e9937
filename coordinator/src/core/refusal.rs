//! What other parts found wrong, in the words of the control protocol.

use ai_link_wire::{JobState, ReceiptError, Refusal, SignedError};

use super::Stop;
use crate::ledger::LedgerError;
use crate::pricing::PriceError;
use crate::roster::RosterError;

pub(super) fn by_signature(error: SignedError) -> Stop {
    let refusal = match error {
        SignedError::Expired { .. } => Refusal::Expired,
        SignedError::BadSignature { .. } => Refusal::BadSignature,
        other => Refusal::malformed(other),
    };
    refusal.into()
}

pub(super) fn by_receipt(error: ReceiptError) -> Stop {
    Refusal::bad_receipt(error).into()
}

pub(super) fn by_price(error: PriceError) -> Stop {
    let refusal = match error {
        PriceError::AboveMaximum { price, max } => Refusal::PriceTooHigh { price, max },
        PriceError::Overflow => Refusal::malformed(error),
    };
    refusal.into()
}

pub(super) fn by_roster(error: RosterError) -> Stop {
    let refusal = match error {
        RosterError::Full { .. } => Refusal::Busy {
            retry_after_ms: ROSTER_RETRY_MS,
        },
        RosterError::Outdated => Refusal::Expired,
        RosterError::Unknown => Refusal::NotRegistered,
    };
    refusal.into()
}

pub(super) fn by_ledger(error: LedgerError) -> Stop {
    let refusal = match error {
        LedgerError::AttemptFailed => Refusal::WrongState {
            state: JobState::Failed,
        },
        LedgerError::AttemptUsedUp { .. }
        | LedgerError::OtherTerms
        | LedgerError::Overflow
        | LedgerError::TooManyAttempts { .. } => Refusal::malformed(error),
        LedgerError::InsufficientEscrow { have, need } => {
            Refusal::InsufficientEscrow { have, need }
        }
        LedgerError::JobIdTaken => Refusal::WrongSigner,
        // Details of storage stay in the coordinator's own log.
        LedgerError::Store(_) | LedgerError::Stopped => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the ledger failed"
            );
            Refusal::internal("the ledger failed")
        }
        LedgerError::TicketMismatch => Refusal::bad_receipt(error),
        LedgerError::TooManyJobs { open, limit } => Refusal::TooManyJobs { open, max: limit },
        LedgerError::UnknownJob => Refusal::UnknownJob,
        LedgerError::VoucherMismatch { expected, got } if got < expected => {
            Refusal::VoucherTooLow {
                have: got,
                need: expected,
            }
        }
        LedgerError::VoucherMismatch { expected, got } => Refusal::VoucherTooHigh {
            have: got,
            need: expected,
        },
        LedgerError::WrongPhase { phase } => Refusal::WrongState {
            state: phase.state(),
        },
    };
    refusal.into()
}

/// A full roster empties as workers go: about how long that takes.
const ROSTER_RETRY_MS: u32 = 30_000;
