//! What a dealer and an evaluator say before material is dealt ahead of requests.
//!
//! ```text
//! dealer                                     evaluator
//!   PoolHello { ticket, Found(a), entries } ──▶
//!                          ◀── PoolReply::Accepted { contribution: b }
//!   PoolReply::Drawn { [b, ...] }           ──▶   both know the pool's number now
//!   entry, entry, ...                       ──▶   data, which only the engine reads
//! ```
//!
//! A pool that is there is filled up with [`PoolPurpose::Refill`]; then nothing is drawn.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Digest, EvaluatorNumber, PoolTag, Signed, Ticket, bounded};

/// Opens a stream over which a dealer deals ahead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolHello {
    /// The ticket of a session that this group has served: shows that a bonded coordinator matched it,
    /// for which model and batch.
    pub ticket: Signed<Ticket>,
    /// The pool.
    pub purpose: PoolPurpose,
    /// Entries that will be dealt, at most.
    pub entries: u16,
}

/// Whether a pool is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolPurpose {
    /// A new pool, for whose number this is the dealer's contribution: fresh and random.
    Found(Digest),
    /// One that was founded before.
    Refill {
        /// Its number.
        pool: PoolTag,
        /// The first index that the dealer still has or will deal: what is below is of no use.
        from: u64,
    },
}

/// The answer to a [`PoolHello`], and to that the dealer's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolReply {
    /// Go on.
    Accepted {
        /// The evaluator's contribution to the number of a new pool: fresh and random.
        contribution: Option<Digest>,
    },
    /// Of the dealer: the contributions of all evaluators, in order.
    Drawn(
        #[serde(deserialize_with = "bounded::list::<_, _, { EvaluatorNumber::COUNT as usize }>")]
        Vec<Digest>,
    ),
    /// Go away.
    Refused(PoolRefusal),
}

/// Why an evaluator stores nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum PoolRefusal {
    /// The ticket does not hold, or is another group's.
    #[error("the ticket does not hold: {0}")]
    TicketInvalid(#[serde(deserialize_with = "bounded::text::<_, 256>")] String),
    /// No session of this ticket was served here, or it was long ago.
    #[error("no session of this ticket was served here")]
    NotServed,
    /// The stream does not come from the ticket's dealer.
    #[error("the stream does not come from the dealer of the ticket")]
    WrongPeer,
    /// A client is being served.
    #[error("busy with a session")]
    Busy,
    /// The pool is not here (any more).
    #[error("this pool is not here")]
    Unknown,
    /// No room, or no pools are kept.
    #[error("no room for more")]
    NoRoom,
    /// Something failed here.
    #[error("the evaluator failed: {0}")]
    Failed(#[serde(deserialize_with = "bounded::text::<_, 256>")] String),
}

impl PoolRefusal {
    /// [`PoolRefusal::TicketInvalid`], with the text cut to what fits.
    pub fn ticket_invalid(why: impl ToString) -> Self {
        Self::TicketInvalid(bounded::cut(why.to_string(), 256))
    }

    /// [`PoolRefusal::Failed`], with the text cut to what fits.
    pub fn failed(why: impl ToString) -> Self {
        Self::Failed(bounded::cut(why.to_string(), 256))
    }
}

impl PoolTag {
    /// The number of a new pool: SHA-256 over the contributions of the dealer and of all evaluators, in order.
    ///
    /// Whoever contributed something fresh knows that the number is new.
    pub fn drawn(dealer: &Digest, evaluators: &[Digest]) -> Self {
        let mut hash = Sha256::new_with_prefix(b"ai-link/pool-number/v1");
        hash.update((evaluators.len() as u64).to_be_bytes());
        hash.update(dealer.0);
        evaluators.iter().for_each(|part| hash.update(part.0));
        Self(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contribution_counts_in_its_place() {
        let part = |n| Digest([n; 32]);
        let number = PoolTag::drawn(&part(1), &[part(2), part(3)]);
        for (dealer, evaluators) in [
            (part(9), vec![part(2), part(3)]),
            (part(1), vec![part(9), part(3)]),
            (part(1), vec![part(2), part(9)]),
            (part(1), vec![part(3), part(2)]),
            (part(2), vec![part(1), part(3)]),
            (part(1), vec![part(2)]),
            (part(1), vec![part(2), part(3), part(3)]),
        ] {
            assert_ne!(PoolTag::drawn(&dealer, &evaluators), number);
        }
    }
}
