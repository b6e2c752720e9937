//! Means, sums and extremes over axes.

use super::super::error::Why;
use super::super::import::{Import, shape_error};
use super::super::node::{OnnxNode, axis};
use super::super::value::{Secret, Value};
use crate::graph::NodeOp;

pub(super) fn reduce(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let x = node.secret(0)?.clone();
    let stated = node.ints_at(1, "axes")?.unwrap_or_default();
    if stated.is_empty() {
        return match node.int("noop_with_empty_axes", 0) {
            0 => Err(Why::MixesBatch("without axes it reduces over all of them")),
            _ => Ok(Value::Secret(x)),
        };
    }
    let axes: Result<Vec<usize>, Why> = stated.iter().map(|a| axis(*a, x.dims.len(), 1)).collect();
    let mut axes = axes?;
    axes.sort_unstable();
    if axes.windows(2).any(|w| w[0] == w[1]) {
        return Err(shape_error(&[&axes], "an axis is named twice"));
    }
    let keep = |i: &usize| !axes.contains(i);
    let kept = x
        .dims
        .iter()
        .enumerate()
        .map(|(i, d)| if keep(&i) { *d } else { 1 })
        .collect();
    let without: Vec<usize> = x
        .dims
        .iter()
        .enumerate()
        .filter(|(i, _)| keep(i))
        .map(|(_, d)| *d)
        .collect();
    let flip = |cx: &mut Import, x: Secret| {
        let op = NodeOp::Affine {
            scale: -1.0,
            shift: 0.0,
        };
        cx.emit(&node.name, op, &[x.value], x.dims)
    };
    let mut y = match node.op() {
        "ReduceMean" => cx.emit(&node.name, NodeOp::Mean { axes }, &[x.value], kept)?,
        "ReduceMax" => cx.emit(&node.name, NodeOp::ReduceMax { axes }, &[x.value], kept)?,
        "ReduceMin" => {
            let negative = flip(cx, x)?;
            let op = NodeOp::ReduceMax { axes };
            let largest = cx.emit(&node.name, op, &[negative.value], kept)?;
            flip(cx, largest)?
        }
        _ => cx.emit(&node.name, NodeOp::Sum { axes }, &[x.value], kept)?,
    };
    if node.int("keepdims", 1) == 0 {
        y = cx.emit(&node.name, NodeOp::Reshape, &[y.value], without)?;
    }
    Ok(Value::Secret(y))
}
