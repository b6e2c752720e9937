//! One file per operator family. Each function turns one node into a value.

mod activation;
mod client;
mod compare;
mod constant;
mod conv;
mod elementwise;
mod fold;
mod function;
mod layout;
mod linear;
mod normalise;
mod pool;
mod quantise;
mod reduce;
mod reshape;

use super::error::Why;
use super::import::{Import, Settled};
use super::node::OnnxNode;
use super::value::{Rows, Value};
use crate::graph::{Function, NodeOp};
use crate::post::ClientOp;

/// Prepares operands: a sigmoid or softmax that something other than the end of the model follows is computed after all.
pub(super) fn settle(cx: &mut Import, node: &mut OnnxNode<'_>) -> Result<(), Why> {
    if client::may_follow(node.op()) {
        return Ok(());
    }
    for i in 0..node.operands.len() {
        let Some(Some(Value::Secret(s))) = node.operands.get(i) else {
            continue;
        };
        let (last, op) = match *s.post.as_slice() {
            [last @ ClientOp::Sigmoid] => (last, NodeOp::Function(Function::Sigmoid)),
            [last @ ClientOp::Softmax { axis }] if axis + 1 == s.dims.len() => {
                (last, NodeOp::Softmax)
            }
            _ => continue,
        };
        let value = s.value;
        let known = cx.settled.iter().find(|made| made.of == (value, last));
        let made = match known {
            Some(settled) => settled.made.clone(),
            None => {
                let dims = s.dims.clone();
                let made = cx.emit(&node.name, op, &[value], dims)?;
                cx.settled.push(Settled {
                    of: (value, last),
                    made: made.clone(),
                });
                made
            }
        };
        node.operands[i] = Some(Value::Secret(made));
    }
    Ok(())
}

/// Imports one node: its results, as far as they may be used.
pub(super) fn import(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Vec<Value>, Why> {
    check_operands(node)?;
    match node.op() {
        "Split" => layout::split(cx, node),
        _ => Ok(vec![first(cx, node)?]),
    }
}

/// Refuses operators that may not follow what their operands are.
fn check_operands(node: &OnnxNode<'_>) -> Result<(), Why> {
    let op = node.op();
    let collected = node.operands.iter().flatten().any(|v| match v {
        Value::Secret(s) => !s.post.is_empty(),
        _ => false,
    });
    if collected && !client::may_follow(op) {
        return Err(Why::AfterClientOp);
    }
    let quantised = node.operands.iter().flatten().any(|v| match v {
        Value::Secret(s) => s.grid.is_some(),
        _ => false,
    });
    if quantised && !matches!(op, "DequantizeLinear" | "Identity") {
        return Err(Why::Quantised);
    }
    let merged = node.operands.iter().flatten().any(|v| match v {
        Value::Secret(s) => s.rows == Rows::Merged,
        _ => false,
    });
    if merged && !matches!(op, "Gemm" | "Reshape" | "Identity") {
        return Err(Why::MixesBatch("an axis was merged with the batch"));
    }
    Ok(())
}

/// The first result of a node.
fn first(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    match node.op() {
        "Gemm" => linear::gemm(cx, node),
        "MatMul" => linear::matmul(cx, node),
        "Conv" => conv::conv(cx, node),
        "BatchNormalization" => conv::batch_normalization(cx, node),
        "MaxPool" => pool::max_pool(cx, node),
        "AveragePool" => pool::average_pool(cx, node),
        "GlobalAveragePool" => pool::global_average_pool(cx, node),
        "GlobalMaxPool" => pool::global_max_pool(cx, node),
        "Relu" => activation::relu(cx, node),
        "LeakyRelu" => activation::leaky_relu(cx, node),
        "Clip" => activation::clip(cx, node),
        "Add" | "Sub" | "Mul" | "Div" => elementwise::binary(cx, node),
        "Max" | "Min" => elementwise::extreme(cx, node),
        "Pow" => elementwise::power(cx, node),
        "Sum" => elementwise::sum(cx, node),
        "Neg" | "Sqrt" | "Reciprocal" | "Exp" | "Log" | "Erf" | "Tanh" | "Abs" | "Sign"
        | "Softplus" | "Gelu" | "HardSigmoid" | "HardSwish" | "Elu" | "Selu" => {
            function::unary(cx, node)
        }
        "PRelu" => function::prelu(cx, node),
        "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Equal" => {
            compare::compare(cx, node)
        }
        "And" | "Or" | "Xor" => compare::logic(cx, node),
        "Not" => compare::not(cx, node),
        "Where" => compare::select(cx, node),
        "LayerNormalization" => normalise::layer(cx, node),
        "QuantizeLinear" => quantise::quantise(cx, node),
        "DequantizeLinear" => quantise::dequantise(cx, node),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" => reduce::reduce(cx, node),
        "Flatten" => reshape::flatten(cx, node),
        "Reshape" => reshape::reshape(cx, node),
        "Transpose" => layout::transpose(cx, node),
        "Concat" => layout::concat(cx, node),
        "Slice" => layout::slice(cx, node),
        "Squeeze" => reshape::squeeze(cx, node),
        "Unsqueeze" => reshape::unsqueeze(cx, node),
        "Pad" => layout::pad(cx, node),
        "Expand" => layout::expand(cx, node),
        "Gather" => layout::gather(cx, node),
        "Identity" => Ok(node.operand(0)?.clone()),
        "Dropout" => constant::dropout(node),
        "Cast" => constant::cast(node),
        "Constant" => constant::constant(cx, node),
        "ConstantOfShape" => constant::constant_of_shape(cx, node),
        "Shape" => constant::shape(cx, node),
        "Range" => constant::range(cx, node),
        "Softmax" | "LogSoftmax" | "Sigmoid" | "ArgMax" => client::collect(node),
        _ => Err(Why::Operator),
    }
}
