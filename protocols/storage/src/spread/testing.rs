//! A spread store whose nodes misbehave on demand.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::bank::EmbeddedBank;
use crate::contract::GEOMETRY;
use crate::embedded::Durability;
use crate::node::{LocalNode, NodeError, NodeStatus, UploadId};
use crate::podr2::{Challenge, Proof, PublicKey, TagSet};

/// What a node does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It does not answer.
    Dead,
    /// It takes so many milliseconds.
    Slow(u64),
    /// It answers for ever never.
    Hung,
    /// A bit of what it gives is wrong.
    Flipped,
    /// It gives less than there is.
    Truncated,
    /// It gives more than there is.
    Overlong,
    /// It gives another fragment.
    Swapped(ContentHash),
    /// It has lost everything, and takes new things.
    Forgetful,
    /// It takes nothing.
    ReadOnly,
    /// It says it is elsewhere.
    Elsewhere,
    /// It stages and does not commit.
    Uncommitted,
}

/// A node that misbehaves on demand.
pub(crate) struct Fickle {
    pub(crate) node: LocalNode,
    pub(crate) fault: Mutex<Fault>,
}

impl Fickle {
    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    async fn answers(&self) -> Result<(), NodeError> {
        match self.fault() {
            Fault::Dead => Err(NodeError::TimedOut {
                after: Duration::ZERO,
            }),
            Fault::Hung => std::future::pending().await,
            Fault::Slow(millis) => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn writes(&self) -> Result<(), NodeError> {
        self.answers().await?;
        if self.fault() == Fault::ReadOnly {
            Err(NodeError::Full)
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl StorageNode for Fickle {
    fn account(&self) -> NodeId {
        self.node.account()
    }

    async fn status(&self) -> Result<NodeStatus, NodeError> {
        self.answers().await?;
        let mut status = self.node.status().await?;
        if self.fault() == Fault::Elsewhere {
            status.site.country = "US".parse().unwrap();
        }
        Ok(status)
    }

    async fn stage(
        &self,
        upload: UploadId,
        hash: ContentHash,
        bytes: Bytes,
    ) -> Result<(), NodeError> {
        self.writes().await?;
        self.node.stage(upload, hash, bytes).await
    }

    async fn commit(&self, upload: UploadId, fid: Fid) -> Result<(), NodeError> {
        self.writes().await?;
        if self.fault() == Fault::Uncommitted {
            return Err(NodeError::Missing);
        }
        self.node.commit(upload, fid).await
    }

    async fn abort(&self, upload: UploadId) -> Result<(), NodeError> {
        self.answers().await?;
        self.node.abort(upload).await
    }

    async fn put(&self, fid: Fid, hash: ContentHash, bytes: Bytes) -> Result<(), NodeError> {
        self.writes().await?;
        self.node.put(fid, hash, bytes).await
    }

    async fn get(&self, hash: ContentHash) -> Result<Bytes, NodeError> {
        self.answers().await?;
        let mut bytes = self.node.get(hash).await?.to_vec();
        match self.fault() {
            Fault::Flipped => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 4;
            }
            Fault::Truncated => bytes.truncate(bytes.len() / 2),
            Fault::Overlong => bytes.resize(GEOMETRY.fragment() + 1, 7),
            Fault::Swapped(other) => return self.node.get(other).await,
            Fault::Forgetful => return Err(NodeError::Missing),
            _ => {}
        }
        Ok(bytes.into())
    }

    async fn lacks(&self, hashes: &[ContentHash]) -> Result<Vec<ContentHash>, NodeError> {
        self.answers().await?;
        self.node.lacks(hashes).await
    }

    async fn release(&self, fid: Fid) -> Result<(), NodeError> {
        self.answers().await?;
        self.node.release(fid).await
    }

    async fn files(&self, after: Option<Fid>) -> Result<Vec<Fid>, NodeError> {
        self.answers().await?;
        self.node.files(after).await
    }

    async fn put_tags(&self, tags: &TagSet) -> Result<(), NodeError> {
        self.writes().await?;
        self.node.put_tags(tags).await
    }

    async fn prove(&self, hash: ContentHash, challenge: &Challenge) -> Result<Proof, NodeError> {
        self.answers().await?;
        self.node.prove(hash, challenge).await
    }
}

/// A spread store, its nodes, and what keeps them alive.
pub(crate) struct Nodes {
    pub(crate) dir: TempDir,
    pub(crate) nodes: Vec<Arc<Fickle>>,
    pub(crate) bank: EmbeddedBank,
    pub(crate) store: SpreadStore,
}

pub(crate) fn account(index: usize) -> NodeId {
    Account([index as u8 + 1; 32])
}

/// Nodes take turns among these.
pub(crate) const COUNTRIES: [&str; 4] = ["DE", "FR", "US", "JP"];

pub(crate) fn site(index: usize) -> Site {
    Site {
        country: COUNTRIES[index % 4].parse().unwrap(),
        region: None,
        position: None,
        evidence: Default::default(),
    }
}

pub(crate) fn config(geometry: Geometry) -> SpreadConfig {
    SpreadConfig {
        geometry,
        max_object: 100_000,
        max_puts: 4,
        hedge: Duration::from_millis(20),
        ..SpreadConfig::default()
    }
}

impl Nodes {
    pub(crate) async fn new(count: usize) -> Self {
        Self::with(count, config(GEOMETRY), 1 << 30, None).await
    }

    pub(crate) async fn with(
        count: usize,
        config: SpreadConfig,
        capacity: u64,
        public: Option<PublicKey>,
    ) -> Self {
        let dir = TempDir::new().unwrap();
        let mut nodes = Vec::new();
        for index in 0..count {
            let path = dir.path().join(format!("node-{index}"));
            let parts = (config.geometry, Durability::Lazy);
            let node = LocalNode::with(path, account(index), site(index), capacity, parts);
            let mut node = node.await.unwrap();
            if let Some(public) = &public {
                node = node.with_tagger(public.clone());
            }
            nodes.push(Arc::new(Fickle {
                node,
                fault: Mutex::new(Fault::None),
            }));
        }
        let bank = EmbeddedBank::open(&dir.path().join("files.redb")).unwrap();
        let store = open(&bank, &nodes, config).await;
        Self {
            dir,
            nodes,
            bank,
            store,
        }
    }

    /// Another store over the same nodes, as after a restart.
    pub(crate) async fn reopened(&self) -> SpreadStore {
        open(&self.bank, &self.nodes, self.store.inner.config.clone()).await
    }

    pub(crate) fn node(&self, account: NodeId) -> &Arc<Fickle> {
        self.nodes
            .iter()
            .find(|node| node.account() == account)
            .unwrap()
    }

    /// Sets the faults of the nodes with these indices of a file.
    pub(crate) async fn break_indices(&self, fid: Fid, indices: &[usize], fault: Fault) {
        let record = self.bank.file(fid).await.unwrap().unwrap();
        for index in indices {
            self.node(record.placement[*index]).set(fault);
        }
    }

    pub(crate) fn heal(&self) {
        for node in &self.nodes {
            node.set(Fault::None);
        }
    }

    /// Bytes that all nodes keep, uploads included.
    pub(crate) async fn occupied(&self) -> u64 {
        let mut sum = 0;
        for node in &self.nodes {
            sum += node.node.status().await.unwrap().occupied;
        }
        sum
    }
}

async fn open(bank: &EmbeddedBank, nodes: &[Arc<Fickle>], config: SpreadConfig) -> SpreadStore {
    let members = nodes.iter().enumerate().map(|(index, node)| {
        let node: Arc<dyn StorageNode> = node.clone();
        (node, site(index))
    });
    SpreadStore::open(Arc::new(bank.clone()), members.collect(), config)
        .await
        .unwrap()
}
