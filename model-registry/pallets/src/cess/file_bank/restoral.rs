//! Orders to repair fragments.

use frame_support::{ensure, traits::Get};
use sp_runtime::{AccountId32, DispatchResult};

use super::{
    Config, Error, Event, File, FileInfo, Pallet, RestoralOrder, RestoralOrderInfo, miner_space,
};
use crate::cess::{Hash, now, sminer};

impl<T: Config> Pallet<T> {
    /// Notes that `miner` does not have a fragment of a file, and orders its repair unless one of a
    /// fragment of the same bytes is on its way.
    pub(crate) fn lose(
        file_hash: Hash,
        fragment_hash: Hash,
        miner: &AccountId32,
    ) -> DispatchResult {
        let mut file = Self::file(file_hash)?;
        let (segment, index) = place(&file, fragment_hash, miner).ok_or(Error::<T>::NonExistent)?;
        file.segment_list[segment].fragment_list[index].avail = false;
        File::<T>::insert(file_hash, file);
        if RestoralOrder::<T>::contains_key(fragment_hash) {
            return Ok(());
        }
        let gen_block = now::<T>();
        let order = RestoralOrderInfo {
            count: 0,
            miner: miner.clone(),
            origin_miner: miner.clone(),
            fragment_hash,
            file_hash,
            gen_block,
            deadline: gen_block,
        };
        RestoralOrder::<T>::insert(fragment_hash, order);
        Self::deposit_event(Event::GenerateRestoralOrder {
            miner: miner.clone(),
            fragment_hash,
        });
        Ok(())
    }

    pub(super) fn claim(fragment: Hash, miner: &AccountId32) -> DispatchResult {
        let mut order = Self::order(fragment)?;
        ensure!(now::<T>() >= order.deadline, Error::<T>::OrderNotYours);
        Self::ensure_distinct(&order, miner)?;
        Self::give_back(&order)?;
        sminer::Pallet::<T>::account(miner, |account| account.lock(miner_space(1)))?;
        order.count = order.count.saturating_add(1);
        order.miner = miner.clone();
        order.deadline = now::<T>().saturating_add(T::RestoralOrderLife::get().max(1));
        RestoralOrder::<T>::insert(fragment, order);
        Ok(())
    }

    pub(super) fn restore(fragment: Hash, miner: &AccountId32) -> DispatchResult {
        let order = Self::order(fragment)?;
        ensure!(
            order.count > 0 && order.miner == *miner && now::<T>() < order.deadline,
            Error::<T>::OrderNotYours
        );
        Self::ensure_distinct(&order, miner)?;
        let mut file = Self::file(order.file_hash)?;
        let (segment, index) =
            place(&file, fragment, &order.origin_miner).ok_or(Error::<T>::NonExistent)?;
        let lost = |account: &mut sminer::MinerInfo| account.release(miner_space(1));
        sminer::Pallet::<T>::account(&order.origin_miner, lost)?;
        sminer::Pallet::<T>::account(miner, |account| account.serve(miner_space(1)))?;
        let entry = &mut file.segment_list[segment].fragment_list[index];
        entry.miner = miner.clone();
        entry.avail = true;
        File::<T>::insert(order.file_hash, file);
        RestoralOrder::<T>::remove(fragment);
        Ok(())
    }

    /// Drops the orders for fragments of a file that goes.
    pub(super) fn drop_orders(file_hash: Hash, file: &FileInfo) -> DispatchResult {
        let fragments = file.segment_list.iter().flat_map(|s| &s.fragment_list);
        for fragment in fragments.filter(|fragment| !fragment.avail) {
            let order = RestoralOrder::<T>::get(fragment.hash);
            if let Some(order) = order.filter(|order| order.file_hash == file_hash) {
                Self::give_back(&order)?;
                RestoralOrder::<T>::remove(fragment.hash);
            }
        }
        Ok(())
    }

    fn order(fragment: Hash) -> Result<RestoralOrderInfo, Error<T>> {
        RestoralOrder::<T>::get(fragment).ok_or(Error::<T>::NonExistent)
    }

    /// Frees what whoever claimed an order has locked for it.
    fn give_back(order: &RestoralOrderInfo) -> DispatchResult {
        if order.count == 0 {
            return Ok(());
        }
        sminer::Pallet::<T>::account(&order.miner, |account| account.unlock(miner_space(1)))
    }

    /// A file is on twelve miners: who takes a fragment must have none of another index.
    fn ensure_distinct(order: &RestoralOrderInfo, miner: &AccountId32) -> DispatchResult {
        let file = Self::file(order.file_hash)?;
        let (_, index) = place(&file, order.fragment_hash, &order.origin_miner)
            .ok_or(Error::<T>::NonExistent)?;
        for segment in &file.segment_list {
            let mut fragments = segment.fragment_list.iter().enumerate();
            ensure!(
                fragments.all(|(at, fragment)| at == index || fragment.miner != *miner),
                Error::<T>::NotDistinct
            );
        }
        Ok(())
    }
}

/// Segment and index of a fragment at a miner, one that is known to be lost if there is one.
fn place(file: &FileInfo, hash: Hash, miner: &AccountId32) -> Option<(usize, usize)> {
    let segments = file.segment_list.iter().enumerate();
    let places = segments.flat_map(|(segment, list)| {
        let fragments = list.fragment_list.iter().enumerate();
        fragments.map(move |(index, fragment)| (segment, index, fragment))
    });
    let is_it = |(_, _, fragment): &(usize, usize, &super::FragmentInfo)| {
        fragment.hash == hash && fragment.miner == *miner
    };
    let found = places
        .filter(is_it)
        .min_by_key(|(.., fragment)| fragment.avail);
    found.map(|(segment, index, _)| (segment, index))
}
