//! The chain's types and the store's.

use ai_link_registry::storage::{
    Deal, DeclaredSegment, FileName, FileOwner, NewFile, StoredFile, TerritoryName,
};
use ai_link_storage::{
    Account, ContentHash, Fid, FidRule, FileRecord, Owner, SegmentHashes, StorageError,
};
use ai_link_wire as wire;

pub(crate) fn chain_fid(fid: Fid) -> wire::Fid {
    wire::Fid(fid.0)
}

pub(crate) fn chain_account(account: Account) -> wire::AccountId {
    wire::AccountId(account.0)
}

fn store_account(account: wire::AccountId) -> Account {
    Account(account.0)
}

fn hashes(segment: &DeclaredSegment) -> SegmentHashes {
    SegmentHashes {
        hash: ContentHash(segment.hash.0),
        fragments: segment.fragments.map(|hash| ContentHash(hash.0)),
    }
}

/// A record as the chain is told.
pub(crate) fn declaration(
    fid: Fid,
    record: &FileRecord,
    owner: &Owner,
    territory: &TerritoryName,
) -> Result<NewFile, StorageError> {
    let segments = record.segments.iter().map(|segment| DeclaredSegment {
        hash: wire::Digest(segment.hash.0),
        fragments: segment.fragments.map(|hash| wire::Digest(hash.0)),
    });
    let name: Result<FileName, _> = owner.name.as_str().parse();
    Ok(NewFile {
        fid: chain_fid(fid),
        size: record.size,
        segments: segments.collect(),
        owner: chain_account(owner.account),
        // Names of objects are names of files.
        name: name.map_err(StorageError::chain("take the file's name"))?,
        territory: territory.clone(),
    })
}

/// What the chain says about a file, with what only the book has: `book`.
///
/// # Errors
///
/// [`StorageError::FidMismatch`] if the chain's segments do not make up the fid: somebody else declared it
/// first, with segments of its own.
pub(crate) fn stored(
    fid: Fid,
    file: &StoredFile,
    book: &FileRecord,
) -> Result<FileRecord, StorageError> {
    let segments = file.segments.iter().map(|segment| SegmentHashes {
        hash: ContentHash(segment.hash.0),
        fragments: segment
            .fragments
            .map(|fragment| ContentHash(fragment.hash.0)),
    });
    let mut record = checked(fid, file.size, segments.collect(), book)?;
    let count = record.placement.len();
    for index in 0..count {
        // Where the last segment is: a repair moves them in order.
        if let Some(segment) = file.segments.last() {
            let node = store_account(segment.fragments[index].miner);
            record.report(index as u8, node);
        }
    }
    Ok(record)
}

/// What the chain says about a declaration, with what only the book has.
///
/// # Errors
///
/// As for [`stored`].
pub(crate) fn declared(
    fid: Fid,
    deal: &Deal,
    book: &FileRecord,
) -> Result<FileRecord, StorageError> {
    let segments = deal.segments.iter().map(hashes).collect();
    let mut record = checked(fid, deal.size, segments, book)?;
    for report in &deal.reported {
        record.report(report.index, store_account(report.miner));
    }
    Ok(record)
}

fn checked(
    fid: Fid,
    size: u128,
    segments: Vec<SegmentHashes>,
    book: &FileRecord,
) -> Result<FileRecord, StorageError> {
    let hashes: Vec<ContentHash> = segments.iter().map(|segment| segment.hash).collect();
    let rule = match book.rule.fid(&hashes) {
        Some(found) if found == fid => book.rule,
        _ => FidRule::matching(fid, &hashes).ok_or(StorageError::FidMismatch { fid })?,
    };
    let size = u64::try_from(size).map_err(|_| StorageError::Malformed {
        what: format!("the chain says that {fid} has {size} bytes"),
    })?;
    let (placement, policy) = (book.placement, book.policy.clone());
    Ok(FileRecord::new(rule, size, segments, placement, policy))
}

/// An owner; `None` if the chain has a name for the file that no object has here.
pub(crate) fn owner(owner: &FileOwner) -> Option<Owner> {
    let name = owner.name.parse().ok()?;
    Some(Owner::new(store_account(owner.account), name))
}
