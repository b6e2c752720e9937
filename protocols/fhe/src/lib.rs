//! Inference on encrypted records by one worker that is trusted with nothing.
//!
//! The application encrypts a record, a worker computes on the ciphertext, and only the application can decrypt what comes
//! back. The scheme is TFHE (Chillotti, Gama, Georgieva, Izabachène, *TFHE: Fast Fully Homomorphic Encryption over the
//! Torus*, Journal of Cryptology 2020), by the library `tfhe`. This crate is what makes models fast enough to use it:
//!
//! ```text
//!  client                                             worker
//!  ------                                             ------
//!  record -- Encoder --> integers
//!  integers -- ClientKey::encrypt --> request ----->  Evaluator::run
//!    one seeded GLWE ciphertext per N integers          sums        (plaintext polynomials, nearly free)
//!                                                       tables      (key switch + programmable bootstrap, all cores)
//!                                                       sums
//!  scores <-- Decoder -- ClientKey::decrypt <-- answer  packed, rounded to a few bits
//! ```
//!
//! The model owner compiles once ([`compile()`]); the client sends its evaluation key once (about 22 or 28 MB, by its hash,
//! in pieces that may be resumed: [`KeyUpload`]) and then a few kilobytes per record. Nothing here opens a socket, reads a
//! clock or draws a random number: entropy comes in as [`Entropy`], which is used up by what it is used for.
//!
//! # Models
//! | model | how | exact |
//! |---|---|---|
//! | linear and logistic regression, SVM with a linear kernel | one sum per class or pair of classes, no bootstrap | yes |
//! | decision trees, forests, boosted trees (scikit-learn, XGBoost, LightGBM as ONNX) | the client encrypts for each threshold whether a feature is above it; parts of trees are table look-ups, without any comparison under encryption | yes |
//! | networks of linear layers, convolutions, average pooling and functions of one value | each activation is one table look-up | no |
//! | the same with [`Options::networks`] exact | each accumulator is cut to the table's cells first, by one to four more look-ups; weights behind a table are a few units | yes |
//!
//! How is told beside the code: the compiler in `compile/trees.rs`, `compile/network.rs`, `compile/network/exact.rs` and
//! `compile/linear.rs`, what
//! a worker evaluates in `program.rs`, sums and batches in `engine/`.
//!
//! # Noise, failure, and what exact means
//! Every ciphertext carries noise. [`Program::prove`] adds it up by tfhe's formulas for the published parameter sets that
//! are used ([`ParameterSet`]). In an *exact* program, every table look-up and every output rounds to the right value
//! except with probability 2^-128 each ([`FAILURE_LOG2`]), and what is decrypted equals [`Program::run_clear`]; a model that
//! does not fit is refused with the step that would fail. An *approximate* program reads accumulators that are finer than its
//! tables: results carry noise, of which the standard deviation is known. [`Package::method`] says which a model is.
//!
//! # Security
//! Against a worker that sees requests and keys: what TFHE gives, 128 bits or more by tfhe's estimates (132 by the formulas
//! used), under the circular-security assumption that all bootstrapping rests on. Parameters of answers are those of inputs
//! (dimension 2048) in a smaller ring. A worker may compute something else than it was asked: there is no proof of
//! computation. Results of exact programs can be recomputed by anyone who has the key, bit for bit.
//!
//! Whoever is *shown decryptions* is stronger (IND-CPA^D; Li and Micciancio, EUROCRYPT 2021). Exact programs withstand that;
//! decryptions of approximate ones must not reach the worker, nor anything computed from them. [`Decrypted`] enforces it as
//! far as types can.
//!
//! ## What is not protected
//! * The worker knows the model's weights, and when and how often it is used. Its owner can run the worker.
//! * The client knows the grid on which trees split (its encoder has the thresholds) but not the trees; and the noise of
//!   answers is not flooded, so it may tell a determined client something about the weights, as answers do anyway.
//! * Inputs beyond what calibration records span saturate; accumulators of networks beyond it wrap around and give wrong
//!   results silently, in exact mode the same ones as in the clear ([`Package::range`]). Calibrate on representative data.
//!   Trees and their proofs hold for any input.
//! * An exact network's answer holds several sums for each score, more of the weights' structure than the score alone.
//!
//! # GPUs
//! Feature `cuda` adds [`Device`]s with tfhe's CUDA back-end: key switches and bootstraps of a layer go to the GPU in one
//! batch, sums and packing stay. Building it takes `nvcc`, CMake 3.24 and libclang. Its code is type-checked
//! (`DOCS_RS=1 cargo check -p ai-link-fhe --features cuda`) but was not yet linked or run.
//!
//! # Licence of the library
//! `tfhe` is under BSD-3-Clause-Clear, which grants *no patent licence*: commercial use needs one from Zama.
#![cfg_attr(not(feature = "cuda"), forbid(unsafe_code))]
#![cfg_attr(feature = "cuda", deny(unsafe_code))]

mod answer;
mod compile;
mod decrypted;
mod encoder;
mod engine;
mod entropy;
mod error;
mod evaluator;
mod format;
#[doc(hidden)]
pub mod fuzz;
mod header;
mod ids;
mod keys;
mod model;
mod noise;
mod offer;
mod onnx;
mod package;
mod parameters;
mod program;
mod request;

pub use answer::key_of;
pub use compile::{Activations, Options, compile, run_float};
pub use decrypted::{AnyDecrypted, Approximate, Decrypted, Exact};
pub use encoder::{Decoder, Encoder, Reading};
pub use engine::device::Device;
pub use entropy::Entropy;
pub use error::{CompileError, FheError, FormatError};
pub use evaluator::{Control, Evaluator};
pub use ids::{KeyId, ProgramId};
pub use keys::{
    ClientKey, EvaluationKey, GeneratedKey, KeyUpload, MAX_KEY_BYTES, PIECE_BYTES, UploadError,
};
pub use model::{Decision, Head, Norm, Step};
pub use noise::FAILURE_LOG2;
pub use offer::Offer;
pub use package::{Fidelity, Method, Package, Range};
pub use parameters::ParameterSet;
pub use program::{ClearRun, Exactness, Program, Proof};
