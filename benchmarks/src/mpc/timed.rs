//! How long a machine computes and waits, and at what.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ai_link_mpc::{Expected, Machine, MpcError, Party, Stats, Transmit, Work};
use serde::{Deserialize, Serialize};

use super::labels::Labels;

/// A machine with a clock.
pub(super) struct Timed<M> {
    inner: M,
    labels: Labels,
    taken: usize,
    given: usize,
    /// Of what is done at present.
    label: String,
    spent: BTreeMap<String, Spent>,
    computing: Duration,
    /// When the client's message was there.
    input: Option<Instant>,
    last: Instant,
}

/// Time spent at one kind of message.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Spent {
    /// Seconds in the machine.
    pub(super) computing: f64,
    /// Seconds before it had the message: waiting, receiving, and sending what came before.
    pub(super) waiting: f64,
    /// Messages.
    pub(super) messages: u32,
}

impl<M: Machine> Timed<M> {
    /// `labels` may be empty: then nothing is told apart.
    pub(super) fn new(inner: M, labels: Labels) -> Self {
        Self {
            inner,
            labels,
            taken: 0,
            given: 0,
            label: String::new(),
            spent: BTreeMap::new(),
            computing: Duration::ZERO,
            input: None,
            last: Instant::now(),
        }
    }

    /// The machine itself.
    pub(super) fn into_inner(self) -> M {
        self.inner
    }

    /// Time spent in the machine.
    pub(super) fn computing(&self) -> Duration {
        self.computing
    }

    /// What it was spent at, if there are labels.
    pub(super) fn spent(&self) -> BTreeMap<String, Spent> {
        self.spent.clone()
    }

    /// From the arrival of the client's message to the machine's last word.
    pub(super) fn since_input(&self) -> Option<Duration> {
        self.input.map(|input| self.last.duration_since(input))
    }

    fn clocked<T>(&mut self, work: impl FnOnce(&mut M) -> T) -> (T, Duration, Duration) {
        let start = Instant::now();
        let done = work(&mut self.inner);
        let waited = start.duration_since(self.last);
        self.last = Instant::now();
        let computed = self.last.duration_since(start);
        self.computing += computed;
        (done, computed, waited)
    }

    fn note(&mut self, computed: Duration, waited: Duration, messages: u32) {
        if !self.label.is_empty() {
            let spent = self.spent.entry(self.label.clone()).or_default();
            spent.computing += computed.as_secs_f64();
            spent.waiting += waited.as_secs_f64();
            spent.messages += messages;
        }
    }
}

impl<M: Machine> Machine for Timed<M> {
    fn party(&self) -> Party {
        self.inner.party()
    }

    fn next_expected(&self) -> Option<Expected> {
        self.inner.next_expected()
    }

    fn handle(&mut self, from: Party, payload: Vec<u8>) -> Result<(), MpcError> {
        if from == Party::Client {
            self.input = Some(Instant::now());
        }
        if let Some(label) = self.labels.taken.get(self.taken) {
            self.label.clone_from(label);
        }
        self.taken += 1;
        let (done, computed, waited) = self.clocked(|machine| machine.handle(from, payload));
        self.note(computed, waited, 1);
        done
    }

    fn work_to_handle(&self) -> Work {
        self.inner.work_to_handle()
    }

    fn work_to_transmit(&self) -> Work {
        self.inner.work_to_transmit()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        let (next, computed, waited) = self.clocked(|machine| machine.poll_transmit());
        if next.is_some() {
            if let Some(label) = self.labels.given.get(self.given) {
                self.label.clone_from(label);
            }
            self.given += 1;
        }
        self.note(computed, waited, 0);
        next
    }

    fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }

    fn stats(&self) -> &Stats {
        self.inner.stats()
    }
}
