//! Noise, by tfhe's formulas.
//!
//! All variances are in units of the torus squared (the torus is `[0, 1)`). The formulas are those that tfhe publishes
//! with its parameter sets (`core_crypto::commons::noise_formulas`, for Gaussian noise and 132 bits of security); they
//! assume, as everyone does, that errors of different ciphertexts are independent.
//!
//! Ours are three: a sum scales variances by squared weights; a key rounded to 32 bits adds a uniform error per word;
//! the product by FFT in 53-bit floats adds an error bounded from above.

use tfhe::core_crypto::commons::noise_formulas::centered_mean_shifted_modulus_switch::centered_binary_shifted_modulus_switch_additive_variance as switched_variance;
use tfhe::core_crypto::commons::noise_formulas::lwe_keyswitch::keyswitch_additive_variance_132_bits_security_gaussian as keyswitch_variance;
use tfhe::core_crypto::commons::noise_formulas::lwe_packing_keyswitch::packing_keyswitch_additive_variance_132_bits_security_gaussian as packing_variance;
use tfhe::core_crypto::commons::noise_formulas::lwe_programmable_bootstrap::pbs_variance_132_bits_security_gaussian_fft_mul as bootstrap_variance;
use tfhe::core_crypto::commons::noise_formulas::modulus_switch::modulus_switch_additive_variance as rounding_variance;
use tfhe::core_crypto::commons::noise_formulas::secure_noise::minimal_glwe_variance_for_132_bits_security_gaussian as fresh_variance;
use tfhe::core_crypto::prelude::*;

use crate::parameters::{PACKED, PACKING_BASE, PACKING_LEVELS, ParameterSet};

/// Binary logarithm of the failure probability that every table look-up and every output must stay below.
pub const FAILURE_LOG2: f64 = -128.0;

const MODULUS: f64 = 18_446_744_073_709_551_616.0;
const MANTISSA: f64 = 53.0;

/// Of an input as it is encrypted.
pub(crate) fn fresh(set: ParameterSet) -> f64 {
    let p = set.tfhe();
    fresh_variance(p.glwe_dimension, p.polynomial_size, MODULUS).0
}

/// Of the result of a bootstrap.
pub(crate) fn bootstrapped(set: ParameterSet) -> f64 {
    let p = set.tfhe();
    bootstrap_variance(
        p.lwe_dimension,
        p.glwe_dimension,
        p.polynomial_size,
        p.pbs_base_log,
        p.pbs_level,
        MANTISSA,
        MODULUS,
    )
    .0
}

/// What a key switch adds, with a key that is not rounded.
fn key_switch(set: ParameterSet) -> f64 {
    let p = set.tfhe();
    keyswitch_variance(
        LweDimension(set.dimension()),
        p.lwe_dimension,
        p.ks_base_log,
        p.ks_level,
        MODULUS,
        MODULUS,
    )
    .0
}

/// What key switch and modulus switch add in front of a table.
pub(crate) fn before_table(set: ParameterSet) -> f64 {
    let p = set.tfhe();
    let n = set.small_dimension() as f64;
    // Each of `k N l` digits (variance B^2 / 12) meets a row whose words are off by up to 2^-33, under n / 2 ones of the key.
    let base = f64::from(1u32 << p.ks_base_log.0);
    let words = (set.dimension() * p.ks_level.0) as f64 * (base * base / 12.0 + 1.0 / 6.0);
    let rounded = (words + 1.0) * (n / 2.0 + 1.0) / 12.0 * (-64f64).exp2();
    let two_n = 2.0 * set.degree() as f64;
    key_switch(set) + rounded + switched_variance(p.lwe_dimension, (32f64).exp2(), two_n).0
}

/// What the FFT adds to a sum with weights of squared norm `norm2`: 53-bit words in, `log2 N` butterflies each way and
/// one product, under `k N / 2` ones of the key; each step's relative error counted in full and a factor of four on top.
pub(crate) fn fft(set: ParameterSet, norm2: f64) -> f64 {
    let steps = 2.0 * (set.degree() as f64).log2() + 2.0;
    let relative = 4.0 * steps * (-106f64).exp2();
    norm2 * relative * (set.dimension() as f64 / 2.0 + 1.0) / 12.0
}

/// What packing of up to [`PACKED`] results adds.
pub(crate) fn packing(set: ParameterSet) -> f64 {
    packing_variance(
        LweDimension(set.dimension()),
        GlweDimension(set.packing_rank()),
        PolynomialSize(PACKED),
        PACKING_BASE,
        PACKING_LEVELS,
        PACKED as f64,
        MODULUS,
    )
    .0
}

/// What rounding an answer's words to `bits` adds.
pub(crate) fn answer_rounding(set: ParameterSet, bits: u32) -> f64 {
    rounding_variance(
        LweDimension(set.dimension()),
        MODULUS,
        f64::from(bits).exp2(),
    )
    .0
}

/// Binary logarithm of (a bound on) the probability that a Gaussian error of `variance` leaves `±margin`.
///
/// `erfc(x) <= exp(-x^2) / (x sqrt(pi))`.
pub(crate) fn failure_log2(margin: f64, variance: f64) -> f64 {
    if margin <= 0.0 {
        return 0.0;
    }
    let x = margin / (2.0 * variance).sqrt();
    let log2 = -x * x * std::f64::consts::LOG2_E - (x * std::f64::consts::PI.sqrt()).log2();
    log2.min(0.0)
}

/// The margin at which [`failure_log2`] is [`FAILURE_LOG2`]: 13.11 deviations.
pub(crate) fn margin(variance: f64) -> f64 {
    let deviation = variance.sqrt();
    let (mut low, mut high) = (1.0, 40.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if failure_log2(middle, 1.0) <= FAILURE_LOG2 {
            high = middle;
        } else {
            low = middle;
        }
    }
    high * deviation
}

/// Cells of a table that `set` tells apart for an input of variance `input`.
pub(crate) fn cells(set: ParameterSet, input: f64) -> f64 {
    0.25 / margin(before_table(set) + input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_is_the_known_quantile() {
        assert!((margin(1.0) - 13.11).abs() < 0.01, "{}", margin(1.0));
        assert!((failure_log2(13.11, 1.0) + 128.0).abs() < 0.5);
    }

    #[test]
    fn published_sets_tell_their_published_cells_apart() {
        assert!(cells(ParameterSet::Ring1024, 0.0) >= 8.0);
        assert!(cells(ParameterSet::Ring2048, 0.0) >= 16.0);
    }

    #[test]
    fn rounding_the_key_is_harmless() {
        for set in ParameterSet::ALL {
            let p = set.tfhe();
            let switched = switched_variance(p.lwe_dimension, MODULUS, 2.0 * set.degree() as f64).0;
            let unrounded = key_switch(set) + switched;
            assert!(before_table(set) < 1.0001 * unrounded);
        }
    }
}
