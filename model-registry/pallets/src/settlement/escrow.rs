//! One client's escrow and how it changes.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::{Balance, Moment};

/// A client's money in the pot.
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
pub struct EscrowRecord {
    /// Not on its way out, planck.
    pub free: Balance,
    /// Announced for withdrawal, planck; vouchers may still draw on it.
    pub withdrawing: Balance,
    /// When `withdrawing` may be withdrawn; meaningless while that is zero.
    pub withdrawable_at: Moment,
}

impl EscrowRecord {
    /// All of the client's money in the pot.
    pub fn total(&self) -> Balance {
        // The sum is money that exists, and issuance fits in 128 bits.
        self.free.saturating_add(self.withdrawing)
    }

    /// Adds `amount`; `None` on overflow of the total.
    pub(super) fn deposit(&mut self, amount: Balance) -> Option<()> {
        self.total().checked_add(amount)?;
        self.free += amount;
        Some(())
    }

    /// Moves `amount` to what is on its way out; `None` if that much is not free.
    pub(super) fn announce(&mut self, amount: Balance, withdrawable_at: Moment) -> Option<()> {
        self.free = self.free.checked_sub(amount)?;
        self.withdrawing += amount; // bounded by the total, which does not change
        self.withdrawable_at = withdrawable_at;
        Some(())
    }

    /// Takes `amount` for a voucher, from free money first; `None` if there is not enough in all.
    pub(super) fn draw(&mut self, amount: Balance) -> Option<()> {
        let from_free = amount.min(self.free);
        self.withdrawing = self.withdrawing.checked_sub(amount - from_free)?;
        self.free -= from_free;
        Some(())
    }

    /// Takes all that is on its way out.
    pub(super) fn release(&mut self) -> Balance {
        self.withdrawable_at = 0;
        core::mem::take(&mut self.withdrawing)
    }
}
