//! Graphs from the parts that transformers are made of.

use super::{Lookup, MASK, ROWS, TOKENS};
use crate::graph::{FloatConst, Function, Graph, GraphInput, GraphOutput, Node, NodeOp};

/// A value of the graph.
#[derive(Clone, Copy, Debug)]
pub(super) struct V(usize);

/// A graph on the way.
pub(super) struct Build {
    pub(super) positions: usize,
    values: Vec<Vec<usize>>,
    nodes: Vec<Node>,
    inputs: Vec<GraphInput>,
    outputs: Vec<GraphOutput>,
    label: String,
}

/// Heads of attention: `heads` of queries share `kv` of keys and values, `size` components each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub(super) heads: usize,
    pub(super) kv: usize,
    pub(super) size: usize,
}

impl Build {
    pub(super) fn new(positions: usize) -> Self {
        Self {
            positions,
            values: Vec::new(),
            nodes: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            label: String::new(),
        }
    }

    /// Names the nodes that follow.
    pub(super) fn label(&mut self, name: impl Into<String>) {
        self.label = name.into();
    }

    fn value(&mut self, dims: Vec<usize>) -> V {
        self.values.push(dims);
        V(self.values.len() - 1)
    }

    fn input(&mut self, name: &str, dims: Vec<usize>) -> V {
        let value = self.value(dims);
        self.inputs.push(GraphInput {
            name: name.to_owned(),
            value: value.0,
        });
        value
    }

    pub(super) fn output(&mut self, name: &str, value: V) {
        self.outputs.push(GraphOutput {
            name: name.to_owned(),
            value: value.0,
            post: Vec::new(),
        });
    }

    pub(super) fn finish(self, name: &str, source: [u8; 32]) -> Graph {
        let graph = Graph {
            name: name.to_owned(),
            source,
            inputs: self.inputs,
            outputs: self.outputs,
            values: self.values,
            nodes: self.nodes,
        };
        graph.simplify()
    }

    fn dims(&self, x: V) -> &[usize] {
        &self.values[x.0]
    }

    fn emit(&mut self, op: NodeOp, inputs: &[V], dims: Vec<usize>) -> V {
        let output = self.value(dims);
        self.nodes.push(Node {
            name: self.label.clone(),
            op,
            inputs: inputs.iter().map(|v| v.0).collect(),
            output: output.0,
        });
        output
    }

    fn same(&mut self, op: NodeOp, x: V) -> V {
        let dims = self.dims(x).to_vec();
        self.emit(op, &[x], dims)
    }

    fn pair(&mut self, op: NodeOp, x: V, y: V) -> V {
        let dims = self.dims(x).to_vec();
        self.emit(op, &[x, y], dims)
    }

    /// The embedded tokens: an input, or a product of one with `table` plus `segment`.
    pub(super) fn embedded(
        &mut self,
        lookup: Lookup,
        hidden: usize,
        table: impl FnOnce() -> Result<(FloatConst, Option<Vec<f32>>), super::HubError>,
    ) -> Result<V, super::HubError> {
        let positions = self.positions;
        match lookup {
            Lookup::Rows => Ok(self.input(ROWS, vec![positions, hidden])),
            Lookup::OneHot => {
                let (weights, bias) = table()?;
                let rows = weights.dims[0];
                let x = self.input(TOKENS, vec![positions, rows]);
                self.label("embeddings");
                Ok(self.linear(x, weights, bias))
            }
        }
    }

    /// The mask, one copy a head.
    pub(super) fn mask(&mut self, heads: usize) -> V {
        let n = self.positions;
        let x = self.input(MASK, vec![n, n]);
        self.label("mask");
        let map = (0..heads).flat_map(|_| 0..(n * n) as u32).collect();
        self.emit(NodeOp::Rearrange(map), &[x], vec![heads, n, n])
    }

    pub(super) fn add(&mut self, x: V, y: V) -> V {
        self.pair(NodeOp::Add, x, y)
    }

    pub(super) fn mul(&mut self, x: V, y: V) -> V {
        self.pair(NodeOp::Mul, x, y)
    }

    /// `x W + b` over the last axis; `weights` are `[inputs, outputs]`.
    pub(super) fn linear(&mut self, x: V, weights: FloatConst, bias: Option<Vec<f32>>) -> V {
        let mut dims = self.dims(x).to_vec();
        if let Some(last) = dims.last_mut() {
            *last = weights.dims[1];
        }
        self.emit(NodeOp::Linear { weights, bias }, &[x], dims)
    }

    /// Repeats a value of last axis 1 along that axis.
    fn spread(&mut self, x: V, dims: &[usize]) -> V {
        let n = dims.last().copied().unwrap_or(1);
        let elements: usize = dims.iter().product();
        let map = (0..elements).map(|i| (i / n) as u32).collect();
        self.emit(NodeOp::Rearrange(map), &[x], dims.to_vec())
    }

    fn mean(&mut self, x: V) -> V {
        let mut dims = self.dims(x).to_vec();
        let axes = vec![dims.len() - 1];
        if let Some(last) = dims.last_mut() {
            *last = 1;
        }
        self.emit(NodeOp::Mean { axes }, &[x], dims)
    }

    /// `x / sqrt(mean(x^2) + eps)` over the last axis.
    pub(super) fn rms(&mut self, x: V, eps: f64) -> V {
        let squares = self.mul(x, x);
        let mean = self.mean(squares);
        let op = NodeOp::Affine {
            scale: 1.0,
            shift: eps as f32,
        };
        let mean = self.same(op, mean);
        let inverse = self.same(NodeOp::Function(Function::INVERSE_ROOT), mean);
        let dims = self.dims(x).to_vec();
        let inverse = self.spread(inverse, &dims);
        self.mul(x, inverse)
    }

    /// `(x - mean(x)) / sqrt(var(x) + eps)` over the last axis.
    pub(super) fn normal(&mut self, x: V, eps: f64) -> V {
        let mean = self.mean(x);
        let dims = self.dims(x).to_vec();
        let mean = self.spread(mean, &dims);
        let centred = self.pair(NodeOp::Sub, x, mean);
        self.rms(centred, eps)
    }

    /// `scale x + shift` by column, which are weights.
    pub(super) fn affine(&mut self, x: V, scale: &[f32], shift: Option<&[f32]>) -> V {
        let dims = self.dims(x).to_vec();
        let elements: usize = dims.iter().product();
        let whole = |row: &[f32]| FloatConst {
            dims: dims.clone(),
            data: row.iter().copied().cycle().take(elements).collect(),
        };
        let (scale, shift) = (whole(scale), shift.map(whole));
        let x = self.same(NodeOp::MulConst(scale), x);
        match shift {
            Some(shift) => self.same(NodeOp::AddConst(shift), x),
            None => x,
        }
    }

    /// `relu(x) - tail(|x|)`: gelu and silu.
    pub(super) fn gate(&mut self, x: V, tail: Function) -> V {
        let positive = self.same(NodeOp::Relu, x);
        let twice = NodeOp::Affine {
            scale: 2.0,
            shift: 0.0,
        };
        let twice = self.same(twice, positive);
        let distance = self.pair(NodeOp::Sub, twice, x);
        let rest = self.same(NodeOp::Function(tail), distance);
        self.pair(NodeOp::Sub, positive, rest)
    }

    /// `[rows, heads size] -> [heads, rows, size]`.
    pub(super) fn split(&mut self, x: V, heads: usize) -> V {
        let [rows, width] = [self.dims(x)[0], self.dims(x)[1]];
        let size = width / heads;
        let map = (0..heads).flat_map(|h| {
            (0..rows).flat_map(move |r| (0..size).map(move |c| (r * width + h * size + c) as u32))
        });
        let map = map.collect();
        self.emit(NodeOp::Rearrange(map), &[x], vec![heads, rows, size])
    }

    /// Rotary positions (Su et al., RoFormer, 2021): components `i` and `i + size / 2` of `[heads, rows, size]` turn by
    /// `row * frequencies[i]`.
    pub(super) fn turned(&mut self, x: V, frequencies: &[f64]) -> V {
        let dims = self.dims(x).to_vec();
        let [heads, rows, size] = [dims[0], dims[1], dims[2]];
        let half = size / 2;
        let angles = (0..heads * rows * size).map(|i| {
            let (row, c) = (i / size % rows, i % size);
            (row as f64 * frequencies[c % half], c < half)
        });
        let angles: Vec<(f64, bool)> = angles.collect();
        let of = |f: &dyn Fn(&(f64, bool)) -> f64| FloatConst {
            dims: dims.clone(),
            data: angles.iter().map(|a| f(a) as f32).collect(),
        };
        let cos = of(&|(angle, _)| angle.cos());
        let sin = of(&|(angle, first)| if *first { -angle.sin() } else { angle.sin() });
        let map = (0..heads * rows * size).map(|i| {
            let c = i % size;
            (if c < half { i + half } else { i - half }) as u32
        });
        let map = map.collect();
        let swapped = self.emit(NodeOp::Rearrange(map), &[x], dims.clone());
        let along = self.same(NodeOp::Scale(cos), x);
        let across = self.same(NodeOp::Scale(sin), swapped);
        self.add(along, across)
    }

    /// Row `row` of `[rows, n]`, as `[1, n]`.
    pub(super) fn row(&mut self, x: V, row: usize) -> V {
        let n = self.dims(x)[1];
        let map = (row * n..(row + 1) * n).map(|i| i as u32).collect();
        self.emit(NodeOp::Rearrange(map), &[x], vec![1, n])
    }

    /// The last row of each head: `[heads, rows, size] -> [heads, 1, size]`.
    pub(super) fn last_of_heads(&mut self, x: V) -> V {
        let [heads, rows, size] = [self.dims(x)[0], self.dims(x)[1], self.dims(x)[2]];
        let last = |h: usize| (h * rows + rows - 1) * size..(h + 1) * rows * size;
        let map = (0..heads).flat_map(|h| last(h).map(|i| i as u32));
        let map = map.collect();
        self.emit(NodeOp::Rearrange(map), &[x], vec![heads, 1, size])
    }

    /// Attention (Vaswani et al., 2017): `q` is `[heads, rows, size]` and scaled already, `k` and `v` are
    /// `[kv, positions, size]`. Groups of queries share keys as in Ainslie et al. (2023). The result is
    /// `[rows, heads size]`.
    pub(super) fn attend(&mut self, q: V, k: V, v: V, mask: V, heads: Heads) -> V {
        let Heads { heads, kv, size } = heads;
        let (rows, n) = (self.dims(q)[1], self.positions);
        let of = move |h: usize| h / (heads / kv);
        let map = (0..heads).flat_map(|h| {
            (0..size).flat_map(move |c| (0..n).map(move |p| ((of(h) * n + p) * size + c) as u32))
        });
        let map = map.collect();
        let keys = self.emit(NodeOp::Rearrange(map), &[k], vec![heads, size, n]);
        let values = match heads == kv {
            true => v,
            false => {
                let block = n * size;
                let map =
                    (0..heads).flat_map(|h| (0..block).map(move |i| (of(h) * block + i) as u32));
                let map = map.collect();
                self.emit(NodeOp::Rearrange(map), &[v], vec![heads, n, size])
            }
        };
        let scores = self.emit(NodeOp::MatMul, &[q, keys], vec![heads, rows, n]);
        let scores = self.add(scores, mask);
        let weights = self.same(NodeOp::Softmax, scores);
        let mixed = self.emit(NodeOp::MatMul, &[weights, values], vec![heads, rows, size]);
        let map = (0..rows).flat_map(|r| {
            (0..heads).flat_map(move |h| (0..size).map(move |c| ((h * rows + r) * size + c) as u32))
        });
        let map = map.collect();
        self.emit(NodeOp::Rearrange(map), &[mixed], vec![rows, heads * size])
    }

    /// Without the axis of size 1 in front.
    pub(super) fn flat(&mut self, x: V) -> V {
        let dims = vec![self.dims(x).iter().product()];
        self.emit(NodeOp::Reshape, &[x], dims)
    }
}

/// `x W + b` where `x = scale y + shift` by column: the same of `y`.
pub(super) fn folded(
    mut weights: FloatConst,
    bias: Option<Vec<f32>>,
    scale: &[f32],
    shift: Option<&[f32]>,
) -> (FloatConst, Option<Vec<f32>>) {
    let columns = weights.dims[1];
    let bias = match (bias, shift) {
        (bias, None) => bias,
        (bias, Some(shift)) => {
            let mut sums: Vec<f64> = match bias {
                Some(bias) => bias.into_iter().map(f64::from).collect(),
                None => vec![0.0; columns],
            };
            for (row, s) in weights.data.chunks_exact(columns).zip(shift) {
                let terms = row.iter().map(|w| f64::from(*w) * f64::from(*s));
                sums.iter_mut().zip(terms).for_each(|(sum, t)| *sum += t);
            }
            Some(sums.into_iter().map(|s| s as f32).collect())
        }
    };
    for (row, s) in weights.data.chunks_exact_mut(columns).zip(scale) {
        row.iter_mut().for_each(|w| *w *= s);
    }
    (weights, bias)
}

/// Both times a factor: for the scale of attention's scores.
pub(super) fn times(
    (mut weights, mut bias): (FloatConst, Option<Vec<f32>>),
    factor: f32,
) -> (FloatConst, Option<Vec<f32>>) {
    weights.data.iter_mut().for_each(|w| *w *= factor);
    bias.iter_mut().flatten().for_each(|b| *b *= factor);
    (weights, bias)
}
