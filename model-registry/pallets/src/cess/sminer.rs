//! Storage miners: accounts that keep fragments, and how much room each has.
//!
//! A miner declares room by the TiB and puts down collateral for it. Declared room is idle, locked (for
//! fragments that it reported of declared files, and for repairs that it took on) or in service (for
//! fragments of files): `idle + lock + service = declaration`.
//!
//! Collateral is on hold at the staking account until the miner has left. It is not slashed: what a miner
//! lost is recorded by [`audit`](super::audit), and what follows from it is not decided here.

mod miner;

use frame_support::{BoundedVec, traits::ConstU32};
use sp_runtime::AccountId32;

pub use miner::{BloomFilter, MinerInfo, MinerState, PoISKey, SpaceProofInfo};
pub use pallet::*;

/// Most bytes of an endpoint.
pub const MAX_ENDPOINT: u32 = 100;
/// Most miners.
pub const MAX_MINERS: u32 = 10_000;

/// Where a miner is reached.
pub type EndPoint = BoundedVec<u8, ConstU32<MAX_ENDPOINT>>;

#[frame_support::pallet]
pub mod pallet {
    use alloc::collections::{BTreeMap, BTreeSet};

    use frame_support::{
        pallet_prelude::*,
        traits::{
            fungible::{self, MutateHold as _},
            tokens::Precision,
        },
    };
    use frame_system::pallet_prelude::*;
    use sp_runtime::DispatchError;

    use super::*;
    use crate::{
        Balance,
        cess::{
            TIB,
            storage_handler::{self, TotalIdleSpace, TotalServiceSpace},
        },
        weights::cess as weights,
    };

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config:
        frame_system::Config<AccountId = AccountId32> + storage_handler::Config
    {
        /// Where collateral is held.
        type Collateral: fungible::MutateHold<AccountId32, Balance = Balance, Reason = Self::RuntimeHoldReason>;
        /// Least collateral for each declared TiB, planck.
        #[pallet::constant]
        type CollateralPerTib: Get<Balance>;
        /// The runtime's reasons for holds.
        type RuntimeHoldReason: From<HoldReason>;
    }

    /// Why this pallet holds money.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// Collateral of storage miners.
        Miner,
    }

    /// Miners by account.
    #[pallet::storage]
    pub type MinerItems<T: Config> = StorageMap<_, Blake2_128Concat, AccountId32, MinerInfo>;

    /// All miners.
    #[pallet::storage]
    pub type AllMiner<T: Config> =
        StorageValue<_, BoundedVec<AccountId32, ConstU32<MAX_MINERS>>, ValueQuery>;

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A miner registered.
        Registered { acc: AccountId32 },
        /// A miner's collateral grew.
        IncreaseCollateral { acc: AccountId32, balance: Balance },
        /// Somebody else is paid for a miner.
        UpdateBeneficiary { acc: AccountId32, new: AccountId32 },
        /// A miner is reached elsewhere.
        UpdateEndPoint {
            acc: AccountId32,
            endpoint: EndPoint,
        },
        /// A miner has more room.
        IncreaseDeclarationSpace { miner: AccountId32, space: u128 },
        /// A miner takes no new fragments, because it wants to leave.
        MinerExitPrep { miner: AccountId32 },
        /// A miner has left.
        Withdraw { acc: AccountId32 },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The account is a miner already.
        AlreadyRegistered,
        /// There are as many miners as there may be.
        BoundedVecError,
        /// The collateral is too little for the declared space.
        CollateralNotUp,
        /// The miner has too little idle space.
        InsufficientIdleSpace,
        /// The account is no miner.
        NotMiner,
        /// The miner still has fragments of files or declarations.
        NotEmpty,
        /// A number does not fit.
        Overflow,
        /// The miner's state does not permit it.
        StateError,
        /// Nothing was asked for.
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
        /// Registers the sender as a miner of `tib_count` TiB, with `staking` as collateral.
        #[pallet::call_index(0)]
        #[pallet::weight(weights::register_miner::<T>())]
        pub fn regnstk(
            origin: OriginFor<T>,
            beneficiary: AccountId32,
            endpoint: EndPoint,
            staking: u128,
            tib_count: u32,
        ) -> DispatchResult {
            let acc = ensure_signed(origin)?;
            ensure!(
                !MinerItems::<T>::contains_key(&acc),
                Error::<T>::AlreadyRegistered
            );
            ensure!(tib_count > 0, Error::<T>::ZeroAmount);
            let space = u128::from(tib_count) * TIB;
            ensure!(
                staking >= Self::least_collateral(space)?,
                Error::<T>::CollateralNotUp
            );
            AllMiner::<T>::try_append(acc.clone()).map_err(|()| Error::<T>::BoundedVecError)?;
            T::Collateral::hold(&HoldReason::Miner.into(), &acc, staking)?;
            let miner = MinerInfo::new(beneficiary, acc.clone(), endpoint, staking, space);
            MinerItems::<T>::insert(&acc, miner);
            Self::declare_more(space)?;
            Self::deposit_event(Event::Registered { acc });
            Ok(())
        }

        /// Adds to the collateral of a miner; the sender pays and must be its staking account.
        #[pallet::call_index(1)]
        #[pallet::weight(weights::register_miner::<T>())]
        pub fn increase_collateral(
            origin: OriginFor<T>,
            miner: AccountId32,
            collaterals: u128,
        ) -> DispatchResult {
            let sender = ensure_signed(origin)?;
            ensure!(collaterals > 0, Error::<T>::ZeroAmount);
            let mut record = Self::miner(&miner)?;
            ensure!(record.staking_account == sender, Error::<T>::StateError);
            record.collaterals = record
                .collaterals
                .checked_add(collaterals)
                .ok_or(Error::<T>::Overflow)?;
            T::Collateral::hold(&HoldReason::Miner.into(), &sender, collaterals)?;
            let balance = record.collaterals;
            MinerItems::<T>::insert(&miner, record);
            Self::deposit_event(Event::IncreaseCollateral {
                acc: miner,
                balance,
            });
            Ok(())
        }

        /// Says who is paid for the sender, a miner.
        #[pallet::call_index(2)]
        #[pallet::weight(weights::update_miner::<T>())]
        pub fn update_beneficiary(
            origin: OriginFor<T>,
            beneficiary: AccountId32,
        ) -> DispatchResult {
            let acc = ensure_signed(origin)?;
            let mut record = Self::miner(&acc)?;
            record.beneficiary = beneficiary.clone();
            MinerItems::<T>::insert(&acc, record);
            Self::deposit_event(Event::UpdateBeneficiary {
                acc,
                new: beneficiary,
            });
            Ok(())
        }

        /// Says where the sender, a miner, is reached.
        #[pallet::call_index(3)]
        #[pallet::weight(weights::update_miner::<T>())]
        pub fn update_endpoint(origin: OriginFor<T>, endpoint: EndPoint) -> DispatchResult {
            let acc = ensure_signed(origin)?;
            let mut record = Self::miner(&acc)?;
            record.endpoint = endpoint.clone();
            MinerItems::<T>::insert(&acc, record);
            Self::deposit_event(Event::UpdateEndPoint { acc, endpoint });
            Ok(())
        }

        /// Lets the sender, a miner, take no new fragments, so that it can leave when it has none.
        #[pallet::call_index(7)]
        #[pallet::weight(weights::update_miner::<T>())]
        pub fn miner_exit_prep(origin: OriginFor<T>, miner: AccountId32) -> DispatchResult {
            let sender = ensure_signed(origin)?;
            let mut record = Self::miner(&miner)?;
            ensure!(
                sender == miner || sender == record.staking_account,
                Error::<T>::StateError
            );
            ensure!(record.is(MinerState::Positive), Error::<T>::StateError);
            record.state = MinerState::Lock.bytes();
            MinerItems::<T>::insert(&miner, record);
            Self::deposit_event(Event::MinerExitPrep { miner });
            Ok(())
        }

        /// Lets the sender, a miner that has no fragments any more, leave, and gives its collateral back.
        #[pallet::call_index(9)]
        #[pallet::weight(weights::register_miner::<T>())]
        pub fn miner_withdraw(origin: OriginFor<T>) -> DispatchResult {
            let acc = ensure_signed(origin)?;
            let record = Self::miner(&acc)?;
            ensure!(record.is(MinerState::Lock), Error::<T>::StateError);
            ensure!(record.is_empty(), Error::<T>::NotEmpty);
            T::Collateral::release(
                &HoldReason::Miner.into(),
                &record.staking_account,
                record.collaterals,
                Precision::Exact,
            )?;
            AllMiner::<T>::mutate(|all| all.retain(|miner| *miner != acc));
            TotalIdleSpace::<T>::mutate(|idle| *idle = idle.saturating_sub(record.idle_space));
            MinerItems::<T>::remove(&acc);
            Self::deposit_event(Event::Withdraw { acc });
            Ok(())
        }

        /// Declares `tib_count` TiB more of the sender, a miner, whose collateral must suffice.
        #[pallet::call_index(18)]
        #[pallet::weight(weights::update_miner::<T>())]
        pub fn increase_declaration_space(origin: OriginFor<T>, tib_count: u32) -> DispatchResult {
            let miner = ensure_signed(origin)?;
            ensure!(tib_count > 0, Error::<T>::ZeroAmount);
            let space = u128::from(tib_count) * TIB;
            let mut record = Self::miner(&miner)?;
            ensure!(record.is(MinerState::Positive), Error::<T>::StateError);
            record.declare(space);
            ensure!(
                record.collaterals >= Self::least_collateral(record.declaration_space)?,
                Error::<T>::CollateralNotUp
            );
            MinerItems::<T>::insert(&miner, record);
            Self::declare_more(space)?;
            Self::deposit_event(Event::IncreaseDeclarationSpace { miner, space });
            Ok(())
        }
    }

    impl<T: Config> Pallet<T> {
        /// Checks every miner's account and collateral, and the sums over all.
        pub fn check_state() -> Result<(), DispatchError> {
            let (mut idle, mut service) = (0, 0);
            let mut held = BTreeMap::<AccountId32, Balance>::new();
            let mut miners = BTreeSet::new();
            for (account, miner) in MinerItems::<T>::iter() {
                ensure!(miner.adds_up(), "a miner's space does not add up");
                idle += miner.idle_space + miner.lock_space;
                service += miner.service_space;
                *held.entry(miner.staking_account).or_default() += miner.collaterals;
                miners.insert(account);
            }
            ensure!(
                TotalIdleSpace::<T>::get() == idle,
                "the total of idle space differs from that of all miners"
            );
            ensure!(
                TotalServiceSpace::<T>::get() == service,
                "the total of service space differs from that of all miners"
            );
            ensure!(
                crate::holds_match::<T::Collateral>(&HoldReason::Miner.into(), &held),
                "an account does not hold the collateral of its miners"
            );
            let all = AllMiner::<T>::get();
            ensure!(
                all.len() == miners.len() && all.iter().all(|miner| miners.contains(miner)),
                "the list of miners differs from the miners"
            );
            Ok(())
        }

        /// The miner with that account.
        pub(crate) fn miner(account: &AccountId32) -> Result<MinerInfo, DispatchError> {
            Ok(MinerItems::<T>::get(account).ok_or(Error::<T>::NotMiner)?)
        }

        /// Changes a miner's account by `change`, which fails if there is too little. Totals follow.
        pub(crate) fn account(
            account: &AccountId32,
            change: impl FnOnce(&mut MinerInfo) -> Option<()>,
        ) -> DispatchResult {
            let mut record = Self::miner(account)?;
            let before = record.service_space;
            change(&mut record).ok_or(Error::<T>::InsufficientIdleSpace)?;
            let after = record.service_space;
            // The two totals exchange what went into service or came out of it.
            TotalServiceSpace::<T>::mutate(|total| {
                *total = total.saturating_add(after).saturating_sub(before);
            });
            TotalIdleSpace::<T>::mutate(|total| {
                *total = total.saturating_add(before).saturating_sub(after);
            });
            MinerItems::<T>::insert(account, record);
            Ok(())
        }

        fn declare_more(space: u128) -> DispatchResult {
            TotalIdleSpace::<T>::try_mutate(|idle| {
                *idle = idle.checked_add(space).ok_or(Error::<T>::Overflow)?;
                Ok(())
            })
        }

        fn least_collateral(space: u128) -> Result<Balance, DispatchError> {
            let least = (space / TIB).checked_mul(T::CollateralPerTib::get());
            Ok(least.ok_or(Error::<T>::Overflow)?)
        }
    }
}
