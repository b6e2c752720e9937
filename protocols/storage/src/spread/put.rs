//! Storing an object.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::nodes::is_passing;
use super::{Inner, repair};
use crate::account::Account;
use crate::bank::{Declared, FileRecord, FileState, SegmentHashes};
use crate::buffers::Buffer;
use crate::embedded::blocking;
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid};
use crate::layout::{FRAGMENTS, WholeSegment};
use crate::node::{NodeError, NodeId, UploadId};
use crate::object::{Owner, PutOptions, Stored};
use crate::stream::ByteSource;

/// How many nodes may fail while an object is stored.
const TOLERATED: usize = 4;
/// The first piece of memory for a segment: a small object takes little.
const FIRST: usize = 256 << 10;

/// What nodes hold of an object that is not stored yet. Dropping it lets them forget it.
struct Staged {
    inner: Arc<Inner>,
    upload: UploadId,
    nodes: [NodeId; FRAGMENTS],
    /// Whether a node has got anything.
    used: [bool; FRAGMENTS],
    failed: [bool; FRAGMENTS],
    segments: Vec<SegmentHashes>,
    committed: bool,
}

pub(super) async fn put(
    inner: &Arc<Inner>,
    owner: Account,
    mut source: ByteSource<'_>,
    options: PutOptions,
) -> Result<Stored, StorageError> {
    let _permit = inner.puts.acquire().await.map_err(|_| StorageError::Busy)?;
    let limit = inner.config.max_object;
    let capacity = inner.codec.geometry().segment();
    let mut buffer = fill(&mut source, capacity).await?;
    if buffer.as_ref().is_empty() {
        return Err(StorageError::Empty);
    }
    let upload = UploadId::generate()?;
    let nodes = inner.place(options.policy.as_ref(), &upload.0).await?;
    let mut staged = Staged {
        inner: Arc::clone(inner),
        upload,
        nodes,
        used: [false; FRAGMENTS],
        failed: [false; FRAGMENTS],
        segments: Vec::new(),
        committed: false,
    };
    let mut size = 0;
    while !buffer.as_ref().is_empty() {
        size += buffer.as_ref().len() as u64;
        if size > limit {
            return Err(StorageError::TooLarge { limit });
        }
        let last = buffer.as_ref().len() < capacity;
        let (coder, segment) = (Arc::clone(inner), buffer.freeze());
        let coded = blocking(move || Ok(coder.codec.encode_whole(segment))).await?;
        // While this segment is on its way, the next one is read.
        let next = async {
            if last {
                return Ok(Buffer::default());
            }
            fill(&mut source, capacity).await
        };
        let (sent, next) = tokio::join!(staged.send(&coded), next);
        sent?;
        buffer = next?;
    }
    let owner = Owner::new(owner, options.name.clone());
    // From here on it either ends as a whole or not at all, also if nobody waits for it any more.
    match tokio::spawn(staged.finish(size, owner, options)).await {
        Ok(stored) => stored,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StorageError::Busy),
        },
    }
}

/// Reads until there are `capacity` bytes or the source ends.
async fn fill(
    source: &mut (impl AsyncRead + Unpin),
    capacity: usize,
) -> Result<Buffer, StorageError> {
    let mut source = source.take(capacity as u64);
    let mut buffer = Buffer::with_capacity(FIRST.min(capacity));
    while source
        .read_buf(buffer.bytes())
        .await
        .map_err(StorageError::Source)?
        > 0
    {
        let filled = buffer.as_ref().len();
        if filled == capacity {
            break;
        }
        // What does not fit into little memory will be long: it gets all that a segment takes.
        if filled == buffer.bytes().capacity() {
            let mut whole = Buffer::with_capacity(capacity);
            whole.bytes().extend_from_slice(buffer.as_ref());
            buffer = whole;
        }
    }
    Ok(buffer)
}

impl Staged {
    /// Sends a segment's fragments to their nodes.
    async fn send(&mut self, coded: &WholeSegment) -> Result<(), StorageError> {
        let mut sending = FuturesUnordered::new();
        for index in 0..FRAGMENTS {
            let bytes = coded.fragments[index].clone();
            if self.failed[index] || bytes.is_empty() {
                continue;
            }
            self.used[index] = true;
            let (inner, upload) = (Arc::clone(&self.inner), self.upload);
            let (node, hash) = (self.nodes[index], coded.hashes[index]);
            sending.push(async move { (index, stage(&inner, node, upload, hash, bytes).await) });
        }
        while let Some((index, sent)) = sending.next().await {
            if let Err(error) = sent {
                self.lose(index, error)?;
            }
        }
        self.segments.push(SegmentHashes {
            hash: coded.hash,
            fragments: coded.hashes,
        });
        Ok(())
    }

    /// Notes that a node failed; fails if too many did.
    fn lose(&mut self, index: usize, error: NodeError) -> Result<(), StorageError> {
        let node = self.nodes[index];
        tracing::warn!(%node, index, %error, "a node failed while an object was stored");
        if let Some(member) = self.inner.members.get(&node) {
            member.failed();
        }
        self.failed[index] = true;
        if self.failed.iter().filter(|failed| **failed).count() > TOLERATED {
            return Err(match error {
                NodeError::Full => self.inner.full(),
                error => StorageError::node(node)(error),
            });
        }
        Ok(())
    }

    async fn finish(
        mut self,
        size: u64,
        owner: Owner,
        options: PutOptions,
    ) -> Result<Stored, StorageError> {
        let inner = Arc::clone(&self.inner);
        let segments: Vec<ContentHash> = self.segments.iter().map(|segment| segment.hash).collect();
        let fid = options.rule.fid(&segments).ok_or(StorageError::Empty)?;
        let record = FileRecord::new(
            options.rule,
            size,
            std::mem::take(&mut self.segments),
            self.nodes,
            options.policy,
        );
        let stored = Stored {
            fid,
            size,
            segments,
        };
        let _lock = inner.commit.lock().await;
        if let Some(existing) = inner.bank.file(fid).await? {
            inner.agree(fid, &existing, &record)?;
        }
        match inner.bank.declare(fid, record.clone(), owner).await? {
            Declared::Existing => return Ok(stored),
            Declared::Deal => {}
        }
        match self.commit(fid, &record).await {
            Ok(()) => Ok(stored),
            Err(error) => {
                let record = inner.bank.deal(fid).await?.unwrap_or(record);
                inner.release(fid, &record.placement).await;
                inner.bank.cancel(fid).await?;
                Err(error)
            }
        }
    }

    /// Lets every node commit, and reports those that did.
    async fn commit(&mut self, fid: Fid, record: &FileRecord) -> Result<(), StorageError> {
        let inner = Arc::clone(&self.inner);
        let upload = self.upload;
        let commits = (0..FRAGMENTS).map(|index| {
            let member = inner.members.get(&self.nodes[index]);
            let needed = self.used[index] && !self.failed[index];
            async move {
                match member {
                    Some(member) if needed => member.node.commit(upload, fid).await,
                    Some(_) => Ok(()),
                    None => Err(NodeError::Missing),
                }
            }
        });
        let commits = join_all(commits).await;
        for (index, committed) in commits.into_iter().enumerate() {
            if let Err(error) = committed {
                self.lose(index, error)?;
            }
        }
        self.committed = true;
        let mut state = FileState::Pending { reported: 0 };
        for index in (0..FRAGMENTS).filter(|index| !self.failed[*index]) {
            state = inner
                .bank
                .report(fid, index as u8, self.nodes[index])
                .await?;
        }
        let lost: Vec<usize> = (0..FRAGMENTS).filter(|index| self.failed[*index]).collect();
        if !lost.is_empty() {
            let moved = repair::rebuild(&inner, fid, record, &lost).await?;
            for (index, node) in moved {
                state = inner.bank.report(fid, index as u8, node).await?;
            }
        }
        match state {
            FileState::Active => Ok(()),
            FileState::Pending { reported } => Err(StorageError::NotActive { fid, reported }),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        // Nodes forget it in the background; one that does not hear it does so by itself later.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (inner, upload) = (Arc::clone(&self.inner), self.upload);
        let nodes: Vec<NodeId> = (0..FRAGMENTS)
            .filter(|i| self.used[*i])
            .map(|i| self.nodes[i])
            .collect();
        runtime.spawn(async move {
            let aborts = nodes.iter().filter_map(|node| inner.members.get(node));
            join_all(aborts.map(|member| member.node.abort(upload))).await;
        });
    }
}

impl Inner {
    /// Whether what is stored satisfies whoever stores it again.
    fn agree(
        &self,
        fid: Fid,
        existing: &FileRecord,
        wanted: &FileRecord,
    ) -> Result<(), StorageError> {
        if existing.size != wanted.size {
            return Err(StorageError::OtherSize {
                fid,
                stored: existing.size,
                given: wanted.size,
            });
        }
        if wanted.policy.is_none() || wanted.policy == existing.policy {
            return Ok(());
        }
        Err(StorageError::OtherPolicy { fid })
    }
}

/// Sends one fragment, twice if that may help.
async fn stage(
    inner: &Inner,
    node: NodeId,
    upload: UploadId,
    hash: ContentHash,
    bytes: Bytes,
) -> Result<(), NodeError> {
    let member = inner.members.get(&node).ok_or(NodeError::Missing)?;
    match member.node.stage(upload, hash, bytes.clone()).await {
        Err(error) if is_passing(&error) => member.node.stage(upload, hash, bytes).await,
        result => result,
    }
}
