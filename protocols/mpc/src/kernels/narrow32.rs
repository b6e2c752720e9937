//! Tiles for public weights of 32 bits, signed, on processors with AVX2 alone.
//!
//! A wide operand is cut into a *signed* lower half and what is left of the upper one,
//! `x = l + 2^32 h` with `|l| <= 2^31`, so that
//!
//! ```text
//! x w = l w + 2^32 (h w mod 2^32)
//! ```
//!
//! is one `vpmuldq` and half a `vpmulld`. That is 3/4 of an instruction for a product, with the additions. The cut is a
//! single addition when the operand is packed ([`cut`]). Both sums may wrap: nothing limits the contracted axis.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx2::{NR, load, shuffled};
use super::cells::Rectangle;
use super::portable::add;

/// Twelve accumulators, the right operand twice, one half of the left and a product fill the registers.
pub(super) const MR: usize = 4;
/// Words of a step of a left panel of weights, 32 bits each.
pub(super) const LEFT_WEIGHTS: usize = MR / 2;
/// Words of a step of a right panel of weights, 32 bits each.
pub(super) const RIGHT_WEIGHTS: usize = NR / 2;

/// The halves of a wide element, the lower one to be read as signed.
#[inline(always)]
pub(super) fn cut(x: u64) -> u64 {
    x.wrapping_add((x & 0x8000_0000) << 1)
}

/// Adds `a * b` to `out`, which has `M` rows, where `a` is wide and `b` are weights.
#[target_feature(enable = "avx2")]
pub(super) fn tile_right<const M: usize>(a: &[u64], b: &[u64], out: &mut Rectangle<'_>) {
    let zero = _mm256_setzero_si256();
    out.prefetch();
    let (mut even, mut odd, mut upper) = ([zero; M], [zero; M], [zero; M]);
    let steps = a.as_chunks::<MR>().0.iter();
    for (a, b) in steps.zip(b.as_chunks::<RIGHT_WEIGHTS>().0) {
        let w = load(b);
        let w_odd = _mm256_srli_epi64::<32>(w);
        let halves: &[u32; 2 * MR] = bytemuck::cast_ref(a);
        for i in 0..M {
            // Each from memory: a broadcast then takes no arithmetic unit.
            let l = _mm256_set1_epi32(halves[2 * i] as i32);
            let h = _mm256_set1_epi32(halves[2 * i + 1] as i32);
            // Looks at the lower half of each lane alone, on both sides.
            even[i] = _mm256_add_epi64(even[i], _mm256_mul_epi32(l, w));
            odd[i] = _mm256_add_epi64(odd[i], _mm256_mul_epi32(l, w_odd));
            upper[i] = _mm256_add_epi32(upper[i], _mm256_mullo_epi32(h, w));
        }
    }
    let mut tile = [[0; NR]; M];
    for i in 0..M {
        let even = _mm256_add_epi64(even[i], _mm256_slli_epi64::<32>(upper[i]));
        let high = _mm256_srli_epi64::<32>(upper[i]);
        let odd = _mm256_add_epi64(odd[i], _mm256_slli_epi64::<32>(high));
        // Columns 0, 1, 4, 5 and 2, 3, 6, 7.
        let (first, second) = (
            _mm256_unpacklo_epi64(even, odd),
            _mm256_unpackhi_epi64(even, odd),
        );
        put(
            _mm256_permute2x128_si256::<0x20>(first, second),
            &mut tile[i][..4],
        );
        put(
            _mm256_permute2x128_si256::<0x31>(first, second),
            &mut tile[i][4..],
        );
    }
    add(&tile, out);
}

/// Adds `a * b` to `out`, which has `M` rows, where `a` are weights and `b` is wide.
#[target_feature(enable = "avx2")]
pub(super) fn tile_left<const M: usize>(a: &[u64], b: &[u64], out: &mut Rectangle<'_>) {
    let zero = _mm256_setzero_si256();
    out.prefetch();
    let mut low = [[zero; 2]; M];
    let mut upper = [zero; M];
    let steps = a.as_chunks::<LEFT_WEIGHTS>().0.iter();
    for (a, b) in steps.zip(b.as_chunks::<NR>().0) {
        let words = [load(&b[..4]), load(&b[4..])];
        let [_, h] = shuffled(words);
        let weights: &[u32; MR] = bytemuck::cast_ref(a);
        for i in 0..M {
            let w = _mm256_set1_epi32(weights[i] as i32);
            for j in 0..2 {
                low[i][j] = _mm256_add_epi64(low[i][j], _mm256_mul_epi32(w, words[j]));
            }
            upper[i] = _mm256_add_epi32(upper[i], _mm256_mullo_epi32(w, h));
        }
    }
    let mut tile = [[0; NR]; M];
    for i in 0..M {
        let shifted = [
            _mm256_unpacklo_epi32(zero, upper[i]),
            _mm256_unpackhi_epi32(zero, upper[i]),
        ];
        for j in 0..2 {
            put(
                _mm256_add_epi64(low[i][j], shifted[j]),
                &mut tile[i][4 * j..][..4],
            );
        }
    }
    add(&tile, out);
}

#[target_feature(enable = "avx2")]
#[inline]
fn put(v: __m256i, cells: &mut [u64]) {
    assert!(cells.len() >= 4);
    // SAFETY: `cells` has at least 4 words = 32 bytes, and the store needs no alignment.
    unsafe { _mm256_storeu_si256(cells.as_mut_ptr().cast(), v) };
}
