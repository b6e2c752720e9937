//! Distributed point functions, evaluated everywhere: shares of a vector that is zero but at one
//! secret place, from a short key.
//!
//! The key of Boyle, Gilboa and Ishai (*Function Secret Sharing: Improvements and Extensions*, CCS
//! 2016, figure 1) grows a tree of seeds with control bits, as in [`super::dcf`], to all its leaves.
//! Off the path to the secret place `alpha` both evaluators' nodes are equal, so what they make of
//! them cancels; on it exactly one adds the correction that turns the sum into the payload.
//!
//! A leaf is `values` ring elements, that many vectors are shared at once. The last level is left
//! out: a node there makes two neighbouring leaves and has a correction for each (early
//! termination, section 3.2.3), which costs about as many bytes as the level and saves half the
//! seeds.
//!
//! # Cost
//! For places of `n` bits and `k` values: `16 (n - 1) + 16 k + 8` bytes of key, the same for both
//! evaluators and to be sent to both. An evaluator takes `2^n - 2 + 2^(n-1) k` blocks of AES, the
//! dealer `4 (n - 1) + 2 k`. For 64 places and 3 values: 136 bytes where the vectors themselves
//! are 1536, and 158 blocks where expanding them from a seed takes 96.
//!
//! # Layout
//! In groups of [`GROUP`] elements (the last may be smaller), within a group as a structure of
//! arrays: control words, then per level the seed corrections, then per value the corrections of the
//! even and the odd leaf.

use zeroize::Zeroize;

use super::ggm::{GROUP, Path, Side, control, controls, hash, negate_if, read_blocks, wide};
use crate::kernels::{Isa, Vectorised, dispatch};
use crate::planes::{read_words, write_words};

/// Bits of a place at most.
pub(super) const MAX_INDEX_BITS: u32 = 8;
/// Values of a leaf at most.
pub(super) const MAX_VALUES: usize = 4;
/// Trees that are grown together: enough for the cipher to be busy near the roots, few enough for
/// the leaves to stay in the cache.
const TREES: usize = 8;
/// Nodes that all of them end in at most.
const NODES: usize = TREES << (MAX_INDEX_BITS - 1);
/// Tweak of the first block of a leaf.
const LEAF_TWEAK: u128 = 2;

/// A point function of `index_bits` bits with `values` ring elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dpf {
    index_bits: u32,
    values: usize,
}

impl Dpf {
    /// Places are numbers of `index_bits` bits, 1 to 8; leaves have 1 to 4 `values`.
    pub(super) fn new(index_bits: u32, values: usize) -> Self {
        debug_assert!((1..=MAX_INDEX_BITS).contains(&index_bits));
        debug_assert!((1..=MAX_VALUES).contains(&values));
        Self { index_bits, values }
    }

    fn levels(&self) -> usize {
        self.index_bits as usize - 1
    }

    /// Bytes of key per element.
    pub(super) fn key_bytes(&self) -> usize {
        8 + 16 * self.levels() + 16 * self.values
    }

    /// Where the seed corrections of a level lie in the key of a group.
    fn seeds(&self, level: usize, n: usize) -> std::ops::Range<usize> {
        let from = 8 * n + 16 * n * level;
        from..from + 16 * n
    }

    /// Where the corrections of the even or odd leaf's value lie.
    fn leaf(&self, value: usize, odd: usize, n: usize) -> std::ops::Range<usize> {
        let from = self.seeds(self.levels(), n).start + 8 * n * (2 * value + odd);
        from..from + 8 * n
    }

    /// Deals keys of functions that are `payload[value][i]` at the low bits of `alpha[i]`, and zero
    /// everywhere else. `roots` are the evaluators' root seeds, `spare` fills the bits of control
    /// words that mean nothing.
    pub(super) fn deal(
        &self,
        alpha: &[u64],
        payload: &[&[u64]],
        roots: [&[u128]; 2],
        spare: &[u64],
        out: &mut [u8],
    ) {
        debug_assert_eq!(out.len(), alpha.len() * self.key_bytes());
        debug_assert_eq!(payload.len(), self.values);
        for (group, out) in out.chunks_mut(GROUP * self.key_bytes()).enumerate() {
            let range = GROUP * group..(GROUP * group + GROUP).min(alpha.len());
            dispatch(
                Isa::best(),
                DealGroup {
                    dpf: self,
                    alpha: &alpha[range.clone()],
                    payload: std::array::from_fn(|value| {
                        payload
                            .get(value)
                            .map_or(&[][..], |all| &all[range.clone()])
                    }),
                    roots: roots.map(|roots| &roots[range.clone()]),
                    spare: &spare[range],
                    out,
                },
            );
        }
    }

    /// Grows the trees of all elements to the end and calls `visit` with the number of the element
    /// and this evaluator's shares of its vectors, value by value, `2^index_bits` words each.
    #[inline(always)]
    pub(super) fn evaluate(
        &self,
        side: Side,
        roots: &[u128],
        keys: &[u8],
        scratch: &mut Forest,
        mut visit: impl FnMut(usize, &[u64]),
    ) {
        debug_assert_eq!(keys.len(), roots.len() * self.key_bytes());
        for (group, key) in keys.chunks(GROUP * self.key_bytes()).enumerate() {
            let in_group = &roots[GROUP * group..(GROUP * group + GROUP).min(roots.len())];
            for (trees, roots) in in_group.chunks(TREES).enumerate() {
                let first = TREES * trees;
                let grow = Grow {
                    dpf: self,
                    side,
                    roots,
                    key,
                    first,
                    group: in_group.len(),
                    forest: scratch,
                };
                dispatch(Isa::best(), grow);
                let size = self.values << self.index_bits;
                for (i, vectors) in scratch.leaves.chunks(size).enumerate().take(roots.len()) {
                    visit(GROUP * group + first + i, vectors);
                }
            }
        }
    }
}

/// Room for trees that are grown together.
pub(super) struct Forest {
    seeds: Vec<u128>,
    /// Control bits as masks.
    bits: Vec<u64>,
    input: Vec<u128>,
    grown: Vec<u128>,
    leaves: Vec<u64>,
}

impl Forest {
    pub(super) fn new() -> Self {
        Self {
            seeds: vec![0; NODES],
            bits: vec![0; NODES],
            input: vec![0; NODES],
            grown: vec![0; NODES],
            leaves: vec![0; 2 * NODES * MAX_VALUES],
        }
    }
}

impl Drop for Forest {
    fn drop(&mut self) {
        self.seeds.zeroize();
        self.bits.zeroize();
        self.input.zeroize();
        self.grown.zeroize();
        self.leaves.zeroize();
    }
}

/// Grows the trees `first..first + roots.len()` of a group.
struct Grow<'a> {
    dpf: &'a Dpf,
    side: Side,
    roots: &'a [u128],
    key: &'a [u8],
    first: usize,
    group: usize,
    forest: &'a mut Forest,
}

impl Grow<'_> {
    /// The words of these trees in `range` of the key.
    #[inline(always)]
    fn words(&self, range: std::ops::Range<usize>) -> [u64; TREES] {
        let mut out = [0; TREES];
        read_words(
            &self.key[range][8 * self.first..],
            &mut out[..self.roots.len()],
        );
        out
    }
}

impl Vectorised for Grow<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (dpf, trees) = (self.dpf, self.roots.len());
        let n = self.group;
        let controls = self.words(0..8 * n);
        let leaf_corrections: [[[u64; TREES]; 2]; MAX_VALUES] = std::array::from_fn(|value| {
            [0, 1].map(|odd| match value < dpf.values {
                true => self.words(dpf.leaf(value, odd, n)),
                false => [0; TREES],
            })
        });
        let Forest {
            seeds,
            bits,
            input,
            grown,
            leaves,
        } = self.forest;
        for (seed, root) in seeds.iter_mut().zip(self.roots) {
            *seed = root & !1;
        }
        bits[..trees].fill(self.side.mask());

        // Node i has the children 2 i and 2 i + 1, and tree i / nodes.
        for level in 0..dpf.levels() {
            let nodes = 1 << level;
            let count = trees * nodes;
            let children = input.as_chunks_mut::<2>().0;
            for ([left, right], seed) in children.iter_mut().zip(&seeds[..count]) {
                (*left, *right) = (*seed, seed ^ 1);
            }
            hash(&mut input[..2 * count], &mut grown[..2 * count]);
            let mut corrections = [0; TREES];
            let corrections = &mut corrections[..trees];
            read_blocks(
                &self.key[dpf.seeds(level, n)][16 * self.first..],
                corrections,
            );
            // From the last: the children of a node overwrite only nodes that are dealt with.
            for (tree, correction) in corrections.iter().enumerate().rev() {
                let flips = [
                    control(*correction),
                    0u64.wrapping_sub((controls[tree] >> level) & 1),
                ];
                for node in (tree * nodes..(tree + 1) * nodes).rev() {
                    let bit = bits[node];
                    for (side, flip) in flips.iter().enumerate() {
                        let child = grown[2 * node + side];
                        seeds[2 * node + side] = (child ^ (correction & wide(bit))) & !1;
                        bits[2 * node + side] = control(child) ^ (bit & flip);
                    }
                }
            }
        }

        let nodes = 1 << dpf.levels();
        let count = trees * nodes;
        let negative = self.side.mask();
        for (value, corrections) in leaf_corrections.iter().enumerate().take(dpf.values) {
            let tweak = LEAF_TWEAK << value;
            for (input, seed) in input.iter_mut().zip(&seeds[..count]) {
                *input = seed ^ tweak;
            }
            hash(&mut input[..count], &mut grown[..count]);
            for tree in 0..trees {
                let vector = &mut leaves[2 * nodes * (tree * dpf.values + value)..][..2 * nodes];
                let [even, odd] = [0, 1].map(|odd: usize| corrections[odd][tree]);
                let range = tree * nodes..(tree + 1) * nodes;
                let pairs = vector.as_chunks_mut::<2>().0.iter_mut();
                for (([a, b], block), bit) in pairs.zip(&grown[range.clone()]).zip(&bits[range]) {
                    let (low, high) = (*block as u64, (*block >> 64) as u64);
                    *a = negate_if(negative, low.wrapping_add(even & bit));
                    *b = negate_if(negative, high.wrapping_add(odd & bit));
                }
            }
        }
    }
}

struct DealGroup<'a> {
    dpf: &'a Dpf,
    alpha: &'a [u64],
    payload: [&'a [u64]; MAX_VALUES],
    roots: [&'a [u128]; 2],
    spare: &'a [u64],
    out: &'a mut [u8],
}

impl Vectorised for DealGroup<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            dpf,
            alpha,
            payload,
            roots,
            spare,
            out,
        } = self;
        let n = alpha.len();
        let mut path = Path::default();
        path.start(roots);
        let mut controls = controls(dpf.levels(), spare);
        let mut input = [0; 4 * GROUP];
        let mut grown = [0; 4 * GROUP];
        for level in 0..dpf.levels() {
            let from_top = dpf.levels() - level;
            let mut masks = [0; GROUP];
            for (mask, alpha) in masks.iter_mut().zip(alpha) {
                *mask = 0u64.wrapping_sub((alpha >> from_top) & 1);
            }
            for (party, seeds) in path.seeds.iter().enumerate() {
                for side in 0..2 {
                    let to = input[(2 * party + side) * n..].iter_mut();
                    to.zip(&seeds[..n]).for_each(|(i, s)| *i = s ^ side as u128);
                }
            }
            hash(&mut input[..4 * n], &mut grown[..4 * n]);
            let seeds = [0, 1, 2, 3].map(|side| &grown[side * n..][..n]);
            let corrections = &mut out[dpf.seeds(level, n)];
            path.descend(seeds, &masks, level, &mut controls, corrections);
        }
        for (value, payload) in payload.iter().enumerate().take(dpf.values) {
            for (party, seeds) in path.seeds.iter().enumerate() {
                let to = input[party * n..].iter_mut();
                to.zip(&seeds[..n])
                    .for_each(|(i, s)| *i = s ^ LEAF_TWEAK << value);
            }
            hash(&mut input[..2 * n], &mut grown[..2 * n]);
            let mut corrections = [[0; GROUP]; 2];
            for i in 0..n {
                for (odd, corrections) in corrections.iter_mut().enumerate() {
                    let half = |party: usize| (grown[party * n + i] >> (64 * odd)) as u64;
                    // All ones where this leaf is the secret place.
                    let here = ((alpha[i] ^ odd as u64) & 1).wrapping_sub(1);
                    let missing = (payload[i] & here)
                        .wrapping_sub(half(0))
                        .wrapping_add(half(1));
                    corrections[i] = negate_if(path.bits[i], missing);
                }
            }
            for (odd, corrections) in corrections.iter().enumerate() {
                write_words(&corrections[..n], &mut out[dpf.leaf(value, odd, n)]);
            }
        }
        write_words(&controls[..n], &mut out[..8 * n]);
        input.zeroize();
        grown.zeroize();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::ggm::samples::{roots, words};
    use super::*;

    /// Sums of both evaluators' vectors, element by element.
    fn everywhere(dpf: &Dpf, alpha: &[u64], payload: &[Vec<u64>], seed: u64) -> Vec<Vec<u64>> {
        let n = alpha.len();
        let [zero, one] = roots(seed, n);
        let mut keys = vec![0; n * dpf.key_bytes()];
        let payload: Vec<&[u64]> = payload.iter().map(Vec::as_slice).collect();
        dpf.deal(alpha, &payload, [&zero, &one], &words(seed, n), &mut keys);
        let mut sums = vec![vec![0u64; dpf.values << dpf.index_bits]; n];
        for (side, roots) in [(Side::Zero, zero), (Side::One, one)] {
            let mut visited = 0;
            dpf.evaluate(side, &roots, &keys, &mut Forest::new(), |i, vectors| {
                assert_eq!(i, visited);
                visited += 1;
                assert_eq!(vectors.len(), sums[i].len());
                for (sum, share) in sums[i].iter_mut().zip(vectors) {
                    *sum = sum.wrapping_add(*share);
                }
            });
            assert_eq!(visited, n);
        }
        sums
    }

    #[test]
    fn the_vectors_are_the_payload_at_one_place() {
        for index_bits in 1..=MAX_INDEX_BITS {
            for values in 1..=MAX_VALUES {
                let dpf = Dpf::new(index_bits, values);
                let size = 1usize << index_bits;
                // Every place, in a batch that is no multiple of any group; bits above do not count.
                let alpha: Vec<u64> = (0..size as u64 + 3)
                    .map(|a| a | a << index_bits << 1)
                    .collect();
                let payload: Vec<Vec<u64>> =
                    (0..values).map(|v| words(v as u64, alpha.len())).collect();
                let sums = everywhere(&dpf, &alpha, &payload, 5);
                for (i, sums) in sums.iter().enumerate() {
                    for (value, vector) in sums.chunks(size).enumerate() {
                        let mut want = vec![0; size];
                        want[alpha[i] as usize % size] = payload[value][i];
                        assert_eq!(vector, want, "{dpf:?}, element {i}, value {value}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_cost_is_what_the_essay_says() {
        assert_eq!(Dpf::new(6, 3).key_bytes(), 136);
    }
}
