//! Stored files and their owners.

use alloc::{collections::BTreeMap, vec::Vec};

use frame_support::{ensure, storage::with_storage_layer};
use sp_runtime::{AccountId32, DispatchResult};

use super::{
    ClearUserList, Config, Error, Event, File, FileInfo, MAX_USER_FILES, PER_BLOCK, Pallet,
    UserBrief, UserFileSliceInfo, UserHoldFileList, miner_space, territory_space,
};
use crate::cess::{
    Hash, sminer,
    storage_handler::{TerrName, Territory, TerritoryState},
};

impl<T: Config> Pallet<T> {
    /// Adds an owner to a stored file.
    pub(super) fn add_owner(hash: Hash, user: UserBrief) -> DispatchResult {
        let mut file = Self::file(hash)?;
        let is_other = |owner: &UserBrief| owner.user != user.user;
        ensure!(file.owner.iter().all(is_other), Error::<T>::Existed);
        let space = territory_space(file.segment_list.len());
        Self::in_territory(&user, |territory| territory.take(space))?;
        Self::hold(&user, hash, file.file_size)?;
        file.owner
            .try_push(user)
            .map_err(|_| Error::<T>::TooManyOwners)?;
        File::<T>::insert(hash, file);
        Ok(())
    }

    /// Removes an owner, and the file with the last one.
    pub(super) fn remove_owner(hash: Hash, owner: &AccountId32) -> DispatchResult {
        let mut file = Self::file(hash)?;
        let at = file.owner.iter().position(|brief| brief.user == *owner);
        let brief = file.owner.remove(at.ok_or(Error::<T>::NotOwner)?);
        let space = territory_space(file.segment_list.len());
        Self::in_territory(&brief, |territory| territory.free(space))?;
        let list = UserHoldFileList::<T>::mutate(owner, |list| {
            list.retain(|entry| entry.file_hash != hash);
            list.len()
        });
        if list == 0 {
            UserHoldFileList::<T>::remove(owner);
        }
        if !file.owner.is_empty() {
            File::<T>::insert(hash, file);
            return Ok(());
        }
        // Orders first: they are for fragments that are still in service at who lost them.
        Self::drop_orders(hash, &file)?;
        let mut fragments = BTreeMap::<&AccountId32, usize>::new();
        for segment in &file.segment_list {
            for fragment in &segment.fragment_list {
                *fragments.entry(&fragment.miner).or_default() += 1;
            }
        }
        for (miner, count) in fragments {
            let space = miner_space(count);
            sminer::Pallet::<T>::account(miner, |account| account.release(space))?;
        }
        File::<T>::remove(hash);
        Ok(())
    }

    /// Moves an owner's file to another of its territories.
    pub(super) fn deliver(user: &AccountId32, hash: Hash, target: &TerrName) -> DispatchResult {
        let mut file = Self::file(hash)?;
        let space = territory_space(file.segment_list.len());
        let brief = file.owner.iter_mut().find(|brief| brief.user == *user);
        let brief = brief.ok_or(Error::<T>::NotOwner)?;
        ensure!(brief.territory_name != *target, Error::<T>::Existed);
        Self::in_territory(brief, |territory| territory.free(space))?;
        brief.territory_name = target.clone();
        Self::in_territory(brief, |territory| territory.take(space))?;
        UserHoldFileList::<T>::mutate(user, |list| {
            for entry in list.iter_mut().filter(|entry| entry.file_hash == hash) {
                entry.territory_name = target.clone();
            }
        });
        File::<T>::insert(hash, file);
        Ok(())
    }

    /// Adds a file to its owner's list.
    pub(super) fn hold(user: &UserBrief, file_hash: Hash, file_size: u128) -> DispatchResult {
        let entry = UserFileSliceInfo {
            territory_name: user.territory_name.clone(),
            file_hash,
            file_size,
        };
        UserHoldFileList::<T>::try_append(&user.user, entry)
            .map_err(|()| Error::<T>::TooManyFiles.into())
    }

    pub(super) fn ensure_room_in_list(user: &AccountId32) -> DispatchResult {
        let count = UserHoldFileList::<T>::decode_len(user).unwrap_or(0);
        ensure!(count < MAX_USER_FILES as usize, Error::<T>::TooManyFiles);
        Ok(())
    }

    /// Removes some files of expired territories.
    pub(super) fn clear_expired() {
        let mut clearing = ClearUserList::<T>::get();
        let Some((account, name)) = clearing.first().cloned() else {
            return;
        };
        // Somebody who was quick to buy it anew must not lose what is in it now.
        let is_expired = Territory::<T>::get(&account, &name)
            .is_some_and(|territory| territory.state == TerritoryState::Expired);
        let files: Vec<Hash> = UserHoldFileList::<T>::get(&account)
            .into_iter()
            .filter(|entry| is_expired && entry.territory_name == name)
            .map(|entry| entry.file_hash)
            .take(PER_BLOCK)
            .collect();
        if files.is_empty() {
            clearing.remove(0);
            ClearUserList::<T>::put(clearing);
            return;
        }
        for file_hash in files {
            let removed = with_storage_layer(|| Self::remove_owner(file_hash, &account));
            if removed.is_ok() {
                Self::deposit_event(Event::DeleteFile {
                    operator: account.clone(),
                    owner: account.clone(),
                    file_hash,
                });
            } else {
                frame_support::defensive!("a file could not be removed");
            }
        }
    }

    pub(super) fn file(hash: Hash) -> Result<FileInfo, Error<T>> {
        super::File::<T>::get(hash).ok_or(Error::<T>::NonExistent)
    }
}
