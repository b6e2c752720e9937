//! The view of each worker beside that of a simulator.
//!
//! Semi-honest security means that what a party sees could be made up from its own inputs and
//! outputs alone. Workers have none: a dealer gets a seed, an evaluator masked values, and what they
//! hand out is masked. So the simulator of an evaluator plays the real evaluator and sends it
//! random messages of the sizes that the schedule tells; that of the dealer sends a random seed. The real
//! and the made-up views are compared *jointly*: messages in and out, and combinations of
//! them that would show a relation between what came in and what the party knows itself.

use super::{INPUTS, Masks, SESSIONS, Setting, excess};
use crate::dealer::Dealer;
use crate::evaluator::Evaluator;
use crate::party::{EvaluatorIndex, Party};
use crate::prg::{Prg, Purpose};
use crate::session::Machine;
use crate::testing::secret;

/// Messages from and to one party, link by link. Keys are left out: they are points of a curve,
/// and do not depend on inputs.
type View = Vec<Vec<u8>>;

/// A message with its ends.
type Message = ((Party, Party), Vec<u8>);

/// Sorted by link. What goes to all other evaluators alike counts once.
fn by_link(party: Party, mut messages: Vec<Message>) -> View {
    let evaluators = |(from, to): &(Party, Party)| {
        *from == party && matches!((from, to), (Party::Evaluator(_), Party::Evaluator(_)))
    };
    let first = messages.iter().map(|m| m.0).filter(evaluators).min();
    messages.retain(|(link, _)| !evaluators(link) || Some(*link) == first);
    messages.sort_by_key(|(link, _)| *link);
    messages.into_iter().map(|(_, payload)| payload).collect()
}

fn real(setting: &Setting, party: Party, value: f32, masks: Masks, entropy: u64) -> View {
    let session = setting.session(value, masks, entropy);
    let key = setting
        .spec
        .schedule()
        .expect("a valid session")
        .key_bytes();
    let between = |a: Party, b: Party| {
        matches!(a, Party::Dealer) && matches!(b, Party::Evaluator(_))
            || matches!(b, Party::Dealer) && matches!(a, Party::Evaluator(_))
    };
    let mut keys = std::collections::HashSet::new();
    let mut first = |from, to| keys.insert((from, to));
    let all = session.transcript.into_iter();
    let messages = all
        .filter(|m| m.from == party || m.to == party)
        .filter(|m| {
            let is_key = between(m.from, m.to) && m.payload.len() == key && first(m.from, m.to);
            !is_key
        })
        .map(|m| ((m.from, m.to), m.payload));
    by_link(party, messages.collect())
}

/// Random bytes that no other party has a part in.
fn random(entropy: u64, message: u32, bytes: usize) -> Vec<u8> {
    let mut key = [0x51; 16];
    key[..8].copy_from_slice(&entropy.to_le_bytes());
    let mut out = vec![0; bytes];
    Prg::from_key(key).fill_bytes(Purpose::Input, message, &mut out);
    out
}

/// The party alone, with random messages for those of all others. Nothing here knows an input.
fn simulated(setting: &Setting, party: Party, entropy: u64) -> View {
    // Different from the entropy of any real session.
    let own = secret(entropy + 1_000_000, 9);
    let spec = setting.spec.clone();
    let weights = setting.weights.as_ref();
    let mut machine: Box<dyn Machine> = match (party, weights) {
        (Party::Evaluator(index), None) => {
            Box::new(Evaluator::new(spec.clone(), index, own).expect("a valid session"))
        }
        (Party::Evaluator(index), Some(weights)) => {
            let share = weights.evaluators[index.at()].clone();
            let made = Evaluator::with_weights(spec.clone(), index, share, own);
            Box::new(made.expect("a valid session"))
        }
        (_, None) => Box::new(Dealer::new(spec.clone(), own).expect("a valid session")),
        (_, Some(weights)) => {
            let mask = weights.mask.clone();
            Box::new(Dealer::with_weights(spec.clone(), mask, own).expect("a valid session"))
        }
    };
    // Others' keys are real ones, made without their owners' secrets.
    let keys = |from: Party| -> Vec<u8> {
        let entropy = secret(entropy + 2_000_000, 9);
        let other: Box<dyn Machine> = match (from, weights) {
            (Party::Evaluator(index), None) => {
                Box::new(Evaluator::new(spec.clone(), index, entropy).expect("valid"))
            }
            (Party::Evaluator(index), Some(weights)) => {
                let share = weights.evaluators[index.at()].clone();
                let made = Evaluator::with_weights(spec.clone(), index, share, entropy);
                Box::new(made.expect("valid"))
            }
            (_, None) => Box::new(Dealer::new(spec.clone(), entropy).expect("valid")),
            (_, Some(weights)) => {
                let mask = weights.mask.clone();
                Box::new(Dealer::with_weights(spec.clone(), mask, entropy).expect("valid"))
            }
        };
        first_to(other, party)
    };
    let key_bytes = spec.schedule().expect("a valid session").key_bytes();
    let mut missing_keys = match party {
        Party::Dealer => usize::from(spec.evaluators),
        _ => 1,
    };
    let mut own_keys = missing_keys;
    let (mut view, mut message) = (Vec::new(), 0);
    loop {
        while let Some(sent) = machine.poll_transmit() {
            if own_keys > 0 {
                own_keys -= 1;
            } else {
                view.push(((party, sent.to), sent.payload));
            }
        }
        let Some(due) = machine.next_expected() else {
            break;
        };
        message += 1;
        let payload = if missing_keys > 0 {
            assert_eq!(due.bytes, key_bytes);
            missing_keys -= 1;
            keys(due.from)
        } else {
            let payload = random(entropy, message, due.bytes);
            view.push(((due.from, party), payload.clone()));
            payload
        };
        machine
            .handle(due.from, payload)
            .expect("messages of the right size");
    }
    assert!(machine.is_finished());
    by_link(party, view)
}

/// The first message that a machine sends to `to`.
fn first_to(mut machine: Box<dyn Machine>, to: Party) -> Vec<u8> {
    loop {
        let sent = machine.poll_transmit().expect("a key for everyone");
        if sent.to == to {
            return sent.payload;
        }
    }
}

/// The view as bytes: every message, and each combined with the next of its size, by addition of
/// bytes and by exclusive or, where relations between messages would show.
fn joint(view: &View) -> Vec<u8> {
    let mut bytes = view.concat();
    for (i, a) in view.iter().enumerate() {
        if let Some(b) = view[i + 1..].iter().find(|b| b.len() == a.len()) {
            bytes.extend(a.iter().zip(b).map(|(a, b)| a ^ b));
            let words = |m: &Vec<u8>| crate::planes::from_bytes(m);
            let sums = words(a).into_iter().zip(words(b));
            bytes.extend(sums.flat_map(|(a, b)| a.wrapping_add(b).to_le_bytes()));
        }
    }
    bytes
}

/// How far two sets of samples lie apart: by the counts of bytes, and of every single bit.
fn distance(a: &[Vec<u8>], b: &[Vec<u8>]) -> [f64; 2] {
    let counts = |samples: &[Vec<u8>]| {
        let mut counts = [0f64; 256];
        let all = samples.iter().flatten();
        all.for_each(|byte| counts[usize::from(*byte)] += 1.0);
        counts
    };
    let both = counts(a).into_iter().zip(counts(b));
    let bytes = both
        .filter(|(a, b)| a + b > 0.0)
        .map(|(a, b)| (a - b).powi(2) / (a + b))
        .sum();
    let positions = 8 * a[0].len();
    let ones = |samples: &[Vec<u8>], at: usize| {
        let set = samples.iter().filter(|s| s[at / 8] >> (at % 8) & 1 == 1);
        set.count() as f64
    };
    let n = a.len() as f64;
    // The difference of two counts of n tosses has variance n / 2.
    let bits = (0..positions)
        .map(|at| (ones(a, at) - ones(b, at)).powi(2) / (n / 2.0))
        .sum();
    [excess(bytes, 255), excess(bits, positions)]
}

fn settings() -> Vec<Setting> {
    vec![
        Setting::all().swap_remove(0),
        Setting::all().swap_remove(1),
        Setting::private(),
    ]
}

fn parties(setting: &Setting) -> Vec<Party> {
    let evaluators = EvaluatorIndex::first(setting.spec.evaluators).map(|i| i.party());
    evaluators.chain([Party::Dealer]).collect()
}

/// Compares real views with made-up ones.
fn compare(
    setting: &Setting,
    party: Party,
    made: &[Vec<u8>],
    value: f32,
    masks: Masks,
) -> [f64; 2] {
    let real: Vec<Vec<u8>> = (0..SESSIONS)
        .map(|entropy| joint(&real(setting, party, value, masks, entropy)))
        .collect();
    assert_eq!(real[0].len(), made[0].len(), "views have the same shape");
    distance(&real, made)
}

fn all_made_up(setting: &Setting, party: Party) -> Vec<Vec<u8>> {
    let made = |entropy| joint(&simulated(setting, party, entropy));
    (0..SESSIONS).map(made).collect()
}

#[test]
fn the_view_of_every_worker_can_be_made_up_without_the_others() {
    for setting in settings() {
        for party in parties(&setting) {
            let made = all_made_up(&setting, party);
            for value in INPUTS {
                let [bytes, bits] = compare(&setting, party, &made, value, Masks::Drawn);
                assert!(
                    bytes.abs() < 6.0 && bits.abs() < 6.0,
                    "{}: view of {party} with input {value}: bytes {bytes:.1}, bits {bits:.1}",
                    setting.name
                );
            }
        }
    }
}

#[test]
fn the_simulator_is_told_from_sessions_without_masks() {
    for setting in settings() {
        for party in parties(&setting) {
            let made = all_made_up(&setting, party);
            for value in INPUTS {
                let [bytes, bits] = compare(&setting, party, &made, value, Masks::Zero);
                assert!(
                    bytes > 6.0 && bits > 6.0,
                    "{}: view of {party} with input {value}: bytes {bytes:.1}, bits {bits:.1}",
                    setting.name
                );
            }
        }
    }
}
