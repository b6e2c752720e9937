//! Smooth functions: clamp, centre, look up.

use super::CostModel;
use super::lower::{Held, Lowering};
use super::table::{self, Request};
use crate::fixed::{Op, limits};
use crate::graph::Function;

impl Lowering<'_> {
    /// See [`plan`](crate::plan) for the ranges and errors.
    pub(super) fn function(&mut self, x: usize, function: Function, range: f64) -> Held {
        let held = self.held(x);
        let bound_bits = self.need(held.range, self.target);
        let room = i32::from(limits::BOUND_BITS) - i32::from(self.options.headroom_bits);
        let elements: usize = self.graph.values[x].iter().product();
        let request = Request {
            function,
            fraction: self.target,
            bound_bits: u8::try_from(bound_bits).unwrap_or(u8::MAX).min(40),
            span: self.spans[x],
            result_bits: u8::try_from(room).unwrap_or(0),
            range,
            precision: self.options.function_bits,
            model: CostModel::new(self.options.link, self.options.rates),
            elements: elements * self.options.batch.max(1) as usize,
        };
        let table = match table::fit(&request) {
            Ok(table) => table,
            Err(reached) => {
                let reached = (-reached.log2()).floor().clamp(0.0, 62.0) as u16;
                let need = u16::from(self.options.function_bits);
                self.demand(
                    "bits of precision of a table of 256 segments",
                    need,
                    reached,
                );
                return self.narrow(x);
            }
        };
        let unit = 2f64.powi(-i32::from(self.target));
        let clamped = match table.clamp {
            [None, None] => self.narrow(x),
            [lo, hi] => {
                let real = |z: Option<i64>| z.map(|z| (z as f64 * unit) as f32);
                let most = [lo, hi].into_iter().flatten().map(i64::unsigned_abs).max();
                let range = most.map_or(held.range, |z| z as f64 * unit);
                self.clip_held(held, real(lo), real(hi), range)
            }
        };
        let centred = match table.centre {
            0 => clamped.id,
            centre => {
                let dims = self.graph.values[x].clone();
                let constant = self.builder.constant(&dims, vec![-centre; elements]);
                let bound = table.segment_bits + table.index_bits - 1;
                let op = Op::AddConst { constant };
                self.builder
                    .step(op, &[clamped.id], None, self.target, bound)
            }
        };
        // The bound of a clamped value counts headroom that the clamp has cut off.
        self.builder
            .tighten(centred, table.segment_bits + table.index_bits - 1);
        let columns = table.coefficients.len() >> table.index_bits;
        let coefficients = self
            .builder
            .constant(&[1 << table.index_bits, columns], table.coefficients);
        let op = Op::Table {
            segment_bits: table.segment_bits,
            index_bits: table.index_bits,
            coefficients,
        };
        let range = range.max(table.magnitude);
        let id = self.step(op, &[centred], table.fraction, range);
        Held::new(id, table.fraction, range)
    }
}
