//! How long a machine computes, and how long it is at it.

use std::time::{Duration, Instant};

use ai_link_mpc::{Expected, Machine, MpcError, Party, Stats, Transmit};

/// A machine with a clock.
pub(super) struct Timed<M> {
    inner: M,
    computing: Duration,
    /// When the client's message was there.
    input: Option<Instant>,
    last: Instant,
}

impl<M: Machine> Timed<M> {
    pub(super) fn new(inner: M) -> Self {
        Self {
            inner,
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

    /// From the arrival of the client's message to the machine's last word.
    pub(super) fn since_input(&self) -> Option<Duration> {
        self.input.map(|input| self.last.duration_since(input))
    }

    fn clocked<T>(&mut self, work: impl FnOnce(&mut M) -> T) -> T {
        let start = Instant::now();
        let done = work(&mut self.inner);
        self.last = Instant::now();
        self.computing += self.last.duration_since(start);
        done
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
        self.clocked(|machine| machine.handle(from, payload))
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.clocked(|machine| machine.poll_transmit())
    }

    fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }

    fn stats(&self) -> &Stats {
        self.inner.stats()
    }
}
