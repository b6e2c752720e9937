//! Claims on disk.

use std::path::{Path, PathBuf};

use ai_link_wire::{CodecError, JobClaim, JobId, Limit, UnixMillis, codec};
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};

/// Job → what is kept of it.
const CLAIMS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("claims");
/// Claims kept at once: those of an hour at 18 jobs a second.
const MAX_CLAIMS: u64 = 1 << 16;

/// A claim and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What was signed.
    pub claim: JobClaim,
    /// When it came.
    pub since: UnixMillis,
    /// Where it stands.
    pub standing: Standing,
}

/// Where a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// To be settled.
    Waiting,
    /// The money for it was taken, which was seen first at this time, and the coordinator has not shown it.
    NotShown(UnixMillis),
    /// Disputed on chain.
    Disputed,
}

/// The durable record of claims.
#[derive(Debug)]
pub struct Claims {
    database: Database,
    path: PathBuf,
}

impl Claims {
    /// Opens or creates it.
    ///
    /// # Errors
    /// [`ClaimsError::Store`].
    pub fn open(path: &Path) -> Result<Self, ClaimsError> {
        let store = |source: redb::Error| ClaimsError::Store {
            path: path.into(),
            source,
        };
        let database = Database::create(path).map_err(|e| store(e.into()))?;
        let claims = Self {
            database,
            path: path.into(),
        };
        claims.write(|table| table.len().map(drop).map_err(Into::into))?;
        Ok(claims)
    }

    /// Keeps a claim. One about the same job replaces it only if it brings a promise where there was none.
    ///
    /// # Errors
    /// [`ClaimsError::Full`], [`ClaimsError::Store`], [`ClaimsError::Codec`].
    pub fn keep(&self, claim: JobClaim, now: UnixMillis) -> Result<(), ClaimsError> {
        // It was checked, so its ticket reads.
        let Ok(job) = claim.ticket.verify_at_any_time().map(|ticket| ticket.job) else {
            return Ok(());
        };
        let known = self.get(job)?;
        let better = known.as_ref().is_none_or(|known| {
            known.claim.acknowledgement.is_none() && claim.acknowledgement.is_some()
        });
        if !better {
            return Ok(());
        }
        if known.is_none() && self.len()? >= MAX_CLAIMS {
            return Err(ClaimsError::Full { limit: MAX_CLAIMS });
        }
        let kept = Kept {
            claim,
            since: known.as_ref().map_or(now, |known| known.since),
            standing: known.map_or(Standing::Waiting, |known| known.standing),
        };
        self.put(job, &kept)
    }

    /// Changes what is kept of a job.
    ///
    /// # Errors
    /// [`ClaimsError::Store`], [`ClaimsError::Codec`].
    pub fn put(&self, job: JobId, kept: &Kept) -> Result<(), ClaimsError> {
        let bytes = codec::encode(kept, Limit::RECORD).map_err(ClaimsError::Codec)?;
        self.write(|table| {
            table.insert(&job.0, bytes.as_slice())?;
            Ok(())
        })
    }

    /// Forgets a job.
    ///
    /// # Errors
    /// [`ClaimsError::Store`].
    pub fn forget(&self, job: JobId) -> Result<(), ClaimsError> {
        self.write(|table| {
            table.remove(&job.0)?;
            Ok(())
        })
    }

    /// What is kept of a job.
    ///
    /// # Errors
    /// [`ClaimsError::Store`], [`ClaimsError::Codec`].
    pub fn get(&self, job: JobId) -> Result<Option<Kept>, ClaimsError> {
        let bytes = self.read(|table| Ok(table.get(&job.0)?.map(|row| row.value().to_vec())))?;
        let kept = bytes.map(|bytes| codec::decode(&bytes, Limit::RECORD));
        kept.transpose().map_err(ClaimsError::Codec)
    }

    /// At most `count` claims on jobs after `after`, in the order of their ids.
    ///
    /// # Errors
    /// [`ClaimsError::Store`], [`ClaimsError::Codec`].
    pub fn after(
        &self,
        after: Option<JobId>,
        count: usize,
    ) -> Result<Vec<(JobId, Kept)>, ClaimsError> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, |job| Bound::Excluded(job.0));
        let rows = self.read(|table| {
            let range = (from.as_ref(), Bound::<&[u8; 16]>::Unbounded);
            let rows = table.range::<&[u8; 16]>(range)?.take(count);
            rows.map(|row| row.map(|(job, bytes)| (*job.value(), bytes.value().to_vec())))
                .collect::<Result<Vec<_>, _>>()
                .map_err(Into::into)
        })?;
        rows.into_iter()
            .map(|(job, bytes)| {
                let kept = codec::decode(&bytes, Limit::RECORD).map_err(ClaimsError::Codec)?;
                Ok((JobId(job), kept))
            })
            .collect()
    }

    fn len(&self) -> Result<u64, ClaimsError> {
        self.read(|table| Ok(table.len()?))
    }

    fn read<T>(
        &self,
        act: impl FnOnce(redb::ReadOnlyTable<&[u8; 16], &[u8]>) -> Result<T, redb::Error>,
    ) -> Result<T, ClaimsError> {
        let read = || {
            let transaction = self.database.begin_read()?;
            act(transaction.open_table(CLAIMS)?)
        };
        read().map_err(|source| self.store(source))
    }

    fn write(
        &self,
        act: impl FnOnce(&mut redb::Table<'_, &[u8; 16], &[u8]>) -> Result<(), redb::Error>,
    ) -> Result<(), ClaimsError> {
        let write = || {
            let transaction = self.database.begin_write()?;
            act(&mut transaction.open_table(CLAIMS)?)?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|source| self.store(source))
    }

    fn store(&self, source: redb::Error) -> ClaimsError {
        ClaimsError::Store {
            path: self.path.clone(),
            source,
        }
    }
}

/// Why claims are not kept.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// An entry is not what this version keeps.
    #[error("a claim cannot be read or written; was the file made by another version?")]
    Codec(#[source] CodecError),
    /// Too many jobs wait for settlement.
    #[error("{limit} jobs wait for their settlement: is the coordinator away?")]
    Full {
        /// How many are kept.
        limit: u64,
    },
    /// The file failed.
    #[error("the record of claims at {path} failed", path = .path.display())]
    Store {
        /// Its file.
        path: PathBuf,
        /// What redb says.
        #[source]
        source: redb::Error,
    },
}
