//! `ai-link model host`, and what publishing a model with private weights adds to publishing.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ai_link_client::hosting::{Hostable, Hosted, Hosts, Owner};
use ai_link_program::bundle::Parts;
use ai_link_program::{Package, PackageLimits, PrivateWeights, Program};
use ai_link_registry::Registry;
use ai_link_storage::{HttpStore, ObjectStore as _};
use ai_link_wire::{
    Commitment, Fid, Identity, ModelName, ModelVersion, Multiaddr, PeerId, PeerKey, Role,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::context::Context;
use crate::cli::{Global, HostArgs, HostChoice};
use crate::dev::{Network, StateDir};
use crate::output::{Failure, Output};

/// Largest package that is fetched.
const MAX_PACKAGE: u64 = 2 << 30;

/// `ai-link model host`: shares the weights of a published version afresh.
pub(super) async fn run(global: &Global, args: HostArgs, output: &Output) -> Result<(), Failure> {
    let context = Context::load(global)?;
    let registry = context.registry().await?;
    let name: ModelName = args.name.parse().map_err(Failure::failed)?;
    let (version, commitment, manifest) = release(&registry, &name, args.version).await?;
    let package = fetch(&context.network, commitment, manifest).await?;
    let path = args
        .private_half
        .unwrap_or_else(|| private_half(&context.dir, commitment));
    let weights = load(&path, &package)?;
    let hosted = host(
        &context.network,
        context.owner()?,
        &Hostable {
            model: name,
            version,
            commitment,
            package: &package,
            weights: &weights,
        },
        &hosts(&args.choice)?,
    )
    .await?;
    output.result(&hosted, HostedReport::text)
}

/// Who hosts what.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HostedReport {
    model: String,
    version: u32,
    sharing: String,
    group: Vec<HostReport>,
}

#[derive(Clone, Debug, Serialize)]
struct HostReport {
    role: String,
    peer: String,
    operator: String,
    bytes: usize,
}

impl HostedReport {
    fn of(hosted: &Hosted) -> Self {
        let Hosted { hosting, bytes } = hosted;
        let both = Role::TRIO.into_iter().zip(&hosting.group).zip(bytes);
        Self {
            model: hosting.model.to_string(),
            version: hosting.version.0,
            sharing: hosting.sharing.to_string(),
            group: both
                .map(|((role, host), bytes)| HostReport {
                    role: role.to_string(),
                    peer: host.peer.to_string(),
                    operator: host.operator.to_string(),
                    bytes: *bytes,
                })
                .collect(),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut lines = vec![format!(
            "private weights of {} version {} are hosted, sharing {}",
            self.model, self.version, self.sharing
        )];
        for host in &self.group {
            lines.push(format!(
                "  {:11} {}  operator {}  {} bytes",
                host.role, host.peer, host.operator, host.bytes
            ));
        }
        lines.join("\n")
    }
}

/// Shares the weights and brings every worker its part.
pub(super) async fn host(
    network: &Network,
    owner: Identity,
    what: &Hostable<'_>,
    hosts: &Hosts,
) -> Result<HostedReport, Failure> {
    let registry = Registry::connect(&network.chain)
        .await
        .map_err(Failure::failed)?;
    let coordinator: Multiaddr = network
        .coordinator
        .first()
        .ok_or_else(|| Failure::message("the network has no coordinator"))?
        .parse()
        .map_err(Failure::failed)?;
    let owner = Owner::start(owner, registry, &coordinator)
        .await
        .map_err(Failure::failed)?;
    let hosted = owner.host(what, hosts).await.map_err(Failure::failed)?;
    Ok(HostedReport::of(&hosted))
}

/// What was typed, as a choice of workers.
pub(super) fn hosts(choice: &HostChoice) -> Result<Hosts, Failure> {
    let peers = |texts: &[String]| texts.iter().map(|t| peer(t)).collect::<Result<Vec<_>, _>>();
    let named = peers(&choice.host)?;
    if named.is_empty() {
        let exclude = peers(&choice.exclude)?;
        return Ok(Hosts::Any { exclude });
    }
    let count = named.len();
    let named = named.try_into().map_err(|_| {
        Failure::usage(format!(
            "three hosts are needed (evaluator 0, evaluator 1, dealer), {count} were given"
        ))
    })?;
    Ok(Hosts::Named(named))
}

/// A peer key in hex, or a libp2p peer id.
fn peer(text: &str) -> Result<PeerKey, Failure> {
    if let Ok(key) = text.parse::<PeerKey>() {
        return Ok(key);
    }
    let id = text.parse::<PeerId>().ok();
    id.and_then(|id| PeerKey::try_from(id).ok()).ok_or_else(|| {
        Failure::usage(format!(
            "`{text}` is no worker: write 64 hex digits or an ed25519 peer id"
        ))
    })
}

/// Where the owner keeps the private half of a package.
pub(super) fn private_half(dir: &StateDir, commitment: Commitment) -> PathBuf {
    let home = dir.root().join("owner").join("weights");
    home.join(format!("{commitment}.weights"))
}

/// Keeps the private half, readable by its owner only, and on disk before anything is published: without it the weights
/// could never be hosted again.
pub(super) fn save(path: &Path, weights: &PrivateWeights) -> Result<(), Failure> {
    let write = || {
        if let Some(home) = path.parent() {
            fs::create_dir_all(home)?;
        }
        let temporary = path.with_extension("tmp");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(&weights.to_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e: std::io::Error| {
        Failure::message(format!(
            "cannot keep the private half: {}: {e}",
            path.display()
        ))
    })
}

fn load(path: &Path, package: &Package) -> Result<PrivateWeights, Failure> {
    let bytes = fs::read(path).map_err(|e| {
        Failure::message(format!(
            "cannot read the private half of the model, {}: {e}; give it with --private-half",
            path.display()
        ))
    })?;
    let bytes = zeroize::Zeroizing::new(bytes);
    PrivateWeights::from_bytes(&bytes, package).map_err(Failure::failed)
}

async fn release(
    registry: &Registry,
    name: &ModelName,
    version: Option<u32>,
) -> Result<(ModelVersion, Commitment, Fid), Failure> {
    let model = registry.model(name).await.map_err(Failure::failed)?;
    let model =
        model.ok_or_else(|| Failure::message(format!("there is no model {name} on the chain")))?;
    let version = version.map_or(model.latest, ModelVersion);
    let found = registry
        .version(name, version)
        .await
        .map_err(Failure::failed)?;
    let found =
        found.ok_or_else(|| Failure::message(format!("model {name} has no version {version}")))?;
    Ok((version, found.commitment, found.manifest))
}

/// A package from storage, checked against the chain's commitment.
pub(super) async fn fetch(
    network: &Network,
    commitment: Commitment,
    manifest: Fid,
) -> Result<Package, Failure> {
    let storage = HttpStore::new(&network.storage).map_err(Failure::failed)?;
    let fid = ai_link_storage::Fid(manifest.0);
    let bytes = storage
        .get_bytes(fid, MAX_PACKAGE)
        .await
        .map_err(Failure::failed)?;
    if Package::commitment_of(&bytes) != commitment.0 {
        return Err(Failure::message(
            "storage returned a package with another commitment than the chain has",
        ));
    }
    let parts = Parts::of(&bytes).map_err(Failure::failed)?;
    let package = parts
        .mpc
        .ok_or_else(|| Failure::message("this version is not offered at level mpc"))?;
    Package::from_bytes(package, PackageLimits::default()).map_err(Failure::failed)
}

/// Who knows the weights of a published program, and what is known without them.
pub(super) fn weights_json(program: &Program) -> Value {
    let parameters = program.parameters();
    if parameters.is_empty() {
        let values: usize = program.constants().iter().map(|c| c.data.len()).sum();
        return json!({ "privacy": "public", "values": values });
    }
    let values: usize = parameters.iter().map(|p| p.elements()).sum();
    json!({
        "privacy": "private",
        "values": values,
        "tensors": parameters.len(),
        "public": "the architecture: operators with their attributes, shapes and names; scale and bound of every \
                   tensor (the size of its largest value, to a power of two, unless published with --bounds uniform); \
                   how well the program follows the model on the calibration records",
        "outputs": "who may ask often enough can train a copy from the answers",
    })
}

/// The same for people.
pub(super) fn weights_text(weights: &Value) -> String {
    match weights["privacy"].as_str() {
        Some("private") => format!(
            "private: {} values in {} tensors, known to the owner and shared among the workers that host them\n    \
             public all the same: {}\n    outputs: {}",
            weights["values"],
            weights["tensors"],
            weights["public"].as_str().unwrap_or("?"),
            weights["outputs"].as_str().unwrap_or("?"),
        ),
        Some(other) => match weights["values"].as_u64() {
            Some(values) => format!("{other}: {values} values, in the package"),
            None => format!("{other}: in the package"),
        },
        None => format!("not known: {}", weights["error"].as_str().unwrap_or("?")),
    }
}
