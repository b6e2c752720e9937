//! The disk of a storage node.
//!
//! ```text
//! <dir>/index.redb              which fragment is kept for which file, and how long it is
//! <dir>/fragments/ab/abcd…      one file per fragment, named by its hash, without trailing zeros
//! <dir>/tags/abcd…              its tags
//! <dir>/staging/<n>/            fragments of uploads that are not committed
//! ```
//!
//! A commit renames files into place, forces the directories to disk, and then records all of them in
//! one transaction; a crash in between leaves files that nothing names, which opening sweeps away.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use sha2::{Digest, Sha256};

use super::{NodeError, UploadId};
use crate::embedded::{Content, Durability, Files, OpenError, StagingDir};
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid};
use crate::layout::{Geometry, absorb_zeros};
use crate::podr2::TagSet;

/// Version of the tables below.
const FORMAT: u64 = 1;
/// The most files of a list.
const MAX_LISTED: usize = 1000;
/// The most uploads at a time.
const MAX_UPLOADS: usize = 256;
/// How long an upload may stand still.
const UPLOAD_IDLE: Duration = Duration::from_secs(3600);

/// fragment hash ‖ fid -> bytes on disk
const KEPT: TableDefinition<'_, &[u8; 64], u64> = TableDefinition::new("kept");
/// fid ‖ fragment hash
const FILES: TableDefinition<'_, &[u8; 64], ()> = TableDefinition::new("files");
/// the single numbers below
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const FORMAT_KEY: &str = "format";
const FRAGMENT_SIZE_KEY: &str = "fragment size";

/// Whose word for a fragment's hash is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// That of a caller in this process, which hashed it a moment ago.
    Caller,
    /// Nobody's: it is hashed again.
    Nobody,
}

/// Keeps fragments on disk. All of it blocks.
pub(crate) struct Shelf {
    geometry: Geometry,
    capacity: u64,
    files: Files,
    tags: PathBuf,
    database: Database,
    state: Mutex<State>,
}

struct State {
    uploads: HashMap<UploadId, Upload>,
    /// Bytes of fragments that files have, and of staged ones.
    occupied: u64,
    staged: u64,
}

struct Upload {
    dir: StagingDir,
    fragments: HashMap<ContentHash, u64>,
    used: Instant,
}

impl Shelf {
    pub(crate) fn open(
        dir: &Path,
        geometry: Geometry,
        capacity: u64,
        durability: Durability,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Storage {
            dir: dir.to_owned(),
            source: Box::new(source),
        };
        let tags = dir.join("tags");
        std::fs::create_dir_all(&tags)
            .map_err(StorageError::io("made its directory"))
            .map_err(failed)?;
        let database = match Database::create(dir.join("index.redb")) {
            Ok(database) => database,
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                return Err(OpenError::InUse {
                    dir: dir.to_owned(),
                });
            }
            Err(error) => return Err(failed(StorageError::index("was opened")(error))),
        };
        let expected = geometry.fragment() as u64;
        let (found_format, found) = initialise(&database, expected)
            .map_err(StorageError::index("was opened"))
            .map_err(failed)?;
        if (found_format, found) != (FORMAT, expected) {
            return Err(OpenError::OtherFormat {
                dir: dir.to_owned(),
                found_format,
                found,
                format: FORMAT,
                expected,
            });
        }
        let files = Files::open(dir, durability).map_err(failed)?;
        let mut shelf = Self {
            geometry,
            capacity,
            files,
            tags,
            database,
            state: Mutex::new(State {
                uploads: HashMap::new(),
                occupied: 0,
                staged: 0,
            }),
        };
        shelf
            .files
            .sweep(|hash| shelf.keeps(hash))
            .map_err(failed)?;
        let occupied = shelf.count().map_err(failed)?;
        shelf
            .state
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .occupied = occupied;
        Ok(shelf)
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn occupied(&self) -> u64 {
        let state = self.state();
        state.occupied + state.staged
    }

    pub(crate) fn stage(
        &self,
        upload: UploadId,
        hash: ContentHash,
        bytes: &[u8],
        trust: Trust,
    ) -> Result<(), NodeError> {
        if trust == Trust::Nobody {
            self.verify(hash, bytes)?;
        }
        let length = bytes.len() as u64;
        let path = {
            let mut state = self.state();
            self.expire(&mut state);
            if state.occupied + state.staged + length > self.capacity {
                return Err(NodeError::Full);
            }
            if !state.uploads.contains_key(&upload) {
                if state.uploads.len() >= MAX_UPLOADS {
                    return Err(NodeError::Full);
                }
                let dir = self.files.stage().map_err(disk("prepared an upload"))?;
                let begun = Upload {
                    dir,
                    fragments: HashMap::new(),
                    used: Instant::now(),
                };
                state.uploads.insert(upload, begun);
            }
            let upload = state.uploads.get_mut(&upload).ok_or(NodeError::Missing)?;
            upload.used = Instant::now();
            if upload.fragments.contains_key(&hash) {
                return Ok(());
            }
            upload.dir.path(&hash.to_string())
        };
        // Written beside what others write, not under the lock. Two writers of one fragment have
        // different temporary names, and the second rename replaces equal bytes.
        let temporary = path.with_extension(UploadId::generate().map_err(boxed)?.to_string());
        self.files
            .write_forced(&temporary, bytes)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(disk("wrote a fragment"))?;
        let mut state = self.state();
        // The upload may have been aborted meanwhile, and its directory with it.
        let entry = state.uploads.get_mut(&upload).ok_or(NodeError::Missing)?;
        if entry.fragments.insert(hash, length).is_none() {
            state.staged += length;
        }
        Ok(())
    }

    pub(crate) fn commit(&self, upload: UploadId, fid: Fid) -> Result<(), NodeError> {
        let mut state = self.state();
        let entry = state.uploads.remove(&upload).ok_or(NodeError::Missing)?;
        let bytes: u64 = entry.fragments.values().sum();
        state.staged = state.staged.saturating_sub(bytes);
        let paths: Vec<(ContentHash, PathBuf)> = entry
            .fragments
            .keys()
            .map(|hash| (*hash, entry.dir.path(&hash.to_string())))
            .collect();
        self.files
            .publish(paths.iter().map(|(hash, path)| (*hash, path.as_path())))
            .map_err(disk("put fragments in place"))?;
        let added = self
            .record(fid, &entry.fragments)
            .map_err(StorageError::index("recorded fragments"))
            .map_err(boxed)?;
        state.occupied += added;
        Ok(())
    }

    pub(crate) fn abort(&self, upload: UploadId) {
        let mut state = self.state();
        if let Some(entry) = state.uploads.remove(&upload) {
            state.staged = state.staged.saturating_sub(entry.fragments.values().sum());
        }
    }

    pub(crate) fn put(&self, fid: Fid, hash: ContentHash, bytes: &[u8]) -> Result<(), NodeError> {
        self.verify(hash, bytes)?;
        if self.occupied() + bytes.len() as u64 > self.capacity {
            return Err(NodeError::Full);
        }
        let dir = self.files.stage().map_err(disk("wrote a fragment"))?;
        let path = dir
            .write("fragment", bytes)
            .map_err(disk("wrote a fragment"))?;
        let mut state = self.state();
        self.files
            .publish([(hash, path.as_path())])
            .map_err(disk("put a fragment in place"))?;
        let added = self
            .record(fid, &HashMap::from([(hash, bytes.len() as u64)]))
            .map_err(StorageError::index("recorded a fragment"))
            .map_err(boxed)?;
        state.occupied += added;
        Ok(())
    }

    pub(crate) fn get(&self, hash: ContentHash) -> Result<Bytes, NodeError> {
        match self.files.read(hash, self.geometry.fragment()) {
            Ok(Content::Bytes(bytes)) => Ok(bytes.freeze()),
            Ok(Content::Missing) => Err(NodeError::Missing),
            Ok(Content::TooLong) => Err(NodeError::Damaged { expected: hash }),
            Err(error) => Err(disk("read a fragment")(error)),
        }
    }

    pub(crate) fn has(&self, hash: ContentHash) -> bool {
        self.files.contains(hash)
    }

    pub(crate) fn release(&self, fid: Fid) -> Result<(), NodeError> {
        let mut state = self.state();
        let (unused, freed) = self
            .forget(fid)
            .map_err(StorageError::index("released a file"))
            .map_err(boxed)?;
        state.occupied = state.occupied.saturating_sub(freed);
        for hash in unused {
            let removed = self.files.remove(hash).and_then(|()| {
                match std::fs::remove_file(self.tags.join(hash.to_string())) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                }
            });
            // The file is gone whatever happens here; the next start sweeps the rest.
            if let Err(error) = removed {
                tracing::warn!(%hash, %error, "an unused fragment could not be removed");
            }
        }
        Ok(())
    }

    pub(crate) fn list(&self, after: Option<Fid>) -> Result<Vec<Fid>, NodeError> {
        let list = || -> Result<Vec<Fid>, redb::Error> {
            let table = self.database.begin_read()?.open_table(FILES)?;
            let mut found = Vec::new();
            let mut last = after;
            while found.len() < MAX_LISTED {
                let start = match last {
                    Some(fid) => joined(&fid.0, &[0xff; 32]),
                    None => [0; 64],
                };
                let Some(entry) = table.range::<&[u8; 64]>(&start..)?.find(|entry| {
                    entry.as_ref().map_or(true, |(key, _)| {
                        last.is_none_or(|fid| halves(key.value()).0 != fid.0)
                    })
                }) else {
                    break;
                };
                let fid = Fid(halves(entry?.0.value()).0);
                found.push(fid);
                last = Some(fid);
            }
            Ok(found)
        };
        list()
            .map_err(StorageError::index("listed files"))
            .map_err(boxed)
    }

    pub(crate) fn put_tags(&self, tags: &TagSet) -> Result<(), NodeError> {
        let name = tags.fragment();
        if !self.keeps(name).map_err(boxed)? {
            return Err(NodeError::Missing);
        }
        let path = self.tags.join(name.to_string());
        let temporary = self.tags.join(format!("{name}.new"));
        self.files
            .write_forced(&temporary, &tags.to_bytes())
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(disk("wrote tags"))
    }

    pub(crate) fn tags(&self, hash: ContentHash) -> Result<TagSet, NodeError> {
        let path = self.tags.join(hash.to_string());
        match std::fs::read(&path) {
            Ok(bytes) => {
                TagSet::from_bytes(&bytes).map_err(|error| NodeError::Malformed(error.to_string()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(NodeError::Missing),
            Err(error) => Err(disk("read tags")(error)),
        }
    }

    /// Whether a fragment is what it says.
    fn verify(&self, hash: ContentHash, bytes: &[u8]) -> Result<(), NodeError> {
        let size = self.geometry.fragment();
        if bytes.len() > size {
            return Err(NodeError::Damaged { expected: hash });
        }
        let mut hasher = Sha256::new();
        hasher.update(bytes);
        absorb_zeros(&mut hasher, size - bytes.len());
        if ContentHash(hasher.finalize().into()) == hash {
            Ok(())
        } else {
            Err(NodeError::Damaged { expected: hash })
        }
    }

    fn keeps(&self, hash: ContentHash) -> Result<bool, StorageError> {
        let keeps = || -> Result<bool, redb::Error> {
            let table = self.database.begin_read()?.open_table(KEPT)?;
            let [first, last] = [joined(&hash.0, &[0; 32]), joined(&hash.0, &[0xff; 32])];
            Ok(table.range::<&[u8; 64]>(&first..=&last)?.next().is_some())
        };
        keeps().map_err(StorageError::index("looked up a fragment"))
    }

    /// Bytes of all fragments.
    fn count(&self) -> Result<u64, StorageError> {
        let count = || -> Result<u64, redb::Error> {
            let table = self.database.begin_read()?.open_table(KEPT)?;
            let (mut sum, mut last) = (0, None);
            for entry in table.iter()? {
                let (key, length) = entry?;
                let (hash, _) = halves(key.value());
                if last != Some(hash) {
                    sum += length.value();
                    last = Some(hash);
                }
            }
            Ok(sum)
        };
        count().map_err(StorageError::index("counted fragments"))
    }

    /// Records fragments of a file; gives the bytes that are new.
    fn record(&self, fid: Fid, fragments: &HashMap<ContentHash, u64>) -> Result<u64, redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut added = 0;
        {
            let mut kept = transaction.open_table(KEPT)?;
            let mut files = transaction.open_table(FILES)?;
            for (hash, length) in fragments {
                let [first, last] = [joined(&hash.0, &[0; 32]), joined(&hash.0, &[0xff; 32])];
                if kept.range::<&[u8; 64]>(&first..=&last)?.next().is_none() {
                    added += length;
                }
                kept.insert(&joined(&hash.0, &fid.0), length)?;
                files.insert(&joined(&fid.0, &hash.0), ())?;
            }
        }
        transaction.commit()?;
        Ok(added)
    }

    /// Forgets a file; gives the fragments that no other file has, and their bytes.
    fn forget(&self, fid: Fid) -> Result<(Vec<ContentHash>, u64), redb::Error> {
        let transaction = self.database.begin_write()?;
        let (mut unused, mut freed) = (Vec::new(), 0);
        {
            let mut kept = transaction.open_table(KEPT)?;
            let mut files = transaction.open_table(FILES)?;
            let [first, last] = [joined(&fid.0, &[0; 32]), joined(&fid.0, &[0xff; 32])];
            let mut hashes = Vec::new();
            for entry in files.range::<&[u8; 64]>(&first..=&last)? {
                hashes.push(halves(entry?.0.value()).1);
            }
            for hash in hashes {
                files.remove(&joined(&fid.0, &hash))?;
                let length = kept
                    .remove(&joined(&hash, &fid.0))?
                    .map(|value| value.value());
                let [first, last] = [joined(&hash, &[0; 32]), joined(&hash, &[0xff; 32])];
                if kept.range::<&[u8; 64]>(&first..=&last)?.next().is_none() {
                    unused.push(ContentHash(hash));
                    freed += length.unwrap_or(0);
                }
            }
        }
        transaction.commit()?;
        Ok((unused, freed))
    }

    /// Drops uploads that stand still.
    fn expire(&self, state: &mut State) {
        let State {
            uploads, staged, ..
        } = state;
        uploads.retain(|_, upload| {
            let keep = upload.used.elapsed() < UPLOAD_IDLE;
            if !keep {
                *staged = staged.saturating_sub(upload.fragments.values().sum());
            }
            keep
        });
    }

    /// What is on disk is consistent after every step, so a panic of another holder does no harm.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn initialise(database: &Database, fragment: u64) -> Result<(u64, u64), redb::Error> {
    let transaction = database.begin_write()?;
    let found = {
        let mut numbers = transaction.open_table(NUMBERS)?;
        transaction.open_table(KEPT)?;
        transaction.open_table(FILES)?;
        let format = numbers.get(FORMAT_KEY)?.map(|value| value.value());
        match format {
            Some(format) => {
                let size = numbers
                    .get(FRAGMENT_SIZE_KEY)?
                    .map_or(0, |value| value.value());
                (format, size)
            }
            None => {
                numbers.insert(FORMAT_KEY, FORMAT)?;
                numbers.insert(FRAGMENT_SIZE_KEY, fragment)?;
                (FORMAT, fragment)
            }
        }
    };
    transaction.commit()?;
    Ok(found)
}

fn joined(first: &[u8; 32], second: &[u8; 32]) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(first);
    key[32..].copy_from_slice(second);
    key
}

fn halves(key: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    (
        std::array::from_fn(|i| key[i]),
        std::array::from_fn(|i| key[32 + i]),
    )
}

fn boxed(error: StorageError) -> NodeError {
    NodeError::Disk(Box::new(error))
}

fn disk(doing: &'static str) -> impl FnOnce(io::Error) -> NodeError {
    move |source| boxed(StorageError::Io { doing, source })
}
