//! `ai-link settle`.

use std::collections::BTreeMap;

use ai_link_wire::{AccountId, ControlRequest, ControlResponse, Identity, Planck, UnsettledJob};
use serde::Serialize;

use super::context::Context;
use crate::cli::{Global, Settle};
use crate::dev::Network;
use crate::dev::probe::Probe;
use crate::output::{Failure, Output};

/// What the next epochs pay.
#[derive(Serialize)]
struct Preview {
    jobs: Vec<Job>,
    /// Netted, as the chain will pay it.
    payouts: Vec<Sum>,
    total: String,
}

#[derive(Serialize)]
struct Job {
    job: String,
    client: String,
    price: String,
    waits_since_ms: u64,
    payouts: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    account: String,
    amount: String,
    reason: String,
}

#[derive(Serialize)]
struct Sum {
    account: String,
    amount: String,
    jobs: usize,
}

pub(super) async fn run(global: &Global, args: &Settle, output: &Output) -> Result<(), Failure> {
    let context = Context::load(global)?;
    let key = Identity::load(context.dir.key(&args.key)).map_err(Failure::failed)?;
    let jobs = unsettled(key, &context.network).await?;
    output.result(&preview(&jobs)?, text)
}

/// Delivered jobs that wait for settlement and that concern `key`.
pub(super) async fn unsettled(
    key: Identity,
    network: &Network,
) -> Result<Vec<UnsettledJob>, Failure> {
    let probe = Probe::of(key, network).await?;
    match probe.ask(ControlRequest::Unsettled).await? {
        ControlResponse::Unsettled(jobs) => Ok(jobs),
        other => Err(Failure::message(format!(
            "the coordinator answered {other:?}"
        ))),
    }
}

fn preview(jobs: &[UnsettledJob]) -> Result<Preview, Failure> {
    let mut sums = BTreeMap::<AccountId, (Planck, usize)>::new();
    let too_much = || Failure::message("the coordinator states more money than can be counted");
    for payout in jobs.iter().flat_map(|job| &job.payouts) {
        let (sum, jobs) = sums.entry(payout.account).or_default();
        *sum = sum.checked_add(payout.amount).ok_or_else(too_much)?;
        *jobs += 1;
    }
    let total = Planck::checked_sum(jobs.iter().map(|job| job.price)).ok_or_else(too_much)?;
    let sums = sums.into_iter();
    Ok(Preview {
        jobs: jobs.iter().map(shown).collect(),
        payouts: sums
            .map(|(account, (amount, jobs))| Sum {
                account: account.to_string(),
                amount: amount.to_string(),
                jobs,
            })
            .collect(),
        total: total.to_string(),
    })
}

fn shown(job: &UnsettledJob) -> Job {
    Job {
        job: job.job.to_string(),
        client: job.client.to_string(),
        price: job.price.to_string(),
        waits_since_ms: job.since.0,
        payouts: job
            .payouts
            .iter()
            .map(|payout| Part {
                account: payout.account.to_string(),
                amount: payout.amount.to_string(),
                reason: format!("{:?}", payout.reason),
            })
            .collect(),
    }
}

fn text(preview: &Preview) -> String {
    let mut lines: Vec<_> = preview
        .jobs
        .iter()
        .map(|job| format!("job    {}  {:>20}  from {}", job.job, job.price, job.client))
        .collect();
    lines.extend((preview.payouts.iter()).map(|sum| {
        format!(
            "pays   {:>20}  to {}  for {} parts",
            sum.amount, sum.account, sum.jobs
        )
    }));
    lines.push(format!("total  {}", preview.total));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use ai_link_wire::{JobId, Payout, PayoutReason, UnixMillis};

    use super::*;

    #[test]
    fn jobs_are_netted_by_account() {
        let (worker, owner) = (AccountId([1; 32]), AccountId([2; 32]));
        let job = |id: u8, amount: u128| UnsettledJob {
            job: JobId([id; 16]),
            client: AccountId([9; 32]),
            price: Planck(amount + 5),
            payouts: [
                (worker, amount, PayoutReason::Evaluator),
                (owner, 5, PayoutReason::ModelOwner),
            ]
            .map(|(account, amount, reason)| Payout {
                account,
                amount: Planck(amount),
                reason,
            })
            .to_vec(),
            since: UnixMillis(7),
        };
        let Ok(preview) = preview(&[job(1, 30), job(2, 12)]) else {
            panic!("no preview");
        };
        let sums: Vec<_> = preview
            .payouts
            .iter()
            .map(|sum| (sum.account.clone(), sum.amount.clone(), sum.jobs))
            .collect();
        let sum = |account: AccountId, amount| (account.to_string(), Planck(amount).to_string(), 2);
        assert_eq!(sums, [sum(worker, 42), sum(owner, 10)]);
        assert_eq!(preview.total, Planck(52).to_string());
        assert_eq!(preview.jobs[1].payouts[0].reason, "Evaluator");
    }
}
