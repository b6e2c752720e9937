//! A part of private weights as a file: the owner's record in the clear, the part encrypted.
//!
//! ```text
//! magic (8) | length of the record (4, little endian) | record | nonce (24) | part, encrypted | tag (16)
//! ```
//!
//! XChaCha20-Poly1305 under a key of this sharing and part, by HKDF-SHA256 from the worker's own secret; a random
//! nonce for each file; everything before the nonce is authenticated along with the part, so that a part cannot be
//! passed off as that of another model.

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use ai_link_wire::{Digest, Role};

const MAGIC: [u8; 8] = *b"AILINKH\x01";
const NONCE: usize = 24;
const TAG: usize = 16;
/// A signed record of a hosting is a few hundred bytes.
pub(super) const MAX_RECORD: usize = 4096;
/// What is read of a file to know whose part it is.
pub(super) const HEAD: usize = MAGIC.len() + 4 + MAX_RECORD;

/// The key of one part.
pub(super) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// From the worker's secret.
    pub(super) fn derive(secret: &[u8; 32], sharing: &Digest, role: Role) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        let role = role.to_string();
        let info = [b"ai-link/worker/hosting-key/v1/", role.as_bytes()];
        Hkdf::<Sha256>::new(Some(&sharing.0), secret)
            .expand_multi_info(&info, key.as_mut())
            .expect("32 bytes is below the HKDF limit of 255 * 32; qed");
        Self(key)
    }
}

/// Bytes of the file of a part of `part` bytes whose record has `record` bytes.
pub(super) fn sealed_bytes(record: usize, part: usize) -> u64 {
    (MAGIC.len() + 4 + record + NONCE + part + TAG) as u64
}

/// The file's bytes. `nonce` must be random, and `record` at most [`MAX_RECORD`] bytes.
pub(super) fn seal(key: &Key, record: &[u8], nonce: [u8; NONCE], part: &[u8]) -> Vec<u8> {
    // With all its room from the start: a buffer that grows leaves copies of the part behind.
    let mut file = Vec::with_capacity(sealed_bytes(record.len(), part.len()) as usize);
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&(record.len() as u32).to_le_bytes());
    file.extend_from_slice(record);
    let head = file.clone();
    file.extend_from_slice(&nonce);
    let start = file.len();
    file.extend_from_slice(part);
    let tag = XChaCha20Poly1305::new(key.0.as_ref().into())
        .encrypt_in_place_detached(&XNonce::from(nonce), &head, &mut file[start..])
        .expect("messages are below the limit of 2^38 bytes; qed");
    file.extend_from_slice(&tag);
    file
}

/// The record at the start of a file; `None` when there is none.
pub(super) fn record(file: &[u8]) -> Option<&[u8]> {
    let rest = file.strip_prefix(&MAGIC)?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length > MAX_RECORD {
        return None;
    }
    rest.get(..length)
}

/// The part in a file; `None` when it is damaged, or of another key or record.
pub(super) fn open(key: &Key, file: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
    let mut file = Zeroizing::new(file);
    let head = MAGIC.len() + 4 + record(&file)?.len();
    let (head, rest) = file.split_at_mut(head);
    let (nonce, rest) = rest.split_first_chunk_mut::<NONCE>()?;
    let (part, tag) = rest.split_last_chunk_mut::<TAG>()?;
    XChaCha20Poly1305::new(key.0.as_ref().into())
        .decrypt_in_place_detached(&XNonce::from(*nonce), head, part, &Tag::from(*tag))
        .ok()?;
    let part = part.to_vec();
    Some(Zeroizing::new(part))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SHARING: Digest = Digest([5; 32]);

    fn key(secret: u8, sharing: Digest, role: Role) -> Key {
        Key::derive(&[secret; 32], &sharing, role)
    }

    #[test]
    fn only_the_same_worker_sharing_and_part_open_it() {
        let sealing = key(1, SHARING, Role::EVALUATOR_0);
        let part = b"eight words of a share".repeat(8);
        let file = seal(&sealing, b"record", [7; NONCE], &part);
        assert_eq!(file.len() as u64, sealed_bytes(6, part.len()));
        assert_eq!(record(&file).unwrap(), b"record");
        assert!(!file.windows(8).any(|w| part.windows(8).any(|p| p == w)));
        assert_eq!(**open(&sealing, file.clone()).unwrap(), part);
        for other in [
            key(2, SHARING, Role::EVALUATOR_0),
            key(1, Digest([6; 32]), Role::EVALUATOR_0),
            key(1, SHARING, Role::EVALUATOR_1),
        ] {
            assert!(open(&other, file.clone()).is_none());
        }
    }

    #[test]
    fn damage_anywhere_is_noticed_and_never_panics() {
        let key = key(1, SHARING, Role::Dealer);
        let file = seal(&key, b"record", [7; NONCE], b"part");
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x40;
            assert!(open(&key, damaged).is_none(), "byte {at}");
            assert!(open(&key, file[..at].to_vec()).is_none(), "cut at {at}");
        }
    }
}
