//! The dealer's side: the sign's corrections and the selection terms.

use zeroize::Zeroizing;

use super::Select;
use crate::buffers::{take_bytes, take_words};
use crate::kernels::{Isa, Vectorised, dispatch};
use crate::planes::{CHUNK, Plane, for_chunks, words_of, write_words};
use crate::prg::Purpose;
use crate::step::sign::{Scratch, deal_chunk};
use crate::step::{Dealt, Seeds};

pub(super) fn deal(plan: &Select, lambda: &[u64], seeds: Seeds<'_>) -> Dealt {
    let mut message = take_bytes(plan.correction_bytes(plan.elements));
    let mut result = take_words(plan.elements);
    let chunks = lambda
        .chunks(CHUNK)
        .zip(result.chunks_mut(CHUNK))
        .zip(message.chunks_mut(plan.stride()))
        .collect();
    for_chunks(
        chunks,
        Default::default,
        |(scratch, words): &mut (Scratch, Zeroizing<Vec<u64>>),
         chunk,
         ((lambda, result), message)| {
            let (bits, rest) = message.split_at_mut(plan.sign.dealt_bytes(lambda.len()));
            let beta = deal_chunk(&plan.sign, chunk, lambda, seeds, scratch, bits);
            let terms = Terms {
                plan,
                chunk: chunk as u32,
                lambda,
                beta: &beta,
                seeds,
                shares: words,
                message: rest,
                result,
            };
            dispatch(Isa::best(), terms);
        },
    );
    Dealt::to_receiver(seeds, message, result)
}

/// `beta`, `q`, `beta mu`, `(1 - beta) mu` of a chunk, less the shares that evaluators expand.
struct Terms<'a> {
    plan: &'a Select,
    chunk: u32,
    lambda: &'a [u64],
    beta: &'a Plane,
    seeds: Seeds<'a>,
    /// Room.
    shares: &'a mut Vec<u64>,
    message: &'a mut [u8],
    result: &'a mut [u64],
}

impl Vectorised for Terms<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            plan,
            chunk,
            lambda,
            beta,
            seeds,
            shares,
            message,
            result,
        } = self;
        let n = lambda.len();
        shares.resize(2 * n, 0);
        seeds.expanded_sum(Purpose::Select, chunk, shares);
        let (a, q) = shares.split_at_mut(n);
        seeds.sum(Purpose::Pad, chunk, result);
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
        let (words, narrow) = message.split_at_mut(16 * n);
        write_words(shares, words);
        if narrow.is_empty() {
            return;
        }
        let wraps = shares;
        let (when0, when1) = wraps.split_at_mut(n);
        for (j, beta) in beta.iter().enumerate().take(words_of(n)) {
            let range = 64 * j..(64 * j + 64).min(n);
            let lanes = when0[range.clone()]
                .iter_mut()
                .zip(&mut when1[range.clone()]);
            for (bit, ((u, v), lambda)) in lanes.zip(&lambda[range]).enumerate() {
                let b = (beta >> bit) & 1;
                let mu = lambda >> 63;
                *u = b & mu;
                *v = !b & mu;
            }
        }
        seeds.expanded_bytes(Purpose::Wrap, chunk, narrow, |bytes| {
            plan.wraps
                .read_with(bytes, wraps, |w, share| *w = w.wrapping_sub(share));
        });
        plan.wraps.write(wraps, narrow);
    }
}
