//! Statistical test: what every party sees is uniform, whatever the input.
//!
//! Many sessions with different entropy and the *same* input are recorded. Each kind of thing that
//! a party sees is tested in two ways, both with chi-square statistics at six standard deviations:
//! the distribution of its bytes over all positions, and the frequency of every single bit over
//! the sessions (a bias at one position would drown in the former). Everything is seeded, so the
//! outcome does not vary. The same test must fail for each kind when the masks are zero.

use std::collections::BTreeMap;
use std::sync::Arc;

use ai_link_program::fixed::{BitWindow, Op, Program, ProgramBuilder};

use crate::client::Client;
use crate::dealer::Dealer;
use crate::evaluator::Evaluator;
use crate::party::{EvaluatorIndex, Party};
use crate::session::SessionSpec;
use crate::testing::{Session, secret};

const SESSIONS: u64 = 96;
/// Largest input of the program below: 2^20 units of 2^-8.
const MAX: f32 = 4095.0;

/// A layer of each interactive kind.
fn program() -> Program {
    let mut b = ProgramBuilder::new("uniformity");
    let x = b.input_bounded("x", &[6], 8, 20);
    let weights: Vec<i64> = (0..36).map(|i| (i * 37 % 19 - 9) * 20).collect();
    let (weights, bias) = (
        b.constant(&[6, 6], weights),
        Some(b.constant(&[6], vec![100; 6])),
    );
    let z = b.step(Op::Linear { weights, bias }, &[x], None, 16, 36);
    let window = BitWindow { lo: 8, hi: 36 };
    let h = b.step(Op::Relu { bits: 8, window }, &[z], None, 8, 62);
    let m = b.max(h, x);
    let t = b.trunc(m, 3);
    b.output("t", t);
    b.output("m", m);
    b.finish().expect("a valid program")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Masks {
    Drawn,
    Zero,
}

/// Kinds of things seen, each as one byte vector per session.
type Views = BTreeMap<&'static str, Vec<Vec<u8>>>;

fn record(value: f32, masks: Masks) -> Views {
    let mut views = Views::new();
    let program = Arc::new(program());
    for entropy in 0..SESSIONS {
        let spec = SessionSpec::new(program.clone(), [9; 32], 3);
        let inputs = vec![vec![value; 18]];
        let mut session = match masks {
            Masks::Drawn => Session::new(&spec, inputs, entropy),
            Masks::Zero => without_masks(&spec, inputs, entropy),
        }
        .expect("a valid session");
        session.run().expect("an honest session");
        for (kind, bytes) in views_of(&spec, &session) {
            views.entry(kind).or_default().push(bytes);
        }
    }
    views
}

fn without_masks(
    spec: &SessionSpec,
    inputs: Vec<Vec<f32>>,
    entropy: u64,
) -> Result<Session, crate::MpcError> {
    let client = Client::without_masks(spec.clone(), inputs, secret(entropy, 0))?;
    let mut dealer = Dealer::new(spec.clone(), secret(entropy, 1))?;
    dealer.zero_masks = true;
    let evaluator = |index, n| {
        let mut evaluator = Evaluator::new(spec.clone(), index, secret(entropy, n))?;
        evaluator.zero_masks = true;
        Ok::<_, crate::MpcError>(evaluator)
    };
    let evaluators = [
        evaluator(EvaluatorIndex::ZERO, 2)?,
        evaluator(EvaluatorIndex::ONE, 3)?,
    ];
    Ok(Session::of(client, Some(dealer), evaluators.into()))
}

fn views_of(spec: &SessionSpec, session: &Session) -> Vec<(&'static str, Vec<u8>)> {
    use Party::{Client, Dealer};
    let [zero, one] = [Party::EVALUATOR_0, Party::EVALUATOR_1];
    let sent = |from, to| {
        let all = session
            .transcript
            .iter()
            .filter(move |m| m.from == from && m.to == to);
        all.map(|m| m.payload.as_slice())
    };
    let openings = |from, to| sent(from, to).collect::<Vec<_>>().concat();
    // The last opening of each step is of ring elements, the others of bits.
    let schedule = spec.schedule().expect("a valid session");
    let rounds = schedule.steps().iter().flat_map(|step| {
        let n = step.openings.len();
        (1..=n).map(move |round| round == n)
    });
    let (mut bits, mut words) = (Vec::new(), Vec::new());
    let pairs = sent(zero, one).zip(sent(one, zero));
    for ((ours, theirs), ring) in pairs.zip(rounds) {
        if ring {
            let (a, b) = (
                crate::planes::from_bytes(ours),
                crate::planes::from_bytes(theirs),
            );
            words.extend(
                a.iter()
                    .zip(b)
                    .flat_map(|(a, b)| a.wrapping_add(b).to_le_bytes()),
            );
        } else {
            bits.extend(ours.iter().zip(theirs).map(|(a, b)| a ^ b));
        }
    }
    // The first message of the dealer is its key.
    let dealt = sent(Dealer, one).skip(1).collect::<Vec<_>>().concat();
    vec![
        ("masked input", openings(Client, zero)),
        ("seed at the dealer", openings(Client, Dealer)),
        ("dealt corrections", dealt),
        ("openings of evaluator 0", openings(zero, one)),
        ("openings of evaluator 1", openings(one, zero)),
        ("opened bits", bits),
        ("opened ring elements", words),
    ]
}

/// How far a chi-square statistic lies above its mean, in standard deviations.
fn excess(statistic: f64, degrees: usize) -> f64 {
    (statistic - degrees as f64) / (2.0 * degrees as f64).sqrt()
}

/// Excess of the byte distribution, and of the frequencies of single bits.
pub(crate) fn excesses(samples: &[Vec<u8>]) -> [f64; 2] {
    let mut counts = [0u64; 256];
    samples
        .iter()
        .flatten()
        .for_each(|byte| counts[usize::from(*byte)] += 1);
    let expected = counts.iter().sum::<u64>() as f64 / 256.0;
    let bytes = counts
        .iter()
        .map(|n| (*n as f64 - expected).powi(2) / expected)
        .sum();

    let positions = 8 * samples[0].len();
    let n = samples.len() as f64;
    let ones = |at: usize| {
        samples
            .iter()
            .filter(|s| s[at / 8] >> (at % 8) & 1 == 1)
            .count() as f64
    };
    let bits = (0..positions)
        .map(|at| (ones(at) - n / 2.0).powi(2) / (n / 4.0))
        .sum();
    [excess(bytes, 255), excess(bits, positions)]
}

#[test]
fn everything_seen_is_uniform_for_adversarial_inputs() {
    for value in [0.0, 1.0, -1.0, MAX] {
        for (kind, samples) in record(value, Masks::Drawn) {
            assert_eq!(samples.len(), SESSIONS as usize);
            let [bytes, bits] = excesses(&samples);
            assert!(
                bytes < 6.0 && bits < 6.0,
                "{kind} with input {value}: bytes {bytes:.1}, bits {bits:.1} deviations too many"
            );
        }
    }
}

#[test]
fn the_test_notices_missing_masks() {
    for value in [0.0, 1.0, -1.0, MAX] {
        let views = record(value, Masks::Zero);
        assert_eq!(views.len(), 7);
        for (kind, samples) in views {
            let [bytes, bits] = excesses(&samples);
            assert!(
                bytes > 6.0 && bits > 6.0,
                "{kind} with input {value}: bytes {bytes:.1}, bits {bits:.1} pass without masks"
            );
        }
    }
}
