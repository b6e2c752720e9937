//! Graphs from the parts that transformers are made of.

use super::{CACHE, KEYS, Lookup, MASK, ROWS, TOKENS};
use crate::graph::{FloatConst, Function, Graph, GraphInput, GraphOutput, Node, NodeOp};

/// A value of the graph.
#[derive(Clone, Copy, Debug)]
pub(super) struct V(usize);

/// A graph on the way.
pub(super) struct Build {
    pub(super) positions: usize,
    /// The last ones, which are computed.
    pub(super) chunk: usize,
    /// Keys and values of the others.
    cache: Option<Cache>,
    values: Vec<Vec<usize>>,
    nodes: Vec<Node>,
    inputs: Vec<GraphInput>,
    outputs: Vec<GraphOutput>,
    label: String,
}

/// Keys and values, old and new.
struct Cache {
    /// `[layers, 2, kv, positions - chunk, size]`.
    past: V,
    /// Of each layer so far, keys then values: `[kv, chunk, size]`.
    new: Vec<V>,
}

/// Heads of attention: `heads` of queries share `kv` of keys and values, `size` components each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub(super) heads: usize,
    pub(super) kv: usize,
    pub(super) size: usize,
}

impl Build {
    pub(super) fn new(positions: usize, chunk: usize) -> Self {
        Self {
            positions,
            chunk,
            cache: None,
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
        let chunk = self.chunk;
        match lookup {
            Lookup::Rows => Ok(self.input(ROWS, vec![chunk, hidden])),
            Lookup::OneHot => {
                let (weights, bias) = table()?;
                let rows = weights.dims[0];
                let x = self.input(TOKENS, vec![chunk, rows]);
                self.label("embeddings");
                Ok(self.linear(x, weights, bias))
            }
        }
    }

    /// The mask, one copy a head.
    pub(super) fn mask(&mut self, heads: usize) -> V {
        let [rows, n] = [self.chunk, self.positions];
        let x = self.input(MASK, vec![rows, n]);
        self.label("mask");
        let map = (0..heads).flat_map(|_| 0..(rows * n) as u32).collect();
        self.emit(NodeOp::Rearrange(map), &[x], vec![heads, rows, n])
    }

    /// The input of keys and values, if the chunk is not the whole record. Behind the mask.
    pub(super) fn cached(&mut self, layers: usize, heads: Heads) {
        let past = self.positions - self.chunk;
        if past > 0 {
            let dims = vec![layers, 2, heads.kv, past, heads.size];
            let past = self.input(CACHE, dims);
            let new = Vec::new();
            self.cache = Some(Cache { past, new });
        }
    }

    /// Keys (`which` 0) or values (1) of a layer for all positions, `[kv, positions, size]`, of those of the chunk.
    pub(super) fn with_past(&mut self, layer: usize, which: usize, x: V, heads: Heads) -> V {
        let Some(cache) = &mut self.cache else {
            return x;
        };
        cache.new.push(x);
        let (old, past) = (cache.past, self.positions - self.chunk);
        let Heads { kv, size, .. } = heads;
        let part = kv * past * size;
        let from = (2 * layer + which) * part;
        let map = (from..from + part).map(|i| i as u32).collect();
        let old = self.emit(NodeOp::Rearrange(map), &[old], vec![kv, past, size]);
        let dims = vec![kv, self.positions, size];
        self.emit(NodeOp::Concat { axis: 1 }, &[old, x], dims)
    }

    /// The output of the chunk's keys and values, if they are to be cached.
    pub(super) fn give_keys(&mut self) {
        if let Some(Cache { new, .. }) = self.cache.take() {
            self.label("keys and values");
            let mut dims = self.dims(new[0]).to_vec();
            dims[0] *= new.len();
            let all = self.emit(NodeOp::Concat { axis: 0 }, &new, dims);
            self.output(KEYS, all);
        }
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
    /// `(first + row) frequencies[i]`.
    pub(super) fn turned(&mut self, x: V, frequencies: &[f64], first: usize) -> V {
        let dims = self.dims(x).to_vec();
        let [heads, rows, size] = [dims[0], dims[1], dims[2]];
        let half = size / 2;
        let angles = (0..heads * rows * size).map(|i| {
            let (row, c) = (i / size % rows, i % size);
            ((first + row) as f64 * frequencies[c % half], c < half)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{PlanOptions, Program, Tensor, compile};

    /// Values in a circle of `-by..by`, the ends included.
    fn line(n: usize, by: f32) -> Vec<f32> {
        (0..n)
            .map(|i| by * (2.0 * i as f32 / (n - 1) as f32 - 1.0))
            .collect()
    }

    fn noise(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    fn planned(build: Build, y: V, calibration: &[Vec<f32>], bits: u8) -> Program {
        let mut build = build;
        build.output("y", y);
        let graph = build.finish("test", [0; 32]);
        let tensors = graph.inputs().iter().zip(calibration).map(|(port, data)| {
            let dims = graph.dims(port.value).unwrap();
            let batch = data.len() / dims.iter().product::<usize>();
            Tensor::new([&[batch], dims].concat(), data.clone()).unwrap()
        });
        let tensors: Vec<Tensor> = tensors.collect();
        let options = PlanOptions {
            function_bits: bits,
            ..PlanOptions::default()
        };
        compile(&graph, &[tensors], options).unwrap().program
    }

    fn run(program: &Program, inputs: &[Vec<f32>], batch: usize) -> Vec<f64> {
        let words: Vec<Vec<u64>> = (0..inputs.len())
            .map(|port| program.encode_input(port, &inputs[port]).unwrap())
            .collect();
        let out = program.run_clear(&words, batch).unwrap();
        let out = program.decode_output(0, &out[0], batch).unwrap();
        let out = out[0].as_f32().unwrap();
        out.iter().map(|v| f64::from(*v)).collect()
    }

    fn most(a: &[f64], b: impl IntoIterator<Item = f64>) -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn gates_against_f64_over_their_whole_range() {
        type Case = (Function, fn(f64) -> f64);
        let silu: fn(f64) -> f64 = |x| x / (1.0 + (-x).exp());
        let gelu: fn(f64) -> f64 = |x| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        };
        let cases: [Case; 2] = [(Function::SiluTail, silu), (Function::GeluTanhTail, gelu)];
        for (tail, f) in cases {
            for bits in [10, 12, 14] {
                let mut build = Build::new(1, 1);
                let x = build.input("x", vec![1]);
                let y = build.gate(x, tail);
                // Calibration has seen less than what comes; headroom covers it.
                let program = planned(build, y, &[vec![-8.0, 8.0]], bits);
                let x = line(40_001, 40.0);
                let got = run(&program, std::slice::from_ref(&x), x.len());
                let error = most(&got, x.iter().map(|x| f(f64::from(*x))));
                // A unit for the operand, a few for truncations.
                let bound = 2f64.powi(-i32::from(bits)) + 4.0 * 2f64.powi(-16);
                assert!(error < bound, "{tail:?}, {bits} bits: {error}");
            }
        }
    }

    #[test]
    fn root_mean_squares_against_f64() {
        let (rows, n) = (24, 32);
        let mut build = Build::new(rows, rows);
        let x = build.input("x", vec![rows, n]);
        let y = build.rms(x, 1e-6);
        // Rows whose lengths are a factor of a hundred apart.
        let scaled: Vec<f32> = noise(rows * n, 5)
            .into_iter()
            .enumerate()
            .map(|(i, v)| v * 0.1 * 100f32.powf((i / n) as f32 / (rows - 1) as f32))
            .collect();
        let program = planned(build, y, std::slice::from_ref(&scaled), 12);
        let got = run(&program, std::slice::from_ref(&scaled), 1);
        let want = scaled.chunks_exact(n).flat_map(|row| {
            let squares = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            let inverse = (squares / n as f64 + 1e-6).sqrt().recip();
            row.iter().map(move |v| f64::from(*v) * inverse)
        });
        // 2^-12 of each, but the shortest rows have a mean square of 1e-3 with half a unit of rounding.
        let error = most(&got, want.collect::<Vec<_>>());
        assert!(error < 2f64.powi(-6), "{error}");
        let long = 12 * n;
        let want = scaled[long..].chunks_exact(n).flat_map(|row| {
            let squares = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            let inverse = (squares / n as f64 + 1e-6).sqrt().recip();
            row.iter().map(move |v| f64::from(*v) * inverse)
        });
        let error = most(&got[long..], want.collect::<Vec<_>>());
        assert!(error < 2f64.powi(-11), "{error}");
    }

    #[test]
    fn rotary_positions_against_f64() {
        let (heads, rows, size) = (2, 96, 8);
        let frequencies = [1.0, 0.1, 0.01, 0.001];
        let mut build = Build::new(rows, rows);
        let x = build.input("x", vec![heads, rows, size]);
        let y = build.turned(x, &frequencies, 7);
        let x = noise(heads * rows * size, 9);
        let program = planned(build, y, std::slice::from_ref(&x), 12);
        let got = run(&program, std::slice::from_ref(&x), 1);
        let want = (0..x.len()).map(|i| {
            let (row, c) = (i / size % rows, i % size);
            let half = size / 2;
            let angle = (row + 7) as f64 * frequencies[c % half];
            let at = |i: usize| f64::from(x[i]);
            match c < half {
                true => at(i) * angle.cos() - at(i + half) * angle.sin(),
                false => at(i) * angle.cos() + at(i - half) * angle.sin(),
            }
        });
        // Half a unit of each factor and of the operand.
        let error = most(&got, want.collect::<Vec<_>>());
        assert!(error < 3.0 * 2f64.powi(-16), "{error}");
        assert!(
            program.steps().iter().all(|step| !step.op.is_interactive()),
            "it is local"
        );
    }

    /// A position sees what the mask lets it see, to 2^-14 of the weights, whatever stands elsewhere; groups share keys.
    #[test]
    fn masked_attention_against_f64() {
        let (n, size) = (12, 4);
        let heads = Heads {
            heads: 4,
            kv: 2,
            size,
        };
        let mut build = Build::new(n, n);
        let q = build.input("q", vec![4, n, size]);
        let k = build.input("k", vec![2, n, size]);
        let v = build.input("v", vec![2, n, size]);
        let mask = build.mask(4);
        let y = build.attend(q, k, v, mask, heads);
        let scaled = |n: usize, seed: u64| noise(n, seed).into_iter().map(|v| 3.0 * v).collect();
        let (q, k): (Vec<f32>, Vec<f32>) = (scaled(4 * n * size, 1), scaled(2 * n * size, 2));
        let v: Vec<f32> = noise(2 * n * size, 3);
        // Two texts, the second one causal.
        let sees = |r: usize, c: usize| (r < 5 && c < 5) || (r >= 5 && c >= 5 && c <= r);
        let mask = (0..n * n).map(|i| match sees(i / n, i % n) {
            true => 0.0,
            false => super::super::UNSEEN,
        });
        let inputs = [q.clone(), k.clone(), v.clone(), mask.collect()];
        let program = planned(build, y, &inputs, 12);
        let got = run(&program, &inputs, 1);
        let at = |x: &[f32], h: usize, p: usize, c: usize| f64::from(x[(h * n + p) * size + c]);
        let want = (0..n * 4 * size).map(|i| {
            let (r, h, c) = (i / (4 * size), i / size % 4, i % size);
            let weight = |p: usize| {
                let score: f64 = (0..size)
                    .map(|d| at(&q, h, r, d) * at(&k, h / 2, p, d))
                    .sum();
                if sees(r, p) { score.exp() } else { 0.0 }
            };
            let sum: f64 = (0..n).map(weight).sum();
            (0..n).map(|p| weight(p) * at(&v, h / 2, p, c)).sum::<f64>() / sum
        });
        let error = most(&got, want.collect::<Vec<_>>());
        assert!(error < 2f64.powi(-12), "{error}");
    }
}
