//! The async shell around the [`Chain`]: a lock, the clock, one task that seals, and those who wait.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonrpsee::server::{
    BatchRequestConfig, RandomStringIdProvider, RegisterMethodError, Server, ServerHandle,
};
use sp_core::H256;
use tokio::{
    sync::{Notify, broadcast, oneshot},
    task::JoinHandle,
};

use crate::{
    Chain, Empty, Genesis, Loss, OpenError, PoolLimits, SealError, SealedBlock, Standing,
    SubmitError, rpc,
};

const MAX_CONNECTIONS: u32 = 2048;
const MAX_SUBSCRIPTIONS: u32 = 1024;
const MAX_BATCH: u32 = 64;
const MAX_REQUEST_BYTES: u32 = 4 << 20;
const MAX_RESPONSE_BYTES: u32 = 16 << 20;
/// Messages to one client that may wait in memory.
const MESSAGE_BUFFER: u32 = 256;
/// Blocks that a slow subscriber may be behind before it misses some.
const HEADS_BUFFER: usize = 256;
/// How long connections may take to end after the server was told to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// What became of a watched transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Included(H256),
    Lost(LostTo),
}

/// Why a watched transaction is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LostTo {
    Invalidity,
    Room,
    /// Hash of the transaction that took its place.
    Rival(H256),
}

/// A transaction in the pool and the channel that tells what became of it.
pub(crate) struct Watched {
    pub(crate) standing: Standing,
    pub(crate) outcome: oneshot::Receiver<Outcome>,
}

/// The running chain, shared by the sealing task and the RPC methods.
pub(crate) struct Node {
    chain: RwLock<Chain>,
    wake: Notify,
    /// At most one per transaction in the pool, so the pool's limits bound it.
    watchers: Mutex<HashMap<H256, oneshot::Sender<Outcome>>>,
    heads: broadcast::Sender<Arc<SealedBlock>>,
}

impl Node {
    fn new(chain: Chain) -> Self {
        Self {
            chain: RwLock::new(chain),
            wake: Notify::new(),
            watchers: Mutex::new(HashMap::new()),
            heads: broadcast::channel(HEADS_BUFFER).0,
        }
    }

    /// The chain for reading. Blocks while a block is made.
    pub(crate) fn chain(&self) -> RwLockReadGuard<'_, Chain> {
        // Panics of the runtime are caught below the lock, so poison is never about the chain.
        self.chain.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks from now on.
    pub(crate) fn heads(&self) -> broadcast::Receiver<Arc<SealedBlock>> {
        self.heads.subscribe()
    }

    /// Takes a transaction and wakes the sealing task. Blocks while a block is made.
    pub(crate) fn submit(&self, bytes: Vec<u8>) -> Result<H256, SubmitError> {
        self.take(bytes, |_, hash| hash)
    }

    /// [`Self::submit`], and tells what becomes of the transaction.
    pub(crate) fn submit_and_watch(&self, bytes: Vec<u8>) -> Result<Watched, SubmitError> {
        self.take(bytes, |standing, hash| {
            let (sender, outcome) = oneshot::channel();
            self.watchers().insert(hash, sender);
            Watched { standing, outcome }
        })
    }

    fn take<T>(
        &self,
        bytes: Vec<u8>,
        register: impl FnOnce(Standing, H256) -> T,
    ) -> Result<T, SubmitError> {
        let mut chain = self.chain.write().unwrap_or_else(PoisonError::into_inner);
        let accepted = chain.submit(bytes)?;
        // Still under the lock: no block can take the transaction before its watcher is known.
        let registered = register(accepted.standing, accepted.hash);
        drop(chain);
        self.tell_lost(&accepted.lost, accepted.hash);
        self.wake.notify_one();
        Ok(registered)
    }

    /// Makes one block if there is something to put in it. Tells whether more is ready.
    fn seal(&self, empty: Empty) -> Result<bool, SealError> {
        let mut chain = self.chain.write().unwrap_or_else(PoisonError::into_inner);
        let sealed = chain.seal(now(), empty)?;
        let progress = sealed.block.is_some() || !sealed.lost.is_empty();
        let more = progress && chain.has_ready();
        drop(chain);
        self.tell_lost(&sealed.lost, H256::default());
        if let Some(block) = sealed.block {
            tracing::debug!(
                number = block.header.number, hash = ?block.hash, transactions = block.included.len(),
                "block sealed"
            );
            let mut watchers = self.watchers();
            for hash in &block.included {
                if let Some(watcher) = watchers.remove(hash) {
                    let _ = watcher.send(Outcome::Included(block.hash));
                }
            }
            drop(watchers);
            // Fails only if nobody listens.
            let _ = self.heads.send(Arc::new(block));
        }
        Ok(more)
    }

    fn tell_lost(&self, lost: &[(H256, Loss)], rival: H256) {
        let mut watchers = self.watchers();
        for (hash, loss) in lost {
            tracing::debug!(transaction = ?hash, ?loss, "transaction left the pool");
            let Some(watcher) = watchers.remove(hash) else {
                continue;
            };
            let _ = watcher.send(Outcome::Lost(match loss {
                Loss::Invalid => LostTo::Invalidity,
                Loss::Dropped => LostTo::Room,
                Loss::Usurped => LostTo::Rival(rival),
            }));
        }
    }

    fn watchers(&self) -> std::sync::MutexGuard<'_, HashMap<H256, oneshot::Sender<Outcome>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a chain is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port cannot be used.
    #[error("the chain cannot listen on {listen}; is another process on that port?")]
    Listen {
        /// Address asked for.
        listen: SocketAddr,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Two RPC methods have the same name.
    #[error("the RPC methods contradict each other")]
    Methods(#[from] RegisterMethodError),
    /// No further block can be made.
    #[error("the chain cannot make another block")]
    Seal(#[from] SealError),
    /// The task that makes blocks died.
    #[error("the task that makes blocks died")]
    Task(#[source] tokio::task::JoinError),
    /// Connections were still open when the time to close them was over.
    #[error("the chain still had open connections {STOP_DEADLINE:?} after it was told to stop")]
    StillOpen,
}

/// A chain that is open and not served yet.
pub struct DevChain {
    chain: Chain,
}

impl DevChain {
    /// Opens the chain in `directory`, or begins it there with `genesis`; see [`Chain::open`].
    pub fn open(directory: &Path, genesis: &Genesis) -> Result<Self, OpenError> {
        Ok(Self {
            chain: Chain::open(directory, genesis, PoolLimits::default())?,
        })
    }

    /// Serves it: JSON-RPC over WebSocket and HTTP on `listen`, blocks when transactions are ready
    /// and, where `block_interval` is given, at least that often. Needs a tokio runtime.
    pub async fn serve(
        self,
        listen: SocketAddr,
        block_interval: Option<Duration>,
    ) -> Result<Serving, ServeError> {
        let genesis = self.chain.genesis_hash();
        let number = self.chain.head().number;
        let node = Arc::new(Node::new(self.chain));
        let module = rpc::module(node.clone())?;
        let failed = |source| ServeError::Listen { listen, source };
        let server = Server::builder()
            .max_connections(MAX_CONNECTIONS)
            .max_subscriptions_per_connection(MAX_SUBSCRIPTIONS)
            .max_request_body_size(MAX_REQUEST_BYTES)
            .max_response_body_size(MAX_RESPONSE_BYTES)
            .set_message_buffer_capacity(MESSAGE_BUFFER)
            .set_batch_request_config(BatchRequestConfig::Limit(MAX_BATCH))
            .set_id_provider(RandomStringIdProvider::new(16))
            .build(listen)
            .await
            .map_err(failed)?;
        let address = server.local_addr().map_err(failed)?;
        let handle = server.start(module);
        let (stop, stopped) = oneshot::channel();
        let sealing = tokio::spawn(produce(node.clone(), block_interval, stopped));
        let url = format!("ws://{address}");
        tracing::info!(%url, ?genesis, number, "chain is served");
        Ok(Serving {
            url,
            handle,
            node,
            sealing: Some(sealing),
            stop,
        })
    }
}

/// A chain that is served. Dropping it stops it without waiting.
pub struct Serving {
    url: String,
    handle: ServerHandle,
    node: Arc<Node>,
    /// Gone once [`Self::failed`] has told how it ended.
    sealing: Option<JoinHandle<Result<(), SealError>>>,
    stop: oneshot::Sender<()>,
}

impl Serving {
    /// Where it answers, for example `ws://127.0.0.1:9944`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Completes when the chain cannot make blocks any more, and only once.
    pub async fn failed(&mut self) -> ServeError {
        let Some(sealing) = &mut self.sealing else {
            return std::future::pending().await;
        };
        let ended = sealing.await;
        self.sealing = None;
        match ended {
            Ok(Err(error)) => error.into(),
            // The task ends without an error only when `stop` is used, which takes `self`.
            Ok(Ok(())) => std::future::pending().await,
            Err(error) => ServeError::Task(error),
        }
    }

    /// Stops taking requests, finishes the block in progress, and closes the database.
    ///
    /// # Errors
    ///
    /// If a connection did not end in time (the database stays open until it does), or the chain had
    /// failed before.
    pub async fn stop(self) -> Result<(), ServeError> {
        let Self {
            handle,
            node,
            sealing,
            stop,
            ..
        } = self;
        drop(stop);
        let sealed = match sealing {
            Some(sealing) => sealing.await.map_err(ServeError::Task),
            None => Ok(Ok(())),
        };
        // It may have been told to stop already, which is as good.
        let _ = handle.stop();
        let alive = Arc::downgrade(&node);
        drop(node);
        let closed = async {
            handle.stopped().await;
            // Subscriptions end right after their connections and hold the database until then.
            while alive.strong_count() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(STOP_DEADLINE, closed)
            .await
            .map_err(|_| ServeError::StillOpen)?;
        Ok(sealed??)
    }
}

/// Makes blocks until told to stop.
async fn produce(
    node: Arc<Node>,
    interval: Option<Duration>,
    mut stop: oneshot::Receiver<()>,
) -> Result<(), SealError> {
    loop {
        let empty = tokio::select! {
            biased;
            _ = &mut stop => return Ok(()),
            () = node.wake.notified() => Empty::Skip,
            () = elapsed(interval) => Empty::Seal,
        };
        let sealing = node.clone();
        let sealed = tokio::task::spawn_blocking(move || {
            let mut empty = empty;
            while sealing.seal(empty)? {
                empty = Empty::Skip;
            }
            Ok::<(), SealError>(())
        });
        match sealed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "no block can be made"
                );
                return Err(error);
            }
            // Not from a panic of the runtime, those are errors: this is a defect, and going on
            // would serve a chain in a state nobody thought of.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

async fn elapsed(interval: Option<Duration>) {
    match interval {
        Some(interval) => tokio::time::sleep(interval).await,
        None => std::future::pending().await,
    }
}

/// Milliseconds since 1970. A clock before that counts as 1970: the runtime moves the time forward.
fn now() -> u64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
