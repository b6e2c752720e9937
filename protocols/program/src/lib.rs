//! The private program: what a model becomes before anyone evaluates it under masks.
//!
//! A model owner has an ONNX file, or a checkpoint of the model hub: floats, dynamic shapes, hundreds of operator variants. Masked evaluation has
//! a ring of 64-bit integers, a handful of operators and no way to look at a value. This crate is the way from
//! one to the other, and the yardstick for whoever evaluates the result:
//!
//! 1. [`Graph::from_onnx`] reads the file within [`ImportLimits`], folds constants, infers every shape, and
//!    refuses what it cannot do with a list of *all* offending nodes. [`Graph::run_f32`] is the clear float
//!    reference: plain loops, no tricks. [`hub`] makes the same of checkpoints.
//! 2. [`compile`] runs the graph on calibration records to learn how large each value gets, picks fraction bits
//!    so that nothing leaves the ring, and lowers the graph to a [`fixed::Program`].
//! 3. [`fixed::Program`] is what dealer, evaluators and client run. It is checked completely when it is made or
//!    deserialised, so that consumers need no checks of their own. [`fixed::Program::run_clear`] is the clear
//!    ring reference with exact floor shifts. Masked evaluation may differ from it by one unit per truncation.
//! 4. [`Package`] is the file that is stored and whose Merkle root is the model's commitment on chain; with a program
//!    for ciphertexts beside it, a [`bundle`] of both.
//!
//! Values have shape `[batch, dims...]`, row-major; only `dims` are stored. No operator mixes records.
//!
//! # What this crate does not protect
//!
//! A program and its calibrated bounds are public to everyone who runs it, and so are its weights unless it is compiled
//! with [`WeightPrivacy::Private`]. Then they are [`Parameters`], apart from the program; what the program still tells
//! about them is in [`plan`]. What a model answers tells about its weights too: whoever may ask often enough can train a
//! copy.
//!
//! Bounds come from the calibration records with headroom. An *input* outside the bound is refused by
//! [`fixed::Program::encode_input`], but inputs unlike any calibration record can still drive an inner value
//! past its bound, and then the result is wrong without anyone noticing. Calibrate on representative data.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod fixed;
pub mod graph;
pub mod hub;
pub mod kernels;
mod maps;
pub mod merkle;
pub mod onnx;
pub mod ops;
pub mod package;
pub mod plan;
mod post;
mod signature;
mod tensor;

pub use fixed::Parameters;
pub use fixed::Program;
pub use graph::Graph;
pub use onnx::{ImportError, ImportLimits};
pub use package::{Package, PackageError, PackageLimits, PrivateWeights};
pub use plan::{
    Accuracy, BoundPolicy, Compiled, FssPolicy, LinkProfile, OutputPolicy, Placement, PlanError,
    PlanOptions, Prediction, Rates, Setting, StepPrediction, WeightPrivacy, compile,
};
pub use post::{ClientOp, KeepDims};
pub use signature::{Datatype, Signature, TensorMeta};
pub use tensor::{OutputData, OutputTensor, Tensor, TensorError};
