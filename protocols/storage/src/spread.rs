//! A store over many storage nodes.
//!
//! Objects are cut and coded as in CESS; fragment i of every segment of an object goes to the i-th of
//! twelve distinct nodes, chosen among those that the object's location policy permits, spread over
//! regions. So any 8 of an object's 12 nodes may be lost.
//!
//! **Storing** codes a segment with all cores while the next one is read, stages its fragments at the
//! nodes, and when the fid is known declares it ([`FileBank`]), lets the nodes commit, and reports
//! each of them. Up to four nodes may fail on the way: what they should have is rebuilt elsewhere
//! before the object counts as stored. What is not stored in the end leaves nothing.
//!
//! **Reading** asks the four nodes that answered fastest, one more when one is slow, another when one
//! fails. Fragments are hashed as they come, placed by index and decoded if need be; a whole segment
//! is hashed again. Nothing unverified is handed out. A range within one fragment asks for that
//! fragment alone.
//!
//! **Mending**: what a read finds missing or damaged is rebuilt behind it; [`SpreadStore::repair`]
//! looks at everything, and moves fragments from nodes that are gone or may not have them to others
//! that may. [`SpreadStore::fsck`] finds what nodes keep for files that do not exist.

mod audit;
mod nodes;
mod place;
mod put;
mod read;
mod repair;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use self::audit::{AuditReport, Tagger};
use self::nodes::Member;
pub use self::repair::{FsckReport, SpreadRepair};
use crate::account::Account;
use crate::bank::{FileBank, FileRecord};
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid};
use crate::layout::{Codec, FRAGMENTS, Geometry, MAX_SEGMENTS};
use crate::location::Site;
use crate::node::{NodeId, StorageNode};
use crate::object::{
    ByteRange, Deleted, FragmentLocation, FragmentState, ListedObject, ObjectInfo, Page,
    PutOptions, Stored,
};
use crate::store::{AccountStore, OwnedStore};
use crate::stream::{ByteSource, ObjectStream};
use crate::tally::Proofs;

/// The most repairs behind reads at a time; more are left for later.
const MENDERS: usize = 2;

/// Limits of a [`SpreadStore`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpreadConfig {
    /// The largest object in bytes. At most 31.25 GiB, which is 1000 segments.
    pub max_object: u64,
    /// How many objects may be written at a time; each takes up to four segments of memory
    /// (128 MiB). More wait.
    pub max_puts: usize,
    /// How many segments may be read at a time; each takes up to 40 MiB of memory. More wait.
    pub max_reads: usize,
    /// How long the slowest of four nodes is waited for at least before a fifth is asked; more if
    /// nodes take long usually.
    pub hedge: Duration,
    pub(crate) geometry: Geometry,
}

impl Default for SpreadConfig {
    fn default() -> Self {
        Self {
            max_object: 4 << 30,
            max_puts: 1,
            max_reads: 3,
            hedge: Duration::from_millis(50),
            geometry: Geometry::CESS,
        }
    }
}

/// A store over many storage nodes. A cheap handle: clones share the store.
#[derive(Clone)]
pub struct SpreadStore {
    inner: Arc<Inner>,
}

struct Inner {
    codec: Codec,
    bank: Arc<dyn FileBank>,
    members: BTreeMap<NodeId, Member>,
    config: SpreadConfig,
    /// Held while files appear, move or go, so that none of these meets another half-way.
    commit: tokio::sync::Mutex<()>,
    puts: Semaphore,
    reads: Arc<Semaphore>,
    menders: Arc<Semaphore>,
    mending: Mutex<JoinSet<()>>,
    proofs: Proofs,
}

impl SpreadStore {
    /// A store over these nodes, each where it was registered to be. Withdraws what an earlier run
    /// declared and did not finish.
    ///
    /// # Errors
    ///
    /// Those of the bank, and [`StorageError::NodeTwice`].
    pub async fn open(
        bank: Arc<dyn FileBank>,
        nodes: Vec<(Arc<dyn StorageNode>, Site)>,
        config: SpreadConfig,
    ) -> Result<Self, StorageError> {
        let max_object = (config.geometry.segment() * MAX_SEGMENTS) as u64;
        let config = SpreadConfig {
            max_object: config.max_object.clamp(1, max_object),
            max_puts: config.max_puts.clamp(1, 1024),
            max_reads: config.max_reads.clamp(1, 1024),
            ..config
        };
        let mut members = BTreeMap::new();
        for (node, site) in nodes {
            let account = node.account();
            if members.insert(account, Member::new(node, site)).is_some() {
                return Err(StorageError::NodeTwice { node: account });
            }
        }
        let inner = Arc::new(Inner {
            codec: Codec::new(config.geometry),
            bank,
            members,
            commit: tokio::sync::Mutex::new(()),
            puts: Semaphore::new(config.max_puts),
            reads: Arc::new(Semaphore::new(config.max_reads)),
            menders: Arc::new(Semaphore::new(MENDERS)),
            mending: Mutex::new(JoinSet::new()),
            proofs: Proofs::default(),
            config,
        });
        for fid in inner.bank.deals().await? {
            tracing::warn!(%fid, "a declaration was left behind and is withdrawn");
            if let Some(record) = inner.bank.deal(fid).await? {
                inner.release(fid, &record.placement).await;
            }
            inner.bank.cancel(fid).await?;
        }
        Ok(Self { inner })
    }

    /// This store, acting for `owner`.
    pub fn for_owner(&self, owner: Account) -> OwnedStore {
        OwnedStore::new(Arc::new(self.clone()), owner)
    }

    /// The nodes it was opened with, and where they were registered to be.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Site)> {
        self.inner
            .members
            .iter()
            .map(|(node, member)| (*node, &member.site))
    }

    /// How challenges to nodes ended.
    pub(crate) fn proofs(&self) -> &Proofs {
        &self.inner.proofs
    }

    /// Looks at every fragment of an object and brings it back to twelve good ones, on nodes that
    /// its policy permits.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`], [`StorageError::Unrecoverable`], [`StorageError::Placement`].
    pub async fn repair(&self, fid: Fid) -> Result<SpreadRepair, StorageError> {
        repair::repair(&self.inner, fid, &[]).await
    }

    /// Compares what nodes keep with the files there are, and releases what belongs to none.
    ///
    /// # Errors
    ///
    /// Those of the bank.
    pub async fn fsck(&self) -> Result<FsckReport, StorageError> {
        repair::fsck(&self.inner).await
    }

    /// Waits until repairs behind reads have ended.
    pub async fn settle(&self) {
        loop {
            let mut running = {
                let mut mending = self
                    .inner
                    .mending
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *mending)
            };
            if running.is_empty() {
                return;
            }
            while running.join_next().await.is_some() {}
        }
    }
}

#[async_trait]
impl AccountStore for SpreadStore {
    fn max_object(&self) -> u64 {
        self.inner.config.max_object
    }

    async fn put_as(
        &self,
        owner: Account,
        source: ByteSource<'_>,
        options: PutOptions,
    ) -> Result<Stored, StorageError> {
        put::put(&self.inner, owner, source, options).await
    }

    async fn get(&self, fid: Fid, range: Option<ByteRange>) -> Result<ObjectStream, StorageError> {
        let record = self.inner.file(fid).await?;
        read::object(&self.inner, fid, record, range)
    }

    async fn stat(&self, fid: Fid) -> Result<ObjectInfo, StorageError> {
        let record = self.inner.file(fid).await?;
        Ok(ObjectInfo {
            fid,
            size: record.size,
            segments: Some(record.segment_hashes()),
            owners: self.inner.bank.owners(fid).await?,
        })
    }

    async fn list_of(&self, owner: Account, page: Page) -> Result<Vec<ListedObject>, StorageError> {
        self.inner.bank.list(owner, page).await
    }

    async fn delete_as(&self, owner: Account, fid: Fid) -> Result<Deleted, StorageError> {
        let _lock = self.inner.commit.lock().await;
        let record = self.inner.file(fid).await?;
        let deleted = self.inner.bank.delete(fid, owner).await?;
        if deleted == Deleted::Removed {
            self.inner.release(fid, &record.placement).await;
        }
        Ok(deleted)
    }

    async fn locate(&self, fid: Fid) -> Result<Vec<FragmentLocation>, StorageError> {
        let record = self.inner.file(fid).await?;
        Ok(self.inner.locate(&record).await)
    }

    async fn fragment(&self, fid: Fid, fragment: ContentHash) -> Result<Vec<u8>, StorageError> {
        let record = self.inner.file(fid).await?;
        read::fragment(&self.inner, fid, &record, fragment).await
    }
}

impl std::fmt::Debug for SpreadStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpreadStore")
            .field("nodes", &self.inner.members.len())
            .finish_non_exhaustive()
    }
}

impl Inner {
    async fn file(&self, fid: Fid) -> Result<FileRecord, StorageError> {
        self.bank
            .file(fid)
            .await?
            .ok_or(StorageError::NotFound { fid })
    }

    /// Lets nodes keep nothing for a file any more. One that cannot be reached keeps it until fsck.
    async fn release(&self, fid: Fid, nodes: &[NodeId]) {
        let members = nodes.iter().filter_map(|node| self.members.get(node));
        let releases = members.map(|member| async move {
            if let Err(error) = member.node.release(fid).await {
                let node = member.node.account();
                tracing::warn!(%fid, %node, %error, "a node did not release a file");
            }
        });
        join_all(releases).await;
    }

    async fn locate(&self, record: &FileRecord) -> Vec<FragmentLocation> {
        let zero = self.codec.zero_fragment();
        let columns = (0..FRAGMENTS).map(|index| async move {
            let hashes: Vec<ContentHash> = record
                .segments
                .iter()
                .map(|segment| segment.fragments[index])
                .collect();
            let wanted: Vec<ContentHash> = hashes
                .iter()
                .copied()
                .filter(|hash| *hash != zero)
                .collect();
            let account = record.placement[index];
            let member = self.members.get(&account);
            let lacking = match member {
                Some(_) if wanted.is_empty() => Some(Vec::new()),
                Some(member) => member.node.lacks(&wanted).await.ok(),
                None => None,
            };
            let at = (0..)
                .zip(hashes)
                .map(move |(segment, hash)| FragmentLocation {
                    segment,
                    index: index as u8,
                    hash,
                    node: account.to_string(),
                    site: member.map(|member| member.site.clone()),
                    state: match &lacking {
                        _ if hash == zero => FragmentState::Zero,
                        None => FragmentState::Unreachable,
                        Some(lacking) if lacking.contains(&hash) => FragmentState::Missing,
                        Some(_) => FragmentState::Present,
                    },
                });
            at.collect::<Vec<_>>()
        });
        let mut locations: Vec<_> = join_all(columns).await.into_iter().flatten().collect();
        locations.sort_by_key(|at| (at.segment, at.index));
        locations
    }
}
