//! One version of a mutable object.
//!
//! ```text
//! "AILMANI" ‖ 1 ‖ u8 length of the name ‖ name ‖ owner ‖ u64 version ‖ hash of the version before ‖ u64 published
//! ‖ u32 n ‖ n × (fid ‖ u64 offset ‖ u64 length) ‖ signature
//! ```
//! Integers are little endian, times in Unix milliseconds.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::account::Account;
use crate::fid::{ContentHash, Fid};
use crate::http::auth::RequestSigner;
use crate::object::{ByteRange, ObjectName};

const MAGIC: [u8; 8] = *b"AILMANI\x01";
/// The longest header.
const HEADER: usize = 8 + 1 + 63 + 32 + 8 + 32 + 8 + 4;
const EXTENT: usize = 32 + 8 + 8;
/// The most pieces of a version.
const MAX_EXTENTS: usize = 4096;

/// A mutable object: the hash of its owner and name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MutableId(pub [u8; 32]);

/// Bytes of an immutable object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The object.
    pub object: Fid,
    /// Its first byte that counts.
    pub offset: u64,
    /// How many bytes; never zero.
    pub length: u64,
}

/// How a version differs from the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Bytes are added at the end.
    Append,
    /// Bytes take the place of a range. With no bytes, the range goes.
    Replace(Range<u64>),
}

/// One version of a mutable object, signed by its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    name: ObjectName,
    owner: Account,
    version: u64,
    previous: ContentHash,
    published: u64,
    extents: Vec<Extent>,
    signature: [u8; 64],
}

/// Why a manifest cannot be made or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is not one.
    #[error("not a manifest of version 1")]
    Malformed,
    /// It is of another object.
    #[error("it is a manifest of another object")]
    OtherObject,
    /// Not the owner's.
    #[error("it is not signed by the object's owner")]
    Signature,
    /// The range lies outside of the object.
    #[error("the range {start}..{end} does not lie in the {size} bytes of the object")]
    Range {
        /// Its start.
        start: u64,
        /// Its end.
        end: u64,
        /// The object's size.
        size: u64,
    },
    /// Too many edits.
    #[error(
        "the object would consist of more than {MAX_EXTENTS} pieces: replace all of it by its bytes"
    )]
    TooManyPieces,
    /// Only the owner edits.
    #[error("the signer is not the owner of the object")]
    NotOwner,
}

impl MutableId {
    /// The object that `owner` calls `name`.
    pub fn new(owner: Account, name: &ObjectName) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"ai-link/mutable/v1");
        hasher.update(owner.0);
        hasher.update(name.as_str());
        Self(hasher.finalize().into())
    }
}

impl Manifest {
    /// The most bytes of an encoded manifest.
    pub const MAX_BYTES: usize = HEADER + MAX_EXTENTS * EXTENT + 64;

    /// Version 0: what the first version follows. It is not published.
    pub(super) fn empty(name: ObjectName, owner: &dyn RequestSigner) -> Self {
        Self {
            name,
            owner: owner.account(),
            version: 0,
            previous: ContentHash([0; 32]),
            published: 0,
            extents: Vec::new(),
            signature: [0; 64],
        }
    }

    /// The next version. `piece` is the new bytes' object, and how many there are.
    ///
    /// # Errors
    ///
    /// See [`ManifestError`].
    pub fn edited(
        &self,
        edit: Edit,
        piece: Option<(Fid, u64)>,
        now: SystemTime,
        owner: &dyn RequestSigner,
    ) -> Result<Self, ManifestError> {
        if owner.account() != self.owner {
            return Err(ManifestError::NotOwner);
        }
        let size = self.size();
        let range = match edit {
            Edit::Append => size..size,
            Edit::Replace(range) => range,
        };
        if range.start > range.end || range.end > size {
            let Range { start, end } = range;
            return Err(ManifestError::Range { start, end, size });
        }
        let mut extents = cut(&self.extents, 0..range.start);
        extents.extend(
            piece
                .filter(|(_, length)| *length > 0)
                .map(|(object, length)| Extent {
                    object,
                    offset: 0,
                    length,
                }),
        );
        extents.extend(cut(&self.extents, range.end..size));
        if extents.len() > MAX_EXTENTS {
            return Err(ManifestError::TooManyPieces);
        }
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut next = Self {
            name: self.name.clone(),
            owner: self.owner,
            version: self.version + 1,
            previous: self.hash(),
            published: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            extents,
            signature: [0; 64],
        };
        next.signature = owner.sign(&next.signed());
        Ok(next)
    }

    /// Whether it is a version of this object, signed by its owner. The id follows from owner and
    /// name, so nobody else can have made it.
    ///
    /// # Errors
    ///
    /// [`ManifestError::OtherObject`], [`ManifestError::Signature`].
    pub fn verify(&self, id: MutableId) -> Result<(), ManifestError> {
        if self.id() != id {
            return Err(ManifestError::OtherObject);
        }
        VerifyingKey::from_bytes(&self.owner.0)
            .and_then(|key| {
                key.verify_strict(&self.signed(), &Signature::from_bytes(&self.signature))
            })
            .map_err(|_| ManifestError::Signature)
    }

    /// Which object it is a version of.
    pub fn id(&self) -> MutableId {
        MutableId::new(self.owner, &self.name)
    }

    /// What its owner calls the object.
    pub fn name(&self) -> &ObjectName {
        &self.name
    }

    /// Whose object it is.
    pub fn owner(&self) -> Account {
        self.owner
    }

    /// Its number, from 1.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The hash of the version before.
    pub fn previous(&self) -> ContentHash {
        self.previous
    }

    /// When it was published, by its owner's clock.
    pub fn published(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.published)
    }

    /// Bytes of this version.
    pub fn size(&self) -> u64 {
        self.extents.iter().map(|extent| extent.length).sum()
    }

    /// What it consists of.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// What a range of it consists of.
    pub fn pieces(&self, range: Option<ByteRange>) -> Vec<Extent> {
        let size = self.size();
        let range = match range {
            None => Some(0..size),
            Some(range) => range.within(size),
        };
        range
            .map(|range| cut(&self.extents, range))
            .unwrap_or_default()
    }

    /// Its hash, which the next version names.
    pub fn hash(&self) -> ContentHash {
        ContentHash::of(&self.to_bytes())
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.signed();
        bytes.extend(self.signature);
        bytes
    }

    /// Reads a manifest. It must be verified before it is believed.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        Self::parse(bytes).ok_or(ManifestError::Malformed)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (length, rest) = rest.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let name = std::str::from_utf8(name).ok()?.parse().ok()?;
        let (owner, rest) = rest.split_first_chunk()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (previous, rest) = rest.split_first_chunk()?;
        let (published, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (rest, signature) = rest.split_last_chunk()?;
        let count = u32::from_le_bytes(*count) as usize;
        if count > MAX_EXTENTS || rest.len() != count * EXTENT {
            return None;
        }
        let mut extents = Vec::with_capacity(count);
        let mut size = 0_u64;
        for extent in rest.as_chunks::<EXTENT>().0 {
            let (object, rest) = extent.split_first_chunk()?;
            let (offset, length) = rest.split_first_chunk()?;
            let (offset, length) = (
                u64::from_le_bytes(*offset),
                u64::from_le_bytes(length.try_into().ok()?),
            );
            offset.checked_add(length)?;
            size = size.checked_add(length)?;
            if length == 0 {
                return None;
            }
            extents.push(Extent {
                object: Fid(*object),
                offset,
                length,
            });
        }
        Some(Self {
            name,
            owner: Account(*owner),
            version: u64::from_le_bytes(*version),
            previous: ContentHash(*previous),
            published: u64::from_le_bytes(*published),
            extents,
            signature: *signature,
        })
    }

    fn signed(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + EXTENT * self.extents.len() + 64);
        bytes.extend(MAGIC);
        bytes.push(self.name.as_str().len() as u8);
        bytes.extend(self.name.as_str().as_bytes());
        bytes.extend(self.owner.0);
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.previous.0);
        bytes.extend(self.published.to_le_bytes());
        bytes.extend((self.extents.len() as u32).to_le_bytes());
        for extent in &self.extents {
            bytes.extend(extent.object.0);
            bytes.extend(extent.offset.to_le_bytes());
            bytes.extend(extent.length.to_le_bytes());
        }
        bytes
    }
}

/// What of `extents` lies in a range of the bytes they make up.
fn cut(extents: &[Extent], range: Range<u64>) -> Vec<Extent> {
    let mut pieces = Vec::new();
    let mut at = 0;
    for extent in extents {
        let start = range.start.max(at);
        let end = range.end.min(at + extent.length);
        if start < end {
            pieces.push(Extent {
                object: extent.object,
                offset: extent.offset + (start - at),
                length: end - start,
            });
        }
        at += extent.length;
    }
    pieces
}

impl fmt::Display for MutableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for MutableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MutableId({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::contract::signer;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Any sequence of edits against the same on a vector of bytes.
        #[test]
        fn edits_are_those_of_a_vector(
            edits in proptest::collection::vec((any::<bool>(), 0..60_u64, 0..60_u64, 0..20_usize), 0..12),
            from in 0..80_u64, length in 1..80_u64,
        ) {
            let owner = signer(1);
            let id = MutableId::new(owner.account(), &"thing".parse().unwrap());
            let mut objects: HashMap<Fid, Vec<u8>> = HashMap::new();
            let mut model: Vec<u8> = Vec::new();
            let mut manifest = Manifest::empty("thing".parse().unwrap(), &owner);
            for (number, (append, a, b, count)) in edits.into_iter().enumerate() {
                let new = vec![number as u8 + 1; count];
                let fid = Fid([number as u8; 32]);
                objects.insert(fid, new.clone());
                let size = model.len() as u64;
                let (start, end) = (a.min(b), a.max(b));
                let edit = if append { Edit::Append } else { Edit::Replace(start..end) };
                let next = manifest.edited(edit, Some((fid, count as u64)), UNIX_EPOCH, &owner);
                if append {
                    model.extend(&new);
                } else if end <= size {
                    model.splice(start as usize..end as usize, new);
                } else {
                    prop_assert_eq!(next, Err(ManifestError::Range { start, end, size }));
                    continue;
                }
                let next = next.unwrap();
                prop_assert_eq!(next.verify(id), Ok(()));
                prop_assert_eq!(next.previous(), manifest.hash());
                prop_assert_eq!(&Manifest::from_bytes(&next.to_bytes()).unwrap(), &next);
                manifest = next;
            }
            let read = |pieces: Vec<Extent>| -> Vec<u8> {
                pieces
                    .iter()
                    .flat_map(|p| objects[&p.object][p.offset as usize..][..p.length as usize].to_vec())
                    .collect()
            };
            prop_assert_eq!(&read(manifest.pieces(None)), &model);
            let range = ByteRange::try_from(from..from + length).unwrap();
            let expected: Vec<u8> =
                model.iter().copied().skip(from as usize).take(length as usize).collect();
            prop_assert_eq!(read(manifest.pieces(Some(range))), expected);
        }

        #[test]
        fn any_change_of_a_manifest_is_refused(at in 0..HEADER - 58 + 2 * EXTENT + 64, flip in 1..=255_u8) {
            let owner = signer(1);
            let id = MutableId::new(owner.account(), &"thing".parse().unwrap());
            let first = Manifest::empty("thing".parse().unwrap(), &owner);
            let first = first.edited(Edit::Append, Some((Fid([1; 32]), 5)), UNIX_EPOCH, &owner).unwrap();
            let second = first.edited(Edit::Append, Some((Fid([2; 32]), 7)), UNIX_EPOCH, &owner).unwrap();
            let mut bytes = second.to_bytes();
            bytes[at] ^= flip;
            if let Ok(manifest) = Manifest::from_bytes(&bytes) {
                prop_assert!(manifest.verify(id).is_err());
            }
        }
    }
}
