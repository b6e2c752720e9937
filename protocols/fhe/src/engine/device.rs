//! Where look-ups run: key switch, blind rotation and sample extraction of a batch.
//!
//! The same words go in and, up to noise within the bound of [`crate::noise`], the same come out, whatever computes them: a
//! GPU switches keys with words of 64 bits where the processor rounds the key to 32, so ciphertexts differ in their noise
//! while what an exact program decrypts to does not.

#[cfg(feature = "cuda")]
mod cuda;

use tfhe::core_crypto::prelude::*;

use super::bootstrap::blind_rotate;
use super::keyswitch::RoundedKeyswitchKey;
use crate::error::FormatError;
use crate::parameters::ParameterSet;

/// Look-ups of a processor that share a pass over the key, at most: more gain nothing, and cancellation waits for a batch.
const BATCH: usize = 16;

/// What computes a key's look-ups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Device {
    /// All threads of the current rayon pool.
    #[default]
    Cpu,
    /// A GPU by its index, with tfhe's CUDA back-end.
    #[cfg(feature = "cuda")]
    Cuda(u32),
}

/// The keys for look-ups, as a device wants them.
pub(crate) enum LookUps {
    Cpu {
        bootstrap: FourierLweBootstrapKeyOwned,
        keyswitch: RoundedKeyswitchKey,
    },
    #[cfg(feature = "cuda")]
    Cuda(cuda::Keys),
}

impl LookUps {
    /// Prepares expanded keys.
    pub(crate) fn new(
        device: Device,
        set: ParameterSet,
        bootstrap: LweBootstrapKeyOwned<u64>,
        keyswitch: &LweKeyswitchKeyOwned<u64>,
    ) -> Result<Self, FormatError> {
        match device {
            Device::Cpu => {
                let p = set.tfhe();
                let mut fourier = FourierLweBootstrapKey::new(
                    p.lwe_dimension,
                    p.glwe_dimension.to_glwe_size(),
                    p.polynomial_size,
                    p.pbs_base_log,
                    p.pbs_level,
                );
                par_convert_standard_lwe_bootstrap_key_to_fourier(&bootstrap, &mut fourier);
                drop(bootstrap);
                Ok(Self::Cpu {
                    bootstrap: fourier,
                    keyswitch: RoundedKeyswitchKey::new(keyswitch),
                })
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(index) => Ok(Self::Cuda(cuda::Keys::new(index, &bootstrap, keyswitch)?)),
        }
    }

    /// Bytes of the processor's memory that the keys take.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Cpu {
                bootstrap,
                keyswitch,
            } => size_of_val(bootstrap.as_view().data()) + keyswitch.bytes(),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => 0,
        }
    }

    /// How many look-ups of a layer of so many go together.
    pub(crate) fn split(&self, look_ups: usize) -> usize {
        let batch = match self {
            Self::Cpu { .. } => {
                let threads = rayon::current_num_threads();
                let rounds = look_ups.div_ceil(threads * BATCH);
                look_ups.div_ceil(threads * rounds.max(1))
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => look_ups.min(cuda::BATCH),
        };
        batch.max(1)
    }

    /// Looks up each of `lwes` (`k N + 1` words each, end to end) in its accumulator (`(k + 1) N` words each). The results are
    /// `k N + 1` words each.
    pub(crate) fn run(&self, set: ParameterSet, lwes: &[u64], accumulators: Vec<u64>) -> Vec<u64> {
        let mut accumulators = GlweCiphertextList::from_container(
            accumulators,
            GlweSize(set.rank() + 1),
            PolynomialSize(set.degree()),
            CiphertextModulus::new_native(),
        );
        match self {
            Self::Cpu {
                bootstrap,
                keyswitch,
            } => {
                let small = keyswitch.switch(lwes);
                blind_rotate(bootstrap.as_view(), &small, &mut accumulators);
                extracted(set, &accumulators)
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(keys) => keys.run(set, lwes, &accumulators),
        }
    }
}

/// The constant coefficients.
fn extracted(set: ParameterSet, accumulators: &GlweCiphertextListOwned<u64>) -> Vec<u64> {
    let size = set.dimension() + 1;
    let mut out = vec![0u64; accumulators.glwe_ciphertext_count().0 * size];
    for (glwe, out) in accumulators.iter().zip(out.chunks_exact_mut(size)) {
        let mut lwe = LweCiphertext::from_container(out, CiphertextModulus::new_native());
        extract_lwe_sample_from_glwe_ciphertext(&glwe, &mut lwe, MonomialDegree(0));
    }
    out
}
