//! Operators that move elements: for constants they are carried out, for secrets they become index maps.

use super::super::error::Why;
use super::super::import::{Import, shape_error};
use super::super::node::{OnnxNode, axis};
use super::super::value::{Const, ConstData, Int, Secret, Value};
use super::elementwise;
use super::reshape::to_shape;
use crate::fixed::PAD;
use crate::graph::{FloatConst, NodeOp};
use crate::maps::{self, Map};
use crate::tensor::elements;

/// Where each output position of one axis comes from; `None` is padding.
type Sources = Vec<Option<usize>>;

pub(super) fn transpose(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let (dims, offset) = dims_of(node.operand(0)?)?;
    let full = dims.len() + offset;
    let stated: Vec<i64> = match node.ints("perm") {
        Some(perm) => perm.to_vec(),
        None => (0..full)
            .rev()
            .filter_map(|i| i64::try_from(i).ok())
            .collect(),
    };
    let perm: Vec<usize> = stated
        .iter()
        .filter_map(|p| usize::try_from(*p).ok())
        .collect();
    let is_permutation = perm.len() == full && (0..full).all(|i| perm.contains(&i));
    if !is_permutation || stated.len() != full {
        return Err(Why::Attribute {
            name: "perm",
            problem: "is not a permutation of the axes",
        });
    }
    if offset == 1 && perm.first() != Some(&0) {
        return Err(Why::MixesBatch("it moves the first axis"));
    }
    let perm: Vec<usize> = perm.iter().skip(offset).map(|p| p - offset).collect();
    cx.reserve(&dims)?;
    apply_map(cx, node, maps::transpose(&dims, &perm))
}

/// Swaps the last two axes of a secret that has at least two.
pub(super) fn swap_last(cx: &mut Import, name: &str, x: &Secret) -> Result<Secret, Why> {
    let rank = x.dims.len();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank.saturating_sub(2), rank.saturating_sub(1));
    cx.reserve(&x.dims)?;
    let map = maps::transpose(&x.dims, &perm);
    cx.emit(name, NodeOp::Rearrange(map.map), &[x.value], map.dims)
}

pub(super) fn concat(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let stated = node.maybe_int("axis").ok_or(Why::Attribute {
        name: "axis",
        problem: "is missing",
    })?;
    let operands: Vec<&Value> = node.operands.iter().flatten().collect();
    let first = operands.first().ok_or(Why::MissingOperand(0))?;
    if operands.iter().all(|v| matches!(v, Value::Const(_))) {
        return concat_constants(cx, stated, &operands);
    }
    let mut secrets = Vec::with_capacity(operands.len());
    for v in &operands {
        match v {
            Value::Secret(s) => secrets.push(s),
            _ => {
                return Err(Why::NotConstant(
                    "other operand (mixing constants and inputs)",
                ));
            }
        }
    }
    let (dims, _) = dims_of(first)?;
    let axis = axis(stated, dims.len(), 1)?;
    let mut out = dims.clone();
    let mut total = 0usize;
    for s in &secrets {
        let fits = s.dims.len() == dims.len()
            && s.dims
                .iter()
                .zip(&dims)
                .enumerate()
                .all(|(i, (a, b))| i == axis || a == b);
        if !fits {
            return Err(shape_error(
                &[&dims, &s.dims],
                "only the joined axis may differ",
            ));
        }
        total = total.saturating_add(s.dims.get(axis).copied().unwrap_or(0));
    }
    if let Some(size) = out.get_mut(axis) {
        *size = total;
    }
    let inputs: Vec<usize> = secrets.iter().map(|s| s.value).collect();
    Ok(Value::Secret(cx.emit(
        &node.name,
        NodeOp::Concat { axis },
        &inputs,
        out,
    )?))
}

fn concat_constants(cx: &mut Import, stated: i64, operands: &[&Value]) -> Result<Value, Why> {
    let constants: Vec<&Const> = operands
        .iter()
        .filter_map(|v| match v {
            Value::Const(c) => Some(c),
            _ => None,
        })
        .collect();
    let first = constants.first().ok_or(Why::MissingOperand(0))?;
    let at = axis(stated, first.dims.len(), 0)?;
    let mut dims = first.dims.clone();
    let mut total = 0usize;
    for c in &constants {
        let fits = c.dims.len() == dims.len()
            && c.dims
                .iter()
                .zip(&first.dims)
                .enumerate()
                .all(|(i, (a, b))| i == at || a == b);
        if !fits {
            return Err(shape_error(
                &[&first.dims, &c.dims],
                "only the joined axis may differ",
            ));
        }
        total = total.saturating_add(c.dims.get(at).copied().unwrap_or(0));
    }
    if let Some(size) = dims.get_mut(at) {
        *size = total;
    }
    cx.reserve(&dims)?;
    let outer: usize = dims.iter().take(at).product();
    let data = if constants.iter().all(|c| c.floats().is_some()) {
        let parts: Vec<_> = constants.iter().filter_map(|c| c.floats()).collect();
        ConstData::Float(interleave(&parts, outer))
    } else if constants.iter().all(|c| c.ints().is_some()) {
        let parts: Vec<_> = constants.iter().filter_map(|c| c.ints()).collect();
        ConstData::Int(interleave(&parts, outer))
    } else {
        return Err(Why::DataType("operands have different types"));
    };
    Ok(Value::Const(Const::new(dims, data)))
}

/// Takes `1 / outer` of every part in turn.
fn interleave<T: Copy>(parts: &[&[T]], outer: usize) -> Vec<T> {
    let mut out = Vec::new();
    for i in 0..outer {
        for part in parts {
            let run = part.len() / outer;
            out.extend_from_slice(part.get(i * run..(i + 1) * run).unwrap_or_default());
        }
    }
    out
}

pub(super) fn slice(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let needed = |i, what| node.ints_at(i, what)?.ok_or(Why::MissingOperand(i));
    let starts = needed(1, "starts")?;
    let ends = needed(2, "ends")?;
    let (dims, offset) = dims_of(node.operand(0)?)?;
    let axes = match node.ints_at(3, "axes")? {
        Some(axes) => axes,
        None => (0..starts.len())
            .filter_map(|i| i64::try_from(i).ok())
            .collect(),
    };
    let steps = node
        .ints_at(4, "steps")?
        .unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(shape_error(
            &[&dims],
            "starts, ends, axes and steps differ in length",
        ));
    }
    let mut sources = whole(&dims);
    for (((start, end), stated), step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let untouched = *start == 0 && *step == 1 && *end >= i64::from(i32::MAX);
        let at = match axis(*stated, dims.len(), offset) {
            Ok(at) => at,
            Err(Why::MixesBatch(_)) if untouched => continue,
            Err(Why::MixesBatch(_)) => {
                return Err(Why::MixesBatch("it takes some records of the batch"));
            }
            Err(why) => return Err(why),
        };
        let size = dims.get(at).copied().unwrap_or(0);
        if let Some(list) = sources.get_mut(at) {
            *list = range(*start, *end, *step, size)?;
        }
    }
    pick(cx, node, &dims, &sources)
}

/// Parts along one axis: of stated sizes, or of equal ones.
pub(super) fn split(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Vec<Value>, Why> {
    let (dims, offset) = dims_of(node.operand(0)?)?;
    let at = axis(node.int("axis", 0), dims.len(), offset)?;
    let size = dims.get(at).copied().unwrap_or(0);
    let parts = node.proto.output.len();
    let stated = match node.ints_at(1, "split")? {
        Some(sizes) => sizes,
        // All equal but the last, which may be smaller.
        None => {
            let each = size.div_ceil(parts.max(1));
            let from = (0..parts).map(|i| (i * each).min(size));
            from.map(|from| (size - from).min(each) as i64).collect()
        }
    };
    let sizes: Option<Vec<usize>> = stated.iter().map(|s| usize::try_from(*s).ok()).collect();
    let fit = |sizes: &Vec<usize>| {
        let sum = sizes.iter().try_fold(0usize, |sum, s| sum.checked_add(*s));
        sizes.len() == parts && sum == Some(size)
    };
    let sizes = sizes
        .filter(fit)
        .ok_or_else(|| shape_error(&[&dims], "the parts do not make up the axis"))?;
    let mut from = 0;
    let mut values = Vec::with_capacity(parts);
    for size in sizes {
        let mut sources = whole(&dims);
        if let Some(axis) = sources.get_mut(at) {
            *axis = (from..from + size).map(Some).collect();
        }
        values.push(pick(cx, node, &dims, &sources)?);
        from += size;
    }
    Ok(values)
}

/// Positions of a slice of one axis, with the clamping rules of ONNX.
fn range(start: i64, end: i64, step: i64, size: usize) -> Result<Sources, Why> {
    let bad = Why::Attribute {
        name: "steps",
        problem: "must not be 0",
    };
    let n = i64::try_from(size).map_err(|_| bad.clone())?;
    if n == 0 {
        return Ok(Vec::new());
    }
    let wrap = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
    let (mut at, end) = match step.signum() {
        0 => return Err(bad),
        1 => (wrap(start).clamp(0, n), wrap(end).clamp(0, n)),
        _ => (wrap(start).clamp(0, n - 1), wrap(end).clamp(-1, n - 1)),
    };
    let mut list = Vec::new();
    while (step > 0 && at < end) || (step < 0 && at > end) {
        list.push(usize::try_from(at).ok());
        at = at.saturating_add(step);
    }
    Ok(list)
}

pub(super) fn gather(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let indices = node.constant(1, "indices")?;
    let (dims, offset) = dims_of(node.operand(0)?)?;
    let at = axis(node.int("axis", 0), dims.len(), offset)?;
    let size = dims.get(at).copied().unwrap_or(0);
    let n = i64::try_from(size).unwrap_or(i64::MAX);
    let known = indices
        .known_ints()
        .ok_or(Why::DataType("indices must be integers"))?;
    let list: Option<Sources> = known
        .iter()
        .map(|i| {
            usize::try_from(if *i < 0 { i + n } else { *i })
                .ok()
                .filter(|i| *i < size)
        })
        .map(|i| i.map(Some))
        .collect();
    let list = list.ok_or_else(|| shape_error(&[&dims], "an index is out of range"))?;
    let mut sources = whole(&dims);
    if let Some(axis) = sources.get_mut(at) {
        *axis = list;
    }
    // The gathered axis becomes the axes of the indices: none for one number.
    let mut out = dims.clone();
    out.splice(at..at + 1, indices.dims.iter().copied());
    match pick(cx, node, &dims, &sources)? {
        Value::Secret(y) => to_shape(cx, node, &y, out),
        Value::Const(c) => Ok(Value::Const(c.reshaped(out))),
        refused => Ok(refused),
    }
}

pub(super) fn expand(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let target = node.constant(1, "shape")?;
    let target = target
        .ints()
        .ok_or(Why::DataType("a shape must be integers"))?
        .to_vec();
    let (dims, offset) = dims_of(node.operand(0)?)?;
    let surplus = target.len().saturating_sub(dims.len());
    let (front, rest) = target.split_at_checked(surplus).unwrap_or((&[], &target));
    let batch_stays = |f: &[Int]| matches!(f, [] | [Int::Known(1) | Int::Batch]);
    if offset == 1 && !batch_stays(front) {
        return Err(Why::MixesBatch("it changes the first axis"));
    }
    let mut rest: Vec<Option<usize>> = rest
        .iter()
        .enumerate()
        .map(|(axis, i)| match i {
            Int::Known(n) => usize::try_from(*n).ok(),
            // A constant that is the same for every record stays as it is.
            Int::Batch => (axis == 0 && offset == 0 && dims.first() == Some(&1)).then_some(1),
        })
        .collect();
    for _ in rest.len()..dims.len() {
        rest.insert(0, Some(1));
    }
    let sizes: Option<Vec<usize>> = rest.into_iter().collect();
    let sizes = sizes.ok_or(Why::DependsOnBatch)?;
    let to: Vec<usize> = dims
        .iter()
        .zip(&sizes)
        .map(|(d, t)| if *t == 1 { *d } else { *t })
        .collect();
    match node.operand(0)? {
        Value::Secret(x) => Ok(Value::Secret(elementwise::broadcast(cx, node, x, &to)?)),
        Value::Const(c) => {
            let full: Option<Vec<usize>> = front
                .iter()
                .enumerate()
                .map(|(axis, i)| match i {
                    Int::Known(n) => usize::try_from(*n).ok(),
                    // The same for every record: one broadcasts.
                    Int::Batch => (axis == 0).then_some(1),
                })
                .collect();
            let mut full = full.ok_or(Why::DependsOnBatch)?;
            let mut from = vec![1; full.len()];
            full.extend(&to);
            from.extend(&dims);
            cx.reserve(&full)?;
            let map = maps::expand(&from, &full)
                .ok_or_else(|| shape_error(&[&dims, &full], "they do not broadcast"))?;
            let picked = c.pick(map.dims, &map.map);
            Ok(Value::Const(
                picked.ok_or(Why::DataType("a constant is not complete"))?,
            ))
        }
        Value::Refused => Err(Why::DataType("an operand was refused")),
    }
}

pub(super) fn pad(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let pads = node.ints_at(1, "pads")?.ok_or(Why::MissingOperand(1))?;
    let value = match node.maybe_const(2, "padding value")? {
        None => 0.0,
        Some(c) => c
            .scalar()
            .ok_or(Why::DataType("the padding value must be one number"))?,
    };
    let x = node.secret(0)?.clone();
    let rank = x.dims.len();
    let axes: Vec<i64> = match node.ints_at(3, "axes")? {
        Some(axes) => axes,
        None => (0..=rank).filter_map(|i| i64::try_from(i).ok()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(shape_error(&[&x.dims], "two pads per axis are needed"));
    }
    let (before, after) = pads.split_at(axes.len());
    let mode = node.text("mode").unwrap_or("constant").to_owned();
    let mut sources = whole(&x.dims);
    for ((stated, before), after) in axes.iter().zip(before).zip(after) {
        if *before == 0 && *after == 0 {
            continue;
        }
        let at = axis(*stated, rank, 1)?;
        let size = x.dims.get(at).copied().unwrap_or(0);
        let list = padded(size, *before, *after, &mode)?;
        // The product of all axes is checked before the map is made; this bounds one axis before its list is.
        cx.reserve(&[list.len()])?;
        if let Some(slot) = sources.get_mut(at) {
            *slot = list;
        }
    }
    let dims: Vec<usize> = sources.iter().map(Vec::len).collect();
    cx.reserve(&dims)?;
    let map = maps::per_axis(&x.dims, &sources);
    if value == 0.0 || mode != "constant" {
        return Ok(Value::Secret(cx.emit(
            &node.name,
            NodeOp::Rearrange(map.map),
            &[x.value],
            dims,
        )?));
    }
    if !value.is_finite() {
        return Err(Why::NotFinite);
    }
    let data = map
        .map
        .iter()
        .map(|i| if *i == PAD { value } else { 0.0 })
        .collect();
    let addend = FloatConst {
        dims: dims.clone(),
        data,
    };
    let y = cx.emit(
        &node.name,
        NodeOp::Rearrange(map.map),
        &[x.value],
        dims.clone(),
    )?;
    Ok(Value::Secret(cx.emit(
        &node.name,
        NodeOp::AddConst(addend),
        &[y.value],
        dims,
    )?))
}

/// One padded axis; negative pads cut off.
fn padded(size: usize, before: i64, after: i64, mode: &str) -> Result<Sources, Why> {
    let limit = i64::try_from(crate::fixed::limits::GEOMETRY).unwrap_or(i64::MAX);
    let bad = Why::Attribute {
        name: "pads",
        problem: "are too large",
    };
    if before.abs() > limit || after.abs() > limit {
        return Err(bad);
    }
    let n = i64::try_from(size).map_err(|_| bad.clone())?;
    let from = |i: i64| -> Result<Option<usize>, Why> {
        let at = match mode {
            "constant" => i,
            "edge" => i.clamp(0, n - 1),
            "wrap" => i.rem_euclid(n),
            "reflect" if i >= -(n - 1) && i <= 2 * (n - 1) => {
                if i < 0 {
                    -i
                } else {
                    (n - 1) - (i - (n - 1)).abs()
                }
            }
            "reflect" => return Err(bad.clone()),
            _ => {
                return Err(Why::Attribute {
                    name: "mode",
                    problem: "is not known",
                });
            }
        };
        Ok(usize::try_from(at).ok().filter(|at| *at < size))
    };
    (-before..n + after).map(from).collect()
}

/// Shape of a value as operators see it, and how many batch axes come before it.
pub(super) fn dims_of(v: &Value) -> Result<(Vec<usize>, usize), Why> {
    match v {
        Value::Secret(s) => Ok((s.dims.clone(), 1)),
        Value::Const(c) => Ok((c.dims.clone(), 0)),
        Value::Refused => Err(Why::DataType("an operand was refused")),
    }
}

fn whole(dims: &[usize]) -> Vec<Sources> {
    dims.iter().map(|d| (0..*d).map(Some).collect()).collect()
}

/// Picks elements per axis, without padding.
fn pick(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    dims: &[usize],
    sources: &[Sources],
) -> Result<Value, Why> {
    let out: Vec<usize> = sources.iter().map(Vec::len).collect();
    cx.reserve(&out)?;
    apply_map(cx, node, maps::per_axis(dims, sources))
}

fn apply_map(cx: &mut Import, node: &OnnxNode<'_>, map: Map) -> Result<Value, Why> {
    match node.operand(0)? {
        Value::Secret(x) if maps::is_identity(&map.map, elements(&x.dims).unwrap_or(0)) => {
            to_shape(cx, node, x, map.dims)
        }
        Value::Secret(x) => {
            let op = NodeOp::Rearrange(map.map);
            Ok(Value::Secret(cx.emit(
                &node.name,
                op,
                &[x.value],
                map.dims,
            )?))
        }
        Value::Const(c) => {
            let picked = c.pick(map.dims, &map.map);
            Ok(Value::Const(
                picked.ok_or(Why::DataType("a constant is not complete"))?,
            ))
        }
        Value::Refused => Err(Why::DataType("an operand was refused")),
    }
}
