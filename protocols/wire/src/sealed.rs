//! What client and worker say at level `sealed`, on a stream on which the hello is done.
//!
//! ```text
//! client                                     worker
//!                                      ◀──   a signed SealedKey
//!   SealedOpening: 32 bytes of HPKE    ──▶
//!   SealedChunk, ..., the last one     ──▶   the request
//!   Waiting, now and then              ──▶
//!                                      ◀──   SealedNonce: 32 random bytes
//!                                      ◀──   SealedChunk, ..., the last one: the answer, as it comes
//!                                      ◀──   a signed WorkerReceipt
//! ```
//!
//! How chunks are encrypted is in `ai-link-sealed`.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Digest, PeerKey, Record, bounded};

/// A worker's key for requests. Signed by the worker; short-lived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedKey {
    /// X25519, for HPKE.
    pub public: Digest,
}

impl Record for SealedKey {
    const KIND: &'static str = "sealed-key";
    const VERSION: u16 = 1;
}

/// The workers that an application lets see its data: at most 16 of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trusted {
    /// These workers.
    #[serde(deserialize_with = "bounded::list::<_, _, { Trusted::MAX }>")]
    pub workers: Vec<PeerKey>,
    /// Every worker of these operators.
    #[serde(deserialize_with = "bounded::list::<_, _, { Trusted::MAX }>")]
    pub operators: Vec<AccountId>,
}

impl Trusted {
    /// Most of each.
    pub const MAX: usize = 16;

    /// Whether it names the worker or its operator.
    pub fn admits(&self, peer: PeerKey, operator: AccountId) -> bool {
        self.workers.contains(&peer) || self.operators.contains(&operator)
    }

    /// Whether it names nobody.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty() && self.operators.is_empty()
    }
}
