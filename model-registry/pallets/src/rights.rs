//! Rights in models: who owns one, who may use it for what, who is paid for it.
//!
//! [`crate::models`] says what a model *is*. This pallet says what may be done with it:
//!
//! * **Transfer.** An owner offers a model to one account, at a price or none, until a time; that
//!   account accepts, which pays the price, moves the name's deposit and changes the owner in one
//!   step. There is no moment without an owner, and nobody becomes owner unasked.
//! * **Terms.** Who may use a model (anyone, or accounts with a grant), for what, on workers in which
//!   regions, until when. Coordinators match by them and refuse the rest.
//! * **Grants**, to single accounts, each with an end and a purpose of its own. The owner leaves a
//!   deposit for each, so that storage has a price; who left it gets it back, whoever revokes.
//! * **Royalties.** Parts of the owner's price that go to others. What is left is the owner's.
//! * **Standing** of versions. A deprecated one still runs and says so; a yanked one is not matched
//!   any more. Neither is deleted: receipts refer to it.
//! * **Prices by level**, where one level is to cost more than another.
//!
//! Terms and royalties apply to tickets issued after they were set. They stay when the owner changes,
//! until the new owner sets others; offers do not.
//!
//! # What this does not protect
//!
//! Terms bind those who keep to them: coordinators refuse jobs and clients refuse tickets that do
//! not. A purpose is what a client signs that it is, nothing checks what it does with an answer.

mod records;

use sp_runtime::AccountId32;

pub use pallet::*;
pub use records::{
    Access, GrantRecord, MAX_LICENCE, MAX_REGION, MAX_REGIONS, MAX_ROYALTIES, MILLION, OfferRecord,
    Purpose, RegionName, Regions, Royalties, Royalty, Standing, TermsRecord, TransferRecord,
};

use crate::models::ModelId;
use frame_support::dispatch::DispatchResult;

/// What this pallet needs of the one that holds models.
pub trait ModelOwnership {
    /// Who owns it, if it exists.
    fn owner_of(model: &ModelId) -> Option<AccountId32>;
    /// Whether it has that version.
    fn has_version(model: &ModelId, version: u32) -> bool;
    /// Makes `to` its owner. The name's deposit is held on `to` from then on.
    ///
    /// # Errors
    ///
    /// If `to` cannot leave the deposit.
    fn change_owner(model: &ModelId, to: &AccountId32) -> DispatchResult;
}

#[frame_support::pallet]
pub mod pallet {
    use alloc::collections::BTreeMap;

    use frame_support::{
        pallet_prelude::*,
        traits::{
            Time,
            fungible::{Mutate, MutateHold},
            tokens::{Precision, Preservation},
        },
    };
    use frame_system::pallet_prelude::*;
    use sp_runtime::DispatchError;

    use super::*;
    use crate::models::{LEVEL_FHE, LEVEL_MPC, LEVEL_SEALED, Name, model_id};
    use crate::{Balance, Moment, weights};

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: frame_system::Config<AccountId = AccountId32> {
        /// Time of the block, milliseconds.
        type Clock: Time<Moment = Moment>;
        /// What models are paid and deposits left in.
        type Currency: Mutate<AccountId32, Balance = Balance>
            + MutateHold<AccountId32, Balance = Balance, Reason = Self::RuntimeHoldReason>;
        /// Held on the owner for a grant, planck.
        #[pallet::constant]
        type GrantDeposit: Get<Balance>;
        /// Where models are.
        type Models: ModelOwnership;
        /// The runtime's reasons for holds.
        type RuntimeHoldReason: From<HoldReason>;
    }

    /// Why this pallet holds money.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// Deposit for a grant.
        ModelGrant,
    }

    /// Terms of models; a model without is anyone's to use, for anything, everywhere, for ever.
    #[pallet::storage]
    pub type Terms<T: Config> = StorageMap<_, Blake2_128Concat, ModelId, TermsRecord>;

    /// Accounts that may use a model.
    #[pallet::storage]
    pub type Grants<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, ModelId, Blake2_128Concat, AccountId32, GrantRecord>;

    /// Models that are offered to somebody.
    #[pallet::storage]
    pub type Offers<T: Config> = StorageMap<_, Blake2_128Concat, ModelId, OfferRecord>;

    /// Who gets a part of the owner's price.
    #[pallet::storage]
    pub type RoyaltyShares<T: Config> = StorageMap<_, Blake2_128Concat, ModelId, Royalties>;

    /// Versions that are not what they were.
    #[pallet::storage]
    pub type Standings<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, ModelId, Blake2_128Concat, u32, Standing>;

    /// Prices of one record by level bit, where it is not the model's price.
    #[pallet::storage]
    pub type LevelPrices<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, ModelId, Blake2_128Concat, u8, Balance>;

    /// Past transfers of a model, counted from 0.
    #[pallet::storage]
    pub type Transfers<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, ModelId, Blake2_128Concat, u32, TransferRecord>;

    /// Number of past transfers.
    #[pallet::storage]
    pub type TransferCount<T: Config> = StorageMap<_, Blake2_128Concat, ModelId, u32, ValueQuery>;

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A model is offered to an account.
        Offered {
            model: ModelId,
            to: AccountId32,
            price: Balance,
            until: Moment,
        },
        /// An offer is no more.
        OfferWithdrawn { model: ModelId },
        /// A model has another owner.
        Transferred {
            model: ModelId,
            from: AccountId32,
            to: AccountId32,
            price: Balance,
        },
        /// A model's terms are others.
        TermsSet { model: ModelId },
        /// An account may use a model.
        Granted {
            model: ModelId,
            account: AccountId32,
            until: Option<Moment>,
        },
        /// An account's grant is no more.
        Revoked {
            model: ModelId,
            account: AccountId32,
        },
        /// The owner's price is split in another way.
        RoyaltiesSet { model: ModelId },
        /// A version has another standing; `None`: it is as good as any.
        StandingSet {
            model: ModelId,
            version: u32,
            standing: Option<Standing>,
        },
        /// A level has a price of its own, or (`None`) the model's again.
        LevelPriceSet {
            model: ModelId,
            level: u8,
            price: Option<Balance>,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The end is not in the future.
        AlreadyOver,
        /// The price is not the one that the offer names.
        OtherPrice,
        /// The set of levels is not one known level.
        InvalidLevel,
        /// A region has 2 to 32 characters of `a-z`, `0-9`, `-`.
        InvalidRegion,
        /// Parts are zero, twice for one account, for the owner, or more than all together.
        InvalidRoyalties,
        /// The account has no grant.
        NoGrant,
        /// The model is not offered to this account.
        NoOffer,
        /// The model belongs to another account.
        NotOwner,
        /// The owner cannot be the other side.
        OwnModel,
        /// No model has this name.
        UnknownModel,
        /// The model has no such version.
        UnknownVersion,
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
        /// Offers a model to `to` for `price` until a time. Takes the place of an earlier offer.
        #[pallet::call_index(0)]
        #[pallet::weight(weights::offer::<T>())]
        pub fn offer(
            origin: OriginFor<T>,
            name: Name,
            to: AccountId32,
            price: Balance,
            until: Moment,
        ) -> DispatchResult {
            let (model, owner) = Self::owned(origin, &name)?;
            ensure!(to != owner, Error::<T>::OwnModel);
            ensure!(until > T::Clock::now(), Error::<T>::AlreadyOver);
            let offer = OfferRecord {
                to: to.clone(),
                price,
                until,
            };
            Offers::<T>::insert(model, offer);
            Self::deposit_event(Event::Offered {
                model,
                to,
                price,
                until,
            });
            Ok(())
        }

        /// Takes an offer back.
        #[pallet::call_index(1)]
        #[pallet::weight(weights::withdraw_offer::<T>())]
        pub fn withdraw_offer(origin: OriginFor<T>, name: Name) -> DispatchResult {
            let (model, _) = Self::owned(origin, &name)?;
            ensure!(Offers::<T>::take(model).is_some(), Error::<T>::NoOffer);
            Self::deposit_event(Event::OfferWithdrawn { model });
            Ok(())
        }

        /// Accepts an offer to the sender: pays the price, leaves the deposit, owns the model.
        /// `price` is what the sender has read, so that an offer that was replaced in between is not
        /// accepted.
        #[pallet::call_index(2)]
        #[pallet::weight(weights::accept::<T>())]
        pub fn accept(origin: OriginFor<T>, name: Name, price: Balance) -> DispatchResult {
            let to = ensure_signed(origin)?;
            let model = model_id(&name);
            let from = T::Models::owner_of(&model).ok_or(Error::<T>::UnknownModel)?;
            let offer = Offers::<T>::get(model).filter(|offer| offer.to == to);
            let offer = offer.ok_or(Error::<T>::NoOffer)?;
            let now = T::Clock::now();
            ensure!(offer.until > now, Error::<T>::AlreadyOver);
            ensure!(offer.price == price, Error::<T>::OtherPrice);

            Offers::<T>::remove(model);
            // Whatever fails undoes all of it: a call is one storage layer.
            T::Models::change_owner(&model, &to)?;
            if price > 0 {
                T::Currency::transfer(&to, &from, price, Preservation::Preserve)?;
            }
            let number = TransferCount::<T>::mutate(model, |count| {
                let number = *count;
                *count = count.saturating_add(1);
                number
            });
            // The new owner is no payee of its own model.
            RoyaltyShares::<T>::mutate_exists(model, |shares| {
                if let Some(known) = shares {
                    known.retain(|share| share.account != to);
                    if known.is_empty() {
                        *shares = None;
                    }
                }
            });
            let record = TransferRecord {
                from: from.clone(),
                to: to.clone(),
                price,
                at: now,
            };
            Transfers::<T>::insert(model, number, record);
            Self::deposit_event(Event::Transferred {
                model,
                from,
                to,
                price,
            });
            Ok(())
        }

        /// Sets a model's terms.
        #[pallet::call_index(3)]
        #[pallet::weight(weights::set_terms::<T>())]
        pub fn set_terms(origin: OriginFor<T>, name: Name, terms: TermsRecord) -> DispatchResult {
            let (model, _) = Self::owned(origin, &name)?;
            let valid = terms
                .regions
                .iter()
                .all(|region| records::is_region(region));
            ensure!(valid, Error::<T>::InvalidRegion);
            Terms::<T>::insert(model, terms);
            Self::deposit_event(Event::TermsSet { model });
            Ok(())
        }

        /// Lets an account use a model, for a purpose, until a time or for good. Takes the place of
        /// that account's earlier grant.
        #[pallet::call_index(4)]
        #[pallet::weight(weights::grant::<T>())]
        pub fn grant(
            origin: OriginFor<T>,
            name: Name,
            account: AccountId32,
            purpose: Purpose,
            until: Option<Moment>,
        ) -> DispatchResult {
            let (model, owner) = Self::owned(origin, &name)?;
            let over = until.is_some_and(|until| until <= T::Clock::now());
            ensure!(!over, Error::<T>::AlreadyOver);
            if let Some(earlier) = Grants::<T>::get(model, &account) {
                Self::release(&earlier)?;
            }
            let deposit = T::GrantDeposit::get();
            T::Currency::hold(&HoldReason::ModelGrant.into(), &owner, deposit)?;
            let record = GrantRecord {
                purpose,
                until,
                depositor: owner,
                deposit,
            };
            Grants::<T>::insert(model, &account, record);
            Self::deposit_event(Event::Granted {
                model,
                account,
                until,
            });
            Ok(())
        }

        /// Takes a grant back: by the owner, or by the account itself, which does not want it.
        #[pallet::call_index(5)]
        #[pallet::weight(weights::revoke::<T>())]
        pub fn revoke(origin: OriginFor<T>, name: Name, account: AccountId32) -> DispatchResult {
            let sender = ensure_signed(origin)?;
            let model = model_id(&name);
            let owner = T::Models::owner_of(&model).ok_or(Error::<T>::UnknownModel)?;
            ensure!(sender == owner || sender == account, Error::<T>::NotOwner);
            let grant = Grants::<T>::take(model, &account).ok_or(Error::<T>::NoGrant)?;
            Self::release(&grant)?;
            Self::deposit_event(Event::Revoked { model, account });
            Ok(())
        }

        /// Says who gets which part of the owner's price; none takes all shares back.
        #[pallet::call_index(6)]
        #[pallet::weight(weights::set_royalties::<T>())]
        pub fn set_royalties(
            origin: OriginFor<T>,
            name: Name,
            shares: Royalties,
        ) -> DispatchResult {
            let (model, owner) = Self::owned(origin, &name)?;
            ensure!(
                records::are_valid(&shares, &owner),
                Error::<T>::InvalidRoyalties
            );
            if shares.is_empty() {
                RoyaltyShares::<T>::remove(model);
            } else {
                RoyaltyShares::<T>::insert(model, shares);
            }
            Self::deposit_event(Event::RoyaltiesSet { model });
            Ok(())
        }

        /// Deprecates or yanks a version, or (`None`) takes that back.
        #[pallet::call_index(7)]
        #[pallet::weight(weights::set_standing::<T>())]
        pub fn set_standing(
            origin: OriginFor<T>,
            name: Name,
            version: u32,
            standing: Option<Standing>,
        ) -> DispatchResult {
            let (model, _) = Self::owned(origin, &name)?;
            ensure!(
                T::Models::has_version(&model, version),
                Error::<T>::UnknownVersion
            );
            Standings::<T>::set(model, version, standing);
            Self::deposit_event(Event::StandingSet {
                model,
                version,
                standing,
            });
            Ok(())
        }

        /// Gives a level a price of its own, or (`None`) the model's price again.
        #[pallet::call_index(8)]
        #[pallet::weight(weights::set_level_price::<T>())]
        pub fn set_level_price(
            origin: OriginFor<T>,
            name: Name,
            level: u8,
            price: Option<Balance>,
        ) -> DispatchResult {
            let (model, _) = Self::owned(origin, &name)?;
            let known = [LEVEL_FHE, LEVEL_MPC, LEVEL_SEALED];
            ensure!(known.contains(&level), Error::<T>::InvalidLevel);
            LevelPrices::<T>::set(model, level, price);
            Self::deposit_event(Event::LevelPriceSet {
                model,
                level,
                price,
            });
            Ok(())
        }
    }

    impl<T: Config> Pallet<T> {
        /// The model of that name, if the sender owns it.
        fn owned(
            origin: OriginFor<T>,
            name: &Name,
        ) -> Result<(ModelId, AccountId32), DispatchError> {
            let sender = ensure_signed(origin)?;
            let model = model_id(name);
            let owner = T::Models::owner_of(&model).ok_or(Error::<T>::UnknownModel)?;
            ensure!(owner == sender, Error::<T>::NotOwner);
            Ok((model, owner))
        }

        fn release(grant: &GrantRecord) -> DispatchResult {
            let reason = HoldReason::ModelGrant.into();
            T::Currency::release(&reason, &grant.depositor, grant.deposit, Precision::Exact)?;
            Ok(())
        }

        /// Checks that everything is of a model that exists, that nobody is offered what it owns,
        /// that royalties are parts of a whole, that transfers are counted and lead to the owner, and
        /// that the deposits of grants are held exactly.
        pub fn check_state() -> Result<(), DispatchError> {
            let owner = |model: &ModelId| {
                T::Models::owner_of(model).ok_or(DispatchError::Other("a right in no model"))
            };
            for (model, terms) in Terms::<T>::iter() {
                owner(&model)?;
                let valid = terms
                    .regions
                    .iter()
                    .all(|region| records::is_region(region));
                ensure!(valid, "terms name an invalid region");
            }
            for (model, offer) in Offers::<T>::iter() {
                ensure!(
                    owner(&model)? != offer.to,
                    "a model is offered to its owner"
                );
            }
            for (model, shares) in RoyaltyShares::<T>::iter() {
                ensure!(!shares.is_empty(), "an empty split is stored");
                ensure!(
                    records::are_valid(&shares, &owner(&model)?),
                    "royalties are not parts of a whole"
                );
            }
            for (model, version, _) in Standings::<T>::iter() {
                ensure!(
                    T::Models::has_version(&model, version),
                    "a standing of no version"
                );
            }
            for (model, _, _) in LevelPrices::<T>::iter() {
                owner(&model)?;
            }
            let mut counted = BTreeMap::<ModelId, u32>::new();
            for (model, number, _) in Transfers::<T>::iter() {
                *counted.entry(model).or_default() += 1;
                ensure!(
                    number < TransferCount::<T>::get(model),
                    "a transfer is beyond the count"
                );
            }
            for (model, count) in TransferCount::<T>::iter() {
                ensure!(counted.get(&model) == Some(&count), "transfers are missing");
                let last = Transfers::<T>::get(model, count.saturating_sub(1));
                ensure!(
                    last.is_some_and(|last| Some(last.to) == T::Models::owner_of(&model)),
                    "the last transfer does not lead to the owner"
                );
            }
            let mut deposits = BTreeMap::<AccountId32, Balance>::new();
            for (model, _, grant) in Grants::<T>::iter() {
                owner(&model)?;
                *deposits.entry(grant.depositor).or_default() += grant.deposit;
            }
            ensure!(
                crate::holds_match::<T::Currency>(&HoldReason::ModelGrant.into(), &deposits),
                "the deposits of grants are not held"
            );
            Ok(())
        }
    }
}
