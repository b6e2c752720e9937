//! Constants, shapes as constants, and operators that do nothing at inference.

use super::super::error::Why;
use super::super::import::Import;
use super::super::node::OnnxNode;
use super::super::proto::data_type;
use super::super::tensor;
use super::super::value::{Const, ConstData, Int, Value};

pub(super) fn constant(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let known = |v: &[i64]| ConstData::Int(v.iter().map(|v| Int::Known(*v)).collect());
    let value = if let Some(t) = node.tensor("value") {
        tensor::read(t, &cx.limits).map_err(Why::Tensor)?
    } else if let Some(v) = node.maybe_float("value_float") {
        Const::new(vec![], ConstData::Float(vec![v]))
    } else if let Some(v) = node.maybe_int("value_int") {
        Const::new(vec![], known(&[v]))
    } else if let Some(v) = node.floats("value_floats") {
        Const::new(vec![v.len()], ConstData::Float(v.to_vec()))
    } else if let Some(v) = node.ints("value_ints") {
        Const::new(vec![v.len()], known(v))
    } else {
        return Err(Why::Attribute {
            name: "value",
            problem: "is missing or not of a number type",
        });
    };
    cx.reserve(&value.dims)?;
    Ok(Value::Const(value))
}

pub(super) fn constant_of_shape(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let shape = node.constant(0, "shape")?;
    let shape = shape
        .ints()
        .ok_or(Why::DataType("a shape must be integers"))?;
    let size = |(axis, size): (usize, &Int)| match (axis, size) {
        (_, Int::Known(n)) => {
            usize::try_from(*n).map_err(|_| Why::DataType("a shape has a negative size"))
        }
        // The same for every record, so one broadcasts.
        (0, Int::Batch) => Ok(1),
        (_, Int::Batch) => Err(Why::DependsOnBatch),
    };
    let dims = shape.iter().enumerate().map(size);
    let dims = dims.collect::<Result<Vec<usize>, _>>()?;
    let n = cx.reserve(&dims)?;
    let data = match node.tensor("value") {
        None => ConstData::Float(vec![0.0; n]),
        Some(t) => match tensor::read(t, &cx.limits).map_err(Why::Tensor)?.data() {
            ConstData::Float(v) => ConstData::Float(vec![v.first().copied().unwrap_or(0.0); n]),
            ConstData::Int(v) => {
                ConstData::Int(vec![v.first().copied().unwrap_or(Int::Known(0)); n])
            }
        },
    };
    Ok(Value::Const(Const::new(dims, data)))
}

/// `start, start + delta, ...` below `limit`.
pub(super) fn range(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let [start, limit, delta] = [(0, "start"), (1, "limit"), (2, "delta")].map(|(i, what)| {
        let number = node.constant(i, what)?;
        match number.known_ints().as_deref() {
            Some([v]) => Ok(*v),
            _ if number.ints().is_some() => Err(Why::DependsOnBatch),
            _ => Err(Why::DataType("ranges of integers only")),
        }
    });
    let (start, limit, delta) = (start?, limit?, delta?);
    if delta == 0 {
        return Err(Why::Attribute {
            name: "delta",
            problem: "must not be 0",
        });
    }
    let (start, gap) = (i128::from(start), i128::from(limit) - i128::from(start));
    let (size, delta) = (gap.abs(), i128::from(delta));
    let n = match gap.signum() == delta.signum() {
        true => (size + delta.abs() - 1) / delta.abs(),
        false => 0,
    };
    let n = usize::try_from(n).unwrap_or(usize::MAX);
    cx.reserve(&[n])?;
    let number = |i: usize| {
        let number = i64::try_from(start + delta * i as i128);
        number
            .map(Int::Known)
            .map_err(|_| Why::DataType("a range overflows"))
    };
    let numbers = (0..n).map(number).collect::<Result<_, _>>()?;
    Ok(Value::Const(Const::new(vec![n], ConstData::Int(numbers))))
}

/// The shape of a value: known but for the batch, which stays a symbol.
pub(super) fn shape(cx: &mut Import, node: &OnnxNode<'_>) -> Result<Value, Why> {
    let known = |d: &usize| Int::Known(i64::try_from(*d).unwrap_or(i64::MAX));
    let full: Vec<Int> = match node.operand(0)? {
        Value::Secret(s) => std::iter::once(Int::Batch)
            .chain(s.dims.iter().map(known))
            .collect(),
        Value::Const(c) => c.dims.iter().map(known).collect(),
        Value::Refused => return Err(Why::DataType("its operand was refused")),
    };
    let rank = i64::try_from(full.len()).unwrap_or(i64::MAX);
    let clamp = |v: i64| {
        let v = if v < 0 { v.saturating_add(rank) } else { v };
        usize::try_from(v.clamp(0, rank)).unwrap_or(0)
    };
    let start = clamp(node.int("start", 0));
    let end = clamp(node.int("end", rank));
    let picked = full.get(start..end.max(start)).unwrap_or_default().to_vec();
    cx.reserve(&[picked.len()])?;
    Ok(Value::Const(Const::new(
        vec![picked.len()],
        ConstData::Int(picked),
    )))
}

/// Does nothing at inference; its mask may not be used.
pub(super) fn dropout(node: &OnnxNode<'_>) -> Result<Value, Why> {
    if let Some(training) = node.maybe_const(2, "training_mode")?
        && training.known_ints().is_none_or(|v| v != [0])
    {
        return Err(Why::Attribute {
            name: "training_mode",
            problem: "must be false: export the model for inference",
        });
    }
    Ok(node.operand(0)?.clone())
}

/// Between float types nothing happens to a secret value: there is one fixed-point format.
pub(super) fn cast(node: &OnnxNode<'_>) -> Result<Value, Why> {
    let to = i32::try_from(node.int("to", 0)).unwrap_or(0);
    let is_float = matches!(
        to,
        data_type::FLOAT | data_type::DOUBLE | data_type::FLOAT16
    );
    let is_int = matches!(to, data_type::INT32 | data_type::INT64 | data_type::BOOL);
    let unsupported = Why::Attribute {
        name: "to",
        problem: "is not a supported type",
    };
    match node.operand(0)? {
        Value::Secret(s) if is_float && s.post.is_empty() => Ok(Value::Secret(s.clone())),
        Value::Secret(s) if !s.post.is_empty() => {
            // After ArgMax the result is an index, after the others a float: a cast to the same kind does nothing.
            let index = matches!(s.post.last(), Some(crate::ClientOp::ArgMax { .. }));
            match (index && is_int && to != data_type::BOOL) || (!index && is_float) {
                true => Ok(Value::Secret(s.clone())),
                false => Err(Why::AfterClientOp),
            }
        }
        Value::Secret(_) => Err(Why::Attribute {
            name: "to",
            problem: "must be a float type: a value that depends on the input cannot be rounded",
        }),
        Value::Const(c) => {
            let data = match c.data() {
                ConstData::Float(v) if is_float => ConstData::Float(v.clone()),
                ConstData::Float(v) if is_int => ConstData::Int(
                    v.iter()
                        .map(|v| {
                            Int::Known(if to == data_type::BOOL {
                                (*v != 0.0).into()
                            } else {
                                *v as i64
                            })
                        })
                        .collect(),
                ),
                ConstData::Int(v) if is_int && to != data_type::BOOL => ConstData::Int(v.clone()),
                ConstData::Int(_) if is_float || is_int => {
                    let ints = c.known_ints().ok_or(Why::DependsOnBatch)?;
                    match is_float {
                        true => ConstData::Float(ints.iter().map(|v| *v as f32).collect()),
                        false => ConstData::Int(
                            ints.iter().map(|v| Int::Known((*v != 0).into())).collect(),
                        ),
                    }
                }
                _ => return Err(unsupported),
            };
            Ok(Value::Const(Const::new(c.dims.clone(), data)))
        }
        Value::Refused => Err(unsupported),
    }
}
