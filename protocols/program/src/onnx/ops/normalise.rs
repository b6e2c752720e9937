//! Normalisation over axes, from parts.

use super::super::error::Why;
use super::super::import::Import;
use super::super::node::{OnnxNode, axis};
use super::super::value::{Secret, Value};
use super::{elementwise, function};
use crate::graph::{Function, NodeOp};

/// `(x - mean) / sqrt(var + epsilon) * scale + bias` over the axes from `axis` on.
pub(super) fn layer(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let x = node.secret(0)?.clone();
    let first = axis(node.int("axis", -1), x.dims.len(), 1)?;
    let axes: Vec<usize> = (first..x.dims.len()).collect();
    let mean = |cx: &mut Import, of: &Secret| {
        let kept = of.dims.iter().enumerate();
        let kept = kept.map(|(i, d)| if axes.contains(&i) { 1 } else { *d });
        let op = NodeOp::Mean { axes: axes.clone() };
        cx.emit(&node.name, op, &[of.value], kept.collect())
    };
    let pair = |cx: &mut Import, x: &Secret, y: &Secret, op: NodeOp| {
        elementwise::two_secrets(cx, node, x, y, op)
    };
    let middle = mean(cx, &x)?;
    let centred = pair(cx, &x, &middle, NodeOp::Sub)?;
    let squares = pair(cx, &centred, &centred, NodeOp::Mul)?;
    let variance = mean(cx, &squares)?;
    let variance = function::affine(cx, node, &variance, 1.0, node.float("epsilon", 1e-5))?;
    let inverse = function::emit(cx, node, &variance, Function::INVERSE_ROOT)?;
    let normal = pair(cx, &centred, &inverse, NodeOp::Mul)?;
    let mut y = elementwise::multiply(cx, node, &normal, node.constant(1, "scale")?, |v| v)?;
    if let Some(bias) = node.maybe_const(2, "bias")? {
        y = elementwise::add(cx, node, &y, bias, 1.0)?;
    }
    Ok(Value::Secret(y))
}
