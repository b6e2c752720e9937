//! The float graph: a model after import, before quantisation.
//!
//! Batch is implicit: every value has shape `[batch, dims...]` and only `dims` are stored. Constants are folded,
//! broadcasts are explicit, batch normalisation has become scale and shift, one-dimensional convolutions and pools
//! have become two-dimensional ones of height 1. What is left is small enough to read [`Graph::run_f32`] and believe
//! it.

mod affine;
mod eval;
mod fold;
mod function;
mod op;
mod outputs;
mod run;
mod separate;

pub(crate) use function::End;
pub use function::Function;
pub use op::{FloatConst, NodeOp, Window};
pub use outputs::OutputPolicy;
pub use run::GraphRunError;

use crate::post::ClientOp;

/// An imported model. Made by [`Graph::from_onnx`].
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) source: [u8; 32],
    pub(crate) inputs: Vec<GraphInput>,
    pub(crate) outputs: Vec<GraphOutput>,
    /// Shape of every value, without batch.
    pub(crate) values: Vec<Vec<usize>>,
    pub(crate) nodes: Vec<Node>,
}

/// A secret input of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphInput {
    /// Name in the file.
    pub name: String,
    /// Index of the value.
    pub value: usize,
}

/// A revealed output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphOutput {
    /// Name in the file.
    pub name: String,
    /// Index of the value.
    pub value: usize,
    /// What the client applies in the clear.
    pub post: Vec<ClientOp>,
}

/// One operation on floats.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name in the file.
    pub name: String,
    /// What to do.
    pub op: NodeOp,
    /// Operands.
    pub inputs: Vec<usize>,
    /// Result.
    pub output: usize,
}

impl Graph {
    /// Name of the graph in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the file.
    pub fn source(&self) -> [u8; 32] {
        self.source
    }

    /// Secret inputs, in order.
    pub fn inputs(&self) -> &[GraphInput] {
        &self.inputs
    }

    /// Revealed outputs, in order.
    pub fn outputs(&self) -> &[GraphOutput] {
        &self.outputs
    }

    /// The operations, in order of evaluation.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Shape of a value, without batch; `None` when there is no such value.
    pub fn dims(&self, value: usize) -> Option<&[usize]> {
        self.values.get(value).map(Vec::as_slice)
    }

    /// How many nodes and outputs read each value.
    pub(crate) fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.values.len()];
        let read = self.nodes.iter().flat_map(|n| n.inputs.iter().copied());
        for value in read.chain(self.outputs.iter().map(|o| o.value)) {
            uses[value] += 1;
        }
        uses
    }
}
