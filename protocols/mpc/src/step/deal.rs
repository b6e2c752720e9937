//! The dealer's side of the interactive steps: from the mask of the operand to the corrections for
//! evaluator 1 and the mask of the result.

use super::{StepPlan, narrow, sign};
use crate::kernels::{Isa, Vectorised, dispatch};
use crate::planes::{CHUNK, Plane, for_chunks, words_of, write_planes, write_words};
use crate::prg::{Prg, Purpose};

/// Deals a step whose operand has mask `lambda`. Returns the message for evaluator 1 and the mask
/// of the result.
pub(crate) fn deal(plan: &StepPlan, lambda: &[u64], prgs: [&Prg; 2]) -> (Vec<u8>, Vec<u64>) {
    let mut message = vec![0; plan.dealt_bytes()];
    let mut result = vec![0; plan.elements];
    // Never zero, since every step deals something; `chunks_mut` would panic if one did not.
    let bytes = plan.dealt_bytes_of(CHUNK).max(1);
    let mut messages = message.chunks_mut(bytes);
    let chunks = lambda
        .chunks(CHUNK)
        .zip(result.chunks_mut(CHUNK))
        .map(|(lambda, result)| (lambda, result, messages.next().unwrap_or_default()))
        .collect();
    for_chunks(
        chunks,
        Vec::new,
        |planes, index, (lambda, result, message)| {
            let chunk = index as u32;
            let isa = Isa::best();
            let Some(sign) = &plan.sign else {
                return dispatch(
                    isa,
                    Trunc {
                        plan,
                        chunk,
                        lambda,
                        prgs,
                        message,
                        result,
                    },
                );
            };
            let beta = dispatch(
                isa,
                sign::Deal {
                    plan: sign,
                    chunk,
                    lambda,
                    prgs,
                    out: planes,
                },
            );
            let words = words_of(lambda.len());
            let (bits, rest) = message.split_at_mut(8 * words * planes.len());
            write_planes(planes, words, bits);
            dispatch(
                isa,
                Select {
                    plan,
                    chunk,
                    lambda,
                    beta: &beta,
                    prgs,
                    message: rest,
                    result,
                },
            );
        },
    );
    (message, result)
}

/// Selection terms of a chunk: `beta`, `q`, `beta mu`, `(1 - beta) mu`, less evaluator 0's shares.
struct Select<'a> {
    plan: &'a StepPlan,
    chunk: u32,
    lambda: &'a [u64],
    beta: &'a Plane,
    prgs: [&'a Prg; 2],
    message: &'a mut [u8],
    result: &'a mut [u64],
}

impl Vectorised for Select<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            plan,
            chunk,
            lambda,
            beta,
            prgs,
            message,
            result,
        } = self;
        let n = lambda.len();
        let mut shares = [0u64; 2 * CHUNK];
        prgs[0].fill(Purpose::Select, chunk, &mut shares[..2 * n]);
        let (a, q) = shares[..2 * n].split_at_mut(n);
        fill_pad(prgs, chunk, result);
        for (j, beta) in beta.iter().enumerate().take(words_of(n)) {
            let range = 64 * j..(64 * j + 64).min(n);
            let lanes = a[range.clone()].iter_mut().zip(&mut q[range.clone()]);
            let lanes = lanes.zip(&mut result[range.clone()]).zip(&lambda[range]);
            for (bit, (((a, q), pad), lambda)) in lanes.enumerate() {
                let b = (beta >> bit) & 1;
                let shifted = lambda >> plan.shift;
                // All ones where beta = 0: turns x into -x - 1.
                let flip = b.wrapping_sub(1);
                let signed = (shifted ^ flip).wrapping_sub(flip);
                *a = b.wrapping_sub(*a);
                *q = pad.wrapping_add(signed).wrapping_sub(*q);
                *pad = pad.wrapping_add(shifted & !flip);
            }
        }
        let (words, narrow_out) = message.split_at_mut(16 * n);
        write_words(&shares[..2 * n], words);
        let size = plan.wrap_bytes();
        if size == 0 {
            return;
        }
        let mut wraps = [0u64; 2 * CHUNK];
        prgs[0].fill_bytes(Purpose::Wrap, chunk, narrow_out);
        narrow::read(narrow_out, size, &mut wraps[..2 * n]);
        let (when0, when1) = wraps[..2 * n].split_at_mut(n);
        for (j, beta) in beta.iter().enumerate().take(words_of(n)) {
            let range = 64 * j..(64 * j + 64).min(n);
            let lanes = when0[range.clone()]
                .iter_mut()
                .zip(&mut when1[range.clone()]);
            for (bit, ((u, v), lambda)) in lanes.zip(&lambda[range]).enumerate() {
                let b = (beta >> bit) & 1;
                let mu = lambda >> 63;
                *u = (b & mu).wrapping_sub(*u);
                *v = (!b & mu).wrapping_sub(*v);
            }
        }
        narrow::write(&wraps[..2 * n], size, narrow_out);
    }
}

/// The wrap term of a truncation, less evaluator 0's share.
struct Trunc<'a> {
    plan: &'a StepPlan,
    chunk: u32,
    lambda: &'a [u64],
    prgs: [&'a Prg; 2],
    message: &'a mut [u8],
    result: &'a mut [u64],
}

impl Vectorised for Trunc<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            plan,
            chunk,
            lambda,
            prgs,
            message,
            result,
        } = self;
        let n = lambda.len();
        fill_pad(prgs, chunk, result);
        for (pad, lambda) in result.iter_mut().zip(lambda) {
            *pad = pad.wrapping_add(lambda >> plan.shift);
        }
        let size = plan.wrap_bytes();
        let mut wraps = [0u64; CHUNK];
        prgs[0].fill_bytes(Purpose::Wrap, chunk, message);
        narrow::read(message, size, &mut wraps[..n]);
        for (u, lambda) in wraps.iter_mut().zip(lambda) {
            *u = (lambda >> 63).wrapping_sub(*u);
        }
        narrow::write(&wraps[..n], size, message);
    }
}

/// The sum of both evaluators' pads.
#[inline(always)]
fn fill_pad(prgs: [&Prg; 2], chunk: u32, out: &mut [u64]) {
    let mut other = [0u64; CHUNK];
    let other = &mut other[..out.len()];
    prgs[0].fill(Purpose::Pad, chunk, out);
    prgs[1].fill(Purpose::Pad, chunk, other);
    out.iter_mut()
        .zip(other)
        .for_each(|(o, x)| *o = o.wrapping_add(*x));
}
