//! `benchmarks mpc`: what a masked evaluation of a whole model takes.
//!
//! Four parties: client, dealer and two evaluators. As processes (the default) they talk over the network's own encrypted
//! streams; as threads over channels, which shows what the transport costs. One party does everything as in the network:
//! machines of `ai-link-mpc`, driven over `ai-link-session`'s links. What is left out is matching, tickets and receipts.
//!
//! Three kinds of session are measured in turns, all on the same nodes and streams:
//!
//! 1. *ahead*: one entry of a pool is dealt, encrypted and stored (in memory): `dealing_s`, of the dealer's clock;
//! 2. *from the pool*: what a request takes: `online_s`, from the client's start to its decoded output;
//! 3. *whole*: dealt and evaluated in one session, without a pool: `total_s`, likewise.
//!
//! Loading, sharing private weights, and the first session of each kind (which packs weights) are not measured, as they
//! are not in the scripts of `peers/`. All parties share the cores of one machine.

mod agreement;
mod cache;
mod conduct;
mod facts;
mod labels;
mod links;
mod party;
mod places;
mod plaintext;
mod processes;
mod report;
mod rundir;
mod seat;
mod threads;
mod timed;
mod wan;
mod who;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use ai_link_program::{FssPolicy, LinkProfile, PlanOptions, WeightPrivacy};
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{Signal, SignalKind, signal};

use conduct::Measured;
pub(crate) use party::{PartyOptions, run_party};
use places::Places;
use report::Report;
use wan::{Wan, WanSpec};
use workload::Workload;

/// What `benchmarks mpc` takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// mlp, lenet, resnet18_cifar, resnet50_224, relu1m, mm1024, or an ONNX file.
    #[arg(long)]
    model: String,
    /// Who knows the weights.
    #[arg(long, value_enum, default_value_t = Weights::Private)]
    weights: Weights,
    /// Records evaluated together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Measured sessions of each kind, after one that is not.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    iterations: u32,
    /// Where the parties are.
    #[arg(long, value_enum, default_value_t = Parties::Processes)]
    parties: Parties,
    /// What carries streams between processes.
    #[arg(long, value_enum, default_value_t = Transport::Direct)]
    transport: Transport,
    /// Round trip and rate of an emulated network between the parties' processes, such as 40ms,100mbit; needs root.
    #[arg(long, value_name = "RTT,RATE")]
    wan: Option<WanSpec>,
    /// Also runs the model in the clear, in f32, by ONNX Runtime, for which a Python with `onnxruntime` is needed.
    #[arg(long)]
    plaintext: bool,
    /// The Python for `--plaintext`.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Also tells what each party spends its time at, by kind of message.
    #[arg(long)]
    profile: bool,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Weights {
    /// The owner; evaluators hold shares.
    Private,
    /// Everybody.
    Public,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Parties {
    /// In one process, over channels.
    Threads,
    /// Each in its own, over encrypted streams.
    Processes,
}

/// What carries streams: both encrypt and authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Transport {
    /// A TCP connection for each stream, with TLS 1.3.
    Direct,
    /// TCP with noise and yamux.
    Tcp,
    /// QUIC.
    Quic,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Tcp => "tcp",
            Self::Quic => "quic",
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Runs {
    /// Sessions of each kind, after one that is not measured.
    iterations: u32,
    /// Whether times are told apart by kind of message.
    profile: bool,
}

/// How long anything may take, so that a run that hangs ends.
const DEADLINE: Duration = Duration::from_secs(3600);

impl Options {
    fn plan(&self) -> PlanOptions {
        PlanOptions {
            weights: match self.weights {
                Weights::Private => WeightPrivacy::Private,
                Weights::Public => WeightPrivacy::Public,
            },
            link: self.link(),
            batch: self.batch,
            // There are two evaluators.
            fss: FssPolicy::WhereCheaper,
            ..PlanOptions::default()
        }
    }

    fn link(&self) -> LinkProfile {
        self.wan.map_or(LinkProfile::LOOPBACK, WanSpec::link)
    }
}

/// Measures, and prints what was found.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if options.wan.is_some() && options.parties == Parties::Threads {
        bail!("--wan is between processes: leave --parties threads out");
    }
    let workload = Workload::load(&options.model, options.plan())?;
    let runtime = runtime()?;
    // From here on signals end this command in order, so that the network is removed.
    let signals = runtime.block_on(async { Signals::listen() })?;
    let wan = options.wan.map(Wan::start).transpose()?;
    let places = wan.as_ref().map_or_else(Places::loopback, Wan::places);
    let measured = runtime.block_on(async {
        tokio::select! {
            measured = measure(options, &workload, &places) => measured,
            signal = signals.first() => bail!("interrupted by {signal}"),
        }
    });
    // Blocking work of a run that failed must not keep the command from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let measured = measured?;
    let plaintext = match options.plaintext {
        true => {
            let onnx = workload::onnx(&options.model)?;
            Some(plaintext::measure(
                &workload,
                &onnx,
                &options.python,
                options.iterations,
            )?)
        }
        false => None,
    };
    let report = Report::new(options, &workload, measured, plaintext)?;
    match options.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => print!("{report}"),
    }
    Ok(())
}

async fn measure(
    options: &Options,
    workload: &Workload,
    places: &Places,
) -> anyhow::Result<Measured> {
    let plan = Runs {
        iterations: options.iterations,
        profile: options.profile,
    };
    match options.parties {
        Parties::Threads => threads::measure(workload, plan).await,
        Parties::Processes => processes::measure(workload, plan, options.transport, places).await,
    }
}

/// What users and systems end commands by.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn first(mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Runtime::new().context("the asynchronous runtime does not start")
}

/// 32 fresh random bytes.
fn random() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the operating system gave no randomness")?;
    Ok(bytes)
}
