//! What is typed: commands and flags. What is meant is worked out in `commands`.
//!
//! Every flag can be given as `AI_LINK_…` in the environment; a flag wins over the environment, the
//! environment over the file, the file over the default.

mod data;
mod plan;
mod rights;

use std::net::SocketAddr;
use std::path::PathBuf;

use ai_link_observe::Loopback;
use ai_link_wire::{DealerSeat, Level};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use data::{
    Collect, DataArgs, DataCommand, EditArgs, Fsck, Get, GrantArgs, Holder, PermitArgs, Put,
    ReadArgs, Remove, Replace, Revoke, Storage, StorageCommand, TerritoryCommand,
};
pub(crate) use plan::{Explain, FheArgs, KeptTables, LinkArgs, PlanArgs, PlannedLevel, RateSource};
pub(crate) use rights::{
    AccessArg, LicenseArgs, ModelGrantArgs, PriceArgs, PurposeArg, RoyaltyArgs, Signer,
    StandingArg, StandingArgs, TransferArgs,
};

/// Exit codes, as `--help` documents them.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the command failed; the reason is on stderr
  2  the command line or a configuration file is wrong
  3  a check said no: a receipt does not verify, `doctor` found problems, a demo disagreed";

/// Confidential AI inference network.
#[derive(Debug, Parser)]
#[command(name = "ai-link", version, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// Print one JSON object on stdout instead of text
    #[arg(long, global = true, env = "AI_LINK_JSON")]
    pub(crate) json: bool,
    /// Directory that holds the state of a development network [default: $XDG_STATE_HOME/ai-link]
    #[arg(long, global = true, env = "AI_LINK_DIR", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// What to log to stderr, e.g. `info` or `ai_link_worker=debug`
    #[arg(
        long,
        global = true,
        env = "AI_LINK_LOG",
        default_value = "warn",
        value_name = "FILTER"
    )]
    pub(crate) log: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole network on this machine, infer two models privately, settle, and show the evidence
    Demo(Demo),
    /// A development network on this machine
    #[command(subcommand)]
    Dev(DevCommand),
    /// Models: check, explain, publish, list
    #[command(subcommand)]
    Model(ModelCommand),
    /// Send records through the gateway and get the answers
    Infer(Infer),
    /// The application's keys for level fhe
    #[command(subcommand)]
    Keys(KeysCommand),
    /// What an account has: free, bonded, in escrow, promised
    Balance(Balance),
    /// Why a job got its group and its price, or why it got none: a reason for each worker
    Explain(ExplainJob),
    /// What a job would take, before it is paid for: money, latency, bytes, accuracy
    Estimate(Estimate),
    /// Where the processes of --dir serve their metrics, and what those of one say
    Metrics(Metrics),
    /// Receipts: what was computed, by whom, for how much
    #[command(subcommand)]
    Receipt(ReceiptCommand),
    /// Settlement: what waits for it
    Settle(Settle),
    /// Look for everything that would keep this machine from taking part, all at once
    Doctor,
    /// Configuration files: check one, or show what one means with all defaults and the environment
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print completions for a shell: `ai-link completions bash > /etc/bash_completion.d/ai-link`
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages, one a command
    Man {
        /// Directory for them; made if it is not there
        #[arg(value_name = "DIR")]
        output: PathBuf,
    },
    /// Run a worker
    Worker(ObservedDaemon),
    /// Run a coordinator
    Coordinator(CoordinatorDaemon),
    /// Run the application's gateway
    Gateway(ObservedDaemon),
    /// Run the embedded chain
    Chain(Daemon),
    /// Run the embedded store, or look after it
    Storage(Storage),
    /// Run a storage node
    StorageNode(ObservedDaemon),
    /// Run a tagger: it alone holds the key with which fragments are tagged, to be proven later
    StorageTagger(Daemon),
    /// Data: put, get, grant, permit, revoke, locate, territory; and objects that change
    Data(DataArgs),
}

/// A process that serves until it is asked to stop (SIGTERM or Ctrl-C).
#[derive(Args, Debug)]
pub(crate) struct Daemon {
    /// Its configuration, in TOML
    #[arg(long, env = "AI_LINK_CONFIG", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Write pid and addresses to this file once it serves
    #[arg(long, env = "AI_LINK_READY", value_name = "FILE")]
    pub(crate) ready: Option<PathBuf>,
}

/// Such a process that serves metrics.
#[derive(Args, Debug)]
pub(crate) struct ObservedDaemon {
    #[command(flatten)]
    pub(crate) daemon: Daemon,
    /// Serve Prometheus metrics at /metrics of this address on loopback [default: `metrics` of the configuration, or
    /// nowhere]
    #[arg(long, env = "AI_LINK_METRICS", value_name = "ADDR")]
    pub(crate) metrics: Option<Loopback>,
}

/// A coordinator.
#[derive(Args, Debug)]
pub(crate) struct CoordinatorDaemon {
    #[command(flatten)]
    pub(crate) observed: ObservedDaemon,
    /// Serve the operator's page on this address on loopback [default: `dashboard` of the configuration, or nowhere]
    #[arg(long, env = "AI_LINK_DASHBOARD", value_name = "ADDR")]
    pub(crate) dashboard: Option<Loopback>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Demo {
    /// Seed of all keys
    #[arg(long, env = "AI_LINK_SEED", default_value = "demo")]
    pub(crate) seed: String,
    /// Worker processes, each of an operator of its own
    #[arg(long, env = "AI_LINK_WORKERS", default_value_t = 3, value_parser = clap::value_parser!(u16).range(3..=32))]
    pub(crate) workers: u16,
    /// Held-out records per model
    #[arg(long, env = "AI_LINK_RECORDS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) records: u32,
    /// Leave the network running (in --dir) instead of stopping and removing it
    #[arg(long, env = "AI_LINK_KEEP")]
    pub(crate) keep: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Start the network: chain, storage, coordinator, workers, gateway
    Up(DevUp),
    /// Stop it; its state stays, and the next `up` continues from it
    Down,
    /// Which processes run, and where
    Status,
    /// Write a chain specification with which a node that executes wasm runs the same chain
    ChainSpec(ChainSpec),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ChainSpec {
    /// The runtime, as `model-registry/runtime/build-wasm.sh` makes it
    #[arg(long, env = "AI_LINK_RUNTIME", value_name = "WASM")]
    pub(crate) runtime: PathBuf,
    /// Where to write it
    #[arg(long, env = "AI_LINK_CHAIN_SPEC", value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Accounts that begin with a million AIL [default: the well-known development accounts]
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) endow: Vec<ai_link_wire::AccountId>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DevUp {
    /// Seed of all keys: the same seed gives the same accounts
    #[arg(long, env = "AI_LINK_SEED", default_value = "dev")]
    pub(crate) seed: String,
    /// Worker processes, each of an operator of its own
    #[arg(long, env = "AI_LINK_WORKERS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(3..=32))]
    pub(crate) workers: u16,
    /// Where the gateway serves HTTP
    #[arg(
        long,
        env = "AI_LINK_GATEWAY",
        default_value = "127.0.0.1:8000",
        value_name = "ADDR"
    )]
    pub(crate) gateway: SocketAddr,
    /// Storage nodes, each a process of its own: 12 or more, or 0 for one store in one directory
    #[arg(long, env = "AI_LINK_STORAGE_NODES", default_value_t = 0, value_parser = storage_nodes)]
    pub(crate) storage_nodes: u16,
    /// Publish the two models of benchmarks/models once the network is up
    #[arg(long, env = "AI_LINK_WITH_MODELS")]
    pub(crate) with_models: bool,
    /// Diagnostic: every worker, the coordinator and storage write down, decrypted, all they see
    #[arg(long, env = "AI_LINK_CAPTURE")]
    pub(crate) capture: bool,
    /// What each worker keeps on disk of material dealt ahead of requests; 0 for none
    #[arg(
        long,
        env = "AI_LINK_POOLS",
        default_value = "512 MiB",
        value_name = "SIZE"
    )]
    pub(crate) pools: ai_link_wire::Bytes,
}

fn storage_nodes(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(count @ (0 | 12..=64)) => Ok(count),
        _ => Err("give 0, or 12 to 64: twelve fragments go to twelve nodes".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Import an ONNX file and say whether and how it would run; changes nothing
    Check(Check),
    /// The plan layer by layer: how each is computed, what it costs, what it would be on other links
    Explain(Explain),
    /// Import, check, put into storage and register on chain
    Publish(Publish),
    /// Share a version's private weights among three workers afresh: after one that hosted them was lost
    Host(HostArgs),
    /// Offer a model to another account, accept one, or take an offer back
    Transfer(TransferArgs),
    /// Under which terms a model may be used: who, what for, where, until when
    #[command(alias = "licence")]
    License(LicenseArgs),
    /// Let an account use a model whose terms ask for a grant; list or revoke grants
    Grant(ModelGrantArgs),
    /// Who else gets a part of the owner's price
    Royalties(RoyaltyArgs),
    /// What a record costs, at all levels or at one
    Price(PriceArgs),
    /// Deprecate or yank a version, or take that back
    Standing(StandingArgs),
    /// Versions, transfers and terms of a model, as the chain has them
    History {
        /// Its name
        name: String,
    },
    /// Models on the chain
    List,
    /// One model with its versions
    Show {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// The keys there are: one for each parameter set that was needed so far
    List,
    /// Make new keys in place of those there are; workers are sent them with the next jobs
    Rotate,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) source: ModelSource,
    /// Privacy level
    #[arg(long, value_enum, default_value_t = PlannedLevel::Mpc)]
    pub(crate) level: PlannedLevel,
    #[command(flatten)]
    pub(crate) fhe: FheArgs,
}

/// An ONNX file and records that show what its values look like.
#[derive(Args, Clone, Debug)]
pub(crate) struct ModelSource {
    /// The model: an ONNX file; or a directory with config.json, tokenizer.json and *.safetensors (levels mpc and
    /// sealed), or a GGUF file (level sealed)
    #[arg(value_name = "PATH")]
    pub(crate) onnx: PathBuf,
    /// Records for the fixed-point plan: one .npy per input, in the model's order, batch first; for a directory, texts
    /// like those to come, one a line. Needed at levels mpc and fhe
    #[arg(long, env = "AI_LINK_CALIBRATION", value_name = "FILE.npy|FILE.txt", num_args = 1..)]
    pub(crate) calibration: Vec<PathBuf>,
    /// Of a directory at level mpc: tokens of a record. Everybody knows this number and nobody how many of them a text
    /// takes; a longer text is refused
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) positions: u16,
    /// Of a decoder with public weights: positions that are computed at once. A prompt takes a job for each so many tokens,
    /// an answer one for each token
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) chunk: u16,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) source: ModelSource,
    /// Name on the chain: 3 to 63 of a-z 0-9 . _ -
    #[arg(long)]
    pub(crate) name: String,
    /// Privacy level that it is offered at; may be given several times
    #[arg(long, value_enum, default_value = "mpc")]
    pub(crate) level: Vec<PlannedLevel>,
    #[command(flatten)]
    pub(crate) fhe: FheArgs,
    /// Version [default: one more than the latest]
    #[arg(long)]
    pub(crate) version: Option<u32>,
    /// Price of one record in AIL, e.g. 0.001
    #[arg(long, default_value = "0.001", value_name = "AIL")]
    pub(crate) price: String,
    /// Who knows the weights: everyone, or their owner, who shares them among three workers
    #[arg(long, value_enum, default_value_t = WeightsArg::Public)]
    pub(crate) weights: WeightsArg,
    /// Of private weights: what scale and bound of a tensor tell, each its own or one for all
    #[arg(long, value_enum, default_value_t = BoundsArg::Calibrated)]
    pub(crate) bounds: BoundsArg,
    #[command(flatten)]
    pub(crate) choice: HostChoice,
}

/// Who knows a model's weights.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum WeightsArg {
    /// In the package, for everyone
    Public,
    /// Shared among the workers that host the model
    Private,
}

/// What the package tells about the size of weights.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum BoundsArg {
    /// To a power of two, of every tensor: the fewest bits to compare
    Calibrated,
    /// One bound for all
    Uniform,
}

/// Which workers host private weights.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct HostChoice {
    /// Worker to host private weights: three times, as evaluator 0, evaluator 1 and dealer, of distinct operators
    /// [default: the coordinator proposes]
    #[arg(long, value_name = "PEER")]
    pub(crate) host: Vec<String>,
    /// Worker that shall not host; may be given several times
    #[arg(long, value_name = "PEER", conflicts_with = "host")]
    pub(crate) exclude: Vec<String>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct HostArgs {
    /// Name on the chain
    pub(crate) name: String,
    /// Version [default: the latest]
    #[arg(long)]
    pub(crate) version: Option<u32>,
    /// The private half of the model [default: where `publish` left it]
    #[arg(long, value_name = "FILE")]
    pub(crate) private_half: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) choice: HostChoice,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Infer {
    /// Name of the model
    #[arg(long)]
    pub(crate) model: String,
    /// Version [default: the latest]
    #[arg(long)]
    pub(crate) version: Option<u32>,
    /// Records, batch first: a .npy file or `cess:FID` per input, in the model's order or as NAME=SOURCE. From storage,
    /// workers pull the shares of an input that was put with --share and permitted (see --permit); what is this
    /// application's own, or was granted to it, is opened here
    #[arg(long, required = true, num_args = 1.., value_name = "[NAME=]FILE.npy|[NAME=]cess:FID")]
    pub(crate) input: Vec<String>,
    /// What owners of stored inputs gave: permits, or grants; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) permit: Vec<PathBuf>,
    /// Privacy level: fhe or mpc [default: the gateway's, or the one above it that the model is offered at]
    #[arg(long, value_name = "fhe|mpc")]
    pub(crate) level: Option<Level>,
    /// Who deals: worker, or client, which protects the input unless all evaluators collude [default: the gateway's]
    #[arg(long, value_name = "worker|client")]
    pub(crate) dealer: Option<DealerSeat>,
    /// How many evaluators [default: the gateway's]
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=8))]
    pub(crate) evaluators: Option<u8>,
    /// Where the first output goes [default: stdout, as JSON]
    #[arg(long, value_name = "FILE.npy")]
    pub(crate) output: Option<PathBuf>,
    /// Gateway [default: the one of --dir]
    #[arg(long, env = "AI_LINK_GATEWAY_URL", value_name = "URL")]
    pub(crate) gateway: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether a process would take a file, and if not, where it is wrong
    Check(ConfigFile),
    /// Print what a file means: with the defaults of everything that it does not say, and what the environment changes
    Show(ConfigFile),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ConfigFile {
    /// Whose configuration it is
    #[arg(value_enum)]
    pub(crate) role: ConfigRole,
    /// The file, in TOML
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Processes that have a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConfigRole {
    /// `ai-link worker`
    Worker,
    /// `ai-link coordinator`
    Coordinator,
    /// `ai-link gateway`
    Gateway,
    /// `ai-link chain`
    Chain,
    /// `ai-link storage`
    Storage,
    /// `ai-link storage-node`
    StorageNode,
    /// `ai-link storage-tagger`
    StorageTagger,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Metrics {
    /// Read those of this process, and print what is not zero
    pub(crate) process: Option<String>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ExplainJob {
    /// The job: the id of its receipt [default: the latest that the coordinator remembers]
    pub(crate) job: Option<String>,
    /// Key file of the account that asked for it [default: the application's of --dir]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Estimate {
    /// Name of the model
    pub(crate) model: String,
    /// Version [default: the current one]
    #[arg(long)]
    pub(crate) version: Option<u32>,
    /// Privacy level: fhe, mpc or sealed [default: the gateway's, or the one above it that the model is offered at]
    #[arg(long, value_name = "fhe|mpc|sealed")]
    pub(crate) level: Option<Level>,
    /// Records of the job
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096), conflicts_with = "input")]
    pub(crate) records: u32,
    /// Count the records in this file instead
    #[arg(long, value_name = "FILE.npy")]
    pub(crate) input: Option<PathBuf>,
    /// Who deals: worker or client [default: the gateway's]
    #[arg(long, value_name = "worker|client")]
    pub(crate) dealer: Option<DealerSeat>,
    /// How many evaluators [default: the gateway's]
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=8))]
    pub(crate) evaluators: Option<u8>,
    #[command(flatten)]
    pub(crate) link: LinkArgs,
    /// Configuration of the gateway that would ask [default: that of --dir]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Balance {
    /// Account in SS58 form, or the name of a key in --dir [default: all keys of --dir]
    pub(crate) account: Option<String>,
    /// Say what each part is and when it can be had
    #[arg(long)]
    pub(crate) explain: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReceiptCommand {
    /// Print a receipt
    Show(ReceiptFile),
    /// Verify a receipt: all signatures, the group, the sums, and that it is under the root of its epoch if
    /// `fetch-proof` was run. Needs no network
    Verify(ReceiptFile),
    /// Once it is settled: get the proof that the receipt is under its epoch's root, and keep it beside the receipt
    FetchProof(FetchProof),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct FetchProof {
    #[command(flatten)]
    pub(crate) file: ReceiptFile,
    /// Key that asks: of the client, of a worker of the group, or of whom the job pays
    #[arg(
        long,
        env = "AI_LINK_PROOF_KEY",
        default_value = "client",
        value_name = "NAME"
    )]
    pub(crate) key: String,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Settle {
    /// Show what the next epochs would pay whom for what, as far as it concerns the key
    #[arg(long, required = true)]
    pub(crate) preview: bool,
    /// Whose: a key in --dir
    #[arg(
        long,
        env = "AI_LINK_SETTLE_KEY",
        default_value = "client",
        value_name = "NAME"
    )]
    pub(crate) key: String,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ReceiptFile {
    /// A receipt file, or the id that the gateway returned
    #[arg(value_name = "FILE|ID")]
    pub(crate) receipt: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn json_and_dir_are_taken_after_any_command() {
        let cli = Cli::try_parse_from(["ai-link", "dev", "status", "--json", "--dir", "/x"]);
        let Ok(cli) = cli else { panic!("{cli:?}") };
        assert!(cli.global.json);
        assert_eq!(cli.global.dir, Some("/x".into()));
        assert!(matches!(cli.command, Command::Dev(DevCommand::Status)));
    }
}
