//! The fragment files of a store.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::buffers::Buffer;
use crate::error::StorageError;
use crate::fid::ContentHash;

/// Finds, writes and removes fragment files. All of it blocks.
pub(crate) struct Files {
    dir: PathBuf,
    fragments: PathBuf,
    staging: PathBuf,
    durability: Durability,
    next: AtomicU64,
}

/// Whether files are forced to the disk before they are relied upon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Durability {
    /// They are: nothing that was acknowledged is lost when the machine stops.
    #[default]
    Forced,
    /// They are not, which makes tests with thousands of files quick.
    #[cfg(test)]
    Lazy,
}

/// A fresh directory for files that are not in place yet; removed when dropped.
pub(crate) struct StagingDir {
    path: PathBuf,
    durability: Durability,
}

/// What a fragment file holds.
#[derive(Debug)]
pub(crate) enum Content {
    /// There is no such file.
    Missing,
    /// It is longer than a fragment.
    TooLong,
    /// Its bytes, not verified.
    Bytes(Buffer),
}

impl Files {
    pub(crate) fn open(dir: &Path, durability: Durability) -> Result<Self, StorageError> {
        let files = Self {
            dir: dir.to_owned(),
            fragments: dir.join("fragments"),
            staging: dir.join("staging"),
            durability,
            next: AtomicU64::new(0),
        };
        for dir in [&files.fragments, &files.staging] {
            fs::create_dir_all(dir).map_err(StorageError::io("made its directories"))?;
        }
        durability
            .force_dir(dir)
            .map_err(StorageError::io("made its directories"))?;
        Ok(files)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes everything in staging and every fragment that nothing refers to.
    pub(crate) fn sweep(
        &self,
        mut is_referenced: impl FnMut(ContentHash) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let doing = "swept its directories";
        for entry in fs::read_dir(&self.staging).map_err(StorageError::io(doing))? {
            let path = entry.map_err(StorageError::io(doing))?.path();
            fs::remove_dir_all(&path).map_err(StorageError::io(doing))?;
        }
        for shelf in fs::read_dir(&self.fragments).map_err(StorageError::io(doing))? {
            let shelf = shelf.map_err(StorageError::io(doing))?.path();
            for entry in fs::read_dir(&shelf).map_err(StorageError::io(doing))? {
                let path = entry.map_err(StorageError::io(doing))?.path();
                let hash = path.file_name().and_then(OsStr::to_str).map(str::parse);
                // Files that are not named by a hash are not ours to remove.
                if let Some(Ok(hash)) = hash
                    && !is_referenced(hash)?
                {
                    fs::remove_file(&path).map_err(StorageError::io(doing))?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn contains(&self, hash: ContentHash) -> bool {
        self.path(hash).is_file()
    }

    /// Reads a fragment of at most `limit` bytes.
    pub(crate) fn read(&self, hash: ContentHash, limit: usize) -> io::Result<Content> {
        let file = match File::open(self.path(hash)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Missing),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        if length > limit as u64 {
            return Ok(Content::TooLong);
        }
        // One more, so that reading to the end needs no more room.
        let mut bytes = Buffer::with_capacity(length as usize + 1);
        file.take(limit as u64 + 1).read_to_end(bytes.bytes())?;
        Ok(if bytes.as_ref().len() > limit {
            Content::TooLong
        } else {
            Content::Bytes(bytes)
        })
    }

    pub(crate) fn remove(&self, hash: ContentHash) -> io::Result<()> {
        match fs::remove_file(self.path(hash)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    pub(crate) fn stage(&self) -> io::Result<StagingDir> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let dir = self.staging.join(number.to_string());
        fs::create_dir(&dir)?;
        Ok(StagingDir {
            path: dir,
            durability: self.durability,
        })
    }

    /// Moves synced files to where fragments belong, replacing what is there (it has the same
    /// content, or should have), and returns when the moves are on disk.
    pub(crate) fn publish<'a>(
        &self,
        staged: impl IntoIterator<Item = (ContentHash, &'a Path)>,
    ) -> io::Result<()> {
        let mut shelves = std::collections::BTreeSet::new();
        let mut new_shelves = false;
        for (hash, from) in staged {
            let shelf = self.shelf(hash);
            match fs::create_dir(&shelf) {
                Ok(()) => new_shelves = true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            fs::rename(from, self.path(hash))?;
            shelves.insert(shelf);
        }
        for shelf in &shelves {
            self.durability.force_dir(shelf)?;
        }
        if new_shelves {
            self.durability.force_dir(&self.fragments)?;
        }
        Ok(())
    }

    /// Writes a whole new file and forces it to the disk.
    pub(crate) fn write_forced(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        match self.durability {
            Durability::Forced => file.sync_data(),
            #[cfg(test)]
            Durability::Lazy => Ok(()),
        }
    }

    fn shelf(&self, hash: ContentHash) -> PathBuf {
        self.fragments.join(hex::encode(&hash.0[..1]))
    }

    fn path(&self, hash: ContentHash) -> PathBuf {
        self.shelf(hash).join(hash.to_string())
    }
}

impl StagingDir {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(self.path(name))
    }

    /// Forces a file of this directory to the disk.
    pub(crate) fn force(&self, file: &File) -> io::Result<()> {
        match self.durability {
            Durability::Forced => file.sync_all(),
            #[cfg(test)]
            Durability::Lazy => Ok(()),
        }
    }

    /// Writes and syncs a whole file and returns its path.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        let mut file = self.create(name)?;
        file.write_all(bytes)?;
        self.force(&file)?;
        Ok(self.path(name))
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(dir = %self.path.display(), %error, "a staging directory was left behind");
        }
    }
}

impl Durability {
    /// Forces renames in a directory to the disk.
    fn force_dir(self, dir: &Path) -> io::Result<()> {
        match self {
            Self::Forced => File::open(dir)?.sync_all(),
            #[cfg(test)]
            Self::Lazy => Ok(()),
        }
    }
}
