//! What a coordinator's operator sees of it at one time: plain values, as JSON for the dashboard.
//!
//! Made by [`Coordinator::state`](crate::Coordinator::state) from what the core holds and how the node is connected. It says who
//! asked for which model, when and for how much, as the coordinator knows it; never a payload, which it never sees. Texts
//! that workers and owners chose are in it as they came, bounded by the records that carried them: whoever shows them
//! must escape them. Money is text with its unit, `0.002 AIL`: JSON numbers do not hold 128 bits.

use ai_link_observe::LatencySnapshot;
use ai_link_wire::{AccountId, JobId, Level, ModelName, ModelVersion, PeerKey, Planck, UnixMillis};
use serde::{Deserialize, Serialize};

/// Raised when fields change their meaning or go.
pub const STATE_FORMAT: u32 = 1;
/// Most workers in a state.
pub const MAX_WORKERS: usize = 512;
/// Most models in a state.
pub const MAX_MODELS: usize = 256;
/// Most accounts in a state.
pub const MAX_ACCOUNTS: usize = 256;
/// Most recent requests in a state.
pub const MAX_RECENT: usize = 48;

/// A coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// [`STATE_FORMAT`].
    pub format: u32,
    /// When it was looked at.
    pub at: UnixMillis,
    /// The coordinator itself.
    pub coordinator: CoordinatorState,
    /// Registered workers.
    pub workers: Listed<WorkerState>,
    /// Peers that are no registered workers, by how they are connected: applications mostly.
    pub others: Vec<LinkCount>,
    /// Jobs by level since the process started.
    pub levels: Vec<LevelState>,
    /// The latest requests for a group, newest first.
    pub recent: Vec<RecentState>,
    /// Models on the chain.
    pub models: Listed<ModelState>,
    /// Settled epochs, newest first.
    pub epochs: Vec<EpochState>,
    /// What accounts earned through this coordinator, most first.
    pub earnings: Listed<EarningState>,
}

/// The first of a list, and how many more there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed<T> {
    /// These.
    pub items: Vec<T>,
    /// How many are left out.
    pub unlisted: usize,
}

impl<T> Listed<T> {
    /// The first `most` of `all`.
    pub fn first(mut all: Vec<T>, most: usize) -> Self {
        let unlisted = all.len().saturating_sub(most);
        all.truncate(most);
        Self {
            items: all,
            unlisted,
        }
    }
}

/// The coordinator itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CoordinatorState {
    /// Its account.
    pub account: AccountId,
    /// Its software's version.
    pub version: String,
    /// What it takes for a job.
    pub fee: Planck,
    /// The last epoch that the chain has settled.
    pub epoch: u64,
    /// Jobs whose money is reserved or owed.
    pub live_jobs: u32,
    /// Delivered jobs that wait for settlement.
    pub unsettled_jobs: usize,
    /// Settlement batches submitted, settled, and not known to be since the process started.
    pub settlements: [u64; 3],
}

/// A registered worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerState {
    /// Its key.
    pub peer: PeerKey,
    /// Whose it is.
    pub operator: AccountId,
    /// Whether the chain knows it as that operator's.
    pub bond: Option<Planck>,
    /// How alive it looks.
    pub presence: WorkerPresence,
    /// Milliseconds since its last sign of life.
    pub silent_ms: u64,
    /// How this coordinator is connected with it, if it is.
    pub link: Option<LinkState>,
    /// Privacy levels that it serves.
    pub levels: Vec<Level>,
    /// `dealer`, `evaluator`.
    pub roles: Vec<String>,
    /// Where it says it is.
    pub regions: Vec<String>,
    /// Jobs it works on.
    pub active: u16,
    /// Jobs it takes at a time.
    pub capacity: u16,
    /// What it asks for a job.
    pub price: Planck,
    /// Its software, in its own words.
    pub software: String,
    /// Processor cores that it gives.
    pub cores: u16,
    /// Memory that it gives, in bytes.
    pub memory: u64,
    /// Models that it has ready.
    pub cached_models: usize,
    /// Sessions that it has material for, dealt ahead.
    pub pooled_sessions: u64,
    /// Private weights that it keeps a part of.
    pub hosted: usize,
    /// Jobs delivered, as clients countersigned.
    pub delivered: u64,
    /// Attempts for which a client named it.
    pub failed: u64,
}

/// How alive a worker looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerPresence {
    /// It may be matched.
    Fresh,
    /// Silent for longer than agreed.
    Stale,
    /// Silent for so long that its place may be given away.
    Gone,
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkState {
    /// How.
    pub path: LinkPath,
    /// `tcp`, `quic` or `other`.
    pub transport: LinkTransport,
    /// The last measured time there and back, in milliseconds.
    pub rtt_ms: Option<f64>,
}

/// How a peer is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkPath {
    /// From machine to machine.
    Direct,
    /// The same, through address translation on both sides.
    Punched,
    /// Through a relay.
    Relayed,
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkTransport {
    /// TCP.
    Tcp,
    /// QUIC.
    Quic,
    /// Anything else.
    Other,
}

/// How many peers are connected in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCount {
    /// The way.
    pub path: LinkPath,
    /// How many.
    pub count: usize,
}

/// Jobs of one level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelState {
    /// The level.
    pub level: Level,
    /// Jobs that got a ticket.
    pub jobs: u64,
    /// Of these, delivered.
    pub delivered: u64,
    /// Jobs that were not delivered, by reason.
    pub lost: Vec<ReasonCount>,
    /// Requests for a group that had no positive answer, by reason.
    pub unmatched: Vec<ReasonCount>,
    /// From the first ticket to the receipt.
    pub latency: LatencySnapshot,
    /// In the slower half of jobs from here on, in milliseconds: the upper bound of the histogram's bucket.
    pub p50_ms: Option<u64>,
    /// 99 of 100 are not slower.
    pub p99_ms: Option<u64>,
}

/// How often something had one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    /// Of a closed set.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// A request for a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentState {
    /// When.
    pub at: UnixMillis,
    /// The job.
    pub job: JobId,
    /// Which attempt.
    pub attempt: u32,
    /// Who asked.
    pub client: AccountId,
    /// For which model.
    pub model: ModelName,
    /// At which level.
    pub level: Level,
    /// Records.
    pub batch: u32,
    /// The price; none where no group was found.
    pub price: Option<Planck>,
    /// The group.
    pub group: Vec<PeerKey>,
    /// Why there is none.
    pub refused: Option<String>,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelState {
    /// Its name.
    pub name: ModelName,
    /// The version that requests mean which name none.
    pub version: ModelVersion,
    /// Levels of that version.
    pub levels: Vec<Level>,
    /// Who owns it.
    pub owner: AccountId,
    /// Price of a record.
    pub price: Planck,
    /// Workers that have that version ready.
    pub ready_on: usize,
    /// Workers that keep a part of its private weights.
    pub hosts: usize,
}

/// A settled epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochState {
    /// Its number.
    pub epoch: u64,
    /// Jobs that it paid.
    pub jobs: u64,
    /// What clients paid.
    pub amount: Planck,
    /// When the last of these jobs was delivered.
    pub delivered_until: UnixMillis,
}

/// What an account earned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarningState {
    /// The account.
    pub account: AccountId,
    /// Paid by the chain, for work.
    pub working: Planck,
    /// For models.
    pub owning: Planck,
    /// For matching.
    pub coordinating: Planck,
    /// All of these.
    pub total: Planck,
    /// Delivered and not settled yet.
    pub pending: Planck,
}
