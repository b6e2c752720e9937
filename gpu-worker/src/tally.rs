//! What a worker counts, for its operator's metrics.

use std::sync::Arc;
use std::time::Instant;

use ai_link_observe::{Gauges, Metrics, Timings, Triple, label};
use ai_link_wire::{Level, SessionRefusal};

use crate::worker::Worker;

label! {
    /// Why a session did not end with a receipt.
    pub(crate) enum Failure: "reason" {
        /// No place, here or at whom it needs.
        Busy = "busy",
        /// The ticket does not hold, is over, or was used.
        Ticket = "ticket",
        /// Who opened the stream is not who it says.
        Peer = "peer",
        /// The model cannot be had, or is another one.
        Model = "model",
        /// A stored input cannot be brought.
        Input = "input",
        /// Another party of the session did not come, left, or broke the protocol.
        Party = "party",
        /// The client left.
        Client = "client",
        /// The time was over.
        Late = "late",
        /// The evaluation failed.
        Engine = "engine",
        /// This worker's disk or key failed.
        Internal = "internal",
    }
}

label! {
    /// Why nothing was dealt ahead.
    pub(crate) enum NotDealt: "reason" {
        /// An evaluator has no room or no time.
        Busy = "busy",
        /// Anything else.
        Failed = "failed",
    }
}

label! {
    /// Why a coordinator did not take a sign of life.
    pub(crate) enum Unheard: "reason" {
        /// It refused.
        Refused = "refused",
        /// It did not answer.
        Unreachable = "unreachable",
    }
}

/// The counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sessions: Triple<Level, Failure>,
    latency: Timings<Level>,
    pub(crate) dealing: Triple<(), NotDealt>,
    pub(crate) announcements: Triple<(), Unheard>,
}

impl Tally {
    /// Counts a session that somebody wants to begin, and then how it ended.
    pub(crate) fn begin(&self, level: Level) -> Attempt {
        self.sessions.attempt(level);
        Attempt {
            tally: self.clone(),
            level,
            started: Instant::now(),
            // Until somebody says what happened: then it was dropped on the way.
            outcome: Err(Failure::Client),
        }
    }
}

/// A session, until it ends: when this is dropped.
#[derive(Debug)]
pub(crate) struct Attempt {
    tally: Tally,
    level: Level,
    started: Instant,
    outcome: Result<(), Failure>,
}

impl Attempt {
    /// How it ended.
    pub(crate) fn ended(mut self, outcome: Result<(), Failure>) {
        self.outcome = outcome;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.outcome.is_ok() {
            self.tally
                .latency
                .observe(self.level, self.started.elapsed());
        }
        self.tally.sessions.end(self.level, self.outcome);
    }
}

impl From<&SessionRefusal> for Failure {
    fn from(refusal: &SessionRefusal) -> Self {
        match refusal {
            SessionRefusal::Busy => Self::Busy,
            SessionRefusal::TicketInvalid(_)
            | SessionRefusal::SessionUsed
            | SessionRefusal::Expired => Self::Ticket,
            SessionRefusal::NotInGroup | SessionRefusal::WrongPeer => Self::Peer,
            SessionRefusal::ModelUnavailable(_) | SessionRefusal::CommitmentMismatch => Self::Model,
            SessionRefusal::Input(_) => Self::Input,
        }
    }
}

/// The worker's metrics: what it counts, and what it holds when they are read.
pub(crate) fn metrics(worker: &Arc<Worker>) -> Metrics {
    let metrics = Metrics::new("worker", env!("CARGO_PKG_VERSION"));
    let tally = &worker.tally;
    metrics.triple("worker_sessions", "Sessions", &tally.sessions);
    metrics.timings(
        "worker_session",
        "From a client's hello to the receipt, of sessions that succeeded",
        &tally.latency,
    );
    metrics.triple("worker_dealings", "Rounds of dealing ahead", &tally.dealing);
    metrics.triple(
        "worker_announcements",
        "Registrations and signs of life",
        &tally.announcements,
    );
    let gauge = |name: &str, help: &str| {
        let gauge = Gauges::<()>::default();
        metrics.gauges(name, help, &gauge);
        gauge
    };
    let active = gauge("worker_active_sessions", "Sessions that run");
    let capacity = gauge("worker_capacity_sessions", "Sessions at a time");
    let models = gauge("worker_cached_models", "Models that can be started at once");
    let pooled = gauge(
        "worker_pooled_sessions",
        "Sessions there is dealt material for",
    );
    let pool_bytes = gauge("worker_pool_bytes", "Dealt material on disk");
    let pool_limit = gauge("worker_pool_limit_bytes", "What dealt material may take");
    let keys = gauge("worker_evaluation_keys", "Clients' evaluation keys on disk");
    let key_bytes = gauge("worker_evaluation_key_bytes", "Their bytes");
    let hosted = gauge(
        "worker_hosted_weights",
        "Private weights that it keeps a part of",
    );
    let worker = Arc::downgrade(worker);
    metrics.before_reading(move || {
        let Some(worker) = worker.upgrade() else {
            return;
        };
        active.set((), worker.active().into());
        capacity.set((), worker.config.capacity.into());
        models.set((), worker.cache.commitments().len() as u64);
        let levels = worker.pools.levels();
        pooled.set((), levels.iter().map(|level| level.entries as u64).sum());
        pool_bytes.set((), levels.iter().map(|level| level.bytes.0).sum());
        pool_limit.set((), worker.pools.limit().0);
        let (count, bytes) = worker.keys.kept();
        keys.set((), count as u64);
        key_bytes.set((), bytes.0);
        hosted.set((), worker.hosted.announced().len() as u64);
    });
    metrics
}
