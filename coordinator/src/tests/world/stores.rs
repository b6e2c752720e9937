//! Stores that crash, and what is left of them.

use std::sync::{Arc, Mutex};

use ai_link_wire::{AccountId, JobId, PeerKey};

use crate::ledger::{
    ClientEntry, DiskStore, Draft, Earned, EpochEntry, JobEntry, MemoryStore, PaidEpoch, Store,
    StoreError, TrackRecord, Write,
};

/// When a [`CrashStore`] stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The commit is lost.
    Before,
    /// The commit is stored, but nobody hears of it.
    After,
}

/// Stops at a chosen commit.
#[derive(Clone, Debug)]
pub(crate) struct CrashStore<S> {
    pub(crate) inner: S,
    /// Commits until the crash.
    pub(crate) fuse: Arc<Mutex<Option<(u32, Crash)>>>,
    /// Commits so far.
    pub(crate) commits: Arc<Mutex<u32>>,
}

impl<S> CrashStore<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            fuse: Arc::default(),
            commits: Arc::default(),
        }
    }
}

impl<S: Store> Store for CrashStore<S> {
    fn job(&self, job: &JobId) -> Result<Option<JobEntry>, StoreError> {
        self.inner.job(job)
    }

    fn live_jobs(&self) -> Result<Vec<JobEntry>, StoreError> {
        self.inner.live_jobs()
    }

    fn client(&self, client: &AccountId) -> Result<Option<ClientEntry>, StoreError> {
        self.inner.client(client)
    }

    fn track(&self, peer: &PeerKey) -> Result<Option<TrackRecord>, StoreError> {
        self.inner.track(peer)
    }

    fn draft(&self) -> Result<Option<Draft>, StoreError> {
        self.inner.draft()
    }

    fn earnings(&self) -> Result<Vec<(AccountId, Earned)>, StoreError> {
        self.inner.earnings()
    }

    fn paid_epochs(&self, most: usize) -> Result<Vec<PaidEpoch>, StoreError> {
        self.inner.paid_epochs(most)
    }

    fn epoch(&self, epoch: u64) -> Result<Option<EpochEntry>, StoreError> {
        self.inner.epoch(epoch)
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let mut fuse = self.fuse.lock().unwrap();
        match *fuse {
            Some((0, Crash::Before)) => return Err(StoreError::Stopped),
            Some((0, Crash::After)) => {
                self.inner.commit(writes)?;
                return Err(StoreError::Stopped);
            }
            Some((left, when)) => *fuse = Some((left - 1, when)),
            None => {}
        }
        *self.commits.lock().unwrap() += 1;
        self.inner.commit(writes)
    }
}

/// A file that is closed and opened again when the coordinator restarts.
#[derive(Clone, Debug)]
pub(crate) struct FileStore {
    path: std::path::PathBuf,
    open: Arc<Mutex<Option<DiskStore>>>,
}

impl FileStore {
    pub(crate) fn new(path: std::path::PathBuf) -> Self {
        let open = DiskStore::open(&path).unwrap();
        Self {
            path,
            open: Arc::new(Mutex::new(Some(open))),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut DiskStore) -> T) -> T {
        act(self.open.lock().unwrap().as_mut().unwrap())
    }
}

impl Store for FileStore {
    fn job(&self, job: &JobId) -> Result<Option<JobEntry>, StoreError> {
        self.with(|store| store.job(job))
    }

    fn live_jobs(&self) -> Result<Vec<JobEntry>, StoreError> {
        self.with(|store| store.live_jobs())
    }

    fn client(&self, client: &AccountId) -> Result<Option<ClientEntry>, StoreError> {
        self.with(|store| store.client(client))
    }

    fn track(&self, peer: &PeerKey) -> Result<Option<TrackRecord>, StoreError> {
        self.with(|store| store.track(peer))
    }

    fn draft(&self) -> Result<Option<Draft>, StoreError> {
        self.with(|store| store.draft())
    }

    fn earnings(&self) -> Result<Vec<(AccountId, Earned)>, StoreError> {
        self.with(|store| store.earnings())
    }

    fn paid_epochs(&self, most: usize) -> Result<Vec<PaidEpoch>, StoreError> {
        self.with(|store| store.paid_epochs(most))
    }

    fn epoch(&self, epoch: u64) -> Result<Option<EpochEntry>, StoreError> {
        self.with(|store| store.epoch(epoch))
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.with(|store| store.commit(writes))
    }
}

/// What is left of a store when its process has died.
pub(crate) trait Reopen {
    fn reopen(&mut self);
}

impl Reopen for MemoryStore {
    fn reopen(&mut self) {}
}

impl Reopen for FileStore {
    fn reopen(&mut self) {
        let mut open = self.open.lock().unwrap();
        drop(open.take());
        *open = Some(DiskStore::open(&self.path).unwrap());
    }
}
