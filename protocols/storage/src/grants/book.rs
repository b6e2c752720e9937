//! What an owner keeps about sealed objects: their keys, who got them, who must not get them again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Grant, GrantError, GrantId, Purpose, Recipient, Revocation};
use crate::fid::Fid;
use crate::http::auth::RequestSigner;
use crate::seal::DataKey;

const VERSION: u32 = 1;
/// The longest book.
const MAX_BOOK: u64 = 256 << 20;

/// An owner's keys and grants, in a file that only the owner can read.
pub struct GrantBook {
    path: PathBuf,
    page: Page,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    version: u32,
    objects: BTreeMap<String, Entry>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: String,
    #[serde(default)]
    grants: Vec<String>,
    #[serde(default)]
    revocations: Vec<String>,
    /// Recipients that get no new grant.
    #[serde(default)]
    barred: BTreeSet<String>,
}

/// Why the book cannot be read, or does not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BookError {
    /// Its file failed.
    #[error("the book of grants in {path} cannot be read or written")]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system reports.
        #[source]
        source: io::Error,
    },
    /// It is not a book, or another version.
    #[error("{path} is not a book of grants of version {VERSION}: restore it from a copy")]
    Malformed {
        /// Which.
        path: PathBuf,
    },
    /// The object's key is not here.
    #[error("the book has no key for {0}: it was put by somebody else, or elsewhere")]
    Unknown(Fid),
    /// The recipient lost its grant.
    #[error(
        "{recipient} had a grant for {object} that was revoked, and gets no new one: store the \
         object anew if it shall have it after all"
    )]
    Barred {
        /// Who.
        recipient: Recipient,
        /// For what.
        object: Fid,
    },
    /// The grant cannot be made.
    #[error("the grant cannot be made")]
    Grant(#[from] GrantError),
}

impl GrantBook {
    /// Opens the book, or begins one.
    ///
    /// # Errors
    ///
    /// [`BookError::File`], [`BookError::Malformed`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, BookError> {
        let path = path.into();
        let malformed = || BookError::Malformed { path: path.clone() };
        let file = |source| BookError::File {
            path: path.clone(),
            source,
        };
        let page = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Page {
                version: VERSION,
                ..Page::default()
            },
            Err(error) => return Err(file(error)),
            Ok(metadata) if metadata.len() > MAX_BOOK => return Err(malformed()),
            Ok(_) => {
                let text = Zeroizing::new(fs::read(&path).map_err(file)?);
                serde_json::from_slice(&text).map_err(|_| malformed())?
            }
        };
        if page.version != VERSION {
            return Err(malformed());
        }
        Ok(Self { path, page })
    }

    /// Keeps the key of an object. Returns when it is on disk.
    ///
    /// # Errors
    ///
    /// [`BookError::File`].
    pub fn keep(&mut self, object: Fid, key: &DataKey) -> Result<(), BookError> {
        let entry = self.page.objects.entry(object.to_string()).or_default();
        entry.key.zeroize();
        entry.key = hex::encode(*key.expose());
        self.save()
    }

    /// The key of an object.
    ///
    /// # Errors
    ///
    /// [`BookError::Unknown`].
    pub fn key(&self, object: Fid) -> Result<DataKey, BookError> {
        let entry = self.page.objects.get(&object.to_string());
        let mut bytes = Zeroizing::new([0; 32]);
        entry
            .and_then(|entry| hex::decode_to_slice(entry.key.as_str(), &mut *bytes).ok())
            .ok_or(BookError::Unknown(object))?;
        Ok(DataKey::from_bytes(*bytes))
    }

    /// Grants an object to a recipient. Returns when that is on disk.
    ///
    /// # Errors
    ///
    /// See [`BookError`].
    pub fn grant(
        &mut self,
        object: Fid,
        recipient: Recipient,
        purpose: Purpose,
        until: SystemTime,
        owner: &dyn RequestSigner,
    ) -> Result<Grant, BookError> {
        let key = self.key(object)?;
        let entry = self.page.objects.entry(object.to_string()).or_default();
        if entry.barred.contains(&recipient.to_string()) {
            return Err(BookError::Barred { recipient, object });
        }
        let grant = Grant::new(&key, object, recipient, purpose, until, owner)?;
        entry.grants.push(hex::encode(grant.to_bytes()));
        self.save()?;
        Ok(grant)
    }

    /// Revokes all grants of an object to a recipient, for good. Returns when that is on disk.
    ///
    /// # Errors
    ///
    /// [`BookError::Unknown`], [`BookError::File`].
    pub fn revoke(
        &mut self,
        object: Fid,
        recipient: Recipient,
        now: SystemTime,
        owner: &dyn RequestSigner,
    ) -> Result<Vec<Revocation>, BookError> {
        let granted = self.grants(object);
        let entry = self.page.objects.get_mut(&object.to_string());
        let entry = entry.ok_or(BookError::Unknown(object))?;
        let revoked: Vec<Revocation> = granted
            .iter()
            .filter(|grant| grant.recipient() == recipient)
            .map(|grant| Revocation::new(grant.id(), now, owner))
            .collect();
        entry
            .revocations
            .extend(revoked.iter().map(|r| hex::encode(r.to_bytes())));
        entry.barred.insert(recipient.to_string());
        self.save()?;
        Ok(revoked)
    }

    /// What was granted of an object.
    pub fn grants(&self, object: Fid) -> Vec<Grant> {
        self.entries(
            object,
            |entry| &entry.grants,
            |bytes| Grant::from_bytes(bytes).ok(),
        )
    }

    /// What was revoked of an object.
    pub fn revocations(&self, object: Fid) -> Vec<Revocation> {
        self.entries(
            object,
            |entry| &entry.revocations,
            |b| Revocation::from_bytes(b).ok(),
        )
    }

    /// Which grants of an object were revoked.
    pub fn revoked(&self, object: Fid) -> BTreeSet<GrantId> {
        self.revocations(object)
            .iter()
            .map(Revocation::grant)
            .collect()
    }

    fn entries<T>(
        &self,
        object: Fid,
        list: impl Fn(&Entry) -> &Vec<String>,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Vec<T> {
        let entry = self.page.objects.get(&object.to_string());
        let texts = entry.map(list).into_iter().flatten();
        texts
            .filter_map(|text| parse(&hex::decode(text).ok()?))
            .collect()
    }

    /// Replaces the file as a whole, readable for its owner alone.
    fn save(&self) -> Result<(), BookError> {
        let write = |path: &Path| -> io::Result<()> {
            let text = Zeroizing::new(serde_json::to_vec_pretty(&self.page)?);
            let temporary = path.with_extension("new");
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            match path.parent() {
                Some(dir) if !dir.as_os_str().is_empty() => fs::File::open(dir)?.sync_all(),
                _ => Ok(()),
            }
        };
        write(&self.path).map_err(|source| BookError::File {
            path: self.path.clone(),
            source,
        })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl std::fmt::Debug for GrantBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrantBook")
            .field("path", &self.path)
            .field("objects", &self.page.objects.len())
            .finish_non_exhaustive()
    }
}
