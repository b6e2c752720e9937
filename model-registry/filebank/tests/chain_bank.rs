//! The bank over a chain in this process: the contract of all banks, and what only a chain has.
#![allow(clippy::unwrap_used)]

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use ai_link_devchain::{DevChain, Genesis, Serving};
use ai_link_filebank::{ActiveOnChain, ChainBank, HeldKeys};
use ai_link_registry::storage::{TerritoryName, TerritoryState};
use ai_link_registry::{Registry, RegistryClient};
use ai_link_storage::bank_contract::{Cast, file, holds, owner, store};
use ai_link_storage::location::{Evidence, Site};
use ai_link_storage::node::{LocalNode, StorageNode};
use ai_link_storage::{
    Account, AccountStore as _, ActiveFiles as _, EmbeddedBank, EmbeddedStore, FileBank, FileState,
    HttpStore, HttpStoreConfig, ObjectStore as _, OpenError, PutOptions, ServerConfig, SignWith,
    SignatureAuthorizer, SpreadConfig, SpreadStore, StorageError, StoreConfig, serve,
};
use ai_link_wire::{Identity, Planck};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const GIB: u128 = 1 << 30;
const NODES: usize = 14;
/// What a segment takes of a territory.
const SEGMENT: u128 = 96 << 20;

fn party(name: &str) -> Identity {
    Identity::derive(b"filebank tests", name)
}

fn node_name(index: usize) -> String {
    format!("node{index}")
}

fn account(name: &str) -> Account {
    Account(party(name).account().0)
}

fn territory() -> TerritoryName {
    "home".parse().unwrap()
}

struct Fixture {
    directory: tempfile::TempDir,
    chain: Serving,
    registry: Registry,
}

impl Fixture {
    /// A chain with fourteen miners and two owners that have a GiB each and let the gateway act.
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut names: Vec<String> = (0..NODES).map(node_name).collect();
        names.extend(["gateway", "alice", "bob", "carol"].map(str::to_owned));
        let genesis = Genesis {
            endowed: names
                .iter()
                .map(|name| (party(name).account().0.into(), Planck::ail(10_000).0))
                .collect(),
        };
        let chain = DevChain::open(&directory.path().join("chain"), &genesis).unwrap();
        let chain = chain.serve((Ipv4Addr::LOCALHOST, 0).into(), None);
        let chain = chain.await.unwrap();
        let registry = Registry::connect(chain.url()).await.unwrap();
        let fixture = Self {
            directory,
            chain,
            registry,
        };
        let collateral = fixture.registry.miner_collateral().await.unwrap();
        for index in 0..NODES {
            let miner = fixture.client(&node_name(index));
            miner
                .register_miner("http://127.0.0.1:1", 1, collateral)
                .await
                .unwrap();
        }
        for name in ["alice", "bob"] {
            let owner = fixture.client(name);
            owner.mint_territory(&territory(), 1, 30).await.unwrap();
            let gateway = party("gateway").account();
            owner.authorise_gateway(gateway).await.unwrap();
        }
        fixture
    }

    fn client(&self, name: &str) -> RegistryClient {
        RegistryClient::new(self.registry.clone(), party(name))
    }

    /// The keys of all nodes but one.
    fn keys(&self, without: Option<usize>) -> Arc<HeldKeys> {
        let nodes = (0..NODES).filter(|index| Some(*index) != without);
        Arc::new(HeldKeys::new(
            nodes.map(|index| self.client(&node_name(index))),
        ))
    }

    fn bank_with(&self, keys: Arc<HeldKeys>) -> ChainBank {
        let path = self.directory.path().join("files.redb");
        // What a store that was dropped does behind it may hold the book a moment longer.
        let mut turns = 0;
        let book = loop {
            match EmbeddedBank::open(&path) {
                Err(OpenError::InUse { .. }) if turns < 1_000 => turns += 1,
                opened => break opened.unwrap(),
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        ChainBank::new(self.client("gateway"), book, keys, territory())
    }

    fn bank(&self) -> ChainBank {
        self.bank_with(self.keys(None))
    }

    fn cast(&self) -> Cast {
        Cast {
            owners: ["alice", "bob", "carol"].map(account),
            nodes: (0..NODES).map(|i| account(&node_name(i))).collect(),
        }
    }

    /// Used, locked.
    async fn territory_of(&self, name: &str) -> (u128, u128) {
        let (owner, home) = (party(name).account(), territory());
        let found = self.registry.territory(owner, &home).await;
        let found = found.unwrap().unwrap();
        assert_eq!(found.state, TerritoryState::Active);
        assert_eq!(found.used + found.locked + found.remaining, GIB);
        (found.used, found.locked)
    }

    /// No space is used or locked anywhere.
    async fn nothing_is_left(&self) {
        for name in ["alice", "bob"] {
            assert_eq!(self.territory_of(name).await, (0, 0), "{name}");
        }
        for index in 0..NODES {
            let miner = self.registry.miner(party(&node_name(index)).account());
            let miner = miner.await.unwrap().unwrap();
            assert_eq!((miner.locked, miner.service), (0, 0), "node {index}");
            assert_eq!(miner.idle, miner.declared);
        }
        let space = self.registry.space().await.unwrap();
        assert_eq!((space.service, space.purchased), (0, 2 * GIB));
        assert_eq!(self.registry.deals().await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_of_all_banks_holds() {
    let fixture = Fixture::start().await;
    holds(&fixture.bank(), &fixture.cast()).await;
    fixture.nothing_is_left().await;
    fixture.chain.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_killed_leaks_no_space() {
    let fixture = Fixture::start().await;
    let cast = fixture.cast();
    let (fid, record) = file(&cast, 40, 2, None);
    let alice = cast.owners[0];
    let (other, other_record) = file(&cast, 41, 1, None);
    {
        let bank = fixture.bank();
        bank.declare(fid, record.clone(), owner(alice, "killed.bin"))
            .await
            .unwrap();
        for (index, node) in (0..5).zip(cast.nodes.iter().copied()) {
            bank.report(fid, index, node).await.unwrap();
        }
        // Another is complete on the chain, and the store did not live to hear of it.
        bank.declare(other, other_record.clone(), owner(alice, "complete.bin"))
            .await
            .unwrap();
        for (index, node) in (0..12).zip(&cast.nodes) {
            let node = (0..NODES)
                .find(|i| account(&node_name(*i)) == *node)
                .unwrap();
            let client = fixture.client(&node_name(node));
            let fid = ai_link_wire::Fid(other.0);
            client.report_fragment(fid, index).await.unwrap();
        }
    }
    assert_eq!(
        fixture.territory_of("alice").await,
        (SEGMENT, 2 * SEGMENT),
        "used, locked"
    );
    let bank = fixture.bank();
    assert_eq!(bank.deals().await.unwrap(), [fid]);
    assert_eq!(bank.files(None, 10).await.unwrap(), [other]);
    let deal = bank.deal(fid).await.unwrap().unwrap();
    assert_eq!(deal.placement, record.placement);
    bank.cancel(fid).await.unwrap();
    assert_eq!(fixture.territory_of("alice").await, (SEGMENT, 0));
    bank.delete(other, alice).await.unwrap();
    fixture.nothing_is_left().await;
    fixture.chain.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_decides() {
    let fixture = Fixture::start().await;
    let cast = fixture.cast();
    let [alice, bob, carol] = cast.owners;
    let bank = fixture.bank();
    let (fid, record) = file(&cast, 50, 1, None);
    let declare = |account: Account| bank.declare(fid, record.clone(), owner(account, "file.bin"));
    let reason = |error: StorageError| match error {
        StorageError::NoPermission { reason } => reason,
        other => panic!("{other:?}"),
    };
    // An owner that has not let the store act, and then one that has no space.
    let said = reason(declare(carol).await.unwrap_err());
    assert!(said.contains("not authorised"), "{said}");
    let gateway = party("gateway").account();
    let carols = fixture.client("carol");
    carols.authorise_gateway(gateway).await.unwrap();
    let said = reason(declare(carol).await.unwrap_err());
    assert!(said.contains("no territory"), "{said}");
    assert_eq!(bank.deals().await.unwrap(), []);
    let (large, large_record) = file(&cast, 51, 11, None);
    let declared = bank.declare(large, large_record, owner(alice, "large.bin"));
    let said = reason(declared.await.unwrap_err());
    assert!(said.contains("too little space"), "{said}");

    // A declaration is its owner's until it is a file.
    declare(alice).await.unwrap();
    let said = reason(declare(bob).await.unwrap_err());
    assert!(said.contains("was declared by"), "{said}");
    bank.cancel(fid).await.unwrap();

    // What another gateway deletes is gone here too.
    store(&bank, owner(alice, "file.bin"), &(fid, record.clone())).await;
    let alices = fixture.client("alice");
    alices
        .delete_file(alices.account(), ai_link_wire::Fid(fid.0))
        .await
        .unwrap();
    assert_eq!(bank.file(fid).await.unwrap(), None);
    assert_eq!(bank.files(None, 10).await.unwrap(), []);

    // A node that is gone does not order its own replacement: the store does.
    drop(bank);
    let bank = fixture.bank_with(fixture.keys(Some(3)));
    let error = bank
        .declare(fid, record.clone(), owner(alice, "file.bin"))
        .await;
    error.unwrap();
    let error = bank.report(fid, 3, cast.nodes[3]).await.unwrap_err();
    assert!(matches!(error, StorageError::Chain { .. }), "{error:?}");
    bank.cancel(fid).await.unwrap();
    drop(bank);
    let bank = fixture.bank();
    store(&bank, owner(alice, "file.bin"), &(fid, record.clone())).await;
    drop(bank);
    let bank = fixture.bank_with(fixture.keys(Some(3)));
    bank.restored(fid, 3, cast.nodes[12]).await.unwrap();
    let moved = bank.file(fid).await.unwrap().unwrap();
    assert_eq!(moved.placement[3], cast.nodes[12]);
    let gone = fixture.registry.miner(party(&node_name(3)).account());
    assert_eq!(gone.await.unwrap().unwrap().failed_proofs, 1);
    // A failed proof is on the chain before the repair is.
    let fragment = record.segments[0].fragments[6];
    bank.unproven(fid, cast.nodes[6], fragment).await.unwrap();
    let order = fixture
        .registry
        .repair_order(ai_link_wire::Digest(fragment.0));
    let order = order.await.unwrap().unwrap();
    assert_eq!(order.lost_by, party(&node_name(6)).account());
    bank.restored(fid, 6, cast.nodes[13]).await.unwrap();
    let moved = bank.file(fid).await.unwrap().unwrap();
    assert_eq!(moved.placement[6], cast.nodes[13]);
    bank.delete(fid, alice).await.unwrap();
    fixture.nothing_is_left().await;
    fixture.chain.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spread_store_stores_when_the_chain_says_so() {
    let fixture = Fixture::start().await;
    let mut nodes: Vec<(Arc<dyn StorageNode>, Site)> = Vec::new();
    for index in 0..NODES {
        let site = Site {
            country: "DE".parse().unwrap(),
            region: None,
            position: None,
            evidence: Evidence::SelfDeclared,
        };
        let (dir, name) = (fixture.directory.path(), node_name(index));
        let node = LocalNode::open(dir.join(&name), account(&name), site.clone(), 1 << 30);
        nodes.push((Arc::new(node.await.unwrap()), site));
    }
    let open = |nodes| SpreadStore::open(Arc::new(fixture.bank()), nodes, SpreadConfig::default());
    let store = open(nodes.clone()).await.unwrap();
    let says = |name, fid| {
        let files = ActiveOnChain::new(fixture.registry.clone(), party(name).account());
        async move { files.state(fid).await.unwrap() }
    };
    let alices = store.for_owner(account("alice"));
    let object: Vec<u8> = (0..100_000_u32).map(|i| ((i * i) >> 5) as u8).collect();
    let named = || PutOptions::named("object.bin".parse().unwrap());
    let stored = alices.put_bytes(&object, named()).await.unwrap();
    let on_chain = fixture.registry.file(ai_link_wire::Fid(stored.fid.0));
    let on_chain = on_chain.await.unwrap().unwrap();
    assert!(on_chain.active);
    assert_eq!(on_chain.size, 100_000);
    // As the chain tells an application: stored for the one who pays for it, and for nobody else.
    assert_eq!(says("alice", stored.fid).await, Some(FileState::Active));
    assert_eq!(says("bob", stored.fid).await, None);
    assert_eq!(fixture.territory_of("alice").await, (SEGMENT, 0));
    assert_eq!(alices.get_bytes(stored.fid, 1 << 20).await.unwrap(), object);
    // Whoever has no territory stores nothing, and no node keeps anything for it.
    let carols = store.for_owner(account("carol"));
    let refused = carols.put_bytes(&object[..50_000], named()).await;
    assert!(
        matches!(refused, Err(StorageError::NoPermission { .. })),
        "{refused:?}"
    );
    // One that is killed between declaration and activity, and opened again.
    let cast = fixture.cast();
    drop((alices, carols, store));
    let (fid, record) = file(&cast, 60, 1, None);
    {
        let bank = fixture.bank();
        bank.declare(fid, record, owner(account("bob"), "killed.bin"))
            .await
            .unwrap();
        bank.report(fid, 0, cast.nodes[0]).await.unwrap();
    }
    let pending = FileState::Pending { reported: 1 };
    assert_eq!(says("bob", fid).await, Some(pending));
    assert_eq!(fixture.territory_of("bob").await, (0, SEGMENT));
    let store = open(nodes).await.unwrap();
    assert_eq!(fixture.territory_of("bob").await, (0, 0));
    assert_eq!(says("bob", fid).await, None);
    let report = store.fsck().await.unwrap();
    assert_eq!((report.files, report.leaked), (1, 0));
    store.delete_as(account("alice"), stored.fid).await.unwrap();
    fixture.nothing_is_left().await;
    drop(store);
    fixture.chain.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_says_stored_too_early_is_not_believed() {
    let fixture = Fixture::start().await;
    // It keeps its files to itself: for the chain there are none.
    let root = fixture.directory.path().join("alone");
    let store = EmbeddedStore::open(&root, StoreConfig::default());
    let store = store.await.unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let owners = SignatureAuthorizer::default();
    let serving = serve(store, owners, listener, ServerConfig::default(), async {
        let _ = stopped.await;
    });
    let serving = tokio::spawn(serving);
    let alice = party("alice");
    let signer = SignWith::new(account("alice"), move |message: &[u8]| {
        alice.sign(message).0
    });
    let mut config = HttpStoreConfig::default();
    config.active_within = Duration::from_millis(300);
    let believing = HttpStore::with_config(&url, config)
        .unwrap()
        .with_signer(signer);
    let named = || PutOptions::named("object.bin".parse().unwrap());
    let stored = believing.put_bytes(b"an object", named()).await.unwrap();
    let owner = party("alice").account();
    let asking = believing.asking(ActiveOnChain::new(fixture.registry.clone(), owner));
    let refused = asking.put_bytes(b"an object", named()).await.unwrap_err();
    assert!(
        matches!(refused, StorageError::NotActive { fid, reported: 0 } if fid == stored.fid),
        "{refused:?}"
    );
    stop.send(()).unwrap();
    serving.await.unwrap();
    fixture.chain.stop().await.unwrap();
}
