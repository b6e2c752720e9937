//! The generator that grows the trees of function secret sharing: fixed-key AES-128.
//!
//! `H(x) = AES_k(x) ^ x` with a public fixed `k` (Matyas, Meyer and Oseas). A node of seed `s`
//! grows into `H(s ^ 0), H(s ^ 1), ...`: one block for the seed of each child, one or two for its
//! value. That is pseudorandom if `H` is correlation robust, which it is in the ideal-permutation
//! model (Guo, Katz, Wang and Yu, *Efficient and Secure Multiparty Computation from Fixed-Key Block
//! Ciphers*, IEEE S&P 2020, section 7.2), up to `q^2 / 2^127` for `q` blocks and guesses. With a
//! fixed key there is no key schedule per node: a block is about a nanosecond.
//!
//! Blocks are hashed some hundreds at a time, so that the cipher can work on eight at once.

use std::sync::OnceLock;

use aes::Aes128;
use aes::cipher::inout::InOutBuf;
use aes::cipher::{BlockEncrypt, KeyInit};
use zeroize::{Zeroize, Zeroizing};

use crate::prg::{Prg, Purpose};

/// Elements that are worked on together: their blocks fit the first-level cache.
pub(super) const GROUP: usize = 64;

/// The first bits of the fraction of pi: nothing up this sleeve.
const KEY: [u8; 16] = 0x243f_6a88_85a3_08d3_1319_8a2e_0370_7344_u128.to_be_bytes();

fn cipher() -> &'static Aes128 {
    static CIPHER: OnceLock<Aes128> = OnceLock::new();
    CIPHER.get_or_init(|| Aes128::new(&KEY.into()))
}

/// `output[i] = H(input[i])`.
///
/// Blocks are little-endian integers; `input` is left in an unspecified state.
#[inline(always)]
pub(super) fn hash(input: &mut [u128], output: &mut [u128]) {
    if cfg!(target_endian = "big") {
        input.iter_mut().for_each(|block| *block = block.to_le());
    }
    let bytes = InOutBuf::new(
        bytemuck::cast_slice::<u128, u8>(input),
        bytemuck::cast_slice_mut::<u128, u8>(output),
    );
    let (blocks, _) = bytes
        .expect("as many blocks out as in, qed")
        .into_chunks::<aes::cipher::consts::U16>();
    cipher().encrypt_blocks_inout(blocks);
    // As words, which vectorise where blocks do not.
    let words = bytemuck::cast_slice_mut::<u128, u64>(output).iter_mut();
    words
        .zip(bytemuck::cast_slice::<u128, u64>(input))
        .for_each(|(o, i)| *o ^= i);
    if cfg!(target_endian = "big") {
        output.iter_mut().for_each(|block| *block = block.to_le());
    }
}

/// `out[i] = seeds[i] ^ tweak(i)`, for tweaks of one word.
#[inline(always)]
pub(super) fn tweaked(seeds: &[u128], out: &mut [u128], tweaks: impl Iterator<Item = u64>) {
    let out = bytemuck::cast_slice_mut::<u128, [u64; 2]>(out).iter_mut();
    let seeds = bytemuck::cast_slice::<u128, [u64; 2]>(seeds);
    let low = usize::from(cfg!(target_endian = "big"));
    for ((out, seed), tweak) in out.zip(seeds).zip(tweaks) {
        *out = *seed;
        out[low] ^= tweak;
    }
}

/// Which word of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Lower,
    Upper,
}

/// The lower or upper words of blocks.
#[inline(always)]
pub(super) fn halves(blocks: &[u128], half: Half, out: &mut [u64]) {
    let blocks = bytemuck::cast_slice::<u128, [u64; 2]>(blocks);
    let half = usize::from((half == Half::Upper) != cfg!(target_endian = "big"));
    out.iter_mut()
        .zip(blocks)
        .for_each(|(o, block)| *o = block[half]);
}

/// The lowest bit of a block, which becomes a control bit, as a mask.
#[inline(always)]
pub(super) fn control(block: u128) -> u64 {
    0u64.wrapping_sub(block as u64 & 1)
}

/// A mask for a whole block.
#[inline(always)]
pub(super) fn wide(mask: u64) -> u128 {
    u128::from(mask) << 64 | u128::from(mask)
}

/// `mask` is all ones: `-x`; zero: `x`.
#[inline(always)]
pub(super) fn negate_if(mask: u64, x: u64) -> u64 {
    (x ^ mask).wrapping_sub(mask)
}

/// The nodes on the paths to the secrets of a group, at both evaluators: what the dealer follows.
pub(super) struct Path {
    pub(super) seeds: [[u128; GROUP]; 2],
    /// Control bits of evaluator 1 as masks; those of evaluator 0 are the opposite.
    pub(super) bits: [u64; GROUP],
}

impl Path {
    /// The roots: the evaluators' own, with control bits 0 and 1.
    #[inline(always)]
    pub(super) fn start(&mut self, roots: [&[u128]; 2]) {
        for (seeds, roots) in self.seeds.iter_mut().zip(roots) {
            for (seed, root) in seeds.iter_mut().zip(roots) {
                *seed = root & !1;
            }
        }
        self.bits = [u64::MAX; GROUP];
    }

    /// Goes down to the side that the masks `alpha` say, from the seeds that the nodes grew for
    /// left and right at evaluator 0, then at evaluator 1. Writes the corrections of seeds, whose
    /// lowest bit is the correction of the left-hand control bit; that of the right-hand one is put
    /// in bit `index` of `controls`.
    #[inline(always)]
    pub(super) fn descend(
        &mut self,
        [left0, right0, left1, right1]: [&[u128]; 4],
        alpha: &[u64],
        index: usize,
        controls: &mut [u64],
        out: &mut [u8],
    ) {
        let blocks = out.as_chunks_mut::<16>().0;
        for (i, out) in blocks.iter_mut().enumerate() {
            let goes_right = wide(alpha[i]);
            let (left, right) = (left0[i] ^ left1[i], right0[i] ^ right1[i]);
            let lose = right ^ ((left ^ right) & goes_right);
            let to_left = control(left) ^ !alpha[i];
            let to_right = control(right) ^ alpha[i];
            let correction = lose & !1 | u128::from(to_left & 1);
            *out = correction.to_le_bytes();
            controls[i] |= (to_right & 1) << index;

            let keep = |left: u128, right: u128| left ^ ((left ^ right) & goes_right);
            let (keep0, keep1) = (keep(left0[i], right0[i]), keep(left1[i], right1[i]));
            let one = self.bits[i];
            let flip = to_left ^ ((to_left ^ to_right) & alpha[i]);
            self.seeds[0][i] = (keep0 ^ (correction & wide(!one))) & !1;
            self.seeds[1][i] = (keep1 ^ (correction & wide(one))) & !1;
            self.bits[i] = control(keep1) ^ (one & flip);
        }
    }
}

impl Default for Path {
    fn default() -> Self {
        Self {
            seeds: [[0; GROUP]; 2],
            bits: [0; GROUP],
        }
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.seeds.zeroize();
        self.bits.zeroize();
    }
}

/// Which of the two evaluators' keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Begins with control bit 0.
    Zero,
    /// Begins with control bit 1; its shares are negated.
    One,
}

impl Side {
    #[inline(always)]
    pub(super) fn mask(self) -> u64 {
        match self {
            Self::Zero => 0,
            Self::One => u64::MAX,
        }
    }
}

/// The root seeds of an evaluator for a chunk of `n` elements.
pub(super) fn read_roots(prg: &Prg, chunk: u32, n: usize) -> Zeroizing<Vec<u128>> {
    let mut halves = Zeroizing::new(vec![0; 2 * n]);
    prg.fill(Purpose::Roots, chunk, &mut halves);
    let pairs = halves.as_chunks::<2>().0.iter();
    let root = |[a, b]: &[u64; 2]| u128::from(*b) << 64 | u128::from(*a);
    Zeroizing::new(pairs.map(root).collect())
}

#[inline(always)]
pub(super) fn read_blocks(bytes: &[u8], out: &mut [u128]) {
    for (o, block) in out.iter_mut().zip(bytes.as_chunks::<16>().0) {
        *o = u128::from_le_bytes(*block);
    }
}

/// Control words with the corrections of no level yet: bits from `levels` up mean nothing and are
/// filled from `spare`, so that the words look like all the rest.
#[inline(always)]
pub(super) fn controls(levels: usize, spare: &[u64]) -> [u64; GROUP] {
    let mut controls = [0; GROUP];
    for (control, spare) in controls.iter_mut().zip(spare) {
        *control = spare & u64::MAX.checked_shl(levels as u32).unwrap_or(0);
    }
    controls
}

/// Pseudorandom test data.
#[cfg(test)]
pub(super) mod samples {
    /// Words that look random and follow from `seed`.
    pub(crate) fn words(seed: u64, n: usize) -> Vec<u64> {
        let mut input: Vec<u128> = (0..n as u128)
            .map(|i| u128::from(seed) << 64 | i << 32)
            .collect();
        let mut output = vec![0; n];
        super::hash(&mut input, &mut output);
        output.into_iter().map(|block| block as u64).collect()
    }

    /// Roots of both evaluators.
    pub(crate) fn roots(seed: u64, n: usize) -> [Vec<u128>; 2] {
        [seed ^ 0x55, seed ^ 0xaa].map(|seed| {
            let halves = words(seed, 2 * n);
            let pairs = halves.as_chunks::<2>().0.iter();
            pairs
                .map(|[a, b]| u128::from(*a) << 64 | u128::from(*b))
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_aes_of_the_block_and_the_block() {
        let mut input: Vec<u128> = (0..21u128)
            .map(|i| i << 100 | i.wrapping_mul(0x1234_5678))
            .collect();
        let mut output = vec![0; input.len()];
        let blocks = input.clone();
        hash(&mut input, &mut output);
        for (x, out) in blocks.iter().zip(output) {
            let mut block = x.to_le_bytes().into();
            Aes128::new(&KEY.into()).encrypt_block(&mut block);
            assert_eq!(u128::from_le_bytes(block.into()) ^ x, out);
        }
    }

    #[test]
    fn masks() {
        assert_eq!((control(6), control(7)), (0, u64::MAX));
        assert_eq!((wide(0), wide(u64::MAX)), (0, u128::MAX));
        assert_eq!(negate_if(0, 5), 5);
        assert_eq!(negate_if(u64::MAX, 5), 5u64.wrapping_neg());
    }
}
