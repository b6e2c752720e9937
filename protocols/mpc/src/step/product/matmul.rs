//! Matrix products of two masked values; see [`super`].

use ai_link_program::fixed::{Op, Program, Step};
use ai_link_program::kernels::GemmShape;
use ai_link_program::ops::matmul_shape;
use rayon::prelude::*;

use super::elementwise::Factors;
use super::shares::{self, Words};
use super::{Opening, add_pad, mask_result};
use crate::buffers::wipe_bytes;
use crate::kernels::{PARALLEL_FROM, VectorKernels};
use crate::planes::to_bytes;
use crate::prg::Prg;
use crate::step::opening::RingOpening;
use crate::step::{Dealt, Protocol, Run, Seat, Seeds};

/// Twice the products of matrices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MatMul {
    /// Of one product.
    shape: GemmShape,
    /// How many there are, whole batch.
    groups: usize,
    factors: Factors,
}

impl MatMul {
    /// The plan of a step, if it is of this kind.
    pub(crate) fn new(program: &Program, step: &Step, batch: usize) -> Option<Self> {
        let (Op::MatMul, [x, y]) = (&step.op, step.inputs.as_slice()) else {
            return None;
        };
        let shape = matmul_shape(program, step);
        let elements = program.value(step.output).elements() * batch;
        Some(Self {
            shape,
            groups: elements / (shape.rows * shape.columns),
            factors: if x == y {
                Factors::Square
            } else {
                Factors::Two
            },
        })
    }

    fn elements(&self) -> usize {
        self.groups * self.shape.rows * self.shape.columns
    }

    /// Elements of each factor that has a mask of its own.
    fn sizes(&self) -> impl Iterator<Item = usize> + use<> {
        let GemmShape {
            rows,
            inner,
            columns,
        } = self.shape;
        let both = [rows * inner, inner * columns].map(|size| size * self.groups);
        both.into_iter().take(self.factors.count())
    }

    /// All products of `x` and `y`.
    fn multiply(&self, x: &[u64], y: &[u64], out: &mut [u64]) {
        let GemmShape {
            rows,
            inner,
            columns,
        } = self.shape;
        let kernels = VectorKernels::best();
        let one = |((out, x), y): ((&mut [u64], &[u64]), &[u64])| {
            kernels.product(self.shape, x, y, out);
        };
        // The kernels share a large product among threads by themselves.
        if rows * inner * columns >= PARALLEL_FROM || self.groups == 1 {
            let groups = out.chunks_exact_mut(rows * columns);
            let groups = groups.zip(x.chunks_exact(rows * inner));
            groups.zip(y.chunks_exact(inner * columns)).for_each(one);
        } else {
            let groups = out.par_chunks_exact_mut(rows * columns);
            let groups = groups.zip(x.par_chunks_exact(rows * inner));
            let groups = groups.zip(y.par_chunks_exact(inner * columns));
            groups.for_each(one);
        }
    }
}

/// Cuts corrections into those of each factor.
fn parts(sizes: impl Iterator<Item = usize>, mut corrections: &[u8]) -> Vec<&[u8]> {
    let cut = |size: usize| {
        let (part, rest) = corrections.split_at_checked(8 * size).unwrap_or_default();
        corrections = rest;
        part
    };
    sizes.map(cut).collect()
}

impl Protocol for MatMul {
    fn rounds(&self) -> usize {
        1
    }

    fn dealt_bytes(&self, seat: Seat) -> usize {
        usize::from(seat.receives()) * 8 * self.sizes().sum::<usize>()
    }

    fn opened_bytes(&self, _round: usize) -> usize {
        8 * self.elements()
    }

    fn deal(&self, masks: &[&[u64]], seeds: Seeds<'_>) -> Dealt {
        let mut message = vec![0; 8 * self.sizes().sum::<usize>()];
        let mut rest = message.as_mut_slice();
        let mut deltas = Vec::new();
        for (factor, lambda) in masks.iter().enumerate() {
            let (corrections, after) = rest.split_at_mut(8 * lambda.len());
            rest = after;
            match seeds.evaluators() {
                2 => deltas.push(shares::deal_delta(factor, lambda, seeds, corrections)),
                _ => shares::deal_mask(factor, lambda, seeds, corrections),
            }
        }
        // 2 delta_x delta_y, or -2 lambda_x lambda_y.
        let (x, y, times) = match (deltas.first(), deltas.last()) {
            (Some(x), Some(y)) => (x.as_slice(), y.as_slice(), 2),
            _ => (masks[0], masks[masks.len() - 1], 2u64.wrapping_neg()),
        };
        let mut result = vec![0; self.elements()];
        self.multiply(x, y, &mut result);
        mask_result(&mut result, times, seeds);
        Dealt::to_receiver(seeds, message, result)
    }

    fn start(
        &self,
        seat: Seat,
        prg: Prg,
        dealt: Vec<u8>,
        operands: Vec<Vec<u64>>,
    ) -> (Box<dyn Run>, Vec<u8>) {
        let parts = parts(self.sizes(), &dealt);
        let parts = parts.into_iter().enumerate();
        let (m_x, m_y) = (&operands[0], &operands[operands.len() - 1]);
        let mut out = vec![0; self.elements()];
        if seat.evaluators == 2 {
            // This evaluator's x -+ delta and y -+ delta.
            let own =
                |(factor, part)| shares::own_factor(seat, &prg, factor, part, &operands[factor]);
            let factors: Vec<Words> = parts.map(own).collect();
            self.multiply(&factors[0], &factors[factors.len() - 1], &mut out);
        } else {
            let own =
                |(factor, part)| shares::own_mask(seat, &prg, factor, part, &operands[factor]);
            let mut lambdas: Vec<Words> = parts.map(own).collect();
            let mut second = vec![0; self.elements()];
            self.multiply(&lambdas[0], m_y, &mut second);
            let public = u64::from(seat.leads());
            let last = lambdas.len() - 1;
            for (lambda, m) in lambdas[last].iter_mut().zip(m_y) {
                *lambda = m.wrapping_mul(public).wrapping_sub(*lambda);
            }
            self.multiply(m_x, &lambdas[last], &mut out);
            let terms = out.iter_mut().zip(&second);
            terms.for_each(|(o, s)| *o = o.wrapping_sub(*s).wrapping_mul(2));
        }
        wipe_bytes(dealt);
        add_pad(&prg, &mut out);
        let message = to_bytes(&out);
        (Box::new(Opening(RingOpening::new(out))), message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::tests::evaluate;
    use proptest::prelude::*;

    fn clear(plan: &MatMul, x: &[i64], y: &[i64]) -> Vec<i64> {
        let GemmShape {
            rows,
            inner,
            columns,
        } = plan.shape;
        let mut out = Vec::new();
        for group in 0..plan.groups {
            for row in 0..rows {
                for column in 0..columns {
                    let term = |k: usize| {
                        let x = x[(group * rows + row) * inner + k];
                        x.wrapping_mul(y[(group * inner + k) * columns + column])
                    };
                    let sum = (0..inner).map(term).fold(0i64, i64::wrapping_add);
                    out.push(sum.wrapping_mul(2));
                }
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn any_shape_among_any_number_of_evaluators(
            (rows, inner, columns) in (1usize..20, 1usize..20, 1usize..20), groups in 1usize..4,
            evaluators in 2usize..5, seed: u8, raw in any::<i64>(),
        ) {
            let shape = GemmShape { rows, inner, columns };
            let plan = MatMul { shape, groups, factors: Factors::Two };
            let value = |i: usize| raw.wrapping_mul(2 * i as i64 + 1).rotate_left(i as u32 % 64);
            let x: Vec<i64> = (0..groups * rows * inner).map(value).collect();
            let y: Vec<i64> = (7..7 + groups * inner * columns).map(value).collect();
            prop_assert_eq!(evaluate(&plan, &[&x, &y], evaluators, seed), clear(&plan, &x, &y));
        }

        #[test]
        fn a_matrix_times_itself(n in 1usize..40, evaluators in 2usize..4, seed: u8, raw in any::<i64>()) {
            let shape = GemmShape { rows: n, inner: n, columns: n };
            let plan = MatMul { shape, groups: 2, factors: Factors::Square };
            let x: Vec<i64> = (0..2 * n * n).map(|i| raw.rotate_left(i as u32) ^ i as i64).collect();
            prop_assert_eq!(evaluate(&plan, &[&x], evaluators, seed), clear(&plan, &x, &x));
        }
    }
}
