//! Functions of one value: smooth ones, and what is made of them and of `Relu`.

use super::super::error::Why;
use super::super::import::Import;
use super::super::node::OnnxNode;
use super::super::value::{Const, ConstData, Secret, Value};
use super::elementwise;
use crate::graph::{Function, NodeOp};

/// A smooth function of a secret.
pub(super) fn emit(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    x: &Secret,
    f: Function,
) -> Result<Secret, Why> {
    one(cx, node, x, NodeOp::Function(f))
}

/// `scale x + shift`.
pub(super) fn affine(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    x: &Secret,
    scale: f32,
    shift: f32,
) -> Result<Secret, Why> {
    if !scale.is_finite() || !shift.is_finite() {
        return Err(Why::NotFinite);
    }
    match (scale, shift) {
        (1.0, 0.0) => Ok(x.clone()),
        _ => one(cx, node, x, NodeOp::Affine { scale, shift }),
    }
}

fn one(cx: &mut Import, node: &OnnxNode<'_>, x: &Secret, op: NodeOp) -> Result<Secret, Why> {
    cx.emit(&node.name, op, &[x.value], x.dims.clone())
}

fn two(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    op: NodeOp,
    x: &Secret,
    y: &Secret,
) -> Result<Secret, Why> {
    cx.emit(&node.name, op, &[x.value, y.value], x.dims.clone())
}

pub(super) fn unary(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    match node.operand(0)? {
        Value::Secret(x) => Ok(Value::Secret(secret(cx, node, &x.clone())?)),
        Value::Const(c) => constant(cx, node, c),
        Value::Refused => Err(Why::DataType("an operand was refused")),
    }
}

fn constant(cx: &mut Import, node: &OnnxNode<'_>, c: &Const) -> Result<Value, Why> {
    let floats = c.floats().ok_or(Why::DataType("floats are needed"))?;
    cx.reserve(&c.dims)?;
    let f: fn(f32) -> f32 = match node.op() {
        "Neg" => |v| -v,
        "Abs" => f32::abs,
        "Sqrt" => f32::sqrt,
        "Exp" => f32::exp,
        "Log" => f32::ln,
        "Tanh" => f32::tanh,
        "Reciprocal" => f32::recip,
        _ => return Err(Why::Operator),
    };
    let data = ConstData::Float(floats.iter().map(|v| f(*v)).collect());
    Ok(Value::Const(Const::new(c.dims.clone(), data)))
}

fn secret(cx: &mut Import, node: &OnnxNode<'_>, x: &Secret) -> Result<Secret, Why> {
    let smooth = |cx: &mut Import, f| emit(cx, node, x, f);
    match node.op() {
        "Neg" => affine(cx, node, x, -1.0, 0.0),
        "Sqrt" => smooth(cx, Function::Sqrt),
        "Reciprocal" => smooth(cx, Function::Reciprocal),
        "Exp" => smooth(cx, Function::Exp),
        "Log" => smooth(cx, Function::Log),
        "Erf" => smooth(cx, Function::Erf),
        "Tanh" => smooth(cx, Function::Tanh),
        "Abs" => absolute(cx, node, x),
        "Sign" => {
            // [x >= 0] - [-x >= 0]: zero at zero.
            let up = one(cx, node, x, NodeOp::Positive)?;
            let negative = affine(cx, node, x, -1.0, 0.0)?;
            let down = one(cx, node, &negative, NodeOp::Positive)?;
            two(cx, node, NodeOp::Sub, &up, &down)
        }
        "Softplus" => with_tail(cx, node, x, Function::SoftplusTail, NodeOp::Add),
        "Gelu" => match node.text("approximate") {
            None | Some("none") => with_tail(cx, node, x, Function::GeluTail, NodeOp::Sub),
            Some("tanh") => with_tail(cx, node, x, Function::GeluTanhTail, NodeOp::Sub),
            Some(_) => Err(Why::Attribute {
                name: "approximate",
                problem: "must be \"none\" or \"tanh\"",
            }),
        },
        "HardSigmoid" => hard_sigmoid(
            cx,
            node,
            x,
            node.float("alpha", 0.2),
            node.float("beta", 0.5),
        ),
        "HardSwish" => {
            let gate = hard_sigmoid(cx, node, x, 1.0 / 6.0, 0.5)?;
            two(cx, node, NodeOp::Mul, x, &gate)
        }
        "Elu" => elu(cx, node, x, node.float("alpha", 1.0)),
        _ => {
            let alpha = node.float("alpha", 1.673_263_2);
            let gamma = node.float("gamma", 1.050_701);
            let y = elu(cx, node, x, alpha)?;
            affine(cx, node, &y, gamma, 0.0)
        }
    }
}

/// `2 relu(x) - x`.
fn absolute(cx: &mut Import, node: &OnnxNode<'_>, x: &Secret) -> Result<Secret, Why> {
    let positive = one(cx, node, x, NodeOp::Relu)?;
    let twice = affine(cx, node, &positive, 2.0, 0.0)?;
    two(cx, node, NodeOp::Sub, &twice, x)
}

/// `relu(x) + tail(|x|)` or `relu(x) - tail(|x|)`.
fn with_tail(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    x: &Secret,
    tail: Function,
    join: NodeOp,
) -> Result<Secret, Why> {
    let positive = one(cx, node, x, NodeOp::Relu)?;
    let twice = affine(cx, node, &positive, 2.0, 0.0)?;
    let distance = two(cx, node, NodeOp::Sub, &twice, x)?;
    let rest = emit(cx, node, &distance, tail)?;
    two(cx, node, join, &positive, &rest)
}

/// `relu(x) + alpha expm1(x - relu(x))`.
fn elu(cx: &mut Import, node: &OnnxNode<'_>, x: &Secret, alpha: f32) -> Result<Secret, Why> {
    let positive = one(cx, node, x, NodeOp::Relu)?;
    let negative = two(cx, node, NodeOp::Sub, x, &positive)?;
    let rest = emit(cx, node, &negative, Function::ExpM1)?;
    let rest = affine(cx, node, &rest, alpha, 0.0)?;
    two(cx, node, NodeOp::Add, &positive, &rest)
}

fn hard_sigmoid(
    cx: &mut Import,
    node: &OnnxNode<'_>,
    x: &Secret,
    alpha: f32,
    beta: f32,
) -> Result<Secret, Why> {
    let line = affine(cx, node, x, alpha, beta)?;
    let clip = NodeOp::Clip {
        lo: Some(0.0),
        hi: Some(1.0),
    };
    one(cx, node, &line, clip)
}

/// `(1 - slope) relu(x) + slope x` with a slope for each channel.
pub(super) fn prelu(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let x = node.secret(0)?.clone();
    let slope = node.constant(1, "slope")?;
    let positive = one(cx, node, &x, NodeOp::Relu)?;
    let above = elementwise::multiply(cx, node, &positive, slope, |s| 1.0 - s)?;
    let below = elementwise::multiply(cx, node, &x, slope, |s| s)?;
    Ok(Value::Secret(two(cx, node, NodeOp::Add, &above, &below)?))
}
