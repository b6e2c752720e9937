//! What client and worker say at level `fhe`, on a stream on which the hello is done.
//!
//! ```text
//! client                                     worker
//!   FheJob { key, pieces, salt }         ──▶
//!                 (the key is not here)  ◀──   FheReply::Send { pieces }
//!   KeyPiece, KeyPiece, ...              ──▶   each checked against its digest
//!                                        ◀──   FheReply::Ready
//!   one encrypted record a Data frame    ──▶
//!   Waiting, now and then                ──▶
//!                                        ◀──   Progress, again and again
//!                                        ◀──   one encrypted answer a Data frame, in order
//!                                        ◀──   a signed WorkerReceipt
//! ```
//!
//! A client whose stream breaks while it sends its key opens another one with the same ticket: the worker asks only for
//! the pieces that it lacks. A ticket is used up when the worker begins to compute. A client that closes the stream has
//! cancelled the job: the worker stops.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Digest, bounded};

/// Opens a job at level `fhe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FheJob {
    /// The evaluation key: the hash of its bytes, which is its name.
    pub key: Digest,
    /// The number of its parameter set.
    pub set: u8,
    /// SHA-256 of each piece of the key, in order: at most 128.
    #[serde(deserialize_with = "bounded::list::<_, _, { FheJob::MAX_PIECES }>")]
    pub pieces: Vec<Digest>,
    /// Fresh random bytes of the client, known to these two only: what the receipt says of ciphertexts is salted with it.
    pub salt: Digest,
}

impl FheJob {
    /// Most pieces of a key.
    pub const MAX_PIECES: usize = 128;

    /// What a receipt says of `parts`: SHA-256 over the salt and every part with its length.
    ///
    /// The parts are ciphertexts. Nothing that was decrypted, or was computed from it, goes into a receipt.
    pub fn commitment<'a>(salt: &Digest, parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut hash = Sha256::new_with_prefix(b"ai-link/fhe-receipt/v1");
        hash.update(salt.0);
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Digest(hash.finalize().into())
    }
}

/// Answers an [`FheJob`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FheReply {
    /// The key is here and holds: send the records.
    Ready,
    /// Send these pieces of the key, in this order: at most 128.
    Send {
        /// Indices, ascending.
        #[serde(deserialize_with = "bounded::list::<_, _, { FheJob::MAX_PIECES }>")]
        pieces: Vec<u16>,
    },
    /// Go away.
    Refused(FheRefusal),
}

/// Why a worker does not compute on a client's ciphertexts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum FheRefusal {
    /// The model's program needs another parameter set.
    #[error("the model needs a key of parameter set {need}, not of {have}")]
    WrongParameters {
        /// Number of the set that the program needs.
        need: u8,
        /// Number of the key's set.
        have: u8,
    },
    /// There is no such key of this set: a wrong number of pieces, or bytes that do not have the name.
    #[error("the key does not hold: {0}")]
    Key(#[serde(deserialize_with = "bounded::text::<_, 256>")] String),
    /// A piece that was not asked for, or is not what was announced.
    #[error("piece {piece} of the key is not the one announced")]
    Piece {
        /// Its index.
        piece: u16,
    },
    /// All room for keys is taken by keys in use.
    #[error(
        "no room for the key: {need} bytes are needed, {limit} may be kept and what is kept is in use"
    )]
    NoRoom {
        /// Bytes needed.
        need: u64,
        /// Bytes that may be kept.
        limit: u64,
    },
    /// Too much to do.
    #[error("busy: {0}")]
    Busy(#[serde(deserialize_with = "bounded::text::<_, 256>")] String),
    /// An encrypted record that does not fit key and program.
    #[error("record {record} is refused: {why}")]
    Record {
        /// Its index in the batch.
        record: u32,
        /// Why.
        #[serde(deserialize_with = "bounded::text::<_, 256>")]
        why: String,
    },
    /// Something failed here.
    #[error("the worker failed: {0}")]
    Failed(#[serde(deserialize_with = "bounded::text::<_, 256>")] String),
}

impl FheRefusal {
    /// [`FheRefusal::Key`], with the text cut to what fits.
    pub fn key(why: impl ToString) -> Self {
        Self::Key(bounded::cut(why.to_string(), 256))
    }

    /// [`FheRefusal::Busy`], with the text cut to what fits.
    pub fn busy(why: impl ToString) -> Self {
        Self::Busy(bounded::cut(why.to_string(), 256))
    }

    /// [`FheRefusal::Record`], with the text cut to what fits.
    pub fn record(record: u32, why: impl ToString) -> Self {
        let why = bounded::cut(why.to_string(), 256);
        Self::Record { record, why }
    }

    /// [`FheRefusal::Failed`], with the text cut to what fits.
    pub fn failed(why: impl ToString) -> Self {
        Self::Failed(bounded::cut(why.to_string(), 256))
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done: bootstraps, or records of a program without any.
    pub done: u64,
    /// Steps of the whole job.
    pub total: u64,
}

/// A piece of an evaluation key: its index (2 bytes, little endian), then its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPiece<'a> {
    /// Which piece.
    pub index: u16,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl<'a> KeyPiece<'a> {
    /// Bytes of the largest frame.
    pub const MAX_FRAME: usize = 2 + Self::MAX_BYTES;
    /// Most bytes of a piece.
    pub const MAX_BYTES: usize = 1 << 18;

    /// Reads a frame's payload.
    ///
    /// # Errors
    /// [`KeyPieceError`].
    pub fn parse(frame: &'a [u8]) -> Result<Self, KeyPieceError> {
        let size = KeyPieceError { bytes: frame.len() };
        let (index, bytes) = frame.split_first_chunk().ok_or(size)?;
        match bytes.len() {
            1..=Self::MAX_BYTES => Ok(Self {
                index: u16::from_le_bytes(*index),
                bytes,
            }),
            _ => Err(size),
        }
    }

    /// The frame's payload.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.index.to_le_bytes(), self.bytes].concat()
    }
}

/// A frame that holds no piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a piece of a key has 1 to {} bytes and an index of two, not {bytes} in all",
    KeyPiece::MAX_BYTES
)]
pub struct KeyPieceError {
    /// Bytes of the frame.
    pub bytes: usize,
}
