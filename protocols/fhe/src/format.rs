//! What all formats begin with, and the encoding of those that are plain data: programs and packages.

use bincode::config::{Configuration, Limit, standard};
use serde::{Deserialize, Serialize};

use crate::error::FormatError;

/// Bytes of the largest program or package that is decoded.
const MAX_BYTES: usize = 64 << 20;

/// The bytes after `magic`, of which the last is the version.
pub(crate) fn strip_magic<'a>(
    bytes: &'a [u8],
    magic: [u8; 4],
    what: &'static str,
) -> Result<&'a [u8], FormatError> {
    bytes
        .strip_prefix(&magic)
        .ok_or_else(|| FormatError::Magic {
            what,
            version: magic[3],
            have: bytes.iter().copied().take(4).collect(),
        })
}

/// Plain data as bytes.
pub(crate) fn encode(magic: [u8; 4], value: &impl Serialize) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    let body = bincode::serde::encode_to_vec(value, standard());
    bytes.extend(body.expect("plain data encodes to memory, qed"));
    bytes
}

/// Undoes [`encode`]; all of `bytes` must be used, and nothing is allocated beyond a constant times their number.
pub(crate) fn decode<T: for<'de> Deserialize<'de>>(
    bytes: &[u8],
    magic: [u8; 4],
    what: &'static str,
) -> Result<T, FormatError> {
    if bytes.len() > MAX_BYTES {
        return Err(FormatError::TooLarge {
            what,
            have: bytes.len(),
            limit: MAX_BYTES,
        });
    }
    let body = strip_magic(bytes, magic, what)?;
    let config: Configuration<_, _, Limit<{ 4 * MAX_BYTES }>> =
        standard().with_limit::<{ 4 * MAX_BYTES }>();
    let problem = |problem: String| FormatError::Body { what, problem };
    let (value, read) =
        bincode::serde::decode_from_slice(body, config).map_err(|e| problem(e.to_string()))?;
    if read != body.len() {
        return Err(problem(format!(
            "{} bytes are left over",
            body.len() - read
        )));
    }
    Ok(value)
}
