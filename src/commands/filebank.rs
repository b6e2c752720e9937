//! The bank of files that a storage configuration names: a chain's, or the store's own.

use std::sync::Arc;

use ai_link_filebank::{ChainBank, HeldKeys};
use ai_link_registry::{Registry, RegistryClient};
use ai_link_storage::{MakeBank, StorageConfig, own_record};
use ai_link_wire::Identity;

use crate::output::Failure;

/// Connects to the chain of the configuration, if it has one.
pub(super) async fn of(config: &StorageConfig) -> Result<MakeBank, Failure> {
    let Some(chain) = &config.chain else {
        return Ok(own_record());
    };
    let territory = chain
        .territory
        .parse()
        .map_err(|e| Failure::usage(format!("chain.territory: {e}")))?;
    let registry = Registry::connect(&chain.url)
        .await
        .map_err(Failure::failed)?;
    let client = |path: &std::path::Path| -> Result<RegistryClient, Failure> {
        let identity = Identity::load(path).map_err(Failure::failed)?;
        Ok(RegistryClient::new(registry.clone(), identity))
    };
    let gateway = client(&chain.key)?;
    let nodes = chain.node_keys.iter().map(|path| client(path));
    let miners = Arc::new(HeldKeys::new(nodes.collect::<Result<Vec<_>, _>>()?));
    Ok(Box::new(move |book| {
        Arc::new(ChainBank::new(gateway, book, miners, territory))
    }))
}
