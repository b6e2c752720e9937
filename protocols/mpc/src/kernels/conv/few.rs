//! Convolutions with few output pixels, as the last layers of a network have them.
//!
//! There the filters are most of what is read and each is used a few times only. So the product is
//! turned: windows, packed as rows, times filters, which are then read in their narrowest form,
//! once, front to back. Records of a batch share the tiles. The result is turned back at the end.

use ai_link_program::kernels::ConvShape;
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::super::PARALLEL_FROM;
use super::super::gemm::{Right, gemm, parts};
use super::super::isa::Isa;
use super::super::plan::Values;
use super::super::scratch::Large;
use super::planes;
use super::windows::Windows;

/// Up to this many output pixels in a record the filters are what counts.
const PIXELS: usize = 64;
/// Fewer channels do not fill a tile.
const CHANNELS: usize = 16;
/// Windows in memory at a time.
const ROWS: usize = 128;

/// Whether this way is the better one for `s`.
pub(super) fn pays(s: &ConvShape) -> bool {
    s.output[0] * s.output[1] <= PIXELS && s.out_channels / s.groups >= CHANNELS
}

/// The filters of each group as a right operand `[taps, channels of the group]`.
pub(super) fn pack(
    isa: Isa,
    values: Values,
    groups: usize,
    taps: usize,
    w: &[u64],
) -> Vec<Right<'static>> {
    let filters = w.len() / taps / groups;
    w.chunks_exact(filters * taps)
        .map(|w| {
            let mut turned = Zeroizing::new(vec![0; w.len()]);
            turn(w, taps, &mut turned);
            Right::new(isa, values, taps, filters, &turned)
        })
        .collect()
}

/// `to [columns, rows]` from `from [rows, columns]`.
fn turn(from: &[u64], columns: usize, to: &mut [u64]) {
    let rows = from.len() / columns;
    // Squares of which both sides stay in the first-level cache.
    const SIDE: usize = 16;
    for (j, n) in parts(columns, SIDE) {
        for (i, m) in parts(rows, SIDE) {
            for column in j..j + n {
                for row in i..i + m {
                    to[column * rows + row] = from[row * columns + column];
                }
            }
        }
    }
}

/// Overwrites `out` with the convolution.
pub(super) fn conv(s: &ConvShape, x: &[u64], taps: usize, groups: &[Right<'_>], out: &mut [u64]) {
    let pixels = s.output[0] * s.output[1];
    let filters = s.out_channels / s.groups;
    let together = (ROWS / pixels).clamp(1, s.batch);
    let rows = together * pixels;
    let mut windows = Large::new(rows * taps);
    let mut turned = Large::new(rows * filters);
    for (first, records) in parts(s.batch, together) {
        for (group, right) in groups.iter().enumerate() {
            let rows = records * pixels;
            let gather = |(row, out): (usize, &mut [u64])| {
                let unit = (first + row / pixels) * s.groups + group;
                let planes = planes(s, x, unit);
                Windows { shape: s, planes }.pixel(row % pixels, out);
            };
            let windows = &mut windows[..rows * taps];
            if windows.len() * filters < PARALLEL_FROM {
                windows.chunks_exact_mut(taps).enumerate().for_each(gather);
            } else {
                windows
                    .par_chunks_exact_mut(taps)
                    .enumerate()
                    .for_each(gather);
            }
            let turned = &mut turned[..rows * filters];
            gemm(rows, windows, right, turned);
            for (i, turned) in turned.chunks_exact(pixels * filters).enumerate() {
                let at = ((first + i) * s.out_channels + group * filters) * pixels;
                turn(turned, filters, &mut out[at..][..filters * pixels]);
            }
        }
    }
}
