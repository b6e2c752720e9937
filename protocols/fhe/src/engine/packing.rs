//! Packing LWE ciphertexts into the coefficients of one GLWE ciphertext.
//!
//! The public functional key switch of Chillotti, Gama, Georgieva and Izabachène (*TFHE*, Journal of Cryptology 2020,
//! algorithm 2) for the function "put it into coefficient `j`", as tfhe has it in
//! `keyswitch_lwe_ciphertext_list_and_pack_in_glwe_ciphertext`. As in [`super::keyswitch`], each row of the key serves all
//! ciphertexts while it is in cache; threads take columns.

use rayon::prelude::*;
use tfhe::core_crypto::prelude::*;

use crate::parameters::{PACKED, PACKING_LEVELS};

/// Columns that one task takes: a multiple of [`PACKED`].
const COLUMNS: usize = 16 * PACKED;

/// Packs up to [`PACKED`] ciphertexts, laid end to end; returns the words of a GLWE ciphertext.
pub(crate) fn pack(key: &LwePackingKeyswitchKeyOwned<u64>, lwes: &[u64]) -> Vec<u64> {
    const { assert!(PACKING_LEVELS.0 == 1, "digits are one word per element") };
    let dimension = key.input_key_lwe_dimension().0;
    let size = key.output_glwe_size().0 * PACKED;
    let decomposer = SignedDecomposer::<u64>::new(
        key.decomposition_base_log(),
        key.decomposition_level_count(),
    );
    let lwes: Vec<&[u64]> = lwes.chunks_exact(dimension + 1).collect();
    let digits: Vec<Vec<u64>> = lwes
        .iter()
        .map(|c| {
            let digit = |a: &u64| decomposer.decompose(*a).next().map_or(0, |d| d.value());
            c[..dimension].iter().map(digit).collect()
        })
        .collect();
    let key: &[u64] = key.as_ref();
    let blocks: Vec<Vec<u64>> = (0..size)
        .step_by(COLUMNS)
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|first| {
            let width = COLUMNS.min(size - first);
            let mut sums = vec![0u64; digits.len() * width];
            pulp::Arch::new().dispatch(|| {
                for (i, row) in key.chunks_exact(size).enumerate() {
                    let row = &row[first..first + width];
                    for (sum, digits) in sums.chunks_exact_mut(width).zip(&digits) {
                        let digit = digits[i];
                        for (s, r) in sum.iter_mut().zip(row) {
                            *s = s.wrapping_sub(r.wrapping_mul(digit));
                        }
                    }
                }
            });
            rotate_and_add(&sums, width)
        })
        .collect();
    let mut glwe = blocks.concat();
    let bodies = size - PACKED;
    for (body, lwe) in glwe[bodies..].iter_mut().zip(&lwes) {
        *body = body.wrapping_add(lwe[dimension]);
    }
    glwe
}

/// `sum_j X^j s_j`, for every polynomial of the block.
fn rotate_and_add(sums: &[u64], width: usize) -> Vec<u64> {
    let mut out = vec![0u64; width];
    for (j, sum) in sums.chunks_exact(width).enumerate() {
        for (out, polynomial) in out.chunks_exact_mut(PACKED).zip(sum.chunks_exact(PACKED)) {
            for (c, s) in polynomial.iter().enumerate() {
                match c + j {
                    at if at < PACKED => out[at] = out[at].wrapping_add(*s),
                    at => out[at - PACKED] = out[at - PACKED].wrapping_sub(*s),
                }
            }
        }
    }
    out
}
