//! Private weights, and products of secrets.

use std::sync::Arc;

use ai_link_mpc::testing::{GroupWeights, Session, secret};
use ai_link_mpc::weights::{SharedWeights, WeightError, WeightMask, WeightShare, share};
use ai_link_mpc::{
    Dealer, DealerSeat, Evaluator, EvaluatorIndex, Machine, MpcError, Party, SessionSpec,
};
use ai_link_program::fixed::{ConvGeometry, Parameters, Program, ProgramBuilder};
use proptest::prelude::*;

use super::{distance, inputs, ints, mlp, spec};

/// A CNN whose every weight is private, with a residual connection: its operand is read twice.
pub(super) fn private_cnn() -> (Program, Parameters) {
    let mut b = ProgramBuilder::new("private");
    let x = b.input_bounded("image", &[2, 6, 6], 10, 14);
    let mut values = Vec::new();
    let mut parameter = |b: &mut ProgramBuilder, name: &str, dims: &[usize], fraction, bits: u8| {
        let n = dims.iter().product();
        values.push(ints(values.len() as u64 + 1, n, 1i64 << bits));
        b.parameter(name, dims, fraction, bits + 1)
    };
    let weights = parameter(&mut b, "w0", &[4, 2, 3, 3], 10, 10);
    let bias = parameter(&mut b, "b0", &[4], 20, 20);
    let padded = ConvGeometry {
        pads: [1; 4],
        ..ConvGeometry::UNIT
    };
    let z = b.conv_shared(x, weights, Some(bias), padded);
    let h = b.relu(z, 11);
    let weights = parameter(&mut b, "w1", &[4, 1, 3, 3], 10, 10);
    let depthwise = ConvGeometry {
        groups: 4,
        strides: [1, 1],
        ..padded
    };
    let d = b.conv_shared(h, weights, None, depthwise);
    let d = b.trunc(d, 11);
    let sum = b.add(h, d);
    let flat = b.reshape(sum, &[144]);
    let weights = parameter(&mut b, "w2", &[144, 3], 10, 10);
    let bias = parameter(&mut b, "b2", &[3], 20, 20);
    let z = b.linear_shared(flat, weights, Some(bias));
    let z = b.trunc(z, 11);
    let square = b.mul(z, z);
    b.output("logits", z);
    b.output("square", square);
    let program = b.finish().unwrap();
    let parameters = Parameters::new(&program, values).unwrap();
    (program, parameters)
}

fn clear_with(
    program: &Program,
    parameters: &Parameters,
    inputs: &[Vec<f32>],
    batch: usize,
) -> Vec<Vec<u64>> {
    let encode = |(i, v): (usize, &Vec<f32>)| program.encode_input(i, v).unwrap();
    let ring: Vec<Vec<u64>> = inputs.iter().enumerate().map(encode).collect();
    program.run_clear_with(parameters, &ring, batch).unwrap()
}

pub(super) fn shared(program: &Program, parameters: &Parameters, entropy: u64) -> SharedWeights {
    share(program, parameters, &secret(entropy, 9)).unwrap()
}

#[test]
fn a_private_cnn_is_the_clear_program() {
    let (program, parameters) = private_cnn();
    let weights = GroupWeights::from(shared(&program, &parameters, 1));
    // The same shares serve many sessions, of any batch.
    for (batch, entropy) in [(1, 2), (5, 3), (5, 4)] {
        let spec = SessionSpec {
            session: [entropy as u8; 32],
            ..spec(program.clone(), batch)
        };
        let inputs = inputs(&program, batch, 30 + entropy);
        let want = clear_with(&program, &parameters, &inputs, batch);
        let mut session = Session::with_weights(&spec, inputs, Some(&weights), entropy).unwrap();
        session.run().unwrap();
        let got = session.client.ring_outputs().unwrap();
        // Units of 2^-10, off by at most one per truncation: 144 terms with weights below 1, of
        // which each is off by one and, through nine weights below 1, by ten more.
        let off = distance(&got[..1], &want[..1]);
        assert!(off <= 144 * 11 + 1, "batch {batch}: {off}");
        // What follows is exact: it squares what came out.
        let squares = got[0].iter().map(|z| z.wrapping_mul(*z).wrapping_mul(2));
        assert_eq!(got[1], squares.collect::<Vec<_>>());
        let schedule = spec.schedule().unwrap();
        assert_eq!(schedule.key_bytes(), 64);
        for evaluator in &session.evaluators {
            assert_eq!(evaluator.stats().rounds as usize, schedule.rounds());
        }
    }
}

/// One product and nothing else.
fn single() -> (Program, Parameters) {
    let mut b = ProgramBuilder::new("single");
    let x = b.input_bounded("x", &[3, 5], 4, 20);
    let weights = b.parameter("w", &[5, 4], 4, 20);
    let bias = b.parameter("b", &[4], 8, 30);
    let z = b.linear_shared(x, weights, Some(bias));
    b.output("z", z);
    let program = b.finish().unwrap();
    let top = (1 << 20) - 1;
    let mut weights = ints(7, 20, 1 << 20);
    weights[..4].copy_from_slice(&[0, 1, -top, top]);
    let values = vec![weights, vec![0, -1, (1 << 30) - 1, 1 - (1 << 30)]];
    let parameters = Parameters::new(&program, values).unwrap();
    (program, parameters)
}

#[test]
fn products_are_exact_and_cost_what_the_design_says() {
    let (program, parameters) = single();
    let weights = GroupWeights::from(shared(&program, &parameters, 1));
    let spec = spec(program.clone(), 7);
    for value in [0.0, 0.0625, -0.0625, 65535.0, -65535.0, 3.25] {
        let inputs = vec![vec![value; 15 * 7]];
        let encode = program.encode_input(0, &inputs[0]).unwrap();
        let want = program.run_clear_with(&parameters, &[encode], 7).unwrap();
        let mut session = Session::with_weights(&spec, inputs, Some(&weights), 1).unwrap();
        session.run().unwrap();
        assert_eq!(distance(&session.client.ring_outputs().unwrap(), &want), 0);
    }
    let schedule = spec.schedule().unwrap();
    let step = &schedule.steps()[0];
    assert_eq!(step.dealt, [0, 8 * 15 * 7]);
    assert_eq!(step.openings, [8 * 12 * 7]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn products_of_secrets_are_exact(
        pairs in proptest::collection::vec((-(1i64 << 29)..1 << 29, -(1i64 << 29)..1 << 29), 1..80),
        evaluators in 2u8..5, seed: u64,
    ) {
        let top = (1i64 << 30) - 1;
        let mut pairs = pairs;
        pairs.extend([(0, top), (1, -1), (top, top), (-top, top), (-top, -top)]);
        let mut b = ProgramBuilder::new("mul");
        let (x, y) = (b.input_bounded("x", &[1], 0, 30), b.input_bounded("y", &[1], 0, 30));
        let both = b.mul(x, y);
        let square = b.mul(y, y);
        b.output("both", both);
        b.output("square", square);
        let program = b.finish().unwrap();
        // Floats that hold these integers exactly.
        let exact = |v: i64| (v.signum() * (v.abs() >> 8 << 8)) as f32;
        let batch = pairs.len();
        let inputs = vec![
            pairs.iter().map(|p| exact(p.0)).collect(),
            pairs.iter().map(|p| exact(p.1)).collect(),
        ];
        let want = super::clear(&program, &inputs, batch);
        for dealer in [DealerSeat::Worker, DealerSeat::Client] {
            let spec = SessionSpec { evaluators, dealer, ..spec(program.clone(), batch) };
            let mut session = Session::new(&spec, inputs.clone(), seed).unwrap();
            session.run().unwrap();
            prop_assert_eq!(session.client.ring_outputs().unwrap(), want.clone());
        }
    }
}

#[test]
fn parts_survive_storage_and_say_whose_they_are() {
    let (program, parameters) = private_cnn();
    let shared = shared(&program, &parameters, 5);
    let mask = WeightMask::from_bytes(&shared.mask.to_bytes(), &program).unwrap();
    assert_eq!(mask.sharing(), shared.mask.sharing());
    let evaluators = shared.evaluators.each_ref().map(|share| {
        let bytes = share.to_bytes();
        let again = WeightShare::from_bytes(&bytes, &program).unwrap();
        assert_eq!(again.to_bytes(), bytes);
        assert_eq!(again.index(), share.index());
        again
    });
    let stored = GroupWeights::from(SharedWeights { mask, evaluators });
    let inputs = inputs(&program, 1, 1);
    let want = clear_with(&program, &parameters, &inputs, 1);
    let spec = spec(program.clone(), 1);
    let mut session = Session::with_weights(&spec, inputs, Some(&stored), 6).unwrap();
    session.run().unwrap();
    let got = session.client.ring_outputs().unwrap();
    assert!(distance(&got[..1], &want[..1]) <= 144 * 11 + 1);
    assert!(format!("{shared:?}").len() < 200, "no values in Debug");
}

#[test]
fn bytes_that_are_no_parts_are_refused() {
    let (program, parameters) = private_cnn();
    let (other, _) = single();
    let shared = shared(&program, &parameters, 5);
    let mask = shared.mask.to_bytes();
    let part = shared.evaluators[1].to_bytes();
    for cut in [0, 5, 8, 40, 72, 73, part.len() - 1] {
        assert!(
            WeightShare::from_bytes(&part[..cut], &program).is_err(),
            "{cut}"
        );
        assert!(
            WeightMask::from_bytes(&mask[..cut.min(71)], &program).is_err(),
            "{cut}"
        );
    }
    let longer = [&part[..], &[0]].concat();
    assert!(matches!(
        WeightShare::from_bytes(&longer, &program),
        Err(WeightError::Size { .. })
    ));
    assert!(matches!(
        WeightShare::from_bytes(&mask, &program),
        Err(WeightError::Magic { .. })
    ));
    assert!(matches!(
        WeightMask::from_bytes(&mask, &other),
        Err(WeightError::OtherProgram)
    ));
    let mut third = part.to_vec();
    third[72] = 2;
    assert!(matches!(
        WeightShare::from_bytes(&third, &program),
        Err(WeightError::Index { index: 2 })
    ));
    let mut foreign = part.to_vec();
    foreign[9] ^= 1;
    assert!(matches!(
        WeightShare::from_bytes(&foreign, &program),
        Err(WeightError::OtherProgram)
    ));
    assert!(matches!(
        share(&other, &parameters, &secret(1, 1)),
        Err(WeightError::Parameters(_))
    ));
}

#[test]
fn machines_refuse_what_is_not_theirs() {
    let (program, parameters) = private_cnn();
    let weights = GroupWeights::from(shared(&program, &parameters, 5));
    let private = spec(program.clone(), 1);
    let public = spec(mlp(), 1);
    let entropy = || secret(1, 1);
    let [zero, one] = weights.evaluators.clone();
    let evaluator = |spec: &SessionSpec, index, share: Arc<WeightShare>| {
        Evaluator::with_weights(spec.clone(), index, share, entropy()).map(drop)
    };
    assert!(matches!(
        Evaluator::new(private.clone(), EvaluatorIndex::ZERO, entropy()).map(drop),
        Err(MpcError::NoWeights { parameters: 5 })
    ));
    assert!(matches!(
        Dealer::new(private.clone(), entropy()).map(drop),
        Err(MpcError::NoWeights { .. })
    ));
    assert!(matches!(
        evaluator(&public, EvaluatorIndex::ZERO, zero.clone()),
        Err(MpcError::OtherWeights)
    ));
    assert!(matches!(
        evaluator(&private, EvaluatorIndex::ZERO, one),
        Err(MpcError::OtherWeights)
    ));
    assert!(matches!(
        Dealer::with_weights(public, weights.mask.clone(), entropy()).map(drop),
        Err(MpcError::OtherWeights)
    ));
    for (evaluators, dealer) in [(3, DealerSeat::Worker), (2, DealerSeat::Client)] {
        let group = SessionSpec {
            evaluators,
            dealer,
            ..private.clone()
        };
        assert!(matches!(
            evaluator(&group, EvaluatorIndex::ZERO, zero.clone()),
            Err(MpcError::WeightsGroup { .. })
        ));
    }
    // Parts of two sharings meet: the key exchange tells.
    let others = GroupWeights::from(shared(&program, &parameters, 6));
    let mixed = GroupWeights {
        mask: weights.mask.clone(),
        evaluators: [zero, others.evaluators[1].clone()],
    };
    let inputs = inputs(&program, 1, 1);
    let mut session = Session::with_weights(&private, inputs, Some(&mixed), 7).unwrap();
    let error = session.run().unwrap_err();
    assert!(
        matches!(
            error,
            MpcError::OtherSharing {
                from: Party::EVALUATOR_1 | Party::Dealer
            }
        ),
        "{error}"
    );
    assert!(!session.client.is_finished());
}

#[test]
fn each_share_alone_says_nothing() {
    // Bytes of shares of two very different parameters are both uniform: chi-square at 6 sigma.
    let (program, _) = single();
    for values in [
        vec![vec![0; 20], vec![0; 4]],
        vec![vec![(1 << 20) - 1; 20], vec![1 - (1 << 30); 4]],
    ] {
        let parameters = Parameters::new(&program, values).unwrap();
        for index in 0..2 {
            let mut counts = [0u32; 256];
            for entropy in 0..400 {
                let shares = shared(&program, &parameters, entropy).evaluators;
                let bytes = shares[index].to_bytes();
                bytes[73..]
                    .iter()
                    .for_each(|b| counts[usize::from(*b)] += 1);
            }
            let expected = f64::from(counts.iter().sum::<u32>()) / 256.0;
            let chi: f64 = counts
                .iter()
                .map(|n| (f64::from(*n) - expected).powi(2) / expected)
                .sum();
            let excess = (chi - 255.0) / (2.0f64 * 255.0).sqrt();
            assert!(excess.abs() < 6.0, "evaluator {index}: {excess:.1}");
        }
    }
}
