//! Blind rotation of many ciphertexts by one pass over the bootstrapping key.

use tfhe::core_crypto::fft_impl::fft64::crypto::bootstrap::{
    FourierLweBootstrapKeyView, batch_blind_rotate_assign_scratch,
};
use tfhe::core_crypto::prelude::*;

/// Rotates `accumulators` by the phases of `lwes`, in place.
///
/// The modulus switch is the one that centres its error (tfhe's `CenteredMeanNoiseReduction`), which takes half the
/// variance of plain rounding.
pub(crate) fn blind_rotate(
    key: FourierLweBootstrapKeyView<'_>,
    lwes: &[LweCiphertextOwned<u32>],
    accumulators: &mut GlweCiphertextListOwned<u64>,
) {
    let size = key.polynomial_size();
    let log = size.to_blind_rotation_input_modulus_log();
    let switched: Vec<_> = lwes
        .iter()
        .map(|c| lwe_ciphertext_centered_binary_modulus_switch::<u32, usize, _>(c.as_view(), log))
        .collect();
    let fft = Fft::new(size);
    let count = CiphertextCount(lwes.len());
    let need =
        batch_blind_rotate_assign_scratch::<u64>(key.glwe_size(), size, count, fft.as_view());
    let mut buffers = ComputationBuffers::new();
    buffers.resize(need.unaligned_bytes_required());
    key.batch_blind_rotate_assign(
        accumulators.as_mut_view(),
        &switched,
        fft.as_view(),
        buffers.stack(),
    );
}
