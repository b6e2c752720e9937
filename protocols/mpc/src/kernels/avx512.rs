//! The AVX-512 tile for processors without IFMA: `vpmullq`. Also what all AVX-512 tiles share.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::cells::Rectangle;

/// Words in a vector.
pub(super) const V: usize = 8;
pub(super) const NR: usize = 2 * V;
pub(super) const MR: usize = 10;

/// Adds `a [kc, MR] * b [kc, NR]` to `out`, which has `M` rows.
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn tile<const M: usize>(a: &[u64], b: &[u64], out: &mut Rectangle<'_>) {
    let mut acc = [[_mm512_setzero_si512(); 2]; M];
    for (a, b) in steps::<MR>(a).zip(steps::<NR>(b)) {
        let b = [load(&b[..V]), load(&b[V..])];
        for i in 0..M {
            let a = _mm512_set1_epi64(a[i] as i64);
            for j in 0..2 {
                acc[i][j] = _mm512_add_epi64(acc[i][j], _mm512_mullo_epi64(a, b[j]));
            }
        }
    }
    for (i, sums) in acc.into_iter().enumerate() {
        add_row(sums, out.row(i));
    }
}

/// Adds sixteen sums to a row, as far as that reaches.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn add_row(sums: [__m512i; 2], row: &mut [u64]) {
    for (cells, sum) in row.chunks_mut(V).zip(sums) {
        let mask = (0xffu16 >> (V - cells.len())) as u8;
        // SAFETY: the mask selects `cells.len()` lanes; unselected lanes are neither read nor
        // written, and neither access needs alignment.
        unsafe {
            let old = _mm512_maskz_loadu_epi64(mask, cells.as_ptr().cast());
            let new = _mm512_add_epi64(old, sum);
            _mm512_mask_storeu_epi64(cells.as_mut_ptr().cast(), mask, new);
        }
    }
}

/// The packed steps of a panel, with a length that the compiler knows.
#[inline(always)]
pub(super) fn steps<const N: usize>(panel: &[u64]) -> std::slice::Iter<'_, [u64; N]> {
    panel.as_chunks().0.iter()
}

/// Adds to each 32-bit lane of `sum` the two products of 16-bit lanes of `a` and `b`, wrapping.
///
/// The compiler makes two instructions of `_mm512_dpwssd_epi32` to shorten the chain of sums. Here
/// there are chains enough, and it is the number of instructions that counts.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
pub(super) fn dpwssd(mut sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: one instruction of AVX512-VNNI, which the function is compiled for; it reads and
    // writes the named registers only.
    unsafe {
        std::arch::asm!(
            "vpdpwssd {sum}, {a}, {b}",
            sum = inout(zmm_reg) sum,
            a = in(zmm_reg) a,
            b = in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn load(words: &[u64]) -> __m512i {
    assert!(words.len() >= V);
    // SAFETY: the slice has at least 8 words = 64 bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

/// Up to eight words, zero beyond the slice.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn load_some(words: &[u64]) -> __m512i {
    let mask = (0xffu16 >> V.saturating_sub(words.len())) as u8;
    // SAFETY: the mask selects at most `words.len()` lanes and others are not read.
    unsafe { _mm512_maskz_loadu_epi64(mask, words.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn store(vector: __m512i, words: &mut [u64]) {
    assert!(words.len() >= V);
    // SAFETY: the slice has at least 8 words = 64 bytes, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) }
}
