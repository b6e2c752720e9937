//! What is stored of rights.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::{BoundedVec, traits::ConstU32};
use scale_info::TypeInfo;
use sp_runtime::AccountId32;

use crate::{Balance, Moment};

/// Most regions in terms.
pub const MAX_REGIONS: u32 = 16;
/// Longest name of a region.
pub const MAX_REGION: u32 = 32;
/// Longest name of a licence: an SPDX expression, or where its text is.
pub const MAX_LICENCE: u32 = 128;
/// Most accounts that share the owner's price. With owner, coordinator and a group of nine workers
/// they are the 16 payouts that a ticket may have.
pub const MAX_ROYALTIES: u32 = 5;
/// The whole of which royalties are parts.
pub const MILLION: u32 = 1_000_000;

/// A region, such as `eu-de`.
pub type RegionName = BoundedVec<u8, ConstU32<MAX_REGION>>;
/// Regions of terms; none means everywhere.
pub type Regions = BoundedVec<RegionName, ConstU32<MAX_REGIONS>>;
/// How the owner's price is split; what is left is the owner's.
pub type Royalties = BoundedVec<Royalty, ConstU32<MAX_ROYALTIES>>;

/// Who may use a model.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    TypeInfo,
    MaxEncodedLen,
)]
pub enum Access {
    /// Anyone.
    #[default]
    Anyone,
    /// Accounts with a grant, and the owner.
    Granted,
}

/// What a model may be used for.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    TypeInfo,
    MaxEncodedLen,
)]
pub enum Purpose {
    /// Anything.
    #[default]
    Any,
    /// What is not commercial.
    NonCommercial,
}

/// The terms of a model.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    TypeInfo,
    MaxEncodedLen,
)]
pub struct TermsRecord {
    /// Who may use it.
    pub access: Access,
    /// What for. A grant can permit more to its account.
    pub purpose: Purpose,
    /// Where workers may stand; none means anywhere.
    pub regions: Regions,
    /// When all use ends; `None`: never.
    pub until: Option<Moment>,
    /// What the licence is called, for people; not interpreted.
    pub licence: BoundedVec<u8, ConstU32<MAX_LICENCE>>,
}

/// What an account may do with a model.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct GrantRecord {
    /// What it may use it for, whatever the terms say.
    pub purpose: Purpose,
    /// Until when; `None`: until it is revoked.
    pub until: Option<Moment>,
    /// On whom the deposit is held: the owner at the time.
    pub depositor: AccountId32,
    /// What is held.
    pub deposit: Balance,
}

/// A model that is offered to somebody.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct OfferRecord {
    /// To whom.
    pub to: AccountId32,
    /// For how much.
    pub price: Balance,
    /// Until when.
    pub until: Moment,
}

/// A model that changed hands.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct TransferRecord {
    /// Who owned it before.
    pub from: AccountId32,
    /// And after.
    pub to: AccountId32,
    /// What was paid.
    pub price: Balance,
    /// When.
    pub at: Moment,
}

/// A part of the owner's price.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct Royalty {
    /// Whose it is.
    pub account: AccountId32,
    /// How many millionths.
    pub millionths: u32,
}

/// What a version is that is not as good as any.
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
pub enum Standing {
    /// It runs, and its users are told to move on.
    Deprecated,
    /// It is not matched any more.
    Yanked,
}

/// Whether `region` has 2 to 32 characters of `[a-z0-9-]`, as `Region` off chain.
pub(super) fn is_region(region: &[u8]) -> bool {
    (2..=MAX_REGION as usize).contains(&region.len())
        && region
            .iter()
            .all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Whether `shares` are parts of a whole, each of another account, none of the owner.
pub(super) fn are_valid(shares: &[Royalty], owner: &AccountId32) -> bool {
    let sum: u64 = shares.iter().map(|share| u64::from(share.millionths)).sum();
    let distinct = shares.iter().enumerate().all(|(i, share)| {
        share.millionths > 0
            && share.account != *owner
            && shares[..i]
                .iter()
                .all(|earlier| earlier.account != share.account)
    });
    distinct && sum <= u64::from(MILLION)
}
