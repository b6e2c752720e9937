//! The one interface of all stores.

use async_trait::async_trait;

use crate::error::StorageError;
use crate::fid::Fid;
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
