//! A coordinator process in this process: real chain, real network, real disk. Workers register,
//! clients are matched, complete and are charged; after a restart nothing is charged again.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use ai_link_coordinator::{CoordinatorConfig, Ready, RunError, run};
use ai_link_devchain::{DevChain, Genesis, Serving};
use ai_link_registry::{NewModel, Registry, RegistryClient};
use ai_link_wire::node::{Node, NodeConfig};
use ai_link_wire::{
    Acceptance, AlreadyKnown, Bytes, Commitment, ControlRequest, ControlResponse, CoordinatorInfo,
    DealerSeat, Digest, Fid, Heartbeat, Identity, JobId, JobReceipt, JobRequest, JobState, Level,
    ModelName, ModelVersion, Planck, Purpose, Refusal, RoleSet, Signed, Ticket, UnixMillis,
    Voucher, WeightPrivacy, WorkerReceipt, WorkerRecord,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const DEADLINE: Duration = Duration::from_secs(30);
const WORKER_PRICE: Planck = Planck(Planck::PER_AIL / 10);

fn party(name: &str) -> Identity {
    Identity::derive(b"coordinator end to end", name)
}

fn later(now: UnixMillis) -> UnixMillis {
    now.saturating_add(Duration::from_secs(60))
}

struct Running {
    ready: Ready,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), RunError>>,
}

impl Running {
    async fn start(config: &CoordinatorConfig) -> Self {
        let (ready, listening) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            // Also when the test gives up.
            let _ = stopped.await;
        };
        let ended = tokio::spawn(run(config.clone(), ready, shutdown));
        let ready = tokio::time::timeout(DEADLINE, listening)
            .await
            .unwrap()
            .unwrap();
        Self { ready, stop, ended }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap().unwrap();
    }

    async fn ask(&self, node: &Node, request: ControlRequest) -> ControlResponse {
        node.request(self.ready.peer, &self.ready.addresses, request, DEADLINE)
            .await
            .unwrap()
    }

    async fn info(&self, node: &Node) -> CoordinatorInfo {
        match self.ask(node, ControlRequest::Info).await {
            ControlResponse::Info(info) => info,
            other => panic!("{other:?}"),
        }
    }

    async fn settled(&self, node: &Node, job: JobId) -> u64 {
        let waiting = async {
            loop {
                match self.ask(node, ControlRequest::Job(job)).await {
                    ControlResponse::Job(Some(status)) => {
                        if let JobState::Settled { epoch } = status.state {
                            return epoch;
                        }
                    }
                    other => panic!("{other:?}"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.unwrap()
    }
}

async fn chain(dir: &Path) -> Serving {
    let names = [
        "coordinator",
        "owner",
        "operator0",
        "operator1",
        "operator2",
        "client",
    ];
    let endowed = names.map(|name| (party(name).account().0.into(), Planck::ail(1_000_000).0));
    let chain = DevChain::open(
        dir,
        &Genesis {
            endowed: endowed.to_vec(),
        },
    )
    .unwrap();
    chain
        .serve((Ipv4Addr::LOCALHOST, 0).into(), None)
        .await
        .unwrap()
}

async fn publish_and_bond(registry: &Registry) {
    let owner = RegistryClient::new(registry.clone(), party("owner"));
    owner
        .publish_model(NewModel {
            name: ModelName::new("digits").unwrap(),
            version: ModelVersion(1),
            commitment: Commitment([1; 32]),
            manifest: Fid([2; 32]),
            price_per_record: Planck(Planck::PER_AIL / 100),
            levels: Level::Mpc.into(),
        })
        .await
        .unwrap();
    let bond = registry.bond_minimums().await.unwrap().worker;
    for i in 0..3 {
        let operator = RegistryClient::new(registry.clone(), party(&format!("operator{i}")));
        operator
            .register_worker(&party(&format!("worker{i}")), bond)
            .await
            .unwrap();
    }
}

async fn register_workers(coordinator: &Running) {
    for i in 0..3 {
        let identity = party(&format!("worker{i}"));
        let (node, _incoming) = Node::start(NodeConfig::client(identity.clone()))
            .await
            .unwrap();
        let record = WorkerRecord {
            peer: identity.peer_key(),
            operator: party(&format!("operator{i}")).account(),
            addresses: vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()],
            roles: RoleSet::ALL,
            levels: vec![Level::Mpc],
            regions: vec![],
            site: None,
            cores: 1,
            memory: Bytes::mib(64),
            cached_models: vec![],
            price_per_job: WORKER_PRICE,
            software: "test".into(),
        };
        let now = UnixMillis::now();
        let signed = Signed::sign(&identity, record, now, later(now)).unwrap();
        let answer = coordinator
            .ask(&node, ControlRequest::Register(signed))
            .await;
        assert!(
            matches!(answer, ControlResponse::Registered { .. }),
            "{answer:?}"
        );
        let heartbeat = Heartbeat {
            peer: identity.peer_key(),
            active_jobs: 0,
            capacity: 8,
            cached_models: vec![],
            pools: vec![],
            hosted: vec![],
            keys: vec![],
            inputs: vec![],
        };
        let signed = Signed::sign(&identity, heartbeat, now, later(now)).unwrap();
        let answer = coordinator
            .ask(&node, ControlRequest::Heartbeat(signed))
            .await;
        assert_eq!(answer, ControlResponse::HeartbeatOk);
        node.shutdown().await;
    }
}

async fn matched(coordinator: &Running, node: &Node, job: JobId) -> ControlResponse {
    let client = party("client");
    let now = UnixMillis::now();
    let request = JobRequest {
        job,
        attempt: 0,
        client: client.account(),
        model: ModelName::new("digits").unwrap(),
        version: None,
        level: Level::Mpc,
        purpose: Purpose::Commercial,
        dealer: DealerSeat::Worker,
        evaluators: 2,
        weights: WeightPrivacy::Public,
        key: None,
        trusted: None,
        batch: 4,
        max_price: Planck::ail(1),
        regions: vec![],
        inputs: Vec::new(),
        seats: Default::default(),
        policies: Vec::new(),
        exclude: vec![],
        deadline: later(now),
    };
    let signed = Signed::sign(&client, request, now, later(now)).unwrap();
    coordinator.ask(node, ControlRequest::Match(signed)).await
}

fn receipt(ticket: &Signed<Ticket>) -> Signed<JobReceipt> {
    let now = UnixMillis::now();
    let body = ticket.verify(now).unwrap();
    let workers = body.group.iter().map(|member| {
        let receipt = WorkerReceipt {
            ticket: ticket.digest(),
            role: member.role,
            commitment: body.commitment,
            input: Digest([1; 32]),
            output: Digest([2; 32]),
            bytes_sent: Bytes(1),
            bytes_received: Bytes(1),
            rounds: 1,
            started: now,
            finished: now,
        };
        let worker = (0..3)
            .map(|i| party(&format!("worker{i}")))
            .find(|worker| worker.peer_key() == member.peer);
        Signed::sign(&worker.unwrap(), receipt, now, now).unwrap()
    });
    let receipt = JobReceipt {
        ticket: ticket.clone(),
        workers: workers.collect(),
        price: body.price,
        finished: now,
    };
    Signed::sign(&party("client"), receipt, now, now).unwrap()
}

async fn complete(coordinator: &Running, node: &Node, ticket: &Signed<Ticket>) -> ControlResponse {
    let held = coordinator.info(node).await.voucher_cumulative;
    let price = ticket.verify_at_any_time().unwrap().price;
    let cumulative = held.checked_add(price).unwrap();
    let voucher = Voucher::sign(&party("client"), coordinator.ready.account, cumulative);
    let receipt = receipt(ticket);
    let body = ticket.verify_at_any_time().unwrap();
    let acceptance = Acceptance::sign(&party("client"), body, cumulative).signature;
    let request = ControlRequest::Complete {
        receipt,
        voucher,
        acceptance,
    };
    coordinator.ask(node, request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_matched_completed_and_settled_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let chain = chain(&dir.path().join("chain")).await;
    let registry = Registry::connect(chain.url()).await.unwrap();
    let key = dir.path().join("coordinator.key");
    party("coordinator").save(&key).unwrap();
    let bond = registry.bond_minimums().await.unwrap().coordinator;
    let mut config = CoordinatorConfig::new(
        key,
        chain.url(),
        dir.path().join("coordinator"),
        Planck(Planck::PER_AIL / 50),
        bond,
    );
    config.epoch_interval_ms = 200;

    let coordinator = Running::start(&config).await;
    let account = coordinator.ready.account;
    assert_eq!(account, party("coordinator").account());
    assert_eq!(
        registry.coordinator(account).await.unwrap().unwrap().bond,
        bond
    );

    // All of this happens after the coordinator has read the chain, and is found nevertheless.
    publish_and_bond(&registry).await;
    register_workers(&coordinator).await;
    let client = RegistryClient::new(registry.clone(), party("client"));
    let (node, _incoming) = Node::start(NodeConfig::client(party("client")))
        .await
        .unwrap();
    let info = coordinator.info(&node).await;
    assert_eq!((info.workers, info.voucher_cumulative), (3, Planck::ZERO));

    let first = JobId([1; 16]);
    let refused = matched(&coordinator, &node, first).await;
    let poor = matches!(
        refused,
        ControlResponse::Refused(Refusal::InsufficientEscrow {
            have: Planck::ZERO,
            ..
        })
    );
    assert!(poor, "{refused:?}");
    client.deposit(Planck::ail(10)).await.unwrap();
    let ControlResponse::Ticket(ticket) = matched(&coordinator, &node, first).await else {
        panic!("no ticket after the deposit");
    };
    let price = ticket.verify(UnixMillis::now()).unwrap().price;
    assert_eq!(
        price.0,
        3 * WORKER_PRICE.0 + 4 * Planck::PER_AIL / 100 + Planck::PER_AIL / 50
    );
    let before = registry
        .balance(party("operator0").account())
        .await
        .unwrap()
        .free;
    let answer = complete(&coordinator, &node, &ticket).await;
    assert_eq!(
        answer,
        ControlResponse::Completed {
            already: AlreadyKnown::No
        }
    );
    assert_eq!(coordinator.settled(&node, first).await, 1);

    let after = registry
        .balance(party("operator0").account())
        .await
        .unwrap()
        .free;
    assert_eq!(after.0 - before.0, WORKER_PRICE.0);
    assert_eq!(
        registry.settled(client.account(), account).await.unwrap(),
        price
    );
    let escrow = registry.escrow(client.account()).await.unwrap().free;
    assert_eq!(escrow.0, Planck::ail(10).0 - price.0);
    let epoch = registry.epoch(account, 1).await.unwrap().unwrap();
    assert_eq!((epoch.jobs, epoch.total), (1, price));

    // A job is accepted, the coordinator restarts, the job is completed with the same ticket.
    let second = JobId([2; 16]);
    let ControlResponse::Ticket(ticket) = matched(&coordinator, &node, second).await else {
        panic!("no second ticket");
    };
    coordinator.stop().await;
    let coordinator = Running::start(&config).await;
    assert_eq!(
        matched(&coordinator, &node, second).await,
        ControlResponse::Ticket(ticket.clone()),
        "the ticket is remembered"
    );
    assert_eq!(coordinator.info(&node).await.voucher_cumulative, price);
    let answer = complete(&coordinator, &node, &ticket).await;
    assert_eq!(
        answer,
        ControlResponse::Completed {
            already: AlreadyKnown::No
        }
    );
    assert_eq!(coordinator.settled(&node, second).await, 2);
    let answer = complete(&coordinator, &node, &ticket).await;
    assert_eq!(
        answer,
        ControlResponse::Completed {
            already: AlreadyKnown::Yes
        }
    );
    assert_eq!(
        registry.settled(client.account(), account).await.unwrap(),
        Planck(2 * price.0)
    );
    assert_eq!(registry.last_epoch(account).await.unwrap(), 2);
    coordinator.stop().await;
}
