//! Objects that change.
//!
//! CESS has none: files are immutable, and "update" means another fid. Here a mutable object is a
//! chain of *versions*. A version is a signed [`Manifest`]: whose object it is, its number, the hash of
//! the version before it, and the pieces of immutable objects that make up its bytes. Changing the
//! object means storing the new bytes and publishing the next manifest by *compare-and-swap*
//! ([`Versions`]): of two writers that started from the same version, one gets
//! [`MutableError::Conflict`] and must look again.
//!
//! A reader takes a manifest and reads its pieces, which never change: it sees one version whole,
//! whatever is published meanwhile. Manifests are checked against the owner's key; a reader that has
//! seen a version is not given an older one without noticing ([`MutableError::Stale`]).
//!
//! Old versions stay readable for a retention time; [`Mutable::collect`] drops those that are older,
//! and deletes what no version that is left needs. A crash between storing bytes and publishing leaves
//! an object that no version names; it is the owner's, in `list`, and can be deleted.

mod manifest;
#[cfg(test)]
mod tests;
mod versions;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

pub use self::manifest::{Edit, Extent, Manifest, ManifestError, MutableId};
pub use self::versions::{EmbeddedVersions, Versions};
use crate::error::StorageError;
use crate::fid::Fid;
use crate::http::auth::RequestSigner;
use crate::object::{ByteRange, ObjectName, PutOptions};
use crate::store::ObjectStore;

/// Why a mutable object cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MutableError {
    /// Somebody else published first.
    #[error(
        "version {expected} of the object was to be changed, and the latest is {found}: read it \
         again and decide anew"
    )]
    Conflict {
        /// What was to be changed; 0 for an object that was to be made.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// There is no such object, or no such version any more.
    #[error("there is no version {version} of the object: it was collected, or never was")]
    NoVersion {
        /// Which; 0 for the latest.
        version: u64,
    },
    /// The versions given are older than what was seen before.
    #[error("version {found} was given as the latest, but version {seen} was seen before")]
    Stale {
        /// What was given.
        found: u64,
        /// What was seen.
        seen: u64,
    },
    /// Nothing was collected for too long.
    #[error("the object has {kept} versions, which is the most: collect old ones first")]
    TooManyVersions {
        /// How many are kept.
        kept: u64,
    },
    /// A manifest cannot be used.
    #[error("the manifest of the object cannot be used")]
    Manifest(#[from] ManifestError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StorageError),
}

/// A mutable object of one owner.
pub struct Mutable {
    store: Arc<dyn ObjectStore>,
    versions: Arc<dyn Versions>,
    id: MutableId,
    name: ObjectName,
    signer: Arc<dyn RequestSigner>,
    /// The latest version that was seen.
    seen: std::sync::Mutex<u64>,
}

impl Mutable {
    /// The object that the owner of `signer` calls `name`; there need not be one yet.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        versions: Arc<dyn Versions>,
        name: ObjectName,
        signer: Arc<dyn RequestSigner>,
    ) -> Self {
        Self {
            store,
            versions,
            id: MutableId::new(signer.account(), &name),
            name,
            signer,
            seen: std::sync::Mutex::new(0),
        }
    }

    /// Its id.
    pub fn id(&self) -> MutableId {
        self.id
    }

    /// The latest version, verified.
    ///
    /// # Errors
    ///
    /// [`MutableError::NoVersion`], [`MutableError::Stale`], and if it is not the owner's.
    pub async fn latest(&self) -> Result<Manifest, MutableError> {
        let latest = self.versions.latest(self.id).await?;
        let manifest = latest.ok_or(MutableError::NoVersion { version: 0 })?;
        manifest.verify(self.id)?;
        let mut seen = self
            .seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if manifest.version() < *seen {
            return Err(MutableError::Stale {
                found: manifest.version(),
                seen: *seen,
            });
        }
        *seen = manifest.version();
        Ok(manifest)
    }

    /// A version that was not collected, verified.
    ///
    /// # Errors
    ///
    /// [`MutableError::NoVersion`], and if it is not the owner's.
    pub async fn version(&self, version: u64) -> Result<Manifest, MutableError> {
        let found = self.versions.version(self.id, version).await?;
        let manifest = found.ok_or(MutableError::NoVersion { version })?;
        manifest.verify(self.id)?;
        if manifest.version() != version {
            return Err(MutableError::NoVersion { version });
        }
        Ok(manifest)
    }

    /// The versions there are, oldest first.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn list(&self) -> Result<Vec<u64>, MutableError> {
        Ok(self.versions.list(self.id).await?)
    }

    /// Makes the object, with these bytes.
    ///
    /// # Errors
    ///
    /// [`MutableError::Conflict`] if there is one already.
    pub async fn create(&self, bytes: &[u8], now: SystemTime) -> Result<Manifest, MutableError> {
        let first = Manifest::empty(self.name.clone(), &*self.signer);
        self.edit(&first, Edit::Append, bytes, now).await
    }

    /// Publishes the version after `base`: with bytes appended, or instead of a range, or without
    /// a range (`bytes` empty).
    ///
    /// # Errors
    ///
    /// [`MutableError::Conflict`] if `base` is not the latest any more.
    pub async fn edit(
        &self,
        base: &Manifest,
        edit: Edit,
        bytes: &[u8],
        now: SystemTime,
    ) -> Result<Manifest, MutableError> {
        let piece = if bytes.is_empty() {
            None
        } else {
            let options = PutOptions::named(self.name.clone());
            let stored = self.store.put_bytes(bytes, options).await?;
            Some((stored.fid, stored.size))
        };
        let next = base.edited(edit, piece, now, &*self.signer)?;
        match self.versions.swap(base.version(), &next).await {
            Ok(()) => Ok(next),
            Err(error) => {
                // What was stored for it is nobody's, unless it was there before.
                if let (Some((fid, _)), MutableError::Conflict { .. }) = (piece, &error) {
                    self.drop_unused([fid].into()).await?;
                }
                Err(error)
            }
        }
    }

    /// The bytes of a version, or of a range of it.
    pub fn read(
        &self,
        manifest: &Manifest,
        range: Option<ByteRange>,
    ) -> BoxStream<'static, Result<bytes::Bytes, StorageError>> {
        let store = Arc::clone(&self.store);
        stream::iter(manifest.pieces(range))
            .then(move |piece| {
                let store = Arc::clone(&store);
                async move {
                    let range = ByteRange::try_from(piece.offset..piece.offset + piece.length)
                        .map_err(|_| StorageError::Empty)?;
                    let stream = store.get(piece.object, Some(range)).await?;
                    let given = stream.range();
                    // The store may have lost the zeros at its end, which no fid covers.
                    if given.end - given.start != piece.length {
                        let what = format!("{} is shorter than it was stored", piece.object);
                        return Err(StorageError::Malformed { what });
                    }
                    Ok(stream)
                }
            })
            .try_flatten()
            .boxed()
    }

    /// Drops versions that were followed by another more than `retention` ago, and deletes what only
    /// they needed. Gives how many went.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn collect(&self, retention: Duration, now: SystemTime) -> Result<u64, MutableError> {
        let versions = self.list().await?;
        let mut old = Vec::new();
        for pair in versions.windows(2) {
            let next = self.version(pair[1]).await?;
            if next.published() + retention <= now {
                old.push(pair[0]);
            }
        }
        let mut fids = BTreeSet::new();
        for version in &old {
            let manifest = self.version(*version).await?;
            fids.extend(manifest.extents().iter().map(|extent| extent.object));
        }
        // The record goes first: what no record names may be deleted, and not the other way round.
        for version in &old {
            self.versions.forget(self.id, *version).await?;
        }
        self.drop_unused(fids).await?;
        Ok(old.len() as u64)
    }

    /// Deletes those objects that no version has.
    async fn drop_unused(&self, mut fids: BTreeSet<Fid>) -> Result<(), MutableError> {
        for version in self.list().await? {
            let manifest = self.version(version).await?;
            for extent in manifest.extents() {
                fids.remove(&extent.object);
            }
        }
        for fid in fids {
            match self.store.delete(fid).await {
                Ok(_) | Err(StorageError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Mutable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutable")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
