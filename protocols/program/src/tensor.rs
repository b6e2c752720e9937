//! Clear tensors: what goes into and comes out of the references.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A float tensor, row-major. `dims` include the batch axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dims: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor of `dims` (batch first) over `data`, whose length must be their product.
    pub fn new(dims: Vec<usize>, data: Vec<f32>) -> Result<Self, TensorError> {
        match elements(&dims) {
            Some(want) if want == data.len() => Ok(Self { dims, data }),
            want => Err(TensorError {
                dims,
                want,
                have: data.len(),
            }),
        }
    }

    /// Shape with the batch axis first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Elements in row-major order.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The elements, without the shape.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// Number of records: the first dimension.
    pub fn batch(&self) -> usize {
        self.dims.first().copied().unwrap_or(1)
    }
}

/// The data does not fill the shape.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("shape {dims:?} needs {want:?} elements but {have} were given")]
pub struct TensorError {
    /// Shape asked for.
    pub dims: Vec<usize>,
    /// Elements of that shape; `None` when their number overflows.
    pub want: Option<usize>,
    /// Elements given.
    pub have: usize,
}

/// A named result in the clear, after the client's own post-processing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputTensor {
    /// Name of the output in the model.
    pub name: String,
    /// Shape with the batch axis first.
    pub dims: Vec<usize>,
    /// Elements in row-major order.
    pub data: OutputData,
}

/// Elements of an [`OutputTensor`]: indices (`ArgMax`) are integers, everything else is a float.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OutputData {
    /// Real values.
    F32(Vec<f32>),
    /// Indices.
    I64(Vec<i64>),
}

impl OutputTensor {
    /// The elements as floats, if that is what they are.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            OutputData::F32(v) => Some(v),
            OutputData::I64(_) => None,
        }
    }

    /// The elements as indices, if that is what they are.
    pub fn as_i64(&self) -> Option<&[i64]> {
        match &self.data {
            OutputData::F32(_) => None,
            OutputData::I64(v) => Some(v),
        }
    }
}

/// Product of the dimensions, unless it overflows.
pub(crate) fn elements(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d))
}
