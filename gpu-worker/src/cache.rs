//! Models on this worker: pulled from a neighbour or from storage, checked against the commitment, kept within a
//! bound.
//!
//! Two tiers: packages on disk (bounded in bytes, least recently used goes first) and parsed programs in memory
//! (bounded in number). A package is hashed again whenever it is read from disk, so what runs is always what
//! the chain commits to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use ai_link_program::bundle::{BundleError, Parts};
use ai_link_program::{Package, PackageError, PackageLimits, fixed::Program};
use ai_link_storage::{ObjectStore as _, StorageError};
use ai_link_wire::{Bytes, Commitment, CopyOf, Fid, Held, Level};
use tokio::sync::Mutex;

use crate::fhe::{Evaluation, OfferError};
use crate::nearby::Source;
use crate::sealed;

/// Programs kept parsed in memory.
const MAX_LOADED: usize = 8;
/// Announced to the coordinator; the record's own bound.
const MAX_ANNOUNCED: usize = 64;

/// The bounded cache of models.
#[derive(Debug)]
pub struct ModelCache {
    dir: PathBuf,
    /// Bytes of packages on disk.
    limit: Bytes,
    /// For the ONNX models among them.
    runtime: sealed::Runtime,
    source: Source,
    /// Most recently used last. The lock is held across a load, so that a model asked for twice at once is
    /// pulled once.
    loaded: Mutex<Vec<(Commitment, Loaded)>>,
}

/// What a package holds for each level.
#[derive(Clone, Debug)]
struct Loaded {
    mpc: Option<Arc<Program>>,
    fhe: Option<Arc<Evaluation>>,
    sealed: Option<Arc<sealed::Model>>,
}

impl Loaded {
    fn read(
        commitment: Commitment,
        bytes: &[u8],
        runtime: &sealed::Runtime,
    ) -> Result<Self, CacheError> {
        let parts = Parts::of(bytes).map_err(|source| CacheError::Bundle { commitment, source })?;
        let mpc = parts.mpc.map(|package| {
            Package::from_bytes(package, PackageLimits::default())
                .map(|package| Arc::new(package.program))
                .map_err(|source| CacheError::Package { commitment, source })
        });
        let fhe = parts.fhe.map(|offer| {
            Evaluation::decode(offer).map_err(|source| CacheError::Offer { commitment, source })
        });
        let sealed = parts.sealed.map(|package| {
            sealed::Model::load(package, runtime).map_err(|source| CacheError::Sealed {
                commitment,
                source: Box::new(source),
            })
        });
        Ok(Self {
            mpc: mpc.transpose()?,
            fhe: fhe.transpose()?.flatten().map(Arc::new),
            sealed: sealed.transpose()?.flatten().map(Arc::new),
        })
    }
}

impl ModelCache {
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(
        dir: PathBuf,
        limit: Bytes,
        source: Source,
        runtime: sealed::Runtime,
    ) -> Result<Self, CacheError> {
        fs::create_dir_all(&dir).map_err(|source| CacheError::Io {
            path: dir.clone(),
            source,
        })?;
        Ok(Self {
            dir,
            limit,
            runtime,
            source,
            loaded: Mutex::new(Vec::new()),
        })
    }

    /// The program with this commitment: from memory, from disk, or pulled from storage as `manifest`.
    ///
    /// # Errors
    /// [`CacheError`]; a package that does not hash to `commitment` is never returned.
    pub async fn load(
        &self,
        commitment: Commitment,
        manifest: Fid,
    ) -> Result<Arc<Program>, CacheError> {
        let loaded = self.loaded(commitment, manifest).await?;
        loaded.mpc.ok_or(CacheError::Level {
            commitment,
            level: Level::Mpc,
        })
    }

    /// The program of this commitment for ciphertexts, likewise.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn load_fhe(
        &self,
        commitment: Commitment,
        manifest: Fid,
    ) -> Result<Arc<Evaluation>, CacheError> {
        let loaded = self.loaded(commitment, manifest).await?;
        loaded.fhe.ok_or(CacheError::Level {
            commitment,
            level: Level::Fhe,
        })
    }

    /// The model of this commitment for requests in the clear, likewise.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn load_sealed(
        &self,
        commitment: Commitment,
        manifest: Fid,
    ) -> Result<Arc<sealed::Model>, CacheError> {
        let loaded = self.loaded(commitment, manifest).await?;
        loaded.sealed.ok_or(CacheError::Level {
            commitment,
            level: Level::Sealed,
        })
    }

    async fn loaded(&self, commitment: Commitment, manifest: Fid) -> Result<Loaded, CacheError> {
        let mut loaded = self.loaded.lock().await;
        if let Some(at) = loaded.iter().position(|(c, _)| *c == commitment) {
            let entry = loaded.remove(at);
            let found = entry.1.clone();
            loaded.push(entry);
            return Ok(found);
        }
        let bytes = match self.read(commitment) {
            Some(bytes) => bytes,
            None => self.pull(commitment, manifest).await?,
        };
        let runtime = self.runtime.clone();
        let reading =
            tokio::task::spawn_blocking(move || Loaded::read(commitment, &bytes, &runtime));
        let read = reading.await.map_err(|_| CacheError::Cancelled)??;
        if loaded.len() >= MAX_LOADED {
            loaded.remove(0);
        }
        loaded.push((commitment, read.clone()));
        Ok(read)
    }

    /// What is on disk, for announcements.
    pub fn commitments(&self) -> Vec<Commitment> {
        self.files()
            .into_iter()
            .filter_map(|f| f.path.file_stem()?.to_str()?.parse().ok())
            .take(MAX_ANNOUNCED)
            .collect()
    }

    /// Where its package is, if it is here.
    pub(crate) fn path(&self, commitment: Commitment) -> PathBuf {
        self.dir.join(format!("{commitment}.package"))
    }

    /// From disk, if it is there and still hashes to its name; a damaged file is removed.
    fn read(&self, commitment: Commitment) -> Option<Vec<u8>> {
        let path = self.path(commitment);
        let bytes = fs::read(&path).ok()?;
        if Package::commitment_of(&bytes) == commitment.0 {
            // Recency is the file's modification time; failing to set it only makes the cache less clever.
            let _ = fs::File::open(&path).and_then(|f| f.set_modified(SystemTime::now()));
            return Some(bytes);
        }
        tracing::warn!(%commitment, "cached model is damaged; pulling it again");
        let _ = fs::remove_file(path);
        None
    }

    async fn pull(&self, commitment: Commitment, manifest: Fid) -> Result<Vec<u8>, CacheError> {
        let (held, what) = (Held::Model(commitment), CopyOf::Package(commitment));
        let is_it = |bytes: &[u8]| Package::commitment_of(bytes) == commitment.0;
        let copy = self.source.nearby(held, what, self.limit.0, is_it).await;
        let bytes = match copy {
            Some(bytes) => bytes,
            None => self.stored(commitment, manifest).await?,
        };
        self.store(commitment, &bytes)
            .map_err(|source| CacheError::Io {
                path: self.path(commitment),
                source,
            })?;
        Ok(bytes)
    }

    async fn stored(&self, commitment: Commitment, manifest: Fid) -> Result<Vec<u8>, CacheError> {
        let pull = |source| CacheError::Pull { manifest, source };
        let fid = ai_link_storage::Fid(manifest.0);
        let storage = &self.source.storage;
        let size = storage.stat(fid).await.map_err(pull)?.size;
        if size > self.limit.0 {
            return Err(CacheError::TooLarge {
                size: Bytes(size),
                limit: self.limit,
            });
        }
        let bytes = storage.get_bytes(fid, size).await.map_err(pull)?;
        let found = Commitment(Package::commitment_of(&bytes));
        if found != commitment {
            return Err(CacheError::CommitmentMismatch {
                wanted: commitment,
                found,
            });
        }
        Ok(bytes)
    }

    fn store(&self, commitment: Commitment, bytes: &[u8]) -> io::Result<()> {
        self.make_room(bytes.len() as u64);
        let path = self.path(commitment);
        let temporary = path.with_extension("part");
        fs::write(&temporary, bytes)?;
        fs::rename(temporary, path)
    }

    fn make_room(&self, wanted: u64) {
        let mut files = self.files();
        files.sort_by_key(|f| f.used);
        let mut held: u64 = files.iter().map(|f| f.size).sum();
        for file in files {
            if held.saturating_add(wanted) <= self.limit.0 {
                break;
            }
            if fs::remove_file(&file.path).is_ok() {
                held -= file.size;
            }
        }
    }

    fn files(&self) -> Vec<CachedFile> {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|e| CachedFile::of(&e.path()))
            .collect()
    }
}

struct CachedFile {
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

impl CachedFile {
    fn of(path: &Path) -> Option<Self> {
        if path.extension()? != "package" {
            return None;
        }
        let meta = fs::metadata(path).ok()?;
        Some(Self {
            path: path.into(),
            size: meta.len(),
            used: meta.modified().ok()?,
        })
    }
}

/// Why a model could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The stored file has the right hash and is neither a package nor a bundle of this version.
    #[error("the file {commitment} cannot be read by this version")]
    Bundle {
        /// Its commitment.
        commitment: Commitment,
        /// What is wrong.
        #[source]
        source: BundleError,
    },
    /// The worker is stopping.
    #[error("the worker stopped while the model was being read")]
    Cancelled,
    /// What storage returned is not what the chain commits to.
    #[error(
        "the stored package has commitment {found}, the chain says {wanted}; the model was not run"
    )]
    CommitmentMismatch {
        /// On the ticket and on the chain.
        wanted: Commitment,
        /// Of the bytes that storage returned.
        found: Commitment,
    },
    /// The cache's directory failed.
    #[error("the model cache failed at {path}", path = .path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Nothing in the file is for this level, or this build does not serve it.
    #[error("the model {commitment} has nothing that this worker can run at level {level}")]
    Level {
        /// Its commitment.
        commitment: Commitment,
        /// The level.
        level: Level,
    },
    /// The part for ciphertexts cannot be read.
    #[error("the part of {commitment} for level fhe cannot be read by this version")]
    Offer {
        /// Its commitment.
        commitment: Commitment,
        /// What is wrong.
        #[source]
        source: OfferError,
    },
    /// The package has the right hash and is not a package this version reads.
    #[error("the package {commitment} cannot be read by this version")]
    Package {
        /// Its commitment.
        commitment: Commitment,
        /// What is wrong.
        #[source]
        source: PackageError,
    },
    /// The part for level `sealed` cannot be used.
    #[error("the part of {commitment} for level sealed cannot be used")]
    Sealed {
        /// Its commitment.
        commitment: Commitment,
        /// What is wrong.
        #[source]
        source: Box<sealed::ModelError>,
    },
    /// Storage did not deliver.
    #[error("cannot pull the model {manifest} from storage")]
    Pull {
        /// Its fid.
        manifest: Fid,
        /// What storage says.
        #[source]
        source: StorageError,
    },
    /// Larger than the whole cache.
    #[error(
        "the model has {size}, the cache is limited to {limit}; raise `cache` in the worker's configuration"
    )]
    TooLarge {
        /// As storage states it.
        size: Bytes,
        /// `cache` in the configuration.
        limit: Bytes,
    },
}
