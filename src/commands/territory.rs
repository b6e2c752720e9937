//! `ai-link data territory`: the space on chain that objects are paid from.

use ai_link_registry::RegistryClient;
use ai_link_registry::storage::{Space, Territory, TerritoryName};
use ai_link_wire::{AccountId, Identity};
use serde_json::json;

use super::context::Context;
use crate::cli::{Global, Holder, TerritoryCommand};
use crate::output::{Failure, Output};

pub(super) async fn run(
    global: &Global,
    command: TerritoryCommand,
    output: &Output,
) -> Result<(), Failure> {
    let context = Context::load(global)?;
    match command {
        TerritoryCommand::Show(holder) => {
            let (client, name) = open(&context, &holder).await?;
            show(&client, &name, output).await
        }
        TerritoryCommand::Mint { holder, gib, days } => {
            let (client, name) = open(&context, &holder).await?;
            let minted = client.mint_territory(&name, gib, days).await;
            minted.map_err(Failure::failed)?;
            show(&client, &name, output).await
        }
        TerritoryCommand::Expand { holder, gib } => {
            let (client, name) = open(&context, &holder).await?;
            let expanded = client.expand_territory(&name, gib).await;
            expanded.map_err(Failure::failed)?;
            show(&client, &name, output).await
        }
        TerritoryCommand::Renew { holder, days } => {
            let (client, name) = open(&context, &holder).await?;
            let renewed = client.renew_territory(&name, days).await;
            renewed.map_err(Failure::failed)?;
            show(&client, &name, output).await
        }
        TerritoryCommand::Authorise { holder, gateway } => {
            let (client, _) = open(&context, &holder).await?;
            let account: AccountId = gateway
                .parse()
                .map_err(|e| Failure::usage(format!("{gateway:?} is no account: {e}")))?;
            let authorised = client.authorise_gateway(account).await;
            authorised.map_err(Failure::failed)?;
            let result = json!({ "owner": client.account().to_string(), "gateway": gateway });
            output.result(&result, |_| {
                format!("{gateway} may put, move and delete objects of this account")
            })
        }
    }
}

async fn open(
    context: &Context,
    holder: &Holder,
) -> Result<(RegistryClient, TerritoryName), Failure> {
    let name = holder
        .name
        .parse()
        .map_err(|e| Failure::usage(format!("--name: {e}")))?;
    let key = holder.key.as_ref().unwrap_or(&context.network.client_key);
    let identity = Identity::load(key).map_err(Failure::failed)?;
    let registry = context.registry().await?;
    Ok((RegistryClient::new(registry, identity), name))
}

async fn show(
    client: &RegistryClient,
    name: &TerritoryName,
    output: &Output,
) -> Result<(), Failure> {
    let account = client.account();
    let found = client.territory(account, name).await;
    let territory = found.map_err(Failure::failed)?.ok_or_else(|| {
        Failure::message(format!(
            "account {account} has no territory {name}; buy one with `ai-link data territory mint`"
        ))
    })?;
    let space = client.space().await.map_err(Failure::failed)?;
    let gateways = client.authorised_gateways(account).await;
    let gateways = gateways.map_err(Failure::failed)?;
    let result = json!({
        "name": territory.name,
        "owner": account.to_string(),
        "state": territory.state.to_string(),
        "total_bytes": bytes(territory.total),
        "used_bytes": bytes(territory.used),
        "locked_bytes": bytes(territory.locked),
        "remaining_bytes": bytes(territory.remaining),
        "start_block": territory.start,
        "deadline_block": territory.deadline,
        "block": space.height,
        "price_planck_per_gib_day": space.price.0.to_string(),
        "gateways": gateways.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    output.result(&result, |_| text(&territory, &space, gateways.len()))
}

/// As JSON has numbers; more than that is nobody's.
fn bytes(count: u128) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn text(territory: &Territory, space: &Space, gateways: usize) -> String {
    let mib = |bytes: u128| bytes >> 20;
    let days = territory.deadline.saturating_sub(space.height) / space.day.max(1);
    format!(
        "territory {}: {}\n  {} MiB used, {} MiB declared, {} MiB left of {} MiB\n  until block {} \
         (now {}), about {days} days\n  {} for a GiB and day; {gateways} stores may use it",
        territory.name,
        territory.state,
        mib(territory.used),
        mib(territory.locked),
        mib(territory.remaining),
        mib(territory.total),
        territory.deadline,
        space.height,
        space.price,
    )
}
