//! A machine with a clock: how long each step took, and what it sent for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::MpcError;
use crate::party::Party;
use crate::session::{Expected, Machine, Mark, Stats, Transmit, Watcher};
use crate::work::Work;

/// A machine, and when it was where in its program. Part of the shell: the machine knows nothing of
/// it but that someone watches.
pub struct Timed<M> {
    machine: M,
    clock: Arc<Mutex<Clock>>,
}

/// What a machine did for one part of its program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Since the machine began to be watched, when the result was there.
    pub done: Option<Duration>,
    /// How long the machine computed for it.
    pub busy: Duration,
    /// Messages of other evaluators, and their bytes.
    pub openings: u32,
    /// See above.
    pub bytes_opened: u64,
    /// Bytes of corrections.
    pub bytes_dealt: u64,
}

/// The parts of a program as one machine went through them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Until the input was there.
    pub input: Part,
    /// Every step of the program.
    pub steps: Vec<Part>,
    /// What came after the last step.
    pub output: Part,
}

struct Clock {
    times: Times,
    began: Instant,
    /// When the machine was handed something, or was last somewhere.
    lap: Instant,
    at: At,
}

/// What the machine works for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Input,
    Step(usize),
}

impl Clock {
    fn part(&mut self) -> &mut Part {
        let Times {
            input,
            steps,
            output,
        } = &mut self.times;
        match self.at {
            At::Input => input,
            At::Step(step) => steps.get_mut(step).unwrap_or(output),
        }
    }

    /// Books the time since the last lap.
    fn book(&mut self, now: Instant) {
        let busy = now.saturating_duration_since(self.lap);
        self.lap = now;
        self.part().busy += busy;
    }
}

struct Laps(Arc<Mutex<Clock>>);

impl Watcher for Laps {
    fn reached(&mut self, mark: Mark) {
        let now = Instant::now();
        let mut clock = lock(&self.0);
        clock.book(now);
        let done = now.saturating_duration_since(clock.began);
        clock.part().done = Some(done);
        clock.at = match mark {
            Mark::Input => At::Step(0),
            Mark::Step(step) => At::Step(step + 1),
        };
    }
}

impl<M: Machine> Timed<M> {
    /// Watches a machine that goes through a program of so many steps, from `began` on.
    pub fn new(mut machine: M, steps: usize, began: Instant) -> Self {
        let clock = Arc::new(Mutex::new(Clock {
            times: Times {
                steps: vec![Part::default(); steps],
                ..Times::default()
            },
            began,
            lap: began,
            at: At::Input,
        }));
        machine.watch(Box::new(Laps(clock.clone())));
        Self { machine, clock }
    }

    /// The machine, and its times.
    pub fn into_parts(self) -> (M, Times) {
        let times = lock(&self.clock).times.clone();
        (self.machine, times)
    }

    /// Runs part of the machine and books what is left of its time.
    fn timed<T>(&mut self, work: impl FnOnce(&mut M) -> T) -> T {
        lock(&self.clock).lap = Instant::now();
        let done = work(&mut self.machine);
        lock(&self.clock).book(Instant::now());
        done
    }
}

/// The clock, also after a panic elsewhere: it holds times only.
fn lock(clock: &Mutex<Clock>) -> std::sync::MutexGuard<'_, Clock> {
    clock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<M: Machine> Machine for Timed<M> {
    fn party(&self) -> Party {
        self.machine.party()
    }

    fn next_expected(&self) -> Option<Expected> {
        self.machine.next_expected()
    }

    fn handle(&mut self, from: Party, payload: Vec<u8>) -> Result<(), MpcError> {
        {
            let mut clock = lock(&self.clock);
            let bytes = payload.len() as u64;
            let part = clock.part();
            match from {
                Party::Evaluator(_) => {
                    part.openings += 1;
                    part.bytes_opened += bytes;
                }
                Party::Dealer => part.bytes_dealt += bytes,
                Party::Client => {}
            }
        }
        self.timed(|machine| machine.handle(from, payload))
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.timed(M::poll_transmit)
    }

    fn work_to_handle(&self) -> Work {
        self.machine.work_to_handle()
    }

    fn work_to_transmit(&self) -> Work {
        self.machine.work_to_transmit()
    }

    fn is_finished(&self) -> bool {
        self.machine.is_finished()
    }

    fn stats(&self) -> &Stats {
        self.machine.stats()
    }
}
