//! What is said about objects: names, ranges, and the answers of a store.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::fid::{ContentHash, Fid, FidRule};
use crate::location::{LocationPolicy, Site};

/// The name an owner gives an object: 3 to 63 bytes, no control characters, no `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectName(String);

/// Why a text is not an object name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseNameError {
    /// CESS takes 3 to 63 bytes.
    #[error("the file name has {0} bytes, it must have at least 3 and cannot exceed 63")]
    Length(usize),
    /// It would break headers or paths.
    #[error("the file name contains {0:?}, which is not allowed")]
    Character(char),
}

impl ObjectName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !(3..=63).contains(&text.len()) {
            return Err(ParseNameError::Length(text.len()));
        }
        match text.chars().find(|c| c.is_control() || *c == '/') {
            Some(c) => Err(ParseNameError::Character(c)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ObjectName {
    type Error = ParseNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ObjectName> for String {
    fn from(name: ObjectName) -> Self {
        name.0
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How to store an object.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PutOptions {
    /// What its owner calls it.
    pub name: ObjectName,
    /// How its fid is computed.
    pub rule: FidRule,
    /// Where it may lie; anywhere if left out.
    pub policy: Option<LocationPolicy>,
}

impl PutOptions {
    /// An object of this name, with the fid rule of DeOSS gateways.
    pub fn named(name: ObjectName) -> Self {
        Self {
            name,
            rule: FidRule::DeOss,
            policy: None,
        }
    }

    /// The same, to lie only where `policy` permits.
    #[must_use]
    pub fn within(self, policy: LocationPolicy) -> Self {
        Self {
            policy: Some(policy),
            ..self
        }
    }
}

/// A stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub fid: Fid,
    /// Its size in bytes, without padding.
    pub size: u64,
    /// The hashes of its segments.
    pub segments: Vec<ContentHash>,
}

/// A non-empty range of bytes of an object, end exclusive. What lies beyond the object's end is
/// ignored, as in HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    start: u64,
    end: u64,
}

/// Why a range is not a [`ByteRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the byte range {start}..{end} is empty")]
pub struct EmptyRange {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl ByteRange {
    /// First byte.
    pub fn start(self) -> u64 {
        self.start
    }

    /// One past the last byte.
    pub fn end(self) -> u64 {
        self.end
    }

    /// The part of the range that lies in an object of `size` bytes; `None` if there is none.
    pub fn within(self, size: u64) -> Option<Range<u64>> {
        (self.start < size).then(|| self.start..self.end.min(size))
    }
}

impl TryFrom<Range<u64>> for ByteRange {
    type Error = EmptyRange;

    fn try_from(Range { start, end }: Range<u64>) -> Result<Self, EmptyRange> {
        if start < end {
            Ok(Self { start, end })
        } else {
            Err(EmptyRange { start, end })
        }
    }
}

/// What a store knows about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its id.
    pub fid: Fid,
    /// Its size in bytes, without padding. The fid does not cover it: see the crate documentation.
    pub size: u64,
    /// The hashes of its segments; `None` if the store does not tell (DeOSS gateways do not). If
    /// present, the fid was checked to follow from them.
    pub segments: Option<Vec<ContentHash>>,
    /// Its owners, the first hundred of them.
    pub owners: Vec<Owner>,
}

/// An owner of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Whose object it is.
    pub account: Account,
    /// What this owner calls it.
    pub name: ObjectName,
}

/// Which part of a list is wanted: objects are listed in the order of their fids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Begin behind this one.
    pub after: Option<Fid>,
    /// At most so many, and never more than [`Page::MAX`].
    pub limit: usize,
}

impl Page {
    /// The longest page.
    pub const MAX: usize = 1000;

    /// The first page, as long as may be.
    pub fn first() -> Self {
        Self {
            after: None,
            limit: Self::MAX,
        }
    }
}

/// A line of a list of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// The object's id.
    pub fid: Fid,
    /// Its size in bytes.
    pub size: u64,
    /// Its name; `None` if the store does not tell.
    pub name: Option<ObjectName>,
}

/// What became of an object that its owner deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Its bytes are gone.
    Removed,
    /// Others own it too and keep it.
    Released,
}

/// Where a fragment is.
#[derive(Clone, Debug, PartialEq)]
pub struct FragmentLocation {
    /// Which segment of the object, from 0.
    pub segment: u32,
    /// Which fragment of the segment, 0 to 11.
    pub index: u8,
    /// Its hash.
    pub hash: ContentHash,
    /// The storage node that holds it, by the name or account the store knows it by.
    pub node: String,
    /// Where that node is, if the store knows.
    pub site: Option<Site>,
    /// Whether it is there.
    pub state: FragmentState,
}

/// Whether a fragment is where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FragmentState {
    /// There is one. Its bytes are verified when they are read.
    Present,
    /// There is none; reading or repairing the object rebuilds it.
    Missing,
    /// It holds zeros only and needs no bytes.
    Zero,
    /// Its node does not answer.
    Unreachable,
}

impl FragmentState {
    /// Whether nothing needs to be done.
    pub fn is_fine(self) -> bool {
        matches!(self, Self::Present | Self::Zero)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_have_three_to_sixty_three_bytes() {
        assert_eq!("ab".parse::<ObjectName>(), Err(ParseNameError::Length(2)));
        assert_eq!("é".parse::<ObjectName>(), Err(ParseNameError::Length(2)));
        assert_eq!(
            "a".repeat(64).parse::<ObjectName>(),
            Err(ParseNameError::Length(64))
        );
        assert_eq!(
            "a/b".parse::<ObjectName>(),
            Err(ParseNameError::Character('/'))
        );
        assert_eq!(
            "a\r\nb".parse::<ObjectName>(),
            Err(ParseNameError::Character('\r'))
        );
        assert_eq!(
            "a".repeat(63).parse::<ObjectName>().unwrap().as_str().len(),
            63
        );
    }

    #[test]
    fn ranges_are_cut_to_the_object() {
        let range = ByteRange::try_from(2..10).unwrap();
        assert_eq!(range.within(100), Some(2..10));
        assert_eq!(range.within(5), Some(2..5));
        assert_eq!(range.within(2), None);
        assert_eq!(
            ByteRange::try_from(3..3),
            Err(EmptyRange { start: 3, end: 3 })
        );
    }
}
