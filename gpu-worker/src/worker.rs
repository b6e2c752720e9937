//! The running worker.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ai_link_mpc::Secret32;
use ai_link_observe::{ServeError, Served};
use ai_link_registry::{CallError, ConnectError, QueryError, Registry, RegistryClient};
use ai_link_storage::{HttpStore, StorageError};
use ai_link_wire::multiaddr::Protocol;
use ai_link_wire::node::{Incoming, Node, NodeConfig, NodeError, NodeLimits};
use ai_link_wire::{
    AccountId, Identity, IdentityError, Level, Multiaddr, PeerKey, UnixMillis, WorkerRecord,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::activity::Activity;
use crate::announce::{self, Coordinator};
use crate::cache::{CacheError, ModelCache};
use crate::claims::{self, Claims, ClaimsError};
use crate::config::WorkerConfig;
use crate::coordinators::Coordinators;
use crate::dealing::{self, Asked, Filling};
use crate::device::{self, Device, DeviceError};
use crate::fhe::{self, KeyShelf, KeyShelfError};
use crate::hosting::{HostedError, HostedStore};
use crate::inputs::book::{BookError, SharesHad};
use crate::nearby::{COPIES_AT_ONCE, Source};
use crate::objects::{ObjectCache, ObjectError};
use crate::pool::{Shelf, ShelfError};
use crate::sealed;
use crate::session::board::Board;
use crate::session::{self, Seat};
use crate::status;
use crate::tally::{self, Tally};
use crate::used::{UsedError, UsedSessions};

/// Streams handled at once, beyond which new ones wait in libp2p's own bounded queues.
const MAX_STREAMS: usize = 256;
/// After the signal to stop, sessions in flight may take this long.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// Everything the parts of a worker share.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) identity: Identity,
    /// The account that is paid.
    pub(crate) operator: AccountId,
    pub(crate) config: WorkerConfig,
    pub(crate) device: Arc<dyn Device>,
    /// Names and versions of what it runs, as it is announced.
    pub(crate) software: String,
    pub(crate) node: Node,
    pub(crate) registry: Registry,
    pub(crate) cache: ModelCache,
    /// Stored inputs that were pulled.
    pub(crate) objects: ObjectCache,
    /// One permit a copy that is being sent to another worker.
    pub(crate) copies: Arc<Semaphore>,
    /// Which shares of stored inputs this worker has had.
    pub(crate) shares_had: SharesHad,
    pub(crate) used: UsedSessions,
    /// Clients' evaluation keys.
    pub(crate) keys: Arc<KeyShelf>,
    /// What requests at level `sealed` are encrypted to.
    pub(crate) sealed: sealed::Keys,
    /// Parts of private weights.
    pub(crate) hosted: Arc<HostedStore>,
    /// One part is taken at a time.
    pub(crate) hosting_turn: Semaphore,
    /// Sessions whose streams are not all here yet.
    pub(crate) board: Mutex<Board<Seat>>,
    /// One permit a session.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) coordinators: Coordinators,
    /// Material dealt ahead.
    pub(crate) pools: Arc<Shelf>,
    /// What is counted.
    pub(crate) tally: Tally,
    /// Sessions, for what is done in the background.
    pub(crate) activity: Arc<Activity>,
    /// What this worker was asked to deal.
    pub(crate) asked: Asked,
    /// Who deals to this worker.
    pub(crate) filling: Filling,
    /// Jobs that are to be paid.
    pub(crate) claims: Claims,
}

impl Worker {
    /// Where others can dial us.
    pub(crate) fn addresses(&self) -> Vec<Multiaddr> {
        let mut addresses = self.node.listen_addrs();
        addresses.truncate(ai_link_wire::WorkerRecord::MAX_ADDRESSES);
        addresses
    }

    /// Privacy levels that this worker serves.
    pub(crate) fn levels(&self) -> Vec<Level> {
        let keeps_keys = self.config.keys.0 > 0 && self.config.key_memory.0 > 0;
        let evaluates = self.config.role_set().can_evaluate();
        let fhe = (fhe::IS_BUILT && keeps_keys && evaluates).then_some(Level::Fhe);
        let sealed = (sealed::IS_BUILT && evaluates && self.config.sealed).then_some(Level::Sealed);
        std::iter::once(Level::Mpc)
            .chain(fhe)
            .chain(sealed)
            .collect()
    }

    /// Sessions that run now.
    pub(crate) fn active(&self) -> u16 {
        let free = self.permits.available_permits();
        self.config
            .capacity
            .saturating_sub(u16::try_from(free).unwrap_or(u16::MAX))
    }
}

/// Who and where a worker is, once it serves.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Its key.
    pub peer: PeerKey,
    /// The account that is paid.
    pub operator: AccountId,
    /// Where it listens.
    pub addresses: Vec<Multiaddr>,
    /// Where its metrics are, if they are served.
    pub metrics: Option<std::net::SocketAddr>,
}

/// Runs a worker until `shutdown` resolves. `ready` is told when it serves.
///
/// # Errors
/// [`WorkerError`] when it cannot start.
pub async fn run(
    config: WorkerConfig,
    ready: impl FnOnce(Serving),
    shutdown: impl Future<Output = ()>,
) -> Result<(), WorkerError> {
    let identity = Identity::load(&config.identity).map_err(WorkerError::Identity)?;
    let device = device::open(config.device).map_err(WorkerError::Device)?;
    std::fs::create_dir_all(&config.data).map_err(|source| WorkerError::Data {
        path: config.data.clone(),
        source,
    })?;
    let used =
        UsedSessions::open(&config.data.join("used-sessions.redb")).map_err(WorkerError::Used)?;
    let pools = open_pools(&config, &identity)?;
    let claims = Claims::open(&config.data.join("claims.redb")).map_err(WorkerError::Claims)?;
    let operator_key = config.operator.as_ref().filter(|path| path.exists());
    let operator_key = operator_key.map(Identity::load).transpose();
    let operator_key = operator_key.map_err(WorkerError::Identity)?;
    let storage = HttpStore::new(&config.storage).map_err(WorkerError::Storage)?;
    let shares_had =
        SharesHad::open(&config.data.join("shares-had.redb")).map_err(WorkerError::SharesHad)?;
    let runtime = sealed::Runtime::open(&config.onnx).map_err(WorkerError::Onnx)?;
    let software = software(&runtime);
    let keys = KeyShelf::open(config.data.join("keys"), config.keys, config.key_memory)
        .map_err(WorkerError::Keys)?;
    let hosted = HostedStore::open(config.data.join("hosted"), &identity, config.hosting)
        .map_err(WorkerError::Hosted)?;
    let hosted = Arc::new(hosted);
    let registry = Registry::connect(&config.chain)
        .await
        .map_err(WorkerError::Connect)?;
    let operator = registered(&registry, &identity, &config).await?;
    let coordinators = config
        .coordinators
        .iter()
        .map(parse)
        .collect::<Result<Vec<_>, _>>()?;
    let (node, incoming) = Node::start(NodeConfig {
        identity: identity.clone(),
        listen: config.listen.clone(),
        limits: NodeLimits::default(),
        bootstrap: config.coordinators.clone(),
        capture: config.capture.clone(),
    })
    .await
    .map_err(WorkerError::Node)?;
    let source = Source::with_neighbours(storage, node.clone(), coordinators.clone());
    let objects = ObjectCache::open(config.data.join("objects"), config.objects, source.clone())
        .map_err(WorkerError::Objects)?;
    let cache = ModelCache::open(config.data.join("models"), config.cache, source, runtime)
        .map_err(WorkerError::Cache)?;
    tracing::info!(device = device.description(), "worker starts");
    let worker = Arc::new(Worker {
        permits: Arc::new(Semaphore::new(config.capacity.into())),
        identity,
        operator,
        config,
        device,
        software,
        node,
        registry,
        cache,
        objects,
        copies: Arc::new(Semaphore::new(COPIES_AT_ONCE)),
        shares_had,
        used,
        keys: Arc::new(keys),
        sealed: sealed::Keys::default(),
        hosted,
        hosting_turn: Semaphore::new(1),
        board: Mutex::default(),
        coordinators: Coordinators::default(),
        pools,
        tally: Tally::default(),
        activity: Activity::new(UnixMillis::now()),
        asked: Asked::default(),
        filling: Filling::default(),
        claims,
    });
    let metrics = tally::metrics(&worker);
    let served = ai_link_observe::serve("metrics", worker.config.metrics, metrics).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(claims::watch(
        Arc::clone(&worker),
        coordinators.clone(),
        operator_key,
    ));
    for coordinator in coordinators {
        tasks.spawn(announce::announce(Arc::clone(&worker), coordinator));
    }
    tasks.spawn(session::sweep(Arc::clone(&worker)));
    tasks.spawn(dealing::keep(Arc::clone(&worker)));
    tasks.spawn(status::keep(Arc::clone(&worker)));
    ready(Serving {
        peer: worker.identity.peer_key(),
        operator: worker.operator,
        addresses: worker.addresses(),
        metrics: served.as_ref().map(Served::address),
    });
    tokio::select! {
        () = serve(&worker, incoming) => {}
        () = shutdown => {}
    }
    drain(&worker).await;
    drop(served);
    tasks.shutdown().await;
    worker.node.clone().shutdown().await;
    Ok(())
}

/// This program, and what executes ONNX models in it.
fn software(runtime: &sealed::Runtime) -> String {
    let own = concat!("ai-link/", env!("CARGO_PKG_VERSION"));
    let both = runtime.product().map(|product| format!("{own} {product}"));
    both.filter(|text| text.len() <= WorkerRecord::MAX_SOFTWARE)
        .unwrap_or_else(|| own.into())
}

fn open_pools(config: &WorkerConfig, identity: &Identity) -> Result<Arc<Shelf>, WorkerError> {
    let secret = Secret32::new(*identity.own_secret("pools"));
    let (dir, me) = (config.data.join("pools"), identity.peer_key());
    Shelf::open(dir, me, secret, config.pools).map_err(WorkerError::Pools)
}

async fn serve(worker: &Arc<Worker>, mut incoming: Incoming) {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            stream = incoming.streams.recv(), if streams.len() < MAX_STREAMS => {
                let Some((peer, stream)) = stream else { return };
                streams.spawn(session::incoming(Arc::clone(worker), peer, stream));
            }
            request = incoming.requests.recv() => {
                let Some(request) = request else { return };
                let answer = claims::answer(worker, request.request);
                let _ = request.reply.send(answer);
            }
            Some(_) = streams.join_next() => {}
        }
    }
}

async fn drain(worker: &Worker) {
    let capacity = u32::from(worker.config.capacity);
    let idle = worker.permits.acquire_many(capacity);
    let _ = tokio::time::timeout(DRAIN_WITHIN, idle).await;
}

/// The operator on chain, after registering this worker if it is not there and the operator's key is.
async fn registered(
    registry: &Registry,
    identity: &Identity,
    config: &WorkerConfig,
) -> Result<AccountId, WorkerError> {
    let peer = identity.peer_key();
    if let Some(info) = registry.worker(peer).await.map_err(WorkerError::Chain)? {
        return Ok(info.operator);
    }
    let path = config
        .operator
        .as_ref()
        .ok_or(WorkerError::NotRegistered { peer })?;
    let operator = Identity::load(path).map_err(WorkerError::Identity)?;
    let account = operator.account();
    RegistryClient::new(registry.clone(), operator)
        .register_worker(identity, config.bond)
        .await
        .map_err(WorkerError::Register)?;
    Ok(account)
}

fn parse(address: &Multiaddr) -> Result<Coordinator, WorkerError> {
    let mut bare = address.clone();
    match bare.pop() {
        Some(Protocol::P2p(peer)) => Ok(Coordinator {
            peer,
            addresses: vec![bare],
        }),
        _ => Err(WorkerError::CoordinatorAddress {
            address: address.clone(),
        }),
    }
}

/// Why a worker does not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The model cache.
    #[error("cannot open the model cache")]
    Cache(#[source] CacheError),
    /// The chain.
    #[error("cannot use the chain")]
    Chain(#[source] QueryError),
    /// The chain is not there.
    #[error("cannot reach the chain")]
    Connect(#[source] ConnectError),
    /// The record of jobs that are to be paid.
    #[error("cannot open the record of jobs that are to be paid")]
    Claims(#[source] ClaimsError),
    /// An address without a peer.
    #[error("the coordinator address {address} must end in /p2p/ and a peer id")]
    CoordinatorAddress {
        /// As configured.
        address: Multiaddr,
    },
    /// The data directory.
    #[error("cannot create {path}", path = .path.display())]
    Data {
        /// The directory.
        path: std::path::PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The device.
    #[error("cannot use the configured device")]
    Device(#[source] DeviceError),
    /// The store of private weights.
    #[error("cannot open the store of private weights")]
    Hosted(#[source] HostedError),
    /// A key file.
    #[error("cannot use a key file")]
    Identity(#[source] IdentityError),
    /// The store of evaluation keys.
    #[error("cannot open the store of evaluation keys")]
    Keys(#[source] KeyShelfError),
    /// The network.
    #[error("cannot start the network node")]
    Node(#[source] NodeError),
    /// Not on chain, and no key to put it there.
    #[error(
        "worker {peer} is not registered on chain; register it, or set `operator` to the operator's key file"
    )]
    NotRegistered {
        /// This worker.
        peer: PeerKey,
    },
    /// What executes ONNX models.
    #[error(
        "cannot use the library that `onnx.library` names; `\"auto\"` uses what is built in then"
    )]
    Onnx(#[source] sealed::LibraryError),
    /// The cache of stored inputs.
    #[error("cannot open the cache of stored inputs")]
    Objects(#[source] ObjectError),
    /// The record of shares that this worker has had.
    #[error("cannot open the record of shares")]
    SharesHad(#[source] BookError),
    /// Metrics cannot be served.
    #[error("what the operator is to see cannot be served")]
    Observe(#[from] ServeError),
    /// The pools of dealt material.
    #[error("cannot open the pools of dealt material")]
    Pools(#[source] ShelfError),
    /// The chain did not take the registration.
    #[error("cannot register this worker on chain")]
    Register(#[source] CallError),
    /// The storage URL.
    #[error("cannot use the storage gateway")]
    Storage(#[source] StorageError),
    /// The record of used sessions.
    #[error("cannot open the record of used sessions; no session may run without it")]
    Used(#[source] UsedError),
}
