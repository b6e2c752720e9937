//! The conversation in a database of this process.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};

use super::{Declared, FileBank, FileRecord, FileState};
use crate::account::Account;
use crate::embedded::{OpenError, blocking};
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid};
use crate::node::NodeId;
use crate::object::{Deleted, ListedObject, Owner, Page};
use crate::podr2::{FragmentKey, MODULUS};

/// Version of the tables below.
const FORMAT: u64 = 1;
/// The most owners a file may have, and the most that are told.
const MAX_OWNERS: usize = 1000;
const TOLD_OWNERS: usize = 100;

type Key = [u8; 32];
type Pair = [u8; 64];

/// fid -> [`FileRecord`], active ones
const FILES: TableDefinition<'_, &Key, &[u8]> = TableDefinition::new("files");
/// fid -> [`FileRecord`], declared ones
const DEALS: TableDefinition<'_, &Key, &[u8]> = TableDefinition::new("deals");
/// fid ‖ account -> name, of declared files too
const OWNERS: TableDefinition<'_, &Pair, &str> = TableDefinition::new("owners");
/// account ‖ fid -> (size, name), of active files
const HOLDINGS: TableDefinition<'_, &Pair, (u64, &str)> = TableDefinition::new("holdings");
/// node ‖ fragment hash -> u
const TAGS: TableDefinition<'_, &Pair, &[u8; MODULUS]> = TableDefinition::new("tags");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const FORMAT_KEY: &str = "format";

/// A [`FileBank`] in a file. A cheap handle: clones share it.
#[derive(Clone)]
pub struct EmbeddedBank {
    database: Arc<Database>,
}

impl EmbeddedBank {
    /// Opens the bank in this file, or makes one.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |source: StorageError| OpenError::Storage {
            dir: path.to_owned(),
            source: Box::new(source),
        };
        let database = match Database::create(path) {
            Ok(database) => database,
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                return Err(OpenError::InUse {
                    dir: path.to_owned(),
                });
            }
            Err(error) => return Err(failed(StorageError::index("was opened")(error))),
        };
        let format = initialise(&database)
            .map_err(StorageError::index("was opened"))
            .map_err(failed)?;
        if format != FORMAT {
            return Err(OpenError::OtherFormat {
                dir: path.to_owned(),
                found_format: format,
                found: 0,
                format: FORMAT,
                expected: 0,
            });
        }
        Ok(Self {
            database: Arc::new(database),
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StorageError> {
        let database = Arc::clone(&self.database);
        blocking(move || work(&database).map_err(StorageError::index(doing))).await
    }

    /// Changes something in one durable transaction, or nothing if `work` fails.
    async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&WriteTransaction) -> Result<Result<T, StorageError>, redb::Error>
        + Send
        + 'static,
    ) -> Result<T, StorageError> {
        let database = Arc::clone(&self.database);
        blocking(move || {
            let index = || StorageError::index::<redb::Error>(doing);
            let transaction = database.begin_write().map_err(|e| index()(e.into()))?;
            let outcome = work(&transaction).map_err(index())??;
            transaction.commit().map_err(|e| index()(e.into()))?;
            Ok(outcome)
        })
        .await
    }

    async fn record(
        &self,
        table: TableDefinition<'static, &'static Key, &'static [u8]>,
        fid: Fid,
    ) -> Result<Option<FileRecord>, StorageError> {
        let bytes = self
            .read("looked up a file", move |database| {
                let table = database.begin_read()?.open_table(table)?;
                Ok(table.get(&fid.0)?.map(|value| value.value().to_vec()))
            })
            .await?;
        bytes
            .map(|bytes| FileRecord::from_bytes(&bytes).ok_or(StorageError::DamagedRecord { fid }))
            .transpose()
    }
}

#[async_trait]
impl FileBank for EmbeddedBank {
    async fn declare(
        &self,
        fid: Fid,
        record: FileRecord,
        owner: Owner,
    ) -> Result<Declared, StorageError> {
        self.write("declared a file", move |transaction| {
            let mut owners = transaction.open_table(OWNERS)?;
            let name = owner.name.as_str();
            let mut count = 0;
            let [first, last] = prefixed(&fid.0);
            for entry in owners.range::<&Pair>(&first..=&last)?.take(MAX_OWNERS + 1) {
                count += usize::from(second(entry?.0.value()) != owner.account.0);
            }
            if count >= MAX_OWNERS {
                return Ok(Err(StorageError::TooManyOwners { limit: MAX_OWNERS }));
            }
            owners.insert(&joined(&fid.0, &owner.account.0), name)?;
            if transaction.open_table(FILES)?.get(&fid.0)?.is_some() {
                let mut holdings = transaction.open_table(HOLDINGS)?;
                holdings.insert(&joined(&owner.account.0, &fid.0), (record.size, name))?;
                return Ok(Ok(Declared::Existing));
            }
            transaction
                .open_table(DEALS)?
                .insert(&fid.0, record.to_bytes().as_slice())?;
            Ok(Ok(Declared::Deal))
        })
        .await
    }

    async fn report(&self, fid: Fid, index: u8, node: NodeId) -> Result<FileState, StorageError> {
        self.write("took a report", move |transaction| {
            let mut deals = transaction.open_table(DEALS)?;
            let bytes = deals.get(&fid.0)?.map(|value| value.value().to_vec());
            let Some(bytes) = bytes else {
                return Ok(Err(StorageError::NotFound { fid }));
            };
            let Some(mut record) = FileRecord::from_bytes(&bytes) else {
                return Ok(Err(StorageError::DamagedRecord { fid }));
            };
            record.report(index, node);
            let state = record.state();
            if state != FileState::Active {
                deals.insert(&fid.0, record.to_bytes().as_slice())?;
                return Ok(Ok(state));
            }
            deals.remove(&fid.0)?;
            transaction
                .open_table(FILES)?
                .insert(&fid.0, record.to_bytes().as_slice())?;
            let owners = transaction.open_table(OWNERS)?;
            let mut holdings = transaction.open_table(HOLDINGS)?;
            let [first, last] = prefixed(&fid.0);
            for entry in owners.range::<&Pair>(&first..=&last)? {
                let (key, name) = entry?;
                let holding = joined(&second(key.value()), &fid.0);
                holdings.insert(&holding, (record.size, name.value()))?;
            }
            Ok(Ok(state))
        })
        .await
    }

    async fn cancel(&self, fid: Fid) -> Result<(), StorageError> {
        self.write("withdrew a declaration", move |transaction| {
            if transaction.open_table(DEALS)?.remove(&fid.0)?.is_none() {
                return Ok(Ok(()));
            }
            let mut owners = transaction.open_table(OWNERS)?;
            let [first, last] = prefixed(&fid.0);
            owners.retain_in::<&Pair, _>(&first..=&last, |_, _| false)?;
            Ok(Ok(()))
        })
        .await
    }

    async fn deals(&self) -> Result<Vec<Fid>, StorageError> {
        self.read("listed declarations", |database| {
            let table = database.begin_read()?.open_table(DEALS)?;
            table
                .iter()?
                .map(|entry| Ok(Fid(*entry?.0.value())))
                .collect()
        })
        .await
    }

    async fn file(&self, fid: Fid) -> Result<Option<FileRecord>, StorageError> {
        self.record(FILES, fid).await
    }

    async fn deal(&self, fid: Fid) -> Result<Option<FileRecord>, StorageError> {
        self.record(DEALS, fid).await
    }

    async fn files(&self, after: Option<Fid>, limit: usize) -> Result<Vec<Fid>, StorageError> {
        self.read("listed files", move |database| {
            let table = database.begin_read()?.open_table(FILES)?;
            let first = after.map_or(Bound::Unbounded, |fid| Bound::Excluded(fid.0));
            let range = (first.as_ref(), Bound::<&Key>::Unbounded);
            let files = table.range::<&Key>(range)?.take(limit);
            files.map(|entry| Ok(Fid(*entry?.0.value()))).collect()
        })
        .await
    }

    async fn owners(&self, fid: Fid) -> Result<Vec<Owner>, StorageError> {
        self.read("looked up owners", move |database| {
            let table = database.begin_read()?.open_table(OWNERS)?;
            let [first, last] = prefixed(&fid.0);
            let mut owners = Vec::new();
            for entry in table.range::<&Pair>(&first..=&last)?.take(TOLD_OWNERS) {
                let (key, name) = entry?;
                if let Ok(name) = name.value().parse() {
                    owners.push(Owner::new(Account(second(key.value())), name));
                }
            }
            Ok(owners)
        })
        .await
    }

    async fn list(&self, owner: Account, page: Page) -> Result<Vec<ListedObject>, StorageError> {
        self.read("listed files", move |database| {
            let table = database.begin_read()?.open_table(HOLDINGS)?;
            let first = match page.after {
                Some(fid) => Bound::Excluded(joined(&owner.0, &fid.0)),
                None => Bound::Included(joined(&owner.0, &[0; 32])),
            };
            let last = Bound::Included(joined(&owner.0, &[0xff; 32]));
            let range = table.range::<&Pair>((first.as_ref(), last.as_ref()))?;
            let mut listed = Vec::new();
            for entry in range.take(page.limit.min(Page::MAX)) {
                let (key, value) = entry?;
                let (size, name) = value.value();
                listed.push(ListedObject {
                    fid: Fid(second(key.value())),
                    size,
                    name: name.parse().ok(),
                });
            }
            Ok(listed)
        })
        .await
    }

    async fn delete(&self, fid: Fid, owner: Account) -> Result<Deleted, StorageError> {
        self.write("removed a file", move |transaction| {
            let mut files = transaction.open_table(FILES)?;
            let Some(bytes) = files.get(&fid.0)?.map(|value| value.value().to_vec()) else {
                return Ok(Err(StorageError::NotFound { fid }));
            };
            let mut owners = transaction.open_table(OWNERS)?;
            if owners.remove(&joined(&fid.0, &owner.0))?.is_none() {
                let reason = format!("account {owner} does not own {fid}");
                return Ok(Err(StorageError::NoPermission { reason }));
            }
            transaction
                .open_table(HOLDINGS)?
                .remove(&joined(&owner.0, &fid.0))?;
            let [first, last] = prefixed(&fid.0);
            if owners.range::<&Pair>(&first..=&last)?.next().is_some() {
                return Ok(Ok(Deleted::Released));
            }
            files.remove(&fid.0)?;
            // Equal fragments of other files at the same node are tagged again.
            let mut tags = transaction.open_table(TAGS)?;
            if let Some(record) = FileRecord::from_bytes(&bytes) {
                for segment in &record.segments {
                    for (node, hash) in record.placement.iter().zip(segment.fragments) {
                        tags.remove(&joined(&node.0, &hash.0))?;
                    }
                }
            }
            Ok(Ok(Deleted::Removed))
        })
        .await
    }

    async fn restored(&self, fid: Fid, index: u8, node: NodeId) -> Result<(), StorageError> {
        self.write("recorded a repair", move |transaction| {
            let mut files = transaction.open_table(FILES)?;
            let bytes = files.get(&fid.0)?.map(|value| value.value().to_vec());
            let Some(bytes) = bytes else {
                return Ok(Err(StorageError::NotFound { fid }));
            };
            let Some(mut record) = FileRecord::from_bytes(&bytes) else {
                return Ok(Err(StorageError::DamagedRecord { fid }));
            };
            record.report(index, node);
            files.insert(&fid.0, record.to_bytes().as_slice())?;
            Ok(Ok(()))
        })
        .await
    }

    async fn tagged(&self, node: NodeId, key: &FragmentKey) -> Result<(), StorageError> {
        let (at, u) = (joined(&node.0, &key.fragment().0), key.u());
        self.write("recorded tags", move |transaction| {
            transaction.open_table(TAGS)?.insert(&at, &u)?;
            Ok(Ok(()))
        })
        .await
    }

    async fn tag(
        &self,
        node: NodeId,
        fragment: ContentHash,
    ) -> Result<Option<FragmentKey>, StorageError> {
        self.read("looked up tags", move |database| {
            let table = database.begin_read()?.open_table(TAGS)?;
            let u = table.get(&joined(&node.0, &fragment.0))?;
            Ok(u.map(|u| FragmentKey::new(fragment, u.value())))
        })
        .await
    }
}

impl std::fmt::Debug for EmbeddedBank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EmbeddedBank")
    }
}

fn initialise(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(FILES)?;
    transaction.open_table(DEALS)?;
    transaction.open_table(OWNERS)?;
    transaction.open_table(HOLDINGS)?;
    transaction.open_table(TAGS)?;
    let format = {
        let mut numbers = transaction.open_table(NUMBERS)?;
        let format = numbers.get(FORMAT_KEY)?.map(|value| value.value());
        match format {
            Some(format) => format,
            None => {
                numbers.insert(FORMAT_KEY, FORMAT)?;
                FORMAT
            }
        }
    };
    transaction.commit()?;
    Ok(format)
}

fn joined(first: &Key, second: &Key) -> Pair {
    let mut key = [0; 64];
    key[..32].copy_from_slice(first);
    key[32..].copy_from_slice(second);
    key
}

/// The first and the last key that begin with `first`.
fn prefixed(first: &Key) -> [Pair; 2] {
    [joined(first, &[0; 32]), joined(first, &[0xff; 32])]
}

fn second(key: &Pair) -> Key {
    std::array::from_fn(|i| key[32 + i])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::contract::{Cast, holds};
    use super::*;

    #[tokio::test]
    async fn the_contract_holds() {
        let dir = tempfile::tempdir().unwrap();
        let bank = EmbeddedBank::open(&dir.path().join("files.redb")).unwrap();
        let cast = Cast {
            owners: [1, 2, 3].map(|i| Account([i; 32])),
            nodes: (100..114).map(|i| Account([i; 32])).collect(),
        };
        holds(&bank, &cast).await;
    }
}
