//! Level `sealed`: jobs that this worker is trusted with.
//!
//! One stream of the client is the whole session (the words are in [`ai_link_wire::sealed`], the encryption is in
//! `ai-link-sealed`). The worker sends a key that it rotates ([`Keys`]), decrypts the request, marks the ticket as used,
//! computes with the model that it has loaded ([`Model`]), and encrypts each piece of the answer as it comes. A client that
//! closes its stream has cancelled the job.
//!
//! Plaintext is in memory while a job runs. It is not logged, not captured and not written to disk, and a receipt tells
//! nothing of it.

mod compute;
mod keys;
mod model;
mod runtime;
mod serve;

pub use ai_link_onnx::LibraryError;
pub use keys::Keys;
pub use model::{Model, ModelError};
pub use runtime::Runtime;
pub(crate) use serve::incoming;

/// Whether this build serves the level.
pub const IS_BUILT: bool = true;
