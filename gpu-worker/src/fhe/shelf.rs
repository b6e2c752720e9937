//! Clients' evaluation keys on this worker: on disk as they were sent, in memory as they are used.
//!
//! Both are bounded in bytes; the least recently used go first, and never one in use ([`Index`]). A key is named by the
//! hash of its bytes, which is checked whenever it is read from disk, so that a damaged file is as good as none. It is no
//! secret: whoever has it can compute on ciphertexts, and decrypt none.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ai_link_fhe::{EvaluationKey, FormatError, KeyId, MAX_KEY_BYTES};
use ai_link_wire::{Bytes, Digest, FheRefusal, Heartbeat};

use super::index::{Index, NoRoom};
use super::uploads::Uploads;

/// Keys that are kept: as many as can be announced.
const MAX_KEYS: usize = Heartbeat::MAX_KEYS;
const EXTENSION: &str = "key";

/// The bounded store of keys.
pub struct KeyShelf {
    dir: PathBuf,
    state: Mutex<State>,
    /// Held while a key is read and expanded, so that one asked for twice at once is expanded once and no more than one
    /// is in memory beside those that are counted.
    loading: tokio::sync::Mutex<()>,
    /// Keys that are being received.
    pub(super) uploads: Mutex<Uploads>,
}

struct State {
    disk: Index<KeyId>,
    memory: Index<KeyId>,
    expanded: HashMap<KeyId, Arc<EvaluationKey>>,
}

/// A key in use: it stays on disk and in memory until this is dropped.
pub struct Held {
    shelf: Arc<KeyShelf>,
    id: KeyId,
    key: Arc<EvaluationKey>,
}

impl KeyShelf {
    /// Opens the store in `dir`, of at most `disk` bytes on disk and `memory` bytes in memory. Files that are not whole,
    /// or are too many, are removed.
    ///
    /// # Errors
    /// [`KeyShelfError::Io`].
    pub fn open(dir: PathBuf, disk: Bytes, memory: Bytes) -> Result<Self, KeyShelfError> {
        fs::create_dir_all(&dir).map_err(at(&dir))?;
        let mut files = Vec::new();
        for entry in fs::read_dir(&dir).map_err(at(&dir))? {
            let path = entry.map_err(at(&dir))?.path();
            let meta = fs::metadata(&path).map_err(at(&path))?;
            match name_of(&path).filter(|_| meta.len() <= MAX_KEY_BYTES as u64) {
                Some(id) => files.push((meta.modified().ok(), id, meta.len())),
                None => fs::remove_file(&path).map_err(at(&path))?,
            }
        }
        files.sort_by_key(|(modified, ..)| *modified);
        let shelf = Self {
            dir,
            state: Mutex::new(State {
                disk: Index::new(disk.0, MAX_KEYS),
                memory: Index::new(memory.0, MAX_KEYS),
                expanded: HashMap::new(),
            }),
            loading: tokio::sync::Mutex::default(),
            uploads: Mutex::default(),
        };
        for (_, id, bytes) in files {
            // More than the limit allows, after it was lowered: the newest stay.
            match shelf.lock().disk.insert(id, bytes) {
                Ok(going) => going.iter().for_each(|id| shelf.remove(id)),
                Err(_) => shelf.remove(&id),
            }
        }
        Ok(shelf)
    }

    /// Keys that are here or on their way, for announcements.
    pub fn announced(&self) -> Vec<Digest> {
        let kept: Vec<KeyId> = self.lock().disk.names().collect();
        let coming = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let new = coming.active().filter(|id| !kept.contains(id));
        let all = kept.iter().copied().chain(new);
        all.map(|id| Digest(*id.as_bytes()))
            .take(Heartbeat::MAX_KEYS)
            .collect()
    }

    /// Keys on disk: how many, and their bytes.
    pub fn kept(&self) -> (usize, Bytes) {
        let state = self.lock();
        (state.disk.names().count(), Bytes(state.disk.held()))
    }

    /// The key, if it is here: from memory, or expanded from disk.
    ///
    /// # Errors
    /// [`FheRefusal::NoRoom`] when memory is full of keys in use.
    pub async fn get(self: &Arc<Self>, id: KeyId) -> Result<Option<Held>, FheRefusal> {
        if let Some(held) = self.in_memory(id) {
            return Ok(Some(held));
        }
        let _turn = self.loading.lock().await;
        if let Some(held) = self.in_memory(id) {
            return Ok(Some(held));
        }
        if !self.lock().disk.begin(&id) {
            return Ok(None);
        }
        let shelf = Arc::clone(self);
        let expanding = move || {
            let found = shelf.read(id);
            shelf.lock().disk.end(&id);
            found
        };
        let expanded = tokio::task::spawn_blocking(expanding).await;
        let Some(key) = expanded.map_err(FheRefusal::failed)? else {
            return Ok(None);
        };
        self.keep(id, key).map(Some)
    }

    /// Stores a key that is complete, and expands it.
    ///
    /// # Errors
    /// [`FheRefusal::Key`] when it is none; [`FheRefusal::NoRoom`]; [`FheRefusal::Failed`] when the disk failed.
    pub async fn put(self: &Arc<Self>, bytes: Vec<u8>) -> Result<Held, FheRefusal> {
        let _turn = self.loading.lock().await;
        let shelf = Arc::clone(self);
        let storing = move || {
            let key = EvaluationKey::decode(&bytes).map_err(FheRefusal::key)?;
            shelf.write(key.id(), &bytes)?;
            Ok::<_, FheRefusal>(key)
        };
        let stored = tokio::task::spawn_blocking(storing).await;
        let key = stored.map_err(FheRefusal::failed)??;
        self.keep(key.id(), key)
    }

    fn in_memory(self: &Arc<Self>, id: KeyId) -> Option<Held> {
        let mut state = self.lock();
        let key = Arc::clone(state.expanded.get(&id)?);
        state.memory.begin(&id);
        state.disk.begin(&id);
        drop(state);
        let shelf = Arc::clone(self);
        Some(Held { shelf, id, key })
    }

    /// Keeps an expanded key in memory.
    fn keep(self: &Arc<Self>, id: KeyId, key: EvaluationKey) -> Result<Held, FheRefusal> {
        let mut state = self.lock();
        let bytes = key.memory() as u64;
        for gone in state.memory.insert(id, bytes).map_err(no_room)? {
            state.expanded.remove(&gone);
        }
        let key = Arc::new(key);
        state.expanded.insert(id, Arc::clone(&key));
        state.memory.begin(&id);
        state.disk.begin(&id);
        drop(state);
        let shelf = Arc::clone(self);
        Ok(Held { shelf, id, key })
    }

    /// Reads a key from disk. A file that is not the key of its name is removed.
    fn read(&self, id: KeyId) -> Option<EvaluationKey> {
        let path = self.path(&id);
        let read = fs::read(&path).map_err(KeyShelfError::from_io(&path));
        let key =
            read.and_then(|bytes| EvaluationKey::decode(&bytes).map_err(KeyShelfError::Format));
        match key {
            Ok(key) if key.id() == id => return Some(key),
            Ok(_) => tracing::warn!(%id, "a stored key is damaged; it is removed"),
            Err(error) => tracing::warn!(
                %id, error = &error as &dyn std::error::Error,
                "a stored key cannot be read; it is removed"
            ),
        }
        self.lock().disk.remove(&id);
        self.remove(&id);
        None
    }

    fn write(&self, id: KeyId, bytes: &[u8]) -> Result<(), FheRefusal> {
        let going = self.lock().disk.insert(id, bytes.len() as u64);
        for gone in going.map_err(no_room)? {
            self.remove(&gone);
        }
        let path = self.path(&id);
        let part = path.with_extension("part");
        let written = File::create(&part)
            .and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&part, &path));
        written.map_err(|error| {
            self.lock().disk.remove(&id);
            // Paths and details of the disk stay in this worker's log.
            tracing::error!(%error, path = %path.display(), "cannot store a key");
            FheRefusal::failed("its store of keys failed")
        })
    }

    fn remove(&self, id: &KeyId) {
        let path = self.path(id);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "cannot remove a key");
        }
    }

    fn path(&self, id: &KeyId) -> PathBuf {
        self.dir.join(format!("{id}.{EXTENSION}"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No change is left half-made by a panic: each is a single call on an index.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KeyShelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyShelf({})", self.dir.display())
    }
}

impl Held {
    /// The key.
    pub fn key(&self) -> &Arc<EvaluationKey> {
        &self.key
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({})", self.id)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.shelf.lock();
        state.memory.end(&self.id);
        state.disk.end(&self.id);
    }
}

fn no_room(error: NoRoom) -> FheRefusal {
    let NoRoom { need, limit } = error;
    FheRefusal::NoRoom { need, limit }
}

/// The key that a file holds, by its name.
fn name_of(path: &Path) -> Option<KeyId> {
    let is_key = path.extension()? == EXTENSION;
    let digest: Digest = path.file_stem()?.to_str()?.parse().ok()?;
    is_key.then_some(KeyId::from_bytes(digest.0))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> KeyShelfError + use<> {
    KeyShelfError::from_io(path)
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyShelfError {
    /// A file is no key.
    #[error("a stored file is no evaluation key")]
    Format(#[source] FormatError),
    /// The directory or a file.
    #[error("the store of keys failed at {path}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl KeyShelfError {
    fn from_io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ai_link_fhe::{ClientKey, Entropy, ParameterSet};

    const SET: ParameterSet = ParameterSet::Ring1024;

    fn key(n: u8) -> Vec<u8> {
        ClientKey::generate(SET, Entropy::new([n; 32])).evaluation
    }

    #[tokio::test]
    async fn keys_survive_a_restart_are_shared_and_give_way_when_nobody_uses_them() {
        let dir = tempfile::tempdir().unwrap();
        let two = Bytes(2 * EvaluationKey::encoded_bytes(SET) as u64);
        let open = || Arc::new(KeyShelf::open(dir.path().into(), two, Bytes(2 << 30)).unwrap());
        let keys: Vec<_> = (1..=3).map(key).collect();
        let ids: Vec<_> = keys.iter().map(|bytes| KeyId::of(bytes)).collect();
        let shelf = open();
        assert!(shelf.get(ids[0]).await.unwrap().is_none());
        let first = shelf.put(keys[0].clone()).await.unwrap();
        let again = shelf.get(ids[0]).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(first.key(), again.key()), "expanded once");
        drop(shelf.put(keys[1].clone()).await.unwrap());
        // The third takes the place of the second: the first is in use.
        let third = shelf.put(keys[2].clone()).await.unwrap();
        assert_eq!(shelf.announced().len(), 2);
        let refused = shelf.put(keys[1].clone()).await;
        assert!(
            matches!(refused, Err(FheRefusal::NoRoom { .. })),
            "{refused:?}"
        );
        drop((first, again, third, shelf));

        let shelf = open();
        let held = shelf.get(ids[2]).await.unwrap().unwrap();
        assert_eq!(held.key().id(), ids[2]);
        let path = shelf.path(&ids[0]);
        drop((held, shelf));
        // A damaged file is as good as none, and a file that was not finished is removed.
        let mut damaged = keys[0].clone();
        damaged[1000] ^= 1;
        fs::write(&path, damaged).unwrap();
        fs::write(path.with_extension("part"), b"half").unwrap();
        let shelf = open();
        assert!(shelf.get(ids[0]).await.unwrap().is_none());
        assert!(!path.exists() && !path.with_extension("part").exists());
        assert_eq!(shelf.announced(), [Digest(*ids[2].as_bytes())]);
    }

    #[tokio::test]
    async fn memory_is_bounded_too_and_what_is_no_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = key(1);
        let memory = EvaluationKey::decode(&bytes).unwrap().memory() as u64;
        let open = |memory| {
            let disk = Bytes(1 << 30);
            Arc::new(KeyShelf::open(dir.path().into(), disk, Bytes(memory)).unwrap())
        };
        let shelf = open(memory);
        let held = shelf.put(bytes.clone()).await.unwrap();
        let refused = shelf.put(key(2)).await;
        assert!(matches!(refused, Err(FheRefusal::NoRoom { .. })));
        drop(held);
        drop(shelf.put(key(2)).await.unwrap());
        assert!(
            shelf.get(KeyId::of(&bytes)).await.unwrap().is_some(),
            "from disk again"
        );
        let cut = shelf.put(bytes[1..].to_vec()).await;
        assert!(matches!(cut, Err(FheRefusal::Key(_))));
        let none = open(memory - 1).put(bytes).await;
        assert!(matches!(none, Err(FheRefusal::NoRoom { .. })));
    }
}
