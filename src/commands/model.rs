//! `ai-link model`.

mod explain;
#[cfg_attr(not(feature = "fhe"), path = "model/fhe_absent.rs")]
mod fhe;
mod hub;
mod rights;
#[cfg_attr(not(feature = "sealed"), path = "model/sealed_absent.rs")]
mod sealed;
mod show;

use std::fs;
use std::path::{Path, PathBuf};

use ai_link_client::hosting::{Hostable, Hosts};
use ai_link_program::bundle::Parts;
use ai_link_program::package::Salt;
use ai_link_program::{
    BoundPolicy, Graph, ImportLimits, Package, PlanOptions, PrivateWeights, Tensor, WeightPrivacy,
};
use ai_link_registry::{Levels, NewModel, RegistryClient};
use ai_link_storage::{Account, HttpStore, ObjectStore as _, PutOptions, RequestSigner, SignWith};
use ai_link_wire::{Commitment, Fid, Identity, Level, ModelName, ModelVersion, Planck};
use serde::Serialize;

use super::confirmed::confirmed;
use super::context::Context;
use super::hosting::{self, HostedReport};
use crate::cli::{BoundsArg, Global, ModelCommand, ModelSource, PlannedLevel, Publish, WeightsArg};
use crate::dev::{Network, StateDir};
use crate::npy::{self, Array};
use crate::output::{Failure, Output};

pub(super) async fn run(
    global: &Global,
    command: ModelCommand,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        ModelCommand::Check(ref args) if args.level == PlannedLevel::Sealed => Err(unplanned()),
        ModelCommand::Explain(ref args) if args.level == PlannedLevel::Sealed => Err(unplanned()),
        ModelCommand::Check(args) if args.level == PlannedLevel::Fhe => fhe::explain(
            &args.source.onnx,
            &args.source.calibration,
            &args.fhe,
            output,
        ),
        ModelCommand::Check(args) => {
            let source = args.source;
            let name = stem(&source.onnx);
            let options = planned(&source);
            let masked = Masked::load(&name, &source, options)?;
            output.result(&masked.report, Report::text)
        }
        ModelCommand::Explain(args) if args.level == PlannedLevel::Fhe => {
            fhe::explain(&args.model, &args.calibration, &args.fhe, output)
        }
        ModelCommand::Explain(args) => explain::run(&args, output),
        ModelCommand::Publish(args) => {
            let context = Context::load(global)?;
            let hosts = hosting::hosts(&args.choice)?;
            let prepared = Prepared::load(&args)?;
            let release = Release {
                version: args.version,
                price: args.price,
            };
            let published = publish(
                &context.dir,
                &context.network,
                context.owner()?,
                prepared,
                release,
                &hosts,
            )
            .await?;
            output.result(&published, Published::text)
        }
        ModelCommand::Host(args) => hosting::run(global, args, output).await,
        ModelCommand::Transfer(args) => rights::transfer(global, args, output).await,
        ModelCommand::License(args) => rights::license(global, args, output).await,
        ModelCommand::Grant(args) => rights::grant(global, args, output).await,
        ModelCommand::Royalties(args) => rights::royalties(global, args, output).await,
        ModelCommand::Price(args) => rights::price(global, args, output).await,
        ModelCommand::Standing(args) => rights::standing(global, args, output).await,
        ModelCommand::History { name } => rights::history(global, &name, output).await,
        ModelCommand::List => show::list(global, output).await,
        ModelCommand::Show { name } => show::show(global, &name, output).await,
    }
}

/// The options of a plan for masked evaluation.
fn planned(source: &ModelSource) -> PlanOptions {
    match source.onnx.is_dir() {
        true => source.plan.options_of_checkpoint(),
        false => source.plan.options(),
    }
}

fn unplanned() -> Failure {
    Failure::usage("at level sealed models run as they are: there is nothing to plan, publish it")
}

pub(super) use fhe::{ClearReference, clear_reference};

/// What is to be published of a model: something for each level that it is offered at.
pub(super) struct Prepared {
    name: String,
    masked: Option<Masked>,
    /// For level `fhe`.
    offer: Option<Vec<u8>>,
    /// For level `sealed`.
    sealed: Option<Vec<u8>>,
}

impl Prepared {
    /// From files.
    fn load(args: &Publish) -> Result<Self, Failure> {
        let source = &args.source;
        let options = PlanOptions {
            weights: match args.weights {
                WeightsArg::Public => WeightPrivacy::Public,
                WeightsArg::Private => WeightPrivacy::Private,
            },
            bounds: match args.bounds {
                BoundsArg::Calibrated => BoundPolicy::Calibrated,
                BoundsArg::Uniform => BoundPolicy::Uniform,
            },
            ..planned(source)
        };
        let (mpc, fhe) = (PlannedLevel::Mpc, PlannedLevel::Fhe);
        if args.level.contains(&fhe) && args.weights == WeightsArg::Private {
            return Err(Failure::usage(
                "at level fhe the worker knows the weights: they cannot be private",
            ));
        }
        if args.level.contains(&PlannedLevel::Sealed) && args.weights == WeightsArg::Private {
            return Err(Failure::usage(
                "at level sealed the worker knows the weights: they cannot be private",
            ));
        }
        let planned = |level: &PlannedLevel| *level != PlannedLevel::Sealed;
        if source.calibration.is_empty() && args.level.iter().any(planned) {
            return Err(Failure::usage("levels mpc and fhe need --calibration"));
        }
        let clear = args.level.contains(&PlannedLevel::Sealed);
        let clear = clear.then(|| sealed::package(&source.onnx));
        let masked = args.level.contains(&mpc);
        let masked = masked.then(|| Masked::load(&args.name, source, options));
        let offer = args.level.contains(&fhe);
        let offer = offer.then(|| fhe::offer(&source.onnx, &source.calibration, &args.fhe));
        Ok(Self {
            name: args.name.clone(),
            masked: masked.transpose()?,
            offer: offer.transpose()?,
            sealed: clear.transpose()?,
        })
    }

    /// For masked evaluation alone.
    pub(super) fn masked(
        name: &str,
        onnx: &[u8],
        calibration: Vec<Array>,
    ) -> Result<Self, Failure> {
        let masked = Masked::new(name, onnx, calibration, PlanOptions::default())?;
        Ok(Self {
            name: name.to_owned(),
            masked: Some(masked),
            offer: None,
            sealed: None,
        })
    }

    /// For level `fhe` alone.
    pub(super) fn encrypted(name: &str, onnx: &[u8], calibration: &Array) -> Result<Self, Failure> {
        Ok(Self {
            name: name.to_owned(),
            masked: None,
            offer: Some(fhe::offer_of(onnx, calibration)?),
            sealed: None,
        })
    }

    /// The file to store.
    fn file(&self) -> Vec<u8> {
        let parts = Parts {
            mpc: self.masked.as_ref().map(|masked| masked.bytes.as_slice()),
            fhe: self.offer.as_deref(),
            sealed: self.sealed.as_deref(),
            text: self
                .masked
                .as_ref()
                .and_then(|masked| masked.text.as_deref()),
        };
        parts.to_bytes()
    }

    fn levels(&self) -> Levels {
        let mpc = self.masked.as_ref().map(|_| Level::Mpc);
        mpc.into_iter()
            .chain(self.offer.as_ref().map(|_| Level::Fhe))
            .chain(self.sealed.as_ref().map(|_| Level::Sealed))
            .collect()
    }
}

/// A model that was imported, planned for masked evaluation and checked against its own float reference.
struct Masked {
    package: Package,
    bytes: Vec<u8>,
    /// The private half, if the weights are private.
    weights: Option<PrivateWeights>,
    /// The application's half, of a language model.
    text: Option<Vec<u8>>,
    report: Report,
}

/// What a check found.
#[derive(Clone, Debug, Serialize)]
struct Report {
    name: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    steps: usize,
    /// Steps that cost rounds, by kind.
    interactive: Vec<(String, usize)>,
    parameters: usize,
    fraction_bits: u8,
    calibration_records: u64,
    /// Of these, how many have the same largest output in fixed point and in f32.
    agreeing: u64,
    /// Of the fixed-point program against f32, on the calibration records.
    max_abs_error: f64,
    package_bytes: usize,
    commitment: String,
}

impl Masked {
    /// From files.
    fn load(name: &str, source: &ModelSource, options: PlanOptions) -> Result<Self, Failure> {
        if source.onnx.is_dir() {
            let sizes = [source.positions, source.chunk];
            let weights = options.weights;
            let made = hub::import(&source.onnx, &source.calibration, sizes, weights)?;
            let masked = Self::of_graph(name, &made.graph, &made.calibration, options)?;
            return Ok(Self {
                text: Some(made.text),
                ..masked
            });
        }
        let onnx = fs::read(&source.onnx)
            .map_err(|e| Failure::message(format!("cannot read {}: {e}", source.onnx.display())))?;
        let calibration: Result<Vec<Array>, _> =
            source.calibration.iter().map(|p| npy::read(p)).collect();
        Self::new(name, &onnx, calibration.map_err(Failure::failed)?, options)
    }

    /// From bytes and arrays.
    fn new(
        name: &str,
        onnx: &[u8],
        calibration: Vec<Array>,
        options: PlanOptions,
    ) -> Result<Self, Failure> {
        let calibration = [tensors(calibration)?];
        let graph = Graph::from_onnx(onnx, ImportLimits::default()).map_err(Failure::failed)?;
        Self::of_graph(name, &graph, &calibration, options)
    }

    fn of_graph(
        name: &str,
        graph: &Graph,
        calibration: &[Vec<Tensor>],
        options: PlanOptions,
    ) -> Result<Self, Failure> {
        let (package, weights) = match options.weights {
            WeightPrivacy::Public => {
                let package = Package::of_graph(name, graph, calibration, options)
                    .map_err(Failure::failed)?;
                (package, None)
            }
            WeightPrivacy::Private => {
                let salt = Salt::from_random(random()?);
                let (package, weights) =
                    Package::of_graph_private(name, graph, calibration, options, salt)
                        .map_err(Failure::failed)?;
                (package, Some(weights))
            }
        };
        let bytes = package.to_bytes();
        let report = Report::of(name, &package, &bytes);
        Ok(Self {
            package,
            bytes,
            weights,
            text: None,
            report,
        })
    }
}

impl Report {
    fn of(name: &str, package: &Package, bytes: &[u8]) -> Self {
        let program = &package.program;
        let mut interactive: Vec<(String, usize)> = Vec::new();
        for step in program.steps().iter().filter(|s| s.op.is_interactive()) {
            match interactive
                .iter_mut()
                .find(|(kind, _)| kind == step.op.kind())
            {
                Some((_, count)) => *count += 1,
                None => interactive.push((step.op.kind().to_owned(), 1)),
            }
        }
        let port = |name: &str, value| format!("{name} {:?}", program.value(value).dims);
        let inputs = program.inputs();
        Self {
            name: name.to_owned(),
            inputs: inputs.iter().map(|p| port(&p.name, p.value)).collect(),
            outputs: program
                .outputs()
                .iter()
                .map(|p| port(&p.name, p.value))
                .collect(),
            steps: program.steps().len(),
            interactive,
            parameters: {
                let constants = program.constants().iter().map(|c| c.data.len());
                let private = program.parameters().iter().map(|p| p.elements());
                constants.chain(private).sum()
            },
            fraction_bits: inputs
                .first()
                .map_or(0, |p| program.value(p.value).fraction),
            calibration_records: package.calibration.records,
            agreeing: package.calibration.agreeing,
            max_abs_error: f64::from(package.calibration.max_abs_error),
            package_bytes: bytes.len(),
            commitment: Commitment(Package::commitment_of(bytes)).to_string(),
        }
    }

    fn text(&self) -> String {
        let interactive: Vec<String> = self
            .interactive
            .iter()
            .map(|(kind, n)| format!("{n} {kind}"))
            .collect();
        format!(
            "{}: can run under mpc\n  inputs      {} (per record)\n  outputs     {}\n  steps       {} \
             ({})\n  parameters  {}\n  fixed point {} fraction bits, largest deviation from f32 \
             {:.2e}, {} of {} records agree\n  package     {} bytes, commitment {}",
            self.name,
            self.inputs.join(", "),
            self.outputs.join(", "),
            self.steps,
            if interactive.is_empty() {
                "none interactive".into()
            } else {
                interactive.join(", ")
            },
            self.parameters,
            self.fraction_bits,
            self.max_abs_error,
            self.agreeing,
            self.calibration_records,
            self.package_bytes,
            self.commitment,
        )
    }
}

/// A model on the chain.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Published {
    pub(super) name: String,
    pub(super) version: u32,
    manifest: String,
    commitment: String,
    price_per_record: String,
    levels: Vec<String>,
    /// Who hosts the weights, if they are private.
    #[serde(skip_serializing_if = "Option::is_none")]
    hosted: Option<HostedReport>,
    /// Where the owner's private half is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    private_half: Option<PathBuf>,
}

impl Published {
    fn text(&self) -> String {
        let mut text = format!(
            "published {} version {}\n  levels      {}\n  manifest    {}\n  commitment  {}\n  price       {} a record",
            self.name,
            self.version,
            self.levels.join(", "),
            self.manifest,
            self.commitment,
            self.price_per_record
        );
        if let Some(path) = &self.private_half {
            text.push_str(&format!(
                "\n  private half in {}: keep it secret, and keep it, `model host` needs it",
                path.display()
            ));
        }
        if let Some(hosted) = &self.hosted {
            text.push('\n');
            text.push_str(&hosted.text());
        }
        text
    }
}

/// What the owner decides about a release.
#[derive(Clone, Debug)]
pub(super) struct Release {
    /// One more than the latest if `None`.
    pub(super) version: Option<u32>,
    /// Of one record, in AIL.
    pub(super) price: String,
}

/// Stores, then registers: what the chain names can always be had. Private weights are kept before that and hosted
/// after it, since their hosts look the model up.
pub(super) async fn publish(
    dir: &StateDir,
    network: &Network,
    owner: Identity,
    prepared: Prepared,
    release: Release,
    hosts: &Hosts,
) -> Result<Published, Failure> {
    let (bytes, levels) = (prepared.file(), prepared.levels());
    if levels.iter().next().is_none() {
        return Err(Failure::usage("a model is offered at one level at least"));
    }
    let private = prepared.masked.as_ref();
    let private = private.and_then(|masked| Some((&masked.package, masked.weights.as_ref()?)));
    let name: ModelName = prepared.name.parse().map_err(Failure::failed)?;
    let price: Planck = format!("{} AIL", release.price)
        .parse()
        .map_err(Failure::failed)?;
    let registry = ai_link_registry::Registry::connect(&network.chain)
        .await
        .map_err(Failure::failed)?;
    let latest = registry
        .model(&name)
        .await
        .map_err(Failure::failed)?
        .map(|m| m.latest.0);
    let version = ModelVersion(
        release
            .version
            .unwrap_or_else(|| latest.map_or(1, |v| v + 1)),
    );
    let signer = storage_signer(owner.clone());
    let storage = HttpStore::new(&network.storage)
        .map_err(Failure::failed)?
        .with_signer(signer);
    let storage = confirmed(network, storage, owner.account()).await?;
    let commitment = Commitment(Package::commitment_of(&bytes));
    let private_half = match private {
        None => None,
        Some((_, weights)) => {
            let path = hosting::private_half(dir, commitment);
            hosting::save(&path, weights)?;
            Some(path)
        }
    };
    let object = format!("{name}-{version}.package")
        .parse()
        .map_err(Failure::failed)?;
    let stored = storage
        .put_bytes(&bytes, PutOptions::named(object))
        .await
        .map_err(Failure::failed)?;
    let manifest = Fid(stored.fid.0);
    RegistryClient::new(registry, owner.clone())
        .publish_model(NewModel {
            name: name.clone(),
            version,
            commitment,
            manifest,
            price_per_record: price,
            levels,
        })
        .await
        .map_err(Failure::failed)?;
    let hosted = match private {
        None => None,
        Some((package, weights)) => {
            let what = Hostable {
                model: name.clone(),
                version,
                commitment,
                package,
                weights,
            };
            let hosted = hosting::host(network, owner, &what, hosts).await;
            // The version is published and cannot be published again; hosting can be tried again.
            Some(hosted.map_err(|failure| {
                failure.with_hint(&format!(
                    "version {version} is published but not hosted; try `ai-link model host {name}`"
                ))
            })?)
        }
    };
    Ok(Published {
        name: name.to_string(),
        version: version.0,
        manifest: manifest.to_string(),
        commitment: commitment.to_string(),
        price_per_record: price.to_string(),
        levels: levels.iter().map(|level| level.to_string()).collect(),
        hosted,
        private_half,
    })
}

/// 32 bytes from the operating system.
fn random() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(Failure::failed)?;
    Ok(bytes)
}

/// Writes to storage are signed by the owner's account.
fn storage_signer(owner: Identity) -> impl RequestSigner {
    let account = Account(owner.account().0);
    SignWith::new(account, move |message: &[u8]| owner.sign(message).0)
}

fn tensors(arrays: Vec<Array>) -> Result<Vec<Tensor>, Failure> {
    let tensor = |a: Array| Tensor::new(a.dims, a.data).map_err(Failure::failed);
    arrays.into_iter().map(tensor).collect()
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .map_or_else(|| "model".into(), |s| s.to_string_lossy().into_owned())
}
