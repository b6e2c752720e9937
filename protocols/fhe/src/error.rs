//! What can go wrong, with the values that matter.

use ai_link_program::ImportError;
use thiserror::Error;

use crate::ids::{KeyId, ProgramId};
use crate::parameters::ParameterSet;

/// Why bytes from outside are not what they should be.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// Another kind of file, or a version that is not understood.
    #[error("this is no {what} of version {version}: it starts with {have:02x?}")]
    Magic {
        /// What was expected.
        what: &'static str,
        /// The version that is understood.
        version: u8,
        /// First bytes.
        have: Vec<u8>,
    },
    /// Not the size that follows from the parameter set and the shape.
    #[error("a {what} of this shape has {want} bytes, not {have}")]
    Size {
        /// What it is.
        what: &'static str,
        /// Size that it must have.
        want: usize,
        /// Size that it has.
        have: usize,
    },
    /// Past what the reader accepts.
    #[error("the {what} has {have} bytes, past the limit of {limit}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        have: usize,
        /// The limit.
        limit: usize,
    },
    /// A parameter set that does not exist.
    #[error("there is no parameter set {0}")]
    ParameterSet(u8),
    /// A body that does not decode.
    #[error("the {what} does not decode: {problem}")]
    Body {
        /// What it is.
        what: &'static str,
        /// What the decoder says.
        problem: String,
    },
    /// A GPU that is not there.
    #[error("there is no GPU {index} that CUDA can use")]
    Device {
        /// Its index.
        index: u32,
    },
    /// A program that contradicts itself.
    #[error("the program is not valid: {0}")]
    Program(String),
}

/// Why a request is not evaluated or an answer not read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FheError {
    /// Bytes that do not parse.
    #[error("bytes from outside are refused")]
    Format(#[from] FormatError),
    /// Made under another key.
    #[error("this is for key {have}, but the key at hand is {want}")]
    ForeignKey {
        /// The key at hand.
        want: KeyId,
        /// The key that the bytes name.
        have: KeyId,
    },
    /// Made for another program.
    #[error("this is for program {have}, but the program at hand is {want}")]
    ForeignProgram {
        /// The program at hand.
        want: ProgramId,
        /// The program that the bytes name.
        have: ProgramId,
    },
    /// Another parameter set than the program needs.
    #[error("the program needs a key of {want}, not of {have}")]
    WrongParameters {
        /// What the program needs.
        want: ParameterSet,
        /// What was given.
        have: ParameterSet,
    },
    /// A record of the wrong size.
    #[error("the model reads {want} values, not {have}")]
    Record {
        /// Values of a record.
        want: usize,
        /// Values given.
        have: usize,
    },
    /// A value that cannot be encoded.
    #[error("value {index} is {value}, outside what the model was compiled for ({problem})")]
    Value {
        /// Its place in the record.
        index: usize,
        /// The value.
        value: String,
        /// Why not.
        problem: &'static str,
    },
    /// The caller asked to stop.
    #[error("cancelled after {done} of {total} bootstraps")]
    Cancelled {
        /// Bootstraps finished.
        done: usize,
        /// Bootstraps of the program.
        total: usize,
    },
}

/// Why a model does not become a program.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The file is no ONNX model, or one of a network that is not understood.
    #[error("the model cannot be read")]
    Import(#[from] ImportError),
    /// The file is not a model that is understood.
    #[error("the model is not understood: {0}")]
    Model(String),
    /// An operator that cannot be evaluated under encryption.
    #[error("node {node} ({op}) cannot be evaluated under encryption: {problem}")]
    Unsupported {
        /// Name of the node.
        node: String,
        /// Operator.
        op: String,
        /// Why not.
        problem: String,
    },
    /// No calibration records, or ones of the wrong size.
    #[error("calibration needs records of {want} finite values; record {record} is not one")]
    Calibration {
        /// Values of a record.
        want: usize,
        /// Index of the offending record; 0 if there are none.
        record: usize,
    },
    /// Past what a program may hold.
    #[error("the model needs {have} {what}, past the limit of {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        have: usize,
        /// The limit.
        limit: usize,
    },
    /// A table with more cells than any parameter set tells apart.
    #[error(
        "a table needs {cells} cells, but at failure 2^-128 the largest parameter set tells {most} apart: \
         make the trees shallower"
    )]
    Cells {
        /// Cells needed.
        cells: usize,
        /// Cells that the largest set can tell apart.
        most: usize,
    },
    /// Noise would spoil a result.
    #[error("{place} would fail with probability 2^{log2:.0}, which is not 2^-128 or less")]
    Noise {
        /// Where.
        place: String,
        /// Binary logarithm of the probability.
        log2: f64,
    },
    /// A network whose results cannot be exact at any parameter set.
    #[error("the network cannot be exact: {0}")]
    Inexact(String),
    /// The model ran into an error in the clear.
    #[error("the model does not run in the clear")]
    Clear(#[source] FheError),
    /// The compiler made a program that contradicts itself: a defect here, or a model larger than a program may be.
    #[error("the model does not become a valid program")]
    Program(#[from] FormatError),
}
