//! Level `fhe`: jobs on ciphertexts, and the keys that they need.
//!
//! One stream of the client is the whole session (the words are in [`ai_link_wire::fhe`]). `admit` believes a ticket as
//! sessions of masked evaluation do; then the evaluation key is looked for ([`KeyShelf`]) or received ([`Uploads`]), the
//! encrypted records come, the ticket is marked as used, and all cores compute. Between batches of bootstraps the worker
//! tells how far it is and looks whether the client still waits: a client that closes its stream has cancelled the job.
//!
//! What this worker sees: ciphertexts, an evaluation key, which model, when, how many records. Nothing of it tells a
//! value. Its receipt says nothing but salted hashes of the ciphertexts.

pub mod index;
mod job;
mod serve;
mod shelf;
pub mod uploads;

pub use job::{Job, Steps};
pub(crate) use serve::incoming;
pub use shelf::{Held, KeyShelf, KeyShelfError};
pub use uploads::Uploads;

use ai_link_fhe::{Evaluator, FormatError, Offer};

/// Whether this build computes on ciphertexts.
pub const IS_BUILT: bool = true;

/// Why the package of a model for this level cannot be used.
pub type OfferError = FormatError;

/// A model's program, ready to run.
#[derive(Debug)]
pub struct Evaluation(Evaluator);

impl Evaluation {
    /// From the model's package for this level; `None` in builds without it.
    ///
    /// # Errors
    /// [`OfferError`].
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, OfferError> {
        let offer = Offer::decode(bytes)?;
        Ok(Some(Self(Evaluator::new(offer.package().program.clone()))))
    }

    pub(crate) fn evaluator(&self) -> &Evaluator {
        &self.0
    }
}
