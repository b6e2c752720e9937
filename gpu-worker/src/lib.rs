//! A worker: the machine of a GPU owner, in the network.
//!
//! It joins coordinators (`announce`), and waits for streams. A stream starts with a coordinator's signed
//! ticket; [`session`] decides whether it is to be believed, collects the streams of a session, marks the
//! session as used ([`used`]), and hands it to an [`engine`]. Models are pulled from storage, checked against
//! their commitment on chain, and kept within a bound ([`cache`]). Parts of private weights come from their owners
//! ([`hosting`]). Where kernels run is a [`device`].
//! Inputs may come from storage as well, in shares of which a worker gets one ([`inputs`]); what was pulled is kept
//! within a bound ([`objects`]).
//!
//! A client's stream at level `fhe` is a session of its own kind ([`fhe`]): ciphertexts, one worker, a key that is kept.
//!
//! One at level `sealed` ([`sealed`]) is for a worker that the client trusts: it computes in the clear, and streams.
//!
//! When nothing runs ([`activity`]) a dealer deals ahead for groups that it has served (`dealing`), and all of a group
//! keep what was dealt in [pools](pool), so that the next request meets it. What is there is told in a file
//! ([`status`]).
//!
//! # What a worker sees
//!
//! As evaluator: masked tensors, dealt correlations, and the others' openings, each uniformly random on its own.
//! As dealer: a seed of masks, never a masked value. As host of private weights: a share that is uniformly random on its
//! own, or the seed of what blinds the others' shares. In every part: who asks for which model, when, and for how
//! many records. At level `fhe`: ciphertexts, and an evaluation key, which decrypts nothing.
//! At level `sealed`: request and answer, since the client chose this worker for it. With `capture` set it writes
//! all of this down as it came off the link, for inspection: of requests at level `sealed` that is ciphertext.
#![forbid(unsafe_code)]

pub mod activity;
mod announce;
pub mod cache;
pub mod claims;
mod config;
mod coordinators;
mod dealing;
pub mod device;
pub mod engine;
#[cfg_attr(not(feature = "fhe"), path = "fhe/absent.rs")]
pub mod fhe;
pub mod hosting;
pub mod inputs;
pub mod nearby;
pub mod objects;
pub mod pool;
mod random;
mod receipt;
#[cfg_attr(not(feature = "sealed"), path = "sealed/absent.rs")]
pub mod sealed;
pub mod session;
pub mod status;
mod tally;
pub mod used;
mod worker;

pub use config::{OnnxConfig, OnnxLibrary, Part, WorkerConfig};
pub use worker::{Serving, WorkerError, run};

/// An error with its causes, for the one line that leaves this process.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
