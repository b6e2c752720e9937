//! What the chain holds about storage, in AI-LINK's own types.

use std::{fmt, str::FromStr};

use ai_link_wire::{AccountId, Digest, Fid, Planck};

use crate::api::chain::runtime_types::ai_link_pallets::cess::{
    file_bank::types as raw, hash::Hash, storage_handler::territory as raw_territory,
};

/// Fragments of a segment, each at another miner.
pub const FRAGMENTS: usize = 12;

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name has {length} bytes; it must have {least} to 63")]
pub struct NameError {
    /// How many bytes it has.
    pub length: usize,
    /// How many it must have at least.
    pub least: usize,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $least:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            pub(super) fn bytes(&self) -> Vec<u8> {
                self.0.as_bytes().to_vec()
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                match text.len() {
                    $least..=63 => Ok(Self(text.to_owned())),
                    length => Err(NameError { length, least: $least }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// What an owner calls a territory: 1 to 63 bytes.
    TerritoryName,
    1
);
name!(
    /// What an owner calls a file: 3 to 63 bytes.
    FileName,
    3
);

/// A segment's hash and those of its fragments, by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredSegment {
    /// SHA-256 of the padded segment.
    pub hash: Digest,
    /// SHA-256 of each fragment.
    pub fragments: [Digest; FRAGMENTS],
}

/// Somebody who owns a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOwner {
    /// The account.
    pub account: AccountId,
    /// What it calls the file; other software may have written bytes that are no text.
    pub name: String,
    /// Which of its territories pays.
    pub territory: String,
}

/// A file to be declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Its id.
    pub fid: Fid,
    /// Its size without padding, bytes.
    pub size: u64,
    /// Its segments.
    pub segments: Vec<DeclaredSegment>,
    /// For whom.
    pub owner: AccountId,
    /// What the owner calls it.
    pub name: FileName,
    /// Which of the owner's territories pays.
    pub territory: TerritoryName,
}

/// A declared file that is not stored yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deal {
    /// Its size without padding, bytes.
    pub size: u128,
    /// Its segments.
    pub segments: Vec<DeclaredSegment>,
    /// For whom it was declared.
    pub owner: FileOwner,
    /// Which miner reported which index, from 0.
    pub reported: Vec<Report>,
}

/// A miner's word that it has an index of all segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// From 0; the chain counts from 1.
    pub index: u8,
    /// Whose word.
    pub miner: AccountId,
}

/// A fragment of a stored file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredFragment {
    /// Its SHA-256.
    pub hash: Digest,
    /// Whether its miner has it, as far as the chain knows.
    pub available: bool,
    /// Who has it.
    pub miner: AccountId,
}

/// A segment of a stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSegment {
    /// SHA-256 of the padded segment.
    pub hash: Digest,
    /// Its fragments, by index.
    pub fragments: [StoredFragment; FRAGMENTS],
}

/// A stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Its size without padding, bytes.
    pub size: u128,
    /// Its segments.
    pub segments: Vec<StoredSegment>,
    /// Who owns it.
    pub owners: Vec<FileOwner>,
    /// The block at which it was stored.
    pub since: u32,
    /// Whether the chain calls it active.
    pub active: bool,
}

/// A file as its owner's list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFile {
    /// Its id.
    pub fid: Fid,
    /// Its size without padding, bytes.
    pub size: u128,
    /// Which territory pays.
    pub territory: String,
}

/// What can be done with a territory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerritoryState {
    /// Files can be put into it.
    Active,
    /// Its lease is over; it can be renewed for some days.
    Frozen,
    /// Its files are gone; it can be bought anew.
    Expired,
    /// It is for sale.
    OnConsignment,
}

impl fmt::Display for TerritoryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Frozen => "frozen",
            Self::Expired => "expired",
            Self::OnConsignment => "on consignment",
        })
    }
}

/// Space that an account rents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Territory {
    /// What its owner calls it.
    pub name: String,
    /// All of it, bytes.
    pub total: u128,
    /// What files use, bytes.
    pub used: u128,
    /// What declared files will use, bytes.
    pub locked: u128,
    /// The rest, bytes.
    pub remaining: u128,
    /// The block since which it is leased.
    pub start: u32,
    /// The block at which its lease ends.
    pub deadline: u32,
    /// What can be done with it.
    pub state: TerritoryState,
}

/// All space there is, and its price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// What miners have and no file uses, bytes.
    pub idle: u128,
    /// What files use at miners, bytes.
    pub service: u128,
    /// What territories are entitled to, bytes.
    pub purchased: u128,
    /// What a GiB costs for a day.
    pub price: Planck,
    /// Blocks of a day.
    pub day: u32,
    /// The block at which all this was read.
    pub height: u32,
}

/// A storage miner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miner {
    /// Where it is reached.
    pub endpoint: String,
    /// Its state in CESS's words; `positive` if it takes fragments.
    pub state: String,
    /// Its collateral.
    pub collateral: Planck,
    /// All its room, bytes.
    pub declared: u128,
    /// What nothing uses, bytes.
    pub idle: u128,
    /// What fragments of declared files and repairs will use, bytes.
    pub locked: u128,
    /// What fragments of files use, bytes.
    pub service: u128,
    /// How many proofs it failed since it last gave one.
    pub failed_proofs: u32,
}

/// A fragment that must be repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairOrder {
    /// Of which file.
    pub fid: Fid,
    /// Who lost it.
    pub lost_by: AccountId,
    /// Who repairs it, if anybody does.
    pub claimed_by: Option<AccountId>,
    /// The block from which others may claim it.
    pub deadline: u32,
}

/// What a challenge found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofOutcome {
    /// The miner has the fragment.
    Proven,
    /// It gave no proof, or one that does not hold.
    Failed,
}

/// 32 bytes as the chain writes them: 64 hexadecimal digits.
pub(super) fn digits(bytes: [u8; 32]) -> Hash {
    let mut text = [0; 64];
    // The lengths agree, so that this cannot fail.
    let _ = hex::encode_to_slice(bytes, &mut text);
    Hash(text)
}

/// What such digits stand for; `None` for others.
pub(super) fn bytes(hash: &Hash) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(hash.0, &mut bytes).ok()?;
    Some(bytes)
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn owner(brief: raw::UserBrief) -> FileOwner {
    FileOwner {
        account: AccountId(brief.user.0),
        name: text(&brief.file_name.0),
        territory: text(&brief.territory_name.0),
    }
}

pub(super) fn deal(deal: raw::DealInfo) -> Option<Deal> {
    let segment = |segment: raw::SegmentList| {
        let fragments = segment.fragment_list.0.iter();
        let fragments: Option<Vec<_>> = fragments.map(|hash| bytes(hash).map(Digest)).collect();
        Some(DeclaredSegment {
            hash: Digest(bytes(&segment.hash)?),
            fragments: fragments?.try_into().ok()?,
        })
    };
    let report = |done: raw::CompleteInfo| {
        let index = done.index.checked_sub(1)?;
        let miner = AccountId(done.miner.0);
        (usize::from(index) < FRAGMENTS).then_some(Report { index, miner })
    };
    Some(Deal {
        size: deal.file_size,
        segments: deal
            .segment_list
            .0
            .into_iter()
            .map(segment)
            .collect::<Option<_>>()?,
        owner: owner(deal.user),
        reported: deal
            .complete_list
            .0
            .into_iter()
            .map(report)
            .collect::<Option<_>>()?,
    })
}

pub(super) fn file(file: raw::FileInfo) -> Option<StoredFile> {
    let fragment = |fragment: raw::FragmentInfo| {
        Some(StoredFragment {
            hash: Digest(bytes(&fragment.hash)?),
            available: fragment.avail,
            miner: AccountId(fragment.miner.0),
        })
    };
    let segment = |segment: raw::SegmentInfo| {
        let fragments = segment.fragment_list.0.into_iter();
        let fragments: Option<Vec<_>> = fragments.map(fragment).collect();
        Some(StoredSegment {
            hash: Digest(bytes(&segment.hash)?),
            fragments: fragments?.try_into().ok()?,
        })
    };
    Some(StoredFile {
        size: file.file_size,
        segments: file
            .segment_list
            .0
            .into_iter()
            .map(segment)
            .collect::<Option<_>>()?,
        owners: file.owner.0.into_iter().map(owner).collect(),
        since: file.completion,
        active: matches!(file.stat, raw::FileState::Active),
    })
}

pub(super) fn territory(name: &[u8], info: raw_territory::TerritoryInfo) -> Territory {
    Territory {
        name: text(name),
        total: info.total_space,
        used: info.used_space,
        locked: info.locked_space,
        remaining: info.remaining_space,
        start: info.start,
        deadline: info.deadline,
        state: match info.state {
            raw_territory::TerritoryState::Active => TerritoryState::Active,
            raw_territory::TerritoryState::Frozen => TerritoryState::Frozen,
            raw_territory::TerritoryState::Expired => TerritoryState::Expired,
            raw_territory::TerritoryState::OnConsignment => TerritoryState::OnConsignment,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_lengths() {
        assert!("".parse::<TerritoryName>().is_err());
        assert_eq!(
            "a".parse::<TerritoryName>().map(|n| n.bytes()),
            Ok(vec![b'a'])
        );
        assert!("x".repeat(64).parse::<TerritoryName>().is_err());
        assert_eq!(
            "ab".parse::<FileName>(),
            Err(NameError {
                length: 2,
                least: 3
            })
        );
    }

    #[test]
    fn hashes_are_digits_there_and_bytes_here() {
        let hash = digits([0xa5; 32]);
        assert_eq!(&hash.0[..4], b"a5a5");
        assert_eq!(bytes(&hash), Some([0xa5; 32]));
        assert_eq!(bytes(&Hash([b'x'; 64])), None);
    }
}
