//! A pool's store in memory: for one run, so that no disk is measured.

use std::collections::{BTreeMap, BTreeSet};

use ai_link_mpc::pool::{Contents, Store, StoreError};

/// Lives as long as its process, and so do its promises.
#[derive(Default)]
pub(super) struct MemoryStore {
    next: u64,
    entries: BTreeMap<u64, Vec<u8>>,
    marked: BTreeSet<u64>,
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Contents, StoreError> {
        let sizes = self
            .entries
            .iter()
            .map(|(index, sealed)| (*index, sealed.len() as u64));
        Ok(Contents {
            next: self.next,
            entries: sizes.collect(),
            marked: self.marked.clone(),
        })
    }

    fn reserve(&mut self, next: u64) -> Result<(), StoreError> {
        self.next = self.next.max(next);
        Ok(())
    }

    fn append(&mut self, index: u64, sealed: &[u8]) -> Result<(), StoreError> {
        self.entries.insert(index, sealed.to_vec());
        self.reserve(index.saturating_add(1))
    }

    fn read(&mut self, index: u64) -> Result<Vec<u8>, StoreError> {
        let sealed = self.entries.get(&index).cloned();
        sealed.ok_or_else(|| StoreError::new(format!("entry {index} is not there")))
    }

    fn mark(&mut self, index: u64) -> Result<(), StoreError> {
        self.marked.insert(index);
        Ok(())
    }

    fn remove(&mut self, index: u64) -> Result<(), StoreError> {
        self.entries.remove(&index);
        self.marked.remove(&index);
        Ok(())
    }
}
