//! Where a pool keeps its entries.

use std::collections::{BTreeMap, BTreeSet};

/// A store of one party's part of one pool. Indexes are numbers that the pool gives.
///
/// *Durable* means: on disk when the call returns, so that a crash of process or machine afterwards
/// does not undo it. An operation that fails may or may not have happened, wholly; there is no third
/// outcome.
pub trait Store: Send {
    /// What is there, after the last crash.
    fn load(&mut self) -> Result<Contents, StoreError>;

    /// Raises [`Contents::next`] to `next` if it is lower. Durable.
    fn reserve(&mut self, next: u64) -> Result<(), StoreError>;

    /// Stores an entry, and raises [`Contents::next`] above its index. Durable.
    fn append(&mut self, index: u64, sealed: Vec<u8>) -> Result<(), StoreError>;

    /// The bytes of an entry that is there.
    fn read(&mut self, index: u64) -> Result<Vec<u8>, StoreError>;

    /// Marks an entry as used. Durable: nothing that the entry masks is sent before.
    fn mark(&mut self, index: u64) -> Result<(), StoreError>;

    /// Removes an entry and its mark in one step. Need not be durable: after a crash both may be
    /// back, never the entry alone.
    fn remove(&mut self, index: u64) -> Result<(), StoreError>;
}

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Lowest index that was never reserved nor stored.
    pub next: u64,
    /// Sizes of the entries.
    pub entries: BTreeMap<u64, u64>,
    /// Those that were marked.
    pub marked: BTreeSet<u64>,
}

/// A store failed; what it says is its own error.
#[derive(Debug, thiserror::Error)]
#[error("the store failed")]
pub struct StoreError(#[from] Box<dyn std::error::Error + Send + Sync>);

impl StoreError {
    /// Wraps a store's error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}
