//! Storage nodes: who keeps fragments.
//!
//! A node is a process of its own ([`run_node`]) with a directory, an account and a [`Site`]. It
//! knows fragments by their hash and for which files it keeps them; what a file is, where its other
//! fragments are and who owns it, it is not told. It verifies what it is given and proves what it
//! has; what it gives is verified by whoever asked.
//!
//! Two phases make a file appear whole or not at all: fragments are *staged* under the number of an
//! upload, and *committed* together under their fid once that is known. What is staged and not
//! committed goes when the upload is aborted, has stood still too long, or the node restarts.
//!
//! Over HTTP a node has the `/fragment` routes of CESS's miners; what it has beyond them is said in
//! `server`.

mod client;
mod local;
pub(crate) mod server;
mod shelf;
pub(crate) mod tagger;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::client::{HttpNode, HttpNodeConfig};
pub use self::local::LocalNode;
pub use self::server::{NodeConfig, NodeLimits, TaggerEntry, run_node};
pub(crate) use self::shelf::Shelf;
pub use self::tagger::{HttpTagger, TaggerConfig, run_tagger};
use crate::account::Account;
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid};
use crate::location::Site;
use crate::podr2::{Challenge, Proof, TagSet};

/// A storage node, by its account.
pub type NodeId = Account;

/// The number of an upload: 16 random bytes, so that uploads do not meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(pub [u8; 16]);

/// A storage node as its operator registered it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    /// Its account.
    pub account: NodeId,
    /// Where it is reached, for example `http://10.0.0.7:15001`.
    pub url: String,
    /// Where it is, with the evidence that whoever registered it has. What the node says about itself
    /// is compared with this and believed no further.
    pub site: Site,
}

/// What a node says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its account.
    pub account: NodeId,
    /// Where it says it is.
    pub site: Site,
    /// Bytes that fragments take.
    pub occupied: u64,
    /// Bytes that they may take.
    pub capacity: u64,
}

/// Why a node did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// It has no such fragment or upload.
    #[error("it has no such thing")]
    Missing,
    /// What it gave is not what was asked for.
    #[error("what it gave does not hash to {expected}")]
    Damaged {
        /// What was asked for.
        expected: ContentHash,
    },
    /// It has no room.
    #[error("it is full")]
    Full,
    /// It was too slow.
    #[error("it did not answer within {after:?}")]
    TimedOut {
        /// How long it had.
        after: Duration,
    },
    /// It cannot be reached, or broke off.
    #[error("it cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// It refused.
    #[error("it refused with code {code}: {message}")]
    Refused {
        /// Its code.
        code: u16,
        /// Its words.
        message: String,
    },
    /// Its answer makes no sense.
    #[error("its answer makes no sense: {0}")]
    Malformed(String),
    /// Its disk or index failed.
    #[error("its disk failed")]
    Disk(#[source] Box<StorageError>),
}

/// Whoever keeps fragments. Fragments are given without their trailing zeros.
#[async_trait]
pub trait StorageNode: Send + Sync + 'static {
    /// Who it is.
    fn account(&self) -> NodeId;

    /// What it says about itself.
    ///
    /// # Errors
    ///
    /// See [`NodeError`]; so for all methods.
    async fn status(&self) -> Result<NodeStatus, NodeError>;

    /// Keeps a fragment for an upload. When this returns, it is on disk.
    async fn stage(
        &self,
        upload: UploadId,
        hash: ContentHash,
        bytes: Bytes,
    ) -> Result<(), NodeError>;

    /// Keeps everything staged for the upload as parts of `fid` from now on.
    async fn commit(&self, upload: UploadId, fid: Fid) -> Result<(), NodeError>;

    /// Forgets an upload.
    async fn abort(&self, upload: UploadId) -> Result<(), NodeError>;

    /// Keeps one more fragment of `fid`, or mends it.
    async fn put(&self, fid: Fid, hash: ContentHash, bytes: Bytes) -> Result<(), NodeError>;

    /// A fragment. **Not verified.**
    async fn get(&self, hash: ContentHash) -> Result<Bytes, NodeError>;

    /// Which of these fragments it lacks, by its own word.
    async fn lacks(&self, hashes: &[ContentHash]) -> Result<Vec<ContentHash>, NodeError>;

    /// Keeps nothing for `fid` any more. What no other file needs goes.
    async fn release(&self, fid: Fid) -> Result<(), NodeError>;

    /// The files it keeps something for, in order, from behind `after`, a thousand at most.
    async fn files(&self, after: Option<Fid>) -> Result<Vec<Fid>, NodeError>;

    /// Keeps the tags of a fragment, to prove it with.
    async fn put_tags(&self, tags: &TagSet) -> Result<(), NodeError>;

    /// Proves that it has a fragment. **Not verified.**
    async fn prove(&self, hash: ContentHash, challenge: &Challenge) -> Result<Proof, NodeError>;
}

impl UploadId {
    /// A new one.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoEntropy`].
    pub fn generate() -> Result<Self, StorageError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|_| StorageError::NoEntropy)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UploadId({self})")
    }
}

impl std::str::FromStr for UploadId {
    type Err = crate::fid::ParseHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| crate::fid::ParseHashError { length: text.len() })?;
        Ok(Self(bytes))
    }
}
