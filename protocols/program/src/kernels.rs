//! The two hot loops of a linear step, behind a trait so that a vectorised implementation can take their place.

use rayon::prelude::*;

use crate::fixed::ConstId;

/// Below this many multiplications a second thread costs more than it brings.
const PARALLEL_FROM: usize = 1 << 17;

/// Shape of `out [rows, columns] = x [rows, inner] * w [inner, columns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GemmShape {
    /// Rows of `x`: batch times leading axes.
    pub rows: usize,
    /// Contracted axis.
    pub inner: usize,
    /// Columns of the weights.
    pub columns: usize,
}

/// Shape of a convolution. Arrays are `[vertical, horizontal]`, pads `[top, left, bottom, right]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Records.
    pub batch: usize,
    /// Channel groups; divides both channel counts.
    pub groups: usize,
    /// Input channels, of all groups.
    pub in_channels: usize,
    /// Output channels, of all groups.
    pub out_channels: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Output height and width.
    pub output: [usize; 2],
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub strides: [usize; 2],
    /// Zero padding.
    pub pads: [usize; 4],
    /// Distance between taps.
    pub dilations: [usize; 2],
}

/// Weights of a step. `id` lets an implementation keep a packed copy per constant of a program.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// Which constant of the program.
    pub id: ConstId,
    /// Its elements: `[inner, columns]`, or `[oc, ic / groups, kh, kw]`.
    pub data: &'a [i64],
}

/// Ring products modulo 2^64. All implementations give the same bits.
pub trait RingKernels: Sync {
    /// `out = x * w`; `out` is overwritten. Slices have exactly the sizes of `shape`.
    fn gemm(&self, shape: GemmShape, x: &[u64], weights: Weights<'_>, out: &mut [u64]);

    /// `out = x ⋆ w` (cross-correlation); `out [batch, oc, oh, ow]` is overwritten.
    fn conv(&self, shape: &ConvShape, x: &[u64], weights: Weights<'_>, out: &mut [u64]);
}

/// Plain loops for any machine: the reference for every other implementation.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortableKernels;

impl RingKernels for PortableKernels {
    fn gemm(&self, shape: GemmShape, x: &[u64], weights: Weights<'_>, out: &mut [u64]) {
        let GemmShape {
            rows,
            inner,
            columns,
        } = shape;
        let row = |(out, x): (&mut [u64], &[u64])| {
            out.fill(0);
            for (x, w) in x.iter().zip(weights.data.chunks_exact(columns)) {
                for (o, w) in out.iter_mut().zip(w) {
                    *o = o.wrapping_add(x.wrapping_mul(*w as u64));
                }
            }
        };
        if rows * inner * columns < PARALLEL_FROM {
            out.chunks_exact_mut(columns)
                .zip(x.chunks_exact(inner))
                .for_each(row);
        } else {
            out.par_chunks_exact_mut(columns)
                .zip(x.par_chunks_exact(inner))
                .for_each(row);
        }
    }

    fn conv(&self, shape: &ConvShape, x: &[u64], weights: Weights<'_>, out: &mut [u64]) {
        let plane = shape.output[0] * shape.output[1];
        let taps = shape.in_channels / shape.groups * shape.kernel[0] * shape.kernel[1];
        let one = |(i, out): (usize, &mut [u64])| {
            conv_plane(
                shape,
                i / shape.out_channels,
                i % shape.out_channels,
                x,
                weights.data,
                out,
            )
        };
        if out.len() * taps < PARALLEL_FROM {
            out.chunks_exact_mut(plane).enumerate().for_each(one);
        } else {
            out.par_chunks_exact_mut(plane).enumerate().for_each(one);
        }
    }
}

/// One output channel of one record: every tap adds a shifted, scaled copy of an input plane.
fn conv_plane(s: &ConvShape, record: usize, oc: usize, x: &[u64], w: &[i64], out: &mut [u64]) {
    let [height, width] = s.input;
    let [kh, kw] = s.kernel;
    let in_group = s.in_channels / s.groups;
    let first = oc / (s.out_channels / s.groups) * in_group;
    out.fill(0);
    for ic in 0..in_group {
        let plane = &x[(record * s.in_channels + first + ic) * height * width..][..height * width];
        for ky in 0..kh {
            for kx in 0..kw {
                let weight = w[((oc * in_group + ic) * kh + ky) * kw + kx] as u64;
                for (oy, out) in out.chunks_exact_mut(s.output[1]).enumerate() {
                    let y = (oy * s.strides[0] + ky * s.dilations[0]).wrapping_sub(s.pads[0]);
                    if y >= height {
                        continue;
                    }
                    let line = &plane[y * width..][..width];
                    for (ox, o) in out.iter_mut().enumerate() {
                        let column =
                            (ox * s.strides[1] + kx * s.dilations[1]).wrapping_sub(s.pads[1]);
                        if let Some(v) = line.get(column) {
                            *o = o.wrapping_add(v.wrapping_mul(weight));
                        }
                    }
                }
            }
        }
    }
}
