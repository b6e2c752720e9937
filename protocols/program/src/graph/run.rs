//! Running a graph on floats.

use thiserror::Error;

use super::{Graph, eval};
use crate::post;
use crate::tensor::{OutputTensor, Tensor};

/// Why a graph cannot be run on these tensors.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum GraphRunError {
    /// Number of inputs.
    #[error("the model takes {want} inputs, {have} were given")]
    Inputs {
        /// Inputs of the model.
        want: usize,
        /// Inputs given.
        have: usize,
    },
    /// Shape of one input.
    #[error(
        "input {name:?} has shape {have:?}; [batch, {want:?}] with the same batch for all is needed"
    )]
    Shape {
        /// The input.
        name: String,
        /// Shape needed, without batch.
        want: Vec<usize>,
        /// Shape given, with batch.
        have: Vec<usize>,
    },
    /// A node made a NaN or an infinity.
    #[error("node {node:?} makes a value that is not finite")]
    NotFinite {
        /// The node.
        node: String,
    },
}

impl Graph {
    /// The clear float reference. Inputs are `[batch, dims...]`, one tensor per input; outputs are after the client's
    /// post-processing.
    pub fn run_f32(&self, inputs: &[Tensor]) -> Result<Vec<OutputTensor>, GraphRunError> {
        let batch = inputs.first().map_or(1, Tensor::batch);
        let values = self.trace(inputs)?;
        let output = |o: &super::GraphOutput| {
            let logits = values[o.value].iter().map(|v| f64::from(*v));
            let (dims, data) = post::apply(&o.post, batch, &self.values[o.value], logits);
            OutputTensor {
                name: o.name.clone(),
                dims,
                data,
            }
        };
        Ok(self.outputs.iter().map(output).collect())
    }

    /// Every value of the graph, by index.
    pub(crate) fn trace(&self, inputs: &[Tensor]) -> Result<Vec<Vec<f32>>, GraphRunError> {
        if inputs.len() != self.inputs.len() {
            return Err(GraphRunError::Inputs {
                want: self.inputs.len(),
                have: inputs.len(),
            });
        }
        let batch = inputs.first().map_or(1, Tensor::batch);
        let mut values = vec![Vec::new(); self.values.len()];
        for (port, tensor) in self.inputs.iter().zip(inputs) {
            let want = &self.values[port.value];
            let fits = tensor.dims().split_first() == Some((&batch, want.as_slice())) && batch > 0;
            if !fits {
                return Err(GraphRunError::Shape {
                    name: port.name.clone(),
                    want: want.clone(),
                    have: tensor.dims().to_vec(),
                });
            }
            values[port.value] = tensor.data().to_vec();
        }
        for node in &self.nodes {
            let operands: Vec<_> = node
                .inputs
                .iter()
                .map(|i| eval::Operand {
                    dims: &self.values[*i],
                    data: &values[*i],
                })
                .collect();
            let result = eval::eval(&node.op, &operands, &self.values[node.output], batch);
            if !result.iter().all(|v| v.is_finite()) {
                return Err(GraphRunError::NotFinite {
                    node: node.name.clone(),
                });
            }
            values[node.output] = result;
        }
        Ok(values)
    }
}
