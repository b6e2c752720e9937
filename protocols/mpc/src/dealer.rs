//! The dealer: knows every mask and no data; deals what depends on masks only.

use std::collections::VecDeque;

use ai_link_program::ops::ConstTerms;
use sha2::{Digest, Sha256};

use crate::error::MpcError;
use crate::keys::{Ephemeral, PUBLIC_KEY_BYTES, SEED_BYTES, Secret32};
use crate::memory::Memory;
use crate::party::{EvaluatorIndex, Party};
use crate::prg::Seed;
use crate::schedule::Schedule;
use crate::session::{Expected, Machine, Phase, SessionSpec, Stats, Transmit, check_message};
use crate::step::{Protocol, Seeds};

/// Dealer of one session.
///
/// Needs, in this order: the keys of both evaluators and the client's seed. Then it walks the
/// program over the masks, one interactive step per [`poll_transmit`](Machine::poll_transmit).
///
/// # Place for pools
/// Nothing but the input masks ties the dealt material to a client: a dealer that draws the input
/// seed itself and hands it to the client can deal into pools ahead of requests.
pub struct Dealer {
    spec: SessionSpec,
    schedule: Schedule,
    keys: [Ephemeral; 2],
    memory: Memory,
    state: State,
    outbox: VecDeque<Transmit>,
    stats: Stats,
    #[cfg(test)]
    pub(crate) zero_masks: bool,
}

enum State {
    Keys {
        seeds: Vec<Seed>,
    },
    Input {
        seeds: Vec<Seed>,
    },
    Dealing {
        seeds: Vec<Seed>,
        next: usize,
        salt: Secret32,
    },
    Done,
    Failed,
}

/// Evaluator that is sent the corrections.
const RECEIVER: usize = 1;

const EVALUATORS: [EvaluatorIndex; 2] = [EvaluatorIndex::ZERO, EvaluatorIndex::ONE];

impl Dealer {
    /// A machine for one session. `entropy` must be fresh.
    pub fn new(spec: SessionSpec, entropy: Secret32) -> Result<Self, MpcError> {
        let schedule = spec.schedule()?;
        let keys = EVALUATORS.map(|i| Ephemeral::new(&entropy, &spec.session, Party::Dealer, i));
        let memory = Memory::new(&spec.program);
        let mut dealer = Self {
            spec,
            schedule,
            memory,
            state: State::Keys { seeds: Vec::new() },
            outbox: VecDeque::new(),
            stats: Stats::default(),
            #[cfg(test)]
            zero_masks: false,
            keys,
        };
        for index in EVALUATORS {
            let public = dealer.keys[index.at()].public().to_vec();
            let message = dealer.count(index.party(), Phase::Dealt, public);
            dealer.outbox.push_back(message);
        }
        Ok(dealer)
    }

    fn count(&mut self, to: Party, phase: Phase, payload: Vec<u8>) -> Transmit {
        self.stats.bytes_sent.add(phase, payload.len());
        Transmit { to, payload }
    }

    fn agree(&mut self, mut seeds: Vec<Seed>, payload: &[u8]) -> Result<State, MpcError> {
        self.stats.bytes_received.add(Phase::Dealt, payload.len());
        let index = EVALUATORS[seeds.len()];
        let theirs: &[u8; PUBLIC_KEY_BYTES] =
            payload.try_into().expect("the size was checked, qed");
        let key = &self.keys[seeds.len()];
        let secret = key.agree(theirs, index.party(), &self.spec.session, index)?;
        let seed = Seed::new(secret, self.spec.session);
        #[cfg(test)]
        let seed = if self.zero_masks { seed.zeroed() } else { seed };
        seeds.push(seed);
        Ok(match seeds.len() == EVALUATORS.len() {
            true => State::Input { seeds },
            false => State::Keys { seeds },
        })
    }

    fn begin(&mut self, seeds: Vec<Seed>, payload: &[u8]) -> State {
        self.stats.bytes_received.add(Phase::Input, payload.len());
        let bytes = payload.try_into().expect("the size was checked, qed");
        let secret = Secret32::new(bytes);
        self.stats.input_digest = seed_commitment(&secret, &self.spec.session);
        let salt = mask_salt(&secret, &self.spec.session);
        let seed = Seed::new(secret, self.spec.session);
        #[cfg(test)]
        let seed = if self.zero_masks { seed.zeroed() } else { seed };
        let masks = seed.input_masks(self.schedule.input_words());
        self.memory
            .set_input_masks(&self.spec.program, self.spec.batch, &masks);
        State::Dealing {
            seeds,
            next: 0,
            salt,
        }
    }

    /// Walks the masks up to the next message.
    fn advance(&mut self, seeds: Vec<Seed>, next: usize, salt: Secret32) -> Transmit {
        let program = self.spec.program.clone();
        for (index, step) in program.steps().iter().enumerate().skip(next) {
            let Some(plan) = self.schedule.plan(index) else {
                self.memory
                    .apply(&program, index, step, self.spec.batch, ConstTerms::Skip);
                continue;
            };
            let prgs = [seeds[0].step(index as u32), seeds[1].step(index as u32)];
            let operand = zeroize::Zeroizing::new(self.memory.operand(index, step));
            let mut dealt = plan.deal(&[&operand], Seeds::new(&[&prgs[0], &prgs[1]], RECEIVER));
            let (message, masks) = (std::mem::take(&mut dealt.messages[RECEIVER]), dealt.mask);
            self.memory.set_result(index, step, masks);
            if !message.is_empty() {
                self.state = State::Dealing {
                    seeds,
                    next: index + 1,
                    salt,
                };
                return self.count(Party::EVALUATOR_1, Phase::Dealt, message);
            }
        }
        self.state = State::Done;
        let masks = self.memory.outputs(&program);
        self.stats.output_digest = salted_digest(&salt, &masks);
        self.count(Party::Client, Phase::Output, masks)
    }
}

/// What the dealer puts on its receipt for the client's seed.
pub(crate) fn seed_commitment(seed: &Secret32, session: &[u8; 32]) -> [u8; 32] {
    *seed
        .derive(session, &[b"ai-link/mpc/seed-commitment/v1"])
        .as_bytes()
}

/// A salt that only client and dealer know: a receipt is public, and an unsalted digest of few
/// masks could be searched.
pub(crate) fn mask_salt(seed: &Secret32, session: &[u8; 32]) -> Secret32 {
    seed.derive(session, &[b"ai-link/mpc/mask-digest/v1"])
}

/// What the dealer puts on its receipt for the masks of the output.
pub(crate) fn salted_digest(salt: &Secret32, masks: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(salt.as_bytes())
        .chain_update(masks)
        .finalize()
        .into()
}

impl Machine for Dealer {
    fn party(&self) -> Party {
        Party::Dealer
    }

    fn next_expected(&self) -> Option<Expected> {
        match &self.state {
            State::Keys { seeds } => Some(Expected {
                from: EVALUATORS[seeds.len()].party(),
                bytes: PUBLIC_KEY_BYTES,
            }),
            State::Input { .. } => Some(Expected {
                from: Party::Client,
                bytes: SEED_BYTES,
            }),
            State::Dealing { .. } | State::Done | State::Failed => None,
        }
    }

    fn handle(&mut self, from: Party, payload: Vec<u8>) -> Result<(), MpcError> {
        if matches!(self.state, State::Failed) {
            return Err(MpcError::Failed);
        }
        let payload = zeroize::Zeroizing::new(payload);
        let checked = check_message(Party::Dealer, self.next_expected(), from, payload.len());
        // Failed until the message is dealt with: an error leaves it at that.
        let state = std::mem::replace(&mut self.state, State::Failed);
        checked?;
        self.state = match state {
            State::Keys { seeds } => self.agree(seeds, &payload)?,
            State::Input { seeds } => self.begin(seeds, &payload),
            State::Dealing { .. } | State::Done | State::Failed => State::Failed,
        };
        Ok(())
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        if let Some(message) = self.outbox.pop_front() {
            return Some(message);
        }
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Dealing { seeds, next, salt } => Some(self.advance(seeds, next, salt)),
            other => {
                self.state = other;
                None
            }
        }
    }

    fn is_finished(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn stats(&self) -> &Stats {
        &self.stats
    }
}
