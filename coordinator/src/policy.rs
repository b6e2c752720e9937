//! The numbers that shape the coordinator's decisions.

use std::time::Duration;

use ai_link_wire::Planck;

use crate::matching::rank::Weights;

/// What the coordinator asks of workers and grants to clients. All limits are finite.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The coordinator's own share of every job.
    pub fee: Planck,
    /// A worker with less at stake on chain is not matched.
    pub minimum_bond: Planck,
    /// Most records in one job.
    pub max_batch: u32,
    /// How long a job may at most take from its match to its deadline.
    pub max_job_time: Duration,
    /// How long after its deadline a job's receipt is still expected. Then the reserve is released.
    pub grace: Duration,
    /// Roster: how workers prove that they are alive, and how many are remembered.
    pub presence: PresencePolicy,
    /// Ledger: how many jobs may be open.
    pub ledger: LedgerLimits,
    /// Settlement: when a batch is made and how large it may be.
    pub settlement: SettlementPolicy,
    /// How candidates are ranked.
    pub weights: Weights,
    /// Of 1000 matches, how many ignore the ranking, so that new workers get a chance to show
    /// what they can do.
    pub exploration_per_mille: u16,
}

/// Heartbeats and the size of the roster.
#[derive(Clone, Copy, Debug)]
pub struct PresencePolicy {
    /// What workers are asked to keep to.
    pub heartbeat_every: Duration,
    /// Silence after which a worker gets no new jobs.
    pub stale_after: Duration,
    /// Silence after which its place in a full roster may be given away.
    pub gone_after: Duration,
    /// Most workers remembered.
    pub max_workers: u32,
}

/// Bounds of the ledger's live part.
#[derive(Clone, Copy, Debug)]
pub struct LedgerLimits {
    /// Open and unsettled jobs of one client.
    pub max_live_per_client: u32,
    /// Open and unsettled jobs in all.
    pub max_live: u32,
    /// Attempts of one job.
    pub max_attempts: u32,
}

/// When settlement batches are made.
#[derive(Clone, Copy, Debug)]
pub struct SettlementPolicy {
    /// The longest a completed job waits before a batch is made.
    pub interval: Duration,
    /// A batch is made at once when this many jobs wait.
    pub jobs: u32,
    /// Until when a delivered job is settled, as the coordinator signs it to those whom the job pays: later it
    /// answers with its bond.
    pub promised_within: Duration,
    /// How long to wait before a batch that could not be submitted is tried again.
    pub retry_after: Duration,
    /// Bounds of one batch, as the chain has them.
    pub limits: BatchLimits,
}

/// Bounds of one settlement batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Most jobs. Whom an epoch pays too little shows it with all of its jobs, and the chain takes 256 in one proof.
    pub jobs: usize,
    /// Most vouchers, one a client (the chain's bound).
    pub vouchers: usize,
    /// Most accounts paid (the chain's bound).
    pub payouts: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            fee: Planck(1_000_000),
            minimum_bond: Planck(0),
            max_batch: 4096,
            max_job_time: Duration::from_secs(15 * 60),
            grace: Duration::from_secs(30),
            presence: PresencePolicy::default(),
            ledger: LedgerLimits::default(),
            settlement: SettlementPolicy::default(),
            weights: Weights::default(),
            exploration_per_mille: 50,
        }
    }
}

impl Default for PresencePolicy {
    fn default() -> Self {
        Self {
            heartbeat_every: Duration::from_secs(2),
            stale_after: Duration::from_secs(7),
            gone_after: Duration::from_secs(60),
            max_workers: 4096,
        }
    }
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self {
            max_live_per_client: 256,
            max_live: 16_384,
            max_attempts: 8,
        }
    }
}

impl Default for SettlementPolicy {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            jobs: 128,
            promised_within: Duration::from_secs(60 * 60),
            retry_after: Duration::from_secs(2),
            limits: BatchLimits::default(),
        }
    }
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            jobs: 256,
            vouchers: 256,
            payouts: 1024,
        }
    }
}
