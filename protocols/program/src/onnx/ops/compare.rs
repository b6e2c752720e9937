//! Comparisons, truth values, and choices between two values. A truth value is 0 or 1.

use super::super::error::Why;
use super::super::import::Import;
use super::super::node::OnnxNode;
use super::super::value::{Const, ConstData, Int, Secret, Value};
use super::{elementwise, fold, function};
use crate::graph::NodeOp;

fn refused() -> Why {
    Why::DataType("an operand was refused")
}

/// All from `[a - b >= 0]` and `[b - a >= 0]`, which are exact in fixed point. Equal means equal there.
pub(super) fn compare(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let (a, b) = (node.operand(0)?.clone(), node.operand(1)?.clone());
    if let (Value::Const(a), Value::Const(b)) = (&a, &b) {
        return fold::two(cx, node.op(), a, b);
    }
    let at_least = |cx: &mut Import, a: &Value, b: &Value| {
        let gap = match (a, b) {
            (Value::Secret(x), Value::Secret(y)) => {
                elementwise::two_secrets(cx, node, x, y, NodeOp::Sub)?
            }
            (Value::Secret(x), Value::Const(c)) => {
                elementwise::add(cx, node, x, &as_float(c)?, -1.0)?
            }
            (Value::Const(c), Value::Secret(x)) => {
                let negative = function::affine(cx, node, x, -1.0, 0.0)?;
                elementwise::add(cx, node, &negative, &as_float(c)?, 1.0)?
            }
            (Value::Const(_), Value::Const(_)) => return Err(Why::Operator),
            _ => return Err(refused()),
        };
        cx.emit(&node.name, NodeOp::Positive, &[gap.value], gap.dims)
    };
    let result = match node.op() {
        "GreaterOrEqual" => at_least(cx, &a, &b)?,
        "LessOrEqual" => at_least(cx, &b, &a)?,
        "Less" => {
            let other = at_least(cx, &a, &b)?;
            complement(cx, node, &other)?
        }
        "Greater" => {
            let other = at_least(cx, &b, &a)?;
            complement(cx, node, &other)?
        }
        _ => {
            // At least one holds: both together are their sum less one.
            let (up, down) = (at_least(cx, &a, &b)?, at_least(cx, &b, &a)?);
            let dims = up.dims.clone();
            let sum = cx.emit(&node.name, NodeOp::Add, &[up.value, down.value], dims)?;
            function::affine(cx, node, &sum, 1.0, -1.0)?
        }
    };
    Ok(Value::Secret(result))
}

fn complement(cx: &mut Import, node: &OnnxNode<'_>, x: &Secret) -> Result<Secret, Why> {
    function::affine(cx, node, x, -1.0, 1.0)
}

pub(super) fn not(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let x = node.secret(0)?.clone();
    Ok(Value::Secret(complement(cx, node, &x)?))
}

/// `a b`, `a + b - a b`, `a + b - 2 a b`.
pub(super) fn logic(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let (a, b) = (node.operand(0)?.clone(), node.operand(1)?.clone());
    let both = product(cx, node, &a, &b)?;
    let times = match node.op() {
        "And" => return Ok(Value::Secret(both)),
        "Or" => 1.0,
        _ => 2.0,
    };
    let sum = match (&a, &b) {
        (Value::Secret(x), Value::Secret(y)) => {
            elementwise::two_secrets(cx, node, x, y, NodeOp::Add)?
        }
        (Value::Secret(x), Value::Const(c)) | (Value::Const(c), Value::Secret(x)) => {
            elementwise::add(cx, node, x, &as_float(c)?, 1.0)?
        }
        _ => return Err(refused()),
    };
    let scaled = function::affine(cx, node, &both, times, 0.0)?;
    let result = elementwise::two_secrets(cx, node, &sum, &scaled, NodeOp::Sub)?;
    Ok(Value::Secret(result))
}

/// `b + c (a - b)`; where the condition is constant, a choice of elements by factors of 0 and 1.
pub(super) fn select(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let condition = node.operand(0)?.clone();
    let (a, b) = (node.operand(1)?.clone(), node.operand(2)?.clone());
    if let (Value::Const(c), Value::Const(a), Value::Const(b)) = (&condition, &a, &b) {
        return fold::choose(cx, [c, a, b]);
    }
    let (a, b) = (bounded(a)?, bounded(b)?);
    let flipped = match &condition {
        Value::Const(c) => Value::Const(inverted(c)?),
        Value::Secret(s) => Value::Secret(complement(cx, node, s)?),
        Value::Refused => return Err(refused()),
    };
    if let (Value::Secret(c), Value::Secret(x), Value::Secret(y)) = (&condition, &a, &b) {
        let gap = elementwise::two_secrets(cx, node, x, y, NodeOp::Sub)?;
        let change = elementwise::two_secrets(cx, node, c, &gap, NodeOp::Mul)?;
        let chosen = elementwise::two_secrets(cx, node, y, &change, NodeOp::Add)?;
        return Ok(Value::Secret(chosen));
    }
    // c a + (1 - c) b: with a constant in it, each product is a public factor or one product under masks.
    let chosen = product(cx, node, &condition, &a);
    let other = product(cx, node, &flipped, &b);
    let sum = match (chosen, other) {
        (Ok(x), Ok(y)) => elementwise::two_secrets(cx, node, &x, &y, NodeOp::Add)?,
        // One side is constant altogether: it is added.
        (Ok(x), Err(_)) => {
            let rest = constant_product(cx, &flipped, &b)?;
            elementwise::add(cx, node, &x, &rest, 1.0)?
        }
        (Err(_), Ok(y)) => {
            let rest = constant_product(cx, &condition, &a)?;
            elementwise::add(cx, node, &y, &rest, 1.0)?
        }
        (Err(why), Err(_)) => return Err(why),
    };
    Ok(Value::Secret(sum))
}

fn constant_product(cx: &mut Import, a: &Value, b: &Value) -> Result<Const, Why> {
    match fold::two(cx, "Mul", &constant(a)?, &constant(b)?)? {
        Value::Const(c) => Ok(c),
        _ => Err(refused()),
    }
}

/// Larger than anything that fits the ring with the fewest fraction bits.
const OUT_OF_REACH: f32 = 1e15;

/// What stands for it.
const FAR: f32 = 4096.0;

/// Exporters put what a softmax is not to see at `-inf` or the least float. Fixed point has no such numbers, and `exp` of
/// some thousand less is zero as well.
fn bounded(v: Value) -> Result<Value, Why> {
    let Value::Const(c) = &v else {
        return Ok(v);
    };
    let Some(floats) = c.floats() else {
        return Ok(v);
    };
    if floats.iter().any(|v| v.is_nan()) {
        return Err(Why::NotFinite);
    }
    let data = floats.iter().map(|v| match v.abs() > OUT_OF_REACH {
        true => FAR.copysign(*v),
        false => *v,
    });
    Ok(Value::Const(Const::new(
        c.dims.clone(),
        ConstData::Float(data.collect()),
    )))
}

/// A product of which at least one side is secret.
fn product(cx: &mut Import, node: &OnnxNode<'_>, a: &Value, b: &Value) -> Result<Secret, Why> {
    match (a, b) {
        (Value::Secret(x), Value::Secret(y)) => {
            elementwise::two_secrets(cx, node, x, y, NodeOp::Mul)
        }
        (Value::Secret(x), Value::Const(c)) | (Value::Const(c), Value::Secret(x)) => {
            elementwise::multiply(cx, node, x, &as_float(c)?, |v| v)
        }
        _ => Err(Why::Operator),
    }
}

fn constant(v: &Value) -> Result<Const, Why> {
    match v {
        Value::Const(c) => as_float(c),
        _ => Err(Why::Operator),
    }
}

/// Truth values are integers in constants.
fn as_float(c: &Const) -> Result<Const, Why> {
    match c.data() {
        ConstData::Float(_) => Ok(c.clone()),
        ConstData::Int(v) => {
            let float = |i: &Int| match i {
                Int::Known(v) => Ok(*v as f32),
                Int::Batch => Err(Why::DependsOnBatch),
            };
            let data = v.iter().map(float).collect::<Result<_, _>>()?;
            Ok(Const::new(c.dims.clone(), ConstData::Float(data)))
        }
    }
}

fn inverted(c: &Const) -> Result<Const, Why> {
    let float = as_float(c)?;
    let data = float.floats().unwrap_or_default().iter().map(|v| 1.0 - v);
    Ok(Const::new(c.dims.clone(), ConstData::Float(data.collect())))
}
