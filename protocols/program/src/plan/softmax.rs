//! Softmax along the last axis.

use super::lower::{Held, Lowering};
use super::pool::axis_views;
use super::table;
use crate::fixed::Op;
use crate::graph::Function;

/// Fraction bits to which the largest element is found: what is subtracted cancels, so it only has to keep the powers
/// in range.
const NEAR: u8 = 3;

/// Bits by which the roots of powers are more precise than other functions, since many powers are summed.
const FINER: u8 = 4;

impl Lowering<'_> {
    /// `exp(x - c) / sum(exp(x - c))` with `c` close below the largest element.
    pub(super) fn softmax(&mut self, value: usize) -> Held {
        let dims = self.graph.values[value].clone();
        let Some((n, lanes)) = dims.split_last() else {
            return self.held(value);
        };
        let x = self.narrow(value);
        let one = [lanes, &[1]].concat();
        let views = axis_views(&dims, &[lanes.len()]);
        let largest = self.max_tree(x, views, &one, NEAR);
        let largest = self.spread(largest, &dims);
        let range = 2.0 * x.range;
        let id = self.step(Op::Sub, &[x.id, largest.id], x.fraction, range);
        let below = Held::new(id, x.fraction, range);

        // exp(x) = exp(x / 2)^2: a square costs less than the longer table.
        let half = self.scale_held(below, &[0.5], range / 2.0);
        let mut request = self.request(half, Function::ExpBelowZero, [-range / 2.0, 0.0], 0.0);
        request.precision += FINER;
        let roots = match table::fit(&request) {
            Ok(table) => self.look_up(half, None, table, 0.0),
            Err(reached) => return self.imprecise(half, request.precision, reached),
        };
        let roots = self.truncated(roots, self.target + FINER);
        let powers = self.mul_held(roots, roots, roots.range * roots.range);
        let powers = self.truncated(powers, self.target + FINER);

        let most = powers.range * *n as f64;
        let axes = vec![lanes.len()];
        let id = self.step(Op::SumAxes { axes }, &[powers.id], powers.fraction, most);
        let sum = Held::new(id, powers.fraction, most);
        // The element that was subtracted counts one, none counts more than the table's largest.
        let inverse = self.inverse(sum, Function::Reciprocal, [1.0, most], 1.0 + 1.0 / 32.0);
        let inverse = self.spread(inverse, &dims);
        self.mul_held(powers, inverse, 1.0)
    }

    /// Repeats a value of last axis 1 along that axis.
    fn spread(&mut self, x: Held, dims: &[usize]) -> Held {
        let elements: usize = dims.iter().product();
        let n = dims.last().copied().unwrap_or(1);
        let map = (0..elements).map(|i| (i / n) as u32).collect();
        let op = Op::Rearrange { map };
        let id = self.step_shaped(op, &[x.id], Some(dims), x.fraction, x.range);
        Held::new(id, x.fraction, x.range)
    }
}
