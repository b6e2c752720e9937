//! Level `fhe` in a build without it: the same names, and nothing behind them.

use std::path::PathBuf;
use std::sync::Arc;

use ai_link_program::Signature;
use ai_link_wire::node::Node;
use ai_link_wire::{Digest, Identity, PeerKey, Progress, Signed, Ticket};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::attempt::Delivered;

/// Whether this build serves the level.
pub const IS_BUILT: bool = false;

/// There is nothing that could fail.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OfferError {}

/// There is nothing that could fail.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {}

/// There is nothing that could fail.
#[derive(Debug, thiserror::Error)]
pub enum FheFailure {}

impl FheFailure {
    /// Nobody.
    pub fn culprit(&self) -> Option<PeerKey> {
        match *self {}
    }

    /// Never.
    pub fn is_the_callers(&self) -> bool {
        match *self {}
    }

    pub(crate) fn is_the_inputs(&self) -> bool {
        match *self {}
    }
}

/// There is none.
#[derive(Clone, Debug)]
pub enum Offered {}

/// Of no key.
#[derive(Clone, Debug, serde::Serialize)]
pub struct KeyInfo {
    /// Its parameter set.
    pub set: String,
    /// Its name.
    pub key: String,
    /// Bytes of the evaluation key.
    pub evaluation_bytes: u64,
    /// When it was made, in seconds since 1970.
    pub made: u64,
}

/// There is none.
#[derive(Debug)]
pub enum KeyPair {}

impl KeyPair {
    /// Of no key.
    pub fn id(&self) -> Digest {
        match *self {}
    }
}

impl Offered {
    /// `None`.
    pub fn decode(_: &[u8]) -> Result<Option<Self>, OfferError> {
        Ok(None)
    }

    /// Of no model.
    pub fn signature(&self) -> Signature {
        match *self {}
    }

    /// Of no model.
    pub fn labels(&self) -> &[String] {
        match *self {}
    }

    /// Of no model.
    pub fn max_batch(&self) -> usize {
        match *self {}
    }

    pub(crate) fn set(&self) -> Self {
        match *self {}
    }
}

/// Keeps nothing.
#[derive(Debug)]
pub struct KeyStore;

impl KeyStore {
    /// Touches nothing.
    pub fn open(_: PathBuf, _: &Identity) -> Result<Self, KeyStoreError> {
        Ok(Self)
    }

    /// None.
    pub fn list(&self) -> Result<Vec<KeyInfo>, KeyStoreError> {
        Ok(Vec::new())
    }

    /// None.
    pub fn rotate(&self) -> Result<Vec<KeyInfo>, KeyStoreError> {
        Ok(Vec::new())
    }

    /// Of no parameter set.
    pub async fn current(self: &Arc<Self>, set: Offered) -> Result<Arc<KeyPair>, KeyStoreError> {
        match set {}
    }
}

/// There is none.
#[derive(Debug)]
pub(crate) struct FheAttempt<'a> {
    pub(crate) node: &'a Node,
    pub(crate) signed: &'a Signed<Ticket>,
    pub(crate) ticket: &'a Ticket,
    pub(crate) offered: &'a Offered,
    pub(crate) keys: &'a Arc<KeyStore>,
    pub(crate) values: &'a [f32],
    pub(crate) deadline: Instant,
    pub(crate) progress: &'a watch::Sender<Option<Progress>>,
}

impl FheAttempt<'_> {
    pub(crate) async fn run(self) -> Result<Delivered, FheFailure> {
        let Self {
            node: _,
            signed: _,
            ticket: _,
            offered,
            keys: _,
            values: _,
            deadline: _,
            progress: _,
        } = self;
        match *offered {}
    }
}
