//! Which shares of stored inputs this worker has had, for ever: it takes one share of an input and never the other.
//!
//! With a seed and the words that it masks a worker would have the input in the clear. Owners grant a worker one of
//! them only; this record is the worker's own part in it, durable before a share is pulled, whatever an owner's or a
//! client's software does.

use std::path::{Path, PathBuf};

use ai_link_wire::{Share, SharedInput};
use redb::{Database, ReadableTable, ReadableTableMetadata as _, TableDefinition};

/// Object → whether its share was taken, or must not be.
const SHARES: TableDefinition<'_, &[u8; 32], bool> = TableDefinition::new("shares-had");
/// Entries kept at once, two an input.
const MAX_ENTRIES: u64 = 1 << 21;

/// The durable record of shares.
#[derive(Debug)]
pub struct SharesHad {
    database: Database,
    path: PathBuf,
}

impl SharesHad {
    /// Opens or creates the record.
    ///
    /// # Errors
    /// [`BookError::Store`].
    pub fn open(path: &Path) -> Result<Self, BookError> {
        let store = |source: redb::Error| BookError::Store {
            path: path.into(),
            source,
        };
        let database = Database::create(path).map_err(|e| store(e.into()))?;
        let transaction = database.begin_write().map_err(|e| store(e.into()))?;
        transaction
            .open_table(SHARES)
            .map_err(|e| store(e.into()))?;
        transaction.commit().map_err(|e| store(e.into()))?;
        Ok(Self {
            database,
            path: path.into(),
        })
    }

    /// Takes `share` of an input, for good. When this returns `Ok` it is on disk that the other share must not follow.
    ///
    /// # Errors
    /// [`BookError::OtherShare`] when the other one was taken before; [`BookError::Full`]; [`BookError::Store`].
    pub fn take(&self, input: &SharedInput, share: Share) -> Result<(), BookError> {
        let (own, other) = (input.object(share), input.object(share.other()));
        let taken = (|| {
            let transaction = self.database.begin_write()?;
            let outcome = {
                let mut table = transaction.open_table(SHARES)?;
                let state = |fid: &[u8; 32]| -> Result<Option<bool>, redb::Error> {
                    Ok(table.get(fid)?.map(|taken| taken.value()))
                };
                // One object as both shares is no sharing.
                if own == other || state(&own.0)? == Some(false) || state(&other.0)? == Some(true) {
                    Err(BookError::OtherShare)
                } else if table.len()? >= MAX_ENTRIES && state(&own.0)?.is_none() {
                    Err(BookError::Full { limit: MAX_ENTRIES })
                } else {
                    table.insert(&own.0, true)?;
                    table.insert(&other.0, false)?;
                    Ok(())
                }
            };
            transaction.commit()?;
            Ok::<_, redb::Error>(outcome)
        })();
        taken.map_err(|source| BookError::Store {
            path: self.path.clone(),
            source,
        })?
    }
}

/// Why a share may not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The other share of the input was taken before.
    #[error("the other share of this input was taken before")]
    OtherShare,
    /// Too many inputs.
    #[error("the record of shares holds {limit} entries: start another worker")]
    Full {
        /// How many are kept.
        limit: u64,
    },
    /// The record failed; no share may be taken while it does.
    #[error("the record of shares at {path} failed", path = .path.display())]
    Store {
        /// Its file.
        path: PathBuf,
        /// What redb says.
        #[source]
        source: redb::Error,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ai_link_wire::Fid;

    fn input(seed: u8, masked: u8) -> SharedInput {
        SharedInput {
            seed: Fid([seed; 32]),
            masked: Fid([masked; 32]),
            shape: vec![1, 1],
            fraction_bits: 16,
            policy: None,
        }
    }

    #[test]
    fn who_had_one_share_never_takes_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shares.redb");
        let book = SharesHad::open(&path).unwrap();
        book.take(&input(1, 2), Share::Seed).unwrap();
        drop(book);
        let book = SharesHad::open(&path).unwrap();
        // The same share again, for another job.
        book.take(&input(1, 2), Share::Seed).unwrap();
        let refused = |input: &SharedInput, share| {
            matches!(book.take(input, share), Err(BookError::OtherShare))
        };
        assert!(refused(&input(1, 2), Share::Masked));
        // The owner signs another record over one of the objects: what was had stays had.
        assert!(refused(&input(1, 3), Share::Masked));
        assert!(refused(&input(4, 2), Share::Masked));
        assert!(refused(&input(2, 1), Share::Seed));
        assert!(refused(&input(6, 6), Share::Seed));
        // Another input altogether.
        book.take(&input(4, 5), Share::Masked).unwrap();
        assert!(refused(&input(4, 5), Share::Seed));
    }
}
