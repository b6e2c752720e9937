//! What is kept of an epoch for as long as it can be disputed, and what it tells those who judge.

use alloc::vec::Vec;
use core::ops::Range;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::{
    BoundedVec,
    dispatch::DispatchResult,
    traits::{
        ConstU32, Get, Time,
        fungible::MutateHold,
        tokens::{Fortitude, Precision, Restriction},
    },
};
use scale_info::TypeInfo;
use sp_runtime::AccountId32;

use super::pallet::checked_sum;
use super::*;
use crate::{Balance, EpochFacts, Moment, SettledEpochs};

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

impl<T: Config> Pallet<T> {
    /// Keeps what an epoch took, and forgets at most two that can no longer be disputed.
    pub(super) fn remember_drawn(
        coordinator: &AccountId32,
        epoch: u64,
        draws: Vec<Draw>,
        payouts: &Payouts,
    ) {
        let record = DrawnRecord {
            // One a voucher.
            draws: BoundedVec::truncate_from(draws),
            payouts: payouts_hash(payouts),
        };
        Drawn::<T>::insert(coordinator, epoch, record);
        let known = FirstDrawn::<T>::get(coordinator);
        let mut first = known.unwrap_or(epoch);
        for _ in 0..2 {
            let over = Epochs::<T>::get(coordinator, first).is_some_and(|record| {
                let end = record.settled_at.saturating_add(T::DisputeWindow::get());
                T::Clock::now() > end
            });
            if !over || first == epoch {
                break;
            }
            Drawn::<T>::remove(coordinator, first);
            first += 1;
        }
        if known != Some(first) {
            FirstDrawn::<T>::insert(coordinator, first);
        }
    }
}

impl<T: Config> SettledEpochs for Pallet<T> {
    fn epoch(coordinator: &AccountId32, epoch: u64) -> Option<EpochFacts> {
        let EpochRecord {
            receipts_root,
            jobs,
            settled_at,
            ..
        } = Epochs::<T>::get(coordinator, epoch)?;
        let payouts = Drawn::<T>::get(coordinator, epoch).map(|drawn| drawn.payouts);
        Some(EpochFacts {
            receipts_root,
            jobs,
            payouts: payouts.unwrap_or_default(),
            settled_at,
        })
    }

    fn drawn(
        coordinator: &AccountId32,
        epoch: u64,
        client: &AccountId32,
    ) -> Option<Range<Balance>> {
        let draws = Drawn::<T>::get(coordinator, epoch)?.draws;
        let draw = draws.into_iter().find(|draw| draw.client == *client)?;
        Some(draw.from..draw.to)
    }

    fn settled(client: &AccountId32, coordinator: &AccountId32) -> Balance {
        Settled::<T>::get(client, coordinator)
    }

    fn escrow(client: &AccountId32) -> Balance {
        Escrow::<T>::get(client).map_or(0, |escrow| escrow.total())
    }

    fn charge(client: &AccountId32, payments: &[(AccountId32, Balance)]) -> DispatchResult {
        let sum = checked_sum::<T>(payments.iter().map(|(_, amount)| *amount))?;
        if sum == 0 {
            return Ok(());
        }
        let mut escrow = Escrow::<T>::get(client).ok_or(Error::<T>::EscrowTooLow)?;
        escrow.draw(sum).ok_or(Error::<T>::EscrowTooLow)?;
        for (account, amount) in payments {
            T::Currency::transfer_on_hold(
                &HoldReason::Escrow.into(),
                &Self::pot(),
                account,
                *amount,
                Precision::Exact,
                Restriction::Free,
                Fortitude::Polite,
            )?;
        }
        Self::store_escrow(client, escrow);
        Self::deposit_event(Event::EscrowCharged {
            client: client.clone(),
            amount: sum,
        });
        Ok(())
    }

    fn dispute_window() -> Moment {
        T::DisputeWindow::get()
    }
}
