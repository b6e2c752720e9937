//! Models that were quantised: `QuantizeLinear` and `DequantizeLinear`.
//!
//! Weights are what their integers stand for. An activation that is quantised and dequantised is clipped to what the type
//! can hold; rounding to the grid is *not* reproduced, which would cost a comparison for each bit. The result differs
//! from the original by at most half a step of the grid, and is closer to the model before quantisation.

use super::super::error::Why;
use super::super::import::{Import, shape_error};
use super::super::node::OnnxNode;
use super::super::value::{Const, ConstData, Grid, Int, Value};
use crate::graph::NodeOp;

/// Reads the one scale and zero point of an activation.
fn grid(node: &OnnxNode<'_>) -> Result<Grid, Why> {
    let scale = node.constant(1, "scale")?.scalar();
    let scale = scale.filter(|s| s.is_normal() && *s > 0.0);
    let zero = match node.maybe_const(2, "zero point")? {
        None => 0,
        Some(c) => match c.known_ints().as_deref() {
            Some([z]) => *z,
            _ => return Err(Why::DataType("an activation needs one zero point")),
        },
    };
    Ok(Grid {
        scale: scale.ok_or(Why::DataType("an activation needs one positive scale"))?,
        zero,
    })
}

/// Smallest and largest integer of the type of the zero point; without one it is unsigned.
fn limits(node: &OnnxNode<'_>) -> Result<[i64; 2], Why> {
    match node.maybe_const(2, "zero point")? {
        None => Ok([0, 255]),
        Some(c) => c.bits().map(|b| b.range()).ok_or(Why::DataType(
            "the zero point must be an 8- or 16-bit integer",
        )),
    }
}

pub(super) fn quantise(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let x = match node.operand(0)? {
        Value::Secret(x) => x.clone(),
        // A constant that is quantised in the file is quantised once, by whoever exports it.
        _ => return Err(Why::DataType("weights must be stored as integers")),
    };
    let grid = grid(node)?;
    let [least, most] = limits(node)?;
    let real = |q: i64| ((q - grid.zero) as f64 * f64::from(grid.scale)) as f32;
    let clip = NodeOp::Clip {
        lo: Some(real(least)),
        hi: Some(real(most)),
    };
    let mut y = cx.emit(&node.name, clip, &[x.value], x.dims)?;
    y.grid = Some(grid);
    Ok(Value::Secret(y))
}

pub(super) fn dequantise(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    match node.operand(0)? {
        Value::Secret(x) => {
            if x.grid != Some(grid(node)?) {
                return Err(Why::Quantised);
            }
            let mut y = x.clone();
            y.grid = None;
            Ok(Value::Secret(y))
        }
        Value::Const(c) => constant(cx, node, c),
        Value::Refused => Err(Why::DataType("an operand was refused")),
    }
}

/// `(q - zero) scale`, one scale for all or one for each position along an axis.
fn constant(cx: &mut Import, node: &OnnxNode<'_>, c: &Const) -> Result<Value, Why> {
    let scale = node.constant(1, "scale")?;
    let scales = scale.floats().ok_or(Why::DataType("scales are floats"))?;
    let zeros = match node.maybe_const(2, "zero point")? {
        None => vec![0; scales.len()],
        Some(z) => z
            .known_ints()
            .ok_or(Why::DataType("zero points are integers"))?,
    };
    let rank = i64::try_from(c.dims.len()).unwrap_or(0);
    let axis = match node.int("axis", 1) {
        a if a < 0 => a + rank,
        a => a,
    };
    let along = usize::try_from(axis).ok().and_then(|a| c.dims.get(a));
    let inner = match scales.len() {
        1 => usize::MAX,
        n if along == Some(&n) => {
            let behind = usize::try_from(axis).unwrap_or(0) + 1;
            c.dims.iter().skip(behind).product()
        }
        _ => {
            return Err(shape_error(
                &[&c.dims, &scale.dims],
                "one scale for each position of the axis",
            ));
        }
    };
    if zeros.len() != scales.len() || scales.is_empty() || node.int("block_size", 0) != 0 {
        return Err(shape_error(
            &[&scale.dims],
            "as many zero points as scales, without blocks",
        ));
    }
    cx.reserve(&c.dims)?;
    let ints = c
        .ints()
        .ok_or(Why::DataType("quantised weights are integers"))?;
    let value = |(i, q): (usize, &Int)| match (q, scales.len()) {
        (Int::Known(q), n) => {
            let at = i / inner % n;
            Ok(((*q - zeros[at]) as f64 * f64::from(scales[at])) as f32)
        }
        (Int::Batch, _) => Err(Why::DependsOnBatch),
    };
    let data = ints
        .iter()
        .enumerate()
        .map(value)
        .collect::<Result<_, _>>()?;
    Ok(Value::Const(Const::new(
        c.dims.clone(),
        ConstData::Float(data),
    )))
}
