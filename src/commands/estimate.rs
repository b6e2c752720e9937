//! `ai-link estimate`: what a job would take, before anything is paid or any record leaves.
//!
//! The price is the coordinator's answer to the very request that the gateway would make, now: nothing is reserved.
//! Latency and bytes follow from the published program and the link that is named. Accuracy is what the package says.

use std::fs;
use std::time::Duration;

use ai_link_client::{GatewayConfig, Group};
use ai_link_program::bundle::Parts;
use ai_link_program::{Package, PackageLimits, Placement, Program, Rates, Setting};
use ai_link_storage::{HttpStore, ObjectStore as _};
use ai_link_wire::{
    AccountId, Commitment, ControlRequest, ControlResponse, Decision, Fid, Identity, JobId,
    JobRequest, Level, ModelName, ModelVersion, Outcome, Planck, Signed, Trusted, UnixMillis,
    WeightPrivacy,
};
use serde::Serialize;

use super::context::Context;
use super::explain::decision_lines;
use crate::cli::{self, Global};
use crate::dev::probe::Probe;
use crate::npy;
use crate::output::{Failure, Output};

/// Of the job that is asked about and never begun.
const DEADLINE: Duration = Duration::from_secs(30);
/// Largest package that is fetched.
const MAX_PACKAGE: u64 = 2 << 30;

/// What a job would take.
#[derive(Serialize)]
struct Estimate {
    model: ModelName,
    version: ModelVersion,
    level: Level,
    records: u32,
    /// What the level protects, and what it does not.
    promise: &'static str,
    money: Money,
    /// None at level sealed, where it depends on the request.
    work: Option<Work>,
    accuracy: String,
    /// What the coordinator would decide now.
    quote: Decision,
}

#[derive(Serialize)]
struct Money {
    /// None where no group fits.
    price: Option<Planck>,
    /// What the owner asks for all records.
    owner: Planck,
    /// What the configuration allows.
    at_most: Planck,
    /// What is free in escrow.
    escrow: Planck,
}

/// Time and traffic.
#[derive(Serialize)]
struct Work {
    /// From request to answer, in seconds; none where it depends on the worker alone.
    seconds: Option<f64>,
    /// The same when nothing was dealt ahead.
    seconds_cold: Option<f64>,
    /// What the application sends, in bytes.
    bytes_up: u64,
    /// What it receives.
    bytes_down: u64,
    /// Once for each worker that has no key of this application yet.
    bytes_key: Option<u64>,
    /// Between workers, online and dealt.
    bytes_between_workers: u64,
    rounds: Option<u32>,
    bootstraps: Option<u64>,
}

pub(super) async fn run(
    global: &Global,
    args: cli::Estimate,
    output: &Output,
) -> Result<(), Failure> {
    let context = Context::load(global)?;
    let path = args.config.clone();
    let path = path.unwrap_or_else(|| context.dir.config("gateway"));
    let at = |e: &dyn std::error::Error| Failure::usage(format!("{}: {e}", path.display()));
    let config = fs::read_to_string(&path).map_err(|e| at(&e))?;
    let config: GatewayConfig = toml::from_str(&config).map_err(|e| at(&e))?;
    let config = config.client;
    let identity = Identity::load(&config.identity).map_err(Failure::failed)?;
    let records = match &args.input {
        None => args.records,
        Some(path) => {
            let array = npy::read(path).map_err(Failure::failed)?;
            u32::try_from(array.records()).map_err(Failure::failed)?
        }
    };

    let registry = context.registry().await?;
    let name: ModelName = args.model.parse().map_err(Failure::failed)?;
    let missing = || Failure::message(format!("{name} is not on the chain"));
    let info = registry.model(&name).await.map_err(Failure::failed)?;
    let info = info.ok_or_else(missing)?;
    let rights = registry.rights(&name).await.map_err(Failure::failed)?;
    let version = match args.version {
        Some(version) => ModelVersion(version),
        None => registry
            .current_version(&info, &rights)
            .await
            .map_err(Failure::failed)?,
    };
    let release = registry.version(&name, version).await;
    let release = release.map_err(Failure::failed)?.ok_or_else(missing)?;
    let offered: Vec<Level> = release.levels.iter().collect();
    let level = level(args.level, config.level, &offered)?;
    let package = match level {
        Level::Sealed => Vec::new(),
        _ => fetch(&config.storage, release.commitment, release.manifest).await?,
    };
    let contents = Contents::read(level, &package)?;

    let group = match level {
        Level::Mpc => Group {
            dealer: args.dealer.unwrap_or(config.dealer),
            evaluators: args.evaluators.unwrap_or(config.evaluators),
        },
        Level::Fhe | Level::Sealed => Group::ONE_WORKER,
    };
    let at_most = config.max_price_per_record.checked_mul(records.into());
    let at_most = at_most.ok_or_else(|| Failure::usage("more records than can be paid"))?;
    let now = UnixMillis::now();
    let mut job = [0; 16];
    getrandom::fill(&mut job).map_err(Failure::failed)?;
    let deadline = now.saturating_add(DEADLINE);
    let request = JobRequest {
        job: JobId(job),
        attempt: 0,
        client: identity.account(),
        model: name.clone(),
        version: Some(version),
        level,
        purpose: config.purpose,
        dealer: group.dealer,
        evaluators: group.evaluators,
        weights: contents.weights(),
        key: None,
        trusted: trusted(level, &config)?,
        batch: records,
        max_price: at_most,
        regions: config.regions.clone(),
        inputs: Vec::new(),
        seats: Default::default(),
        policies: Vec::new(),
        exclude: Vec::new(),
        deadline,
    };
    let signed = Signed::sign(&identity, request, now, deadline).map_err(Failure::failed)?;
    let probe = Probe::of(identity.clone(), &context.network).await?;
    let asked = ControlRequest::Quote(signed);
    let quote = match probe.ask(asked).await? {
        ControlResponse::Quoted(quote) => *quote,
        ControlResponse::Refused(refusal) => return Err(Failure::failed(refusal)),
        other => {
            return Err(Failure::message(format!(
                "the coordinator answered {other:?}"
            )));
        }
    };
    let escrow = free_escrow(&registry, identity.account()).await?;
    let owner = rights.price(level, info.price_per_record);
    let owner = owner.checked_mul(records.into());
    let owner = owner
        .ok_or_else(|| Failure::message("the owner's price for so many records is no amount"))?;
    let price = match &quote.outcome {
        Outcome::Matched { price, .. } => Some(*price),
        Outcome::NoMatch | Outcome::Refused(_) => None,
    };
    let is_matched = price.is_some();
    let estimate = Estimate {
        model: name,
        version,
        level,
        records,
        promise: promise(level, group),
        money: Money {
            price,
            owner,
            at_most,
            escrow,
        },
        work: contents.work(records, group, &args),
        accuracy: contents.accuracy(),
        quote,
    };
    output.result(&estimate, Estimate::text)?;
    match is_matched {
        true => Ok(()),
        false => Err(Failure::said_no()),
    }
}

/// As the gateway would choose it: what is asked, or what the configuration demands, or what is safer.
fn level(asked: Option<Level>, least: Level, offered: &[Level]) -> Result<Level, Failure> {
    let has = |level: &Level| offered.contains(level);
    let listed = || {
        let names: Vec<_> = offered.iter().map(ToString::to_string).collect();
        Failure::message(format!("the model is offered at {} only", names.join(", ")))
    };
    match asked {
        Some(level) if has(&level) => Ok(level),
        Some(_) => Err(listed()),
        None => [least, Level::Fhe]
            .into_iter()
            .find(has)
            .or(match offered {
                // What only a trusted worker serves is asked for by its name.
                [Level::Sealed] => Some(Level::Sealed),
                _ => None,
            })
            .ok_or_else(listed),
    }
}

fn trusted(
    level: Level,
    config: &ai_link_client::ClientConfig,
) -> Result<Option<Trusted>, Failure> {
    if level != Level::Sealed {
        return Ok(None);
    }
    let sealed = config.sealed.as_ref().ok_or_else(|| {
        Failure::message("the gateway trusts no worker: its configuration has no [client.sealed]")
    })?;
    Ok(Some(Trusted {
        workers: sealed.workers.clone(),
        operators: sealed.operators.clone(),
    }))
}

async fn free_escrow(
    registry: &ai_link_registry::Registry,
    account: AccountId,
) -> Result<Planck, Failure> {
    let escrow = registry.escrow(account).await.map_err(Failure::failed)?;
    Ok(escrow.free)
}

async fn fetch(storage: &str, commitment: Commitment, manifest: Fid) -> Result<Vec<u8>, Failure> {
    let storage = HttpStore::new(storage).map_err(Failure::failed)?;
    let fid = ai_link_storage::Fid(manifest.0);
    let bytes = storage.get_bytes(fid, MAX_PACKAGE).await;
    let bytes = bytes.map_err(Failure::failed)?;
    match Package::commitment_of(&bytes) == commitment.0 {
        true => Ok(bytes),
        false => Err(Failure::message(
            "storage returned a package with another commitment than the chain has",
        )),
    }
}

/// What a package holds for the level.
enum Contents {
    Mpc(Box<Program>),
    #[cfg(feature = "fhe")]
    Fhe(Box<ai_link_fhe::Offer>),
    Sealed,
}

impl Contents {
    fn read(level: Level, package: &[u8]) -> Result<Self, Failure> {
        let lacking = || Failure::message(format!("the package has nothing for level {level}"));
        match level {
            Level::Sealed => Ok(Self::Sealed),
            Level::Mpc => {
                let parts = Parts::of(package).map_err(Failure::failed)?;
                let package = parts.mpc.ok_or_else(lacking)?;
                let package = Package::from_bytes(package, PackageLimits::default());
                Ok(Self::Mpc(Box::new(
                    package.map_err(Failure::failed)?.program,
                )))
            }
            #[cfg(feature = "fhe")]
            Level::Fhe => {
                let parts = Parts::of(package).map_err(Failure::failed)?;
                let offer = parts.fhe.ok_or_else(lacking)?;
                let offer = ai_link_fhe::Offer::decode(offer).map_err(Failure::failed)?;
                Ok(Self::Fhe(Box::new(offer)))
            }
            #[cfg(not(feature = "fhe"))]
            Level::Fhe => Err(Failure::message("this build has no level fhe")),
        }
    }

    fn weights(&self) -> WeightPrivacy {
        match self {
            Self::Mpc(program) if !program.parameters().is_empty() => WeightPrivacy::Private,
            _ => WeightPrivacy::Public,
        }
    }

    fn work(&self, records: u32, group: Group, args: &cli::Estimate) -> Option<Work> {
        match self {
            Self::Mpc(program) => {
                let setting = Setting {
                    link: args.link.profile(),
                    rates: Rates::DEFAULT,
                    placement: Placement::Apart,
                };
                let predicted = program.predict(records as usize, &setting);
                let evaluators = u64::from(group.evaluators);
                let dealt: u64 = predicted.bytes_dealt().iter().sum();
                let own = match group.dealer {
                    ai_link_wire::DealerSeat::Client => dealt,
                    ai_link_wire::DealerSeat::Worker => 0,
                };
                Some(Work {
                    seconds: Some(predicted.online),
                    seconds_cold: Some(predicted.along),
                    bytes_up: predicted.bytes_input * evaluators + own,
                    bytes_down: predicted.bytes_output * (evaluators + u64::from(own == 0)),
                    bytes_key: None,
                    bytes_between_workers: predicted.bytes_online() * evaluators + dealt - own,
                    rounds: Some(predicted.rounds()),
                    bootstraps: None,
                })
            }
            #[cfg(feature = "fhe")]
            Self::Fhe(offer) => {
                let program = &offer.package().program;
                let records = u64::from(records);
                Some(Work {
                    seconds: None,
                    seconds_cold: None,
                    bytes_up: program.request_bytes() as u64 * records,
                    bytes_down: program.answer_bytes() as u64 * records,
                    bytes_key: Some(ai_link_fhe::EvaluationKey::encoded_bytes(program.set()) as u64),
                    bytes_between_workers: 0,
                    rounds: None,
                    bootstraps: Some(program.bootstraps() as u64 * records),
                })
            }
            Self::Sealed => None,
        }
    }

    fn accuracy(&self) -> String {
        match self {
            Self::Mpc(program) => {
                let port = program.inputs().first();
                let bits = port.map_or(0, |port| program.value(port.value).fraction);
                format!(
                    "fixed point with {bits} fraction bits: values are rounded to {:.1e}; `ai-link model explain` \
                     compares a model with its float original",
                    (-f64::from(bits)).exp2()
                )
            }
            #[cfg(feature = "fhe")]
            Self::Fhe(offer) => {
                let ai_link_fhe::Fidelity {
                    records,
                    same_class,
                    rms_error,
                    ..
                } = offer.package().fidelity;
                format!(
                    "as its owner measured: the integer model agreed with the float one on {same_class} of {records} \
                     records, scores differ by {rms_error:.2e} (root mean square)"
                )
            }
            Self::Sealed => "the model's own, in the clear on the worker".to_owned(),
        }
    }
}

fn promise(level: Level, group: Group) -> &'static str {
    match (level, group.dealer) {
        (Level::Fhe, _) => "nobody but the application can learn input or output",
        (Level::Mpc, ai_link_wire::DealerSeat::Client) => {
            "nobody but the application can learn input or output unless all evaluators collude"
        }
        (Level::Mpc, ai_link_wire::DealerSeat::Worker) => {
            "nobody but the application can learn input or output unless an evaluator colludes with the dealer or \
             all evaluators do"
        }
        (Level::Sealed, _) => {
            "the worker, which the gateway trusts, sees input and output; nobody else does"
        }
    }
}

impl Estimate {
    fn text(&self) -> String {
        let Money {
            price,
            owner,
            at_most,
            escrow,
        } = &self.money;
        let mut lines = vec![format!(
            "{} version {} at level {}, {} records",
            self.model, self.version, self.level, self.records
        )];
        lines.push(match price {
            Some(price) => format!(
                "  money      {price} now (the model's part {owner}); at most {at_most} by the configuration; {escrow} \
                 free in escrow"
            ),
            None => format!("  money      no price: see below; {escrow} free in escrow"),
        });
        if price.is_some_and(|price| price > *escrow) {
            lines.push("             the escrow does not cover it: deposit more".to_owned());
        }
        lines.extend(self.work.iter().flat_map(Work::lines));
        if self.work.is_none() {
            lines.push("  latency    depends on the request and on the worker's load".to_owned());
        }
        lines.push(format!("  accuracy   {}", self.accuracy));
        lines.push(format!("  protects   {}", self.promise));
        lines.push("what the coordinator would decide now; nothing is reserved:".to_owned());
        lines.extend(decision_lines(&self.quote));
        lines.join("\n")
    }
}

impl Work {
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let (Some(warm), Some(cold)) = (self.seconds, self.seconds_cold) {
            lines.push(format!(
                "  latency    {:.1} ms with material dealt ahead, {:.1} ms without; {} rounds; on the link given, by \
                 the rates that plans assume",
                warm * 1e3,
                cold * 1e3,
                self.rounds.unwrap_or(0)
            ));
        }
        if let Some(bootstraps) = self.bootstraps {
            lines.push(format!(
                "  latency    {bootstraps} bootstraps; `ai-link model explain --level fhe` measures how long one takes"
            ));
        }
        let key = self
            .bytes_key
            .map(|key| format!("; an evaluation key of {key} once for a worker that has none"));
        lines.push(format!(
            "  bytes      {} up, {} down, {} between workers{}",
            self.bytes_up,
            self.bytes_down,
            self.bytes_between_workers,
            key.unwrap_or_default()
        ));
        lines
    }
}
