//! Gemm and MatMul by constants.

use super::super::error::Why;
use super::super::import::{Import, finite, shape_error};
use super::super::node::OnnxNode;
use super::super::value::{Const, Rows, Secret, Value};
use super::{elementwise, layout};
use crate::graph::{FloatConst, NodeOp};
use crate::maps;

/// `alpha A B' + beta C`, with the records as rows of A.
pub(super) fn gemm(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let x = node.secret(0)?;
    if node.int("transA", 0) != 0 {
        return Err(Why::MixesBatch("transA makes the records columns"));
    }
    let w = node.constant(1, "matrix B")?;
    let alpha = node.float("alpha", 1.0);
    let beta = node.float("beta", 1.0);
    let matrix = match (w.dims.as_slice(), node.int("transB", 0)) {
        ([_, _], 0) => w.clone(),
        ([_, _], _) => transposed(cx, w)?,
        _ => return Err(shape_error(&[&w.dims], "matrix B must have two axes")),
    };
    let [k, n] = [matrix.dims[0], matrix.dims[1]];
    let is_row = x.dims.len() == 1 || x.rows == Rows::Merged;
    if x.dims.last() != Some(&k) || !is_row || n == 0 {
        return Err(shape_error(
            &[&x.dims, &matrix.dims],
            "inner sizes must agree",
        ));
    }
    let data = finite(&matrix)?.iter().map(|v| v * alpha).collect();
    let bias = match node.maybe_const(2, "matrix C")? {
        None => None,
        Some(c) => {
            let floats = finite(c)?;
            let bias = match c.dims.as_slice() {
                [] | [1] | [1, 1] => floats.iter().copied().cycle().take(n).collect::<Vec<_>>(),
                [m] | [1, m] if *m == n => floats.to_vec(),
                [_, _] => return Err(Why::MixesBatch("matrix C has a row per record")),
                _ => {
                    return Err(shape_error(
                        &[&c.dims],
                        "matrix C must have a column per output",
                    ));
                }
            };
            Some(bias.into_iter().map(|v| v * beta).collect())
        }
    };
    let weights = FloatConst {
        dims: vec![k, n],
        data,
    };
    let op = NodeOp::Linear { weights, bias };
    let (rows, mut dims) = (x.rows, x.dims.clone());
    if let Some(last) = dims.last_mut() {
        *last = n;
    }
    let made = cx.emit(&node.name, op, &[x.value], dims)?;
    Ok(Value::Secret(Secret { rows, ..made }))
}

/// `x W` over the last axis, or `W x` over the last but one.
pub(super) fn matmul(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    match (node.operand(0)?, node.operand(1)?) {
        (Value::Secret(x), Value::Const(w)) => {
            let w = without_leading_ones(w);
            let is_vector = w.dims.len() == 1;
            let (k, n) = match *w.dims.as_slice() {
                [k] => (k, 1),
                [k, n] => (k, n),
                _ => {
                    return Err(shape_error(
                        &[&w.dims],
                        "batches of matrices are not supported",
                    ));
                }
            };
            let mut dims = x.dims.clone();
            match dims.last_mut() {
                Some(last) if *last == k => *last = n,
                _ => return Err(shape_error(&[&x.dims, &w.dims], "inner sizes must agree")),
            }
            let weights = FloatConst {
                dims: vec![k, n],
                data: finite(&w)?.to_vec(),
            };
            let op = NodeOp::Linear {
                weights,
                bias: None,
            };
            let mut y = cx.emit(&node.name, op, &[x.value], dims)?;
            if is_vector {
                let mut dims = y.dims.clone();
                dims.pop();
                y = cx.emit(&node.name, NodeOp::Reshape, &[y.value], dims)?;
            }
            Ok(Value::Secret(y))
        }
        (Value::Const(w), Value::Secret(x)) => {
            let w = without_leading_ones(w);
            let ([m, k], [.., rows, columns]) = (w.dims.as_slice(), x.dims.as_slice()) else {
                return Err(match x.dims.len() {
                    0 | 1 => Why::MixesBatch("a constant times the input from the left"),
                    _ => shape_error(&[&w.dims, &x.dims], "a matrix is needed"),
                });
            };
            if k != rows {
                return Err(shape_error(&[&w.dims, &x.dims], "inner sizes must agree"));
            }
            // W x = (x' W')', transposing the last two axes.
            let (m, columns) = (*m, *columns);
            let flipped = layout::swap_last(cx, &node.name, x)?;
            let mut dims = flipped.dims.clone();
            if let Some(last) = dims.last_mut() {
                *last = m;
            }
            let matrix = transposed(cx, &w)?;
            let weights = FloatConst {
                dims: matrix.dims.clone(),
                data: finite(&matrix)?.to_vec(),
            };
            let op = NodeOp::Linear {
                weights,
                bias: None,
            };
            let y = cx.emit(&node.name, op, &[flipped.value], dims)?;
            let y = layout::swap_last(cx, &node.name, &y)?;
            debug_assert_eq!(y.dims.last(), Some(&columns));
            Ok(Value::Secret(y))
        }
        (Value::Secret(x), Value::Secret(y)) => Ok(Value::Secret(two(cx, node, x, y)?)),
        _ => Err(Why::DataType("products of constants are not folded")),
    }
}

/// Products of matrices of both operands, axes before the last two broadcast.
fn two(cx: &mut Import, node: &OnnxNode<'_>, x: &Secret, y: &Secret) -> Result<Secret, Why> {
    let ([xs @ .., m, k], [ys @ .., inner, n]) = (x.dims.as_slice(), y.dims.as_slice()) else {
        let why = "the records are rows or columns of a matrix";
        return Err(Why::MixesBatch(why));
    };
    if k != inner {
        return Err(shape_error(&[&x.dims, &y.dims], "inner sizes must agree"));
    }
    // The batch is an axis of both: only equal numbers of axes broadcast as ONNX says.
    if xs.len() != ys.len() {
        return Err(shape_error(
            &[&x.dims, &y.dims],
            "matrices of two inputs need as many axes",
        ));
    }
    let common = elementwise::common_dims(xs, ys)
        .ok_or_else(|| shape_error(&[&x.dims, &y.dims], "leading axes do not broadcast"))?;
    let shaped = |rows: usize, columns: usize| [common.as_slice(), &[rows, columns]].concat();
    let (m, k, n) = (*m, *k, *n);
    let x = elementwise::broadcast(cx, node, x, &shaped(m, k))?;
    let y = elementwise::broadcast(cx, node, y, &shaped(k, n))?;
    cx.emit(
        &node.name,
        NodeOp::MatMul,
        &[x.value, y.value],
        shaped(m, n),
    )
}

/// The transpose of a matrix.
fn transposed(cx: &mut Import, w: &Const) -> Result<Const, Why> {
    cx.reserve(&w.dims)?;
    let map = maps::transpose(&w.dims, &[1, 0]);
    w.pick(map.dims, &map.map)
        .ok_or(Why::DataType("a matrix is not complete"))
}

fn without_leading_ones(w: &Const) -> Const {
    let surplus = w.dims.len().saturating_sub(2);
    let ones = w.dims.iter().take(surplus).take_while(|d| **d == 1).count();
    w.reshaped(w.dims.get(ones..).unwrap_or_default().to_vec())
}
