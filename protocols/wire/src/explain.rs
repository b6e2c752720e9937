//! Why a job was matched as it was, or not at all: a coordinator's answer to the job's client.
//!
//! It says of each candidate what the client could not find out otherwise, and no more about other clients than that a
//! worker was busy. Scores are what the coordinator ranked by; nobody but the coordinator can verify them.

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, ControlResponse, JobId, JobStatus, Level, ModelName, ModelVersion, Payout, PeerKey,
    Planck, Refusal, RefusalReason, Role, Ticket, UnixMillis, bounded,
};

/// What a coordinator remembers of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The job.
    pub job: JobId,
    /// What became of it; `None`: it was never matched.
    pub status: Option<JobStatus>,
    /// What was decided, oldest first: at most 16. Older ones are forgotten, and all when the coordinator restarts.
    #[serde(deserialize_with = "bounded::list::<_, _, { Explanation::MAX_DECISIONS }>")]
    pub decisions: Vec<Decision>,
}

impl Explanation {
    /// Most decisions about one job.
    pub const MAX_DECISIONS: usize = 16;
}

/// One request for a group, and the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Which attempt of the job.
    pub attempt: u32,
    /// When, by the coordinator's clock.
    pub at: UnixMillis,
    /// The model asked for.
    pub model: ModelName,
    /// The level asked for.
    pub level: Level,
    /// Records.
    pub batch: u32,
    /// Most that the client would pay.
    pub max_price: Planck,
    /// What of that was left for the workers together; zero where the request was refused before that was known.
    pub budget: Planck,
    /// Whether the ranking was left to chance, as a small share of matches is so that new workers get jobs.
    pub explored: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// What was thought of each candidate: at most 64.
    #[serde(deserialize_with = "bounded::list::<_, _, { ControlResponse::MAX_REASONS }>")]
    pub candidates: Vec<Weighed>,
    /// Candidates beyond those.
    pub unlisted: u32,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A ticket.
    Matched {
        /// The version meant.
        version: ModelVersion,
        /// The price.
        price: Planck,
        /// Who gets what of it: at most 16.
        #[serde(deserialize_with = "bounded::list::<_, _, { Ticket::MAX_PAYOUTS }>")]
        payouts: Vec<Payout>,
    },
    /// No group fits.
    NoMatch,
    /// Refused, whoever the workers.
    Refused(Refusal),
}

/// A worker, as the coordinator weighed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weighed {
    /// The worker.
    pub peer: PeerKey,
    /// Whose it is.
    pub operator: AccountId,
    /// What was decided about it.
    pub verdict: Verdict,
}

/// What was decided about a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It is in the group.
    Chosen {
        /// As what.
        role: Role,
        /// What it asks for a job.
        price: Planck,
        /// What spoke for it.
        score: Score,
    },
    /// It could have been in the group.
    Passed {
        /// What it asks for a job.
        price: Planck,
        /// What spoke for it.
        score: Score,
        /// Why another one is.
        why: PassedOver,
    },
    /// It could not be in the group.
    Refused(RefusalReason),
}

/// Why a worker that could have been in a group is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum PassedOver {
    /// Others scored higher.
    #[error("others scored higher")]
    Outscored,
    /// Its operator has another worker in the group.
    #[error("its operator has another worker in the group")]
    SameOperator,
    /// Another group has material for this very job dealt ahead, and answers sooner.
    #[error("a group with material dealt ahead for this job answers sooner")]
    WarmGroup,
    /// With it, the group would have cost more than was left, or it plays none of the parts that were open.
    #[error("no group with it fits the price and the parts")]
    NoGroup,
}

/// What spoke for a worker: points, each ranker's score times its weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// Cheap.
    pub price: u64,
    /// Idle.
    pub load: u64,
    /// Has the model ready.
    pub cached: u64,
    /// Delivered before.
    pub reliability: u64,
    /// Has the client's evaluation key.
    pub key: u64,
    /// Has the job's stored inputs at hand.
    pub inputs: u64,
    /// Chance.
    pub chance: u64,
}

impl Score {
    /// All points together.
    pub fn total(&self) -> u64 {
        let parts = [
            self.price,
            self.load,
            self.cached,
            self.reliability,
            self.key,
            self.inputs,
            self.chance,
        ];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}
