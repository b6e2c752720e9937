//! A polynomial per segment, with no comparison and in one round.
//!
//! With segments of `2^s` units, `z = m - lambda` is cut into a segment and what is left of it by
//! cutting `m` and `lambda` apart, each at its place:
//!
//! ```text
//! u   = (m >> s) - (lambda >> s)  mod 2^n           x = m mod 2^s
//! low = x - k                                       k = lambda mod 2^s
//! ```
//!
//! `z = u 2^s + low` holds exactly, with `low` in `(-2^s, 2^s)`: `u` is the segment of `z`, or the
//! next one if the difference borrows. Nobody needs to know which: coefficients are good for both
//! ([`Op::Table`](ai_link_program::fixed::Op::Table)). This saves the comparison.
//!
//! The dealer shares the vectors `H_e`, which are `(-k)^e` at the place `(lambda >> s) mod 2^n` and
//! zero elsewhere (a one-time truth table that is scaled: Ishai, Kushilevitz, Meldgaard, Orlandi
//! and Paskin-Cherniavsky, TCC 2013), for `e` up to the degree `D`. By the binomial theorem
//!
//! ```text
//! y = sum_d C[u][d] (x - k)^d = sum_e sum_v H_e[v] T_e[u_m - v],
//! T_e[u] = sum_d C[u][d] binom(d, e) x^(d - e),                    u_m = (m >> s) mod 2^n
//! ```
//!
//! which is linear in what is shared: an inner product with coefficients that are turned and shifted
//! by public `m`. Evaluators open it under a pad from seeds, which becomes the new mask.
//!
//! # Two ways to deal the vectors
//! | | dealt bytes an element | evaluator's work an element |
//! |---|---|---|
//! | [`Source::Dealt`]: from seeds and by corrections | `8 (D + 1) 2^n` to the receiver | the inner product |
//! | [`Source::Keys`]: [point functions](super::dpf) | `16 (n + D) + 8` to both | and `2^n (1 + (D + 1) / 2)` blocks of AES |
//!
//! For 64 segments and degree 2, 1536 bytes or 136. Keys are for two evaluators only, and always
//! better there; the other way is for more. Online it is 8 bytes an element either way.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::dpf::{Dpf, Forest, MAX_VALUES};
use super::ggm::{Side, read_roots};
use super::material::Material;
use super::opening::RingOpening;
use super::{Dealt, Progress, Protocol, Run, Seat, Seeds};
use crate::buffers::{give_words, take_bytes, take_words};
use crate::kernels::{Isa, Vectorised, dispatch};
use crate::planes::{CHUNK, for_chunks, write_words};
use crate::prg::{Prg, Purpose};

/// Segments that are worked on together.
const LANES: usize = 8;

/// Words of dealt vectors that are in memory at once, in each thread, besides messages.
const VECTOR_WORDS: usize = 1 << 15;

/// A step that evaluates a polynomial per segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    elements: usize,
    segment_bits: u32,
    index_bits: u32,
    /// Degree and one.
    values: usize,
    source: Source,
    /// Per power, the coefficients of segments 0, -1, -2... twice over, so that any `2^n` in a row
    /// are those of `u_m - v` for some `u_m` and all `v`.
    turned: Arc<[u64]>,
}

/// Where shares of the vectors come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Expanded from seeds, by all but the receiver, who is sent the rest.
    Dealt,
    /// Grown from keys, by two evaluators.
    Keys,
}

impl Table {
    /// `coefficients` are `2^index_bits` rows, of up to [`MAX_VALUES`] each.
    pub(crate) fn new(
        elements: usize,
        segment_bits: u8,
        index_bits: u8,
        coefficients: &[i64],
        source: Source,
    ) -> Self {
        let segments = 1usize << index_bits;
        let values = coefficients.len() / segments;
        debug_assert!((1..=MAX_VALUES).contains(&values));
        let turned = (0..values)
            .flat_map(|d| {
                let segment = |i: usize| i.wrapping_neg() % segments;
                (0..2 * segments).map(move |i| coefficients[segment(i) * values + d] as u64)
            })
            .collect();
        Self {
            elements,
            segment_bits: segment_bits.into(),
            index_bits: index_bits.into(),
            values,
            source,
            turned,
        }
    }

    fn segments(&self) -> usize {
        1 << self.index_bits
    }

    /// Words of all vectors of an element.
    fn words(&self) -> usize {
        self.values << self.index_bits
    }

    fn dpf(&self) -> Dpf {
        Dpf::new(self.index_bits, self.values)
    }

    /// Elements that are worked on together.
    fn chunk(&self) -> usize {
        match self.source {
            Source::Keys => CHUNK,
            Source::Dealt => (VECTOR_WORDS / self.words()).min(CHUNK),
        }
    }

    fn element_bytes(&self, seat: Seat) -> usize {
        match self.source {
            Source::Keys => self.dpf().key_bytes(),
            Source::Dealt => usize::from(seat.receives()) * 8 * self.words(),
        }
    }

    /// What is left of a value within its segment.
    fn low(&self, value: u64) -> u64 {
        value & ((1 << self.segment_bits) - 1)
    }
}

impl Protocol for Table {
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
        let size = self.element_bytes(Seat::new(
            seeds.receiver(),
            seeds.evaluators(),
            seeds.receiver(),
        ));
        let mut message = take_bytes(size * self.elements);
        let mut mask = take_words(self.elements);
        let chunks = masks[0]
            .chunks(self.chunk())
            .zip(mask.chunks_mut(self.chunk()))
            .zip(message.chunks_mut(size * self.chunk()))
            .collect();
        for_chunks(
            chunks,
            || Zeroizing::new(Vec::new()),
            |scratch, chunk, ((lambda, mask), message)| {
                let chunk = chunk as u32;
                seeds.sum(Purpose::Pad, chunk, mask);
                match self.source {
                    Source::Keys => self.deal_keys(chunk, lambda, seeds, message),
                    Source::Dealt => {
                        scratch.resize(VECTOR_WORDS.max(self.words()), 0);
                        let shares = &mut scratch[..lambda.len() * self.words()];
                        seeds.expanded_sum(Purpose::Vectors, chunk, shares);
                        let correct = Correct {
                            plan: self,
                            lambda,
                            shares,
                        };
                        dispatch(Isa::best(), correct);
                        write_words(shares, message);
                    }
                }
            },
        );
        match self.source {
            Source::Dealt => Dealt::to_receiver(seeds, message, mask),
            Source::Keys => {
                let mut other = take_bytes(message.len());
                other.copy_from_slice(&message);
                let messages = vec![message, other];
                Dealt { messages, mask }
            }
        }
    }

    fn start(
        &self,
        seat: Seat,
        prg: Prg,
        dealt: Vec<u8>,
        operands: Vec<Vec<u64>>,
    ) -> (Box<dyn Run>, Vec<u8>) {
        let stride = self.chunk() * self.element_bytes(seat);
        let material = Material::new(seat, prg, dealt, stride);
        let mut message = take_bytes(8 * self.elements);
        let mut share = take_words(self.elements);
        let chunks = message
            .chunks_mut(8 * self.chunk())
            .zip(share.chunks_mut(self.chunk()))
            .zip(operands[0].chunks(self.chunk()))
            .collect();
        for_chunks(
            chunks,
            || Scratch::new(self),
            |scratch, chunk, ((message, share), m)| {
                material.prg.fill(Purpose::Pad, chunk as u32, share);
                self.evaluate(&material, chunk, m, scratch, share);
                write_words(share, message);
            },
        );
        operands.into_iter().for_each(give_words);
        (Box::new(Looking(RingOpening::new(share))), message)
    }
}

struct Looking(RingOpening);

impl Run for Looking {
    fn next(&mut self, theirs: Vec<Vec<u8>>) -> Progress {
        Progress::Done(self.0.finish(theirs))
    }
}

/// Room for shares of vectors.
enum Scratch {
    Words(Zeroizing<Vec<u64>>),
    Forest(Forest),
}

impl Scratch {
    fn new(plan: &Table) -> Self {
        match plan.source {
            Source::Dealt => Self::Words(Vec::new().into()),
            Source::Keys => Self::Forest(Forest::new()),
        }
    }
}

impl Table {
    fn deal_keys(&self, chunk: u32, lambda: &[u64], seeds: Seeds<'_>, message: &mut [u8]) {
        let n = lambda.len();
        let roots = [0, 1].map(|index| read_roots(seeds.prgs[index], chunk, n));
        let mut spare = vec![0; n];
        seeds.prgs[0].fill(Purpose::Spare, chunk, &mut spare);
        let shifted = lambda.iter().map(|lambda| lambda >> self.segment_bits);
        let alpha = Zeroizing::new(shifted.collect::<Vec<u64>>());
        // Powers of -k, value by value.
        let mut powers = Zeroizing::new(vec![1u64; n * self.values]);
        for at in n..n * self.values {
            let k = self.low(lambda[at % n]);
            powers[at] = powers[at - n].wrapping_mul(k.wrapping_neg());
        }
        let payload: Vec<&[u64]> = powers.chunks(n).collect();
        let roots = [roots[0].as_slice(), roots[1].as_slice()];
        self.dpf().deal(&alpha, &payload, roots, &spare, message);
    }

    /// Adds shares of the polynomials at the elements of a chunk to `share`.
    fn evaluate(
        &self,
        material: &Material,
        chunk: usize,
        m: &[u64],
        scratch: &mut Scratch,
        share: &mut [u64],
    ) {
        let mut add = |i: usize, vectors: &[u64]| {
            let product = Product {
                plan: self,
                m: m[i],
                vectors,
            };
            share[i] = share[i].wrapping_add(dispatch(Isa::best(), product));
        };
        match scratch {
            Scratch::Words(words) => {
                let at = (0, m.len() * self.words());
                let words = material.words(Purpose::Vectors, chunk, at, words);
                let vectors = words.chunks(self.words()).enumerate();
                vectors.for_each(|(i, vectors)| add(i, vectors));
            }
            Scratch::Forest(forest) => {
                let side = match material.seat.index {
                    0 => Side::Zero,
                    _ => Side::One,
                };
                let roots = read_roots(&material.prg, chunk as u32, m.len());
                let keys = material.dealt(chunk);
                self.dpf().evaluate(side, &roots, keys, forest, add);
            }
        }
    }
}

/// Turns expanded shares of the vectors of a chunk into corrections.
struct Correct<'a> {
    plan: &'a Table,
    lambda: &'a [u64],
    shares: &'a mut [u64],
}

impl Vectorised for Correct<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let plan = self.plan;
        let segments = plan.segments();
        let vectors = self.shares.chunks_exact_mut(plan.words());
        for (vectors, lambda) in vectors.zip(self.lambda) {
            let place = (lambda >> plan.segment_bits) & (segments as u64 - 1);
            let minus_k = plan.low(*lambda).wrapping_neg();
            let mut power = 1u64;
            for vector in vectors.chunks_exact_mut(segments) {
                for (v, share) in vector.iter_mut().enumerate() {
                    // All ones where v is the secret place: zero less one.
                    let here = 0u64.wrapping_sub(((v as u64 ^ place).wrapping_sub(1)) >> 63);
                    *share = (power & here).wrapping_sub(*share);
                }
                power = power.wrapping_mul(minus_k);
            }
        }
    }
}

/// A share of the polynomial at one element: the inner product of shared vectors and of what public
/// `m` makes of the coefficients.
struct Product<'a> {
    plan: &'a Table,
    m: u64,
    vectors: &'a [u64],
}

impl Vectorised for Product<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        match self.plan.values {
            1 => self.sum::<1>(),
            2 => self.sum::<2>(),
            3 => self.sum::<3>(),
            _ => self.sum::<4>(),
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn sum<const VALUES: usize>(&self) -> u64 {
        let plan = self.plan;
        let segments = plan.segments();
        let x = plan.low(self.m);
        let u = (self.m >> plan.segment_bits) as usize & (segments - 1);
        let rows: [&[u64]; VALUES] =
            std::array::from_fn(|d| &plan.turned[(2 * d + 1) * segments - u..][..segments]);
        let vectors: [&[u64]; VALUES] =
            std::array::from_fn(|e| &self.vectors[e * segments..][..segments]);
        // Arrays of fixed size vectorise; what is left over are tables of fewer segments than that.
        let (rows_of_8, rows_left) = split(rows);
        let (vectors_of_8, vectors_left) = split(vectors);
        let mut sums = [0u64; LANES];
        for at in 0..segments / LANES {
            let t = shifted(rows_of_8.map(|row| row[at]), x);
            for (t, vectors) in t.iter().zip(vectors_of_8) {
                let lanes = sums.iter_mut().zip(t).zip(&vectors[at]);
                lanes.for_each(|((sum, t), h)| *sum = sum.wrapping_add(t.wrapping_mul(*h)));
            }
        }
        let mut sum = sums.into_iter().fold(0, u64::wrapping_add);
        for at in 0..segments % LANES {
            let t = shifted(rows_left.map(|row| [row[at]]), x);
            for ([t], vector) in t.iter().zip(vectors_left) {
                sum = sum.wrapping_add(t.wrapping_mul(vector[at]));
            }
        }
        sum
    }
}

/// Whole groups of lanes, and the rest.
#[inline(always)]
fn split<const VALUES: usize>(
    all: [&[u64]; VALUES],
) -> ([&[[u64; LANES]]; VALUES], [&[u64]; VALUES]) {
    let parts = all.map(|words| words.as_chunks::<LANES>());
    (parts.map(|(groups, _)| groups), parts.map(|(_, rest)| rest))
}

/// Coefficients of `sum_d c[d] (x + X)^d` as a polynomial in `X`, for a number of segments at once.
#[inline(always)]
fn shifted<const VALUES: usize, const N: usize>(
    c: [[u64; N]; VALUES],
    x: u64,
) -> [[u64; N]; VALUES] {
    let mut t = c;
    // Horner's rule once for every coefficient of the result.
    for done in 0..VALUES {
        for d in (done..VALUES - 1).rev() {
            let above = t[d + 1];
            let lanes = t[d].iter_mut().zip(above);
            lanes.for_each(|(t, above)| *t = t.wrapping_add(above.wrapping_mul(x)));
        }
    }
    t
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::tests::evaluate;
    use proptest::prelude::*;

    /// The mask that [`evaluate`] puts on element `i`.
    fn masks(n: usize, seed: u8) -> Vec<u64> {
        let mut lambda = vec![0; n];
        Prg::from_key([seed ^ 0x55; 16]).fill(Purpose::Input, 0, &mut lambda);
        lambda
    }

    /// The polynomial that the definition picks: `u` if `z mod 2^s + lambda mod 2^s` carries not,
    /// else `u + 1`.
    fn clear(coefficients: &[i64], s: u8, n: u8, z: i64, lambda: u64) -> (i64, bool) {
        let unit = 1u64 << s;
        let carries = (z as u64 % unit) + (lambda % unit) >= unit;
        let u = (z >> s) + i64::from(carries);
        let low = (z - (u << s)) as u64;
        let row = coefficients.len() >> n;
        let at = u.rem_euclid(1 << n) as usize * row;
        let y = coefficients[at..at + row]
            .iter()
            .rev()
            .fold(0u64, |y, c| y.wrapping_mul(low).wrapping_add(*c as u64));
        (y as i64, carries)
    }

    fn check(
        (s, n): (u8, u8),
        coefficients: &[i64],
        z: &[i64],
        (source, evaluators): (Source, usize),
        seed: u8,
    ) -> Vec<i64> {
        let plan = Table::new(z.len(), s, n, coefficients, source);
        let got = evaluate(&plan, &[z], evaluators, seed);
        let lambda = masks(z.len(), seed);
        for ((z, got), lambda) in z.iter().zip(&got).zip(lambda) {
            let (want, _) = clear(coefficients, s, n, *z, lambda);
            assert_eq!(*got, want, "{source:?}, s = {s}, n = {n}, z = {z}");
        }
        got
    }

    /// Values in, around and at the ends of segments.
    fn values(s: u8, n: u8, raw: &[i64]) -> Vec<i64> {
        let unit = 1i64 << s;
        let end = (1i64 << (s + n - 1)) - unit;
        let mut all = vec![0, 1, -1, unit, -unit, unit - 1, 1 - unit, end - 1, 1 - end];
        all.extend(raw.iter().map(|r| r >> (64 - s - n)));
        all.retain(|z| z.abs() < end.max(1));
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn any_table_is_the_clear_formula(
            s in 0u8..50, n in 1u8..=8, degree in 0usize..4, evaluators in 2usize..5, seed: u8,
            raw in proptest::collection::vec(any::<i64>(), 1..90),
            numbers in proptest::collection::vec(any::<i64>(), 4 << 8),
        ) {
            let z = values(s, n, &raw);
            let coefficients = &numbers[..(degree + 1) << n];
            check((s, n), coefficients, &z, (Source::Dealt, evaluators), seed);
            check((s, n), coefficients, &z, (Source::Keys, 2), seed);
        }
    }

    #[test]
    fn both_neighbours_are_taken() {
        let z: Vec<i64> = (0..500).map(|i| i * 37 - 9000).collect();
        let lambda = masks(z.len(), 3);
        let lanes = z.iter().zip(lambda);
        let carried = lanes
            .filter(|(z, l)| clear(&[0; 64], 10, 6, **z, *l).1)
            .count();
        assert!((100..400).contains(&carried), "{carried}");
        let coefficients: Vec<i64> = (0..64).collect();
        check((10, 6), &coefficients, &z, (Source::Keys, 2), 3);
    }

    #[test]
    fn many_chunks_and_a_ragged_tail() {
        let coefficients: Vec<i64> = (0..192).map(|i| i * i * 977 - 5000).collect();
        for source in [Source::Dealt, Source::Keys] {
            let chunk = Table::new(1, 10, 6, &coefficients, source).chunk();
            assert_eq!(chunk, if source == Source::Keys { CHUNK } else { 170 });
            for n in [1, 7, 8, 9, 65, chunk - 1, chunk, chunk + 1, 3 * chunk + 77] {
                let z: Vec<i64> = (0..n as i64)
                    .map(|i| (i * 7919) % 60_000 - 30_000)
                    .collect();
                check((10, 6), &coefficients, &z, (source, 2), n as u8);
            }
        }
    }

    /// Rows of Taylor polynomials of second degree around the start of each segment, for a function
    /// of `z / 2^f`, with results of `f` bits after a shift by `2 f`.
    fn taylor(f: u8, s: u8, n: u8, of: impl Fn(f64) -> f64) -> Vec<i64> {
        let (scale, h) = (f64::from(1 << f), 1e-4);
        (0..1i64 << n)
            .flat_map(|v| {
                let segment = if v < 1 << (n - 1) { v } else { v - (1 << n) };
                let x = (segment << s) as f64 / scale;
                let (a, b, c) = (of(x - h), of(x), of(x + h));
                let (first, second) = ((c - a) / (2.0 * h), (a - 2.0 * b + c) / (h * h));
                // In units of 2^-3f, of z in units of 2^-f.
                let bits = |d: i32| scale.powi(3 - d);
                [b * bits(0), first * bits(1), second / 2.0 * bits(2)].map(|c| c.round() as i64)
            })
            .collect()
    }

    #[test]
    fn functions_evaluated_under_masks_are_the_clear_formula_and_close() {
        type Case = (&'static str, fn(f64) -> f64, f64, f64);
        // Name, function, and the ends of where it is used.
        let cases: [Case; 4] = [
            ("sigmoid", |x| 1.0 / (1.0 + (-x).exp()), -7.0, 7.0),
            ("tanh", f64::tanh, -7.0, 7.0),
            ("exp", |x| x.min(0.5).exp(), -7.0, 0.0),
            ("reciprocal", |x| 1.0 / x.max(0.5), 1.0, 7.0),
        ];
        let (f, s, n) = (12, 10, 6);
        for (name, of, from, to) in cases {
            let coefficients = taylor(f, s, n, of);
            let scale = f64::from(1 << f);
            let count = 700;
            let at = |i: i32| from + (to - from) * f64::from(i) / f64::from(count - 1);
            let z: Vec<i64> = (0..count).map(|i| (at(i) * scale) as i64).collect();
            for source in [Source::Dealt, Source::Keys] {
                let got = check((s, n), &coefficients, &z, (source, 2), 77);
                for (z, got) in z.iter().zip(got) {
                    let want = of(*z as f64 / scale);
                    let got = got as f64 / scale.powi(3);
                    // Third derivatives are at most 6, segments a quarter long.
                    assert!((got - want).abs() < 0.016, "{name}({z}): {got}, not {want}");
                }
            }
        }
    }

    #[test]
    fn costs() {
        let coefficients = vec![0; 192];
        let seat = |index| Seat::new(index, 2, 1);
        let dealt = Table::new(10, 10, 6, &coefficients, Source::Dealt);
        assert_eq!([0, 1].map(|i| dealt.dealt_bytes(seat(i))), [0, 15_360]);
        let keys = Table::new(10, 10, 6, &coefficients, Source::Keys);
        assert_eq!([0, 1].map(|i| keys.dealt_bytes(seat(i))), [1_360, 1_360]);
        assert_eq!((keys.rounds(), keys.opened_bytes(0)), (1, 80));
    }
}
