//! The ledger's file: a redb database.
//!
//! redb commits are atomic and, with [`Durability::Immediate`], on disk when `commit` returns. The
//! table `live` holds the ids of the jobs that are open or unpaid, so that a restart reads these
//! and not the whole history.

use std::path::Path;

use ai_link_wire::{AccountId, JobId, PeerKey, decode, encode};
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};
use serde::de::DeserializeOwned;

use super::entry::{ClientEntry, Draft, Earned, EpochEntry, JobEntry, PaidEpoch, TrackRecord};
use super::store::{ENTRY_LIMIT, Store, StoreError, Write};

const JOBS: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("jobs");
const LIVE: TableDefinition<'_, [u8; 16], ()> = TableDefinition::new("live");
const CLIENTS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("clients");
const TRACKS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("tracks");
const DRAFT: TableDefinition<'_, (), &[u8]> = TableDefinition::new("draft");
const EARNINGS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("earnings");
const PAID: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("paid-epochs");
const EPOCHS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("epochs");
const FORMAT: TableDefinition<'_, (), u32> = TableDefinition::new("format");

/// Raised when what is stored changes its meaning or encoding.
const FORMAT_VERSION: u32 = 3;

/// Entries in a redb file, opened by one process at a time.
#[derive(Debug)]
pub struct DiskStore {
    database: Database,
}

impl DiskStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When another process has it open, the disk fails, or it has another format version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let database = Database::create(path)?;
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            // Makes every table, so that readers need not care whether one exists.
            transaction.open_table(JOBS)?;
            transaction.open_table(LIVE)?;
            transaction.open_table(CLIENTS)?;
            transaction.open_table(TRACKS)?;
            transaction.open_table(DRAFT)?;
            transaction.open_table(EARNINGS)?;
            transaction.open_table(PAID)?;
            transaction.open_table(EPOCHS)?;
            let mut format = transaction.open_table(FORMAT)?;
            let found = format.get(())?.map(|version| version.value());
            match found {
                None => {
                    format.insert((), FORMAT_VERSION)?;
                }
                Some(FORMAT_VERSION) => {}
                Some(found) => {
                    return Err(StoreError::Format {
                        found,
                        expected: FORMAT_VERSION,
                    });
                }
            }
        }
        transaction.commit()?;
        Ok(Self { database })
    }

    fn read<K, T>(
        &self,
        table: TableDefinition<'_, K, &'static [u8]>,
        key: K::SelfType<'_>,
    ) -> Result<Option<T>, StoreError>
    where
        K: redb::Key + 'static,
        T: DeserializeOwned,
    {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(table)?;
        let value = table.get(key)?;
        Ok(value
            .map(|bytes| decode(bytes.value(), ENTRY_LIMIT))
            .transpose()?)
    }
}

impl Store for DiskStore {
    fn job(&self, job: &JobId) -> Result<Option<JobEntry>, StoreError> {
        self.read(JOBS, job.0)
    }

    fn live_jobs(&self) -> Result<Vec<JobEntry>, StoreError> {
        let transaction = self.database.begin_read()?;
        let live = transaction.open_table(LIVE)?;
        let jobs = transaction.open_table(JOBS)?;
        let mut entries = Vec::new();
        for row in live.iter()? {
            let (job, ()) = {
                let (job, mark) = row?;
                (job.value(), mark.value())
            };
            if let Some(bytes) = jobs.get(job)? {
                entries.push(decode(bytes.value(), ENTRY_LIMIT)?);
            }
        }
        Ok(entries)
    }

    fn client(&self, client: &AccountId) -> Result<Option<ClientEntry>, StoreError> {
        self.read(CLIENTS, client.0)
    }

    fn track(&self, peer: &PeerKey) -> Result<Option<TrackRecord>, StoreError> {
        self.read(TRACKS, peer.0)
    }

    fn draft(&self) -> Result<Option<Draft>, StoreError> {
        self.read(DRAFT, ())
    }

    fn earnings(&self) -> Result<Vec<(AccountId, Earned)>, StoreError> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(EARNINGS)?;
        let mut earnings = Vec::new();
        for row in table.iter()? {
            let (account, bytes) = row?;
            let earned = decode(bytes.value(), ENTRY_LIMIT)?;
            earnings.push((AccountId(account.value()), earned));
        }
        Ok(earnings)
    }

    fn paid_epochs(&self, most: usize) -> Result<Vec<PaidEpoch>, StoreError> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(PAID)?;
        let mut epochs = Vec::new();
        for row in table.iter()?.rev().take(most) {
            epochs.push(decode(row?.1.value(), ENTRY_LIMIT)?);
        }
        epochs.reverse();
        Ok(epochs)
    }

    fn epoch(&self, epoch: u64) -> Result<Option<EpochEntry>, StoreError> {
        self.read(EPOCHS, epoch)
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        for write in writes {
            // A transaction that is dropped is rolled back.
            apply(&transaction, write)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

fn apply(transaction: &WriteTransaction, write: &Write) -> Result<(), StoreError> {
    match write {
        Write::Job(entry) => {
            let bytes = encode(entry, ENTRY_LIMIT)?;
            transaction
                .open_table(JOBS)?
                .insert(entry.job.0, bytes.as_slice())?;
            let mut live = transaction.open_table(LIVE)?;
            if entry.phase.is_live() {
                live.insert(entry.job.0, ())?;
            } else {
                live.remove(entry.job.0)?;
            }
        }
        Write::Client(client, entry) => {
            let bytes = encode(entry, ENTRY_LIMIT)?;
            transaction
                .open_table(CLIENTS)?
                .insert(client.0, bytes.as_slice())?;
        }
        Write::Track(peer, track) => {
            let bytes = encode(track, ENTRY_LIMIT)?;
            transaction
                .open_table(TRACKS)?
                .insert(peer.0, bytes.as_slice())?;
        }
        Write::Earned(account, earned) => {
            let bytes = encode(earned, ENTRY_LIMIT)?;
            transaction
                .open_table(EARNINGS)?
                .insert(account.0, bytes.as_slice())?;
        }
        Write::Paid(entry) => {
            let bytes = encode(entry, ENTRY_LIMIT)?;
            transaction
                .open_table(PAID)?
                .insert(entry.epoch, bytes.as_slice())?;
        }
        Write::Draft(Some(draft)) => {
            let bytes = encode(draft, ENTRY_LIMIT)?;
            transaction
                .open_table(DRAFT)?
                .insert((), bytes.as_slice())?;
        }
        Write::Epoch(epoch, entry) => {
            let bytes = encode(entry, ENTRY_LIMIT)?;
            transaction
                .open_table(EPOCHS)?
                .insert(epoch, bytes.as_slice())?;
        }
        Write::Draft(None) => {
            transaction.open_table(DRAFT)?.remove(())?;
        }
    }
    Ok(())
}

macro_rules! database_errors {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }
    )*};
}

database_errors!(
    redb::CommitError,
    redb::DatabaseError,
    redb::SetDurabilityError,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
);
