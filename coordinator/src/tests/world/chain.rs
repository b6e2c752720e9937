//! A chain that judges settlements as the pallet does.

use std::collections::BTreeMap;

use ai_link_registry::Grant;
use ai_link_wire::{AccountId, Digest, JobId, ModelName, PeerKey, Planck};

use crate::core::{Fact, Wanted};
use crate::ledger::Draft;
use crate::view::{BondedWorker, ClientFunds, PublishedModel};

/// The chain as far as the coordinator touches it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    pub(crate) workers: BTreeMap<PeerKey, BondedWorker>,
    pub(crate) models: BTreeMap<ModelName, PublishedModel>,
    pub(crate) grants: BTreeMap<(ModelName, AccountId), Grant>,
    pub(crate) escrow: BTreeMap<AccountId, u128>,
    pub(crate) settled: BTreeMap<AccountId, u128>,
    pub(crate) last_epoch: u64,
    pub(crate) paid: BTreeMap<AccountId, u128>,
    /// Jobs of every batch that took effect.
    pub(crate) paid_jobs: Vec<JobId>,
    pub(crate) deposited: u128,
    /// Of each epoch.
    pub(crate) roots: Vec<Digest>,
}

impl Chain {
    /// As the pallet's `settle`: all or nothing.
    pub(crate) fn settle(&mut self, batch: &Draft) -> Result<(), &'static str> {
        if batch.epoch != self.last_epoch + 1 {
            return Err("epoch out of order");
        }
        let mut next = self.clone();
        let mut taken = 0;
        for voucher in &batch.vouchers {
            voucher.verify().map_err(|_| "bad voucher signature")?;
            let settled = next.settled.entry(voucher.client).or_default();
            let delta = voucher
                .cumulative
                .0
                .checked_sub(*settled)
                .filter(|delta| *delta > 0);
            let delta = delta.ok_or("nothing to take")?;
            let escrow = next.escrow.entry(voucher.client).or_default();
            *escrow = escrow.checked_sub(delta).ok_or("escrow too small")?;
            *settled = voucher.cumulative.0;
            taken += delta;
        }
        let given: u128 = batch.payouts.iter().map(|(_, amount)| amount.0).sum();
        if taken != given {
            return Err("sums differ");
        }
        for (account, amount) in &batch.payouts {
            *next.paid.entry(*account).or_default() += amount.0;
        }
        next.paid_jobs.extend(&batch.jobs);
        next.last_epoch = batch.epoch;
        next.roots.push(batch.receipts_root);
        *self = next;
        Ok(())
    }

    pub(crate) fn deposit(&mut self, client: AccountId, amount: u128) {
        *self.escrow.entry(client).or_default() += amount;
        self.deposited += amount;
    }

    pub(crate) fn funds(&self, client: &AccountId) -> ClientFunds {
        let of = |map: &BTreeMap<AccountId, u128>| Planck(map.get(client).copied().unwrap_or(0));
        ClientFunds {
            settled: of(&self.settled),
            escrow: of(&self.escrow),
        }
    }

    pub(super) fn look_up(&self, wanted: &Wanted) -> Option<Fact> {
        match wanted {
            Wanted::Client(client) => Some(Fact::Client(*client, self.funds(client))),
            Wanted::Model(name, _) => self
                .models
                .get(name)
                .map(|model| Fact::Model(name.clone(), model.clone())),
            Wanted::Grant(model, client) => {
                let grant = self.grants.get(&(model.clone(), *client)).copied();
                Some(Fact::Grant(model.clone(), *client, grant))
            }
            Wanted::Worker(peer) => Some(Fact::Worker(*peer, self.workers.get(peer).copied())),
        }
    }
}
