//! Sealing and opening chunk by chunk, without IO.

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::Payload;
use chacha20poly1305::aead::stream::{DecryptorBE32, EncryptorBE32, StreamPrimitive};
use zeroize::Zeroizing;

use super::{CHUNK, DataKey, HEADER, SealError, TAG, accept, derive, header};

/// Seals the chunks of one object.
pub struct Sealer {
    header: [u8; HEADER],
    encryptor: EncryptorBE32<ChaCha20Poly1305>,
}

impl Sealer {
    /// Begins an object under a fresh key. Returns the key, and the header to write first.
    ///
    /// # Errors
    ///
    /// [`SealError::NoEntropy`].
    pub fn new() -> Result<(DataKey, [u8; HEADER], Self), SealError> {
        let key = DataKey::generate()?;
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(|_| SealError::NoEntropy)?;
        let (cipher, commitment) = derive(&key, &salt);
        let header = header(&salt, &commitment);
        Ok((
            key,
            header,
            Self {
                header,
                encryptor: cipher.encryptor(),
            },
        ))
    }

    /// Seals the next [`CHUNK`] bytes, which are not the last.
    ///
    /// # Errors
    ///
    /// [`SealError::Misused`] for another length, [`SealError::TooLarge`].
    pub fn next(&mut self, chunk: &[u8]) -> Result<Vec<u8>, SealError> {
        if chunk.len() != CHUNK {
            return Err(SealError::Misused {
                length: chunk.len(),
            });
        }
        self.encryptor
            .encrypt_next(Payload {
                msg: chunk,
                aad: &self.header,
            })
            .map_err(|_| SealError::TooLarge)
    }

    /// Seals the last 0 to [`CHUNK`] bytes.
    ///
    /// # Errors
    ///
    /// [`SealError::Misused`] for more.
    pub fn last(self, chunk: &[u8]) -> Result<Vec<u8>, SealError> {
        if chunk.len() > CHUNK {
            return Err(SealError::Misused {
                length: chunk.len(),
            });
        }
        self.encryptor
            .encrypt_last(Payload {
                msg: chunk,
                aad: &self.header,
            })
            .map_err(|_| SealError::TooLarge)
    }
}

/// Opens the chunks of one object.
pub struct Opener {
    header: [u8; HEADER],
    decryptor: DecryptorBE32<ChaCha20Poly1305>,
    /// Chunks opened so far.
    opened: u64,
}

impl Opener {
    /// Begins to open an object with this header.
    ///
    /// # Errors
    ///
    /// [`SealError::NotSealed`], [`SealError::WrongKey`].
    pub fn new(key: &DataKey, header: &[u8; HEADER]) -> Result<Self, SealError> {
        let cipher = accept(key, header)?;
        Ok(Self {
            header: *header,
            decryptor: cipher.decryptor(),
            opened: 0,
        })
    }

    /// Opens the next [`CHUNK`] + [`TAG`] bytes, which are not the last.
    ///
    /// # Errors
    ///
    /// [`SealError::Damaged`]; [`SealError::Misused`] for another length.
    pub fn next(&mut self, chunk: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if chunk.len() != CHUNK + TAG {
            return Err(SealError::Misused {
                length: chunk.len(),
            });
        }
        let number = self.opened;
        let plaintext = self
            .decryptor
            .decrypt_next(Payload {
                msg: chunk,
                aad: &self.header,
            })
            .map_err(|_| SealError::Damaged { number })?;
        self.opened += 1;
        Ok(Zeroizing::new(plaintext))
    }

    /// Opens the last bytes, [`TAG`] to [`CHUNK`] + [`TAG`] of them.
    ///
    /// # Errors
    ///
    /// [`SealError::Truncated`] if this is not the end, as far as that can be told from the bytes;
    /// [`SealError::Damaged`].
    pub fn last(self, chunk: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let number = self.opened;
        let before = HEADER as u64 + number * (CHUNK + TAG) as u64;
        let truncated = SealError::Truncated {
            bytes: before + chunk.len() as u64,
        };
        if chunk.len() < TAG {
            return Err(truncated);
        }
        if chunk.len() > CHUNK + TAG {
            return Err(SealError::Misused {
                length: chunk.len(),
            });
        }
        let payload = || Payload {
            msg: chunk,
            aad: &self.header[..],
        };
        let mut decryptor = self.decryptor;
        // An authentic chunk that is not the last one is worth telling from a damaged one. A
        // decryption that fails leaves the position as it was.
        if chunk.len() == CHUNK + TAG
            && let Ok(plaintext) = decryptor.decrypt_next(payload())
        {
            drop(Zeroizing::new(plaintext));
            return Err(truncated);
        }
        decryptor
            .decrypt_last(payload())
            .map(Zeroizing::new)
            .map_err(|_| SealError::Damaged { number })
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(..)")
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener")
            .field("opened", &self.opened)
            .finish_non_exhaustive()
    }
}
