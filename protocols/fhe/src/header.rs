//! The header that requests and answers share.

use crate::error::{FheError, FormatError};
use crate::format::strip_magic;
use crate::ids::{KeyId, ProgramId};

/// Magic, key, program.
pub(crate) const HEADER: usize = 4 + 32 + 32;

/// Writes a header.
pub(crate) fn write(magic: [u8; 4], key: KeyId, program: ProgramId, capacity: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + capacity);
    bytes.extend(magic);
    bytes.extend(key.as_bytes());
    bytes.extend(program.as_bytes());
    bytes
}

/// Checks that `bytes` are for this key and program and have `body` bytes after the header; returns those.
pub(crate) fn read<'a>(
    bytes: &'a [u8],
    magic: [u8; 4],
    what: &'static str,
    key: KeyId,
    program: ProgramId,
    body: usize,
) -> Result<&'a [u8], FheError> {
    let rest = strip_magic(bytes, magic, what)?;
    let size = || FormatError::Size {
        what,
        want: HEADER + body,
        have: bytes.len(),
    };
    let (found, rest) = rest.split_first_chunk::<32>().ok_or_else(size)?;
    let found = KeyId::from_bytes(*found);
    if found != key {
        return Err(FheError::ForeignKey {
            want: key,
            have: found,
        });
    }
    let (found, rest) = rest.split_first_chunk::<32>().ok_or_else(size)?;
    let found = ProgramId::from_bytes(*found);
    if found != program {
        return Err(FheError::ForeignProgram {
            want: program,
            have: found,
        });
    }
    if rest.len() != body {
        return Err(size().into());
    }
    Ok(rest)
}
