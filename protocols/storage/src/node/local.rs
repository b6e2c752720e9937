//! A storage node in this process.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::shelf::Trust;
use super::{NodeError, NodeId, NodeStatus, Shelf, StorageNode, UploadId};
use crate::embedded::{Durability, OpenError, blocking};
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid};
use crate::layout::Geometry;
use crate::location::Site;
use crate::podr2::{Challenge, Proof, PublicKey, TagSet};

/// A storage node in a directory of this process. A cheap handle: clones share the node.
#[derive(Clone)]
pub struct LocalNode {
    account: NodeId,
    site: Site,
    shelf: Arc<Shelf>,
    tagger: Option<Arc<PublicKey>>,
    trust: Trust,
}

impl LocalNode {
    /// Opens the node in `dir`, or makes one there, that may take `capacity` bytes.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(
        dir: impl Into<PathBuf>,
        account: NodeId,
        site: Site,
        capacity: u64,
    ) -> Result<Self, OpenError> {
        let parts = (Geometry::CESS, Durability::Forced);
        Self::with(dir.into(), account, site, capacity, parts).await
    }

    pub(crate) async fn with(
        dir: PathBuf,
        account: NodeId,
        site: Site,
        capacity: u64,
        (geometry, durability): (Geometry, Durability),
    ) -> Result<Self, OpenError> {
        let path = dir.clone();
        let opened = blocking(move || Ok(Shelf::open(&path, geometry, capacity, durability))).await;
        let failed = |source| OpenError::Storage {
            dir,
            source: Box::new(source),
        };
        Ok(Self {
            account,
            site,
            shelf: Arc::new(opened.map_err(failed)??),
            tagger: None,
            trust: Trust::Caller,
        })
    }

    /// Bytes of fragments on disk.
    pub(crate) fn occupied(&self) -> u64 {
        self.shelf.occupied()
    }

    /// The same node, which proves what this key's owner tagged.
    #[must_use]
    pub fn with_tagger(self, public: PublicKey) -> Self {
        Self {
            tagger: Some(Arc::new(public)),
            ..self
        }
    }

    /// The same node, for callers whose word is not taken.
    pub(super) fn for_strangers(self) -> Self {
        Self {
            trust: Trust::Nobody,
            ..self
        }
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shelf) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let shelf = Arc::clone(&self.shelf);
        match blocking(move || Ok(work(&shelf))).await {
            Ok(result) => result,
            Err(error) => Err(NodeError::Disk(Box::new(error))),
        }
    }
}

#[async_trait]
impl StorageNode for LocalNode {
    fn account(&self) -> NodeId {
        self.account
    }

    async fn status(&self) -> Result<NodeStatus, NodeError> {
        Ok(NodeStatus {
            account: self.account,
            site: self.site.clone(),
            occupied: self.shelf.occupied(),
            capacity: self.shelf.capacity(),
        })
    }

    async fn stage(
        &self,
        upload: UploadId,
        hash: ContentHash,
        bytes: Bytes,
    ) -> Result<(), NodeError> {
        let trust = self.trust;
        self.on_disk(move |shelf| shelf.stage(upload, hash, &bytes, trust))
            .await
    }

    async fn commit(&self, upload: UploadId, fid: Fid) -> Result<(), NodeError> {
        self.on_disk(move |shelf| shelf.commit(upload, fid)).await
    }

    async fn abort(&self, upload: UploadId) -> Result<(), NodeError> {
        self.on_disk(move |shelf| {
            shelf.abort(upload);
            Ok(())
        })
        .await
    }

    async fn put(&self, fid: Fid, hash: ContentHash, bytes: Bytes) -> Result<(), NodeError> {
        self.on_disk(move |shelf| shelf.put(fid, hash, &bytes))
            .await
    }

    async fn get(&self, hash: ContentHash) -> Result<Bytes, NodeError> {
        self.on_disk(move |shelf| shelf.get(hash)).await
    }

    async fn lacks(&self, hashes: &[ContentHash]) -> Result<Vec<ContentHash>, NodeError> {
        let hashes = hashes.to_vec();
        self.on_disk(move |shelf| {
            Ok(hashes
                .into_iter()
                .filter(|hash| !shelf.has(*hash))
                .collect())
        })
        .await
    }

    async fn release(&self, fid: Fid) -> Result<(), NodeError> {
        self.on_disk(move |shelf| shelf.release(fid)).await
    }

    async fn files(&self, after: Option<Fid>) -> Result<Vec<Fid>, NodeError> {
        self.on_disk(move |shelf| shelf.list(after)).await
    }

    async fn put_tags(&self, tags: &TagSet) -> Result<(), NodeError> {
        if let Some(public) = &self.tagger {
            tags.verify(public)
                .map_err(|error| NodeError::Malformed(error.to_string()))?;
        }
        let tags = tags.clone();
        self.on_disk(move |shelf| shelf.put_tags(&tags)).await
    }

    async fn prove(&self, hash: ContentHash, challenge: &Challenge) -> Result<Proof, NodeError> {
        let Some(public) = self.tagger.clone() else {
            return Err(NodeError::Disk(Box::new(StorageError::NoTagger)));
        };
        let challenge = challenge.clone();
        self.on_disk(move |shelf| {
            let (tags, bytes) = (shelf.tags(hash)?, shelf.get(hash)?);
            let size = shelf.geometry().fragment();
            Ok(Proof::new(&public, &tags, &bytes, size, &challenge))
        })
        .await
    }
}
