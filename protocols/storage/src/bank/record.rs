//! What is kept about a file, as bytes.
//!
//! ```text
//! u8 version = 1 ‖ u16 reported ‖ 12 × node ‖ u32 p ‖ p bytes of policy (JSON) ‖ object record
//! ```
//! Integers are little endian; bit i of `reported` is set if the node of fragment i has reported.

use crate::embedded::{ObjectRecord, SegmentRecord};
use crate::fid::{ContentHash, FidRule};
use crate::layout::FRAGMENTS;
use crate::location::LocationPolicy;
use crate::node::NodeId;

const VERSION: u8 = 1;
const MAX_POLICY: usize = 64 << 10;
const ALL: u16 = (1 << FRAGMENTS) - 1;

/// Whether a file is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Nodes are still to report.
    Pending {
        /// How many did.
        reported: u32,
    },
    /// All twelve have reported.
    Active,
}

/// The hashes of a segment and of its fragments, by index.
pub type SegmentHashes = SegmentRecord;

/// What the chain knows about a file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRecord {
    /// By which rule its fid was computed.
    pub rule: FidRule,
    /// Its size in bytes, without padding.
    pub size: u64,
    /// Its segments.
    pub segments: Vec<SegmentHashes>,
    /// Which node has fragment i of every segment.
    pub placement: [NodeId; FRAGMENTS],
    /// Where it may lie.
    pub policy: Option<LocationPolicy>,
    reported: u16,
}

impl FileRecord {
    /// A file that no node has reported yet.
    pub fn new(
        rule: FidRule,
        size: u64,
        segments: Vec<SegmentHashes>,
        placement: [NodeId; FRAGMENTS],
        policy: Option<LocationPolicy>,
    ) -> Self {
        Self {
            rule,
            size,
            segments,
            placement,
            policy,
            reported: 0,
        }
    }

    /// Whether it is stored.
    pub fn state(&self) -> FileState {
        if self.reported == ALL {
            FileState::Active
        } else {
            FileState::Pending {
                reported: self.reported.count_ones(),
            }
        }
    }

    /// The hashes of its segments.
    pub fn segment_hashes(&self) -> Vec<ContentHash> {
        self.segments.iter().map(|segment| segment.hash).collect()
    }

    /// Notes that `node` has fragment `index`; nothing for an index that does not exist.
    pub fn report(&mut self, index: u8, node: NodeId) {
        if let Some(slot) = self.placement.get_mut(usize::from(index)) {
            *slot = node;
            self.reported |= 1 << index;
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.reported.to_le_bytes());
        for node in &self.placement {
            bytes.extend(node.0);
        }
        let policy = self
            .policy
            .as_ref()
            .map(LocationPolicy::to_json)
            .unwrap_or_default();
        bytes.extend((policy.len() as u32).to_le_bytes());
        bytes.extend(policy.as_bytes());
        let record = ObjectRecord {
            rule: self.rule,
            size: self.size,
            segments: self.segments.clone(),
        };
        bytes.extend(record.to_bytes());
        bytes
    }

    /// `None` if this is not a record.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (reported, rest) = rest.split_first_chunk()?;
        let (nodes, rest) = rest.split_first_chunk::<{ 32 * FRAGMENTS }>()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (reported, length) = (u16::from_le_bytes(*reported), u32::from_le_bytes(*length));
        if *version != VERSION || reported > ALL || length as usize > MAX_POLICY {
            return None;
        }
        let (policy, rest) = rest.split_at_checked(length as usize)?;
        let policy = match std::str::from_utf8(policy).ok()? {
            "" => None,
            text => Some(LocationPolicy::from_json(text).ok()?),
        };
        let record = ObjectRecord::from_bytes(rest)?;
        let (nodes, _) = nodes.as_chunks::<32>();
        Some(Self {
            rule: record.rule,
            size: record.size,
            segments: record.segments,
            placement: std::array::from_fn(|i| crate::account::Account(nodes[i])),
            policy,
            reported,
        })
    }
}

/// For fuzzing: records parse to what they were made of, or not at all.
pub(crate) fn parse_file_record(bytes: &[u8]) {
    if let Some(record) = FileRecord::from_bytes(bytes) {
        // The text of a policy may be written in other ways, so that bytes may differ.
        assert_eq!(FileRecord::from_bytes(&record.to_bytes()), Some(record));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::account::Account;

    fn record(policy: bool) -> FileRecord {
        let segment = SegmentHashes {
            hash: ContentHash([1; 32]),
            fragments: std::array::from_fn(|i| ContentHash([i as u8; 32])),
        };
        let placement = std::array::from_fn(|i| Account([100 + i as u8; 32]));
        let policy = policy.then(LocationPolicy::european_union);
        FileRecord::new(FidRule::DeOss, 77, vec![segment], placement, policy)
    }

    #[test]
    fn records_round_trip_and_count_reports() {
        for policy in [false, true] {
            let mut record = record(policy);
            for index in 0..12 {
                assert_eq!(record.state(), FileState::Pending { reported: index });
                assert_eq!(
                    FileRecord::from_bytes(&record.to_bytes()).as_ref(),
                    Some(&record)
                );
                record.report(index as u8, Account([7; 32]));
                record.report(index as u8, Account([8; 32]));
            }
            record.report(12, Account([9; 32]));
            assert_eq!(record.state(), FileState::Active);
            assert_eq!(record.placement, [Account([8; 32]); 12]);
            let bytes = record.to_bytes();
            assert_eq!(FileRecord::from_bytes(&bytes).as_ref(), Some(&record));
            for length in 0..bytes.len() {
                assert_eq!(FileRecord::from_bytes(&bytes[..length]), None, "{length}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_change_parses_or_not(at in 0..500_usize, to: u8) {
            let mut bytes = record(true).to_bytes();
            let at = at % bytes.len();
            bytes[at] = to;
            parse_file_record(&bytes);
        }
    }
}
