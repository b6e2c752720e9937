//! A bounded cache of stored inputs, by fid: what this worker has pulled it need not pull again, nor its neighbours.
//!
//! Objects are sealed inputs; what is cached is what storage sees, so the cache holds nothing that storage
//! does not. The fid is recomputed from the bytes at every read from disk (both rules of CESS): a damaged
//! file is dropped and pulled again. What was used last stays longest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use ai_link_storage::layout::FidHasher;
use ai_link_storage::{Fid, FidRule, ObjectStore as _, StorageError};
use ai_link_wire::{Bytes, CopyOf, Digest, Heartbeat, Held};

use crate::nearby::Source;

/// Extension of a file that is being written.
const PART: &str = "part";

/// The cache.
#[derive(Debug)]
pub struct ObjectCache {
    dir: PathBuf,
    /// Bytes on disk.
    limit: Bytes,
    source: Source,
    /// Held across a pull: an object asked for twice at once is pulled once.
    turn: tokio::sync::Mutex<()>,
    /// What was asked for since the start; the last one last.
    asked: Mutex<Vec<Asked>>,
}

/// Who may have a copy of an object from this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// Other workers.
    ToWorkers,
    /// Nobody: its owner said where it may be, and this worker cannot tell where another one is.
    ToNobody,
}

/// A share of a stored input that was asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    input: Digest,
    fid: Fid,
    copies: Copies,
}

impl ObjectCache {
    /// # Errors
    /// [`ObjectError::Io`] when the directory cannot be made.
    pub fn open(dir: PathBuf, limit: Bytes, source: Source) -> Result<Self, ObjectError> {
        let prepared = fs::create_dir_all(&dir).and_then(|()| drop_unfinished(&dir));
        prepared.map_err(|source| ObjectError::Io {
            path: dir.clone(),
            source,
        })?;
        Ok(Self {
            dir,
            limit,
            source,
            turn: tokio::sync::Mutex::new(()),
            asked: Mutex::default(),
        })
    }

    /// The bytes of the object that holds a share of `input`: from disk if they are still its bytes, else from
    /// storage, or from a worker that has it if it may be copied. One of more than `most` bytes is not taken.
    ///
    /// # Errors
    /// [`ObjectError`]. What does not hash to `fid` is never returned.
    pub async fn get(
        &self,
        input: Digest,
        fid: Fid,
        most: u64,
        copies: Copies,
    ) -> Result<Vec<u8>, ObjectError> {
        let _turn = self.turn.lock().await;
        self.note(Asked { input, fid, copies });
        if let Some(bytes) = self.cached(fid).await {
            return match bytes.len() as u64 > most {
                true => Err(ObjectError::TooLarge { fid, most }),
                false => Ok(bytes),
            };
        }
        let what = CopyOf::Object(ai_link_wire::Fid(fid.0));
        let is_it = |bytes: &[u8]| is_object(fid, bytes);
        let copy = match copies {
            Copies::ToWorkers => {
                let held = Held::Input(input);
                self.source.nearby(held, what, most, is_it).await
            }
            Copies::ToNobody => None,
        };
        let bytes = match copy {
            Some(bytes) => bytes,
            None => {
                let pull = |source| ObjectError::Pull { fid, source };
                let pulled = self.source.storage.get_bytes(fid, most).await;
                pulled.map_err(pull)?
            }
        };
        // A cache that cannot be written is slow, not wrong.
        if let Err(error) = self.store(fid, &bytes) {
            tracing::warn!(%fid, %error, "cannot cache an object");
        }
        Ok(bytes)
    }

    /// Inputs of which a share is here, for announcements.
    pub fn inputs(&self) -> Vec<Digest> {
        let asked = self.asked();
        let here = asked.iter().filter(|asked| self.path(asked.fid).exists());
        here.map(|asked| asked.input).collect()
    }

    /// Where an object is that other workers may have. One that nobody asked for since the start is not told: what
    /// its owner said of it is not known yet.
    pub(crate) fn to_copy(&self, fid: Fid) -> Option<PathBuf> {
        let mut asked = self.asked().clone();
        asked.retain(|asked| asked.fid == fid);
        let free = |asked: &Asked| asked.copies == Copies::ToWorkers;
        (!asked.is_empty() && asked.iter().all(free)).then(|| self.path(fid))
    }

    fn note(&self, new: Asked) {
        let mut asked = self.asked();
        asked.retain(|known| known.input != new.input);
        if asked.len() >= Heartbeat::MAX_INPUTS {
            asked.remove(0);
        }
        asked.push(new);
    }

    fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Objects that are here, most recently used first.
    pub fn held(&self) -> Vec<Fid> {
        let mut files = self.files();
        files.sort_by_key(|file| std::cmp::Reverse(file.used));
        files.into_iter().map(|file| file.fid).collect()
    }

    /// The object if it is on disk and undamaged.
    pub(crate) async fn cached(&self, fid: Fid) -> Option<Vec<u8>> {
        let path = self.path(fid);
        let read = tokio::task::spawn_blocking(move || {
            let bytes = fs::read(&path).ok()?;
            if is_object(fid, &bytes) {
                // For whoever makes room: this one was used last.
                let _ = fs::File::options()
                    .append(true)
                    .open(&path)
                    .and_then(|file| file.set_modified(SystemTime::now()));
                return Some(bytes);
            }
            tracing::warn!(%fid, "a cached object is damaged; pulling it again");
            let _ = fs::remove_file(&path);
            None
        });
        read.await.ok()?
    }

    fn path(&self, fid: Fid) -> PathBuf {
        self.dir.join(fid.to_string())
    }

    fn store(&self, fid: Fid, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 > self.limit.0 {
            return Ok(());
        }
        self.make_room(bytes.len() as u64);
        let temporary = self.path(fid).with_extension(PART);
        fs::write(&temporary, bytes)?;
        fs::rename(temporary, self.path(fid))
    }

    fn make_room(&self, wanted: u64) {
        let mut files = self.files();
        files.sort_by_key(|file| file.used);
        let mut held: u64 = files.iter().map(|file| file.size).sum();
        for file in files {
            if held.saturating_add(wanted) <= self.limit.0 {
                break;
            }
            if fs::remove_file(self.path(file.fid)).is_ok() {
                held -= file.size;
            }
        }
    }

    fn files(&self) -> Vec<CachedFile> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| CachedFile::of(&entry.path()))
            .collect()
    }
}

/// Whether the bytes are the object's, by either rule of CESS.
fn is_object(fid: Fid, bytes: &[u8]) -> bool {
    let mut hasher = FidHasher::new();
    hasher.update(bytes);
    FidRule::matching(fid, &hasher.finish()).is_some()
}

/// Removes what a process that was killed had begun to write: it is no object, and would never make room.
fn drop_unfinished(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == PART) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

struct CachedFile {
    fid: Fid,
    size: u64,
    used: SystemTime,
}

impl CachedFile {
    fn of(path: &Path) -> Option<Self> {
        let fid = path.file_name()?.to_str()?.parse().ok()?;
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            fid,
            size: metadata.len(),
            used: metadata.modified().ok()?,
        })
    }
}

/// Why an object cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The cache's directory failed.
    #[error("the object cache failed at {path}", path = .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Storage did not deliver.
    #[error("cannot pull the object {fid} from storage")]
    Pull {
        /// The object.
        fid: Fid,
        /// What storage says.
        #[source]
        source: StorageError,
    },
    /// Larger than what it should be.
    #[error("the object {fid} has more than {most} bytes")]
    TooLarge {
        /// The object.
        fid: Fid,
        /// Most that was asked for.
        most: u64,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ai_link_storage::HttpStore;

    use super::*;

    const INPUT: Digest = Digest([9; 32]);

    fn cache(dir: &Path, limit: u64) -> ObjectCache {
        // Nobody listens there: what is not on disk cannot be had.
        let storage = HttpStore::new("http://127.0.0.1:1").unwrap();
        ObjectCache::open(dir.into(), Bytes(limit), Source::storage(storage)).unwrap()
    }

    fn fid(bytes: &[u8], rule: FidRule) -> Fid {
        FidHasher::fid_of(bytes, rule).unwrap()
    }

    #[tokio::test]
    async fn what_is_read_from_disk_is_hashed_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1 << 20);
        for rule in FidRule::ALL {
            let fid = fid(b"a sealed input", rule);
            assert_eq!(cache.inputs(), []);
            cache.store(fid, b"a sealed input").unwrap();
            assert_eq!(
                cache.get(INPUT, fid, 100, Copies::ToWorkers).await.unwrap(),
                b"a sealed input"
            );
            assert!(matches!(
                cache.get(INPUT, fid, 5, Copies::ToWorkers).await,
                Err(ObjectError::TooLarge { most: 5, .. })
            ));
            assert_eq!(cache.inputs(), [INPUT]);
            // One bit: it is dropped, and would be pulled again.
            fs::write(cache.path(fid), b"a sealed inpuu").unwrap();
            assert!(matches!(
                cache.get(INPUT, fid, 100, Copies::ToWorkers).await,
                Err(ObjectError::Pull { .. })
            ));
            assert!(!cache.path(fid).exists());
            // What is not here is not announced.
            assert_eq!(cache.inputs(), []);
        }
    }

    #[tokio::test]
    async fn what_an_owner_bound_to_places_is_copied_to_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1 << 20);
        let object = fid(b"a sealed input", FidRule::DeOss);
        cache.store(object, b"a sealed input").unwrap();
        assert_eq!(
            cache.to_copy(object),
            None,
            "nobody knows what its owner said"
        );
        let got = cache.get(INPUT, object, 100, Copies::ToWorkers).await;
        assert_eq!(got.unwrap(), b"a sealed input");
        assert_eq!(cache.to_copy(object), Some(cache.path(object)));
        // The same object under another record, which says more.
        let bound = Digest([8; 32]);
        let got = cache.get(bound, object, 100, Copies::ToNobody).await;
        assert_eq!(got.unwrap(), b"a sealed input");
        assert_eq!(cache.to_copy(object), None);
        assert_eq!(cache.inputs(), [INPUT, bound]);
    }

    #[test]
    fn what_was_not_written_to_its_end_is_gone_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let object = fid(b"a sealed input", FidRule::DeOss);
        let part = dir.path().join(object.to_string()).with_extension(PART);
        fs::write(&part, b"a sea").unwrap();
        let whole = cache(dir.path(), 100);
        whole.store(object, b"a sealed input").unwrap();
        fs::write(&part, b"a sea").unwrap();
        let again = cache(dir.path(), 100);
        assert!(!part.exists());
        assert_eq!(again.held(), [object]);
    }

    #[tokio::test]
    async fn what_was_used_last_stays_and_the_rest_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 250);
        let objects: Vec<Vec<u8>> = (0..3).map(|i| vec![i + 1; 100]).collect();
        let fids: Vec<Fid> = objects.iter().map(|o| fid(o, FidRule::DeOss)).collect();
        for at in [0, 1] {
            cache.store(fids[at], &objects[at]).unwrap();
            let old = SystemTime::now() - std::time::Duration::from_secs(100 - at as u64);
            let file = fs::File::options().append(true).open(cache.path(fids[at]));
            file.unwrap().set_modified(old).unwrap();
        }
        assert!(cache.cached(fids[0]).await.is_some());
        cache.store(fids[2], &objects[2]).unwrap();
        assert!(cache.cached(fids[1]).await.is_none());
        let mut held = cache.held();
        held.sort();
        let mut wanted = vec![fids[0], fids[2]];
        wanted.sort();
        assert_eq!(held, wanted);
        // Larger than all of it: not kept, and nothing is thrown away for it.
        let large = vec![9; 300];
        cache.store(fid(&large, FidRule::DeOss), &large).unwrap();
        assert_eq!(cache.held().len(), 2);
    }
}
