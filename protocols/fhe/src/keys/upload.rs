//! Receiving a key in pieces, in any order, across interruptions.

use thiserror::Error;

use super::evaluation::{EvaluationKey, MAX_KEY_BYTES};
use crate::error::FormatError;
use crate::ids::KeyId;
use crate::parameters::ParameterSet;

/// Bytes of every piece but the last.
pub const PIECE_BYTES: usize = 1 << 18;

/// An evaluation key on its way to a worker. Memory is that of one key, and it is checked against its name at the end.
#[derive(Debug)]
pub struct KeyUpload {
    id: KeyId,
    bytes: Vec<u8>,
    have: Vec<bool>,
}

/// Why a piece or a whole key is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum UploadError {
    /// Not a piece of this key.
    #[error("piece {piece} has {have} bytes instead of {want}")]
    Piece {
        /// Index of the piece.
        piece: usize,
        /// Bytes that it must have; 0 past the end.
        want: usize,
        /// Bytes that it has.
        have: usize,
    },
    /// Not everything has arrived.
    #[error("{missing} pieces are missing, the first is {first}")]
    Missing {
        /// How many.
        missing: usize,
        /// Index of the first.
        first: usize,
    },
    /// The whole is not what was announced.
    #[error("the key is {have}, but {want} was announced")]
    Hash {
        /// Announced.
        want: KeyId,
        /// Received.
        have: KeyId,
    },
    /// Complete, but no key.
    #[error("the bytes are no evaluation key")]
    Format(#[from] FormatError),
}

impl KeyUpload {
    /// Prepares for the key `id` of `set`.
    pub fn new(set: ParameterSet, id: KeyId) -> Self {
        let size = EvaluationKey::encoded_bytes(set);
        debug_assert!(size <= MAX_KEY_BYTES);
        Self {
            id,
            bytes: vec![0; size],
            have: vec![false; size.div_ceil(PIECE_BYTES)],
        }
    }

    /// Pieces of a key of `set`.
    pub fn count(set: ParameterSet) -> usize {
        EvaluationKey::encoded_bytes(set).div_ceil(PIECE_BYTES)
    }

    /// Cuts a key into pieces, as [`accept`](Self::accept) takes them.
    pub fn pieces(key: &[u8]) -> impl ExactSizeIterator<Item = &[u8]> {
        key.chunks(PIECE_BYTES)
    }

    /// Takes one piece. Twice the same is no error.
    pub fn accept(&mut self, piece: usize, bytes: &[u8]) -> Result<(), UploadError> {
        let total = self.bytes.len();
        let start = piece.saturating_mul(PIECE_BYTES).min(total);
        let want = PIECE_BYTES.min(total - start);
        if want == 0 || bytes.len() != want {
            let have = bytes.len();
            return Err(UploadError::Piece { piece, want, have });
        }
        self.bytes[start..start + want].copy_from_slice(bytes);
        self.have[piece] = true;
        Ok(())
    }

    /// Pieces that have not arrived, in order.
    pub fn missing(&self) -> impl Iterator<Item = usize> {
        self.have
            .iter()
            .enumerate()
            .filter(|(_, have)| !**have)
            .map(|(i, _)| i)
    }

    /// The bytes of the key, once they are complete and have the announced name.
    pub fn finish(self) -> Result<Vec<u8>, UploadError> {
        if let Some(first) = self.missing().next() {
            let missing = self.missing().count();
            return Err(UploadError::Missing { missing, first });
        }
        let (_, have) = EvaluationKey::inspect(&self.bytes)?;
        if have != self.id {
            return Err(UploadError::Hash {
                want: self.id,
                have,
            });
        }
        Ok(self.bytes)
    }
}
