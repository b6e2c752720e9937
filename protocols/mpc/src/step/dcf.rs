//! Distributed comparison: additive shares of `[x < alpha] * payload` from a public `x`.
//!
//! A *distributed comparison function* splits `f(x) = [x < alpha] * payload` into two keys. Each
//! evaluator computes from its key and a public `x`, alone, a share of `f(x)`; neither key says
//! anything about `alpha` or the payload. So a comparison takes no round at all. The construction is
//! that of Boyle, Chandran, Gilboa, Gupta, Ishai, Kumar and Rathee (*Function Secret Sharing for
//! Mixed-Mode and Fixed-Point Secure Computation*, EUROCRYPT 2021, figure 1): a tree of seeds as in
//! Boyle, Gilboa and Ishai (CCS 2016), where every node carries a value besides, and the values on
//! the path to `x` add up to the result.
//!
//! * A node is a seed `s` and a control bit `t`. Off the path to `alpha` both evaluators have equal
//!   nodes, so the values below cancel. On it, seeds are independent and exactly one has `t = 1`.
//! * Growing a node gives, for each side, a seed, a bit and a value. Who has `t = 1` adds the
//!   level's correction word, which makes the nodes equal where the path to `alpha` is left, and
//!   the sum of the values what it must be there: payload if it is left to the smaller side.
//! * The last two levels are one: a correction of the value for each of the four leaves costs less
//!   than two more correction words (early termination, BGI 2016).
//!
//! Roots come from each evaluator's own seed with the dealer. All correction words are the same for
//! both evaluators, and **both must be sent them**: they depend on both roots.
//!
//! # Payload
//! One or two ring elements, and if wanted one integer of which only the low 8, 16 or 32 bits are
//! right. `P` bytes together, cut from `v = 1` block if there is no narrow part, else 2.
//!
//! # Cost
//! For `w` bits of comparison, per element:
//!
//! | | |
//! |---|---|
//! | bytes of key, to both | `(w - 2) (16 + P) + 4 P + 8` |
//! | blocks of AES, evaluator | `(w - 2) (1 + v) + v` |
//! | blocks of AES, dealer | `4 (w - 2) (1 + v) + 8 v` |
//!
//! 1066 bytes, 89 and 364 blocks for the usual window of 31 bits and `P = 18`.
//!
//! # Layout
//! Keys of a batch lie in groups of [`GROUP`] elements (the last may be smaller), within a group as
//! a structure of arrays: control words (bit `i` is the right-hand control correction of level
//! `i`), then per level the seed corrections (whose lowest bit is the left-hand control correction)
//! and the value corrections, then the value corrections of the leaves.
//!
//! Branches and addresses depend on public `x` at most.

use zeroize::Zeroize;

use std::iter::repeat;

use super::ggm::{
    GROUP, Half, Path, Side, control, controls, halves, hash, negate_if, read_blocks, tweaked, wide,
};
use super::narrow::Width;
use crate::kernels::{Isa, Vectorised, dispatch};
use crate::planes::{read_words, write_words};

/// Levels that end in one table of leaves.
const LEAF_BITS: u32 = 2;
/// First tweak of the leaves; those of inner nodes are below.
const LEAF_TWEAK: u64 = 8;
/// Values of a payload at most.
pub(super) const PARTS: usize = 3;

/// Some numbers for each element of a group.
type Lanes = [u64; GROUP];
/// The payload or the values of a group.
type Parts = [Lanes; PARTS];

/// What a comparison is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    /// Ring elements: 1 or 2.
    pub(super) words: usize,
    /// Width of the narrow part.
    pub(super) narrow: Width,
}

impl Payload {
    fn bytes(self) -> usize {
        8 * self.words + self.narrow.bytes()
    }

    /// Blocks that a value is cut from.
    fn blocks(self) -> usize {
        1 + usize::from(self.narrow != Width::None)
    }

    /// Parts in use, by number: ring elements first, the narrow part is always the last.
    fn parts(self) -> impl Iterator<Item = usize> {
        (0..self.words).chain((self.narrow != Width::None).then_some(PARTS - 1))
    }

    /// Part `part` of `n` values, whose first and second blocks begin `blocks`.
    #[inline(always)]
    fn convert(part: usize, blocks: &[u128], n: usize) -> Lanes {
        let mut out = [0; GROUP];
        match part {
            0 => halves(&blocks[..n], Half::Lower, &mut out),
            1 => halves(&blocks[..n], Half::Upper, &mut out),
            _ => halves(&blocks[n..2 * n], Half::Lower, &mut out),
        }
        out
    }

    /// Where part `part` lies in the corrections of `n` values, and its width.
    fn place(self, part: usize, n: usize) -> (std::ops::Range<usize>, Width) {
        let (from, width) = match part {
            0 | 1 => (8 * part * n, Width::Eight),
            _ => (8 * self.words * n, self.narrow),
        };
        (from..from + width.bytes() * n, width)
    }
}

/// A comparison of `width` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dcf {
    width: u32,
    payload: Payload,
}

/// Where the corrections of a level lie in the key of a group.
struct Level {
    seeds: std::ops::Range<usize>,
    values: std::ops::Range<usize>,
}

impl Dcf {
    /// Compares the low `width` bits, 1 to 63.
    pub(super) fn new(width: u32, payload: Payload) -> Self {
        debug_assert!((1..=63).contains(&width) && (1..=2).contains(&payload.words));
        Self { width, payload }
    }

    /// Bits compared.
    pub(super) fn width(&self) -> u32 {
        self.width
    }

    fn leaf_bits(&self) -> u32 {
        LEAF_BITS.min(self.width)
    }

    fn levels(&self) -> usize {
        (self.width - self.leaf_bits()) as usize
    }

    fn leaves(&self) -> usize {
        1 << self.leaf_bits()
    }

    /// Bytes of key per element.
    pub(super) fn key_bytes(&self) -> usize {
        let payload = self.payload.bytes();
        8 + self.levels() * (16 + payload) + self.leaves() * payload
    }

    /// Blocks of AES per element at an evaluator and at the dealer.
    #[cfg(test)]
    pub(super) fn blocks(&self) -> [usize; 2] {
        let v = self.payload.blocks();
        [
            self.levels() * (1 + v) + v,
            4 * self.levels() * (1 + v) + 2 * self.leaves() * v,
        ]
    }

    fn level(&self, level: usize, n: usize) -> Level {
        let size = 16 + self.payload.bytes();
        let from = 8 * n + level * size * n;
        Level {
            seeds: from..from + 16 * n,
            values: from + 16 * n..from + size * n,
        }
    }

    fn leaf_values(&self, leaf: usize, n: usize) -> std::ops::Range<usize> {
        let from = self.level(self.levels(), n).seeds.start + leaf * self.payload.bytes() * n;
        from..from + self.payload.bytes() * n
    }

    /// Deals keys for `[x < alpha] * payload`, element by element. `roots` are the evaluators' root
    /// seeds, `spare` fills the bits of control words that mean nothing, `out` takes the keys.
    pub(super) fn deal(
        &self,
        alpha: &[u64],
        payload: [&[u64]; PARTS],
        roots: [&[u128]; 2],
        spare: &[u64],
        out: &mut [u8],
    ) {
        debug_assert_eq!(out.len(), alpha.len() * self.key_bytes());
        let mut scratch = DealScratch::default();
        for (group, out) in out.chunks_mut(GROUP * self.key_bytes()).enumerate() {
            let range = GROUP * group..(GROUP * group + GROUP).min(alpha.len());
            scratch.payload = std::array::from_fn(|part| {
                let mut lanes = [0; GROUP];
                if let Some(from) = payload[part].get(range.clone()) {
                    lanes[..from.len()].copy_from_slice(from);
                }
                lanes
            });
            dispatch(
                Isa::best(),
                DealGroup {
                    dcf: self,
                    alpha: &alpha[range.clone()],
                    roots: roots.map(|roots| &roots[range.clone()]),
                    spare: &spare[range],
                    scratch: &mut scratch,
                    out,
                },
            );
        }
    }

    /// This evaluator's shares of `[x < alpha] * payload`; of `x` the low `width` bits count. Parts
    /// that the payload has not may be empty.
    pub(super) fn evaluate(
        &self,
        side: Side,
        x: &[u64],
        roots: &[u128],
        keys: &[u8],
        out: [&mut [u64]; PARTS],
    ) {
        debug_assert_eq!(keys.len(), x.len() * self.key_bytes());
        let mut scratch = EvaluateScratch::default();
        for (group, key) in keys.chunks(GROUP * self.key_bytes()).enumerate() {
            let range = GROUP * group..(GROUP * group + GROUP).min(x.len());
            dispatch(
                Isa::best(),
                EvaluateGroup {
                    dcf: self,
                    side,
                    x: &x[range.clone()],
                    roots: &roots[range.clone()],
                    key,
                    scratch: &mut scratch,
                },
            );
            for part in self.payload.parts() {
                out[part][range.clone()].copy_from_slice(&scratch.sums[part][..range.len()]);
            }
        }
    }
}

/// The tweak of block `block` (0 = the seed, 1 and 2 = the value) of a child; `right` is 0 or 1.
#[inline(always)]
fn tweak(right: u64, block: usize) -> u64 {
    right << 2 | block as u64
}

#[inline(always)]
fn leaf_tweak(leaf: u64, block: usize) -> u64 {
    LEAF_TWEAK | leaf << 4 | block as u64
}

struct EvaluateScratch {
    seeds: [u128; GROUP],
    /// Control bits as masks.
    bits: Lanes,
    sums: Parts,
    input: [u128; 3 * GROUP],
    grown: [u128; 3 * GROUP],
}

impl Default for EvaluateScratch {
    fn default() -> Self {
        Self {
            seeds: [0; GROUP],
            bits: [0; GROUP],
            sums: [[0; GROUP]; PARTS],
            input: [0; 3 * GROUP],
            grown: [0; 3 * GROUP],
        }
    }
}

impl Drop for EvaluateScratch {
    fn drop(&mut self) {
        self.seeds.zeroize();
        self.bits.zeroize();
        self.sums.zeroize();
        self.input.zeroize();
        self.grown.zeroize();
    }
}

struct EvaluateGroup<'a> {
    dcf: &'a Dcf,
    side: Side,
    x: &'a [u64],
    roots: &'a [u128],
    key: &'a [u8],
    scratch: &'a mut EvaluateScratch,
}

impl EvaluateGroup<'_> {
    /// Adds the values of the nodes reached, whose blocks begin at `blocks`.
    #[inline(always)]
    fn add_values(&mut self, blocks: usize, corrections: &Parts) {
        let n = self.x.len();
        let EvaluateScratch {
            bits, sums, grown, ..
        } = &mut *self.scratch;
        for part in self.dcf.payload.parts() {
            let values = Payload::convert(part, &grown[blocks * n..], n);
            let lanes = sums[part].iter_mut().zip(&corrections[part]);
            for (((sum, correction), bit), value) in lanes.zip(&*bits).zip(&values) {
                *sum = sum.wrapping_add(*value).wrapping_add(correction & bit);
            }
        }
    }

    #[inline(always)]
    fn read_part(&self, part: usize, bytes: &[u8], out: &mut Lanes) {
        let n = self.x.len();
        let (range, width) = self.dcf.payload.place(part, n);
        width.read_with(&bytes[range], &mut out[..n], |o, word| *o = word);
    }
}

impl Vectorised for EvaluateGroup<'_> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let dcf = self.dcf;
        let n = self.x.len();
        let blocks = 1 + dcf.payload.blocks();
        let mut controls = [0; GROUP];
        read_words(&self.key[..8 * n], &mut controls[..n]);
        for (seed, root) in self.scratch.seeds.iter_mut().zip(self.roots) {
            *seed = root & !1;
        }
        self.scratch.bits = [self.side.mask(); GROUP];
        self.scratch.sums = [[0; GROUP]; PARTS];
        let mut corrections = [[0; GROUP]; PARTS];

        for index in 0..dcf.levels() {
            let from_top = dcf.width - 1 - index as u32;
            let EvaluateScratch {
                seeds,
                input,
                grown,
                ..
            } = &mut *self.scratch;
            for block in 0..blocks {
                let tweaks = self.x.iter().map(|x| tweak((x >> from_top) & 1, block));
                tweaked(seeds, &mut input[block * n..], tweaks);
            }
            hash(&mut input[..blocks * n], &mut grown[..blocks * n]);

            let level = dcf.level(index, n);
            for part in dcf.payload.parts() {
                let bytes = &self.key[level.values.clone()];
                self.read_part(part, bytes, &mut corrections[part]);
            }
            self.add_values(1, &corrections);

            let EvaluateScratch {
                seeds, bits, grown, ..
            } = &mut *self.scratch;
            let mut seed_corrections = [0; GROUP];
            read_blocks(&self.key[level.seeds], &mut seed_corrections[..n]);
            let lanes = seeds[..n].iter_mut().zip(bits.iter_mut()).zip(&grown[..n]);
            for ((((seed, bit), child), correction), (x, right)) in lanes
                .zip(&seed_corrections)
                .zip(self.x.iter().zip(&controls))
            {
                let goes_right = 0u64.wrapping_sub((x >> from_top) & 1);
                let right = 0u64.wrapping_sub((right >> index) & 1);
                let left = control(*correction);
                let flip = left ^ ((left ^ right) & goes_right);
                *seed = (child ^ (correction & wide(*bit))) & !1;
                *bit = control(*child) ^ (*bit & flip);
            }
        }

        let last = dcf.leaves() as u64 - 1;
        let EvaluateScratch {
            seeds,
            input,
            grown,
            ..
        } = &mut *self.scratch;
        for block in 0..blocks - 1 {
            let tweaks = self.x.iter().map(|x| leaf_tweak(x & last, block));
            tweaked(seeds, &mut input[block * n..], tweaks);
        }
        let used = (blocks - 1) * n;
        hash(&mut input[..used], &mut grown[..used]);
        // The correction of the leaf that the public x names.
        let mut leaf_corrections = [[0; GROUP]; PARTS];
        for leaf in 0..dcf.leaves() {
            let bytes = &self.key[dcf.leaf_values(leaf, n)];
            for part in dcf.payload.parts() {
                self.read_part(part, bytes, &mut corrections[part]);
                let lanes = leaf_corrections[part].iter_mut().zip(&corrections[part]);
                for ((to, from), x) in lanes.zip(self.x) {
                    let here = 0u64.wrapping_sub(u64::from(x & last == leaf as u64));
                    *to |= from & here;
                }
            }
        }
        self.add_values(0, &leaf_corrections);
        let negative = self.side.mask();
        for sum in self.scratch.sums.as_flattened_mut() {
            *sum = negate_if(negative, *sum);
        }
    }
}

struct DealScratch {
    path: Path,
    payload: Parts,
    /// What the values on the path add up to, evaluator 0's less evaluator 1's.
    sums: Parts,
    input: [u128; 12 * GROUP],
    grown: [u128; 12 * GROUP],
}

impl Default for DealScratch {
    fn default() -> Self {
        Self {
            path: Path::default(),
            payload: [[0; GROUP]; PARTS],
            sums: [[0; GROUP]; PARTS],
            input: [0; 12 * GROUP],
            grown: [0; 12 * GROUP],
        }
    }
}

impl Drop for DealScratch {
    fn drop(&mut self) {
        self.payload.zeroize();
        self.sums.zeroize();
        self.input.zeroize();
        self.grown.zeroize();
    }
}

struct DealGroup<'a> {
    dcf: &'a Dcf,
    alpha: &'a [u64],
    roots: [&'a [u128]; 2],
    spare: &'a [u64],
    scratch: &'a mut DealScratch,
    out: &'a mut [u8],
}

impl DealGroup<'_> {
    /// Part `part` of evaluator 0's values less evaluator 1's, for what they grew on a side.
    #[inline(always)]
    fn values(&self, right: usize, part: usize) -> Lanes {
        let n = self.alpha.len();
        let blocks = 1 + self.dcf.payload.blocks();
        let of = |party: usize| {
            let at = ((party * 2 + right) * blocks + 1) * n;
            Payload::convert(part, &self.scratch.grown[at..], n)
        };
        let (mut difference, one) = (of(0), of(1));
        let lanes = difference.iter_mut().zip(&one);
        lanes.for_each(|(d, one)| *d = d.wrapping_sub(*one));
        difference
    }

    #[inline(always)]
    fn write_part(&mut self, at: usize, part: usize, values: &Lanes) {
        let n = self.alpha.len();
        let (range, width) = self.dcf.payload.place(part, n);
        width.write(&values[..n], &mut self.out[at..][range]);
    }

    /// Grows all nodes of the path, both sides.
    #[inline(always)]
    fn grow(&mut self) {
        let n = self.alpha.len();
        let blocks = 1 + self.dcf.payload.blocks();
        let DealScratch {
            path, input, grown, ..
        } = &mut *self.scratch;
        for (party, seeds) in path.seeds.iter().enumerate() {
            for right in 0..2 {
                for block in 0..blocks {
                    let at = ((party * 2 + right) * blocks + block) * n;
                    let tweak = tweak(right as u64, block);
                    tweaked(seeds, &mut input[at..at + n], repeat(tweak));
                }
            }
        }
        let used = 4 * blocks * n;
        hash(&mut input[..used], &mut grown[..used]);
    }

    /// The corrections of the values of a level, and the sums on the path below it.
    #[inline(always)]
    fn correct_values(&mut self, at: usize, alpha: &Lanes) {
        for part in self.dcf.payload.parts() {
            let (left, right) = (self.values(0, part), self.values(1, part));
            let mut corrections = [0; GROUP];
            let DealScratch {
                path,
                payload,
                sums,
                ..
            } = &mut *self.scratch;
            for i in 0..GROUP {
                // Where alpha goes right, the left side is given up, where all is smaller.
                let differ = (left[i] ^ right[i]) & alpha[i];
                let (lose, keep) = (right[i] ^ differ, left[i] ^ differ);
                let wanted = payload[part][i] & alpha[i];
                let missing = wanted.wrapping_sub(lose).wrapping_sub(sums[part][i]);
                corrections[i] = negate_if(path.bits[i], missing);
                sums[part][i] = sums[part][i].wrapping_add(keep).wrapping_add(missing);
            }
            self.write_part(at, part, &corrections);
        }
    }

    /// The corrections of the values of all leaves below the path's last node.
    #[inline(always)]
    fn correct_leaves(&mut self) {
        let dcf = self.dcf;
        let n = self.alpha.len();
        let blocks = dcf.payload.blocks();
        let last = dcf.leaves() as u64 - 1;
        for leaf in 0..dcf.leaves() {
            let DealScratch {
                path,
                payload,
                sums,
                input,
                grown,
            } = &mut *self.scratch;
            for (party, seeds) in path.seeds.iter().enumerate() {
                for block in 0..blocks {
                    let at = (party * blocks + block) * n;
                    let tweak = leaf_tweak(leaf as u64, block);
                    tweaked(seeds, &mut input[at..at + n], repeat(tweak));
                }
            }
            hash(&mut input[..2 * blocks * n], &mut grown[..2 * blocks * n]);
            let at = dcf.leaf_values(leaf, n).start;
            let mut corrections = [[0; GROUP]; PARTS];
            for part in dcf.payload.parts() {
                let [zero, one] =
                    [0, 1].map(|party| Payload::convert(part, &grown[party * blocks * n..], n));
                for i in 0..n {
                    // Both are below four, so the difference borrows iff leaf < alpha.
                    let below = ((leaf as u64).wrapping_sub(self.alpha[i] & last)) >> 63;
                    let wanted = payload[part][i] & 0u64.wrapping_sub(below);
                    let missing = wanted
                        .wrapping_sub(sums[part][i])
                        .wrapping_sub(zero[i])
                        .wrapping_add(one[i]);
                    corrections[part][i] = negate_if(path.bits[i], missing);
                }
            }
            for part in dcf.payload.parts() {
                self.write_part(at, part, &corrections[part]);
            }
        }
    }
}

impl Vectorised for DealGroup<'_> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let dcf = self.dcf;
        let n = self.alpha.len();
        self.scratch.path.start(self.roots);
        self.scratch.sums = [[0; GROUP]; PARTS];
        let mut controls = controls(dcf.levels(), self.spare);
        for index in 0..dcf.levels() {
            let from_top = dcf.width - 1 - index as u32;
            let mut alpha = [0; GROUP];
            for (mask, alpha) in alpha.iter_mut().zip(self.alpha) {
                *mask = 0u64.wrapping_sub((alpha >> from_top) & 1);
            }
            self.grow();
            let level = dcf.level(index, n);
            self.correct_values(level.values.start, &alpha);
            let stride = (1 + dcf.payload.blocks()) * n;
            let DealScratch { path, grown, .. } = &mut *self.scratch;
            let seeds = [0, 1, 2, 3].map(|side| &grown[side * stride..][..n]);
            path.descend(
                seeds,
                &alpha,
                index,
                &mut controls,
                &mut self.out[level.seeds],
            );
        }
        self.correct_leaves();
        write_words(&controls[..n], &mut self.out[..8 * n]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::ggm::samples::{roots, words};
    use super::*;
    use proptest::prelude::*;

    const SHAPES: [Payload; 5] = [
        Payload {
            words: 1,
            narrow: Width::None,
        },
        Payload {
            words: 2,
            narrow: Width::None,
        },
        Payload {
            words: 2,
            narrow: Width::One,
        },
        Payload {
            words: 2,
            narrow: Width::Two,
        },
        Payload {
            words: 2,
            narrow: Width::Eight,
        },
    ];

    /// Sums of both evaluators' shares.
    fn compare(
        dcf: &Dcf,
        alpha: &[u64],
        payload: &[Vec<u64>; PARTS],
        x: &[u64],
        seed: u64,
    ) -> [Vec<u64>; PARTS] {
        let n = alpha.len();
        let [zero, one] = roots(seed, n);
        let mut keys = vec![0; n * dcf.key_bytes()];
        let payload = payload.each_ref().map(Vec::as_slice);
        dcf.deal(alpha, payload, [&zero, &one], &words(seed, n), &mut keys);
        let shares = [(Side::Zero, zero), (Side::One, one)].map(|(side, roots)| {
            let mut out = [(); PARTS].map(|()| vec![0; n]);
            let [a, b, c] = &mut out;
            dcf.evaluate(side, x, &roots, &keys, [a, b, c]);
            out
        });
        let [zero, one] = shares;
        std::array::from_fn(|part| {
            let pairs = zero[part].iter().zip(&one[part]);
            pairs.map(|(a, b)| a.wrapping_add(*b)).collect()
        })
    }

    fn check(dcf: &Dcf, alpha: &[u64], x: &[u64], seed: u64) {
        let payload = [1, 2, 3].map(|part| words(seed ^ part << 40, alpha.len()));
        let got = compare(dcf, alpha, &payload, x, seed);
        let kept = |part: usize| match part {
            2 => u64::MAX >> (64 - 8 * dcf.payload.narrow.bytes()),
            _ => u64::MAX,
        };
        let low = |v: u64| v & (u64::MAX >> (64 - dcf.width));
        for part in dcf.payload.parts() {
            for (i, got) in got[part].iter().enumerate() {
                let below = low(x[i]) < low(alpha[i]);
                let want = if below { payload[part][i] } else { 0 };
                assert_eq!(
                    got & kept(part),
                    want & kept(part),
                    "{dcf:?}: [{:#x} < {:#x}], part {part} of element {i}",
                    low(x[i]),
                    low(alpha[i]),
                );
            }
        }
    }

    #[test]
    fn all_pairs_of_small_widths() {
        for width in 1..=6 {
            for payload in SHAPES {
                let all = 0..1u64 << width;
                let pairs = all.clone().flat_map(|a| all.clone().map(move |x| (a, x)));
                // Bits above the width must not matter.
                let (alpha, x): (Vec<_>, Vec<_>) =
                    pairs.map(|(a, x)| (a | a << width, x | 5 << width)).unzip();
                check(&Dcf::new(width, payload), &alpha, &x, u64::from(width));
            }
        }
    }

    #[test]
    fn boundaries_of_every_width() {
        for width in 1..=63 {
            let top = u64::MAX >> (64 - width);
            let edges = [0, 1, 2, 3, 4, top / 2, top / 2 + 1, top - 1, top];
            let pairs = edges.iter().flat_map(|a| edges.map(|x| (*a, x)));
            let (alpha, x): (Vec<_>, Vec<_>) = pairs.unzip();
            for payload in SHAPES {
                check(&Dcf::new(width, payload), &alpha, &x, 7);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn any_numbers_compare(
            pairs in proptest::collection::vec((any::<u64>(), any::<u64>(), 0u32..64), 1..200),
            width in 1u32..=63, shape in 0usize..SHAPES.len(), seed: u64,
        ) {
            // Numbers that agree in their upper bits go deep down the same path.
            let (alpha, x): (Vec<u64>, Vec<u64>) =
                pairs.into_iter().map(|(a, x, near)| (a, a ^ (x >> near))).unzip();
            check(&Dcf::new(width, SHAPES[shape]), &alpha, &x, seed);
        }
    }

    #[test]
    fn a_key_alone_depends_on_roots_not_on_what_it_hides() {
        // The part of the key that must look random does not repeat between two secrets, and no
        // correction is ever zero: with 128-bit words either would take luck beyond any test.
        let dcf = Dcf::new(31, SHAPES[3]);
        let n = 3;
        let [zero, one] = roots(1, n);
        let payload = [1, 2, 3].map(|part| words(part, n));
        let deal = |alpha: u64| {
            let mut keys = vec![0; n * dcf.key_bytes()];
            let payload = payload.each_ref().map(Vec::as_slice);
            dcf.deal(
                &vec![alpha; n],
                payload,
                [&zero, &one],
                &words(1, n),
                &mut keys,
            );
            keys
        };
        let (a, b) = (deal(0), deal(u64::MAX));
        let level = dcf.level(5, n);
        for (a, b) in [&a, &b].map(|key| key[level.seeds.clone()].as_chunks::<16>().0.to_vec())[0]
            .iter()
            .zip(b[level.seeds.clone()].as_chunks::<16>().0)
        {
            assert_ne!(a, b);
            assert_ne!((a, b), (&[0; 16], &[0; 16]));
        }
    }

    #[test]
    fn the_usual_window_costs_what_the_essay_says() {
        let dcf = Dcf::new(31, SHAPES[3]);
        assert_eq!(dcf.key_bytes(), 29 * 34 + 4 * 18 + 8);
        assert_eq!(dcf.blocks(), [89, 364]);
    }
}
