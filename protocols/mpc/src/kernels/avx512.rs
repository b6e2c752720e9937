//! The AVX-512 tiles: `vpmullq` for any operands, and IFMA where one operand is narrow.
//!
//! IFMA multiplies 52-bit integers and adds the low 52 bits of the product to a 64-bit lane. With
//! one operand below 2^20 and the other cut into 32-bit halves each product is below 2^52, hence
//! exact, and 256 of them stay below 2^60. Two such instructions replace `vpmullq` and an addition
//! (four micro-operations on Intel cores).

#![allow(unsafe_code)]

use std::arch::x86_64::*;

/// Words in a vector.
const V: usize = 8;
pub(super) const NR: usize = 2 * V;
pub(super) const MR: usize = 10;
pub(super) const MR_IFMA: usize = 6;

/// `tile [MR, NR] = a [kc, MR] * b [kc, NR]`.
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn tile(a: &[u64], b: &[u64], tile: &mut [u64]) {
    let mut acc = [[_mm512_setzero_si512(); 2]; MR];
    for (a, b) in rows::<MR>(a).zip(rows::<NR>(b)) {
        let b = [load(&b[..V]), load(&b[V..])];
        for i in 0..MR {
            let a = _mm512_set1_epi64(a[i] as i64);
            for j in 0..2 {
                acc[i][j] = _mm512_add_epi64(acc[i][j], _mm512_mullo_epi64(a, b[j]));
            }
        }
    }
    store_tile(acc.as_flattened(), tile);
}

/// `tile = a * b` with wide `a [kc, 2, MR_IFMA]` in halves and narrow `b [kc, NR]` below 2^20.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn tile_narrow_right(a: &[u64], b: &[u64], tile: &mut [u64]) {
    let mut low = [[_mm512_setzero_si512(); 2]; MR_IFMA];
    let mut high = [[_mm512_setzero_si512(); 2]; MR_IFMA];
    for (a, b) in rows::<{ 2 * MR_IFMA }>(a).zip(rows::<NR>(b)) {
        let b = [load(&b[..V]), load(&b[V..])];
        for i in 0..MR_IFMA {
            let al = _mm512_set1_epi64(a[i] as i64);
            let ah = _mm512_set1_epi64(a[MR_IFMA + i] as i64);
            for j in 0..2 {
                low[i][j] = _mm512_madd52lo_epu64(low[i][j], al, b[j]);
                high[i][j] = _mm512_madd52lo_epu64(high[i][j], ah, b[j]);
            }
        }
    }
    store_halves(&low, &high, tile);
}

/// `tile = a * b` with narrow `a [kc, MR_IFMA]` below 2^20 and wide `b [kc, 2, NR]` in halves.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn tile_narrow_left(a: &[u64], b: &[u64], tile: &mut [u64]) {
    let mut low = [[_mm512_setzero_si512(); 2]; MR_IFMA];
    let mut high = [[_mm512_setzero_si512(); 2]; MR_IFMA];
    for (a, b) in rows::<MR_IFMA>(a).zip(rows::<{ 2 * NR }>(b)) {
        let bl = [load(&b[..V]), load(&b[V..NR])];
        let bh = [load(&b[NR..NR + V]), load(&b[NR + V..])];
        for i in 0..MR_IFMA {
            let a = _mm512_set1_epi64(a[i] as i64);
            for j in 0..2 {
                low[i][j] = _mm512_madd52lo_epu64(low[i][j], a, bl[j]);
                high[i][j] = _mm512_madd52lo_epu64(high[i][j], a, bh[j]);
            }
        }
    }
    store_halves(&low, &high, tile);
}

#[target_feature(enable = "avx512f")]
fn store_halves(low: &[[__m512i; 2]; MR_IFMA], high: &[[__m512i; 2]; MR_IFMA], tile: &mut [u64]) {
    let mut sums = [_mm512_setzero_si512(); 2 * MR_IFMA];
    for ((sum, low), high) in sums
        .iter_mut()
        .zip(low.as_flattened())
        .zip(high.as_flattened())
    {
        *sum = _mm512_add_epi64(*low, _mm512_slli_epi64::<32>(*high));
    }
    store_tile(&sums, tile);
}

#[target_feature(enable = "avx512f")]
fn store_tile(vectors: &[__m512i], tile: &mut [u64]) {
    assert_eq!(tile.len(), vectors.len() * V);
    for (out, vector) in tile.chunks_exact_mut(V).zip(vectors) {
        // SAFETY: `out` has exactly 8 words = 64 bytes, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), *vector) };
    }
}

/// The packed steps of a panel, with a length that the compiler knows.
fn rows<const N: usize>(panel: &[u64]) -> std::slice::Iter<'_, [u64; N]> {
    panel.as_chunks().0.iter()
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(words: &[u64]) -> __m512i {
    assert!(words.len() >= V);
    // SAFETY: the slice has at least 8 words = 64 bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}
