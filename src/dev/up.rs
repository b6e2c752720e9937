//! Starting a network: keys, configurations, processes, first deposits.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use ai_link_client::{ClientConfig, GatewayConfig, SealedConfig};
use ai_link_coordinator::CoordinatorConfig;
use ai_link_devchain::{DevChainConfig, Endowment};
use ai_link_observe::Loopback;
use ai_link_registry::{Registry, RegistryClient};
use ai_link_storage::location::{Evidence, Site};
use ai_link_storage::node::{NodeConfig, NodeEntry};
use ai_link_storage::{ChainEntry, StorageConfig};
use ai_link_wire::{Bytes, DealerSeat, Identity, Level, Multiaddr, PeerId, Planck, Purpose};
use ai_link_worker::device::DeviceKind;
use ai_link_worker::{OnnxConfig, Part, WorkerConfig};
use serde::Serialize;

use super::layout::{FilesKept, Network, Ready, StateDir, write_atomically};
use super::miners;
use super::process::{self, Liveness};
use crate::output::{Failure, Output};

/// Money of every account at genesis, in AIL.
const ENDOWMENT_AIL: u64 = 10_000;
const WORKER_BOND: Planck = Planck::ail(1_000);
const COORDINATOR_BOND: Planck = Planck::ail(5_000);
/// What the application puts into escrow.
const DEPOSIT: Planck = Planck::ail(1_000);
/// What a worker asks for a job: 0.002 AIL.
const WORKER_PRICE: Planck = Planck(2_000_000_000);
/// What the coordinator takes for a job: 0.001 AIL.
const COORDINATOR_FEE: Planck = Planck(1_000_000_000);
/// What the application pays for a record at most: 0.1 AIL.
const MAX_PRICE: Planck = Planck(100_000_000_000);
/// How long a delivered job waits for settlement at most.
const EPOCH_MS: u64 = 1_000;
/// How long the workers may take to be known to the coordinator.
const WORKERS_WITHIN: Duration = Duration::from_secs(30);
/// Where processes listen.
const PORTS: Range<u16> = 12_000..32_000;
const PORT_TRIES: u32 = 256;

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// All keys are derived from it.
    pub(crate) seed: String,
    pub(crate) workers: u16,
    /// Zero for a store that keeps all fragments itself.
    pub(crate) storage_nodes: u16,
    /// Where the gateway serves HTTP.
    pub(crate) gateway: SocketAddr,
    /// Whether processes write down, decrypted, what they see.
    pub(crate) capture: bool,
    /// What each worker keeps of material dealt ahead.
    pub(crate) pools: Bytes,
}

/// Starts everything that does not run yet and waits until it serves.
pub(crate) async fn up(dir: &StateDir, plan: &Plan, output: &Output) -> Result<Network, Failure> {
    let mut starter = Starter {
        dir,
        plan,
        output,
        started: Vec::new(),
    };
    match starter.up().await {
        Ok(network) => Ok(network),
        Err(failure) => {
            // Half a network is of no use, and would be in the way of the next try.
            for name in starter.started.iter().rev() {
                let _ = process::stop(dir, name);
            }
            Err(failure)
        }
    }
}

struct Starter<'a> {
    dir: &'a StateDir,
    plan: &'a Plan,
    output: &'a Output,
    started: Vec<String>,
}

impl Starter<'_> {
    async fn up(&mut self) -> Result<Network, Failure> {
        fs::create_dir_all(self.dir.root().join("keys")).map_err(Failure::failed)?;
        let chain = self.start("chain", "chain", &self.chain()?)?;
        let mut children = Vec::new();
        for i in 0..self.plan.storage_nodes {
            let name = storage_node_name(i);
            let config = self.storage_node(i)?;
            children.push((name.clone(), self.spawn(&name, "storage-node", &config)?));
        }
        for (name, child) in children {
            self.wait(&name, child)?;
        }
        let chain = first(&chain)?;
        self.rent(&chain).await?;
        let storage = self.start("storage", "storage", &self.storage(&chain)?)?;
        let storage = first(&storage)?;
        let coordinator = self.start("coordinator", "coordinator", &self.coordinator(&chain)?)?;
        let coordinator = self.with_peer(&coordinator, "coordinator")?;
        // All at once: each registers itself on chain, and they need not wait for each other.
        let mut children = Vec::new();
        for i in 0..self.plan.workers {
            let name = worker_name(i);
            let config = self.worker(i, &chain, &storage, &coordinator)?;
            children.push((name.clone(), self.spawn(&name, "worker", &config)?));
        }
        for (name, child) in children {
            self.wait(&name, child)?;
        }
        self.deposit(&chain).await?;
        let gateway = self.gateway(&chain, &storage, &coordinator)?;
        let gateway = first(&self.start("gateway", "gateway", &gateway)?)?;
        let network = Network {
            chain,
            storage,
            files: match self.plan.storage_nodes {
                0 => FilesKept::InStore,
                _ => FilesKept::OnChain,
            },
            coordinator: coordinator.iter().map(ToString::to_string).collect(),
            gateway,
            processes: self.started.clone(),
            owner_key: self.dir.key("owner"),
            client_key: self.dir.key("client"),
        };
        network.save(self.dir).map_err(Failure::failed)?;
        Ok(network)
    }

    /// The key called `name`: read if it is there, derived from the seed otherwise.
    fn key(&self, name: &str) -> Result<Identity, Failure> {
        let path = self.dir.key(name);
        let derived = Identity::derive(self.plan.seed.as_bytes(), name);
        if !path.exists() {
            derived.save(&path).map_err(Failure::failed)?;
            return Ok(derived);
        }
        let found = Identity::load(&path).map_err(Failure::failed)?;
        if found.account() != derived.account() {
            return Err(Failure::usage(format!(
                "{} was made with another --seed; use that one, or another --dir",
                path.display()
            )));
        }
        Ok(found)
    }

    fn chain(&self) -> Result<DevChainConfig, Failure> {
        let mut names = vec![
            "owner".to_owned(),
            "client".to_owned(),
            "coordinator".to_owned(),
        ];
        names.extend((0..self.plan.workers).map(operator_name));
        if self.plan.storage_nodes > 0 {
            names.push("storage".to_owned());
            names.extend((0..self.plan.storage_nodes).map(storage_node_name));
        }
        let mut endowed = Vec::new();
        for name in names {
            let account = self.key(&name)?.account();
            endowed.push(Endowment {
                account: account.0.into(),
                ail: ENDOWMENT_AIL,
            });
        }
        Ok(DevChainConfig {
            listen: self.address("chain")?,
            data_dir: self.dir.data("chain"),
            endowed,
            block_interval_ms: None,
        })
    }

    fn storage(&self, chain: &str) -> Result<StorageConfig, Failure> {
        let mut config = StorageConfig::new(self.address("storage")?, self.dir.data("storage"));
        config.site = Some(storage_site(0)?);
        config.metrics = self.observed("storage")?;
        for i in 0..self.plan.storage_nodes {
            let name = storage_node_name(i);
            config.identity = Some(self.dir.key("storage"));
            config.nodes.push(NodeEntry {
                account: self.storage_account(&name)?,
                url: format!("http://{}", self.address(&name)?),
                site: storage_site(i)?,
            });
        }
        if self.plan.storage_nodes > 0 {
            let keys = (0..self.plan.storage_nodes).map(|i| self.dir.key(&storage_node_name(i)));
            config.chain = Some(ChainEntry {
                url: chain.to_owned(),
                key: self.dir.key("storage"),
                node_keys: keys.collect(),
                territory: ChainEntry::TERRITORY.to_owned(),
            });
        }
        Ok(config)
    }

    fn storage_node(&self, index: u16) -> Result<NodeConfig, Failure> {
        let name = storage_node_name(index);
        Ok(NodeConfig {
            listen: self.address(&name)?,
            data: self.dir.data(&name),
            account: self.storage_account(&name)?,
            accounts: vec![self.storage_account("storage")?],
            site: storage_site(index)?,
            tagger: None,
            metrics: self.observed(&name)?,
            limits: Default::default(),
        })
    }

    fn storage_account(&self, name: &str) -> Result<ai_link_storage::Account, Failure> {
        Ok(ai_link_storage::Account(self.key(name)?.account().0))
    }

    fn coordinator(&self, chain: &str) -> Result<CoordinatorConfig, Failure> {
        self.key("coordinator")?;
        Ok(CoordinatorConfig {
            listen: self.listen("coordinator")?,
            epoch_interval_ms: EPOCH_MS,
            metrics: self.observed("coordinator")?,
            dashboard: Some(self.loopback("dashboard")?),
            capture_dir: self.capture("coordinator"),
            ..CoordinatorConfig::new(
                self.dir.key("coordinator"),
                chain,
                self.dir.data("coordinator"),
                COORDINATOR_FEE,
                COORDINATOR_BOND,
            )
        })
    }

    fn worker(
        &self,
        index: u16,
        chain: &str,
        storage: &str,
        coordinator: &[Multiaddr],
    ) -> Result<WorkerConfig, Failure> {
        let (name, operator) = (worker_name(index), operator_name(index));
        self.key(&name)?;
        self.key(&operator)?;
        Ok(WorkerConfig {
            identity: self.dir.key(&name),
            operator: Some(self.dir.key(&operator)),
            bond: WORKER_BOND,
            listen: self.listen(&name)?,
            coordinators: coordinator.iter().take(1).cloned().collect(),
            chain: chain.to_owned(),
            storage: storage.to_owned(),
            data: self.dir.data(&name),
            roles: vec![Part::Dealer, Part::Evaluator],
            regions: Vec::new(),
            site: Some(worker_site(index)?),
            price_per_job: WORKER_PRICE,
            capacity: 8,
            cache: Bytes::mib(1024),
            objects: Bytes::mib(1024),
            pools: self.plan.pools,
            keys: Bytes::mib(1024),
            sealed: true,
            onnx: OnnxConfig::default(),
            key_memory: Bytes::mib(1024),
            hosting: Bytes::mib(1024),
            device: DeviceKind::Cpu,
            metrics: self.observed(&name)?,
            capture: self.capture(&name),
        })
    }

    fn gateway(
        &self,
        chain: &str,
        storage: &str,
        coordinator: &[Multiaddr],
    ) -> Result<GatewayConfig, Failure> {
        self.key("client")?;
        Ok(GatewayConfig {
            listen: self.plan.gateway,
            concurrency: 8,
            metrics: self.observed("gateway")?,
            body_bytes: 64 << 20,
            api_keys: None,
            client: ClientConfig {
                identity: self.dir.key("client"),
                coordinators: coordinator.iter().take(1).cloned().collect(),
                chain: chain.to_owned(),
                storage: storage.to_owned(),
                data: self.dir.data("gateway"),
                max_price_per_record: MAX_PRICE,
                level: Level::Mpc,
                dealer: DealerSeat::Worker,
                evaluators: 2,
                purpose: Purpose::Commercial,
                regions: Vec::new(),
                attempts: 4,
                deadline_ms: 60_000,
                fhe_deadline_ms: 600_000,
                // One operator of several, so that trusting one and not the others can be tried.
                sealed: Some(SealedConfig {
                    workers: Vec::new(),
                    operators: vec![self.key(&operator_name(0))?.account()],
                    deadline_ms: 600_000,
                }),
            },
        })
    }

    fn capture(&self, name: &str) -> Option<PathBuf> {
        self.plan.capture.then(|| self.dir.capture(name))
    }

    /// Where a process listens: the same port at every start, since the others were told it.
    fn address(&self, name: &str) -> Result<SocketAddr, Failure> {
        let path = self.dir.ports();
        let mut ports: BTreeMap<String, u16> = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(Failure::failed)?,
            Err(_) => BTreeMap::new(),
        };
        let port = match ports.get(name) {
            Some(port) => *port,
            None => {
                let port = free_port(|port| ports.values().any(|taken| *taken == port))?;
                ports.insert(name.to_owned(), port);
                let bytes = serde_json::to_vec_pretty(&ports).map_err(Failure::failed)?;
                write_atomically(&path, &bytes).map_err(Failure::failed)?;
                port
            }
        };
        Ok((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Where a process serves its metrics.
    fn observed(&self, name: &str) -> Result<Option<Loopback>, Failure> {
        self.loopback(&format!("{name} metrics")).map(Some)
    }

    fn loopback(&self, name: &str) -> Result<Loopback, Failure> {
        self.address(name)?.try_into().map_err(Failure::failed)
    }

    /// TCP and QUIC at the process's port.
    fn listen(&self, name: &str) -> Result<Vec<Multiaddr>, Failure> {
        let port = self.address(name)?.port();
        [
            format!("/ip4/127.0.0.1/tcp/{port}"),
            format!("/ip4/127.0.0.1/udp/{port}/quic-v1"),
        ]
        .iter()
        .map(|a| a.parse().map_err(Failure::failed))
        .collect()
    }

    /// Makes miners of the storage nodes, and buys space for those that store.
    async fn rent(&self, chain: &str) -> Result<(), Failure> {
        if self.plan.storage_nodes == 0 {
            return Ok(());
        }
        let mut nodes = Vec::new();
        for i in 0..self.plan.storage_nodes {
            let name = storage_node_name(i);
            let url = format!("http://{}", self.address(&name)?);
            nodes.push((self.key(&name)?, url));
        }
        let owners = vec![self.key("owner")?, self.key("client")?];
        miners::rent(chain, nodes, owners, self.key("storage")?.account()).await
    }

    /// The application's first deposit; one that is there from an earlier run is enough.
    async fn deposit(&self, chain: &str) -> Result<(), Failure> {
        let registry = Registry::connect(chain).await.map_err(Failure::failed)?;
        let client = self.key("client")?;
        let escrow = registry
            .escrow(client.account())
            .await
            .map_err(Failure::failed)?;
        if escrow.free == Planck::ZERO {
            RegistryClient::new(registry, client)
                .deposit(DEPOSIT)
                .await
                .map_err(Failure::failed)?;
        }
        Ok(())
    }

    fn start<T: Serialize>(
        &mut self,
        name: &str,
        role: &str,
        config: &T,
    ) -> Result<Ready, Failure> {
        let child = self.spawn(name, role, config)?;
        self.wait(name, child)
    }

    /// Starts a process unless it runs.
    fn spawn<T: Serialize>(
        &mut self,
        name: &str,
        role: &str,
        config: &T,
    ) -> Result<Option<Child>, Failure> {
        if let Ok(ready) = Ready::load(&self.dir.ready(name))
            && process::liveness(self.dir, name, &ready) == Liveness::Running
        {
            self.started.push(name.to_owned());
            return Ok(None);
        }
        fs::create_dir_all(self.dir.process(name)).map_err(Failure::failed)?;
        let text = toml::to_string_pretty(config).map_err(Failure::failed)?;
        fs::write(self.dir.config(name), text).map_err(Failure::failed)?;
        let child = process::start(self.dir, name, role).map_err(Failure::failed)?;
        self.started.push(name.to_owned());
        Ok(Some(child))
    }

    fn wait(&self, name: &str, child: Option<Child>) -> Result<Ready, Failure> {
        let ready = match child {
            Some(mut child) => process::wait_ready(self.dir, name, &mut child),
            None => return Ready::load(&self.dir.ready(name)).map_err(Failure::failed),
        };
        let ready = ready.map_err(Failure::failed)?;
        let at = ready.addresses.first().map_or("", String::as_str);
        self.output
            .note(&format!("{name:12} pid {:7}  {at}", ready.pid));
        Ok(ready)
    }

    /// The addresses of `ready` with the peer id of the key called `name`.
    fn with_peer(&self, ready: &Ready, name: &str) -> Result<Vec<Multiaddr>, Failure> {
        let peer: PeerId = self.key(name)?.peer_id();
        ready
            .addresses
            .iter()
            .map(|a| format!("{a}/p2p/{peer}").parse().map_err(Failure::failed))
            .collect()
    }
}

/// Waits until the coordinator knows `workers` workers: from then on it can match.
pub(crate) async fn wait_for_workers(network: &Network, workers: u16) -> Result<(), Failure> {
    super::probe::wait_for_workers(network, u32::from(workers), WORKERS_WITHIN).await
}

pub(crate) fn worker_name(index: u16) -> String {
    format!("worker-{index}")
}

fn storage_node_name(index: u16) -> String {
    format!("storage-node-{index}")
}

/// A port that nobody listens at and that is not taken.
///
/// Below those that systems give to whoever does not care (Linux: from 32768), so that no connection of a process that
/// was started before has it when its owner starts.
fn free_port(taken: impl Fn(u16) -> bool) -> Result<u16, Failure> {
    let is_free = |port| {
        let at = (Ipv4Addr::LOCALHOST, port);
        TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok()
    };
    for _ in 0..PORT_TRIES {
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(Failure::failed)?;
        let span = PORTS.end - PORTS.start;
        let port = PORTS.start + u16::from_le_bytes(random) % span;
        if !taken(port) && is_free(port) {
            return Ok(port);
        }
    }
    Err(Failure::message(format!(
        "{PORT_TRIES} ports between {} and {} were tried, and none is free",
        PORTS.start, PORTS.end
    )))
}

/// Made-up sites, three of four in the European Union.
fn storage_site(index: u16) -> Result<Site, Failure> {
    let (country, region) = [
        ("DE", "eu-central"),
        ("FR", "eu-west"),
        ("SE", "eu-north"),
        ("US", "us-east"),
    ][usize::from(index % 4)];
    Ok(Site {
        country: country.parse().map_err(Failure::failed)?,
        region: Some(region.parse().map_err(Failure::failed)?),
        position: None,
        evidence: Evidence::SelfDeclared,
    })
}

/// Made-up sites, the third of four outside of the European Union.
fn worker_site(index: u16) -> Result<Site, Failure> {
    storage_site([0, 1, 3, 2][usize::from(index % 4)])
}

pub(crate) fn operator_name(index: u16) -> String {
    format!("operator-{index}")
}

fn first(ready: &Ready) -> Result<String, Failure> {
    ready
        .addresses
        .first()
        .cloned()
        .ok_or_else(|| Failure::message(format!("{} named no address", ready.role)))
}
