//! Matrix products of two masked values; see [`super`].

use ai_link_program::fixed::{Op, Program, Step};
use ai_link_program::kernels::GemmShape;
use ai_link_program::ops::matmul_shape;
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::elementwise::{Factors, purpose};
use super::{Opening, add_pad};
use crate::kernels::VectorKernels;
use crate::planes::{CHUNK, for_chunks, read_words, to_bytes, write_words};
use crate::prg::{Prg, Purpose};
use crate::step::opening::RingOpening;
use crate::step::{Dealt, Protocol, Run, Seat, Seeds};

/// Products from which on the kernels share one matrix product among threads by themselves.
const ONE_BY_ONE: usize = 1 << 18;

/// Twice the products of matrices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MatMul {
    /// Of one product.
    shape: GemmShape,
    /// How many there are, whole batch.
    groups: usize,
    factors: Factors,
}

/// A masked factor or its mask, whole batch.
type Words = Zeroizing<Vec<u64>>;

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

    /// Adds `sign` times all products of `x` and `y` to `out`.
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
        if rows * inner * columns >= ONE_BY_ONE || self.groups == 1 {
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

/// For each factor: `mask times` its mask less what others expand, as a message; and what is left of the mask.
///
/// With two evaluators `times` is 2 and what is left is `delta`, else the mask itself is.
fn deal_factors(masks: &[&[u64]], seeds: Seeds<'_>, message: &mut [u8]) -> Vec<Words> {
    let two = seeds.evaluators() == 2;
    let (times, of_shares) = if two { (2, 1) } else { (1, 0) };
    let mut rest = message;
    let mut left = Vec::new();
    for (factor, mask) in masks.iter().enumerate() {
        let (this, after) = rest.split_at_mut(8 * mask.len());
        rest = after;
        let mut words: Words = Zeroizing::new(vec![0; mask.len()]);
        let chunks = this.chunks_mut(8 * CHUNK).zip(words.chunks_mut(CHUNK));
        for_chunks(
            chunks.zip(mask.chunks(CHUNK)).collect(),
            || (),
            |(), chunk, ((message, words), mask)| {
                seeds.expanded_sum(purpose(factor), chunk as u32, words);
                let mut corrections = [0u64; CHUNK];
                let corrections = &mut corrections[..mask.len()];
                for ((word, c), mask) in words.iter_mut().zip(&mut *corrections).zip(mask) {
                    *c = mask.wrapping_mul(times).wrapping_sub(*word);
                    // delta = shares - mask; or else the mask.
                    *word = match of_shares {
                        1 => word.wrapping_sub(*mask),
                        _ => *mask,
                    };
                }
                write_words(corrections, message);
            },
        );
        left.push(words);
    }
    left
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
        let left = deal_factors(masks, seeds, &mut message);
        let (x, y) = (&left[0], &left[left.len() - 1]);
        let mut result = vec![0; self.elements()];
        self.multiply(x, y, &mut result);
        // 2 delta_x delta_y, or -2 lambda_x lambda_y.
        let factor = if seeds.evaluators() == 2 {
            2
        } else {
            2u64.wrapping_neg()
        };
        for_chunks(
            result.chunks_mut(CHUNK).collect(),
            || (),
            |(), chunk, result| {
                let mut pads = [0u64; CHUNK];
                let pads = &mut pads[..result.len()];
                seeds.sum(Purpose::Pad, chunk as u32, pads);
                for (r, pad) in result.iter_mut().zip(pads) {
                    *r = r.wrapping_mul(factor).wrapping_add(*pad);
                }
            },
        );
        Dealt::to_receiver(seeds, message, result)
    }

    fn start(
        &self,
        seat: Seat,
        prg: Prg,
        dealt: Vec<u8>,
        operands: Vec<Vec<u64>>,
    ) -> (Box<dyn Run>, Vec<u8>) {
        let mut from = 0;
        let mut shares = Vec::new();
        for (factor, size) in self.sizes().enumerate() {
            let mut share: Words = Zeroizing::new(vec![0; size]);
            let corrections = dealt.get(from..from + 8 * size).unwrap_or_default();
            for_chunks(
                share.chunks_mut(CHUNK).collect(),
                || (),
                |(), chunk, share| {
                    if seat.receives() {
                        read_words(&corrections[8 * CHUNK * chunk..], share);
                    } else {
                        prg.fill(purpose(factor), chunk as u32, share);
                    }
                },
            );
            from += 8 * size;
            shares.push(share);
        }
        let mut out = vec![0; self.elements()];
        if seat.evaluators == 2 {
            // This evaluator's x -+ delta and y -+ delta.
            for (share, m) in shares.iter_mut().zip(&operands) {
                subtract_from(m, share);
            }
            self.multiply(&shares[0], &shares[shares.len() - 1], &mut out);
        } else {
            let (m_x, m_y) = (&operands[0], &operands[operands.len() - 1]);
            let mut second = vec![0; self.elements()];
            self.multiply(&shares[0], m_y, &mut second);
            let public = u64::from(seat.leads());
            let last = shares.len() - 1;
            for (share, m) in shares[last].iter_mut().zip(m_y) {
                *share = m.wrapping_mul(public).wrapping_sub(*share);
            }
            self.multiply(m_x, &shares[last], &mut out);
            let terms = out.iter_mut().zip(&second);
            terms.for_each(|(o, s)| *o = o.wrapping_sub(*s).wrapping_mul(2));
        }
        drop(shares);
        add_pad(&prg, &mut out);
        let message = to_bytes(&out);
        (Box::new(Opening(RingOpening::new(out))), message)
    }
}

/// `share = m - share`.
fn subtract_from(m: &[u64], share: &mut [u64]) {
    for_chunks(
        share.chunks_mut(CHUNK).zip(m.chunks(CHUNK)).collect(),
        || (),
        |(), _, (share, m)| {
            let pairs = share.iter_mut().zip(m);
            pairs.for_each(|(s, m)| *s = m.wrapping_sub(*s));
        },
    );
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
