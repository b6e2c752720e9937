//! A model as it is published: what the chain says of it, and its program from storage.

use ai_link_program::fixed::Program;
use ai_link_registry::Registry;
use ai_link_wire::{Commitment, Fid, ModelVersion};

use super::hosting;
use crate::dev::Network;
use crate::output::Failure;

/// A version of a model.
pub(super) struct Published {
    pub(super) commitment: Commitment,
    /// The program for level `mpc`.
    pub(super) program: Program,
}

/// The commitment that the chain has for a version, or for the one that is meant when none is named.
pub(super) async fn commitment(
    registry: &Registry,
    model: &str,
    version: Option<u32>,
) -> Result<Commitment, Failure> {
    Ok(release(registry, model, version).await?.0)
}

/// A version with its program, or the one that is meant when none is named.
pub(super) async fn fetch(
    network: &Network,
    model: &str,
    version: Option<u32>,
) -> Result<Published, Failure> {
    let registry = Registry::connect(&network.chain)
        .await
        .map_err(Failure::failed)?;
    let (commitment, manifest) = release(&registry, model, version).await?;
    let package = hosting::fetch(network, commitment, manifest).await?;
    Ok(Published {
        commitment,
        program: package.program,
    })
}

async fn release(
    registry: &Registry,
    model: &str,
    version: Option<u32>,
) -> Result<(Commitment, Fid), Failure> {
    let name = model.parse().map_err(Failure::failed)?;
    let missing = || Failure::message(format!("{model} is not on the chain"));
    let version = match version {
        Some(version) => ModelVersion(version),
        None => {
            let info = registry.model(&name).await.map_err(Failure::failed)?;
            let info = info.ok_or_else(missing)?;
            let rights = registry.rights(&name).await.map_err(Failure::failed)?;
            let current = registry.current_version(&info, &rights).await;
            current.map_err(Failure::failed)?
        }
    };
    let release = registry.version(&name, version).await;
    let release = release.map_err(Failure::failed)?.ok_or_else(missing)?;
    Ok((release.commitment, release.manifest))
}
