//! Stored inputs: what a worker brings and what it sees afterwards, together, is uniform.
//!
//! An evaluator holds masked words before anything begins, and the same ones in every session of a
//! sharing. So its view here is of *two* sessions with one sharing: the words, the corrections and
//! openings of both, and their sums and differences, where masks that repeat would cancel.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{BATCH, INPUTS, SESSIONS, WIDTH, excesses, rest, weights};
use crate::client::Client;
use crate::dealer::Dealer;
use crate::evaluator::Evaluator;
use crate::party::Party;
use crate::planes::{from_bytes, to_bytes};
use crate::session::SessionSpec;
use crate::stored::{StoredPorts, StoredShare};
use crate::testing::{Session, secret};
use ai_link_program::fixed::{Op, Program, ProgramBuilder};

/// What the masks of stored inputs are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Drawn,
    /// The owner forgot to mask.
    Zero,
}

/// Two owners' inputs, a layer over their sum, and a layer of each interactive kind.
fn program() -> Program {
    let mut b = ProgramBuilder::new("two owners");
    let x = b.input_bounded("a", &[WIDTH], 8, 20);
    let y = b.input_bounded("b", &[WIDTH], 8, 20);
    let sum = b.add(x, y);
    let (weights, bias) = (
        b.constant(&[6, 6], weights()),
        Some(b.constant(&[6], vec![100; 6])),
    );
    let z = b.step(Op::Linear { weights, bias }, &[sum], None, 16, 36);
    rest(&mut b, x, z, 8);
    b.finish().expect("a valid program")
}

/// One owner's sharing of an input that is `value` everywhere: the masked words, and their mask.
fn shared(
    program: &Program,
    port: usize,
    value: f32,
    sharing: Sharing,
    entropy: u64,
) -> [Vec<u64>; 2] {
    let words = program.encode_input(port, &[value; WIDTH * BATCH]);
    let words = words.expect("a value in range");
    let mask: Vec<u64> = match sharing {
        Sharing::Zero => vec![0; words.len()],
        Sharing::Drawn => {
            let seed = secret(entropy, 100 + port as u8).derive(&[1; 32], &[b"test sharing"]);
            let mask = crate::prg::Seed::new(seed, [2; 32]).input_masks(words.len());
            mask.to_vec()
        }
    };
    let masked = words.iter().zip(&mask).map(|(x, l)| x.wrapping_add(*l));
    [masked.collect(), mask]
}

fn shares(all: &[[Vec<u64>; 2]], part: usize) -> Vec<StoredShare> {
    let ports = all.iter().enumerate();
    ports
        .map(|(port, shares)| StoredShare {
            port,
            words: Zeroizing::new(shares[part].clone()),
        })
        .collect()
}

/// What the two evaluators and the client see of two sessions with one sharing.
struct Views {
    evaluators: [Vec<u8>; 2],
    output_mask: Vec<u8>,
}

fn views(program: &Arc<Program>, value: f32, sharing: Sharing, entropy: u64) -> Views {
    let all = [0, 1].map(|port| shared(program, port, value, sharing, entropy));
    let mut seen: [Vec<Vec<u8>>; 2] = Default::default();
    let mut output_mask = Vec::new();
    for run in 0..2_u8 {
        let spec = SessionSpec {
            stored: StoredPorts::of([0, 1]).expect("two ports"),
            ..SessionSpec::new(program.clone(), [run; 32], BATCH)
        };
        let drawn = |party| secret(entropy, 10 * run + party);
        let client = Client::new(spec.clone(), vec![Vec::new(); 2], drawn(0)).expect("valid");
        let mut dealer = Dealer::new(spec.clone(), drawn(1)).expect("valid");
        dealer.zero_masks = sharing == Sharing::Zero;
        let dealer = dealer.with_stored(shares(&all, 1)).expect("fitting shares");
        let evaluators = spec.evaluator_indices().map(|index| {
            let evaluator = Evaluator::new(spec.clone(), index, drawn(2 + index.get()));
            let mut evaluator = evaluator.expect("valid");
            evaluator.zero_masks = sharing == Sharing::Zero;
            evaluator.with_stored(shares(&all, 0)).expect("fitting")
        });
        let mut session = Session::of(client, Some(dealer), evaluators.collect());
        session.run().expect("an honest session");
        for (at, to) in [Party::EVALUATOR_0, Party::EVALUATOR_1].iter().enumerate() {
            let messages = session.transcript.iter();
            let to_it = messages.filter(|m| m.to == *to && m.payload.len() > 32);
            assert!(to_it.clone().all(|m| m.from != Party::Client));
            let view = to_it.flat_map(|m| m.payload.clone()).collect();
            seen[at].push(view);
        }
        let messages = session.transcript.iter();
        let masks = messages.filter(|m| (m.from, m.to) == (Party::Dealer, Party::Client));
        output_mask.extend(masks.flat_map(|m| m.payload.clone()));
    }
    let evaluators = seen.map(|sessions| {
        let mut view: Vec<u8> = all.iter().flat_map(|[m, _]| to_bytes(m)).collect();
        let [first, second] = &sessions[..] else {
            unreachable!("two sessions")
        };
        view.extend(first);
        view.extend(second);
        // Masks that repeat between sessions would cancel here.
        let pairs = from_bytes(first).into_iter().zip(from_bytes(second));
        let combined = pairs.flat_map(|(a, b)| [a.wrapping_sub(b), a ^ b]);
        view.extend(combined.flat_map(u64::to_le_bytes));
        view
    });
    Views {
        evaluators,
        output_mask,
    }
}

/// Excesses of every kind of view over many sharings of the same input.
fn measured(value: f32, sharing: Sharing) -> Vec<(&'static str, [f64; 2])> {
    let program = Arc::new(program());
    let all: Vec<Views> = (0..SESSIONS)
        .map(|entropy| views(&program, value, sharing, entropy))
        .collect();
    let evaluator = |at: usize| -> Vec<Vec<u8>> {
        let views = all.iter();
        views.map(|views| views.evaluators[at].clone()).collect()
    };
    let masks: Vec<Vec<u8>> = all.iter().map(|views| views.output_mask.clone()).collect();
    vec![
        ("evaluator 0", excesses(&evaluator(0))),
        ("evaluator 1", excesses(&evaluator(1))),
        ("the output's mask at the client", excesses(&masks)),
    ]
}

#[test]
fn evaluators_of_stored_inputs_see_nothing_but_noise_over_many_sessions() {
    for value in INPUTS {
        for (who, [bytes, bits]) in measured(value, Sharing::Drawn) {
            assert!(
                bytes < 6.0 && bits < 6.0,
                "{who} with input {value}: bytes {bytes:.1}, bits {bits:.1} deviations too many"
            );
        }
    }
}

#[test]
fn the_test_notices_an_input_that_its_owner_did_not_mask() {
    for value in INPUTS {
        for (who, [bytes, bits]) in measured(value, Sharing::Zero) {
            assert!(
                bytes > 6.0 && bits > 6.0,
                "{who} with input {value}: bytes {bytes:.1}, bits {bits:.1} pass without masks"
            );
        }
    }
}
