//! Simplifications that change nothing but float rounding.

use super::{FloatConst, Graph, Node, NodeOp};

impl Graph {
    /// Folds scale and shift into the preceding linear layer, and drops what no output needs.
    pub(crate) fn simplify(mut self) -> Self {
        self.fold_affine();
        self.drop_dead();
        self
    }

    /// Moves elementwise monotone functions behind the max pool that alone reads them: `max(f(x)) = f(max(x))`, and a
    /// pool has fewer results than operands, so fewer comparisons.
    pub(crate) fn commute_with_max_pool(mut self) -> Self {
        let uses = self.uses();
        for i in 0..self.nodes.len() {
            if !matches!(self.nodes[i].op, NodeOp::MaxPool(_)) {
                continue;
            }
            let pooled = self.nodes[i].inputs[0];
            let producer = self.nodes[..i].iter().position(|n| n.output == pooled);
            let Some(f) = producer.filter(|f| self.nodes[*f].op.is_monotone() && uses[pooled] == 1)
            else {
                continue;
            };
            // x -> f -> a -> pool -> b   becomes   x -> pool -> a -> f -> b, with a of the pooled shape.
            let result = self.nodes[i].output;
            self.values[pooled] = self.values[result].clone();
            self.nodes[i].inputs = std::mem::take(&mut self.nodes[f].inputs);
            self.nodes[i].output = pooled;
            let mut moved = self.nodes.remove(f);
            moved.inputs = vec![pooled];
            moved.output = result;
            // The pool moved down by one when `f` was taken out, so this is the place right behind it.
            self.nodes.insert(i, moved);
        }
        self
    }

    fn fold_affine(&mut self) {
        let uses = self.uses();
        let mut kept: Vec<Node> = Vec::with_capacity(self.nodes.len());
        // Position in `kept` of the node that makes each value.
        let mut makers: Vec<Option<usize>> = vec![None; self.values.len()];
        for node in std::mem::take(&mut self.nodes) {
            let maker = match node.op {
                NodeOp::AddConst(_) | NodeOp::MulConst(_) if uses[node.inputs[0]] == 1 => {
                    makers[node.inputs[0]]
                }
                _ => None,
            };
            // The layer has no other reader, so it can make the scaled value instead.
            let layer = maker.filter(|m| fold_into(&mut kept[*m].op, &node.op));
            match layer {
                Some(m) => {
                    kept[m].output = node.output;
                    makers[node.output] = Some(m);
                }
                None => {
                    makers[node.output] = Some(kept.len());
                    kept.push(node);
                }
            }
        }
        self.nodes = kept;
    }

    fn drop_dead(&mut self) {
        let mut live = vec![false; self.values.len()];
        for o in &self.outputs {
            live[o.value] = true;
        }
        let mut kept = Vec::with_capacity(self.nodes.len());
        for node in std::mem::take(&mut self.nodes).into_iter().rev() {
            if live[node.output] {
                node.inputs.iter().for_each(|i| live[*i] = true);
                kept.push(node);
            }
        }
        kept.reverse();
        self.nodes = kept;
    }
}

/// Folds an `AddConst` or `MulConst` into a linear layer; `false` when the constant is not uniform per channel.
fn fold_into(layer: &mut NodeOp, affine: &NodeOp) -> bool {
    let (c, is_mul) = match affine {
        NodeOp::MulConst(c) => (c, true),
        NodeOp::AddConst(c) => (c, false),
        _ => return false,
    };
    match layer {
        NodeOp::Linear { weights, bias } => {
            let columns = weights.dims[1];
            let Some(per) = per_column(c, columns) else {
                return false;
            };
            if is_mul {
                let rows = weights.data.chunks_exact_mut(columns);
                rows.for_each(|row| row.iter_mut().zip(&per).for_each(|(w, f)| *w *= f));
            }
            combine(bias, &per, is_mul);
        }
        NodeOp::Conv { weights, bias, .. } => {
            let channels = weights.dims[0];
            let Some(per) = per_channel(c, channels) else {
                return false;
            };
            if is_mul {
                let kernel = weights.data.len() / channels;
                let kernels = weights.data.chunks_exact_mut(kernel);
                kernels
                    .zip(&per)
                    .for_each(|(k, f)| k.iter_mut().for_each(|w| *w *= f));
            }
            combine(bias, &per, is_mul);
        }
        _ => return false,
    }
    true
}

fn combine(bias: &mut Option<Vec<f32>>, per: &[f32], is_mul: bool) {
    match (bias, is_mul) {
        (Some(bias), true) => bias.iter_mut().zip(per).for_each(|(b, f)| *b *= f),
        (Some(bias), false) => bias.iter_mut().zip(per).for_each(|(b, a)| *b += a),
        (None, true) => {}
        (bias, false) => *bias = Some(per.to_vec()),
    }
}

/// The constant's value per last axis, if it is the same in every row.
fn per_column(c: &FloatConst, columns: usize) -> Option<Vec<f32>> {
    let mut rows = c.data.chunks_exact(columns);
    let first = rows.next()?;
    rows.all(|row| row == first).then(|| first.to_vec())
}

/// The constant's value per first axis, if it is the same all over each plane.
pub(super) fn per_channel(c: &FloatConst, channels: usize) -> Option<Vec<f32>> {
    let planes = c.data.chunks_exact(c.data.len() / channels);
    planes
        .map(|p| p.first().copied().filter(|v| p.iter().all(|w| w == v)))
        .collect()
}
