//! Level `fhe` in a build without it: the same names, and nothing behind them.

use std::path::PathBuf;
use std::sync::Arc;

use ai_link_session::hello;
use ai_link_wire::node::BulkStream;
use ai_link_wire::{Bytes, Digest, HelloReply, PeerId, SessionHello, SessionRefusal};

use crate::worker::Worker;

/// Whether this build computes on ciphertexts.
pub const IS_BUILT: bool = false;

/// There is nothing that could fail.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OfferError {}

/// There is nothing that could fail.
#[derive(Debug, thiserror::Error)]
pub enum KeyShelfError {}

/// There is none.
#[derive(Debug)]
pub enum Evaluation {}

impl Evaluation {
    /// `None`.
    pub fn decode(_: &[u8]) -> Result<Option<Self>, OfferError> {
        Ok(None)
    }
}

/// Keeps nothing.
#[derive(Debug)]
pub struct KeyShelf;

impl KeyShelf {
    /// Touches nothing.
    pub fn open(_: PathBuf, _: Bytes, _: Bytes) -> Result<Self, KeyShelfError> {
        Ok(Self)
    }

    /// None.
    pub fn kept(&self) -> (usize, Bytes) {
        (0, Bytes(0))
    }

    /// Nothing.
    pub fn announced(&self) -> Vec<Digest> {
        Vec::new()
    }
}

/// Refuses.
pub(crate) async fn incoming(_: Arc<Worker>, _: PeerId, mut stream: BulkStream, _: SessionHello) {
    let refusal = SessionRefusal::ticket_invalid("this worker was built without level fhe");
    let _ = hello::reply(&mut stream, &HelloReply::Refused(refusal)).await;
    let _ = stream.close().await;
}
