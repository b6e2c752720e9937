//! Storage nodes and space on the chain of a development network.

use ai_link_registry::storage::TerritoryName;
use ai_link_registry::{Registry, RegistryClient};
use ai_link_storage::ChainEntry;
use ai_link_wire::{AccountId, Identity};

use crate::output::Failure;

/// What each node declares.
const NODE_TIB: u32 = 1;
/// What each owner gets.
const TERRITORY_GIB: u32 = 64;
const TERRITORY_DAYS: u32 = 365;

/// Registers nodes, each with where it is reached, and gives owners a territory that `gateway` may use. What is
/// there from an earlier run stays.
pub(super) async fn rent(
    chain: &str,
    nodes: Vec<(Identity, String)>,
    owners: Vec<Identity>,
    gateway: AccountId,
) -> Result<(), Failure> {
    let registry = Registry::connect(chain).await.map_err(Failure::failed)?;
    let collateral = registry.miner_collateral().await.map_err(Failure::failed)?;
    for (identity, url) in nodes {
        let client = RegistryClient::new(registry.clone(), identity);
        let known = client.miner(client.account()).await;
        if known.map_err(Failure::failed)?.is_none() {
            let registered = client.register_miner(&url, NODE_TIB, collateral).await;
            registered.map_err(Failure::failed)?;
        }
    }
    let name: TerritoryName = ChainEntry::TERRITORY.parse().map_err(Failure::failed)?;
    for identity in owners {
        let client = RegistryClient::new(registry.clone(), identity);
        let found = client.territory(client.account(), &name).await;
        if found.map_err(Failure::failed)?.is_none() {
            let minted = client.mint_territory(&name, TERRITORY_GIB, TERRITORY_DAYS);
            minted.await.map_err(Failure::failed)?;
        }
        let gateways = client.authorised_gateways(client.account()).await;
        if !gateways.map_err(Failure::failed)?.contains(&gateway) {
            let authorised = client.authorise_gateway(gateway).await;
            authorised.map_err(Failure::failed)?;
        }
    }
    Ok(())
}
