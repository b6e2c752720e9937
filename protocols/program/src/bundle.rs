//! What a version of a model is in storage: packages, one for each privacy level that it is offered at.
//!
//! A file with a single [`Package`](crate::Package) is that package and nothing more. Every other one is a bundle:
//!
//! ```text
//! magic (8) | for each part: kind (1) | length (8, little endian) | bytes
//! ```
//!
//! The commitment on chain is over the whole file, so whoever checked it has checked every part. Parts are not looked into
//! here: each engine reads its own.

use thiserror::Error;

use crate::package;

/// First bytes of a bundle, with the version of the format.
pub const MAGIC: [u8; 8] = *b"AILINKB\x01";
const KIND: usize = 1;
const LENGTH: usize = 8;
const MPC: u8 = 2;
const FHE: u8 = 1;
const SEALED: u8 = 3;
const TEXT: u8 = 4;

/// The packages of one version of a model, as bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts<'a> {
    /// For masked evaluation: a [`Package`](crate::Package).
    pub mpc: Option<&'a [u8]>,
    /// For evaluation on ciphertexts.
    pub fhe: Option<&'a [u8]>,
    /// For a worker that sees the data: a checkpoint's files.
    pub sealed: Option<&'a [u8]>,
    /// For applications that use a language model for masked evaluation: its tokenizer, and what turns tokens into the
    /// program's inputs. Workers have no use for it.
    pub text: Option<&'a [u8]>,
}

/// Why bytes are no bundle.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleError {
    /// Another kind of file, or a version that is not understood.
    #[error("the bytes start neither like a package nor like a bundle of version {}", MAGIC[7])]
    Magic,
    /// The bytes end inside a part.
    #[error("part {part} claims {claimed} bytes, {left} are left")]
    Cut {
        /// Which part, from 0.
        part: usize,
        /// Its bytes, as claimed.
        claimed: u64,
        /// Bytes that are left.
        left: usize,
    },
    /// A part of a kind that is not understood.
    #[error("part {part} is of kind {kind}, which this version does not know")]
    Kind {
        /// Which part, from 0.
        part: usize,
        /// Its kind.
        kind: u8,
    },
    /// Two parts of one kind.
    #[error("there are two parts of kind {kind}")]
    Twice {
        /// The kind.
        kind: u8,
    },
    /// Nothing is in it.
    #[error("the bundle is empty")]
    Empty,
}

impl<'a> Parts<'a> {
    /// Finds the parts in a file. Nothing is copied.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn of(file: &'a [u8]) -> Result<Self, BundleError> {
        if file.starts_with(&package::MAGIC) {
            return Ok(Self {
                mpc: Some(file),
                ..Self::default()
            });
        }
        let mut rest = file.strip_prefix(&MAGIC).ok_or(BundleError::Magic)?;
        let mut parts = Self::default();
        let mut part = 0;
        while let Some((kind, after)) = rest.split_first() {
            let left = after.len();
            let cut = |claimed| BundleError::Cut {
                part,
                claimed,
                left,
            };
            let (length, after) = after
                .split_first_chunk::<LENGTH>()
                .ok_or_else(|| cut(LENGTH as u64))?;
            let claimed = u64::from_le_bytes(*length);
            let (bytes, after) = usize::try_from(claimed)
                .ok()
                .and_then(|length| after.split_at_checked(length))
                .ok_or_else(|| cut(claimed))?;
            let place = match *kind {
                MPC => &mut parts.mpc,
                FHE => &mut parts.fhe,
                SEALED => &mut parts.sealed,
                TEXT => &mut parts.text,
                kind => return Err(BundleError::Kind { part, kind }),
            };
            if place.replace(bytes).is_some() {
                return Err(BundleError::Twice { kind: *kind });
            }
            rest = after;
            part += 1;
        }
        match part {
            0 => Err(BundleError::Empty),
            _ => Ok(parts),
        }
    }

    /// The file of these parts; empty if there are none, which is no bundle.
    pub fn to_bytes(&self) -> Vec<u8> {
        if let (Some(mpc), None, None, None) = (self.mpc, self.fhe, self.sealed, self.text)
            && mpc.starts_with(&package::MAGIC)
        {
            return mpc.to_vec();
        }
        let kinds = [
            (MPC, self.mpc),
            (FHE, self.fhe),
            (SEALED, self.sealed),
            (TEXT, self.text),
        ];
        let parts: Vec<_> = kinds
            .into_iter()
            .filter_map(|(kind, part)| Some((kind, part?)))
            .collect();
        let size = |(_, part): &(u8, &[u8])| KIND + LENGTH + part.len();
        let mut file = Vec::with_capacity(MAGIC.len() + parts.iter().map(size).sum::<usize>());
        if !parts.is_empty() {
            file.extend(MAGIC);
        }
        for (kind, part) in parts {
            file.push(kind);
            file.extend((part.len() as u64).to_le_bytes());
            file.extend(part);
        }
        file
    }
}

/// What the fuzzer calls: whatever the bytes, an error or parts that make the same file.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let magic = [MAGIC.as_slice(), bytes].concat();
    for file in [bytes, &magic] {
        if let Ok(parts) = Parts::of(file) {
            let again = parts.to_bytes();
            assert_eq!(Parts::of(&again), Ok(parts));
            assert!(again.len() <= file.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn package(tail: &[u8]) -> Vec<u8> {
        [package::MAGIC.as_slice(), tail].concat()
    }

    #[test]
    fn a_package_alone_is_its_own_file_and_a_bundle_has_the_documented_bytes() {
        let mpc = package(b"x");
        let alone = Parts {
            mpc: Some(&mpc),
            ..Parts::default()
        };
        assert_eq!(alone.to_bytes(), mpc);
        assert_eq!(Parts::of(&mpc), Ok(alone));
        let both = Parts {
            fhe: Some(b"yz"),
            ..alone
        };
        let wanted = [
            b"AILINKB\x01\x02\x09\0\0\0\0\0\0\0".as_slice(),
            &mpc,
            b"\x01\x02\0\0\0\0\0\0\0yz",
        ]
        .concat();
        assert_eq!(both.to_bytes(), wanted);
        assert_eq!(Parts::of(&wanted), Ok(both));
    }

    #[test]
    fn what_is_not_one_is_a_typed_error() {
        let bundle = |parts: &[(u8, u64, &[u8])]| {
            let mut file = MAGIC.to_vec();
            for (kind, length, bytes) in parts {
                file.push(*kind);
                file.extend(length.to_le_bytes());
                file.extend(*bytes);
            }
            file
        };
        assert_eq!(Parts::of(b"nothing"), Err(BundleError::Magic));
        assert_eq!(Parts::of(&MAGIC), Err(BundleError::Empty));
        let twice = bundle(&[(FHE, 1, b"a"), (FHE, 1, b"b")]);
        assert_eq!(Parts::of(&twice), Err(BundleError::Twice { kind: FHE }));
        let stranger = bundle(&[(5, 0, b"")]);
        let kind = BundleError::Kind { part: 0, kind: 5 };
        assert_eq!(Parts::of(&stranger), Err(kind));
        for claimed in [3, u64::MAX] {
            let cut = Parts::of(&bundle(&[(FHE, claimed, b"ab")])).map(drop);
            assert!(matches!(cut, Err(BundleError::Cut { claimed: c, .. }) if c == claimed));
        }
    }

    proptest! {
        #[test]
        fn parts_survive(fhe: Vec<u8>, sealed: Option<Vec<u8>>, text: Option<Vec<u8>>, mpc in prop::option::of(any::<Vec<u8>>())) {
            let mpc = mpc.map(|tail| package(&tail));
            let parts = Parts { mpc: mpc.as_deref(), fhe: Some(&fhe), sealed: sealed.as_deref(), text: text.as_deref() };
            let file = parts.to_bytes();
            prop_assert_eq!(Parts::of(&file), Ok(parts));
        }

        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            fuzz(&bytes);
        }
    }
}
