//! The first and last words on a bulk stream; between them are shares, which only the engine reads.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    InputPart, InputRefusal, MAX_STORED_INPUTS, PeerKey, PoolTag, Role, Signed, Ticket, bounded,
};

/// Opens a session: sent first by whoever opened the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionHello {
    /// The ticket that the session belongs to.
    pub ticket: Signed<Ticket>,
    /// Which party the stream comes from.
    pub from: Party,
    /// From the dealer to an evaluator: the pool that the session can take its material from; `None`:
    /// it is dealt for this session.
    pub pool: Option<PoolTag>,
    /// From the client: what the worker needs to bring its shares of stored inputs, at most 8.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_STORED_INPUTS>")]
    pub inputs: Vec<InputPart>,
}

/// A party of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Party {
    /// The application.
    Client,
    /// A worker of the group.
    Worker(Role),
}

impl From<Role> for Party {
    fn from(role: Role) -> Self {
        Self::Worker(role)
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.pad("client"),
            Self::Worker(role) => role.fmt(f),
        }
    }
}

/// Answers a [`SessionHello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloReply {
    /// Go on.
    Accepted {
        /// From an evaluator to a dealer that offered a pool: the same, if the evaluator has it too.
        /// From the dealer then to the evaluators, who wait for it, and to the client: the pool that the
        /// session takes its material from, if all evaluators have it. `None`: it is dealt for this
        /// session.
        pool: Option<PoolTag>,
    },
    /// Go away.
    Refused(SessionRefusal),
}

/// Why a worker does not take part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SessionRefusal {
    /// The ticket does not hold.
    #[error("the ticket does not hold: {0}")]
    TicketInvalid(#[serde(deserialize_with = "bounded::text::<_, 256>")] String),
    /// The worker is not in the ticket's group.
    #[error("not in the group of the ticket")]
    NotInGroup,
    /// The worker cannot get the model.
    #[error("the model is not available: {0}")]
    ModelUnavailable(#[serde(deserialize_with = "bounded::text::<_, 256>")] String),
    /// The package that the worker got is not the one on the chain.
    #[error("the model package does not match its commitment")]
    CommitmentMismatch,
    /// The ticket was used already; its masks are gone.
    #[error("the session was used already")]
    SessionUsed,
    /// Too much to do.
    #[error("busy")]
    Busy,
    /// The ticket is over.
    #[error("the ticket has expired")]
    Expired,
    /// The stream comes from another peer than it says.
    #[error("the stream comes from another peer than the party it claims to be")]
    WrongPeer,
    /// It does not bring its share of a stored input.
    #[error(transparent)]
    Input(InputRefusal),
}

impl SessionRefusal {
    /// [`SessionRefusal::TicketInvalid`], with the text cut to what fits.
    pub fn ticket_invalid(why: impl ToString) -> Self {
        Self::TicketInvalid(bounded::cut(why.to_string(), 256))
    }

    /// [`SessionRefusal::ModelUnavailable`], with the text cut to what fits.
    pub fn model_unavailable(why: impl ToString) -> Self {
        Self::ModelUnavailable(bounded::cut(why.to_string(), 256))
    }
}

/// Ends a session that cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    /// What happened: at most 256 bytes.
    #[serde(deserialize_with = "bounded::text::<_, 256>")]
    pub reason: String,
    /// Who is to blame, if it is known.
    pub culprit: Option<PeerKey>,
}

impl Abort {
    /// An abort, with the reason cut to what fits.
    pub fn new(reason: impl Into<String>, culprit: Option<PeerKey>) -> Self {
        Self {
            reason: bounded::cut(reason.into(), 256),
            culprit,
        }
    }
}
