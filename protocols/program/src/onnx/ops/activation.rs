//! Relu, LeakyRelu, Clip.

use super::super::error::Why;
use super::super::import::Import;
use super::super::node::OnnxNode;
use super::super::value::Value;
use crate::graph::NodeOp;

pub(super) fn relu(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    elementwise(cx, node, NodeOp::Relu)
}

pub(super) fn leaky_relu(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let alpha = node.float("alpha", 0.01);
    if !alpha.is_finite() {
        return Err(Why::NotFinite);
    }
    elementwise(cx, node, NodeOp::LeakyRelu { alpha })
}

/// Bounds are operands since operator set 11; attributes are read too.
pub(super) fn clip(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let bound = |i, what| match node.maybe_const(i, what)? {
        Some(c) => c
            .scalar()
            .ok_or(Why::DataType("a bound of Clip must be one number"))
            .map(Some),
        None => Ok(node.maybe_float(what)),
    };
    // An infinite bound is none; NaN is neither above nor below anything.
    let lo = bound(1, "min")?.filter(|v| *v != f32::NEG_INFINITY);
    let hi = bound(2, "max")?.filter(|v| *v != f32::INFINITY);
    if lo.is_some_and(|v| !v.is_finite()) || hi.is_some_and(|v| !v.is_finite()) {
        return Err(Why::NotFinite);
    }
    // ONNX: with min above max, everything becomes max.
    let lo = match (lo, hi) {
        (Some(lo), Some(hi)) => Some(lo.min(hi)),
        _ => lo,
    };
    // What a float network clips at to mean "no bound" is none here either: values are far below 2^62.
    let lo = lo.filter(|v| *v > f32::MIN);
    let hi = hi.filter(|v| *v < f32::MAX);
    if lo.is_none() && hi.is_none() {
        return Ok(node.operand(0)?.clone());
    }
    elementwise(cx, node, NodeOp::Clip { lo, hi })
}

fn elementwise(cx: &mut Import, node: &OnnxNode<'_>, op: NodeOp) -> Result<Value, Why> {
    let x = node.secret(0)?;
    Ok(Value::Secret(cx.emit(
        &node.name,
        op,
        &[x.value],
        x.dims.clone(),
    )?))
}
