//! The client: masks its input, and unmasks the output.

use std::collections::VecDeque;

use ai_link_program::OutputTensor;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::dealer::{mask_salt, salted_digest, seed_commitment};
use crate::error::MpcError;
use crate::keys::Secret32;
use crate::party::Party;
use crate::planes::{from_bytes, to_bytes};
use crate::prg::Seed;
use crate::schedule::Schedule;
use crate::session::{Expected, Machine, Phase, SessionSpec, Stats, Transmit, check_message};

/// In which order the client reads its outputs. Any works; the dealer is finished first.
const OUTPUT_ORDER: [Party; 3] = [Party::Dealer, Party::EVALUATOR_0, Party::EVALUATOR_1];

/// Client of one session.
///
/// Sends the seed of its masks to the dealer and its masked input to both evaluators, then needs
/// the output's mask from the dealer and the masked output from both evaluators, which must agree.
pub struct Client {
    spec: SessionSpec,
    schedule: Schedule,
    /// Salt of the dealer's digest of the output's mask.
    salt: Secret32,
    seed_commitment: [u8; 32],
    input_digest: [u8; 32],
    /// Messages received, in [`OUTPUT_ORDER`].
    received: Vec<Zeroizing<Vec<u8>>>,
    failed: bool,
    outbox: VecDeque<Transmit>,
    stats: Stats,
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
    /// row-major. `entropy` must be fresh.
    pub fn new(
        spec: SessionSpec,
        inputs: Vec<Vec<f32>>,
        entropy: Secret32,
    ) -> Result<Self, MpcError> {
        let schedule = spec.schedule()?;
        let words = encode(&spec, inputs)?;
        let secret = entropy.derive(&spec.session, &[b"ai-link/mpc/input-seed/v1"]);
        let seed = Seed::new(secret.clone(), spec.session);
        Ok(Self::masked(spec, schedule, secret, seed, words))
    }

    #[cfg(test)]
    pub(crate) fn without_masks(
        spec: SessionSpec,
        inputs: Vec<Vec<f32>>,
    ) -> Result<Self, MpcError> {
        let schedule = spec.schedule()?;
        let words = encode(&spec, inputs)?;
        let secret = Secret32::new([0; 32]);
        let seed = Seed::new(secret.clone(), spec.session).zeroed();
        Ok(Self::masked(spec, schedule, secret, seed, words))
    }

    fn masked(
        spec: SessionSpec,
        schedule: Schedule,
        secret: Secret32,
        seed: Seed,
        mut words: Zeroizing<Vec<u64>>,
    ) -> Self {
        let masks = seed.input_masks(words.len());
        words
            .iter_mut()
            .zip(masks.iter())
            .for_each(|(x, mask)| *x = x.wrapping_add(*mask));
        let masked = to_bytes(&words);
        let mut client = Self {
            salt: mask_salt(&secret, &spec.session),
            seed_commitment: seed_commitment(&secret, &spec.session),
            input_digest: Sha256::digest(&masked).into(),
            spec,
            schedule,
            received: Vec::new(),
            failed: false,
            outbox: VecDeque::new(),
            stats: Stats::default(),
        };
        client.stats.input_digest = client.seed_commitment;
        client.send(Party::Dealer, secret.as_bytes().to_vec());
        client.send(Party::EVALUATOR_0, masked.clone());
        client.send(Party::EVALUATOR_1, masked);
        client
    }

    fn send(&mut self, to: Party, payload: Vec<u8>) {
        self.stats.bytes_sent.add(Phase::Input, payload.len());
        self.outbox.push_back(Transmit { to, payload });
    }

    /// What the receipt of `party` must say, once everything was received; `None` before, and for
    /// the client itself.
    pub fn digests_of(&self, party: Party) -> Option<PartyDigests> {
        let [masks, masked, _] = self.received.as_slice() else {
            return None;
        };
        match party {
            Party::Client => None,
            Party::Dealer => Some(PartyDigests {
                input: self.seed_commitment,
                output: salted_digest(&self.salt, masks),
            }),
            // Both outputs are equal, or the machine had failed.
            Party::Evaluator(_) => Some(PartyDigests {
                input: self.input_digest,
                output: Sha256::digest(masked.as_slice()).into(),
            }),
        }
    }

    /// The outputs as ring elements, one vector per port, before post-processing.
    pub fn ring_outputs(&self) -> Result<Vec<Vec<u64>>, MpcError> {
        if self.failed {
            return Err(MpcError::Failed);
        }
        let [masks, masked, _] = self.received.as_slice() else {
            let waiting_for = self.next_expected().map(|expected| expected.from);
            return Err(MpcError::NotFinished { waiting_for });
        };
        let (masks, masked) = (Zeroizing::new(from_bytes(masks)), from_bytes(masked));
        let mut words = masked
            .iter()
            .zip(masks.iter())
            .map(|(m, mask)| m.wrapping_sub(*mask));
        let program = &self.spec.program;
        let ports = program.outputs().iter();
        let words_of = |value| program.value(value).elements() * self.spec.batch;
        Ok(ports
            .map(|port| words.by_ref().take(words_of(port.value)).collect())
            .collect())
    }

    /// The outputs in the clear, one or more tensors per port, post-processed.
    pub fn into_outputs(self) -> Result<Vec<OutputTensor>, MpcError> {
        let mut tensors = Vec::new();
        for (port, words) in self.ring_outputs()?.iter().enumerate() {
            let decoded = self
                .spec
                .program
                .decode_output(port, words, self.spec.batch);
            let name = || self.spec.program.outputs()[port].name.clone();
            tensors.extend(decoded.map_err(|source| MpcError::Decode {
                port: name(),
                source,
            })?);
        }
        Ok(tensors)
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
    let mut words = Zeroizing::new(Vec::new());
    for (index, (port, values)) in program.inputs().iter().zip(inputs.iter()).enumerate() {
        let expected = program.value(port.value).elements() * spec.batch;
        if values.len() != expected {
            let (port, found) = (port.name.clone(), values.len());
            return Err(MpcError::InputSize {
                port,
                expected,
                found,
            });
        }
        let mut encoded =
            program
                .encode_input(index, values)
                .map_err(|source| MpcError::Encode {
                    port: port.name.clone(),
                    source,
                })?;
        words.extend_from_slice(&encoded);
        encoded.zeroize();
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
        let from = *OUTPUT_ORDER.get(self.received.len())?;
        Some(Expected {
            from,
            bytes: self.schedule.output_bytes(),
        })
    }

    fn handle(&mut self, from: Party, payload: Vec<u8>) -> Result<(), MpcError> {
        if self.failed {
            return Err(MpcError::Failed);
        }
        let payload = Zeroizing::new(payload);
        let checked = check_message(Party::Client, self.next_expected(), from, payload.len());
        // Failed until the message is dealt with: an error leaves it at that.
        self.failed = true;
        checked?;
        self.stats.bytes_received.add(Phase::Output, payload.len());
        if let (Party::EVALUATOR_1, Some(first)) = (from, self.received.get(1)) {
            if let Some(byte) = first.iter().zip(payload.iter()).position(|(a, b)| a != b) {
                return Err(MpcError::EvaluatorsDisagree { index: byte / 8 });
            }
            self.stats.output_digest = Sha256::digest(payload.as_slice()).into();
        }
        self.received.push(payload);
        self.failed = false;
        Ok(())
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    fn is_finished(&self) -> bool {
        self.received.len() == OUTPUT_ORDER.len() && self.outbox.is_empty() && !self.failed
    }

    fn stats(&self) -> &Stats {
        &self.stats
    }
}
