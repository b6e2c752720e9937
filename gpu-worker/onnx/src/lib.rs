//! ONNX models in the clear.
//!
//! A model published on the network is an ONNX file. This crate runs such a file the ordinary way, with floats
//! and with nothing hidden. Workers execute models of level `sealed` with it, and it is what private evaluation is
//! measured against: `ai-link model check` and `ai-link demo` run every record here and under the private engine and
//! compare; a model whose private answers differ from these is not published.
//!
//! Two back-ends execute models, with the same results up to rounding (the tests hold both to one contract):
//!
//! - [ONNX Runtime](https://onnxruntime.ai), several times faster, when its library is found while the program runs:
//!   the file that the variable `ORT_DYLIB_PATH` names, or what the system's loader finds. Any version from 1.17 on
//!   will do; the package `onnxruntime` of PyPI brings one. Nothing is downloaded or linked when this crate is built.
//! - [tract](https://github.com/sonos/tract), pure Rust, which is always there.
//!
//! [`Runtime::open`] chooses, and says what it passed over and why. A session takes and gives `f32` tensors by name:
//!
//! ```
//! use std::num::NonZeroUsize;
//!
//! use ai_link_onnx::{Library, NamedTensor, Runtime};
//!
//! let model = include_bytes!("../../../benchmarks/models/digits/model.onnx");
//! let opened = Runtime::open(&Library::Auto, NonZeroUsize::MIN)?;
//! let session = opened.runtime.load(model)?;
//! assert_eq!(session.inputs()[0].to_string(), "image [?, 1, 8, 8]");
//!
//! let image = NamedTensor { name: "image".into(), dims: vec![1, 1, 8, 8], data: vec![0.0; 64] };
//! let outputs = session.run(&[image])?;
//! assert_eq!((outputs[0].name.as_str(), outputs[0].dims.as_slice()), ("probabilities", &[1, 10][..]));
//! println!("{} says {:?}", session.backend(), outputs[0].data);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it does not protect
//!
//! - Nothing is confidential here: whoever runs a session sees the input, the output and the weights.
//! - Damaged or hostile bytes give a typed error, also where the executor panics (the standard panic message
//!   still goes to standard error). But a model can ask for more memory or time than there is, and running out
//!   of memory ends the process; and ONNX Runtime is C++, where a mistake is not a panic. Run models of strangers in
//!   a process that may die.
//! - Floats differ in the last bits from machine to machine. Compare with a tolerance, classes by the largest
//!   element.

#![forbid(unsafe_code)]

mod backend;
mod error;
mod library;
mod runtime;
mod session;
mod tensor;

pub use backend::{BUILT_IN, Backend};
pub use error::{LibraryError, LoadError, RunError, RuntimeError};
pub use library::{LIBRARY_VARIABLE, Library};
pub use runtime::{Opened, Runtime};
pub use session::{MAX_MODEL_BYTES, OnnxSession};
pub use tensor::{Dim, NamedTensor, Port};
