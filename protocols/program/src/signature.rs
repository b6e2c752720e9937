//! What an inference API says about a model: names, shapes and types of its inputs and outputs.

use serde::{Deserialize, Serialize};

use crate::fixed::Program;
use crate::post::ClientOp;

/// Inputs and outputs of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Inputs, in order of the program's ports.
    pub inputs: Vec<TensorMeta>,
    /// Outputs, in order of the program's ports.
    pub outputs: Vec<TensorMeta>,
}

/// One input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorMeta {
    /// Name in the model.
    pub name: String,
    /// Shape; the first axis is the batch and -1.
    pub shape: Vec<i64>,
    /// Type of the elements.
    pub datatype: Datatype,
}

/// Type of elements, named as in the Open Inference Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Datatype {
    /// 32-bit float.
    #[serde(rename = "FP32")]
    Fp32,
    /// 64-bit integer.
    #[serde(rename = "INT64")]
    Int64,
}

impl Datatype {
    /// `FP32` or `INT64`.
    pub fn as_str(self) -> &'static str {
        match self {
            Datatype::Fp32 => "FP32",
            Datatype::Int64 => "INT64",
        }
    }
}

impl Program {
    /// Names, shapes and types of inputs and outputs.
    pub fn signature(&self) -> Signature {
        let shape = |dims: &[usize]| {
            let sizes = dims.iter().map(|d| i64::try_from(*d).unwrap_or(i64::MAX));
            std::iter::once(-1).chain(sizes).collect()
        };
        let inputs = self.inputs().iter().map(|port| TensorMeta {
            name: port.name.clone(),
            shape: shape(&self.value(port.value).dims),
            datatype: Datatype::Fp32,
        });
        let outputs = self.outputs().iter().map(|port| {
            let mut dims = self.value(port.value).dims.clone();
            for op in &port.post {
                dims = op.output_dims(&dims).unwrap_or(dims);
            }
            let datatype = match port.post.last() {
                Some(ClientOp::ArgMax { .. } | ClientOp::Indices) => Datatype::Int64,
                _ => Datatype::Fp32,
            };
            TensorMeta {
                name: port.name.clone(),
                shape: shape(&dims),
                datatype,
            }
        });
        Signature {
            inputs: inputs.collect(),
            outputs: outputs.collect(),
        }
    }
}
