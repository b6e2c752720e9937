//! What a name of the file stands for during the import.

use std::sync::Arc;

use crate::post::ClientOp;

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Depends on a secret input.
    Secret(Secret),
    /// Known now.
    Const(Const),
    /// Result of a node that was refused: whatever follows is not reported again.
    Refused,
}

/// A value of the graph, plus what the client does to it once revealed.
#[derive(Clone, Debug)]
pub(super) struct Secret {
    /// Index of the graph value.
    pub(super) value: usize,
    /// Shape without batch.
    pub(super) dims: Vec<usize>,
    /// Client operators collected so far.
    pub(super) post: Vec<ClientOp>,
    /// Result of a `QuantizeLinear`, still in real units: only a `DequantizeLinear` of the same grid may follow.
    pub(super) grid: Option<Grid>,
    /// What counts as the first axis.
    pub(super) rows: Rows,
}

/// What the first axis of a value in the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// A record.
    Records,
    /// A row of a record: all axes of `dims` but the last have been merged with the batch, as exporters do around a
    /// `Gemm`. Only that, or the way back, may follow.
    Merged,
}

/// The grid of a quantised activation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grid {
    pub(super) scale: f32,
    pub(super) zero: i64,
}

/// A constant tensor. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Const {
    pub(super) dims: Vec<usize>,
    data: Arc<ConstData>,
    /// For integers of 8 or 16 bits, what they can be.
    bits: Option<Narrow>,
}

/// A narrow integer type, as quantised models use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Narrow {
    Int8,
    Uint8,
    Int16,
    Uint16,
}

impl Narrow {
    /// Smallest and largest.
    pub(super) fn range(self) -> [i64; 2] {
        match self {
            Narrow::Int8 => [-128, 127],
            Narrow::Uint8 => [0, 255],
            Narrow::Int16 => [-32768, 32767],
            Narrow::Uint16 => [0, 65535],
        }
    }
}

#[derive(Debug)]
pub(super) enum ConstData {
    Float(Vec<f32>),
    Int(Vec<Int>),
}

/// An integer in a shape computation. The number of records is not known when a model is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Int {
    Known(i64),
    /// The number of records.
    Batch,
}

impl Const {
    /// `data` has as many elements as `dims`.
    pub(super) fn new(dims: Vec<usize>, data: ConstData) -> Self {
        Self {
            dims,
            data: Arc::new(data),
            bits: None,
        }
    }

    /// The same of a narrow type.
    pub(super) fn of(self, bits: Option<Narrow>) -> Self {
        Self { bits, ..self }
    }

    /// The type, if it is a narrow integer.
    pub(super) fn bits(&self) -> Option<Narrow> {
        self.bits
    }

    pub(super) fn data(&self) -> &ConstData {
        &self.data
    }

    pub(super) fn floats(&self) -> Option<&[f32]> {
        match self.data() {
            ConstData::Float(v) => Some(v),
            ConstData::Int(_) => None,
        }
    }

    pub(super) fn ints(&self) -> Option<&[Int]> {
        match self.data() {
            ConstData::Float(_) => None,
            ConstData::Int(v) => Some(v),
        }
    }

    /// All elements, if they are integers that do not depend on the batch.
    pub(super) fn known_ints(&self) -> Option<Vec<i64>> {
        self.ints()?
            .iter()
            .map(|i| match i {
                Int::Known(v) => Some(*v),
                Int::Batch => None,
            })
            .collect()
    }

    /// The only element as a float.
    pub(super) fn scalar(&self) -> Option<f32> {
        match self.data() {
            ConstData::Float(v) => match v.as_slice() {
                [x] => Some(*x),
                _ => None,
            },
            ConstData::Int(v) => match v.as_slice() {
                [Int::Known(x)] => Some(*x as f32),
                _ => None,
            },
        }
    }

    /// The same elements picked by a map without padding.
    pub(super) fn pick(&self, dims: Vec<usize>, map: &[u32]) -> Option<Self> {
        fn gather<T: Copy>(v: &[T], map: &[u32]) -> Option<Vec<T>> {
            map.iter().map(|i| v.get(*i as usize).copied()).collect()
        }
        let data = match self.data() {
            ConstData::Float(v) => ConstData::Float(gather(v, map)?),
            ConstData::Int(v) => ConstData::Int(gather(v, map)?),
        };
        Some(Self::new(dims, data))
    }

    /// The same elements in another shape of the same size.
    pub(super) fn reshaped(&self, dims: Vec<usize>) -> Self {
        Self {
            dims,
            data: Arc::clone(&self.data),
            bits: self.bits,
        }
    }
}
