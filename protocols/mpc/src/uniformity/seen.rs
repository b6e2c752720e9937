//! Every message, and everything opened, is uniform for adversarial inputs.

use std::collections::BTreeMap;

use super::{INPUTS, Masks, SESSIONS, Setting, excesses};
use crate::party::Party;
use crate::planes::from_bytes;
use crate::session::{DealerSeat, SessionSpec};
use crate::testing::Session;

/// Kinds of things seen, each as one byte vector per session.
type Views = BTreeMap<String, Vec<Vec<u8>>>;

fn record(setting: &Setting, value: f32, masks: Masks) -> Views {
    let mut views = Views::new();
    for entropy in 0..SESSIONS {
        let session = setting.session(value, masks, entropy);
        for (kind, bytes) in views_of(&setting.spec, &session) {
            views.entry(kind).or_default().push(bytes);
        }
    }
    views
}

/// The messages from one party to another, in order.
fn sent(session: &Session, from: Party, to: Party) -> Vec<&[u8]> {
    let all = session.transcript.iter();
    all.filter(|m| m.from == from && m.to == to)
        .map(|m| m.payload.as_slice())
        .collect()
}

fn views_of(spec: &SessionSpec, session: &Session) -> Vec<(String, Vec<u8>)> {
    let evaluators: Vec<Party> = spec.evaluator_indices().map(|i| i.party()).collect();
    let dealer = spec.dealing_party();
    let mut views = Vec::new();
    if spec.dealer == DealerSeat::Worker {
        let seed = sent(session, Party::Client, Party::Dealer).concat();
        views.push(("seed at the dealer".to_owned(), seed));
    }
    let input = spec.schedule().expect("a valid session").input_bytes();
    for to in &evaluators {
        // The first message of whoever deals is its key.
        let mut dealt = sent(session, dealer, *to).into_iter().skip(1);
        let masked = match spec.dealer {
            DealerSeat::Worker => sent(session, Party::Client, *to).concat(),
            DealerSeat::Client => dealt.next().expect("the input").to_vec(),
        };
        assert_eq!(masked.len(), input);
        views.push((format!("masked input at {to}"), masked));
        let dealt = dealt.collect::<Vec<_>>().concat();
        assert!(!dealt.is_empty(), "corrections go to all in turn");
        views.push((format!("corrections to {to}"), dealt));
        for from in evaluators.iter().filter(|from| *from != to) {
            let openings = sent(session, *from, *to).concat();
            views.push((format!("openings from {from} to {to}"), openings));
        }
    }
    let (bits, words) = opened(spec, session, &evaluators);
    views.push(("opened bits".to_owned(), bits));
    views.push(("opened ring elements".to_owned(), words));
    views
}

/// What all shares of all openings come to: bits, and ring elements.
fn opened(spec: &SessionSpec, session: &Session, evaluators: &[Party]) -> (Vec<u8>, Vec<u8>) {
    // The last opening of each step is of ring elements, the others of bits.
    let schedule = spec.schedule().expect("a valid session");
    let rounds = schedule.steps().iter().flat_map(|step| {
        let n = step.openings.len();
        (1..=n).map(move |round| round == n)
    });
    // What each evaluator sends to the next one; all others get the same.
    let n = evaluators.len();
    let of = |i: usize| sent(session, evaluators[i], evaluators[(i + 1) % n]);
    let shares: Vec<Vec<&[u8]>> = (0..n).map(of).collect();
    let (mut bits, mut words) = (Vec::new(), Vec::new());
    for (round, ring) in rounds.enumerate() {
        let mut sum = from_bytes(shares[0][round]);
        for share in &shares[1..] {
            for (sum, share) in sum.iter_mut().zip(from_bytes(share[round])) {
                *sum = if ring {
                    sum.wrapping_add(share)
                } else {
                    *sum ^ share
                };
            }
        }
        let out = if ring { &mut words } else { &mut bits };
        out.extend(sum.iter().flat_map(|word| word.to_le_bytes()));
    }
    (bits, words)
}

#[test]
fn everything_seen_is_uniform_for_adversarial_inputs() {
    for setting in Setting::all() {
        for value in INPUTS {
            for (kind, samples) in record(&setting, value, Masks::Drawn) {
                assert_eq!(samples.len(), SESSIONS as usize);
                let [bytes, bits] = excesses(&samples);
                assert!(
                    bytes < 6.0 && bits < 6.0,
                    "{}: {kind} with input {value}: bytes {bytes:.1}, bits {bits:.1} deviations too many",
                    setting.name
                );
            }
        }
    }
}

#[test]
fn the_test_notices_missing_masks() {
    for setting in Setting::all() {
        let kinds = match setting.spec.dealer {
            DealerSeat::Worker => 1,
            DealerSeat::Client => 0,
        };
        let n = usize::from(setting.spec.evaluators);
        for value in INPUTS {
            let views = record(&setting, value, Masks::Zero);
            assert_eq!(views.len(), kinds + n * (n + 1) + 2);
            for (kind, samples) in views {
                let [bytes, bits] = excesses(&samples);
                assert!(
                    bytes > 6.0 && bits > 6.0,
                    "{}: {kind} with input {value}: bytes {bytes:.1}, bits {bits:.1} pass without masks",
                    setting.name
                );
            }
        }
    }
}
