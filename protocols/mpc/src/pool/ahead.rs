//! Dealing ahead: fills one entry of a pool at every worker of the group.
//!
//! The dealer tells the evaluators the index, agrees a key with each as in a session, and sends the
//! corrections; each evaluator stores them durably and says so; then the dealer stores its own part.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Body, Entry, INDEX_BYTES, PoolError, SharedPool, Store, lock};
use crate::buffers::Wiped;
use crate::dealer::Dealer;
use crate::error::MpcError;
use crate::keys::{Ephemeral, KeyMessage, Secret32};
use crate::party::{EvaluatorIndex, Party};
use crate::schedule::Schedule;
use crate::session::{
    Expected, Machine, Phase, SessionSpec, Stats, Transmit, Watcher, check_message,
};
use crate::weights::{self, WeightMask};

/// The dealer of one entry.
pub struct DealAhead<S> {
    pool: SharedPool<S>,
    index: u64,
    dealer: Dealer,
    /// The dealer's own part, once all is dealt.
    entry: Option<Entry>,
    /// Evaluators that have stored theirs.
    stored: u8,
    evaluators: u8,
    state: Progress,
    outbox: VecDeque<Transmit>,
    stats: Stats,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Running,
    Done,
    Failed,
}

impl<S: Store> DealAhead<S> {
    /// Reserves an index of `pool` and deals for it. `spec.session` does not matter: sessions of a
    /// pool have their own. `entropy` must be fresh.
    pub fn new(
        spec: SessionSpec,
        pool: SharedPool<S>,
        weights: Option<Arc<WeightMask>>,
        entropy: &Secret32,
    ) -> Result<Self, MpcError> {
        let sharing = weights.as_ref().map(|weights| weights.sharing());
        let output = spec.schedule()?.output_bytes();
        let (index, session) = {
            let mut pool = lock(&pool);
            pool.id().check(&spec, sharing)?;
            pool.check_room(Entry::sealed_bytes(output))?;
            let index = pool.reserve()?;
            (index, pool.id().entry(index))
        };
        let spec = SessionSpec { session, ..spec };
        let evaluators = spec.evaluators;
        let mut machine = Self {
            pool,
            index,
            dealer: Dealer::ahead(spec, weights, entropy)?,
            entry: None,
            stored: 0,
            evaluators,
            state: Progress::Running,
            outbox: VecDeque::new(),
            stats: Stats::default(),
        };
        for to in EvaluatorIndex::first(evaluators) {
            let payload = index.to_le_bytes().to_vec();
            let to = to.party();
            machine.outbox.push_back(Transmit { to, payload });
        }
        Ok(machine)
    }

    /// The index that it fills.
    pub fn index(&self) -> u64 {
        self.index
    }

    fn stored(&mut self, payload: &[u8]) -> Result<(), MpcError> {
        if payload != self.index.to_le_bytes() {
            let party = EvaluatorIndex::new(self.stored).expect("one of ours, qed");
            let from = party.party();
            return Err(MpcError::OtherEntry { from });
        }
        self.stored += 1;
        if self.stored == self.evaluators {
            let entry = self.entry.take().expect("awaited after it was dealt, qed");
            lock(&self.pool).append(self.index, entry)?;
            self.state = Progress::Done;
        }
        Ok(())
    }
}

impl<S: Store> Machine for DealAhead<S> {
    fn party(&self) -> Party {
        Party::Dealer
    }

    fn next_expected(&self) -> Option<Expected> {
        if self.state != Progress::Running {
            return None;
        }
        match self.entry {
            None => self.dealer.next_expected(),
            Some(_) => Some(Expected {
                from: EvaluatorIndex::new(self.stored)?.party(),
                bytes: INDEX_BYTES,
            }),
        }
    }

    fn handle(&mut self, from: Party, payload: Vec<u8>) -> Result<(), MpcError> {
        if self.state == Progress::Failed {
            return Err(MpcError::Failed);
        }
        let checked = check_message(self.party(), self.next_expected(), from, payload.len());
        let state = std::mem::replace(&mut self.state, Progress::Failed);
        checked?;
        self.stats.bytes_received.add(Phase::Dealt, payload.len());
        self.state = state;
        let done = match self.entry {
            None => self.dealer.handle(from, payload),
            Some(_) => self.stored(&payload),
        };
        if done.is_err() {
            self.state = Progress::Failed;
        }
        done
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        let next = self.outbox.pop_front();
        let next = next.or_else(|| self.dealer.poll_transmit());
        match &next {
            Some(sent) => self.stats.bytes_sent.add(Phase::Dealt, sent.payload.len()),
            None => {
                if let Some(dealt) = self.dealer.take_ahead() {
                    self.entry = Some(Entry {
                        secret: dealt.input,
                        body: Body::from(&dealt.masks[..]),
                    });
                }
            }
        }
        next
    }

    fn is_finished(&self) -> bool {
        self.state == Progress::Done
    }

    fn stats(&self) -> &Stats {
        &self.stats
    }

    fn watch(&mut self, watcher: Box<dyn Watcher>) {
        self.dealer.watch(watcher);
    }
}

/// An evaluator that stores its part of one entry.
pub struct StoreAhead<S> {
    pool: SharedPool<S>,
    spec: SessionSpec,
    index: EvaluatorIndex,
    schedule: Schedule,
    sharing: Option<[u8; 32]>,
    entropy: Secret32,
    state: State,
    outbox: VecDeque<Transmit>,
    stats: Stats,
}

enum State {
    /// Waits for the index of the entry.
    Index,
    Key {
        entry: u64,
        key: Ephemeral,
    },
    Corrections {
        entry: u64,
        secret: Secret32,
        step: usize,
        body: Body,
    },
    Done,
    Failed,
}

impl<S: Store> StoreAhead<S> {
    /// Stores into `pool` what the dealer deals next. `sharing` names the sharing of the weights,
    /// if they are private. `entropy` must be fresh.
    pub fn new(
        spec: SessionSpec,
        index: EvaluatorIndex,
        pool: SharedPool<S>,
        sharing: Option<[u8; 32]>,
        entropy: Secret32,
    ) -> Result<Self, MpcError> {
        let schedule = spec.schedule()?;
        lock(&pool).id().check(&spec, sharing)?;
        if sharing.is_none() {
            weights::check(&spec.program, None)?;
        }
        if index.get() >= spec.evaluators {
            return Err(MpcError::NoSuchEvaluator {
                index: index.party(),
                evaluators: spec.evaluators,
            });
        }
        let body = schedule.dealt_bytes_to(index);
        lock(&pool).check_room(Entry::sealed_bytes(body))?;
        Ok(Self {
            pool,
            spec,
            index,
            schedule,
            sharing,
            entropy,
            state: State::Index,
            outbox: VecDeque::new(),
            stats: Stats::default(),
        })
    }

    fn send(&mut self, payload: Vec<u8>) {
        self.stats.bytes_sent.add(Phase::Dealt, payload.len());
        let to = Party::Dealer;
        self.outbox.push_back(Transmit { to, payload });
    }

    fn key_message(&self) -> KeyMessage {
        KeyMessage::new(self.sharing.as_ref(), &self.spec.session)
    }

    fn begin(&mut self, payload: &[u8]) -> Result<State, MpcError> {
        let bytes = payload.try_into().expect("the size was checked, qed");
        let entry = u64::from_le_bytes(bytes);
        {
            let pool = lock(&self.pool);
            pool.check_new(entry)?;
            self.spec.session = pool.id().entry(entry);
        }
        let session = &self.spec.session;
        let key = Ephemeral::new(&self.entropy, session, self.index.party(), self.index);
        self.send(self.key_message().compose(&key.public()));
        Ok(State::Key { entry, key })
    }

    fn agree(&mut self, entry: u64, key: &Ephemeral, payload: &[u8]) -> Result<State, MpcError> {
        let theirs = self.key_message().parse(payload, Party::Dealer)?;
        let secret = key.agree(theirs, Party::Dealer, &self.spec.session, self.index)?;
        let size = self.schedule.dealt_bytes_to(self.index);
        self.advance(entry, secret, 0, Body::with_room(size))
    }

    fn dealt(&self, step: usize) -> usize {
        self.schedule.steps()[step].dealt[self.index.at()]
    }

    /// Waits for the corrections from step `step` on, or stores all of them.
    fn advance(
        &mut self,
        entry: u64,
        secret: Secret32,
        step: usize,
        body: Body,
    ) -> Result<State, MpcError> {
        let steps = step..self.schedule.steps().len();
        if let Some(step) = steps.into_iter().find(|step| self.dealt(*step) > 0) {
            return Ok(State::Corrections {
                entry,
                secret,
                step,
                body,
            });
        }
        let stored = Entry { secret, body };
        lock(&self.pool).append(entry, stored)?;
        self.send(entry.to_le_bytes().to_vec());
        Ok(State::Done)
    }
}

impl<S: Store> Machine for StoreAhead<S> {
    fn party(&self) -> Party {
        self.index.party()
    }

    fn next_expected(&self) -> Option<Expected> {
        let bytes = match &self.state {
            State::Index => INDEX_BYTES,
            State::Key { .. } => self.schedule.key_bytes(),
            State::Corrections { step, .. } => self.dealt(*step),
            State::Done | State::Failed => return None,
        };
        let from = Party::Dealer;
        Some(Expected { from, bytes })
    }

    fn handle(&mut self, from: Party, payload: Vec<u8>) -> Result<(), MpcError> {
        if matches!(self.state, State::Failed) {
            return Err(MpcError::Failed);
        }
        let payload = Wiped::from(payload);
        let checked = check_message(self.party(), self.next_expected(), from, payload.len());
        let state = std::mem::replace(&mut self.state, State::Failed);
        checked?;
        self.stats.bytes_received.add(Phase::Dealt, payload.len());
        self.state = match state {
            State::Index => self.begin(&payload)?,
            State::Key { entry, key } => self.agree(entry, &key, &payload)?,
            State::Corrections {
                entry,
                secret,
                step,
                mut body,
            } => {
                body.push(&payload);
                self.advance(entry, secret, step + 1, body)?
            }
            State::Done | State::Failed => State::Failed,
        };
        Ok(())
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    fn is_finished(&self) -> bool {
        matches!(self.state, State::Done) && self.outbox.is_empty()
    }

    fn stats(&self) -> &Stats {
        &self.stats
    }
}

impl From<PoolError> for MpcError {
    fn from(source: PoolError) -> Self {
        Self::Pool { source }
    }
}
