//! One pool on disk: a directory, a file for each entry.
//!
//! ```text
//! 5.entry   sealed, not used
//! 3.used    marked: the entry's file under its other name, until it is removed
//! next      the lowest index that was never reserved nor stored
//! 6.part    was being written when the machine crashed
//! ```
//!
//! An entry and its mark are one file, so that no crash brings an entry back without its mark. What a pool takes
//! on disk is what its entries take, and a byte that is removed is free at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ai_link_mpc::buffers::{give_bytes, spare_bytes};
use ai_link_mpc::pool::{Contents, Store, StoreError};

use super::disk;

const ENTRY: &str = "entry";
const USED: &str = "used";
const NEXT: &str = "next";

/// One party's part of a pool in a directory.
#[derive(Debug)]
pub struct PoolDir {
    dir: PathBuf,
}

impl PoolDir {
    /// The pool in `dir`, which must be there.
    ///
    /// Whoever opens it sees to it that nobody else has: the [shelf](super::Shelf) holds a lock for all pools
    /// of a worker.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn path(&self, index: u64, extension: &str) -> PathBuf {
        self.dir.join(format!("{index}.{extension}"))
    }

    fn next(&self) -> io::Result<u64> {
        let bytes = match fs::read(self.dir.join(NEXT)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let bytes = bytes.try_into();
        let bytes = bytes.map_err(|_| io::Error::other("`next` is not 8 bytes: it is damaged"))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Not durable until the directory is synchronised.
    fn raise(&self, next: u64) -> io::Result<()> {
        if next <= self.next()? {
            return Ok(());
        }
        disk::write(&self.dir.join(NEXT), &next.to_le_bytes())
    }

    fn read_dir(&self) -> io::Result<Contents> {
        let mut contents = Contents {
            next: self.next()?,
            entries: BTreeMap::new(),
            marked: BTreeSet::new(),
        };
        for file in fs::read_dir(&self.dir)? {
            let file = file?;
            match classify(&file.path()) {
                Some(File::Part) => disk::remove(&file.path())?,
                Some(File::Entry(index)) => {
                    contents.entries.insert(index, file.metadata()?.len());
                }
                Some(File::Used(index)) => {
                    contents.entries.insert(index, file.metadata()?.len());
                    contents.marked.insert(index);
                }
                None => {}
            }
        }
        // `next` is renamed before the entry; a file system may still keep only the second of two names.
        let after = contents.entries.keys().next_back().map_or(0, |i| i + 1);
        if contents.next < after {
            self.raise(after)?;
            disk::sync(&self.dir)?;
            contents.next = after;
        }
        Ok(contents)
    }
}

/// What a file in the directory is, by its name.
enum File {
    Entry(u64),
    Used(u64),
    Part,
}

fn classify(path: &Path) -> Option<File> {
    let extension = path.extension()?.to_str()?;
    if extension == disk::PART {
        return Some(File::Part);
    }
    let index: u64 = path.file_stem()?.to_str()?.parse().ok()?;
    match extension {
        // The last index could not be followed by another one.
        _ if index == u64::MAX => None,
        ENTRY => Some(File::Entry(index)),
        USED => Some(File::Used(index)),
        _ => None,
    }
}

impl Store for PoolDir {
    fn load(&mut self) -> Result<Contents, StoreError> {
        self.read_dir().map_err(StoreError::new)
    }

    fn reserve(&mut self, next: u64) -> Result<(), StoreError> {
        self.raise(next)
            .and_then(|()| disk::sync(&self.dir))
            .map_err(StoreError::new)
    }

    fn append(&mut self, index: u64, sealed: Vec<u8>) -> Result<(), StoreError> {
        let next = index
            .checked_add(1)
            .ok_or_else(|| StoreError::new("the last index cannot be stored"))?;
        let written = self
            .raise(next)
            .and_then(|()| disk::write(&self.path(index, ENTRY), &sealed))
            .and_then(|()| disk::sync(&self.dir));
        // It is encrypted.
        give_bytes(sealed);
        written.map_err(StoreError::new)
    }

    fn read(&mut self, index: u64) -> Result<Vec<u8>, StoreError> {
        let open = fs::File::open(self.path(index, ENTRY));
        let missing = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
        let open = match open {
            Err(error) if missing(&error) => fs::File::open(self.path(index, USED)),
            done => done,
        };
        let read = |mut file: fs::File| {
            let size = file.metadata()?.len();
            let mut sealed = spare_bytes(usize::try_from(size).unwrap_or(usize::MAX));
            file.read_to_end(&mut sealed)?;
            Ok(sealed)
        };
        open.and_then(read).map_err(StoreError::new)
    }

    fn mark(&mut self, index: u64) -> Result<(), StoreError> {
        disk::rename(&self.path(index, ENTRY), &self.path(index, USED))
            .and_then(|()| disk::sync(&self.dir))
            .map_err(StoreError::new)?;
        // Evidence for whoever has to show that nothing was used twice: written before anything is sent.
        let pool = self.dir.file_name().unwrap_or_default();
        tracing::info!(pool = %pool.display(), index, "entry marked as used");
        Ok(())
    }

    fn remove(&mut self, index: u64) -> Result<(), StoreError> {
        let missing = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
        for extension in [ENTRY, USED] {
            match disk::remove(&self.path(index, extension)) {
                Err(error) if !missing(&error) => return Err(StoreError::new(error)),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn unused(contents: &Contents) -> Vec<u64> {
        let entries = contents.entries.keys().copied();
        entries.filter(|i| !contents.marked.contains(i)).collect()
    }

    #[test]
    fn a_directory_keeps_what_a_pool_relies_on() {
        let dir = tempfile::tempdir().unwrap();
        let open = || PoolDir::new(dir.path().to_owned());
        let mut pool = open();
        assert_eq!(pool.load().unwrap(), Contents::default());
        pool.reserve(3).unwrap();
        pool.reserve(2).unwrap();
        pool.append(3, b"three".to_vec()).unwrap();
        pool.append(5, b"number five".to_vec()).unwrap();
        pool.append(6, b"six".to_vec()).unwrap();
        pool.mark(3).unwrap();
        pool.mark(5).unwrap();
        assert_eq!(pool.read(5).unwrap(), b"number five");
        pool.remove(5).unwrap();
        assert!(pool.read(5).is_err());
        let contents = open().load().unwrap();
        assert_eq!(contents.next, 7);
        assert_eq!(unused(&contents), [6]);
        assert_eq!(contents.entries[&3], 5);
        assert_eq!(contents.marked, [3].into());
        pool.remove(3).unwrap();
        pool.remove(5).unwrap();
        pool.reserve(9).unwrap();
        let contents = open().load().unwrap();
        assert_eq!(contents.next, 9);
        assert_eq!(contents.entries, [(6, 3)].into());
        assert!(contents.marked.is_empty());
        assert!(open().append(u64::MAX, b"last".to_vec()).is_err());
    }

    /// Reserve, store, mark, read, remove; stop after any number of operations of the file system.
    #[test]
    fn nothing_marked_is_offered_again_wherever_it_crashes() {
        let mut crashes = 0;
        for points in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let mut pool = PoolDir::new(dir.path().to_owned());
            let mut marked = Vec::new();
            let mut stored = Vec::new();
            disk::crash::restart();
            disk::crash::after(points);
            let mut run = || -> Result<(), StoreError> {
                for index in 0..3 {
                    pool.reserve(index + 1)?;
                    pool.append(index, b"entry".to_vec())?;
                    stored.push(index);
                }
                for index in 0..2 {
                    pool.mark(index)?;
                    marked.push(index);
                    pool.read(index)?;
                    pool.remove(index)?;
                }
                Ok(())
            };
            let ran = run();
            let down = disk::crash::is_down();
            disk::crash::restart();
            let contents = PoolDir::new(dir.path().to_owned()).load().unwrap();
            let offered = unused(&contents);
            assert!(marked.iter().all(|i| !offered.contains(i)), "{points}");
            assert!(stored.iter().all(|i| contents.next > *i), "{points}");
            // What was stored and not marked is still there.
            let lost = stored.iter().filter(|i| !offered.contains(i)).count();
            assert!(lost <= marked.len() + 1, "{points}");
            let parts = fs::read_dir(dir.path()).unwrap();
            let mut parts = parts.map(|f| f.unwrap().path());
            assert!(!parts.any(|p| p.extension().is_some_and(|e| e == "part")));
            if ran.is_ok() {
                assert!(!down || points > 0);
                break;
            }
            assert!(down);
            crashes += 1;
        }
        assert!(crashes > 20, "{crashes}");
    }

    #[test]
    fn foreign_and_damaged_files_are_no_entries() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in [
            "x.entry",
            "-1.entry",
            "18446744073709551615.entry",
            "7.txt",
            "id",
        ] {
            fs::write(at(name), b"foreign").unwrap();
        }
        // A name that survived while `next` did not.
        fs::write(at("4.entry"), b"four").unwrap();
        let mut pool = PoolDir::new(dir.path().to_owned());
        let contents = pool.load().unwrap();
        assert_eq!(contents.entries, [(4, 4)].into());
        assert_eq!(contents.next, 5);
        fs::write(at("next"), b"no number").unwrap();
        assert!(pool.load().is_err());
    }
}
