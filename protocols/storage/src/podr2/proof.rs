//! Proving and checking.

use crypto_bigint::{Encoding, MultiExponentiateBoundedExp, U2048};

use super::integer::{Coefficient, Residue, add_product, coefficient, hashed, public_power, wide};
use super::tags::{FragmentKey, TagSet};
use super::{CHALLENGED, COEFFICIENT, Challenge, EXPONENT, MODULUS, PublicKey, block};

const MAGIC: [u8; 8] = *b"AILPROO\x01";
/// Bytes of μ beyond those of a block: 47 coefficients of 160 bits add up to less than 2^166.
const MU_EXTRA: usize = 24;
/// The longest block that is taken.
const MAX_BLOCK: usize = 8192;

/// A node's answer to a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Big-endian.
    mu: Vec<u8>,
    sigma: [u8; MODULUS],
}

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// It is not a proof at all.
    #[error("not a proof of version 1")]
    Malformed,
    /// A number is larger than any that could come out.
    #[error("a number of the proof is out of range")]
    Range,
    /// The equation does not hold: blocks are lost or changed, or the tags are of something else.
    #[error("the proof does not hold: the fragment is damaged, or it is another one")]
    Equation,
}

impl Proof {
    /// Proves that a fragment of `size` bytes is there, given without its trailing zeros.
    /// `modulus` is N, big-endian.
    pub fn new(
        public: &PublicKey,
        tags: &TagSet,
        fragment: &[u8],
        size: usize,
        challenge: &Challenge,
    ) -> Self {
        let length = size / super::BLOCKS;
        let mut sum = vec![0_u64; (length + MU_EXTRA).div_ceil(8) + 1];
        let mut padded = vec![0; length];
        let params = public.params();
        let one = (Residue::one(params), Coefficient::ZERO);
        let mut powers = [one; CHALLENGED];
        for ((index, factor), power) in challenge.entries().zip(&mut powers) {
            let bytes = block(fragment, size, index);
            padded[..bytes.len()].copy_from_slice(bytes);
            padded[bytes.len()..].fill(0);
            add_product(&mut sum, factor, &padded);
            *power = (
                Residue::new(tags.integer(index), params),
                coefficient(factor),
            );
        }
        let sigma = Residue::multi_exponentiate_bounded_exp(&powers, COEFFICIENT * 8);
        let mu: Vec<u8> = sum
            .iter()
            .rev()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        let zeros = mu.iter().take_while(|byte| **byte == 0).count();
        Self {
            mu: mu[zeros..].to_vec(),
            sigma: sigma.retrieve().to_be_bytes(),
        }
    }

    /// Checks the proof with what is public.
    ///
    /// # Errors
    ///
    /// See [`Mismatch`].
    pub fn verify(
        &self,
        public: &PublicKey,
        fragment: &FragmentKey,
        challenge: &Challenge,
    ) -> Result<(), Mismatch> {
        let params = public.params();
        let sigma: U2048 = wide(&self.sigma);
        // Zero would make both sides zero for a u or W that is.
        if sigma >= *public.integer() || sigma == U2048::ZERO || fragment.u == U2048::ZERO {
            return Err(Mismatch::Range);
        }
        let left = public_power(&Residue::new(&sigma, params), &EXPONENT.to_be_bytes());
        let one = (Residue::one(params), Coefficient::ZERO);
        let mut powers = [one; CHALLENGED];
        for ((index, factor), power) in challenge.entries().zip(&mut powers) {
            let hashed = wide(&hashed(fragment.name, index));
            *power = (Residue::new(&hashed, params), coefficient(factor));
        }
        let hashes = Residue::multi_exponentiate_bounded_exp(&powers, COEFFICIENT * 8);
        let right = public_power(&Residue::new(&fragment.u, params), &self.mu) * hashes;
        if left == right {
            Ok(())
        } else {
            Err(Mismatch::Equation)
        }
    }

    /// μ, big-endian without leading zeros.
    pub fn mu(&self) -> &[u8] {
        &self.mu
    }

    /// σ, big-endian.
    pub fn sigma(&self) -> &[u8; MODULUS] {
        &self.sigma
    }

    /// As bytes: magic, σ, μ.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&MAGIC[..], &self.sigma, &self.mu].concat()
    }

    /// Reads a proof.
    ///
    /// # Errors
    ///
    /// [`Mismatch::Malformed`], [`Mismatch::Range`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Mismatch> {
        let body = bytes.strip_prefix(&MAGIC).ok_or(Mismatch::Malformed)?;
        let (sigma, mu) = body
            .split_first_chunk::<MODULUS>()
            .ok_or(Mismatch::Malformed)?;
        if mu.len() > MAX_BLOCK + MU_EXTRA || mu.first() == Some(&0) {
            return Err(Mismatch::Range);
        }
        Ok(Self {
            mu: mu.to_vec(),
            sigma: *sigma,
        })
    }
}
