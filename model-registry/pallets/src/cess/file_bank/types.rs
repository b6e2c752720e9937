//! What is recorded of files, in CESS's layout.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::{BoundedVec, traits::ConstU32};
use scale_info::TypeInfo;
use sp_runtime::AccountId32;

use crate::cess::{FRAGMENT_COUNT, Hash, SEGMENT_SIZE, storage_handler::TerrName};

/// Most segments of a file.
pub const MAX_SEGMENTS: u32 = 1_000;
/// Fewest bytes of a file's name.
pub const MIN_FILE_NAME: usize = 3;
/// Most bytes of a file's name.
pub const MAX_FILE_NAME: u32 = 63;
/// Most owners of a file. CESS has 50 000; its record of a file is read as a whole.
pub const MAX_OWNERS: u32 = 1_000;
/// Most files of an account. CESS has 500 000; the list is read as a whole.
pub const MAX_USER_FILES: u32 = 10_000;

macro_rules! record {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(
            Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
        )]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
    };
}

record!(
    /// A segment as it is declared.
    SegmentList {
        /// SHA-256 of the padded segment.
        hash: Hash,
        /// SHA-256 of each of its 12 fragments, by index.
        fragment_list: BoundedVec<Hash, ConstU32<FRAGMENT_COUNT>>,
    }
);

record!(
    /// An owner of a file.
    UserBrief {
        /// The account.
        user: AccountId32,
        /// What it calls the file.
        file_name: BoundedVec<u8, ConstU32<MAX_FILE_NAME>>,
        /// Which of its territories pays for it.
        territory_name: TerrName,
    }
);

record!(
    /// Who has an index of a declared file.
    CompleteInfo {
        /// From 1.
        index: u8,
        /// Who reported it.
        miner: AccountId32,
    }
);

record!(
    /// A declared file.
    DealInfo {
        /// Its size without padding, bytes.
        file_size: u128,
        /// Its segments.
        segment_list: BoundedVec<SegmentList, ConstU32<MAX_SEGMENTS>>,
        /// For whom it was declared.
        user: UserBrief,
        /// What was reported.
        complete_list: BoundedVec<CompleteInfo, ConstU32<FRAGMENT_COUNT>>,
    }
);

record!(
    /// A fragment of a stored file.
    FragmentInfo {
        /// Its SHA-256.
        hash: Hash,
        /// Whether its miner has it, as far as is known.
        avail: bool,
        /// When it was tagged for proofs of possession; `None` on this chain.
        tag: Option<u32>,
        /// Who has it.
        miner: AccountId32,
    }
);

record!(
    /// A segment of a stored file.
    SegmentInfo {
        /// SHA-256 of the padded segment.
        hash: Hash,
        /// Its 12 fragments, by index.
        fragment_list: BoundedVec<FragmentInfo, ConstU32<FRAGMENT_COUNT>>,
    }
);

record!(
    /// A stored file.
    FileInfo {
        /// Its segments.
        segment_list: BoundedVec<SegmentInfo, ConstU32<MAX_SEGMENTS>>,
        /// Who owns it.
        owner: BoundedVec<UserBrief, ConstU32<MAX_OWNERS>>,
        /// Its size without padding, bytes.
        file_size: u128,
        /// The block at which it was stored.
        completion: u32,
        /// Whether it is stored.
        stat: FileState,
    }
);

record!(
    /// An account's stored file.
    UserFileSliceInfo {
        /// Which of its territories pays for it.
        territory_name: TerrName,
        /// Which file.
        file_hash: Hash,
        /// Its size without padding, bytes.
        file_size: u128,
    }
);

record!(
    /// A fragment that must be repaired.
    RestoralOrderInfo {
        /// How often it was claimed.
        count: u32,
        /// Who claimed it last; who lost it if nobody has.
        miner: AccountId32,
        /// Who lost it.
        origin_miner: AccountId32,
        /// Its SHA-256.
        fragment_hash: Hash,
        /// Of which file.
        file_hash: Hash,
        /// The block at which it was lost.
        gen_block: u32,
        /// The block from which others may claim it.
        deadline: u32,
    }
);

/// Whether a file is stored.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    TypeInfo,
    MaxEncodedLen,
)]
pub enum FileState {
    /// It is.
    Active,
    /// Tags are being computed; kept for CESS's numbering, and never the case here.
    Calculate,
    /// It is lost; never the case here.
    Missing,
    /// It is being repaired; never the case here, where fragments are unavailable one by one.
    Recovery,
}

/// Whether a declaration can become a file.
pub(super) fn is_well_formed(
    file_hash: &Hash,
    segments: &[SegmentList],
    user: &UserBrief,
    file_size: u128,
) -> bool {
    file_hash.is_valid()
        && user.file_name.len() >= MIN_FILE_NAME
        && !segments.is_empty()
        && (1..=segments.len() as u128 * SEGMENT_SIZE).contains(&file_size)
        && segments.iter().all(|segment| {
            segment.hash.is_valid()
                && segment.fragment_list.len() == FRAGMENT_COUNT as usize
                && segment.fragment_list.iter().all(Hash::is_valid)
        })
}
