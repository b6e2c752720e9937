//! The job ledger: what was accepted, delivered and paid.
//!
//! ```text
//!              Complete                 the chain's cumulative
//! Accepted ──────────────▶ Completed ─── amount covers it ─────▶ Settled
//!    │                        ▲
//!    │ deadline + grace       │ late, but countersigned, and the escrow still covers it
//!    └──────▶ Refunded ───────┘
//! ```
//!
//! * Every change is one durable transaction *before* the answer is sent. A change that was answered
//!   survives `kill -9`; one that was not answered may be repeated, with the same result.
//! * While a job is open its price is reserved: what a client may still spend is
//!   [`Ledger::available`]. A client can therefore not be matched for more than it can pay.
//! * A job is paid at most once, whatever number of attempts delivered: the first countersigned
//!   receipt makes the delivery, later ones are answered as repeated.
//! * A job is `Settled` on one kind of evidence only: the chain's own cumulative amount of the
//!   client's vouchers has reached that job's voucher. Whether a submission "worked" is never
//!   guessed, so a crash around it cannot pay anything twice.
//! * What is under the root of a settled epoch is kept: a coordinator that cannot show a job answers for it.
//! * Job ids and attempt numbers are used once. Entries are never deleted.

use ai_link_wire::{
    AccountId, JobFailure, JobId, JobReceipt, JobRequest, PeerKey, Planck, Signed, Ticket,
    UnixMillis, VerifiedReceipt, Voucher,
};

use crate::policy::LedgerLimits;
use crate::view::{ChainView, ClientFunds};

mod disk;
mod entry;
mod error;
mod history;
mod index;
mod memory;
mod status;
mod store;

pub use disk::DiskStore;
pub use entry::{
    AttemptEntry, AttemptPhase, ClientEntry, Delivery, Draft, Earned, EpochEntry, JobEntry,
    PaidEpoch, Payment, Phase, RefundCause, Terms, TrackRecord,
};
pub use error::LedgerError;
pub use index::Unsettled;
pub use memory::MemoryStore;
pub use store::{Store, StoreError, Write};

use history::{History, RECENT_EPOCHS};
use index::Index;

/// Entries written in one transaction when many are due at once.
const CHUNK: usize = 256;

/// The job ledger over some storage.
#[derive(Debug)]
pub struct Ledger<S> {
    store: S,
    limits: LedgerLimits,
    index: Index,
    history: History,
    state: State,
}

/// What stands in the way of a match.
#[derive(Clone, Debug)]
pub enum Admission {
    /// This very attempt was matched before: the same ticket again.
    Known(Box<Signed<Ticket>>),
    /// A new attempt.
    New {
        /// Workers whom the client named for the failure of earlier attempts.
        culprits: Vec<PeerKey>,
    },
}

/// A matched attempt to be recorded.
#[derive(Clone, Debug)]
pub struct NewAttempt<'a> {
    /// What the client asked for.
    pub request: &'a JobRequest,
    /// The ticket, signed.
    pub ticket: Signed<Ticket>,
    /// The ticket's price.
    pub price: Planck,
    /// The ticket's group.
    pub group: Vec<PeerKey>,
    /// When the reserve is released if nothing is delivered.
    pub release_at: UnixMillis,
}

/// What a receipt changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The job is delivered now.
    New {
        /// The workers that delivered.
        group: Vec<PeerKey>,
    },
    /// It was delivered before; nothing changed.
    Repeated,
}

/// What a failure report changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureNote {
    /// Noted now.
    New {
        /// The workers of the attempt.
        group: Vec<PeerKey>,
    },
    /// It was noted before; nothing changed.
    Repeated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Stopped,
}

impl<S: Store> Ledger<S> {
    /// Opens the ledger on `store` and reads its live part.
    pub fn open(store: S, limits: LedgerLimits) -> Result<Self, StoreError> {
        let mut index = Index::default();
        for entry in store.live_jobs()? {
            index.replace(None, &entry);
        }
        let history = History::new(store.earnings()?, store.paid_epochs(RECENT_EPOCHS)?);
        Ok(Self {
            store,
            limits,
            index,
            history,
            state: State::Running,
        })
    }

    /// What a client may still spend: its escrow less what is reserved for open jobs, less what it
    /// has promised and the chain has not taken yet.
    pub fn available(&self, client: &AccountId, funds: ClientFunds) -> Result<Planck, LedgerError> {
        self.unbound(client, funds, Planck::ZERO)
    }

    /// The client's newest voucher, which it may have forgotten.
    pub fn newest_voucher(&self, client: &AccountId) -> Result<Option<Voucher>, LedgerError> {
        Ok(self.store.client(client)?.map(|entry| entry.voucher))
    }

    /// The cumulative amount of the client's newest voucher: what the next one adds to.
    pub fn promised(&self, client: &AccountId, funds: ClientFunds) -> Result<Planck, LedgerError> {
        let held = self
            .store
            .client(client)?
            .map(|entry| entry.voucher.cumulative);
        // The chain may be ahead of a ledger that was restored from an old copy, never behind what
        // it has taken.
        Ok(held.unwrap_or_default().max(funds.settled))
    }

    /// Whether this attempt may be matched, or was already.
    pub fn admit(&self, request: &JobRequest) -> Result<Admission, LedgerError> {
        self.running()?;
        let Some(entry) = self.store.job(&request.job)? else {
            self.room_for(&request.client)?;
            return Ok(Admission::New {
                culprits: Vec::new(),
            });
        };
        if entry.client != request.client {
            return Err(LedgerError::JobIdTaken);
        }
        if entry.terms != Terms::of(request) {
            return Err(LedgerError::OtherTerms);
        }
        if entry.phase != Phase::Accepted {
            return Err(LedgerError::WrongPhase { phase: entry.phase });
        }
        if let Some(known) = entry.attempt(request.attempt) {
            return match known.phase {
                AttemptPhase::Open => Ok(Admission::Known(Box::new(known.ticket.clone()))),
                _ => Err(used_up(&entry, request.attempt)),
            };
        }
        if entry
            .attempts
            .iter()
            .any(|known| known.attempt > request.attempt)
        {
            return Err(used_up(&entry, request.attempt));
        }
        let limit = self.limits.max_attempts;
        if entry.attempts.len() >= limit as usize {
            return Err(LedgerError::TooManyAttempts { limit });
        }
        Ok(Admission::New {
            culprits: entry.culprits(),
        })
    }

    /// Records a matched attempt and reserves its price.
    pub fn accept(
        &mut self,
        new: NewAttempt<'_>,
        funds: ClientFunds,
        now: UnixMillis,
    ) -> Result<(), LedgerError> {
        let NewAttempt {
            request,
            ticket,
            price,
            group,
            release_at,
        } = new;
        match self.admit(request)? {
            Admission::New { .. } => {}
            Admission::Known(_) => {
                return Err(LedgerError::AttemptUsedUp {
                    attempt: request.attempt,
                    latest: request.attempt,
                });
            }
        }
        let old = self.store.job(&request.job)?;
        let reserved = old.as_ref().map(|entry| entry.price).unwrap_or_default();
        self.covered(&request.client, funds, price, reserved)?;

        let mut entry = old.clone().unwrap_or_else(|| JobEntry {
            job: request.job,
            client: request.client,
            terms: Terms::of(request),
            attempts: Vec::new(),
            phase: Phase::Accepted,
            price,
            release_at,
            delivery: None,
        });
        supersede_open(&mut entry);
        entry.attempts.push(AttemptEntry {
            attempt: request.attempt,
            ticket,
            group,
            price,
            matched_at: now,
            phase: AttemptPhase::Open,
        });
        entry.price = price;
        entry.release_at = entry.release_at.max(release_at);
        self.put(old.as_ref(), entry, Vec::new())
    }

    /// Records a delivery: the receipt was checked, and the voucher is signed by the job's client
    /// for this coordinator.
    pub fn complete(
        &mut self,
        receipt: Signed<JobReceipt>,
        verified: &VerifiedReceipt,
        payment: Payment,
        funds: ClientFunds,
        now: UnixMillis,
    ) -> Result<Completion, LedgerError> {
        self.running()?;
        let Payment {
            voucher,
            acceptance,
            settle_by,
        } = payment;
        let ticket = verified.ticket();
        let old = self
            .store
            .job(&ticket.job)?
            .ok_or(LedgerError::UnknownJob)?;
        if old.client != ticket.client {
            return Err(LedgerError::UnknownJob);
        }
        if old.delivery.is_some() {
            return Ok(Completion::Repeated);
        }
        let mut entry = old.clone();
        let reserved = match entry.phase {
            Phase::Accepted => entry.price,
            _ => Planck::ZERO,
        };
        let attempt = entry
            .attempt_mut(ticket.attempt)
            .ok_or(LedgerError::UnknownJob)?;
        if attempt.ticket.digest() != verified.ticket_digest() {
            return Err(LedgerError::TicketMismatch);
        }
        if matches!(attempt.phase, AttemptPhase::Failed { .. }) {
            return Err(LedgerError::AttemptFailed);
        }
        let price = verified.price();
        let expected = self
            .promised(&entry.client, funds)?
            .checked_add(price)
            .ok_or(LedgerError::Overflow)?;
        if voucher.cumulative != expected {
            return Err(LedgerError::VoucherMismatch {
                expected,
                got: voucher.cumulative,
            });
        }
        if price > reserved {
            self.covered(&entry.client, funds, price, reserved)?;
        }
        let attempt = entry
            .attempt_mut(ticket.attempt)
            .ok_or(LedgerError::UnknownJob)?;
        attempt.phase = AttemptPhase::Completed;
        let group = attempt.group.clone();
        entry.phase = Phase::Completed;
        entry.delivery = Some(Delivery {
            attempt: ticket.attempt,
            receipt,
            voucher,
            acceptance,
            terms: ticket.terms().id(),
            settle_by,
            payouts: ticket.payouts.clone(),
            price,
            sequence: self.index.next_sequence(),
            at: now,
        });

        supersede_open(&mut entry);

        let mut writes = vec![Write::Client(entry.client, ClientEntry { voucher })];
        for peer in &group {
            let mut track = self.track(peer)?;
            track.delivered = track.delivered.saturating_add(1);
            writes.push(Write::Track(*peer, track));
        }
        self.put(Some(&old), entry, writes)?;
        Ok(Completion::New { group })
    }

    /// Notes that an attempt failed. Only members of its group can be culprits.
    pub fn fail(&mut self, failure: &JobFailure) -> Result<FailureNote, LedgerError> {
        self.running()?;
        let old = self
            .store
            .job(&failure.job)?
            .ok_or(LedgerError::UnknownJob)?;
        if old.client != failure.client {
            return Err(LedgerError::UnknownJob);
        }
        let mut entry = old.clone();
        let attempt = entry
            .attempt_mut(failure.attempt)
            .ok_or(LedgerError::UnknownJob)?;
        if matches!(attempt.phase, AttemptPhase::Failed { .. }) {
            return Ok(FailureNote::Repeated);
        }
        if old.phase != Phase::Accepted {
            return Err(LedgerError::WrongPhase { phase: old.phase });
        }
        let mut culprits = failure.culprits.clone();
        culprits.retain(|peer| attempt.group.contains(peer));
        culprits.sort_unstable();
        culprits.dedup();
        let group = attempt.group.clone();
        attempt.phase = AttemptPhase::Failed {
            culprits: culprits.clone(),
            reason: failure.reason.clone(),
        };

        let all_failed = entry.attempts.len() >= self.limits.max_attempts as usize
            && entry
                .attempts
                .iter()
                .all(|a| matches!(a.phase, AttemptPhase::Failed { .. }));
        if all_failed {
            entry.phase = Phase::Refunded {
                cause: RefundCause::AttemptsExhausted,
            };
        }
        let mut writes = Vec::new();
        for peer in culprits {
            let mut track = self.track(&peer)?;
            track.failed = track.failed.saturating_add(1);
            writes.push(Write::Track(peer, track));
        }
        self.put(Some(&old), entry, writes)?;
        Ok(FailureNote::New { group })
    }

    /// Releases the reserves of open jobs whose deadline and grace have passed. Gives the jobs with
    /// the groups of their latest attempts.
    pub fn expire(&mut self, now: UnixMillis) -> Result<Vec<(JobId, Vec<PeerKey>)>, LedgerError> {
        let due: Vec<JobId> = self.index.due(now).collect();
        let mut expired = Vec::with_capacity(due.len());
        for chunk in due.chunks(CHUNK) {
            let mut changes = Vec::with_capacity(chunk.len());
            for job in chunk {
                let old = self.store.job(job)?.ok_or(LedgerError::UnknownJob)?;
                let mut entry = old.clone();
                entry.phase = Phase::Refunded {
                    cause: RefundCause::DeadlinePassed,
                };
                let group = entry
                    .attempts
                    .last()
                    .filter(|attempt| attempt.phase == AttemptPhase::Open)
                    .map(|attempt| attempt.group.clone());
                expired.push((*job, group.unwrap_or_default()));
                changes.push((old, entry));
            }
            self.put_all(changes, Vec::new())?;
        }
        Ok(expired)
    }

    /// Compares with the chain: marks what it has paid, and drops a settlement batch whose epoch
    /// is over. The view's last epoch must have been read before the clients' amounts.
    pub fn reconcile(&mut self, view: &ChainView) -> Result<Vec<JobId>, LedgerError> {
        self.running()?;
        let draft = self.store.draft()?;
        let paid: Vec<JobId> = self
            .index
            .unsettled()
            .filter(|unsettled| {
                view.client(&unsettled.client)
                    .is_some_and(|funds| unsettled.voucher.cumulative <= funds.settled)
            })
            .map(|unsettled| unsettled.job)
            .collect();
        for chunk in paid.chunks(CHUNK) {
            let mut changes = Vec::with_capacity(chunk.len());
            for job in chunk {
                let old = self.store.job(job)?.ok_or(LedgerError::UnknownJob)?;
                let mut entry = old.clone();
                let epoch = match &draft {
                    Some(draft) if draft.jobs.contains(job) => draft.epoch,
                    _ => view.last_epoch(),
                };
                entry.phase = Phase::Settled { epoch };
                changes.push((old, entry));
            }
            let after = self.history.with_paid(changes.iter().map(|(_, new)| new));
            self.put_all(changes, after.writes())?;
            self.history.apply(after);
        }
        if let Some(Draft { epoch, leaves, .. }) =
            draft.filter(|draft| draft.epoch <= view.last_epoch())
        {
            let settled = Write::Epoch(epoch, Box::new(EpochEntry { leaves }));
            self.commit(&[settled, Write::Draft(None)])?;
        }
        Ok(paid)
    }

    /// Stores a settlement batch before it is submitted.
    pub fn save_draft(&mut self, draft: Draft) -> Result<(), LedgerError> {
        self.commit(&[Write::Draft(Some(Box::new(draft)))])
    }

    /// Drops the settlement batch: the chain has refused it.
    pub fn drop_draft(&mut self) -> Result<(), LedgerError> {
        self.commit(&[Write::Draft(None)])
    }

    /// The settlement batch under way.
    pub fn draft(&self) -> Result<Option<Draft>, LedgerError> {
        Ok(self.store.draft()?)
    }

    /// What is under the root of a settled epoch.
    pub fn epoch(&self, epoch: u64) -> Result<Option<EpochEntry>, LedgerError> {
        Ok(self.store.epoch(epoch)?)
    }

    /// Jobs that wait for settlement, in the order of their delivery.
    pub fn unsettled(&self) -> impl ExactSizeIterator<Item = &Unsettled> {
        self.index.unsettled()
    }

    /// What each account was paid, in the order of their keys.
    pub fn earnings(&self) -> impl Iterator<Item = (&AccountId, &Earned)> {
        self.history.earnings()
    }

    /// The latest epochs, oldest first: at most 64.
    pub fn epochs(&self) -> impl Iterator<Item = &PaidEpoch> {
        self.history.epochs()
    }

    /// Open and unsettled jobs.
    pub fn live(&self) -> u32 {
        self.index.live()
    }

    /// What is reserved for a client's open jobs.
    pub fn reserved(&self, client: &AccountId) -> Planck {
        self.index.reserved(client)
    }

    /// Clients with open or unsettled jobs: those whose funds on chain matter.
    pub fn clients(&self) -> impl Iterator<Item = AccountId> {
        self.index.clients()
    }

    /// Whether a client has open or unsettled jobs.
    pub fn has_client(&self, client: &AccountId) -> bool {
        self.index.has_client(client)
    }

    /// How a worker's jobs went.
    pub fn track(&self, peer: &PeerKey) -> Result<TrackRecord, LedgerError> {
        Ok(self.store.track(peer)?.unwrap_or_default())
    }

    /// A job, live or closed.
    pub fn job(&self, job: &JobId) -> Result<Option<JobEntry>, LedgerError> {
        Ok(self.store.job(job)?)
    }

    fn running(&self) -> Result<(), LedgerError> {
        match self.state {
            State::Running => Ok(()),
            State::Stopped => Err(LedgerError::Stopped),
        }
    }

    fn room_for(&self, client: &AccountId) -> Result<(), LedgerError> {
        let counts = [
            (self.index.live_of(client), self.limits.max_live_per_client),
            (self.index.live(), self.limits.max_live),
        ];
        match counts.into_iter().find(|(open, limit)| open >= limit) {
            Some((open, limit)) => Err(LedgerError::TooManyJobs { open, limit }),
            None => Ok(()),
        }
    }

    /// Whether the client can pay `price`, of which `reserved` is reserved already.
    fn covered(
        &self,
        client: &AccountId,
        funds: ClientFunds,
        price: Planck,
        reserved: Planck,
    ) -> Result<(), LedgerError> {
        let have = self.unbound(client, funds, reserved)?;
        if have < price {
            return Err(LedgerError::InsufficientEscrow { have, need: price });
        }
        Ok(())
    }

    /// What a client may spend when `own` of what is reserved counts as free.
    fn unbound(
        &self,
        client: &AccountId,
        funds: ClientFunds,
        own: Planck,
    ) -> Result<Planck, LedgerError> {
        let promised = self.promised(client, funds)?.0 - funds.settled.0;
        let reserved = self.index.reserved(client).0.saturating_sub(own.0);
        let bound = reserved.saturating_add(promised);
        Ok(Planck(funds.escrow.0.saturating_sub(bound)))
    }

    fn put(
        &mut self,
        old: Option<&JobEntry>,
        entry: JobEntry,
        mut writes: Vec<Write>,
    ) -> Result<(), LedgerError> {
        writes.push(Write::Job(Box::new(entry.clone())));
        self.commit(&writes)?;
        self.index.replace(old, &entry);
        Ok(())
    }

    fn put_all(
        &mut self,
        changes: Vec<(JobEntry, JobEntry)>,
        mut writes: Vec<Write>,
    ) -> Result<(), LedgerError> {
        writes.extend(
            changes
                .iter()
                .map(|(_, entry)| Write::Job(Box::new(entry.clone()))),
        );
        self.commit(&writes)?;
        for (old, entry) in &changes {
            self.index.replace(Some(old), entry);
        }
        Ok(())
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), LedgerError> {
        self.running()?;
        self.store.commit(writes).map_err(|error| {
            self.state = State::Stopped;
            LedgerError::Store(error)
        })
    }
}

fn supersede_open(entry: &mut JobEntry) {
    for attempt in &mut entry.attempts {
        if attempt.phase == AttemptPhase::Open {
            attempt.phase = AttemptPhase::Superseded;
        }
    }
}

fn used_up(entry: &JobEntry, attempt: u32) -> LedgerError {
    let latest = entry.attempts.last().map_or(attempt, |last| last.attempt);
    LedgerError::AttemptUsedUp { attempt, latest }
}
