//! Sums, differences, products and quotients, with broadcasting made explicit.

use std::cmp::Ordering;

use super::super::error::Why;
use super::super::import::{Import, finite, shape_error};
use super::super::node::OnnxNode;
use super::super::value::{Const, ConstData, Int, Secret, Value};
use super::function;
use crate::graph::{FloatConst, Function, NodeOp};
use crate::maps;

pub(super) fn binary(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    match (node.operand(0)?, node.operand(1)?) {
        (Value::Secret(x), Value::Secret(y)) => {
            let op = match node.op() {
                "Add" => NodeOp::Add,
                "Sub" => NodeOp::Sub,
                "Mul" => NodeOp::Mul,
                // x / y = x (1 / y), and x / sqrt(v) = x v^(-1/2)
                _ => {
                    let inverse = match cx.root_of(y) {
                        Some(v) => function::emit(cx, node, &v, Function::INVERSE_ROOT)?,
                        None => function::emit(cx, node, y, Function::Reciprocal)?,
                    };
                    return two_secrets(cx, node, x, &inverse, NodeOp::Mul);
                }
            };
            two_secrets(cx, node, x, y, op)
        }
        (Value::Secret(x), Value::Const(c)) => with_constant(cx, node, x, c, Side::Right),
        (Value::Const(c), Value::Secret(x)) => with_constant(cx, node, x, c, Side::Left),
        (Value::Const(a), Value::Const(b)) => constants(cx, node.op(), a, b),
        _ => Err(Why::DataType("an operand was refused")),
    }
}

/// Any number of operands.
pub(super) fn sum(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let mut total = node.operand(0)?.clone();
    for i in 1..node.operands.len() {
        total = match (&total, node.operand(i)?) {
            (Value::Secret(x), Value::Secret(y)) => two_secrets(cx, node, x, y, NodeOp::Add)?,
            (Value::Secret(x), Value::Const(c)) | (Value::Const(c), Value::Secret(x)) => {
                add(cx, node, x, c, 1.0)?
            }
            (Value::Const(a), Value::Const(b)) => constants(cx, "Add", a, b)?,
            _ => return Err(Why::DataType("an operand was refused")),
        };
    }
    Ok(total)
}

/// Largest or smallest of any number of operands.
pub(super) fn extreme(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let smallest = node.op() == "Min";
    let mut best = node.operand(0)?.clone();
    for i in 1..node.operands.len() {
        best = match (&best, node.operand(i)?) {
            (Value::Secret(x), Value::Secret(y)) if smallest => {
                // min(x, y) = x + y - max(x, y)
                let largest = two_secrets(cx, node, x, y, NodeOp::Max)?;
                let sum = two_secrets(cx, node, x, y, NodeOp::Add)?;
                match (&sum, &largest) {
                    (Value::Secret(s), Value::Secret(l)) => {
                        two_secrets(cx, node, s, l, NodeOp::Sub)?
                    }
                    _ => return Err(Why::DataType("an operand was refused")),
                }
            }
            (Value::Secret(x), Value::Secret(y)) => two_secrets(cx, node, x, y, NodeOp::Max)?,
            (Value::Secret(x), Value::Const(c)) | (Value::Const(c), Value::Secret(x)) => {
                extreme_constant(cx, node, x, c, smallest)?
            }
            (Value::Const(a), Value::Const(b)) => constants(cx, node.op(), a, b)?,
            _ => return Err(Why::DataType("an operand was refused")),
        };
    }
    Ok(best)
}

fn extreme_constant(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    x: &Secret,
    c: &Const,
    smallest: bool,
) -> Result<Value, Why> {
    // With one number it is a clip.
    if let Some(v) = c.scalar().filter(|v| v.is_finite() && c.dims.len() <= 1) {
        let (lo, hi) = if smallest {
            (None, Some(v))
        } else {
            (Some(v), None)
        };
        let op = NodeOp::Clip { lo, hi };
        let dims = x.dims.clone();
        return Ok(Value::Secret(cx.emit(&node.name, op, &[x.value], dims)?));
    }
    // max(x, c) = c + relu(x - c); min(x, c) = c - relu(c - x)
    let (x, c) = fit(cx, node, x, c)?;
    let sign = if smallest { -1.0 } else { 1.0 };
    let dims = x.dims.clone();
    let mut emit = |op: NodeOp, from: usize| cx.emit(&node.name, op, &[from], dims.clone());
    let flip = NodeOp::Affine {
        scale: -1.0,
        shift: 0.0,
    };
    let mut y = x.value;
    if smallest {
        y = emit(flip.clone(), y)?.value;
    }
    let negative = FloatConst {
        dims: c.dims.clone(),
        data: c.data.iter().map(|v| -v * sign).collect(),
    };
    y = emit(NodeOp::AddConst(negative), y)?.value;
    y = emit(NodeOp::Relu, y)?.value;
    if smallest {
        y = emit(flip, y)?.value;
    }
    Ok(Value::Secret(emit(NodeOp::AddConst(c), y)?))
}

/// `x^e` for one constant exponent.
pub(super) fn power(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let exponent = node.constant(1, "exponent")?;
    if let Value::Const(base) = node.operand(0)? {
        return constants(cx, "Pow", base, exponent);
    }
    let x = node.secret(0)?.clone();
    let exponent = exponent
        .scalar()
        .filter(|e| e.is_finite())
        .ok_or(Why::DataType("the exponent must be one finite number"))?;
    let square = |cx: &mut Import, x: &Secret, y: &Secret| {
        let dims = x.dims.clone();
        cx.emit(&node.name, NodeOp::Mul, &[x.value, y.value], dims)
    };
    Ok(Value::Secret(match exponent {
        1.0 => x,
        2.0 => square(cx, &x, &x)?,
        3.0 => {
            let squared = square(cx, &x, &x)?;
            square(cx, &squared, &x)?
        }
        0.5 => function::emit(cx, node, &x, Function::Sqrt)?,
        -1.0 => function::emit(cx, node, &x, Function::Reciprocal)?,
        exponent => function::emit(cx, node, &x, Function::Power { exponent })?,
    }))
}

/// On which side of the operator the constant is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

fn with_constant(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    x: &Secret,
    c: &Const,
    side: Side,
) -> Result<Value, Why> {
    match (node.op(), side) {
        ("Add", _) => add(cx, node, x, c, 1.0),
        ("Sub", Side::Right) => add(cx, node, x, c, -1.0),
        ("Sub", Side::Left) => {
            let negative = function::affine(cx, node, x, -1.0, 0.0)?;
            add(cx, node, &negative, c, 1.0)
        }
        ("Mul", _) => multiply(cx, node, x, c, |v| v),
        ("Div", Side::Right) => multiply(cx, node, x, c, f32::recip),
        ("Div", Side::Left) => {
            let inverse = function::emit(cx, node, x, Function::Reciprocal)?;
            multiply(cx, node, &inverse, c, |v| v)
        }
        _ => Err(Why::Operator),
    }
}

pub(super) fn add(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    x: &Secret,
    c: &Const,
    sign: f32,
) -> Result<Value, Why> {
    let (x, mut c) = fit(cx, node, x, c)?;
    c.data.iter_mut().for_each(|v| *v *= sign);
    let dims = x.dims.clone();
    Ok(Value::Secret(cx.emit(
        &node.name,
        NodeOp::AddConst(c),
        &[x.value],
        dims,
    )?))
}

pub(super) fn multiply(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    x: &Secret,
    c: &Const,
    f: impl Fn(f32) -> f32,
) -> Result<Value, Why> {
    let (x, mut c) = fit(cx, node, x, c)?;
    c.data.iter_mut().for_each(|v| *v = f(*v));
    if c.data.iter().any(|v| !v.is_finite()) {
        return Err(Why::NotFinite);
    }
    let dims = x.dims.clone();
    Ok(Value::Secret(cx.emit(
        &node.name,
        NodeOp::MulConst(c),
        &[x.value],
        dims,
    )?))
}

/// Broadcasts a secret and a constant to their common shape.
pub(super) fn fit(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    x: &Secret,
    c: &Const,
) -> Result<(Secret, FloatConst), Why> {
    let floats = finite(c)?;
    // Axes are aligned from the right; the constant may reach the batch axis only with a 1.
    let surplus = c.dims.len().saturating_sub(x.dims.len());
    let (front, rest) = c.dims.split_at_checked(surplus).unwrap_or((&[], &c.dims));
    match front {
        [] | [1] => {}
        _ => {
            return Err(Why::MixesBatch(
                "a constant differs along the first axis or before it",
            ));
        }
    }
    let rest = aligned(rest, x.dims.len());
    let common = common_dims(&x.dims, &rest)
        .ok_or_else(|| shape_error(&[&x.dims, &c.dims], "they do not broadcast"))?;
    cx.reserve(&common)?;
    let map = maps::expand(&rest, &common)
        .ok_or_else(|| shape_error(&[&rest, &common], "they do not broadcast"))?;
    let data = map
        .map
        .iter()
        .filter_map(|i| floats.get(*i as usize).copied())
        .collect();
    let x = broadcast(cx, node, x, &common)?;
    Ok((x, FloatConst { dims: common, data }))
}

pub(super) fn two_secrets(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    x: &Secret,
    y: &Secret,
    op: NodeOp,
) -> Result<Value, Why> {
    if x.dims.len() != y.dims.len() {
        return Err(Why::MixesBatch(
            "operands of different rank align the batch with another axis",
        ));
    }
    let common = common_dims(&x.dims, &y.dims)
        .ok_or_else(|| shape_error(&[&x.dims, &y.dims], "they do not broadcast"))?;
    let x = broadcast(cx, node, x, &common)?;
    let y = broadcast(cx, node, y, &common)?;
    Ok(Value::Secret(cx.emit(
        &node.name,
        op,
        &[x.value, y.value],
        common,
    )?))
}

/// Repeats size-1 axes of a secret.
pub(super) fn broadcast(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    x: &Secret,
    to: &[usize],
) -> Result<Secret, Why> {
    if x.dims == to {
        return Ok(x.clone());
    }
    cx.reserve(to)?;
    let map = maps::expand(&x.dims, to)
        .ok_or_else(|| shape_error(&[&x.dims, to], "they do not broadcast"))?;
    cx.emit(&node.name, NodeOp::Rearrange(map.map), &[x.value], map.dims)
}

/// Folds an operator on two constants.
pub(super) fn constants(cx: &mut Import, op: &str, a: &Const, b: &Const) -> Result<Value, Why> {
    let rank = a.dims.len().max(b.dims.len());
    let (da, db) = (aligned(&a.dims, rank), aligned(&b.dims, rank));
    let unfit = || shape_error(&[&a.dims, &b.dims], "they do not broadcast");
    let dims = common_dims(&da, &db).ok_or_else(unfit)?;
    cx.reserve(&dims)?;
    let (ma, mb) = (
        maps::expand(&da, &dims).ok_or_else(unfit)?,
        maps::expand(&db, &dims).ok_or_else(unfit)?,
    );
    let pairs = || {
        ma.map
            .iter()
            .zip(&mb.map)
            .map(|(i, j)| (*i as usize, *j as usize))
    };
    let data = match (a.data(), b.data()) {
        (ConstData::Float(x), ConstData::Float(y)) if comparison(op).is_some() => {
            let holds = comparison(op).ok_or(Why::Operator)?;
            let at = |(i, j): (usize, usize)| {
                let order = x.get(i)?.partial_cmp(y.get(j)?);
                Some(Int::Known(order.is_some_and(holds).into()))
            };
            ConstData::Int(pairs().filter_map(at).collect())
        }
        (ConstData::Float(x), ConstData::Float(y)) => {
            let f: fn(f32, f32) -> f32 = match op {
                "Add" => |a, b| a + b,
                "Sub" => |a, b| a - b,
                "Mul" => |a, b| a * b,
                "Div" => |a, b| a / b,
                "Max" => f32::max,
                "Min" => f32::min,
                "Pow" => f32::powf,
                _ => return Err(Why::Operator),
            };
            let at = |(i, j): (usize, usize)| Some(f(*x.get(i)?, *y.get(j)?));
            ConstData::Float(pairs().filter_map(at).collect())
        }
        (ConstData::Int(x), ConstData::Int(y)) => {
            let at = |(i, j): (usize, usize)| match (x.get(i), y.get(j)) {
                (Some(a), Some(b)) => int_op(op, *a, *b),
                _ => Err(unfit()),
            };
            ConstData::Int(pairs().map(at).collect::<Result<_, _>>()?)
        }
        _ => return Err(Why::DataType("operands have different types")),
    };
    Ok(Value::Const(Const::new(dims, data)))
}

/// What an operator that compares says of each order.
fn comparison(op: &str) -> Option<fn(Ordering) -> bool> {
    Some(match op {
        "Equal" => Ordering::is_eq,
        "Less" => Ordering::is_lt,
        "LessOrEqual" => Ordering::is_le,
        "Greater" => Ordering::is_gt,
        "GreaterOrEqual" => Ordering::is_ge,
        _ => return None,
    })
}

/// `a` where the condition is not zero, else `b`.
pub(super) fn choose(cx: &mut Import, [c, a, b]: [&Const; 3]) -> Result<Value, Why> {
    let rank = [c, a, b]
        .map(|v| v.dims.len())
        .into_iter()
        .max()
        .unwrap_or(0);
    let full = [c, a, b].map(|v| aligned(&v.dims, rank));
    let unfit = || shape_error(&[&c.dims, &a.dims, &b.dims], "they do not broadcast");
    let dims = common_dims(&full[0], &full[1]).and_then(|d| common_dims(&d, &full[2]));
    let dims = dims.ok_or_else(unfit)?;
    cx.reserve(&dims)?;
    let mut picked = Vec::new();
    for (value, from) in [c, a, b].into_iter().zip(&full) {
        let map = maps::expand(from, &dims).ok_or_else(unfit)?;
        picked.push(value.pick(dims.clone(), &map.map).ok_or_else(unfit)?);
    }
    let truth = picked[0]
        .known_ints()
        .ok_or(Why::DataType("a condition must be true or false"))?;
    let data = match (picked[1].data(), picked[2].data()) {
        (ConstData::Float(a), ConstData::Float(b)) => {
            let pairs = truth.iter().zip(a.iter().zip(b));
            ConstData::Float(
                pairs
                    .map(|(t, (a, b))| if *t != 0 { *a } else { *b })
                    .collect(),
            )
        }
        (ConstData::Int(a), ConstData::Int(b)) => {
            let pairs = truth.iter().zip(a.iter().zip(b));
            ConstData::Int(
                pairs
                    .map(|(t, (a, b))| if *t != 0 { *a } else { *b })
                    .collect(),
            )
        }
        _ => return Err(Why::DataType("operands have different types")),
    };
    Ok(Value::Const(Const::new(dims, data)))
}

/// Arithmetic in shape computations. The number of records survives only what leaves it alone.
fn int_op(op: &str, a: Int, b: Int) -> Result<Int, Why> {
    let overflow = Why::DataType("an integer constant overflows or is divided by zero");
    match (op, a, b) {
        // The number of records is at least one.
        ("Equal", Int::Batch, Int::Known(..=0)) | ("Equal", Int::Known(..=0), Int::Batch) => {
            Ok(Int::Known(0))
        }
        ("Equal", Int::Batch, Int::Batch) => Ok(Int::Known(1)),
        (_, Int::Known(a), Int::Known(b)) if comparison(op).is_some() => {
            let holds = comparison(op).is_some_and(|holds| holds(a.cmp(&b)));
            Ok(Int::Known(holds.into()))
        }
        ("Mul", Int::Batch, Int::Known(1)) | ("Mul", Int::Known(1), Int::Batch) => Ok(Int::Batch),
        ("Div", Int::Batch, Int::Known(1)) => Ok(Int::Batch),
        ("Add" | "Sub", Int::Batch, Int::Known(0)) => Ok(Int::Batch),
        ("Add", Int::Known(0), Int::Batch) => Ok(Int::Batch),
        (_, Int::Known(a), Int::Known(b)) => match op {
            "Add" => a.checked_add(b),
            "Sub" => a.checked_sub(b),
            "Mul" => a.checked_mul(b),
            "Div" => a.checked_div(b),
            "Max" => Some(a.max(b)),
            "Min" => Some(a.min(b)),
            _ => None,
        }
        .map(Int::Known)
        .ok_or(overflow),
        _ => Err(Why::DependsOnBatch),
    }
}

/// The shape with leading ones up to `rank`.
fn aligned(dims: &[usize], rank: usize) -> Vec<usize> {
    let mut out = vec![1; rank.saturating_sub(dims.len())];
    out.extend_from_slice(dims);
    out
}

/// The common shape of two shapes of equal rank.
pub(super) fn common_dims(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    a.iter()
        .zip(b)
        .map(|(a, b)| match (*a, *b) {
            (a, b) if a == b => Some(a),
            (1, d) | (d, 1) => Some(d),
            _ => None,
        })
        .collect()
}
