//! Pools of dealt material on disk: a file of redb for each pool, beside the [used sessions](crate::used).
//!
//! What is stored is encrypted by [`ai_link_mpc::pool`]; this keeps its promises of durability. Reserving, storing
//! and marking commit with an `fsync` each: milliseconds, and marking is the only one of them while a client waits.
//! Removing does not; the next durable operation takes it along.

use std::path::Path;

use ai_link_mpc::pool::{Contents, Store, StoreError};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

/// Index → sealed entry.
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("pool-entries");
/// Indexes that were marked as used and not removed yet.
const MARKED: TableDefinition<'_, u64, ()> = TableDefinition::new("pool-marked");
/// One row: the lowest index that was never reserved nor stored.
const NEXT: TableDefinition<'_, (), u64> = TableDefinition::new("pool-next");

/// One party's part of a pool in a file.
#[derive(Debug)]
pub struct PoolFile {
    database: Database,
}

impl PoolFile {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be opened, or another process has it open.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::create(path).map_err(StoreError::new)?;
        let file = Self { database };
        file.commit(Durability::Immediate, |transaction| {
            transaction.open_table(ENTRIES)?;
            transaction.open_table(MARKED)?;
            transaction.open_table(NEXT)?;
            Ok(())
        })?;
        Ok(file)
    }

    fn commit(
        &self,
        durability: Durability,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let done = (|| {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(durability)?;
            change(&transaction)?;
            transaction.commit()?;
            Ok::<_, redb::Error>(())
        })();
        done.map_err(StoreError::new)
    }
}

/// Raises the row of [`NEXT`] to `next`.
fn raise(transaction: &redb::WriteTransaction, next: u64) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(NEXT)?;
    let now = table.get(())?.map_or(0, |row| row.value());
    table.insert((), now.max(next))?;
    Ok(())
}

impl Store for PoolFile {
    fn load(&mut self) -> Result<Contents, StoreError> {
        let loaded = (|| {
            let read = self.database.begin_read()?;
            let mut contents = Contents::default();
            for row in read.open_table(ENTRIES)?.iter()? {
                let (index, sealed) = row?;
                let bytes = sealed.value().len() as u64;
                contents.entries.insert(index.value(), bytes);
            }
            for row in read.open_table(MARKED)?.iter()? {
                contents.marked.insert(row?.0.value());
            }
            let next = read.open_table(NEXT)?;
            contents.next = next.get(())?.map_or(0, |row| row.value());
            Ok::<_, redb::Error>(contents)
        })();
        loaded.map_err(StoreError::new)
    }

    fn reserve(&mut self, next: u64) -> Result<(), StoreError> {
        self.commit(Durability::Immediate, |transaction| {
            raise(transaction, next)
        })
    }

    fn append(&mut self, index: u64, sealed: &[u8]) -> Result<(), StoreError> {
        self.commit(Durability::Immediate, |transaction| {
            raise(transaction, index.saturating_add(1))?;
            transaction.open_table(ENTRIES)?.insert(index, sealed)?;
            Ok(())
        })
    }

    fn read(&mut self, index: u64) -> Result<Vec<u8>, StoreError> {
        let read = (|| {
            let read = self.database.begin_read()?;
            let entry = read.open_table(ENTRIES)?.get(index)?;
            Ok::<_, redb::Error>(entry.map(|sealed| sealed.value().to_vec()))
        })();
        let read = read.map_err(StoreError::new)?;
        read.ok_or_else(|| StoreError::new(format!("entry {index} is not in the file")))
    }

    fn mark(&mut self, index: u64) -> Result<(), StoreError> {
        self.commit(Durability::Immediate, |transaction| {
            transaction.open_table(MARKED)?.insert(index, ())?;
            Ok(())
        })
    }

    fn remove(&mut self, index: u64) -> Result<(), StoreError> {
        self.commit(Durability::None, |transaction| {
            transaction.open_table(ENTRIES)?.remove(index)?;
            transaction.open_table(MARKED)?.remove(index)?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_keeps_what_a_pool_relies_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool.redb");
        let mut file = PoolFile::open(&path).unwrap();
        assert_eq!(file.load().unwrap(), Contents::default());
        file.reserve(3).unwrap();
        file.reserve(2).unwrap();
        file.append(3, b"three").unwrap();
        file.append(5, b"number five").unwrap();
        file.append(6, b"six").unwrap();
        file.mark(3).unwrap();
        file.mark(5).unwrap();
        file.remove(5).unwrap();
        drop(file);
        let mut file = PoolFile::open(&path).unwrap();
        let contents = file.load().unwrap();
        assert_eq!(contents.next, 7);
        // What was removed may be back, but then with its mark.
        let unused = contents.entries.keys();
        let unused: Vec<u64> = unused
            .filter(|i| !contents.marked.contains(i))
            .copied()
            .collect();
        assert_eq!(unused, [6]);
        assert_eq!(contents.entries[&3], 5);
        assert!(contents.marked.contains(&3));
        assert_eq!(file.read(6).unwrap(), b"six");
        file.remove(3).unwrap();
        file.remove(5).unwrap();
        file.reserve(9).unwrap();
        drop(file);
        let contents = PoolFile::open(&path).unwrap().load().unwrap();
        assert_eq!(contents.next, 9);
        assert_eq!(contents.entries, [(6, 3)].into());
        assert!(contents.marked.is_empty());
    }

    #[test]
    fn a_file_is_open_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool.redb");
        let _file = PoolFile::open(&path).unwrap();
        assert!(PoolFile::open(&path).is_err());
    }
}
