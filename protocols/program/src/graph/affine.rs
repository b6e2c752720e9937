//! Scale and shift as layers: the form in which they can be private.
//!
//! A private factor cannot be multiplied by a public constant, but it is a convolution with one weight per channel, and
//! private convolutions there are. Constants that differ within a channel take as many channels as elements.

use super::fold::per_channel;
use super::{FloatConst, Graph, Node, NodeOp, Window};

impl Graph {
    /// Turns every `MulConst` and `AddConst` that says something about the model into a depthwise convolution with
    /// kernels of one. A factor that is one power of two for all elements, of either sign, stays: it is a scale.
    pub(crate) fn with_affine_layers(mut self) -> Self {
        let uses = self.uses();
        let mut nodes = std::mem::take(&mut self.nodes).into_iter().peekable();
        let mut made = Vec::with_capacity(nodes.len());
        while let Some(mut node) = nodes.next() {
            let (mut scale, mut shift) = match &node.op {
                NodeOp::MulConst(c) if !is_scale(c) => (Some(c.clone()), None),
                NodeOp::AddConst(c) if c.data.iter().any(|v| *v != 0.0) => (None, Some(c.clone())),
                _ => {
                    made.push(node);
                    continue;
                }
            };
            // Scale and shift in a row, or shift and scale, are one layer.
            if let Some(next) = nodes.peek()
                && next.inputs == [node.output]
                && uses[node.output] == 1
            {
                let joined = match (&next.op, &scale, &mut shift) {
                    (NodeOp::AddConst(c), Some(_), _) => {
                        shift = Some(c.clone());
                        true
                    }
                    (NodeOp::MulConst(c), None, Some(shift)) => {
                        shift
                            .data
                            .iter_mut()
                            .zip(&c.data)
                            .for_each(|(a, f)| *a *= f);
                        scale = Some(c.clone());
                        true
                    }
                    _ => false,
                };
                if joined {
                    node.output = next.output;
                    nodes.next();
                }
            }
            self.depthwise(&mut made, node, scale, shift);
        }
        self.nodes = made;
        self
    }

    fn depthwise(
        &mut self,
        made: &mut Vec<Node>,
        node: Node,
        scale: Option<FloatConst>,
        shift: Option<FloatConst>,
    ) {
        let dims = self.values[node.output].clone();
        let elements: usize = dims.iter().product();
        let per = |c: &Option<FloatConst>, channels: usize| match c {
            Some(c) => per_channel(c, channels).map(Some),
            None => Some(None),
        };
        let first = dims.first().copied().unwrap_or(1);
        let whole = |c: Option<FloatConst>| c.map(|c| c.data);
        let (channels, scale, shift) = match (per(&scale, first), per(&shift, first)) {
            (Some(scale), Some(shift)) => (first, scale, shift),
            _ => (elements, whole(scale), whole(shift)),
        };
        let plane = elements / channels;
        let shape = vec![channels, plane, 1];
        let input = self.reshaped(made, &node, node.inputs[0], &dims, &shape);
        let conv = NodeOp::Conv {
            weights: FloatConst {
                dims: vec![channels, 1, 1, 1],
                data: scale.unwrap_or_else(|| vec![1.0; channels]),
            },
            bias: shift,
            groups: channels,
            window: Window {
                kernel: [1, 1],
                strides: [1, 1],
                pads: [0; 4],
                dilations: [1, 1],
                output: [plane, 1],
            },
        };
        let direct = dims == shape;
        let output = match direct {
            true => node.output,
            false => self.value(shape),
        };
        made.push(Node {
            name: node.name.clone(),
            op: conv,
            inputs: vec![input],
            output,
        });
        if !direct {
            made.push(Node {
                name: node.name,
                op: NodeOp::Reshape,
                inputs: vec![output],
                output: node.output,
            });
        }
    }

    fn reshaped(
        &mut self,
        made: &mut Vec<Node>,
        node: &Node,
        value: usize,
        from: &[usize],
        to: &[usize],
    ) -> usize {
        if from == to {
            return value;
        }
        let output = self.value(to.to_vec());
        made.push(Node {
            name: node.name.clone(),
            op: NodeOp::Reshape,
            inputs: vec![value],
            output,
        });
        output
    }

    fn value(&mut self, dims: Vec<usize>) -> usize {
        self.values.push(dims);
        self.values.len() - 1
    }
}

/// One power of two for all elements.
fn is_scale(c: &FloatConst) -> bool {
    match c.data.split_first() {
        Some((first, rest)) => {
            let power = first.is_normal() && first.abs().log2().fract() == 0.0;
            power && rest.iter().all(|v| v == first)
        }
        None => true,
    }
}
