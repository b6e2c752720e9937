//! A store in memory: what it holds is gone with the process, marks and entries alike.

use std::collections::{BTreeMap, BTreeSet};

use super::{Contents, Store, StoreError};
use crate::buffers::{copied_bytes, give_bytes};

/// A store for sessions that are rehearsed or dealt for in one run of a process.
///
/// Nothing in it survives a crash, so no entry can be used twice. It must not be copied to disk.
#[derive(Debug, Default)]
pub struct VolatileStore {
    next: u64,
    entries: BTreeMap<u64, Vec<u8>>,
    marked: BTreeSet<u64>,
}

impl Store for VolatileStore {
    fn load(&mut self) -> Result<Contents, StoreError> {
        let sizes = self.entries.iter().map(|(i, e)| (*i, e.len() as u64));
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

    fn append(&mut self, index: u64, sealed: Vec<u8>) -> Result<(), StoreError> {
        self.next = self.next.max(index + 1);
        self.entries.insert(index, sealed);
        Ok(())
    }

    fn read(&mut self, index: u64) -> Result<Vec<u8>, StoreError> {
        let entry = self.entries.get(&index).map(|entry| copied_bytes(entry));
        entry.ok_or_else(|| StoreError::new(format!("there is no entry {index}")))
    }

    fn mark(&mut self, index: u64) -> Result<(), StoreError> {
        self.marked.insert(index);
        Ok(())
    }

    fn remove(&mut self, index: u64) -> Result<(), StoreError> {
        // It is encrypted.
        if let Some(entry) = self.entries.remove(&index) {
            give_bytes(entry);
        }
        self.marked.remove(&index);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_contract_within_a_process() {
        let mut store = VolatileStore::default();
        store.reserve(1).unwrap();
        store.append(0, b"zero".to_vec()).unwrap();
        store.append(4, b"four".to_vec()).unwrap();
        store.mark(0).unwrap();
        let contents = store.load().unwrap();
        assert_eq!(contents.next, 5);
        assert_eq!(contents.entries, BTreeMap::from([(0, 4), (4, 4)]));
        assert_eq!(contents.marked, BTreeSet::from([0]));
        store.remove(0).unwrap();
        assert!(store.read(0).is_err());
        assert_eq!(store.read(4).unwrap(), b"four");
        assert!(store.load().unwrap().marked.is_empty());
    }
}
