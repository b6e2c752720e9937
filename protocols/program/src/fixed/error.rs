//! Why a program is not one, and why it cannot be run on something.

use thiserror::Error;

use super::ValueId;

/// Why [`Parts`](super::Parts) are not a [`Program`](super::Program).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgramError {
    /// A size is past what any program may have.
    #[error("{what} is {have}, past the limit of {limit}")]
    TooLarge {
        /// Which size.
        what: &'static str,
        /// The size found.
        have: usize,
        /// One of [`super::limits`].
        limit: usize,
    },
    /// A program needs at least one input and one output.
    #[error("the program has no {what}")]
    Missing {
        /// `input` or `output`.
        what: &'static str,
    },
    /// A shape has a zero in it, or more elements than allowed.
    #[error("value {} has shape {dims:?}: every dimension must be positive and the product within limits", value.0)]
    ValueShape {
        /// The value.
        value: ValueId,
        /// Its shape.
        dims: Vec<usize>,
    },
    /// Scale or bound of a value does not leave room for exact truncation.
    #[error("value {} has {fraction} fraction bits and a bound of {bound_bits} bits; at most {} are allowed", value.0, super::limits::BOUND_BITS)]
    ValueScale {
        /// The value.
        value: ValueId,
        /// Its fraction bits.
        fraction: u8,
        /// Its bound.
        bound_bits: u8,
    },
    /// Shape and data of a constant disagree.
    #[error("constant {constant} has shape {dims:?} but {have} elements")]
    ConstantShape {
        /// Index of the constant.
        constant: usize,
        /// Its shape.
        dims: Vec<usize>,
        /// Elements it has.
        have: usize,
    },
    /// Shape, scale or bound of a parameter is not possible.
    #[error(
        "parameter {parameter} ({name:?}) of shape {dims:?} with {fraction} fraction bits and a bound of {bound_bits} bits is not possible"
    )]
    Parameter {
        /// Index of the parameter.
        parameter: usize,
        /// Its name.
        name: String,
        /// Its shape.
        dims: Vec<usize>,
        /// Its fraction bits.
        fraction: u8,
        /// Its bound.
        bound_bits: u8,
    },
    /// Two inputs or steps define the same value, or an id is out of range.
    #[error("value {} is defined twice or does not exist", value.0)]
    Definition {
        /// The value.
        value: ValueId,
    },
    /// An output refers to a value that nothing defines.
    #[error("output {name:?} refers to value {}, which nothing defines", value.0)]
    OutputUndefined {
        /// The output.
        name: String,
        /// The value.
        value: ValueId,
    },
    /// Post-processing names an axis that is not there, or continues after `ArgMax`.
    #[error("output {name:?} has post-processing that does not fit its shape {dims:?}")]
    Post {
        /// The output.
        name: String,
        /// Its shape.
        dims: Vec<usize>,
    },
    /// A value that nothing defines.
    #[error("value {} is declared but neither an input nor the result of a step", value.0)]
    Undefined {
        /// The value.
        value: ValueId,
    },
    /// One step is wrong.
    #[error("step {index} ({name:?}) is not valid")]
    Step {
        /// Position.
        index: usize,
        /// Name of the step.
        name: String,
        /// What is wrong.
        #[source]
        source: StepError,
    },
}

/// What is wrong with one step.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepError {
    /// Number of operands.
    #[error("takes {want} operands, has {have}")]
    Operands {
        /// Operands needed (at least, for `Concat`).
        want: usize,
        /// Operands given.
        have: usize,
    },
    /// An operand is not defined at this point.
    #[error("reads value {} before it is defined", value.0)]
    UsedBeforeDefined {
        /// The operand.
        value: ValueId,
    },
    /// A constant id is out of range.
    #[error("refers to constant {constant}, which does not exist")]
    UnknownConstant {
        /// The id.
        constant: u32,
    },
    /// A parameter id is out of range.
    #[error("refers to parameter {parameter}, which does not exist")]
    UnknownParameter {
        /// The id.
        parameter: u32,
    },
    /// A constant has the wrong shape.
    #[error("{what} have shape {have:?}, which does not fit an input of shape {input:?}")]
    ConstantShape {
        /// Weights, bias, addend or factor.
        what: &'static str,
        /// Shape of the constant.
        have: Vec<usize>,
        /// Shape of the operand.
        input: Vec<usize>,
    },
    /// An operand has a shape that the operator cannot take.
    #[error("an operand of shape {have:?} does not fit: {why}")]
    OperandShape {
        /// Shape of the operand.
        have: Vec<usize>,
        /// What is needed.
        why: &'static str,
    },
    /// The declared result shape is not what the operator makes.
    #[error("makes shape {want:?} but the result is declared as {have:?}")]
    ResultShape {
        /// What the operator makes.
        want: Vec<usize>,
        /// What was declared.
        have: Vec<usize>,
    },
    /// The declared result has another number of elements.
    #[error("makes {want} elements but the result is declared as {have:?}")]
    ResultElements {
        /// What the operator makes.
        want: usize,
        /// What was declared.
        have: Vec<usize>,
    },
    /// Stride, dilation, group or kernel of zero or beyond reason, or a window larger than the padded input.
    #[error("window geometry does not fit an input of {height} x {width}")]
    Geometry {
        /// Height of the input.
        height: usize,
        /// Width of the input.
        width: usize,
    },
    /// An axis is out of range, repeated or not ascending.
    #[error("axes {axes:?} do not fit rank {rank}")]
    Axes {
        /// The axes.
        axes: Vec<usize>,
        /// Rank without batch.
        rank: usize,
    },
    /// A map entry points outside of the input.
    #[error("the map refers to element {entry} of an input of {elements}")]
    Map {
        /// The entry.
        entry: u32,
        /// Elements of the input.
        elements: usize,
    },
    /// Fraction bits of operands and result do not follow from the operator.
    #[error("operands with {operands:?} fraction bits cannot give a result with {result}")]
    Fraction {
        /// Of the operands.
        operands: Vec<u8>,
        /// Of the result.
        result: u8,
    },
    /// The comparison window is empty, too high, or does not cover the bound of what is compared.
    #[error(
        "the window {lo}..{hi} does not fit: it must cover {need} bits and start at or below {start}"
    )]
    Window {
        /// First bit.
        lo: u8,
        /// End.
        hi: u8,
        /// Bits of magnitude that the operand can have.
        need: u8,
        /// Highest admissible first bit.
        start: u8,
    },
    /// A table that is too large, too coarse or does not cover its operand.
    #[error(
        "a table of 2^{index_bits} segments of 2^{segment_bits} does not fit an operand of {bound_bits} bits: 1 to 8 index bits, and both together past the bound by one, at most 62"
    )]
    Table {
        /// Bits of a segment.
        segment_bits: u8,
        /// Bits of the index.
        index_bits: u8,
        /// Bound of the operand.
        bound_bits: u8,
    },
    /// A tactic that the operator has no use for, or out of range.
    #[error(
        "{kind} cannot be computed by {tactic:?}: only signs have a tactic, with leaves of 1 to 4 bits and a fan-in of 2 to 4"
    )]
    Tactic {
        /// The operator.
        kind: &'static str,
        /// The tactic.
        tactic: super::Tactic,
    },
}

/// Why a program cannot be run on these inputs.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunError {
    /// Number of inputs.
    #[error("the program takes {want} inputs, {have} were given")]
    Inputs {
        /// Inputs of the program.
        want: usize,
        /// Inputs given.
        have: usize,
    },
    /// The program has private weights and these are not their values.
    #[error("the parameters given are not those of this program")]
    Parameters(#[source] super::ParameterError),
    /// Number of elements of one input.
    #[error("input {name:?} needs {want} elements for a batch of {batch}, {have} were given")]
    Elements {
        /// The input.
        name: String,
        /// Records.
        batch: usize,
        /// Elements needed.
        want: usize,
        /// Elements given.
        have: usize,
    },
    /// The batch is empty or makes a value too large.
    #[error("a batch of {batch} records is not possible: the largest admissible is {max}")]
    Batch {
        /// Records asked for.
        batch: usize,
        /// Largest batch.
        max: usize,
    },
}

/// Why floats cannot be encoded for an input.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The input does not exist.
    #[error("there is no input {port}; the program has {inputs}")]
    Port {
        /// Index asked for.
        port: usize,
        /// Inputs of the program.
        inputs: usize,
    },
    /// Not a whole number of records.
    #[error(
        "input {name:?} has {record} elements per record; {have} are not a whole, positive number of records"
    )]
    Records {
        /// The input.
        name: String,
        /// Elements per record.
        record: usize,
        /// Elements given.
        have: usize,
    },
    /// Not a number, or infinite.
    #[error("input {name:?} element {index} is {value}, which is not a finite number")]
    NotFinite {
        /// The input.
        name: String,
        /// Which element.
        index: usize,
        /// What it is.
        value: f32,
    },
    /// Outside of what the model was calibrated for.
    #[error(
        "input {name:?} element {index} is {value}; the model was calibrated for magnitudes below {limit}"
    )]
    OutOfRange {
        /// The input.
        name: String,
        /// Which element.
        index: usize,
        /// What it is.
        value: f32,
        /// Calibrated bound, with headroom.
        limit: f64,
    },
}

/// Why a ring vector is not an output.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The output does not exist.
    #[error("there is no output {port}; the program has {outputs}")]
    Port {
        /// Index asked for.
        port: usize,
        /// Outputs of the program.
        outputs: usize,
    },
    /// Number of elements.
    #[error("output {name:?} has {want} elements for a batch of {batch}, {have} were given")]
    Elements {
        /// The output.
        name: String,
        /// Records.
        batch: usize,
        /// Elements needed.
        want: usize,
        /// Elements given.
        have: usize,
    },
}
