//! Territories: space that an account rents by the GiB and the day, and the account of all space.
//!
//! A territory is *active* until its deadline, *frozen* for some days then (nothing can be put into it,
//! everything can be read and deleted, and renewing makes it active again), and *expired* after that: its
//! files are removed, and its space is sold to others. An expired territory can be bought anew under its
//! name once its files are gone.

mod territory;

use frame_support::{BoundedVec, traits::ConstU32};
use sp_runtime::{AccountId32, DispatchError};

pub use pallet::*;
pub use territory::{TerritoryInfo, TerritoryState};

/// Most bytes of a territory's name.
pub const MAX_TERRITORY_NAME: u32 = 63;
/// Fewest days that a territory is minted for.
pub const MIN_DAYS: u32 = 30;

/// What a territory is called by its owner.
pub type TerrName = BoundedVec<u8, ConstU32<MAX_TERRITORY_NAME>>;

/// Is told of territories that expire.
pub trait OnExpired {
    /// Removes what is in the territory, now or soon; fails if too many others wait.
    fn expired(account: &AccountId32, name: &TerrName) -> Result<(), DispatchError>;
}

#[frame_support::pallet]
pub mod pallet {
    use alloc::{collections::BTreeMap, vec::Vec};

    use frame_support::{
        pallet_prelude::*,
        traits::{fungible, tokens::Preservation},
    };
    use frame_system::pallet_prelude::*;
    use sp_core::H256;

    use super::*;
    use crate::{
        Balance,
        cess::{GIB, agenda, now},
        weights::cess as weights,
    };

    /// Most territories that change their state while one block is made.
    const DUE_PER_BLOCK: usize = 16;

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: frame_system::Config<AccountId = AccountId32> {
        /// What space is paid in.
        type Currency: fungible::Mutate<AccountId32, Balance = Balance>;
        /// For how many days a territory is frozen before it expires.
        #[pallet::constant]
        type FrozenDays: Get<u32>;
        /// Blocks of a day.
        #[pallet::constant]
        type OneDay: Get<u32>;
        /// Removes what is in a territory that expired.
        type OnExpired: OnExpired;
        /// Who is paid for space.
        type PaidTo: Get<AccountId32>;
    }

    /// Territories by owner and name.
    #[pallet::storage]
    pub type Territory<T: Config> = StorageDoubleMap<
        _,
        Blake2_128Concat,
        AccountId32,
        Blake2_128Concat,
        TerrName,
        TerritoryInfo,
    >;

    /// Owner and name of a territory by its token.
    #[pallet::storage]
    pub type TerritoryKey<T: Config> =
        StorageMap<_, Blake2_128Concat, H256, (AccountId32, TerrName)>;

    /// When territories change their state next.
    #[pallet::storage]
    pub type DueAt<T: Config> = StorageMap<_, Blake2_128Concat, H256, u32>;

    /// The same by block.
    #[pallet::storage]
    pub type Due<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, u32, Blake2_128Concat, H256, ()>;

    /// The first block whose territories may not all have changed their state.
    #[pallet::storage]
    pub type NextDue<T: Config> = StorageValue<_, u32, ValueQuery>;

    /// How many territories were ever minted; makes their tokens differ.
    #[pallet::storage]
    pub type Minted<T: Config> = StorageValue<_, u64, ValueQuery>;

    /// Price of one GiB for one day, planck.
    #[pallet::storage]
    pub type UnitPrice<T: Config> = StorageValue<_, Balance>;

    /// What miners have and no file uses, bytes.
    #[pallet::storage]
    pub type TotalIdleSpace<T: Config> = StorageValue<_, u128, ValueQuery>;

    /// What files use at miners, bytes.
    #[pallet::storage]
    pub type TotalServiceSpace<T: Config> = StorageValue<_, u128, ValueQuery>;

    /// What territories that have not expired are entitled to, bytes.
    #[pallet::storage]
    pub type PurchasedSpace<T: Config> = StorageValue<_, u128, ValueQuery>;

    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// Price of one GiB for one day, planck.
        pub price: Balance,
        #[serde(skip)]
        pub _runtime: PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            UnitPrice::<T>::put(self.price);
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A territory was bought.
        MintTerritory {
            token: H256,
            name: TerrName,
            storage_capacity: u128,
            spend: Balance,
        },
        /// A territory became larger.
        ExpansionTerritory {
            name: TerrName,
            expansion_space: u128,
            spend: Balance,
        },
        /// A territory will last longer.
        RenewalTerritory {
            name: TerrName,
            days: u32,
            spend: Balance,
        },
        /// An expired territory was bought anew.
        ReactivateTerritory {
            name: TerrName,
            days: u32,
            spend: Balance,
        },
        /// A territory has another owner.
        GrantsTerritory {
            token: H256,
            from: AccountId32,
            to: AccountId32,
        },
        /// A territory has another name.
        RenameTerritory {
            token: H256,
            old: TerrName,
            new: TerrName,
        },
        /// A territory's lease is over; it can be renewed for some days.
        LeaseExpired {
            acc: AccountId32,
            name: TerrName,
            size: u128,
        },
        /// A territory has expired; what was in it is removed.
        TerritoryExpired {
            acc: AccountId32,
            name: TerrName,
            size: u128,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The account has a territory of this name already.
        DuplicateNames,
        /// The miners do not have that much space that is not sold.
        InsufficientAvailableSpace,
        /// The territory has too little space left for this file.
        InsufficientStorage,
        /// A territory has a name.
        InvalidName,
        /// The account has no territory of this name.
        NotHaveTerritory,
        /// The territory is not active: its lease is over.
        NotActive,
        /// The territory still has files or declarations.
        ObjectNotZero,
        /// The territory has not expired.
        NotExpire,
        /// A number does not fit.
        Overflow,
        /// A territory is bought for 30 days at least.
        RentTooShort,
        /// Nothing was asked for.
        ZeroAmount,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(_: BlockNumberFor<T>) -> Weight {
            Self::turn();
            weights::turn_territories::<T>(DUE_PER_BLOCK)
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::check_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Buys a territory of `gib_count` GiB for `days` days.
        #[pallet::call_index(0)]
        #[pallet::weight(weights::buy_space::<T>())]
        pub fn mint_territory(
            origin: OriginFor<T>,
            gib_count: u32,
            territory_name: TerrName,
            days: u32,
        ) -> DispatchResult {
            let sender = ensure_signed(origin)?;
            ensure!(!territory_name.is_empty(), Error::<T>::InvalidName);
            ensure!(days >= MIN_DAYS, Error::<T>::RentTooShort);
            ensure!(
                !Territory::<T>::contains_key(&sender, &territory_name),
                Error::<T>::DuplicateNames
            );
            let start = now::<T>();
            let deadline = Self::later(start, days)?;
            let storage_capacity = Self::sell(gib_count)?;
            let spend = Self::charge(&sender, gib_count, days)?;
            let number = Minted::<T>::mutate(|count| {
                *count = count.wrapping_add(1);
                *count
            });
            let token = (b"territory", &sender, number).using_encoded(sp_io::hashing::blake2_256);
            let token = H256(token);
            let territory = TerritoryInfo::new(token, storage_capacity, start, deadline);
            Territory::<T>::insert(&sender, &territory_name, territory);
            TerritoryKey::<T>::insert(token, (&sender, &territory_name));
            Self::schedule(token, Some(deadline));
            Self::deposit_event(Event::MintTerritory {
                token,
                name: territory_name,
                storage_capacity,
                spend,
            });
            Ok(())
        }

        /// Buys `gib_count` GiB more, for as long as the territory lasts.
        #[pallet::call_index(1)]
        #[pallet::weight(weights::buy_space::<T>())]
        pub fn expanding_territory(
            origin: OriginFor<T>,
            territory_name: TerrName,
            gib_count: u32,
        ) -> DispatchResult {
            let sender = ensure_signed(origin)?;
            let mut territory = Self::active(&sender, &territory_name)?;
            let expansion_space = Self::sell(gib_count)?;
            let left = territory.deadline.saturating_sub(now::<T>());
            // A day that has begun is paid.
            let days = left.div_ceil(T::OneDay::get().max(1));
            let spend = Self::charge(&sender, gib_count, days)?;
            territory.grow(expansion_space);
            Territory::<T>::insert(&sender, &territory_name, territory);
            Self::deposit_event(Event::ExpansionTerritory {
                name: territory_name,
                expansion_space,
                spend,
            });
            Ok(())
        }

        /// Lets a territory last `days` days longer; from now on if its lease is over.
        #[pallet::call_index(2)]
        #[pallet::weight(weights::buy_space::<T>())]
        pub fn renewal_territory(
            origin: OriginFor<T>,
            territory_name: TerrName,
            days: u32,
        ) -> DispatchResult {
            let sender = ensure_signed(origin)?;
            ensure!(days > 0, Error::<T>::ZeroAmount);
            let mut territory = Self::territory(&sender, &territory_name)?;
            match territory.state {
                TerritoryState::Active => {
                    territory.deadline = Self::later(territory.deadline, days)?;
                }
                TerritoryState::Frozen => {
                    territory.start = now::<T>();
                    territory.deadline = Self::later(territory.start, days)?;
                    territory.state = TerritoryState::Active;
                }
                _ => return Err(Error::<T>::NotActive.into()),
            }
            let spend = Self::charge(&sender, territory.gib(), days)?;
            Self::schedule(territory.token, Some(territory.deadline));
            Territory::<T>::insert(&sender, &territory_name, territory);
            Self::deposit_event(Event::RenewalTerritory {
                name: territory_name,
                days,
                spend,
            });
            Ok(())
        }

        /// Buys an expired territory of the sender anew.
        #[pallet::call_index(101)]
        #[pallet::weight(weights::buy_space::<T>())]
        pub fn reactivate_territory(
            origin: OriginFor<T>,
            territory_name: TerrName,
            days: u32,
        ) -> DispatchResult {
            let sender = ensure_signed(origin)?;
            Self::reactivate(&sender, sender.clone(), territory_name, days)
        }

        /// Moves an empty territory to another account.
        #[pallet::call_index(107)]
        #[pallet::weight(weights::move_territory::<T>())]
        pub fn territory_grants(
            origin: OriginFor<T>,
            territory_name: TerrName,
            receiver: AccountId32,
        ) -> DispatchResult {
            let sender = ensure_signed(origin)?;
            let to = (receiver.clone(), territory_name.clone());
            let token = Self::relocate((sender.clone(), territory_name), to)?;
            Self::deposit_event(Event::GrantsTerritory {
                token,
                from: sender,
                to: receiver,
            });
            Ok(())
        }

        /// Gives an empty territory another name.
        #[pallet::call_index(108)]
        #[pallet::weight(weights::move_territory::<T>())]
        pub fn territory_rename(
            origin: OriginFor<T>,
            old_name: TerrName,
            new_name: TerrName,
        ) -> DispatchResult {
            let sender = ensure_signed(origin)?;
            ensure!(!new_name.is_empty(), Error::<T>::InvalidName);
            let (from, to) = (
                (sender.clone(), old_name.clone()),
                (sender, new_name.clone()),
            );
            let token = Self::relocate(from, to)?;
            Self::deposit_event(Event::RenameTerritory {
                token,
                old: old_name,
                new: new_name,
            });
            Ok(())
        }

        /// Buys an expired territory of another account anew; the sender pays.
        #[pallet::call_index(120)]
        #[pallet::weight(weights::buy_space::<T>())]
        pub fn other_reactivate_territory(
            origin: OriginFor<T>,
            acc: AccountId32,
            territory_name: TerrName,
            days: u32,
        ) -> DispatchResult {
            let sender = ensure_signed(origin)?;
            Self::reactivate(&sender, acc, territory_name, days)
        }
    }

    impl<T: Config> Pallet<T> {
        /// Checks every territory's account, the two maps of tokens, the agenda and the sum sold.
        pub fn check_state() -> Result<(), DispatchError> {
            let mut purchased = 0;
            let mut due = BTreeMap::new();
            for (account, name, territory) in Territory::<T>::iter() {
                ensure!(territory.adds_up(), "a territory does not add up");
                ensure!(
                    TerritoryKey::<T>::get(territory.token) == Some((account, name)),
                    "a territory's token leads elsewhere"
                );
                if territory.state == TerritoryState::Expired {
                    ensure!(
                        territory.locked_space == 0,
                        "an expired territory has declarations"
                    );
                    continue;
                }
                purchased += territory.total_space;
                let at = DueAt::<T>::get(territory.token).ok_or("a territory never expires")?;
                ensure!(
                    at >= territory.deadline,
                    "a territory expires before its deadline"
                );
                due.insert((at, territory.token), ());
            }
            ensure!(
                PurchasedSpace::<T>::get() == purchased,
                "the space sold differs from that of all territories"
            );
            ensure!(
                TerritoryKey::<T>::iter().count() == Territory::<T>::iter().count(),
                "a token leads to no territory"
            );
            let agenda: BTreeMap<_, _> = Due::<T>::iter()
                .map(|(at, token, ())| ((at, token), ()))
                .collect();
            ensure!(agenda == due, "the agenda differs from the territories");
            ensure!(
                DueAt::<T>::iter().count() == due.len(),
                "a territory is due twice"
            );
            ensure!(
                agenda.keys().all(|(at, _)| *at >= NextDue::<T>::get()),
                "a territory's time was missed"
            );
            Ok(())
        }

        /// What an account has under this name.
        pub fn territory(
            account: &AccountId32,
            name: &TerrName,
        ) -> Result<TerritoryInfo, DispatchError> {
            Ok(Territory::<T>::get(account, name).ok_or(Error::<T>::NotHaveTerritory)?)
        }

        /// Changes the account of a territory by `change`, which fails if there is too little.
        pub(crate) fn account(
            owner: &AccountId32,
            name: &TerrName,
            change: impl FnOnce(&mut TerritoryInfo) -> Option<()>,
        ) -> DispatchResult {
            let mut territory = Self::territory(owner, name)?;
            change(&mut territory).ok_or(Error::<T>::InsufficientStorage)?;
            Territory::<T>::insert(owner, name, territory);
            Ok(())
        }

        /// A territory that files can be put into.
        pub(crate) fn active(
            account: &AccountId32,
            name: &TerrName,
        ) -> Result<TerritoryInfo, DispatchError> {
            let territory = Self::territory(account, name)?;
            ensure!(
                territory.state == TerritoryState::Active && now::<T>() < territory.deadline,
                Error::<T>::NotActive
            );
            Ok(territory)
        }

        /// Takes space out of what miners have that is not sold.
        fn sell(gib_count: u32) -> Result<u128, DispatchError> {
            ensure!(gib_count > 0, Error::<T>::ZeroAmount);
            let space = u128::from(gib_count) * GIB;
            Self::take_sold(space)?;
            Ok(space)
        }

        fn take_sold(space: u128) -> DispatchResult {
            let there_is = TotalIdleSpace::<T>::get().saturating_add(TotalServiceSpace::<T>::get());
            let purchased = PurchasedSpace::<T>::get().saturating_add(space);
            ensure!(
                purchased <= there_is,
                Error::<T>::InsufficientAvailableSpace
            );
            PurchasedSpace::<T>::put(purchased);
            Ok(())
        }

        fn charge(payer: &AccountId32, gib: u32, days: u32) -> Result<Balance, DispatchError> {
            let spend = UnitPrice::<T>::get()
                .unwrap_or_default()
                .checked_mul(u128::from(gib))
                .and_then(|price| price.checked_mul(u128::from(days)))
                .ok_or(Error::<T>::Overflow)?;
            let to = T::PaidTo::get();
            if spend > 0 {
                <T::Currency as fungible::Mutate<_>>::transfer(
                    payer,
                    &to,
                    spend,
                    Preservation::Preserve,
                )?;
            }
            Ok(spend)
        }

        fn later(block: u32, days: u32) -> Result<u32, DispatchError> {
            let later = days
                .checked_mul(T::OneDay::get())
                .and_then(|blocks| block.checked_add(blocks));
            Ok(later.ok_or(Error::<T>::Overflow)?)
        }

        fn reactivate(
            payer: &AccountId32,
            owner: AccountId32,
            name: TerrName,
            days: u32,
        ) -> DispatchResult {
            ensure!(days >= MIN_DAYS, Error::<T>::RentTooShort);
            let mut territory = Self::territory(&owner, &name)?;
            ensure!(
                territory.state == TerritoryState::Expired,
                Error::<T>::NotExpire
            );
            ensure!(territory.is_empty(), Error::<T>::ObjectNotZero);
            Self::take_sold(territory.total_space)?;
            let spend = Self::charge(payer, territory.gib(), days)?;
            territory.start = now::<T>();
            territory.deadline = Self::later(territory.start, days)?;
            territory.state = TerritoryState::Active;
            Self::schedule(territory.token, Some(territory.deadline));
            Territory::<T>::insert(&owner, &name, territory);
            Self::deposit_event(Event::ReactivateTerritory { name, days, spend });
            Ok(())
        }

        fn relocate(
            from: (AccountId32, TerrName),
            to: (AccountId32, TerrName),
        ) -> Result<H256, DispatchError> {
            let territory = Self::active(&from.0, &from.1)?;
            ensure!(territory.is_empty(), Error::<T>::ObjectNotZero);
            ensure!(
                !Territory::<T>::contains_key(&to.0, &to.1),
                Error::<T>::DuplicateNames
            );
            let token = territory.token;
            Territory::<T>::remove(&from.0, &from.1);
            Territory::<T>::insert(&to.0, &to.1, territory);
            TerritoryKey::<T>::insert(token, to);
            Ok(token)
        }

        /// Puts a territory on the agenda at `at`, and nowhere else.
        fn schedule(token: H256, at: Option<u32>) {
            if let Some(before) = DueAt::<T>::take(token) {
                Due::<T>::remove(before, token);
            }
            if let Some(at) = at {
                // What is due already is done in the next block.
                let at = at.max(NextDue::<T>::get());
                DueAt::<T>::insert(token, at);
                Due::<T>::insert(at, token, ());
            }
        }

        /// Changes the state of territories whose time has come.
        fn turn() {
            let now = now::<T>();
            let due =
                |at, limit| -> Vec<H256> { Due::<T>::iter_key_prefix(at).take(limit).collect() };
            let next = NextDue::<T>::get();
            let next = agenda::advance(next, now, DUE_PER_BLOCK, due, |_, token| {
                let at = Self::expire(token, now);
                Self::schedule(token, at);
            });
            NextDue::<T>::put(next);
        }

        /// Lets a territory take its next state; gives when the one after that is due.
        fn expire(token: H256, now: u32) -> Option<u32> {
            let (acc, name) = TerritoryKey::<T>::get(token)?;
            let mut territory = Territory::<T>::get(&acc, &name)?;
            let size = territory.total_space;
            if territory.state != TerritoryState::Frozen {
                territory.state = TerritoryState::Frozen;
                Territory::<T>::insert(&acc, &name, territory);
                Self::deposit_event(Event::LeaseExpired { acc, name, size });
                let frozen = T::FrozenDays::get().saturating_mul(T::OneDay::get());
                return Some(now.saturating_add(frozen.max(1)));
            }
            // Declarations end by themselves soon.
            if territory.locked_space > 0 || T::OnExpired::expired(&acc, &name).is_err() {
                return Some(now.saturating_add(1));
            }
            territory.state = TerritoryState::Expired;
            Territory::<T>::insert(&acc, &name, territory);
            PurchasedSpace::<T>::mutate(|sold| *sold = sold.saturating_sub(size));
            Self::deposit_event(Event::TerritoryExpired { acc, name, size });
            None
        }
    }
}
