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
    for (out, block) in output.iter_mut().zip(input) {
        *out = u128::from_le(*out ^ *block);
    }
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
