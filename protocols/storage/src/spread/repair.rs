//! Bringing objects back to twelve good fragments, and nodes back to what they should keep.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use super::{Inner, read};
use crate::bank::{FileRecord, SegmentHashes};
use crate::error::StorageError;
use crate::fid::Fid;
use crate::layout::FRAGMENTS;
use crate::node::NodeId;

/// Files looked at a time.
const PAGE: usize = 1000;

/// What [`SpreadStore::repair`](super::SpreadStore::repair) found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpreadRepair {
    /// Fragments that were read and hashed.
    pub checked: u64,
    /// Fragments that were rebuilt at the node they belong to.
    pub restored: u64,
    /// Indices that moved to another node, and to which: theirs was gone, or may not have them.
    pub moved: Vec<(u8, NodeId)>,
}

/// What [`SpreadStore::fsck`](super::SpreadStore::fsck) found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Files there are.
    pub files: u64,
    /// Files, or parts of them, that nodes kept without need, and released.
    pub leaked: u64,
    /// Files of which a node says that it lacks fragments, or does not answer: repair them.
    pub lacking: Vec<Fid>,
    /// Nodes that did not answer.
    pub unreachable: Vec<NodeId>,
}

/// Repairs an object. The nodes of indices in `lost` are not even asked.
pub(super) async fn repair(
    inner: &Arc<Inner>,
    fid: Fid,
    lost: &[usize],
) -> Result<SpreadRepair, StorageError> {
    let _lock = inner.commit.lock().await;
    let record = inner.file(fid).await?;
    let policy = record.policy.as_ref();
    let checks = (0..FRAGMENTS).map(|index| {
        let member = inner.members.get(&record.placement[index]);
        async move {
            let member = member.ok_or(())?;
            policy
                .map_or(Ok(()), |p| p.permits(&member.site))
                .map_err(drop)?;
            member.checked().await.map_err(drop)
        }
    });
    let checks = join_all(checks).await;
    let mut moves: Vec<usize> = (0..FRAGMENTS)
        .filter(|index| checks[*index].is_err() || lost.contains(index))
        .collect();
    let mut report = SpreadRepair::default();
    // A node that answers but cannot write is as good as gone; one more round is enough to see it.
    for (number, segment) in record.segments.iter().enumerate() {
        let (have, bad) = present(inner, &record, segment, &moves).await;
        report.checked += (have.len() + bad.len()) as u64;
        if bad.is_empty() {
            continue;
        }
        for (index, bytes) in read::rebuilt(inner, fid, number, segment, &have, bad).await? {
            let Some(member) = inner.members.get(&record.placement[index]) else {
                continue;
            };
            match member.node.put(fid, segment.fragments[index], bytes).await {
                Ok(()) => report.restored += 1,
                Err(error) => {
                    let node = record.placement[index];
                    tracing::warn!(%fid, %node, %error, "a node did not take a repaired fragment");
                    moves.push(index);
                }
            }
        }
    }
    if moves.is_empty() {
        return Ok(report);
    }
    moves.sort_unstable();
    moves.dedup();
    for (index, node) in rebuild(inner, fid, &record, &moves).await? {
        inner.bank.restored(fid, index as u8, node).await?;
        report.moved.push((index as u8, node));
    }
    let old: Vec<NodeId> = moves.iter().map(|index| record.placement[*index]).collect();
    inner.release(fid, &old).await;
    Ok(report)
}

/// Rebuilds the indices `lost` of all segments at other nodes, which it returns.
pub(super) async fn rebuild(
    inner: &Arc<Inner>,
    fid: Fid,
    record: &FileRecord,
    lost: &[usize],
) -> Result<Vec<(usize, NodeId)>, StorageError> {
    let policy = record.policy.as_ref();
    let mut taken = record.placement.to_vec();
    // Each turn either ends or takes a node away, so it ends.
    'turn: loop {
        let nodes = inner.choose(policy, &taken, lost.len(), &fid.0).await?;
        for (number, segment) in record.segments.iter().enumerate() {
            let (have, _) = present(inner, record, segment, lost).await;
            let rebuilt = read::rebuilt(inner, fid, number, segment, &have, lost.to_vec()).await?;
            let puts = lost.iter().zip(&nodes).zip(rebuilt).map(|((index, node), (_, bytes))| {
                let hash = segment.fragments[*index];
                async move {
                    let Some(member) = inner.members.get(node) else {
                        return Some(*node);
                    };
                    if hash == inner.codec.zero_fragment() {
                        return None;
                    }
                    let error = member.node.put(fid, hash, bytes).await.err()?;
                    tracing::warn!(%fid, %node, %error, "a node did not take a repaired fragment");
                    Some(*node)
                }
            });
            let failed: Vec<NodeId> = join_all(puts).await.into_iter().flatten().collect();
            if !failed.is_empty() {
                // What was put is no part of the object yet.
                inner.release(fid, &nodes).await;
                taken.extend(failed);
                continue 'turn;
            }
        }
        return Ok(lost.iter().copied().zip(nodes).collect());
    }
}

/// The good fragments of a segment, and the indices whose nodes have no good one; `skip` is not
/// looked at.
async fn present(
    inner: &Arc<Inner>,
    record: &FileRecord,
    segment: &SegmentHashes,
    skip: &[usize],
) -> (Vec<(usize, Bytes)>, Vec<usize>) {
    let fetches = (0..FRAGMENTS)
        .filter(|index| !skip.contains(index))
        .map(|index| {
            let (node, hash) = (record.placement[index], segment.fragments[index]);
            async move {
                if hash == inner.codec.zero_fragment() {
                    return (index, Some(Bytes::new()));
                }
                let fetched = read::fetch(inner, node, hash).await;
                if let Err(error) = &fetched {
                    tracing::warn!(index, %node, %error, "a fragment is lost");
                }
                (index, fetched.ok())
            }
        });
    let (mut have, mut bad) = (Vec::new(), Vec::new());
    for (index, bytes) in join_all(fetches).await {
        match bytes {
            Some(bytes) => have.push((index, bytes)),
            None => bad.push(index),
        }
    }
    (have, bad)
}

pub(super) async fn fsck(inner: &Arc<Inner>) -> Result<FsckReport, StorageError> {
    let mut report = FsckReport::default();
    let mut lacking = BTreeSet::new();
    let mut after = None;
    loop {
        let files = inner.bank.files(after, PAGE).await?;
        for fid in &files {
            let Some(record) = inner.bank.file(*fid).await? else {
                continue;
            };
            report.files += 1;
            let locations = inner.locate(&record).await;
            if locations.iter().any(|at| !at.state.is_fine()) {
                lacking.insert(*fid);
            }
        }
        match files.last() {
            Some(last) if files.len() == PAGE => after = Some(*last),
            _ => break,
        }
    }
    for (account, member) in &inner.members {
        let mut after = None;
        loop {
            let Ok(kept) = member.node.files(after).await else {
                report.unreachable.push(*account);
                break;
            };
            for fid in &kept {
                // Nothing appears or moves while one file is looked at.
                let _lock = inner.commit.lock().await;
                let needed = match inner.bank.file(*fid).await? {
                    Some(record) => record.placement.contains(account),
                    None => false,
                };
                if !needed {
                    report.leaked += 1;
                    inner.release(*fid, &[*account]).await;
                }
            }
            match kept.last() {
                // A node that repeats itself would keep us here for ever.
                Some(last) if Some(*last) > after => after = Some(*last),
                _ => break,
            }
        }
    }
    report.lacking = lacking.into_iter().collect();
    Ok(report)
}
