//! Smooth functions: clamp, centre, look up.

use super::CostModel;
use super::inverse;
use super::lower::{Held, Lowering};
use super::table::{self, Measure, Request, Table};
use crate::fixed::{Op, limits};
use crate::graph::Function;

/// Factor between the operands of a table, beyond which small and large results need different care.
const WIDE: f64 = 20.0;

impl Lowering<'_> {
    /// See [`plan`](crate::plan) for the ranges and errors.
    pub(super) fn function(&mut self, x: usize, function: Function, range: f64) -> Held {
        let (held, span) = (self.held(x), self.spans[x]);
        let [least, most] = [span[0].abs(), span[1].abs()];
        let wide = least.max(most) > WIDE * least.min(most);
        match function {
            Function::Reciprocal | Function::INVERSE_ROOT if wide => {
                self.inverse(held, function, span, 4.0)
            }
            Function::Sqrt if wide => {
                // sqrt(x) = x / sqrt(x)
                let inverse = self.inverse(held, Function::INVERSE_ROOT, span, 4.0);
                let x = self.narrow(x);
                let inverse = match self.fits(range, x.fraction + inverse.fraction + 1) {
                    true => inverse,
                    false => self.narrowed(inverse),
                };
                self.mul_held(x, inverse, range)
            }
            _ => {
                let mut request = self.request(held, function, span, range);
                if function == Function::INVERSE_ROOT {
                    request.precision += inverse::FINER;
                }
                match table::fit(&request) {
                    Ok(table) => self.look_up(held, Some(x), table, range),
                    Err(_) if matches!(function, Function::Reciprocal | Function::INVERSE_ROOT) => {
                        self.inverse(held, function, span, 2.0)
                    }
                    Err(reached) => self.imprecise(held, request.precision, reached),
                }
            }
        }
    }

    /// A request at the precision of the plan.
    pub(super) fn request(
        &self,
        x: Held,
        function: Function,
        span: [f64; 2],
        range: f64,
    ) -> Request {
        let bound_bits = self.need(x.range, self.target);
        let room = i32::from(limits::BOUND_BITS) - i32::from(self.options.headroom_bits);
        let elements: usize = self.dims(x).iter().product();
        Request {
            function,
            fraction: self.target,
            bound_bits: u8::try_from(bound_bits).unwrap_or(u8::MAX).min(40),
            span,
            result_bits: u8::try_from(room).unwrap_or(0),
            range,
            precision: self.options.function_bits,
            measure: Measure::Largest,
            margin: 2.0,
            model: CostModel::new(self.options.link, self.options.rates),
            elements: elements * self.options.batch.max(1) as usize,
        }
    }

    /// Notes that no table is good enough.
    pub(super) fn imprecise(&mut self, x: Held, precision: u8, reached: f64) -> Held {
        let reached = (-reached.log2()).floor().clamp(0.0, 62.0) as u16;
        let what = "bits of precision of a table of 256 segments";
        self.demand(what, precision.into(), reached);
        self.narrowed(x)
    }

    /// Looks `x` up, which is `value` of the graph if it is one.
    pub(super) fn look_up(
        &mut self,
        x: Held,
        value: Option<usize>,
        table: Table,
        range: f64,
    ) -> Held {
        let unit = 2f64.powi(-i32::from(self.target));
        let clamped = match (table.clamp, value) {
            ([None, None], Some(value)) => self.narrow(value),
            ([None, None], None) => self.narrowed(x),
            ([lo, hi], _) => {
                let real = |z: Option<i64>| z.map(|z| (z as f64 * unit) as f32);
                let most = [lo, hi].into_iter().flatten().map(i64::unsigned_abs).max();
                let range = most.map_or(x.range, |z| z as f64 * unit);
                self.clip_held(x, real(lo), real(hi), range)
            }
        };
        let centred = match table.centre {
            0 => clamped.id,
            centre => {
                let dims = self.dims(clamped);
                let elements = dims.iter().product();
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
