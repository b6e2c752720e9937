//! Client-side encryption of objects.
//!
//! Storage nodes see ciphertext only. Each object has a data key of its own, which exists because
//! the object was sealed and can only open it: sealing always draws a fresh key, so no key is ever
//! used for two objects. Data keys travel to recipients in other ways, sealed to them.
//!
//! # Format
//!
//! ```text
//! header  8 bytes   "AILSEAL" ‖ version 1
//!        32 bytes   salt, random
//!        32 bytes   commitment to the key
//! chunks  65,536 bytes of plaintext each and a tag of 16 bytes; the last one is shorter (it may
//!         be empty), and only the last one
//! ```
//!
//! `HKDF-SHA256(ikm = data key, salt, info = "ai-link/seal/v1")` gives 64 bytes: the cipher key and
//! the commitment. The commitment makes a sealed object open under one key only (ChaCha20-Poly1305
//! alone does not), and tells a wrong key from a damaged object.
//!
//! Chunks are sealed with ChaCha20-Poly1305 in the STREAM construction of Hoang, Reyhanitabar,
//! Rogaway and Vizár, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance"
//! (CRYPTO 2015), section 7: the nonce of a chunk is a fixed prefix (zero here, the cipher key is
//! used once), the chunk's number and a flag on the last chunk. The header is associated data of
//! every chunk. So bytes that were changed, moved, removed from any place or added at any place
//! are noticed, truncation at a chunk boundary included.
//!
//! A reader gets each chunk once it is verified. It must not act on the object as a whole before
//! the end was reached without an error: only then is it known that nothing is missing.
//!
//! Not hidden: the size of the object, to the byte.

mod chunks;
mod read;
#[cfg(test)]
mod tests;

use std::fmt;

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::stream::{NewStream, StreamBE32};
use chacha20poly1305::aead::{KeyInit, generic_array::GenericArray};
use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use self::chunks::{Opener, Sealer};
pub use self::read::{OpeningReader, SealingReader};

/// Bytes of plaintext in every chunk but the last.
pub const CHUNK: usize = 1 << 16;
/// Bytes that sealing adds to each chunk.
pub const TAG: usize = 16;
/// Bytes before the first chunk.
pub const HEADER: usize = 8 + 32 + 32;

const MAGIC: [u8; 8] = *b"AILSEAL\x01";
const INFO: &[u8] = b"ai-link/seal/v1";

/// The key that opens one sealed object. Wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; 32]);

/// Why an object cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// A chunk was changed, moved, or belongs elsewhere, or the object goes on behind its end.
    #[error(
        "chunk {number} of the sealed object was changed, moved or added: do not use the object"
    )]
    Damaged {
        /// Which chunk, from 0.
        number: u64,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes for a key")]
    NoEntropy,
    /// It does not begin like a sealed object of this version.
    #[error("not a sealed object, or one of another version than 1")]
    NotSealed,
    /// Calls came in an order that has no meaning, for example a short chunk before the last.
    #[error("a chunk of {length} bytes cannot come here: all but the last have {CHUNK}")]
    Misused {
        /// How long the chunk is.
        length: usize,
    },
    /// More chunks than can be numbered: 256 TiB.
    #[error("the object is too large to be sealed as one")]
    TooLarge,
    /// The end is missing.
    #[error("the sealed object was cut short after {bytes} bytes: do not use what was read")]
    Truncated {
        /// How long it is, header included.
        bytes: u64,
    },
    /// It was sealed under another key.
    #[error("the key is not the one this object was sealed with")]
    WrongKey,
}

impl DataKey {
    /// A key received from whoever sealed the object.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's bytes, to be sealed to a recipient.
    pub fn expose(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0)
    }

    fn generate() -> Result<Self, SealError> {
        let mut key = Self([0; 32]);
        getrandom::fill(&mut key.0).map_err(|_| SealError::NoEntropy)?;
        Ok(key)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}

/// The size of an object of `plain` bytes once it is sealed.
pub fn sealed_size(plain: u64) -> u64 {
    let chunks = plain.div_ceil(CHUNK as u64).max(1);
    HEADER as u64 + plain + chunks * TAG as u64
}

/// Seals `plaintext` under a fresh key, which is returned with it.
///
/// # Errors
///
/// [`SealError::NoEntropy`].
pub fn seal_object(plaintext: &[u8]) -> Result<(DataKey, Vec<u8>), SealError> {
    let (key, header, mut sealer) = Sealer::new()?;
    let mut sealed = Vec::with_capacity(sealed_size(plaintext.len() as u64) as usize);
    sealed.extend(header);
    let mut rest = plaintext;
    while rest.len() > CHUNK {
        let (chunk, later) = rest.split_at(CHUNK);
        sealed.extend(sealer.next(chunk)?);
        rest = later;
    }
    sealed.extend(sealer.last(rest)?);
    Ok((key, sealed))
}

/// Opens what [`seal_object`] made. All or nothing: no plaintext is returned unless all of it is
/// authentic.
///
/// # Errors
///
/// Any [`SealError`] but [`SealError::NoEntropy`].
pub fn open_object(key: &DataKey, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let truncated = SealError::Truncated {
        bytes: sealed.len() as u64,
    };
    let Some((header, mut rest)) = sealed.split_first_chunk::<HEADER>() else {
        // Say what is known: a wrong beginning is wrong at any length.
        let begun = sealed.len().min(MAGIC.len());
        let known = sealed[..begun] == MAGIC[..begun];
        return Err(if known {
            truncated
        } else {
            SealError::NotSealed
        });
    };
    let mut opener = Opener::new(key, header)?;
    let mut plaintext = Zeroizing::new(Vec::with_capacity(rest.len()));
    while rest.len() > CHUNK + TAG {
        let (chunk, later) = rest.split_at(CHUNK + TAG);
        plaintext.extend_from_slice(&opener.next(chunk)?);
        rest = later;
    }
    plaintext.extend_from_slice(&opener.last(rest)?);
    Ok(plaintext)
}

/// The cipher and the commitment of a key and a salt.
fn derive(key: &DataKey, salt: &[u8; 32]) -> (StreamBE32<ChaCha20Poly1305>, [u8; 32]) {
    let mut output = Zeroizing::new([0; 64]);
    Hkdf::<Sha256>::new(Some(salt), &key.0)
        .expand(INFO, output.as_mut())
        .expect("64 bytes are less than 255 times 32, qed");
    let cipher = ChaCha20Poly1305::new(GenericArray::from_slice(&output[..32]));
    let stream = StreamBE32::from_aead(cipher, GenericArray::from_slice(&[0; 7]));
    (stream, std::array::from_fn(|i| output[32 + i]))
}

fn header(salt: &[u8; 32], commitment: &[u8; 32]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..40].copy_from_slice(salt);
    header[40..].copy_from_slice(commitment);
    header
}

/// A header that `key` fits.
pub(crate) fn fitting_header(key: &DataKey) -> [u8; HEADER] {
    let salt = [3; 32];
    let (_, commitment) = derive(key, &salt);
    header(&salt, &commitment)
}

/// The cipher of an object whose header fits the key.
fn accept(key: &DataKey, header: &[u8; HEADER]) -> Result<StreamBE32<ChaCha20Poly1305>, SealError> {
    if header[..8] != MAGIC {
        return Err(SealError::NotSealed);
    }
    let salt: [u8; 32] = std::array::from_fn(|i| header[8 + i]);
    let (cipher, commitment) = derive(key, &salt);
    if bool::from(commitment.ct_eq(&header[40..])) {
        Ok(cipher)
    } else {
        Err(SealError::WrongKey)
    }
}
