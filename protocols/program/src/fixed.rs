//! The fixed-point program: what dealer, evaluators and client run.
//!
//! A [`Program`] is a straight line of [`Step`]s over values of the ring Z_2^64 (`u64`, wrapping, two's
//! complement). A value stands for `ring / 2^fraction`. It has shape `[batch, dims...]`, row-major, and only
//! `dims` are stored, because no operator mixes records.
//!
//! Linear steps are exact in the ring and commute with masks; they are applied by [`crate::ops`] to values and
//! to masks alike. `Trunc`, `Relu` and `Max` are interactive under masks.
//!
//! A `Program` exists only if it passed every check of [`Program::new`]: ids in range and defined before use,
//! each value defined once, shapes consistent, fraction bits consistent, windows sound, sizes within
//! [`limits`]. Deserialising goes through the same check. Consumers need none of their own.

mod builder;
mod check;
mod display;
mod error;
mod io;
mod op;
mod parameters;
mod run;
mod shape;

pub use builder::ProgramBuilder;
pub use error::{DecodeError, EncodeError, ProgramError, RunError, StepError};
pub use op::{BitWindow, ConvGeometry, Op, PAD, PoolGeometry, Tactic};
pub use parameters::{ParameterError, Parameters};

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::post::ClientOp;

/// Sizes that no program exceeds, whatever its author claims.
pub mod limits {
    /// Steps, values, constants and parameters, each.
    pub const ITEMS: usize = 1 << 16;
    /// Axes of a value, without batch.
    pub const RANK: usize = 8;
    /// Elements of one value, for one record.
    pub const VALUE_ELEMENTS: usize = 1 << 26;
    /// Elements of all constants and maps together; of all parameters together.
    pub const CONSTANT_ELEMENTS: usize = 1 << 28;
    /// Index bits of a table: 256 segments.
    pub const TABLE_INDEX_BITS: u8 = 8;
    /// Coefficients of a segment of a table: degree 3.
    pub const TABLE_COEFFICIENTS: usize = 4;
    /// Bytes of a name.
    pub const NAME_BYTES: usize = 512;
    /// Inputs and outputs, each.
    pub const PORTS: usize = 64;
    /// Kernel sizes, strides, pads and dilations, each.
    pub const GEOMETRY: usize = 1 << 12;
    /// Magnitude bits of any value: |ring value| < 2^62 leaves room for exact truncation.
    pub const BOUND_BITS: u8 = 62;
    /// Elements of one value times the batch: what one evaluation may hold per value.
    pub const BATCH_ELEMENTS: usize = 1 << 30;
}

/// A value: input or result of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ValueId(pub u32);

/// A constant: weights, bias, addend or factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConstId(pub u32);

/// A private constant: the program knows only shape and scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ParamId(pub u32);

impl ValueId {
    /// Position in [`Program::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ConstId {
    /// Position in [`Program::constants`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ParamId {
    /// Position in [`Program::parameters`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A secret input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Name of the input in the model.
    pub name: String,
    /// Where it lives.
    pub value: ValueId,
}

/// A revealed output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputPort {
    /// Name of the output in the model.
    pub name: String,
    /// Where it lives.
    pub value: ValueId,
    /// What the client applies in the clear, in order.
    pub post: Vec<ClientOp>,
}

/// Shape and scale of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueInfo {
    /// Shape without batch. Empty = one element per record.
    pub dims: Vec<usize>,
    /// The value stands for `ring / 2^fraction`.
    pub fraction: u8,
    /// Calibrated with headroom: |ring value| < 2^bound_bits.
    pub bound_bits: u8,
}

impl ValueInfo {
    /// Elements for one record.
    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }
}

/// Public integers: weights at the scale that the steps around them imply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constant {
    /// Shape; has no batch axis.
    pub dims: Vec<usize>,
    /// Elements, row-major.
    pub data: Vec<i64>,
}

/// Shape, scale and bound of a private constant. The values are in [`Parameters`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamInfo {
    /// Name in the model.
    pub name: String,
    /// Shape; has no batch axis.
    pub dims: Vec<usize>,
    /// The parameter stands for `ring / 2^fraction`.
    pub fraction: u8,
    /// |ring value| < 2^bound_bits.
    pub bound_bits: u8,
}

impl ParamInfo {
    /// Elements.
    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// For people: the ONNX node this came from.
    pub name: String,
    /// What to do.
    pub op: Op,
    /// Operands.
    pub inputs: Vec<ValueId>,
    /// Result.
    pub output: ValueId,
    /// How, for an operator that needs a sign; else [`Tactic::Auto`].
    pub tactic: Tactic,
}

/// The unchecked pieces of a [`Program`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Name of the model.
    pub name: String,
    /// Secret inputs.
    pub inputs: Vec<Port>,
    /// Revealed outputs.
    pub outputs: Vec<OutputPort>,
    /// Every value, by [`ValueId`].
    pub values: Vec<ValueInfo>,
    /// Every constant, by [`ConstId`].
    pub constants: Vec<Constant>,
    /// Every private constant, by [`ParamId`].
    pub parameters: Vec<ParamInfo>,
    /// The operations, in order of evaluation.
    pub steps: Vec<Step>,
}

/// A checked fixed-point program. See the [module](self).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Program {
    parts: Parts,
    /// Made when it is first asked for: weights of a hundred megabytes take as long to hash as a session.
    digest: OnceLock<[u8; 32]>,
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

impl Eq for Program {}

impl Program {
    /// Checks everything; see the [module](self).
    pub fn new(parts: Parts) -> Result<Self, ProgramError> {
        check::check(&parts)?;
        Ok(Self {
            parts,
            digest: OnceLock::new(),
        })
    }

    /// Name of the model.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// Secret inputs, in order.
    pub fn inputs(&self) -> &[Port] {
        &self.parts.inputs
    }

    /// Revealed outputs, in order.
    pub fn outputs(&self) -> &[OutputPort] {
        &self.parts.outputs
    }

    /// Every value, by [`ValueId::index`].
    pub fn values(&self) -> &[ValueInfo] {
        &self.parts.values
    }

    /// Every constant, by [`ConstId::index`].
    pub fn constants(&self) -> &[Constant] {
        &self.parts.constants
    }

    /// Every private constant, by [`ParamId::index`]. Empty when all weights are public.
    pub fn parameters(&self) -> &[ParamInfo] {
        &self.parts.parameters
    }

    /// The operations, in order of evaluation.
    pub fn steps(&self) -> &[Step] {
        &self.parts.steps
    }

    /// Shape and scale of a value of this program.
    ///
    /// # Panics
    /// If `id` belongs to another program and is out of range here.
    pub fn value(&self, id: ValueId) -> &ValueInfo {
        &self.parts.values[id.index()]
    }

    /// A constant of this program.
    ///
    /// # Panics
    /// If `id` belongs to another program and is out of range here.
    pub fn constant(&self, id: ConstId) -> &Constant {
        &self.parts.constants[id.index()]
    }

    /// A private constant of this program.
    ///
    /// # Panics
    /// If `id` belongs to another program and is out of range here.
    pub fn parameter(&self, id: ParamId) -> &ParamInfo {
        &self.parts.parameters[id.index()]
    }

    /// For every value the index of the last step that reads it: what is needed no longer may be dropped.
    /// `usize::MAX` for outputs, `None` for a value that no one reads.
    pub fn last_uses(&self) -> Vec<Option<usize>> {
        let mut last = vec![None; self.parts.values.len()];
        for (i, step) in self.parts.steps.iter().enumerate() {
            for input in &step.inputs {
                last[input.index()] = Some(i);
            }
        }
        for output in &self.parts.outputs {
            last[output.value.index()] = Some(usize::MAX);
        }
        last
    }

    /// SHA-256 of the canonical encoding: equal programs, equal digest.
    pub fn digest(&self) -> [u8; 32] {
        *self.digest.get_or_init(|| self.hash())
    }

    fn hash(&self) -> [u8; 32] {
        let mut hash = HashWriter(Sha256::new_with_prefix(b"ai-link/program/v2"));
        // Encoding plain integers, strings and sequences into a hash cannot fail; should it ever, the error
        // itself goes into the digest, which then matches no other party's.
        if let Err(e) = bincode::serde::encode_into_std_write(
            &self.parts,
            &mut hash,
            bincode::config::standard(),
        ) {
            hash.0.update(e.to_string());
        }
        hash.0.finalize().into()
    }

    /// The pieces, for whoever wants to transform and check them again.
    pub fn into_parts(self) -> Parts {
        self.parts
    }
}

impl TryFrom<Parts> for Program {
    type Error = ProgramError;

    fn try_from(parts: Parts) -> Result<Self, ProgramError> {
        Self::new(parts)
    }
}

impl From<Program> for Parts {
    fn from(program: Program) -> Self {
        program.parts
    }
}

struct HashWriter(Sha256);

impl std::io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
