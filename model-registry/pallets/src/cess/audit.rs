//! What proofs of possession (PoDR2) found.
//!
//! Miners are challenged off the chain by the gateway that keeps an owner's files; it alone has the
//! answers, which may be megabytes. What the chain needs to know is the outcome: that a miner failed to
//! prove a fragment, so that the fragment is repaired elsewhere, and how often that happened.
//!
//! In CESS the chain draws the challenges and TEE workers sign the outcome (`submit_service_proof`,
//! `submit_verify_service_result`). [`submit_service_result`](Pallet::submit_service_result) is this
//! chain's own call, at an index that CESS does not use. Whoever may act for an owner of the file may make
//! it: it can harm that owner's file alone, and a miner's count of failures, which has no consequence by
//! itself.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

pub use pallet::*;

/// What a challenge found.
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
pub enum ServiceResult {
    /// The miner has the fragment.
    Proven,
    /// The miner gave no proof, or one that does not hold.
    Failed,
}

#[frame_support::pallet]
pub mod pallet {
    use frame_support::pallet_prelude::*;
    use frame_system::pallet_prelude::*;
    use sp_runtime::{AccountId32, DispatchError};

    use super::*;
    use crate::{
        cess::{
            Hash,
            file_bank::{self, File},
            oss,
        },
        weights::cess as weights,
    };

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: frame_system::Config<AccountId = AccountId32> + file_bank::Config {}

    /// How many proofs a miner has failed since it last gave one.
    #[pallet::storage]
    pub type CountedServiceFailed<T: Config> =
        StorageMap<_, Blake2_128Concat, AccountId32, u32, ValueQuery>;

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A challenge was decided.
        SubmitServiceResult {
            operator: AccountId32,
            miner: AccountId32,
            file_hash: Hash,
            fragment_hash: Hash,
            result: ServiceResult,
        },
        /// A miner has failed so many proofs one after another.
        ServiceProofFailed { miner: AccountId32, count: u32 },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The sender may not act for any owner of the file.
        NoPermission,
        /// There is no such file, or the miner does not have that fragment of it.
        NonExistent,
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
        /// Records what a challenge of `miner` about a fragment of a file of `owner` found. A fragment that
        /// was not proven is unavailable and must be repaired.
        #[pallet::call_index(200)]
        #[pallet::weight(weights::restoral::<T>())]
        pub fn submit_service_result(
            origin: OriginFor<T>,
            owner: AccountId32,
            miner: AccountId32,
            file_hash: Hash,
            fragment_hash: Hash,
            result: ServiceResult,
        ) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            let file = File::<T>::get(file_hash).ok_or(Error::<T>::NonExistent)?;
            ensure!(
                file.owner.iter().any(|brief| brief.user == owner)
                    && oss::Pallet::<T>::may_act(&operator, &owner),
                Error::<T>::NoPermission
            );
            let mut fragments = file.segment_list.iter().flat_map(|s| &s.fragment_list);
            ensure!(
                fragments.any(|f| f.hash == fragment_hash && f.miner == miner),
                Error::<T>::NonExistent
            );
            match result {
                ServiceResult::Proven => CountedServiceFailed::<T>::remove(&miner),
                ServiceResult::Failed => {
                    let count = CountedServiceFailed::<T>::mutate(&miner, |count| {
                        *count = count.saturating_add(1);
                        *count
                    });
                    file_bank::Pallet::<T>::lose(file_hash, fragment_hash, &miner)?;
                    let miner = miner.clone();
                    Self::deposit_event(Event::ServiceProofFailed { miner, count });
                }
            }
            Self::deposit_event(Event::SubmitServiceResult {
                operator,
                miner,
                file_hash,
                fragment_hash,
                result,
            });
            Ok(())
        }
    }

    impl<T: Config> Pallet<T> {
        /// Checks that only failures are counted.
        pub fn check_state() -> Result<(), DispatchError> {
            for (_, count) in CountedServiceFailed::<T>::iter() {
                ensure!(count > 0, "no failure was counted");
            }
            Ok(())
        }
    }
}
