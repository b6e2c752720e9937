//! What a coordinator counts: for its operator's metrics and dashboard.
//!
//! The core counts while it decides; reading and serving the counters is the shell's. They start at zero with the process:
//! what must survive is in the ledger.

use ai_link_observe::{Gauges, Metrics, Timings, Triple};
use ai_link_wire::{ControlRequest, ControlResponse, Level};

mod labels;

pub use labels::{Lost, Presence, Question, Refused, Unsettled};

/// The counters. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Messages that were answered, by what they asked.
    pub questions: Triple<Question, Refused>,
    /// Requests for a group. A message that repeats an earlier one is none.
    pub matches: Triple<Level, Refused>,
    /// Jobs: attempted with the first ticket, succeeded with the countersigned receipt.
    pub jobs: Triple<Level, Lost>,
    /// From a job's first ticket to its receipt.
    pub latency: Timings<Level>,
    /// Settlement batches that were submitted.
    pub settlements: Triple<(), Unsettled>,
    /// Workers by how alive they look.
    pub workers: Gauges<Presence>,
    /// Jobs whose money is reserved or owed.
    pub live_jobs: Gauges<()>,
    /// Delivered jobs that wait for settlement.
    pub unsettled_jobs: Gauges<()>,
    /// The last epoch that the chain has settled.
    pub epoch: Gauges<()>,
    /// Entries of pools that workers announce.
    pub pooled_sessions: Gauges<()>,
}

impl Tally {
    /// Has all of it served.
    pub fn register(&self, metrics: &Metrics) {
        metrics.triple("coordinator_questions", "Questions", &self.questions);
        metrics.triple("coordinator_matches", "Requests for a group", &self.matches);
        metrics.triple("coordinator_jobs", "Jobs", &self.jobs);
        metrics.timings(
            "coordinator_job",
            "From a job's first ticket to its countersigned receipt",
            &self.latency,
        );
        metrics.triple(
            "coordinator_settlements",
            "Settlement batches",
            &self.settlements,
        );
        metrics.gauges("coordinator_workers", "Workers by presence", &self.workers);
        metrics.gauges(
            "coordinator_live_jobs",
            "Jobs open or unpaid",
            &self.live_jobs,
        );
        metrics.gauges(
            "coordinator_unsettled_jobs",
            "Delivered jobs that wait for settlement",
            &self.unsettled_jobs,
        );
        metrics.gauges("coordinator_epoch", "The last settled epoch", &self.epoch);
        metrics.gauges(
            "coordinator_pooled_sessions",
            "Sessions that workers announce material for, dealt ahead",
            &self.pooled_sessions,
        );
    }

    /// Counts a message that was answered.
    pub fn answered(&self, request: &ControlRequest, response: &ControlResponse) {
        let outcome = Refused::of(response).map_or(Ok(()), Err);
        self.questions.count(Question::of(request), outcome);
    }
}
