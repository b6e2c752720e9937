//! Lowering node by node.

use zeroize::Zeroizing;

use super::product::Layer;
use super::quantise::{bits, quantise, weight_fraction};
use super::{Misfit, PlanOptions};
use crate::fixed::{ConvGeometry, Op, ProgramBuilder, ValueId, limits};
use crate::graph::{Graph, Node, NodeOp};

/// Values of the program's parameters, in order.
pub(super) type Secrets = Vec<Zeroizing<Vec<i64>>>;

/// Lowers `graph` at target fraction `target`; reports everything that does not fit.
pub(super) fn lower(
    graph: &Graph,
    ranges: &[f64],
    spans: &[[f64; 2]],
    target: u8,
    options: &PlanOptions,
) -> Result<(ProgramBuilder, Secrets), Vec<Misfit>> {
    let mut l = Lowering {
        graph,
        ranges,
        spans,
        target,
        options,
        secrets: Vec::new(),
        builder: ProgramBuilder::new(&graph.name),
        values: vec![None; graph.values.len()],
        misfits: Vec::new(),
        layer: String::new(),
    };
    for input in &graph.inputs {
        l.layer.clone_from(&input.name);
        let range = ranges[input.value];
        let bound = l.bound(range, target);
        let dims = &graph.values[input.value];
        let id = l.builder.input_bounded(&input.name, dims, target, bound);
        l.values[input.value] = Some(Held {
            id,
            fraction: target,
            range,
            narrow: None,
        });
    }
    for node in &graph.nodes {
        l.layer.clone_from(&node.name);
        l.builder.label(&node.name);
        let held = l.node(node);
        l.values[node.output] = Some(held);
    }
    for output in &graph.outputs {
        let id = l.held(output.value).id;
        l.builder.output_post(&output.name, id, output.post.clone());
    }
    if l.misfits.is_empty() {
        Ok((l.builder, l.secrets))
    } else {
        Err(l.misfits)
    }
}

/// A lowered value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// With pending bits.
    pub(super) id: ValueId,
    /// At least the target, but for truth values and positions, which have none.
    pub(super) fraction: u8,
    /// Largest magnitude as a real number, without headroom.
    pub(super) range: f64,
    /// The same at the target fraction, once somebody needed it.
    narrow: Option<ValueId>,
}

impl Held {
    pub(super) fn new(id: ValueId, fraction: u8, range: f64) -> Self {
        Self {
            id,
            fraction,
            range,
            narrow: None,
        }
    }
}

pub(super) struct Lowering<'a> {
    pub(super) graph: &'a Graph,
    pub(super) ranges: &'a [f64],
    pub(super) spans: &'a [[f64; 2]],
    pub(super) target: u8,
    pub(super) options: &'a PlanOptions,
    pub(super) secrets: Secrets,
    pub(super) builder: ProgramBuilder,
    values: Vec<Option<Held>>,
    misfits: Vec<Misfit>,
    pub(super) layer: String,
}

impl Lowering<'_> {
    fn node(&mut self, node: &Node) -> Held {
        let x = node.inputs[0];
        let range = self.ranges[node.output];
        match &node.op {
            NodeOp::Linear { weights, bias } => {
                self.layer(x, Layer::Linear, weights, bias.as_deref(), range)
            }
            NodeOp::Conv {
                weights,
                bias,
                groups,
                window,
            } => {
                let geometry = ConvGeometry {
                    strides: window.strides,
                    pads: window.pads,
                    dilations: window.dilations,
                    groups: *groups,
                };
                self.layer(x, Layer::Conv(geometry), weights, bias.as_deref(), range)
            }
            NodeOp::MulConst(c) | NodeOp::Scale(c) => self.scale(x, &c.data, range),
            NodeOp::AddConst(c) => {
                let most = c
                    .data
                    .iter()
                    .fold(range, |most, v| most.max(v.abs().into()));
                let x = match self.fits(most, self.held(x).fraction) {
                    true => self.held(x),
                    false => self.narrow(x),
                };
                let constant = self.addend(&c.dims, &c.data, x.fraction);
                let id = self.step(Op::AddConst { constant }, &[x.id], x.fraction, range);
                Held::new(id, x.fraction, range)
            }
            NodeOp::Relu => self.relu(x, range),
            NodeOp::LeakyRelu { alpha } => self.leaky_relu(x, *alpha, range),
            NodeOp::Clip { lo, hi } => self.clip(x, *lo, *hi, range),
            NodeOp::MaxPool(window) => self.max_pool(x, window, &self.graph.values[node.output]),
            NodeOp::AveragePool { window, counts } => self.average_pool(x, window, counts, range),
            NodeOp::Mean { axes } => {
                let count: usize = axes.iter().map(|a| self.graph.values[x][*a]).product();
                let sum = self.sum_axes(x, axes, range * count as f64);
                self.scale_held(sum, &[1.0 / count as f32], range)
            }
            NodeOp::Sum { axes } => self.sum_axes(x, axes, range),
            NodeOp::Add => self.pair(node, Op::Add, range),
            NodeOp::Sub => self.pair(node, Op::Sub, range),
            NodeOp::Max => self.maximum(node),
            NodeOp::Mul => self.mul(Op::Mul, x, node.inputs[1], range),
            NodeOp::MatMul => self.mul(Op::MatMul, x, node.inputs[1], range),
            NodeOp::Softmax => self.softmax(x),
            NodeOp::Affine { scale, shift } => self.affine(x, *scale, *shift, range),
            NodeOp::Positive => {
                let x = self.held(x);
                self.positive(x)
            }
            NodeOp::Function(f) => self.function(x, *f, range),
            NodeOp::ReduceMax { axes } => {
                let dims = &self.graph.values[x];
                let stack = super::pool::axis_views(dims, axes);
                let x = self.held(x);
                self.max_tree(x, stack, &self.graph.values[node.output], self.target)
            }
            NodeOp::TopK { k } => self.top(x, *k),
            NodeOp::Rearrange(map) => {
                self.local(x, Op::Rearrange { map: map.clone() }, node.output, range)
            }
            NodeOp::Reshape => self.local(x, Op::Reshape, node.output, range),
            NodeOp::Concat { axis } => {
                let (ids, fraction) = self.align(&node.inputs);
                let id = self.step(Op::Concat { axis: *axis }, &ids, fraction, range);
                Held::new(id, fraction, range)
            }
        }
    }

    /// The lowered form of a graph value. Nodes are in order of evaluation, so it exists.
    pub(super) fn held(&self, value: usize) -> Held {
        self.values[value].unwrap_or(Held::new(ValueId(u32::MAX), self.target, 1.0))
    }

    /// The value at the target fraction.
    pub(super) fn narrow(&mut self, value: usize) -> Held {
        let x = self.held(value);
        if x.fraction <= self.target {
            return x;
        }
        if let Some(id) = x.narrow {
            return Held::new(id, self.target, x.range);
        }
        let y = self.narrowed(x);
        if let Some(held) = &mut self.values[value] {
            held.narrow = Some(y.id);
        }
        y
    }

    /// The same for a value that has no place in the graph. Truth values have no fraction, which is below the target.
    pub(super) fn narrowed(&mut self, x: Held) -> Held {
        self.truncated(x, self.target)
    }

    /// The value with at most `fraction` fraction bits.
    pub(super) fn truncated(&mut self, x: Held, fraction: u8) -> Held {
        match x.fraction.saturating_sub(fraction) {
            0 => x,
            bits => {
                let id = self.step(Op::Trunc { bits }, &[x.id], fraction, x.range);
                Held::new(id, fraction, x.range)
            }
        }
    }

    /// Shape of a lowered value.
    pub(super) fn dims(&self, x: Held) -> Vec<usize> {
        let info = self.builder.info(x.id);
        info.map(|info| info.dims.clone()).unwrap_or_default()
    }

    /// Elementwise product with constants; one constant for all if they are equal.
    fn scale(&mut self, x: usize, factors: &[f32], range: f64) -> Held {
        let dims = &self.graph.values[x];
        let (dims, factors) = scalar_if_uniform(dims, factors);
        self.product(x, factors, range, |l, x, q, w| {
            let constant = l.builder.constant(dims, w);
            l.step(Op::MulConst { constant }, &[x], q, range)
        })
    }

    /// Like [`scale`](Self::scale) for a value that has no place in the graph. `factors` are one, or as many as elements.
    pub(super) fn scale_held(&mut self, x: Held, factors: &[f32], range: f64) -> Held {
        let dims = self.dims(x);
        let (dims, factors) = scalar_if_uniform(&dims, factors);
        let wanted = weight_fraction(factors, self.target);
        let (x, w) = match self.fitting(x.fraction, wanted, range) {
            Some(w) => (x, w),
            None => (self.narrowed(x), wanted.min(self.target)),
        };
        self.multiply(x, factors, w, range, |l, x, q, w| {
            let constant = l.builder.constant(dims, w);
            l.step(Op::MulConst { constant }, &[x], q, range)
        })
    }

    fn sum_axes(&mut self, x: usize, axes: &[usize], range: f64) -> Held {
        // Pending bits go where the sum would not fit.
        let x = match self.fits(range, self.held(x).fraction) {
            true => self.held(x),
            false => self.narrow(x),
        };
        let id = self.step(
            Op::SumAxes {
                axes: axes.to_vec(),
            },
            &[x.id],
            x.fraction,
            range,
        );
        Held::new(id, x.fraction, range)
    }

    fn pair(&mut self, node: &Node, op: Op, range: f64) -> Held {
        let (ids, fraction) = self.align_for(&node.inputs, range);
        let id = self.step(op, &ids, fraction, range);
        Held::new(id, fraction, range)
    }

    fn local(&mut self, x: usize, op: Op, output: usize, range: f64) -> Held {
        let dims = &self.graph.values[output];
        // What is repeated is cheaper truncated before.
        let repeats = dims.iter().product::<usize>() > self.graph.values[x].iter().product();
        let x = match repeats {
            true => self.narrow(x),
            false => self.held(x),
        };
        let id = self.step_shaped(op, &[x.id], Some(dims), x.fraction, range);
        Held::new(id, x.fraction, range)
    }

    /// Brings values to one fraction: the largest among them if all fit there, else the target.
    pub(super) fn align(&mut self, values: &[usize]) -> (Vec<ValueId>, u8) {
        self.align_for(values, 1.0)
    }

    /// The same, where a result of that range must fit too.
    fn align_for(&mut self, values: &[usize], range: f64) -> (Vec<ValueId>, u8) {
        let helds: Vec<Held> = values.iter().map(|v| self.held(*v)).collect();
        let largest = helds
            .iter()
            .map(|h| h.fraction)
            .max()
            .unwrap_or(self.target);
        let fits = helds.iter().all(|h| self.fits(h.range.max(range), largest));
        if !fits {
            let target = self.target;
            let narrow: Vec<Held> = values.iter().map(|v| self.narrow(*v)).collect();
            let ids = narrow.into_iter().map(|h| self.lifted(h, target)).collect();
            return (ids, target);
        }
        let ids = helds.into_iter().map(|h| self.lifted(h, largest)).collect();
        (ids, largest)
    }

    /// Multiplies by a power of two to reach a larger fraction.
    pub(super) fn lifted(&mut self, x: Held, fraction: u8) -> ValueId {
        match fraction - x.fraction {
            0 => x.id,
            by => {
                let constant = self.builder.constant(&[], vec![1i64 << by]);
                self.step(Op::MulConst { constant }, &[x.id], fraction, x.range)
            }
        }
    }

    /// A constant that is added at `fraction`.
    pub(super) fn addend(
        &mut self,
        dims: &[usize],
        data: &[f32],
        fraction: u8,
    ) -> crate::fixed::ConstId {
        let (data, need) = quantise(data.iter().map(|v| f64::from(*v)), fraction);
        self.demand("added constants", need, limits::BOUND_BITS.into());
        self.builder.constant(dims, data)
    }

    /// A step whose shape follows from its operands.
    pub(super) fn step(&mut self, op: Op, inputs: &[ValueId], fraction: u8, range: f64) -> ValueId {
        self.step_shaped(op, inputs, None, fraction, range)
    }

    pub(super) fn step_shaped(
        &mut self,
        op: Op,
        inputs: &[ValueId],
        dims: Option<&[usize]>,
        fraction: u8,
        range: f64,
    ) -> ValueId {
        let bound = self.bound(range, fraction);
        self.builder.step(op, inputs, dims, fraction, bound)
    }

    /// Bits of magnitude at `fraction`, with headroom and room for rounding.
    pub(super) fn need(&self, range: f64, fraction: u8) -> u16 {
        let ring = range * 2f64.powi(fraction.into()) + 1.0;
        bits(ring).at_least_zero() + u16::from(self.options.headroom_bits)
    }

    /// Whether such values fit the ring, with headroom.
    pub(super) fn fits(&self, range: f64, fraction: u8) -> bool {
        self.need(range, fraction) <= u16::from(limits::BOUND_BITS)
    }

    /// Same as [`need`](Self::need), noted as a misfit when it is too much.
    pub(super) fn bound(&mut self, range: f64, fraction: u8) -> u8 {
        let need = self.need(range, fraction);
        self.demand("values", need, limits::BOUND_BITS.into());
        u8::try_from(need)
            .unwrap_or(u8::MAX)
            .min(limits::BOUND_BITS)
    }

    pub(super) fn demand(&mut self, what: &'static str, need: u16, have: u16) {
        let repeated = self
            .misfits
            .last()
            .is_some_and(|m| m.layer == self.layer && m.what == what);
        if need > have && !repeated {
            self.misfits.push(Misfit {
                layer: self.layer.clone(),
                what,
                need,
                have,
            });
        }
    }
}

fn scalar_if_uniform<'a>(dims: &'a [usize], factors: &'a [f32]) -> (&'a [usize], &'a [f32]) {
    match factors.split_first() {
        Some((first, rest)) if rest.iter().all(|f| f == first) => (&[], &factors[..1]),
        _ => (dims, factors),
    }
}
