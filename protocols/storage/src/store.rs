//! The one interface of all stores.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::account::Account;
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid};
use crate::object::{
    ByteRange, Deleted, FragmentLocation, ListedObject, ObjectInfo, Page, PutOptions, Stored,
};
use crate::stream::{ByteSource, ObjectStream};

/// A place that keeps objects. Objects are immutable: to change one is to store another.
///
/// A value of this trait acts for one account: what it stores, that account owns; what it deletes,
/// that account must own. Reading needs no ownership, objects are public or encrypted.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Stores what `source` gives. Memory stays bounded by about one segment (32 MiB). When this
    /// returns, the object survives a crash; when it fails or is dropped, nothing is stored.
    /// Storing what is already stored adds an owner.
    ///
    /// # Errors
    ///
    /// [`StorageError::Empty`] for no bytes, [`StorageError::TooLarge`], [`StorageError::Full`], or
    /// [`StorageError::Source`] if `source` fails.
    async fn put(
        &self,
        source: ByteSource<'_>,
        options: PutOptions,
    ) -> Result<Stored, StorageError>;

    /// Reads an object or a range of it; only the segments that the range touches are read, and
    /// all that is handed out was verified.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`], [`StorageError::RangeNotSatisfiable`]; while streaming,
    /// [`StorageError::Unrecoverable`] if more than 8 of a segment's 12 fragments are lost.
    async fn get(&self, fid: Fid, range: Option<ByteRange>) -> Result<ObjectStream, StorageError>;

    /// Tells an object's size, segments and owners.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`].
    async fn stat(&self, fid: Fid) -> Result<ObjectInfo, StorageError>;

    /// Lists the objects of the account this store acts for.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSigner`] if it acts for none.
    async fn list(&self, page: Page) -> Result<Vec<ListedObject>, StorageError>;

    /// Gives up ownership of an object; with its last owner the object goes.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`], or [`StorageError::NoPermission`] if only others own it.
    async fn delete(&self, fid: Fid) -> Result<Deleted, StorageError>;

    /// Tells where every fragment of an object is, 12 for each segment, in order.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`].
    async fn locate(&self, fid: Fid) -> Result<Vec<FragmentLocation>, StorageError>;

    /// Stores bytes that are in memory.
    ///
    /// # Errors
    ///
    /// Those of [`ObjectStore::put`].
    async fn put_bytes(&self, bytes: &[u8], options: PutOptions) -> Result<Stored, StorageError> {
        self.put(bytes.into(), options).await
    }

    /// Reads a whole object of at most `limit` bytes into memory.
    ///
    /// # Errors
    ///
    /// [`StorageError::TooLarge`], and those of [`ObjectStore::get`].
    async fn get_bytes(&self, fid: Fid, limit: u64) -> Result<Vec<u8>, StorageError> {
        self.get(fid, None).await?.into_vec(limit).await
    }
}

/// A store that acts for any account: what a server serves. Errors are those of [`ObjectStore`].
#[async_trait]
pub trait AccountStore: Send + Sync + 'static {
    /// The largest object this store takes.
    fn max_object(&self) -> u64;

    /// As [`ObjectStore::put`], for `owner`; also [`StorageError::TooManyOwners`].
    async fn put_as(
        &self,
        owner: Account,
        source: ByteSource<'_>,
        options: PutOptions,
    ) -> Result<Stored, StorageError>;

    /// As [`ObjectStore::get`].
    async fn get(&self, fid: Fid, range: Option<ByteRange>) -> Result<ObjectStream, StorageError>;

    /// As [`ObjectStore::stat`].
    async fn stat(&self, fid: Fid) -> Result<ObjectInfo, StorageError>;

    /// As [`ObjectStore::list`], for `owner`.
    async fn list_of(&self, owner: Account, page: Page) -> Result<Vec<ListedObject>, StorageError>;

    /// As [`ObjectStore::delete`], for `owner`.
    async fn delete_as(&self, owner: Account, fid: Fid) -> Result<Deleted, StorageError>;

    /// As [`ObjectStore::locate`].
    async fn locate(&self, fid: Fid) -> Result<Vec<FragmentLocation>, StorageError>;

    /// One fragment of an object, padded to its full size. [`StorageError::NotFound`] if the object
    /// has no such fragment.
    async fn fragment(&self, fid: Fid, fragment: ContentHash) -> Result<Vec<u8>, StorageError>;
}

/// An [`AccountStore`] that acts for one account.
#[derive(Clone)]
pub struct OwnedStore {
    store: Arc<dyn AccountStore>,
    owner: Account,
}

impl OwnedStore {
    /// `store`, acting for `owner`.
    pub fn new(store: Arc<dyn AccountStore>, owner: Account) -> Self {
        Self { store, owner }
    }
}

#[async_trait]
impl ObjectStore for OwnedStore {
    async fn put(
        &self,
        source: ByteSource<'_>,
        options: PutOptions,
    ) -> Result<Stored, StorageError> {
        self.store.put_as(self.owner, source, options).await
    }

    async fn get(&self, fid: Fid, range: Option<ByteRange>) -> Result<ObjectStream, StorageError> {
        self.store.get(fid, range).await
    }

    async fn stat(&self, fid: Fid) -> Result<ObjectInfo, StorageError> {
        self.store.stat(fid).await
    }

    async fn list(&self, page: Page) -> Result<Vec<ListedObject>, StorageError> {
        self.store.list_of(self.owner, page).await
    }

    async fn delete(&self, fid: Fid) -> Result<Deleted, StorageError> {
        self.store.delete_as(self.owner, fid).await
    }

    async fn locate(&self, fid: Fid) -> Result<Vec<FragmentLocation>, StorageError> {
        self.store.locate(fid).await
    }
}

impl fmt::Debug for OwnedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedStore")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}
