//! Look-ups on a GPU, by tfhe's CUDA back-end (`tfhe::core_crypto::gpu`).
//!
//! This file was checked by the compiler against tfhe's Rust side (`DOCS_RS=1 cargo check --features cuda` skips the CUDA
//! sources). It has not been linked or run: that takes `nvcc` and a GPU, and whoever has both must run the crate's tests
//! with [`Device::Cuda`](super::Device) before relying on it.
#![allow(unsafe_code, reason = "tfhe's only way to copy indices to a GPU")]

use std::sync::{Mutex, PoisonError};

use tfhe::core_crypto::gpu::glwe_ciphertext_list::CudaGlweCiphertextList;
use tfhe::core_crypto::gpu::lwe_bootstrap_key::{
    CudaLweBootstrapKey, CudaModulusSwitchNoiseReductionConfiguration,
};
use tfhe::core_crypto::gpu::lwe_ciphertext_list::CudaLweCiphertextList;
use tfhe::core_crypto::gpu::lwe_keyswitch_key::CudaLweKeyswitchKey;
use tfhe::core_crypto::gpu::vec::{CudaVec, GpuIndex};
use tfhe::core_crypto::gpu::{
    CudaStreams, cuda_keyswitch_lwe_ciphertext, cuda_programmable_bootstrap_lwe_ciphertext,
    get_number_of_gpus, is_cuda_available,
};
use tfhe::core_crypto::prelude::*;

use crate::error::FormatError;
use crate::parameters::ParameterSet;

/// Look-ups that go to the GPU at once: cancellation waits for a batch, and memory grows with it.
pub(super) const BATCH: usize = 1024;

/// Keys in a GPU's memory.
pub(crate) struct Keys {
    /// One batch at a time: a stream orders what is put on it, not what two threads put on it.
    streams: Mutex<CudaStreams>,
    bootstrap: CudaLweBootstrapKey,
    keyswitch: CudaLweKeyswitchKey<u64>,
    small: LweDimension,
}

impl Keys {
    pub(super) fn new(
        index: u32,
        bootstrap: &LweBootstrapKeyOwned<u64>,
        keyswitch: &LweKeyswitchKeyOwned<u64>,
    ) -> Result<Self, FormatError> {
        // tfhe panics on an index that is not there.
        if !is_cuda_available() || index >= get_number_of_gpus() {
            return Err(FormatError::Device { index });
        }
        let streams = CudaStreams::new_single_gpu(GpuIndex::new(index));
        let centred = CudaModulusSwitchNoiseReductionConfiguration::Centered;
        Ok(Self {
            bootstrap: CudaLweBootstrapKey::from_lwe_bootstrap_key(
                bootstrap,
                Some(centred),
                &streams,
            ),
            keyswitch: CudaLweKeyswitchKey::from_lwe_keyswitch_key(keyswitch, &streams),
            small: bootstrap.input_lwe_dimension(),
            streams: Mutex::new(streams),
        })
    }

    pub(super) fn run(
        &self,
        set: ParameterSet,
        lwes: &[u64],
        accumulators: &GlweCiphertextListOwned<u64>,
    ) -> Vec<u64> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let native = CiphertextModulus::new_native();
        let big = LweDimension(set.dimension());
        let count = LweCiphertextCount(accumulators.glwe_ciphertext_count().0);
        let lwes = LweCiphertextList::from_container(lwes, big.to_lwe_size(), native);
        let input = CudaLweCiphertextList::from_lwe_ciphertext_list(&lwes, &streams);
        let mut switched = CudaLweCiphertextList::new(self.small, count, native, &streams);
        let mut output = CudaLweCiphertextList::new(big, count, native, &streams);
        let tables = CudaGlweCiphertextList::from_glwe_ciphertext_list(accumulators, &streams);
        let in_order: Vec<u64> = (0..count.0 as u64).collect();
        // SAFETY: the copy reads `in_order`, which lives on, and is done when `synchronize` returns, before anything uses it.
        let indices = unsafe { CudaVec::from_cpu_async(&in_order, &streams, 0) };
        streams.synchronize();
        cuda_keyswitch_lwe_ciphertext(
            &self.keyswitch,
            &input,
            &mut switched,
            &indices,
            &indices,
            true,
            &streams,
            false,
        );
        cuda_programmable_bootstrap_lwe_ciphertext(
            &switched,
            &mut output,
            &tables,
            &indices,
            &indices,
            &indices,
            &self.bootstrap,
            &streams,
        );
        output.to_lwe_ciphertext_list(&streams).into_container()
    }
}
