//! Private weights, products of two values, comparisons and tables: what the checks refuse, and what the clear reference
//! computes.
#![allow(clippy::unwrap_used)]

use ai_link_program::fixed::{
    BitWindow, ConvGeometry, Op, ParamId, ParameterError, Parameters, Parts, Program,
    ProgramBuilder, ProgramError, RunError, StepError, Tactic, ValueId,
};
use ai_link_program::kernels::PortableKernels;
use ai_link_program::ops::apply_product;
use proptest::prelude::*;

fn ring(values: &[i64]) -> Vec<u64> {
    values.iter().map(|v| *v as u64).collect()
}

fn signed(values: &[u64]) -> Vec<i64> {
    values.iter().map(|v| *v as i64).collect()
}

/// A linear layer and a convolution with private weights, both over the same input.
fn layers() -> Program {
    let mut b = ProgramBuilder::new("private layers");
    let x = b.input_bounded("x", &[1, 2, 3], 4, 20);
    let w = b.parameter("w", &[3, 2], 3, 10);
    let c = b.parameter("c", &[2], 7, 20);
    let y = b.linear_shared(x, w, Some(c));
    b.output("y", y);
    let k = b.parameter("k", &[2, 1, 2, 2], 2, 10);
    let d = b.parameter("d", &[2], 6, 20);
    let z = b.conv_shared(x, k, Some(d), ConvGeometry::UNIT);
    b.output("z", z);
    b.finish().unwrap()
}

fn values() -> Vec<Vec<i64>> {
    vec![
        vec![1, 0, 0, -1, 2, 3],
        vec![10, 20],
        vec![1, 10, 100, 1000 % 512, -1, 0, 0, 0],
        vec![7, -7],
    ]
}

#[test]
fn private_layers_give_twice_the_product_and_bias() {
    let program = layers();
    let parameters = Parameters::new(&program, values()).unwrap();
    let x = ring(&[1, 2, 3, 4, 5, 6]);
    let out = program.run_clear_with(&parameters, &[x], 1).unwrap();
    assert_eq!(signed(&out[0]), [17, 27, 26, 33].map(|v| 2 * v));
    let tap = |a: i64, b: i64, c: i64, d: i64| 2 * (a + 10 * b + 100 * c + 488 * d + 7);
    let second = [1, 2].map(|v: i64| 2 * (-v - 7));
    assert_eq!(
        signed(&out[1]),
        [tap(1, 2, 4, 5), tap(2, 3, 5, 6), second[0], second[1]]
    );
    // Fractions: 4 + 3 + 1 and 4 + 2 + 1.
    let fractions: Vec<u8> = (1..3).map(|i| program.value(ValueId(i)).fraction).collect();
    assert_eq!(fractions, [8, 7]);
}

#[test]
fn products_comparisons_and_tables_by_hand() {
    let mut b = ProgramBuilder::new("ops");
    let x = b.input_bounded("x", &[5], 2, 6);
    let y = b.input_bounded("y", &[5], 3, 6);
    let product = b.mul(x, y);
    b.output("product", product);
    let sign = b.positive(x);
    b.output("sign", sign);
    // Eight segments of 16: C[u] = u + 100 low - low^2, of -64..64.
    let rows = [0i64, 1, 2, 3, -4, -3, -2, -1];
    let coefficients = rows.iter().flat_map(|u| [*u, 100, -1]).collect();
    let table = b.table(x, 4, 3, coefficients, 9);
    b.output("table", table);
    let program = b.finish().unwrap();
    let x = [-33i64, -1, 0, 1, 47];
    let out = program
        .run_clear(&[ring(&x), ring(&[5, -6, 7, 8, -9])], 1)
        .unwrap();
    assert_eq!(signed(&out[0]), [-330, 12, 0, 16, -846]);
    assert_eq!(signed(&out[1]), [0, 0, 1, 1, 1]);
    let want = x.map(|z| {
        let (u, low) = (z.div_euclid(16), z.rem_euclid(16));
        u + 100 * low - low * low
    });
    assert_eq!(signed(&out[2]), want);
    assert_eq!(program.value(product).fraction, 6);
    assert_eq!(program.value(sign).fraction, 0);
    assert_eq!(program.value(table).fraction, 9);
}

#[test]
fn parameters_fit_their_program_only() {
    let program = layers();
    let wrong = |change: fn(&mut Vec<Vec<i64>>)| {
        let mut v = values();
        change(&mut v);
        Parameters::new(&program, v).unwrap_err()
    };
    assert_eq!(
        wrong(|v| drop(v.pop())),
        ParameterError::Count { want: 4, have: 3 }
    );
    assert!(matches!(
        wrong(|v| v[1].push(0)),
        ParameterError::Elements {
            want: 2,
            have: 3,
            ..
        }
    ));
    assert!(matches!(
        wrong(|v| v[0][4] = 1 << 10),
        ParameterError::Bound {
            index: 4,
            bound_bits: 10,
            ..
        }
    ));
    assert!(matches!(
        wrong(|v| v[0][0] = i64::MIN),
        ParameterError::Bound { index: 0, .. }
    ));
    // And a program with private weights does not run without them.
    let x = ring(&[1, 2, 3, 4, 5, 6]);
    assert!(matches!(
        program.run_clear(std::slice::from_ref(&x), 1),
        Err(RunError::Parameters(ParameterError::Count { .. }))
    ));
    let mut b = ProgramBuilder::new("public");
    let i = b.input("x", &[6], 0);
    b.output("x", i);
    let public = b.finish().unwrap();
    let parameters = Parameters::new(&program, values()).unwrap();
    assert!(public.run_clear_with(&parameters, &[x], 1).is_err());
}

#[test]
fn parameters_survive_their_bytes_and_tell_nothing() {
    let program = layers();
    let mut v = values();
    // The ends of each range.
    v[0][0] = (1 << 10) - 1;
    v[0][1] = -(1 << 10) + 1;
    v[1][0] = -(1 << 20) + 1;
    let parameters = Parameters::new(&program, v).unwrap();
    let bytes = parameters.to_bytes();
    // 10 bits in two bytes, 20 bits in three.
    assert_eq!(bytes.len(), 8 + 2 * 6 + 3 * 2 + 2 * 8 + 3 * 2);
    assert_eq!(
        Parameters::from_bytes(&bytes, &program).unwrap(),
        parameters
    );
    assert_eq!(
        format!("{parameters:?}"),
        "Parameters(4 tensors, 18 elements)"
    );
    assert_eq!(
        Parameters::from_bytes(&bytes[..bytes.len() - 1], &program),
        Err(ParameterError::Size {
            want: bytes.len(),
            have: bytes.len() - 1
        })
    );
    let mut other = bytes.clone();
    other[7] ^= 1;
    assert_eq!(
        Parameters::from_bytes(&other, &program),
        Err(ParameterError::Magic)
    );
    // The first element becomes -2^15: past its bound.
    let mut past = bytes.clone();
    past[8..10].copy_from_slice(&[0, 0x80]);
    assert!(matches!(
        Parameters::from_bytes(&past, &program),
        Err(ParameterError::Bound { index: 0, .. })
    ));
}

/// Changes one thing of a sound program and tells what is found wrong with its step.
fn step_error(change: impl Fn(&mut Parts)) -> StepError {
    match refused(change) {
        ProgramError::Step { source, .. } => source,
        other => panic!("{other}"),
    }
}

fn refused(change: impl Fn(&mut Parts)) -> ProgramError {
    let mut parts = layers().into_parts();
    change(&mut parts);
    Program::new(parts).unwrap_err()
}

#[test]
fn what_is_wrong_is_refused() {
    assert!(matches!(
        step_error(|p| p.parameters.truncate(3)),
        StepError::UnknownParameter { parameter: 3 }
    ));
    assert!(matches!(
        step_error(|p| p.parameters[0].dims = vec![2, 3]),
        StepError::ConstantShape {
            what: "weights",
            ..
        }
    ));
    assert!(matches!(
        step_error(|p| p.parameters[1].dims = vec![3]),
        StepError::ConstantShape { what: "biases", .. }
    ));
    assert!(matches!(
        step_error(|p| p.parameters[1].fraction = 8),
        StepError::Fraction { result: 8, .. }
    ));
    assert!(matches!(
        step_error(|p| p.values[1].fraction = 7),
        StepError::Fraction { .. }
    ));
    assert!(matches!(
        refused(|p| p.parameters[2].bound_bits = 63),
        ProgramError::Parameter { parameter: 2, .. }
    ));
    assert!(matches!(
        refused(|p| p.parameters[2].dims = vec![usize::MAX, 2]),
        ProgramError::TooLarge { .. }
    ));
    assert!(matches!(
        step_error(|p| p.steps[0].tactic = Tactic::Fss),
        StepError::Tactic {
            kind: "LinearShared",
            ..
        }
    ));
    let one = |op: Op, tactic: Tactic| {
        let mut b = ProgramBuilder::new("one");
        let x = b.input_bounded("x", &[2], 4, 20);
        b.constant(&[4, 2], vec![0; 8]);
        b.constant(&[4, 5], vec![0; 20]);
        let inputs = if op == Op::Mul { vec![x, x] } else { vec![x] };
        let fraction = if op == Op::Mul { 8 } else { 0 };
        let y = b.step(op, &inputs, None, fraction, 40);
        b.tactic(tactic);
        b.output("y", y);
        b.finish()
    };
    let error = |op, tactic| match one(op, tactic).unwrap_err() {
        ProgramError::Step { source, .. } => source,
        other => panic!("{other}"),
    };
    assert!(matches!(
        error(Op::Mul, Tactic::Auto),
        StepError::Fraction { result: 8, .. }
    ));
    let positive = |hi| Op::Positive {
        window: BitWindow { lo: 0, hi },
    };
    assert!(matches!(
        error(positive(19), Tactic::Auto),
        StepError::Window { need: 20, .. }
    ));
    for (leaf_bits, fan_in) in [(0, 3), (5, 3), (4, 1), (4, 5)] {
        let tactic = Tactic::Tree { leaf_bits, fan_in };
        assert!(matches!(
            error(positive(20), tactic),
            StepError::Tactic {
                kind: "Positive",
                ..
            }
        ));
    }
    for tactic in [
        Tactic::Auto,
        Tactic::Fss,
        Tactic::Tree {
            leaf_bits: 4,
            fan_in: 2,
        },
    ] {
        assert!(one(positive(20), tactic).is_ok());
    }
    let table = |segment_bits, index_bits, constant| Op::Table {
        segment_bits,
        index_bits,
        coefficients: ai_link_program::fixed::ConstId(constant),
    };
    assert!(one(table(19, 2, 0), Tactic::Auto).is_ok());
    assert!(matches!(
        error(table(18, 2, 0), Tactic::Auto),
        StepError::Table { bound_bits: 20, .. }
    ));
    assert!(matches!(
        error(table(61, 2, 0), Tactic::Auto),
        StepError::Table { .. }
    ));
    assert!(matches!(
        error(table(19, 3, 0), Tactic::Auto),
        StepError::ConstantShape {
            what: "coefficients",
            ..
        }
    ));
    assert!(matches!(
        error(table(19, 2, 1), Tactic::Auto),
        StepError::ConstantShape {
            what: "coefficients",
            ..
        }
    ));
}

#[test]
fn parameters_and_tactics_are_part_of_the_digest_and_of_what_people_read() {
    let base = layers();
    let mut parts = layers().into_parts();
    parts.parameters[0].name = "v".into();
    let renamed = Program::new(parts).unwrap();
    assert_ne!(base.digest(), renamed.digest());
    assert!(
        base.to_string()
            .contains("LinearShared private \"w\" [3, 2]")
    );
    let mut b = ProgramBuilder::new("sign");
    let x = b.input("x", &[2], 4);
    let y = b.positive(x);
    b.tactic(Tactic::Tree {
        leaf_bits: 3,
        fan_in: 2,
    });
    b.output("y", y);
    let shown = b.finish().unwrap().to_string();
    assert!(
        shown.contains("Positive, bits 0..63, tree of 3-bit leaves by 2"),
        "{shown}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// `W0 X0 + W1 X1 = 2 w x + 2 e d`: what the doubling rests on, for every product.
    #[test]
    fn two_products_of_shares_make_twice_the_product(
        x in prop::collection::vec(any::<u64>(), 2 * 6),
        d in prop::collection::vec(any::<u64>(), 2 * 6),
        w in prop::collection::vec(any::<u64>(), 12),
        e in prop::collection::vec(any::<u64>(), 12),
    ) {
        let mut b = ProgramBuilder::new("products");
        let i = b.input("x", &[1, 2, 3], 0);
        let p = b.parameter("w", &[3, 4], 0, 62);
        b.linear_shared(i, p, None);
        let k = b.parameter("k", &[3, 1, 2, 2], 0, 62);
        b.conv_shared(i, k, None, ConvGeometry { pads: [1, 0, 0, 1], ..ConvGeometry::UNIT });
        let y = b.mul(i, i);
        b.output("y", y);
        let program = b.finish().unwrap();
        let minus = |a: &[u64], b: &[u64]| -> Vec<u64> { a.iter().zip(b).map(|(a, b)| a.wrapping_sub(*b)).collect() };
        let plus = |a: &[u64], b: &[u64]| -> Vec<u64> { a.iter().zip(b).map(|(a, b)| a.wrapping_add(*b)).collect() };
        for step in program.steps() {
            let n = if step.op == Op::Mul { 12 } else { program.parameter(step.op.parameters().next().unwrap()).elements() };
            let (w, e) = (&w[..n], &e[..n]);
            let product = |x: &[u64], w: &[u64]| apply_product(&program, step, x, w, 2, &PortableKernels);
            let parts = plus(
                &product(&minus(&x, &d), &minus(w, e)),
                &product(&plus(&x, &d), &plus(w, e)),
            );
            let whole = plus(&product(&x, w), &product(&d, e));
            prop_assert_eq!(parts, plus(&whole, &whole));
        }
    }

    /// Bytes from outside: an error, or parameters that give the same bytes again.
    #[test]
    fn any_bytes_are_refused_or_survive(mut bytes in prop::collection::vec(any::<u8>(), 40)) {
        let program = layers();
        let good = Parameters::new(&program, values()).unwrap().to_bytes();
        let mut full = good[..8].to_vec();
        full.append(&mut bytes);
        if let Ok(p) = Parameters::from_bytes(&full, &program) {
            let again = p.to_bytes().to_vec();
            prop_assert_eq!(again, full);
            prop_assert!(p.tensor(ParamId(0)).iter().all(|v| v.abs() < 1 << 10));
        }
    }
}
