//! Operators that keep all elements in their order and change the shape.

use super::super::error::Why;
use super::super::import::{FixedBatch, Import, no_empty_axes, shape_error};
use super::super::node::{OnnxNode, axis};
use super::super::value::{Int, Rows, Secret, Value};
use super::layout::dims_of;
use crate::graph::NodeOp;
use crate::tensor::elements;

pub(super) fn reshape(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let target = node.constant(1, "shape")?;
    let target = target
        .ints()
        .ok_or(Why::DataType("a shape must be integers"))?
        .to_vec();
    let zero_copies = node.int("allowzero", 0) == 0;
    match node.operand(0)? {
        // All rows of all records below each other.
        Value::Secret(x) if merges_rows(&target, &x.dims) => Ok(Value::Secret(Secret {
            rows: Rows::Merged,
            ..x.clone()
        })),
        Value::Secret(x) => {
            let zero_copies = zero_copies && x.rows == Rows::Records;
            let dims = record_shape(cx, &target, &x.dims, zero_copies)?;
            let x = Secret {
                rows: Rows::Records,
                ..x.clone()
            };
            to_shape(cx, node, &x, dims)
        }
        Value::Const(c) => {
            let dims = constant_shape(&target, &c.dims, zero_copies)?;
            no_empty_axes(&dims)?;
            Ok(Value::Const(c.reshaped(dims)))
        }
        Value::Refused => Err(Why::DataType("an operand was refused")),
    }
}

/// Whether a target shape puts the rows of all records, of which each has several, below each other.
fn merges_rows(target: &[Int], dims: &[usize]) -> bool {
    let Some((last, rows)) = dims.split_last() else {
        return false;
    };
    let columns = i64::try_from(*last).ok();
    let merged = matches!(target, [Int::Known(-1), Int::Known(k)] if Some(*k) == columns);
    merged && rows.iter().any(|d| *d > 1)
}

/// The target shape of a secret without its batch axis.
fn record_shape(
    cx: &Import,
    target: &[Int],
    dims: &[usize],
    zero_copies: bool,
) -> Result<Vec<usize>, Why> {
    let record = elements(dims).unwrap_or(0);
    let unfit = || {
        shape_error(
            &[dims],
            "the elements of a record do not fill the target shape",
        )
    };
    let Some((first, rest)) = target.split_first() else {
        return Err(Why::MixesBatch("the target shape has no axes"));
    };
    let mut inferred = None;
    let mut out = Vec::with_capacity(rest.len());
    for (i, size) in rest.iter().enumerate() {
        out.push(match *size {
            Int::Batch => return Err(Why::MixesBatch("the batch becomes another axis")),
            // Axis i + 1 of the input, whose axis 0 is the batch.
            Int::Known(0) if zero_copies => dims.get(i).copied().ok_or_else(unfit)?,
            Int::Known(-1) if inferred.replace(i).is_none() => 1,
            Int::Known(n) => usize::try_from(n).map_err(|_| unfit())?,
        });
    }
    let known = elements(&out).filter(|n| *n > 0).ok_or_else(unfit)?;
    if let Some(i) = inferred {
        if !record.is_multiple_of(known) {
            return Err(unfit());
        }
        if let Some(size) = out.get_mut(i) {
            *size = record / known;
        }
    }
    let mixes = Why::MixesBatch("the first axis of the target shape is not the batch");
    match *first {
        Int::Batch => {}
        Int::Known(0) if zero_copies => {}
        // The batch is what remains, but only if one record fills the rest.
        Int::Known(-1) if inferred.is_none() => {
            return if known == record { Ok(out) } else { Err(mixes) };
        }
        Int::Known(1) if cx.fixed_batch == FixedBatch::One => {}
        _ => return Err(mixes),
    }
    match elements(&out) == Some(record) {
        true => Ok(out),
        false => Err(unfit()),
    }
}

fn constant_shape(target: &[Int], dims: &[usize], zero_copies: bool) -> Result<Vec<usize>, Why> {
    let total = elements(dims).unwrap_or(0);
    let unfit = || shape_error(&[dims], "the elements do not fill the target shape");
    let mut inferred = None;
    let mut out = Vec::with_capacity(target.len());
    for (i, size) in target.iter().enumerate() {
        out.push(match *size {
            Int::Batch => return Err(Why::DependsOnBatch),
            Int::Known(0) if zero_copies => dims.get(i).copied().ok_or_else(unfit)?,
            Int::Known(-1) if inferred.replace(i).is_none() => 1,
            Int::Known(n) => usize::try_from(n).map_err(|_| unfit())?,
        });
    }
    if let Some(i) = inferred {
        let known = elements(&out).filter(|n| *n > 0).ok_or_else(unfit)?;
        if let Some(size) = out.get_mut(i) {
            *size = total / known;
        }
    }
    match elements(&out) == Some(total) {
        true => Ok(out),
        false => Err(unfit()),
    }
}

pub(super) fn flatten(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let x = node.secret(0)?;
    let full = i64::try_from(x.dims.len() + 1).unwrap_or(i64::MAX);
    let axis = match node.int("axis", 1) {
        a if a < 0 => a.saturating_add(full),
        a => a,
    };
    let split = usize::try_from(axis).ok().and_then(|a| a.checked_sub(1));
    let parts = split.and_then(|s| x.dims.split_at_checked(s));
    match parts {
        Some((front, rest)) if front.iter().all(|d| *d == 1) => {
            let n = elements(rest).unwrap_or(0);
            to_shape(cx, node, x, vec![n])
        }
        _ => Err(Why::MixesBatch("the rows of the result are not records")),
    }
}

pub(super) fn squeeze(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let stated = node.ints_at(1, "axes")?.unwrap_or_default();
    let (dims, offset) = dims_of(node.operand(0)?)?;
    let axes = stated
        .iter()
        .map(|a| axis(*a, dims.len(), offset))
        .collect::<Result<Vec<_>, _>>()?;
    if axes.is_empty() && offset == 1 && cx.fixed_batch == FixedBatch::One {
        return Err(Why::MixesBatch("without axes it removes the batch axis"));
    }
    let goes = |i: &usize| match axes.is_empty() {
        true => dims.get(*i) == Some(&1),
        false => axes.contains(i),
    };
    if axes.iter().any(|a| dims.get(*a) != Some(&1)) {
        return Err(shape_error(&[&dims], "only axes of size 1 can be squeezed"));
    }
    let kept = dims
        .iter()
        .enumerate()
        .filter(|(i, _)| !goes(i))
        .map(|(_, d)| *d)
        .collect();
    same_elements(cx, node, kept)
}

pub(super) fn unsqueeze(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let stated = node.ints_at(1, "axes")?.ok_or(Why::MissingOperand(1))?;
    let (dims, offset) = dims_of(node.operand(0)?)?;
    let rank = dims.len().saturating_add(stated.len());
    let axes = stated
        .iter()
        .map(|a| axis(*a, rank, offset))
        .collect::<Result<Vec<_>, _>>()?;
    let mut old = dims.iter();
    let mut out = Vec::with_capacity(rank);
    for i in 0..rank {
        let next = if axes.contains(&i) {
            Some(1)
        } else {
            old.next().copied()
        };
        out.push(next.ok_or_else(|| shape_error(&[&dims], "an axis is named twice"))?);
    }
    same_elements(cx, node, out)
}

/// The first operand with the same elements in another shape.
fn same_elements(cx: &mut Import, node: &OnnxNode<'_>, dims: Vec<usize>) -> Result<Value, Why> {
    match node.operand(0)? {
        Value::Secret(x) => to_shape(cx, node, x, dims),
        Value::Const(c) => Ok(Value::Const(c.reshaped(dims))),
        Value::Refused => Err(Why::DataType("an operand was refused")),
    }
}

pub(super) fn to_shape(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    x: &Secret,
    dims: Vec<usize>,
) -> Result<Value, Why> {
    if x.dims == dims {
        return Ok(Value::Secret(x.clone()));
    }
    Ok(Value::Secret(cx.emit(
        &node.name,
        NodeOp::Reshape,
        &[x.value],
        dims,
    )?))
}
