//! Files: declared, reported, stored, moved, repaired, deleted.
//!
//! 1. *Declaration.* Whoever may act for an owner declares a file with the hashes of its segments and
//!    fragments; the owner's territory locks n · 96 MiB. If the file is stored already, the owner becomes
//!    one more of its owners at once.
//! 2. *Reports.* Twelve distinct miners each report one index: that they have fragment `index` (1 to 12)
//!    of every segment. Each locks n · 8 MiB of its room. The chain assigns no miners and does not see
//!    the bytes: a report is a miner's word, which audits check later.
//! 3. *Storage.* With the twelfth report the declaration becomes a file; what was locked is in use. A
//!    declaration that is not complete in time ends, and everything it locked is free again.
//! 4. *Repair.* A fragment that its miner gave up, or failed to prove, is unavailable, and there is an
//!    order for it; another miner claims the order and reports when it has the fragment.
//!
//! A fid is not verified here and cannot be: the chain does not know by which of the two rules it was
//! made. Whoever declares first decides what segments a fid has, so that readers must compute the fid
//! from the segments themselves.

mod check;
mod deals;
mod files;
mod restoral;
mod types;

pub use pallet::*;
pub use types::{
    CompleteInfo, DealInfo, FileInfo, FileState, FragmentInfo, MAX_FILE_NAME, MAX_OWNERS,
    MAX_SEGMENTS, MAX_USER_FILES, MIN_FILE_NAME, RestoralOrderInfo, SegmentInfo, SegmentList,
    UserBrief, UserFileSliceInfo,
};

/// What a file of so many segments takes of a territory, bytes.
fn territory_space(segments: usize) -> u128 {
    segments as u128 * crate::cess::FRAGMENT_SIZE * u128::from(crate::cess::FRAGMENT_COUNT)
}

/// What a file of so many segments takes of each of its miners, bytes.
fn miner_space(segments: usize) -> u128 {
    segments as u128 * crate::cess::FRAGMENT_SIZE
}

#[frame_support::pallet]
pub mod pallet {
    use frame_support::pallet_prelude::*;
    use frame_system::pallet_prelude::*;
    use sp_runtime::{AccountId32, DispatchError};

    use super::*;
    use crate::{
        cess::{
            FRAGMENT_COUNT, Hash, oss,
            sminer::{self, MinerState},
            storage_handler::{self, OnExpired, TerrName},
        },
        weights::cess as weights,
    };

    /// Most declarations that end, and most files of expired territories that are removed, while one
    /// block is made.
    pub(super) const PER_BLOCK: usize = 4;

    /// Most territories that wait for their files to be removed.
    pub(super) const MAX_CLEARING: u32 = 512;

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config:
        frame_system::Config<AccountId = AccountId32> + oss::Config + sminer::Config
    {
        /// For how many blocks a declaration waits for reports.
        #[pallet::constant]
        type DealLife: Get<u32>;
        /// For how many blocks a claimed repair is the claimer's alone.
        #[pallet::constant]
        type RestoralOrderLife: Get<u32>;
    }

    /// Declared files.
    #[pallet::storage]
    pub type DealMap<T: Config> = StorageMap<_, Blake2_128Concat, Hash, DealInfo>;

    /// Stored files.
    #[pallet::storage]
    pub type File<T: Config> = StorageMap<_, Blake2_128Concat, Hash, FileInfo>;

    /// An account's stored files.
    #[pallet::storage]
    pub type UserHoldFileList<T: Config> = StorageMap<
        _,
        Blake2_128Concat,
        AccountId32,
        BoundedVec<UserFileSliceInfo, ConstU32<MAX_USER_FILES>>,
        ValueQuery,
    >;

    /// Repairs to be done, by fragment.
    #[pallet::storage]
    pub type RestoralOrder<T: Config> = StorageMap<_, Blake2_128Concat, Hash, RestoralOrderInfo>;

    /// Expired territories whose files are being removed.
    #[pallet::storage]
    pub type ClearUserList<T: Config> =
        StorageValue<_, BoundedVec<(AccountId32, TerrName), ConstU32<MAX_CLEARING>>, ValueQuery>;

    /// When declarations end.
    #[pallet::storage]
    pub type DealDueAt<T: Config> = StorageMap<_, Blake2_128Concat, Hash, u32>;

    /// The same by block.
    #[pallet::storage]
    pub type DealDue<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, u32, Blake2_128Concat, Hash, ()>;

    /// The first block whose declarations may not all have ended.
    #[pallet::storage]
    pub type NextDealDue<T: Config> = StorageValue<_, u32, ValueQuery>;

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A file was declared, or got one more owner.
        UploadDeclaration {
            operator: AccountId32,
            owner: AccountId32,
            deal_hash: Hash,
        },
        /// A file is in another territory of its owner.
        TerritoryFileDelivery {
            filehash: Hash,
            new_territory: TerrName,
        },
        /// A miner has its fragments of a declared file.
        TransferReport { acc: AccountId32, deal_hash: Hash },
        /// All miners have their fragments: a file is stored.
        StorageCompleted { file_hash: Hash },
        /// An owner gave a file up.
        DeleteFile {
            operator: AccountId32,
            owner: AccountId32,
            file_hash: Hash,
        },
        /// A fragment must be repaired.
        GenerateRestoralOrder {
            miner: AccountId32,
            fragment_hash: Hash,
        },
        /// A miner repairs a fragment.
        ClaimRestoralOrder { miner: AccountId32, order_id: Hash },
        /// A miner has repaired a fragment.
        RecoveryCompleted { miner: AccountId32, order_id: Hash },
        /// A declaration ended without a file: it was withdrawn, or its time was over.
        DealEnded { deal_hash: Hash },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The file is declared already, the owner has it already, or it is there already.
        Existed,
        /// The index is not between 1 and 12.
        IndexOutOfRange,
        /// A number does not fit, or an account of space does not: nothing was done.
        Overflow,
        /// There is no such file, declaration, fragment or order.
        NonExistent,
        /// The account does not own the file.
        NotOwner,
        /// The sender may not act for the account.
        NoPermission,
        /// The miner takes no fragments.
        MinerStateError,
        /// The index was reported already, or the miner reported another one.
        Reported,
        /// The declaration is not well formed: 12 fragments a segment, hashes that are hashes, names of
        /// 3 to 63 bytes, a size that fits the segments.
        SpecError,
        /// The file has as many owners as it may have.
        TooManyOwners,
        /// The account has as many files as it may have.
        TooManyFiles,
        /// The order is another miner's, or its time is over.
        OrderNotYours,
        /// The miner has another index of this file: it would not be on twelve miners any more.
        NotDistinct,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(_: BlockNumberFor<T>) -> Weight {
            Self::end_deals();
            Self::clear_expired();
            weights::turn_files::<T>(PER_BLOCK)
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::check_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Declares a file for `user_brief.user`.
        #[pallet::call_index(0)]
        #[pallet::weight(weights::upload_declaration::<T>(deal_info.len()))]
        pub fn upload_declaration(
            origin: OriginFor<T>,
            file_hash: Hash,
            deal_info: BoundedVec<SegmentList, ConstU32<MAX_SEGMENTS>>,
            user_brief: UserBrief,
            file_size: u128,
        ) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            ensure!(
                oss::Pallet::<T>::may_act(&operator, &user_brief.user),
                Error::<T>::NoPermission
            );
            ensure!(
                types::is_well_formed(&file_hash, &deal_info, &user_brief, file_size),
                Error::<T>::SpecError
            );
            storage_handler::Pallet::<T>::active(&user_brief.user, &user_brief.territory_name)?;
            let owner = user_brief.user.clone();
            if File::<T>::contains_key(file_hash) {
                Self::add_owner(file_hash, user_brief)?;
            } else {
                Self::declare(file_hash, deal_info, user_brief, file_size)?;
            }
            Self::deposit_event(Event::UploadDeclaration {
                operator,
                owner,
                deal_hash: file_hash,
            });
            Ok(())
        }

        /// Moves a file to another territory of its owner.
        #[pallet::call_index(2)]
        #[pallet::weight(weights::deliver::<T>())]
        pub fn territory_file_delivery(
            origin: OriginFor<T>,
            user: AccountId32,
            file_hash: Hash,
            target_territory: TerrName,
        ) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            ensure!(
                oss::Pallet::<T>::may_act(&operator, &user),
                Error::<T>::NoPermission
            );
            storage_handler::Pallet::<T>::active(&user, &target_territory)?;
            Self::deliver(&user, file_hash, &target_territory)?;
            Self::deposit_event(Event::TerritoryFileDelivery {
                filehash: file_hash,
                new_territory: target_territory,
            });
            Ok(())
        }

        /// Reports that the sender, a miner, has fragment `index` (from 1) of every segment of a declared
        /// file.
        #[pallet::call_index(3)]
        #[pallet::weight(weights::transfer_report::<T>())]
        pub fn transfer_report(origin: OriginFor<T>, index: u8, deal_hash: Hash) -> DispatchResult {
            let acc = ensure_signed(origin)?;
            Self::ensure_takes_fragments(&acc)?;
            ensure!(
                (1..=FRAGMENT_COUNT).contains(&u32::from(index)),
                Error::<T>::IndexOutOfRange
            );
            let is_complete = Self::report(deal_hash, index, &acc)?;
            Self::deposit_event(Event::TransferReport { acc, deal_hash });
            if is_complete {
                Self::complete(deal_hash)?;
                Self::deposit_event(Event::StorageCompleted {
                    file_hash: deal_hash,
                });
            }
            Ok(())
        }

        /// Gives up a file of `owner`; with its last owner it goes. Of a declared file, withdraws the
        /// declaration.
        #[pallet::call_index(6)]
        #[pallet::weight(weights::delete_file::<T>())]
        pub fn delete_file(
            origin: OriginFor<T>,
            owner: AccountId32,
            file_hash: Hash,
        ) -> DispatchResult {
            let operator = ensure_signed(origin)?;
            ensure!(
                oss::Pallet::<T>::may_act(&operator, &owner),
                Error::<T>::NoPermission
            );
            if let Some(deal) = DealMap::<T>::get(file_hash) {
                ensure!(deal.user.user == owner, Error::<T>::NotOwner);
                return Self::end_deal(file_hash, deal);
            }
            Self::remove_owner(file_hash, &owner)?;
            Self::deposit_event(Event::DeleteFile {
                operator,
                owner,
                file_hash,
            });
            Ok(())
        }

        /// Says that the sender, a miner, has lost a fragment of a file.
        #[pallet::call_index(13)]
        #[pallet::weight(weights::restoral::<T>())]
        pub fn generate_restoral_order(
            origin: OriginFor<T>,
            file_hash: Hash,
            restoral_fragment: Hash,
        ) -> DispatchResult {
            let miner = ensure_signed(origin)?;
            ensure!(
                !RestoralOrder::<T>::contains_key(restoral_fragment),
                Error::<T>::Existed
            );
            Self::lose(file_hash, restoral_fragment, &miner)
        }

        /// Lets the sender, a miner, repair a fragment; its room for it is locked.
        #[pallet::call_index(14)]
        #[pallet::weight(weights::restoral::<T>())]
        pub fn claim_restoral_order(
            origin: OriginFor<T>,
            restoral_fragment: Hash,
        ) -> DispatchResult {
            let miner = ensure_signed(origin)?;
            Self::ensure_takes_fragments(&miner)?;
            Self::claim(restoral_fragment, &miner)?;
            Self::deposit_event(Event::ClaimRestoralOrder {
                miner,
                order_id: restoral_fragment,
            });
            Ok(())
        }

        /// Reports that the sender has repaired a fragment, which is at the sender from now on.
        #[pallet::call_index(16)]
        #[pallet::weight(weights::restoral::<T>())]
        pub fn restoral_order_complete(
            origin: OriginFor<T>,
            fragment_hash: Hash,
        ) -> DispatchResult {
            let miner = ensure_signed(origin)?;
            Self::restore(fragment_hash, &miner)?;
            Self::deposit_event(Event::RecoveryCompleted {
                miner,
                order_id: fragment_hash,
            });
            Ok(())
        }
    }

    impl<T: Config> Pallet<T> {
        fn ensure_takes_fragments(miner: &AccountId32) -> DispatchResult {
            let record = sminer::Pallet::<T>::miner(miner)?;
            ensure!(record.is(MinerState::Positive), Error::<T>::MinerStateError);
            Ok(())
        }
    }

    impl<T: Config> OnExpired for Pallet<T> {
        fn expired(account: &AccountId32, name: &TerrName) -> Result<(), DispatchError> {
            let entry = (account.clone(), name.clone());
            let appended = ClearUserList::<T>::try_append(entry);
            Ok(appended.map_err(|()| Error::<T>::Overflow)?)
        }
    }
}
