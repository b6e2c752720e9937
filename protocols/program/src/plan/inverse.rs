//! `1 / x` and `1 / sqrt(x)` over wide ranges: a coarse table, then iterations of Newton's.
//!
//! A table has segments of equal length, so where the operand may be a hundred times as large as its least value, no
//! table follows the function at both ends. But a table that is within a few per cent of every result is small: of all
//! polynomials, that through the Chebyshev nodes of a segment is nearest to `1 / x` relative to it. Each iteration
//! doubles the good bits, for two products (three for the root):
//!
//! ```text
//! 1 / x        r <- r (2 - x r)               error e -> e^2
//! 1 / sqrt(x)  r <- r (3 - x r^2) / 2         error e -> 3/2 e^2
//! ```
//!
//! Where not even a coarse table reaches (a factor of some thousand), operands above the middle are brought below it
//! by a power of two first, and their results back: one comparison and two products.

use super::lower::{Held, Lowering};
use super::table::{self, Measure};
use crate::fixed::Op;
use crate::graph::Function;

/// Iterations at most.
const ITERATIONS: u32 = 4;

/// Bits by which results are more precise than those of other functions: what is normalised by one is off by as much,
/// layer by layer, and there are few of them.
pub(super) const FINER: u8 = 4;

/// Fraction bits beyond the target with which factors near 1 are held.
const GUARD: u8 = 8;

impl Lowering<'_> {
    /// `function` of `x`, which is `1 / x` or `1 / sqrt(x)`, for operands from `span[0] / margin` to
    /// `span[1] * margin`, on one side of zero. The error is relative to each result.
    pub(super) fn inverse(
        &mut self,
        x: Held,
        function: Function,
        span: [f64; 2],
        margin: f64,
    ) -> Held {
        if span[1] < 0.0 {
            // 1 / x = -1 / -x
            let x = self.negated(x);
            let inverse = self.inverse(x, function, [-span[1], -span[0]], margin);
            return self.negated(inverse);
        }
        let reached = match self.iterated(x, function, span, margin) {
            Ok(inverse) => return inverse,
            Err(reached) => reached,
        };
        let [lo, hi] = [span[0] / margin, span[1] * margin];
        match self.halved(x, function, [lo, hi]) {
            Ok(inverse) => inverse,
            Err(_) => self.imprecise(x, self.options.function_bits, reached),
        }
    }

    /// By a table and iterations, or how near the result the best table is.
    fn iterated(
        &mut self,
        x: Held,
        function: Function,
        span: [f64; 2],
        margin: f64,
    ) -> Result<Held, f64> {
        let precision = self.options.function_bits + FINER;
        let mut request = self.request(x, function, span, 0.0);
        (request.measure, request.margin) = (Measure::Each, margin);
        let mut reached = 1.0;
        for iterations in 0..=ITERATIONS {
            request.precision = precision.div_ceil(1 << iterations) + u8::from(iterations > 0);
            match table::fit(&request) {
                Ok(table) => {
                    let ends = [span[0] / margin, span[1] * margin].map(|v| function.eval(v).abs());
                    let least = ends[0].min(ends[1]);
                    // As many bits as make the least result as precise as asked for.
                    let extra = (1.0 / least).log2().ceil().clamp(0.0, 24.0) as u8;
                    let fraction = self.target.max(precision + extra);
                    let seed = self.look_up(x, None, table, 0.0);
                    let mut r = self.truncated(seed, fraction);
                    let x = self.truncated(x, self.target + GUARD);
                    for _ in 0..iterations {
                        r = self.improved(r, x, function, extra);
                    }
                    return Ok(r);
                }
                Err(error) => reached = error,
            }
        }
        Err(reached)
    }

    /// With operands above the geometric middle of `lo..hi` brought below it.
    fn halved(&mut self, x: Held, function: Function, [lo, hi]: [f64; 2]) -> Result<Held, f64> {
        let middle = (lo * hi).sqrt();
        // An even power, so that its root is one too.
        let shift = ((hi / middle).log2() / 2.0).floor().max(1.0) as i32;
        let down = 2f64.powi(-2 * shift);
        let back = match function {
            Function::Reciprocal => down,
            _ => 2f64.powi(-shift),
        };
        let x = self.truncated(x, self.target + GUARD);
        let above = self.shifted(x, -middle as f32);
        let above = self.positive(above);
        let small = self.scaled_where(above, x, down);
        let small = self.truncated(small, self.target + GUARD);
        let most = middle.max(hi * down);
        let inverse = self.iterated(small, function, [lo, most], 1.0 + 1.0 / 64.0)?;
        // As precise where it is scaled down.
        let fraction = inverse.fraction + (1.0 / back).log2() as u8;
        let whole = self.scaled_where(above, inverse, back);
        Ok(self.truncated(whole, fraction))
    }

    /// `factor x` where `bit` is 1, else `x`; `factor` is a power of two below 1.
    fn scaled_where(&mut self, bit: Held, x: Held, factor: f64) -> Held {
        let less = self.scale_held(x, &[(factor - 1.0) as f32], x.range);
        let change = self.mul_held(bit, less, x.range);
        let x = Held::new(self.lifted(x, change.fraction), change.fraction, x.range);
        let id = self.step(Op::Add, &[x.id, change.id], x.fraction, x.range);
        Held::new(id, x.fraction, x.range)
    }

    /// One iteration.
    fn improved(&mut self, r: Held, x: Held, function: Function, extra: u8) -> Held {
        let guarded = self.target + GUARD;
        let factor = match function {
            Function::Reciprocal => {
                let product = self.mul_held(x, r, 2.0);
                let negative = self.negated(product);
                self.shifted(negative, 2.0)
            }
            _ => {
                let square = self.mul_held(r, r, r.range * r.range);
                let square = self.truncated(square, guarded + extra);
                let product = self.mul_held(square, x, 4.0);
                let product = self.truncated(product, guarded);
                let half = self.scale_held(product, &[-0.5], 2.0);
                self.shifted(half, 1.5)
            }
        };
        let factor = self.truncated(factor, guarded);
        let better = self.mul_held(r, factor, r.range);
        self.truncated(better, r.fraction)
    }
}
