//! Models: names, versions and prices.
//!
//! Whoever publishes a name first owns it and puts down a deposit, so that names are not hoarded.
//! The owner publishes versions with strictly increasing numbers. A version is immutable: the
//! Merkle root of the package that workers must prove they loaded, the CESS file id of its
//! manifest, and the privacy levels it may be served at. The price is per record and per model, not
//! per version; it may change at any time and applies to tickets issued afterwards.
//!
//! What may be done with a model, and who owns it after its first owner, is in [`crate::rights`].

mod name;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::{BoundedVec, traits::ConstU32};
use scale_info::TypeInfo;
use sp_runtime::AccountId32;

pub use name::{MAX_NAME, MIN_NAME, is_valid_name, model_id};
pub use pallet::*;

use crate::{Balance, Moment};

/// A model's key: blake2b-256 of its name.
pub type ModelId = [u8; 32];

/// A model's name as it is stored.
pub type Name = BoundedVec<u8, ConstU32<MAX_NAME>>;

/// Bit of level `fhe` in a set of levels.
pub const LEVEL_FHE: u8 = 1;
/// Bit of level `mpc` in a set of levels.
pub const LEVEL_MPC: u8 = 2;
/// Bit of level `sealed` in a set of levels.
pub const LEVEL_SEALED: u8 = 4;

/// What the chain knows of a model.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct ModelRecord {
    /// Who may publish versions, set the price and is paid for use.
    pub owner: AccountId32,
    /// The name that the key is the hash of.
    pub name: Name,
    /// Highest version.
    pub latest: u32,
    /// Price of one record, planck.
    pub price_per_record: Balance,
    /// What is held on the owner for this name.
    pub deposit: Balance,
}

/// What the chain knows of a version; never changes.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo, MaxEncodedLen,
)]
pub struct VersionRecord {
    /// Merkle root of the model package.
    pub commitment: [u8; 32],
    /// CESS file id of the manifest.
    pub manifest: [u8; 32],
    /// Set of `LEVEL_*` bits, never empty.
    pub levels: u8,
    /// When.
    pub published_at: Moment,
}

#[frame_support::pallet]
pub mod pallet {
    use alloc::collections::BTreeMap;

    use frame_support::{
        pallet_prelude::*,
        traits::{Time, fungible::MutateHold, tokens::Precision},
    };
    use frame_system::pallet_prelude::*;
    use sp_runtime::DispatchError;

    use super::*;
    use crate::weights;

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: frame_system::Config<AccountId = AccountId32> {
        /// Time of the block, milliseconds.
        type Clock: Time<Moment = Moment>;
        /// Where deposits are held.
        type Currency: MutateHold<AccountId32, Balance = Balance, Reason = Self::RuntimeHoldReason>;
        /// Held on the owner per model name, planck.
        #[pallet::constant]
        type ModelDeposit: Get<Balance>;
        /// The runtime's reasons for holds.
        type RuntimeHoldReason: From<HoldReason>;
    }

    /// Why this pallet holds money.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// Deposit for a model's name.
        ModelName,
    }

    /// Models by blake2b-256 of their name.
    #[pallet::storage]
    pub type Models<T: Config> = StorageMap<_, Blake2_128Concat, ModelId, ModelRecord>;

    /// Versions by model and number.
    #[pallet::storage]
    pub type Versions<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, ModelId, Blake2_128Concat, u32, VersionRecord>;

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A name got its owner.
        ModelClaimed {
            model: ModelId,
            owner: AccountId32,
            deposit: Balance,
        },
        /// A version was published.
        VersionPublished {
            model: ModelId,
            version: u32,
            commitment: [u8; 32],
            manifest: [u8; 32],
            levels: u8,
        },
        /// The price of a record was set.
        PriceSet {
            model: ModelId,
            price_per_record: Balance,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The set of levels is empty or has unknown bits.
        InvalidLevels,
        /// A name has 3 to 63 characters of `a-z`, `0-9`, `.`, `_`, `-`.
        InvalidName,
        /// The model belongs to another account.
        NotOwner,
        /// No model has this name.
        UnknownModel,
        /// The version is not greater than the latest one (the first must be at least 1).
        VersionNotIncreasing,
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
        /// Publishes a version of a model and sets the model's price. The first version of a name
        /// makes the sender its owner and holds the deposit.
        #[pallet::call_index(0)]
        #[pallet::weight(weights::publish::<T>())]
        pub fn publish(
            origin: OriginFor<T>,
            name: Name,
            version: u32,
            commitment: [u8; 32],
            manifest: [u8; 32],
            price_per_record: Balance,
            levels: u8,
        ) -> DispatchResult {
            let sender = ensure_signed(origin)?;
            ensure!(is_valid_name(&name), Error::<T>::InvalidName);
            let known = LEVEL_FHE | LEVEL_MPC | LEVEL_SEALED;
            ensure!(
                levels != 0 && levels & !known == 0,
                Error::<T>::InvalidLevels
            );

            let model = model_id(&name);
            let existing = Models::<T>::get(model);
            if let Some(record) = &existing {
                ensure!(record.owner == sender, Error::<T>::NotOwner);
            }
            let latest = existing.as_ref().map_or(0, |record| record.latest);
            ensure!(version > latest, Error::<T>::VersionNotIncreasing);

            let old_price = existing.as_ref().map(|record| record.price_per_record);
            let record = match existing {
                Some(record) => ModelRecord {
                    latest: version,
                    price_per_record,
                    ..record
                },
                None => {
                    let deposit = T::ModelDeposit::get();
                    T::Currency::hold(&HoldReason::ModelName.into(), &sender, deposit)?;
                    Self::deposit_event(Event::ModelClaimed {
                        model,
                        owner: sender.clone(),
                        deposit,
                    });
                    ModelRecord {
                        owner: sender,
                        name,
                        latest: version,
                        price_per_record,
                        deposit,
                    }
                }
            };
            Models::<T>::insert(model, record);
            let published_at = T::Clock::now();
            Versions::<T>::insert(
                model,
                version,
                VersionRecord {
                    commitment,
                    manifest,
                    levels,
                    published_at,
                },
            );
            Self::deposit_event(Event::VersionPublished {
                model,
                version,
                commitment,
                manifest,
                levels,
            });
            if old_price != Some(price_per_record) {
                Self::deposit_event(Event::PriceSet {
                    model,
                    price_per_record,
                });
            }
            Ok(())
        }

        /// Sets the price of one record for tickets issued from now on.
        #[pallet::call_index(1)]
        #[pallet::weight(weights::set_price::<T>())]
        pub fn set_price(
            origin: OriginFor<T>,
            name: Name,
            price_per_record: Balance,
        ) -> DispatchResult {
            let sender = ensure_signed(origin)?;
            let model = model_id(&name);
            Models::<T>::try_mutate(model, |record| -> DispatchResult {
                let record = record.as_mut().ok_or(Error::<T>::UnknownModel)?;
                ensure!(record.owner == sender, Error::<T>::NotOwner);
                record.price_per_record = price_per_record;
                Ok(())
            })?;
            Self::deposit_event(Event::PriceSet {
                model,
                price_per_record,
            });
            Ok(())
        }
    }

    impl<T: Config> crate::rights::ModelOwnership for Pallet<T> {
        fn owner_of(model: &ModelId) -> Option<AccountId32> {
            Models::<T>::get(model).map(|record| record.owner)
        }

        fn has_version(model: &ModelId, version: u32) -> bool {
            Versions::<T>::contains_key(model, version)
        }

        fn change_owner(model: &ModelId, to: &AccountId32) -> DispatchResult {
            Models::<T>::try_mutate(model, |record| -> DispatchResult {
                let record = record.as_mut().ok_or(Error::<T>::UnknownModel)?;
                let reason = HoldReason::ModelName.into();
                T::Currency::release(&reason, &record.owner, record.deposit, Precision::Exact)?;
                T::Currency::hold(&reason, to, record.deposit)?;
                record.owner = to.clone();
                Ok(())
            })
        }
    }

    impl<T: Config> Pallet<T> {
        /// Checks that keys are the hashes of valid names, that every model has its latest version
        /// and nothing beyond it, that no version is without a model, and that every owner holds
        /// exactly the deposits of its names.
        pub fn check_state() -> Result<(), DispatchError> {
            let mut deposits = BTreeMap::<AccountId32, Balance>::new();
            for (model, record) in Models::<T>::iter() {
                ensure!(is_valid_name(&record.name), "a stored name is invalid");
                ensure!(
                    model == model_id(&record.name),
                    "a key is not the hash of its name"
                );
                ensure!(
                    Versions::<T>::contains_key(model, record.latest),
                    "a model lacks its latest version"
                );
                *deposits.entry(record.owner).or_default() += record.deposit;
            }
            for (model, version, record) in Versions::<T>::iter() {
                let latest = Models::<T>::get(model).map_or(0, |model| model.latest);
                ensure!(
                    (1..=latest).contains(&version),
                    "a version is beyond its model's latest"
                );
                ensure!(record.levels != 0, "a version has no level");
            }
            ensure!(
                crate::holds_match::<T::Currency>(&HoldReason::ModelName.into(), &deposits),
                "an owner does not hold the deposits of its names"
            );
            Ok(())
        }
    }
}
