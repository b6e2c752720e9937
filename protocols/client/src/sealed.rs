//! Level `sealed`: one worker that the application trusts sees its data, and nobody else does.
//!
//! Who that may be is configured ([`SealedConfig`](crate::SealedConfig)), and nothing else is ever chosen: the coordinator is told whom to match,
//! and a ticket that names anybody else is refused ([`crate::ticket`]). The words on the stream are in
//! [`ai_link_wire::sealed`], the encryption is in `ai-link-sealed`.
//!
//! An answer is given out as it comes ([`SealedAnswer`]). A worker that is lost before its first piece costs another
//! attempt; after that the application gets an error, since another worker's answer need not go on like this one's. The
//! receipt is countersigned and kept before [`Item::Finished`].

mod attempt;

use ai_link_sealed::message::{SealedEvent, SealedRequest};
use ai_link_wire::{JobId, ModelName, ModelVersion};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::Inference;
use crate::error::InferError;

pub(crate) use attempt::SealedAttempt;
pub use attempt::SealedFailed;

/// Pieces that wait for a reader; then the worker waits.
pub(crate) const WAITING: usize = 64;

/// What an application asks of a worker that it trusts.
#[derive(Clone, Debug)]
pub struct SealedJob {
    /// The model.
    pub model: ModelName,
    /// Its version; the latest if `None`.
    pub version: Option<ModelVersion>,
    /// Records: 1, or the texts of which vectors are made, or the records of tensors.
    pub batch: u32,
    /// The request.
    pub request: SealedRequest,
}

/// A part of what comes.
#[derive(Debug)]
pub enum Item {
    /// A piece of the answer.
    Event(SealedEvent),
    /// All of it is here, and the receipt is kept.
    Finished(Box<Inference>),
}

/// An answer that is coming. Dropping it cancels the job.
#[derive(Debug)]
pub struct SealedAnswer {
    pub(crate) job: JobId,
    pub(crate) items: mpsc::Receiver<Result<Item, InferError>>,
    pub(crate) task: JoinHandle<()>,
}

impl SealedAnswer {
    /// The job, and the name of its receipt.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// The next item; `None` after [`Item::Finished`] or an error.
    pub async fn next(&mut self) -> Option<Result<Item, InferError>> {
        self.items.recv().await
    }
}

impl Drop for SealedAnswer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
