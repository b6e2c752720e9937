//! Who keeps which part of a model's private weights.

use serde::{Deserialize, Serialize};

use super::Role;
use crate::{AccountId, Commitment, Digest, ModelName, ModelVersion, PeerKey, Record, bounded};

/// A worker that keeps a part of private weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The worker.
    pub peer: PeerKey,
    /// Whose worker it is.
    pub operator: AccountId,
}

/// A model's owner shares its private weights among three workers. Signed by the owner, and shown to
/// each of them along with its part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hosting {
    /// Whose model it is.
    pub owner: AccountId,
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: ModelVersion,
    /// Its package, which commits to the weights.
    pub commitment: Commitment,
    /// Names the sharing: equal for the three parts of one, different for any two.
    pub sharing: Digest,
    /// Who keeps which part, in the order of [`Role::TRIO`].
    pub group: [Host; 3],
}

impl Record for Hosting {
    const KIND: &'static str = "hosting";
    const VERSION: u16 = 1;
}

impl Hosting {
    /// Checks what can be seen in the record itself: no worker and no operator keeps two parts, any
    /// two of which are the weights.
    ///
    /// # Errors
    /// [`HostingError`]: the first thing that is wrong.
    pub fn check(&self) -> Result<(), HostingError> {
        for (i, host) in self.group.iter().enumerate() {
            for earlier in &self.group[..i] {
                if earlier.peer == host.peer {
                    return Err(HostingError::SamePeer { peer: host.peer });
                }
                if earlier.operator == host.operator {
                    let operator = host.operator;
                    return Err(HostingError::SameOperator { operator });
                }
            }
        }
        Ok(())
    }

    /// The part that `peer` keeps.
    pub fn role_of(&self, peer: &PeerKey) -> Option<Role> {
        let mut both = Role::TRIO.into_iter().zip(&self.group);
        both.find(|(_, host)| host.peer == *peer)
            .map(|(role, _)| role)
    }

    /// The workers, in the order of [`Role::TRIO`].
    pub fn peers(&self) -> [PeerKey; 3] {
        self.group.map(|host| host.peer)
    }
}

/// Why a hosting would give the weights away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostingError {
    /// One operator has two parts.
    #[error("operator {operator} would keep two parts of the weights")]
    SameOperator {
        /// The operator.
        operator: AccountId,
    },
    /// One worker has two parts.
    #[error("worker {peer} would keep two parts of the weights")]
    SamePeer {
        /// The worker.
        peer: PeerKey,
    },
}

/// A worker's answer to a [`Hosting`], and to the part that follows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostingReply {
    /// Send the part.
    Send {
        /// Its exact size, as the program implies it.
        bytes: u64,
    },
    /// The part is stored, encrypted, and survives a crash from here on.
    Stored,
    /// No.
    Refused(HostingRefusal),
}

/// Why a worker does not keep a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum HostingRefusal {
    /// The record does not hold, or the chain says otherwise.
    #[error("the hosting does not hold: {0}")]
    Invalid(#[serde(deserialize_with = "bounded::text::<_, 256>")] String),
    /// The worker cannot get the model's package.
    #[error("the model is not available: {0}")]
    ModelUnavailable(#[serde(deserialize_with = "bounded::text::<_, 256>")] String),
    /// It takes another part just now.
    #[error("busy with another part: try again in a moment")]
    Busy,
    /// The model's weights are public.
    #[error("the model has no private weights")]
    Public,
    /// No room.
    #[error(
        "no room: {need} bytes are needed and {free} of {limit} are free; the worker's operator can raise `hosting`"
    )]
    Full {
        /// Bytes of the part.
        need: u64,
        /// Bytes left.
        free: u64,
        /// Bytes kept at most.
        limit: u64,
    },
    /// The bytes are not this worker's part.
    #[error("the bytes are not this worker's part of this sharing: {0}")]
    Part(#[serde(deserialize_with = "bounded::text::<_, 256>")] String),
    /// The worker could not store it.
    #[error("the worker could not store it: {0}")]
    Internal(#[serde(deserialize_with = "bounded::text::<_, 256>")] String),
}

impl HostingRefusal {
    /// [`HostingRefusal::Invalid`], with the text cut to what fits.
    pub fn invalid(why: impl ToString) -> Self {
        Self::Invalid(bounded::cut(why.to_string(), 256))
    }

    /// [`HostingRefusal::ModelUnavailable`], with the text cut to what fits.
    pub fn model_unavailable(why: impl ToString) -> Self {
        Self::ModelUnavailable(bounded::cut(why.to_string(), 256))
    }

    /// [`HostingRefusal::Part`], with the text cut to what fits.
    pub fn part(why: impl ToString) -> Self {
        Self::Part(bounded::cut(why.to_string(), 256))
    }

    /// [`HostingRefusal::Internal`], with the text cut to what fits.
    pub fn internal(why: impl ToString) -> Self {
        Self::Internal(bounded::cut(why.to_string(), 256))
    }
}
