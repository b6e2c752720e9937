//! `ai-link balance`.

use ai_link_registry::Registry;
use ai_link_wire::{AccountId, Identity, Planck};
use serde::Serialize;

use super::context::Context;
use crate::cli::{Balance, Global};
use crate::output::{Failure, Output};

/// What an account has.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AccountBalance {
    pub(super) name: String,
    pub(super) account: String,
    /// Can be spent now.
    pub(super) free: String,
    /// Bonds and deposits.
    pub(super) held: String,
    /// In the settlement pallet, to pay jobs with.
    pub(super) escrow: String,
    /// In all, in planck.
    pub(super) total_planck: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) explanation: Vec<String>,
    #[serde(skip)]
    pub(super) total: Planck,
}

#[derive(Serialize)]
struct Balances {
    accounts: Vec<AccountBalance>,
    total_issuance: String,
}

pub(super) async fn run(global: &Global, args: Balance, output: &Output) -> Result<(), Failure> {
    let context = Context::load(global)?;
    let registry = context.registry().await?;
    let coordinator = Identity::load(context.dir.key("coordinator"))
        .ok()
        .map(|k| k.account());
    let mut accounts = Vec::new();
    for (name, account) in named(&context, args.account.as_deref())? {
        let mut balance = of(&registry, &name, account).await?;
        if args.explain {
            balance.explanation = explain(&registry, &balance, account, coordinator).await?;
            let key = Identity::load(context.dir.key(&name)).ok();
            if let Some(key) = key.filter(|key| key.account() == account) {
                let lines = promised(key, &context).await;
                balance.explanation.extend(lines);
            }
        }
        accounts.push(balance);
    }
    let total_issuance = registry
        .total_issuance()
        .await
        .map_err(Failure::failed)?
        .to_string();
    output.result(
        &Balances {
            accounts,
            total_issuance,
        },
        |b| {
            let mut lines = Vec::new();
            for a in &b.accounts {
                lines.push(format!(
                    "{:14} free {:>24}  held {:>12}  escrow {:>20}  {}",
                    a.name, a.free, a.held, a.escrow, a.account
                ));
                lines.extend(a.explanation.iter().map(|l| format!("               {l}")));
            }
            lines.push(format!("total issuance {}", b.total_issuance));
            lines.join("\n")
        },
    )
}

/// One account, from the chain.
pub(super) async fn of(
    registry: &Registry,
    name: &str,
    account: AccountId,
) -> Result<AccountBalance, Failure> {
    let found = registry.balance(account).await.map_err(Failure::failed)?;
    let total = Planck::checked_sum([found.free, found.held, found.escrow])
        .ok_or_else(|| Failure::message("the chain states more money than can be counted"))?;
    Ok(AccountBalance {
        name: name.to_owned(),
        account: account.to_string(),
        free: found.free.to_string(),
        held: found.held.to_string(),
        escrow: found.escrow.to_string(),
        total_planck: total.0.to_string(),
        explanation: Vec::new(),
        total,
    })
}

/// The accounts asked for: one by address or key name, or all keys of the directory.
fn named(context: &Context, wanted: Option<&str>) -> Result<Vec<(String, AccountId)>, Failure> {
    if let Some(text) = wanted {
        let account = context.account(text)?;
        let name = match text.parse::<AccountId>() {
            Ok(_) => "account",
            Err(_) => text,
        };
        return Ok(vec![(name.into(), account)]);
    }
    all_keys(&context.dir)
}

/// Every account that the directory has a key of, but the workers' peer keys, which hold no money.
pub(super) fn all_keys(dir: &crate::dev::StateDir) -> Result<Vec<(String, AccountId)>, Failure> {
    let entries = std::fs::read_dir(dir.root().join("keys")).map_err(Failure::failed)?;
    let mut accounts = Vec::new();
    for entry in entries {
        let path = entry.map_err(Failure::failed)?.path();
        let name = path
            .file_stem()
            .map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default();
        if path.extension().is_some_and(|e| e == "key") && !name.starts_with("worker-") {
            accounts.push((
                name,
                Identity::load(&path).map_err(Failure::failed)?.account(),
            ));
        }
    }
    accounts.sort();
    Ok(accounts)
}

/// Where every part of it is and when it can be had: money is never "somewhere".
async fn explain(
    registry: &Registry,
    balance: &AccountBalance,
    account: AccountId,
    coordinator: Option<AccountId>,
) -> Result<Vec<String>, Failure> {
    let mut lines = vec![
        format!("free:   {} can be spent now", balance.free),
        format!(
            "held:   {} answers for workers, a coordinator or model names; it comes back after \
             deregistering and the unbonding delay",
            balance.held
        ),
        format!(
            "escrow: {} pays jobs; what is not promised by voucher comes back by \
             request_withdrawal and, after the delay, withdraw",
            balance.escrow
        ),
    ];
    if let Some(coordinator) = coordinator {
        let settled = registry
            .settled(account, coordinator)
            .await
            .map_err(Failure::failed)?;
        if settled > Planck::ZERO {
            lines.push(format!(
                "paid:   {settled} for jobs, through coordinator {coordinator}"
            ));
        }
    }
    lines.extend(territories(registry, account).await?);
    Ok(lines)
}

/// What jobs were delivered and wait for their epoch: promised by the account, or to it.
async fn promised(key: Identity, context: &Context) -> Vec<String> {
    let account = key.account();
    // The coordinator asks nobody about itself.
    if Identity::load(context.dir.key("coordinator")).is_ok_and(|k| k.account() == account) {
        return Vec::new();
    }
    let Ok(jobs) = super::settle::unsettled(key, &context.network).await else {
        return vec!["due:    the coordinator does not say what waits for settlement".into()];
    };
    let mut lines = Vec::new();
    for job in jobs {
        if job.client == account {
            lines.push(format!(
                "owed:   {} of the escrow for job {}, taken by its epoch",
                job.price, job.job
            ));
        }
        for part in job.payouts.iter().filter(|part| part.account == account) {
            lines.push(format!(
                "due:    {} as {:?} of job {}, paid by its epoch",
                part.amount, part.reason, job.job
            ));
        }
    }
    lines
}

/// What an account's space costs: it is paid ahead, so that nothing of it is held or owed.
async fn territories(registry: &Registry, account: AccountId) -> Result<Vec<String>, Failure> {
    let owned = registry
        .territories(account)
        .await
        .map_err(Failure::failed)?;
    if owned.is_empty() {
        return Ok(Vec::new());
    }
    let space = registry.space().await.map_err(Failure::failed)?;
    let lines = owned.iter().map(|territory| {
        let days = territory.deadline.saturating_sub(territory.start) / space.day.max(1);
        let gib = territory.total >> 30;
        format!(
            "space:  territory {}, {gib} GiB for {days} days, is paid ahead, at {} for a GiB and \
             day; it does not come back",
            territory.name, space.price
        )
    });
    Ok(lines.collect())
}
