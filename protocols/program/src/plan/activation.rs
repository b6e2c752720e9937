//! Comparisons with constants: Relu and what is made of it.

use super::lower::{Held, Lowering};
use super::quantise::weight_fraction;
use crate::fixed::{BitWindow, Op, ValueId};

impl Lowering<'_> {
    /// Truncates to the target on the way.
    pub(super) fn relu(&mut self, x: usize, range: f64) -> Held {
        let x = self.held(x);
        self.relu_held(x, range)
    }

    pub(super) fn relu_held(&mut self, x: Held, range: f64) -> Held {
        let bits = x.fraction.saturating_sub(self.target);
        let fraction = x.fraction - bits;
        let bound = self.builder.info(x.id).map_or(0, |v| v.bound_bits);
        let window = BitWindow {
            lo: bits,
            hi: bound.max(bits + 1),
        };
        let id = self.step(Op::Relu { bits, window }, &[x.id], fraction, range);
        Held::new(id, fraction, range)
    }

    /// `alpha x + (1 - alpha) relu(x)`.
    pub(super) fn leaky_relu(&mut self, x: usize, alpha: f32, range: f64) -> Held {
        let rest = 1.0 - alpha;
        if alpha == 0.0 {
            return self.relu(x, range);
        }
        let positive = self.relu(x, self.held(x).range);
        let x = self.narrow(x);
        let w = weight_fraction(&[alpha, rest], self.target);
        let fraction = self.target + w;
        let mut scaled = |operand: Held, factor: f32| {
            let range = operand.range * f64::from(factor.abs());
            let constant = self.addend(&[], &[factor], w);
            self.step(Op::MulConst { constant }, &[operand.id], fraction, range)
        };
        let parts = [scaled(x, alpha), scaled(positive, rest)];
        let id = self.step(Op::Add, &parts, fraction, range);
        Held::new(id, fraction, range)
    }

    /// See the table in [`plan`](crate::plan).
    pub(super) fn clip(&mut self, x: usize, lo: Option<f32>, hi: Option<f32>, range: f64) -> Held {
        let x = self.held(x);
        self.clip_held(x, lo, hi, range)
    }

    pub(super) fn clip_held(
        &mut self,
        x: Held,
        lo: Option<f32>,
        hi: Option<f32>,
        range: f64,
    ) -> Held {
        match (lo, hi) {
            (None, None) => x,
            (Some(lo), None) => {
                let above = self.shifted(x, -lo);
                let y = self.relu_held(above, above.range);
                self.shifted(y, lo)
            }
            (None, Some(hi)) => {
                let negative = self.negated(x);
                let room = self.shifted(negative, hi);
                let below = self.relu_held(room, room.range);
                let y = self.negated(below);
                self.shifted(y, hi)
            }
            (Some(lo), Some(hi)) => {
                let above = self.shifted(x, -lo);
                let beyond = self.shifted(x, -hi);
                let dims = self.dims(x);
                let n: usize = dims.iter().product();
                let both = [above, beyond].map(|v| self.reshaped(v, &[n]));
                let widest = above.range.max(beyond.range);
                let id = self.step(Op::Concat { axis: 0 }, &both, x.fraction, widest);
                let cut = self.relu_held(Held::new(id, x.fraction, widest), widest);
                let half = |l: &mut Self, from: usize| {
                    let map = (from..from + n).map(|i| i as u32).collect();
                    l.step_shaped(
                        Op::Rearrange { map },
                        &[cut.id],
                        Some(&dims),
                        cut.fraction,
                        widest,
                    )
                };
                let halves = [half(self, 0), half(self, n)];
                let span = range + f64::from(lo.abs());
                let id = self.step(Op::Sub, &halves, cut.fraction, span);
                self.shifted(Held::new(id, cut.fraction, span), lo)
            }
        }
    }

    /// Adds the same number to every element.
    pub(super) fn shifted(&mut self, x: Held, by: f32) -> Held {
        if by == 0.0 {
            return x;
        }
        let dims = self.dims(x);
        let n: usize = dims.iter().product();
        let range = x.range + f64::from(by.abs());
        let constant = self.addend(&dims, &vec![by; n], x.fraction);
        let id = self.step(Op::AddConst { constant }, &[x.id], x.fraction, range);
        Held::new(id, x.fraction, range)
    }

    pub(super) fn negated(&mut self, x: Held) -> Held {
        let constant = self.builder.constant(&[], vec![-1]);
        let id = self.step(Op::MulConst { constant }, &[x.id], x.fraction, x.range);
        Held::new(id, x.fraction, x.range)
    }

    pub(super) fn reshaped(&mut self, x: Held, dims: &[usize]) -> ValueId {
        match self.builder.info(x.id).is_some_and(|v| v.dims == dims) {
            true => x.id,
            false => self.step_shaped(Op::Reshape, &[x.id], Some(dims), x.fraction, x.range),
        }
    }
}
