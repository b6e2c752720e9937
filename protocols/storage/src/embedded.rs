//! A store in a directory.
//!
//! ```text
//! <dir>/index.redb              objects, their segments and owners, fragments with reference counts
//! <dir>/fragments/ab/abcd…      one file per fragment, named by its hash, without trailing zeros
//! <dir>/staging/<n>/            fragments of objects that are still being stored
//! ```
//!
//! **Crash safety.** A put writes and syncs all fragments in its own staging directory, then renames
//! them into place, syncs the directories and only then commits the index, in one transaction. A
//! crash before that leaves files that no record names; opening the store removes them. A delete
//! commits the index first and removes files after. So a record never names a file that was not
//! completely on disk.
//!
//! **Decay.** Every fragment is hashed when it is read. A missing or damaged one is rebuilt from any
//! four others of its segment, checked against the recorded hash, and written back.
//!
//! One directory is one place: an object's location policy is held against it as a whole.
//!
//! Equal fragments are stored once and counted. Fragments of zeros, which is most of what a small
//! object consists of, are not stored at all.

mod files;
mod index;
mod put;
mod read;
mod record;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Semaphore;

pub(crate) use self::files::{Content, Durability, Files, StagingDir};
use self::index::{Index, Release};
pub(crate) use self::record::{ObjectRecord, SegmentRecord};
use crate::account::Account;
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid};
use crate::layout::{Codec, FRAGMENT_SIZE, Geometry, MAX_SEGMENTS, SEGMENT_SIZE};
use crate::location::{LocationPolicy, Site};
use crate::object::{
    ByteRange, Deleted, FragmentLocation, FragmentState, ListedObject, ObjectInfo, Page,
    PutOptions, Stored,
};
use crate::store::{AccountStore, OwnedStore};
use crate::stream::{ByteSource, ObjectStream};

/// Limits of an [`EmbeddedStore`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreConfig {
    /// The largest object in bytes. At most 31.25 GiB, which is 1000 segments.
    pub max_object: u64,
    /// How many bytes all fragments may take on disk, those being written included. An object of
    /// whole segments takes three times its size, a small one about nine times.
    pub capacity: u64,
    /// How many objects may be written at a time; each takes up to a segment of memory (32 MiB).
    /// More wait.
    pub max_puts: usize,
    /// How many fragments may be read and verified at a time; each takes up to 8 MiB of memory,
    /// five times that while one is rebuilt. More wait.
    pub max_reads: usize,
    /// How this store calls itself when asked where fragments are.
    pub node: String,
    /// Where it is; without a site it takes no objects that have a location policy.
    pub site: Option<Site>,
    pub(crate) geometry: Geometry,
    pub(crate) durability: Durability,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            max_object: 4 << 30,
            capacity: 64 << 30,
            max_puts: 4,
            max_reads: 4,
            node: "embedded".to_owned(),
            site: None,
            geometry: Geometry::CESS,
            durability: Durability::Forced,
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error("the store in {dir} is in use by another process: stop that one first")]
    InUse {
        /// Its directory.
        dir: PathBuf,
    },
    /// It was written with other sizes or by another version.
    #[error(
        "the store in {dir} has format {found_format} with fragments of {found} bytes, \
         this program writes format {format} with fragments of {expected}"
    )]
    OtherFormat {
        /// Its directory.
        dir: PathBuf,
        /// Format of the store.
        found_format: u64,
        /// Fragment size of the store.
        found: u64,
        /// Format of this program.
        format: u64,
        /// Fragment size of this program.
        expected: u64,
    },
    /// The limits make no sense.
    #[error("{what} is {value}, it must be between {least} and {most}")]
    Limit {
        /// Which limit.
        what: &'static str,
        /// What it is.
        value: u64,
        /// The least it may be.
        least: u64,
        /// The most it may be.
        most: u64,
    },
    /// The disk or the index failed.
    #[error("the store in {dir} cannot be opened")]
    Storage {
        /// Its directory.
        dir: PathBuf,
        /// What failed.
        #[source]
        source: Box<StorageError>,
    },
}

/// A store in a directory. A cheap handle: clones share the store.
#[derive(Clone)]
pub struct EmbeddedStore {
    inner: Arc<Inner>,
}

/// What [`EmbeddedStore::repair`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Fragments that were read and hashed; fragments of zeros are not.
    pub checked: u64,
    /// How many of them were missing or damaged and are restored.
    pub restored: u64,
}

struct Inner {
    codec: Codec,
    files: Files,
    index: Index,
    config: StoreConfig,
    /// Held while fragments come or go, so that a put cannot rely on a fragment that a delete is
    /// about to remove.
    commit: Mutex<()>,
    /// Bytes in staging directories.
    staged: AtomicU64,
    /// Bytes of fragments that the index names.
    occupied: AtomicU64,
    puts: Semaphore,
    reads: Semaphore,
}

impl EmbeddedStore {
    /// Opens the store in `dir`, or makes one there, and removes what a crash left behind.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(dir: impl Into<PathBuf>, config: StoreConfig) -> Result<Self, OpenError> {
        let dir = dir.into();
        check_limits(&config)?;
        let path = dir.clone();
        let failed = move |source| OpenError::Storage {
            dir: path,
            source: Box::new(source),
        };
        blocking(move || Ok(Inner::open(dir, config)))
            .await
            .map_err(failed)?
            .map(|inner| Self {
                inner: Arc::new(inner),
            })
    }

    /// This store, acting for `owner`.
    pub fn for_owner(&self, owner: Account) -> OwnedStore {
        OwnedStore::new(Arc::new(self.clone()), owner)
    }

    /// Bytes that fragments take on disk.
    pub fn occupied(&self) -> u64 {
        self.inner.occupied.load(Ordering::Relaxed)
    }

    /// Reads every fragment of an object and restores those that are missing or damaged.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`], [`StorageError::Unrecoverable`].
    pub async fn repair(&self, fid: Fid) -> Result<RepairReport, StorageError> {
        let record = self.record(fid).await?;
        read::repair(&self.inner, fid, record).await
    }

    async fn record(&self, fid: Fid) -> Result<ObjectRecord, StorageError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            inner
                .index
                .object(fid)?
                .ok_or(StorageError::NotFound { fid })
        })
        .await
    }
}

#[async_trait]
impl AccountStore for EmbeddedStore {
    fn max_object(&self) -> u64 {
        self.inner.config.max_object
    }

    async fn put_as(
        &self,
        owner: Account,
        source: ByteSource<'_>,
        options: PutOptions,
    ) -> Result<Stored, StorageError> {
        put::put(&self.inner, owner, source, options).await
    }

    async fn get(&self, fid: Fid, range: Option<ByteRange>) -> Result<ObjectStream, StorageError> {
        let record = self.record(fid).await?;
        read::object(&self.inner, fid, record, range)
    }

    async fn stat(&self, fid: Fid) -> Result<ObjectInfo, StorageError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let record = inner
                .index
                .object(fid)?
                .ok_or(StorageError::NotFound { fid })?;
            let owners = inner.index.owners(fid)?;
            let segments = record.segments.iter().map(|segment| segment.hash).collect();
            Ok(ObjectInfo {
                fid,
                size: record.size,
                segments: Some(segments),
                owners,
            })
        })
        .await
    }

    async fn list_of(&self, owner: Account, page: Page) -> Result<Vec<ListedObject>, StorageError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.index.list(owner, page)).await
    }

    async fn delete_as(&self, owner: Account, fid: Fid) -> Result<Deleted, StorageError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.delete(owner, fid)).await
    }

    async fn locate(&self, fid: Fid) -> Result<Vec<FragmentLocation>, StorageError> {
        let record = self.record(fid).await?;
        let inner = Arc::clone(&self.inner);
        blocking(move || Ok(inner.locate(&record))).await
    }

    async fn fragment(&self, fid: Fid, fragment: ContentHash) -> Result<Vec<u8>, StorageError> {
        let record = self.record(fid).await?;
        read::fragment(&self.inner, fid, record, fragment).await
    }
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("dir", &self.inner.files.dir())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn open(dir: PathBuf, config: StoreConfig) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Storage {
            dir: dir.clone(),
            source: Box::new(source),
        };
        let codec = Codec::new(config.geometry);
        // The index comes first: its lock keeps two processes from cleaning up after each other.
        std::fs::create_dir_all(&dir)
            .map_err(StorageError::io("made its directory"))
            .map_err(failed)?;
        let index = Index::open(&dir, config.geometry)?;
        let files = Files::open(&dir, config.durability).map_err(failed)?;
        files
            .sweep(|hash| index.is_referenced(hash))
            .map_err(failed)?;
        let occupied = index.occupied().map_err(failed)?;
        Ok(Self {
            codec,
            files,
            index,
            commit: Mutex::new(()),
            staged: AtomicU64::new(0),
            occupied: AtomicU64::new(occupied),
            puts: Semaphore::new(config.max_puts),
            reads: Semaphore::new(config.max_reads),
            config,
        })
    }

    /// The commit lock. What it guards is on disk and consistent after every step, so a panic of
    /// another holder does no harm.
    fn commit_lock(&self) -> MutexGuard<'_, ()> {
        self.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an object with this policy may lie here.
    fn permit(&self, policy: Option<&LocationPolicy>) -> Result<(), StorageError> {
        let Some(policy) = policy else { return Ok(()) };
        let refused = |reason: String| StorageError::PolicyNotOffered { reason };
        let Some(site) = &self.config.site else {
            return Err(refused("it does not say where it is".to_owned()));
        };
        policy
            .permits(site)
            .map_err(|error| refused(error.to_string()))
    }

    fn delete(&self, owner: Account, fid: Fid) -> Result<Deleted, StorageError> {
        let _lock = self.commit_lock();
        match self.index.release(fid, owner)? {
            Release::NotFound => Err(StorageError::NotFound { fid }),
            Release::NotOwner => Err(StorageError::NoPermission {
                reason: format!("account {owner} does not own {fid}"),
            }),
            Release::Released => Ok(Deleted::Released),
            Release::Removed {
                unreferenced,
                occupied,
            } => {
                self.occupied.store(occupied, Ordering::Relaxed);
                for fragment in unreferenced {
                    // The object is gone whatever happens here; the next start sweeps the rest.
                    if let Err(error) = self.files.remove(fragment) {
                        tracing::warn!(%fragment, %error, "an unused fragment could not be removed");
                    }
                }
                Ok(Deleted::Removed)
            }
        }
    }

    fn locate(&self, record: &ObjectRecord) -> Vec<FragmentLocation> {
        let mut locations = Vec::new();
        for (segment, coded) in (0..).zip(&record.segments) {
            for (index, hash) in (0..).zip(coded.fragments) {
                let state = if hash == self.codec.zero_fragment() {
                    FragmentState::Zero
                } else if self.files.contains(hash) {
                    FragmentState::Present
                } else {
                    FragmentState::Missing
                };
                let node = self.config.node.clone();
                locations.push(FragmentLocation {
                    segment,
                    index,
                    hash,
                    node,
                    site: self.config.site.clone(),
                    state,
                });
            }
        }
        locations
    }
}

fn check_limits(config: &StoreConfig) -> Result<(), OpenError> {
    let segment = config.geometry.segment() as u64;
    let limits = [
        (
            "max_object",
            config.max_object,
            1,
            segment * MAX_SEGMENTS as u64,
        ),
        ("capacity", config.capacity, 1, u64::MAX / 2),
        ("max_puts", config.max_puts as u64, 1, 1024),
        ("max_reads", config.max_reads as u64, 1, 1024),
    ];
    for (what, value, least, most) in limits {
        if !(least..=most).contains(&value) {
            return Err(OpenError::Limit {
                what,
                value,
                least,
                most,
            });
        }
    }
    Ok(())
}

/// Runs what blocks (disk, hashing, coding) where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => Err(StorageError::Io {
                doing: "was shutting down",
                source: std::io::Error::other(cancelled),
            }),
        },
    }
}

/// For fuzzing: records parse to what they were made of, or not at all.
pub(crate) fn parse_record(bytes: &[u8]) {
    if let Some(record) = ObjectRecord::from_bytes(bytes) {
        assert_eq!(record.to_bytes(), bytes);
    }
}

const _: () = assert!(FRAGMENT_SIZE * crate::layout::DATA_FRAGMENTS as u64 == SEGMENT_SIZE);
