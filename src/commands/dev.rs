//! `ai-link dev`.

use ai_link_devchain::Genesis;
use ai_link_wire::Planck;
use serde::Serialize;

use super::context::{Context, state_dir};
use crate::cli::{ChainSpec, DevCommand, DevUp, Global};
use crate::dev::layout::Ready;
use crate::dev::process::{self, Liveness};
use crate::dev::up::{Plan, up};
use crate::dev::{Network, StateDir};
use crate::output::{Failure, Output};

pub(super) async fn run(
    global: &Global,
    command: DevCommand,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        DevCommand::Up(args) => start(global, args, output).await,
        DevCommand::Down => {
            let context = Context::load(global)?;
            down(&context.dir, &context.network)?;
            let stopped = Stopped {
                stopped: context.network.processes,
            };
            output.result(&stopped, |s| format!("stopped {}", s.stopped.join(", ")))
        }
        DevCommand::ChainSpec(args) => chain_spec(&args, output),
        DevCommand::Status => {
            let context = Context::load(global)?;
            let status = status(&context.dir, &context.network);
            output.result(&status, Status::text)
        }
    }
}

#[derive(Serialize)]
struct Stopped {
    stopped: Vec<String>,
}

#[derive(Serialize)]
struct Specification {
    chain_spec: std::path::PathBuf,
    accounts: usize,
}

fn chain_spec(args: &ChainSpec, output: &Output) -> Result<(), Failure> {
    let runtime = std::fs::read(&args.runtime).map_err(Failure::failed)?;
    let genesis = match args.endow.as_slice() {
        [] => Genesis::development(),
        accounts => {
            let rich = Planck::ail(1_000_000).0;
            Genesis {
                endowed: accounts.iter().map(|a| (a.0.into(), rich)).collect(),
            }
        }
    };
    let spec = ai_link_devchain::chain_spec(&genesis, &runtime).map_err(Failure::failed)?;
    let text = serde_json::to_vec(&spec).map_err(Failure::failed)?;
    std::fs::write(&args.out, text).map_err(Failure::failed)?;
    let done = Specification {
        chain_spec: args.out.clone(),
        accounts: genesis.endowed.len(),
    };
    output.result(&done, |done| format!("wrote {}", done.chain_spec.display()))
}

async fn start(global: &Global, args: DevUp, output: &Output) -> Result<(), Failure> {
    let dir = state_dir(global)?;
    let plan = Plan {
        seed: args.seed,
        workers: args.workers,
        storage_nodes: args.storage_nodes,
        gateway: args.gateway,
        capture: args.capture,
        pools: args.pools,
    };
    let network = up(&dir, &plan, output).await?;
    if args.with_models {
        super::demo::publish_models(&dir, &network, output).await?;
    }
    let status = status(&dir, &network);
    output.result(&status, Status::text)
}

/// Stops every process, in the reverse of the order in which they were started.
pub(super) fn down(dir: &StateDir, network: &Network) -> Result<(), Failure> {
    for name in network.processes.iter().rev() {
        process::stop(dir, name).map_err(Failure::failed)?;
    }
    Ok(())
}

/// What runs where.
#[derive(Serialize)]
struct Status {
    dir: String,
    gateway: String,
    processes: Vec<ProcessStatus>,
}

#[derive(Serialize)]
struct ProcessStatus {
    name: String,
    running: bool,
    pid: Option<u32>,
    addresses: Vec<String>,
    account: Option<String>,
    metrics: Option<String>,
    dashboard: Option<String>,
}

fn status(dir: &StateDir, network: &Network) -> Status {
    let processes = network
        .processes
        .iter()
        .map(|name| match Ready::load(&dir.ready(name)) {
            Ok(ready) => ProcessStatus {
                name: name.clone(),
                running: process::liveness(dir, name, &ready) == Liveness::Running,
                pid: Some(ready.pid),
                addresses: ready.addresses,
                account: ready.account,
                metrics: ready.metrics,
                dashboard: ready.dashboard,
            },
            Err(_) => ProcessStatus {
                name: name.clone(),
                running: false,
                pid: None,
                addresses: Vec::new(),
                account: None,
                metrics: None,
                dashboard: None,
            },
        })
        .collect();
    Status {
        dir: dir.root().display().to_string(),
        gateway: network.gateway.clone(),
        processes,
    }
}

impl Status {
    fn text(&self) -> String {
        let mut lines = vec![
            format!("state    {}", self.dir),
            format!("gateway  {}", self.gateway),
        ];
        let pages = self.processes.iter().filter_map(|p| p.dashboard.as_ref());
        lines.extend(pages.map(|at| format!("dashboard {at}")));
        for p in &self.processes {
            let state = if p.running { "running" } else { "stopped" };
            let pid = p.pid.map_or_else(String::new, |pid| pid.to_string());
            let at = p.addresses.first().map_or("", String::as_str);
            lines.push(format!("{:12} {state:8} {pid:>8}  {at}", p.name));
        }
        lines.join("\n")
    }
}
