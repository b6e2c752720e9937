//! The coordinator without sockets, clock or chain.
//!
//! [`Coordinator::handle`] takes a message and the time and gives the answer, or says what must be
//! looked up on the chain first. [`Coordinator::tick`] does what time demands and says what to
//! submit. The shell ([`crate::run`]) does the rest.

use std::collections::BTreeSet;

use ai_link_registry::Grant;
use ai_link_wire::{
    AccountId, ControlRequest, ControlResponse, CoordinatorInfo, Heartbeat, Identity, JobFailure,
    JobId, ModelName, ModelVersion, PeerKey, Refusal, Signed, UnixMillis, WorkerRecord,
};
use sha2::{Digest as _, Sha256};

use crate::ledger::{Draft, FailureNote, Ledger, LedgerError, Phase, Store, StoreError};
use crate::policy::Policy;
use crate::roster::Roster;
use crate::settlement;
use crate::tally::{Lost, Tally};
use crate::view::{BondedWorker, ChainView, ClientFunds, PublishedModel};

mod decisions;
mod delivery;
mod explain;
mod holders;
mod hosts;
mod matched;
mod proofs;
mod refusal;
mod snapshot;
mod submission;

pub use proofs::Refutation;
use refusal::{by_ledger, by_roster, by_signature};

/// The coordinator's state machine over some ledger storage.
#[derive(Debug)]
pub struct Coordinator<S> {
    identity: Identity,
    policy: Policy,
    /// Keys the draws of the ranking, so that clients cannot foresee them.
    chance: [u8; 32],
    view: ChainView,
    roster: Roster,
    ledger: Ledger<S>,
    submissions: submission::Submissions,
    decisions: decisions::Decisions,
    tally: Tally,
}

/// What to do with a message.
#[derive(Debug)]
pub enum Reaction {
    /// Send this answer.
    Reply(ControlResponse),
    /// Look this up on the chain, give it to [`Coordinator::learn`], note it in [`LookedUp`], and
    /// handle the message again.
    LookUp(Wanted),
}

/// Something on the chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// What a client has.
    Client(AccountId),
    /// A model, with the version named or else its latest.
    Model(ModelName, Option<ModelVersion>),
    /// A worker's binding.
    Worker(PeerKey),
    /// A client's grant for a model.
    Grant(ModelName, AccountId),
}

/// What has been looked up for the message at hand. Nothing is looked up twice, so a message takes
/// four rounds at most.
#[derive(Clone, Debug, Default)]
pub struct LookedUp(Vec<Wanted>);

/// An answer of the chain.
#[derive(Clone, Debug)]
pub enum Fact {
    /// What a client has.
    Client(AccountId, ClientFunds),
    /// A model that exists.
    Model(ModelName, PublishedModel),
    /// A worker's binding; `None`: it has none.
    Worker(PeerKey, Option<BondedWorker>),
    /// A client's grant for a model; `None`: it has none.
    Grant(ModelName, AccountId, Option<Grant>),
}

/// Everything the coordinator follows on the chain, read in the order of the fields.
#[derive(Clone, Debug, Default)]
pub struct ChainReading {
    /// The last epoch this coordinator has settled; read first.
    pub last_epoch: u64,
    /// All bonded workers.
    pub workers: Vec<(PeerKey, BondedWorker)>,
    /// All published models.
    pub models: Vec<(ModelName, PublishedModel)>,
    /// The funds of [`Coordinator::clients`], each `settled` before its `escrow`.
    pub clients: Vec<(AccountId, ClientFunds)>,
}

/// What the shell has to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Submit this batch and report to [`Coordinator::submitted`].
    Submit(Draft),
}

impl<S: Store> Coordinator<S> {
    /// A coordinator that continues the ledger in `store`. `chance` is secret and random; it has no
    /// bearing on correctness.
    pub fn open(
        identity: Identity,
        policy: Policy,
        chance: [u8; 32],
        store: S,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            ledger: Ledger::open(store, policy.ledger)?,
            roster: Roster::new(policy.presence),
            view: ChainView::default(),
            submissions: submission::Submissions::new(policy.settlement.limits),
            decisions: decisions::Decisions::default(),
            tally: Tally::default(),
            identity,
            policy,
            chance,
        })
    }

    /// The coordinator's account.
    pub fn account(&self) -> AccountId {
        self.identity.account()
    }

    /// Answers `caller`, whose key the transport has authenticated.
    pub fn handle(
        &mut self,
        caller: PeerKey,
        request: &ControlRequest,
        looked_up: &LookedUp,
        now: UnixMillis,
    ) -> Reaction {
        let answer = match request {
            ControlRequest::Register(record) => self.register(caller, record, looked_up, now),
            ControlRequest::Heartbeat(heartbeat) => self.heartbeat(caller, heartbeat, now),
            ControlRequest::Match(request) => self.matched(request, looked_up, now),
            ControlRequest::Complete {
                receipt,
                voucher,
                acceptance,
            } => self.complete(receipt, voucher, *acceptance, looked_up, now),
            ControlRequest::Fail(failure) => self.fail(failure, now),
            ControlRequest::Job(job) => self.job(caller, job),
            ControlRequest::Info => self.info(caller, looked_up, now),
            ControlRequest::Hosts(request) => self.hosts(caller, request, looked_up, now),
            ControlRequest::Holders(held) => self.holders(caller, held, now),
            ControlRequest::Explain(job) => self.explain(caller, *job),
            ControlRequest::Quote(request) => self.quoted(caller, request, looked_up, now),
            ControlRequest::Proof(job) => self.proof(caller, job),
            ControlRequest::Unsettled => Ok(self.unsettled(caller)),
            ControlRequest::Accepted(_) => {
                Err(Refusal::malformed("this is a coordinator; tell the workers").into())
            }
        };
        let response = match answer {
            Ok(response) => response,
            Err(Stop::Refuse(refusal)) => ControlResponse::Refused(refusal),
            Err(Stop::LookUp(wanted)) => return Reaction::LookUp(wanted),
        };
        self.tally.answered(request, &response);
        Reaction::Reply(response)
    }

    /// Takes an answer of the chain.
    pub fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Client(client, funds) => self.view.put_client(client, funds),
            Fact::Model(name, model) => self.view.put_model(name, model),
            Fact::Worker(peer, worker) => self.view.put_worker(peer, worker),
            Fact::Grant(model, client, grant) => self.view.put_grant(model, client, grant),
        }
    }

    /// Takes a reading of the whole chain, and marks what the chain has paid. Gives the jobs paid.
    pub fn refresh(&mut self, reading: ChainReading) -> Result<Vec<JobId>, LedgerError> {
        let ChainReading {
            last_epoch,
            workers,
            models,
            clients,
        } = reading;
        self.view.put_last_epoch(last_epoch);
        self.view.put_workers(workers);
        for (name, model) in models {
            self.view.put_model(name, model);
        }
        for (client, funds) in clients {
            self.view.put_client(client, funds);
        }
        let ledger = &self.ledger;
        self.view.age_clients(|client| ledger.has_client(client));
        self.ledger.reconcile(&self.view)
    }

    /// Clients whose funds a [`ChainReading`] must include.
    pub fn clients(&self) -> Vec<AccountId> {
        self.ledger.clients().collect()
    }

    /// Model versions known: they never change, so they need not be read again.
    pub fn known_versions(&self) -> BTreeSet<(ModelName, ModelVersion)> {
        self.view
            .models()
            .flat_map(|(name, model)| model.versions.keys().map(|v| (name.clone(), *v)))
            .collect()
    }

    /// What is known of the chain.
    pub fn view(&self) -> &ChainView {
        &self.view
    }

    /// The job ledger.
    pub fn ledger(&self) -> &Ledger<S> {
        &self.ledger
    }

    /// What was counted since the start.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The registered workers.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Does what is due: releases reserves of jobs that were not delivered, and makes or repeats a
    /// settlement batch. Call it about once a second, after [`Coordinator::refresh`].
    pub fn tick(&mut self, now: UnixMillis) -> Result<Vec<Effect>, TickError> {
        for (job, group) in self.ledger.expire(now)? {
            if let Some(entry) = self.ledger.job(&job)? {
                self.tally
                    .jobs
                    .end(entry.terms.level, Err(Lost::DeadlinePassed));
            }
            for peer in group {
                self.roster.released(&peer);
            }
        }
        Ok(self.next_submission(now)?.into_iter().collect())
    }

    fn register(
        &mut self,
        caller: PeerKey,
        signed: &Signed<WorkerRecord>,
        looked_up: &LookedUp,
        now: UnixMillis,
    ) -> Result<ControlResponse, Stop> {
        let record = signed.verify(now).map_err(by_signature)?;
        if signed.signer() != record.peer || caller != record.peer {
            return Err(Refusal::WrongSigner.into());
        }
        if record.addresses.is_empty() {
            return Err(Refusal::malformed("a worker needs at least one address").into());
        }
        let bound = self.view.worker(&record.peer).map(|bonded| bonded.operator);
        if bound != Some(record.operator) {
            looked_up.require(Wanted::Worker(record.peer))?;
            return Err(Refusal::NotRegisteredOnChain.into());
        }
        self.roster
            .register(record.clone(), signed.issued_at(), signed.expires_at(), now)
            .map_err(by_roster)?;
        let every = self.policy.presence.heartbeat_every.as_millis();
        Ok(ControlResponse::Registered {
            heartbeat_every_ms: u32::try_from(every).unwrap_or(u32::MAX),
        })
    }

    fn heartbeat(
        &mut self,
        caller: PeerKey,
        signed: &Signed<Heartbeat>,
        now: UnixMillis,
    ) -> Result<ControlResponse, Stop> {
        let heartbeat = signed.verify(now).map_err(by_signature)?;
        if signed.signer() != heartbeat.peer || caller != heartbeat.peer {
            return Err(Refusal::WrongSigner.into());
        }
        self.roster
            .heartbeat(heartbeat, signed.issued_at(), now)
            .map_err(by_roster)?;
        Ok(ControlResponse::HeartbeatOk)
    }

    fn fail(
        &mut self,
        signed: &Signed<JobFailure>,
        now: UnixMillis,
    ) -> Result<ControlResponse, Stop> {
        let failure = signed.verify(now).map_err(by_signature)?;
        if signed.signer().account() != failure.client {
            return Err(Refusal::WrongSigner.into());
        }
        if let FailureNote::New { group } = self.ledger.fail(failure).map_err(by_ledger)? {
            for peer in group {
                self.roster.released(&peer);
            }
            let entry = self.ledger.job(&failure.job).map_err(by_ledger)?;
            if let Some(entry) = entry
                && let Phase::Refunded { cause } = entry.phase
            {
                self.tally.jobs.end(entry.terms.level, Err(cause.into()));
            }
        }
        Ok(ControlResponse::FailureNoted)
    }

    fn job(&self, caller: PeerKey, job: &JobId) -> Result<ControlResponse, Stop> {
        let entry = self.ledger.job(job).map_err(by_ledger)?;
        // Who asked for what is nobody else's business.
        let own = entry.filter(|entry| entry.client == caller.account());
        Ok(ControlResponse::Job(own.map(|entry| entry.status())))
    }

    fn info(
        &self,
        caller: PeerKey,
        looked_up: &LookedUp,
        now: UnixMillis,
    ) -> Result<ControlResponse, Stop> {
        let client = caller.account();
        let funds = self.funds(&client, looked_up)?;
        let voucher_cumulative = self.ledger.promised(&client, funds).map_err(by_ledger)?;
        Ok(ControlResponse::Info(CoordinatorInfo {
            account: self.account(),
            fee: self.policy.fee,
            voucher_cumulative,
            voucher: self.ledger.newest_voucher(&client).map_err(by_ledger)?,
            workers: u32::try_from(self.roster.fresh(now)).unwrap_or(u32::MAX),
        }))
    }

    fn funds(&self, client: &AccountId, looked_up: &LookedUp) -> Result<ClientFunds, Stop> {
        if let Some(funds) = self.view.client(client) {
            return Ok(funds);
        }
        looked_up.require(Wanted::Client(*client))?;
        // Looked up, and still unknown: the chain did not answer.
        Err(Refusal::Busy {
            retry_after_ms: CHAIN_RETRY_MS,
        }
        .into())
    }

    /// Decides ties and exploration for one attempt; the same for a repeated message.
    fn draw(&self, job: &JobId, attempt: u32) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.chance)
            .chain_update(job.0)
            .chain_update(attempt.to_le_bytes())
            .finalize()
            .into()
    }
}

/// When to ask again while the chain cannot be read.
const CHAIN_RETRY_MS: u32 = 1000;

/// Why a tick did not finish.
#[derive(Debug, thiserror::Error)]
pub enum TickError {
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
    /// A batch does not add up, so it was not submitted.
    #[error("the settlement batch does not add up")]
    Batch(#[from] settlement::BatchError),
}

/// Why a message has no positive answer (yet).
enum Stop {
    Refuse(Refusal),
    LookUp(Wanted),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl LookedUp {
    /// Notes that something was looked up.
    pub fn note(&mut self, wanted: Wanted) {
        self.0.push(wanted);
    }

    /// Passes when this was looked up already, else asks for it.
    fn require(&self, wanted: Wanted) -> Result<(), Stop> {
        if self.0.contains(&wanted) {
            Ok(())
        } else {
            Err(Stop::LookUp(wanted))
        }
    }
}
