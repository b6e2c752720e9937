//! Programs written by hand: what the checks refuse, and what the clear reference computes.
#![allow(clippy::unwrap_used)]

use ai_link_program::fixed::{
    BitWindow, ConvGeometry, EncodeError, Op, OutputPort, PAD, Parts, PoolGeometry, Program,
    ProgramBuilder, ProgramError, RunError, Step, StepError, Tactic, ValueId, ValueInfo,
};
use ai_link_program::kernels::PortableKernels;
use ai_link_program::ops::{ConstTerms, apply_linear};
use ai_link_program::{ClientOp, KeepDims, OutputData};
use proptest::prelude::*;

fn ring(values: &[i64]) -> Vec<u64> {
    values.iter().map(|v| *v as u64).collect()
}

/// Builds a one-step program around `make` and runs it on `x`.
fn run_one(
    dims: &[usize],
    x: &[i64],
    batch: usize,
    make: impl Fn(&mut ProgramBuilder, ValueId) -> ValueId,
) -> Vec<i64> {
    let mut b = ProgramBuilder::new("one");
    let input = b.input("x", dims, 0);
    let y = make(&mut b, input);
    b.output("y", y);
    let out = b.finish().unwrap().run_clear(&[ring(x)], batch).unwrap();
    out[0].iter().map(|v| *v as i64).collect()
}

#[test]
fn every_operator_by_hand() {
    let x = [1, 2, 3, 4, 5, 6];
    assert_eq!(
        run_one(&[3], &x, 2, |b, x| b.linear(
            x,
            [3, 2],
            vec![1, 0, 0, -1, 2, 3],
            Some(vec![10, 20]),
            0
        )),
        [17, 27, 26, 33]
    );
    // 2 x 3 image, kernel 2 x 2, padded left by one.
    let geometry = ConvGeometry {
        pads: [0, 1, 0, 0],
        ..ConvGeometry::UNIT
    };
    assert_eq!(
        run_one(&[1, 2, 3], &x, 1, |b, x| b.conv(
            x,
            [1, 1, 2, 2],
            vec![1, 10, 100, 1000],
            Some(vec![7]),
            geometry,
            0
        )),
        [4017, 5428, 6539]
    );
    // Two groups, stride 2 and dilation 2 over one row.
    let geometry = ConvGeometry {
        strides: [1, 2],
        dilations: [1, 2],
        groups: 2,
        ..ConvGeometry::UNIT
    };
    assert_eq!(
        run_one(&[2, 1, 5], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 1, |b, x| b
            .conv(
                x,
                [2, 1, 1, 2],
                vec![1, 10, 100, 1000],
                None,
                geometry,
                0
            )),
        [31, 53, 8600, 10800]
    );
    let pool = PoolGeometry {
        kernel: [2, 2],
        strides: [1, 2],
        pads: [0, 0, 0, 1],
        dilations: [1, 1],
    };
    assert_eq!(
        run_one(&[1, 2, 3], &x, 1, |b, x| b.sum_pool(x, pool)),
        [12, 9]
    );
    assert_eq!(
        run_one(&[2, 3], &x, 1, |b, x| b.sum_axes(x, &[0])),
        [5, 7, 9]
    );
    assert_eq!(run_one(&[2, 3], &x, 1, |b, x| b.sum_axes(x, &[1])), [6, 15]);
    assert_eq!(
        run_one(&[3], &x, 2, |b, x| b.add(x, x)),
        [2, 4, 6, 8, 10, 12]
    );
    assert_eq!(run_one(&[3], &x, 2, |b, x| b.sub(x, x)), [0; 6]);
    assert_eq!(
        run_one(&[3], &x, 2, |b, x| b.add_const(x, vec![-1, 0, 1])),
        [0, 2, 4, 3, 5, 7]
    );
    assert_eq!(
        run_one(&[3], &x, 2, |b, x| b.mul_scalar(x, -3, 0)),
        [-3, -6, -9, -12, -15, -18]
    );
    assert_eq!(
        run_one(&[3], &x, 2, |b, x| b.rearrange(
            x,
            &[2, 2],
            vec![2, PAD, 0, 0]
        )),
        [3, 0, 1, 1, 6, 0, 4, 4]
    );
    assert_eq!(
        run_one(&[3], &x, 2, |b, x| {
            let y = b.mul_scalar(x, 10, 0);
            b.concat(&[x, y], 0)
        }),
        [1, 2, 3, 10, 20, 30, 4, 5, 6, 40, 50, 60]
    );
    assert_eq!(run_one(&[2], &[-5, 5], 1, |b, x| b.max(x, x)), [-5, 5]);
    assert_eq!(run_one(&[2], &[-5, 5], 1, |b, x| b.relu(x, 0)), [0, 5]);
}

#[test]
fn truncation_floors() {
    let mut b = ProgramBuilder::new("t");
    let x = b.input("x", &[4], 2);
    let t = b.trunc(x, 2);
    let r = b.relu(x, 2);
    b.output("t", t);
    b.output("r", r);
    let out = b
        .finish()
        .unwrap()
        .run_clear(&[ring(&[-1, -4, 5, 7])], 1)
        .unwrap();
    assert_eq!(out[0], ring(&[-1, -1, 1, 1]));
    assert_eq!(out[1], ring(&[0, 0, 1, 1]));
}

#[test]
fn post_processing_and_ranges() {
    let mut b = ProgramBuilder::new("p");
    let x = b.input_bounded("x", &[3], 8, 10);
    b.output_post(
        "label",
        x,
        vec![ClientOp::ArgMax {
            axis: 0,
            keep_dims: KeepDims::Drop,
        }],
    );
    let p = b.finish().unwrap();
    let ring = p
        .encode_input(0, &[0.5, -1.0, 3.0, 1.0, 0.25, 0.0])
        .unwrap();
    let out = p.run_clear(&[ring], 2).unwrap();
    let label = &p.decode_output(0, &out[0], 2).unwrap()[0];
    assert_eq!(
        (label.dims.as_slice(), &label.data),
        (&[2][..], &OutputData::I64(vec![2, 0]))
    );

    assert!(matches!(
        p.encode_input(0, &[0.0, f32::NAN, 0.0]),
        Err(EncodeError::NotFinite { index: 1, .. })
    ));
    assert!(matches!(
        p.encode_input(0, &[0.0, 0.0, 4.0]),
        Err(EncodeError::OutOfRange { index: 2, .. })
    ));
    assert!(matches!(
        p.encode_input(0, &[0.0, 0.0]),
        Err(EncodeError::Records { .. })
    ));
    assert!(matches!(
        p.encode_input(1, &[0.0]),
        Err(EncodeError::Port { .. })
    ));
    assert!(matches!(
        p.run_clear(&[vec![0; 5]], 2),
        Err(RunError::Elements {
            want: 6,
            have: 5,
            ..
        })
    ));
    assert!(matches!(
        p.run_clear(&[vec![]], 0),
        Err(RunError::Batch { .. })
    ));
}

fn parts() -> Parts {
    let mut b = ProgramBuilder::new("base");
    let x = b.input_bounded("x", &[2, 2], 4, 20);
    let z = b.linear(x, [2, 3], vec![1, 2, 3, 4, 5, 6], Some(vec![0, 0, 0]), 4);
    let y = b.relu(z, 4);
    b.output("y", y);
    b.finish().unwrap().into_parts()
}

/// Breaks the sound program and returns what the check says.
fn refused(change: impl FnOnce(&mut Parts)) -> ProgramError {
    let mut parts = parts();
    change(&mut parts);
    Program::new(parts).unwrap_err()
}

fn step_error(change: impl FnOnce(&mut Parts)) -> StepError {
    match refused(change) {
        ProgramError::Step { source, .. } => source,
        other => panic!("not a step error: {other:?}"),
    }
}

#[test]
fn broken_programs_are_refused_with_the_reason() {
    assert!(matches!(
        refused(|p| p.inputs.clear()),
        ProgramError::Missing { what: "input" }
    ));
    assert!(matches!(
        refused(|p| p.outputs.clear()),
        ProgramError::Missing { what: "output" }
    ));
    assert!(matches!(
        refused(|p| p.values[1].dims[1] = 0),
        ProgramError::ValueShape { .. }
    ));
    assert!(matches!(
        refused(|p| p.values[1].dims = vec![usize::MAX, 2]),
        ProgramError::ValueShape { .. }
    ));
    assert!(matches!(
        refused(|p| p.values[0].bound_bits = 63),
        ProgramError::ValueScale { .. }
    ));
    assert!(matches!(
        refused(|p| {
            p.constants[0].data.pop();
        }),
        ProgramError::ConstantShape { .. }
    ));
    assert!(matches!(
        refused(|p| p.inputs.push(p.inputs[0].clone())),
        ProgramError::Definition { .. }
    ));
    assert!(matches!(
        refused(|p| p.steps[1].output = ValueId(9)),
        ProgramError::Step { .. }
    ));
    assert!(matches!(
        refused(|p| p.outputs[0].value = ValueId(9)),
        ProgramError::OutputUndefined { .. }
    ));
    assert!(matches!(
        refused(|p| p.values.push(ValueInfo {
            dims: vec![],
            fraction: 0,
            bound_bits: 0
        })),
        ProgramError::Undefined { .. }
    ));
    assert!(matches!(
        refused(|p| p.outputs[0].post = vec![ClientOp::Softmax { axis: 2 }]),
        ProgramError::Post { .. }
    ));
    assert!(matches!(
        refused(|p| p.name = "n".repeat(1000)),
        ProgramError::TooLarge { .. }
    ));

    assert!(matches!(
        step_error(|p| p.steps.swap(0, 1)),
        StepError::UsedBeforeDefined { .. }
    ));
    assert!(matches!(
        step_error(|p| p.steps[0].inputs.clear()),
        StepError::Operands { .. }
    ));
    assert!(matches!(
        step_error(|p| p.constants[0].dims = vec![3, 2]),
        StepError::ConstantShape { .. }
    ));
    assert!(matches!(
        step_error(|p| p.constants.truncate(1)),
        StepError::UnknownConstant { .. }
    ));
    assert!(matches!(
        step_error(|p| p.values[1].dims = vec![3, 2]),
        StepError::ResultShape { .. }
    ));
    assert!(matches!(
        step_error(|p| p.values[1].fraction = 3),
        StepError::Fraction { .. }
    ));
    assert!(matches!(
        step_error(|p| p.values[2].fraction = 5),
        StepError::Fraction { .. }
    ));
    let window = |lo, hi| {
        step_error(move |p| {
            p.steps[1].op = Op::Relu {
                bits: 4,
                window: BitWindow { lo, hi },
            }
        })
    };
    assert!(matches!(window(0, 61), StepError::Window { need: 62, .. }));
    assert!(matches!(window(5, 63), StepError::Window { start: 4, .. }));
    assert!(matches!(window(0, 64), StepError::Window { .. }));
    let add = |p: &mut Parts, op, dims: Vec<usize>| {
        p.values.push(ValueInfo {
            dims,
            fraction: 4,
            bound_bits: 20,
        });
        p.steps.push(Step {
            name: "new".into(),
            op,
            inputs: vec![ValueId(0)],
            output: ValueId(3),
            tactic: Tactic::Auto,
        });
    };
    assert!(matches!(
        step_error(|p| add(p, Op::Rearrange { map: vec![4] }, vec![1])),
        StepError::Map { entry: 4, .. }
    ));
    assert!(matches!(
        step_error(|p| add(p, Op::Reshape, vec![5])),
        StepError::ResultElements { want: 4, .. }
    ));
    assert!(matches!(
        step_error(|p| add(p, Op::SumAxes { axes: vec![1, 1] }, vec![2, 1])),
        StepError::Axes { .. }
    ));
    assert!(matches!(
        step_error(|p| add(p, Op::Concat { axis: 2 }, vec![2])),
        StepError::Axes { .. }
    ));
    let pool = PoolGeometry {
        kernel: [2, 2],
        strides: [0, 1],
        pads: [0; 4],
        dilations: [1, 1],
    };
    assert!(matches!(
        step_error(|p| {
            p.values[0].dims = vec![1, 2, 2];
            p.steps.clear();
            add(p, Op::SumPool(pool), vec![1, 1, 1])
        }),
        StepError::Geometry { .. }
    ));
    // And the base is sound.
    assert!(Program::new(parts()).is_ok());
}

#[test]
fn equal_programs_have_equal_digests() {
    let base = Program::new(parts()).unwrap();
    assert_eq!(base.digest(), Program::new(parts()).unwrap().digest());
    let mut other = parts();
    other.constants[0].data[0] += 1;
    assert_ne!(base.digest(), Program::new(other).unwrap().digest());
}

#[test]
fn deserialising_checks() {
    let config = bincode::config::standard();
    let sound = bincode::serde::encode_to_vec(parts(), config).unwrap();
    let (program, _): (Program, usize) = bincode::serde::decode_from_slice(&sound, config).unwrap();
    assert_eq!(program, Program::new(parts()).unwrap());
    let mut broken = parts();
    broken.outputs.push(OutputPort {
        name: "z".into(),
        value: ValueId(77),
        post: vec![],
    });
    let broken = bincode::serde::encode_to_vec(broken, config).unwrap();
    assert!(bincode::serde::decode_from_slice::<Program, _>(&broken, config).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// f(m) - f(lambda) = f(m - lambda) for every linear operator: what masked evaluation rests on.
    #[test]
    fn linear_steps_commute_with_masks(
        x in prop::collection::vec(any::<u64>(), 2 * 18),
        mask in prop::collection::vec(any::<u64>(), 2 * 18),
        w in prop::collection::vec(-1000i64..1000, 24),
    ) {
        let mut b = ProgramBuilder::new("all linear");
        let i = b.input("x", &[2, 3, 3], 0);
        let geometry = ConvGeometry { strides: [2, 1], pads: [1, 0, 1, 1], dilations: [1, 2], groups: 2 };
        b.conv(i, [2, 1, 2, 2], w[..8].to_vec(), Some(w[8..10].to_vec()), geometry, 0);
        b.linear(i, [3, 4], w[..12].to_vec(), Some(w[12..16].to_vec()), 0);
        b.sum_pool(i, PoolGeometry { kernel: [2, 3], strides: [1, 1], pads: [1, 1, 0, 0], dilations: [1, 1] });
        b.sum_axes(i, &[0, 2]);
        b.add_const(i, w[..18].to_vec());
        b.mul_scalar(i, w[0], 0);
        b.add(i, i);
        b.sub(i, i);
        b.rearrange(i, &[3], vec![17, PAD, 0]);
        b.reshape(i, &[18]);
        let last = b.concat(&[i, i], 1);
        b.output("y", last);
        let p = b.finish().unwrap();
        let m: Vec<u64> = x.iter().zip(&mask).map(|(x, l)| x.wrapping_add(*l)).collect();
        for step in p.steps() {
            let apply = |v: &[u64], terms| {
                let inputs = vec![v; step.inputs.len()];
                apply_linear(&p, step, &inputs, 2, terms, &PortableKernels)
            };
            let want = apply(&x, ConstTerms::Include);
            let masked = apply(&m, ConstTerms::Include);
            let lambda = apply(&mask, ConstTerms::Skip);
            let got: Vec<u64> = masked.iter().zip(&lambda).map(|(m, l)| m.wrapping_sub(*l)).collect();
            prop_assert_eq!(got, want, "{}", step.op.kind());
        }
    }
}
