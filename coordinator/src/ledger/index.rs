//! The live part of the ledger in memory: sums and orders derived from the stored entries.
//!
//! Nothing here is a source of truth. It is rebuilt from the store when the ledger opens, and
//! changed only after a commit.

use std::collections::{BTreeMap, BTreeSet};

use ai_link_wire::{AccountId, JobId, Leaf, Payout, Planck, UnixMillis, Voucher};

use super::entry::{JobEntry, Phase};

/// Sums and orders over live jobs.
#[derive(Debug, Default)]
pub(super) struct Index {
    open: BTreeSet<(UnixMillis, JobId)>,
    unsettled: BTreeMap<u64, Unsettled>,
    clients: BTreeMap<AccountId, Load>,
    last_sequence: u64,
    live: u32,
}

/// A delivered job that waits for its settlement.
#[derive(Clone, Debug)]
pub struct Unsettled {
    /// The job.
    pub job: JobId,
    /// Who pays.
    pub client: AccountId,
    /// How much.
    pub price: Planck,
    /// With what.
    pub voucher: Voucher,
    /// Whom.
    pub payouts: Vec<Payout>,
    /// What it is under the root of its epoch.
    pub leaf: Leaf,
    /// Since when.
    pub at: UnixMillis,
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    live: u32,
    reserved: Planck,
}

impl Index {
    /// Takes the change of a job from `old` to `new` into account.
    pub(super) fn replace(&mut self, old: Option<&JobEntry>, new: &JobEntry) {
        if let Some(old) = old {
            self.remove(old);
        }
        self.insert(new);
    }

    /// What is reserved for a client's open jobs.
    pub(super) fn reserved(&self, client: &AccountId) -> Planck {
        self.clients
            .get(client)
            .map(|load| load.reserved)
            .unwrap_or_default()
    }

    /// A client's open and unsettled jobs.
    pub(super) fn live_of(&self, client: &AccountId) -> u32 {
        self.clients.get(client).map_or(0, |load| load.live)
    }

    /// Open and unsettled jobs in all.
    pub(super) fn live(&self) -> u32 {
        self.live
    }

    /// Clients with open or unsettled jobs.
    pub(super) fn clients(&self) -> impl Iterator<Item = AccountId> {
        self.clients.keys().copied()
    }

    /// Whether a client has open or unsettled jobs.
    pub(super) fn has_client(&self, client: &AccountId) -> bool {
        self.clients.contains_key(client)
    }

    /// The number for the next delivery: larger than that of any job still unsettled.
    pub(super) fn next_sequence(&self) -> u64 {
        self.last_sequence.saturating_add(1)
    }

    /// Open jobs whose reserve is due for release, oldest first.
    pub(super) fn due(&self, now: UnixMillis) -> impl Iterator<Item = JobId> {
        self.open
            .iter()
            .take_while(move |(release_at, _)| *release_at <= now)
            .map(|(_, job)| *job)
    }

    /// Jobs that wait for settlement, in the order of their delivery.
    pub(super) fn unsettled(&self) -> impl ExactSizeIterator<Item = &Unsettled> {
        self.unsettled.values()
    }

    fn insert(&mut self, entry: &JobEntry) {
        let reserved = match entry.phase {
            Phase::Accepted => {
                self.open.insert((entry.release_at, entry.job));
                entry.price
            }
            Phase::Completed => {
                if let Some(delivery) = &entry.delivery {
                    self.last_sequence = self.last_sequence.max(delivery.sequence);
                    let unsettled = Unsettled {
                        job: entry.job,
                        client: entry.client,
                        price: delivery.price,
                        voucher: delivery.voucher,
                        payouts: delivery.payouts.clone(),
                        leaf: delivery.leaf(entry),
                        at: delivery.at,
                    };
                    self.unsettled.insert(delivery.sequence, unsettled);
                }
                Planck::ZERO
            }
            Phase::Settled { .. } | Phase::Refunded { .. } => return,
        };
        let load = self.clients.entry(entry.client).or_default();
        load.live += 1;
        // Every reservation was checked against an escrow that exists, so the sum does too.
        load.reserved = Planck(load.reserved.0.saturating_add(reserved.0));
        self.live += 1;
    }

    fn remove(&mut self, entry: &JobEntry) {
        let reserved = match entry.phase {
            Phase::Accepted => {
                self.open.remove(&(entry.release_at, entry.job));
                entry.price
            }
            Phase::Completed => {
                if let Some(delivery) = &entry.delivery {
                    self.unsettled.remove(&delivery.sequence);
                }
                Planck::ZERO
            }
            Phase::Settled { .. } | Phase::Refunded { .. } => return,
        };
        self.live = self.live.saturating_sub(1);
        if let Some(load) = self.clients.get_mut(&entry.client) {
            load.live = load.live.saturating_sub(1);
            load.reserved = Planck(load.reserved.0.saturating_sub(reserved.0));
            if load.live == 0 {
                self.clients.remove(&entry.client);
            }
        }
    }
}
