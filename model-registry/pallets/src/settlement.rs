//! Settlement: escrow of clients, vouchers, payouts.
//!
//! A client deposits once; the money sits *on hold* in the pallet's pot account. For every finished
//! job it hands its coordinator a [`VoucherClaim`] for all it owes in total. At the end of an epoch
//! the coordinator calls `settle` with the newest voucher of each client and the payouts they are
//! for. The chain verifies every signature, takes only what the vouchers exceed the amounts already
//! settled by, and insists that payouts equal takings to the planck.
//!
//! # Invariants (see `check_state`)
//!
//! * The pot's money on hold equals the sum of all escrows, exactly. Holding it, rather than
//!   comparing balances, keeps this true when somebody sends money to the pot unasked; that money
//!   stays in the pot's free balance beside the existential deposit it is endowed with at genesis.
//! * What was settled for a (client, coordinator) pair only grows, and equals the newest voucher.
//! * A coordinator's epochs are 1, 2, 3, … without gaps, and their totals equal what was settled
//!   with it. An epoch settles at most once: sending the same batch again fails with
//!   `EpochAlreadySettled`, which tells a coordinator that crashed after sending that it was paid.
//!
//! * What an epoch took from whom is kept for as long as the epoch can be disputed ([`Drawn`]).
//!
//! Only a coordinator in good standing settles: one that wants to leave settles its vouchers before
//! it deregisters.
//!
//! # Withdrawing
//!
//! A client that could withdraw at once could run away from vouchers it has signed. A withdrawal is
//! therefore requested first and paid after a delay, and until it is paid vouchers may still draw
//! on it. A coordinator that settles more often than the delay loses nothing.

mod drawn;
mod escrow;
mod voucher;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::{BoundedVec, traits::ConstU32};
use scale_info::TypeInfo;
use sp_runtime::AccountId32;

pub use drawn::{Draw, DrawnRecord, payouts_hash};
pub use escrow::EscrowRecord;
pub use pallet::*;
pub use voucher::{VoucherClaim, voucher_message};

use crate::{Balance, Moment};

/// Most vouchers in one settlement.
pub const MAX_VOUCHERS: u32 = 256;

/// Most payouts in one settlement.
pub const MAX_PAYOUTS: u32 = 1024;

/// The vouchers of one settlement.
pub type Vouchers = BoundedVec<VoucherClaim, ConstU32<MAX_VOUCHERS>>;

/// The payouts of one settlement.
pub type Payouts = BoundedVec<PayoutItem, ConstU32<MAX_PAYOUTS>>;

/// One payment out of an epoch's takings. An account may appear more than once.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct PayoutItem {
    /// To whom.
    pub account: AccountId32,
    /// How much, planck; not zero.
    pub amount: Balance,
}

/// What the chain remembers of a settled epoch.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct EpochRecord {
    /// Merkle root over the epoch's receipts, as the coordinator states it.
    pub receipts_root: [u8; 32],
    /// Number of jobs, as the coordinator states it.
    pub jobs: u32,
    /// What was taken from clients and paid out, planck.
    pub total: Balance,
    /// When.
    pub settled_at: Moment,
}

#[frame_support::pallet]
pub mod pallet {
    use alloc::{
        collections::{BTreeMap, BTreeSet},
        vec::Vec,
    };

    use frame_support::{
        PalletId,
        pallet_prelude::*,
        storage::with_storage_layer,
        traits::{
            Time,
            fungible::{Inspect, InspectHold, Mutate, MutateHold},
            tokens::{
                DepositConsequence, Fortitude, Precision, Preservation, Provenance, Restriction,
            },
        },
    };
    use frame_system::pallet_prelude::*;
    use sp_runtime::{DispatchError, traits::AccountIdConversion};

    use super::*;
    use crate::{BondedCoordinators, weights};

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: frame_system::Config<AccountId = AccountId32> {
        /// Time of the block, milliseconds.
        type Clock: Time<Moment = Moment>;
        /// Who may settle.
        type Coordinators: BondedCoordinators;
        /// Where money is.
        type Currency: Mutate<AccountId32, Balance = Balance>
            + MutateHold<AccountId32, Balance = Balance, Reason = Self::RuntimeHoldReason>;
        /// For how long after its settlement an epoch can be disputed, milliseconds.
        #[pallet::constant]
        type DisputeWindow: Get<Moment>;
        /// Identifies the pot account.
        #[pallet::constant]
        type PalletId: Get<PalletId>;
        /// The runtime's reasons for holds.
        type RuntimeHoldReason: From<HoldReason>;
        /// From requesting a withdrawal to getting it, milliseconds.
        #[pallet::constant]
        type WithdrawalDelay: Get<Moment>;
    }

    /// Why this pallet holds money.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// The escrow of all clients, on the pot account.
        Escrow,
    }

    /// Escrow of each client.
    #[pallet::storage]
    pub type Escrow<T: Config> = StorageMap<_, Blake2_128Concat, AccountId32, EscrowRecord>;

    /// What was settled in all, by client and coordinator. Kept for ever: it is what makes an old
    /// voucher worthless.
    #[pallet::storage]
    pub type Settled<T: Config> = StorageDoubleMap<
        _,
        Blake2_128Concat,
        AccountId32,
        Blake2_128Concat,
        AccountId32,
        Balance,
        ValueQuery,
    >;

    /// Settled epochs by coordinator and number.
    #[pallet::storage]
    pub type Epochs<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, AccountId32, Blake2_128Concat, u64, EpochRecord>;

    /// Number of the last settled epoch of each coordinator, 0 for none.
    #[pallet::storage]
    pub type LastEpoch<T: Config> = StorageMap<_, Blake2_128Concat, AccountId32, u64, ValueQuery>;

    /// What epochs took from whom, for as long as they can be disputed.
    #[pallet::storage]
    pub type Drawn<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, AccountId32, Blake2_128Concat, u64, DrawnRecord>;

    /// The coordinator's first epoch that has a [`Drawn`]; all later ones have one too.
    #[pallet::storage]
    pub type FirstDrawn<T: Config> = StorageMap<_, Blake2_128Concat, AccountId32, u64>;

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A client added to its escrow.
        Deposited {
            client: AccountId32,
            amount: Balance,
        },
        /// A client announced a withdrawal; `withdrawing` is all that is on its way out.
        WithdrawalRequested {
            client: AccountId32,
            withdrawing: Balance,
            withdrawable_at: Moment,
        },
        /// A client got escrow back.
        Withdrawn {
            client: AccountId32,
            amount: Balance,
        },
        /// A voucher was redeemed: `amount` more than before, `cumulative` in all.
        VoucherRedeemed {
            client: AccountId32,
            coordinator: AccountId32,
            cumulative: Balance,
            amount: Balance,
        },
        /// A client that contradicted itself paid for a job out of its escrow.
        EscrowCharged {
            client: AccountId32,
            amount: Balance,
        },
        /// A payout of an epoch was made.
        PaidOut {
            coordinator: AccountId32,
            epoch: u64,
            account: AccountId32,
            amount: Balance,
        },
        /// An epoch was settled.
        EpochSettled {
            coordinator: AccountId32,
            epoch: u64,
            receipts_root: [u8; 32],
            jobs: u32,
            vouchers: u32,
            payouts: u32,
            total: Balance,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// An amount does not fit in 128 bits.
        AmountOverflow,
        /// Two vouchers of one batch are of the same client.
        DuplicateClient,
        /// A settlement needs at least one voucher and one payout.
        EmptyBatch,
        /// The coordinator has settled this epoch before.
        EpochAlreadySettled,
        /// Epochs are settled in order without gaps.
        EpochOutOfOrder,
        /// The client's escrow is smaller than the amount.
        EscrowTooLow,
        /// A voucher's signature does not verify.
        InvalidVoucher,
        /// The sender is no coordinator in good standing.
        NotBondedCoordinator,
        /// The client has not requested a withdrawal, or all of it went to vouchers.
        NothingToWithdraw,
        /// A payout would leave its account below the existential deposit.
        PayoutBelowExistentialDeposit,
        /// The pot itself cannot be paid.
        PayoutToPot,
        /// The payouts do not add up to what the vouchers give.
        PayoutsNotEqualVouchers,
        /// A voucher gives nothing beyond what was settled before.
        VoucherNotIncreasing,
        /// The withdrawal delay is not over.
        WithdrawalNotDue,
        /// An amount is zero.
        ZeroAmount,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::check_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Moves `amount` from the sender's free balance to its escrow.
        #[pallet::call_index(0)]
        #[pallet::weight(weights::deposit::<T>())]
        pub fn deposit(origin: OriginFor<T>, amount: Balance) -> DispatchResult {
            let client = ensure_signed(origin)?;
            ensure!(amount > 0, Error::<T>::ZeroAmount);
            let mut escrow = Escrow::<T>::get(&client).unwrap_or_default();
            escrow.deposit(amount).ok_or(Error::<T>::AmountOverflow)?;
            T::Currency::transfer_and_hold(
                &HoldReason::Escrow.into(),
                &client,
                &Self::pot(),
                amount,
                Precision::Exact,
                Preservation::Preserve,
                Fortitude::Polite,
            )?;
            Escrow::<T>::insert(&client, escrow);
            Self::deposit_event(Event::Deposited { client, amount });
            Ok(())
        }

        /// Announces that the sender wants `amount` of its escrow back. Adds to an earlier request
        /// and starts its delay again.
        #[pallet::call_index(1)]
        #[pallet::weight(weights::request_withdrawal::<T>())]
        pub fn request_withdrawal(origin: OriginFor<T>, amount: Balance) -> DispatchResult {
            let client = ensure_signed(origin)?;
            ensure!(amount > 0, Error::<T>::ZeroAmount);
            let mut escrow = Escrow::<T>::get(&client).ok_or(Error::<T>::EscrowTooLow)?;
            let withdrawable_at = T::Clock::now().saturating_add(T::WithdrawalDelay::get());
            escrow
                .announce(amount, withdrawable_at)
                .ok_or(Error::<T>::EscrowTooLow)?;
            let withdrawing = escrow.withdrawing;
            Escrow::<T>::insert(&client, escrow);
            Self::deposit_event(Event::WithdrawalRequested {
                client,
                withdrawing,
                withdrawable_at,
            });
            Ok(())
        }

        /// Pays out what the sender announced, less what vouchers took meanwhile, once the delay is
        /// over.
        #[pallet::call_index(2)]
        #[pallet::weight(weights::withdraw::<T>())]
        pub fn withdraw(origin: OriginFor<T>) -> DispatchResult {
            let client = ensure_signed(origin)?;
            let mut escrow = Escrow::<T>::get(&client).ok_or(Error::<T>::NothingToWithdraw)?;
            ensure!(escrow.withdrawing > 0, Error::<T>::NothingToWithdraw);
            ensure!(
                T::Clock::now() >= escrow.withdrawable_at,
                Error::<T>::WithdrawalNotDue
            );
            let amount = escrow.release();
            T::Currency::transfer_on_hold(
                &HoldReason::Escrow.into(),
                &Self::pot(),
                &client,
                amount,
                Precision::Exact,
                Restriction::Free,
                Fortitude::Polite,
            )?;
            Self::store_escrow(&client, escrow);
            Self::deposit_event(Event::Withdrawn { client, amount });
            Ok(())
        }

        /// Settles an epoch of the sender, who must be a bonded coordinator: takes from each client
        /// what its voucher exceeds the amount settled before by, and pays all of it out.
        ///
        /// All or nothing. `receipts_root` and `jobs` are recorded for the payees to check.
        #[pallet::call_index(3)]
        #[pallet::weight(weights::settle::<T>(vouchers.len(), payouts.len()))]
        pub fn settle(
            origin: OriginFor<T>,
            epoch: u64,
            receipts_root: [u8; 32],
            jobs: u32,
            vouchers: Vouchers,
            payouts: Payouts,
        ) -> DispatchResult {
            let coordinator = ensure_signed(origin)?;
            ensure!(
                T::Coordinators::has_bonded_coordinator(&coordinator),
                Error::<T>::NotBondedCoordinator
            );
            let last = LastEpoch::<T>::get(&coordinator);
            ensure!(epoch > last, Error::<T>::EpochAlreadySettled);
            ensure!(epoch - last == 1, Error::<T>::EpochOutOfOrder);
            ensure!(
                !vouchers.is_empty() && !payouts.is_empty(),
                Error::<T>::EmptyBatch
            );

            let total = Self::check_payouts(&payouts)?;
            let takings = Self::check_vouchers(&coordinator, &vouchers)?;
            let taken = checked_sum::<T>(takings.iter().map(|taking| taking.amount))?;
            ensure!(taken == total, Error::<T>::PayoutsNotEqualVouchers);

            with_storage_layer(|| -> DispatchResult {
                let mut draws = Vec::with_capacity(takings.len());
                for taking in takings {
                    draws.push(Draw {
                        client: taking.client.clone(),
                        from: taking.cumulative - taking.amount,
                        to: taking.cumulative,
                    });
                    Self::take(&coordinator, taking);
                }
                // Within this call, and nowhere else, the takings are in the pot's free balance.
                T::Currency::release(
                    &HoldReason::Escrow.into(),
                    &Self::pot(),
                    total,
                    Precision::Exact,
                )?;
                for payout in &payouts {
                    Self::pay(&coordinator, epoch, payout)?;
                }
                let settled_at = T::Clock::now();
                Epochs::<T>::insert(
                    &coordinator,
                    epoch,
                    EpochRecord {
                        receipts_root,
                        jobs,
                        total,
                        settled_at,
                    },
                );
                LastEpoch::<T>::insert(&coordinator, epoch);
                Self::remember_drawn(&coordinator, epoch, draws, &payouts);
                Self::deposit_event(Event::EpochSettled {
                    coordinator,
                    epoch,
                    receipts_root,
                    jobs,
                    vouchers: vouchers.len() as u32,
                    payouts: payouts.len() as u32,
                    total,
                });
                Ok(())
            })
        }
    }

    /// What one voucher of a batch gives, checked.
    struct Taking {
        client: AccountId32,
        cumulative: Balance,
        amount: Balance,
        escrow: EscrowRecord,
    }

    impl<T: Config> Pallet<T> {
        /// The account that keeps all escrow.
        pub fn pot() -> AccountId32 {
            T::PalletId::get().into_account_truncating()
        }

        /// Checks the invariants in the module's documentation.
        pub fn check_state() -> Result<(), DispatchError> {
            let mut escrow = 0;
            for (_, record) in Escrow::<T>::iter() {
                ensure!(record.total() > 0, "an empty escrow was kept");
                escrow += record.total();
            }
            ensure!(
                T::Currency::balance_on_hold(&HoldReason::Escrow.into(), &Self::pot()) == escrow,
                "the pot's money on hold differs from the sum of all escrow"
            );

            let mut settled = BTreeMap::<AccountId32, Balance>::new();
            for (_, coordinator, amount) in Settled::<T>::iter() {
                *settled.entry(coordinator).or_default() += amount;
            }
            let mut epochs = BTreeMap::<AccountId32, (u64, u64, Balance)>::new();
            for (coordinator, epoch, record) in Epochs::<T>::iter() {
                let (count, highest, total) = epochs.entry(coordinator).or_default();
                *count += 1;
                *highest = epoch.max(*highest);
                *total += record.total;
            }
            ensure!(
                settled.keys().eq(epochs.keys()),
                "money was settled outside an epoch, or an epoch without money"
            );
            ensure!(
                LastEpoch::<T>::iter_keys().all(|coordinator| epochs.contains_key(&coordinator)),
                "a coordinator has a last epoch but no epochs"
            );
            for (coordinator, (count, highest, total)) in &epochs {
                ensure!(
                    count == highest && *highest == LastEpoch::<T>::get(coordinator),
                    "a coordinator's epochs have gaps"
                );
                ensure!(
                    settled.get(coordinator) == Some(total),
                    "a coordinator's epochs do not add up to what was settled with it"
                );
            }
            for coordinator in LastEpoch::<T>::iter_keys() {
                let last = LastEpoch::<T>::get(&coordinator);
                let first = FirstDrawn::<T>::get(&coordinator).unwrap_or(last.saturating_add(1));
                let kept = Drawn::<T>::iter_prefix(&coordinator).map(|(epoch, _)| epoch);
                ensure!(
                    kept.collect::<BTreeSet<_>>() == (first..=last).collect(),
                    "what epochs took is not kept without gaps"
                );
            }
            Ok(())
        }

        fn check_payouts(payouts: &Payouts) -> Result<Balance, DispatchError> {
            let pot = Self::pot();
            for payout in payouts {
                ensure!(payout.amount > 0, Error::<T>::ZeroAmount);
                ensure!(payout.account != pot, Error::<T>::PayoutToPot);
            }
            checked_sum::<T>(payouts.iter().map(|payout| payout.amount))
        }

        fn check_vouchers(
            coordinator: &AccountId32,
            vouchers: &Vouchers,
        ) -> Result<Vec<Taking>, DispatchError> {
            let mut clients = BTreeSet::new();
            let mut takings = Vec::with_capacity(vouchers.len());
            for voucher in vouchers {
                let VoucherClaim {
                    client, cumulative, ..
                } = voucher;
                ensure!(clients.insert(client), Error::<T>::DuplicateClient);
                let amount = cumulative.saturating_sub(Settled::<T>::get(client, coordinator));
                ensure!(amount > 0, Error::<T>::VoucherNotIncreasing);
                let mut escrow = Escrow::<T>::get(client).ok_or(Error::<T>::EscrowTooLow)?;
                escrow.draw(amount).ok_or(Error::<T>::EscrowTooLow)?;
                // Last, because it costs most.
                ensure!(voucher.verify(coordinator), Error::<T>::InvalidVoucher);
                let (client, cumulative) = (client.clone(), *cumulative);
                takings.push(Taking {
                    client,
                    cumulative,
                    amount,
                    escrow,
                });
            }
            Ok(takings)
        }

        fn take(coordinator: &AccountId32, taking: Taking) {
            let Taking {
                client,
                cumulative,
                amount,
                escrow,
            } = taking;
            Self::store_escrow(&client, escrow);
            Settled::<T>::insert(&client, coordinator, cumulative);
            let coordinator = coordinator.clone();
            Self::deposit_event(Event::VoucherRedeemed {
                client,
                coordinator,
                cumulative,
                amount,
            });
        }

        fn pay(coordinator: &AccountId32, epoch: u64, payout: &PayoutItem) -> DispatchResult {
            let PayoutItem { account, amount } = payout;
            ensure!(
                T::Currency::can_deposit(account, *amount, Provenance::Extant)
                    != DepositConsequence::BelowMinimum,
                Error::<T>::PayoutBelowExistentialDeposit
            );
            T::Currency::transfer(&Self::pot(), account, *amount, Preservation::Preserve)?;
            Self::deposit_event(Event::PaidOut {
                coordinator: coordinator.clone(),
                epoch,
                account: account.clone(),
                amount: *amount,
            });
            Ok(())
        }

        pub(super) fn store_escrow(client: &AccountId32, escrow: EscrowRecord) {
            if escrow.total() == 0 {
                Escrow::<T>::remove(client);
            } else {
                Escrow::<T>::insert(client, escrow);
            }
        }
    }

    pub(super) fn checked_sum<T: Config>(
        mut amounts: impl Iterator<Item = Balance>,
    ) -> Result<Balance, DispatchError> {
        amounts
            .try_fold(0, Balance::checked_add)
            .ok_or_else(|| Error::<T>::AmountOverflow.into())
    }
}
