//! Where manifests are published.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Manifest, ManifestError, MutableError, MutableId};
use crate::embedded::{OpenError, blocking};
use crate::error::StorageError;

type Key = [u8; 40];

/// Versions of one object that are kept at once.
const MAX_KEPT: u64 = 4096;

/// id ‖ version (big endian) -> manifest
const MANIFESTS: TableDefinition<'_, &Key, &[u8]> = TableDefinition::new("manifests v1");
/// id -> latest version
const LATEST: TableDefinition<'_, &[u8; 32], u64> = TableDefinition::new("latest v1");

/// Where manifests are published, atomically. What it gives is not trusted.
#[async_trait]
pub trait Versions: Send + Sync {
    /// The latest version of an object.
    async fn latest(&self, id: MutableId) -> Result<Option<Manifest>, MutableError>;

    /// One version of an object.
    async fn version(&self, id: MutableId, version: u64) -> Result<Option<Manifest>, MutableError>;

    /// The versions of an object that are there, oldest first.
    async fn list(&self, id: MutableId) -> Result<Vec<u64>, StorageError>;

    /// Publishes `next` if the latest version is `expected` (0 for none). When it returns, that
    /// survives a crash.
    ///
    /// # Errors
    ///
    /// [`MutableError::Conflict`]; [`MutableError::Manifest`] if `next` is not the owner's, or does not
    /// follow the latest.
    async fn swap(&self, expected: u64, next: &Manifest) -> Result<(), MutableError>;

    /// Forgets a version that is not the latest.
    async fn forget(&self, id: MutableId, version: u64) -> Result<(), StorageError>;
}

/// [`Versions`] in a file. A cheap handle: clones share it.
#[derive(Clone)]
pub struct EmbeddedVersions {
    database: Arc<Database>,
}

impl EmbeddedVersions {
    /// Opens the file, or makes one.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |source: StorageError| OpenError::Storage {
            dir: path.to_owned(),
            source: Box::new(source),
        };
        let database = match Database::create(path) {
            Ok(database) => database,
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                return Err(OpenError::InUse {
                    dir: path.to_owned(),
                });
            }
            Err(error) => return Err(failed(StorageError::index("was opened")(error))),
        };
        let initialise = || -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            transaction.open_table(MANIFESTS)?;
            transaction.open_table(LATEST)?;
            transaction.commit()?;
            Ok(())
        };
        initialise()
            .map_err(StorageError::index("was opened"))
            .map_err(failed)?;
        Ok(Self {
            database: Arc::new(database),
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StorageError> {
        let database = Arc::clone(&self.database);
        blocking(move || work(&database).map_err(StorageError::index("looked up versions"))).await
    }
}

#[async_trait]
impl Versions for EmbeddedVersions {
    async fn latest(&self, id: MutableId) -> Result<Option<Manifest>, MutableError> {
        let bytes = self
            .read(move |database| {
                // One transaction for both, so that the version is there.
                let transaction = database.begin_read()?;
                let version = transaction
                    .open_table(LATEST)?
                    .get(&id.0)?
                    .map(|v| v.value());
                let manifests = transaction.open_table(MANIFESTS)?;
                match version {
                    Some(version) => Ok(manifests
                        .get(&key(id, version))?
                        .map(|v| v.value().to_vec())),
                    None => Ok(None),
                }
            })
            .await?;
        bytes
            .map(|bytes| Ok(Manifest::from_bytes(&bytes)?))
            .transpose()
    }

    async fn version(&self, id: MutableId, version: u64) -> Result<Option<Manifest>, MutableError> {
        let bytes = self
            .read(move |database| {
                let manifests = database.begin_read()?.open_table(MANIFESTS)?;
                Ok(manifests
                    .get(&key(id, version))?
                    .map(|value| value.value().to_vec()))
            })
            .await?;
        bytes
            .map(|bytes| Ok(Manifest::from_bytes(&bytes)?))
            .transpose()
    }

    async fn list(&self, id: MutableId) -> Result<Vec<u64>, StorageError> {
        self.read(move |database| {
            let manifests = database.begin_read()?.open_table(MANIFESTS)?;
            let range = manifests.range::<&Key>(&key(id, 0)..=&key(id, u64::MAX))?;
            range
                .map(|entry| {
                    let (key, _) = entry?;
                    Ok(u64::from_be_bytes(std::array::from_fn(|i| {
                        key.value()[32 + i]
                    })))
                })
                .collect()
        })
        .await
    }

    async fn swap(&self, expected: u64, next: &Manifest) -> Result<(), MutableError> {
        let id = next.id();
        next.verify(id)?;
        if next.version() != expected + 1 {
            return Err(ManifestError::OtherObject.into());
        }
        let database = Arc::clone(&self.database);
        let (next, bytes) = (next.clone(), next.to_bytes());
        let swap = move || -> Result<Result<(), MutableError>, redb::Error> {
            let transaction = database.begin_write()?;
            {
                let mut latest = transaction.open_table(LATEST)?;
                let mut manifests = transaction.open_table(MANIFESTS)?;
                let found = latest.get(&id.0)?.map_or(0, |value| value.value());
                if found != expected {
                    return Ok(Err(MutableError::Conflict { expected, found }));
                }
                let before = manifests
                    .get(&key(id, found))?
                    .map(|value| value.value().to_vec());
                let before = before.map(|bytes| Manifest::from_bytes(&bytes)).transpose();
                // The first version decides whose object it is.
                match before {
                    Ok(None) if expected == 0 => {}
                    Ok(Some(before))
                        if before.owner() == next.owner() && before.hash() == next.previous() => {}
                    Ok(_) => return Ok(Err(ManifestError::OtherObject.into())),
                    Err(error) => return Ok(Err(error.into())),
                }
                let kept = manifests.range::<&Key>(&key(id, 0)..=&key(id, u64::MAX))?;
                let kept = kept.count() as u64;
                if kept >= MAX_KEPT {
                    return Ok(Err(MutableError::TooManyVersions { kept }));
                }
                manifests.insert(&key(id, next.version()), bytes.as_slice())?;
                latest.insert(&id.0, next.version())?;
            }
            transaction.commit()?;
            Ok(Ok(()))
        };
        blocking(move || swap().map_err(StorageError::index("published a version"))).await?
    }

    async fn forget(&self, id: MutableId, version: u64) -> Result<(), StorageError> {
        let database = Arc::clone(&self.database);
        let forget = move || -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            {
                let latest = transaction.open_table(LATEST)?;
                let found = latest.get(&id.0)?.map_or(0, |value| value.value());
                if found != version {
                    transaction
                        .open_table(MANIFESTS)?
                        .remove(&key(id, version))?;
                }
            }
            transaction.commit()?;
            Ok(())
        };
        blocking(move || forget().map_err(StorageError::index("forgot a version"))).await
    }
}

impl std::fmt::Debug for EmbeddedVersions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EmbeddedVersions")
    }
}

fn key(id: MutableId, version: u64) -> Key {
    let mut key = [0; 40];
    key[..32].copy_from_slice(&id.0);
    key[32..].copy_from_slice(&version.to_be_bytes());
    key
}
