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
    out.prefetch();
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

/// Packs up to [`MR`] rows, `inner` apart in `rows`, from element `k0` on as a left panel.
///
/// Eight elements of the rows and of their pairs are a square of eight by eight words, which is
/// turned in registers.
#[target_feature(enable = "avx512f,avx512vbmi")]
pub(super) fn pack_left(
    rows: &[u64],
    inner: usize,
    m: usize,
    (k0, kc): (usize, usize),
    out: &mut [u64],
) {
    assert!(m <= MR);
    let out = &mut out.as_chunks_mut::<LEFT>().0[..kc];
    for (block, out) in out.chunks_mut(V).enumerate() {
        let mut square = [_mm512_setzero_si512(); V];
        for (i, row) in square.iter_mut().enumerate().take(m) {
            *row = load_some(&rows[i * inner + k0 + block * V..][..out.len()]);
        }
        square[5] = left_pairs(square[0], square[1]);
        square[6] = left_pairs(square[2], square[3]);
        square[7] = left_pairs(square[4], square[4]);
        for (out, column) in out.iter_mut().zip(turn(square)) {
            store(column, out);
        }
    }
}

/// The pairs of two rows: 16 bits of `x0`, then `x1`, above which are four bits of anything.
#[target_feature(enable = "avx512f,avx512vbmi")]
#[inline]
fn left_pairs(first: __m512i, second: __m512i) -> __m512i {
    let low = _mm512_set1_epi64(0x0000_0000_3c34_0800);
    let high = _mm512_set1_epi64(0x3c34_0800_0000_0000);
    let pairs = _mm512_multishift_epi64_epi8(low, first);
    _mm512_mask_multishift_epi64_epi8(pairs, 0xf0f0_f0f0_f0f0_f0f0, high, second)
}

/// Turns eight rows of eight words into eight columns.
#[target_feature(enable = "avx512f")]
#[inline]
fn turn(r: [__m512i; V]) -> [__m512i; V] {
    let mut columns = [_mm512_setzero_si512(); V];
    for odd in 0..2 {
        // Quarters `q` of these hold column `2 q + odd` of two rows each.
        let two = |i: usize| {
            if odd == 0 {
                _mm512_unpacklo_epi64(r[i], r[i + 1])
            } else {
                _mm512_unpackhi_epi64(r[i], r[i + 1])
            }
        };
        let t = [two(0), two(2), two(4), two(6)];
        let (a, b) = (
            _mm512_shuffle_i64x2::<0x44>(t[0], t[1]),
            _mm512_shuffle_i64x2::<0x44>(t[2], t[3]),
        );
        columns[odd] = _mm512_shuffle_i64x2::<0x88>(a, b);
        columns[2 + odd] = _mm512_shuffle_i64x2::<0xdd>(a, b);
        let (a, b) = (
            _mm512_shuffle_i64x2::<0xee>(t[0], t[1]),
            _mm512_shuffle_i64x2::<0xee>(t[2], t[3]),
        );
        columns[4 + odd] = _mm512_shuffle_i64x2::<0x88>(a, b);
        columns[6 + odd] = _mm512_shuffle_i64x2::<0xdd>(a, b);
    }
    columns
}
