//! Every call against a chain, over a real socket: one in this process, or that of `AI_LINK_CHAIN_URL`.
#![allow(clippy::unwrap_used)]

#[path = "support/chain.rs"]
mod chain;

use std::net::Ipv4Addr;

use ai_link_devchain::DevChain;
use ai_link_registry::{
    BatchError, CallError, ConnectError, DispatchFailure, Levels, NewModel, Registry,
    RegistryClient, SettlementBatch,
};
use ai_link_wire::{
    AccountId, Commitment, Digest, Fid, Identity, Level, ModelName, ModelVersion, Planck,
    SignatureBytes, Voucher,
};

use chain::{TestChain, genesis};

const RICH: Planck = Planck::ail(100_000);

fn party(name: &str) -> Identity {
    Identity::derive(b"registry tests", name)
}

fn parties() -> [Identity; 5] {
    ["owner", "operator", "coordinator", "client", "other"].map(party)
}

struct Fixture {
    _chain: TestChain,
    registry: Registry,
}

impl Fixture {
    async fn start() -> Self {
        let (chain, registry) = TestChain::start(&parties(), RICH).await;
        Self {
            _chain: chain,
            registry,
        }
    }

    fn client(&self, name: &str) -> RegistryClient {
        RegistryClient::new(self.registry.clone(), party(name))
    }

    /// The coordinator, registered.
    async fn coordinator(&self) -> RegistryClient {
        let coordinator = self.client("coordinator");
        let bond = self.registry.bond_minimums().await.unwrap().coordinator;
        coordinator
            .register_coordinator(&party("coordinator"), bond)
            .await
            .unwrap();
        coordinator
    }
}

fn model(name: &str, version: u32) -> NewModel {
    NewModel {
        name: ModelName::new(name).unwrap(),
        version: ModelVersion(version),
        commitment: Commitment([version as u8; 32]),
        manifest: Fid([7; 32]),
        price_per_record: Planck(5_000),
        levels: [Level::Mpc, Level::Sealed].into_iter().collect(),
    }
}

fn voucher(client: &str, coordinator: AccountId, cumulative: Planck) -> Voucher {
    Voucher::sign(&party(client), coordinator, cumulative)
}

fn batch(epoch: u64, vouchers: Vec<Voucher>, payouts: Vec<(AccountId, Planck)>) -> SettlementBatch {
    SettlementBatch {
        epoch,
        receipts_root: Digest([9; 32]),
        jobs: 3,
        vouchers,
        payouts,
    }
}

fn assert_fails<T: std::fmt::Debug>(result: Result<T, CallError>, pallet: &str, error: &str) {
    let failure = result.unwrap_err();
    assert!(
        failure.is(pallet, error),
        "wanted {pallet}::{error}, got {failure:?}"
    );
}

#[tokio::test]
async fn models_are_published_by_their_owner_in_increasing_versions() {
    let fixture = Fixture::start().await;
    let owner = fixture.client("owner");
    let name = ModelName::new("breast-cancer").unwrap();
    assert_eq!(owner.model(&name).await.unwrap(), None);
    owner
        .publish_model(model("breast-cancer", 1))
        .await
        .unwrap();
    owner
        .publish_model(model("breast-cancer", 3))
        .await
        .unwrap();
    owner.publish_model(model("a.digits", 1)).await.unwrap();

    let info = owner.model(&name).await.unwrap().unwrap();
    assert_eq!(info.owner, owner.account());
    assert_eq!((info.name, info.latest), (name.clone(), ModelVersion(3)));
    assert_eq!(info.price_per_record, Planck(5_000));
    let first = owner
        .version(&name, ModelVersion(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (first.commitment, first.manifest),
        (Commitment([1; 32]), Fid([7; 32]))
    );
    assert_eq!(
        first.levels,
        [Level::Mpc, Level::Sealed].into_iter().collect::<Levels>()
    );
    assert!(first.published_at.0 > 1_500_000_000_000);
    assert_eq!(owner.version(&name, ModelVersion(2)).await.unwrap(), None);
    let listed: Vec<_> = owner
        .models()
        .await
        .unwrap()
        .into_iter()
        .map(|model| model.name.to_string())
        .collect();
    assert_eq!(listed, ["a.digits", "breast-cancer"]);

    owner.set_price(&name, Planck(6)).await.unwrap();
    assert_eq!(
        owner.model(&name).await.unwrap().unwrap().price_per_record,
        Planck(6)
    );

    let again = owner.publish_model(model("breast-cancer", 3)).await;
    assert_fails(again, "Models", "VersionNotIncreasing");
    let thief = fixture.client("other");
    assert_fails(
        thief.publish_model(model("breast-cancer", 4)).await,
        "Models",
        "NotOwner",
    );
    assert_fails(
        thief.set_price(&name, Planck(1)).await,
        "Models",
        "NotOwner",
    );
    let unknown = ModelName::new("unknown").unwrap();
    assert_fails(
        owner.set_price(&unknown, Planck(1)).await,
        "Models",
        "UnknownModel",
    );
    let no_level = NewModel {
        levels: Levels::NONE,
        ..model("breast-cancer", 9)
    };
    assert_fails(
        owner.publish_model(no_level).await,
        "Models",
        "InvalidLevels",
    );
    assert!(owner.balance(owner.account()).await.unwrap().held > Planck::ZERO);
}

#[tokio::test]
async fn workers_and_coordinators_stand_with_a_bond_and_a_proof() {
    let fixture = Fixture::start().await;
    let operator = fixture.client("operator");
    let minimum = operator.bond_minimums().await.unwrap();
    let (worker, second) = (party("worker"), party("second worker"));
    operator
        .register_worker(&worker, minimum.worker)
        .await
        .unwrap();
    let bond = Planck(minimum.worker.0 + 1);
    operator.register_worker(&second, bond).await.unwrap();

    let info = operator.worker(worker.peer_key()).await.unwrap().unwrap();
    assert_eq!(
        (info.operator, info.bond),
        (operator.account(), minimum.worker)
    );
    let mut listed: Vec<_> = operator
        .workers()
        .await
        .unwrap()
        .into_iter()
        .map(|(peer, info)| (peer, info.bond))
        .collect();
    let mut wanted = [
        (worker.peer_key(), minimum.worker),
        (second.peer_key(), bond),
    ];
    wanted.sort();
    listed.sort();
    assert_eq!(listed, wanted);
    let held = operator.balance(operator.account()).await.unwrap().held;
    assert_eq!(held, Planck(2 * minimum.worker.0 + 1));

    let again = operator.register_worker(&worker, minimum.worker).await;
    assert_fails(again, "Operators", "PeerAlreadyBound");
    let low = Planck(minimum.worker.0 - 1);
    assert_fails(
        operator.register_worker(&party("third"), low).await,
        "Operators",
        "BondTooLow",
    );
    let other = fixture.client("other");
    assert_fails(
        other.deregister(worker.peer_key()).await,
        "Operators",
        "NotOperator",
    );
    operator.deregister(worker.peer_key()).await.unwrap();
    assert_eq!(operator.worker(worker.peer_key()).await.unwrap(), None);
    let soon = operator.withdraw_bond(worker.peer_key()).await;
    assert_fails(soon, "Operators", "UnbondingNotOver");

    let coordinator = fixture.coordinator().await;
    let standing = coordinator
        .coordinator(coordinator.account())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(standing.peer, party("coordinator").peer_key());
    assert_eq!(standing.bond, minimum.coordinator);
    let twice = coordinator
        .register_coordinator(&party("x"), minimum.coordinator)
        .await;
    assert_fails(twice, "Operators", "AlreadyCoordinator");
    assert_eq!(
        coordinator.coordinator(other.account()).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn settlement_pays_exactly_what_vouchers_give_and_only_once() {
    let fixture = Fixture::start().await;
    let issuance = fixture.registry.total_issuance().await.unwrap();
    let coordinator = fixture.coordinator().await;
    let client = fixture.client("client");
    let (me, customer) = (coordinator.account(), client.account());
    let worker = party("somebody new").account();
    client.deposit(Planck::ail(10)).await.unwrap();
    let escrow = client.escrow(customer).await.unwrap();
    assert_eq!(
        (escrow.free, escrow.withdrawing),
        (Planck::ail(10), Planck::ZERO)
    );
    assert_eq!(
        client.balance(customer).await.unwrap().escrow,
        Planck::ail(10)
    );

    // First epoch: two payees share what the voucher gives.
    let paid = vec![
        (worker, Planck::ail(2)),
        (party("owner").account(), Planck::ail(1)),
    ];
    let first = batch(1, vec![voucher("client", me, Planck::ail(3))], paid.clone());
    coordinator.settle(first.clone()).await.unwrap();
    assert_eq!(
        coordinator.escrow(customer).await.unwrap().free,
        Planck::ail(7)
    );
    assert_eq!(
        coordinator.settled(customer, me).await.unwrap(),
        Planck::ail(3)
    );
    assert_eq!(
        coordinator.balance(worker).await.unwrap().free,
        Planck::ail(2)
    );
    assert_eq!(coordinator.last_epoch(me).await.unwrap(), 1);
    let epoch = coordinator.epoch(me, 1).await.unwrap().unwrap();
    assert_eq!((epoch.receipts_root, epoch.jobs), (Digest([9; 32]), 3));
    assert_eq!(epoch.total, Planck::ail(3));
    assert_eq!(coordinator.epoch(me, 2).await.unwrap(), None);

    // The same epoch again, as after a crash, and every way to cheat.
    let refused = [
        (first, "EpochAlreadySettled"),
        (
            batch(3, vec![voucher("client", me, Planck::ail(4))], paid.clone()),
            "EpochOutOfOrder",
        ),
        (
            batch(2, vec![voucher("client", me, Planck::ail(3))], paid.clone()),
            "VoucherNotIncreasing",
        ),
        (
            batch(2, vec![voucher("client", me, Planck::ail(5))], paid.clone()),
            "PayoutsNotEqualVouchers",
        ),
        (
            batch(
                2,
                vec![voucher("client", me, Planck::ail(11))],
                vec![(worker, Planck::ail(8))],
            ),
            "EscrowTooLow",
        ),
        (
            batch(
                2,
                vec![Voucher {
                    signature: SignatureBytes([1; 64]),
                    ..voucher("client", me, Planck::ail(6))
                }],
                paid.clone(),
            ),
            "InvalidVoucher",
        ),
        (batch(2, vec![], vec![]), "EmptyBatch"),
    ];
    for (batch, error) in refused {
        assert_fails(coordinator.settle(batch).await, "Settlement", error);
    }
    let mine = voucher("client", customer, Planck::ail(4));
    let unbonded = client
        .settle(batch(1, vec![mine], vec![(worker, Planck::ail(4))]))
        .await;
    assert_fails(unbonded, "Settlement", "NotBondedCoordinator");
    let foreign = coordinator.settle(batch(2, vec![mine], paid.clone())).await;
    assert!(matches!(
        foreign,
        Err(CallError::Batch(BatchError::ForeignVoucher { .. }))
    ));
    let many = vec![(worker, Planck(1)); ai_link_registry::MAX_PAYOUTS + 1];
    let many = coordinator.settle(batch(2, vec![], many)).await;
    assert!(matches!(
        many,
        Err(CallError::Batch(BatchError::TooManyPayouts { count: 1025 }))
    ));
    assert_eq!(coordinator.last_epoch(me).await.unwrap(), 1);

    // Second epoch: only the difference is taken.
    let second = batch(2, vec![voucher("client", me, Planck::ail(6))], paid);
    coordinator.settle(second).await.unwrap();
    assert_eq!(
        coordinator.escrow(customer).await.unwrap().free,
        Planck::ail(4)
    );
    assert_eq!(
        coordinator.balance(worker).await.unwrap().free,
        Planck::ail(4)
    );

    client.request_withdrawal(Planck::ail(1)).await.unwrap();
    let escrow = client.escrow(customer).await.unwrap();
    assert_eq!(
        (escrow.free, escrow.withdrawing),
        (Planck::ail(3), Planck::ail(1))
    );
    assert_fails(client.withdraw().await, "Settlement", "WithdrawalNotDue");
    assert_fails(
        client.request_withdrawal(Planck::ail(9)).await,
        "Settlement",
        "EscrowTooLow",
    );
    assert_eq!(fixture.registry.total_issuance().await.unwrap(), issuance);
}

#[tokio::test]
async fn a_full_settlement_batch_fits_into_a_block() {
    let fixture = Fixture::start().await;
    let coordinator = fixture.coordinator().await;
    let client = fixture.client("client");
    let me = coordinator.account();
    let payouts = ai_link_registry::MAX_PAYOUTS as u128;
    client.deposit(Planck::ail(2_000)).await.unwrap();
    let payees: Vec<_> = (0..payouts)
        .map(|n| {
            (
                party(&format!("payee {}", n % 64)).account(),
                Planck(10_000_000),
            )
        })
        .collect();
    let total = Planck(payouts * 10_000_000);
    let settlement = batch(1, vec![voucher("client", me, total)], payees);
    coordinator.settle(settlement).await.unwrap();
    assert_eq!(
        coordinator.epoch(me, 1).await.unwrap().unwrap().total,
        total
    );
}

#[tokio::test]
async fn twenty_calls_in_flight_from_one_account_all_land() {
    let fixture = Fixture::start().await;
    let client = fixture.client("client");
    let to = party("receiver").account();
    let issuance = client.total_issuance().await.unwrap();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.transfer(to, Planck::ail(1)).await })
        })
        .collect();
    let mut transactions = std::collections::BTreeSet::new();
    for call in calls {
        transactions.insert(call.await.unwrap().unwrap().transaction);
    }
    assert_eq!(transactions.len(), 20);
    assert_eq!(client.balance(to).await.unwrap().free, Planck::ail(20));
    assert_eq!(client.total_issuance().await.unwrap(), issuance);
}

#[tokio::test]
async fn a_refused_call_does_not_disturb_the_next() {
    let fixture = Fixture::start().await;
    let poor = fixture.client("nobody");
    let refused = poor.transfer(party("client").account(), Planck(1)).await;
    assert!(
        matches!(refused, Err(CallError::Refused { code: 1010, .. })),
        "{refused:?}"
    );
    let client = fixture.client("client");
    client
        .transfer(poor.account(), Planck::ail(1))
        .await
        .unwrap();
    poor.transfer(client.account(), Planck(1)).await.unwrap();

    let much = client
        .transfer(poor.account(), Planck::ail(200_000))
        .await
        .unwrap_err();
    let CallError::Failed(DispatchFailure::Runtime { reason }) = much else {
        panic!("{much:?}")
    };
    assert!(reason.contains("FundsUnavailable"), "{reason}");
    client.transfer(poor.account(), Planck(1)).await.unwrap();

    // Somebody else used the account: the client's own count is behind, and it recovers.
    let twin = fixture.client("client");
    twin.transfer(poor.account(), Planck(1)).await.unwrap();
    let stale = client.transfer(poor.account(), Planck(1)).await;
    assert!(
        matches!(stale, Err(CallError::Refused { code: 1010, .. })),
        "{stale:?}"
    );
    client.transfer(poor.account(), Planck(1)).await.unwrap();
}

#[tokio::test]
async fn a_restarted_chain_has_everything_and_clients_find_it_again() {
    let (chain, registry) = TestChain::embedded(&parties(), RICH).await;
    let TestChain::Embedded {
        directory,
        serving: chain,
    } = chain
    else {
        unreachable!("it was asked for")
    };
    let client = RegistryClient::new(registry.clone(), party("client"));
    let owner = RegistryClient::new(registry.clone(), party("owner"));
    owner.publish_model(model("kept", 1)).await.unwrap();
    client.deposit(Planck::ail(3)).await.unwrap();
    let issuance = registry.total_issuance().await.unwrap();
    let address = chain.url().trim_start_matches("ws://").parse().unwrap();
    chain.stop().await.unwrap();
    assert!(registry.total_issuance().await.is_err());

    let chain = DevChain::open(directory.path(), &genesis(&parties(), RICH)).unwrap();
    let chain = chain.serve(address, None).await.unwrap();
    assert_eq!(registry.total_issuance().await.unwrap(), issuance);
    assert_eq!(
        registry.escrow(client.account()).await.unwrap().free,
        Planck::ail(3)
    );
    let name = ModelName::new("kept").unwrap();
    assert_eq!(
        registry.model(&name).await.unwrap().unwrap().owner,
        owner.account()
    );
    owner.publish_model(model("kept", 2)).await.unwrap();
    assert_eq!(
        registry.model(&name).await.unwrap().unwrap().latest,
        ModelVersion(2)
    );
    chain.stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_url_is_told() {
    let far = Registry::connect("ws://192.0.2.1:9944").await;
    assert!(matches!(far, Err(ConnectError::Url { .. })));
    assert!(matches!(
        Registry::connect("nonsense").await,
        Err(ConnectError::Url { .. })
    ));
    let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("ws://{}", closed.local_addr().unwrap());
    drop(closed);
    assert!(matches!(
        Registry::connect(&url).await,
        Err(ConnectError::Chain { .. })
    ));
}

#[test]
fn the_futures_can_be_spawned() {
    fn check<T: Send>(_: impl FnOnce(&'static RegistryClient) -> T) {}
    check(|client| client.models());
    check(|client| client.worker(party("x").peer_key()));
    check(|client| client.balance(client.account()));
    check(|client| client.publish_model(model("x.y", 1)));
    check(|client| client.settle(batch(1, vec![], vec![])));
}
