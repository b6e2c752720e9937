//! ONNX models in the clear.
//!
//! A model published on the network is an ONNX file. This crate runs such a file the ordinary way, with floats
//! and with nothing hidden: it is what private evaluation is measured against. `ai-link model check` and
//! `ai-link demo` run every record here and under the private engine and compare; a model whose private answers
//! differ from these is not published.
//!
//! The executor is [tract](https://github.com/sonos/tract), pure Rust, no library to install or download. A
//! session takes and gives `f32` tensors by name:
//!
//! ```
//! use ai_link_onnx::{NamedTensor, OnnxSession};
//!
//! let model = include_bytes!("../../../benchmarks/models/digits/model.onnx");
//! let session = OnnxSession::load(model)?;
//! assert_eq!(session.inputs()[0].to_string(), "image [?, 1, 8, 8]");
//!
//! let image = NamedTensor { name: "image".into(), dims: vec![1, 1, 8, 8], data: vec![0.0; 64] };
//! let outputs = session.run(&[image])?;
//! assert_eq!((outputs[0].name.as_str(), outputs[0].dims.as_slice()), ("probabilities", &[1, 10][..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it does not protect
//!
//! - Nothing is confidential here: whoever runs a session sees the input, the output and the weights.
//! - Damaged or hostile bytes give a typed error, also where the executor panics (the standard panic message
//!   still goes to standard error). But a model can ask for more memory or time than there is, and running out
//!   of memory ends the process. Run models of strangers in a process that may die.
//! - Floats differ in the last bits from machine to machine. Compare with a tolerance, classes by the largest
//!   element.

#![forbid(unsafe_code)]

mod backend;
mod error;
mod runtime;
mod session;
mod tensor;

pub use backend::{BACKEND, Backend};
pub use error::{LoadError, RunError, RuntimeError};
pub use session::{MAX_MODEL_BYTES, OnnxSession};
pub use tensor::{Dim, NamedTensor, Port};
