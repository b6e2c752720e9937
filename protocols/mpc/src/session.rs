//! What a session is about, and the interface of the three kinds of machine.

use std::sync::Arc;

use ai_link_program::fixed::Program;

use crate::error::MpcError;
use crate::party::{EvaluatorIndex, Party};
use crate::schedule::Schedule;
use crate::stored::{self, StoredPorts};
use crate::work::Work;

/// What all parties of a session agree on beforehand.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    /// What is evaluated; public.
    pub program: Arc<Program>,
    /// Digest of the signed ticket: unique to this job and attempt. It salts every key, so two
    /// sessions never share masks, even from the same entropy.
    pub session: [u8; 32],
    /// Records evaluated together.
    pub batch: usize,
    /// How many evaluators: 2 to [`MAX_EVALUATORS`](crate::MAX_EVALUATORS).
    pub evaluators: u8,
    /// Who deals.
    pub dealer: DealerSeat,
    /// Inputs that workers bring, in the place of the client.
    pub stored: StoredPorts,
}

/// Who deals: what must be trusted follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DealerSeat {
    /// A worker of its own. Data stays private unless it colludes with an evaluator, or all
    /// evaluators with each other.
    #[default]
    Worker,
    /// The client itself, which uploads the corrections: data stays private unless *all*
    /// evaluators collude.
    Client,
}

impl SessionSpec {
    /// A session of two evaluators and a dealer of its own.
    pub fn new(program: Arc<Program>, session: [u8; 32], batch: usize) -> Self {
        Self {
            program,
            session,
            batch,
            evaluators: 2,
            dealer: DealerSeat::Worker,
            stored: StoredPorts::NONE,
        }
    }

    /// The evaluators, in order.
    pub fn evaluator_indices(
        &self,
    ) -> impl DoubleEndedIterator<Item = EvaluatorIndex> + Clone + use<> {
        EvaluatorIndex::first(self.evaluators)
    }

    /// Who sends the corrections and agrees keys with evaluators.
    pub fn dealing_party(&self) -> Party {
        match self.dealer {
            DealerSeat::Worker => Party::Dealer,
            DealerSeat::Client => Party::Client,
        }
    }

    /// Sizes and rounds of this session.
    pub fn schedule(&self) -> Result<Schedule, MpcError> {
        let evaluators = self.evaluators;
        let seat = self.dealer;
        // The dealer knows what blinds the weights: a client that deals and one evaluator would have them.
        let group = evaluators == 2 && seat == DealerSeat::Worker;
        if !self.program.parameters().is_empty() && !group {
            return Err(MpcError::WeightsGroup { evaluators, seat });
        }
        let schedule = Schedule::for_group(&self.program, self.batch, evaluators)?;
        stored::check_ports(self)?;
        let stored = self.stored.iter();
        let stored = stored.map(|port| stored::port_words(self, port)).sum();
        Ok(schedule.with_stored(stored))
    }
}

/// The message that a machine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Who sends it.
    pub from: Party,
    /// Its exact size.
    pub bytes: usize,
}

/// A message to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To whom.
    pub to: Party,
    /// The message.
    pub payload: Vec<u8>,
}

/// One party of a session: takes messages, gives messages, does nothing else.
///
/// A machine is made for one session and cannot be rewound or cloned, so its masks are used once.
/// After an error it stays failed. Computing happens in [`handle`](Self::handle) and
/// [`poll_transmit`](Self::poll_transmit) (the dealer deals a layer per call, so that only one is in
/// memory): keep both off threads that must not block.
pub trait Machine: Send {
    /// Who this is.
    fn party(&self) -> Party;

    /// The next message this machine needs; `None` while it needs none.
    ///
    /// Empty [`poll_transmit`](Self::poll_transmit) first: what others wait for comes before what
    /// this one waits for.
    fn next_expected(&self) -> Option<Expected>;

    /// Takes a message. Anything but the expected one is an error that ends the session.
    fn handle(&mut self, from: Party, payload: Vec<u8>) -> Result<(), MpcError>;

    /// The next message to send, if there is one.
    fn poll_transmit(&mut self) -> Option<Transmit>;

    /// How much computing [`handle`](Self::handle) does with the message that is expected.
    fn work_to_handle(&self) -> Work {
        Work::Heavy
    }

    /// How much computing [`poll_transmit`](Self::poll_transmit) does now.
    fn work_to_transmit(&self) -> Work {
        Work::Heavy
    }

    /// Whether everything was received, computed and handed out.
    fn is_finished(&self) -> bool;

    /// What happened so far.
    fn stats(&self) -> &Stats;

    /// Tells `watcher` from now on how far the machine is. One that goes through no program tells
    /// nothing.
    fn watch(&mut self, watcher: Box<dyn Watcher>) {
        drop(watcher);
    }
}

/// Learns how far a machine is. Machines have no clock; whoever watches may have one.
pub trait Watcher: Send {
    /// Called as soon as the machine is there, within [`Machine::handle`] or
    /// [`Machine::poll_transmit`].
    fn reached(&mut self, mark: Mark);
}

/// A point on the way through a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The input (or its mask) is there; the first step begins.
    Input,
    /// The result of a step (or its mask) is there, and the next one begins.
    Step(usize),
}

/// A watcher, if there is one.
#[derive(Default)]
pub(crate) struct Watched(Option<Box<dyn Watcher>>);

impl Watched {
    pub(crate) fn by(watcher: Box<dyn Watcher>) -> Self {
        Self(Some(watcher))
    }

    pub(crate) fn reached(&mut self, mark: Mark) {
        if let Some(watcher) = &mut self.0 {
            watcher.reached(mark);
        }
    }
}

/// Parts of a session by what the bytes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The client's seed and masked input.
    Input,
    /// Key agreement and dealt corrections: does not depend on data.
    Dealt,
    /// Openings between the evaluators.
    Online,
    /// Masked output and its mask.
    Output,
}

/// Bytes by [`Phase`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseBytes([u64; 4]);

impl PhaseBytes {
    /// Bytes of one phase.
    pub fn of(&self, phase: Phase) -> u64 {
        self.0[phase as usize]
    }

    /// Bytes of all phases.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) fn add(&mut self, phase: Phase, bytes: usize) {
        self.0[phase as usize] += bytes as u64;
    }
}

/// What a machine did; goes into the receipt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rounds of opening between the evaluators.
    pub rounds: u32,
    /// Payload bytes handed out.
    pub bytes_sent: PhaseBytes,
    /// Payload bytes taken in.
    pub bytes_received: PhaseBytes,
    /// Digest of the masked input (evaluators; BLAKE3), a commitment to the seed (dealer, client).
    pub input_digest: [u8; 32],
    /// Digest of the masked output (evaluators, client), likewise; a salted digest of its mask (dealer).
    pub output_digest: [u8; 32],
}

/// Checks a message against the one that is due.
pub(crate) fn check_message(
    party: Party,
    expected: Option<Expected>,
    from: Party,
    bytes: usize,
) -> Result<(), MpcError> {
    let Some(expected) = expected else {
        return Err(MpcError::UnexpectedMessage { party, from, bytes });
    };
    if expected.from != from {
        return Err(MpcError::UnexpectedSender {
            party,
            expected: expected.from,
            from,
            bytes,
        });
    }
    if expected.bytes != bytes {
        return Err(MpcError::WrongSize {
            from,
            expected: expected.bytes,
            found: bytes,
        });
    }
    Ok(())
}
