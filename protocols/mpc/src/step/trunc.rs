//! Truncation: a shift to the right.
//!
//! With `L = lambda >> f`, `mu = msb(lambda)`, and from public `m` (`|z| < 2^62`,
//! `m' = m + 2^62`)
//!
//! ```text
//! z >> f = pub - L + W mu,   pub = (m' >> f) - 2^(62 - f),   W = (1 - msb(m')) 2^(64 - f)
//! ```
//!
//! exactly, up to one unit (the addition `m' = z + 2^62 + lambda` wrapped iff `mu = 1` and
//! `msb(m') = 0`). Pad `r` from seeds, `lambda_out = r + L`; the opening is `pub + W mu + r`. Dealt
//! are the low `f` bits of `mu`: one round, `f / 8` bytes rounded up to 1, 2, 4 or 8.

use super::material::Material;
use super::narrow::Width;
use super::opening::RingOpening;
use super::{Dealt, Progress, Protocol, Run, Seat, Seeds};
use crate::buffers::{give_words, take_bytes, take_words};
use crate::kernels::{Isa, Vectorised, dispatch};
use crate::planes::{CHUNK, for_chunks, write_words};
use crate::prg::{Prg, Purpose};

/// A shift to the right by a public number of bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trunc {
    elements: usize,
    shift: u32,
    wraps: Width,
}

impl Trunc {
    pub(crate) fn new(elements: usize, bits: u8) -> Self {
        let shift = u32::from(bits);
        Self {
            elements,
            shift,
            wraps: Width::of_bits(shift),
        }
    }

    /// Bytes of corrections per full chunk.
    fn stride(&self) -> usize {
        CHUNK * self.wraps.bytes()
    }
}

impl Protocol for Trunc {
    fn rounds(&self) -> usize {
        1
    }

    fn dealt_bytes(&self, seat: Seat) -> usize {
        usize::from(seat.receives()) * self.elements * self.wraps.bytes()
    }

    fn opened_bytes(&self, _round: usize) -> usize {
        8 * self.elements
    }

    fn deal(&self, masks: &[&[u64]], seeds: Seeds<'_>) -> Dealt {
        let mut message = take_bytes(self.elements * self.wraps.bytes());
        let mut result = take_words(self.elements);
        let mut messages = message.chunks_mut(self.stride().max(1));
        let chunks = masks[0]
            .chunks(CHUNK)
            .zip(result.chunks_mut(CHUNK))
            .map(|(lambda, result)| (lambda, result, messages.next().unwrap_or_default()))
            .collect();
        for_chunks(
            chunks,
            || (),
            |(), chunk, (lambda, result, message)| {
                let deal = Deal {
                    plan: self,
                    chunk: chunk as u32,
                    lambda,
                    seeds,
                    message,
                    result,
                };
                dispatch(Isa::best(), deal);
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
        let material = Material::new(seat, prg, dealt, self.stride());
        let mut message = take_bytes(8 * self.elements);
        let mut share = take_words(self.elements);
        let chunks = message
            .chunks_mut(8 * CHUNK)
            .zip(share.chunks_mut(CHUNK))
            .zip(operands[0].chunks(CHUNK))
            .collect();
        for_chunks(chunks, Vec::new, |wraps, chunk, ((message, share), m)| {
            let size = m.len() * self.wraps.bytes();
            let wraps = material.bytes(Purpose::Wrap, chunk, (0, size), wraps);
            let open = Open {
                plan: self,
                chunk,
                material: &material,
                m,
                wraps,
                share,
                message,
            };
            dispatch(Isa::best(), open);
        });
        operands.into_iter().for_each(give_words);
        (Box::new(Truncating(RingOpening::new(share))), message)
    }
}

struct Truncating(RingOpening);

impl Run for Truncating {
    fn next(&mut self, theirs: Vec<Vec<u8>>) -> Progress {
        Progress::Done(self.0.finish(theirs))
    }
}

/// The wrap term of a chunk, less the shares that evaluators expand.
struct Deal<'a> {
    plan: &'a Trunc,
    chunk: u32,
    lambda: &'a [u64],
    seeds: Seeds<'a>,
    message: &'a mut [u8],
    result: &'a mut [u64],
}

impl Vectorised for Deal<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            plan,
            chunk,
            lambda,
            seeds,
            message,
            result,
        } = self;
        seeds.sum(Purpose::Pad, chunk, result);
        let mut wraps = [0u64; CHUNK];
        for ((pad, wrap), lambda) in result.iter_mut().zip(&mut wraps).zip(lambda) {
            *pad = pad.wrapping_add(lambda >> plan.shift);
            *wrap = lambda >> 63;
        }
        let wraps = &mut wraps[..lambda.len()];
        seeds.expanded_bytes(Purpose::Wrap, chunk, message, |bytes| {
            plan.wraps
                .read_with(bytes, wraps, |w, share| *w = w.wrapping_sub(share));
        });
        plan.wraps.write(wraps, message);
    }
}

/// A chunk's share of the opening.
struct Open<'a> {
    plan: &'a Trunc,
    chunk: usize,
    material: &'a Material,
    m: &'a [u64],
    wraps: &'a [u8],
    share: &'a mut [u64],
    message: &'a mut [u8],
}

impl Vectorised for Open<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            plan,
            chunk,
            material,
            m,
            wraps: bytes,
            share,
            message,
        } = self;
        let mut wraps = [0u64; CHUNK];
        plan.wraps.read_with(bytes, &mut wraps, |o, x| *o = x);
        material.prg.fill(Purpose::Pad, chunk as u32, share);
        let public = if material.seat.leads() { u64::MAX } else { 0 };
        for ((o, wrap), m) in share.iter_mut().zip(&wraps).zip(m) {
            let (shifted, factor) = public_terms(*m, plan.shift);
            *o = o
                .wrapping_add(shifted & public)
                .wrapping_add(factor.wrapping_mul(*wrap));
        }
        write_words(share, message);
    }
}

/// `pub` and `W` for one element.
#[inline(always)]
pub(crate) fn public_terms(m: u64, shift: u32) -> (u64, u64) {
    if shift == 0 {
        return (m, 0);
    }
    let m = m.wrapping_add(1 << 62);
    (
        (m >> shift).wrapping_sub(1 << (62 - shift)),
        (1 - (m >> 63)) << (64 - shift),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::tests::evaluate;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        fn truncation_is_at_most_one_above_the_floor(
            bits in 1u8..=62, raw in proptest::collection::vec(any::<i64>(), 1..150),
            evaluators in 2usize..5, seed: u8,
        ) {
            let top = (1i64 << 62) - 1;
            let mut z = vec![0, 1, -1, top, -top, (1 << bits) - 1, -(1 << bits) + 1, 1 << (bits - 1)];
            z.extend(raw.iter().map(|r| r >> 1).filter(|z| z.abs() < 1 << 62));
            let got = evaluate(&Trunc::new(z.len(), bits), &[&z], evaluators, seed);
            for (z, got) in z.iter().zip(got) {
                let off = got - (z >> bits);
                prop_assert!((0..=1).contains(&off), "{z} >> {bits} became {got}");
            }
        }
    }

    #[test]
    fn many_chunks_and_a_ragged_tail() {
        for n in [1, 63, 64, 65, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 77] {
            let z: Vec<i64> = (0..n as i64).map(|i| (i - 700) * 0x1_2345_6789).collect();
            let got = evaluate(&Trunc::new(n, 16), &[&z], 2, n as u8);
            for (z, got) in z.iter().zip(got) {
                assert!((0..=1).contains(&(got - (z >> 16))), "{z} became {got}");
            }
        }
    }
}
