//! What the chain has paid through this ledger: for whoever runs the coordinator to see.
//!
//! Changed in the same transaction as the jobs that were paid, so that no payment is counted twice or forgotten.

use std::collections::BTreeMap;

use ai_link_wire::{AccountId, Payout, PayoutReason, Planck};

use super::entry::{Earned, JobEntry, PaidEpoch, Phase};
use super::store::Write;

/// Epochs kept in memory; all are on disk.
pub(super) const RECENT_EPOCHS: usize = 64;

/// Earnings of accounts, and the latest epochs.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    earnings: BTreeMap<AccountId, Earned>,
    epochs: BTreeMap<u64, PaidEpoch>,
}

impl History {
    pub(super) fn new(earnings: Vec<(AccountId, Earned)>, epochs: Vec<PaidEpoch>) -> Self {
        Self {
            earnings: earnings.into_iter().collect(),
            epochs: epochs.into_iter().map(|e| (e.epoch, e)).collect(),
        }
    }

    /// All accounts that were paid.
    pub(super) fn earnings(&self) -> impl Iterator<Item = (&AccountId, &Earned)> {
        self.earnings.iter()
    }

    /// The latest epochs, oldest first.
    pub(super) fn epochs(&self) -> impl Iterator<Item = &PaidEpoch> {
        self.epochs.values()
    }

    /// This history after these jobs were paid, and what to write for it.
    pub(super) fn with_paid<'e>(&self, paid: impl Iterator<Item = &'e JobEntry>) -> Paid {
        let mut after = Paid::default();
        for entry in paid {
            let (Phase::Settled { epoch }, Some(delivery)) = (entry.phase, &entry.delivery) else {
                continue;
            };
            let known = || self.epochs.get(&epoch).copied();
            let sum = after.epochs.entry(epoch).or_insert_with(|| {
                known().unwrap_or(PaidEpoch {
                    epoch,
                    ..PaidEpoch::default()
                })
            });
            sum.jobs = sum.jobs.saturating_add(1);
            sum.amount = Planck(sum.amount.0.saturating_add(delivery.price.0));
            sum.delivered_until = sum.delivered_until.max(delivery.at);
            for payout in &delivery.payouts {
                let account = payout.account;
                let known = || self.earnings.get(&account).copied().unwrap_or_default();
                after
                    .earnings
                    .entry(account)
                    .or_insert_with(known)
                    .add(payout);
            }
        }
        after
    }

    /// Takes over what was written.
    pub(super) fn apply(&mut self, paid: Paid) {
        self.earnings.extend(paid.earnings);
        self.epochs.extend(paid.epochs);
        while self.epochs.len() > RECENT_EPOCHS {
            self.epochs.pop_first();
        }
    }
}

/// The parts of a history that payments change.
#[derive(Debug, Default)]
pub(super) struct Paid {
    earnings: BTreeMap<AccountId, Earned>,
    epochs: BTreeMap<u64, PaidEpoch>,
}

impl Paid {
    pub(super) fn writes(&self) -> Vec<Write> {
        let earned = self.earnings.iter().map(|(a, e)| Write::Earned(*a, *e));
        let epochs = self.epochs.values().map(|e| Write::Paid(*e));
        earned.chain(epochs).collect()
    }
}

impl Earned {
    /// Adds a payout. Sums of what was paid exist, so they fit.
    pub(super) fn add(&mut self, payout: &Payout) {
        let sum = match payout.reason {
            PayoutReason::Dealer | PayoutReason::Evaluator => &mut self.working,
            PayoutReason::ModelOwner => &mut self.owning,
            PayoutReason::Coordinator => &mut self.coordinating,
        };
        *sum = Planck(sum.0.saturating_add(payout.amount.0));
    }

    /// All together.
    pub fn total(&self) -> Planck {
        let sum = self.working.0.saturating_add(self.owning.0);
        Planck(sum.saturating_add(self.coordinating.0))
    }
}
