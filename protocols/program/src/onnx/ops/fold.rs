//! Operators on constants are carried out at import.

use std::cmp::Ordering;

use super::super::error::Why;
use super::super::import::{Import, shape_error};
use super::super::value::{Const, ConstData, Int, Value};
use super::elementwise::{aligned, common_dims};
use crate::maps;

/// An operator on two.
pub(super) fn two(cx: &mut Import, op: &str, a: &Const, b: &Const) -> Result<Value, Why> {
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
    let data = match (comparison(op), a.data(), b.data()) {
        (Some(holds), ConstData::Float(x), ConstData::Float(y)) => {
            let at = |(i, j): (usize, usize)| {
                let order = x.get(i)?.partial_cmp(y.get(j)?);
                Some(Int::Known(order.is_some_and(holds).into()))
            };
            ConstData::Int(pairs().filter_map(at).collect())
        }
        (None, ConstData::Float(x), ConstData::Float(y)) => {
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
        (_, ConstData::Int(x), ConstData::Int(y)) => {
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
        (ConstData::Float(a), ConstData::Float(b)) => ConstData::Float(chosen(&truth, a, b)),
        (ConstData::Int(a), ConstData::Int(b)) => ConstData::Int(chosen(&truth, a, b)),
        _ => return Err(Why::DataType("operands have different types")),
    };
    Ok(Value::Const(Const::new(dims, data)))
}

fn chosen<T: Copy>(truth: &[i64], a: &[T], b: &[T]) -> Vec<T> {
    let pairs = truth.iter().zip(a.iter().zip(b));
    pairs
        .map(|(truth, (a, b))| if *truth != 0 { *a } else { *b })
        .collect()
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
            _ => comparison(op).map(|holds| holds(a.cmp(&b)).into()),
        }
        .map(Int::Known)
        .ok_or(overflow),
        _ => Err(Why::DependsOnBatch),
    }
}
