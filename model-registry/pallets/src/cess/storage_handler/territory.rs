//! One territory and its account.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use sp_core::H256;

use crate::cess::GIB;

/// What can be done with a territory.
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
pub enum TerritoryState {
    /// Files can be put into it.
    Active,
    /// Its lease is over: files can be read and deleted, and it can be renewed.
    Frozen,
    /// Its files are removed and its space is sold.
    Expired,
    /// It is for sale; kept for CESS's numbering, and never the case here.
    OnConsignment,
}

/// A territory. `used + locked + remaining = total`, always.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct TerritoryInfo {
    /// What names it, whoever owns it.
    pub token: H256,
    /// All of it, bytes.
    pub total_space: u128,
    /// What files use, bytes.
    pub used_space: u128,
    /// What declared files will use, bytes.
    pub locked_space: u128,
    /// The rest, bytes.
    pub remaining_space: u128,
    /// The block since which it is leased.
    pub start: u32,
    /// The block at which its lease ends.
    pub deadline: u32,
    /// What can be done with it.
    pub state: TerritoryState,
}

impl TerritoryInfo {
    /// An empty, active one.
    pub(super) fn new(token: H256, space: u128, start: u32, deadline: u32) -> Self {
        Self {
            token,
            total_space: space,
            used_space: 0,
            locked_space: 0,
            remaining_space: space,
            start,
            deadline,
            state: TerritoryState::Active,
        }
    }

    /// Its size in GiB.
    pub fn gib(&self) -> u32 {
        u32::try_from(self.total_space / GIB).unwrap_or(u32::MAX)
    }

    /// Whether nothing is in it and nothing was declared for it.
    pub fn is_empty(&self) -> bool {
        self.used_space == 0 && self.locked_space == 0
    }

    /// Whether its parts are all of it.
    pub(super) fn adds_up(&self) -> bool {
        self.used_space
            .checked_add(self.locked_space)
            .and_then(|sum| sum.checked_add(self.remaining_space))
            == Some(self.total_space)
            && self.total_space.is_multiple_of(GIB)
    }

    pub(super) fn grow(&mut self, space: u128) {
        // Space that miners have, which fits.
        self.total_space += space;
        self.remaining_space += space;
    }

    /// For a declared file. As in CESS, something must remain.
    pub(crate) fn lock(&mut self, space: u128) -> Option<()> {
        (self.remaining_space > space).then(|| {
            self.remaining_space -= space;
            self.locked_space += space;
        })
    }

    /// For a declared file that did not become one.
    pub(crate) fn unlock(&mut self, space: u128) -> Option<()> {
        self.locked_space = self.locked_space.checked_sub(space)?;
        self.remaining_space += space;
        Some(())
    }

    /// For a declared file that became one.
    pub(crate) fn use_locked(&mut self, space: u128) -> Option<()> {
        self.locked_space = self.locked_space.checked_sub(space)?;
        self.used_space += space;
        Some(())
    }

    /// For a file that others have stored already.
    pub(crate) fn take(&mut self, space: u128) -> Option<()> {
        self.lock(space)?;
        self.use_locked(space)
    }

    /// For a file that is removed.
    pub(crate) fn free(&mut self, space: u128) -> Option<()> {
        self.used_space = self.used_space.checked_sub(space)?;
        self.remaining_space += space;
        Some(())
    }
}
