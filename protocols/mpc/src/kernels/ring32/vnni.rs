//! The tile for products modulo 2^32 by `vpdpwssd`.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::super::avx512::dpwssd;
use super::Tile;

const M: usize = 6;
const N: usize = 32;
/// Words in a vector.
const V: usize = 16;

/// Steps of two: the pair of lower halves, and for each element the pair of both its halves, which
/// the two operands have in opposite order.
pub(super) struct Vnni;

/// Both halves: the lower one signed, and what is then left in the upper one.
#[inline(always)]
fn halves(x: u32) -> (u32, u32) {
    (x & 0xffff, x.wrapping_add(0x8000) >> 16)
}

impl Tile for Vnni {
    const M: usize = M;
    const N: usize = N;
    const STEP: usize = 2;
    const WORDS: usize = 3;

    #[inline(always)]
    fn left(x: &[u32], mut words: impl FnMut(usize, u32)) {
        let ((a0, a1), (b0, b1)) = (halves(x[0]), halves(x[1]));
        words(0, a0 | b0 << 16);
        words(1, a1 | a0 << 16);
        words(2, b1 | b0 << 16);
    }

    #[inline(always)]
    fn right(x: &[u32], mut words: impl FnMut(usize, u32)) {
        let ((a0, a1), (b0, b1)) = (halves(x[0]), halves(x[1]));
        words(0, a0 | b0 << 16);
        words(1, a0 | a1 << 16);
        words(2, b0 | b1 << 16);
    }

    #[inline(always)]
    fn run(a: &[u32], b: &[u32], out: &mut [u32]) {
        // SAFETY: this tile is chosen only for an `Isa` whose values exist only where VNNI and
        // AVX-512 were detected.
        unsafe { tile(a, b, out) }
    }
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn tile(a: &[u32], b: &[u32], out: &mut [u32]) {
    let zero = _mm512_setzero_si512();
    let mut low = [[zero; 2]; M];
    let mut cross = [[zero; 2]; M];
    let steps = a.as_chunks::<{ 3 * M }>().0.iter();
    for (a, b) in steps.zip(b.as_chunks::<{ 3 * N }>().0) {
        for word in 0..3 {
            let b = [load(&b[word * N..][..V]), load(&b[word * N + V..][..V])];
            for i in 0..M {
                let a = _mm512_set1_epi32(a[word * M + i] as i32);
                for j in 0..2 {
                    let sum = if word == 0 { &mut low } else { &mut cross };
                    sum[i][j] = dpwssd(sum[i][j], a, b[j]);
                }
            }
        }
    }
    assert_eq!(out.len(), M * N);
    for i in 0..M {
        for j in 0..2 {
            let sum = _mm512_add_epi32(low[i][j], _mm512_slli_epi32::<16>(cross[i][j]));
            let cells = &mut out[i * N + j * V..][..V];
            // SAFETY: `cells` are 16 words of 32 bits = 64 bytes, and the store needs no alignment.
            unsafe { _mm512_storeu_si512(cells.as_mut_ptr().cast(), sum) };
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(words: &[u32]) -> __m512i {
    assert!(words.len() >= V);
    // SAFETY: the slice has at least 16 words of 32 bits = 64 bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}
