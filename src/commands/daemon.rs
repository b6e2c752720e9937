//! The processes that serve.

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ai_link_observe::Loopback;
use ai_link_storage::{RequestSigner, SignWith, StorageConfig};
use ai_link_wire::Identity;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{CoordinatorDaemon, Daemon, Fsck, ObservedDaemon};
use crate::dev::layout::Ready;
use crate::output::{Failure, Output, chain as causes};

pub(super) async fn worker(args: ObservedDaemon) -> Result<(), Failure> {
    let ObservedDaemon {
        daemon: args,
        metrics,
    } = args;
    let mut config: ai_link_worker::WorkerConfig = load(&args.config)?;
    config.metrics = metrics.or(config.metrics);
    let ready = |serving: ai_link_worker::Serving| {
        let addresses = serving.addresses.iter().map(ToString::to_string).collect();
        announce(
            &args,
            "worker",
            addresses,
            Some(serving.operator.to_string()),
            Observed::metrics(serving.metrics),
        );
    };
    ai_link_worker::run(config, ready, stopped()?)
        .await
        .map_err(Failure::failed)
}

pub(super) async fn coordinator(args: CoordinatorDaemon) -> Result<(), Failure> {
    let CoordinatorDaemon {
        observed,
        dashboard,
    } = args;
    let ObservedDaemon {
        daemon: args,
        metrics,
    } = observed;
    let mut config: ai_link_coordinator::CoordinatorConfig = load(&args.config)?;
    config.metrics = metrics.or(config.metrics);
    config.dashboard = dashboard.or(config.dashboard);
    let (ready, serving) = tokio::sync::oneshot::channel::<ai_link_coordinator::Ready>();
    let announcing = async {
        // Dropped unsent when the coordinator does not start: then its error is the result.
        if let Ok(serving) = serving.await {
            let addresses = serving.addresses.iter().map(ToString::to_string).collect();
            announce(
                &args,
                "coordinator",
                addresses,
                Some(serving.account.to_string()),
                Observed {
                    metrics: serving.metrics.map(metrics_url),
                    dashboard: serving.dashboard.map(|at| format!("http://{at}/")),
                },
            );
        }
    };
    let (outcome, ()) = tokio::join!(
        ai_link_coordinator::run(config, ready, stopped()?),
        announcing
    );
    outcome.map_err(Failure::failed)
}

pub(super) async fn gateway(args: ObservedDaemon) -> Result<(), Failure> {
    let ObservedDaemon {
        daemon: args,
        metrics,
    } = args;
    let mut config: ai_link_client::GatewayConfig = load(&args.config)?;
    config.metrics = metrics.or(config.metrics);
    let ready = |serving: ai_link_client::gateway::Serving| {
        announce(
            &args,
            "gateway",
            vec![format!("http://{}", serving.address)],
            Some(serving.account.to_string()),
            Observed::metrics(serving.metrics),
        );
    };
    ai_link_client::gateway::run(config, ready, stopped()?)
        .await
        .map_err(Failure::failed)
}

pub(super) async fn chain(args: Daemon) -> Result<(), Failure> {
    let config: ai_link_devchain::DevChainConfig = load(&args.config)?;
    let ready = |url: &str| {
        announce(
            &args,
            "chain",
            vec![url.to_owned()],
            None,
            Observed::default(),
        )
    };
    ai_link_devchain::run(config, ready, stopped()?)
        .await
        .map_err(Failure::failed)
}

pub(super) async fn storage(args: Daemon, metrics: Option<Loopback>) -> Result<(), Failure> {
    let mut config: ai_link_storage::StorageConfig = load(&args.config)?;
    config.metrics = metrics.or(config.metrics);
    let observed = Observed::configured(config.metrics);
    let ready = |address: std::net::SocketAddr| {
        let addresses = vec![format!("http://{address}")];
        announce(&args, "storage", addresses, None, observed);
    };
    let signer = storage_signer(&config)?;
    let bank = super::filebank::of(&config).await?;
    ai_link_storage::run(config, signer, bank, ready, stopped()?)
        .await
        .map_err(Failure::failed)
}

pub(super) async fn storage_node(args: ObservedDaemon) -> Result<(), Failure> {
    let ObservedDaemon {
        daemon: args,
        metrics,
    } = args;
    let mut config: ai_link_storage::node::NodeConfig = load(&args.config)?;
    config.metrics = metrics.or(config.metrics);
    let observed = Observed::configured(config.metrics);
    let account = config.account.to_string();
    let ready = |address: std::net::SocketAddr| {
        let addresses = vec![format!("http://{address}")];
        announce(&args, "storage-node", addresses, Some(account), observed);
    };
    ai_link_storage::node::run_node(config, ready, stopped()?)
        .await
        .map_err(Failure::failed)
}

pub(super) async fn storage_tagger(args: Daemon) -> Result<(), Failure> {
    let config: ai_link_storage::node::TaggerConfig = load(&args.config)?;
    let ready = |address: std::net::SocketAddr, key: &ai_link_storage::podr2::PublicKey| {
        let (addresses, signer) = (vec![format!("http://{address}")], key.signer().to_string());
        announce(
            &args,
            "storage-tagger",
            addresses,
            Some(signer),
            Observed::default(),
        );
    };
    ai_link_storage::node::run_tagger(config, ready, stopped()?)
        .await
        .map_err(Failure::failed)
}

/// `ai-link storage fsck`: what nodes keep for nothing goes, and what they lost is rebuilt if asked.
pub(super) async fn fsck(args: Fsck, output: &Output) -> Result<(), Failure> {
    let config: ai_link_storage::StorageConfig = load(&args.config)?;
    let signer = storage_signer(&config)?;
    let StorageConfig {
        data,
        nodes,
        limits,
        ..
    } = &config;
    if nodes.is_empty() {
        // One directory is swept whenever it is opened.
        let store = ai_link_storage::StoreConfig::default();
        let store = ai_link_storage::EmbeddedStore::open(data.clone(), store).await;
        let occupied = store.map_err(Failure::failed)?.occupied();
        let result = json!({ "occupied_bytes": occupied });
        return output.result(&result, |_| format!("swept; {occupied} bytes in use"));
    }
    let bank = super::filebank::of(&config).await?;
    let opened = ai_link_storage::open_spread(data, nodes, signer, limits, bank).await;
    let store = opened.map_err(Failure::failed)?;
    let report = store.fsck().await.map_err(Failure::failed)?;
    let mut repaired = Vec::new();
    if args.repair {
        for fid in &report.lacking {
            store.repair(*fid).await.map_err(Failure::failed)?;
            repaired.push(fid.to_string());
        }
    }
    let lacking: Vec<_> = report.lacking.iter().map(ToString::to_string).collect();
    let unreachable: Vec<_> = report.unreachable.iter().map(ToString::to_string).collect();
    let result = json!({
        "files": report.files, "released": report.leaked, "lacking": lacking,
        "repaired": repaired, "unreachable_nodes": unreachable,
    });
    output.result(&result, |_| {
        format!(
            "{} files; released {} that no file needs; {} lack fragments, {} repaired; {} nodes do \
             not answer",
            report.files,
            report.leaked,
            lacking.len(),
            repaired.len(),
            unreachable.len()
        )
    })
}

/// The key that the configuration names, for writes to storage nodes.
fn storage_signer(config: &StorageConfig) -> Result<Option<Arc<dyn RequestSigner>>, Failure> {
    let Some(path) = &config.identity else {
        return Ok(None);
    };
    let identity = Identity::load(path).map_err(Failure::failed)?;
    let account = ai_link_storage::Account(identity.account().0);
    let signer = SignWith::new(account, move |message: &[u8]| identity.sign(message).0);
    Ok(Some(Arc::new(signer)))
}

/// Reads a configuration file. What is wrong with it is the operator's to mend: exit code 2.
fn load<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("cannot read {}: {e}", path.display())))?;
    toml::from_str(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

/// Where a process lets its operator look.
#[derive(Default)]
struct Observed {
    metrics: Option<String>,
    dashboard: Option<String>,
}

impl Observed {
    fn metrics(at: Option<SocketAddr>) -> Self {
        Self {
            metrics: at.map(metrics_url),
            dashboard: None,
        }
    }

    /// As configured; a port that the system chooses is only in the log.
    fn configured(at: Option<Loopback>) -> Self {
        let at = at.map(Loopback::address);
        Self::metrics(at.filter(|at| at.port() != 0))
    }
}

fn metrics_url(at: SocketAddr) -> String {
    format!("http://{at}/metrics")
}

/// Says, to whoever started us, that we serve.
fn announce(
    args: &Daemon,
    role: &str,
    addresses: Vec<String>,
    account: Option<String>,
    observed: Observed,
) {
    tracing::info!(role, ?addresses, "serving");
    let ready = Ready {
        pid: std::process::id(),
        role: role.into(),
        addresses,
        account,
        metrics: observed.metrics,
        dashboard: observed.dashboard,
    };
    tell_systemd(sd_notify::NotifyState::Ready);
    if let Some(path) = &args.ready
        && let Err(error) = ready.save(path)
    {
        tracing::error!(error = causes(&error), path = %path.display(), "cannot write the ready file");
    }
}

/// Tells whoever supervises this process, if it is systemd: units are of `Type=notify`.
fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        tracing::warn!(%error, "systemd was not told");
    }
}

/// Resolves on SIGTERM or Ctrl-C.
fn stopped() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tell_systemd(sd_notify::NotifyState::Stopping);
    })
}
