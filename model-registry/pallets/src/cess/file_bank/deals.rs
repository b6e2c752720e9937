//! Declarations, until they are files or end.

use alloc::vec::Vec;

use frame_support::{BoundedVec, ensure, traits::ConstU32, traits::Get};
use sp_runtime::{AccountId32, DispatchError, DispatchResult};

use super::{
    CompleteInfo, Config, DealDue, DealDueAt, DealInfo, DealMap, Error, Event, File, FileInfo,
    FileState, FragmentInfo, MAX_SEGMENTS, NextDealDue, PER_BLOCK, Pallet, SegmentInfo,
    SegmentList, UserBrief, miner_space, territory_space,
};
use crate::cess::{
    FRAGMENT_COUNT, Hash, agenda, now,
    sminer::{self, MinerInfo},
    storage_handler::{self, TerritoryInfo},
};

impl<T: Config> Pallet<T> {
    pub(super) fn declare(
        hash: Hash,
        segment_list: BoundedVec<SegmentList, ConstU32<MAX_SEGMENTS>>,
        user: UserBrief,
        file_size: u128,
    ) -> DispatchResult {
        ensure!(!DealMap::<T>::contains_key(hash), Error::<T>::Existed);
        Self::ensure_room_in_list(&user.user)?;
        let space = territory_space(segment_list.len());
        Self::in_territory(&user, |territory| territory.lock(space))?;
        let due = now::<T>().saturating_add(T::DealLife::get().max(1));
        DealDueAt::<T>::insert(hash, due);
        DealDue::<T>::insert(due, hash, ());
        let complete_list = BoundedVec::new();
        let deal = DealInfo {
            file_size,
            segment_list,
            user,
            complete_list,
        };
        DealMap::<T>::insert(hash, deal);
        Ok(())
    }

    /// Notes a report; gives whether it was the twelfth.
    pub(super) fn report(
        hash: Hash,
        index: u8,
        miner: &AccountId32,
    ) -> Result<bool, DispatchError> {
        let mut deal = DealMap::<T>::get(hash).ok_or(Error::<T>::NonExistent)?;
        let is_new = |done: &CompleteInfo| done.index != index && done.miner != *miner;
        ensure!(deal.complete_list.iter().all(is_new), Error::<T>::Reported);
        let space = miner_space(deal.segment_list.len());
        sminer::Pallet::<T>::account(miner, |account| account.lock(space))?;
        let done = CompleteInfo {
            index,
            miner: miner.clone(),
        };
        deal.complete_list
            .try_push(done)
            .map_err(|_| Error::<T>::Reported)?;
        let is_complete = deal.complete_list.len() == FRAGMENT_COUNT as usize;
        DealMap::<T>::insert(hash, deal);
        Ok(is_complete)
    }

    /// Makes a file of a declaration that all have reported.
    pub(super) fn complete(hash: Hash) -> DispatchResult {
        let mut deal = Self::take_deal(hash).ok_or(Error::<T>::NonExistent)?;
        deal.complete_list.sort_by_key(|done| done.index);
        let segments = deal.segment_list.len();
        for done in &deal.complete_list {
            let space = miner_space(segments);
            sminer::Pallet::<T>::account(&done.miner, |account| account.serve(space))?;
        }
        let space = territory_space(segments);
        Self::in_territory(&deal.user, |territory| territory.use_locked(space))?;
        Self::hold(&deal.user, hash, deal.file_size)?;

        let mut segment_list = BoundedVec::new();
        for segment in deal.segment_list {
            // Index i of all segments is at the miner that reported i.
            let fragments = segment.fragment_list.into_iter().zip(&deal.complete_list);
            let fragments = fragments.map(|(hash, done)| FragmentInfo {
                hash,
                avail: true,
                tag: None,
                miner: done.miner.clone(),
            });
            let segment = SegmentInfo {
                hash: segment.hash,
                fragment_list: BoundedVec::truncate_from(fragments.collect()),
            };
            segment_list
                .try_push(segment)
                .map_err(|_| Error::<T>::Overflow)?;
        }
        let mut owner = BoundedVec::new();
        owner
            .try_push(deal.user)
            .map_err(|_| Error::<T>::TooManyOwners)?;
        let file = FileInfo {
            segment_list,
            owner,
            file_size: deal.file_size,
            completion: now::<T>(),
            stat: FileState::Active,
        };
        File::<T>::insert(hash, file);
        Ok(())
    }

    /// Ends a declaration: all that it locked is free again.
    pub(super) fn end_deal(hash: Hash, deal: DealInfo) -> DispatchResult {
        let segments = deal.segment_list.len();
        for done in &deal.complete_list {
            let space = miner_space(segments);
            let unlock = |account: &mut MinerInfo| account.unlock(space);
            sminer::Pallet::<T>::account(&done.miner, unlock)?;
        }
        let space = territory_space(segments);
        Self::in_territory(&deal.user, |territory| territory.unlock(space))?;
        Self::take_deal(hash);
        Self::deposit_event(Event::DealEnded { deal_hash: hash });
        Ok(())
    }

    /// Ends declarations whose time is over.
    pub(super) fn end_deals() {
        let due =
            |at, limit| -> Vec<Hash> { DealDue::<T>::iter_key_prefix(at).take(limit).collect() };
        let next = NextDealDue::<T>::get();
        let next = agenda::advance(next, now::<T>(), PER_BLOCK, due, |at, hash| {
            let ended = frame_support::storage::with_storage_layer(|| {
                let deal = DealMap::<T>::get(hash).ok_or(Error::<T>::NonExistent)?;
                Self::end_deal(hash, deal)
            });
            if ended.is_err() {
                // An account that does not add up, which `check_state` would tell. What cannot be
                // ended stays, rather than be tried for ever.
                frame_support::defensive!("a declaration could not be ended");
                DealDue::<T>::remove(at, hash);
                DealDueAt::<T>::remove(hash);
            }
        });
        NextDealDue::<T>::put(next);
    }

    /// Changes the account of the territory that pays.
    pub(super) fn in_territory(
        user: &UserBrief,
        change: impl FnOnce(&mut TerritoryInfo) -> Option<()>,
    ) -> DispatchResult {
        storage_handler::Pallet::<T>::account(&user.user, &user.territory_name, change)
    }

    fn take_deal(hash: Hash) -> Option<DealInfo> {
        if let Some(due) = DealDueAt::<T>::take(hash) {
            DealDue::<T>::remove(due, hash);
        }
        DealMap::<T>::take(hash)
    }
}
