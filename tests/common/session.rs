//! A client written by hand, step by step, for tests that need to look inside or to misbehave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_link_mpc::{
    Client as ClientMachine, Expected, Machine, MpcError, Party, Secret32, Stats, Transmit, drive,
};
use ai_link_program::bundle::Parts;
use ai_link_program::{OutputTensor, Package, Program};
use ai_link_session::links::SessionLinks;
use ai_link_session::{hello, parties};
use ai_link_storage::{HttpStore, ObjectStore as _};
use ai_link_wire::multiaddr::Protocol;
use ai_link_wire::node::{Node, NodeConfig};
use ai_link_wire::{
    ControlRequest, ControlResponse, DealerSeat, Identity, JobId, JobRequest, Level, Multiaddr,
    PeerId, Planck, PoolTag, Purpose, Signed, Ticket, UnixMillis, WeightPrivacy,
};

use super::Net;

/// An application that speaks to the network directly.
pub(crate) struct Manual {
    pub(crate) identity: Identity,
    pub(crate) node: Node,
    coordinator: (PeerId, Multiaddr),
}

/// Whether masks are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Masking {
    On,
    /// The encoded record goes to the evaluators as it is.
    Off,
}

impl Manual {
    pub(crate) async fn new(net: &Net, key: &str) -> Self {
        let identity = net.key(key);
        let (node, _) = Node::start(NodeConfig::client(identity.clone()))
            .await
            .unwrap();
        let mut address: Multiaddr = net.network()["coordinator"][0]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let Some(Protocol::P2p(peer)) = address.pop() else {
            panic!("{address} names no peer")
        };
        Self {
            identity,
            node,
            coordinator: (peer, address),
        }
    }

    pub(crate) async fn ask(&self, request: ControlRequest) -> ControlResponse {
        let (peer, address) = &self.coordinator;
        self.node
            .request(
                *peer,
                std::slice::from_ref(address),
                request,
                Duration::from_secs(10),
            )
            .await
            .unwrap()
    }

    pub(crate) fn request(&self, model: &str, batch: u32, within: Duration) -> JobRequest {
        JobRequest {
            job: JobId::random().unwrap(),
            attempt: 0,
            client: self.identity.account(),
            model: model.parse().unwrap(),
            version: None,
            level: Level::Mpc,
            purpose: Purpose::Commercial,
            dealer: DealerSeat::Worker,
            evaluators: 2,
            weights: WeightPrivacy::Public,
            key: None,
            trusted: None,
            batch,
            max_price: Planck::ail(1),
            regions: Vec::new(),
            inputs: Vec::new(),
            seats: Default::default(),
            policies: Vec::new(),
            exclude: Vec::new(),
            deadline: UnixMillis::now().saturating_add(within),
        }
    }

    pub(crate) async fn matched(&self, request: JobRequest) -> Signed<Ticket> {
        let until = request.deadline;
        let signed = Signed::sign(&self.identity, request, UnixMillis::now(), until).unwrap();
        match self.ask(ControlRequest::Match(signed)).await {
            ControlResponse::Ticket(ticket) => ticket,
            other => panic!("no ticket: {other:?}"),
        }
    }

    /// Opens the streams of a ticket's session.
    pub(crate) async fn open(&self, signed: &Signed<Ticket>) -> (SessionLinks, Option<PoolTag>) {
        let ticket = signed.verify_at_any_time().unwrap();
        let mut streams = Vec::new();
        let mut pool = None;
        for member in &ticket.group {
            let within = Duration::from_secs(10);
            let from = ai_link_wire::Party::Client;
            let opened = hello::open(&self.node, signed, from, member, within)
                .await
                .unwrap();
            let party = parties::party_of(member.role);
            if party == Party::Dealer {
                pool = opened.pool;
            }
            streams.push((party, member.peer, opened.stream));
        }
        (SessionLinks::new(streams), pool)
    }

    /// Evaluates one record and returns the answer, in the clear and as ring elements.
    pub(crate) async fn evaluate(
        &self,
        signed: &Signed<Ticket>,
        program: Arc<Program>,
        record: &[f32],
        masking: Masking,
    ) -> (Vec<OutputTensor>, Vec<Vec<u64>>) {
        let ticket = signed.verify_at_any_time().unwrap();
        let (mut links, pool) = self.open(signed).await;
        let id = pool.map(|pool| parties::pool_id(ticket, &program, pool).unwrap());
        let encoded = program.encode_input(0, record).unwrap();
        let spec = parties::spec(ticket, signed.digest(), program);
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).unwrap();
        let inputs = vec![record.to_vec()];
        let machine = match id {
            Some(id) => ClientMachine::from_pool(spec, inputs, id),
            None => ClientMachine::new(spec, inputs, Secret32::new(entropy)),
        };
        let machine = machine.unwrap();
        let machine = Unmasking {
            machine,
            encoded,
            masking,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        let done = drive(machine, &mut links, deadline).await.unwrap();
        links.close().await;
        let ring = done.machine.ring_outputs().unwrap();
        (done.machine.into_outputs().unwrap(), ring)
    }
}

/// The published program of a model.
pub(crate) async fn program(net: &Net, model: &str) -> Arc<Program> {
    let registry = net.registry().await;
    let name = model.parse().unwrap();
    let latest = registry.model(&name).await.unwrap().unwrap().latest;
    let release = registry.version(&name, latest).await.unwrap().unwrap();
    let storage = HttpStore::new(net.network()["storage"].as_str().unwrap()).unwrap();
    let fid = ai_link_storage::Fid(release.manifest.0);
    let bytes = storage.get_bytes(fid, 1 << 24).await.unwrap();
    let parts = Parts::of(&bytes).unwrap();
    let package = Package::from_bytes(parts.mpc.unwrap(), Default::default());
    Arc::new(package.unwrap().program)
}

/// The client's machine, from whose messages the mask can be taken off: what a client with masking switched
/// off would send.
struct Unmasking {
    machine: ClientMachine,
    encoded: Vec<u64>,
    masking: Masking,
}

impl Machine for Unmasking {
    fn party(&self) -> Party {
        self.machine.party()
    }

    fn next_expected(&self) -> Option<Expected> {
        self.machine.next_expected()
    }

    fn handle(&mut self, from: Party, payload: Vec<u8>) -> Result<(), MpcError> {
        self.machine.handle(from, payload)
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        let mut transmit = self.machine.poll_transmit()?;
        if self.masking == Masking::Off && transmit.to != Party::Dealer {
            let plain: Vec<u8> = self.encoded.iter().flat_map(|v| v.to_le_bytes()).collect();
            assert_eq!(plain.len(), transmit.payload.len());
            transmit.payload = plain;
        }
        Some(transmit)
    }

    fn is_finished(&self) -> bool {
        self.machine.is_finished()
    }

    fn stats(&self) -> &Stats {
        self.machine.stats()
    }
}
