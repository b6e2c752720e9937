//! The AVX2 tile for any operands. There is no 64-bit multiplication, so a product modulo 2^64 is made of 32-bit ones:
//! `lo*lo + ((lo*hi + hi*lo) << 32)`, and the shift is done once per tile.
//!
//! The crosses count modulo 2^32 only, so `vpmulld` makes those of eight columns at once: four
//! multiplications for eight products, where three times `vpmuludq` takes six. The halves of a right
//! panel's step are sorted out in registers, two shuffles for all rows.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::cells::Rectangle;
use super::portable::add;

/// Nine accumulators, four halves of the right operand, two of the left and a product fill the registers.
pub(super) const MR: usize = 3;
pub(super) const NR: usize = 8;

/// Adds `a [kc, MR] * b [kc, NR]` to `out`, which has `M` rows.
#[target_feature(enable = "avx2")]
pub(super) fn tile<const M: usize>(a: &[u64], b: &[u64], out: &mut Rectangle<'_>) {
    let mut low = [[_mm256_setzero_si256(); 2]; M];
    let mut cross = [_mm256_setzero_si256(); M];
    out.prefetch();
    for (a, b) in a.as_chunks::<MR>().0.iter().zip(b.as_chunks::<NR>().0) {
        let words = [load(&b[..4]), load(&b[4..])];
        let [lower, upper] = shuffled(words);
        let halves: &[u32; 2 * MR] = bytemuck::cast_ref(a);
        for i in 0..M {
            // Each from memory: a broadcast then takes no arithmetic unit.
            let l = _mm256_set1_epi32(halves[2 * i] as i32);
            let h = _mm256_set1_epi32(halves[2 * i + 1] as i32);
            for j in 0..2 {
                // Looks at the lower half of each lane alone, on both sides.
                low[i][j] = _mm256_add_epi64(low[i][j], _mm256_mul_epu32(l, words[j]));
            }
            cross[i] = _mm256_add_epi32(cross[i], _mm256_mullo_epi32(l, upper));
            cross[i] = _mm256_add_epi32(cross[i], _mm256_mullo_epi32(h, lower));
        }
    }
    let zero = _mm256_setzero_si256();
    let mut tile = [[0; NR]; M];
    for i in 0..M {
        // Undoes the order of `shuffled`.
        let shifted = [
            _mm256_unpacklo_epi32(zero, cross[i]),
            _mm256_unpackhi_epi32(zero, cross[i]),
        ];
        for j in 0..2 {
            let sum = _mm256_add_epi64(low[i][j], shifted[j]);
            let cells = &mut tile[i][4 * j..][..4];
            // SAFETY: `cells` has exactly 4 words = 32 bytes, and the store needs no alignment.
            unsafe { _mm256_storeu_si256(cells.as_mut_ptr().cast(), sum) };
        }
    }
    add(&tile, out);
}

/// The lower halves of eight words and the upper ones, of columns 0, 1, 4, 5, 2, 3, 6, 7.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn shuffled(words: [__m256i; 2]) -> [__m256i; 2] {
    let [first, second] = [_mm256_castsi256_ps(words[0]), _mm256_castsi256_ps(words[1])];
    [
        _mm256_castps_si256(_mm256_shuffle_ps::<0x88>(first, second)),
        _mm256_castps_si256(_mm256_shuffle_ps::<0xdd>(first, second)),
    ]
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn load(words: &[u64]) -> __m256i {
    assert!(words.len() >= 4);
    // SAFETY: the slice has at least 4 words = 32 bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}
