//! Element types and their bytes.

use std::fmt;
use std::str::FromStr;

/// Element types of the protocol that can carry numbers. BYTES and the half-precision types are refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Datatype {
    /// One byte, 0 or 1.
    Bool,
    /// IEEE 754 binary32.
    Fp32,
    /// IEEE 754 binary64.
    Fp64,
    /// Signed, 8 bits.
    Int8,
    /// Signed, 16 bits.
    Int16,
    /// Signed, 32 bits.
    Int32,
    /// Signed, 64 bits.
    Int64,
    /// Unsigned, 8 bits.
    Uint8,
    /// Unsigned, 16 bits.
    Uint16,
    /// Unsigned, 32 bits.
    Uint32,
    /// Unsigned, 64 bits.
    Uint64,
}

const NAMES: [(Datatype, &str); 11] = [
    (Datatype::Bool, "BOOL"),
    (Datatype::Fp32, "FP32"),
    (Datatype::Fp64, "FP64"),
    (Datatype::Int8, "INT8"),
    (Datatype::Int16, "INT16"),
    (Datatype::Int32, "INT32"),
    (Datatype::Int64, "INT64"),
    (Datatype::Uint8, "UINT8"),
    (Datatype::Uint16, "UINT16"),
    (Datatype::Uint32, "UINT32"),
    (Datatype::Uint64, "UINT64"),
];

impl Datatype {
    /// Bytes of one element in the binary extension.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::Int8 | Self::Uint8 => 1,
            Self::Int16 | Self::Uint16 => 2,
            Self::Fp32 | Self::Int32 | Self::Uint32 => 4,
            Self::Fp64 | Self::Int64 | Self::Uint64 => 8,
        }
    }

    /// The elements as `f32`, which is what models take. Integers above 2^24 and doubles are rounded to the
    /// nearest; the caller has checked that `bytes` is a multiple of [`size`](Self::size).
    pub fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        macro_rules! each {
            ($t:ty) => {
                bytes
                    .as_chunks::<{ size_of::<$t>() }>()
                    .0
                    .iter()
                    .map(|c| <$t>::from_le_bytes(*c) as f32)
                    .collect()
            };
        }
        match self {
            Self::Bool => bytes.iter().map(|b| f32::from(u8::from(*b != 0))).collect(),
            Self::Fp32 => each!(f32),
            Self::Fp64 => each!(f64),
            Self::Int8 => each!(i8),
            Self::Int16 => each!(i16),
            Self::Int32 => each!(i32),
            Self::Int64 => each!(i64),
            Self::Uint8 => each!(u8),
            Self::Uint16 => each!(u16),
            Self::Uint32 => each!(u32),
            Self::Uint64 => each!(u64),
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES
            .iter()
            .find(|(d, _)| d == self)
            .map_or("FP32", |(_, n)| n);
        f.pad(name)
    }
}

impl FromStr for Datatype {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        NAMES
            .iter()
            .find(|(_, n)| *n == text)
            .map(|(d, _)| *d)
            .ok_or(())
    }
}

/// Elements of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Sent as FP32.
    F32(Vec<f32>),
    /// Sent as INT64.
    I64(Vec<i64>),
}

impl Values {
    /// How they are sent.
    pub fn datatype(&self) -> Datatype {
        match self {
            Self::F32(_) => Datatype::Fp32,
            Self::I64(_) => Datatype::Int64,
        }
    }

    /// For the binary extension.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        match self {
            Self::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_protocols() {
        for (datatype, name) in NAMES {
            assert_eq!(datatype.to_string(), name);
            assert_eq!(name.parse(), Ok(datatype));
        }
        assert_eq!("BYTES".parse::<Datatype>(), Err(()));
    }

    #[test]
    fn elements_are_little_endian() {
        assert_eq!(
            Datatype::Fp32.to_f32(&[0, 0, 192, 63, 0, 0, 0, 192]),
            [1.5, -2.0]
        );
        assert_eq!(
            Datatype::Int16.to_f32(&[0xff, 0xff, 0x00, 0x01]),
            [-1.0, 256.0]
        );
        assert_eq!(Datatype::Uint64.to_f32(&[5, 0, 0, 0, 0, 0, 0, 0]), [5.0]);
        assert_eq!(Datatype::Bool.to_f32(&[0, 1, 7]), [0.0, 1.0, 1.0]);
    }
}
