//! Constant tensors of a file.

use super::error::{ImportLimits, TensorProblem};
use super::proto::{TensorProto, data_type};
use super::value::{Const, ConstData, Int, Narrow};
use crate::fixed::limits;
use crate::tensor::elements;

/// Reads a tensor: float, double and float16 become floats; integers of 8 to 64 bits and bool become integers.
pub(super) fn read(t: &TensorProto, import: &ImportLimits) -> Result<Const, TensorProblem> {
    if t.data_location.unwrap_or(0) != 0 || !t.external_data.is_empty() {
        return Err(TensorProblem::External);
    }
    let shape = || TensorProblem::Shape(t.dims.iter().copied().take(16).collect());
    if t.dims.len() > limits::RANK + 1 {
        return Err(shape());
    }
    let dims: Option<Vec<usize>> = t.dims.iter().map(|d| usize::try_from(*d).ok()).collect();
    // An empty list is fine, `[0, 2^40]` is not: no elements, yet an axis of any length.
    let dims = dims
        .filter(|d| d.len() <= 1 || !d.contains(&0))
        .ok_or_else(shape)?;
    let limit = import.tensor_elements;
    let want = elements(&dims)
        .filter(|n| *n <= limit)
        .ok_or(TensorProblem::TooLarge { limit })?;
    let kind = t.data_type.unwrap_or(0);
    let data = match (kind, t.raw_data.as_deref()) {
        (data_type::FLOAT, Some(raw)) => ConstData::Float(chunks(raw, want, f32::from_le_bytes)?),
        (data_type::FLOAT, None) => ConstData::Float(exactly(&t.float_data, want, |v| v)?),
        (data_type::DOUBLE, Some(raw)) => {
            ConstData::Float(chunks(raw, want, |b| f64::from_le_bytes(b) as f32)?)
        }
        (data_type::DOUBLE, None) => ConstData::Float(exactly(&t.double_data, want, |v| v as f32)?),
        (data_type::FLOAT16, Some(raw)) => {
            ConstData::Float(chunks(raw, want, |b| half(u16::from_le_bytes(b)))?)
        }
        (data_type::FLOAT16, None) => {
            ConstData::Float(exactly(&t.int32_data, want, |v| half(v as u16))?)
        }
        (data_type::INT64, Some(raw)) => {
            ConstData::Int(chunks(raw, want, |b| Int::Known(i64::from_le_bytes(b)))?)
        }
        (data_type::INT64, None) => ConstData::Int(exactly(&t.int64_data, want, Int::Known)?),
        (data_type::INT32, Some(raw)) => ConstData::Int(chunks(raw, want, |b| {
            Int::Known(i32::from_le_bytes(b).into())
        })?),
        (data_type::BOOL, Some(raw)) => ConstData::Int(chunks(raw, want, |[b]: [u8; 1]| {
            Int::Known(i64::from(b != 0))
        })?),
        (data_type::INT32 | data_type::BOOL, None) => {
            ConstData::Int(exactly(&t.int32_data, want, |v| Int::Known(v.into()))?)
        }
        (data_type::INT8, Some(raw)) => ConstData::Int(chunks(raw, want, |b| {
            Int::Known(i8::from_le_bytes(b).into())
        })?),
        (data_type::UINT8, Some(raw)) => ConstData::Int(chunks(raw, want, |b| {
            Int::Known(u8::from_le_bytes(b).into())
        })?),
        (data_type::INT16, Some(raw)) => ConstData::Int(chunks(raw, want, |b| {
            Int::Known(i16::from_le_bytes(b).into())
        })?),
        (data_type::UINT16, Some(raw)) => ConstData::Int(chunks(raw, want, |b| {
            Int::Known(u16::from_le_bytes(b).into())
        })?),
        (data_type::INT8 | data_type::UINT8 | data_type::INT16 | data_type::UINT16, None) => {
            ConstData::Int(exactly(&t.int32_data, want, |v| Int::Known(v.into()))?)
        }
        _ => return Err(TensorProblem::DataType(kind)),
    };
    let bits = match kind {
        data_type::INT8 => Some(Narrow::Int8),
        data_type::UINT8 => Some(Narrow::Uint8),
        data_type::INT16 => Some(Narrow::Int16),
        data_type::UINT16 => Some(Narrow::Uint16),
        _ => None,
    };
    Ok(Const::new(dims, data).of(bits))
}

fn chunks<const N: usize, T>(
    raw: &[u8],
    want: usize,
    f: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, TensorProblem> {
    let (whole, rest) = raw.as_chunks::<N>();
    match whole.len() == want && rest.is_empty() {
        true => Ok(whole.iter().map(|b| f(*b)).collect()),
        false => Err(TensorProblem::Length {
            want,
            have: whole.len(),
        }),
    }
}

fn exactly<A: Copy, T>(
    data: &[A],
    want: usize,
    f: impl Fn(A) -> T,
) -> Result<Vec<T>, TensorProblem> {
    match data.len() == want {
        true => Ok(data.iter().map(|v| f(*v)).collect()),
        false => Err(TensorProblem::Length {
            want,
            have: data.len(),
        }),
    }
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1.0 + fraction / 1024.0) * 2f32.powi(e - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::half;

    #[test]
    fn half_precision() {
        assert_eq!(half(0x3c00), 1.0);
        assert_eq!(half(0xc100), -2.5);
        assert_eq!(half(0x0001), 2f32.powi(-24));
        assert_eq!(half(0x7bff), 65504.0);
        assert_eq!(half(0x7c00), f32::INFINITY);
        assert!(half(0x7e00).is_nan());
    }
}
