//! The process around the core: a libp2p node, a chain client, the clock and the disk.
//!
//! ```text
//! node ── requests ──▶ answer (one task each, bounded) ──▶ core ◀── chain loop (once a second) ──▶ chain
//!                          └── look-ups on the chain ────────┘
//! ```
//!
//! The core is behind a lock that is held for one message: parsing, signatures of the message and
//! one durable transaction. Signatures of receipts are checked before the lock is taken.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ai_link_observe::{ServeError, Served};
use ai_link_registry::RegistryClient;
use ai_link_wire::node::{IncomingRequest, Node, NodeConfig, NodeError, NodeLimits};
use ai_link_wire::{
    AccountId, ControlRequest, ControlResponse, Identity, IdentityError, JobReceipt, Multiaddr,
    PeerId, PeerKey, Refusal, UnixMillis,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};

use crate::config::CoordinatorConfig;
use crate::core::{Coordinator, LookedUp, Reaction, TickError};
use crate::ledger::{DiskStore, StoreError};

mod chain;
mod dashboard;
mod disputes;
mod metrics;

use chain::{ChainError, Reader};
use disputes::DisputesError;

/// Messages answered at the same time; more wait in the node's bounded queue.
const PARALLEL_ANSWERS: usize = 64;
/// The longest a message may take, look-ups on the chain included.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);
/// How often the chain is read.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How long a chain that does not answer yet is waited for at the start.
const CHAIN_PATIENCE: Duration = Duration::from_secs(30);
/// What a client is told to wait when the chain does not answer in time.
const BUSY_RETRY_MS: u32 = 1000;

type Core = Arc<Mutex<Coordinator<DiskStore>>>;

/// Where a coordinator that has started can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Its account on chain.
    pub account: AccountId,
    /// Its libp2p id.
    pub peer: PeerId,
    /// The addresses it listens on, with real ports.
    pub addresses: Vec<Multiaddr>,
    /// Where its metrics are, if they are served.
    pub metrics: Option<SocketAddr>,
    /// Where its operator's page is, if it is served.
    pub dashboard: Option<SocketAddr>,
}

/// Why a coordinator did not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The chain did not answer, or refused the registration.
    #[error("the chain does not do what the coordinator needs to start")]
    Chain(#[from] ChainError),
    /// The data directory cannot be made.
    #[error("cannot make the data directory {}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The identity file cannot be read or made.
    #[error("cannot read or make the identity file {}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<IdentityError>,
    },
    /// The ledger cannot be opened.
    #[error("cannot open the job ledger {}", path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: StoreError,
    },
    /// The ledger failed while running. What was answered is on disk; start again.
    #[error("the job ledger failed; what was answered is stored, start again")]
    LedgerFailed(#[source] TickError),
    /// The network node did not start.
    #[error("the network node did not start")]
    Node(#[from] NodeError),
    /// The node stopped by itself.
    #[error("the network node stopped")]
    NodeStopped,
    /// Metrics or the dashboard cannot be served.
    #[error("what the operator is to see cannot be served")]
    Observe(#[from] ServeError),
    /// The system gave no random numbers.
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
    /// A task of the coordinator died: a defect.
    #[error("a task of the coordinator died; this is a defect")]
    Task(#[source] JoinError),
}

/// Runs a coordinator until `shutdown` completes. `ready` is told where it listens, once it is
/// registered on chain and answers.
pub async fn run(
    config: CoordinatorConfig,
    ready: oneshot::Sender<Ready>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let identity = load_or_make(&config.identity)?;
    std::fs::create_dir_all(&config.data_dir).map_err(|source| RunError::DataDir {
        path: config.data_dir.clone(),
        source,
    })?;
    let path = config.data_dir.join("ledger.redb");
    let ledger_error = |source| RunError::Ledger {
        path: path.clone(),
        source,
    };
    let store = DiskStore::open(&path).map_err(ledger_error)?;
    let mut chance = [0; 32];
    getrandom::fill(&mut chance).map_err(RunError::Random)?;
    let core = Coordinator::open(identity.clone(), config.policy(), chance, store)
        .map_err(ledger_error)?;
    let core: Core = Arc::new(Mutex::new(core));

    let registry = chain::connect(&config.chain, CHAIN_PATIENCE).await?;
    let client = RegistryClient::new(registry, identity.clone());
    chain::ensure_registered(&client, &identity, config.bond).await?;
    let reader = Arc::new(Reader::new(client.clone()));
    refresh(&reader, &core).await?;

    let (node, incoming) = Node::start(NodeConfig {
        listen: config.listen.clone(),
        capture: config.capture_dir.clone(),
        limits: NodeLimits::default(),
        ..NodeConfig::client(identity.clone())
    })
    .await?;
    let served =
        ai_link_observe::serve("metrics", config.metrics, metrics::of(&core, &node)).await?;
    let dashboard = dashboard::Dashboard::new(core.clone(), node.clone());
    let page = ai_link_observe::serve("the dashboard", config.dashboard, dashboard).await?;
    let listening = Ready {
        metrics: served.as_ref().map(Served::address),
        dashboard: page.as_ref().map(Served::address),
        account: identity.account(),
        peer: node.peer_id(),
        addresses: node.listen_addrs(),
    };
    tracing::info!(account = %listening.account, addresses = ?listening.addresses, "ready");
    // Nobody may be interested; that is no reason not to run.
    let _ = ready.send(listening);
    // A coordinator takes no bulk streams.
    drop(incoming.streams);

    let mut tasks = JoinSet::new();
    tasks.spawn(answer_all(incoming.requests, core.clone(), reader.clone()));
    tasks.spawn(follow_chain(core, reader, client));
    let ended = tokio::select! {
        () = shutdown => Ok(()),
        ended = tasks.join_next() => match ended {
            Some(Ok(ended)) => ended,
            Some(Err(died)) => Err(RunError::Task(died)),
            None => Ok(()),
        },
    };
    drop((served, page));
    node.shutdown().await;
    tasks.shutdown().await;
    ended
}

fn load_or_make(path: &PathBuf) -> Result<Identity, RunError> {
    let identity_error = |source| RunError::Identity {
        path: path.clone(),
        source: Box::new(source),
    };
    if path.exists() {
        return Identity::load(path).map_err(identity_error);
    }
    let identity = Identity::try_generate().map_err(RunError::Random)?;
    identity.save(path).map_err(identity_error)?;
    Ok(identity)
}

async fn answer_all(
    mut requests: mpsc::Receiver<IncomingRequest>,
    core: Core,
    reader: Arc<Reader>,
) -> Result<(), RunError> {
    let places = Arc::new(Semaphore::new(PARALLEL_ANSWERS));
    let mut answers = JoinSet::new();
    while let Some(incoming) = requests.recv().await {
        while answers.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else {
            break;
        };
        let (core, reader) = (core.clone(), reader.clone());
        answers.spawn(async move {
            let IncomingRequest {
                peer,
                request,
                reply,
            } = incoming;
            let answering = answer(peer, request, core, reader);
            let response = tokio::time::timeout(ANSWER_DEADLINE, answering)
                .await
                .unwrap_or(ControlResponse::Refused(Refusal::Busy {
                    retry_after_ms: BUSY_RETRY_MS,
                }));
            // The caller may be gone.
            let _ = reply.send(response);
            drop(place);
        });
    }
    Err(RunError::NodeStopped)
}

async fn answer(
    peer: PeerId,
    request: ControlRequest,
    core: Core,
    reader: Arc<Reader>,
) -> ControlResponse {
    let Ok(caller) = PeerKey::try_from(peer) else {
        return ControlResponse::Refused(Refusal::WrongSigner);
    };
    let request = Arc::new(request);
    let mut looked_up = LookedUp::default();
    loop {
        let (now, noted) = (UnixMillis::now(), looked_up.clone());
        let (message, shared) = (request.clone(), core.clone());
        // Signatures and the disk: not on the threads that carry the network.
        let handling = tokio::task::spawn_blocking(move || {
            check_signatures_early(&message);
            lock(&shared).handle(caller, &message, &noted, now)
        });
        let wanted = match handling.await {
            Ok(Reaction::Reply(response)) => return response,
            Ok(Reaction::LookUp(wanted)) => wanted,
            Err(died) => {
                tracing::error!(
                    error = &died as &dyn std::error::Error,
                    "a message was not handled"
                );
                return ControlResponse::Refused(Refusal::internal("the message was not handled"));
            }
        };
        let reading = reader.turn().await;
        match reading.look_up(&wanted).await {
            Ok(Some(fact)) => lock(&core).learn(fact),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the chain was not read"
                );
                return ControlResponse::Refused(Refusal::Busy {
                    retry_after_ms: BUSY_RETRY_MS,
                });
            }
        }
        drop(reading);
        looked_up.note(wanted);
    }
}

/// Checked signatures are remembered in the record itself, so that under the lock only the result
/// is read.
fn check_signatures_early(request: &ControlRequest) {
    if let ControlRequest::Complete { receipt, .. } = request {
        // What is wrong is said under the lock, where the answer is made.
        let _ = JobReceipt::check(receipt);
    }
}

async fn follow_chain(
    core: Core,
    reader: Arc<Reader>,
    client: RegistryClient,
) -> Result<(), RunError> {
    let mut every = tokio::time::interval(POLL_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut submissions = JoinSet::new();
    let mut disputes = disputes::Disputes::default();
    loop {
        tokio::select! {
            _ = every.tick() => {}
            Some(submitted) = submissions.join_next() => {
                let (epoch, outcome) = submitted.map_err(RunError::Task)?;
                lock(&core)
                    .submitted(epoch, outcome, UnixMillis::now())
                    .map_err(|error| RunError::LedgerFailed(error.into()))?;
            }
        }
        match refresh(&reader, &core).await {
            Ok(()) => {}
            Err(ChainError::Ledger(error)) => return Err(RunError::LedgerFailed(error.into())),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the chain was not read"
                );
                continue;
            }
        }
        let shared = core.clone();
        let ticking = tokio::task::spawn_blocking(move || lock(&shared).tick(UnixMillis::now()));
        let effects = match ticking.await.map_err(RunError::Task)? {
            Ok(effects) => effects,
            Err(error @ TickError::Ledger(_)) => return Err(RunError::LedgerFailed(error)),
            Err(error @ TickError::Batch(_)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "nothing is settled"
                );
                continue;
            }
        };
        for crate::core::Effect::Submit(draft) in effects {
            submissions.spawn(chain::submit(client.clone(), draft));
        }
        match disputes.look(&client, &core).await {
            Ok(()) => {}
            Err(DisputesError::Ledger(error)) => return Err(RunError::LedgerFailed(error.into())),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "disputes were not looked at"
            ),
        }
    }
}

async fn refresh(reader: &Reader, core: &Core) -> Result<(), ChainError> {
    let turn = reader.turn().await;
    let (clients, models) = {
        let core = lock(core);
        (core.clients(), core.known_versions())
    };
    let reading = turn.read(clients, models).await?;
    let shared = core.clone();
    let paid = tokio::task::spawn_blocking(move || lock(&shared).refresh(reading))
        .await
        .map_err(ChainError::Task)??;
    if !paid.is_empty() {
        tracing::info!(jobs = paid.len(), "the chain has paid");
    }
    Ok(())
}

fn lock(core: &Core) -> MutexGuard<'_, Coordinator<DiskStore>> {
    // A panic under the lock leaves no half-made change: memory is changed only after a commit.
    core.lock().unwrap_or_else(PoisonError::into_inner)
}
