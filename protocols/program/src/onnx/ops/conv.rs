//! Convolutions and batch normalisation.

use super::super::error::Why;
use super::super::import::{Import, finite, shape_error};
use super::super::node::OnnxNode;
use super::super::value::{Secret, Value};
use super::pool::{flat, geometry, lift};
use crate::graph::{FloatConst, NodeOp};

/// One- and two-dimensional convolution by constants. One dimension is a height of 1.
pub(super) fn conv(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let x = node.secret(0)?;
    let w = node.constant(1, "kernel")?;
    let (oc, in_group, kernel) = match *w.dims.as_slice() {
        [oc, ic, kw] => (oc, ic, vec![kw]),
        [oc, ic, kh, kw] => (oc, ic, vec![kh, kw]),
        _ => {
            return Err(shape_error(
                &[&w.dims],
                "only one- and two-dimensional kernels",
            ));
        }
    };
    let bad = |problem| Err(shape_error(&[&x.dims, &w.dims], problem));
    if x.dims.len() != kernel.len() + 1 {
        return bad("input and kernel must have the same number of spatial axes");
    }
    if let Some(stated) = node.ints("kernel_shape") {
        let stated: Vec<_> = stated.iter().map(|v| usize::try_from(*v).ok()).collect();
        if !stated.iter().copied().eq(kernel.iter().map(|k| Some(*k))) {
            return bad("the attribute kernel_shape differs from the kernel");
        }
    }
    let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
    let divides = groups > 0 && oc > 0 && oc.is_multiple_of(groups);
    if !divides || in_group.checked_mul(groups) != x.dims.first().copied() {
        return bad("channels and groups do not fit");
    }
    let bias = match node.maybe_const(2, "bias")? {
        None => None,
        Some(b) if b.dims == [oc] => Some(finite(b)?.to_vec()),
        Some(_) => return bad("the bias must have one element per output channel"),
    };
    let x = x.clone();
    let (plane, is_1d) = lift(cx, node, &x)?;
    let window = geometry(node, &plane, &kernel, super::pool::Ceil::Never)?;
    let [kh, kw] = window.kernel;
    let weights = FloatConst {
        dims: vec![oc, in_group, kh, kw],
        data: finite(w)?.to_vec(),
    };
    let dims = vec![oc, window.output[0], window.output[1]];
    let op = NodeOp::Conv {
        weights,
        bias,
        groups,
        window,
    };
    let y = cx.emit(&node.name, op, &[plane.value], dims)?;
    flat(cx, node, y, is_1d)
}

/// `scale (x - mean) / sqrt(variance + epsilon) + shift` per channel: a product and a sum with constants, which
/// [`simplify`](crate::Graph) folds into the layer before.
pub(super) fn batch_normalization(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let x = node.secret(0)?.clone();
    if node.int("training_mode", 0) != 0 {
        return Err(Why::Attribute {
            name: "training_mode",
            problem: "must be 0: export the model for inference",
        });
    }
    let Some(channels) = x.dims.first().copied() else {
        return Err(shape_error(&[&x.dims], "a channel axis is needed"));
    };
    let epsilon = f64::from(node.float("epsilon", 1e-5));
    let names = ["scale", "shift", "mean", "variance"];
    let mut parameters = Vec::with_capacity(4);
    for (i, name) in names.into_iter().enumerate() {
        let c = node.constant(i + 1, name)?;
        if c.dims != [channels] {
            return Err(shape_error(
                &[&x.dims, &c.dims],
                "one parameter per channel is needed",
            ));
        }
        parameters.push(finite(c)?.to_vec());
    }
    let [scale, shift, mean, variance] = parameters.as_slice() else {
        return Err(Why::MissingOperand(4));
    };
    let mut factors = Vec::with_capacity(channels);
    let mut addends = Vec::with_capacity(channels);
    for (((scale, shift), mean), variance) in scale.iter().zip(shift).zip(mean).zip(variance) {
        let factor = f64::from(*scale) / (f64::from(*variance) + epsilon).sqrt();
        if !factor.is_finite() {
            return Err(Why::NotFinite);
        }
        factors.push(factor as f32);
        addends.push((f64::from(*shift) - f64::from(*mean) * factor) as f32);
    }
    let y = affine(cx, node, &x, &factors, NodeOp::MulConst)?;
    let y = affine(cx, node, &y, &addends, NodeOp::AddConst)?;
    Ok(Value::Secret(y))
}

/// Applies one constant per first axis.
fn affine(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    x: &Secret,
    per_channel: &[f32],
    op: impl Fn(FloatConst) -> NodeOp,
) -> Result<Secret, Why> {
    let plane = cx.reserve(&x.dims)? / per_channel.len().max(1);
    let data = per_channel
        .iter()
        .flat_map(|v| std::iter::repeat_n(*v, plane))
        .collect();
    let c = FloatConst {
        dims: x.dims.clone(),
        data,
    };
    cx.emit(&node.name, op(c), &[x.value], x.dims.clone())
}
