//! Sums, differences, products and quotients, with broadcasting made explicit.

use super::super::error::Why;
use super::super::import::{Import, finite, shape_error};
use super::super::node::OnnxNode;
use super::super::value::{Const, Secret, Value};
use super::{fold, function};
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
                    let quotient = two_secrets(cx, node, x, &inverse, NodeOp::Mul)?;
                    return Ok(Value::Secret(quotient));
                }
            };
            Ok(Value::Secret(two_secrets(cx, node, x, y, op)?))
        }
        (Value::Secret(x), Value::Const(c)) => {
            Ok(Value::Secret(with_constant(cx, node, x, c, Side::Right)?))
        }
        (Value::Const(c), Value::Secret(x)) => {
            Ok(Value::Secret(with_constant(cx, node, x, c, Side::Left)?))
        }
        (Value::Const(a), Value::Const(b)) => fold::two(cx, node.op(), a, b),
        _ => Err(Why::DataType("an operand was refused")),
    }
}

/// Any number of operands.
pub(super) fn sum(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let mut total = node.operand(0)?.clone();
    for i in 1..node.operands.len() {
        total = match (&total, node.operand(i)?) {
            (Value::Secret(x), Value::Secret(y)) => {
                Value::Secret(two_secrets(cx, node, x, y, NodeOp::Add)?)
            }
            (Value::Secret(x), Value::Const(c)) | (Value::Const(c), Value::Secret(x)) => {
                Value::Secret(add(cx, node, x, c, 1.0)?)
            }
            (Value::Const(a), Value::Const(b)) => fold::two(cx, "Add", a, b)?,
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
                Value::Secret(two_secrets(cx, node, &sum, &largest, NodeOp::Sub)?)
            }
            (Value::Secret(x), Value::Secret(y)) => {
                Value::Secret(two_secrets(cx, node, x, y, NodeOp::Max)?)
            }
            (Value::Secret(x), Value::Const(c)) | (Value::Const(c), Value::Secret(x)) => {
                extreme_constant(cx, node, x, c, smallest)?
            }
            (Value::Const(a), Value::Const(b)) => fold::two(cx, node.op(), a, b)?,
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
        return fold::two(cx, "Pow", base, exponent);
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
) -> Result<Secret, Why> {
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
) -> Result<Secret, Why> {
    let (x, mut c) = fit(cx, node, x, c)?;
    c.data.iter_mut().for_each(|v| *v *= sign);
    let dims = x.dims.clone();
    cx.emit(&node.name, NodeOp::AddConst(c), &[x.value], dims)
}

pub(super) fn multiply(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    x: &Secret,
    c: &Const,
    f: impl Fn(f32) -> f32,
) -> Result<Secret, Why> {
    let (x, mut c) = fit(cx, node, x, c)?;
    c.data.iter_mut().for_each(|v| *v = f(*v));
    if c.data.iter().any(|v| !v.is_finite()) {
        return Err(Why::NotFinite);
    }
    let dims = x.dims.clone();
    cx.emit(&node.name, NodeOp::MulConst(c), &[x.value], dims)
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
) -> Result<Secret, Why> {
    if x.dims.len() != y.dims.len() {
        return Err(Why::MixesBatch(
            "operands of different rank align the batch with another axis",
        ));
    }
    let common = common_dims(&x.dims, &y.dims)
        .ok_or_else(|| shape_error(&[&x.dims, &y.dims], "they do not broadcast"))?;
    let x = broadcast(cx, node, x, &common)?;
    let y = broadcast(cx, node, y, &common)?;
    cx.emit(&node.name, op, &[x.value, y.value], common)
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

/// The shape with leading ones up to `rank`.
pub(super) fn aligned(dims: &[usize], rank: usize) -> Vec<usize> {
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
