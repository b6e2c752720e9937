//! Files, territories, gateways and miners against a chain in this process, or that of `AI_LINK_CHAIN_URL`, over a real
//! socket.
#![allow(clippy::unwrap_used)]

#[path = "support/chain.rs"]
mod chain;

use ai_link_registry::storage::{
    DeclaredSegment, FRAGMENTS, NewFile, ProofOutcome, TerritoryName, TerritoryState,
};
use ai_link_registry::{Registry, RegistryClient, TREASURY};
use ai_link_wire::{Digest, Fid, Identity, Planck};

use chain::TestChain;

const GIB: u128 = 1 << 30;
const TIB: u128 = 1 << 40;
const FRAGMENT: u128 = 8 << 20;

fn party(name: &str) -> Identity {
    Identity::derive(b"storage tests", name)
}

fn miner(index: usize) -> Identity {
    party(&format!("miner{index}"))
}

fn name(text: &str) -> TerritoryName {
    text.parse().unwrap()
}

struct Fixture {
    _chain: TestChain,
    registry: Registry,
}

impl Fixture {
    async fn start() -> Self {
        let mut parties: Vec<Identity> = (0..13).map(miner).collect();
        parties.extend(["owner", "gateway"].map(party));
        let (chain, registry) = TestChain::start(&parties, Planck::ail(10_000)).await;
        Self {
            _chain: chain,
            registry,
        }
    }

    fn client(&self, identity: Identity) -> RegistryClient {
        RegistryClient::new(self.registry.clone(), identity)
    }
}

fn file(owner: &Identity) -> NewFile {
    let segment = |s: u8| DeclaredSegment {
        hash: Digest([s; 32]),
        fragments: std::array::from_fn(|i| Digest([s * 16 + i as u8; 32])),
    };
    NewFile {
        fid: Fid([0xfd; 32]),
        size: 40_000_000,
        segments: vec![segment(1), segment(2)],
        owner: owner.account(),
        name: "forty.bin".parse().unwrap(),
        territory: name("home"),
    }
}

#[tokio::test]
async fn a_file_is_paid_declared_reported_repaired_and_deleted() {
    let fixture = Fixture::start().await;
    let registry = &fixture.registry;
    let (owner, gateway) = (party("owner"), party("gateway"));
    let (owners, gateways) = (
        fixture.client(owner.clone()),
        fixture.client(gateway.clone()),
    );
    let collateral = registry.miner_collateral().await.unwrap();
    for index in 0..13 {
        let client = fixture.client(miner(index));
        let endpoint = format!("http://127.0.0.1:{index}");
        client
            .register_miner(&endpoint, 1, collateral)
            .await
            .unwrap();
    }
    let found = registry.miner(miner(3).account()).await.unwrap().unwrap();
    assert_eq!(found.endpoint, "http://127.0.0.1:3");
    assert_eq!((found.state.as_str(), found.idle), ("positive", TIB));
    assert_eq!(found.collateral, collateral);
    assert_eq!(registry.miner(owner.account()).await.unwrap(), None);

    // Space costs what it says, and the treasury gets it.
    let space = registry.space().await.unwrap();
    assert_eq!(
        (space.idle, space.purchased, space.day),
        (13 * TIB, 0, 14_400)
    );
    let before = registry.balance(TREASURY).await.unwrap().free;
    owners.mint_territory(&name("home"), 2, 30).await.unwrap();
    owners.expand_territory(&name("home"), 1).await.unwrap();
    owners.renew_territory(&name("home"), 5).await.unwrap();
    let after = registry.balance(TREASURY).await.unwrap().free;
    let days = 2 * 30 + 30 + 3 * 5;
    let paid = after.0 - before.0;
    assert!(paid >= space.price.0 * days, "{paid}");
    assert!(paid < space.price.0 * days + Planck::ail(1).0, "{paid}");
    let home = registry.territory(owner.account(), &name("home")).await;
    let home = home.unwrap().unwrap();
    assert_eq!((home.total, home.used, home.locked), (3 * GIB, 0, 0));
    assert_eq!(home.state, TerritoryState::Active);
    assert_eq!(home.deadline - home.start, 35 * space.day);
    let all = registry.territories(owner.account()).await.unwrap();
    assert_eq!(all, [home]);

    // Nobody declares for an owner that did not let it.
    let file = file(&owner);
    let refused = gateways.declare_file(file.clone()).await.unwrap_err();
    assert!(refused.is("FileBank", "NoPermission"), "{refused:?}");
    owners.authorise_gateway(gateway.account()).await.unwrap();
    let authorised = registry.authorised_gateways(owner.account()).await;
    assert_eq!(authorised.unwrap(), [gateway.account()]);
    gateways.declare_file(file.clone()).await.unwrap();
    assert_eq!(
        registry.deals().await.unwrap(),
        [(file.fid, owner.account())]
    );
    for index in 0..11 {
        let client = fixture.client(miner(index));
        client.report_fragment(file.fid, index as u8).await.unwrap();
    }
    let deal = registry.deal(file.fid).await.unwrap().unwrap();
    assert_eq!(deal.segments, file.segments);
    assert_eq!((deal.size, deal.reported.len()), (40_000_000, 11));
    assert_eq!(deal.owner.name, "forty.bin");
    assert_eq!(registry.file(file.fid).await.unwrap(), None);
    let last = fixture.client(miner(11));
    let again = last.report_fragment(file.fid, 0).await.unwrap_err();
    assert!(again.is("FileBank", "Reported"), "{again:?}");
    last.report_fragment(file.fid, 11).await.unwrap();
    assert_eq!(registry.deal(file.fid).await.unwrap(), None);
    let stored = registry.file(file.fid).await.unwrap().unwrap();
    assert!(stored.active);
    for (segment, declared) in stored.segments.iter().zip(&file.segments) {
        assert_eq!(segment.hash, declared.hash);
        for index in 0..FRAGMENTS {
            let fragment = segment.fragments[index];
            assert_eq!(fragment.hash, declared.fragments[index]);
            assert_eq!(fragment.miner, miner(index).account());
            assert!(fragment.available);
        }
    }
    let held = registry.held_files(owner.account()).await.unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(
        (held[0].fid, held[0].territory.as_str()),
        (file.fid, "home")
    );

    // A failed proof orders a repair, which another miner does.
    let lost = file.segments[0].fragments[4];
    let failed = gateways.submit_service_result(
        owner.account(),
        miner(4).account(),
        file.fid,
        lost,
        ProofOutcome::Failed,
    );
    failed.await.unwrap();
    let order = registry.repair_order(lost).await.unwrap().unwrap();
    assert_eq!((order.fid, order.lost_by), (file.fid, miner(4).account()));
    assert_eq!(order.claimed_by, None);
    let spare = fixture.client(miner(12));
    spare.claim_repair(lost).await.unwrap();
    spare.complete_repair(lost).await.unwrap();
    assert_eq!(registry.repair_order(lost).await.unwrap(), None);
    let moved = registry.file(file.fid).await.unwrap().unwrap();
    assert_eq!(moved.segments[0].fragments[4].miner, miner(12).account());
    let loser = registry.miner(miner(4).account()).await.unwrap().unwrap();
    assert_eq!((loser.failed_proofs, loser.service), (1, FRAGMENT));

    // Another territory, and then nothing: all space is back.
    owners.mint_territory(&name("away"), 1, 30).await.unwrap();
    gateways
        .deliver_file(owner.account(), file.fid, &name("away"))
        .await
        .unwrap();
    let away = registry.territory(owner.account(), &name("away")).await;
    assert_eq!(away.unwrap().unwrap().used, 24 * FRAGMENT);
    gateways
        .delete_file(owner.account(), file.fid)
        .await
        .unwrap();
    let space = registry.space().await.unwrap();
    assert_eq!((space.idle, space.service), (13 * TIB, 0));
    owners.cancel_gateway(gateway.account()).await.unwrap();
    let refused = gateways.declare_file(file).await.unwrap_err();
    assert!(refused.is("FileBank", "NoPermission"), "{refused:?}");
}
