//! The application's keys for level `fhe`: one pair for each parameter set, made when it is first needed.
//!
//! ```text
//! DIR/ring1024.secret          magic (8) | nonce (24) | the client key, encrypted | tag (16)
//! DIR/KEY-ID.evaluation        what workers are sent
//! ```
//!
//! The client key is encrypted with XChaCha20-Poly1305 under a key from the account's own key file, and its file can be
//! read by its owner alone: who gets the directory but not the account's key gets nothing. The evaluation key is no
//! secret. A pair is there when its secret file is, which is written last and replaced in one step; so a running gateway
//! notices a rotation, and uses the new pair for the next job.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use ai_link_fhe::{
    ClientKey, Entropy, EvaluationKey, FormatError, GeneratedKey, KeyId, KeyUpload, ParameterSet,
};
use ai_link_wire::{Digest, Identity};
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

const MAGIC: [u8; 8] = *b"AILINKK\x01";
const NONCE: usize = 24;
const TAG: usize = 16;
/// A client key has a few thousand bytes.
const MAX_SECRET: u64 = 64 << 10;
const SECRET: &str = "secret";
const EVALUATION: &str = "evaluation";

/// The keys of one application.
pub struct KeyStore {
    dir: PathBuf,
    secret: Zeroizing<[u8; 32]>,
    loaded: Mutex<HashMap<ParameterSet, (Stamp, Arc<KeyPair>)>>,
    /// Held while a pair is made, so that two jobs at once make one.
    making: tokio::sync::Mutex<()>,
}

/// A client key and where its evaluation key is.
pub struct KeyPair {
    client: ClientKey,
    evaluation: PathBuf,
    /// Hashes of the evaluation key's pieces, once they were asked for.
    pieces: OnceLock<Vec<Digest>>,
}

/// Tells a file that was replaced from the one that was read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    file: u64,
}

/// A key pair, for people.
#[derive(Clone, Debug, serde::Serialize)]
pub struct KeyInfo {
    /// Its parameter set.
    pub set: String,
    /// Its name: the hash of the evaluation key.
    pub key: String,
    /// Bytes of the evaluation key, which each worker is sent once.
    pub evaluation_bytes: u64,
    /// When it was made, in seconds since 1970.
    pub made: u64,
}

impl KeyStore {
    /// The keys in `dir` of the application `identity`.
    ///
    /// # Errors
    /// [`KeyStoreError::Io`].
    pub fn open(dir: PathBuf, identity: &Identity) -> Result<Self, KeyStoreError> {
        fs::create_dir_all(&dir).map_err(at(&dir))?;
        Ok(Self {
            dir,
            secret: identity.own_secret("fhe-keys"),
            loaded: Mutex::default(),
            making: tokio::sync::Mutex::default(),
        })
    }

    /// The pair for `set`; made, which takes a second or two, if there is none.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    pub async fn current(
        self: &Arc<Self>,
        set: ParameterSet,
    ) -> Result<Arc<KeyPair>, KeyStoreError> {
        let _turn = self.making.lock().await;
        let store = Arc::clone(self);
        let work = move || match store.load(set)? {
            Some(pair) => Ok(pair),
            None => store.make(set),
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| KeyStoreError::Stopped)?
    }

    /// All pairs there are.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    pub fn list(&self) -> Result<Vec<KeyInfo>, KeyStoreError> {
        let mut all = Vec::new();
        for set in ParameterSet::ALL {
            if let Some(pair) = self.load(set)? {
                all.push(self.info(&pair)?);
            }
        }
        Ok(all)
    }

    /// Makes new pairs in place of those there are: workers are sent the new keys with the next jobs, and what was
    /// encrypted under the old ones can be read by nobody any more.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    pub fn rotate(&self) -> Result<Vec<KeyInfo>, KeyStoreError> {
        let mut all = Vec::new();
        for set in ParameterSet::ALL {
            if self.path(set).exists() {
                let pair = self.make(set)?;
                all.push(self.info(&pair)?);
            }
        }
        Ok(all)
    }

    fn load(&self, set: ParameterSet) -> Result<Option<Arc<KeyPair>>, KeyStoreError> {
        let path = self.path(set);
        let meta = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            meta => meta.map_err(at(&path))?,
        };
        let stamp = Stamp::of(&meta).map_err(at(&path))?;
        let known = |loaded: &HashMap<_, (Stamp, Arc<KeyPair>)>| {
            let (read, pair) = loaded.get(&set)?;
            (*read == stamp).then(|| Arc::clone(pair))
        };
        if let Some(pair) = known(&self.loaded.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(Some(pair));
        }
        if meta.len() > MAX_SECRET {
            return Err(KeyStoreError::Damaged { path });
        }
        let file = fs::read(&path).map_err(at(&path))?;
        let secret =
            open(&self.secret, file).ok_or(KeyStoreError::Damaged { path: path.clone() })?;
        let client = ClientKey::from_secret_bytes(&secret).map_err(KeyStoreError::Format)?;
        if client.set() != set {
            return Err(KeyStoreError::Damaged { path });
        }
        let pair = self.pair(client);
        if !pair.evaluation.exists() {
            // Without it the secret is of no use, and a new pair is as good.
            tracing::warn!(%set, "the evaluation key of a stored pair is gone; another pair is made");
            return Ok(None);
        }
        let pair = Arc::new(pair);
        self.remember(set, stamp, &pair);
        Ok(Some(pair))
    }

    fn make(&self, set: ParameterSet) -> Result<Arc<KeyPair>, KeyStoreError> {
        let mut fresh = Zeroizing::new([0; 32]);
        getrandom::fill(fresh.as_mut()).map_err(KeyStoreError::Entropy)?;
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(KeyStoreError::Entropy)?;
        let GeneratedKey { client, evaluation } = ClientKey::generate(set, Entropy::new(*fresh));
        let pair = Arc::new(self.pair(client));
        write(&pair.evaluation, &evaluation)?;
        let path = self.path(set);
        let sealed = seal(&self.secret, nonce, &pair.client.to_secret_bytes());
        write(&path, &sealed)?;
        let meta = fs::metadata(&path).map_err(at(&path))?;
        self.remember(set, Stamp::of(&meta).map_err(at(&path))?, &pair);
        self.sweep()?;
        Ok(pair)
    }

    /// Removes evaluation keys that belong to no pair: of pairs that were replaced, or not finished.
    fn sweep(&self) -> Result<(), KeyStoreError> {
        let mut current = Vec::new();
        for set in ParameterSet::ALL {
            current.extend(self.load(set)?.map(|pair| pair.evaluation.clone()));
        }
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let path = entry.map_err(at(&self.dir))?.path();
            let is_evaluation = path.extension().is_some_and(|e| e == EVALUATION);
            if is_evaluation && !current.contains(&path) {
                fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        Ok(())
    }

    fn remember(&self, set: ParameterSet, stamp: Stamp, pair: &Arc<KeyPair>) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.insert(set, (stamp, Arc::clone(pair)));
    }

    fn pair(&self, client: ClientKey) -> KeyPair {
        let evaluation = self.dir.join(format!("{}.{EVALUATION}", client.id()));
        KeyPair {
            client,
            evaluation,
            pieces: OnceLock::new(),
        }
    }

    fn info(&self, pair: &KeyPair) -> Result<KeyInfo, KeyStoreError> {
        let path = &pair.evaluation;
        let meta = fs::metadata(path).map_err(at(path))?;
        let made = meta.modified().map_err(at(path))?;
        let since = made.duration_since(SystemTime::UNIX_EPOCH);
        Ok(KeyInfo {
            set: pair.client.set().to_string(),
            key: pair.client.id().to_string(),
            evaluation_bytes: meta.len(),
            made: since.map_or(0, |since| since.as_secs()),
        })
    }

    fn path(&self, set: ParameterSet) -> PathBuf {
        self.dir.join(format!("{set}.{SECRET}"))
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyStore({}, ..)", self.dir.display())
    }
}

impl KeyPair {
    /// Encrypts and decrypts.
    pub fn client(&self) -> &ClientKey {
        &self.client
    }

    /// The name of the pair, as messages have it.
    pub fn id(&self) -> Digest {
        Digest(*self.client.id().as_bytes())
    }

    /// The evaluation key, as workers are sent it.
    ///
    /// # Errors
    /// [`KeyStoreError`], also when the file is another key.
    pub fn evaluation(&self) -> Result<Vec<u8>, KeyStoreError> {
        let path = &self.evaluation;
        let damaged = || KeyStoreError::Damaged { path: path.clone() };
        let size = fs::metadata(path).map_err(at(path))?.len();
        if size != EvaluationKey::encoded_bytes(self.client.set()) as u64 {
            return Err(damaged());
        }
        let bytes = fs::read(path).map_err(at(path))?;
        match KeyId::of(&bytes) == self.client.id() {
            true => Ok(bytes),
            false => Err(damaged()),
        }
    }

    /// SHA-256 of each piece of the evaluation key.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    pub fn pieces(&self) -> Result<&[Digest], KeyStoreError> {
        if let Some(pieces) = self.pieces.get() {
            return Ok(pieces);
        }
        let key = self.evaluation()?;
        Ok(self
            .pieces
            .get_or_init(|| KeyUpload::pieces(&key).map(Digest::of).collect()))
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({:?})", self.client)
    }
}

impl Stamp {
    fn of(meta: &fs::Metadata) -> io::Result<Self> {
        #[cfg(unix)]
        let file = std::os::unix::fs::MetadataExt::ino(meta);
        #[cfg(not(unix))]
        let file = meta.len();
        Ok(Self {
            modified: meta.modified()?,
            file,
        })
    }
}

fn seal(secret: &[u8; 32], nonce: [u8; NONCE], plain: &[u8]) -> Vec<u8> {
    // With all its room from the start: a buffer that grows leaves copies of the secret behind.
    let mut file = Vec::with_capacity(MAGIC.len() + NONCE + plain.len() + TAG);
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&nonce);
    let start = file.len();
    file.extend_from_slice(plain);
    let tag = XChaCha20Poly1305::new(secret.into())
        .encrypt_in_place_detached(&XNonce::from(nonce), &MAGIC, &mut file[start..])
        .expect("messages are below the limit of 2^38 bytes; qed");
    file.extend_from_slice(&tag);
    file
}

/// `None` when the file is damaged, or of another account.
fn open(secret: &[u8; 32], file: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
    let mut file = Zeroizing::new(file);
    let (magic, rest) = file.split_first_chunk_mut::<{ MAGIC.len() }>()?;
    if *magic != MAGIC {
        return None;
    }
    let (nonce, rest) = rest.split_first_chunk_mut::<NONCE>()?;
    let (body, tag) = rest.split_last_chunk_mut::<TAG>()?;
    XChaCha20Poly1305::new(secret.into())
        .decrypt_in_place_detached(&XNonce::from(*nonce), &MAGIC, body, &Tag::from(*tag))
        .ok()?;
    Some(Zeroizing::new(body.to_vec()))
}

/// Writes a file that only its owner can read; a reader sees the old one or the new one.
fn write(path: &Path, bytes: &[u8]) -> Result<(), KeyStoreError> {
    let part = path.with_extension("part");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(&part)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&part, path))
        .map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> KeyStoreError + use<> {
    let path = path.to_owned();
    move |source| KeyStoreError::Io { path, source }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// Not what was written, or written under another account's key.
    #[error(
        "the key file {path} is damaged or of another account; remove it to have a new key made",
        path = .path.display()
    )]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// No randomness.
    #[error("the operating system gave no randomness, so no key was made")]
    Entropy(#[source] getrandom::Error),
    /// Decrypted, and no key.
    #[error("a stored key cannot be read by this version")]
    Format(#[source] FormatError),
    /// A file or the directory.
    #[error("cannot use the key file {path}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The process is stopping.
    #[error("the process stopped while a key was being made")]
    Stopped,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SET: ParameterSet = ParameterSet::Ring1024;

    fn identity(name: &str) -> Identity {
        Identity::derive(b"keys", name)
    }

    #[tokio::test]
    async fn keys_are_made_once_survive_are_rotated_and_are_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name| Arc::new(KeyStore::open(dir.path().into(), &identity(name)).unwrap());
        let store = open("a");
        assert!(store.list().unwrap().is_empty());
        let pair = store.current(SET).await.unwrap();
        assert!(Arc::ptr_eq(&pair, &store.current(SET).await.unwrap()));
        let evaluation = pair.evaluation().unwrap();
        assert_eq!(KeyId::of(&evaluation), pair.client().id());
        assert_eq!(pair.pieces().unwrap().len(), KeyUpload::count(SET));
        let secret_file = dir.path().join("ring1024.secret");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&secret_file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let bits = &pair.client().to_secret_bytes()[37..101];
        let stored = fs::read(&secret_file).unwrap();
        assert!(
            !stored.windows(bits.len()).any(|w| w == bits),
            "it is encrypted"
        );

        let again = open("a");
        let found = again.current(SET).await.unwrap();
        assert_eq!(
            *found.client().to_secret_bytes(),
            *pair.client().to_secret_bytes()
        );
        let other = open("b").current(SET).await;
        assert!(
            matches!(other, Err(KeyStoreError::Damaged { .. })),
            "{other:?}"
        );

        // Rotated by one process, noticed by the other.
        let rotated = again.rotate().unwrap();
        assert_eq!(rotated.len(), 1);
        let fresh = store.current(SET).await.unwrap();
        assert_eq!(fresh.client().id().to_string(), rotated[0].key);
        assert_ne!(fresh.client().id(), pair.client().id());
        assert!(pair.evaluation().is_err(), "the old key is gone");
        assert_eq!(store.list().unwrap().len(), 1);
    }

    #[test]
    fn damage_anywhere_is_noticed_and_never_panics() {
        let secret = [3; 32];
        let file = seal(&secret, [9; NONCE], b"bits");
        assert_eq!(**open(&secret, file.clone()).unwrap(), *b"bits");
        assert!(open(&[4; 32], file.clone()).is_none());
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x20;
            assert!(open(&secret, damaged).is_none(), "byte {at}");
            assert!(open(&secret, file[..at].to_vec()).is_none(), "cut at {at}");
        }
    }
}
