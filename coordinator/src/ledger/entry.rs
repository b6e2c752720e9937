//! What the ledger stores.

use ai_link_wire::{
    AccountId, DealerSeat, Digest, JobId, JobReceipt, JobRequest, Leaf, Level, ModelName,
    ModelVersion, Payout, PeerKey, Planck, SignatureBytes, Signed, Ticket, UnixMillis, Voucher,
};
use serde::{Deserialize, Serialize};

/// A job with all its attempts. Never deleted: its id and those of its attempts are used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEntry {
    /// The job.
    pub job: JobId,
    /// Who pays.
    pub client: AccountId,
    /// What was asked for. Every attempt asks for the same.
    pub terms: Terms,
    /// All attempts, in ascending order of their numbers. Never empty.
    pub attempts: Vec<AttemptEntry>,
    /// Where the job stands.
    pub phase: Phase,
    /// Price of the newest attempt: what is reserved while the job is open.
    pub price: Planck,
    /// When an open job's reserve is released: the newest attempt's deadline plus grace.
    pub release_at: UnixMillis,
    /// The delivery that is paid for.
    pub delivery: Option<Delivery>,
}

/// What a job asks for, whoever carries it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The model.
    pub model: ModelName,
    /// The version asked for; `None`: the latest.
    pub version: Option<ModelVersion>,
    /// The privacy level.
    pub level: Level,
    /// Who deals.
    pub dealer: DealerSeat,
    /// How many evaluators.
    pub evaluators: u8,
    /// Records in the job.
    pub batch: u32,
}

/// One attempt at a job: one ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptEntry {
    /// Its number, unique within the job.
    pub attempt: u32,
    /// The ticket as it was signed: asking again for the same attempt gives this very one.
    pub ticket: Signed<Ticket>,
    /// The group, in the order of the ticket.
    pub group: Vec<PeerKey>,
    /// Its price.
    pub price: Planck,
    /// When its ticket was made.
    pub matched_at: UnixMillis,
    /// Where the attempt stands.
    pub phase: AttemptPhase,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Matched; its price is reserved.
    Accepted,
    /// Delivered and countersigned; waits for settlement.
    Completed,
    /// Paid on chain.
    Settled {
        /// The epoch that paid it.
        epoch: u64,
    },
    /// Not delivered; the reserve is released and the client owes nothing.
    Refunded {
        /// Why.
        cause: RefundCause,
    },
}

/// Why a job was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefundCause {
    /// The deadline and the grace passed without a receipt.
    DeadlinePassed,
    /// The last attempt allowed was reported as failed.
    AttemptsExhausted,
}

/// Where an attempt stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttemptPhase {
    /// Its ticket is out.
    Open,
    /// The client asked for another attempt. Should this one deliver after all, it is paid, unless
    /// another one was first.
    Superseded,
    /// Reported as failed: never paid.
    Failed {
        /// Members of the group whom the client holds responsible.
        culprits: Vec<PeerKey>,
        /// The client's words.
        reason: String,
    },
    /// This is the one that delivered.
    Completed,
}

/// The evidence that a job was delivered, and what it is paid by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The attempt that delivered.
    pub attempt: u32,
    /// Countersigned by the client.
    pub receipt: Signed<JobReceipt>,
    /// The client's cumulative promise up to and including this job.
    pub voucher: Voucher,
    /// The client's word that the voucher is for this job.
    pub acceptance: SignatureBytes,
    /// [`JobTerms::id`](ai_link_wire::JobTerms::id) of the ticket that was delivered.
    pub terms: Digest,
    /// Until when it is settled, as this coordinator promised.
    pub settle_by: UnixMillis,
    /// Who gets what; the sum is the price.
    pub payouts: Vec<Payout>,
    /// The price.
    pub price: Planck,
    /// Order of arrival over all jobs.
    pub sequence: u64,
    /// When it arrived.
    pub at: UnixMillis,
}

/// What pays for a delivered job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The client's new total.
    pub voucher: Voucher,
    /// The client's word that it is for this job.
    pub acceptance: SignatureBytes,
    /// Until when the job is settled.
    pub settle_by: UnixMillis,
}

/// A settled epoch: what is under its root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochEntry {
    /// Its jobs, in the order of the tree.
    pub leaves: Vec<Leaf>,
}

/// What is kept of a client for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientEntry {
    /// Its newest voucher: the largest cumulative amount.
    pub voucher: Voucher,
}

/// How a worker's jobs went, as its clients reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackRecord {
    /// Jobs delivered and countersigned.
    pub delivered: u64,
    /// Attempts for whose failure a client named it. A claim, not a proof: it lowers a rank and
    /// nothing else.
    pub failed: u64,
}

/// What an account was paid through this ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earned {
    /// For work: as dealer or evaluator.
    pub working: Planck,
    /// For models that it owns, or has a share of.
    pub owning: Planck,
    /// For matching jobs.
    pub coordinating: Planck,
}

/// What one epoch paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaidEpoch {
    /// Its number.
    pub epoch: u64,
    /// Jobs that it paid.
    pub jobs: u64,
    /// What clients paid for them.
    pub amount: Planck,
    /// When the last of them was delivered.
    pub delivered_until: UnixMillis,
}

impl Default for PaidEpoch {
    fn default() -> Self {
        Self {
            epoch: 0,
            jobs: 0,
            amount: Planck::ZERO,
            delivered_until: UnixMillis(0),
        }
    }
}

/// A settlement batch, stored before it is submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// The epoch it is meant for: one more than the chain's last. The chain takes each number once.
    pub epoch: u64,
    /// Merkle root over the receipts of `jobs`.
    pub receipts_root: Digest,
    /// The jobs, in the order of their completion.
    pub jobs: Vec<JobId>,
    /// The same jobs, as they are under the root.
    pub leaves: Vec<Leaf>,
    /// The newest voucher in the batch of each client.
    pub vouchers: Vec<Voucher>,
    /// Netted: one line an account, ascending, none of zero.
    pub payouts: Vec<(AccountId, Planck)>,
}

impl Terms {
    /// What `request` asks for.
    pub fn of(request: &JobRequest) -> Self {
        Self {
            model: request.model.clone(),
            version: request.version,
            level: request.level,
            dealer: request.dealer,
            evaluators: request.evaluators,
            batch: request.batch,
        }
    }
}

impl Delivery {
    /// The job `entry` as it is under the root of its epoch.
    pub fn leaf(&self, entry: &JobEntry) -> Leaf {
        Leaf {
            job: entry.job,
            terms: self.terms,
            receipt: self.receipt.digest(),
        }
    }
}

impl JobEntry {
    /// The attempt of this number.
    pub fn attempt(&self, attempt: u32) -> Option<&AttemptEntry> {
        self.attempts.iter().find(|entry| entry.attempt == attempt)
    }

    /// The attempt of this number, to change.
    pub(super) fn attempt_mut(&mut self, attempt: u32) -> Option<&mut AttemptEntry> {
        self.attempts
            .iter_mut()
            .find(|entry| entry.attempt == attempt)
    }

    /// Everyone whom the client named for the failure of an attempt.
    pub fn culprits(&self) -> Vec<PeerKey> {
        let mut culprits: Vec<_> = self
            .attempts
            .iter()
            .flat_map(|attempt| match &attempt.phase {
                AttemptPhase::Failed { culprits, .. } => culprits.as_slice(),
                _ => &[],
            })
            .copied()
            .collect();
        culprits.sort_unstable();
        culprits.dedup();
        culprits
    }
}

impl Phase {
    /// Whether money is reserved or owed for the job.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Accepted | Self::Completed)
    }
}
