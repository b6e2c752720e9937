//! What the chain says, as far as the coordinator needs it.
//!
//! The core never talks to a chain: the shell reads it and puts what it read into a [`ChainView`].
//! That keeps every decision reproducible from plain values.

use std::collections::BTreeMap;

use ai_link_registry::{Grant, ModelRights};
use ai_link_wire::{AccountId, Commitment, Fid, Level, ModelName, ModelVersion, PeerKey, Planck};

/// A snapshot of the chain, refreshed by the shell.
#[derive(Clone, Debug, Default)]
pub struct ChainView {
    workers: BTreeMap<PeerKey, BondedWorker>,
    models: BTreeMap<ModelName, PublishedModel>,
    clients: BTreeMap<AccountId, KnownFunds>,
    grants: BTreeMap<(ModelName, AccountId), KnownGrant>,
    last_epoch: u64,
}

/// A worker's peer key as bound on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BondedWorker {
    /// The account that registered the worker, answers for it and is paid for it.
    pub operator: AccountId,
    /// What the operator has at stake for it.
    pub bond: Planck,
}

/// A model name as published on chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedModel {
    /// Who is paid for every record inferred, but for royalties.
    pub owner: AccountId,
    /// The version meant when a request names none: the newest that was not yanked.
    pub latest: ModelVersion,
    /// The owner's price for one record of a batch, but for levels with a price of their own.
    pub price_per_record: Planck,
    /// Who may use it, and who shares the owner's price.
    pub rights: ModelRights,
    /// The versions read so far. A version never changes once published, so these never go stale.
    pub versions: BTreeMap<ModelVersion, PublishedVersion>,
}

/// One immutable version of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedVersion {
    /// Merkle root of the package.
    pub commitment: Commitment,
    /// Where the package lies in storage.
    pub manifest: Fid,
    /// The privacy levels the owner offers it under.
    pub levels: Vec<Level>,
}

/// What a client can pay with, and what it has paid through this coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientFunds {
    /// Cumulative amount of the newest voucher that the chain has honoured for this coordinator.
    pub settled: Planck,
    /// Escrow that is neither spent nor being withdrawn. Must have been read *after* `settled`:
    /// a settlement between the two reads then only makes the client look poorer, never richer.
    pub escrow: Planck,
}

#[derive(Clone, Copy, Debug)]
struct KnownGrant {
    /// `None`: the chain has none.
    grant: Option<Grant>,
    /// Readings since it was put.
    age: u8,
}

#[derive(Clone, Copy, Debug)]
struct KnownFunds {
    funds: ClientFunds,
    /// Readings since they were last put.
    age: u8,
}

/// How many readings the funds of a client without jobs are kept: long enough for the message that
/// had them looked up, short enough that strangers cannot fill the memory.
const KEPT_READINGS: u8 = 3;

impl ChainView {
    /// Replaces the whole set of bonded workers.
    pub fn put_workers(&mut self, workers: impl IntoIterator<Item = (PeerKey, BondedWorker)>) {
        self.workers = workers.into_iter().collect();
    }

    /// Adds or replaces one bonded worker; `None` forgets it.
    pub fn put_worker(&mut self, peer: PeerKey, worker: Option<BondedWorker>) {
        match worker {
            Some(worker) => self.workers.insert(peer, worker),
            None => self.workers.remove(&peer),
        };
    }

    /// Adds or replaces a model; versions already known are kept.
    pub fn put_model(&mut self, name: ModelName, mut model: PublishedModel) {
        if let Some(known) = self.models.remove(&name) {
            for (version, record) in known.versions {
                model.versions.entry(version).or_insert(record);
            }
        }
        self.models.insert(name, model);
    }

    /// Replaces what a client can pay with.
    pub fn put_client(&mut self, client: AccountId, funds: ClientFunds) {
        self.clients.insert(client, KnownFunds { funds, age: 0 });
    }

    /// Puts a client's grant for a model, or that it has none.
    pub fn put_grant(&mut self, model: ModelName, client: AccountId, grant: Option<Grant>) {
        self.grants
            .insert((model, client), KnownGrant { grant, age: 0 });
    }

    /// A client's grant for a model, as it was looked up last.
    pub fn grant(&self, model: &ModelName, client: &AccountId) -> Option<Grant> {
        self.grants.get(&(model.clone(), *client))?.grant
    }

    /// Called once a reading: forgets grants that were looked up some readings ago, and forgets clients for which `keep` is false and that were not put for a
    /// few readings, so that the view stays as small as the ledger's live part.
    pub fn age_clients(&mut self, mut keep: impl FnMut(&AccountId) -> bool) {
        self.grants.retain(|_, known| {
            known.age = known.age.saturating_add(1);
            known.age <= KEPT_READINGS
        });
        self.clients.retain(|client, known| {
            known.age = known.age.saturating_add(1);
            keep(client) || known.age <= KEPT_READINGS
        });
    }

    /// Sets the last epoch this coordinator has settled on chain (0: none yet).
    pub fn put_last_epoch(&mut self, epoch: u64) {
        self.last_epoch = epoch;
    }

    /// The chain's binding of a worker.
    pub fn worker(&self, peer: &PeerKey) -> Option<&BondedWorker> {
        self.workers.get(peer)
    }

    /// A published model.
    pub fn model(&self, name: &ModelName) -> Option<&PublishedModel> {
        self.models.get(name)
    }

    /// The models read so far.
    pub fn models(&self) -> impl Iterator<Item = (&ModelName, &PublishedModel)> {
        self.models.iter()
    }

    /// A client's funds, or `None` when they were never read.
    pub fn client(&self, client: &AccountId) -> Option<ClientFunds> {
        self.clients.get(client).map(|known| known.funds)
    }

    /// The last epoch this coordinator has settled (0: none yet).
    pub fn last_epoch(&self) -> u64 {
        self.last_epoch
    }
}
