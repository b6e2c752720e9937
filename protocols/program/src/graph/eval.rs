//! One node at a time, on floats, with sums in f64. Nothing here is fast; everything is meant to be obvious.

use super::{FloatConst, NodeOp, Window};
use crate::fixed::PAD;

/// A value: shape without batch, and `[batch, dims...]` elements.
pub(super) struct Operand<'a> {
    pub(super) dims: &'a [usize],
    pub(super) data: &'a [f32],
}

/// Evaluates `op` for `batch` records. `out_dims` is the shape of the result.
pub(super) fn eval(
    op: &NodeOp,
    inputs: &[Operand<'_>],
    out_dims: &[usize],
    batch: usize,
) -> Vec<f32> {
    let x = inputs[0].data;
    let dims = inputs[0].dims;
    let record: usize = dims.iter().product();
    match op {
        NodeOp::Linear { weights, bias } => linear(weights, bias.as_deref(), x),
        NodeOp::Conv {
            weights,
            bias,
            groups,
            window,
        } => {
            let records = x.chunks_exact(record);
            records
                .flat_map(|x| conv(weights, bias.as_deref(), *groups, window, dims, x))
                .collect()
        }
        NodeOp::Relu => x.iter().map(|v| v.max(0.0)).collect(),
        NodeOp::LeakyRelu { alpha } => x
            .iter()
            .map(|v| if *v < 0.0 { alpha * v } else { *v })
            .collect(),
        NodeOp::Clip { lo, hi } => x
            .iter()
            .map(|v| {
                v.max(lo.unwrap_or(f32::NEG_INFINITY))
                    .min(hi.unwrap_or(f32::INFINITY))
            })
            .collect(),
        NodeOp::MaxPool(window) => pool(window, dims, x, |plane, taps, _| {
            taps.iter()
                .map(|i| plane[*i])
                .fold(f32::NEG_INFINITY, f32::max)
        }),
        NodeOp::AveragePool { window, counts } => pool(window, dims, x, |plane, taps, at| {
            let sum: f64 = taps.iter().map(|i| f64::from(plane[*i])).sum();
            (sum / f64::from(counts[at])) as f32
        }),
        NodeOp::Mean { axes } => {
            let count: usize = axes.iter().map(|a| dims[*a]).product();
            reduce(axes, dims, x, 0.0, |a, b| a + b)
                .into_iter()
                .map(|s| (s / count as f64) as f32)
                .collect()
        }
        NodeOp::Sum { axes } => reduce(axes, dims, x, 0.0, |a, b| a + b)
            .into_iter()
            .map(|s| s as f32)
            .collect(),
        NodeOp::Add => x.iter().zip(inputs[1].data).map(|(a, b)| a + b).collect(),
        NodeOp::Sub => x.iter().zip(inputs[1].data).map(|(a, b)| a - b).collect(),
        NodeOp::Max => x
            .iter()
            .zip(inputs[1].data)
            .map(|(a, b)| a.max(*b))
            .collect(),
        NodeOp::Mul => x.iter().zip(inputs[1].data).map(|(a, b)| a * b).collect(),
        NodeOp::MatMul => matmul(dims, x, out_dims, inputs[1].data),
        NodeOp::Softmax => {
            let lanes = x.chunks_exact(dims.last().copied().unwrap_or(1));
            lanes.flat_map(softmax).collect()
        }
        NodeOp::Affine { scale, shift } => x.iter().map(|v| v * scale + shift).collect(),
        NodeOp::Positive => x.iter().map(|v| f32::from(u8::from(*v >= 0.0))).collect(),
        NodeOp::Function(f) => x.iter().map(|v| f.eval(f64::from(*v)) as f32).collect(),
        NodeOp::ReduceMax { axes } => reduce(axes, dims, x, f64::NEG_INFINITY, f64::max)
            .into_iter()
            .map(|m| m as f32)
            .collect(),
        NodeOp::TopK { k } => {
            let lanes = x.chunks_exact(dims.last().copied().unwrap_or(1));
            lanes.flat_map(|lane| largest(lane, *k)).collect()
        }
        NodeOp::AddConst(c) => x
            .iter()
            .zip(c.data.iter().cycle())
            .map(|(a, b)| a + b)
            .collect(),
        NodeOp::MulConst(c) | NodeOp::Scale(c) => x
            .iter()
            .zip(c.data.iter().cycle())
            .map(|(a, b)| a * b)
            .collect(),
        NodeOp::Rearrange(map) => x
            .chunks_exact(record)
            .flat_map(|x| {
                map.iter()
                    .map(|i| if *i == PAD { 0.0 } else { x[*i as usize] })
            })
            .collect(),
        NodeOp::Reshape => x.to_vec(),
        NodeOp::Concat { axis } => {
            let outer = batch * out_dims[..*axis].iter().product::<usize>();
            let mut out = Vec::with_capacity(batch * out_dims.iter().product::<usize>());
            for i in 0..outer {
                for input in inputs {
                    let run: usize = input.dims[*axis..].iter().product();
                    out.extend_from_slice(&input.data[i * run..][..run]);
                }
            }
            out
        }
    }
}

fn linear(weights: &FloatConst, bias: Option<&[f32]>, x: &[f32]) -> Vec<f32> {
    let [inner, columns] = [weights.dims[0], weights.dims[1]];
    let mut out = Vec::with_capacity(x.len() / inner * columns);
    for row in x.chunks_exact(inner) {
        let mut sums: Vec<f64> = match bias {
            Some(bias) => bias.iter().map(|b| f64::from(*b)).collect(),
            None => vec![0.0; columns],
        };
        for (x, line) in row.iter().zip(weights.data.chunks_exact(columns)) {
            for (sum, w) in sums.iter_mut().zip(line) {
                *sum += f64::from(*x) * f64::from(*w);
            }
        }
        out.extend(sums.into_iter().map(|sum| sum as f32));
    }
    out
}

fn conv(
    weights: &FloatConst,
    bias: Option<&[f32]>,
    groups: usize,
    window: &Window,
    dims: &[usize],
    x: &[f32],
) -> Vec<f32> {
    let [height, width] = [dims[1], dims[2]];
    let [out_channels, in_group] = [weights.dims[0], weights.dims[1]];
    let [kh, kw] = window.kernel;
    let mut out = Vec::new();
    for oc in 0..out_channels {
        let first = oc / (out_channels / groups) * in_group;
        for oy in 0..window.output[0] {
            for ox in 0..window.output[1] {
                let mut sum = bias.map_or(0.0, |b| f64::from(b[oc]));
                for ic in 0..in_group {
                    for ky in 0..kh {
                        for kx in 0..kw {
                            let y = window.source(0, oy, ky, height);
                            let c = window.source(1, ox, kx, width);
                            let (Some(y), Some(c)) = (y, c) else { continue };
                            let w = weights.data[((oc * in_group + ic) * kh + ky) * kw + kx];
                            let v = x[((first + ic) * height + y) * width + c];
                            sum += f64::from(w) * f64::from(v);
                        }
                    }
                }
                out.push(sum as f32);
            }
        }
    }
    out
}

/// Calls `f(plane, input elements of the window, output element)` for every window of every plane.
fn pool(
    window: &Window,
    dims: &[usize],
    x: &[f32],
    f: impl Fn(&[f32], &[usize], usize) -> f32,
) -> Vec<f32> {
    let input = [dims[1], dims[2]];
    let mut out = Vec::new();
    for plane in x.chunks_exact(input[0] * input[1]) {
        for oy in 0..window.output[0] {
            for ox in 0..window.output[1] {
                let taps = window.elements(input, oy, ox);
                out.push(f(plane, &taps, oy * window.output[1] + ox));
            }
        }
    }
    out
}

/// Positions of the `k` largest, of equal ones the first, as numbers.
fn largest(lane: &[f32], k: usize) -> Vec<f32> {
    let mut order: Vec<usize> = (0..lane.len()).collect();
    // A stable sort keeps equal ones in order.
    order.sort_by(|a, b| {
        lane[*b]
            .partial_cmp(&lane[*a])
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    order.into_iter().take(k).map(|i| i as f32).collect()
}

/// Folds over `axes`, in f64.
fn reduce(
    axes: &[usize],
    dims: &[usize],
    x: &[f32],
    start: f64,
    f: impl Fn(f64, f64) -> f64,
) -> Vec<f64> {
    let kept: Vec<usize> = (0..dims.len())
        .map(|i| if axes.contains(&i) { 1 } else { dims[i] })
        .collect();
    let [from, to] = [crate::maps::strides(dims), crate::maps::strides(&kept)];
    let record: usize = dims.iter().product();
    let size: usize = kept.iter().product();
    let mut out = vec![start; x.len() / record * size];
    for (i, v) in x.iter().enumerate() {
        let mut at = i / record * size;
        for axis in 0..dims.len() {
            if !axes.contains(&axis) {
                at += i % record / from[axis] % dims[axis] * to[axis];
            }
        }
        out[at] = f(out[at], f64::from(*v));
    }
    out
}

/// `[g.., m, k]` times `[g.., k, n]`.
fn matmul(dims: &[usize], x: &[f32], out_dims: &[usize], y: &[f32]) -> Vec<f32> {
    let [k, n] = [dims, out_dims].map(|dims| dims.last().copied().unwrap_or(1));
    let m = out_dims.iter().rev().nth(1).copied().unwrap_or(1);
    let mut out = Vec::with_capacity(x.len() / k * n);
    for (x, y) in x.chunks_exact(m * k).zip(y.chunks_exact(k * n)) {
        for row in x.chunks_exact(k) {
            let mut sums = vec![0f64; n];
            for (a, line) in row.iter().zip(y.chunks_exact(n)) {
                for (sum, b) in sums.iter_mut().zip(line) {
                    *sum += f64::from(*a) * f64::from(*b);
                }
            }
            out.extend(sums.into_iter().map(|sum| sum as f32));
        }
    }
    out
}

fn softmax(lane: &[f32]) -> Vec<f32> {
    let largest = lane.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers = lane.iter().map(|v| f64::from(v - largest).exp());
    let powers: Vec<f64> = powers.collect();
    let sum: f64 = powers.iter().sum();
    powers
        .into_iter()
        .map(|power| (power / sum) as f32)
        .collect()
}
