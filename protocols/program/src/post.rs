//! What the client does to a revealed output: operators that are only ever last, in the clear, in f64.

use serde::{Deserialize, Serialize};

use crate::tensor::OutputData;

/// One post-processing step. Axes count without the batch axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientOp {
    /// `exp(x - max) / sum` along `axis`.
    Softmax {
        /// Axis, without batch.
        axis: usize,
    },
    /// `x - max - ln(sum(exp(x - max)))` along `axis`.
    LogSoftmax {
        /// Axis, without batch.
        axis: usize,
    },
    /// Index of the first largest element along `axis`. Nothing may follow it.
    ArgMax {
        /// Axis, without batch.
        axis: usize,
        /// Whether `axis` stays as size 1.
        keep_dims: KeepDims,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The values are positions, found under masks: integers. Nothing may follow it.
    Indices,
}

/// Whether a reduced axis stays in the shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeepDims {
    /// The axis stays, with size 1.
    Keep,
    /// The axis is removed.
    Drop,
}

impl ClientOp {
    /// Shape after this step, without batch; `None` when the axis does not exist.
    pub fn output_dims(&self, dims: &[usize]) -> Option<Vec<usize>> {
        match *self {
            ClientOp::Sigmoid | ClientOp::Indices => Some(dims.to_vec()),
            ClientOp::Softmax { axis } | ClientOp::LogSoftmax { axis } => {
                (axis < dims.len()).then(|| dims.to_vec())
            }
            ClientOp::ArgMax { axis, keep_dims } => {
                let mut out = dims.to_vec();
                match keep_dims {
                    KeepDims::Keep => *out.get_mut(axis)? = 1,
                    KeepDims::Drop if axis < out.len() => {
                        out.remove(axis);
                    }
                    KeepDims::Drop => return None,
                }
                Some(out)
            }
        }
    }
}

/// Whether every axis exists and nothing follows what makes integers.
pub(crate) fn post_is_valid(post: &[ClientOp], dims: &[usize]) -> bool {
    let mut dims = dims.to_vec();
    for (i, op) in post.iter().enumerate() {
        let is_integer = matches!(op, ClientOp::ArgMax { .. } | ClientOp::Indices);
        if is_integer && i + 1 != post.len() {
            return false;
        }
        match op.output_dims(&dims) {
            Some(next) => dims = next,
            None => return false,
        }
    }
    true
}

/// Applies `post` to values of shape `[batch, dims...]`; returns shape (with batch) and data.
///
/// `post` must have passed [`post_is_valid`] for `dims`.
pub(crate) fn apply(
    post: &[ClientOp],
    batch: usize,
    dims: &[usize],
    values: impl Iterator<Item = f64>,
) -> (Vec<usize>, OutputData) {
    let as_f32 = |x: f64| x as f32;
    if post.is_empty() {
        // Without a vector of doubles on the way.
        return (
            batched(batch, dims),
            OutputData::F32(values.map(as_f32).collect()),
        );
    }
    let mut dims = dims.to_vec();
    let mut values: Vec<f64> = values.collect();
    let mut indices = None;
    for op in post {
        match *op {
            ClientOp::Sigmoid => values
                .iter_mut()
                .for_each(|x| *x = 1.0 / (1.0 + (-*x).exp())),
            ClientOp::Softmax { axis } => along(&dims, axis, &mut values, |lane| {
                let max = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                lane.iter_mut().for_each(|x| *x = (*x - max).exp());
                let sum: f64 = lane.iter().sum();
                lane.iter_mut().for_each(|x| *x /= sum);
            }),
            ClientOp::LogSoftmax { axis } => along(&dims, axis, &mut values, |lane| {
                let max = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = lane.iter().map(|x| (*x - max).exp()).sum();
                lane.iter_mut().for_each(|x| *x -= max + sum.ln());
            }),
            ClientOp::ArgMax { axis, .. } => {
                let mut found = Vec::new();
                along(&dims, axis, &mut values, |lane| {
                    let mut best = 0;
                    for (i, x) in lane.iter().enumerate() {
                        if *x > lane[best] {
                            best = i;
                        }
                    }
                    found.push(best as i64);
                });
                indices = Some(found);
            }
            ClientOp::Indices => {
                indices = Some(values.iter().map(|v| v.round() as i64).collect());
            }
        }
        if let Some(next) = op.output_dims(&dims) {
            dims = next;
        }
    }
    let shape = batched(batch, &dims);
    let data = match indices {
        Some(found) => OutputData::I64(found),
        None => OutputData::F32(values.into_iter().map(as_f32).collect()),
    };
    (shape, data)
}

/// A shape with its batch.
fn batched(batch: usize, dims: &[usize]) -> Vec<usize> {
    [&[batch], dims].concat()
}

/// Calls `f` on every lane along `axis`, in row-major order of the remaining axes.
fn along(dims: &[usize], axis: usize, values: &mut [f64], mut f: impl FnMut(&mut [f64])) {
    let len = dims[axis];
    let inner: usize = dims[axis + 1..].iter().product();
    let mut lane = vec![0.0; len];
    for block in values.chunks_mut(len * inner) {
        for i in 0..inner {
            for (k, x) in lane.iter_mut().enumerate() {
                *x = block[k * inner + i];
            }
            f(&mut lane);
            for (k, x) in lane.iter().enumerate() {
                block[k * inner + i] = *x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_then_argmax_over_a_middle_axis() {
        let dims = [2, 3];
        let values = vec![0.0, 5.0, 1.0, 2.0, 4.0, 1.0];
        let post = [
            ClientOp::Softmax { axis: 0 },
            ClientOp::ArgMax {
                axis: 0,
                keep_dims: KeepDims::Drop,
            },
        ];
        assert!(post_is_valid(&post, &dims));
        assert_eq!(
            apply(&post, 1, &dims, values.into_iter()),
            // Ties go to the first index, as in ONNX.
            (vec![1, 3], OutputData::I64(vec![1, 0, 0]))
        );
    }

    #[test]
    fn log_softmax_is_the_log_of_softmax() {
        let values = vec![1.0, -2.0, 0.5];
        let soft = apply(
            &[ClientOp::Softmax { axis: 0 }],
            1,
            &[3],
            values.iter().copied(),
        )
        .1;
        let log = apply(
            &[ClientOp::LogSoftmax { axis: 0 }],
            1,
            &[3],
            values.into_iter(),
        )
        .1;
        let (OutputData::F32(soft), OutputData::F32(log)) = (soft, log) else {
            panic!("both are floats");
        };
        assert!((soft.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        for (s, l) in soft.iter().zip(&log) {
            assert!((s.ln() - l).abs() < 1e-6);
        }
    }

    #[test]
    fn nothing_follows_argmax_and_axes_exist() {
        let argmax = ClientOp::ArgMax {
            axis: 0,
            keep_dims: KeepDims::Keep,
        };
        assert!(!post_is_valid(&[argmax, ClientOp::Sigmoid], &[3]));
        assert!(!post_is_valid(&[ClientOp::Softmax { axis: 1 }], &[3]));
        assert!(post_is_valid(&[argmax], &[3]));
    }
}
