//! The tile for any operands on processors with IFMA, VNNI and VBMI.
//!
//! With `x = x0 + 2^52 x1` and `w = w0 + 2^52 w1`, modulo 2^64
//!
//! ```text
//! x w = lo52(x0 w0) + 2^52 (hi52(x0 w0) + x0 w1 + x1 w0)
//! ```
//!
//! `vpmadd52luq` and `vpmadd52huq` add the two halves of `x0 w0` and look at no bit above the 52nd,
//! so they take the words as they are. The rest counts modulo 2^12 only, so sixteen bits of each
//! factor do, and one `vpdpwssd` adds both cross products for sixteen columns. That is 5/16 of an
//! instruction for a product. All sums may wrap: nothing limits the contracted axis.
//!
//! A 32-bit half of a lane of the cross sums belongs to column `j` or `j + 8`, so that no lane moves.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx512::{NR, V, add_row, dpwssd, load, load_some, steps, store};
use super::cells::Rectangle;

pub(super) const MR: usize = 5;
/// Words of a step of a left panel: `MR` words, then their `MR` pairs of 16 bits.
pub(super) const LEFT: usize = 8;
/// Words of a step of a right panel with the pairs worked out.
pub(super) const EXPANDED: usize = NR + V;

/// Sixteen bits of `x0` and of `x1`, as a left operand pairs them.
#[inline(always)]
pub(super) fn left_pair(x: u64) -> u32 {
    (x as u32 & 0xffff) | ((x >> 52) as u32) << 16
}

/// The pairs of sixteen columns: `w1`, then 16 bits of `w0`. Four bits above `w1` hold anything.
#[target_feature(enable = "avx512f,avx512vbmi")]
#[inline]
fn right_pairs(w: [__m512i; 2]) -> __m512i {
    // Bit positions from which each byte of a lane is taken.
    let first = _mm512_set1_epi64(0x0000_0000_0800_3c34);
    let second = _mm512_set1_epi64(0x0800_3c34_0000_0000);
    let pairs = _mm512_multishift_epi64_epi8(first, w[0]);
    _mm512_mask_multishift_epi64_epi8(pairs, 0xf0f0_f0f0_f0f0_f0f0, second, w[1])
}

/// Adds `a * b` to `out`, which has `M` rows and at most `8 W` columns; `b` has steps of `B` words,
/// [`NR`] or [`EXPANDED`].
#[target_feature(enable = "avx512f,avx512ifma,avx512vnni,avx512vbmi")]
pub(super) fn tile<const M: usize, const W: usize, const B: usize>(
    a: &[u64],
    b: &[u64],
    out: &mut Rectangle<'_>,
) {
    let zero = _mm512_setzero_si512();
    let mut low = [[zero; W]; M];
    let mut high = [[zero; W]; M];
    let mut cross = [zero; M];
    for (a, b) in steps::<LEFT>(a).zip(steps::<B>(b)) {
        let w = [load(&b[..V]), load(&b[V..NR])];
        let pairs = if B == EXPANDED {
            load(&b[NR..])
        } else {
            right_pairs(w)
        };
        let left: &[u32; 2 * LEFT] = bytemuck::cast_ref(a);
        for i in 0..M {
            let x = _mm512_set1_epi64(a[i] as i64);
            for j in 0..W {
                low[i][j] = _mm512_madd52lo_epu64(low[i][j], x, w[j]);
                high[i][j] = _mm512_madd52hi_epu64(high[i][j], x, w[j]);
            }
            let pair = _mm512_set1_epi32(left[2 * MR + i] as i32);
            cross[i] = dpwssd(cross[i], pair, pairs);
        }
    }
    for i in 0..M {
        let cross = [cross[i], _mm512_srli_epi64::<32>(cross[i])];
        let mut sums = [zero; 2];
        for j in 0..W {
            let top = _mm512_add_epi64(high[i][j], cross[j]);
            sums[j] = _mm512_add_epi64(low[i][j], _mm512_slli_epi64::<52>(top));
        }
        add_row(sums, out.row(i));
    }
}

/// Lays out rows of up to sixteen words, `stride` apart in `source`, as a right panel with pairs.
#[target_feature(enable = "avx512f,avx512vbmi")]
pub(super) fn expand(source: &[u64], stride: usize, columns: usize, out: &mut [u64]) {
    let rows = out.as_chunks_mut::<EXPANDED>().0.iter_mut().enumerate();
    for (k, out) in rows {
        let row = &source[k * stride..][..columns];
        let w = if columns == NR {
            [load(&row[..V]), load(&row[V..])]
        } else {
            [load_some(row), load_some(&row[V.min(columns)..])]
        };
        store(w[0], &mut out[..V]);
        store(w[1], &mut out[V..]);
        store(right_pairs(w), &mut out[NR..]);
    }
}
