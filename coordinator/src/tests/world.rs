//! A small world: three or more operators with a worker each, two clients, a model, and a chain that
//! judges settlements as the pallet does.

use std::time::Duration;

use ai_link_registry::ModelRights;
use ai_link_wire::{
    Acceptance, AccountId, Bytes, Commitment, ControlRequest, ControlResponse, DealerSeat, Digest,
    Fid, Heartbeat, Identity, JobFailure, JobId, JobReceipt, JobRequest, JobState, Level,
    ModelName, ModelVersion, PeerKey, Planck, Purpose, Refusal, Region, Role, RoleSet, Signed,
    Ticket, UnixMillis, Voucher, WeightPrivacy, WorkerReceipt, WorkerRecord,
};

use crate::core::{ChainReading, Effect, LookedUp, Reaction};
use crate::ledger::{Draft, MemoryStore, Store};
use crate::settlement::Submission;
use crate::view::{BondedWorker, PublishedModel, PublishedVersion};
use crate::{Coordinator, Policy};

mod chain;
mod stores;

pub(crate) use chain::Chain;
pub(crate) use stores::{Crash, CrashStore, FileStore, Reopen};

pub(crate) const START: UnixMillis = UnixMillis(1_000_000_000);
pub(crate) const WORKER_PRICE: u128 = 100;
pub(crate) const RECORD_PRICE: u128 = 7;
pub(crate) const FEE: u128 = 11;

/// Everything around one coordinator.
pub(crate) struct World<S> {
    pub(crate) now: UnixMillis,
    pub(crate) chain: Chain,
    pub(crate) policy: Policy,
    pub(crate) coordinator_key: [u8; 32],
    pub(crate) workers: Vec<Identity>,
    pub(crate) operators: Vec<AccountId>,
    pub(crate) clients: Vec<Identity>,
    pub(crate) owner: AccountId,
    pub(crate) model: ModelName,
    /// `None` while it is down.
    pub(crate) coordinator: Option<Coordinator<CrashStore<S>>>,
    pub(crate) store: CrashStore<S>,
}

pub(crate) fn policy() -> Policy {
    let mut policy = Policy {
        fee: Planck(FEE),
        minimum_bond: Planck(50),
        ..Policy::default()
    };
    policy.grace = Duration::from_secs(5);
    policy.settlement.interval = Duration::from_secs(3);
    policy.settlement.retry_after = Duration::from_secs(1);
    policy
}

impl<S: Store + Clone + Reopen> World<S> {
    /// `operators[i]` is the operator of worker `i`; operators are numbered from 0.
    pub(crate) fn new(store: S, operators: &[u8], policy: Policy) -> Self {
        let identity = |role: &str, i: usize| Identity::derive(b"world", &format!("{role}{i}"));
        let workers: Vec<_> = (0..operators.len())
            .map(|i| identity("worker", i))
            .collect();
        let operators: Vec<_> = operators
            .iter()
            .map(|&i| identity("operator", usize::from(i)).account())
            .collect();
        let clients: Vec<_> = (0..2).map(|i| identity("client", i)).collect();
        let owner = identity("owner", 0).account();
        let model = ModelName::new("digits").unwrap();
        let mut chain = Chain::default();
        for (worker, operator) in workers.iter().zip(&operators) {
            let bonded = BondedWorker {
                operator: *operator,
                bond: Planck(100),
            };
            chain.workers.insert(worker.peer_key(), bonded);
        }
        let version = PublishedVersion {
            commitment: Commitment([1; 32]),
            manifest: Fid([2; 32]),
            levels: vec![Level::Mpc],
        };
        chain.models.insert(
            model.clone(),
            PublishedModel {
                owner,
                latest: ModelVersion(1),
                price_per_record: Planck(RECORD_PRICE),
                rights: ModelRights::default(),
                versions: [(ModelVersion(1), version)].into(),
            },
        );
        for client in &clients {
            chain.deposit(client.account(), 5_000);
        }
        let store = CrashStore::new(store);
        let mut world = Self {
            now: START,
            chain,
            policy,
            coordinator_key: [9; 32],
            workers,
            operators,
            clients,
            owner,
            model,
            coordinator: None,
            store,
        };
        world.start();
        world
    }

    /// Starts the coordinator on what is stored, and reads the chain.
    pub(crate) fn start(&mut self) {
        *self.store.fuse.lock().unwrap() = None;
        let identity = Identity::from_seed(self.coordinator_key);
        let store = self.store.clone();
        let coordinator = Coordinator::open(identity, self.policy.clone(), [3; 32], store).unwrap();
        self.coordinator = Some(coordinator);
        self.refresh();
    }

    /// Kills the coordinator and starts it again on what is stored.
    pub(crate) fn restart(&mut self) {
        self.coordinator = None;
        self.store.inner.reopen();
        self.start();
    }

    pub(crate) fn core(&mut self) -> &mut Coordinator<CrashStore<S>> {
        self.coordinator.as_mut().unwrap()
    }

    pub(crate) fn account(&self) -> AccountId {
        Identity::from_seed(self.coordinator_key).account()
    }

    pub(crate) fn pass(&mut self, millis: u64) {
        self.now = UnixMillis(self.now.0 + millis);
    }

    /// One message, with the look-ups it causes.
    pub(crate) fn ask(&mut self, caller: PeerKey, request: &ControlRequest) -> ControlResponse {
        let (now, chain) = (self.now, self.chain.clone());
        let core = self.core();
        let mut looked_up = LookedUp::default();
        for _ in 0..5 {
            match core.handle(caller, request, &looked_up, now) {
                Reaction::Reply(response) => return response,
                Reaction::LookUp(wanted) => {
                    if let Some(fact) = chain.look_up(&wanted) {
                        core.learn(fact);
                    }
                    looked_up.note(wanted);
                }
            }
        }
        panic!("a message asks for more than four things of the chain");
    }

    pub(crate) fn record(&self, worker: usize) -> WorkerRecord {
        WorkerRecord {
            peer: self.workers[worker].peer_key(),
            operator: self.operators[worker],
            addresses: vec!["/ip4/127.0.0.1/tcp/4001".parse().unwrap()],
            roles: RoleSet::ALL,
            levels: vec![Level::Mpc],
            regions: vec![Region::new("eu-de").unwrap()],
            site: None,
            cores: 2,
            memory: Bytes::mib(512),
            cached_models: vec![],
            price_per_job: Planck(WORKER_PRICE),
            software: "test".into(),
        }
    }

    pub(crate) fn register_as(&mut self, worker: usize, record: WorkerRecord) -> ControlResponse {
        let expires = self.now.saturating_add(Duration::from_secs(3600));
        let signed = Signed::sign(&self.workers[worker], record, self.now, expires).unwrap();
        self.ask(
            self.workers[worker].peer_key(),
            &ControlRequest::Register(signed),
        )
    }

    pub(crate) fn register(&mut self, worker: usize) -> ControlResponse {
        self.register_as(worker, self.record(worker))
    }

    pub(crate) fn heartbeat(&mut self, worker: usize, capacity: u16) -> ControlResponse {
        let identity = &self.workers[worker];
        let heartbeat = Heartbeat {
            peer: identity.peer_key(),
            active_jobs: 0,
            capacity,
            cached_models: vec![],
            pools: vec![],
            hosted: vec![],
            keys: vec![],
            inputs: vec![],
        };
        let expires = self.now.saturating_add(Duration::from_secs(60));
        let signed = Signed::sign(identity, heartbeat, self.now, expires).unwrap();
        let caller = identity.peer_key();
        self.ask(caller, &ControlRequest::Heartbeat(signed))
    }

    /// Registers everyone and lets each take many jobs.
    pub(crate) fn everyone_ready(&mut self) {
        for worker in 0..self.workers.len() {
            let answer = self.register(worker);
            assert!(
                matches!(answer, ControlResponse::Registered { .. }),
                "{answer:?}"
            );
            self.pass(1);
            assert_eq!(self.heartbeat(worker, 100), ControlResponse::HeartbeatOk);
        }
    }

    pub(crate) fn request(&self, client: usize, job: u8, attempt: u32) -> JobRequest {
        JobRequest {
            job: JobId([job; 16]),
            attempt,
            client: self.clients[client].account(),
            model: self.model.clone(),
            version: None,
            level: Level::Mpc,
            purpose: Purpose::Commercial,
            dealer: DealerSeat::Worker,
            evaluators: 2,
            weights: WeightPrivacy::Public,
            key: None,
            trusted: None,
            batch: 3,
            max_price: Planck(1_000),
            regions: vec![],
            inputs: Vec::new(),
            seats: Default::default(),
            policies: Vec::new(),
            exclude: vec![],
            deadline: self.now.saturating_add(Duration::from_secs(10)),
        }
    }

    pub(crate) fn match_as(&mut self, client: usize, request: JobRequest) -> ControlResponse {
        let expires = self.now.saturating_add(Duration::from_secs(30));
        let signed = Signed::sign(&self.clients[client], request, self.now, expires).unwrap();
        self.ask(
            self.clients[client].peer_key(),
            &ControlRequest::Match(signed),
        )
    }

    pub(crate) fn matched(&mut self, client: usize, job: u8, attempt: u32) -> ControlResponse {
        let request = self.request(client, job, attempt);
        self.match_as(client, request)
    }

    pub(crate) fn ticket(&mut self, client: usize, job: u8, attempt: u32) -> Signed<Ticket> {
        match self.matched(client, job, attempt) {
            ControlResponse::Ticket(ticket) => ticket,
            other => panic!("no ticket: {other:?}"),
        }
    }

    pub(crate) fn receipt(&self, client: usize, ticket: &Signed<Ticket>) -> Signed<JobReceipt> {
        let body = ticket.verify_at_any_time().unwrap();
        let workers = body.group.iter().map(|member| {
            let receipt = WorkerReceipt {
                ticket: ticket.digest(),
                role: member.role,
                commitment: body.commitment,
                input: Digest([4; 32]),
                output: Digest([5; 32]),
                bytes_sent: Bytes(10),
                bytes_received: Bytes(10),
                rounds: 3,
                started: self.now,
                finished: self.now,
            };
            let worker = self
                .workers
                .iter()
                .find(|w| w.peer_key() == member.peer)
                .unwrap();
            Signed::sign(worker, receipt, self.now, self.now).unwrap()
        });
        let receipt = JobReceipt {
            ticket: ticket.clone(),
            workers: workers.collect(),
            price: body.price,
            finished: self.now,
        };
        Signed::sign(&self.clients[client], receipt, self.now, self.now).unwrap()
    }

    /// What the coordinator holds for a client, as the client learns it.
    pub(crate) fn held(&mut self, client: usize) -> Planck {
        match self.ask(self.clients[client].peer_key(), &ControlRequest::Info) {
            ControlResponse::Info(info) => info.voucher_cumulative,
            other => panic!("no info: {other:?}"),
        }
    }

    pub(crate) fn voucher(&self, client: usize, cumulative: Planck) -> Voucher {
        Voucher::sign(&self.clients[client], self.account(), cumulative)
    }

    /// Receipt and acceptance of a ticket that was delivered, paid with `voucher`.
    pub(crate) fn completion(
        &self,
        client: usize,
        ticket: &Signed<Ticket>,
        voucher: Voucher,
    ) -> ControlRequest {
        let body = ticket.verify_at_any_time().unwrap();
        let identity = &self.clients[client];
        ControlRequest::Complete {
            receipt: self.receipt(client, ticket),
            voucher,
            acceptance: Acceptance::sign(identity, body, voucher.cumulative).signature,
        }
    }

    /// As an honest client: the voucher adds the price to what the coordinator holds.
    pub(crate) fn complete(&mut self, client: usize, ticket: &Signed<Ticket>) -> ControlResponse {
        let price = ticket.verify_at_any_time().unwrap().price;
        let held = self.held(client);
        let voucher = self.voucher(client, held.checked_add(price).unwrap());
        let request = self.completion(client, ticket, voucher);
        self.ask(self.clients[client].peer_key(), &request)
    }

    pub(crate) fn fail(
        &mut self,
        client: usize,
        job: u8,
        attempt: u32,
        culprits: Vec<PeerKey>,
    ) -> ControlResponse {
        let identity = &self.clients[client];
        let failure = JobFailure::new(
            JobId([job; 16]),
            attempt,
            identity.account(),
            culprits,
            "stalled",
        );
        let expires = self.now.saturating_add(Duration::from_secs(30));
        let signed = Signed::sign(identity, failure, self.now, expires).unwrap();
        let caller = identity.peer_key();
        self.ask(caller, &ControlRequest::Fail(signed))
    }

    /// Reads the chain. `false`: the ledger failed.
    pub(crate) fn refresh(&mut self) -> bool {
        let chain = self.chain.clone();
        let clients = self.core().clients();
        let reading = ChainReading {
            last_epoch: chain.last_epoch,
            workers: chain
                .workers
                .iter()
                .map(|(peer, worker)| (*peer, *worker))
                .collect(),
            models: chain.models.clone().into_iter().collect(),
            clients: clients
                .iter()
                .map(|client| (*client, chain.funds(client)))
                .collect(),
        };
        self.core().refresh(reading).is_ok()
    }

    /// Reads the chain and does what is due. `None`: the ledger failed.
    pub(crate) fn poll(&mut self) -> Option<Vec<Draft>> {
        if !self.refresh() {
            return None;
        }
        let now = self.now;
        let effects = self.core().tick(now).ok()?;
        Some(
            effects
                .into_iter()
                .map(|Effect::Submit(draft)| draft)
                .collect(),
        )
    }

    /// Polls and settles on a chain that works.
    pub(crate) fn settle_all(&mut self) {
        for _ in 0..8 {
            self.pass(3_000);
            for draft in self.poll().unwrap() {
                self.chain.settle(&draft).unwrap();
                let now = self.now;
                self.core()
                    .submitted(draft.epoch, Submission::Finalised, now)
                    .unwrap();
            }
        }
        assert!(self.refresh());
    }
}

pub(crate) fn refused(response: ControlResponse) -> Refusal {
    match response {
        ControlResponse::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) fn price_of_job() -> Planck {
    Planck(3 * WORKER_PRICE + 3 * RECORD_PRICE + FEE)
}

pub(crate) fn dealer(ticket: &Signed<Ticket>) -> PeerKey {
    ticket
        .verify_at_any_time()
        .unwrap()
        .member(Role::Dealer)
        .unwrap()
        .peer
}

/// Three workers of three operators, ready.
pub(crate) fn world() -> World<MemoryStore> {
    world_with(policy())
}

pub(crate) fn world_with(policy: Policy) -> World<MemoryStore> {
    let mut world = World::new(MemoryStore::default(), &[0, 1, 2], policy);
    world.everyone_ready();
    world
}

/// A job as its client sees it.
pub(crate) fn job_state(world: &mut World<MemoryStore>, client: usize, job: u8) -> JobState {
    let caller = world.clients[client].peer_key();
    match world.ask(caller, &ControlRequest::Job(JobId([job; 16]))) {
        ControlResponse::Job(Some(status)) => status.state,
        other => panic!("no status: {other:?}"),
    }
}
