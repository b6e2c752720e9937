//! The evaluator: computes on masked values, and opens masked values with the others.

use std::collections::VecDeque;
use std::sync::Arc;

use ai_link_program::ops::ConstTerms;

use crate::buffers::{copied_bytes, give_bytes};
use crate::digest::digest;
use crate::error::MpcError;
use crate::keys::{Ephemeral, KeyMessage, Secret32};
use crate::memory::{Holds, Memory};
use crate::party::{EvaluatorIndex, Party};
use crate::planes::from_bytes;
use crate::pool::{Body, Entry, INDEX_BYTES, PoolError, SharedPool, Source, Store};
use crate::prg::Seed;
use crate::schedule::{Plan, Schedule};
use crate::session::{
    Expected, Machine, Mark, Phase, SessionSpec, Stats, Transmit, Watched, Watcher, check_message,
};
use crate::step::{Progress, Protocol as _, Run};
use crate::stored::{self, StoredShare};
use crate::weights::{self, WeightShare};
use crate::work::Work;

/// Evaluator of one session.
///
/// Needs, in this order: the dealer's key, the client's masked input, and then per interactive step
/// the dealer's corrections (where it receives some) and one opening of every other evaluator per
/// round, in the order of their numbers.
///
/// # Why waiting for one message at a time cannot deadlock
/// What a machine sends never waits for what it receives in the same round: all openings of a round
/// go out before the first is awaited, so whoever comes first in anyone's order has sent, or waits
/// for something earlier. Take the evaluator that is least far (the lowest step, then round, then
/// messages received): all others have sent what it waits for, and the dealer deals in the order
/// of steps and waits for nobody but a full queue, which is read by the time its reader comes to that
/// step. Others' messages wait in their own links meanwhile, two on each at most: no one sends an
/// opening of round `r + 2` before it has everyone's of `r + 1`, nor these without everyone's of `r`.
pub struct Evaluator {
    spec: SessionSpec,
    index: EvaluatorIndex,
    schedule: Schedule,
    weights: Option<Arc<WeightShare>>,
    /// Corrections dealt ahead, if the session is from a pool.
    stored: Option<Stored>,
    /// Masked inputs that came from storage, until they are used.
    shares: Option<Vec<StoredShare>>,
    memory: Memory,
    state: State,
    outbox: VecDeque<Transmit>,
    stats: Stats,
    watched: Watched,
    #[cfg(test)]
    pub(crate) zero_masks: bool,
}

enum State {
    /// Waits for the index of an entry of a pool.
    Index {
        source: Box<dyn Source>,
    },
    Key {
        key: Box<Ephemeral>,
    },
    Input {
        seed: Seed,
    },
    Dealt {
        seed: Seed,
        step: usize,
    },
    Opening {
        seed: Seed,
        opening: Opening,
    },
    Done,
    Failed,
}

/// Corrections of all steps of a session from a pool.
struct Stored {
    body: Body,
    /// Bytes that earlier steps have taken.
    taken: usize,
}

/// A step under way.
struct Opening {
    step: usize,
    run: Box<dyn Run>,
    round: usize,
    /// Messages of the others in this round, in order.
    received: Vec<Vec<u8>>,
}

impl Evaluator {
    /// A machine for one session of a program without private weights. `entropy` must be fresh.
    pub fn new(
        spec: SessionSpec,
        index: EvaluatorIndex,
        entropy: Secret32,
    ) -> Result<Self, MpcError> {
        Self::agreeing(spec, index, None, &entropy)
    }

    /// A machine for one session of a program of whose private weights `weights` is a share.
    pub fn with_weights(
        spec: SessionSpec,
        index: EvaluatorIndex,
        weights: Arc<WeightShare>,
        entropy: Secret32,
    ) -> Result<Self, MpcError> {
        Self::agreeing(spec, index, Some(weights), &entropy)
    }

    /// A machine for one session whose corrections `pool` holds. Waits for the index of its entry
    /// from the dealer, and marks it as used before it sends anything.
    pub fn from_pool<S: Store + 'static>(
        spec: SessionSpec,
        index: EvaluatorIndex,
        weights: Option<Arc<WeightShare>>,
        pool: SharedPool<S>,
    ) -> Result<Self, MpcError> {
        let sharing = weights.as_ref().map(|weights| weights.sharing());
        pool.id().check(&spec, sharing)?;
        let source = Box::new(pool);
        Self::made(spec, index, weights, State::Index { source })
    }

    fn agreeing(
        spec: SessionSpec,
        index: EvaluatorIndex,
        weights: Option<Arc<WeightShare>>,
        entropy: &Secret32,
    ) -> Result<Self, MpcError> {
        let key = Ephemeral::new(entropy, &spec.session, index.party(), index);
        let public = key.public();
        let key = Box::new(key);
        let mut evaluator = Self::made(spec, index, weights, State::Key { key })?;
        let message = evaluator.key_message().compose(&public);
        evaluator.send(evaluator.spec.dealing_party(), Phase::Dealt, message);
        Ok(evaluator)
    }

    fn made(
        spec: SessionSpec,
        index: EvaluatorIndex,
        weights: Option<Arc<WeightShare>>,
        state: State,
    ) -> Result<Self, MpcError> {
        weights::check(&spec.program, weights.as_deref().map(WeightShare::program))?;
        if weights.as_ref().is_some_and(|share| share.index() != index) {
            return Err(MpcError::OtherWeights);
        }
        let schedule = spec.schedule()?;
        if index.get() >= spec.evaluators {
            return Err(MpcError::NoSuchEvaluator {
                index: index.party(),
                evaluators: spec.evaluators,
            });
        }
        Ok(Self {
            memory: Memory::new(&spec.program, Holds::Masked),
            spec,
            index,
            schedule,
            weights,
            stored: None,
            shares: None,
            state,
            outbox: VecDeque::new(),
            stats: Stats::default(),
            watched: Watched::default(),
            #[cfg(test)]
            zero_masks: false,
        })
    }

    /// Brings the masked words of all stored inputs of the session. A session that has some fails without.
    ///
    /// # Errors
    /// [`MpcError::StoredShares`], [`MpcError::InputSize`].
    pub fn with_stored(mut self, shares: Vec<StoredShare>) -> Result<Self, MpcError> {
        self.shares = Some(stored::sorted(&self.spec, shares)?);
        Ok(self)
    }

    fn key_message(&self) -> KeyMessage {
        let sharing = self.weights.as_ref().map(|weights| weights.sharing());
        KeyMessage::new(sharing.as_ref(), &self.spec.session)
    }

    fn send(&mut self, to: Party, phase: Phase, payload: Vec<u8>) {
        self.stats.bytes_sent.add(phase, payload.len());
        self.outbox.push_back(Transmit { to, payload });
    }

    /// All other evaluators.
    fn others(&self) -> impl DoubleEndedIterator<Item = Party> + use<> {
        let own = self.index;
        let all = self.spec.evaluator_indices();
        all.filter(move |index| *index != own)
            .map(EvaluatorIndex::party)
    }

    fn send_opening(&mut self, opening: Vec<u8>) {
        let mut others = self.others();
        // The last one gets the message itself, so that two evaluators copy nothing.
        let last = others.next_back();
        for to in others {
            self.send(to, Phase::Online, opening.clone());
        }
        if let Some(to) = last {
            self.send(to, Phase::Online, opening);
        }
    }

    fn take(&mut self, phase: Phase, payload: &[u8]) {
        self.stats.bytes_received.add(phase, payload.len());
    }

    /// Takes the client's part of the masked input, adds what came from storage, and begins.
    fn input(&mut self, seed: Seed, payload: Vec<u8>) -> Result<State, MpcError> {
        self.take(Phase::Input, &payload);
        self.stats.input_digest = digest(&payload);
        let (program, batch) = (&self.spec.program, self.spec.batch);
        if self.spec.stored.is_none() {
            self.memory.set_inputs(program, batch, &payload);
        } else {
            let expected = self.spec.stored.len();
            let missing = MpcError::StoredShares { expected, found: 0 };
            let shares = self.shares.take().ok_or(missing)?;
            let mut all = stored::merge(&self.spec, &from_bytes(&payload), shares);
            let all = std::mem::take(&mut *all);
            // Masked, and no secret.
            self.memory.set_input_masks(program, batch, all);
        }
        give_bytes(payload);
        self.watched.reached(Mark::Input);
        Ok(self.advance(seed, 0))
    }

    fn agree(&mut self, key: &Ephemeral, from: Party, payload: &[u8]) -> Result<State, MpcError> {
        self.take(Phase::Dealt, payload);
        let theirs = self.key_message().parse(payload, from)?;
        let secret = key.agree(theirs, from, &self.spec.session, self.index)?;
        let seed = Seed::new(secret, self.spec.session);
        #[cfg(test)]
        let seed = if self.zero_masks { seed.zeroed() } else { seed };
        match self.schedule.input_bytes() {
            // The client has nothing to send.
            0 => self.input(seed, Vec::new()),
            _ => Ok(State::Input { seed }),
        }
    }

    /// Takes the entry that the dealer names, for good.
    fn fetch(&mut self, mut source: Box<dyn Source>, payload: &[u8]) -> Result<State, MpcError> {
        self.take(Phase::Dealt, payload);
        let index = u64::from_le_bytes(payload.try_into().expect("the size was checked, qed"));
        let Entry { secret, body } = source.take(index)?;
        if body.len() != self.schedule.dealt_bytes_to(self.index) {
            return Err(PoolError::Damaged { index }.into());
        }
        let taken = 0;
        self.stored = Some(Stored { body, taken });
        let seed = Seed::new(secret, source.id().entry(index));
        Ok(State::Input { seed })
    }

    /// The next `bytes` of the stored corrections, if the session is from a pool.
    fn stored(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let stored = self.stored.as_mut()?;
        let from = stored.taken;
        stored.taken += bytes;
        stored.body.get(from..stored.taken).map(copied_bytes)
    }

    fn dealt_bytes(&self, step: usize) -> usize {
        self.schedule.steps()[step].dealt[self.index.at()]
    }

    /// Runs from step `next` until a message is needed.
    fn advance(&mut self, seed: Seed, next: usize) -> State {
        let program = self.spec.program.clone();
        for (index, step) in program.steps().iter().enumerate().skip(next) {
            if self.schedule.plan(index).is_none() {
                self.memory
                    .apply(&program, index, step, self.spec.batch, ConstTerms::Include);
                self.watched.reached(Mark::Step(index));
            } else {
                let bytes = self.dealt_bytes(index);
                return match self.stored(bytes) {
                    Some(dealt) => self.start(seed, index, dealt),
                    None if bytes > 0 => State::Dealt { seed, step: index },
                    None => self.start(seed, index, Vec::new()),
                };
            }
        }
        let output = self.memory.outputs(&program);
        self.stats.output_digest = digest(&output);
        self.send(Party::Client, Phase::Output, output);
        State::Done
    }

    fn start(&mut self, seed: Seed, step: usize, dealt: Vec<u8>) -> State {
        let plan = self.schedule.plan(step);
        let plan = plan.expect("only interactive steps are started, qed");
        let seat = self.schedule.seat(step, self.index);
        let prg = seed.step(step as u32);
        let mut operands = self.memory.operands(step, &self.spec.program.steps()[step]);
        let (run, opening) = match plan {
            Plan::Step(plan) => plan.start(seat, prg, dealt, operands),
            Plan::Mul(plan) => plan.start(seat, prg, dealt, operands),
            Plan::MatMul(plan) => plan.start(seat, prg, dealt, operands),
            Plan::Product(plan) => {
                let weights = self.weights.as_ref().expect("checked when made, qed");
                let operand = operands.pop().expect("a product has an operand, qed");
                plan.start(seat, &prg, dealt, operand, weights, self.memory.kernels())
            }
        };
        self.send_opening(opening);
        State::Opening {
            seed,
            opening: Opening {
                step,
                run,
                round: 0,
                received: Vec::new(),
            },
        }
    }

    fn opened(&mut self, seed: Seed, mut opening: Opening, payload: Vec<u8>) -> State {
        self.take(Phase::Online, &payload);
        opening.received.push(payload);
        if opening.received.len() + 1 < usize::from(self.spec.evaluators) {
            return State::Opening { seed, opening };
        }
        self.stats.rounds += 1;
        match opening.run.next(std::mem::take(&mut opening.received)) {
            Progress::Open(message) => {
                self.send_opening(message);
                opening.round += 1;
                State::Opening { seed, opening }
            }
            Progress::Done(result) => {
                let step = opening.step;
                drop(opening);
                self.memory
                    .set_result(step, &self.spec.program.steps()[step], result);
                self.watched.reached(Mark::Step(step));
                self.advance(seed, step + 1)
            }
        }
    }
}

impl Machine for Evaluator {
    fn party(&self) -> Party {
        self.index.party()
    }

    fn next_expected(&self) -> Option<Expected> {
        let expect = |from, bytes| Some(Expected { from, bytes });
        let dealer = self.spec.dealing_party();
        match &self.state {
            State::Index { .. } => expect(dealer, INDEX_BYTES),
            State::Key { .. } => expect(dealer, self.schedule.key_bytes()),
            State::Input { .. } => expect(Party::Client, self.schedule.input_bytes()),
            State::Dealt { step, .. } => expect(dealer, self.dealt_bytes(*step)),
            State::Opening { opening, .. } => expect(
                self.others().nth(opening.received.len())?,
                self.schedule.steps()[opening.step].openings[opening.round],
            ),
            State::Done | State::Failed => None,
        }
    }

    fn handle(&mut self, from: Party, payload: Vec<u8>) -> Result<(), MpcError> {
        if matches!(self.state, State::Failed) {
            return Err(MpcError::Failed);
        }
        let checked = check_message(self.party(), self.next_expected(), from, payload.len());
        // Failed until the message is dealt with: an error leaves it at that.
        let state = std::mem::replace(&mut self.state, State::Failed);
        checked?;
        self.state = match state {
            State::Index { source } => self.fetch(source, &payload)?,
            State::Key { key } => self.agree(&key, from, &payload)?,
            State::Input { seed } => self.input(seed, payload)?,
            State::Dealt { seed, step } => {
                self.take(Phase::Dealt, &payload);
                self.start(seed, step, payload)
            }
            State::Opening { seed, opening } => self.opened(seed, opening, payload),
            State::Done | State::Failed => State::Failed,
        };
        Ok(())
    }

    fn work_to_handle(&self) -> Work {
        let schedule = &self.schedule;
        Work::of(match &self.state {
            // Reads a file and syncs a mark.
            State::Index { .. } => return Work::Heavy,
            // Without an input of the client's, its key is all that an evaluator waits for.
            State::Key { .. } if schedule.input_bytes() == 0 => {
                schedule.input_words() as u64 + schedule.operations_from(0)
            }
            State::Key { .. } | State::Done | State::Failed => 0,
            State::Input { .. } => schedule.input_words() as u64 + schedule.operations_from(0),
            State::Dealt { step, .. } => schedule.operations(*step),
            State::Opening { opening, .. } => {
                let (step, round) = (opening.step, opening.round);
                let last = round + 1 == schedule.steps()[step].openings.len();
                let after = if last {
                    schedule.operations_from(step + 1)
                } else {
                    0
                };
                schedule.operations(step) + after
            }
        })
    }

    fn work_to_transmit(&self) -> Work {
        Work::Light
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

    fn watch(&mut self, watcher: Box<dyn Watcher>) {
        self.watched = Watched::by(watcher);
    }
}
