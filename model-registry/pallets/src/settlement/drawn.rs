//! What is kept of an epoch for as long as it can be disputed.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::{BoundedVec, traits::ConstU32};
use scale_info::TypeInfo;
use sp_runtime::AccountId32;

use super::{MAX_VOUCHERS, Payouts};
use crate::Balance;

/// What an epoch took from one client: of all that it ever promised, the part `from .. to`.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct Draw {
    /// The client.
    pub client: AccountId32,
    /// What was settled before, planck.
    pub from: Balance,
    /// What is settled since, planck.
    pub to: Balance,
}

/// What an epoch took and whom it paid.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct DrawnRecord {
    /// One for each voucher.
    pub draws: BoundedVec<Draw, ConstU32<MAX_VOUCHERS>>,
    /// [`payouts_hash`] of the payouts.
    pub payouts: [u8; 32],
}

/// Blake2b-256 of the SCALE encoding of an epoch's payouts: what is kept of them.
pub fn payouts_hash(payouts: &Payouts) -> [u8; 32] {
    sp_io::hashing::blake2_256(&payouts.encode())
}
