//! What a worker evaluates: sums, tables, sums.
//!
//! A program is layers of bootstraps and a list of outputs. Everything is a 64-bit torus word; *sources* are the packed
//! inputs, then the results of all bootstraps in order. A [`Form`] is a sum of sources with integer weights plus a
//! constant; a [`Bootstrap`] looks a form up in a [`Table`]. Input `i` is an integer `x`, encrypted as `x 2^40`: weights
//! below 2^24 place it anywhere on the torus, and fresh noise is far below.
//!
//! # Tables
//! A table has `N` entries for phases in the first half of the torus; in the second half the ring's `X^N = -1` makes it
//! the negated first half. Forms that stay in the first half read an arbitrary function; ones that use all of the
//! torus an antiperiodic one, which is how `|x|` is read with twice the resolution (`compile/network.rs`).

mod check;
mod clear;
mod prove;

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

pub use clear::ClearRun;
pub(crate) use clear::round;
pub(crate) use prove::DENSE;
pub use prove::Proof;

use crate::error::FormatError;
use crate::format;
use crate::ids::ProgramId;
use crate::parameters::{PACKED, ParameterSet};

/// First bytes of an encoded program; the last is the version of the format.
pub(crate) const MAGIC: [u8; 4] = *b"AFP\x01";

/// Bits that an input is shifted by when it is encrypted.
pub(crate) const INPUT_SHIFT: u32 = 40;
/// Bits of an input, with its sign.
pub(crate) const INPUT_BITS: u32 = 22;

/// Whether results always equal the integer reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exactness {
    /// Every result equals [`Program::run_clear`], but for the failure probability.
    Exact,
    /// A table's input is finer than its cells, so results carry noise that the client sees.
    Approximate,
}

/// A checked program. Made by the compiler or [`Program::decode`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    pub(crate) set: ParameterSet,
    pub(crate) exactness: Exactness,
    pub(crate) inputs: u32,
    /// Bits of an input, with its sign.
    pub(crate) input_bits: u8,
    pub(crate) tables: Vec<Table>,
    pub(crate) layers: Vec<Vec<Bootstrap>>,
    pub(crate) outputs: Vec<Output>,
    /// Bits that each word of an answer is rounded to.
    pub(crate) answer_bits: u8,
    #[serde(skip)]
    pub(crate) id: CachedId,
}

/// The name of a program, once it was asked for. No part of it: all are equal, and a clone finds it anew.
#[derive(Debug, Default)]
pub(crate) struct CachedId(OnceLock<ProgramId>);

impl Clone for CachedId {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for CachedId {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// How the results of a program are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Each as an LWE ciphertext.
    Separate,
    /// Sums of inputs alone: coefficients of one product of polynomials, with one mask for all. Only those coefficients'
    /// bodies are sent, so that the others, which mix weights in other ways, cannot be decrypted.
    Shared,
    /// Packed by a key switch, sixteen to a ciphertext.
    Packed,
}

/// A sum of sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Form {
    /// Source and weight, by ascending source.
    pub(crate) terms: Vec<(u32, i64)>,
    /// Torus word.
    pub(crate) constant: u64,
}

/// A table look-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bootstrap {
    pub(crate) form: Form,
    pub(crate) table: u32,
    /// Factor of the table's entries.
    pub(crate) gain: i64,
}

/// Entries for the first half of the torus, as runs of equal value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Table {
    /// Length and value; lengths sum to `N`.
    pub(crate) runs: Vec<(u16, i64)>,
    /// Cells of the half torus, each read at its middle; 0 where phases are anywhere.
    pub(crate) cells: u16,
}

/// A revealed value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Output {
    pub(crate) form: Form,
    /// Torus units of one.
    pub(crate) step: u64,
}

impl Program {
    /// The parameter set that keys must have.
    pub fn set(&self) -> ParameterSet {
        self.set
    }

    /// Whether results equal the integer reference.
    pub fn exactness(&self) -> Exactness {
        self.exactness
    }

    /// Packed input integers.
    pub fn inputs(&self) -> usize {
        self.inputs as usize
    }

    /// Revealed values.
    pub fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Bits of a packed input, with its sign.
    pub fn input_bits(&self) -> u32 {
        u32::from(self.input_bits)
    }

    /// Cells of the largest table that is read cell by cell; 0 if there is none.
    pub fn largest_table(&self) -> usize {
        let cells = self.tables.iter().map(|table| usize::from(table.cells));
        cells.max().unwrap_or(0)
    }

    /// Bootstraps per record.
    pub fn bootstraps(&self) -> usize {
        self.layers.iter().map(Vec::len).sum()
    }

    /// Bootstraps that depend on each other, at most.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// GLWE ciphertexts of a request.
    pub(crate) fn input_ciphertexts(&self) -> usize {
        self.inputs().div_ceil(self.set.degree())
    }

    /// How results are laid out.
    pub(crate) fn layout(&self) -> Layout {
        let outputs = self.outputs.len();
        let fits = self.inputs().saturating_mul(outputs) <= self.set.degree();
        match outputs {
            1 => Layout::Separate,
            _ if self.layers.is_empty() && fits => Layout::Shared,
            2 => Layout::Separate,
            _ => Layout::Packed,
        }
    }

    /// Words of an answer.
    pub(crate) fn answer_words(&self) -> usize {
        let outputs = self.outputs.len();
        match self.layout() {
            Layout::Separate => outputs * (self.set.dimension() + 1),
            Layout::Shared => self.set.dimension() + outputs,
            Layout::Packed => outputs.div_ceil(PACKED) * (self.set.packing_rank() + 1) * PACKED,
        }
    }

    /// Body words of a request: those that hold inputs, or all if results share one product.
    pub(crate) fn request_words(&self) -> usize {
        match self.layout() {
            Layout::Shared => self.set.degree(),
            Layout::Separate | Layout::Packed => self.inputs(),
        }
    }

    /// The coefficient that holds an output of [`Layout::Shared`].
    pub(crate) fn shared_place(&self, output: usize) -> usize {
        self.inputs() * output + self.inputs() - 1
    }

    /// The program as bytes.
    pub fn encode(&self) -> Vec<u8> {
        format::encode(MAGIC, self)
    }

    /// Reads a program and checks all of it.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let program: Self = format::decode(bytes, MAGIC, "program")?;
        program.check()?;
        Ok(program)
    }

    /// The smallest program with a bootstrap, for the fuzzer and for stored samples.
    pub(crate) fn sum_of_two() -> Self {
        let set = ParameterSet::Ring1024;
        let quarter = 1 << (62 - INPUT_SHIFT);
        let program = Self {
            set,
            exactness: Exactness::Exact,
            inputs: 2,
            input_bits: 2,
            tables: vec![Table {
                runs: vec![(512, 0), (512, 1 << 60)],
                cells: 2,
            }],
            layers: vec![vec![Bootstrap {
                form: Form {
                    terms: vec![(0, quarter)],
                    constant: 1 << 61,
                },
                table: 0,
                gain: 1,
            }]],
            outputs: vec![Output {
                form: Form {
                    terms: vec![(1, 1 << (60 - INPUT_SHIFT)), (2, 1)],
                    constant: 0,
                },
                step: 1 << 60,
            }],
            answer_bits: 16,
            id: CachedId::default(),
        };
        debug_assert_eq!(program.check(), Ok(()));
        program
    }

    /// The same program up to and with `layer`, with the results of that layer's tables as outputs, in steps of 2^-12 of
    /// a table's amplitude: to measure how far activations are from the reference. `None` if there is no such layer.
    pub fn revealing(&self, layer: usize) -> Option<Self> {
        let layers = self.layers.get(..=layer)?.to_vec();
        let before: usize = layers[..layer].iter().map(Vec::len).sum();
        let first = self.inputs() + before;
        let shown = |(i, b): (usize, &Bootstrap)| {
            let entries = &self.tables[b.table as usize].runs;
            let largest = entries
                .iter()
                .map(|(_, v)| v.unsigned_abs())
                .max()
                .unwrap_or(1);
            Output {
                form: Form {
                    terms: vec![((first + i) as u32, 1)],
                    constant: 0,
                },
                step: (largest.saturating_mul(b.gain.unsigned_abs()) >> 12).clamp(1, 1 << 62),
            }
        };
        let program = Self {
            outputs: layers[layer].iter().enumerate().map(shown).collect(),
            layers,
            answer_bits: 24,
            ..self.clone()
        };
        program.check().ok()?;
        Some(program)
    }

    /// The name of the program.
    pub fn id(&self) -> ProgramId {
        *self.id.0.get_or_init(|| ProgramId::of(&self.encode()))
    }
}
