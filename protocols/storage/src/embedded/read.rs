//! Reading and mending objects.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;

use super::files::Content;
use super::record::{ObjectRecord, SegmentRecord};
use super::{Inner, RepairReport, blocking};
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid};
use crate::layout::{DATA_FRAGMENTS, FRAGMENTS};
use crate::object::ByteRange;
use crate::stream::ObjectStream;

/// Why a fragment cannot be used.
#[derive(Debug, thiserror::Error)]
enum Decay {
    #[error("it is missing")]
    Missing,
    #[error("its bytes do not have its hash")]
    Damaged,
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
}

/// An object's bytes, fragment by fragment.
pub(super) fn object(
    inner: &Arc<Inner>,
    fid: Fid,
    record: ObjectRecord,
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
    let state = (Arc::clone(inner), Arc::new(record), range.clone());
    let parts = stream::try_unfold(state, move |(inner, record, mut left)| async move {
        if left.is_empty() {
            return Ok(None);
        }
        let bytes = {
            let _permit = inner
                .reads
                .acquire()
                .await
                .map_err(|_| StorageError::Busy)?;
            let (inner, record, left) = (Arc::clone(&inner), Arc::clone(&record), left.clone());
            blocking(move || inner.read_part(fid, &record, left)).await?
        };
        left.start += bytes.len() as u64;
        Ok(Some((bytes, (inner, record, left))))
    });
    Ok(ObjectStream::new(size, range, parts))
}

/// One fragment with its padding.
pub(super) async fn fragment(
    inner: &Arc<Inner>,
    fid: Fid,
    record: ObjectRecord,
    fragment: ContentHash,
) -> Result<Vec<u8>, StorageError> {
    let _permit = inner
        .reads
        .acquire()
        .await
        .map_err(|_| StorageError::Busy)?;
    let inner = Arc::clone(inner);
    blocking(move || {
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
        let mut bytes = inner.read_fragment(fid, &record, number, index)?;
        bytes.resize(inner.codec.geometry().fragment(), 0);
        Ok(bytes)
    })
    .await
}

/// Checks all fragments and restores what is lost.
pub(super) async fn repair(
    inner: &Arc<Inner>,
    fid: Fid,
    record: ObjectRecord,
) -> Result<RepairReport, StorageError> {
    let record = Arc::new(record);
    let mut report = RepairReport::default();
    for number in 0..record.segments.len() {
        let _permit = inner
            .reads
            .acquire()
            .await
            .map_err(|_| StorageError::Busy)?;
        let (inner, record) = (Arc::clone(inner), Arc::clone(&record));
        let (checked, restored) =
            blocking(move || inner.repair_segment(fid, &record, number)).await?;
        report.checked += checked;
        report.restored += restored;
    }
    Ok(report)
}

impl Inner {
    /// The first bytes of `range` of an object, as many as one fragment has.
    fn read_part(
        &self,
        fid: Fid,
        record: &ObjectRecord,
        range: Range<u64>,
    ) -> Result<Bytes, StorageError> {
        let geometry = self.codec.geometry();
        let (segment, fragment) = (geometry.segment() as u64, geometry.fragment() as u64);
        let number = (range.start / segment) as usize;
        let index = (range.start % segment / fragment) as usize;
        let start = (range.start % fragment) as usize;
        let end = (start as u64 + (range.end - range.start)).min(fragment) as usize;

        let mut bytes = self.read_fragment(fid, record, number, index)?;
        // Trailing zeros are not stored.
        bytes.resize(bytes.len().max(end), 0);
        Ok(Bytes::from(bytes).slice(start..end))
    }

    /// A verified fragment without trailing zeros, restored if need be.
    fn read_fragment(
        &self,
        fid: Fid,
        record: &ObjectRecord,
        number: usize,
        index: usize,
    ) -> Result<Vec<u8>, StorageError> {
        // The segments of a record cover its size, unless the record was damaged.
        let segment = record
            .segments
            .get(number)
            .ok_or(StorageError::DamagedRecord { fid })?;
        match self.load(segment.fragments[index]) {
            Ok(bytes) => Ok(bytes),
            Err(decay) => {
                report(fid, number, index, &decay);
                let mut restored = self.restore(fid, segment, number, vec![index])?;
                let bytes = restored.pop().ok_or(StorageError::DamagedRecord { fid })?;
                Ok(bytes.into())
            }
        }
    }

    fn repair_segment(
        &self,
        fid: Fid,
        record: &ObjectRecord,
        number: usize,
    ) -> Result<(u64, u64), StorageError> {
        let segment = &record.segments[number];
        let mut checked = 0;
        let mut lost = Vec::new();
        for (index, hash) in segment.fragments.iter().enumerate() {
            checked += u64::from(*hash != self.codec.zero_fragment());
            if let Err(decay) = self.load(*hash) {
                report(fid, number, index, &decay);
                lost.push(index);
            }
        }
        let count = lost.len() as u64;
        if count > 0 {
            self.restore(fid, segment, number, lost)?;
        }
        Ok((checked, count))
    }

    /// A verified fragment without trailing zeros.
    fn load(&self, hash: ContentHash) -> Result<Vec<u8>, Decay> {
        if hash == self.codec.zero_fragment() {
            return Ok(Vec::new());
        }
        let limit = self.codec.geometry().fragment();
        match self.files.read(hash, limit).map_err(Decay::Unreadable)? {
            Content::Missing => Err(Decay::Missing),
            Content::TooLong => Err(Decay::Damaged),
            Content::Bytes(bytes) if self.codec.fragment_hash(bytes.as_ref()) != hash => {
                Err(Decay::Damaged)
            }
            Content::Bytes(mut bytes) => Ok(std::mem::take(bytes.bytes())),
        }
    }

    /// Rebuilds the `lost` fragments of a segment from four others, writes them back, and returns
    /// them in order. Others that turn out lost on the way are restored too.
    fn restore(
        &self,
        fid: Fid,
        segment: &SegmentRecord,
        number: usize,
        lost: Vec<usize>,
    ) -> Result<Vec<Bytes>, StorageError> {
        let wanted = lost.len();
        let mut lost = lost;
        let mut present: Vec<(usize, Vec<u8>)> = Vec::new();
        for index in 0..FRAGMENTS {
            if present.len() == DATA_FRAGMENTS {
                break;
            }
            if lost.contains(&index) {
                continue;
            }
            match self.load(segment.fragments[index]) {
                Ok(bytes) => present.push((index, bytes)),
                Err(decay) => {
                    report(fid, number, index, &decay);
                    lost.push(index);
                }
            }
        }
        let unrecoverable = |have| StorageError::Unrecoverable {
            fid,
            segment: number as u64,
            have,
            need: DATA_FRAGMENTS,
        };
        let borrowed: Vec<(usize, &[u8])> = present
            .iter()
            .map(|(index, bytes)| (*index, bytes.as_slice()))
            .collect();
        let mut rebuilt = self
            .codec
            .rebuild(&borrowed, &lost)
            .map_err(|_| unrecoverable(present.len()))?;

        // Verified fragments rebuild to verified ones unless the record itself is wrong, and then
        // nothing may be written.
        for (index, bytes) in lost.iter().zip(&rebuilt) {
            if self.codec.fragment_hash(bytes) != segment.fragments[*index] {
                return Err(StorageError::DamagedRecord { fid });
            }
        }
        for (index, bytes) in lost.iter().zip(&rebuilt) {
            let hash = segment.fragments[*index];
            match self.write_back(hash, bytes) {
                Ok(()) => tracing::info!(%fid, segment = number, index, "restored a fragment"),
                // The reader still gets its bytes; the next one tries again.
                Err(error) => {
                    tracing::warn!(%fid, segment = number, index, %error, "could not write a restored fragment");
                }
            }
        }
        rebuilt.truncate(wanted);
        Ok(rebuilt)
    }

    fn write_back(&self, hash: ContentHash, bytes: &[u8]) -> Result<(), StorageError> {
        let doing = "wrote a restored fragment";
        let dir = self.files.stage().map_err(StorageError::io(doing))?;
        let path = dir
            .write("restored", bytes)
            .map_err(StorageError::io(doing))?;
        let _lock = self.commit_lock();
        // The object may have been deleted meanwhile.
        if self.index.is_referenced(hash)? {
            self.files
                .publish([(hash, path.as_path())])
                .map_err(StorageError::io(doing))?;
        }
        Ok(())
    }
}

fn report(fid: Fid, segment: usize, index: usize, decay: &Decay) {
    tracing::warn!(%fid, segment, index, %decay, "a fragment is lost");
}
