//! The tags of a fragment.

use crypto_bigint::{Encoding, U2048};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use super::integer::wide;
use super::{BLOCKS, MODULUS, PublicKey};
use crate::fid::ContentHash;

const MAGIC: [u8; 8] = *b"AILTAGS\x01";
const HEADER: usize = 8 + 32 + MODULUS;
const LENGTH: usize = HEADER + BLOCKS * MODULUS + 64;

/// What a proof of a fragment is checked against, besides the public key: its name and its u.
#[derive(Clone, PartialEq, Eq)]
pub struct FragmentKey {
    pub(super) name: ContentHash,
    pub(super) u: U2048,
}

/// A fragment's tags, signed by the tagger.
#[derive(Clone, PartialEq, Eq)]
pub struct TagSet {
    key: FragmentKey,
    tags: Vec<U2048>,
    signature: [u8; 64],
}

/// Why bytes are not a set of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// Wrong beginning or length.
    #[error("not a set of tags of version 1")]
    Malformed,
    /// Not signed by the tagger.
    #[error("the tags are not signed by the tagger")]
    Signature,
}

impl FragmentKey {
    /// The fragment.
    pub fn fragment(&self) -> ContentHash {
        self.name
    }

    /// u, big-endian.
    pub fn u(&self) -> [u8; MODULUS] {
        self.u.to_be_bytes()
    }

    /// The key of this fragment with this u, from a record that is trusted.
    pub fn new(name: ContentHash, u: &[u8; MODULUS]) -> Self {
        Self { name, u: wide(u) }
    }

    /// What the tagger signs: SHA-256 over a label, the name, u and all tags.
    pub(super) fn signed(&self, tags: &[U2048]) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(b"ai-link/podr2-tags/v1");
        hasher.update(self.name.0);
        hasher.update(self.u.to_be_bytes());
        for tag in tags {
            hasher.update(tag.to_be_bytes());
        }
        hasher.finalize().into()
    }
}

impl TagSet {
    pub(super) fn new(key: FragmentKey, tags: Vec<U2048>, signature: [u8; 64]) -> Self {
        Self {
            key,
            tags,
            signature,
        }
    }

    /// The fragment.
    pub fn fragment(&self) -> ContentHash {
        self.key.name
    }

    /// What proofs are checked against.
    pub fn key(&self) -> &FragmentKey {
        &self.key
    }

    /// The tag of a block, big-endian.
    pub fn tag(&self, index: usize) -> Option<[u8; MODULUS]> {
        self.tags.get(index).map(U2048::to_be_bytes)
    }

    pub(super) fn integer(&self, index: usize) -> &U2048 {
        &self.tags[index]
    }

    /// Whether the tagger made these tags.
    ///
    /// # Errors
    ///
    /// [`TagError::Signature`].
    pub fn verify(&self, public: &PublicKey) -> Result<(), TagError> {
        let key = VerifyingKey::from_bytes(&public.signer().0).map_err(|_| TagError::Signature)?;
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(&self.key.signed(&self.tags), &signature)
            .map_err(|_| TagError::Signature)
    }

    /// As bytes: magic, name, u, tags, signature.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend(MAGIC);
        bytes.extend(self.key.name.0);
        bytes.extend(self.key.u.to_be_bytes());
        for tag in &self.tags {
            bytes.extend(tag.to_be_bytes());
        }
        bytes.extend(self.signature);
        bytes
    }

    /// Reads tags.
    ///
    /// # Errors
    ///
    /// [`TagError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TagError> {
        let body = bytes.strip_prefix(&MAGIC).ok_or(TagError::Malformed)?;
        if bytes.len() != LENGTH {
            return Err(TagError::Malformed);
        }
        let (name, rest) = body.split_first_chunk::<32>().ok_or(TagError::Malformed)?;
        let (rest, signature) = rest.split_last_chunk::<64>().ok_or(TagError::Malformed)?;
        let (u, tags) = rest
            .split_first_chunk::<MODULUS>()
            .ok_or(TagError::Malformed)?;
        let tags = tags.as_chunks::<MODULUS>().0;
        Ok(Self {
            key: FragmentKey::new(ContentHash(*name), u),
            tags: tags.iter().map(|tag| wide(tag)).collect(),
            signature: *signature,
        })
    }
}

impl std::fmt::Debug for TagSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TagSet")
            .field("fragment", &self.key.name)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for FragmentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FragmentKey")
            .field("fragment", &self.name)
            .finish_non_exhaustive()
    }
}
