//! All pools of a worker: the [book](super::book) together with the directories that it decides about.
//!
//! ```text
//! DATA/pools/lock
//! DATA/pools/NAME/        a pool: `id` says which one, the rest is PoolDir's
//! DATA/pools/NAME.new/    being founded when the machine crashed: removed
//! DATA/pools/NAME.gone/   dropped: never looked into again, removed
//! ```
//!
//! A pool is there from one rename on and gone from another one on, each made durable before anyone relies on it.
//! Calls do input and output: keep them off threads that must not block.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use ai_link_mpc::pool::{Pool, PoolError, SharedPool};
use ai_link_mpc::{Party, Secret32};
use ai_link_wire::{Bytes, PeerKey, PoolTag, UnixMillis};

use super::book::{Book, BookError};
use super::dir::PoolDir;
use super::disk;
use super::record::{PoolKey, PoolName, PoolRecord};

const NEW: &str = "new";
const GONE: &str = "gone";

/// A pool that sessions and dealing share.
pub type OpenPool = SharedPool<PoolDir>;

/// The pools of a worker.
pub struct Shelf {
    dir: PathBuf,
    me: PeerKey,
    /// What entries are encrypted under comes from it.
    secret: Secret32,
    /// Held, not read: two processes with the same pools would use entries twice.
    _lock: File,
    inner: Mutex<Inner>,
}

struct Inner {
    book: Book,
    pools: BTreeMap<PoolName, Shelved>,
}

struct Shelved {
    record: PoolRecord,
    part: Party,
    pool: OpenPool,
    /// Sessions that have it in hand: at a dealer, that were promised an entry and have not taken it yet.
    claims: usize,
}

/// A pool and what is in it.
#[derive(Clone, Debug)]
pub struct PoolLevel {
    /// Its name.
    pub name: PoolName,
    /// What it is for, and of which group.
    pub record: PoolRecord,
    /// This worker's part.
    pub part: Party,
    /// Entries that can be promised to a session.
    pub entries: usize,
    /// Bytes on disk.
    pub bytes: Bytes,
}

/// Why the shelf cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// There is no room, or no such pool.
    #[error(transparent)]
    Book(#[from] BookError),
    /// The disk.
    #[error("the pools at {path} failed", path = .path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Another worker runs on the same directory.
    #[error("another process uses the pools at {path}: give each worker a `data` of its own", path = .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// This worker is not in the pool's group.
    #[error("this worker is not in the group of the pool")]
    NotInGroup,
    /// The pool.
    #[error("the pool failed")]
    Pool(#[from] PoolError),
}

impl Shelf {
    /// Finds the pools of worker `me` again. Drops what cannot be read and what exceeds `limit`, the least
    /// recently used first.
    ///
    /// # Errors
    /// [`ShelfError::Locked`]; [`ShelfError::Io`].
    pub fn open(
        dir: PathBuf,
        me: PeerKey,
        secret: Secret32,
        limit: Bytes,
    ) -> Result<Arc<Self>, ShelfError> {
        if !dir.exists() {
            disk::make_dir(&dir).map_err(at(&dir))?;
        }
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(at(&path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => ShelfError::Locked { path: dir.clone() },
            TryLockError::Error(source) => at(&path)(source),
        })?;
        let shelf = Self {
            me,
            secret,
            _lock: lock,
            inner: Mutex::new(Inner {
                book: Book::new(limit),
                pools: BTreeMap::new(),
            }),
            dir,
        };
        shelf.find_again()?;
        Ok(Arc::new(shelf))
    }

    fn find_again(&self) -> Result<(), ShelfError> {
        let mut inner = self.lock();
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let path = entry.map_err(at(&self.dir))?.path();
            if !path.is_dir() {
                continue;
            }
            match self.read(&path) {
                Ok((name, shelved, used)) => {
                    let bytes = Bytes(lock(&shelved.pool).bytes());
                    let dealer = shelved.record.key.dealer;
                    inner.book.enter(name, dealer, bytes, used);
                    inner.pools.insert(name, shelved);
                }
                Err(Unusable::Foreign) => {}
                Err(Unusable::Remains) => disk::remove_dir(&path).map_err(at(&path))?,
                Err(Unusable::Failed(error)) => {
                    tracing::warn!(
                        path = %path.display(), error = crate::chain(&error),
                        "a pool cannot be read; dropping it"
                    );
                    self.remove(&path)?;
                }
            }
        }
        for name in inner.book.trim() {
            inner.pools.remove(&name);
            tracing::info!(pool = %name, limit = %inner.book.limit(), "pools exceed their limit; dropping one");
            self.remove(&self.path(&name))?;
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> Result<(PoolName, Shelved, UnixMillis), Unusable> {
        let named = path.file_name().and_then(|name| name.to_str());
        let remains = path.extension().is_some_and(|e| e == NEW || e == GONE);
        let named: PoolName = match named.map(str::parse) {
            _ if remains => return Err(Unusable::Remains),
            Some(Ok(named)) => named,
            _ => return Err(Unusable::Foreign),
        };
        let record = PoolRecord::load(path).map_err(|e| Unusable::Failed(at(path)(e)))?;
        if record.name() != named {
            let other = io::Error::other("its record is another pool's");
            return Err(Unusable::Failed(at(path)(other)));
        }
        let used = fs::metadata(PoolRecord::file(path)).and_then(|meta| meta.modified());
        let used = used.map_err(|e| Unusable::Failed(at(path)(e)))?;
        let used = used.duration_since(SystemTime::UNIX_EPOCH);
        let used = UnixMillis(0).saturating_add(used.unwrap_or_default());
        let shelved = self.shelve(record, path).map_err(Unusable::Failed)?;
        Ok((named, shelved, used))
    }

    fn shelve(&self, record: PoolRecord, path: &Path) -> Result<Shelved, ShelfError> {
        let part = record.key.part_of(&self.me).ok_or(ShelfError::NotInGroup)?;
        let store = PoolDir::new(path.to_owned());
        // All pools have one limit together, which the book keeps.
        let pool = Pool::open(store, record.id(), part, &self.secret, u64::MAX)?;
        Ok(Shelved {
            record,
            part,
            pool: pool.shared(),
            claims: 0,
        })
    }

    /// Founds a pool, empty. A pool for the same sessions is dropped: one of its group has lost its part.
    ///
    /// # Errors
    /// [`ShelfError`]; then there is no such pool.
    pub fn found(&self, record: PoolRecord, now: UnixMillis) -> Result<PoolName, ShelfError> {
        let name = record.name();
        record.key.part_of(&self.me).ok_or(ShelfError::NotInGroup)?;
        let mut inner = self.lock();
        let same = |(_, shelved): &(&PoolName, &Shelved)| shelved.record.key == record.key;
        if let Some(old) = inner.pools.iter().find(same).map(|(name, _)| *name) {
            self.drop_one(&mut inner, &old)?;
        }
        for old in inner.book.found(name, record.key.dealer, now)? {
            self.drop_one(&mut inner, &old)?;
        }
        let founded = self
            .make(&record)
            .and_then(|path| self.shelve(record, &path));
        match founded {
            Ok(shelved) => {
                inner.pools.insert(name, shelved);
                Ok(name)
            }
            Err(error) => {
                inner.book.forget(&name);
                Err(error)
            }
        }
    }

    /// Puts an empty pool on disk.
    fn make(&self, record: &PoolRecord) -> Result<PathBuf, ShelfError> {
        let path = self.path(&record.name());
        let new = path.with_added_extension(NEW);
        if new.exists() {
            disk::remove_dir(&new).map_err(at(&new))?;
        }
        let made = disk::make_dir(&new)
            .and_then(|()| record.save(&new))
            .and_then(|()| disk::sync(&new))
            .and_then(|()| disk::rename(&new, &path))
            .and_then(|()| disk::sync(&self.dir));
        made.map_err(at(&path))?;
        Ok(path)
    }

    /// Promises an entry of the dealer's pool for these sessions, if there is one that nobody else was promised.
    pub fn claim(self: &Arc<Self>, key: &PoolKey, now: UnixMillis) -> Option<Claim> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let (name, shelved) = inner
            .pools
            .iter_mut()
            .find(|(_, shelved)| shelved.record.key == *key && shelved.part == Party::Dealer)?;
        if lock(&shelved.pool).level() <= shelved.claims {
            return None;
        }
        let name = *name;
        self.promise(inner, name, now)
    }

    /// The evaluator's part of the pool that the group drew `session` for, if it is here and not empty. What the
    /// dealer promises is here or was used, so that entries need not be counted.
    pub fn part(
        self: &Arc<Self>,
        key: &PoolKey,
        session: PoolTag,
        now: UnixMillis,
    ) -> Option<Claim> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let (name, shelved) = inner.pools.iter_mut().find(|(_, shelved)| {
            let record = &shelved.record;
            record.key == *key && record.session == session && shelved.part != Party::Dealer
        })?;
        if lock(&shelved.pool).level() == 0 {
            return None;
        }
        let name = *name;
        self.promise(inner, name, now)
    }

    /// Counts a claim on a pool that is on the shelf.
    fn promise(
        self: &Arc<Self>,
        inner: &mut Inner,
        name: PoolName,
        now: UnixMillis,
    ) -> Option<Claim> {
        let shelved = inner.pools.get_mut(&name)?;
        shelved.claims += 1;
        inner.book.used(&name, now);
        self.touch(&name);
        Some(Claim {
            shelf: Arc::clone(self),
            name,
            session: shelved.record.session,
            pool: Arc::clone(&shelved.pool),
        })
    }

    /// The pool for these sessions, whatever it holds.
    pub fn find(&self, key: &PoolKey) -> Option<(PoolRecord, OpenPool)> {
        let inner = self.lock();
        let found = inner.pools.values().find(|s| s.record.key == *key)?;
        Some((found.record.clone(), Arc::clone(&found.pool)))
    }

    /// At an evaluator: drops what its dealer has lost, all entries before `from`. Nothing while a session has the pool
    /// in hand: its entry is one that the dealer has used, and it has not.
    ///
    /// # Errors
    /// The disk.
    pub fn retain(&self, name: &PoolName, from: u64) -> Result<(), ShelfError> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        if let Some(shelved) = inner.pools.get(name).filter(|s| s.claims == 0) {
            let mut pool = lock(&shelved.pool);
            pool.retain_from(from)?;
            inner.book.settle(name, Bytes(0), Bytes(pool.bytes()));
        }
        Ok(())
    }

    /// Makes room for an entry of `bytes` that is about to be stored: what must go is gone when this returns.
    ///
    /// # Errors
    /// [`BookError::Full`], and the disk.
    pub fn room(self: &Arc<Self>, name: PoolName, bytes: Bytes) -> Result<Room, ShelfError> {
        let mut inner = self.lock();
        let dropped = inner.book.reserve(&name, bytes)?;
        let room = Room {
            shelf: Arc::clone(self),
            name,
            bytes,
        };
        let mut failed = None;
        for old in &dropped {
            tracing::info!(pool = %old, "least recently used; dropping it for another pool");
            if let Err(error) = self.drop_one(&mut inner, old) {
                failed = Some(error);
            }
        }
        drop(inner);
        failed.map_or(Ok(room), Err)
    }

    /// Drops a pool whole, if it is there: it can never be used again.
    ///
    /// # Errors
    /// The disk; then it is out of use until the worker starts again.
    pub fn discard(&self, name: &PoolName) -> Result<(), ShelfError> {
        self.drop_one(&mut self.lock(), name)
    }

    /// All pools.
    pub fn levels(&self) -> Vec<PoolLevel> {
        let inner = self.lock();
        let level = |(name, shelved): (&PoolName, &Shelved)| {
            let pool = lock(&shelved.pool);
            PoolLevel {
                name: *name,
                record: shelved.record.clone(),
                part: shelved.part,
                entries: pool.level().saturating_sub(shelved.claims),
                bytes: Bytes(pool.bytes()),
            }
        };
        inner.pools.iter().map(level).collect()
    }

    /// What all pools may take.
    pub fn limit(&self) -> Bytes {
        self.lock().book.limit()
    }

    fn drop_one(&self, inner: &mut Inner, name: &PoolName) -> Result<(), ShelfError> {
        inner.book.forget(name);
        match inner.pools.remove(name) {
            Some(_) => self.remove(&self.path(name)),
            None => Ok(()),
        }
    }

    /// Sessions that have the pool in hand fail when they take from it: its marks cannot be written.
    fn remove(&self, path: &Path) -> Result<(), ShelfError> {
        let gone = path.with_added_extension(GONE);
        disk::rename(path, &gone)
            .and_then(|()| disk::sync(&self.dir))
            .and_then(|()| disk::remove_dir(&gone))
            .map_err(at(path))
    }

    fn path(&self, name: &PoolName) -> PathBuf {
        self.dir.join(name.to_string())
    }

    /// Recency is the modification time of the pool's record; failing to set it only makes dropping less clever.
    fn touch(&self, name: &PoolName) {
        let file = File::open(PoolRecord::file(&self.path(name)));
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Also after a panic elsewhere: what is on disk decides, and every use of an entry is checked by its pool.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// A pool in the hands of one session: at the dealer, the promise of an entry. Dropped when the session has taken
/// its entry, or is not to be.
pub struct Claim {
    shelf: Arc<Shelf>,
    name: PoolName,
    /// The number that the group drew for the pool.
    pub session: PoolTag,
    /// The pool.
    pub pool: OpenPool,
}

impl Claim {
    /// The pool's name.
    pub fn name(&self) -> PoolName {
        self.name
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Claim").field(&self.name).finish()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut inner = self.shelf.lock();
        let inner = &mut *inner;
        // The pool may have been dropped meanwhile.
        if let Some(shelved) = inner.pools.get_mut(&self.name) {
            shelved.claims = shelved.claims.saturating_sub(1);
            let bytes = lock(&shelved.pool).bytes();
            inner.book.settle(&self.name, Bytes(0), Bytes(bytes));
        }
    }
}

/// Room for an entry. Dropped when it is stored, or is not to be.
pub struct Room {
    shelf: Arc<Shelf>,
    name: PoolName,
    bytes: Bytes,
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Room")
            .field(&self.name)
            .field(&self.bytes)
            .finish()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut inner = self.shelf.lock();
        let inner = &mut *inner;
        if let Some(shelved) = inner.pools.get(&self.name) {
            let bytes = Bytes(lock(&shelved.pool).bytes());
            inner.book.settle(&self.name, self.bytes, bytes);
        }
    }
}

/// Why a directory is no pool.
enum Unusable {
    /// Not ours.
    Foreign,
    /// What a crash left behind.
    Remains,
    Failed(ShelfError),
}

fn at(path: &Path) -> impl Fn(io::Error) -> ShelfError {
    let path = path.to_owned();
    move |source| ShelfError::Io {
        path: path.clone(),
        source,
    }
}

/// The pool, also after a panic elsewhere: every change of it is whole or refused by its checks.
pub(crate) fn lock(pool: &OpenPool) -> MutexGuard<'_, Pool<PoolDir>> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
