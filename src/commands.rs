//! From what was typed to what is done.

mod balance;
mod config;
mod confirmed;
mod context;
mod daemon;
mod data;
mod demo;
mod dev;
mod doctor;
mod estimate;
mod explain;
mod filebank;
mod hosting;
mod infer;
mod inputs;
mod keys;
mod manual;
mod metrics;
mod model;
mod oip;
mod published;
mod receipt;
mod settle;
mod territory;

use crate::cli::{Cli, Command, StorageCommand};
use crate::output::{Failure, Output};

pub(crate) async fn run(cli: Cli, output: &Output) -> Result<(), Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Demo(args) => demo::run(global, args, output).await,
        Command::Dev(command) => dev::run(global, command, output).await,
        Command::Model(command) => model::run(global, command, output).await,
        Command::Infer(args) => infer::run(global, args, output).await,
        Command::Keys(command) => keys::run(global, &command, output),
        Command::Balance(args) => balance::run(global, args, output).await,
        Command::Explain(args) => explain::run(global, args, output).await,
        Command::Estimate(args) => estimate::run(global, args, output).await,
        Command::Metrics(args) => metrics::run(global, args, output).await,
        Command::Receipt(command) => receipt::run(global, command, output).await,
        Command::Settle(args) => settle::run(global, &args, output).await,
        Command::Doctor => doctor::run(global, output).await,
        Command::Config(command) => config::run(command, output),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { output: dir } => manual::pages(&dir, output),
        Command::Worker(args) => daemon::worker(args).await,
        Command::Coordinator(args) => daemon::coordinator(args).await,
        Command::Gateway(args) => daemon::gateway(args).await,
        Command::Chain(args) => daemon::chain(args).await,
        Command::Storage(args) => match (args.command, args.daemon) {
            (Some(StorageCommand::Fsck(args)), _) => daemon::fsck(args, output).await,
            (None, Some(daemon)) => daemon::storage(daemon, args.metrics).await,
            (None, None) => Err(Failure::usage("give --config")),
        },
        Command::StorageNode(args) => daemon::storage_node(args).await,
        Command::StorageTagger(args) => daemon::storage_tagger(args).await,
        Command::Data(args) => data::run(global, args, output).await,
    }
}
