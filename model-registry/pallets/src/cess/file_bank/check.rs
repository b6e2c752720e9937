//! The invariants of files: every byte of every account belongs to something.

use alloc::collections::{BTreeMap, BTreeSet};

use frame_support::ensure;
use sp_runtime::{AccountId32, DispatchError};

use super::{
    Config, DealDue, DealDueAt, DealMap, File, FileState, NextDealDue, Pallet, RestoralOrder,
    UserHoldFileList, miner_space, territory_space,
};
use crate::cess::{
    FRAGMENT_COUNT, FRAGMENT_SIZE, Hash,
    sminer::MinerItems,
    storage_handler::{TerrName, Territory},
};

/// What territories and miners should have in use and locked.
#[derive(Default)]
struct Sums {
    /// Used, locked.
    territories: BTreeMap<(AccountId32, TerrName), (u128, u128)>,
    /// Service, locked.
    miners: BTreeMap<AccountId32, (u128, u128)>,
    holdings: BTreeSet<(AccountId32, TerrName, Hash)>,
}

impl<T: Config> Pallet<T> {
    /// Checks that the accounts of all territories and miners are the sums over files, declarations and
    /// orders, that lists of files mirror the files, that files are on twelve miners, and that every
    /// declaration ends.
    pub fn check_state() -> Result<(), DispatchError> {
        let mut sums = Sums::default();
        Self::check_deals(&mut sums)?;
        Self::check_files(&mut sums)?;
        Self::check_orders(&mut sums)?;
        for (account, name, territory) in Territory::<T>::iter() {
            let (used, locked) = sums
                .territories
                .remove(&(account, name))
                .unwrap_or_default();
            ensure!(
                territory.used_space == used,
                "a territory's used space differs from its files"
            );
            ensure!(
                territory.locked_space == locked,
                "a territory's locked space differs from its declarations"
            );
        }
        ensure!(
            sums.territories.is_empty(),
            "a file is in a territory that is not there"
        );
        for (account, miner) in MinerItems::<T>::iter() {
            let (service, locked) = sums.miners.remove(&account).unwrap_or_default();
            ensure!(
                miner.service_space == service,
                "a miner's service space differs from its fragments"
            );
            ensure!(
                miner.lock_space == locked,
                "a miner's locked space differs from its reports and orders"
            );
        }
        ensure!(
            sums.miners.is_empty(),
            "a fragment is at a miner that is not there"
        );
        for (account, list) in UserHoldFileList::<T>::iter() {
            ensure!(!list.is_empty(), "an empty list of files was kept");
            for entry in list {
                let key = (account.clone(), entry.territory_name, entry.file_hash);
                ensure!(
                    sums.holdings.remove(&key),
                    "a list has a file that its account does not own"
                );
            }
        }
        ensure!(
            sums.holdings.is_empty(),
            "a file is not in its owner's list"
        );
        Ok(())
    }

    fn check_deals(sums: &mut Sums) -> Result<(), DispatchError> {
        let mut count = 0;
        for (hash, deal) in DealMap::<T>::iter() {
            count += 1;
            ensure!(
                !File::<T>::contains_key(hash),
                "a file is declared and stored"
            );
            let due = DealDueAt::<T>::get(hash).ok_or("a declaration never ends")?;
            ensure!(
                DealDue::<T>::contains_key(due, hash) && due >= NextDealDue::<T>::get(),
                "a declaration is not on the agenda"
            );
            let segments = deal.segment_list.len();
            let key = (deal.user.user, deal.user.territory_name);
            sums.territories.entry(key).or_default().1 += territory_space(segments);
            let mut indices = BTreeSet::new();
            let mut miners = BTreeSet::new();
            for done in deal.complete_list {
                ensure!(
                    indices.insert(done.index) && miners.insert(done.miner.clone()),
                    "an index or a miner is reported twice"
                );
                sums.miners.entry(done.miner).or_default().1 += miner_space(segments);
            }
            ensure!(
                indices.len() < FRAGMENT_COUNT as usize,
                "a complete declaration is no file"
            );
        }
        ensure!(
            DealDueAt::<T>::iter().count() == count && DealDue::<T>::iter().count() == count,
            "the agenda has declarations that are not there"
        );
        Ok(())
    }

    fn check_files(sums: &mut Sums) -> Result<(), DispatchError> {
        for (hash, file) in File::<T>::iter() {
            ensure!(file.stat == FileState::Active, "a file is not active");
            ensure!(!file.owner.is_empty(), "a file has no owner");
            let mut owners = BTreeSet::new();
            for brief in file.owner {
                ensure!(
                    owners.insert(brief.user.clone()),
                    "a file has an owner twice"
                );
                let key = (brief.user.clone(), brief.territory_name.clone());
                sums.territories.entry(key).or_default().0 +=
                    territory_space(file.segment_list.len());
                sums.holdings
                    .insert((brief.user, brief.territory_name, hash));
            }
            let mut indices = BTreeMap::new();
            for segment in file.segment_list {
                ensure!(
                    segment.fragment_list.len() == FRAGMENT_COUNT as usize,
                    "a segment has not twelve fragments"
                );
                for (index, fragment) in segment.fragment_list.into_iter().enumerate() {
                    let at = *indices.entry(fragment.miner.clone()).or_insert(index);
                    ensure!(at == index, "a miner has two indices of a file");
                    sums.miners.entry(fragment.miner).or_default().0 += FRAGMENT_SIZE;
                }
            }
        }
        Ok(())
    }

    fn check_orders(sums: &mut Sums) -> Result<(), DispatchError> {
        for (hash, order) in RestoralOrder::<T>::iter() {
            ensure!(
                order.fragment_hash == hash,
                "an order is for another fragment"
            );
            let file = File::<T>::get(order.file_hash).ok_or("an order is for no file")?;
            let mut fragments = file.segment_list.iter().flat_map(|s| &s.fragment_list);
            let is_it = |fragment: &super::FragmentInfo| {
                fragment.hash == hash && fragment.miner == order.origin_miner && !fragment.avail
            };
            ensure!(
                fragments.any(is_it),
                "an order is for a fragment that is not lost"
            );
            if order.count > 0 {
                sums.miners.entry(order.miner).or_default().1 += FRAGMENT_SIZE;
            }
        }
        Ok(())
    }
}
