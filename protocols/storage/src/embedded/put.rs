//! Storing an object.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::files::StagingDir;
use super::record::{ObjectRecord, SegmentRecord};
use super::{Inner, blocking};
use crate::account::Account;
use crate::error::StorageError;
use crate::fid::ContentHash;
use crate::layout::{FRAGMENTS, FragmentSink};
use crate::object::{Owner, PutOptions, Stored};
use crate::stream::ByteSource;

/// An object that is being written. Dropping it removes what was written.
struct Staging {
    inner: Arc<Inner>,
    dir: StagingDir,
    /// Every different fragment, and how long it is.
    fragments: HashMap<ContentHash, (PathBuf, u64)>,
    segments: Vec<SegmentRecord>,
    /// Counted in `Inner::staged`.
    bytes: u64,
}

/// The fragment files of one segment while it is coded.
struct SegmentFiles<'a> {
    dir: &'a StagingDir,
    segment: usize,
    files: [Option<File>; FRAGMENTS],
}

pub(super) async fn put(
    inner: &Arc<Inner>,
    owner: Account,
    mut source: ByteSource<'_>,
    options: PutOptions,
) -> Result<Stored, StorageError> {
    inner.permit(options.policy.as_ref())?;
    let _permit = inner.puts.acquire().await.map_err(|_| StorageError::Busy)?;
    let limit = inner.config.max_object;
    let capacity = inner.codec.geometry().segment();

    let mut staging: Option<Staging> = None;
    let mut size = 0;
    let mut buffer = Vec::new();
    loop {
        fill(&mut source, &mut buffer, capacity)
            .await
            .map_err(StorageError::Source)?;
        if buffer.is_empty() {
            break;
        }
        size += buffer.len() as u64;
        if size > limit {
            return Err(StorageError::TooLarge { limit });
        }
        let (inner, segment) = (Arc::clone(inner), buffer);
        let (next, segment) = blocking(move || {
            let mut staging = match staging {
                Some(staging) => staging,
                None => Staging::begin(inner)?,
            };
            staging.add(&segment)?;
            Ok((staging, segment))
        })
        .await?;
        staging = Some(next);
        buffer = segment;
        if buffer.len() < capacity {
            break;
        }
        buffer.clear();
    }
    drop(buffer);

    let staging = staging.ok_or(StorageError::Empty)?;
    blocking(move || staging.commit(size, owner, options)).await
}

/// Reads until `buffer` has `capacity` bytes or the source ends.
async fn fill(
    source: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    capacity: usize,
) -> io::Result<()> {
    let mut source = source.take(capacity as u64);
    // The buffer grows with what arrives: a small object takes little memory.
    while source.read_buf(buffer).await? > 0 {}
    Ok(())
}

impl Staging {
    fn begin(inner: Arc<Inner>) -> Result<Self, StorageError> {
        let dir = inner
            .files
            .stage()
            .map_err(StorageError::io("prepared a new object"))?;
        Ok(Self {
            inner,
            dir,
            fragments: HashMap::new(),
            segments: Vec::new(),
            bytes: 0,
        })
    }

    /// Codes a segment into synced files.
    fn add(&mut self, segment: &[u8]) -> Result<(), StorageError> {
        let number = self.segments.len();
        let doing = "wrote a new object";
        let mut sink = SegmentFiles {
            dir: &self.dir,
            segment: number,
            files: Default::default(),
        };
        let encoded = self
            .inner
            .codec
            .encode(segment, &mut sink)
            .map_err(StorageError::io(doing))?;

        for (index, file) in sink.files.iter().enumerate() {
            let Some(file) = file else { continue };
            let (hash, length) = (encoded.fragments[index], encoded.lengths[index] as u64);
            let path = self.dir.path(&file_name(number, index));
            if length == 0 || self.fragments.contains_key(&hash) {
                std::fs::remove_file(&path).map_err(StorageError::io(doing))?;
                continue;
            }
            file.set_len(length)
                .and_then(|()| self.dir.force(file))
                .map_err(StorageError::io(doing))?;
            self.fragments.insert(hash, (path, length));
            self.bytes += length;
            let staged = self.inner.staged.fetch_add(length, Ordering::Relaxed) + length;
            let capacity = self.inner.config.capacity;
            if self
                .inner
                .occupied
                .load(Ordering::Relaxed)
                .saturating_add(staged)
                > capacity
            {
                return Err(StorageError::Full { capacity });
            }
        }
        self.segments.push(SegmentRecord {
            hash: encoded.hash,
            fragments: encoded.fragments,
        });
        Ok(())
    }

    /// Puts the fragments in place and records the object.
    fn commit(
        mut self,
        size: u64,
        owner: Account,
        options: PutOptions,
    ) -> Result<Stored, StorageError> {
        let segments: Vec<ContentHash> = self.segments.iter().map(|segment| segment.hash).collect();
        let fid = options.rule.fid(&segments).ok_or(StorageError::Empty)?;
        let record = ObjectRecord {
            rule: options.rule,
            size,
            segments: std::mem::take(&mut self.segments),
        };
        let lengths = self
            .fragments
            .iter()
            .map(|(hash, (_, length))| (*hash, *length))
            .collect();
        let owner = Owner::new(owner, options.name);

        let _lock = self.inner.commit_lock();
        // If the object is known this replaces its files by equal ones, and so mends damaged ones.
        let staged = self
            .fragments
            .iter()
            .map(|(hash, (path, _))| (*hash, Path::new(path)));
        self.inner
            .files
            .publish(staged)
            .map_err(StorageError::io("put fragments in place"))?;
        let occupied = self.inner.index.insert(fid, &record, &lengths, &owner)?;
        self.inner.occupied.store(occupied, Ordering::Relaxed);
        Ok(Stored {
            fid,
            size,
            segments,
        })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.inner.staged.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl FragmentSink for SegmentFiles<'_> {
    fn append(&mut self, index: usize, bytes: &[u8]) -> io::Result<()> {
        let slot = &mut self.files[index];
        let file = match slot {
            Some(file) => file,
            None => slot.insert(self.dir.create(&file_name(self.segment, index))?),
        };
        file.write_all(bytes)
    }
}

fn file_name(segment: usize, index: usize) -> String {
    format!("{segment}-{index}")
}
