//! Randomness that is given from outside and used once.

use sha2::{Digest, Sha256};
use tfhe::core_crypto::commons::generators::DeterministicSeeder;
use tfhe::core_crypto::commons::math::random::Seed;
use tfhe::core_crypto::prelude::*;
use zeroize::ZeroizeOnDrop;

/// 32 fresh bytes of a cryptographic random number generator.
///
/// It can be neither copied nor read: each value is consumed by one key or one request. Two requests from the same bytes
/// would have the same mask, and the difference of their inputs would be readable by anyone.
#[derive(ZeroizeOnDrop)]
pub struct Entropy([u8; 32]);

impl Entropy {
    /// From the operating system's generator; never from bytes that were used before.
    pub fn new(fresh: [u8; 32]) -> Self {
        Self(fresh)
    }

    /// A seed for one purpose. Seeds for different purposes tell nothing about each other.
    pub(crate) fn seed(&self, purpose: &[u8]) -> Seed {
        let mut hash = Sha256::new();
        hash.update(b"ai-link fhe seed 1");
        hash.update(self.0);
        hash.update(purpose);
        let digest: [u8; 32] = hash.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Seed(u128::from_le_bytes(half))
    }

    /// tfhe's source of seeds for noise.
    pub(crate) fn seeder(&self, purpose: &[u8]) -> DeterministicSeeder<DefaultRandomGenerator> {
        DeterministicSeeder::new(self.seed(purpose))
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy(..)")
    }
}
