//! The AVX2 tile. There is no 64-bit multiplication, so a product modulo 2^64 is made of three
//! 32-bit ones: `lo*lo + ((lo*hi + hi*lo) << 32)`, and the shift is done once per tile.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::cells::Rectangle;
use super::portable::add;

pub(super) const MR: usize = 2;
pub(super) const NR: usize = 8;

/// Adds `a [kc, 2, MR]` (in halves) `* b [kc, NR]` to `out`, which has `M` rows.
#[target_feature(enable = "avx2")]
pub(super) fn tile<const M: usize>(a: &[u64], b: &[u64], out: &mut Rectangle<'_>) {
    let mut low = [[_mm256_setzero_si256(); 2]; M];
    let mut cross = [[_mm256_setzero_si256(); 2]; M];
    for (a, b) in a
        .as_chunks::<{ 2 * MR }>()
        .0
        .iter()
        .zip(b.as_chunks::<NR>().0)
    {
        let b = [load(&b[..4]), load(&b[4..])];
        let high = [_mm256_srli_epi64::<32>(b[0]), _mm256_srli_epi64::<32>(b[1])];
        for i in 0..M {
            let al = _mm256_set1_epi64x(a[i] as i64);
            let ah = _mm256_set1_epi64x(a[MR + i] as i64);
            for j in 0..2 {
                low[i][j] = _mm256_add_epi64(low[i][j], _mm256_mul_epu32(al, b[j]));
                let x = _mm256_add_epi64(_mm256_mul_epu32(al, high[j]), _mm256_mul_epu32(ah, b[j]));
                cross[i][j] = _mm256_add_epi64(cross[i][j], x);
            }
        }
    }
    let mut tile = [[0; NR]; M];
    for i in 0..M {
        for j in 0..2 {
            let sum = _mm256_add_epi64(low[i][j], _mm256_slli_epi64::<32>(cross[i][j]));
            let cells = &mut tile[i][4 * j..][..4];
            // SAFETY: `cells` has exactly 4 words = 32 bytes, and the store needs no alignment.
            unsafe { _mm256_storeu_si256(cells.as_mut_ptr().cast(), sum) };
        }
    }
    add(&tile, out);
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(words: &[u64]) -> __m256i {
    assert!(words.len() >= 4);
    // SAFETY: the slice has at least 4 words = 32 bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}
