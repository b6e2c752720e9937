//! An evaluator's side of the interactive steps, round by round.

use super::sign::{Leaves, Merge, SignPlan};
use super::{StepPlan, narrow};
use crate::kernels::{Isa, Vectorised, dispatch};
use crate::party::EvaluatorIndex;
use crate::planes::{
    CHUNK, Plane, WORDS, ZERO, for_chunks, read_planes, read_words, words_of, write_planes,
    write_words,
};
use crate::prg::{Prg, Purpose};

/// An interactive step under way.
pub(crate) struct Run {
    plan: StepPlan,
    index: EvaluatorIndex,
    prg: Prg,
    /// Corrections; empty at evaluator 0.
    dealt: Vec<u8>,
    /// The masked operand.
    m: Vec<u64>,
    /// What this evaluator sent last.
    sent: Vec<u8>,
    /// Openings received.
    round: usize,
}

/// What follows an opening.
pub(crate) enum Progress {
    /// Another one: this evaluator's message.
    Open(Vec<u8>),
    /// The masked result.
    Done(Vec<u64>),
}

#[derive(Default)]
struct Scratch {
    dealt: Vec<Plane>,
    hats: Vec<Plane>,
    out: Vec<Plane>,
}

impl Run {
    /// Starts a step on masked operand `m`, whose corrections have the size that the plan implies.
    /// Returns the first message.
    pub(crate) fn start(
        plan: StepPlan,
        index: EvaluatorIndex,
        prg: Prg,
        dealt: Vec<u8>,
        m: Vec<u64>,
    ) -> (Self, Vec<u8>) {
        let mut run = Self {
            plan,
            index,
            prg,
            dealt,
            m,
            sent: Vec::new(),
            round: 0,
        };
        let opening = match &run.plan.sign {
            Some(sign) => run.open_leaves(sign),
            None => run.open_result(&[]),
        };
        run.sent.clone_from(&opening);
        (run, opening)
    }

    /// Continues with the other evaluator's message of the current round, which has the right size.
    pub(crate) fn next(&mut self, theirs: &[u8]) -> Progress {
        self.round += 1;
        if self.round == self.plan.rounds() {
            return Progress::Done(self.result(theirs));
        }
        let hats: Vec<u8> = self.sent.iter().zip(theirs).map(|(a, b)| a ^ b).collect();
        let opening = match &self.plan.sign {
            Some(sign) if self.round < sign.rounds() => self.open_merge(sign, &hats),
            _ => self.open_result(&hats),
        };
        self.sent.clone_from(&opening);
        Progress::Open(opening)
    }

    fn first(&self) -> bool {
        self.index == EvaluatorIndex::ZERO
    }

    /// The part of the corrections that belongs to a chunk; empty at evaluator 0.
    fn dealt_to(&self, chunk: usize) -> &[u8] {
        let size = self.plan.dealt_bytes_of(CHUNK);
        let from = (chunk * size).min(self.dealt.len());
        &self.dealt[from..(from + size).min(self.dealt.len())]
    }

    /// This evaluator's shares of dealt planes `from..from + count` of a chunk.
    fn shares(
        &self,
        purpose: Purpose,
        chunk: usize,
        words: usize,
        (from, count): (usize, usize),
        out: &mut Vec<Plane>,
    ) {
        out.clear();
        out.resize(count, ZERO);
        match self.index {
            EvaluatorIndex::ZERO => self.prg.fill(purpose, chunk as u32, out.as_flattened_mut()),
            _ => {
                read_planes(
                    &self.dealt_to(chunk)[8 * words * from..][..8 * words * count],
                    words,
                    out,
                );
            }
        }
    }

    fn open_leaves(&self, sign: &SignPlan) -> Vec<u8> {
        let opened = sign.opened(0);
        let mut message = vec![0; self.plan.opened_bytes(0)];
        let chunks = message
            .chunks_mut(8 * WORDS * opened)
            .zip(self.m.chunks(CHUNK))
            .collect();
        for_chunks(chunks, Scratch::default, |scratch, chunk, (message, m)| {
            let words = words_of(m.len());
            let Scratch { dealt, out, .. } = scratch;
            self.shares(Purpose::Tables, chunk, words, (0, sign.tables()), dealt);
            out.resize(opened, ZERO);
            let leaves = Leaves {
                plan: sign,
                chunk: chunk as u32,
                first: self.first(),
                m,
                tables: dealt,
                prg: &self.prg,
                out,
            };
            dispatch(Isa::best(), leaves);
            write_planes(out, words, message);
        });
        message
    }

    fn open_merge(&self, sign: &SignPlan, hats: &[u8]) -> Vec<u8> {
        let level = self.round;
        let (before, opened) = (sign.opened(level - 1), sign.opened(level));
        let from = sign.tables() + (1..level).map(|l| sign.products(l)).sum::<usize>();
        let count = sign.products(level);
        let mut message = vec![0; self.plan.opened_bytes(level)];
        let chunks = message
            .chunks_mut(8 * WORDS * opened)
            .zip(hats.chunks(8 * WORDS * before))
            .collect();
        for_chunks(
            chunks,
            Scratch::default,
            |scratch, chunk, (message, hat_bytes)| {
                let words = hat_bytes.len() / (8 * before);
                let Scratch { dealt, hats, out } = scratch;
                hats.resize(before, ZERO);
                read_planes(hat_bytes, words, hats);
                let purpose = Purpose::Products(level as u8);
                self.shares(purpose, chunk, words, (from, count), dealt);
                out.resize(opened, ZERO);
                let merge = Merge {
                    plan: sign,
                    level,
                    chunk: chunk as u32,
                    first: self.first(),
                    hats,
                    products: dealt,
                    prg: &self.prg,
                    out,
                };
                dispatch(Isa::best(), merge);
                write_planes(out, words, message);
            },
        );
        message
    }

    /// Shares of `y + lambda_out`; `hats` is the opened root of the tree, if there was one.
    fn open_result(&self, hats: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 8 * self.plan.elements];
        let mut hats = hats.chunks(8 * WORDS);
        let chunks = message
            .chunks_mut(8 * CHUNK)
            .zip(self.m.chunks(CHUNK))
            .map(|(message, m)| (message, m, hats.next().unwrap_or_default()))
            .collect();
        for_chunks(
            chunks,
            || (),
            |(), chunk, (message, m, hat)| {
                let dealt = self.dealt_to(chunk);
                let first = self.first();
                let (plan, prg, isa) = (&self.plan, &self.prg, Isa::best());
                let common = Common {
                    plan,
                    chunk: chunk as u32,
                    first,
                    m,
                    prg,
                    message,
                };
                let Some(sign) = &plan.sign else {
                    return dispatch(isa, Trunc { common, dealt });
                };
                let skip = 8 * words_of(m.len()) * sign.dealt();
                let dealt = dealt.get(skip..).unwrap_or_default();
                let mut root = [ZERO];
                read_planes(hat, words_of(m.len()), &mut root);
                dispatch(
                    isa,
                    Select {
                        common,
                        sign_bit: sign.sign_bit(),
                        hat: &root[0],
                        dealt,
                    },
                );
            },
        );
        message
    }

    fn result(&self, theirs: &[u8]) -> Vec<u64> {
        let mut out = vec![0; self.plan.elements];
        let chunks = out
            .chunks_mut(CHUNK)
            .zip(self.sent.chunks(8 * CHUNK).zip(theirs.chunks(8 * CHUNK)))
            .collect();
        for_chunks(
            chunks,
            || (),
            |(), _, (out, (ours, theirs))| {
                let mut other = [0u64; CHUNK];
                let other = &mut other[..out.len()];
                read_words(ours, out);
                read_words(theirs, other);
                out.iter_mut()
                    .zip(other)
                    .for_each(|(o, t)| *o = o.wrapping_add(*t));
            },
        );
        out
    }
}

/// What both kinds of result need of a chunk.
struct Common<'a> {
    plan: &'a StepPlan,
    chunk: u32,
    first: bool,
    m: &'a [u64],
    prg: &'a Prg,
    message: &'a mut [u8],
}

impl Common<'_> {
    /// This evaluator's shares of `count` wrap terms per element.
    #[inline(always)]
    fn wraps(&self, count: usize, dealt: &[u8], out: &mut [u64]) {
        let size = self.plan.wrap_bytes();
        let n = self.m.len() * count;
        if size == 0 {
            return;
        }
        if self.first {
            let mut bytes = [0u8; 2 * 8 * CHUNK];
            let bytes = &mut bytes[..n * size];
            self.prg.fill_bytes(Purpose::Wrap, self.chunk, bytes);
            narrow::read(bytes, size, &mut out[..n]);
        } else {
            narrow::read(dealt, size, &mut out[..n]);
        }
    }
}

/// `pub` and `W` of [`super`] for one element.
#[inline(always)]
fn public_terms(m: u64, shift: u32) -> (u64, u64) {
    if shift == 0 {
        return (m, 0);
    }
    let m = m.wrapping_add(1 << 62);
    (
        (m >> shift).wrapping_sub(1 << (62 - shift)),
        (1 - (m >> 63)) << (64 - shift),
    )
}

struct Trunc<'a> {
    common: Common<'a>,
    dealt: &'a [u8],
}

impl Vectorised for Trunc<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { common, dealt } = self;
        let Common {
            plan,
            chunk,
            first,
            m,
            prg,
            ..
        } = common;
        let n = m.len();
        let mut wraps = [0u64; CHUNK];
        common.wraps(1, dealt, &mut wraps);
        let mut out = [0u64; CHUNK];
        let out = &mut out[..n];
        prg.fill(Purpose::Pad, chunk, out);
        let public = if first { u64::MAX } else { 0 };
        for ((o, wrap), m) in out.iter_mut().zip(&wraps).zip(m) {
            let (shifted, factor) = public_terms(*m, plan.shift);
            *o = o
                .wrapping_add(shifted & public)
                .wrapping_add(factor.wrapping_mul(*wrap));
        }
        write_words(out, common.message);
    }
}

struct Select<'a> {
    common: Common<'a>,
    sign_bit: u32,
    hat: &'a Plane,
    dealt: &'a [u8],
}

impl Vectorised for Select<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            common,
            sign_bit,
            hat,
            dealt,
        } = self;
        let Common {
            plan,
            chunk,
            first,
            m,
            prg,
            ..
        } = common;
        let n = m.len();
        let mut shares = [0u64; 2 * CHUNK];
        let shares = &mut shares[..2 * n];
        if first {
            prg.fill(Purpose::Select, chunk, shares);
        } else {
            read_words(&dealt[..16 * n], shares);
        }
        let (a, q) = shares.split_at(n);
        let mut wraps = [0u64; 2 * CHUNK];
        common.wraps(2, dealt.get(16 * n..).unwrap_or_default(), &mut wraps);
        let (when0, when1) = wraps[..2 * n].split_at(n);
        let mut out = [0u64; CHUNK];
        let out = &mut out[..n];
        prg.fill(Purpose::Pad, chunk, out);
        let one = u64::from(first);
        for (j, hat) in hat.iter().enumerate().take(words_of(n)) {
            let range = 64 * j..(64 * j + 64).min(n);
            let lanes = out[range.clone()].iter_mut().zip(&m[range.clone()]);
            let lanes = lanes.zip(&a[range.clone()]).zip(&q[range.clone()]);
            let lanes = lanes.zip(&when0[range.clone()]).zip(&when1[range]);
            for (bit, (((((o, m), a), q), when0), when1)) in lanes.enumerate() {
                // Positive = hat ^ beta; the sign bit of m and the negation are public.
                let b = ((hat >> bit) ^ (m >> sign_bit) ^ 1) & 1;
                let mask = 0u64.wrapping_sub(b);
                let (shifted, factor) = public_terms(*m, plan.shift);
                let a = (a ^ mask).wrapping_sub(mask).wrapping_add(b & one);
                let pad = *o ^ ((*o ^ q) & mask);
                let wrap = when0 ^ ((when0 ^ when1) & mask);
                *o = shifted
                    .wrapping_mul(a)
                    .wrapping_add(pad)
                    .wrapping_add(factor.wrapping_mul(wrap));
            }
        }
        write_words(out, common.message);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::step::deal;
    use ai_link_program::fixed::{BitWindow, Op};
    use proptest::prelude::*;

    /// Runs a step on clear values under random masks and returns the unmasked results.
    fn evaluate(op: &Op, z: &[i64], seed: u8) -> Vec<i64> {
        let plan = StepPlan::new(op, z.len()).unwrap();
        let prg = |i| Prg::from_key([seed.wrapping_add(i); 16]);
        let mut lambda = vec![0; z.len()];
        Prg::from_key([seed ^ 0x55; 16]).fill(Purpose::Input, 0, &mut lambda);
        let m: Vec<u64> = z
            .iter()
            .zip(&lambda)
            .map(|(z, l)| (*z as u64).wrapping_add(*l))
            .collect();
        let (dealt, lambda_out) = deal(&plan, &lambda, [&prg(0), &prg(1)]);
        assert_eq!(dealt.len(), plan.dealt_bytes());
        let start = |index, prg, dealt| Run::start(plan.clone(), index, prg, dealt, m.clone());
        let (mut run0, mut sent0) = start(EvaluatorIndex::ZERO, prg(0), Vec::new());
        let (mut run1, mut sent1) = start(EvaluatorIndex::ONE, prg(1), dealt);
        for round in 0..plan.rounds() {
            assert_eq!(sent0.len(), plan.opened_bytes(round));
            assert_eq!(sent1.len(), plan.opened_bytes(round));
            match (run0.next(&sent1), run1.next(&sent0)) {
                (Progress::Open(a), Progress::Open(b)) => (sent0, sent1) = (a, b),
                (Progress::Done(a), Progress::Done(b)) => {
                    assert_eq!(round + 1, plan.rounds());
                    assert_eq!(a, b);
                    let unmask = |(m, l): (u64, &u64)| m.wrapping_sub(*l) as i64;
                    return a.into_iter().zip(&lambda_out).map(unmask).collect();
                }
                _ => panic!("the evaluators disagree on the number of rounds"),
            }
        }
        panic!("the step did not finish");
    }

    fn boundaries(lo: u8, hi: u8) -> Vec<i64> {
        let (l, h) = (1i64 << lo, 1i64 << hi);
        let mut all = vec![
            0,
            1,
            -1,
            l,
            -l,
            l - 1,
            1 - l,
            l + 1,
            -l - 1,
            h - 1,
            1 - h,
            h / 2,
            -h / 2,
        ];
        all.retain(|z| z.abs() < h);
        all
    }

    fn check_relu(bits: u8, window: BitWindow, z: &[i64], seed: u8) -> Result<(), TestCaseError> {
        let got = evaluate(&Op::Relu { bits, window }, z, seed);
        for (z, got) in z.iter().zip(got) {
            let want = (*z).max(0) >> bits;
            let slack = i64::from(bits > 0);
            let doubtful = z.unsigned_abs() < 1 << window.lo;
            let off = got - want;
            // Truncation is at most one unit above the floor; a doubtful sign may drop it.
            let low = if doubtful && bits > 0 { -1 } else { 0 };
            prop_assert!(
                (low..=slack).contains(&off),
                "relu({z}) >> {bits} in {window:?}: {got}"
            );
        }
        Ok(())
    }

    fn windows() -> impl Strategy<Value = (u8, BitWindow)> {
        (0u8..40, 0u8..40, 1u8..50).prop_map(|(bits, lo, width)| {
            let lo = lo.min(bits);
            (
                bits,
                BitWindow {
                    lo,
                    hi: (lo + width).clamp(bits.max(lo) + 1, 62),
                },
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        fn relu_is_the_clear_formula(
            (bits, window) in windows(), raw in proptest::collection::vec(any::<i64>(), 1..150), seed: u8,
        ) {
            let mut z = boundaries(window.lo, window.hi);
            z.extend(raw.iter().map(|r| r >> (63 - window.hi)).filter(|z| z.abs() < 1 << window.hi));
            check_relu(bits, window, &z, seed)?;
        }

        #[test]
        fn truncation_is_at_most_one_above_the_floor(
            bits in 1u8..=62, raw in proptest::collection::vec(any::<i64>(), 1..150), seed: u8,
        ) {
            let mut z = boundaries(bits - 1, 62);
            z.extend(raw.iter().map(|r| r >> 1).filter(|z| z.abs() < 1 << 62));
            let got = evaluate(&Op::Trunc { bits }, &z, seed);
            for (z, got) in z.iter().zip(got) {
                let off = got - (z >> bits);
                prop_assert!((0..=1).contains(&off), "{z} >> {bits} became {got}");
            }
        }

        #[test]
        fn exact_windows_decide_exactly(
            hi in 1u8..=63, raw in proptest::collection::vec(any::<i64>(), 1..150), seed: u8,
        ) {
            let mut z = boundaries(0, hi.min(62));
            z.extend(raw.iter().map(|r| r >> (63 - hi)).filter(|z| *z != i64::MIN));
            z.retain(|z| hi == 63 || z.abs() < 1 << hi);
            let window = BitWindow { lo: 0, hi };
            let got = evaluate(&Op::Max { window }, &z, seed);
            let want: Vec<i64> = z.iter().map(|z| (*z).max(0)).collect();
            prop_assert_eq!(got, want);
        }
    }

    #[test]
    fn many_chunks_and_a_ragged_tail() {
        let window = BitWindow { lo: 16, hi: 46 };
        for n in [1, 63, 64, 65, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 77] {
            let z: Vec<i64> = (0..n as i64)
                .map(|i| (i - n as i64 / 2) * 0x1_2345_6789 % (1 << 46))
                .collect();
            check_relu(16, window, &z, 3).unwrap();
        }
    }

    #[test]
    fn costs_of_the_usual_window() {
        let op = Op::Relu {
            bits: 16,
            window: BitWindow { lo: 16, hi: 46 },
        };
        let plan = StepPlan::new(&op, 64_000).unwrap();
        assert_eq!(plan.rounds(), 4);
        let online: usize = (0..4).map(|round| plan.opened_bytes(round)).sum();
        assert_eq!(
            (plan.dealt_bytes() * 8 / 64_000, online * 8 / 64_000),
            (275, 87)
        );
    }
}
