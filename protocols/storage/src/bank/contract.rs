//! What every [`FileBank`] must do. Each kind of bank runs all of it.
//!
//! It panics at the first thing that is not as it should be. Public, but hidden, because a bank may live in
//! a crate above this one.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::{Declared, FileBank, FileRecord, FileState, SegmentHashes};
use crate::account::Account;
use crate::error::StorageError;
use crate::fid::{ContentHash, Fid, FidRule};
use crate::location::LocationPolicy;
use crate::node::NodeId;
use crate::object::{Deleted, Owner, Page};
use crate::podr2::FragmentKey;

/// Who takes part.
#[derive(Clone, Debug)]
pub struct Cast {
    /// Two accounts that may store, and one that owns nothing.
    pub owners: [Account; 3],
    /// Thirteen nodes or more.
    pub nodes: Vec<NodeId>,
}

/// A file of so many segments, to be at the first twelve nodes.
pub fn file(
    cast: &Cast,
    seed: u8,
    segments: u8,
    policy: Option<LocationPolicy>,
) -> (Fid, FileRecord) {
    let segment = |s: u8| SegmentHashes {
        hash: ContentHash::of(&[seed, s]),
        fragments: std::array::from_fn(|i| ContentHash::of(&[seed, s, i as u8])),
    };
    let segments: Vec<_> = (0..segments).map(segment).collect();
    let hashes: Vec<_> = segments.iter().map(|segment| segment.hash).collect();
    let rule = FidRule::ALL[usize::from(seed % 2)];
    let fid = rule.fid(&hashes).unwrap();
    let placement = std::array::from_fn(|i| cast.nodes[i]);
    let record = FileRecord::new(rule, 1000 + u64::from(seed), segments, placement, policy);
    (fid, record)
}

/// Declares a file and lets all its nodes report.
pub async fn store(bank: &dyn FileBank, owner: Owner, (fid, record): &(Fid, FileRecord)) {
    let declared = bank.declare(*fid, record.clone(), owner).await.unwrap();
    assert_eq!(declared, Declared::Deal);
    for (index, node) in (0..).zip(record.placement) {
        bank.report(*fid, index, node).await.unwrap();
    }
}

/// An owner that calls the file `name`.
pub fn owner(account: Account, name: &str) -> Owner {
    Owner::new(account, name.parse().unwrap())
}

/// All of the contract. The bank must be empty, and is empty afterwards.
pub async fn holds(bank: &dyn FileBank, cast: &Cast) {
    a_file_is_active_with_the_twelfth_report(bank, cast).await;
    declarations_can_be_withdrawn_and_repeated(bank, cast).await;
    owners_come_and_go(bank, cast).await;
    files_are_listed_in_order(bank, cast).await;
    repairs_move_fragments_and_tags_are_kept(bank, cast).await;
    assert_eq!(bank.files(None, 10).await.unwrap(), []);
    assert_eq!(bank.deals().await.unwrap(), []);
}

async fn a_file_is_active_with_the_twelfth_report(bank: &dyn FileBank, cast: &Cast) {
    let [alice, ..] = cast.owners;
    let policy = Some(LocationPolicy::european_union());
    let (fid, record) = file(cast, 1, 2, policy);
    let unknown = bank.report(fid, 0, cast.nodes[0]).await.unwrap_err();
    assert!(matches!(unknown, StorageError::NotFound { fid: f } if f == fid));
    assert_eq!(bank.deal(fid).await.unwrap(), None);

    let declared = bank
        .declare(fid, record.clone(), owner(alice, "one.bin"))
        .await;
    assert_eq!(declared.unwrap(), Declared::Deal);
    assert_eq!(bank.deals().await.unwrap(), [fid]);
    assert_eq!(bank.deal(fid).await.unwrap().as_ref(), Some(&record));
    for (index, node) in (0..11).zip(cast.nodes.iter().copied()) {
        let pending = FileState::Pending {
            reported: u32::from(index) + 1,
        };
        // A report that is repeated counts once.
        for _ in 0..2 {
            assert_eq!(bank.report(fid, index, node).await.unwrap(), pending);
        }
    }
    let deal = bank.deal(fid).await.unwrap().unwrap();
    assert_eq!(deal.state(), FileState::Pending { reported: 11 });
    assert_eq!(deal.placement, record.placement);
    // Until then nothing of it shows.
    assert_eq!(bank.file(fid).await.unwrap(), None);
    assert_eq!(bank.files(None, 10).await.unwrap(), []);
    assert_eq!(bank.list(alice, Page::first()).await.unwrap(), []);

    // The last one comes from a node that was not chosen at first: nodes fail.
    let last = cast.nodes[12];
    let state = bank.report(fid, 11, last).await.unwrap();
    assert_eq!(state, FileState::Active);
    let stored = bank.file(fid).await.unwrap().unwrap();
    let mut placement = record.placement;
    placement[11] = last;
    assert_eq!(stored.state(), FileState::Active);
    assert_eq!(stored.placement, placement);
    assert_eq!(
        (stored.rule, stored.size, &stored.segments, &stored.policy),
        (record.rule, record.size, &record.segments, &record.policy)
    );
    assert_eq!(bank.deal(fid).await.unwrap(), None);
    assert_eq!(bank.deals().await.unwrap(), []);
    assert_eq!(bank.files(None, 10).await.unwrap(), [fid]);
    assert_eq!(bank.owners(fid).await.unwrap(), [owner(alice, "one.bin")]);
    let deleted = bank.delete(fid, alice).await.unwrap();
    assert_eq!(deleted, Deleted::Removed);
    assert_eq!(bank.file(fid).await.unwrap(), None);
}

async fn declarations_can_be_withdrawn_and_repeated(bank: &dyn FileBank, cast: &Cast) {
    let [alice, ..] = cast.owners;
    let (fid, record) = file(cast, 2, 3, None);
    let declare = || bank.declare(fid, record.clone(), owner(alice, "two.bin"));
    bank.cancel(fid).await.unwrap();
    assert_eq!(declare().await.unwrap(), Declared::Deal);
    for (index, node) in (0..5).zip(cast.nodes.iter().copied()) {
        bank.report(fid, index, node).await.unwrap();
    }
    // Again: reports begin anew.
    assert_eq!(declare().await.unwrap(), Declared::Deal);
    let first = bank.report(fid, 7, cast.nodes[7]).await.unwrap();
    assert_eq!(first, FileState::Pending { reported: 1 });
    bank.cancel(fid).await.unwrap();
    bank.cancel(fid).await.unwrap();
    assert_eq!(bank.deal(fid).await.unwrap(), None);
    assert_eq!(bank.deals().await.unwrap(), []);
    let gone = bank.report(fid, 7, cast.nodes[7]).await.unwrap_err();
    assert!(matches!(gone, StorageError::NotFound { .. }), "{gone:?}");
    // A file is not withdrawn by withdrawing its declaration.
    store(bank, owner(alice, "two.bin"), &(fid, record)).await;
    bank.cancel(fid).await.unwrap();
    assert!(bank.file(fid).await.unwrap().is_some());
    bank.delete(fid, alice).await.unwrap();
}

async fn owners_come_and_go(bank: &dyn FileBank, cast: &Cast) {
    let [alice, bob, carol] = cast.owners;
    let (fid, record) = file(cast, 3, 1, None);
    let missing = bank.delete(fid, alice).await.unwrap_err();
    assert!(
        matches!(missing, StorageError::NotFound { .. }),
        "{missing:?}"
    );
    store(bank, owner(alice, "alices.bin"), &(fid, record.clone())).await;
    for _ in 0..2 {
        let declared = bank
            .declare(fid, record.clone(), owner(bob, "bobs.bin"))
            .await;
        assert_eq!(declared.unwrap(), Declared::Existing);
    }
    let mut owners = bank.owners(fid).await.unwrap();
    owners.sort_by_key(|owner| owner.account != alice);
    assert_eq!(owners, [owner(alice, "alices.bin"), owner(bob, "bobs.bin")]);
    let listed = bank.list(bob, Page::first()).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].fid, listed[0].size), (fid, record.size));
    assert_eq!(listed[0].name, Some("bobs.bin".parse().unwrap()));
    let refused = bank.delete(fid, carol).await.unwrap_err();
    assert!(
        matches!(refused, StorageError::NoPermission { .. }),
        "{refused:?}"
    );
    assert_eq!(bank.delete(fid, alice).await.unwrap(), Deleted::Released);
    assert_eq!(bank.list(alice, Page::first()).await.unwrap(), []);
    assert!(bank.file(fid).await.unwrap().is_some());
    assert_eq!(bank.delete(fid, bob).await.unwrap(), Deleted::Removed);
    let again = bank.delete(fid, bob).await.unwrap_err();
    assert!(matches!(again, StorageError::NotFound { .. }), "{again:?}");
}

async fn files_are_listed_in_order(bank: &dyn FileBank, cast: &Cast) {
    let [alice, bob, _] = cast.owners;
    let mut all = BTreeSet::new();
    for seed in 10..15 {
        let file = file(cast, seed, 1, None);
        all.insert(file.0);
        store(bank, owner(alice, "listed.bin"), &file).await;
    }
    let all: Vec<Fid> = all.into_iter().collect();
    assert_eq!(bank.files(None, 10).await.unwrap(), all);
    assert_eq!(bank.files(None, 2).await.unwrap(), all[..2]);
    assert_eq!(bank.files(Some(all[1]), 2).await.unwrap(), all[2..4]);
    assert_eq!(bank.files(Some(all[4]), 2).await.unwrap(), []);
    let page = Page {
        after: Some(all[2]),
        limit: 1,
    };
    let listed = bank.list(alice, page).await.unwrap();
    assert_eq!(listed.iter().map(|l| l.fid).collect::<Vec<_>>(), all[3..4]);
    assert_eq!(bank.list(bob, Page::first()).await.unwrap(), []);
    for fid in all {
        bank.delete(fid, alice).await.unwrap();
    }
}

async fn repairs_move_fragments_and_tags_are_kept(bank: &dyn FileBank, cast: &Cast) {
    let [alice, ..] = cast.owners;
    let (fid, record) = file(cast, 20, 2, None);
    let (old, new) = (cast.nodes[4], cast.nodes[12]);
    let missing = bank.restored(fid, 4, new).await.unwrap_err();
    assert!(
        matches!(missing, StorageError::NotFound { .. }),
        "{missing:?}"
    );
    store(bank, owner(alice, "moved.bin"), &(fid, record.clone())).await;
    // To do it again does nothing.
    for _ in 0..2 {
        bank.restored(fid, 4, new).await.unwrap();
        let moved = bank.file(fid).await.unwrap().unwrap();
        let mut placement = record.placement;
        placement[4] = new;
        assert_eq!(moved.placement, placement);
        assert_eq!(moved.state(), FileState::Active);
    }
    // And back.
    bank.restored(fid, 4, old).await.unwrap();
    let back = bank.file(fid).await.unwrap().unwrap();
    assert_eq!(back.placement, record.placement);

    let fragment = record.segments[0].fragments[4];
    assert!(bank.tag(old, fragment).await.unwrap().is_none());
    let mut u = [7; 256];
    u[0] = 1;
    let key = FragmentKey::new(fragment, &u);
    bank.tagged(old, &key).await.unwrap();
    let found = bank.tag(old, fragment).await.unwrap().unwrap();
    assert_eq!((found.fragment(), found.u()), (fragment, u));
    assert!(bank.tag(new, fragment).await.unwrap().is_none());
    bank.delete(fid, alice).await.unwrap();
    assert!(bank.tag(old, fragment).await.unwrap().is_none());
}
