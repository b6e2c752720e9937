//! One file per operator family. Each function turns one node into a value.

mod activation;
mod client;
mod constant;
mod conv;
mod elementwise;
mod layout;
mod linear;
mod pool;
mod reduce;

use super::error::Why;
use super::import::Import;
use super::node::OnnxNode;
use super::value::Value;

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
        "Add" | "Sub" | "Mul" | "Div" | "Max" => elementwise::binary(cx, node),
        "Sum" => elementwise::sum(cx, node),
        "Neg" | "Sqrt" | "Reciprocal" => elementwise::unary(cx, node),
        "ReduceMean" | "ReduceSum" => reduce::reduce(cx, node),
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
        "Softmax" | "LogSoftmax" | "Sigmoid" | "ArgMax" => client::collect(node),
        _ => Err(Why::Operator),
    }
}
