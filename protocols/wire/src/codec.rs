//! The binary encoding of everything that is sent, signed or stored: bincode 2, standard
//! configuration (little endian, variable-length integers). No other module names bincode, so the
//! encoding can be changed, or audited, here.
//!
//! Three promises about bytes from outside:
//!
//! * nothing longer than the [`Limit`] is looked at, or produced;
//! * bytes left over after the value are an error, so one value has one encoding per length;
//! * memory grows with the bytes that arrived: texts and byte strings are taken out of the input,
//!   lists of messages grow item by item (a bare `Vec` reserves at most 1 MiB ahead), and bincode's
//!   own limit is set from the input's length, so a length prefix of 2^60 in a short message is
//!   refused, not allocated.

use std::io;

use bincode::config::{Configuration, Limit as ClaimLimit, LittleEndian, Varint};
use serde::{Serialize, de::DeserializeOwned};

/// The most bytes an encoded value may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limit(usize);

impl Limit {
    /// One signed record: 64 KiB.
    pub const RECORD: Self = Self(64 << 10);
    /// One control message, in either direction: 1 MiB.
    pub const CONTROL: Self = Self(1 << 20);

    /// A limit of `bytes`.
    pub const fn bytes(bytes: usize) -> Self {
        Self(bytes)
    }

    /// The limit in bytes.
    pub const fn get(self) -> usize {
        self.0
    }
}

/// Encodes `value`.
///
/// # Errors
/// [`CodecError::TooLong`] when the encoding would be longer than `limit`; nothing beyond the limit
/// is buffered. [`CodecError::Encode`] when the value cannot be written (a sequence of unknown
/// length, for example).
pub fn encode<T: Serialize>(value: &T, limit: Limit) -> Result<Vec<u8>, CodecError> {
    let mut writer = BoundedWriter {
        bytes: Vec::new(),
        limit: limit.0,
        refused: None,
    };
    let written =
        bincode::serde::encode_into_std_write(value, &mut writer, bincode::config::standard());
    match (written, writer.refused) {
        (Ok(_), None) => Ok(writer.bytes),
        (_, Some(length)) => Err(CodecError::TooLong {
            length,
            limit: limit.0,
        }),
        (Err(source), None) => Err(CodecError::Encode(source)),
    }
}

/// Decodes exactly one value from all of `bytes`.
///
/// # Errors
/// [`CodecError::TooLong`] when `bytes` is longer than `limit`, [`CodecError::Decode`] when the
/// bytes are no value of this type, [`CodecError::Trailing`] when bytes are left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: Limit) -> Result<T, CodecError> {
    if bytes.len() > limit.0 {
        return Err(CodecError::TooLong {
            length: bytes.len(),
            limit: limit.0,
        });
    }
    // bincode counts the decoded width of what it reads, which for one encoded byte is at most 16
    // (a u128). The smallest class that admits every honest value of this length is chosen.
    let (value, used) = match bytes.len() {
        ..0x100 => decode_claiming::<T, { 16 << 8 }>(bytes),
        0x100..0x1000 => decode_claiming::<T, { 16 << 12 }>(bytes),
        0x1000..0x1_0000 => decode_claiming::<T, { 16 << 16 }>(bytes),
        0x1_0000..0x10_0000 => decode_claiming::<T, { 16 << 20 }>(bytes),
        0x10_0000..0x100_0000 => decode_claiming::<T, { 16 << 24 }>(bytes),
        _ => decode_claiming::<T, { usize::MAX >> 1 }>(bytes),
    }
    .map_err(CodecError::Decode)?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(CodecError::Trailing { left, used }),
    }
}

/// Why bytes could not be made from a value, or a value from bytes.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Longer than the protocol allows.
    #[error("encoded length {length} exceeds the limit of {limit} bytes")]
    TooLong {
        /// Length in bytes; when encoding, the length at which writing stopped.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The value has no encoding.
    #[error("the value cannot be encoded")]
    Encode(#[source] bincode::error::EncodeError),
    /// The bytes are no value of the expected type.
    #[error("the bytes are not a value of the expected type")]
    Decode(#[source] bincode::error::DecodeError),
    /// A value was read, and more bytes follow it.
    #[error("{left} bytes follow the value, which ended after {used}")]
    Trailing {
        /// Bytes after the value.
        left: usize,
        /// Bytes of the value.
        used: usize,
    },
}

fn decode_claiming<T: DeserializeOwned, const CLAIM: usize>(
    bytes: &[u8],
) -> Result<(T, usize), bincode::error::DecodeError> {
    let config: Configuration<LittleEndian, Varint, ClaimLimit<CLAIM>> =
        bincode::config::standard().with_limit::<CLAIM>();
    bincode::serde::borrow_decode_from_slice(bytes, config)
}

/// Collects up to `limit` bytes and remembers the length that went past it.
struct BoundedWriter {
    bytes: Vec<u8>,
    limit: usize,
    refused: Option<usize>,
}

impl io::Write for BoundedWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let length = self.bytes.len().saturating_add(buf.len());
        if length > self.limit {
            self.refused = Some(length);
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
