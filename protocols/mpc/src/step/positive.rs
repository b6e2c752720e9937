//! Whether a value is not negative, as a ring element 0 or 1.
//!
//! The tree of [`super::sign`] leaves `b = hat ^ beta` with public hat. Pad `p` from seeds,
//! `lambda_out = p - beta`. Where hat = 0 evaluators open `p`, where hat = 1 they open `1 + q` with
//! `q = p - 2 beta`, which is dealt: 8 bytes an element, 8 bytes opened.

use zeroize::Zeroizing;

use super::material::Material;
use super::opening::RingOpening;
use super::sign::{Climb, SignPlan, SignRun, deal_chunk};
use super::{Dealt, Progress, Protocol, Run, Seat, Seeds};
use crate::buffers::{give_bytes, give_words, take_bytes, take_words};
use crate::planes::{CHUNK, Plane, WORDS, for_chunks, view_planes, words_of, write_words};
use crate::prg::{Prg, Purpose};

/// The sign, by the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Positive {
    elements: usize,
    sign: SignPlan,
}

impl Positive {
    pub(crate) fn new(elements: usize, sign: SignPlan) -> Self {
        Self { elements, sign }
    }

    /// Bytes of corrections for `elements` of a chunk or of whole chunks.
    fn correction_bytes(&self, elements: usize) -> usize {
        self.sign.dealt_bytes(elements) + 8 * elements
    }
}

impl Protocol for Positive {
    fn rounds(&self) -> usize {
        1 + self.sign.rounds()
    }

    fn dealt_bytes(&self, seat: Seat) -> usize {
        usize::from(seat.receives()) * self.correction_bytes(self.elements)
    }

    fn opened_bytes(&self, round: usize) -> usize {
        if round < self.sign.rounds() {
            self.sign.opened_bytes(round, self.elements)
        } else {
            8 * self.elements
        }
    }

    fn deal(&self, masks: &[&[u64]], seeds: Seeds<'_>) -> Dealt {
        let mut message = take_bytes(self.correction_bytes(self.elements));
        let mut mask = take_words(self.elements);
        let chunks = masks[0]
            .chunks(CHUNK)
            .zip(mask.chunks_mut(CHUNK))
            .zip(message.chunks_mut(self.correction_bytes(CHUNK)))
            .collect();
        for_chunks(
            chunks,
            Default::default,
            |scratch, chunk, ((lambda, mask), message)| {
                let (bits, words) = message.split_at_mut(self.sign.dealt_bytes(lambda.len()));
                let beta = deal_chunk(&self.sign, chunk, lambda, seeds, scratch, bits);
                let mut q = [0u64; CHUNK];
                let q = &mut q[..lambda.len()];
                seeds.expanded_sum(Purpose::Select, chunk as u32, q);
                seeds.sum(Purpose::Pad, chunk as u32, mask);
                for (i, (q, pad)) in q.iter_mut().zip(mask).enumerate() {
                    let beta = (beta[i / 64] >> (i % 64)) & 1;
                    *q = pad.wrapping_sub(2 * beta).wrapping_sub(*q);
                    *pad = pad.wrapping_sub(beta);
                }
                write_words(q, words);
            },
        );
        Dealt::to_receiver(seeds, message, mask)
    }

    fn start(
        &self,
        seat: Seat,
        prg: Prg,
        dealt: Vec<u8>,
        operands: Vec<Vec<u64>>,
    ) -> (Box<dyn Run>, Vec<u8>) {
        let material = Material::new(seat, prg, dealt, self.correction_bytes(CHUNK));
        let m = operands.into_iter().next().unwrap_or_default();
        let (sign, message) = SignRun::start(self.sign.clone(), &material, &m);
        let run = Deciding {
            plan: self.clone(),
            material,
            m,
            stage: Stage::Sign(sign),
        };
        (Box::new(run), message)
    }
}

struct Deciding {
    plan: Positive,
    material: Material,
    /// The masked operand.
    m: Vec<u64>,
    stage: Stage,
}

enum Stage {
    Sign(SignRun),
    Result(RingOpening),
}

impl Run for Deciding {
    fn next(&mut self, theirs: Vec<Vec<u8>>) -> Progress {
        match &mut self.stage {
            Stage::Sign(sign) => match sign.next(&self.material, self.plan.elements, theirs) {
                Climb::Open(message) => Progress::Open(message),
                Climb::Root(hats) => {
                    let (message, opening) = self.open_result(&hats);
                    give_bytes(hats);
                    self.stage = Stage::Result(opening);
                    Progress::Open(message)
                }
            },
            Stage::Result(opening) => Progress::Done(opening.finish(theirs)),
        }
    }
}

impl Drop for Deciding {
    fn drop(&mut self) {
        give_words(std::mem::take(&mut self.m));
    }
}

impl Deciding {
    /// Shares of `b + lambda_out`; `hats` is the opened root of the tree.
    fn open_result(&self, hats: &[u8]) -> (Vec<u8>, RingOpening) {
        let Self {
            plan, material, m, ..
        } = self;
        let mut message = take_bytes(8 * plan.elements);
        let mut share = take_words(plan.elements);
        let chunks = message
            .chunks_mut(8 * CHUNK)
            .zip(share.chunks_mut(CHUNK))
            .zip(m.chunks(CHUNK))
            .zip(hats.chunks(8 * WORDS))
            .collect();
        for_chunks(
            chunks,
            Default::default,
            |(root, room): &mut (Vec<Plane>, Zeroizing<Vec<u64>>),
             chunk,
             (((message, share), m), hat)| {
                let root = &view_planes(hat, words_of(m.len()), 1, root)[0];
                let skip = plan.sign.dealt_bytes(m.len());
                let q = material.words(Purpose::Select, chunk, (skip, m.len()), room);
                material.prg.fill(Purpose::Pad, chunk as u32, share);
                let one = u64::from(material.seat.leads());
                let sign_bit = plan.sign.sign_bit();
                for (i, ((o, q), m)) in share.iter_mut().zip(q).zip(m).enumerate() {
                    // Not negative = hat ^ beta; the sign bit of m and the negation are public.
                    let hat = ((root[i / 64] >> (i % 64)) ^ (m >> sign_bit) ^ 1) & 1;
                    let mask = 0u64.wrapping_sub(hat);
                    *o = (*o ^ ((*o ^ *q) & mask)).wrapping_add(hat & one);
                }
                write_words(share, message);
            },
        );
        (message, RingOpening::new(share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::sign::Tree;
    use crate::step::tests::evaluate;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(80))]

        #[test]
        fn the_sign_is_right_but_near_zero(
            lo in 0u8..30, width in 1u8..33, raw in proptest::collection::vec(any::<i64>(), 1..150),
            evaluators in 2usize..5, seed: u8,
        ) {
            let hi = lo + width;
            let (l, h) = (1i64 << lo, 1i64 << hi);
            let mut z = vec![0, 1, -1, l, -l, l - 1, 1 - l, l + 1, -l - 1, h - 1, 1 - h];
            z.extend(raw.iter().map(|r| r >> (63 - hi)));
            z.retain(|z| z.abs() < h);
            let plan = Positive::new(z.len(), SignPlan::new(lo, hi, Tree::default()));
            let got = evaluate(&plan, &[&z], evaluators, seed);
            for (z, got) in z.iter().zip(got) {
                prop_assert!(got == 0 || got == 1, "{z} became {got}");
                let doubtful = lo > 0 && z.unsigned_abs() < l as u64;
                prop_assert!(doubtful || got == i64::from(*z >= 0), "{z} became {got}");
            }
        }
    }

    #[test]
    fn many_chunks_and_a_ragged_tail() {
        for n in [1, 64, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 77] {
            let z: Vec<i64> = (0..n as i64).map(|i| (i - 700) * 0x1_2345_6789).collect();
            let plan = Positive::new(n, SignPlan::new(0, 46, Tree::default()));
            let got = evaluate(&plan, &[&z], 2, n as u8);
            assert!(z.iter().zip(got).all(|(z, got)| i64::from(*z >= 0) == got));
        }
    }
}
