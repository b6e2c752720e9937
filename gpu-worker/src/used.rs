//! Which sessions were already begun: one-time material is marked consumed, durably, *before* its first use.
//!
//! A session is named by the digest of its signed ticket. Whatever crashes, a worker never evaluates the same
//! session twice, so no mask derived for it can meet two different inputs (MASKED-MPC.md, "Who deals").

use std::path::{Path, PathBuf};

use ai_link_wire::{Digest, UnixMillis};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

/// Session digest → when its ticket expires (after which the ticket itself is refused and the mark may go).
const USED: TableDefinition<'_, &[u8; 32], u64> = TableDefinition::new("used-sessions");
/// Marks kept at once. Tickets live for minutes, so this is far above what a worker can serve.
const MAX_MARKS: u64 = 1 << 20;

/// The durable set of sessions that were begun.
#[derive(Debug)]
pub struct UsedSessions {
    database: Database,
    path: PathBuf,
}

impl UsedSessions {
    /// Opens or creates the set.
    ///
    /// # Errors
    /// [`UsedError::Store`] when the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, UsedError> {
        let store = |source: redb::Error| UsedError::Store {
            path: path.into(),
            source,
        };
        let database = Database::create(path).map_err(|e| store(e.into()))?;
        let transaction = database.begin_write().map_err(|e| store(e.into()))?;
        transaction.open_table(USED).map_err(|e| store(e.into()))?;
        transaction.commit().map_err(|e| store(e.into()))?;
        Ok(Self {
            database,
            path: path.into(),
        })
    }

    /// Whether the session was begun; for an early refusal only, [`mark`](Self::mark) decides.
    ///
    /// # Errors
    /// [`UsedError::Store`] when the file cannot be read.
    pub fn contains(&self, session: &Digest) -> Result<bool, UsedError> {
        let found = (|| {
            let read = self.database.begin_read()?;
            let table = read.open_table(USED)?;
            Ok::<_, redb::Error>(table.get(&session.0)?.is_some())
        })();
        found.map_err(|source| self.store(source))
    }

    /// Marks the session as begun. When this returns `Ok` the mark is on disk.
    ///
    /// # Errors
    /// [`UsedError::AlreadyUsed`] when it was begun before, also before a crash; [`UsedError::Full`];
    /// [`UsedError::Store`].
    pub fn mark(
        &self,
        session: &Digest,
        expires: UnixMillis,
        now: UnixMillis,
    ) -> Result<(), UsedError> {
        let marked = (|| {
            let transaction = self.database.begin_write()?;
            let outcome = {
                let mut table = transaction.open_table(USED)?;
                table.retain(|_, expiry| expiry.saturating_add(GRACE_MS) > now.0)?;
                if table.get(&session.0)?.is_some() {
                    Err(UsedError::AlreadyUsed { session: *session })
                } else if redb::ReadableTableMetadata::len(&table)? >= MAX_MARKS {
                    Err(UsedError::Full { limit: MAX_MARKS })
                } else {
                    table.insert(&session.0, expires.0)?;
                    Ok(())
                }
            };
            transaction.commit()?;
            Ok::<_, redb::Error>(outcome)
        })();
        marked.map_err(|source| self.store(source))?
    }

    fn store(&self, source: redb::Error) -> UsedError {
        UsedError::Store {
            path: self.path.clone(),
            source,
        }
    }
}

/// A mark outlives its ticket by this much, so that a clock set back a little cannot revive it.
const GRACE_MS: u64 = 24 * 3600 * 1000;

/// Why a session may not begin.
#[derive(Debug, thiserror::Error)]
pub enum UsedError {
    /// The ticket was used before; the application must ask for a new one.
    #[error("session {session} was already begun; its masks may not be used again")]
    AlreadyUsed {
        /// Digest of the ticket.
        session: Digest,
    },
    /// Too many live marks.
    #[error("{limit} sessions are marked and none has expired; refuse work until some have")]
    Full {
        /// How many are kept.
        limit: u64,
    },
    /// The durable set failed; no session may begin while it does.
    #[error("the record of used sessions at {path} failed", path = .path.display())]
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

    const DAY: u64 = 24 * 3600 * 1000;

    #[test]
    fn a_mark_survives_reopening_and_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("used.redb");
        let session = Digest([7; 32]);
        let used = UsedSessions::open(&path).unwrap();
        assert!(!used.contains(&session).unwrap());
        used.mark(&session, UnixMillis(1000), UnixMillis(0))
            .unwrap();
        drop(used);
        let used = UsedSessions::open(&path).unwrap();
        assert!(used.contains(&session).unwrap());
        assert!(matches!(
            used.mark(&session, UnixMillis(1000), UnixMillis(1)),
            Err(UsedError::AlreadyUsed { .. })
        ));
    }

    #[test]
    fn marks_go_only_long_after_their_ticket_expired() {
        let dir = tempfile::tempdir().unwrap();
        let used = UsedSessions::open(&dir.path().join("used.redb")).unwrap();
        let (old, new) = (Digest([1; 32]), Digest([2; 32]));
        used.mark(&old, UnixMillis(1000), UnixMillis(0)).unwrap();
        used.mark(&new, UnixMillis(DAY), UnixMillis(1000 + DAY - 1))
            .unwrap();
        assert!(used.contains(&old).unwrap());
        used.mark(
            &Digest([3; 32]),
            UnixMillis(3 * DAY),
            UnixMillis(1001 + DAY),
        )
        .unwrap();
        assert!(!used.contains(&old).unwrap());
        assert!(used.contains(&new).unwrap());
    }
}
