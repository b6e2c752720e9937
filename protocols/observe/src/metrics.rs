//! The metrics of one daemon.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::family::{Counters, Gauges, Timings};
use crate::process::Process;
use crate::{Dimensions, Label, Triple};

/// The metrics of a daemon. Clones are handles of the same ones.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Inner>>);

struct Inner {
    registry: Registry,
    /// Sets gauges before they are read.
    looking: Vec<Box<dyn Fn() + Send>>,
}

impl Metrics {
    /// Those that every process has: what it is, since when, its memory.
    pub fn new(role: &'static str, version: &'static str) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process::new(role, version)));
        Self(Arc::new(Mutex::new(Inner {
            registry,
            looking: Vec::new(),
        })))
    }

    /// Serves a triple as `ai_link_<name>_attempted_total`, `..._succeeded_total` and `..._failed_total`. `what`: the plural
    /// of what is attempted.
    pub fn triple<D: Dimensions, R: Label>(&self, name: &str, what: &str, triple: &Triple<D, R>) {
        self.counters(
            &format!("{name}_attempted"),
            &format!("{what} attempted"),
            &triple.attempted,
        );
        self.counters(
            &format!("{name}_succeeded"),
            &format!("{what} that succeeded"),
            &triple.succeeded,
        );
        self.counters(
            &format!("{name}_failed"),
            &format!("{what} that failed, by reason"),
            &triple.failed,
        );
    }

    /// Serves counters as `ai_link_<name>_total`.
    pub fn counters<D: Dimensions>(&self, name: &str, help: &str, counters: &Counters<D>) {
        let (name, counters) = (format!("ai_link_{name}"), counters.0.clone());
        self.lock().registry.register(name, help, counters);
    }

    /// Serves gauges as `ai_link_<name>`.
    pub fn gauges<D: Dimensions>(&self, name: &str, help: &str, gauges: &Gauges<D>) {
        let (name, gauges) = (format!("ai_link_{name}"), gauges.0.clone());
        self.lock().registry.register(name, help, gauges);
    }

    /// Serves histograms as `ai_link_<name>_seconds`.
    pub fn timings<D: Dimensions>(&self, name: &str, help: &str, timings: &Timings<D>) {
        let (name, timings) = (format!("ai_link_{name}_seconds"), timings.0.clone());
        self.lock().registry.register(name, help, timings);
    }

    /// Calls `look` before the metrics are read, for it to set gauges. It must not wait for anything long.
    pub fn before_reading(&self, look: impl Fn() + Send + 'static) {
        self.lock().looking.push(Box::new(look));
    }

    /// The exposition, in OpenMetrics text.
    pub fn exposition(&self) -> String {
        let inner = self.lock();
        inner.looking.iter().for_each(|look| look());
        let mut text = String::new();
        // Fails only where the writer does, and a string does not.
        let _ = encode(&mut text, &inner.registry);
        text
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
