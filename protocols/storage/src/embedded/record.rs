//! What the index keeps about an object, as bytes.
//!
//! ```text
//! u8 version = 1 ‖ u8 rule ‖ u64 size ‖ u32 n ‖ n × (segment hash ‖ 12 fragment hashes)
//! ```
//! Integers are little endian.

use crate::fid::{ContentHash, FidRule};
use crate::layout::{FRAGMENTS, MAX_SEGMENTS};

const VERSION: u8 = 1;
const HEADER: usize = 1 + 1 + 8 + 4;
const SEGMENT: usize = 32 * (1 + FRAGMENTS);

/// An object and its coded segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectRecord {
    pub(crate) rule: FidRule,
    pub(crate) size: u64,
    pub(crate) segments: Vec<SegmentRecord>,
}

/// The hashes of a segment and of its fragments, by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRecord {
    /// Of the padded segment.
    pub hash: ContentHash,
    /// Of its fragments.
    pub fragments: [ContentHash; FRAGMENTS],
}

impl ObjectRecord {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + SEGMENT * self.segments.len());
        let rule = match self.rule {
            FidRule::DeOss => 0,
            FidRule::Retriever => 1,
        };
        bytes.extend([VERSION, rule]);
        bytes.extend(self.size.to_le_bytes());
        bytes.extend((self.segments.len() as u32).to_le_bytes());
        for segment in &self.segments {
            bytes.extend(segment.hash.0);
            for fragment in &segment.fragments {
                bytes.extend(fragment.0);
            }
        }
        bytes
    }

    /// `None` if this is not a record.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (header, body) = bytes.split_first_chunk::<HEADER>()?;
        let rule = match header[..2] {
            [VERSION, 0] => FidRule::DeOss,
            [VERSION, 1] => FidRule::Retriever,
            _ => return None,
        };
        let size = u64::from_le_bytes(header[2..10].try_into().ok()?);
        let count = u32::from_le_bytes(header[10..14].try_into().ok()?) as usize;
        if count == 0 || count > MAX_SEGMENTS || body.len() != count * SEGMENT {
            return None;
        }
        let (hashes, _) = body.as_chunks::<32>();
        let segments = hashes
            .chunks_exact(1 + FRAGMENTS)
            .map(|hashes| SegmentRecord {
                hash: ContentHash(hashes[0]),
                fragments: std::array::from_fn(|index| ContentHash(hashes[1 + index])),
            })
            .collect();
        Some(Self {
            rule,
            size,
            segments,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(segments: usize) -> ObjectRecord {
        let hash = |i: usize, j: usize| ContentHash::of(&[i as u8, j as u8]);
        ObjectRecord {
            rule: FidRule::Retriever,
            size: 0x0102_0304_0506_0708,
            segments: (0..segments)
                .map(|i| SegmentRecord {
                    hash: hash(i, 99),
                    fragments: std::array::from_fn(|j| hash(i, j)),
                })
                .collect(),
        }
    }

    #[test]
    fn round_trip() {
        for segments in [1, 2, 1000] {
            let record = record(segments);
            assert_eq!(ObjectRecord::from_bytes(&record.to_bytes()), Some(record));
        }
    }

    #[test]
    fn cut_and_grown_records_are_refused() {
        let bytes = record(2).to_bytes();
        for length in 0..bytes.len() {
            assert_eq!(ObjectRecord::from_bytes(&bytes[..length]), None, "{length}");
        }
        assert_eq!(ObjectRecord::from_bytes(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(ObjectRecord::from_bytes(&record(0).to_bytes()), None);
        assert_eq!(ObjectRecord::from_bytes(&record(1001).to_bytes()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_do_not(bytes in proptest::collection::vec(any::<u8>(), 0..1000)) {
            if let Some(record) = ObjectRecord::from_bytes(&bytes) {
                prop_assert_eq!(record.to_bytes(), bytes);
            }
        }
    }
}
