//! Balances before and after.

use std::time::{Duration, Instant};

use ai_link_client::receipts;
use ai_link_registry::Registry;
use ai_link_wire::{Identity, JobReceipt, Planck};
use serde::Serialize;

use crate::commands::balance::{self, AccountBalance};
use crate::dev::{Network, StateDir};
use crate::output::Failure;

/// Settlement is an epoch away; a loaded machine may take several.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// What all accounts of the network have.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Books {
    accounts: Vec<AccountBalance>,
    /// Free, held and in escrow, over all accounts, in planck.
    sum: String,
    /// As the chain states it, in planck.
    total_issuance: String,
}

/// Before and after.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Settlement {
    before: Books,
    after: Books,
    pub(super) conserved: bool,
}

impl Books {
    pub(super) async fn read(dir: &StateDir, network: &Network) -> Result<Self, Failure> {
        let registry = Registry::connect(&network.chain)
            .await
            .map_err(Failure::failed)?;
        let mut accounts = Vec::new();
        for (name, account) in balance::all_keys(dir)? {
            accounts.push(balance::of(&registry, &name, account).await?);
        }
        // Transaction fees go to the treasury, so it is part of the books.
        let treasury = ai_link_registry::TREASURY;
        accounts.push(balance::of(&registry, "treasury", treasury).await?);
        let sum = Planck::checked_sum(accounts.iter().map(|a| a.total))
            .ok_or_else(|| Failure::message("more money than can be counted"))?;
        let issuance = registry.total_issuance().await.map_err(Failure::failed)?;
        Ok(Self {
            accounts,
            sum: sum.0.to_string(),
            total_issuance: issuance.0.to_string(),
        })
    }
}

/// The sum over all accounts is the same, and so is the issuance: no money was made or lost.
pub(super) fn compare(before: Books, after: Books) -> Settlement {
    let conserved = before.sum == after.sum && before.total_issuance == after.total_issuance;
    Settlement {
        before,
        after,
        conserved,
    }
}

/// Waits until the chain has settled every countersigned job.
pub(super) async fn wait(dir: &StateDir, network: &Network) -> Result<(), Failure> {
    let owed = owed(dir)?;
    let registry = Registry::connect(&network.chain)
        .await
        .map_err(Failure::failed)?;
    let client = Identity::load(dir.key("client"))
        .map_err(Failure::failed)?
        .account();
    let coordinator = Identity::load(dir.key("coordinator"))
        .map_err(Failure::failed)?
        .account();
    let started = Instant::now();
    loop {
        let settled = registry
            .settled(client, coordinator)
            .await
            .map_err(Failure::failed)?;
        if settled == owed {
            return Ok(());
        }
        if settled > owed || started.elapsed() > SETTLED_WITHIN {
            return Err(Failure::message(format!(
                "the chain settled {settled}, receipts say {owed}; see the coordinator's log"
            )));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The sum of all receipts.
fn owed(dir: &StateDir) -> Result<Planck, Failure> {
    let mut prices = Vec::new();
    let home = dir.data("gateway").join("receipts");
    for entry in std::fs::read_dir(home).map_err(Failure::failed)? {
        let path = entry.map_err(Failure::failed)?.path();
        if path.extension().is_some_and(|e| e == "receipt") {
            let receipt = receipts::load(&path).map_err(Failure::failed)?;
            prices.push(
                JobReceipt::check(&receipt)
                    .map_err(Failure::failed)?
                    .price(),
            );
        }
    }
    Planck::checked_sum(prices).ok_or_else(|| Failure::message("receipts sum to too much"))
}

impl Settlement {
    pub(super) fn text(&self) -> String {
        let mut lines = vec!["balances (free + held + escrow)".to_owned()];
        for (before, after) in self.before.accounts.iter().zip(&self.after.accounts) {
            let change = after.total.0 as i128 - before.total.0 as i128;
            lines.push(format!(
                "  {:14} {:>24} -> {:>24}  {}{}",
                before.name,
                before.total.to_string(),
                after.total.to_string(),
                if change < 0 { "-" } else { "+" },
                Planck(change.unsigned_abs()),
            ));
        }
        let verdict = if self.conserved {
            "conserved"
        } else {
            "NOT CONSERVED"
        };
        lines.push(format!(
            "  sum {} planck -> {} planck: {verdict}",
            self.before.sum, self.after.sum
        ));
        lines.join("\n")
    }
}
