//! Operators that the client applies to the revealed output.

use super::super::error::Why;
use super::super::node::{OnnxNode, axis};
use super::super::value::Value;
use crate::post::{ClientOp, KeepDims};

/// Operators that may come after one of these.
pub(super) fn may_follow(op: &str) -> bool {
    matches!(
        op,
        "Softmax" | "LogSoftmax" | "Sigmoid" | "ArgMax" | "Identity" | "Cast" | "Dropout"
    )
}

/// Softmax, LogSoftmax, Sigmoid and ArgMax: nothing is computed here, the output port carries them.
pub(super) fn collect(node: &OnnxNode<'_>) -> Result<Value, Why> {
    let mut x = node.secret(0)?.clone();
    if matches!(x.post.last(), Some(ClientOp::ArgMax { .. })) || x.post.len() >= 8 {
        return Err(Why::AfterClientOp);
    }
    let rank = x.dims.len();
    x.post.push(match node.op() {
        "Softmax" => ClientOp::Softmax {
            axis: axis(node.int("axis", -1), rank, 1)?,
        },
        "LogSoftmax" => ClientOp::LogSoftmax {
            axis: axis(node.int("axis", -1), rank, 1)?,
        },
        "Sigmoid" => ClientOp::Sigmoid,
        _ => {
            if node.int("select_last_index", 0) != 0 {
                return Err(Why::Attribute {
                    name: "select_last_index",
                    problem: "must be 0: the first of equal elements is taken",
                });
            }
            let keep_dims = match node.int("keepdims", 1) {
                0 => KeepDims::Drop,
                _ => KeepDims::Keep,
            };
            ClientOp::ArgMax {
                axis: axis(node.int("axis", 0), rank, 1)?,
                keep_dims,
            }
        }
    });
    Ok(Value::Secret(x))
}
