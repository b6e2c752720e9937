//! Keys: the client's, which decrypts, and the worker's, which computes.

mod client;
mod evaluation;
mod upload;

pub use client::{ClientKey, GeneratedKey};
pub(crate) use evaluation::from_bytes;
pub use evaluation::{EvaluationKey, MAX_KEY_BYTES};
pub use upload::{KeyUpload, PIECE_BYTES, UploadError};
