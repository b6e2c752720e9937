//! Level `sealed` in a build without it: the same names, and nothing behind them.

use std::sync::Arc;

use ai_link_session::hello;
use ai_link_wire::node::BulkStream;
use ai_link_wire::{HelloReply, PeerId, SessionHello, SessionRefusal};

use crate::config::OnnxConfig;
use crate::worker::Worker;

/// Whether this build serves the level.
pub const IS_BUILT: bool = false;

/// There is nothing that could fail.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {}

/// There is nothing that could fail.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {}

/// There is none.
#[derive(Clone, Debug)]
pub struct Runtime;

impl Runtime {
    /// Nothing is loaded.
    ///
    /// # Errors
    /// None.
    pub fn open(_: &OnnxConfig) -> Result<Self, LibraryError> {
        Ok(Self)
    }

    /// `None`.
    pub fn product(&self) -> Option<String> {
        None
    }
}

/// There is none.
#[derive(Debug)]
pub enum Model {}

impl Model {
    /// `None`.
    ///
    /// # Errors
    /// None.
    pub fn load(_: &[u8], _: &Runtime) -> Result<Option<Self>, ModelError> {
        Ok(None)
    }
}

/// There are none.
#[derive(Debug, Default)]
pub struct Keys;

/// Refuses.
pub(crate) async fn incoming(_: Arc<Worker>, _: PeerId, mut stream: BulkStream, _: SessionHello) {
    let refusal = SessionRefusal::ticket_invalid("this worker was built without level sealed");
    let _ = hello::reply(&mut stream, &HelloReply::Refused(refusal)).await;
    let _ = stream.close().await;
}
