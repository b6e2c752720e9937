//! Tiles for public weights of 16 bits on processors with IFMA, VNNI and VBMI.
//!
//! The wide operand is cut as `x = x0 + 2^36 x1 + 2^51 x2` (36, 15 and 13 bits). With
//! `u = w + 2^15`, which is 16 bits unsigned, `x0 u` is below 2^52 and one `vpmadd52luq` adds it
//! whole; `x1 w` and `x2 w` count modulo 2^28 and 2^13, so `vpdpwssd` adds them in 32-bit lanes, two
//! steps of the contracted axis at a time. That is 3/16 of an instruction for a product. The excess
//! `2^15 x0` is summed when the wide operand is packed, and sums start from minus that: its panels
//! begin with a header. All sums may wrap: nothing limits the contracted axis.
//!
//! A step is two of the contracted axis. A 32-bit half of a lane belongs to column `j` or `j + 8`
//! and holds 16 bits for each of the two, so that no lane moves.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx512::{NR, V, add_row, dpwssd, load, load_some, steps, store};
use super::cells::Rectangle;

pub(super) const MR: usize = 6;
const LOW: u32 = 36;
const MIDDLE: u32 = 51;

/// Words of a step of a left panel of wide elements: twice `MR` words, `MR` pairs, `MR` pairs.
pub(super) const LEFT_WIDE: usize = 3 * MR;
/// Words of a step of a left panel of weights: twice `MR` words, `MR` pairs.
pub(super) const LEFT_WEIGHTS: usize = 2 * MR + MR / 2;
/// Words of a step of a right panel of weights.
pub(super) const RIGHT_WEIGHTS: usize = V;
/// The same with the words that IFMA wants worked out.
pub(super) const RIGHT_EXPANDED: usize = 2 * NR + V;
/// Words of a step of a right panel of wide elements: twice `NR` words, `NR` pairs, `NR` pairs.
pub(super) const RIGHT_WIDE: usize = 2 * NR + 2 * V;

/// The parts of a wide element.
#[inline(always)]
pub(super) fn cut(x: u64) -> (u64, u32, u32) {
    (
        x & ((1 << LOW) - 1),
        (x >> LOW) as u32 & 0x7fff,
        (x >> MIDDLE) as u32,
    )
}

/// Where a header starts: minus the excess of `low`, the sum of low parts.
#[inline(always)]
pub(super) fn header(low: u64) -> u64 {
    (low << 15).wrapping_neg()
}

/// Puts the sums of a tile together and adds them to `out`. Not a function: sums that are passed to
/// one go through memory.
macro_rules! finish {
    ($low:ident, $middle:ident, $top:ident, $out:ident) => {
        for i in 0..M {
            let middle = [$middle[i], _mm512_srli_epi64::<32>($middle[i])];
            let top = [$top[i], _mm512_srli_epi64::<32>($top[i])];
            let mut sums = [_mm512_setzero_si512(); 2];
            for j in 0..W {
                let m = _mm512_slli_epi64::<LOW>(middle[j]);
                let t = _mm512_slli_epi64::<MIDDLE>(top[j]);
                sums[j] = _mm512_add_epi64($low[i][j], _mm512_add_epi64(m, t));
            }
            add_row(sums, $out.row(i));
        }
    };
}

/// The words of `u` for both steps and halves of the columns.
#[target_feature(enable = "avx512f")]
#[inline]
fn unsigned(pairs: __m512i) -> [[__m512i; 2]; 2] {
    let u = _mm512_xor_si512(pairs, _mm512_set1_epi16(i16::MIN));
    let mask = _mm512_set1_epi64(0xffff);
    let field = |v| _mm512_and_si512(v, mask);
    [
        [field(u), field(_mm512_srli_epi64::<32>(u))],
        [
            field(_mm512_srli_epi64::<16>(u)),
            _mm512_srli_epi64::<48>(u),
        ],
    ]
}

/// Adds `a * b` to `out`, where `a` is wide and `b` are weights in steps of `B` words:
/// [`RIGHT_WEIGHTS`] or [`RIGHT_EXPANDED`].
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vnni")]
pub(super) fn tile_right<const M: usize, const W: usize, const B: usize>(
    a: &[u64],
    b: &[u64],
    out: &mut Rectangle<'_>,
) {
    let zero = _mm512_setzero_si512();
    out.prefetch();
    let (header, a) = a.split_at(MR);
    let (mut low, mut middle, mut top) = ([[zero; W]; M], [zero; M], [zero; M]);
    for i in 0..M {
        low[i] = [_mm512_set1_epi64(header[i] as i64); W];
    }
    for (a, b) in steps::<LEFT_WIDE>(a).zip(steps::<B>(b)) {
        let (pairs, words) = if B == RIGHT_EXPANDED {
            let word = |i: usize| load(&b[i * V..][..V]);
            (word(4), [[word(0), word(1)], [word(2), word(3)]])
        } else {
            let pairs = load(&b[..V]);
            (pairs, unsigned(pairs))
        };
        for (k, words) in words.iter().enumerate() {
            for i in 0..M {
                let x = _mm512_set1_epi64(a[k * MR + i] as i64);
                for j in 0..W {
                    low[i][j] = _mm512_madd52lo_epu64(low[i][j], x, words[j]);
                }
            }
        }
        let upper: &[u32] = bytemuck::cast_slice(a);
        for i in 0..M {
            let x = _mm512_set1_epi32(upper[4 * MR + i] as i32);
            middle[i] = dpwssd(middle[i], x, pairs);
            let x = _mm512_set1_epi32(upper[5 * MR + i] as i32);
            top[i] = dpwssd(top[i], x, pairs);
        }
    }
    finish!(low, middle, top, out);
}

/// Adds `a * b` to `out`, where `a` are weights and `b` is wide.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma,avx512vnni")]
pub(super) fn tile_left<const M: usize, const W: usize>(
    a: &[u64],
    b: &[u64],
    out: &mut Rectangle<'_>,
) {
    let zero = _mm512_setzero_si512();
    out.prefetch();
    let (header, b) = b.split_at(NR);
    let (mut low, mut middle, mut top) = ([[zero; W]; M], [zero; M], [zero; M]);
    for low in &mut low {
        for j in 0..W {
            low[j] = load(&header[j * V..][..V]);
        }
    }
    for (a, b) in steps::<LEFT_WEIGHTS>(a).zip(steps::<RIGHT_WIDE>(b)) {
        let word = |i: usize| load(&b[i * V..][..V]);
        for k in 0..2 {
            let words = [word(2 * k), word(2 * k + 1)];
            for i in 0..M {
                let w = _mm512_set1_epi64(a[k * MR + i] as i64);
                for j in 0..W {
                    low[i][j] = _mm512_madd52lo_epu64(low[i][j], w, words[j]);
                }
            }
        }
        let pairs: &[u32] = bytemuck::cast_slice(a);
        let upper = [word(4), word(5)];
        for i in 0..M {
            let w = _mm512_set1_epi32(pairs[4 * MR + i] as i32);
            middle[i] = dpwssd(middle[i], w, upper[0]);
            top[i] = dpwssd(top[i], w, upper[1]);
        }
    }
    finish!(low, middle, top, out);
}

/// Works out the words of a right panel of weights.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn expand_weights(packed: &[u64], out: &mut [u64]) {
    let steps = steps::<RIGHT_WEIGHTS>(packed);
    for (pairs, out) in steps.zip(out.as_chunks_mut::<RIGHT_EXPANDED>().0) {
        let pairs = load(pairs);
        let words = unsigned(pairs);
        let all = words.as_flattened().iter().chain([&pairs]);
        for (out, v) in out.as_chunks_mut::<V>().0.iter_mut().zip(all) {
            store(*v, out);
        }
    }
}

/// Lays out `kc` rows of up to sixteen wide words, `stride` apart in `source`, as a right panel.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn expand_wide(
    source: &[u64],
    stride: usize,
    (kc, columns): (usize, usize),
    out: &mut [u64],
) {
    let zero = _mm512_setzero_si512();
    let low_mask = _mm512_set1_epi64((1 << LOW) - 1);
    let middle_mask = _mm512_set1_epi16(0x7fff);
    let mut sums = [zero; 2];
    let (header, out) = out.split_at_mut(NR);
    for (step, out) in out.as_chunks_mut::<RIGHT_WIDE>().0.iter_mut().enumerate() {
        let row = |k: usize| {
            if k >= kc {
                return [zero; 2];
            }
            let row = &source[k * stride..][..columns];
            [load_some(row), load_some(&row[V.min(columns)..])]
        };
        let x = [row(2 * step), row(2 * step + 1)];
        let (mut middle, mut top) = (zero, zero);
        for k in 0..2 {
            for j in 0..2 {
                let low = _mm512_and_si512(x[k][j], low_mask);
                sums[j] = _mm512_add_epi64(sums[j], low);
                store(low, &mut out[(2 * k + j) * V..]);
                // Two bytes of each lane: the half of the column and the place of the step in it.
                let at = 4 * j + 2 * k;
                let mask = (3u64 << at) * 0x0101_0101_0101_0101;
                let from =
                    |bit: u64| _mm512_set1_epi64((((bit + 8) << 8 | bit) << (8 * at)) as i64);
                middle = _mm512_mask_multishift_epi64_epi8(middle, mask, from(LOW.into()), x[k][j]);
                top = _mm512_mask_multishift_epi64_epi8(top, mask, from(MIDDLE.into()), x[k][j]);
            }
        }
        store(_mm512_and_si512(middle, middle_mask), &mut out[4 * V..]);
        store(top, &mut out[5 * V..]);
    }
    for (header, sum) in header.as_chunks_mut::<V>().0.iter_mut().zip(sums) {
        let excess = _mm512_slli_epi64::<15>(sum);
        store(_mm512_sub_epi64(zero, excess), header);
    }
}
