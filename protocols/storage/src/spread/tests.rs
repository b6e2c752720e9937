//! The store over nodes that fail in every way.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures::StreamExt;

use super::testing::{COUNTRIES, Fault, Nodes, config};
use super::*;
use crate::contract::{GEOMETRY, bytes, options, signer};
use crate::http::auth::{Access, RequestSigner};
use crate::location::LocationPolicy;
use crate::node::HttpTagger;
use crate::podr2::{AuditConfig, Auditor};
use crate::store::ObjectStore;

const OBJECT: usize = 3 * 4096 - 300;

fn owner() -> Account {
    signer(1).account()
}

async fn stored(nodes: &Nodes, seed: u8) -> (Fid, Vec<u8>) {
    let object = bytes(OBJECT, seed);
    let store = nodes.store.for_owner(owner());
    (
        store
            .put_bytes(&object, options("object"))
            .await
            .unwrap()
            .fid,
        object,
    )
}

async fn read(store: &SpreadStore, fid: Fid) -> Result<Vec<u8>, StorageError> {
    store.get(fid, None).await?.into_vec(1 << 20).await
}

/// All ways to lose 8 of 12 nodes, in all ways in which a node can fail; and of losing 9.
#[tokio::test]
async fn any_eight_of_twelve_nodes_may_be_lost() {
    let nodes = Nodes::new(12).await;
    let (fid, object) = stored(&nodes, 1).await;
    let record = nodes.bank.file(fid).await.unwrap().unwrap();
    let other = record.segments[1].fragments[0];
    let faults = [
        Fault::Dead,
        Fault::Flipped,
        Fault::Truncated,
        Fault::Overlong,
        Fault::Swapped(other),
        Fault::Forgetful,
    ];
    let mut subsets = 0;
    for mask in 0..1_u32 << FRAGMENTS {
        if mask.count_ones() != 8 {
            continue;
        }
        let lost: Vec<usize> = (0..FRAGMENTS)
            .filter(|index| mask >> index & 1 == 1)
            .collect();
        for (i, index) in lost.iter().enumerate() {
            let fault = faults[(i + subsets) % faults.len()];
            nodes.break_indices(fid, &[*index], fault).await;
        }
        assert_eq!(
            read(&nodes.store, fid).await.unwrap(),
            object,
            "{mask:012b}"
        );
        nodes.heal();
        nodes.store.settle().await;
        subsets += 1;
    }
    assert_eq!(subsets, 495);
    for lost in [[0, 1, 2, 3, 4, 5, 6, 7, 8], [3, 4, 5, 6, 7, 8, 9, 10, 11]] {
        nodes.break_indices(fid, &lost, Fault::Dead).await;
        let error = read(&nodes.store, fid).await.unwrap_err();
        assert!(
            matches!(error, StorageError::Unrecoverable { fid: f, segment: 0, have: 3, need: 4 } if f == fid),
            "{error:?}"
        );
        nodes.heal();
    }
}

/// At the sizes of the network: three segments, some ways to lose eight nodes.
#[tokio::test]
async fn eight_nodes_may_be_lost_at_full_size() {
    let config = SpreadConfig {
        geometry: Geometry::CESS,
        max_object: 1 << 30,
        ..config(GEOMETRY)
    };
    let nodes = Nodes::with(12, config, 1 << 30, None).await;
    let object = bytes((64 << 20) + 12_345, 9);
    let store = nodes.store.for_owner(owner());
    let fid = store
        .put_bytes(&object, options("large"))
        .await
        .unwrap()
        .fid;
    for lost in [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [4, 5, 6, 7, 8, 9, 10, 11],
        [0, 2, 3, 5, 7, 8, 9, 11],
    ] {
        nodes.break_indices(fid, &lost, Fault::Dead).await;
        let mut stream = nodes.store.get(fid, None).await.unwrap();
        let mut at = 0;
        while let Some(piece) = stream.next().await {
            let piece = piece.unwrap();
            assert!(piece == object[at..at + piece.len()], "{lost:?} at {at}");
            at += piece.len();
        }
        assert_eq!(at, object.len());
        nodes.heal();
    }
}

#[tokio::test]
async fn reads_repair_what_they_find_damaged() {
    let nodes = Nodes::new(12).await;
    let (fid, object) = stored(&nodes, 2).await;
    let record = nodes.bank.file(fid).await.unwrap().unwrap();
    // Damaged on disk, behind the node's back.
    for index in [0, 1] {
        let account = record.placement[index];
        let place = nodes
            .nodes
            .iter()
            .position(|node| node.account() == account)
            .unwrap();
        let hash = record.segments[0].fragments[index].to_string();
        let shelf = nodes
            .dir
            .path()
            .join(format!("node-{place}/fragments"))
            .join(&hash[..2]);
        let mut damaged = std::fs::read(shelf.join(&hash)).unwrap();
        damaged[10] ^= 1;
        std::fs::write(shelf.join(&hash), damaged).unwrap();
    }
    assert_eq!(read(&nodes.store, fid).await.unwrap(), object);
    nodes.store.settle().await;
    let report = nodes.store.repair(fid).await.unwrap();
    assert_eq!((report.restored, report.moved.len()), (0, 0), "{report:?}");
}

#[tokio::test]
async fn slow_nodes_are_hedged() {
    let nodes = Nodes::new(12).await;
    let (fid, object) = stored(&nodes, 3).await;
    // These would never answer; the test ends only if others are asked.
    nodes.break_indices(fid, &[0, 1, 5], Fault::Hung).await;
    nodes.break_indices(fid, &[4], Fault::Slow(30)).await;
    assert_eq!(read(&nodes.store, fid).await.unwrap(), object);
    for (start, end) in [(0, 10), (1000, 1100), (4000, 9000)] {
        let range = ByteRange::try_from(start..end).unwrap();
        let part = nodes.store.get(fid, Some(range)).await.unwrap();
        let part = part.into_vec(1 << 20).await.unwrap();
        assert_eq!(part, object[start as usize..end as usize]);
    }
}

#[tokio::test]
async fn repair_moves_fragments_and_keeps_the_policy() {
    let nodes = Nodes::new(28).await;
    let policy = LocationPolicy::european_union();
    let object = bytes(OBJECT, 4);
    let store = nodes.store.for_owner(owner());
    let stored = store
        .put_bytes(&object, options("object").within(policy.clone()))
        .await
        .unwrap();
    let permitted = |record: &FileRecord| {
        let sites: BTreeMap<_, _> = nodes.store.nodes().collect();
        record
            .placement
            .iter()
            .all(|node| policy.permits(sites[node]).is_ok())
    };
    let fid = stored.fid;
    let before = nodes.bank.file(fid).await.unwrap().unwrap();
    assert!(permitted(&before));
    // Two of the fourteen nodes in the union are free; two may be lost.
    nodes.break_indices(fid, &[2, 7], Fault::Dead).await;
    nodes.break_indices(fid, &[5], Fault::Flipped).await;
    let report = nodes.store.repair(fid).await.unwrap();
    let after = nodes.bank.file(fid).await.unwrap().unwrap();
    assert!(permitted(&after));
    assert_eq!(
        report
            .moved
            .iter()
            .map(|(index, _)| *index)
            .collect::<Vec<_>>(),
        [2, 7]
    );
    assert_eq!(
        report.restored, 3,
        "the node with flipped bits got all it has anew"
    );
    nodes.heal();
    let report = nodes.store.repair(fid).await.unwrap();
    assert_eq!((report.restored, report.moved.len()), (0, 0));
    assert_eq!(read(&nodes.store, fid).await.unwrap(), object);
    // With a third lost there is none left in the union, though others are free.
    nodes.break_indices(fid, &[0, 1, 2], Fault::Dead).await;
    let error = nodes.store.repair(fid).await.unwrap_err();
    assert!(matches!(error, StorageError::Placement { .. }), "{error}");
    assert!(
        error.to_string().contains("none of the countries"),
        "{error}"
    );
    assert_eq!(
        read(&nodes.store, fid).await.unwrap(),
        object,
        "it is still there"
    );
    nodes.heal();
    // The nodes that were dead while their fragments moved kept them: fsck releases those.
    let report = nodes.store.fsck().await.unwrap();
    assert_eq!(
        (report.files, report.leaked, report.lacking.len()),
        (1, 2, 0),
        "{report:?}"
    );
    assert_eq!(nodes.store.fsck().await.unwrap().leaked, 0);
}

#[tokio::test]
async fn policies_decide_where_objects_go() {
    let nodes = Nodes::new(24).await;
    let store = nodes.store.for_owner(owner());
    let object = bytes(100, 5);
    let only = |country: &str| {
        let json = format!(r#"{{"allow-countries": ["{country}"]}}"#);
        LocationPolicy::from_json(&json).unwrap()
    };
    // Each country has six nodes.
    let error = store
        .put_bytes(&object, options("object").within(only("DE")))
        .await
        .unwrap_err();
    assert!(
        matches!(
            &error,
            StorageError::Placement {
                needed: 12,
                found: 6,
                total: 24,
                ..
            }
        ),
        "{error:?}"
    );
    let policy = LocationPolicy::european_union();
    let fid = store
        .put_bytes(&object, options("object").within(policy))
        .await
        .unwrap()
        .fid;
    for at in store.locate(fid).await.unwrap() {
        let country = at.site.unwrap().country.to_string();
        assert!(["DE", "FR"].contains(&country.as_str()), "{country}");
    }
    // Storing it under another policy would move it or break that: neither happens silently.
    let other = LocationPolicy::from_json(r#"{"deny-countries": ["DE"]}"#).unwrap();
    let error = store
        .put_bytes(&object, options("object").within(other))
        .await
        .unwrap_err();
    assert!(
        matches!(error, StorageError::OtherPolicy { .. }),
        "{error:?}"
    );
    // Without one, regions take turns.
    let fid = store
        .put_bytes(&bytes(100, 6), options("object"))
        .await
        .unwrap()
        .fid;
    for country in COUNTRIES {
        let found = store.locate(fid).await.unwrap();
        let in_country = found
            .iter()
            .filter(|at| at.site.as_ref().unwrap().country.to_string() == country);
        assert_eq!(in_country.count(), 3);
    }
}

#[tokio::test]
async fn nodes_that_claim_to_be_elsewhere_get_nothing() {
    let nodes = Nodes::new(13).await;
    nodes.nodes[0].set(Fault::Elsewhere);
    let (fid, _) = stored(&nodes, 6).await;
    let record = nodes.bank.file(fid).await.unwrap().unwrap();
    assert!(!record.placement.contains(&nodes.nodes[0].account()));
    nodes.nodes[1].set(Fault::Elsewhere);
    let store = nodes.store.for_owner(owner());
    let error = store
        .put_bytes(&bytes(100, 1), options("object"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("was registered in"), "{error}");
}

#[tokio::test]
async fn a_put_survives_four_failing_nodes_and_leaves_nothing_after_five() {
    for fault in [Fault::ReadOnly, Fault::Uncommitted] {
        let nodes = Nodes::new(16).await;
        for node in &nodes.nodes[..4] {
            node.set(fault);
        }
        let (fid, object) = stored(&nodes, 7).await;
        let record = nodes.bank.file(fid).await.unwrap().unwrap();
        // One that only fails to commit may still get what is rebuilt.
        let avoided = nodes.nodes[..4]
            .iter()
            .all(|node| !record.placement.contains(&node.account()));
        assert!(avoided || fault == Fault::Uncommitted);
        assert_eq!(read(&nodes.store, fid).await.unwrap(), object);
        nodes.store.for_owner(owner()).delete(fid).await.unwrap();
        let nodes = Nodes::new(12).await;
        for node in &nodes.nodes[..5] {
            node.set(fault);
        }
        let store = nodes.store.for_owner(owner());
        store
            .put_bytes(&bytes(OBJECT, 7), options("object"))
            .await
            .unwrap_err();
        assert_eq!(store.list(Page::first()).await.unwrap(), []);
        assert!(nodes.bank.deals().await.unwrap().is_empty());
        nodes.heal();
        // Aborts run behind the error.
        while nodes.occupied().await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_dropped_put_leaves_nothing() {
    let nodes = Nodes::new(12).await;
    let store = nodes.store.for_owner(owner());
    let (sender, receiver) = tokio::io::duplex(64 << 10);
    {
        let put = store.put(ByteSource::new(receiver), options("object"));
        let mut put = std::pin::pin!(put);
        let mut sender = sender;
        tokio::io::AsyncWriteExt::write_all(&mut sender, &bytes(3 * 4096, 1))
            .await
            .unwrap();
        // It waits for more, with segments staged.
        while nodes.occupied().await == 0 {
            let polled = tokio::time::timeout(Duration::from_millis(20), &mut put).await;
            assert!(polled.is_err(), "it has not got everything");
        }
    }
    while nodes.occupied().await > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(store.list(Page::first()).await.unwrap(), []);
}

/// A store that died between declaring and the last report.
#[tokio::test]
async fn an_unfinished_deal_is_withdrawn_at_the_next_start() {
    let nodes = Nodes::new(12).await;
    let (fid, object) = stored(&nodes, 8).await;
    let record = nodes.bank.file(fid).await.unwrap().unwrap();
    nodes.bank.delete(fid, owner()).await.unwrap();
    // The nodes have everything, half of them are reported.
    let deal = FileRecord::new(
        record.rule,
        record.size,
        record.segments,
        record.placement,
        None,
    );
    let name = crate::object::Owner::new(owner(), "object".parse().unwrap());
    nodes.bank.declare(fid, deal, name).await.unwrap();
    for index in 0..6 {
        nodes
            .bank
            .report(fid, index, record.placement[usize::from(index)])
            .await
            .unwrap();
    }
    let error = read(&nodes.store, fid).await.unwrap_err();
    assert!(
        matches!(error, StorageError::NotFound { .. }),
        "not visible before it is active"
    );
    let store = nodes.reopened().await;
    assert!(nodes.bank.deals().await.unwrap().is_empty());
    assert_eq!(nodes.occupied().await, 0);
    let again = store
        .for_owner(owner())
        .put_bytes(&object, options("object"))
        .await
        .unwrap();
    assert_eq!(again.fid, fid);
    assert_eq!(read(&store, fid).await.unwrap(), object);
}

#[tokio::test]
async fn equal_fragments_of_other_objects_survive_a_delete() {
    let nodes = Nodes::new(12).await;
    let store = nodes.store.for_owner(owner());
    let first = bytes(2 * 4096, 1);
    // Shares its first segment, which falls on other nodes.
    let second = [&first[..4096], &bytes(4096, 2)].concat();
    let a = store.put_bytes(&first, options("first")).await.unwrap().fid;
    let b = store
        .put_bytes(&second, options("second"))
        .await
        .unwrap()
        .fid;
    store.delete(a).await.unwrap();
    assert_eq!(read(&nodes.store, b).await.unwrap(), second);
    store.delete(b).await.unwrap();
    assert_eq!(nodes.occupied().await, 0);
}

#[tokio::test]
async fn nodes_that_cannot_prove_lose_their_fragments() {
    let key = crate::podr2::testing::key();
    let public = key.public();
    let nodes = Nodes::with(13, config(GEOMETRY), 1 << 30, Some(public.clone())).await;
    let object = bytes(3000, 9);
    let store = nodes.store.for_owner(owner());
    let fid = store
        .put_bytes(&object, options("object"))
        .await
        .unwrap()
        .fid;
    // The tagger is behind HTTP, as the process is.
    let store_key: Arc<dyn RequestSigner> = Arc::new(signer(5));
    let access = Access::Only(vec![store_key.account()]);
    let router = crate::node::tagger::router(key, GEOMETRY, access);
    let mut stops = Vec::new();
    let url = crate::contract::serving(&mut stops, |listener, stopped| {
        crate::server::serve_router(router, listener, Default::default(), stopped)
    })
    .await;
    let stranger: Arc<dyn RequestSigner> = Arc::new(signer(6));
    let stranger = HttpTagger::new(&url, public.clone(), stranger).unwrap();
    let error = nodes.store.tag(fid, &stranger).await.unwrap_err();
    assert!(
        matches!(error, StorageError::NoPermission { .. }),
        "{error:?}"
    );
    let tagger = HttpTagger::new(&url, public.clone(), store_key).unwrap();
    let tagged = nodes.store.tag(fid, &tagger).await.unwrap();
    // The last data fragment is zeros.
    assert_eq!(tagged, 11);
    let mut auditor = Auditor::new(AuditConfig::default(), public);
    let start = Duration::ZERO;
    nodes.store.watch(&mut auditor, fid, start).await.unwrap();
    let report = nodes
        .store
        .audit(&mut auditor, &[fid], start)
        .await
        .unwrap();
    assert_eq!((report.proven, report.failed), (11, 0));

    // One node loses a quarter of a fragment on disk: damaged, but not missing.
    let record = nodes.bank.file(fid).await.unwrap().unwrap();
    let account = record.placement[6];
    let place = nodes
        .nodes
        .iter()
        .position(|node| node.account() == account)
        .unwrap();
    let hash = record.segments[0].fragments[6].to_string();
    let shelf = nodes
        .dir
        .path()
        .join(format!("node-{place}/fragments"))
        .join(&hash[..2]);
    let mut damaged = std::fs::read(shelf.join(&hash)).unwrap();
    damaged[..256].fill(0);
    std::fs::write(shelf.join(&hash), damaged).unwrap();
    let day = Duration::from_secs(24 * 3600 + 60);
    let report = nodes.store.audit(&mut auditor, &[fid], day).await.unwrap();
    assert_eq!(
        (report.proven, report.failed, report.repaired.len()),
        (10, 1, 0)
    );
    let later = day + Duration::from_secs(700);
    let report = nodes
        .store
        .audit(&mut auditor, &[fid], later)
        .await
        .unwrap();
    assert_eq!(report.repaired, [(fid, 6, account)]);
    let moved = nodes.bank.file(fid).await.unwrap().unwrap();
    assert_ne!(moved.placement[6], account);
    assert_eq!(read(&nodes.store, fid).await.unwrap(), object);
    let report = nodes.store.repair(fid).await.unwrap();
    assert_eq!((report.restored, report.moved.len()), (0, 0));
    // What moved is tagged for its new node, and proven there.
    assert_eq!(nodes.store.tag(fid, &tagger).await.unwrap(), 1);
    nodes.store.watch(&mut auditor, fid, later).await.unwrap();
    let report = nodes
        .store
        .audit(&mut auditor, &[fid], later)
        .await
        .unwrap();
    assert_eq!((report.proven, report.failed), (1, 0));
}
