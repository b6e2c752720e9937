//! Pools and maxima.

use super::lower::{Held, Lowering};
use crate::fixed::{BitWindow, Op, PoolGeometry};
use crate::graph::{Node, Window};

impl Lowering<'_> {
    /// A tree of pairwise maxima over the taps of the window, one `Max` step per level.
    ///
    /// The taps form a stack of views, each with as many elements as the result. A level compares the first half of the
    /// stack with the second; an odd one is carried over.
    pub(super) fn max_pool(&mut self, x: usize, window: &Window, out: &[usize]) -> Held {
        let dims = &self.graph.values[x];
        let stack = views(window, [dims[1], dims[2]], dims[0]);
        let x = self.held(x);
        self.max_tree(x, stack, out, self.target)
    }

    /// The elementwise maximum of views of `x`, each of shape `out`; or an element less than it by almost `2^-bits`.
    pub(super) fn max_tree(
        &mut self,
        x: Held,
        mut stack: Vec<Vec<u32>>,
        out: &[usize],
        bits: u8,
    ) -> Held {
        let levels = stack.len().next_power_of_two().trailing_zeros();
        let window = self.max_window(x, levels, bits);
        let elements: usize = out.iter().product();
        // Views of `source`, which for the first level is the operand itself.
        let mut source = x.id;
        while stack.len() > 1 {
            let pairs = stack.len() / 2;
            let dims = if stack.len() == 2 {
                out.to_vec()
            } else {
                vec![pairs * elements]
            };
            let mut side = |from: usize| {
                let map = stack[from..from + pairs].concat();
                self.step_shaped(
                    Op::Rearrange { map },
                    &[source],
                    Some(&dims),
                    x.fraction,
                    x.range,
                )
            };
            let sides = [side(0), side(pairs)];
            let carried = (stack.len() % 2 == 1).then(|| {
                let map = stack[stack.len() - 1].clone();
                self.step(Op::Rearrange { map }, &[source], x.fraction, x.range)
            });
            source = self.step(Op::Max { window }, &sides, x.fraction, x.range);
            let left = pairs + usize::from(carried.is_some());
            if let Some(rest) = carried {
                source = self.step(Op::Concat { axis: 0 }, &[source, rest], x.fraction, x.range);
            }
            let view = |k: usize| {
                (k * elements..(k + 1) * elements)
                    .map(|i| i as u32)
                    .collect()
            };
            stack = (0..left).map(view).collect();
        }
        let is_whole = self.builder.info(source).is_some_and(|v| v.dims == out);
        if !is_whole || source == x.id {
            let map = stack.concat();
            source = self.step_shaped(
                Op::Rearrange { map },
                &[source],
                Some(out),
                x.fraction,
                x.range,
            );
        }
        Held::new(source, x.fraction, x.range)
    }

    /// Elementwise maximum of two values.
    pub(super) fn maximum(&mut self, node: &Node) -> Held {
        let range = node
            .inputs
            .iter()
            .map(|i| self.ranges[*i])
            .fold(1.0, f64::max);
        let (ids, fraction) = self.align(&node.inputs);
        let bound = ids
            .iter()
            .filter_map(|id| self.builder.info(*id))
            .map(|v| v.bound_bits)
            .max();
        let lo = fraction.saturating_sub(self.target);
        let window = self.window(bound.unwrap_or(0), lo);
        let id = self.step(Op::Max { window }, &ids, fraction, range);
        Held::new(id, fraction, range)
    }

    /// Window for a tree of `levels` comparisons. Each may be off by less than `2^lo`, together by less than
    /// `levels 2^lo`, which must stay within one unit of `bits` fraction bits.
    fn max_window(&self, x: Held, levels: u32, bits: u8) -> BitWindow {
        let slack = u8::try_from(levels.next_power_of_two().trailing_zeros()).unwrap_or(u8::MAX);
        let bound = self.builder.info(x.id).map_or(0, |v| v.bound_bits);
        self.window(bound, x.fraction.saturating_sub(bits).saturating_sub(slack))
    }

    fn window(&self, bound: u8, lo: u8) -> BitWindow {
        // The difference of two values has one bit more than either.
        BitWindow {
            lo,
            hi: (bound + 1).max(lo + 1),
        }
    }

    /// Window sums times one over the count.
    pub(super) fn average_pool(
        &mut self,
        x: usize,
        window: &Window,
        counts: &[u32],
        range: f64,
    ) -> Held {
        let dims = &self.graph.values[x];
        let x = self.held(x);
        // Rounding up may need windows that reach beyond the padding: pad to exactly what the last one sees.
        let mut pads = window.pads;
        for axis in 0..2 {
            let reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1;
            let end = (window.output[axis] - 1) * window.strides[axis] + reach;
            pads[axis + 2] = end.saturating_sub(dims[axis + 1] + pads[axis]);
        }
        let geometry = PoolGeometry {
            kernel: window.kernel,
            strides: window.strides,
            pads,
            dilations: window.dilations,
        };
        let most = counts.iter().copied().max().unwrap_or(1);
        let sum_range = range * f64::from(most);
        let id = self.step(Op::SumPool(geometry), &[x.id], x.fraction, sum_range);
        let sum = Held::new(id, x.fraction, sum_range);
        let plane = counts.iter().map(|c| 1.0 / *c as f32);
        let factors: Vec<f32> = (0..dims[0]).flat_map(|_| plane.clone()).collect();
        self.scale_held(sum, &factors, range)
    }
}

/// For every combination of positions along `axes` the elements that have it, in order of the remaining axes.
pub(super) fn axis_views(dims: &[usize], axes: &[usize]) -> Vec<Vec<u32>> {
    let strides = crate::maps::strides(dims);
    let offsets = |along: &dyn Fn(usize) -> bool| {
        let mut offsets = vec![0u32];
        for i in (0..dims.len()).filter(|i| along(*i)) {
            let steps = (0..dims[i]).map(|k| (k * strides[i]) as u32);
            offsets = offsets
                .iter()
                .flat_map(|base| steps.clone().map(move |s| base + s))
                .collect();
        }
        offsets
    };
    let kept = offsets(&|i| !axes.contains(&i));
    let taps = offsets(&|i| axes.contains(&i));
    taps.iter()
        .map(|tap| kept.iter().map(|at| at + tap).collect())
        .collect()
}

/// For every tap of the window the input element that each output element sees through it. Where that is padding, the
/// first valid element of the same window: repeating one does not change a maximum. Identical views are dropped.
fn views(window: &Window, input: [usize; 2], channels: usize) -> Vec<Vec<u32>> {
    let [height, width] = input;
    let [oh, ow] = window.output;
    let mut views: Vec<Vec<u32>> = Vec::new();
    for ky in 0..window.kernel[0] {
        for kx in 0..window.kernel[1] {
            let mut view = Vec::with_capacity(channels * oh * ow);
            for c in 0..channels {
                for oy in 0..oh {
                    for ox in 0..ow {
                        let y = window.source(0, oy, ky, height);
                        let x = window.source(1, ox, kx, width);
                        let at = match (y, x) {
                            (Some(y), Some(x)) => y * width + x,
                            _ => window.first(input, oy, ox),
                        };
                        view.push((c * height * width + at) as u32);
                    }
                }
            }
            if !views.contains(&view) {
                views.push(view);
            }
        }
    }
    views
}
