//! Chunks: a counter, a final flag, and what is encrypted.
//!
//! ```text
//! counter (4, little endian) | last: 0 or 1 (1) | ciphertext, tag (16)
//! ```
//!
//! The first five bytes are the associated data. What is encrypted is its length (4), the bytes, and zeros up to a multiple
//! of [`PAD`].

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce};
use hpke::aead::{AeadCtxR, AeadCtxS, ChaCha20Poly1305 as HpkeAead};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use zeroize::Zeroizing;

const HEADER: usize = 5;
const TAG: usize = 16;
const LENGTH: usize = 4;
/// Lengths are multiples of this.
pub(crate) const PAD: usize = 128;

/// Whether a chunk ends its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// More follow.
    No,
    /// It is the last one.
    Yes,
}

/// Why a chunk is not taken. Nothing after it is either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Something came after the last chunk.
    #[error("chunk {found} came after the last one")]
    AfterLast {
        /// Its counter.
        found: u32,
    },
    /// The counter is used up.
    #[error("no direction has more than 2^32 - 1 chunks")]
    Counter,
    /// The stream ended before its last chunk.
    #[error("the stream was cut after {received} chunks, before its last one")]
    Cut {
        /// Chunks that came.
        received: u32,
    },
    /// Changed, or encrypted under another key.
    #[error("chunk {index} is not authentic")]
    Forged {
        /// Its counter.
        index: u32,
    },
    /// Too short to be one, or its content is.
    #[error("{bytes} bytes are no chunk")]
    Malformed {
        /// How many came.
        bytes: usize,
    },
    /// One or more are missing, or come later.
    #[error("chunk {found} came where {expected} was due")]
    Missing {
        /// Its counter.
        found: u32,
        /// The one that was due.
        expected: u32,
    },
    /// It came before.
    #[error("chunk {found} came again where {expected} was due")]
    Replayed {
        /// Its counter.
        found: u32,
        /// The one that was due.
        expected: u32,
    },
    /// Encryption failed: more than the cipher takes.
    #[error("{bytes} bytes are more than a chunk can hold")]
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// The direction has failed, or ended, before.
    #[error("this direction has ended")]
    Ended,
}

pub(crate) type Sending = AeadCtxS<HpkeAead, HkdfSha256, X25519HkdfSha256>;
pub(crate) type Receiving = AeadCtxR<HpkeAead, HkdfSha256, X25519HkdfSha256>;

/// Key and first nonce of an answer.
pub(crate) struct Derived {
    pub(crate) cipher: ChaCha20Poly1305,
    pub(crate) nonce: [u8; 12],
}

impl Derived {
    pub(crate) fn new(key: &[u8; 32], nonce: [u8; 12]) -> Self {
        let cipher = ChaCha20Poly1305::new(key.into());
        Self { cipher, nonce }
    }

    /// As RFC 9180, section 5.2, computes the nonce of a message.
    fn nonce(&self, counter: u32) -> Nonce {
        let mut nonce = self.nonce;
        for (byte, count) in nonce[8..].iter_mut().zip(counter.to_be_bytes()) {
            *byte ^= count;
        }
        nonce.into()
    }
}

pub(crate) enum SealWith {
    Hpke(Box<Sending>),
    Derived(Derived),
}

pub(crate) enum OpenWith {
    Hpke(Box<Receiving>),
    Derived(Derived),
}

/// Encrypts one direction.
pub struct Sealer {
    with: SealWith,
    next: Option<u32>,
}

/// Decrypts one direction.
pub struct Opener {
    with: OpenWith,
    state: State,
}

/// What a direction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Due(u32),
    Done,
    /// An error was found: nothing after it is believed.
    Failed(ChunkError),
}

/// A decrypted chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What was sent.
    pub bytes: Vec<u8>,
    /// Whether it is the last.
    pub last: Last,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Sealer {
    pub(crate) fn new(with: SealWith) -> Self {
        Self {
            with,
            next: Some(0),
        }
    }

    /// The next chunk.
    ///
    /// # Errors
    /// [`ChunkError::Ended`] after the last one, [`ChunkError::TooLong`], [`ChunkError::Counter`].
    pub fn seal(&mut self, bytes: &[u8], last: Last) -> Result<Vec<u8>, ChunkError> {
        let counter = self.next.ok_or(ChunkError::Ended)?;
        let too_long = ChunkError::TooLong { bytes: bytes.len() };
        let length = u32::try_from(bytes.len()).map_err(|_| too_long)?;
        let mut plain = Zeroizing::new(Vec::with_capacity(LENGTH + bytes.len() + PAD));
        plain.extend(length.to_le_bytes());
        plain.extend(bytes);
        let padded = plain.len().next_multiple_of(PAD);
        plain.resize(padded, 0);
        let header = header(counter, last);
        let sealed = match &mut self.with {
            SealWith::Hpke(context) => context.seal(&plain, &header).map_err(|_| too_long)?,
            SealWith::Derived(derived) => {
                let payload = Payload {
                    msg: &plain,
                    aad: &header,
                };
                let nonce = derived.nonce(counter);
                derived
                    .cipher
                    .encrypt(&nonce, payload)
                    .map_err(|_| too_long)?
            }
        };
        self.next = match last {
            Last::Yes => None,
            Last::No => Some(counter.checked_add(1).ok_or(ChunkError::Counter)?),
        };
        Ok([header.as_slice(), &sealed].concat())
    }

    /// Bytes of the chunk that holds so many.
    pub const fn chunk_bytes(bytes: usize) -> usize {
        HEADER + (LENGTH + bytes).next_multiple_of(PAD) + TAG
    }
}

impl Opener {
    pub(crate) fn new(with: OpenWith) -> Self {
        let state = State::Due(0);
        Self { with, state }
    }

    /// The next chunk. After an error every further call gives the same one.
    ///
    /// # Errors
    /// [`ChunkError`].
    pub fn open(&mut self, chunk: &[u8]) -> Result<Opened, ChunkError> {
        let opened = self.opened(chunk);
        if let Err(error) = opened {
            self.state = State::Failed(error);
        }
        opened
    }

    fn opened(&mut self, chunk: &[u8]) -> Result<Opened, ChunkError> {
        let malformed = ChunkError::Malformed { bytes: chunk.len() };
        let (header, sealed) = chunk.split_first_chunk::<HEADER>().ok_or(malformed)?;
        let [a, b, c, d, flag] = *header;
        let found = u32::from_le_bytes([a, b, c, d]);
        let expected = match self.state {
            State::Failed(error) => return Err(error),
            State::Done => return Err(ChunkError::AfterLast { found }),
            State::Due(expected) => expected,
        };
        let last = match flag {
            0 => Last::No,
            1 => Last::Yes,
            _ => return Err(malformed),
        };
        if found < expected {
            return Err(ChunkError::Replayed { found, expected });
        }
        if found > expected {
            return Err(ChunkError::Missing { found, expected });
        }
        let forged = ChunkError::Forged { index: found };
        let plain = match &mut self.with {
            OpenWith::Hpke(context) => context.open(sealed, header).map_err(|_| forged)?,
            OpenWith::Derived(derived) => {
                let payload = Payload {
                    msg: sealed,
                    aad: header,
                };
                let nonce = derived.nonce(found);
                derived
                    .cipher
                    .decrypt(&nonce, payload)
                    .map_err(|_| forged)?
            }
        };
        let plain = Zeroizing::new(plain);
        let (length, rest) = plain.split_first_chunk::<LENGTH>().ok_or(malformed)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| malformed)?;
        let bytes = rest.get(..length).ok_or(malformed)?.to_vec();
        self.state = match last {
            Last::Yes => State::Done,
            Last::No => State::Due(found.checked_add(1).ok_or(ChunkError::Counter)?),
        };
        Ok(Opened { bytes, last })
    }

    /// That the last chunk came: to be asked where the stream ends.
    ///
    /// # Errors
    /// [`ChunkError::Cut`], or the error that was found before.
    pub fn finish(&self) -> Result<(), ChunkError> {
        match self.state {
            State::Done => Ok(()),
            State::Due(received) => Err(ChunkError::Cut { received }),
            State::Failed(error) => Err(error),
        }
    }
}

fn header(counter: u32, last: Last) -> [u8; HEADER] {
    let [a, b, c, d] = counter.to_le_bytes();
    [a, b, c, d, u8::from(last == Last::Yes)]
}
