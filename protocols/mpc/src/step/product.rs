//! Products with a private factor: weights shared among the hosting group, or two masked values.
//!
//! # Weights: doubled products, two evaluators
//! Evaluator 0 holds `W0 = w - eps`, evaluator 1 `W1 = w + eps` (see [`crate::weights`]). Of an
//! operand with public `m = x + lambda` they make `X0 = x - delta` and `X1 = x + delta`: one of
//! them subtracts `s` from its seed, the *receiver* subtracts the correction `2 lambda - s`, which
//! fixes `delta = +-(s - lambda)`. For any bilinear product
//!
//! ```text
//! W0 X0 + W1 X1 = 2 w x + 2 eps delta
//! ```
//!
//! so each multiplies once, adds its share of the bias (of twice which they hold the halves `b -+ e`)
//! and `r_i` from its seed, and opens. The mask of the result is `2 eps delta + r_0 + r_1`, which the
//! dealer computes with one product of its own: nothing is dealt for the result, and three products
//! are made in all. One round; 8 bytes per element of the operand dealt, 8 per element of the
//! result sent each way.
//!
//! What an evaluator sees beyond `m`: its correction, uniform as `s` is unknown to it; and the
//! other's `W X + r` with `r` unknown to it. `X_i` itself is `x` plus something that it does not know.
//! `eps` stays the same over all sessions, `delta` never does.
//!
//! # Two masked values: any number of evaluators
//! `2 x y = 2 m_x m_y - 2 m_x lambda_y - 2 m_y lambda_x + 2 lambda_x lambda_y`. Shares of both masks
//! are dealt (16 bytes an element; 8 for a square), pads are added and the rest opened; the last
//! term goes into the mask of the result, so nothing is dealt for it. One round, 8 bytes each way.
//! Elementwise, so the second product of an evaluator costs next to nothing.
//!
//! # Two masked matrices
//! Among two evaluators as with weights, with a `delta` for each factor: `X_0 Y_0 + X_1 Y_1 = 2 x y +
//! 2 delta_x delta_y`, one product for each party; 8 bytes per element of both operands dealt. Among
//! more of them as for two values, which is two products for each evaluator.

mod elementwise;
mod matmul;
mod shares;

pub(crate) use elementwise::{Factors, Mul};
pub(crate) use matmul::MatMul;

use ai_link_program::fixed::{Op, ParamId, Program, Step};
use ai_link_program::kernels::{ConvShape, GemmShape};
use ai_link_program::ops::{conv_shape, gemm_shape};

use super::opening::RingOpening;
use super::{Dealt, Progress, Run, Seat, Seeds};
use crate::buffers::{give_words, wipe_bytes};
use crate::kernels::{Prepared, VectorKernels};
use crate::planes::{CHUNK, for_chunks, to_bytes};
use crate::prg::{Prg, Purpose};
use crate::weights::{WeightMask, WeightShare};

/// A product of a masked value with shared weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Product {
    step: usize,
    weights: ParamId,
    bias: Option<ParamId>,
    shape: Shape,
    /// Elements of operand and result, whole batch.
    operand: usize,
    elements: usize,
}

/// The product as the kernels know it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Gemm(GemmShape),
    Conv(ConvShape),
}

impl Shape {
    fn pack(&self, kernels: &VectorKernels, words: &[u64]) -> Prepared {
        match self {
            Self::Gemm(shape) => kernels.prepare_gemm(shape.inner, shape.columns, words),
            Self::Conv(shape) => kernels.prepare_conv(shape, words),
        }
    }

    fn multiply(&self, kernels: &VectorKernels, x: &[u64], w: &Prepared, out: &mut [u64]) {
        match self {
            Self::Gemm(shape) => kernels.product_prepared(shape.rows, x, w, out),
            Self::Conv(shape) => kernels.convolve_prepared(shape, x, w, out),
        }
    }

    /// Consecutive elements of the result that have one element of the bias.
    fn plane(&self) -> usize {
        match self {
            Self::Gemm(_) => 1,
            Self::Conv(shape) => shape.output[0] * shape.output[1],
        }
    }
}

impl Product {
    /// The plan of step number `index`, if it is a product with shared weights.
    pub(crate) fn new(program: &Program, index: usize, step: &Step, batch: usize) -> Option<Self> {
        let elements = |id| program.value(id).elements() * batch;
        let (operand, result) = (elements(*step.inputs.first()?), elements(step.output));
        let (weights, bias, shape) = match &step.op {
            Op::LinearShared { weights, bias } => {
                let dims = &program.parameter(*weights).dims;
                (*weights, *bias, Shape::Gemm(gemm_shape(dims, operand)))
            }
            Op::ConvShared {
                weights,
                bias,
                geometry,
            } => {
                let dims = &program.parameter(*weights).dims;
                let shape = conv_shape(program, step, dims, geometry, batch);
                (*weights, *bias, Shape::Conv(shape))
            }
            _ => return None,
        };
        Some(Self {
            step: index,
            weights,
            bias,
            shape,
            operand,
            elements: result,
        })
    }

    /// Rounds of opening.
    pub(crate) fn rounds(&self) -> usize {
        1
    }

    /// Bytes that the dealer sends the evaluator in `seat`.
    pub(crate) fn dealt_bytes(&self, seat: Seat) -> usize {
        usize::from(seat.receives()) * 8 * self.operand
    }

    /// Bytes that each evaluator sends the other.
    pub(crate) fn opened_bytes(&self) -> usize {
        8 * self.elements
    }

    /// Deals the step, given the mask of its operand.
    pub(crate) fn deal(
        &self,
        lambda: &[u64],
        seeds: Seeds<'_>,
        mask: &WeightMask,
        kernels: &VectorKernels,
    ) -> Dealt {
        let mut message = vec![0; 8 * self.operand];
        let delta = shares::deal_delta(0, lambda, seeds, &mut message);
        // Evaluator 1 has `w + eps`: if it is the receiver, it has `x + delta` as well.
        let times = match seeds.receiver() {
            1 => 2,
            _ => 2u64.wrapping_neg(),
        };
        let pack = |words: &[u64]| self.shape.pack(kernels, words);
        let eps = mask.prepared(self.step, self.weights, pack);
        let mut result = vec![0; self.elements];
        self.shape.multiply(kernels, &delta, eps, &mut result);
        mask_result(&mut result, times, seeds);
        Dealt::to_receiver(seeds, message, result)
    }

    /// Starts the step at an evaluator, which turns its copy of the masked operand into its share.
    pub(crate) fn start(
        &self,
        seat: Seat,
        prg: &Prg,
        dealt: Vec<u8>,
        operand: Vec<u64>,
        share: &WeightShare,
        kernels: &VectorKernels,
    ) -> (Box<dyn Run>, Vec<u8>) {
        let x = shares::own_factor(seat, prg, 0, &dealt, &operand);
        give_words(operand);
        wipe_bytes(dealt);
        let pack = |words: &[u64]| self.shape.pack(kernels, words);
        let weights = share.prepared(self.step, self.weights, pack);
        let mut out = vec![0; self.elements];
        self.shape.multiply(kernels, &x, weights, &mut out);
        drop(x);
        if let Some(bias) = self.bias {
            let bias = share.tensor(bias);
            for (i, run) in out.chunks_exact_mut(self.shape.plane()).enumerate() {
                let b = bias[i % bias.len()];
                run.iter_mut().for_each(|o| *o = o.wrapping_add(b));
            }
        }
        add_pad(prg, &mut out);
        let message = to_bytes(&out);
        (Box::new(Opening(RingOpening::new(out))), message)
    }
}

/// At the dealer: makes `result` `times` itself and everyone's pads.
fn mask_result(result: &mut [u64], times: u64, seeds: Seeds<'_>) {
    let work = |_: &mut (), chunk: usize, result: &mut [u64]| {
        let mut pads = [0u64; CHUNK];
        let pads = &mut pads[..result.len()];
        seeds.sum(Purpose::Pad, chunk as u32, pads);
        for (r, pad) in result.iter_mut().zip(pads) {
            *r = r.wrapping_mul(times).wrapping_add(*pad);
        }
    };
    for_chunks(result.chunks_mut(CHUNK).collect(), || (), work);
}

/// Adds this evaluator's pad.
fn add_pad(prg: &Prg, out: &mut [u64]) {
    let work = |_: &mut (), chunk: usize, out: &mut [u64]| {
        prg.add(Purpose::Pad, chunk as u32, out);
    };
    for_chunks(out.chunks_mut(CHUNK).collect(), || (), work);
}

/// One round: the sum of all shares is the masked result.
struct Opening(RingOpening);

impl Run for Opening {
    fn next(&mut self, theirs: Vec<Vec<u8>>) -> Progress {
        Progress::Done(self.0.finish(theirs))
    }
}
