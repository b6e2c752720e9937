//! Settlement batches: many delivered jobs become one extrinsic.
//!
//! A batch carries the newest voucher of each client and pays the net amount to each account. The
//! chain takes `voucher − what it has taken before` from the client's escrow and demands that the
//! sum equals the payouts.
//!
//! Why nothing is paid twice, whatever crashes: vouchers are cumulative, so the chain's own amount
//! for a client says which of its jobs are paid: exactly those whose voucher it has reached. A batch
//! is always a *prefix* of each client's deliveries, and the next batch starts from the chain's
//! amount. A batch that got through without our knowing is thus seen on the chain and marked as
//! settled; one that did not is submitted again under the same epoch number, which the chain takes
//! only once.

use std::collections::{BTreeMap, BTreeSet};

use ai_link_wire::{AccountId, JobId, Leaf, Planck, UnixMillis, Voucher};

use crate::ledger::{Draft, Unsettled};
use crate::policy::{BatchLimits, SettlementPolicy};
use crate::view::ChainView;

/// How a submission ended, as far as the shell can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// In a finalised block, and successful.
    Finalised,
    /// The chain has judged it and refused it: it will not take effect.
    Rejected,
    /// The connection broke or time ran out: it may or may not take effect.
    Unknown,
}

/// Why a batch must not be submitted: it would be refused, and this software is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// More or less is paid than is taken.
    #[error("the batch takes {taken} from clients and pays {paid}")]
    SumsDiffer {
        /// Sum over the vouchers, each less what the chain has taken before.
        taken: Planck,
        /// Sum of the payouts.
        paid: Planck,
    },
    /// A voucher is not above what the chain has taken, or the client's amount is not known.
    #[error("the voucher of {client} takes nothing")]
    NothingToTake {
        /// The client.
        client: AccountId,
    },
    /// Amounts beyond what can be counted.
    #[error("the amounts add up to more than there can be")]
    Overflow,
}

/// Whether it is time for a batch.
pub fn is_due<'a>(
    mut unsettled: impl ExactSizeIterator<Item = &'a Unsettled>,
    policy: &SettlementPolicy,
    now: UnixMillis,
) -> bool {
    let enough = unsettled.len() >= policy.jobs as usize;
    let waited = |oldest: &Unsettled| now.saturating_since(oldest.at) >= policy.interval;
    unsettled
        .next()
        .is_some_and(|oldest| enough || waited(oldest))
}

/// Makes a batch of the jobs that can be paid now, in the order of their delivery, or `None` when
/// there are none. Jobs that do not fit or whose client has too little escrow wait for a later
/// batch, and so do all later jobs of the same client. Clients in `held_back` wait too.
pub fn draft<'a>(
    unsettled: impl Iterator<Item = &'a Unsettled>,
    view: &ChainView,
    limits: &BatchLimits,
    held_back: BTreeSet<AccountId>,
) -> Option<Draft> {
    let mut batch = Batch {
        held_back,
        ..Batch::default()
    };
    for job in unsettled {
        if batch.jobs.len() == limits.jobs {
            break;
        }
        if !batch.try_add(job, view, limits) {
            batch.held_back.insert(job.client);
        }
    }
    let Batch {
        jobs,
        leaves,
        vouchers,
        payouts,
        ..
    } = batch;
    if jobs.is_empty() {
        return None;
    }
    Some(Draft {
        epoch: view.last_epoch().checked_add(1)?,
        receipts_root: Leaf::root(&leaves),
        jobs,
        leaves,
        vouchers: vouchers.into_values().collect(),
        payouts: payouts
            .into_iter()
            .filter(|(_, amount)| *amount > Planck::ZERO)
            .collect(),
    })
}

/// Checks that a batch takes exactly what it pays.
pub fn check(draft: &Draft, view: &ChainView) -> Result<(), BatchError> {
    let mut taken = Planck::ZERO;
    for voucher in &draft.vouchers {
        let client = voucher.client;
        let delta = view
            .client(&client)
            .and_then(|funds| voucher.cumulative.checked_sub(funds.settled))
            .filter(|delta| *delta > Planck::ZERO)
            .ok_or(BatchError::NothingToTake { client })?;
        taken = taken.checked_add(delta).ok_or(BatchError::Overflow)?;
    }
    let paid = Planck::checked_sum(draft.payouts.iter().map(|(_, amount)| *amount))
        .ok_or(BatchError::Overflow)?;
    if taken != paid {
        return Err(BatchError::SumsDiffer { taken, paid });
    }
    Ok(())
}

#[derive(Default)]
struct Batch {
    jobs: Vec<JobId>,
    leaves: Vec<Leaf>,
    vouchers: BTreeMap<AccountId, Voucher>,
    payouts: BTreeMap<AccountId, Planck>,
    held_back: BTreeSet<AccountId>,
}

impl Batch {
    fn try_add(&mut self, job: &Unsettled, view: &ChainView, limits: &BatchLimits) -> bool {
        if self.held_back.contains(&job.client) {
            return false;
        }
        let Some(funds) = view.client(&job.client) else {
            return false;
        };
        // Contiguous: the job's price is the whole step from the amount before it.
        let before = self
            .vouchers
            .get(&job.client)
            .map_or(funds.settled, |v| v.cumulative);
        if before.checked_add(job.price) != Some(job.voucher.cumulative) {
            return false;
        }
        // Nothing to take (a free job): the chain has "reached" it already.
        if job.voucher.cumulative <= funds.settled {
            return false;
        }
        let covered = funds
            .settled
            .checked_add(funds.escrow)
            .is_none_or(|most| job.voucher.cumulative <= most);
        if !covered {
            return false;
        }
        let new_client = usize::from(!self.vouchers.contains_key(&job.client));
        if self.vouchers.len() + new_client > limits.vouchers {
            return false;
        }
        let mut sums: BTreeMap<AccountId, Planck> = BTreeMap::new();
        for payout in &job.payouts {
            let known = sums
                .get(&payout.account)
                .or_else(|| self.payouts.get(&payout.account));
            let Some(sum) = known
                .copied()
                .unwrap_or_default()
                .checked_add(payout.amount)
            else {
                return false;
            };
            sums.insert(payout.account, sum);
        }
        let new_accounts = sums
            .keys()
            .filter(|account| !self.payouts.contains_key(*account));
        if self.payouts.len() + new_accounts.count() > limits.payouts {
            return false;
        }
        self.payouts.extend(sums);
        self.jobs.push(job.job);
        self.leaves.push(job.leaf);
        self.vouchers.insert(job.client, job.voucher);
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
