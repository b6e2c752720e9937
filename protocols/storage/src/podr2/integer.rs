//! Integers of the sizes at hand.

use crypto_bigint::modular::runtime_mod::{DynResidue, DynResidueParams};
use crypto_bigint::{Encoding, U1024, U2048, Uint};
use sha2::{Digest, Sha256};

use super::{COEFFICIENT, MODULUS};
use crate::fid::ContentHash;

/// Residues modulo N.
pub(super) type Residue = DynResidue<{ U2048::LIMBS }>;
pub(super) type Params = DynResidueParams<{ U2048::LIMBS }>;
/// Residues modulo a prime factor of it, or of that minus one.
pub(super) type Half = DynResidue<{ U1024::LIMBS }>;
pub(super) type HalfParams = DynResidueParams<{ U1024::LIMBS }>;
/// A coefficient.
pub(super) type Coefficient = Uint<{ crypto_bigint::U192::LIMBS }>;

/// W_i.
pub(super) fn hashed(name: ContentHash, index: usize) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(name.to_string());
    hasher.update(index.to_string());
    hasher.finalize().into()
}

/// A big-endian number of at most 256 bytes.
pub(super) fn wide(bytes: &[u8]) -> U2048 {
    let mut padded = [0; MODULUS];
    padded[MODULUS - bytes.len()..].copy_from_slice(bytes);
    U2048::from_be_bytes(padded)
}

/// A big-endian number of at most 128 bytes.
pub(super) fn narrow(bytes: &[u8]) -> U1024 {
    let mut padded = [0; MODULUS / 2];
    padded[MODULUS / 2 - bytes.len()..].copy_from_slice(bytes);
    U1024::from_be_bytes(padded)
}

pub(super) fn coefficient(bytes: &[u8; COEFFICIENT]) -> Coefficient {
    let mut padded = [0; 24];
    padded[4..].copy_from_slice(bytes);
    Coefficient::from_be_bytes(padded)
}

/// Adds `factor` times a big-endian number to `sum`, which has room for it, least word first.
pub(super) fn add_product(sum: &mut [u64], factor: &[u8; COEFFICIENT], number: &[u8]) {
    let factor = words(factor);
    let number = words(number);
    for (shift, factor) in factor.iter().enumerate() {
        let mut carry = 0_u128;
        for (i, slot) in sum[shift..].iter_mut().enumerate() {
            let word = number.get(i).copied().unwrap_or(0);
            if word == 0 && carry == 0 && i >= number.len() {
                break;
            }
            let term = u128::from(*factor) * u128::from(word) + u128::from(*slot) + carry;
            *slot = term as u64;
            carry = term >> 64;
        }
    }
}

/// The words of a big-endian number, least first.
fn words(bytes: &[u8]) -> Vec<u64> {
    bytes
        .rchunks(8)
        .map(|chunk| {
            chunk
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte))
        })
        .collect()
}

/// `base` to the power of a big-endian number that is public.
pub(super) fn public_power(base: &Residue, exponent: &[u8]) -> Residue {
    let mut table = vec![Residue::one(*base.params())];
    for i in 1..256 {
        table.push(table[i - 1] * base);
    }
    let mut result = Residue::one(*base.params());
    for byte in exponent.iter().skip_while(|byte| **byte == 0) {
        for _ in 0..8 {
            result = result.square();
        }
        if *byte != 0 {
            result *= &table[usize::from(*byte)];
        }
    }
    result
}
