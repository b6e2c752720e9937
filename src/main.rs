//! The `ai-link` command: parses, calls a crate, prints.
//!
//! Results go to stdout (one JSON object with `--json`), logs to stderr. Exit codes are in `--help`.
#![forbid(unsafe_code)]

mod capture;
mod cli;
mod commands;
mod dev;
mod npy;
mod output;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use cli::Cli;
use output::{Failure, Output};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(&cli.global);
    match start(cli, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}

fn start(cli: Cli, output: &Output) -> Result<(), Failure> {
    let filter =
        EnvFilter::try_new(&cli.global.log).map_err(|e| Failure::usage(format!("--log: {e}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::failed)?;
    let outcome = runtime.block_on(commands::run(cli, output));
    // Blocking work that is still under way must not keep a finished command from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome
}
