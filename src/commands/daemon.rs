//! The processes that serve.

use std::fs;
use std::future::Future;
use std::path::Path;

use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Daemon;
use crate::dev::layout::Ready;
use crate::output::{Failure, chain as causes};

pub(super) async fn worker(args: Daemon) -> Result<(), Failure> {
    let config: ai_link_worker::WorkerConfig = load(&args.config)?;
    let ready = |serving: ai_link_worker::Serving| {
        let addresses = serving.addresses.iter().map(ToString::to_string).collect();
        announce(
            &args,
            "worker",
            addresses,
            Some(serving.operator.to_string()),
        );
    };
    ai_link_worker::run(config, ready, stopped()?)
        .await
        .map_err(Failure::failed)
}

pub(super) async fn coordinator(args: Daemon) -> Result<(), Failure> {
    let config: ai_link_coordinator::CoordinatorConfig = load(&args.config)?;
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
            );
        }
    };
    let (outcome, ()) = tokio::join!(
        ai_link_coordinator::run(config, ready, stopped()?),
        announcing
    );
    outcome.map_err(Failure::failed)
}

pub(super) async fn gateway(args: Daemon) -> Result<(), Failure> {
    let config: ai_link_client::GatewayConfig = load(&args.config)?;
    let ready = |address: std::net::SocketAddr, account: ai_link_wire::AccountId| {
        announce(
            &args,
            "gateway",
            vec![format!("http://{address}")],
            Some(account.to_string()),
        );
    };
    ai_link_client::gateway::run(config, ready, stopped()?)
        .await
        .map_err(Failure::failed)
}

pub(super) async fn chain(args: Daemon) -> Result<(), Failure> {
    let config: ai_link_devchain::DevChainConfig = load(&args.config)?;
    let ready = |url: &str| announce(&args, "chain", vec![url.to_owned()], None);
    ai_link_devchain::run(config, ready, stopped()?)
        .await
        .map_err(Failure::failed)
}

pub(super) async fn storage(args: Daemon) -> Result<(), Failure> {
    let config: ai_link_storage::StorageConfig = load(&args.config)?;
    let ready = |address: std::net::SocketAddr| {
        announce(&args, "storage", vec![format!("http://{address}")], None);
    };
    ai_link_storage::run(config, ready, stopped()?)
        .await
        .map_err(Failure::failed)
}

/// Reads a configuration file. What is wrong with it is the operator's to mend: exit code 2.
fn load<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("cannot read {}: {e}", path.display())))?;
    toml::from_str(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

/// Says, to whoever started us, that we serve.
fn announce(args: &Daemon, role: &str, addresses: Vec<String>, account: Option<String>) {
    tracing::info!(role, ?addresses, "serving");
    let ready = Ready {
        pid: std::process::id(),
        role: role.into(),
        addresses,
        account,
    };
    if let Some(path) = &args.ready
        && let Err(error) = ready.save(path)
    {
        tracing::error!(error = causes(&error), path = %path.display(), "cannot write the ready file");
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
    })
}
