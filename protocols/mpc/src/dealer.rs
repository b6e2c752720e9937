//! The dealer: knows every mask and no data; deals what depends on masks only.

use std::collections::VecDeque;
use std::sync::Arc;

use ai_link_program::ops::ConstTerms;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::digest::digest;
use crate::error::MpcError;
use crate::keys::{Ephemeral, KeyMessage, SEED_BYTES, Secret32};
use crate::memory::{Holds, Memory};
use crate::party::{EvaluatorIndex, Party};
use crate::prg::{Prg, Seed};
use crate::schedule::{Plan, Schedule};
use crate::session::{
    DealerSeat, Expected, Machine, Mark, Phase, SessionSpec, Stats, Transmit, Watched, Watcher,
    check_message,
};
use crate::step::{Protocol as _, Seeds};
use crate::stored::{self, StoredShare};
use crate::weights::{self, WeightMask};
use crate::work::Work;

/// Dealer of one session.
///
/// Needs, in this order: the keys of all evaluators and the client's seed. Then it walks the
/// program over the masks, one interactive step per [`poll_transmit`](Machine::poll_transmit).
///
/// Nothing but the input masks ties the dealt material to a client. So a dealer can draw the input
/// seed itself, deal ahead of requests, and hand the seed to the client when one comes: see
/// [`crate::pool`].
pub struct Dealer {
    spec: SessionSpec,
    schedule: Schedule,
    weights: Option<Arc<WeightMask>>,
    keys: Vec<Ephemeral>,
    memory: Memory,
    state: State,
    /// Whose input seed is used.
    input: InputSeed,
    /// Masks of inputs that came from storage, until they are used.
    shares: Option<Vec<StoredShare>>,
    outbox: VecDeque<Transmit>,
    stats: Stats,
    watched: Watched,
    #[cfg(test)]
    pub(crate) zero_masks: bool,
}

/// Where the seed of the input masks comes from.
enum InputSeed {
    /// The client sends it.
    OfClient,
    /// Drawn here, for whoever comes; `None` once it is in use.
    Drawn(Option<Secret32>),
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
        input: Secret32,
    },
    /// Dealt ahead: what the dealer keeps until a client comes.
    Ahead(DealtAhead),
    Done,
    Failed,
}

/// What a dealer that dealt ahead keeps: the seed of the input masks and the masks of the output.
pub(crate) struct DealtAhead {
    pub(crate) input: Secret32,
    pub(crate) masks: Zeroizing<Vec<u8>>,
}

impl Dealer {
    /// A machine for one session of a program without private weights. `entropy` must be fresh.
    pub fn new(spec: SessionSpec, entropy: Secret32) -> Result<Self, MpcError> {
        Self::seated(
            spec,
            DealerSeat::Worker,
            None,
            InputSeed::OfClient,
            &entropy,
        )
    }

    /// A machine for one session of a program whose private weights `weights` masks.
    pub fn with_weights(
        spec: SessionSpec,
        weights: Arc<WeightMask>,
        entropy: Secret32,
    ) -> Result<Self, MpcError> {
        let input = InputSeed::OfClient;
        Self::seated(spec, DealerSeat::Worker, Some(weights), input, &entropy)
    }

    /// The dealing part of a client.
    pub(crate) fn within_client(spec: SessionSpec, entropy: &Secret32) -> Result<Self, MpcError> {
        Self::seated(spec, DealerSeat::Client, None, InputSeed::OfClient, entropy)
    }

    /// A machine that deals for nobody in particular yet.
    pub(crate) fn ahead(
        spec: SessionSpec,
        weights: Option<Arc<WeightMask>>,
        entropy: &Secret32,
    ) -> Result<Self, MpcError> {
        let drawn = entropy.derive(&spec.session, &[b"ai-link/mpc/pool-input-seed/v1"]);
        let input = InputSeed::Drawn(Some(drawn));
        Self::seated(spec, DealerSeat::Worker, weights, input, entropy)
    }

    fn seated(
        spec: SessionSpec,
        seat: DealerSeat,
        weights: Option<Arc<WeightMask>>,
        input: InputSeed,
        entropy: &Secret32,
    ) -> Result<Self, MpcError> {
        if spec.dealer != seat {
            return Err(MpcError::DealerSeat { seat: spec.dealer });
        }
        weights::check(&spec.program, weights.as_deref().map(WeightMask::program))?;
        let schedule = spec.schedule()?;
        let keys: Vec<Ephemeral> = spec
            .evaluator_indices()
            .map(|i| Ephemeral::new(entropy, &spec.session, Party::Dealer, i))
            .collect();
        let mut dealer = Self {
            memory: Memory::new(&spec.program, Holds::Masks),
            schedule,
            weights,
            state: State::Keys { seeds: Vec::new() },
            input,
            shares: None,
            outbox: VecDeque::new(),
            stats: Stats::default(),
            watched: Watched::default(),
            #[cfg(test)]
            zero_masks: false,
            keys,
            spec,
        };
        for index in dealer.spec.evaluator_indices() {
            let message = dealer
                .key_message()
                .compose(&dealer.keys[index.at()].public());
            dealer.send(index.party(), Phase::Dealt, message);
        }
        Ok(dealer)
    }

    /// Brings the masks of all stored inputs of the session. A session that has some fails without.
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

    fn agree(&mut self, mut seeds: Vec<Seed>, payload: &[u8]) -> Result<State, MpcError> {
        self.stats.bytes_received.add(Phase::Dealt, payload.len());
        let index = EvaluatorIndex::new(seeds.len() as u8).expect("one of ours, qed");
        let theirs = self.key_message().parse(payload, index.party())?;
        let key = &self.keys[seeds.len()];
        let secret = key.agree(theirs, index.party(), &self.spec.session, index)?;
        seeds.push(self.seed(secret));
        if seeds.len() < self.keys.len() {
            return Ok(State::Keys { seeds });
        }
        let drawn = match &mut self.input {
            InputSeed::OfClient => None,
            InputSeed::Drawn(secret) => secret.take(),
        };
        Ok(match drawn {
            None => State::Input { seeds },
            Some(secret) => self.begin(seeds, secret)?,
        })
    }

    fn seed(&self, secret: Secret32) -> Seed {
        let seed = Seed::new(secret, self.spec.session);
        #[cfg(test)]
        let seed = if self.zero_masks { seed.zeroed() } else { seed };
        seed
    }

    fn begin(&mut self, seeds: Vec<Seed>, input: Secret32) -> Result<State, MpcError> {
        self.stats.input_digest = seed_commitment(&input, &self.spec.session);
        let mut masks = self
            .seed(input.clone())
            .input_masks(self.schedule.client_words());
        if !self.spec.stored.is_none() {
            let expected = self.spec.stored.len();
            let missing = MpcError::StoredShares { expected, found: 0 };
            let shares = self.shares.take().ok_or(missing)?;
            masks = stored::merge(&self.spec, &masks, shares);
        }
        self.memory.set_input_masks(
            &self.spec.program,
            self.spec.batch,
            std::mem::take(&mut *masks),
        );
        self.watched.reached(Mark::Input);
        Ok(State::Dealing {
            seeds,
            next: 0,
            input,
        })
    }

    /// Walks the masks up to the next messages.
    fn advance(&mut self, seeds: Vec<Seed>, next: usize, input: Secret32) {
        let program = self.spec.program.clone();
        for (index, step) in program.steps().iter().enumerate().skip(next) {
            let Some(plan) = self.schedule.plan(index) else {
                self.memory
                    .apply(&program, index, step, self.spec.batch, ConstTerms::Skip);
                self.watched.reached(Mark::Step(index));
                continue;
            };
            let prgs: Vec<Prg> = seeds.iter().map(|seed| seed.step(index as u32)).collect();
            let prgs: Vec<&Prg> = prgs.iter().collect();
            let seeds_of = Seeds::new(&prgs, self.schedule.receiver(index));
            let operands = self.memory.masks(step);
            let operands: Vec<&[u64]> = operands.iter().map(|words| &**words).collect();
            let dealt = match plan {
                Plan::Step(plan) => plan.deal(&operands, seeds_of),
                Plan::Mul(plan) => plan.deal(&operands, seeds_of),
                Plan::MatMul(plan) => plan.deal(&operands, seeds_of),
                Plan::Product(plan) => {
                    let weights = self.weights.as_ref().expect("checked when made, qed");
                    plan.deal(operands[0], seeds_of, weights, self.memory.kernels())
                }
            };
            drop(operands);
            self.memory.set_result(index, step, dealt.mask);
            self.watched.reached(Mark::Step(index));
            let messages = self.spec.evaluator_indices().zip(dealt.messages);
            for (to, message) in messages.filter(|(_, message)| !message.is_empty()) {
                self.send(to.party(), Phase::Dealt, message);
            }
            if !self.outbox.is_empty() {
                let next = index + 1;
                self.state = State::Dealing { seeds, next, input };
                return;
            }
        }
        let masks = self.memory.outputs(&program);
        if matches!(self.input, InputSeed::Drawn(_)) {
            let masks = Zeroizing::new(masks);
            self.state = State::Ahead(DealtAhead { input, masks });
            return;
        }
        let salt = mask_salt(&input, &self.spec.session);
        self.stats.output_digest = salted_digest(&salt, &masks);
        self.state = State::Done;
        self.send(Party::Client, Phase::Output, masks);
    }

    /// Whether the next message is still to be computed.
    pub(crate) fn nothing_queued(&self) -> bool {
        self.outbox.is_empty()
    }

    /// What was dealt ahead, once all of it is sent.
    pub(crate) fn take_ahead(&mut self) -> Option<DealtAhead> {
        if !matches!(self.state, State::Ahead(_)) || !self.outbox.is_empty() {
            return None;
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Ahead(dealt) => Some(dealt),
            _ => None,
        }
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
    seed.derive(session, &[b"ai-link/mpc/mask-digest/v2"])
}

/// What the dealer puts on its receipt for the masks of the output.
pub(crate) fn salted_digest(salt: &Secret32, masks: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(salt.as_bytes())
        .chain_update(digest(masks))
        .finalize()
        .into()
}

impl Machine for Dealer {
    fn party(&self) -> Party {
        self.spec.dealing_party()
    }

    fn next_expected(&self) -> Option<Expected> {
        match &self.state {
            State::Keys { seeds } => Some(Expected {
                from: EvaluatorIndex::new(seeds.len() as u8)?.party(),
                bytes: self.schedule.key_bytes(),
            }),
            State::Input { .. } => Some(Expected {
                from: Party::Client,
                bytes: SEED_BYTES,
            }),
            State::Dealing { .. } | State::Ahead(_) | State::Done | State::Failed => None,
        }
    }

    fn handle(&mut self, from: Party, payload: Vec<u8>) -> Result<(), MpcError> {
        if matches!(self.state, State::Failed) {
            return Err(MpcError::Failed);
        }
        let payload = Zeroizing::new(payload);
        let checked = check_message(self.party(), self.next_expected(), from, payload.len());
        // Failed until the message is dealt with: an error leaves it at that.
        let state = std::mem::replace(&mut self.state, State::Failed);
        checked?;
        self.state = match state {
            State::Keys { seeds } => self.agree(seeds, &payload)?,
            State::Input { seeds } => {
                self.stats.bytes_received.add(Phase::Input, payload.len());
                let bytes = payload.as_slice().try_into();
                self.begin(
                    seeds,
                    Secret32::new(bytes.expect("the size was checked, qed")),
                )?
            }
            State::Dealing { .. } | State::Ahead(_) | State::Done | State::Failed => State::Failed,
        };
        Ok(())
    }

    fn work_to_handle(&self) -> Work {
        Work::of(match &self.state {
            State::Input { .. } => self.schedule.input_words() as u64,
            // With a drawn seed, the last key begins the dealing as well.
            State::Keys { .. } if matches!(self.input, InputSeed::Drawn(_)) => {
                self.schedule.input_words() as u64
            }
            _ => 0,
        })
    }

    fn work_to_transmit(&self) -> Work {
        Work::of(match &self.state {
            State::Dealing { next, .. } if self.outbox.is_empty() => {
                // Deals for all evaluators, and goes on to the next step where one needs nothing dealt.
                let evaluators = u64::from(self.spec.evaluators);
                evaluators * self.schedule.operations_from(*next)
            }
            _ => 0,
        })
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        if self.outbox.is_empty() && matches!(self.state, State::Dealing { .. }) {
            let state = std::mem::replace(&mut self.state, State::Failed);
            if let State::Dealing { seeds, next, input } = state {
                self.advance(seeds, next, input);
            }
        }
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
