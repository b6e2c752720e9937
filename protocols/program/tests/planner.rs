//! The planner's choices: what it takes on which link, and that every choice computes the same.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use ai_link_program::fixed::{Op, Tactic};
use ai_link_program::{
    Accuracy, Compiled, FssPolicy, Graph, ImportLimits, LinkProfile, PlanError, PlanOptions,
    Tensor, compile,
};
use common::{Model, ints};

/// Numbers in -1..1.
fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1u64 << 24) as f32) * 2.0 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

fn import(model: Model) -> Graph {
    Graph::from_onnx(&model.bytes(), ImportLimits::default()).unwrap()
}

/// Two layers with a comparison of `width` values between them.
fn perceptron(width: usize) -> (Graph, Tensor) {
    let scaled = |seed, n: usize| numbers(seed, n).iter().map(|v| v / 3.0).collect::<Vec<_>>();
    let model = Model::new()
        .input("x", &[-1, 6])
        .floats("w", &[6, width], &scaled(1, 6 * width))
        .floats("v", &[width, 3], &scaled(2, 3 * width))
        .node("MatMul", &["x", "w"], "h", vec![])
        .node("Relu", &["h"], "r", vec![])
        .node("MatMul", &["r", "v"], "y", vec![])
        .output("y");
    let x = Tensor::new(vec![4, 6], numbers(3, 24)).unwrap();
    (import(model), x)
}

fn outputs(compiled: &Compiled, x: &Tensor) -> Vec<f32> {
    let program = &compiled.program;
    let ring = program.encode_input(0, x.data()).unwrap();
    let ring = program.run_clear(&[ring], x.batch()).unwrap();
    let out = program.decode_output(0, &ring[0], x.batch()).unwrap();
    out[0].as_f32().unwrap().to_vec()
}

fn seconds(compiled: &Compiled, link: &LinkProfile) -> f64 {
    compiled.program.predict(1, &(*link).into()).online
}

fn relu_tactic(compiled: &Compiled) -> Tactic {
    let mut steps = compiled.program.steps().iter();
    steps
        .find(|s| matches!(s.op, Op::Relu { .. }))
        .unwrap()
        .tactic
}

#[test]
fn slow_links_buy_rounds_with_bytes() {
    let (graph, x) = perceptron(64);
    let plan = |link, fss| {
        let options = PlanOptions {
            link,
            fss,
            ..PlanOptions::default()
        };
        compile(&graph, &[vec![x.clone()]], options).unwrap()
    };
    let rounds = |c: &Compiled| {
        c.program
            .predict(1, &LinkProfile::WIDE_AREA.into())
            .rounds()
    };
    let near = plan(LinkProfile::LOOPBACK, FssPolicy::Never);
    let far = plan(LinkProfile::WIDE_AREA, FssPolicy::Never);
    let keys = plan(LinkProfile::WIDE_AREA, FssPolicy::WhereCheaper);
    assert_eq!(relu_tactic(&keys), Tactic::Fss);
    assert_eq!(rounds(&keys), 1);
    assert!(rounds(&far) > 1 && rounds(&far) <= rounds(&near));
    // Each is the best of the three on its own link.
    for (link, best, others) in [
        (LinkProfile::WIDE_AREA, &keys, [&near, &far]),
        (LinkProfile::WIDE_AREA, &far, [&near, &far]),
    ] {
        for other in others {
            assert!(seconds(best, &link) <= seconds(other, &link) * 1.0001);
        }
    }
    // Who deals to more than two evaluators says so, and gets trees.
    assert_ne!(relu_tactic(&far), Tactic::Fss);
    for compiled in [&near, &far, &keys] {
        assert_eq!(outputs(compiled, &x), outputs(&near, &x));
    }
}

#[test]
fn large_layers_are_not_bought_rounds() {
    let (graph, x) = perceptron(8192);
    let options = PlanOptions {
        link: LinkProfile {
            round_trip: Duration::from_millis(1),
            bandwidth_bits: 100_000_000,
            cores: 2,
        },
        fss: FssPolicy::WhereCheaper,
        batch: 8,
        ..PlanOptions::default()
    };
    let compiled = compile(&graph, &[vec![x]], options).unwrap();
    assert_ne!(relu_tactic(&compiled), Tactic::Fss);
}

/// Rows, then columns: fewer comparisons for the same result, padding and odd sizes included.
#[test]
fn pools_share_what_windows_have_in_common() {
    for (kernel, stride, pad, separate) in [
        (3, 1, 1, true),
        (3, 2, 1, true),
        (5, 1, 2, true),
        (2, 2, 0, false),
    ] {
        let pair = |name, v: i64| ints(name, &[v, v]);
        let model = Model::new()
            .input("x", &[-1, 2, 9, 11])
            .node(
                "MaxPool",
                &["x"],
                "y",
                vec![
                    pair("kernel_shape", kernel),
                    pair("strides", stride),
                    ints("pads", &[pad; 4]),
                ],
            )
            .output("y");
        let graph = import(model);
        let x = Tensor::new(vec![3, 2, 9, 11], numbers(7, 3 * 198)).unwrap();
        // On a link without delay, what counts is the number of comparisons.
        let options = PlanOptions {
            batch: 1024,
            link: LinkProfile {
                round_trip: Duration::ZERO,
                ..LinkProfile::LOOPBACK
            },
            ..PlanOptions::default()
        };
        let compiled = compile(&graph, &[vec![x.clone()]], options).unwrap();
        let (program, want) = (
            &compiled.program,
            graph.run_f32(std::slice::from_ref(&x)).unwrap(),
        );
        for (got, want) in outputs(&compiled, &x).iter().zip(want[0].as_f32().unwrap()) {
            assert!((got - want).abs() < 1e-4);
        }
        let compared: usize = program
            .steps()
            .iter()
            .filter(|s| s.op.is_interactive())
            .map(|s| program.value(s.output).elements())
            .sum();
        let results = program.value(program.outputs()[0].value).elements();
        let whole = results * (kernel * kernel - 1) as usize;
        assert_eq!(
            compared < whole,
            separate,
            "{kernel} by {stride}: {compared} of {whole}"
        );
    }
}

#[test]
fn precision_is_bought_as_asked() {
    let (graph, x) = perceptron(24);
    let plan = |bound| {
        let options = PlanOptions {
            accuracy: Accuracy::Within(bound),
            ..PlanOptions::default()
        };
        compile(&graph, &[vec![x.clone()]], options)
    };
    let want = graph.run_f32(std::slice::from_ref(&x)).unwrap();
    let error = |c: &Compiled| {
        let pairs = outputs(c, &x);
        let pairs = pairs.iter().zip(want[0].as_f32().unwrap());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let fraction = |c: &Compiled| c.program.value(c.program.inputs()[0].value).fraction;
    let (rough, fine) = (plan(2e-2).unwrap(), plan(2e-4).unwrap());
    assert_eq!(fraction(&rough), 10);
    assert!(fraction(&fine) > 10);
    assert!(error(&rough) <= 2e-2 && error(&fine) <= 2e-4);
    // Fewer bits to compare.
    let compared = |c: &Compiled| -> u8 {
        let windows = c.program.steps().iter().filter_map(|s| s.op.window());
        windows.map(|w| w.width()).sum()
    };
    assert!(compared(&rough) < compared(&fine));
    assert!(matches!(
        plan(1e-9),
        Err(PlanError::Inaccurate { bound, least }) if bound == 1e-9 && least > 1e-9
    ));
}

#[test]
fn predictions_grow_with_the_link_and_the_batch() {
    let (graph, x) = perceptron(32);
    let program = compile(&graph, &[vec![x]], PlanOptions::default())
        .unwrap()
        .program;
    let near = program.predict(1, &LinkProfile::LOOPBACK.into()).steps;
    let far = program.predict(1, &LinkProfile::WIDE_AREA.into()).steps;
    let many = program.predict(64, &LinkProfile::LOOPBACK.into()).steps;
    assert_eq!(near.len(), program.steps().len());
    for ((near, far), many) in near.iter().zip(&far).zip(&many) {
        assert_eq!(
            (near.rounds, near.bytes_online),
            (far.rounds, far.bytes_online)
        );
        if near.rounds > 0 {
            assert!(far.seconds > f64::from(near.rounds) * 0.02);
            assert_eq!(many.rounds, near.rounds);
            assert!(many.bytes_online > near.bytes_online && many.seconds > near.seconds);
        } else {
            assert_eq!((near.bytes_online, near.bytes_dealt), (0, [0, 0]));
        }
    }
}
