//! Tiles for public weights that span less than 2^20, on processors with IFMA.
//!
//! The wide operand is cut into 32-bit halves, the smallest weight is taken off all of them, and so
//! each product of a half and a weight is below 2^52: two `vpmadd52luq` add them whole. That is 1/4
//! of an instruction for a product. What was taken off is put back through the header with which
//! panels of the wide operand begin. Sums of upper halves count modulo 2^32, and both may wrap.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx512::{NR, V, add_row, load, load_some, steps, store};
use super::cells::Rectangle;

pub(super) const MR: usize = 6;

/// Words of a step of a left panel of wide elements: lower halves, upper halves.
pub(super) const LEFT_WIDE: usize = 2 * MR;
/// Words of a step of a right panel of weights: 32 bits each, columns `j` and `j + 8` in a word.
pub(super) const RIGHT_WEIGHTS: usize = V;
/// The same with one word for each weight.
pub(super) const RIGHT_EXPANDED: usize = NR;
/// Words of a step of a right panel of wide elements: lower halves, upper halves.
pub(super) const RIGHT_WIDE: usize = 2 * NR;

/// Puts the sums of a tile together and adds them to `out`. Not a function: sums that are passed to
/// one go through memory.
macro_rules! finish {
    ($low:ident, $high:ident, $out:ident) => {
        for i in 0..M {
            let mut sums = [_mm512_setzero_si512(); 2];
            for j in 0..W {
                sums[j] = _mm512_add_epi64($low[i][j], _mm512_slli_epi64::<32>($high[i][j]));
            }
            add_row(sums, $out.row(i));
        }
    };
}

/// The words of sixteen weights.
#[target_feature(enable = "avx512f")]
#[inline]
fn words(packed: __m512i) -> [__m512i; 2] {
    let low = _mm512_set1_epi64(0xffff_ffff);
    [
        _mm512_and_si512(packed, low),
        _mm512_srli_epi64::<32>(packed),
    ]
}

/// Adds `a * b` to `out`, where `a` is wide and `b` are weights in steps of `B` words:
/// [`RIGHT_WEIGHTS`] or [`RIGHT_EXPANDED`].
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn tile_right<const M: usize, const W: usize, const B: usize>(
    a: &[u64],
    b: &[u64],
    out: &mut Rectangle<'_>,
) {
    let zero = _mm512_setzero_si512();
    out.prefetch();
    let (header, a) = a.split_at(MR);
    let (mut low, mut high) = ([[zero; W]; M], [[zero; W]; M]);
    for i in 0..M {
        low[i] = [_mm512_set1_epi64(header[i] as i64); W];
    }
    for (a, b) in steps::<LEFT_WIDE>(a).zip(steps::<B>(b)) {
        let w = if B == RIGHT_EXPANDED {
            [load(&b[..V]), load(&b[V..])]
        } else {
            words(load(&b[..V]))
        };
        for i in 0..M {
            let l = _mm512_set1_epi64(a[i] as i64);
            let h = _mm512_set1_epi64(a[MR + i] as i64);
            for j in 0..W {
                low[i][j] = _mm512_madd52lo_epu64(low[i][j], l, w[j]);
                high[i][j] = _mm512_madd52lo_epu64(high[i][j], h, w[j]);
            }
        }
    }
    finish!(low, high, out);
}

/// Adds `a * b` to `out`, where `a` are weights and `b` is wide.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn tile_left<const M: usize, const W: usize>(
    a: &[u64],
    b: &[u64],
    out: &mut Rectangle<'_>,
) {
    let zero = _mm512_setzero_si512();
    out.prefetch();
    let (header, b) = b.split_at(NR);
    let (mut low, mut high) = ([[zero; W]; M], [[zero; W]; M]);
    for low in &mut low {
        for j in 0..W {
            low[j] = load(&header[j * V..][..V]);
        }
    }
    for (a, b) in steps::<MR>(a).zip(steps::<RIGHT_WIDE>(b)) {
        let word = |i: usize| load(&b[i * V..][..V]);
        let (l, h) = ([word(0), word(1)], [word(2), word(3)]);
        for i in 0..M {
            let w = _mm512_set1_epi64(a[i] as i64);
            for j in 0..W {
                low[i][j] = _mm512_madd52lo_epu64(low[i][j], w, l[j]);
                high[i][j] = _mm512_madd52lo_epu64(high[i][j], w, h[j]);
            }
        }
    }
    finish!(low, high, out);
}

/// Works out the words of a right panel of weights.
#[target_feature(enable = "avx512f")]
pub(super) fn expand_weights(packed: &[u64], out: &mut [u64]) {
    let steps = steps::<RIGHT_WEIGHTS>(packed);
    for (packed, out) in steps.zip(out.as_chunks_mut::<RIGHT_EXPANDED>().0) {
        let [first, second] = words(load(packed));
        store(first, &mut out[..V]);
        store(second, &mut out[V..]);
    }
}

/// Lays out rows of up to sixteen wide words, `stride` apart in `source`, as a right panel whose
/// header puts back `offset`.
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn expand_wide(
    source: &[u64],
    stride: usize,
    columns: usize,
    offset: u64,
    out: &mut [u64],
) {
    let low = _mm512_set1_epi64(0xffff_ffff);
    let mut sums = [_mm512_setzero_si512(); 2];
    let (header, out) = out.split_at_mut(NR);
    for (k, out) in out.as_chunks_mut::<RIGHT_WIDE>().0.iter_mut().enumerate() {
        let row = &source[k * stride..][..columns];
        let x = [load_some(row), load_some(&row[V.min(columns)..])];
        for j in 0..2 {
            sums[j] = _mm512_add_epi64(sums[j], x[j]);
            store(_mm512_and_si512(x[j], low), &mut out[j * V..]);
            store(_mm512_srli_epi64::<32>(x[j]), &mut out[NR + j * V..]);
        }
    }
    let offset = _mm512_set1_epi64(offset as i64);
    for (header, sum) in header.as_chunks_mut::<V>().0.iter_mut().zip(sums) {
        store(_mm512_mullo_epi64(sum, offset), header);
    }
}
