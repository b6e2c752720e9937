//! Why a file is not imported.

use std::fmt;

use thiserror::Error;

/// Sizes up to which a file is read. The defaults take every model that masked evaluation can serve today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportLimits {
    /// Bytes of the file.
    pub bytes: usize,
    /// Fields of the protobuf messages that hold nodes, initialisers and attributes, together: bounds the memory that
    /// many empty messages would take.
    pub entries: usize,
    /// Nodes.
    pub nodes: usize,
    /// Elements of one tensor: an initialiser, or a value for one record.
    pub tensor_elements: usize,
    /// Elements of everything the import makes, together.
    pub total_elements: usize,
}

impl Default for ImportLimits {
    fn default() -> Self {
        Self {
            // The most that a protobuf message can have.
            bytes: (1 << 31) - 1,
            entries: 1 << 20,
            nodes: 1 << 14,
            tensor_elements: 1 << 26,
            total_elements: 1 << 28,
        }
    }
}

/// Operator-set versions that are understood.
pub const OPSETS: std::ops::RangeInclusive<i64> = 13..=21;

/// Why an ONNX file is not imported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Larger than the caller allows.
    #[error("the model's {what} is {have}, past the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        have: usize,
        /// The limit.
        limit: usize,
    },
    /// Not a protobuf message of the right kind.
    #[error("the file is not an ONNX model")]
    Decode(#[source] prost::DecodeError),
    /// Cut off, or with lengths that point outside.
    #[error("the file is not an ONNX model: a field is cut off")]
    Truncated,
    /// No graph, or a graph without inputs or outputs.
    #[error("the model has no {what}")]
    Missing {
        /// What is missing.
        what: &'static str,
    },
    /// Operator set that is not understood.
    #[error("the model uses operator set {have:?}; {} to {} are supported: convert it with onnx.version_converter", OPSETS.start(), OPSETS.end())]
    Opset {
        /// Version of the default domain, if stated.
        have: Option<i64>,
    },
    /// An initialiser cannot be read.
    #[error("initialiser {name:?} cannot be read")]
    Initializer {
        /// The initialiser.
        name: String,
        /// Why.
        #[source]
        source: TensorProblem,
    },
    /// An input cannot be a secret input.
    #[error("input {name:?} cannot be used: {why}")]
    Input {
        /// The input.
        name: String,
        /// Why, and what to do.
        why: &'static str,
    },
    /// An output cannot be revealed.
    #[error("output {name:?} cannot be used: {why}")]
    Output {
        /// The output.
        name: String,
        /// Why, and what to do.
        why: &'static str,
    },
    /// Nodes that cannot be evaluated under masks: all of them.
    #[error("{} of the model's nodes cannot be evaluated:{}", .0.len(), List(.0))]
    Unsupported(Vec<Unsupported>),
}

/// A node that cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Position in the file.
    pub index: usize,
    /// Name, or a made-up one if it has none.
    pub node: String,
    /// Operator.
    pub op: String,
    /// Why not.
    pub why: Why,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}: {}", self.op, self.node, self.why)
    }
}

/// Lines of a long list: the first thirty say enough.
struct List<'a>(&'a [Unsupported]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in self.0.iter().take(30) {
            write!(f, "\n  {node}")?;
        }
        match self.0.len().saturating_sub(30) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// Why a node cannot be imported.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// Not one of the operators that masked evaluation has.
    #[error("the operator is not supported")]
    Operator,
    /// An operator of another domain than the standard one.
    #[error("operators of domain {0:?} are not supported")]
    Domain(String),
    /// The result would mix records of a batch.
    #[error("it mixes the records of a batch: {0}")]
    MixesBatch(&'static str),
    /// Something other than DequantizeLinear works on a quantised value.
    #[error("it works on the result of QuantizeLinear; only the matching DequantizeLinear may")]
    Quantised,
    /// A parameter that depends on the input.
    #[error("its {0} depends on the input; it must be a constant")]
    NotConstant(&'static str),
    /// Something follows Softmax, LogSoftmax, Sigmoid or ArgMax.
    #[error(
        "it follows an operator that the client applies to the revealed output, so nothing but such may follow"
    )]
    AfterClientOp,
    /// An operand is missing or there are too many.
    #[error("operand {0} is missing")]
    MissingOperand(usize),
    /// An operand refers to a name that nothing defines.
    #[error("operand {0:?} is not defined by anything before this node")]
    Undefined(String),
    /// An attribute is missing or has a value that is not supported.
    #[error("attribute {name:?} {problem}")]
    Attribute {
        /// The attribute.
        name: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Operand shapes do not fit.
    #[error("shapes {shapes:?} (without batch) do not fit: {problem}")]
    Shape {
        /// Shapes without batch.
        shapes: Vec<Vec<usize>>,
        /// What is needed.
        problem: &'static str,
    },
    /// The result depends on the number of records in a way that is not resolved.
    #[error("its shape depends on the number of records in a batch")]
    DependsOnBatch,
    /// A constant has the wrong type of elements.
    #[error("{0}")]
    DataType(&'static str),
    /// Not a number or infinite.
    #[error("a constant is not finite")]
    NotFinite,
    /// Past the limits of the import.
    #[error("a tensor of shape {dims:?}, or all tensors together, is past the import limits")]
    TooLarge {
        /// The shape.
        dims: Vec<usize>,
    },
    /// A constant tensor in an attribute.
    #[error("its tensor attribute cannot be read: {0}")]
    Tensor(TensorProblem),
    /// A name is defined twice.
    #[error("its result {0:?} is already defined")]
    Redefined(String),
}

/// Why a `TensorProto` is not read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorProblem {
    /// Data in another file.
    #[error("its data is in another file; save the model in one file")]
    External,
    /// A negative dimension, or more axes than supported.
    #[error("its shape {0:?} is not valid")]
    Shape(Vec<i64>),
    /// Too many elements.
    #[error("it has more than {limit} elements")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// Data does not fill the shape.
    #[error("its shape needs {want} elements but it has {have}")]
    Length {
        /// Elements of the shape.
        want: usize,
        /// Elements in the file.
        have: usize,
    },
    /// Strings, complex numbers, 8-bit floats and the like.
    #[error("data type {0} is not supported")]
    DataType(i32),
}
