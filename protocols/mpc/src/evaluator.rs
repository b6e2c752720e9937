//! The evaluator: computes on masked values, and opens masked values with its peer.

use std::collections::VecDeque;

use ai_link_program::ops::ConstTerms;
use sha2::{Digest, Sha256};

use crate::error::MpcError;
use crate::keys::{Ephemeral, PUBLIC_KEY_BYTES, Secret32};
use crate::memory::Memory;
use crate::party::{EvaluatorIndex, Party};
use crate::prg::Seed;
use crate::schedule::Schedule;
use crate::session::{Expected, Machine, Phase, SessionSpec, Stats, Transmit, check_message};
use crate::step::{Progress, Protocol, Run, Seat};

/// Evaluator of one session.
///
/// Needs, in this order: the dealer's key, the client's masked input, and then per interactive step
/// the dealer's corrections (evaluator 1 only) and one opening of its peer per round.
pub struct Evaluator {
    spec: SessionSpec,
    index: EvaluatorIndex,
    schedule: Schedule,
    key: Ephemeral,
    memory: Memory,
    state: State,
    outbox: VecDeque<Transmit>,
    stats: Stats,
    #[cfg(test)]
    pub(crate) zero_masks: bool,
}

enum State {
    Key,
    Input {
        seed: Seed,
    },
    Dealt {
        seed: Seed,
        step: usize,
    },
    Opening {
        seed: Seed,
        step: usize,
        run: Box<dyn Run>,
        round: usize,
    },
    Done,
    Failed,
}

impl Evaluator {
    /// A machine for one session. `entropy` must be fresh.
    pub fn new(
        spec: SessionSpec,
        index: EvaluatorIndex,
        entropy: Secret32,
    ) -> Result<Self, MpcError> {
        let schedule = spec.schedule()?;
        let key = Ephemeral::new(&entropy, &spec.session, index.party(), index);
        let memory = Memory::new(&spec.program);
        let mut evaluator = Self {
            spec,
            index,
            schedule,
            memory,
            state: State::Key,
            outbox: VecDeque::new(),
            stats: Stats::default(),
            #[cfg(test)]
            zero_masks: false,
            key,
        };
        let public = evaluator.key.public().to_vec();
        evaluator.send(Party::Dealer, Phase::Dealt, public);
        Ok(evaluator)
    }

    fn send(&mut self, to: Party, phase: Phase, payload: Vec<u8>) {
        self.stats.bytes_sent.add(phase, payload.len());
        self.outbox.push_back(Transmit { to, payload });
    }

    fn peer(&self) -> Party {
        let mut others = self.spec.evaluator_indices();
        let other = others.find(|index| *index != self.index);
        other.expect("two evaluators at least, qed").party()
    }

    fn take(&mut self, phase: Phase, payload: &[u8]) {
        self.stats.bytes_received.add(phase, payload.len());
    }

    fn agree(&mut self, from: Party, payload: &[u8]) -> Result<State, MpcError> {
        self.take(Phase::Dealt, payload);
        let theirs: &[u8; PUBLIC_KEY_BYTES] =
            payload.try_into().expect("the size was checked, qed");
        let secret = self
            .key
            .agree(theirs, from, &self.spec.session, self.index)?;
        let seed = Seed::new(secret, self.spec.session);
        #[cfg(test)]
        let seed = if self.zero_masks { seed.zeroed() } else { seed };
        Ok(State::Input { seed })
    }

    /// Runs from step `next` until a message is needed.
    fn advance(&mut self, seed: Seed, next: usize) -> State {
        let program = self.spec.program.clone();
        for (index, step) in program.steps().iter().enumerate().skip(next) {
            if self.schedule.plan(index).is_none() {
                self.memory
                    .apply(&program, index, step, self.spec.batch, ConstTerms::Include);
            } else if self.index == EvaluatorIndex::ONE && self.schedule.steps()[index].dealt > 0 {
                return State::Dealt { seed, step: index };
            } else {
                return self.start(seed, index, Vec::new());
            }
        }
        let output = self.memory.outputs(&program);
        self.stats.output_digest = Sha256::digest(&output).into();
        self.send(Party::Client, Phase::Output, output);
        State::Done
    }

    fn start(&mut self, seed: Seed, step: usize, dealt: Vec<u8>) -> State {
        let plan = self
            .schedule
            .plan(step)
            .expect("only interactive steps are started, qed");
        let operand = self.memory.operand(step, &self.spec.program.steps()[step]);
        let prg = seed.step(step as u32);
        let seat = Seat::new(self.index.at(), 2, 1);
        let (run, opening) = plan.start(seat, prg, dealt, vec![operand]);
        self.send(self.peer(), Phase::Online, opening);
        State::Opening {
            seed,
            step,
            run,
            round: 0,
        }
    }

    fn opened(
        &mut self,
        seed: Seed,
        step: usize,
        mut run: Box<dyn Run>,
        round: usize,
        payload: Vec<u8>,
    ) -> State {
        self.take(Phase::Online, &payload);
        self.stats.rounds += 1;
        match run.next(vec![payload]) {
            Progress::Open(opening) => {
                self.send(self.peer(), Phase::Online, opening);
                State::Opening {
                    seed,
                    step,
                    run,
                    round: round + 1,
                }
            }
            Progress::Done(result) => {
                drop(run);
                self.memory
                    .set_result(step, &self.spec.program.steps()[step], result);
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
        match &self.state {
            State::Key => expect(Party::Dealer, PUBLIC_KEY_BYTES),
            State::Input { .. } => expect(Party::Client, self.schedule.input_bytes()),
            State::Dealt { step, .. } => expect(Party::Dealer, self.schedule.steps()[*step].dealt),
            State::Opening { step, round, .. } => {
                expect(self.peer(), self.schedule.steps()[*step].openings[*round])
            }
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
            State::Key => self.agree(from, &payload)?,
            State::Input { seed } => {
                self.take(Phase::Input, &payload);
                self.stats.input_digest = Sha256::digest(&payload).into();
                self.memory
                    .set_inputs(&self.spec.program, self.spec.batch, &payload);
                self.advance(seed, 0)
            }
            State::Dealt { seed, step } => {
                self.take(Phase::Dealt, &payload);
                self.start(seed, step, payload)
            }
            State::Opening {
                seed,
                step,
                run,
                round,
            } => self.opened(seed, step, run, round, payload),
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
