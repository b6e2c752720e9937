//! How a worker gets from another worker what both could pull from storage.
//!
//! ```text
//! worker                      coordinator                        neighbour
//!   ControlRequest::Holders ──▶
//!   ◀── ControlResponse::Holders
//!   CopyHello ────────────────────────────────────────────────────▶
//!                                              ◀── CopyReply::Here { bytes }
//!                                              ◀── pieces, in order, all but the last of COPY_PIECE bytes
//! ```
//!
//! A copy is what storage would have given: packages of models, and inputs that their owner sealed. It has a
//! name that follows from its bytes, so whoever asks for it believes nobody: it hashes what came.

use serde::{Deserialize, Serialize};

use crate::{Commitment, Digest, Fid, PeerKey, WorkerRecord, bounded};
use libp2p::Multiaddr;

/// Bytes of a piece of a copy.
pub const COPY_PIECE: usize = 1 << 20;
/// Most holders that a coordinator names.
pub const MAX_HOLDERS: usize = 4;

/// What coordinators know workers to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    /// The package of a model.
    Model(Commitment),
    /// A share of a stored input, by the digest of its signed [`SharedInput`](crate::SharedInput).
    Input(Digest),
}

/// A worker that announced what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The worker.
    pub peer: PeerKey,
    /// Where it listens: at most 8.
    #[serde(deserialize_with = "bounded::list::<_, _, { WorkerRecord::MAX_ADDRESSES }>")]
    pub addresses: Vec<Multiaddr>,
}

/// What a copy is of: names follow from the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyOf {
    /// The package with this commitment.
    Package(Commitment),
    /// The stored object with this fid.
    Object(Fid),
}

/// Opens a stream over which a copy comes. Answered to workers that the chain knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyHello {
    /// What is wanted.
    pub what: CopyOf,
}

/// Answers a [`CopyHello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyReply {
    /// It follows.
    Here {
        /// All of it.
        bytes: u64,
    },
    /// It is not here (any more).
    NotHere,
    /// As many copies are being sent as are sent at a time.
    Busy,
    /// The chain does not know who asks as a worker.
    NotAWorker,
}
