//! What every [`Store`] must do, run against each implementation.

use ai_link_wire::{
    AccountId, Digest, Identity, JobId, Leaf, PeerKey, Planck, Signed, UnixMillis, Voucher,
};

use super::world::{World, policy};
use crate::ledger::{
    AttemptEntry, AttemptPhase, ClientEntry, DiskStore, Draft, Earned, EpochEntry, JobEntry,
    MemoryStore, PaidEpoch, Phase, RefundCause, Store, Terms, TrackRecord, Write,
};

fn entry(job: u8, phase: Phase) -> JobEntry {
    let mut world = World::new(MemoryStore::default(), &[0, 1, 2], policy());
    world.everyone_ready();
    let ticket = world.ticket(0, job, 0);
    let request = world.request(0, job, 0);
    JobEntry {
        job: JobId([job; 16]),
        client: request.client,
        terms: Terms::of(&request),
        attempts: vec![AttemptEntry {
            attempt: 0,
            group: vec![PeerKey([1; 32])],
            price: Planck(5),
            matched_at: world.now,
            ticket,
            phase: AttemptPhase::Open,
        }],
        phase,
        price: Planck(5),
        release_at: world.now,
        delivery: None,
    }
}

fn voucher(cumulative: u128) -> Voucher {
    let client = Identity::derive(b"contract", "client");
    Voucher::sign(&client, AccountId([8; 32]), Planck(cumulative))
}

/// `reopen` gives the store as another process would find it.
fn contract<S: Store>(mut store: S, mut reopen: impl FnMut(S) -> S) {
    let (job, client, peer) = (JobId([1; 16]), AccountId([2; 32]), PeerKey([3; 32]));
    assert!(store.job(&job).unwrap().is_none());
    assert!(store.client(&client).unwrap().is_none());
    assert!(store.track(&peer).unwrap().is_none());
    assert!(store.draft().unwrap().is_none());
    assert!(store.live_jobs().unwrap().is_empty());
    assert!(store.earnings().unwrap().is_empty());
    assert!(store.paid_epochs(9).unwrap().is_empty());

    let accepted = entry(1, Phase::Accepted);
    let other = entry(4, Phase::Completed);
    let held = ClientEntry {
        voucher: voucher(5),
    };
    let track = TrackRecord {
        delivered: 1,
        failed: 2,
    };
    let leaf = Leaf {
        job,
        terms: Digest([8; 32]),
        receipt: Digest([9; 32]),
    };
    let epoch = EpochEntry { leaves: vec![leaf] };
    let draft = Draft {
        epoch: 7,
        receipts_root: Digest([6; 32]),
        jobs: vec![job],
        leaves: vec![leaf],
        vouchers: vec![voucher(5)],
        payouts: vec![(client, Planck(5))],
    };
    let earned = Earned {
        working: Planck(1),
        owning: Planck(2),
        coordinating: Planck(u128::MAX),
    };
    let paid = |epoch| PaidEpoch {
        epoch,
        jobs: epoch + 1,
        amount: Planck(3),
        delivered_until: UnixMillis(4),
    };
    let all = [
        Write::Earned(client, Earned::default()),
        Write::Earned(client, earned),
        Write::Paid(paid(10)),
        Write::Paid(paid(9)),
        Write::Paid(paid(11)),
        Write::Job(Box::new(accepted.clone())),
        Write::Job(Box::new(other.clone())),
        Write::Client(client, held.clone()),
        Write::Track(peer, track),
        Write::Draft(Some(Box::new(draft.clone()))),
        Write::Epoch(6, Box::new(epoch.clone())),
    ];
    store.commit(&all).unwrap();
    let mut store = reopen(store);
    assert_eq!(store.job(&job).unwrap(), Some(accepted.clone()));
    assert_eq!(store.client(&client).unwrap(), Some(held));
    assert_eq!(store.track(&peer).unwrap(), Some(track));
    assert_eq!(store.draft().unwrap(), Some(draft));
    assert_eq!(store.earnings().unwrap(), [(client, earned)]);
    assert_eq!(store.paid_epochs(2).unwrap(), [paid(10), paid(11)]);
    assert_eq!(store.paid_epochs(9).unwrap().len(), 3);
    assert_eq!(store.epoch(6).unwrap(), Some(epoch));
    assert_eq!(store.epoch(7).unwrap(), None);
    assert_eq!(
        store.live_jobs().unwrap(),
        [accepted.clone(), other.clone()]
    );

    // A closed job is no longer live, and is still there.
    let refunded = JobEntry {
        phase: Phase::Refunded {
            cause: RefundCause::DeadlinePassed,
        },
        ..accepted
    };
    store
        .commit(&[Write::Job(Box::new(refunded.clone())), Write::Draft(None)])
        .unwrap();
    let mut store = reopen(store);
    assert_eq!(store.live_jobs().unwrap(), [other]);
    assert_eq!(store.job(&job).unwrap(), Some(refunded.clone()));
    assert!(store.draft().unwrap().is_none());

    // All or nothing: the second write is too long to be stored, so the first is not stored.
    let mut huge = refunded;
    let attempt = huge.attempts[0].clone();
    huge.attempts = vec![AttemptEntry {
        group: vec![peer; 40_000],
        ..attempt
    }];
    let before = store.track(&peer).unwrap();
    let refused = store.commit(&[
        Write::Track(
            peer,
            TrackRecord {
                delivered: 9,
                failed: 9,
            },
        ),
        Write::Job(Box::new(huge)),
    ]);
    assert!(refused.is_err());
    assert_eq!(reopen(store).track(&peer).unwrap(), before);
}

#[test]
fn memory() {
    contract(MemoryStore::default(), |store| store);
}

#[test]
fn disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.redb");
    contract(DiskStore::open(&path).unwrap(), |store| {
        drop(store);
        DiskStore::open(&path).unwrap()
    });
}

#[test]
fn a_file_is_opened_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.redb");
    let first = DiskStore::open(&path).unwrap();
    assert!(DiskStore::open(&path).is_err());
    drop(first);
    assert!(DiskStore::open(&path).is_ok());
}

#[test]
fn stored_tickets_still_verify() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = DiskStore::open(dir.path().join("ledger.redb")).unwrap();
    let accepted = entry(1, Phase::Accepted);
    store
        .commit(&[Write::Job(Box::new(accepted.clone()))])
        .unwrap();
    let read = store.job(&accepted.job).unwrap().unwrap();
    let ticket: &Signed<_> = &read.attempts[0].ticket;
    assert_eq!(ticket.verify_at_any_time().unwrap().job, accepted.job);
}
