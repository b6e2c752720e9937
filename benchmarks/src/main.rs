//! The `benchmarks` command: whole models measured among parties, beside which other systems are run by `peers/`.
//!
//! Results go to stdout (one JSON object with `--json`), everything else to stderr.
#![forbid(unsafe_code)]

mod export;
mod fhe;
mod gateway;
mod mpc;
mod settlement;
mod storage;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Measures whole models.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Masked evaluation by a client, a dealer and two evaluators.
    Mpc(mpc::Options),
    /// Inference on encrypted records by one worker.
    Fhe(fhe::Options),
    /// What the gateway, the coordinator and the sealed transport add to a worker's engine.
    Gateway(gateway::Options),
    /// Coding, hashing, storing and proving.
    Storage(storage::Options),
    /// Settling on the chain.
    Settlement(settlement::Options),
    /// One storage node: started by `storage`.
    #[command(hide = true)]
    StorageNode(storage::NodeOptions),
    /// Writes a model of the zoo as an ONNX file.
    Onnx(export::Options),
    /// One party of it: started by `mpc`.
    #[command(hide = true)]
    MpcParty(mpc::PartyOptions),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("AI_LINK_LOG")
                .unwrap_or_else(|_| EnvFilter::new("warn,libp2p_kad=error")),
        )
        .with_writer(io::stderr)
        .init();
    let done = match cli.command {
        Command::Mpc(options) => mpc::run(&options),
        Command::Fhe(options) => fhe::run(&options),
        Command::Gateway(options) => gateway::run(&options),
        Command::Storage(options) => storage::run(&options),
        Command::Settlement(options) => settlement::run(&options),
        Command::StorageNode(options) => storage::run_node(&options),
        Command::Onnx(options) => export::run(&options),
        Command::MpcParty(options) => mpc::run_party(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
