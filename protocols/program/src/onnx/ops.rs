//! One file per operator family. Each function turns one node into a value.

mod activation;
mod client;
mod compare;
mod constant;
mod conv;
mod elementwise;
mod function;
mod layout;
mod linear;
mod normalise;
mod pool;
mod quantise;
mod reduce;

use super::error::Why;
use super::import::Import;
use super::node::OnnxNode;
use super::value::{Rows, Value};
use crate::graph::{Function, NodeOp};
use crate::post::ClientOp;

/// Prepares operands: a sigmoid or softmax that something other than the end of the model follows is computed after all.
pub(super) fn settle(cx: &mut Import, node: &mut OnnxNode<'_>) -> Result<(), Why> {
    if client::may_follow(node.op()) {
        return Ok(());
    }
    // Scores that are made probabilities in the middle of a model are not the client's either.
    for i in 0..node.operands.len() {
        let Some(Some(Value::Secret(s))) = node.operands.get(i) else {
            continue;
        };
        let op = match *s.post.as_slice() {
            [ClientOp::Sigmoid] => NodeOp::Function(Function::Sigmoid),
            [ClientOp::Softmax { axis }] if axis + 1 == s.dims.len() => NodeOp::Softmax,
            _ => continue,
        };
        let key = (s.value, matches!(op, NodeOp::Softmax));
        let made = match cx.settled.get(&key) {
            Some(made) => made.clone(),
            None => {
                let (value, dims) = (s.value, s.dims.clone());
                let made = cx.emit(&node.name, op, &[value], dims)?;
                cx.settled.insert(key, made.clone());
                made
            }
        };
        node.operands[i] = Some(Value::Secret(made));
    }
    Ok(())
}

/// All results of a node that has several.
pub(super) fn import_all(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Vec<Value>, Why> {
    match node.op() {
        "Split" => layout::split(cx, node),
        _ => Ok(vec![import(cx, node)?]),
    }
}

/// Imports one node: its first result.
pub(super) fn import(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
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
    match op {
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
        "Flatten" => layout::flatten(cx, node),
        "Reshape" => layout::reshape(cx, node),
        "Transpose" => layout::transpose(cx, node),
        "Concat" => layout::concat(cx, node),
        "Slice" => layout::slice(cx, node),
        "Squeeze" => layout::squeeze(cx, node),
        "Unsqueeze" => layout::unsqueeze(cx, node),
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
