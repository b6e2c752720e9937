//! ReLU with a shift, maximum and sign in one round, by function secret sharing.
//!
//! As [`super::select`], but the borrow `c = [m_w < lambda_w]` out of the window's bits comes from a
//! [distributed comparison](super::dcf): shares of `c` times whatever the dealer chose, with no
//! message. Let `g` be the bit of lambda above the window, `e` = not the bit of `m` there (public),
//! so that `b = e ^ g ^ c` is 1 iff `z >= 0`. As integers
//!
//! ```text
//! e = 0:  b =     g + (1 - 2 g) c
//! e = 1:  b = 1 - g - (1 - 2 g) c
//! ```
//!
//! so with the payload `(1 - 2 g) (1, L, mu)` everything that ReLU needs is a public combination of
//! the comparison's shares `P` and of functions of lambda that are dealt as usual. With `L`, `mu`,
//! `pub`, `W` as for [truncation](super::trunc), pad `p` from seeds and `lambda_out = p + g L`,
//! evaluators open
//!
//! ```text
//! e = 0:  pub (g + P0)     - P1 + W (g mu + P2)       + p
//! e = 1:  pub (1 - g - P0) + P1 + W ((1 - g) mu - P2) + q,     q = p + (2 g - 1) L
//! ```
//!
//! Dealt besides the keys: `g`, `q`, and the low `f` bits of `g mu` and `(1 - g) mu`, to the
//! receiver. `g` here is what the mask of the tree's root is in [`super::select`].
//!
//! The sign alone needs the payload `1 - 2 g`; with `lambda_out = p - g` evaluators open `P0 + p`
//! where e = 0, and `1 - P0 + q`, `q = p - 2 g`, where e = 1.
//!
//! # Cost
//! One round, 8 bytes online an element. For a window of 31 bits and a shift by 16, 1066 bytes are
//! dealt to **both** evaluators and 20 more to the receiver; an evaluator computes 89 blocks of AES
//! an element, the dealer 364. The maximum: 1000 bytes, 59 and 240 blocks; the sign: 736 bytes, as
//! many blocks. The tree of [`super::sign`] deals 34 bytes and takes four rounds: this here is for
//! layers that are small, on links that are slow.
//!
//! For two evaluators only: more would need keys that no efficient construction has.

use zeroize::Zeroizing;

use super::dcf::{Dcf, PARTS, Payload};
use super::ggm::{Side, read_roots};
use super::material::Material;
use super::narrow::Width;
use super::opening::RingOpening;
use super::sign::window;
use super::trunc::public_terms;
use super::{Dealt, Progress, Protocol, Run, Seat, Seeds};
use crate::buffers::{give_words, take_bytes, take_words};
use crate::kernels::{Isa, Vectorised, dispatch};
use crate::planes::{CHUNK, for_chunks, write_words};
use crate::prg::{Prg, Purpose};

/// A step whose sign is computed by a distributed comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fss {
    elements: usize,
    /// First bit of the window.
    lo: u32,
    dcf: Dcf,
    result: Output,
}

/// What is made of the sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// `z >> shift` where z is not negative, else zero.
    Selected { shift: u32, wraps: Width },
    /// 1 where z is not negative, else zero.
    Sign,
}

impl Output {
    fn payload(self) -> Payload {
        match self {
            Self::Selected { wraps, .. } => Payload {
                words: 2,
                narrow: wraps,
            },
            Self::Sign => Payload {
                words: 1,
                narrow: Width::None,
            },
        }
    }

    /// Bytes of corrections per element besides the keys.
    fn terms(self) -> usize {
        match self {
            Self::Selected { wraps, .. } => 16 + 2 * wraps.bytes(),
            Self::Sign => 8,
        }
    }
}

impl Fss {
    /// `relu(z) >> bits`, with the sign from bits `lo..hi` as in [`super::sign::SignPlan`].
    pub(crate) fn select(elements: usize, bits: u8, lo: u8, hi: u8) -> Self {
        let shift = u32::from(bits);
        let wraps = Width::of_bits(shift);
        Self::new(elements, lo, hi, Output::Selected { shift, wraps })
    }

    /// Whether z is not negative.
    pub(crate) fn sign(elements: usize, lo: u8, hi: u8) -> Self {
        Self::new(elements, lo, hi, Output::Sign)
    }

    fn new(elements: usize, lo: u8, hi: u8, result: Output) -> Self {
        let (lo, width) = window(lo, hi);
        Self {
            elements,
            lo,
            dcf: Dcf::new(width, result.payload()),
            result,
        }
    }

    /// Index of the bit above the window.
    fn sign_bit(&self) -> u32 {
        self.lo + self.dcf.width()
    }

    /// Bytes dealt per element to the evaluator in `seat`.
    fn element_bytes(&self, seat: Seat) -> usize {
        self.dcf.key_bytes() + usize::from(seat.receives()) * self.result.terms()
    }
}

impl Protocol for Fss {
    fn rounds(&self) -> usize {
        1
    }

    fn dealt_bytes(&self, seat: Seat) -> usize {
        self.elements * self.element_bytes(seat)
    }

    fn opened_bytes(&self, _round: usize) -> usize {
        8 * self.elements
    }

    fn deal(&self, masks: &[&[u64]], seeds: Seeds<'_>) -> Dealt {
        let sizes = [0, 1].map(|index| self.element_bytes(Seat::new(index, 2, seeds.receiver())));
        let mut messages = sizes.map(|size| take_bytes(size * self.elements));
        let mut mask = take_words(self.elements);
        let [zero, one] = &mut messages;
        let chunks = masks[0]
            .chunks(CHUNK)
            .zip(mask.chunks_mut(CHUNK))
            .zip(zero.chunks_mut(CHUNK * sizes[0]))
            .zip(one.chunks_mut(CHUNK * sizes[1]))
            .collect();
        for_chunks(
            chunks,
            || (),
            |(), chunk, (((lambda, mask), zero), one)| {
                let chunk = chunk as u32;
                self.deal_keys(chunk, lambda, seeds, zero);
                let keys = lambda.len() * self.dcf.key_bytes();
                one[..keys].copy_from_slice(&zero[..keys]);
                let received = if seeds.receiver() == 0 { zero } else { one };
                let terms = DealTerms {
                    plan: self,
                    chunk,
                    lambda,
                    seeds,
                    message: &mut received[keys..],
                    mask,
                };
                dispatch(Isa::best(), terms);
            },
        );
        Dealt {
            messages: messages.into(),
            mask,
        }
    }

    fn start(
        &self,
        seat: Seat,
        prg: Prg,
        dealt: Vec<u8>,
        operands: Vec<Vec<u64>>,
    ) -> (Box<dyn Run>, Vec<u8>) {
        let material = Material::new(seat, prg, dealt, CHUNK * self.element_bytes(seat));
        let mut message = take_bytes(8 * self.elements);
        let mut share = take_words(self.elements);
        let chunks = message
            .chunks_mut(8 * CHUNK)
            .zip(share.chunks_mut(CHUNK))
            .zip(operands[0].chunks(CHUNK))
            .collect();
        for_chunks(
            chunks,
            Room::default,
            |room, chunk, ((message, share), m)| {
                self.open(&material, chunk, m, room, share);
                write_words(share, message);
            },
        );
        operands.into_iter().for_each(give_words);
        (Box::new(Opening(RingOpening::new(share))), message)
    }
}

/// Room for this evaluator's shares of a chunk.
#[derive(Default)]
struct Room {
    parts: [Zeroizing<Vec<u64>>; PARTS],
    terms: Zeroizing<Vec<u64>>,
    wraps: Zeroizing<Vec<u64>>,
    wrap_bytes: Zeroizing<Vec<u8>>,
}

impl Fss {
    /// Writes the keys of a chunk to the start of `message`.
    fn deal_keys(&self, chunk: u32, lambda: &[u64], seeds: Seeds<'_>, message: &mut [u8]) {
        let n = lambda.len();
        let roots = [0, 1].map(|index| read_roots(seeds.prgs[index], chunk, n));
        let mut spare = vec![0; n];
        seeds.prgs[0].fill(Purpose::Spare, chunk, &mut spare);
        let mut alpha = Zeroizing::new(vec![0; n]);
        let mut payload = [(); PARTS].map(|()| Zeroizing::new(vec![0; n]));
        let shift = match self.result {
            Output::Selected { shift, .. } => shift,
            Output::Sign => 0,
        };
        let [ones, shifted, wraps] = &mut payload;
        let lanes = alpha.iter_mut().zip(lambda).zip(ones.iter_mut());
        for (((alpha, lambda), one), (shifted, wrap)) in
            lanes.zip(shifted.iter_mut().zip(wraps.iter_mut()))
        {
            *alpha = lambda >> self.lo;
            let sign = 1u64.wrapping_sub(2 * ((lambda >> self.sign_bit()) & 1));
            *one = sign;
            *shifted = sign.wrapping_mul(lambda >> shift);
            *wrap = sign.wrapping_mul(lambda >> 63);
        }
        let payload = [0, 1, 2].map(|part: usize| payload[part].as_slice());
        let keys = &mut message[..n * self.dcf.key_bytes()];
        let roots = [roots[0].as_slice(), roots[1].as_slice()];
        self.dcf.deal(&alpha, payload, roots, &spare, keys);
    }

    /// Fills `share` with this evaluator's shares of what is opened of a chunk.
    fn open(
        &self,
        material: &Material,
        chunk: usize,
        m: &[u64],
        room: &mut Room,
        share: &mut [u64],
    ) {
        let n = m.len();
        let Room {
            parts: [p0, p1, p2],
            terms,
            wraps,
            wrap_bytes,
        } = room;
        for part in [&mut *p0, &mut *p1, &mut *p2] {
            part.resize(n, 0);
        }
        self.compare(material, chunk, m, [p0, p1, p2]);
        material.prg.fill(Purpose::Pad, chunk as u32, share);
        let skip = n * self.dcf.key_bytes();
        let leads = material.seat.leads();
        let sign_bit = self.sign_bit();
        let isa = Isa::best();
        match self.result {
            Output::Selected {
                shift,
                wraps: width,
            } => {
                let at = (skip + 16 * n, 2 * n * width.bytes());
                let bytes = material.bytes(Purpose::Wrap, chunk, at, wrap_bytes);
                wraps.resize(2 * n, 0);
                width.read_with(bytes, wraps, |o, x| *o = x);
                let terms = material.words(Purpose::Select, chunk, (skip, 2 * n), terms);
                let open = OpenSelected {
                    shift,
                    sign_bit,
                    leads,
                    m,
                    parts: [p0, p1, p2],
                    terms,
                    wraps,
                    share,
                };
                dispatch(isa, open);
            }
            Output::Sign => {
                let q = material.words(Purpose::Select, chunk, (skip, n), terms);
                let open = OpenSign {
                    sign_bit,
                    leads,
                    m,
                    part: p0,
                    q,
                    share,
                };
                dispatch(isa, open);
            }
        }
    }

    /// This evaluator's shares of the comparison of a chunk times its payload.
    fn compare(&self, material: &Material, chunk: usize, m: &[u64], out: [&mut [u64]; PARTS]) {
        let side = match material.seat.index {
            0 => Side::Zero,
            _ => Side::One,
        };
        let roots = read_roots(&material.prg, chunk as u32, m.len());
        let x: Vec<u64> = m.iter().map(|m| m >> self.lo).collect();
        let keys = &material.dealt(chunk)[..m.len() * self.dcf.key_bytes()];
        self.dcf.evaluate(side, &x, &roots, keys, out);
    }
}

struct Opening(RingOpening);

impl Run for Opening {
    fn next(&mut self, theirs: Vec<Vec<u8>>) -> Progress {
        Progress::Done(self.0.finish(theirs))
    }
}

/// What is dealt of a chunk besides keys, less the shares that are expanded; and the new mask.
struct DealTerms<'a> {
    plan: &'a Fss,
    chunk: u32,
    lambda: &'a [u64],
    seeds: Seeds<'a>,
    message: &'a mut [u8],
    mask: &'a mut [u64],
}

impl Vectorised for DealTerms<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            plan,
            chunk,
            lambda,
            seeds,
            message,
            mask,
        } = self;
        let n = lambda.len();
        let sign_bit = plan.sign_bit();
        seeds.sum(Purpose::Pad, chunk, mask);
        let mut shares = [0u64; 2 * CHUNK];
        let Output::Selected { shift, wraps } = plan.result else {
            let q = &mut shares[..n];
            seeds.expanded_sum(Purpose::Select, chunk, q);
            for ((q, pad), lambda) in q.iter_mut().zip(mask).zip(lambda) {
                let g = (lambda >> sign_bit) & 1;
                *q = pad.wrapping_sub(2 * g).wrapping_sub(*q);
                *pad = pad.wrapping_sub(g);
            }
            return write_words(q, message);
        };
        let shares = &mut shares[..2 * n];
        seeds.expanded_sum(Purpose::Select, chunk, shares);
        let (a, q) = shares.split_at_mut(n);
        for (((a, q), pad), lambda) in a.iter_mut().zip(q).zip(mask).zip(lambda) {
            let g = (lambda >> sign_bit) & 1;
            let shifted = lambda >> shift;
            let signed = (2 * g).wrapping_sub(1).wrapping_mul(shifted);
            *a = g.wrapping_sub(*a);
            *q = pad.wrapping_add(signed).wrapping_sub(*q);
            *pad = pad.wrapping_add(g.wrapping_mul(shifted));
        }
        let (words, narrow) = message.split_at_mut(16 * n);
        write_words(shares, words);
        if narrow.is_empty() {
            return;
        }
        let mut both = [0u64; 2 * CHUNK];
        let both = &mut both[..2 * n];
        let (when0, when1) = both.split_at_mut(n);
        for ((u, v), lambda) in when0.iter_mut().zip(when1).zip(lambda) {
            let g = (lambda >> sign_bit) & 1;
            let mu = lambda >> 63;
            *u = g & mu;
            *v = !g & mu;
        }
        seeds.expanded_bytes(Purpose::Wrap, chunk, narrow, |bytes| {
            wraps.read_with(bytes, both, |w, share| *w = w.wrapping_sub(share));
        });
        wraps.write(both, narrow);
    }
}

/// A chunk's share of the opening of a sign. Pads are in `share`.
struct OpenSign<'a> {
    sign_bit: u32,
    leads: bool,
    m: &'a [u64],
    /// Shares of the comparison times its payload.
    part: &'a [u64],
    q: &'a [u64],
    share: &'a mut [u64],
}

impl Vectorised for OpenSign<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let one = u64::from(self.leads);
        let lanes = self.share.iter_mut().zip(self.m);
        for (((o, m), q), sign) in lanes.zip(self.q).zip(self.part) {
            let e = !(m >> self.sign_bit) & 1;
            let mask = 0u64.wrapping_sub(e);
            let pad = *o ^ ((*o ^ q) & mask);
            let sign = (sign ^ mask).wrapping_sub(mask);
            *o = pad.wrapping_add(sign).wrapping_add(e & one);
        }
    }
}

/// A chunk's share of the opening of a selected value. Pads are in `share`.
struct OpenSelected<'a> {
    shift: u32,
    sign_bit: u32,
    leads: bool,
    m: &'a [u64],
    /// Shares of the comparison times its payload.
    parts: [&'a [u64]; PARTS],
    /// Shares of `g`, then of `q`.
    terms: &'a [u64],
    /// Shares of `g mu`, then of `(1 - g) mu`.
    wraps: &'a [u64],
    share: &'a mut [u64],
}

impl Vectorised for OpenSelected<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let n = self.m.len();
        let one = u64::from(self.leads);
        let (g, q) = self.terms.split_at(n);
        let (when0, when1) = self.wraps.split_at(n);
        let lanes = self.share.iter_mut().zip(self.m).zip(g.iter().zip(q));
        let lanes = lanes.zip(when0.iter().zip(when1));
        let [p0, p1, p2] = self.parts;
        let parts = p0.iter().zip(p1).zip(p2);
        for ((((o, m), (g, q)), (when0, when1)), ((p0, p1), p2)) in lanes.zip(parts) {
            let e = !(m >> self.sign_bit) & 1;
            let mask = 0u64.wrapping_sub(e);
            let signed = |x: u64| (x ^ mask).wrapping_sub(mask);
            let (shifted, factor) = public_terms(*m, self.shift);
            let b = signed(g.wrapping_add(*p0)).wrapping_add(e & one);
            let pad = *o ^ ((*o ^ q) & mask);
            let wrap = (when0 ^ ((when0 ^ when1) & mask)).wrapping_add(signed(*p2));
            *o = shifted
                .wrapping_mul(b)
                .wrapping_add(pad)
                .wrapping_sub(signed(*p1))
                .wrapping_add(factor.wrapping_mul(wrap));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::positive::Positive;
    use crate::step::select::Select;
    use crate::step::sign::{SignPlan, Tree};
    use crate::step::tests::evaluate;
    use proptest::prelude::*;

    /// Values around zero and around both ends of a window, and `raw` cut down to it.
    fn values(lo: u8, hi: u8, raw: &[i64]) -> Vec<i64> {
        let (l, h) = (1i64 << lo, 1i64 << hi.min(62));
        let mut all = vec![0, 1, -1, l, -l, l - 1, 1 - l, l + 1, -l - 1];
        all.extend([h - 1, 1 - h, h / 2, -h / 2]);
        all.extend(raw.iter().map(|r| r >> (63 - hi)));
        all.retain(|z| *z > -h && *z < h);
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(80))]

        /// The borrow decides in both, so they agree even where either sign will do.
        #[test]
        fn the_result_is_that_of_the_tree(
            bits in 0u8..40, lo in 0u8..40, width in 1u8..50, seed: u8,
            raw in proptest::collection::vec(any::<i64>(), 1..150),
        ) {
            let lo = lo.min(bits);
            let hi = (lo + width).clamp(bits.max(lo) + 1, 62);
            let z = values(lo, hi, &raw);
            let tree = SignPlan::new(lo, hi, Tree::default());
            let select = Select::new(z.len(), bits, tree.clone());
            prop_assert_eq!(
                evaluate(&Fss::select(z.len(), bits, lo, hi), &[&z], 2, seed),
                evaluate(&select, &[&z], 2, seed),
            );
            prop_assert_eq!(
                evaluate(&Fss::sign(z.len(), lo, hi), &[&z], 2, seed),
                evaluate(&Positive::new(z.len(), tree), &[&z], 2, seed),
            );
        }

        #[test]
        fn exact_windows_decide_exactly(
            hi in 1u8..=63, raw in proptest::collection::vec(any::<i64>(), 1..150), seed: u8,
        ) {
            let z = values(0, hi, &raw);
            let relu: Vec<i64> = z.iter().map(|z| (*z).max(0)).collect();
            prop_assert_eq!(evaluate(&Fss::select(z.len(), 0, 0, hi), &[&z], 2, seed), relu);
            let sign: Vec<i64> = z.iter().map(|z| i64::from(*z >= 0)).collect();
            prop_assert_eq!(evaluate(&Fss::sign(z.len(), 0, hi), &[&z], 2, seed), sign);
        }
    }

    #[test]
    fn many_chunks_and_a_ragged_tail() {
        for n in [1, 63, 64, 65, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 77] {
            let z: Vec<i64> = (0..n as i64)
                .map(|i| (i - n as i64 / 2) * 0x1_2345_6789 % (1 << 46))
                .collect();
            let got = evaluate(&Fss::select(n, 16, 16, 46), &[&z], 2, n as u8);
            for (z, got) in z.iter().zip(got) {
                assert!(((z.max(&0) >> 16) - got).abs() <= 1, "{z}: {got}");
            }
            let got = evaluate(&Fss::sign(n, 0, 46), &[&z], 2, n as u8);
            assert!(z.iter().zip(got).all(|(z, got)| i64::from(*z >= 0) == got));
        }
    }

    #[test]
    fn costs_of_the_usual_window() {
        let [zero, one] = [0, 1].map(|index| Seat::new(index, 2, 1));
        let relu = Fss::select(10, 16, 16, 46);
        assert_eq!(relu.dealt_bytes(zero), 10_660);
        assert_eq!(relu.dealt_bytes(one) - relu.dealt_bytes(zero), 200);
        assert_eq!((relu.rounds(), relu.opened_bytes(0)), (1, 80));
        assert_eq!(relu.dcf.blocks(), [89, 364]);
        let sign = Fss::sign(10, 16, 46);
        assert_eq!(sign.dealt_bytes(one) - sign.dealt_bytes(zero), 80);
    }
}
