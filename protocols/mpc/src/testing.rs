//! All four parties in one process: a hand-driven harness, and links over channels.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::client::Client;
use crate::dealer::Dealer;
use crate::drive::{LinkError, Links};
use crate::error::MpcError;
use crate::evaluator::Evaluator;
use crate::keys::Secret32;
use crate::party::{EvaluatorIndex, Party};
use crate::session::{DealerSeat, Machine, SessionSpec, Transmit};
use crate::weights::{SharedWeights, WeightMask, WeightShare};

/// A message that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Who sent it.
    pub from: Party,
    /// Who got it.
    pub to: Party,
    /// The message.
    pub payload: Vec<u8>,
}

/// The parts of private weights as sessions take them.
pub struct GroupWeights {
    /// The dealer's.
    pub mask: Arc<WeightMask>,
    /// The evaluators'.
    pub evaluators: [Arc<WeightShare>; 2],
}

impl From<SharedWeights> for GroupWeights {
    fn from(shared: SharedWeights) -> Self {
        Self {
            mask: Arc::new(shared.mask),
            evaluators: shared.evaluators.map(Arc::new),
        }
    }
}

/// The machines of one session and the messages between them.
pub struct Session {
    /// The client.
    pub client: Client,
    /// The dealer, unless the client deals.
    pub dealer: Option<Dealer>,
    /// All evaluators.
    pub evaluators: Vec<Evaluator>,
    /// Everything delivered so far, in order.
    pub transcript: Vec<Delivered>,
}

impl Session {
    /// All machines of a session; `entropy` makes it reproducible.
    pub fn new(spec: &SessionSpec, inputs: Vec<Vec<f32>>, entropy: u64) -> Result<Self, MpcError> {
        Self::with_weights(spec, inputs, None, entropy)
    }

    /// All machines of a session of a program with private weights.
    pub fn with_weights(
        spec: &SessionSpec,
        inputs: Vec<Vec<f32>>,
        weights: Option<&GroupWeights>,
        entropy: u64,
    ) -> Result<Self, MpcError> {
        let client = Client::new(spec.clone(), inputs, secret(entropy, 0))?;
        let dealer = match (spec.dealer, weights) {
            (DealerSeat::Client, _) => None,
            (DealerSeat::Worker, None) => Some(Dealer::new(spec.clone(), secret(entropy, 1))?),
            (DealerSeat::Worker, Some(weights)) => {
                let mask = weights.mask.clone();
                let dealer = Dealer::with_weights(spec.clone(), mask, secret(entropy, 1))?;
                Some(dealer)
            }
        };
        let evaluator = |index: EvaluatorIndex| {
            let entropy = secret(entropy, 2 + index.get());
            match weights {
                None => Evaluator::new(spec.clone(), index, entropy),
                Some(weights) => {
                    let share = weights.evaluators[index.at()].clone();
                    Evaluator::with_weights(spec.clone(), index, share, entropy)
                }
            }
        };
        let evaluators = spec.evaluator_indices().map(evaluator);
        Ok(Self::of(
            client,
            dealer,
            evaluators.collect::<Result<_, _>>()?,
        ))
    }

    /// A session of machines made elsewhere.
    pub fn of(client: Client, dealer: Option<Dealer>, evaluators: Vec<Evaluator>) -> Self {
        Self {
            client,
            dealer,
            evaluators,
            transcript: Vec::new(),
        }
    }

    /// Delivers messages until everyone is finished.
    pub fn run(&mut self) -> Result<(), MpcError> {
        self.run_with(|_| ())
    }

    /// Like [`run`](Self::run), but `tamper` may change every message before it is delivered.
    pub fn run_with(&mut self, mut tamper: impl FnMut(&mut Delivered)) -> Result<(), MpcError> {
        let mut machines: Vec<&mut dyn Machine> = vec![&mut self.client];
        machines.extend(self.dealer.iter_mut().map(|m| m as &mut dyn Machine));
        machines.extend(self.evaluators.iter_mut().map(|m| m as &mut dyn Machine));
        let transcript = &mut self.transcript;
        exchange(&mut machines, |event| match event {
            Event::Sent(..) => (),
            Event::Arrives(message) => {
                tamper(message);
                transcript.push(message.clone());
            }
        })
    }
}

/// What happens to a message.
pub enum Event<'a> {
    /// It was sent; whether it arrives is open.
    Sent(Party, &'a Transmit),
    /// It is about to be delivered, and may be changed.
    Arrives(&'a mut Delivered),
}

/// Delivers messages between any machines until all are finished.
pub fn exchange(
    machines: &mut [&mut dyn Machine],
    mut watch: impl FnMut(Event<'_>),
) -> Result<(), MpcError> {
    let mut queues: HashMap<(Party, Party), VecDeque<Vec<u8>>> = HashMap::new();
    loop {
        let mut moved = false;
        for machine in machines.iter_mut() {
            while let Some(sent) = machine.poll_transmit() {
                watch(Event::Sent(machine.party(), &sent));
                let queue = queues.entry((machine.party(), sent.to)).or_default();
                queue.push_back(sent.payload);
                moved = true;
            }
            let Some(expected) = machine.next_expected() else {
                continue;
            };
            let (from, to) = (expected.from, machine.party());
            let queue = queues.get_mut(&(from, to));
            let Some(payload) = queue.and_then(VecDeque::pop_front) else {
                continue;
            };
            let mut message = Delivered { from, to, payload };
            watch(Event::Arrives(&mut message));
            machine.handle(message.from, message.payload)?;
            moved = true;
        }
        if machines.iter().all(|machine| machine.is_finished()) {
            let left = queues.values().map(VecDeque::len).sum::<usize>();
            assert_eq!(left, 0, "messages that nobody wanted");
            return Ok(());
        }
        assert!(moved, "everybody waits");
    }
}

/// Feeds arbitrary messages to all machines of a small session; the body of a fuzz target.
///
/// Each record of `data` names a machine, a sender, and whether the message has the size that is
/// due; the bytes that follow are its payload. Whatever comes, machines answer with a value or a
/// typed error.
pub fn fuzz_machines(data: &[u8]) {
    let Ok(spec) = small_spec() else { return };
    let Ok(mut session) = Session::new(&spec, vec![vec![0.5; 4]], 1) else {
        return;
    };
    let parties = [
        Party::Client,
        Party::Dealer,
        Party::EVALUATOR_0,
        Party::EVALUATOR_1,
    ];
    let mut machines: Vec<&mut dyn Machine> = vec![&mut session.client];
    machines.extend(session.dealer.iter_mut().map(|m| m as &mut dyn Machine));
    machines.extend(session.evaluators.iter_mut().map(|m| m as &mut dyn Machine));
    let mut data = data;
    while let Some((control, rest)) = data.split_first() {
        let machine = &mut machines[usize::from(control & 3)];
        while machine.poll_transmit().is_some() {}
        let due = machine.next_expected();
        let (from, size) = match due {
            Some(due) if control & 0x80 == 0 => (due.from, due.bytes),
            _ => (
                parties[usize::from(control >> 2 & 3)],
                usize::from(control >> 4),
            ),
        };
        let mut payload = rest[..size.min(rest.len())].to_vec();
        data = &rest[payload.len()..];
        payload.resize(size, *control);
        // An error is an answer too; the machine must refuse everything afterwards.
        if machine.handle(from, payload).is_err() {
            assert!(
                machine.handle(from, Vec::new()).is_err(),
                "a failed machine went on"
            );
            assert!(!machine.is_finished() || machine.next_expected().is_none());
        }
    }
}

/// A program with every kind of interactive step.
fn small_spec() -> Result<SessionSpec, ai_link_program::fixed::ProgramError> {
    let mut b = ai_link_program::fixed::ProgramBuilder::new("fuzz");
    let x = b.input("x", &[4], 8);
    let h = b.relu(x, 4);
    let t = b.trunc(x, 4);
    let m = b.max(h, t);
    b.output("m", m);
    Ok(SessionSpec::new(Arc::new(b.finish()?), [3; 32], 1))
}

/// Reproducible entropy for a test.
pub fn secret(entropy: u64, party: u8) -> Secret32 {
    let mut bytes = [party; 32];
    bytes[..8].copy_from_slice(&entropy.to_le_bytes());
    Secret32::new(bytes)
}

/// One party's links over channels of this process.
pub struct ChannelLinks {
    senders: HashMap<Party, mpsc::Sender<Vec<u8>>>,
    receivers: HashMap<Party, mpsc::Receiver<Vec<u8>>>,
}

/// Links between all parties, in the order client, dealer, evaluators 0 and 1.
pub fn channel_links() -> [ChannelLinks; 4] {
    links_between([
        Party::Client,
        Party::Dealer,
        Party::EVALUATOR_0,
        Party::EVALUATOR_1,
    ])
}

/// Links between any parties, in their order.
pub fn links_between<const N: usize>(parties: [Party; N]) -> [ChannelLinks; N] {
    let mut links = parties.map(|_| ChannelLinks {
        senders: HashMap::new(),
        receivers: HashMap::new(),
    });
    for (i, a) in parties.into_iter().enumerate() {
        for (j, b) in parties.into_iter().enumerate() {
            let (sender, receiver) = mpsc::channel(2);
            links[i].senders.insert(b, sender);
            links[j].receivers.insert(a, receiver);
        }
    }
    links
}

impl Links for ChannelLinks {
    async fn send(&mut self, to: Party, payload: Vec<u8>) -> Result<(), LinkError> {
        let sender = self
            .senders
            .get(&to)
            .ok_or_else(|| LinkError::new("no such party"))?;
        sender.send(payload).await.map_err(LinkError::new)
    }

    async fn recv(&mut self, from: Party, bytes: usize) -> Result<Vec<u8>, LinkError> {
        let receiver = self.receivers.get_mut(&from);
        let receiver = receiver.ok_or_else(|| LinkError::new("no such party"))?;
        let payload = receiver
            .recv()
            .await
            .ok_or_else(|| LinkError::new("closed"))?;
        match payload.len() == bytes {
            true => Ok(payload),
            false => Err(LinkError::new(format!(
                "{} bytes instead of {bytes}",
                payload.len()
            ))),
        }
    }
}
