//! Reading an object.

use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};

use super::Inner;
use crate::bank::{FileRecord, SegmentHashes};
use crate::embedded::blocking;
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid};
use crate::layout::{DATA_FRAGMENTS, FRAGMENTS};
use crate::node::NodeError;
use crate::object::ByteRange;
use crate::stream::ObjectStream;

/// Segments fetched ahead of the reader.
const AHEAD: usize = 1;

/// Verified fragments of a segment, and those that their nodes turned out not to have.
struct Gathered {
    have: Vec<(usize, Bytes)>,
    lost: Vec<usize>,
}

pub(super) fn object(
    inner: &Arc<Inner>,
    fid: Fid,
    record: FileRecord,
    range: Option<ByteRange>,
) -> Result<ObjectStream, StorageError> {
    let size = record.size;
    let range = match range {
        None => 0..size,
        Some(range) => range
            .within(size)
            .ok_or(StorageError::RangeNotSatisfiable {
                fid,
                start: range.start(),
                size,
            })?,
    };
    let segment = inner.codec.geometry().segment() as u64;
    let (inner, record) = (Arc::clone(inner), Arc::new(record));
    let numbers = range.start / segment..range.end.div_ceil(segment);
    let wanted = range.clone();
    let parts = stream::iter(numbers)
        .map(move |number| {
            let (inner, record) = (Arc::clone(&inner), Arc::clone(&record));
            let start = number * segment;
            let part = wanted.start.max(start) - start..wanted.end.min(start + segment) - start;
            async move {
                let reads = Arc::clone(&inner.reads);
                let _permit = reads
                    .acquire_owned()
                    .await
                    .map_err(|_| StorageError::Busy)?;
                let pieces = part_of(&inner, fid, &record, number as usize, part).await?;
                Ok(stream::iter(pieces.into_iter().map(Ok)))
            }
        })
        .buffered(AHEAD)
        .try_flatten();
    Ok(ObjectStream::new(size, range, parts))
}

/// One fragment with its padding.
pub(super) async fn fragment(
    inner: &Arc<Inner>,
    fid: Fid,
    record: &FileRecord,
    fragment: ContentHash,
) -> Result<Vec<u8>, StorageError> {
    let place = record
        .segments
        .iter()
        .enumerate()
        .find_map(|(number, segment)| {
            let index = segment
                .fragments
                .iter()
                .position(|hash| *hash == fragment)?;
            Some((number, index))
        });
    let (number, index) = place.ok_or(StorageError::NotFound { fid })?;
    let found = gather(inner, fid, record, number, &[index]).await?;
    let mut bytes = match found.have.iter().find(|(i, _)| *i == index) {
        Some((_, bytes)) => bytes.to_vec(),
        None => {
            let segment = &record.segments[number];
            let rebuilt = rebuilt(inner, fid, number, segment, &found.have, vec![index]).await?;
            rebuilt
                .into_iter()
                .next()
                .map(|(_, bytes)| bytes.to_vec())
                .unwrap_or_default()
        }
    };
    bytes.resize(inner.codec.geometry().fragment(), 0);
    Ok(bytes)
}

/// The bytes `part` of a segment, in pieces.
async fn part_of(
    inner: &Arc<Inner>,
    fid: Fid,
    record: &FileRecord,
    number: usize,
    part: Range<u64>,
) -> Result<Vec<Bytes>, StorageError> {
    let segment = record
        .segments
        .get(number)
        .ok_or(StorageError::DamagedRecord { fid })?;
    let size = inner.codec.geometry().fragment();
    let (first, last) = (part.start as usize / size, (part.end as usize - 1) / size);
    let wanted: Vec<usize> = (first..=last).collect();
    let found = gather(inner, fid, record, number, &wanted).await?;
    let has = |index: &usize| found.have.iter().any(|(i, _)| i == index);
    let missing: Vec<usize> = wanted.iter().copied().filter(|index| !has(index)).collect();
    let mut decoded = rebuilt(inner, fid, number, segment, &found.have, missing).await?;
    let mut data = Vec::with_capacity(wanted.len());
    for index in &wanted {
        let all = found.have.iter().chain(&decoded);
        let bytes = all
            .into_iter()
            .find(|(i, _)| i == index)
            .map(|(_, bytes)| bytes.clone());
        data.push(bytes.ok_or(StorageError::DamagedRecord { fid })?);
    }
    decoded.clear();
    if let [a, b, c, d] = &data[..] {
        let whole = [a.clone(), b.clone(), c.clone(), d.clone()];
        let coder = Arc::clone(inner);
        let hash = blocking(move || Ok(coder.codec.segment_hash(&whole))).await?;
        if hash != segment.hash {
            return Err(StorageError::SegmentMismatch {
                fid,
                segment: number as u64,
                expected: segment.hash,
                found: hash,
            });
        }
    }
    if !found.lost.is_empty() {
        mend(inner, fid, number, segment, found);
    }
    let mut pieces = Vec::with_capacity(data.len());
    for (index, bytes) in wanted.iter().zip(data) {
        let start = (part.start as usize).max(index * size) - index * size;
        let end = (part.end as usize).min((index + 1) * size) - index * size;
        let stored = bytes.len().clamp(start, end);
        if start < bytes.len() {
            pieces.push(bytes.slice(start..stored));
        }
        // Trailing zeros are not stored.
        if stored < end {
            pieces.push(Bytes::from(vec![0; end - stored]));
        }
    }
    Ok(pieces)
}

/// Fetches and verifies fragments until all of `wanted` are there, or four of any.
async fn gather(
    inner: &Arc<Inner>,
    fid: Fid,
    record: &FileRecord,
    number: usize,
    wanted: &[usize],
) -> Result<Gathered, StorageError> {
    let segment = &record.segments[number];
    let zero = inner.codec.zero_fragment();
    let mut found = Gathered {
        have: Vec::new(),
        lost: Vec::new(),
    };
    let mut rest = Vec::new();
    for (index, hash) in segment.fragments.iter().enumerate() {
        if *hash == zero {
            found.have.push((index, Bytes::new()));
        } else {
            rest.push(index);
        }
    }
    let enough = |have: &[(usize, Bytes)]| {
        let has = |index: &usize| have.iter().any(|(i, _)| i == index);
        have.len() >= DATA_FRAGMENTS || wanted.iter().all(has)
    };
    // The fastest last, to be popped. Parity costs decoding, so it must be clearly faster.
    let part = wanted.len() < DATA_FRAGMENTS;
    rest.sort_by_cached_key(|index| {
        let member = inner.members.get(&record.placement[*index]);
        let expected = member.map_or(Duration::MAX, |member| {
            let expected = member.expected();
            if *index < DATA_FRAGMENTS {
                expected
            } else {
                expected * 2
            }
        });
        // For a part, what is wanted comes first whatever it costs.
        std::cmp::Reverse((part && !wanted.contains(index), expected, *index))
    });
    let mut fetches = FuturesUnordered::new();
    let start = |index: usize| {
        let inner = Arc::clone(inner);
        let (node, hash) = (record.placement[index], segment.fragments[index]);
        async move { (index, fetch(&inner, node, hash).await) }
    };
    let missing = if part {
        wanted.iter().filter(|index| rest.contains(index)).count()
    } else {
        DATA_FRAGMENTS.saturating_sub(found.have.len())
    };
    let wanted_first = |index: &usize| !part || wanted.contains(index);
    while fetches.len() < missing.max(1) && rest.last().is_some_and(wanted_first) {
        fetches.extend(rest.pop().map(start));
    }
    loop {
        if enough(&found.have) {
            return Ok(found);
        }
        let idle = fetches.is_empty();
        if idle && rest.is_empty() {
            return Err(StorageError::Unrecoverable {
                fid,
                segment: number as u64,
                have: found.have.len(),
                need: DATA_FRAGMENTS,
            });
        }
        let lacking = DATA_FRAGMENTS.saturating_sub(found.have.len() + fetches.len());
        let answer = if idle {
            None
        } else {
            tokio::time::timeout(inner.hedge(), fetches.next())
                .await
                .ok()
                .flatten()
        };
        match answer {
            Some((index, Ok(bytes))) => found.have.push((index, bytes)),
            Some((index, Err(error))) => {
                let node = record.placement[index];
                tracing::warn!(%fid, segment = number, index, %node, %error, "a fragment did not come");
                if matches!(error, NodeError::Missing | NodeError::Damaged { .. }) {
                    found.lost.push(index);
                }
                // Without this one, any four are needed.
                for _ in 0..lacking + 1 {
                    fetches.extend(rest.pop().map(start));
                }
            }
            // One is slow, or nothing is under way: ask one more, or as many as decoding takes.
            None => {
                for _ in 0..lacking.max(1) {
                    fetches.extend(rest.pop().map(start));
                }
                if rest.is_empty() && !fetches.is_empty() {
                    // Nobody is left to ask: wait for whoever was asked.
                    match fetches.next().await {
                        Some((index, Ok(bytes))) => found.have.push((index, bytes)),
                        Some((index, Err(error))) => {
                            if matches!(error, NodeError::Missing | NodeError::Damaged { .. }) {
                                found.lost.push(index);
                            }
                        }
                        None => {}
                    }
                }
            }
        }
    }
}

/// A verified fragment.
pub(super) async fn fetch(
    inner: &Arc<Inner>,
    node: crate::node::NodeId,
    hash: ContentHash,
) -> Result<Bytes, NodeError> {
    let member = inner.members.get(&node).ok_or(NodeError::Missing)?;
    let started = Instant::now();
    let fetched = match member.node.get(hash).await {
        Ok(bytes) => verified(inner, hash, bytes).await,
        Err(error) => Err(error),
    };
    match &fetched {
        Ok(_) => member.took(started.elapsed()),
        Err(_) => member.failed(),
    }
    fetched
}

async fn verified(
    inner: &Arc<Inner>,
    expected: ContentHash,
    bytes: Bytes,
) -> Result<Bytes, NodeError> {
    if bytes.len() > inner.codec.geometry().fragment() {
        return Err(NodeError::Damaged { expected });
    }
    let inner = Arc::clone(inner);
    let hashed = blocking(move || Ok((inner.codec.fragment_hash(&bytes), bytes))).await;
    match hashed {
        Ok((hash, bytes)) if hash == expected => Ok(bytes),
        Ok(_) => Err(NodeError::Damaged { expected }),
        Err(error) => Err(NodeError::Disk(Box::new(error))),
    }
}

/// The fragments `wanted` from four others, verified.
pub(super) async fn rebuilt(
    inner: &Arc<Inner>,
    fid: Fid,
    number: usize,
    segment: &SegmentHashes,
    have: &[(usize, Bytes)],
    wanted: Vec<usize>,
) -> Result<Vec<(usize, Bytes)>, StorageError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let (inner, have, hashes) = (Arc::clone(inner), have.to_vec(), segment.fragments);
    blocking(move || {
        let present: Vec<(usize, &[u8])> = have.iter().map(|(i, b)| (*i, &b[..])).collect();
        let rebuilt = inner.codec.rebuild(&present, &wanted);
        let rebuilt = rebuilt.map_err(|_| StorageError::Unrecoverable {
            fid,
            segment: number as u64,
            have: have.len(),
            need: DATA_FRAGMENTS,
        })?;
        let fragments: Vec<(usize, Bytes)> = wanted.into_iter().zip(rebuilt).collect();
        // Verified fragments rebuild to verified ones, unless the record itself is wrong.
        let right =
            |(index, bytes): &(usize, Bytes)| inner.codec.fragment_hash(bytes) == hashes[*index];
        if fragments.iter().all(right) {
            Ok(fragments)
        } else {
            Err(StorageError::DamagedRecord { fid })
        }
    })
    .await
}

/// Rebuilds lost fragments behind a read, if there is somebody free to do it.
fn mend(inner: &Arc<Inner>, fid: Fid, number: usize, segment: &SegmentHashes, found: Gathered) {
    if found.have.len() < DATA_FRAGMENTS {
        return;
    }
    let Ok(permit) = Arc::clone(&inner.menders).try_acquire_owned() else {
        return;
    };
    let segment = segment.clone();
    let task = {
        let inner = Arc::clone(inner);
        async move {
            let _permit = permit;
            let lost = found.lost;
            let rebuilt = match rebuilt(&inner, fid, number, &segment, &found.have, lost).await {
                Ok(rebuilt) => rebuilt,
                Err(error) => {
                    tracing::warn!(%fid, number, %error, "fragments cannot be rebuilt");
                    return;
                }
            };
            drop(found.have);
            for (index, bytes) in rebuilt {
                let hash = segment.fragments[index];
                // The object may have gone or moved meanwhile.
                let _lock = inner.commit.lock().await;
                let Ok(Some(record)) = inner.bank.file(fid).await else {
                    return;
                };
                let Some(member) = inner.members.get(&record.placement[index]) else {
                    continue;
                };
                match member.node.put(fid, hash, bytes).await {
                    Ok(()) => tracing::info!(%fid, number, index, "restored a fragment"),
                    Err(error) => {
                        tracing::warn!(%fid, number, index, %error, "a fragment was not restored");
                    }
                }
            }
        }
    };
    let mut mending = inner.mending.lock().unwrap_or_else(PoisonError::into_inner);
    while mending.try_join_next().is_some() {}
    mending.spawn(task);
}

impl Inner {
    /// How long to wait for the slowest before one more is asked.
    fn hedge(&self) -> Duration {
        let usual = self.members.values().map(|member| member.expected()).min();
        self.config
            .hedge
            .max(usual.unwrap_or_default().saturating_mul(4))
    }
}

const _: () = assert!(DATA_FRAGMENTS < FRAGMENTS);
