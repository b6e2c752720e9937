//! What of the outputs is revealed.

use super::{Graph, Node, NodeOp};
use crate::post::ClientOp;

/// What of the outputs is revealed to the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OutputPolicy {
    /// The values.
    #[default]
    Values,
    /// The position of the largest element along the last axis, found under masks; no score.
    Labels,
    /// The positions of so many largest elements, largest first; no scores.
    TopK(u32),
}

impl Graph {
    /// The same graph with only that of its outputs.
    ///
    /// What the client would have applied to the values is dropped where it does not change their order (softmax,
    /// sigmoid), and an `ArgMax` along the last axis is replaced. `None` when the policy does not fit: an output without
    /// axes, with an `ArgMax` along another axis, or with fewer elements than asked for.
    pub fn with_outputs(mut self, policy: OutputPolicy) -> Option<Self> {
        let k = match policy {
            OutputPolicy::Values => return Some(self),
            OutputPolicy::Labels => 1,
            OutputPolicy::TopK(k) => usize::try_from(k).ok()?,
        };
        for i in 0..self.outputs.len() {
            let output = &self.outputs[i];
            if output.post == [ClientOp::Indices] {
                continue;
            }
            let dims = self.values[output.value].clone();
            let (last, outer) = dims.split_last()?;
            let axis = outer.len();
            let other_axis = |op: &ClientOp| match *op {
                ClientOp::Sigmoid | ClientOp::Indices => false,
                ClientOp::Softmax { axis: a }
                | ClientOp::LogSoftmax { axis: a }
                | ClientOp::ArgMax { axis: a, .. } => a != axis,
            };
            if k == 0 || k > *last || output.post.iter().any(other_axis) {
                return None;
            }
            let mut shape = outer.to_vec();
            shape.push(k);
            let mut value = self.push(NodeOp::TopK { k }, output.value, shape, i);
            if policy == OutputPolicy::Labels {
                value = self.push(NodeOp::Reshape, value, outer.to_vec(), i);
            }
            self.outputs[i].value = value;
            self.outputs[i].post = vec![ClientOp::Indices];
        }
        Some(self)
    }

    fn push(&mut self, op: NodeOp, input: usize, dims: Vec<usize>, output: usize) -> usize {
        self.values.push(dims);
        let value = self.values.len() - 1;
        self.nodes.push(Node {
            name: format!("positions of {}", self.outputs[output].name),
            op,
            inputs: vec![input],
            output: value,
        });
        value
    }
}
