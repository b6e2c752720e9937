//! What follows from a dispute: who is paid out of the bond, what is slashed, what is kept.

use alloc::{collections::BTreeMap, vec::Vec};

use frame_support::{
    ensure,
    pallet_prelude::*,
    traits::{
        Time,
        fungible::{Inspect, MutateHold},
        tokens::{DepositConsequence, Fortitude, Precision, Provenance, Restriction},
    },
};
use sp_runtime::{AccountId32, DispatchError, Rounding, helpers_128bit};

use super::*;
use crate::{Balance, CoordinatorBonds, EpochFacts, OpenDisputes, SettledEpochs};

impl<T: Config> Pallet<T> {
    /// Checks that the numbers of open disputes are right, that the deposits are held, and that nothing
    /// is both open and decided.
    pub fn check_state() -> Result<(), DispatchError> {
        let mut open = BTreeMap::<AccountId32, u32>::new();
        let mut deposits = BTreeMap::<AccountId32, Balance>::new();
        for (id, dispute) in Disputes::<T>::iter() {
            ensure!(
                dispute.terms.id() == id,
                "a dispute is kept under other terms"
            );
            ensure!(
                !Decided::<T>::contains_key(id),
                "a dispute is open and decided"
            );
            *open.entry(dispute.terms.coordinator).or_default() += 1;
            *deposits.entry(dispute.disputer).or_default() += dispute.deposit;
        }
        ensure!(
            Open::<T>::iter().collect::<BTreeMap<_, _>>() == open,
            "the number of open disputes of a coordinator is wrong"
        );
        ensure!(
            crate::holds_match::<T::Currency>(&HoldReason::Dispute.into(), &deposits),
            "a disputer's held money differs from its deposits"
        );
        Ok(())
    }

    /// Checks what every claim must be: signed, not decided, about a coordinator with a bond.
    pub(super) fn position(
        claim: &SignedTerms,
        id: TermsId,
        cumulative: Balance,
    ) -> Result<Position, DispatchError> {
        ensure!(!Decided::<T>::contains_key(id), Error::<T>::AlreadyDecided);
        ensure!(claim.verify(), Error::<T>::BadSignature);
        let terms = &claim.terms;
        ensure!(
            Self::shares(terms).any(|(_, amount)| amount > 0),
            Error::<T>::NothingAtStake
        );
        ensure!(T::Bonds::bond(&terms.coordinator) > 0, Error::<T>::NoBond);
        Self::position_of(terms, id, cumulative)
    }

    pub(super) fn position_of(
        terms: &JobTerms,
        id: TermsId,
        cumulative: Balance,
    ) -> Result<Position, DispatchError> {
        Ok(Position {
            client: terms.client.clone(),
            coordinator: terms.coordinator.clone(),
            terms: id,
            price: terms.price().ok_or(Error::<T>::AmountOverflow)?,
            cumulative,
        })
    }

    /// An epoch that can still be disputed.
    pub(super) fn epoch(
        coordinator: &AccountId32,
        epoch: u64,
    ) -> Result<EpochFacts, DispatchError> {
        let facts = T::Epochs::epoch(coordinator, epoch).ok_or(Error::<T>::NoSuchEpoch)?;
        let end = facts.settled_at.saturating_add(T::Epochs::dispute_window());
        ensure!(T::Clock::now() <= end, Error::<T>::WindowOver);
        Ok(facts)
    }

    /// What a job pays to others than the coordinator.
    pub(super) fn shares(terms: &JobTerms) -> impl Iterator<Item = (&AccountId32, Balance)> {
        let others = terms.payouts.iter();
        others
            .filter(|payout| payout.account != terms.coordinator)
            .map(|payout| (&payout.account, payout.amount))
    }

    /// What the deprived get if there is `available`: all, or the same share of it.
    pub(super) fn payments(terms: &JobTerms, available: Balance) -> Vec<(AccountId32, Balance)> {
        // Less than the price, which fits.
        let total: Balance = Self::shares(terms).map(|(_, amount)| amount).sum();
        Self::shares(terms)
            .map(|(account, amount)| {
                let amount = match total <= available {
                    true => amount,
                    false => helpers_128bit::multiply_by_rational_with_rounding(
                        amount,
                        available,
                        total,
                        Rounding::Down,
                    )
                    .unwrap_or(0),
                };
                (Self::reachable(account, amount), amount)
            })
            .filter(|(_, amount)| *amount > 0)
            .collect()
    }

    /// `account`, or the treasury if the account cannot take so little.
    pub(super) fn reachable(account: &AccountId32, amount: Balance) -> AccountId32 {
        match T::Currency::can_deposit(account, amount, Provenance::Extant) {
            DepositConsequence::Success => account.clone(),
            _ => T::FinesTo::get(),
        }
    }

    /// Pays the deprived of a job out of the bond, and slashes. Gives what they got.
    pub(super) fn make_good(terms: &JobTerms) -> Result<Balance, DispatchError> {
        let bond = T::Bonds::bond(&terms.coordinator);
        let due = Self::payments(terms, bond);
        let paid = due.iter().map(|(_, amount)| amount).sum();
        Self::charge_bond(&terms.coordinator, due, bond)?;
        Ok(paid)
    }

    /// Pays `due`, which is within the bond, and then the slash out of what is left of it.
    pub(super) fn charge_bond(
        coordinator: &AccountId32,
        mut due: Vec<(AccountId32, Balance)>,
        bond: Balance,
    ) -> DispatchResult {
        let paid: Balance = due.iter().map(|(_, amount)| amount).sum();
        let amount = T::SlashShare::get()
            .mul_floor(bond)
            .min(bond.saturating_sub(paid));
        if amount > 0 {
            due.push((T::FinesTo::get(), amount));
        }
        T::Bonds::charge(coordinator, &due)?;
        Self::deposit_event(Event::Slashed {
            coordinator: coordinator.clone(),
            amount,
        });
        Ok(())
    }

    pub(super) fn give_deposit(dispute: &DisputeRecord, to: &AccountId32) -> DispatchResult {
        T::Currency::transfer_on_hold(
            &HoldReason::Dispute.into(),
            &dispute.disputer,
            to,
            dispute.deposit,
            Precision::Exact,
            Restriction::Free,
            Fortitude::Force,
        )?;
        Ok(())
    }

    pub(super) fn return_deposit(dispute: &DisputeRecord) -> DispatchResult {
        let DisputeRecord {
            disputer, deposit, ..
        } = dispute;
        T::Currency::release(
            &HoldReason::Dispute.into(),
            disputer,
            *deposit,
            Precision::Exact,
        )?;
        Ok(())
    }

    pub(super) fn close(id: TermsId, dispute: &DisputeRecord, outcome: Outcome, paid: Balance) {
        let coordinator = &dispute.terms.coordinator;
        Disputes::<T>::remove(id);
        Open::<T>::mutate_exists(coordinator, |open| {
            *open = open
                .map(|open| open.saturating_sub(1))
                .filter(|open| *open > 0);
        });
        Self::decide(id, &dispute.terms, outcome, paid);
    }

    pub(super) fn decide(id: TermsId, terms: &JobTerms, outcome: Outcome, paid: Balance) {
        // That a client could not pay today says nothing about tomorrow.
        if outcome != Outcome::ClientCannotPay {
            Decided::<T>::insert(id, outcome);
        }
        Self::deposit_event(Event::Decided {
            coordinator: terms.coordinator.clone(),
            job: terms.job,
            terms: id,
            outcome,
            paid,
        });
    }
}

impl<T: Config> OpenDisputes for Pallet<T> {
    fn is_disputed(coordinator: &AccountId32) -> bool {
        Open::<T>::contains_key(coordinator)
    }
}
