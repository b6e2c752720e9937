//! Convolutions: weights times windows that are packed on the fly, or row by row when depthwise.

use ai_link_program::kernels::ConvShape;
use rayon::prelude::*;

use super::gemm::{Plan, Side, add_column_sums, k_blocks};
use super::isa::{Isa, dispatch};
use super::pack::{Form, Rows, pack_left, pack_right};
use super::{PARALLEL_FROM, direct};

/// Output pixels packed at a time: with 256 taps, half a megabyte in the second-level cache.
const PIXELS: usize = 256;
/// With fewer output channels per group a tile would be mostly empty.
const FEW_CHANNELS: usize = 3;

/// The windows of one record and group as a matrix `[taps, output pixels]` that is never stored.
struct Windows<'a> {
    shape: &'a ConvShape,
    /// Input planes of the group.
    planes: &'a [u64],
}

impl Rows for Windows<'_> {
    fn copy(&self, k: usize, column: usize, out: &mut [u64]) {
        let s = self.shape;
        let [height, width] = s.input;
        let [kh, kw] = s.kernel;
        let (channel, ky, kx) = (k / (kh * kw), k / kw % kh, k % kw);
        let plane = &self.planes[channel * height * width..][..height * width];
        let out_width = s.output[1];
        let mut at = 0;
        while at < out.len() {
            let (oy, ox) = ((column + at) / out_width, (column + at) % out_width);
            let run = (out_width - ox).min(out.len() - at);
            let line = &mut out[at..at + run];
            let y = (oy * s.strides[0] + ky * s.dilations[0]).wrapping_sub(s.pads[0]);
            if y < height {
                let source = &plane[y * width..][..width];
                let x = ox * s.strides[1] + kx * s.dilations[1];
                copy_line(source, x, s.pads[1], s.strides[1], line);
            } else {
                line.fill(0);
            }
            at += run;
        }
    }
}

/// `line[i] = source[x + i * stride - pad]`, zero outside.
fn copy_line(source: &[u64], x: usize, pad: usize, stride: usize, line: &mut [u64]) {
    if stride == 1 {
        let before = pad.saturating_sub(x).min(line.len());
        let from = (x + before).saturating_sub(pad).min(source.len());
        let inside = (source.len() - from).min(line.len() - before);
        line[..before].fill(0);
        line[before..before + inside].copy_from_slice(&source[from..from + inside]);
        line[before + inside..].fill(0);
        return;
    }
    for (i, o) in line.iter_mut().enumerate() {
        let at = (x + i * stride).wrapping_sub(pad);
        *o = source.get(at).copied().unwrap_or(0);
    }
}

/// Taps of one filter.
pub(super) fn taps(s: &ConvShape) -> usize {
    s.in_channels / s.groups * s.kernel[0] * s.kernel[1]
}

/// `out = x ⋆ w`, cross-correlation with zero padding.
pub(super) fn conv(isa: Isa, s: &ConvShape, x: &[u64], w: &[u64], out: &mut [u64]) {
    let in_group = s.in_channels / s.groups;
    let out_group = s.out_channels / s.groups;
    let taps = in_group * s.kernel[0] * s.kernel[1];
    let pixels = s.output[0] * s.output[1];
    let plane = s.input[0] * s.input[1];
    assert_eq!(x.len(), s.batch * s.in_channels * plane, "input of {s:?}");
    assert_eq!(w.len(), s.out_channels * taps, "weights of {s:?}");
    assert_eq!(
        out.len(),
        s.batch * s.out_channels * pixels,
        "output of {s:?}"
    );
    out.fill(0);
    if out.is_empty() {
        return;
    }
    let parallel = out.len() * taps >= PARALLEL_FROM;
    // Channels per task: all of a group, unless there are too few groups and records to share out.
    let units = s.batch * s.groups;
    let threads = if parallel {
        rayon::current_num_threads()
    } else {
        1
    };
    let plan = Plan::new(isa, Side::Left, w);
    let split = threads.div_ceil(units);
    let per_task = out_group
        .div_ceil(split)
        .next_multiple_of(plan.mr)
        .min(out_group);
    let chunks = out_group.div_ceil(per_task);
    let depthwise = out_group <= FEW_CHANNELS;

    let task = |(index, out): (usize, &mut [u64])| {
        let (unit, chunk) = (index / chunks, index % chunks);
        let (record, group) = (unit / s.groups, unit % s.groups);
        let first = (record * s.groups + group) * in_group;
        let planes = &x[first * plane..][..in_group * plane];
        let rows = out.len() / pixels;
        let weights = &w[(group * out_group + chunk * per_task) * taps..][..rows * taps];
        if depthwise {
            return dispatch(
                isa,
                direct::Direct {
                    shape: s,
                    planes,
                    weights,
                    out,
                },
            );
        }
        let windows = Windows { shape: s, planes };
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for column in (0..pixels).step_by(PIXELS) {
            let columns = (column, PIXELS.min(pixels - column));
            for k in k_blocks(taps) {
                pack_left(weights, taps, k, plan.mr, plan.left, &mut left);
                pack_right(&windows, k, columns, plan.nr, plan.right, &mut right);
                plan.block(k.1, &left, &right, out, pixels, columns);
            }
            if let Form::Offset(offset) = plan.left {
                add_column_sums(&windows, taps, offset, columns, out, pixels);
            }
        }
    };
    // Tasks are contiguous in `out`: a run of channels of one group of one record.
    let out_units = out_group * pixels;
    let split_unit = |(unit, out): (usize, &mut [u64])| {
        let of_unit = out.chunks_mut(per_task * pixels).enumerate();
        of_unit.for_each(|(chunk, out)| task((unit * chunks + chunk, out)));
    };
    if !parallel {
        out.chunks_mut(out_units).enumerate().for_each(split_unit);
    } else if chunks == 1 {
        out.par_chunks_mut(out_units)
            .enumerate()
            .for_each(split_unit);
    } else {
        out.par_chunks_mut(out_units)
            .enumerate()
            .for_each(|(unit, out)| {
                let of_unit = out.par_chunks_mut(per_task * pixels).enumerate();
                of_unit.for_each(|(chunk, out)| task((unit * chunks + chunk, out)));
            });
    }
}
