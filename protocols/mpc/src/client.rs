//! The client: masks its input, and unmasks the output.

use std::collections::VecDeque;

use ai_link_program::OutputTensor;
use ai_link_program::fixed::Port;
use zeroize::Zeroizing;

use crate::buffers::{
    Wiped, copied_bytes, give_bytes, give_words, take_bytes, take_words, wipe_words,
};
use crate::dealer::{Dealer, mask_salt, salted_digest, seed_commitment};
use crate::digest::digest;
use crate::error::MpcError;
use crate::keys::Secret32;
use crate::party::{EvaluatorIndex, Party};
use crate::planes::{CHUNK, for_chunks, write_words};
use crate::pool::{GRANT_BYTES, PoolId};
use crate::prg::Seed;
use crate::schedule::Schedule;
use crate::session::{
    DealerSeat, Expected, Machine, Phase, SessionSpec, Stats, Transmit, check_message,
};
use crate::work::Work;

/// Client of one session.
///
/// Sends the seed of its masks to the dealer and its masked input to all evaluators, then needs
/// the output's mask from the dealer and the masked output from all evaluators, which must agree.
///
/// Where the client deals itself ([`DealerSeat::Client`]) it holds the dealer: it agrees keys with
/// the evaluators, sends them their corrections, and no other party knows any mask. What it has to
/// send grows by what [`Schedule::dealt_bytes`] says.
pub struct Client {
    spec: SessionSpec,
    schedule: Schedule,
    /// Salt of the dealer's digest of the output's mask.
    salt: Secret32,
    seed_commitment: [u8; 32],
    input_digest: [u8; 32],
    /// The dealer, if it is the client's own and still has something to do.
    dealer: Option<OwnDealer>,
    /// Input and pool, until the dealer says which of its entries masks it.
    waiting: Option<Waiting>,
    /// Masks of the output.
    masks: Option<Wiped>,
    /// The masked output, and how many evaluators have sent it.
    output: Vec<u8>,
    outputs: u8,
    failed: bool,
    outbox: VecDeque<Transmit>,
    stats: Stats,
}

/// The dealing part of a client, and the seed that it waits for.
struct OwnDealer {
    machine: Box<Dealer>,
    input: Secret32,
}

/// An input that is not masked yet.
struct Waiting {
    words: Zeroizing<Vec<u64>>,
    pool: PoolId,
}

/// What a party's receipt must say about its messages with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartyDigests {
    /// Digest of what the client sent it; see [`Stats::input_digest`].
    pub input: [u8; 32],
    /// Digest of what it sent the client; see [`Stats::output_digest`].
    pub output: [u8; 32],
}

impl Client {
    /// A machine for one session over `inputs`, one tensor per port of `batch * dims` values,
    /// row-major; an empty one for a port that is [stored](crate::stored). `entropy` must be fresh.
    pub fn new(
        spec: SessionSpec,
        inputs: Vec<Vec<f32>>,
        entropy: Secret32,
    ) -> Result<Self, MpcError> {
        let schedule = spec.schedule()?;
        let words = encode(&spec, inputs)?;
        let dealer = match spec.dealer {
            DealerSeat::Worker => None,
            DealerSeat::Client => Some(Dealer::within_client(spec.clone(), &entropy)?),
        };
        let secret = entropy.derive(&spec.session, &[b"ai-link/mpc/input-seed/v1"]);
        let seed = Seed::new(secret.clone(), spec.session);
        let mut client = Self::idle(spec, schedule);
        client.mask(&secret, &seed, words);
        client.begin(secret, dealer);
        Ok(client)
    }

    /// A machine for one session from a pool of the group: the dealer gives the seed of the input
    /// masks, so this one needs no entropy. The pool must be for this program, batch and group.
    pub fn from_pool(
        spec: SessionSpec,
        inputs: Vec<Vec<f32>>,
        pool: PoolId,
    ) -> Result<Self, MpcError> {
        let schedule = spec.schedule()?;
        pool.check(&spec, pool.sharing)?;
        let words = encode(&spec, inputs)?;
        let mut client = Self::idle(spec, schedule);
        client.waiting = Some(Waiting { words, pool });
        Ok(client)
    }

    #[cfg(test)]
    pub(crate) fn without_masks(
        spec: SessionSpec,
        inputs: Vec<Vec<f32>>,
        entropy: Secret32,
    ) -> Result<Self, MpcError> {
        let schedule = spec.schedule()?;
        let words = encode(&spec, inputs)?;
        let dealer = match spec.dealer {
            DealerSeat::Worker => None,
            DealerSeat::Client => {
                let mut dealer = Dealer::within_client(spec.clone(), &entropy)?;
                dealer.zero_masks = true;
                Some(dealer)
            }
        };
        let secret = Secret32::new([0; 32]);
        let seed = Seed::new(secret.clone(), spec.session).zeroed();
        let mut client = Self::idle(spec, schedule);
        client.mask(&secret, &seed, words);
        client.begin(secret, dealer);
        Ok(client)
    }

    fn idle(spec: SessionSpec, schedule: Schedule) -> Self {
        Self {
            salt: Secret32::new([0; 32]),
            seed_commitment: [0; 32],
            input_digest: [0; 32],
            schedule,
            dealer: None,
            waiting: None,
            masks: None,
            output: Vec::new(),
            outputs: 0,
            failed: false,
            outbox: VecDeque::new(),
            stats: Stats::default(),
            spec,
        }
    }

    /// Masks the input with what `seed`, made of `secret`, expands to, and queues it.
    fn mask(&mut self, secret: &Secret32, seed: &Seed, mut words: Zeroizing<Vec<u64>>) {
        let mut masks = seed.input_masks(words.len());
        let mut masked = take_bytes(8 * words.len());
        let chunks = masked
            .chunks_mut(8 * CHUNK)
            .zip(words.chunks_mut(CHUNK))
            .zip(masks.chunks(CHUNK));
        for_chunks(
            chunks.collect(),
            || (),
            |(), _, ((bytes, words), masks)| {
                for (x, mask) in words.iter_mut().zip(masks) {
                    *x = x.wrapping_add(*mask);
                }
                write_words(words, bytes);
            },
        );
        wipe_words(std::mem::take(&mut *masks));
        // They are what is sent now, and no secret.
        give_words(std::mem::take(&mut *words));
        self.salt = mask_salt(secret, &self.spec.session);
        self.seed_commitment = seed_commitment(secret, &self.spec.session);
        self.input_digest = digest(&masked);
        self.stats.input_digest = self.seed_commitment;
        if masked.is_empty() {
            // All of the input comes from storage.
            return;
        }
        let mut evaluators = self.spec.evaluator_indices();
        // The last one gets the message itself.
        let last = evaluators.next_back();
        for index in evaluators {
            self.send(index.party(), Phase::Input, copied_bytes(&masked));
        }
        if let Some(index) = last {
            self.send(index.party(), Phase::Input, masked);
        }
    }

    /// Sends the seed to the dealer, or starts the client's own.
    fn begin(&mut self, secret: Secret32, dealer: Option<Dealer>) {
        // Keys and seed come before the input, which is long.
        let input = std::mem::take(&mut self.outbox);
        match dealer {
            None => self.send(Party::Dealer, Phase::Input, secret.as_bytes().to_vec()),
            Some(machine) => {
                let (machine, input) = (Box::new(machine), secret);
                self.dealer = Some(OwnDealer { machine, input });
                self.forward();
            }
        }
        self.outbox.extend(input);
    }

    /// Masks the input with the entry that the dealer grants.
    fn granted(&mut self, waiting: Waiting, payload: &[u8]) {
        self.stats.bytes_received.add(Phase::Input, payload.len());
        let (index, secret) = payload
            .split_first_chunk()
            .expect("the size was checked, qed");
        let secret = Secret32::new(secret.try_into().expect("the size was checked, qed"));
        let session = waiting.pool.entry(u64::from_le_bytes(*index));
        let seed = Seed::new(secret.clone(), session);
        self.mask(&secret, &seed, waiting.words);
    }

    fn send(&mut self, to: Party, phase: Phase, payload: Vec<u8>) {
        self.stats.bytes_sent.add(phase, payload.len());
        self.outbox.push_back(Transmit { to, payload });
    }

    /// Sends the next messages of the client's own dealer: its keys, or the corrections of a step.
    fn forward(&mut self) {
        let Some(own) = &mut self.dealer else {
            return;
        };
        let mut sent = Vec::new();
        while let Some(transmit) = own.machine.poll_transmit() {
            let last = own.machine.nothing_queued();
            sent.push(transmit);
            if last {
                break;
            }
        }
        if own.machine.is_finished() {
            self.dealer = None;
        }
        for Transmit { to, payload } in sent {
            match to {
                Party::Client => self.masks = Some(Wiped::from(payload)),
                to => self.send(to, Phase::Dealt, payload),
            }
        }
    }

    /// What the receipt of `party` must say, once everything was received; `None` before, and for
    /// the client itself.
    pub fn digests_of(&self, party: Party) -> Option<PartyDigests> {
        let (masks, _) = self.complete()?;
        match (party, self.spec.dealer) {
            (Party::Client, _) | (Party::Dealer, DealerSeat::Client) => None,
            (Party::Dealer, DealerSeat::Worker) => Some(PartyDigests {
                input: self.seed_commitment,
                output: salted_digest(&self.salt, masks),
            }),
            // All outputs are equal, or the machine had failed.
            (Party::Evaluator(index), _) => {
                (index.get() < self.spec.evaluators).then_some(PartyDigests {
                    input: self.input_digest,
                    output: self.stats.output_digest,
                })
            }
        }
    }

    /// Masks and masked output, once everyone has sent theirs.
    fn complete(&self) -> Option<(&[u8], &[u8])> {
        let masks = self.masks.as_ref()?;
        (self.outputs == self.spec.evaluators).then_some((masks, &self.output))
    }

    /// The outputs as ring elements, one vector per port, before post-processing.
    pub fn ring_outputs(&self) -> Result<Vec<Vec<u64>>, MpcError> {
        if self.failed {
            return Err(MpcError::Failed);
        }
        let Some((masks, masked)) = self.complete() else {
            let waiting_for = self.next_expected().map(|expected| expected.from);
            return Err(MpcError::NotFinished { waiting_for });
        };
        let program = &self.spec.program;
        let (mut masks, mut masked) = (masks, masked);
        let mut all = Vec::new();
        for port in program.outputs() {
            let mut words = take_words(program.value(port.value).elements() * self.spec.batch);
            let bytes = 8 * words.len();
            let this = (masks.split_off(..bytes), masked.split_off(..bytes));
            let (Some(mask), Some(masked)) = this else {
                unreachable!("sizes were checked when the messages came, qed");
            };
            let chunks = words.chunks_mut(CHUNK).zip(masked.chunks(8 * CHUNK));
            let chunks = chunks.zip(mask.chunks(8 * CHUNK)).collect();
            for_chunks(
                chunks,
                || (),
                |(), _, ((words, masked), mask)| {
                    let pairs = masked
                        .as_chunks::<8>()
                        .0
                        .iter()
                        .zip(mask.as_chunks::<8>().0);
                    for (word, (m, mask)) in words.iter_mut().zip(pairs) {
                        *word = u64::from_le_bytes(*m).wrapping_sub(u64::from_le_bytes(*mask));
                    }
                },
            );
            all.push(words);
        }
        Ok(all)
    }

    /// The outputs in the clear, one or more tensors per port, post-processed.
    pub fn into_outputs(self) -> Result<Vec<OutputTensor>, MpcError> {
        let mut tensors = Vec::new();
        for (port, words) in self.ring_outputs()?.into_iter().enumerate() {
            let program = &self.spec.program;
            let decoded = program.decode_output(port, &words, self.spec.batch);
            wipe_words(words);
            let name = || self.spec.program.outputs()[port].name.clone();
            tensors.extend(decoded.map_err(|source| MpcError::Decode {
                port: name(),
                source,
            })?);
        }
        Ok(tensors)
    }
}

impl Client {
    /// Takes the output of the next evaluator, which must be that of all before it.
    fn compare(&mut self, payload: Vec<u8>) -> Result<(), MpcError> {
        if self.outputs == 0 {
            self.stats.output_digest = digest(&payload);
            self.output = payload;
        } else if self.output == payload {
            give_bytes(payload);
        } else {
            let mut pairs = self.output.iter().zip(&payload);
            let byte = pairs.position(|(a, b)| a != b).unwrap_or_default();
            return Err(MpcError::EvaluatorsDisagree { index: byte / 8 });
        }
        self.outputs += 1;
        Ok(())
    }
}

/// All ports in fixed point, concatenated. The floats are wiped.
fn encode(spec: &SessionSpec, inputs: Vec<Vec<f32>>) -> Result<Zeroizing<Vec<u64>>, MpcError> {
    let program = &spec.program;
    let inputs = Zeroizing::new(inputs);
    if inputs.len() != program.inputs().len() {
        let (expected, found) = (program.inputs().len(), inputs.len());
        return Err(MpcError::InputCount { expected, found });
    }
    let count = |index: usize, port: &Port| match spec.stored.contains(index) {
        true => 0,
        false => program.value(port.value).elements() * spec.batch,
    };
    let ports = program.inputs().iter().enumerate();
    let elements = ports.map(|(index, port)| count(index, port)).sum();
    let mut words = Zeroizing::new(take_words(elements));
    let mut rest = words.as_mut_slice();
    for (index, (port, values)) in program.inputs().iter().zip(inputs.iter()).enumerate() {
        let (expected, found) = (count(index, port), values.len());
        if found != expected {
            let port = port.name.clone();
            return Err(MpcError::InputSize {
                port,
                expected,
                found,
            });
        }
        if spec.stored.contains(index) {
            continue;
        }
        let (this, after) = rest.split_at_mut(expected);
        let encoded = program.encode_input_into(index, values, this);
        encoded.map_err(|source| MpcError::Encode {
            port: port.name.clone(),
            source,
        })?;
        rest = after;
    }
    Ok(words)
}

impl Machine for Client {
    fn party(&self) -> Party {
        Party::Client
    }

    fn next_expected(&self) -> Option<Expected> {
        if self.failed {
            return None;
        }
        if self.waiting.is_some() {
            let (from, bytes) = (Party::Dealer, GRANT_BYTES);
            return Some(Expected { from, bytes });
        }
        if let Some(own) = &self.dealer {
            // Its corrections come before the outputs, whatever it still waits for.
            return own.machine.next_expected();
        }
        let from = match (&self.masks, self.outputs) {
            (None, _) => Party::Dealer,
            (Some(_), next) if next < self.spec.evaluators => EvaluatorIndex::new(next)?.party(),
            _ => return None,
        };
        Some(Expected {
            from,
            bytes: self.schedule.output_bytes(),
        })
    }

    fn handle(&mut self, from: Party, payload: Vec<u8>) -> Result<(), MpcError> {
        if self.failed {
            return Err(MpcError::Failed);
        }
        let payload = Wiped::from(payload);
        let checked = check_message(Party::Client, self.next_expected(), from, payload.len());
        // Failed until the message is dealt with: an error leaves it at that.
        self.failed = true;
        checked?;
        if let Some(waiting) = self.waiting.take() {
            self.granted(waiting, &payload);
        } else if let Some(own) = &mut self.dealer {
            self.stats.bytes_received.add(Phase::Dealt, payload.len());
            own.machine.handle(from, payload.to_vec())?;
            if own.machine.next_expected().map(|expected| expected.from) == Some(Party::Client) {
                let input = own.input.as_bytes().to_vec();
                own.machine.handle(Party::Client, input)?;
            }
        } else {
            self.stats.bytes_received.add(Phase::Output, payload.len());
            if from == Party::Dealer {
                self.masks = Some(payload);
            } else {
                self.compare(payload.into_inner())?;
            }
        }
        self.failed = false;
        Ok(())
    }

    fn work_to_handle(&self) -> Work {
        let schedule = &self.schedule;
        if self.waiting.is_some() {
            return Work::of(schedule.input_words() as u64);
        }
        match &self.dealer {
            // Its keys; the last begins the dealing.
            Some(own) => own
                .machine
                .work_to_handle()
                .max(Work::of(schedule.input_words() as u64)),
            None => Work::of(schedule.output_bytes() as u64),
        }
    }

    fn work_to_transmit(&self) -> Work {
        match &self.dealer {
            Some(own) if self.outbox.is_empty() => own.machine.work_to_transmit(),
            _ => Work::Light,
        }
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        if self.outbox.is_empty() && !self.failed {
            self.forward();
        }
        self.outbox.pop_front()
    }

    fn is_finished(&self) -> bool {
        self.complete().is_some() && self.outbox.is_empty() && !self.failed
    }

    fn stats(&self) -> &Stats {
        &self.stats
    }
}

/// A masked output is a message of the size of the output.
impl Drop for Client {
    fn drop(&mut self) {
        give_bytes(std::mem::take(&mut self.output));
    }
}
