//! Key switching of many LWE ciphertexts at once.
//!
//! A key-switching key is tens of megabytes, and one switch reads all of it: one at a time it is bound by memory. Here
//! each row of the key serves a whole batch while it is in cache. And since the next step rounds to `2N` anyway, the key
//! is kept rounded to 32 bits: half the memory, and products of 32-bit words. The rounding is part of the noise bound
//! ([`crate::noise`]).
//!
//! The algorithm is that of `tfhe::core_crypto::algorithms::keyswitch_lwe_ciphertext` with the loops exchanged.

use tfhe::core_crypto::prelude::*;

/// A key-switching key, expanded and rounded to 32 bits.
pub(crate) struct RoundedKeyswitchKey {
    /// For each input element, each level (as tfhe orders them), `n + 1` words.
    rows: Vec<u32>,
    input: usize,
    output: usize,
    decomposer: SignedDecomposer<u64>,
}

impl RoundedKeyswitchKey {
    /// Rounds an expanded key.
    pub(crate) fn new(key: &LweKeyswitchKeyOwned<u64>) -> Self {
        let round = |x: &u64| (x.wrapping_add(1 << 31) >> 32) as u32;
        Self {
            rows: key.as_ref().iter().map(round).collect(),
            input: key.input_key_lwe_dimension().0,
            output: key.output_key_lwe_dimension().0,
            decomposer: SignedDecomposer::new(
                key.decomposition_base_log(),
                key.decomposition_level_count(),
            ),
        }
    }

    /// Memory of the key in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.len() * 4
    }

    /// Switches ciphertexts of `input + 1` words each, laid end to end, to ones of `n + 1` words of 32 bits.
    pub(crate) fn switch(&self, lwes: &[u64]) -> Vec<LweCiphertextOwned<u32>> {
        let size = self.output + 1;
        let levels = self.decomposer.level_count().0;
        let inputs: Vec<&[u64]> = lwes.chunks_exact(self.input + 1).collect();
        let mut out: Vec<Vec<u32>> = inputs
            .iter()
            .map(|c| {
                let mut start = vec![0; size];
                start[self.output] = (c[self.input].wrapping_add(1 << 31) >> 32) as u32;
                start
            })
            .collect();
        pulp::Arch::new().dispatch(|| {
            for (i, block) in self.rows.chunks_exact(size * levels).enumerate() {
                for (c, out) in inputs.iter().zip(&mut out) {
                    // tfhe yields the least significant level first, and stores rows in that order too.
                    let digits = self.decomposer.decompose(c[i]);
                    for (row, digit) in block.chunks_exact(size).zip(digits) {
                        let digit = digit.value() as u32;
                        for (o, r) in out.iter_mut().zip(row) {
                            *o = o.wrapping_sub(r.wrapping_mul(digit));
                        }
                    }
                }
            }
        });
        let modulus = CiphertextModulus::new_native();
        out.into_iter()
            .map(|c| LweCiphertext::from_container(c, modulus))
            .collect()
    }
}
