//! A store in memory that crashes on demand; for tests of this and other crates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Contents, Store, StoreError};

/// When a disk crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Which operation, counted from zero over the life of the disk.
    pub operation: u64,
    /// Whether it still happens.
    pub moment: Moment,
    /// What becomes of removals that were not durable yet.
    pub removals: Removals,
}

/// Before or after an operation takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It does not happen.
    Before,
    /// It happens, and its caller never knows.
    After,
}

/// Removals since the last durable operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removals {
    /// They reached the disk.
    Kept,
    /// They are undone.
    Lost,
}

/// A disk, which outlives the stores on it.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    durable: Image,
    current: Image,
    operations: u64,
    crash: Option<Crash>,
    down: bool,
    /// Breaks the promise of durable marks.
    forgets_marks: bool,
}

#[derive(Clone, Default)]
struct Image {
    next: u64,
    entries: BTreeMap<u64, Vec<u8>>,
    marked: BTreeSet<u64>,
}

impl Disk {
    /// A disk that crashes once.
    pub fn crashing(crash: Crash) -> Self {
        let disk = Self::default();
        disk.state(|state| state.crash = Some(crash));
        disk
    }

    /// A disk that crashes once, and then has forgotten what was marked: with it the tests of pools
    /// must fail.
    pub fn forgetful(crash: Crash) -> Self {
        let disk = Self::crashing(crash);
        disk.state(|state| state.forgets_marks = true);
        disk
    }

    fn state<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.state(|state| state.operations)
    }

    /// Whether it crashed and was not restarted.
    pub fn is_down(&self) -> bool {
        self.state(|state| state.down)
    }

    /// Starts the machine again, with what the disk holds.
    pub fn restart(&self) {
        self.state(|state| state.down = false);
    }

    /// A store on it.
    pub fn store(&self) -> FaultyStore {
        FaultyStore(self.clone())
    }

    fn operate<T>(&self, act: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        self.state(|state| {
            if state.down {
                return Err(StoreError::new("the machine is down"));
            }
            let due = state.crash.filter(|c| c.operation == state.operations);
            state.operations += 1;
            let Some(crash) = due else {
                return Ok(act(state));
            };
            state.crash = None;
            if crash.moment == Moment::After {
                act(state);
            }
            match crash.removals {
                Removals::Kept => state.durable = state.current.clone(),
                Removals::Lost => state.current = state.durable.clone(),
            }
            state.down = true;
            Err(StoreError::new("the machine crashed"))
        })
    }

    fn durably(&self, act: impl FnOnce(&mut Image)) -> Result<(), StoreError> {
        self.operate(|state| {
            act(&mut state.current);
            state.durable = state.current.clone();
        })
    }
}

/// A store on a [`Disk`].
pub struct FaultyStore(Disk);

impl Store for FaultyStore {
    fn load(&mut self) -> Result<Contents, StoreError> {
        self.0.operate(|state| Contents {
            next: state.current.next,
            entries: state
                .current
                .entries
                .iter()
                .map(|(index, bytes)| (*index, bytes.len() as u64))
                .collect(),
            marked: state.current.marked.clone(),
        })
    }

    fn reserve(&mut self, next: u64) -> Result<(), StoreError> {
        self.0.durably(|image| image.next = image.next.max(next))
    }

    fn append(&mut self, index: u64, sealed: Vec<u8>) -> Result<(), StoreError> {
        self.0.durably(|image| {
            image.next = image.next.max(index + 1);
            image.entries.insert(index, sealed);
        })
    }

    fn read(&mut self, index: u64) -> Result<Vec<u8>, StoreError> {
        let read = self
            .0
            .operate(|state| state.current.entries.get(&index).cloned())?;
        read.ok_or_else(|| StoreError::new(format!("no entry {index}")))
    }

    fn mark(&mut self, index: u64) -> Result<(), StoreError> {
        self.0.operate(|state| {
            state.current.marked.insert(index);
            if !state.forgets_marks {
                state.durable = state.current.clone();
            }
        })
    }

    fn remove(&mut self, index: u64) -> Result<(), StoreError> {
        self.0.operate(|state| {
            state.current.entries.remove(&index);
            state.current.marked.remove(&index);
        })
    }
}
