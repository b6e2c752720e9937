//! The storage process: a store and its server, from one configuration.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ai_link_observe::{Loopback, Metrics, serve as serve_pages};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::account::Account;
use crate::bank::{EmbeddedBank, FileBank};
use crate::embedded::{EmbeddedStore, OpenError, StoreConfig};
use crate::error::StorageError;
use crate::http::auth::{Access, RequestSigner, SignatureAuthorizer};
use crate::layout::FRAGMENTS;
use crate::location::Site;
use crate::mutable::{EmbeddedVersions, Versions};
use crate::node::{HttpNode, HttpNodeConfig, HttpTagger, NodeEntry, StorageNode, TaggerEntry};
use crate::podr2::AuditConfig;
use crate::server::{ServerConfig, serve_mutable};
use crate::spread::{SpreadConfig, SpreadStore};
use crate::tally;

/// Configuration of a storage process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageConfig {
    /// Where to listen; port 0 takes a free one. There is no TLS: beyond one machine put a proxy in
    /// front.
    pub listen: SocketAddr,
    /// Directory of the store; made if it is not there.
    pub data: PathBuf,
    /// How this node calls itself when asked where fragments are.
    #[serde(default = "default_node")]
    pub node: String,
    /// Whose objects are taken; anybody's who signs if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Vec<Account>>,
    /// The key that writes to `nodes` are signed with, a file that whoever starts this process reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
    /// Where this process is; without it, objects with a location policy are refused (unless they go
    /// to `nodes`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// Where to serve metrics, at `/metrics`: an address on loopback; nowhere if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Loopback>,
    /// Limits; all have defaults.
    #[serde(default)]
    pub limits: StorageLimits,
    /// The chain that says which files there are; this process alone does if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainEntry>,
    /// How nodes are made to prove what they have; they are not if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditEntry>,
    /// The storage nodes that fragments go to, 12 or more; if left out, this process keeps them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeEntry>,
}

/// The chain that a storage process over nodes reports to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainEntry {
    /// Where it is: `ws://` on this machine, `wss://` elsewhere.
    pub url: String,
    /// The key that this process acts with for owners that authorised it, a file that whoever starts this
    /// process reads.
    pub key: PathBuf,
    /// The keys of the storage nodes, which report what they have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_keys: Vec<PathBuf>,
    /// Which territory of each owner files go to.
    #[serde(default = "default_territory")]
    pub territory: String,
}

fn default_territory() -> String {
    ChainEntry::TERRITORY.to_owned()
}

impl ChainEntry {
    /// The territory that files go to unless another is configured.
    pub const TERRITORY: &str = "ai-link";
}

/// How storage nodes are made to prove what they have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// Where the tagger is.
    pub tagger_url: String,
    /// How often each fragment is challenged, in seconds.
    #[serde(default = "default_audit_interval")]
    pub interval_s: u64,
    /// The tagger's public key.
    pub tagger: TaggerEntry,
}

fn default_audit_interval() -> u64 {
    AuditConfig::default().interval.as_secs()
}

/// Limits of a storage process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageLimits {
    /// The largest object in bytes; at most 31.25 GiB.
    pub max_object_bytes: u64,
    /// How many bytes fragments may take on disk.
    pub capacity_bytes: u64,
    /// Connections at a time.
    pub max_connections: usize,
    /// Uploads at a time; each takes up to 32 MiB of memory.
    pub max_uploads: usize,
    /// Downloads at a time; each takes up to 16 MiB of memory.
    pub max_downloads: usize,
    /// How long an upload may take, in milliseconds.
    pub upload_timeout_ms: u64,
    /// How long a connection may stand still, in milliseconds.
    pub idle_timeout_ms: u64,
}

/// Why a storage process did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}: choose another address or stop what uses it")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the operating system reports.
        #[source]
        source: io::Error,
    },
    /// There are too few storage nodes.
    #[error("{0} storage nodes are configured: twelve fragments need 12 at least")]
    FewNodes(usize),
    /// Storage nodes are configured and no key to sign with.
    #[error("storage nodes are configured and no identity: writes to them must be signed")]
    NoIdentity,
    /// The storage nodes cannot be used.
    #[error("the storage nodes cannot be used")]
    Nodes(#[source] StorageError),
    /// A chain is configured and no storage nodes.
    #[error("a chain is configured and no storage nodes: it keeps account of those alone")]
    ChainWithoutNodes,
    /// The tagger's secret key cannot be used.
    #[error("the tagger's key cannot be used")]
    TaggingKey(#[source] crate::podr2::KeyError),
    /// The key of a tagger makes no sense.
    #[error("the tagger's modulus must be 512 hexadecimal digits of an odd number of 2048 bits")]
    Tagger,
    /// Metrics cannot be served.
    #[error("what the operator is to see cannot be served")]
    Observe(#[from] ai_link_observe::ServeError),
    /// A limit is zero, so that nothing could ever be done.
    #[error("the limit {0} is zero: nothing could ever be done")]
    Zero(&'static str),
    /// The store cannot be opened.
    #[error("the store cannot be opened")]
    Store(#[from] OpenError),
}

impl StorageConfig {
    /// Listens on `listen` and keeps objects in `data`, with the usual limits, for anybody.
    pub fn new(listen: SocketAddr, data: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            data: data.into(),
            node: default_node(),
            accounts: None,
            site: None,
            identity: None,
            metrics: None,
            limits: StorageLimits::default(),
            chain: None,
            audit: None,
            nodes: Vec::new(),
        }
    }
}

impl Default for StorageLimits {
    fn default() -> Self {
        let (store, server) = (StoreConfig::default(), ServerConfig::default());
        Self {
            max_object_bytes: store.max_object,
            capacity_bytes: store.capacity,
            max_connections: server.max_connections,
            max_uploads: server.max_uploads,
            max_downloads: server.max_downloads,
            upload_timeout_ms: server.upload_timeout.as_millis() as u64,
            idle_timeout_ms: server.idle_timeout.as_millis() as u64,
        }
    }
}

/// What a storage process asks which files there are, made of its own record. [`own_record`] takes that
/// itself; for a configuration with a chain, it is a bank of that chain.
pub type MakeBank = Box<dyn FnOnce(EmbeddedBank) -> Arc<dyn FileBank> + Send>;

/// The record of a storage process is what it asks.
pub fn own_record() -> MakeBank {
    Box::new(|record| Arc::new(record))
}

/// Runs a storage process until `shutdown` ends. Calls `ready` with the address once requests are
/// taken. `signer` has the key that the configuration names, and `bank` talks to the chain that it names.
///
/// # Errors
///
/// See [`RunError`]; all of them come before `ready` is called.
pub async fn run(
    config: StorageConfig,
    signer: Option<Arc<dyn RequestSigner>>,
    bank: MakeBank,
    ready: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let StorageConfig {
        listen,
        data,
        node,
        accounts,
        site,
        identity: _,
        metrics: metrics_at,
        limits,
        chain,
        audit,
        nodes,
    } = config;
    for (limit, value) in [
        ("max_connections", limits.max_connections as u64),
        ("max_uploads", limits.max_uploads as u64),
        ("max_downloads", limits.max_downloads as u64),
        ("upload_timeout_ms", limits.upload_timeout_ms),
        ("idle_timeout_ms", limits.idle_timeout_ms),
    ] {
        if value == 0 {
            return Err(RunError::Zero(limit));
        }
    }
    let failed = |source| RunError::Listen { listen, source };
    let access = SignatureAuthorizer::new(accounts.map_or(Access::Anyone, Access::Only));
    let server = ServerConfig {
        max_connections: limits.max_connections,
        max_uploads: limits.max_uploads,
        max_downloads: limits.max_downloads,
        upload_timeout: Duration::from_millis(limits.upload_timeout_ms),
        idle_timeout: Duration::from_millis(limits.idle_timeout_ms),
        ..ServerConfig::default()
    };
    let metrics = Metrics::new("storage", env!("CARGO_PKG_VERSION"));
    server.requests.register(&metrics);
    if nodes.is_empty() {
        if chain.is_some() {
            return Err(RunError::ChainWithoutNodes);
        }
        let store = StoreConfig {
            max_object: limits.max_object_bytes,
            capacity: limits.capacity_bytes,
            max_puts: limits.max_uploads,
            node,
            site,
            ..StoreConfig::default()
        };
        let store = EmbeddedStore::open(&data, store).await?;
        let versions = versions(&data)?;
        let looked_at = store.clone();
        tally::space(&metrics, limits.capacity_bytes, move || {
            looked_at.occupied()
        });
        let _served = serve_pages("metrics", metrics_at, metrics).await?;
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, occupied = store.occupied(), "storage is ready");
        ready(address);
        serve_mutable(store, versions, access, listener, server, shutdown).await;
    } else {
        let store = spread(&data, &nodes, signer.clone(), &limits, bank).await?;
        let versions = versions(&data)?;
        let auditing = auditing(&store, audit, signer)?;
        metrics.triple("storage_proofs", "Challenges to nodes", store.proofs());
        let _served = serve_pages("metrics", metrics_at, metrics).await?;
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, nodes = nodes.len(), "storage is ready");
        ready(address);
        serve_mutable(store.clone(), versions, access, listener, server, shutdown).await;
        drop(auditing);
        store.settle().await;
    }
    tracing::info!("storage stopped");
    Ok(())
}

/// Where versions of mutable objects are published.
fn versions(data: &Path) -> Result<Arc<dyn Versions>, OpenError> {
    let versions = EmbeddedVersions::open(&data.join("versions.redb"))?;
    Ok(Arc::new(versions))
}

/// Starts to audit; that ends when what this returns is dropped.
fn auditing(
    store: &SpreadStore,
    audit: Option<AuditEntry>,
    signer: Option<Arc<dyn RequestSigner>>,
) -> Result<JoinSet<()>, RunError> {
    let mut tasks = JoinSet::new();
    let Some(audit) = audit else {
        return Ok(tasks);
    };
    let signer = signer.ok_or(RunError::NoIdentity)?;
    let key = audit.tagger.key()?;
    let tagger = HttpTagger::new(&audit.tagger_url, key, signer).map_err(RunError::Nodes)?;
    let interval = Duration::from_secs(audit.interval_s.max(1));
    let config = AuditConfig {
        interval,
        retry: (interval / 10).max(Duration::from_secs(1)),
        ..AuditConfig::default()
    };
    let pause = (interval / 10).clamp(Duration::from_secs(1), Duration::from_secs(60));
    let store = store.clone();
    tasks.spawn(async move { store.keep_proven(&tagger, config, pause).await });
    Ok(tasks)
}

/// The store over the nodes of a configuration, with its record of files in `data` and what `bank` makes
/// of it.
///
/// # Errors
///
/// See [`RunError`].
pub async fn spread(
    data: &Path,
    nodes: &[NodeEntry],
    signer: Option<Arc<dyn RequestSigner>>,
    limits: &StorageLimits,
    bank: MakeBank,
) -> Result<SpreadStore, RunError> {
    if nodes.len() < FRAGMENTS {
        return Err(RunError::FewNodes(nodes.len()));
    }
    let signer = signer.ok_or(RunError::NoIdentity)?;
    let mut members: Vec<(Arc<dyn StorageNode>, Site)> = Vec::with_capacity(nodes.len());
    for NodeEntry { account, url, site } in nodes {
        let config = HttpNodeConfig::default();
        let node =
            HttpNode::new(url, *account, Arc::clone(&signer), config).map_err(RunError::Nodes)?;
        members.push((Arc::new(node), site.clone()));
    }
    std::fs::create_dir_all(data).map_err(|source| {
        RunError::Nodes(StorageError::Io {
            doing: "made its directory",
            source,
        })
    })?;
    let bank = bank(EmbeddedBank::open(&data.join("files.redb"))?);
    let config = SpreadConfig {
        max_object: limits.max_object_bytes,
        ..SpreadConfig::default()
    };
    SpreadStore::open(bank, members, config)
        .await
        .map_err(RunError::Nodes)
}

fn default_node() -> String {
    StoreConfig::default().node
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::client::HttpStore;
    use crate::contract::signer;
    use crate::http::auth::RequestSigner;
    use crate::object::PutOptions;
    use crate::store::ObjectStore;

    #[test]
    fn files_are_read_strictly() {
        let config: StorageConfig =
            toml::from_str("listen = '127.0.0.1:0'\ndata = 'd'\n[limits]\nmax_uploads = 2")
                .unwrap();
        let mut expected = StorageConfig::new(config.listen, "d");
        expected.limits.max_uploads = 2;
        assert_eq!(config, expected);
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<StorageConfig>(&text).unwrap(), config);
        let error =
            toml::from_str::<StorageConfig>("listen = '127.0.0.1:0'\ndata = 'd'\nquota = 1");
        assert!(error.unwrap_err().message().contains("quota"));
        let config: StorageConfig = toml::from_str(
            "listen = '127.0.0.1:0'\ndata = 'd'\n[chain]\nurl = 'ws://127.0.0.1:1'\nkey = 'k'",
        )
        .unwrap();
        let chain = config.chain.clone().unwrap();
        assert_eq!(
            (chain.territory.as_str(), chain.node_keys.len()),
            ("ai-link", 0)
        );
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<StorageConfig>(&text).unwrap(), config);
        let error = toml::from_str::<StorageConfig>(
            "listen = '127.0.0.1:0'\ndata = 'd'\naccounts = ['nobody']",
        );
        assert!(error.unwrap_err().message().contains("SS58"));
    }

    #[tokio::test]
    async fn the_process_starts_serves_at_real_sizes_and_stops() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut config = StorageConfig::new(([127, 0, 0, 1], 0).into(), dir.path());
        config.accounts = Some(vec![signer(1).account()]);
        let (ready, address) = tokio::sync::oneshot::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(run(
            config,
            None,
            own_record(),
            move |address| ready.send(address).unwrap(),
            async move { stopped.await.unwrap() },
        ));
        let url = format!("http://{}", address.await.unwrap());
        let store = HttpStore::new(&url).unwrap().with_signer(signer(1));
        let model: Vec<u8> = (0..20_000_u32).map(|i| ((i * i) >> 7) as u8).collect();
        let options = || PutOptions::named("model.package".parse().unwrap());
        let stored = store.put_bytes(&model, options()).await.unwrap();
        let reader = HttpStore::new(&url).unwrap();
        assert_eq!(reader.get_bytes(stored.fid, 20_000).await.unwrap(), model);
        let range = (100..200).try_into().unwrap();
        let part = reader
            .get(stored.fid, Some(range))
            .await
            .unwrap()
            .into_vec(100)
            .await
            .unwrap();
        assert_eq!(part, model[100..200]);
        let stranger = HttpStore::new(&url).unwrap().with_signer(signer(2));
        let error = stranger.put_bytes(&model, options()).await.unwrap_err();
        assert!(error.to_string().contains("may not write"), "{error}");
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_cannot_work_is_said_at_once() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut config = StorageConfig::new(([127, 0, 0, 1], 0).into(), dir.path());
        config.chain = Some(ChainEntry {
            url: "ws://127.0.0.1:1".to_owned(),
            key: "key".into(),
            node_keys: Vec::new(),
            territory: default_territory(),
        });
        let not_ready = |_| panic!("it must not start");
        let error = run(
            config.clone(),
            None,
            own_record(),
            not_ready,
            std::future::pending(),
        );
        let error = error.await.unwrap_err();
        assert!(matches!(error, RunError::ChainWithoutNodes), "{error:?}");
        config.limits.max_uploads = 0;
        let not_ready = |_| panic!("it must not start");
        let error = run(
            config.clone(),
            None,
            own_record(),
            not_ready,
            std::future::pending(),
        )
        .await
        .unwrap_err();
        assert!(matches!(error, RunError::Zero("max_uploads")), "{error:?}");
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        config = StorageConfig::new(taken.local_addr().unwrap(), dir.path());
        let error = run(
            config,
            None,
            own_record(),
            not_ready,
            std::future::pending(),
        )
        .await
        .unwrap_err();
        assert!(matches!(error, RunError::Listen { .. }), "{error:?}");
    }
}
