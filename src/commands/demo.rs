//! `ai-link demo`: the whole network, two real models, real records, and the evidence.
//!
//! 1. Starts chain, storage, coordinator, workers and gateway as processes of their own, with captures on.
//! 2. Publishes models of `benchmarks/models` as their owner would.
//! 3. Sends held-out records to the gateway over HTTP, one request a record; a few at level `fhe`, to a third model.
//! 4. Has owners of data store inputs in shares, one owner in a job and two, and asks for answers on them; shows that an
//!    input that must stay in the European Union is not given to a worker elsewhere.
//! 5. Compares each answer with the same ONNX file run in the clear (ONNX Runtime's interface, pure-Rust back-end).
//! 6. Waits until the chain has paid everyone, and compares the balances before and after.
//! 7. Searches all that workers, coordinator, storage and chain saw or wrote for any record or answer.
//!
//! At level `fhe` the clear answers of step 5 are those of the ONNX file in floats, and of the integer model that it
//! became: the class must be that of the first, scores must equal the second.

mod encrypted;
mod evidence;
mod models;
mod owners;
mod run;
mod settle;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ai_link_wire::{Bytes, Level};
use serde::Serialize;

use super::context::state_dir;
use crate::cli::{Demo, Global};
use crate::dev::up::{self, Plan, up};
use crate::dev::{Network, StateDir};
use crate::output::{Failure, Output};
use encrypted::EncryptedResult;
use evidence::ProcessEvidence;
use owners::OwnersResult;
use run::ModelResult;
use settle::Settlement;

/// What a demo shows.
#[derive(Serialize)]
struct Report {
    models: Vec<ModelResult>,
    /// At level `fhe`; none in a build without it.
    encrypted: Option<EncryptedResult>,
    /// On inputs of others.
    owners: OwnersResult,
    settlement: Settlement,
    processes: Vec<ProcessEvidence>,
    search: evidence::Search,
    receipt: serde_json::Value,
    seconds: f64,
}

pub(super) async fn run(global: &Global, args: Demo, output: &Output) -> Result<(), Failure> {
    let started = std::time::Instant::now();
    let (dir, temporary) = home(global, &args)?;
    let plan = Plan {
        seed: args.seed.clone(),
        workers: args.workers,
        storage_nodes: 0,
        gateway: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        capture: true,
        // Each request is to show all that it moves.
        pools: Bytes(0),
    };
    output.note("starting the network: every role is a process of its own");
    let network = up(&dir, &plan, output).await?;
    let outcome = tokio::select! {
        outcome = show(&dir, &network, &args, output) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::message("interrupted")),
    };
    if !args.keep {
        super::dev::down(&dir, &network)?;
        if let Some(path) = temporary {
            let _ = std::fs::remove_dir_all(path);
        }
    }
    let mut report = outcome?;
    report.seconds = started.elapsed().as_secs_f64();
    let convincing = report.is_convincing();
    output.result(&report, Report::text)?;
    if convincing {
        Ok(())
    } else {
        Err(Failure::said_no())
    }
}

/// Where the demo keeps its state: `--dir`, or a directory that is removed afterwards.
fn home(global: &Global, args: &Demo) -> Result<(StateDir, Option<PathBuf>), Failure> {
    if global.dir.is_some() || args.keep {
        return Ok((state_dir(global)?, None));
    }
    let path = std::env::temp_dir().join(format!("ai-link-demo-{}", std::process::id()));
    std::fs::create_dir_all(&path).map_err(Failure::failed)?;
    Ok((StateDir::new(path.clone()), Some(path)))
}

async fn show(
    dir: &StateDir,
    network: &Network,
    args: &Demo,
    output: &Output,
) -> Result<Report, Failure> {
    publish_models(dir, network, output).await?;
    models::joint().publish(dir, network, output).await?;
    up::wait_for_workers(network, args.workers).await?;
    let before = settle::Books::read(dir, network).await?;
    let mut results = Vec::new();
    let mut needles = crate::capture::Needles::default();
    for model in models::all() {
        let result = run::infer_all(
            dir,
            network,
            &model,
            args.records as usize,
            &mut needles,
            output,
        )
        .await?;
        results.push(result);
    }
    let encrypted = match models::encrypted() {
        None => None,
        Some(model) => Some(encrypted::infer(dir, network, &model, &mut needles, output).await?),
    };
    let owners = owners::show(dir, network, &mut needles, output).await?;
    output.note("waiting for the chain to pay everyone");
    let receipt = run::verify_receipts(dir, &results)?;
    for job in &owners.jobs {
        run::verify_receipt(dir, &job.receipt)?;
    }
    let encrypted = encrypted.map(|result| result.verified(dir)).transpose()?;
    settle::wait(dir, network).await?;
    let after = settle::Books::read(dir, network).await?;
    output.note("searching all that the processes saw for any record or answer");
    let (processes, search) = evidence::collect(dir, network, &needles)?;
    Ok(Report {
        models: results,
        encrypted,
        owners,
        settlement: settle::compare(before, after),
        processes,
        search,
        receipt,
        seconds: 0.0,
    })
}

/// Publishes the models that come with the source, as their owner.
pub(super) async fn publish_models(
    dir: &StateDir,
    network: &Network,
    output: &Output,
) -> Result<(), Failure> {
    for model in models::all() {
        models::publish(dir, network, &model, Level::Mpc, output).await?;
    }
    if let Some(model) = models::encrypted() {
        models::publish(dir, network, &model, Level::Fhe, output).await?;
    }
    Ok(())
}

impl Report {
    /// Whether everything that the demo is to show was shown.
    fn is_convincing(&self) -> bool {
        self.models.iter().all(|m| m.agree == m.records)
            && self
                .encrypted
                .as_ref()
                .is_none_or(EncryptedResult::is_convincing)
            && self.owners.is_convincing()
            && self.settlement.conserved
            && self.search.found.is_empty()
            && self.receipt["verified"] == true
    }

    fn text(&self) -> String {
        let mut lines = vec![String::new()];
        for m in &self.models {
            lines.push(m.text());
        }
        lines.extend(self.encrypted.as_ref().map(EncryptedResult::text));
        lines.push(self.owners.text());
        lines.push(String::new());
        lines.push(self.settlement.text());
        lines.push(String::new());
        lines.push("which process saw what".into());
        lines.extend(self.processes.iter().map(ProcessEvidence::text));
        lines.push(self.search.text());
        lines.push(String::new());
        let verified = if self.receipt["verified"] == true {
            "verifies"
        } else {
            "DOES NOT VERIFY"
        };
        lines.push(format!(
            "receipt {} {verified}: {}",
            self.receipt["job"].as_str().unwrap_or("?"),
            self.receipt["promise"].as_str().unwrap_or("?"),
        ));
        lines.extend(self.encrypted.as_ref().map(EncryptedResult::promise));
        lines.push(format!("{:.1} s in all", self.seconds));
        lines.join("\n")
    }
}
