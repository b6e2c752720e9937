//! A model as it is published: what the chain says of it, and its program from storage.

use ai_link_program::bundle::Parts;
use ai_link_program::fixed::Program;
use ai_link_program::{Package, PackageLimits};
use ai_link_registry::Registry;
use ai_link_storage::{HttpStore, ObjectStore as _};
use ai_link_wire::{Commitment, ModelVersion};

use crate::dev::Network;
use crate::output::Failure;

/// The largest package that is fetched to look at a program.
const MAX_PACKAGE: u64 = 1 << 30;

/// A version of a model.
pub(super) struct Published {
    pub(super) commitment: Commitment,
    /// The program for level `mpc`.
    pub(super) program: Program,
}

/// The commitment that the chain has for a version, or for the latest one.
pub(super) async fn commitment(
    registry: &Registry,
    model: &str,
    version: Option<u32>,
) -> Result<Commitment, Failure> {
    Ok(release(registry, model, version).await?.0)
}

/// A version with its program, or the latest one.
pub(super) async fn fetch(
    network: &Network,
    model: &str,
    version: Option<u32>,
) -> Result<Published, Failure> {
    let registry = Registry::connect(&network.chain)
        .await
        .map_err(Failure::failed)?;
    let (commitment, manifest) = release(&registry, model, version).await?;
    let storage = HttpStore::new(&network.storage).map_err(Failure::failed)?;
    let bytes = storage
        .get_bytes(manifest, MAX_PACKAGE)
        .await
        .map_err(Failure::failed)?;
    if Commitment(Package::commitment_of(&bytes)) != commitment {
        return Err(Failure::message(format!(
            "storage has another package of {model} than the chain says"
        )));
    }
    let parts = Parts::of(&bytes).map_err(Failure::failed)?;
    let package = parts.mpc.ok_or_else(|| {
        Failure::message(format!(
            "{model} is not offered at level mpc, which works on shares"
        ))
    })?;
    let package =
        Package::from_bytes(package, PackageLimits::default()).map_err(Failure::failed)?;
    Ok(Published {
        commitment,
        program: package.program,
    })
}

async fn release(
    registry: &Registry,
    model: &str,
    version: Option<u32>,
) -> Result<(Commitment, ai_link_storage::Fid), Failure> {
    let name = model.parse().map_err(Failure::failed)?;
    let missing = || Failure::message(format!("{model} is not on the chain"));
    let version = match version {
        Some(version) => ModelVersion(version),
        None => {
            let info = registry.model(&name).await.map_err(Failure::failed)?;
            info.ok_or_else(missing)?.latest
        }
    };
    let release = registry.version(&name, version).await;
    let release = release.map_err(Failure::failed)?.ok_or_else(missing)?;
    let manifest = ai_link_storage::Fid(release.manifest.0);
    Ok((release.commitment, manifest))
}
