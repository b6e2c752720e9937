//! The index of a store: a redb database, changed in single durable transactions.

use std::collections::HashMap;
use std::ops::Bound;
use std::path::Path;

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use super::OpenError;
use super::record::ObjectRecord;
use crate::account::Account;
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid};
use crate::layout::Geometry;
use crate::object::{ListedObject, ObjectName, Owner, Page};

/// Version of the tables below.
const FORMAT: u64 = 1;
/// The most owners an object may have.
const MAX_OWNERS: usize = 1000;
/// The most owners that are told.
const TOLD_OWNERS: usize = 100;

/// fid -> [`ObjectRecord`]
const OBJECTS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("objects");
/// fragment hash -> (times it occurs in objects, bytes on disk); fragments of zeros are left out
const FRAGMENTS: TableDefinition<'_, &[u8; 32], (u64, u64)> = TableDefinition::new("fragments");
/// fid ‖ account -> name
const OWNERS: TableDefinition<'_, &[u8; 64], &str> = TableDefinition::new("owners");
/// account ‖ fid -> (object size, name)
const HOLDINGS: TableDefinition<'_, &[u8; 64], (u64, &str)> = TableDefinition::new("holdings");
/// the single numbers below
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const FORMAT_KEY: &str = "format";
const FRAGMENT_SIZE_KEY: &str = "fragment size";
const OCCUPIED_KEY: &str = "occupied bytes";

pub(crate) struct Index {
    database: Database,
}

/// What became of an owner's claim.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Release {
    NotFound,
    NotOwner,
    /// Others own the object too.
    Released,
    /// The object is gone.
    Removed {
        /// Fragments that no object has any more.
        unreferenced: Vec<ContentHash>,
        /// Bytes of those that are left.
        occupied: u64,
    },
}

impl Index {
    pub(crate) fn open(dir: &Path, geometry: Geometry) -> Result<Self, OpenError> {
        let database = match Database::create(dir.join("index.redb")) {
            Ok(database) => database,
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                return Err(OpenError::InUse {
                    dir: dir.to_owned(),
                });
            }
            Err(error) => {
                let source = StorageError::index("was opened")(error);
                return Err(OpenError::Storage {
                    dir: dir.to_owned(),
                    source: Box::new(source),
                });
            }
        };
        let index = Self { database };
        let expected = geometry.fragment() as u64;
        let (found_format, found) = index.initialise(expected).map_err(|source| {
            let source = StorageError::index("was opened")(source);
            OpenError::Storage {
                dir: dir.to_owned(),
                source: Box::new(source),
            }
        })?;
        if (found_format, found) != (FORMAT, expected) {
            let dir = dir.to_owned();
            return Err(OpenError::OtherFormat {
                dir,
                found_format,
                found,
                format: FORMAT,
                expected,
            });
        }
        Ok(index)
    }

    /// Makes the tables of a new index. Returns the format and the fragment size.
    fn initialise(&self, fragment: u64) -> Result<(u64, u64), redb::Error> {
        let transaction = self.database.begin_write()?;
        let found = {
            let mut numbers = transaction.open_table(NUMBERS)?;
            let format = numbers.get(FORMAT_KEY)?.map(|value| value.value());
            if let Some(format) = format {
                let size = numbers
                    .get(FRAGMENT_SIZE_KEY)?
                    .map_or(0, |value| value.value());
                (format, size)
            } else {
                numbers.insert(FORMAT_KEY, FORMAT)?;
                numbers.insert(FRAGMENT_SIZE_KEY, fragment)?;
                numbers.insert(OCCUPIED_KEY, 0)?;
                transaction.open_table(OBJECTS)?;
                transaction.open_table(FRAGMENTS)?;
                transaction.open_table(OWNERS)?;
                transaction.open_table(HOLDINGS)?;
                (FORMAT, fragment)
            }
        };
        transaction.commit()?;
        Ok(found)
    }

    pub(crate) fn object(&self, fid: Fid) -> Result<Option<ObjectRecord>, StorageError> {
        let bytes = self
            .read(|transaction| {
                let objects = transaction.open_table(OBJECTS)?;
                Ok(objects.get(&fid.0)?.map(|value| value.value().to_vec()))
            })
            .map_err(StorageError::index("looked up an object"))?;
        bytes
            .map(|bytes| {
                ObjectRecord::from_bytes(&bytes).ok_or(StorageError::DamagedRecord { fid })
            })
            .transpose()
    }

    /// The first owners of an object.
    pub(crate) fn owners(&self, fid: Fid) -> Result<Vec<Owner>, StorageError> {
        self.read(|transaction| {
            let owners = transaction.open_table(OWNERS)?;
            let mut told = Vec::new();
            let [first, last] = prefixed(&fid.0);
            for entry in owners.range::<&[u8; 64]>(&first..=&last)?.take(TOLD_OWNERS) {
                let (key, name) = entry?;
                // Only names that parsed were ever written.
                if let Ok(name) = name.value().parse() {
                    told.push(Owner {
                        account: Account(second_half(key.value())),
                        name,
                    });
                }
            }
            Ok(told)
        })
        .map_err(StorageError::index("looked up owners"))
    }

    pub(crate) fn list(
        &self,
        owner: Account,
        page: Page,
    ) -> Result<Vec<ListedObject>, StorageError> {
        self.read(|transaction| {
            let holdings = transaction.open_table(HOLDINGS)?;
            let first = match page.after {
                Some(fid) => Bound::Excluded(joined(&owner.0, &fid.0)),
                None => Bound::Included(joined(&owner.0, &[0; 32])),
            };
            let last = Bound::Included(joined(&owner.0, &[0xff; 32]));
            let range = (first.as_ref(), last.as_ref());
            let mut listed = Vec::new();
            for entry in holdings
                .range::<&[u8; 64]>(range)?
                .take(page.limit.min(Page::MAX))
            {
                let (key, value) = entry?;
                let (size, name) = value.value();
                let fid = Fid(second_half(key.value()));
                listed.push(ListedObject {
                    fid,
                    size,
                    name: name.parse().ok(),
                });
            }
            Ok(listed)
        })
        .map_err(StorageError::index("listed objects"))
    }

    pub(crate) fn is_referenced(&self, fragment: ContentHash) -> Result<bool, StorageError> {
        self.read(|transaction| {
            Ok(transaction
                .open_table(FRAGMENTS)?
                .get(&fragment.0)?
                .is_some())
        })
        .map_err(StorageError::index("looked up a fragment"))
    }

    /// Bytes of all fragments.
    pub(crate) fn occupied(&self) -> Result<u64, StorageError> {
        self.read(|transaction| {
            let numbers = transaction.open_table(NUMBERS)?;
            Ok(numbers.get(OCCUPIED_KEY)?.map_or(0, |value| value.value()))
        })
        .map_err(StorageError::index("looked up its size"))
    }

    /// Records an object whose fragments are in place, or one more owner of an object that was
    /// recorded before. `lengths` has the bytes on disk of every fragment that is not zeros.
    /// Returns the bytes of all fragments.
    pub(crate) fn insert(
        &self,
        fid: Fid,
        record: &ObjectRecord,
        lengths: &HashMap<ContentHash, u64>,
        owner: &Owner,
    ) -> Result<u64, StorageError> {
        let doing = "recorded an object";
        let transaction = self
            .database
            .begin_write()
            .map_err(StorageError::index(doing))?;
        let owners =
            count_owners(&transaction, fid, owner.account).map_err(StorageError::index(doing))?;
        if owners >= MAX_OWNERS {
            return Err(StorageError::TooManyOwners { limit: MAX_OWNERS });
        }
        let insert = || -> Result<u64, redb::Error> {
            let mut objects = transaction.open_table(OBJECTS)?;
            let mut numbers = transaction.open_table(NUMBERS)?;
            let mut occupied = numbers.get(OCCUPIED_KEY)?.map_or(0, |value| value.value());
            let known = objects.get(&fid.0)?.is_some();
            if !known {
                objects.insert(&fid.0, record.to_bytes().as_slice())?;
                let mut fragments = transaction.open_table(FRAGMENTS)?;
                for hash in record.segments.iter().flat_map(|segment| segment.fragments) {
                    let Some(length) = lengths.get(&hash) else {
                        continue;
                    };
                    let counted = fragments.get(&hash.0)?.map(|value| value.value());
                    let (count, _) = counted.unwrap_or((0, 0));
                    fragments.insert(&hash.0, (count + 1, *length))?;
                    if counted.is_none() {
                        occupied += length;
                    }
                }
                numbers.insert(OCCUPIED_KEY, occupied)?;
            }
            let name = owner.name.as_str();
            let account = &owner.account.0;
            transaction
                .open_table(OWNERS)?
                .insert(&joined(&fid.0, account), name)?;
            let holding = (record.size, name);
            transaction
                .open_table(HOLDINGS)?
                .insert(&joined(account, &fid.0), holding)?;
            Ok(occupied)
        };
        let occupied = insert().map_err(StorageError::index(doing))?;
        transaction.commit().map_err(StorageError::index(doing))?;
        Ok(occupied)
    }

    /// Removes an owner, and with the last one the object.
    pub(crate) fn release(&self, fid: Fid, owner: Account) -> Result<Release, StorageError> {
        let doing = "removed an object";
        let Some(record) = self.object(fid)? else {
            return Ok(Release::NotFound);
        };
        let transaction = self
            .database
            .begin_write()
            .map_err(StorageError::index(doing))?;
        let release = || -> Result<Release, redb::Error> {
            let mut owners = transaction.open_table(OWNERS)?;
            if owners.remove(&joined(&fid.0, &owner.0))?.is_none() {
                return Ok(Release::NotOwner);
            }
            transaction
                .open_table(HOLDINGS)?
                .remove(&joined(&owner.0, &fid.0))?;
            let [first, last] = prefixed(&fid.0);
            if owners.range::<&[u8; 64]>(&first..=&last)?.next().is_some() {
                return Ok(Release::Released);
            }
            transaction.open_table(OBJECTS)?.remove(&fid.0)?;
            let mut numbers = transaction.open_table(NUMBERS)?;
            let mut occupied = numbers.get(OCCUPIED_KEY)?.map_or(0, |value| value.value());
            let mut unreferenced = Vec::new();
            let mut fragments = transaction.open_table(FRAGMENTS)?;
            for hash in record.segments.iter().flat_map(|segment| segment.fragments) {
                let counted = fragments.get(&hash.0)?.map(|value| value.value());
                match counted {
                    // Zeros.
                    None => {}
                    Some((0 | 1, length)) => {
                        fragments.remove(&hash.0)?;
                        occupied = occupied.saturating_sub(length);
                        unreferenced.push(hash);
                    }
                    Some((count, length)) => {
                        fragments.insert(&hash.0, (count - 1, length))?;
                    }
                }
            }
            numbers.insert(OCCUPIED_KEY, occupied)?;
            Ok(Release::Removed {
                unreferenced,
                occupied,
            })
        };
        let release = release().map_err(StorageError::index(doing))?;
        transaction.commit().map_err(StorageError::index(doing))?;
        Ok(release)
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        read(&self.database.begin_read()?)
    }
}

/// How many others own an object.
fn count_owners(
    transaction: &redb::WriteTransaction,
    fid: Fid,
    besides: Account,
) -> Result<usize, redb::Error> {
    let owners = transaction.open_table(OWNERS)?;
    let mut count = 0;
    let [first, last] = prefixed(&fid.0);
    for entry in owners
        .range::<&[u8; 64]>(&first..=&last)?
        .take(MAX_OWNERS + 1)
    {
        let (key, _) = entry?;
        count += usize::from(second_half(key.value()) != besides.0);
    }
    Ok(count)
}

fn joined(first: &[u8; 32], second: &[u8; 32]) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(first);
    key[32..].copy_from_slice(second);
    key
}

/// The first and the last key that begin with `first`.
fn prefixed(first: &[u8; 32]) -> [[u8; 64]; 2] {
    [joined(first, &[0; 32]), joined(first, &[0xff; 32])]
}

fn second_half(key: &[u8; 64]) -> [u8; 32] {
    std::array::from_fn(|i| key[32 + i])
}

impl Owner {
    /// This account, which calls the object `name`.
    pub fn new(account: Account, name: ObjectName) -> Self {
        Self { account, name }
    }
}
