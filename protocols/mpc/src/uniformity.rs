//! Statistical tests: what every party sees is uniform, and could be made up without the others.
//!
//! Many sessions with different entropy and the *same* input are recorded. Each kind of thing that
//! a party sees is tested in two ways, both with chi-square statistics at six standard deviations:
//! the distribution of its bytes over all positions, and the frequency of every single bit over
//! the sessions (a bias at one position would drown in the former). Everything is seeded, so the
//! outcome does not vary. The same tests must fail for each kind when the masks are zero.
//!
//! * `seen`: every message and everything opened, for groups of all sorts.
//! * `stored`: inputs that come from storage, also where one sharing serves many sessions.
//! * `simulated`: the joint view of a party beside that of a simulator, which knows nothing of the
//!   others' inputs.

mod seen;
mod simulated;
mod stored;

use std::sync::Arc;

use ai_link_program::fixed::{BitWindow, Op, Parameters, Program, ProgramBuilder, ValueId};

use crate::MpcError;
use crate::client::Client;
use crate::dealer::Dealer;
use crate::evaluator::Evaluator;
use crate::session::{DealerSeat, SessionSpec};
use crate::testing::{GroupWeights, Session, secret};
use crate::weights::share;

const SESSIONS: u64 = 96;
/// Largest input of the programs below: 2^20 units of 2^-8.
const MAX: f32 = 4095.0;
/// Adversarial inputs.
const INPUTS: [f32; 4] = [0.0, 1.0, -1.0, MAX];
const BATCH: usize = 3;
const WIDTH: usize = 6;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Masks {
    Drawn,
    Zero,
}

/// A group, its program, and the weights if they are private.
struct Setting {
    name: &'static str,
    spec: SessionSpec,
    weights: Option<GroupWeights>,
}

impl Setting {
    fn all() -> Vec<Self> {
        let program = Arc::new(public());
        let of = |name, evaluators, dealer| {
            let spec = SessionSpec::new(program.clone(), [9; 32], BATCH);
            let spec = SessionSpec {
                evaluators,
                dealer,
                ..spec
            };
            let weights = None;
            Self {
                name,
                spec,
                weights,
            }
        };
        vec![
            of("two evaluators", 2, DealerSeat::Worker),
            of("three evaluators", 3, DealerSeat::Worker),
            of("two evaluators, client deals", 2, DealerSeat::Client),
            of("three evaluators, client deals", 3, DealerSeat::Client),
            Self::private(),
        ]
    }

    fn private() -> Self {
        let (program, parameters) = private();
        let shared = share(&program, &parameters, &secret(7, 7)).expect("fitting parameters");
        Self {
            name: "private weights",
            spec: SessionSpec::new(Arc::new(program), [9; 32], BATCH),
            weights: Some(shared.into()),
        }
    }

    /// One session with every input `value`.
    fn session(&self, value: f32, masks: Masks, entropy: u64) -> Session {
        let inputs = vec![vec![value; WIDTH * BATCH]];
        let session = match masks {
            Masks::Drawn => {
                Session::with_weights(&self.spec, inputs, self.weights.as_ref(), entropy)
            }
            Masks::Zero => self.without_masks(inputs, entropy),
        };
        let mut session = session.expect("a valid session");
        session.run().expect("an honest session");
        session
    }

    fn without_masks(&self, inputs: Vec<Vec<f32>>, entropy: u64) -> Result<Session, MpcError> {
        let spec = &self.spec;
        let client = Client::without_masks(spec.clone(), inputs, secret(entropy, 0))?;
        let mut dealer = match (spec.dealer, &self.weights) {
            (DealerSeat::Client, _) => None,
            (_, None) => Some(Dealer::new(spec.clone(), secret(entropy, 1))?),
            (_, Some(weights)) => {
                let mask = weights.mask.clone();
                let dealer = Dealer::with_weights(spec.clone(), mask, secret(entropy, 1))?;
                Some(dealer)
            }
        };
        dealer
            .iter_mut()
            .for_each(|dealer| dealer.zero_masks = true);
        let evaluators = spec.evaluator_indices().map(|index| {
            let entropy = secret(entropy, 2 + index.get());
            let mut evaluator = match &self.weights {
                None => Evaluator::new(spec.clone(), index, entropy)?,
                Some(weights) => {
                    let share = weights.evaluators[index.at()].clone();
                    Evaluator::with_weights(spec.clone(), index, share, entropy)?
                }
            };
            evaluator.zero_masks = true;
            Ok::<_, MpcError>(evaluator)
        });
        Ok(Session::of(
            client,
            dealer,
            evaluators.collect::<Result<_, _>>()?,
        ))
    }
}

/// What follows the first layer: a layer of each interactive kind.
/// `bits` brings `z` back to the fraction of `x`.
fn rest(b: &mut ProgramBuilder, x: ValueId, z: ValueId, bits: u8) {
    let window = BitWindow { lo: 8, hi: 36 };
    let h = b.step(Op::Relu { bits, window }, &[z], None, 8, 62);
    let m = b.max(h, x);
    let t = b.trunc(m, 3);
    let (square, product) = (b.mul(x, x), b.mul(x, t));
    let (left, right) = (b.reshape(x, &[2, 3]), b.reshape(t, &[3, 2]));
    let matrix = b.matmul(left, right);
    b.output("matrix", matrix);
    b.output("t", t);
    b.output("m", m);
    b.output("product", product);
    b.output("square", square);
}

fn weights() -> Vec<i64> {
    (0..36).map(|i| (i * 37 % 19 - 9) * 20).collect()
}

fn public() -> Program {
    let mut b = ProgramBuilder::new("uniformity");
    let x = b.input_bounded("x", &[WIDTH], 8, 20);
    let (weights, bias) = (
        b.constant(&[6, 6], weights()),
        Some(b.constant(&[6], vec![100; 6])),
    );
    let z = b.step(Op::Linear { weights, bias }, &[x], None, 16, 36);
    rest(&mut b, x, z, 8);
    b.finish().expect("a valid program")
}

fn private() -> (Program, Parameters) {
    let mut b = ProgramBuilder::new("uniformity");
    let x = b.input_bounded("x", &[WIDTH], 8, 20);
    let (w, bias) = (
        b.parameter("w", &[6, 6], 8, 10),
        b.parameter("b", &[6], 16, 8),
    );
    let op = Op::LinearShared {
        weights: w,
        bias: Some(bias),
    };
    let z = b.step(op, &[x], None, 17, 36);
    rest(&mut b, x, z, 9);
    let program = b.finish().expect("a valid program");
    let values = vec![weights(), vec![100; 6]];
    let parameters = Parameters::new(&program, values).expect("fitting parameters");
    (program, parameters)
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
