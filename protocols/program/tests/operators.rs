//! Operators beyond the plain layers: the importer, the float reference and the ring reference against values computed
//! here from the definitions, with public and with private weights.
#![allow(clippy::unwrap_used)]

mod common;

use ai_link_program::onnx::proto::{AttributeProto, TensorProto, data_type};
use ai_link_program::{
    Compiled, Graph, ImportLimits, OutputPolicy, PlanError, PlanOptions, Tensor, WeightPrivacy,
    compile,
};
use common::{Model, float, int, ints};
use proptest::prelude::*;

/// Numbers in -2..2.
fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1u64 << 24) as f32) * 4.0 - 2.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

fn import(model: Model) -> Graph {
    Graph::from_onnx(&model.bytes(), ImportLimits::default()).unwrap()
}

/// Runs a compiled model in the ring.
fn ring(compiled: &Compiled, inputs: &[Tensor]) -> Vec<f32> {
    let Compiled {
        program,
        parameters,
    } = compiled;
    let encoded = inputs.iter().enumerate();
    let encoded: Vec<_> = encoded
        .map(|(port, t)| program.encode_input(port, t.data()).unwrap())
        .collect();
    let batch = inputs[0].batch();
    let out = program.run_clear_with(parameters, &encoded, batch).unwrap();
    let out = program.decode_output(0, &out[0], batch).unwrap();
    out[0].as_f32().unwrap().to_vec()
}

/// Both references, with public and private weights, against `want`.
fn check(model: Model, inputs: &[Tensor], want: &[f64], tolerance: f64) {
    let graph = import(model);
    let near = |what: &str, got: &[f32], tolerance: f64| {
        assert_eq!(got.len(), want.len(), "{what}");
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            let error = (f64::from(*g) - w).abs();
            assert!(
                error < tolerance * (1.0 + w.abs()),
                "{what} {i}: {g} is not {w}"
            );
        }
    };
    let out = graph.run_f32(inputs).unwrap();
    near("float", out[0].as_f32().unwrap(), 1e-5);
    for weights in [WeightPrivacy::Public, WeightPrivacy::Private] {
        let options = PlanOptions {
            weights,
            ..PlanOptions::default()
        };
        let compiled = compile(&graph, &[inputs.to_vec()], options).unwrap();
        near(&format!("{weights:?}"), &ring(&compiled, inputs), tolerance);
    }
}

fn vector(values: &[f32]) -> Tensor {
    Tensor::new(vec![1, values.len()], values.to_vec()).unwrap()
}

/// One operator on one input.
fn unary(
    op: &str,
    x: &[f32],
    attributes: Vec<AttributeProto>,
    f: impl Fn(f64) -> f64,
    tolerance: f64,
) {
    let mut model = Model::new()
        .input("x", &[-1, x.len() as i64])
        .node(op, &["x"], "y", attributes)
        // So that a sigmoid is not left to the client.
        .node("Mul", &["y", "one"], "z", vec![])
        .floats("one", &[], &[1.0])
        .output("z");
    model.opset = 20;
    let want: Vec<f64> = x.iter().map(|v| f(f64::from(*v))).collect();
    check(model, &[vector(x)], &want, tolerance);
}

#[test]
fn functions_that_saturate() {
    let x: Vec<f32> = (-120..=120).map(|i| i as f32 / 8.0).collect();
    let error = 1.2e-3;
    unary("Sigmoid", &x, vec![], |v| 1.0 / (1.0 + (-v).exp()), error);
    unary("Tanh", &x, vec![], f64::tanh, error);
    unary(
        "Softplus",
        &x,
        vec![],
        |v| v.max(0.0) + (-v.abs()).exp().ln_1p(),
        error,
    );
    unary(
        "Elu",
        &x,
        vec![float("alpha", 0.7)],
        |v| if v < 0.0 { 0.7 * v.exp_m1() } else { v },
        error,
    );
    unary(
        "Selu",
        &x,
        vec![],
        |v| 1.050_701 * if v < 0.0 { 1.673_263_2 * v.exp_m1() } else { v },
        2.5e-3,
    );
    // The logistic approximation of the normal distribution is not good enough to compare with: a sum is.
    let phi = |v: f64| {
        let steps = 20_000;
        let width = v.abs() / f64::from(steps);
        let area: f64 = (0..steps)
            .map(|i| (-0.5 * ((f64::from(i) + 0.5) * width).powi(2)).exp())
            .sum();
        0.5 + (area * width / (2.0 * std::f64::consts::PI).sqrt()).copysign(v)
    };
    let few: Vec<f32> = (-32..=32).map(|i| i as f32 / 4.0).collect();
    unary("Gelu", &few, vec![], move |v| v * phi(v), error);
    unary(
        "Erf",
        &few,
        vec![],
        move |v| 2.0 * phi(v * 2f64.sqrt()) - 1.0,
        error,
    );
}

#[test]
fn functions_in_pieces() {
    let x: Vec<f32> = (-40..=40).map(|i| i as f32 / 8.0).collect();
    unary("Abs", &x, vec![], f64::abs, 1e-4);
    unary("Neg", &x, vec![], |v| -v, 1e-4);
    unary(
        "Sign",
        &x,
        vec![],
        |v| if v == 0.0 { 0.0 } else { v.signum() },
        1e-4,
    );
    unary(
        "HardSigmoid",
        &x,
        vec![float("alpha", 0.25)],
        |v| (0.25 * v + 0.5).clamp(0.0, 1.0),
        1e-4,
    );
    unary(
        "HardSwish",
        &x,
        vec![],
        |v| v * (v / 6.0 + 0.5).clamp(0.0, 1.0),
        2e-4,
    );
}

#[test]
fn functions_of_positive_values() {
    let x: Vec<f32> = (1..=80).map(|i| 0.5 + i as f32 / 16.0).collect();
    unary("Reciprocal", &x, vec![], f64::recip, 1.5e-3);
    unary("Sqrt", &x, vec![], f64::sqrt, 1.5e-3);
    unary("Log", &x, vec![], f64::ln, 2.5e-3);
    // Relative to the largest result, which calibration puts at exp(6.5 + 1.2).
    let small: Vec<f32> = x.iter().map(|v| v - 6.0).collect();
    unary("Exp", &small, vec![], f64::exp, 8e-3);
    let below: Vec<f32> = x.iter().map(|v| -v).collect();
    unary("Reciprocal", &below, vec![], f64::recip, 1.5e-3);
}

#[test]
fn what_reaches_zero_is_refused() {
    for (op, x) in [
        ("Reciprocal", [-1.0f32, 2.0]),
        ("Sqrt", [0.0, 2.0]),
        ("Log", [-3.0, -2.0]),
    ] {
        let model = Model::new()
            .input("x", &[-1, 2])
            .node(op, &["x"], "y", vec![])
            .output("y");
        let graph = import(model);
        // Not every such record can be run in floats; where it can, the plan says why it cannot be compiled.
        match compile(&graph, &[vec![vector(&x)]], PlanOptions::default()) {
            Err(PlanError::Domain { layer, lo, hi, .. }) => {
                assert_eq!(layer, format!("{op} of y"));
                assert_eq!([lo, hi], [f64::from(x[0]), f64::from(x[1])]);
            }
            Err(PlanError::Calibration { .. }) => assert_eq!(op, "Log"),
            other => panic!("{op}: {other:?}"),
        }
    }
}

/// `y = op(a, b)` for two inputs.
fn binary(op: &str, a: &Tensor, b: &Tensor) -> Model {
    let dims = |t: &Tensor| {
        let mut d: Vec<i64> = t.dims().iter().map(|d| *d as i64).collect();
        d[0] = -1;
        d
    };
    Model::new()
        .input("a", &dims(a))
        .input("b", &dims(b))
        .node(op, &["a", "b"], "y", vec![])
}

#[test]
fn arithmetic_of_two_values() {
    let a = Tensor::new(vec![2, 3, 4], numbers(1, 24)).unwrap();
    let b = Tensor::new(vec![2, 3, 1], numbers(2, 6)).unwrap();
    let positive = Tensor::new(
        vec![2, 3, 1],
        numbers(3, 6).iter().map(|v| 3.0 + v).collect(),
    )
    .unwrap();
    let pairs = |b: &Tensor, f: fn(f64, f64) -> f64| -> Vec<f64> {
        let at = |i: usize| f(a.data()[i].into(), b.data()[i / 4].into());
        (0..24).map(at).collect()
    };
    let two = |b: &Tensor| [a.clone(), b.clone()];
    check(
        binary("Mul", &a, &b).output("y"),
        &two(&b),
        &pairs(&b, |x, y| x * y),
        2e-4,
    );
    check(
        binary("Min", &a, &b).output("y"),
        &two(&b),
        &pairs(&b, f64::min),
        2e-4,
    );
    check(
        binary("Max", &a, &b).output("y"),
        &two(&b),
        &pairs(&b, f64::max),
        2e-4,
    );
    check(
        binary("Div", &a, &positive).output("y"),
        &two(&positive),
        &pairs(&positive, |x, y| x / y),
        4e-3,
    );
    // Deep products keep their precision.
    let chain = binary("Mul", &a, &b)
        .node("Mul", &["y", "a"], "z", vec![])
        .node("Mul", &["z", "z"], "w", vec![])
        .output("w");
    check(
        chain,
        &two(&b),
        &pairs(&b, |x, y| (x * y * x).powi(2)),
        1e-3,
    );
}

#[test]
fn comparisons_and_choices() {
    // Equal, less by one unit of the ring, larger.
    let unit = 1.0 / 65536.0;
    let a = vector(&[1.0, 1.0, 1.0, -1.0, 0.0]);
    let b = vector(&[1.0, 1.0 + unit, 1.0 - unit, 1.0, 0.0]);
    let two = [a.clone(), b.clone()];
    let bits = |f: fn(f32, f32) -> bool| -> Vec<f64> {
        a.data()
            .iter()
            .zip(b.data())
            .map(|(a, b)| f64::from(u8::from(f(*a, *b))))
            .collect()
    };
    for (op, f) in [
        ("Greater", (|a, b| a > b) as fn(f32, f32) -> bool),
        ("GreaterOrEqual", |a, b| a >= b),
        ("Less", |a, b| a < b),
        ("LessOrEqual", |a, b| a <= b),
        ("Equal", |a, b| a == b),
    ] {
        check(binary(op, &a, &b).output("y"), &two, &bits(f), 1e-6);
    }
    let logic = |op: &str| {
        binary("Less", &a, &b)
            .node("GreaterOrEqual", &["a", "zero"], "c", vec![])
            .floats("zero", &[], &[0.0])
            .node(op, &["y", "c"], "z", vec![])
            .node("Not", &["z"], "w", vec![])
            .output("w")
    };
    check(logic("And"), &two, &bits(|a, b| !(a < b && a >= 0.0)), 1e-6);
    check(logic("Or"), &two, &bits(|a, b| !(a < b || a >= 0.0)), 1e-6);
    check(
        logic("Xor"),
        &two,
        &bits(|a, b| (a < b) == (a >= 0.0)),
        1e-6,
    );

    let choice = |x: &str, y: &str| {
        binary("Less", &a, &b)
            .floats("seven", &[], &[7.0])
            .floats("five", &[1, 5], &[5.0, 4.0, 3.0, 2.0, 1.0])
            .node("Where", &["y", x, y], "z", vec![])
            .output("z")
    };
    let less = bits(|a, b| a < b);
    let chosen = |x: [f64; 5], y: [f64; 5]| -> Vec<f64> {
        (0..5)
            .map(|i| if less[i] > 0.5 { x[i] } else { y[i] })
            .collect()
    };
    let (av, bv) = (
        [1.0, 1.0, 1.0, -1.0, 0.0],
        [1.0, 1.0 + f64::from(unit), 1.0 - f64::from(unit), 1.0, 0.0],
    );
    let five = [5.0, 4.0, 3.0, 2.0, 1.0];
    check(choice("a", "b"), &two, &chosen(av, bv), 1e-5);
    check(choice("seven", "b"), &two, &chosen([7.0; 5], bv), 1e-5);
    check(choice("a", "five"), &two, &chosen(av, five), 1e-5);
    check(choice("five", "seven"), &two, &chosen(five, [7.0; 5]), 1e-5);
}

#[test]
fn extremes_of_axes_and_constants() {
    let x = Tensor::new(vec![2, 3, 4], numbers(5, 24)).unwrap();
    let model = |op: &str, axes: &[i64], keep: i64| {
        Model::new()
            .input("x", &[-1, 3, 4])
            .node(
                op,
                &["x"],
                "y",
                vec![ints("axes", axes), int("keepdims", keep)],
            )
            .output("y")
    };
    let at = |n: usize, i: usize, j: usize| f64::from(x.data()[(n * 3 + i) * 4 + j]);
    let fold = |cells: Vec<f64>, f: fn(f64, f64) -> f64| cells.into_iter().reduce(f).unwrap();
    let rows: Vec<f64> = (0..6)
        .map(|r| fold((0..4).map(|j| at(r / 3, r % 3, j)).collect(), f64::max))
        .collect();
    check(
        model("ReduceMax", &[2], 0),
        std::slice::from_ref(&x),
        &rows,
        1e-4,
    );
    let columns: Vec<f64> = (0..8)
        .map(|c| fold((0..3).map(|i| at(c / 4, i, c % 4)).collect(), f64::min))
        .collect();
    check(
        model("ReduceMin", &[1], 1),
        std::slice::from_ref(&x),
        &columns,
        1e-4,
    );
    let all: Vec<f64> = (0..2)
        .map(|n| fold((0..12).map(|k| at(n, k / 4, k % 4)).collect(), f64::max))
        .collect();
    check(
        model("ReduceMax", &[1, 2], 0),
        std::slice::from_ref(&x),
        &all,
        1e-4,
    );

    let c = numbers(6, 4);
    for (op, f) in [("Max", f64::max as fn(f64, f64) -> f64), ("Min", f64::min)] {
        let with = Model::new()
            .input("x", &[-1, 3, 4])
            .floats("c", &[4], &c)
            .floats("half", &[], &[0.5])
            .node(op, &["x", "c", "half"], "y", vec![])
            .output("y");
        let want: Vec<f64> = (0..24)
            .map(|i| f(f(x.data()[i].into(), c[i % 4].into()), 0.5))
            .collect();
        check(with, std::slice::from_ref(&x), &want, 2e-4);
    }
}

#[test]
fn powers_and_slopes() {
    let x = Tensor::new(vec![1, 2, 3], numbers(7, 6)).unwrap();
    let positive = Tensor::new(
        vec![1, 2, 3],
        numbers(8, 6).iter().map(|v| 3.0 + v).collect(),
    )
    .unwrap();
    let power = |e: f32| {
        Model::new()
            .input("x", &[-1, 2, 3])
            .floats("e", &[], &[e])
            .node("Pow", &["x", "e"], "y", vec![])
            .output("y")
    };
    for (e, x, tolerance) in [
        (2.0, &x, 1e-4),
        (3.0, &x, 5e-4),
        (0.5, &positive, 2e-3),
        (1.5, &positive, 2e-2),
        (-1.0, &positive, 2e-3),
    ] {
        let want: Vec<f64> = x
            .data()
            .iter()
            .map(|v| f64::from(*v).powf(f64::from(e)))
            .collect();
        check(power(e), std::slice::from_ref(x), &want, tolerance);
    }
    let slope = [0.25f32, -1.5];
    let prelu = Model::new()
        .input("x", &[-1, 2, 3])
        .floats("s", &[2, 1], &slope)
        .node("PRelu", &["x", "s"], "y", vec![])
        .output("y");
    let want: Vec<f64> = (0..6)
        .map(|i| {
            let v = f64::from(x.data()[i]);
            if v < 0.0 {
                v * f64::from(slope[i / 3])
            } else {
                v
            }
        })
        .collect();
    check(prelu, &[x], &want, 2e-4);
}

/// A gate in the middle of a network, and the same sigmoid at its end: one is computed, the other left to the client.
#[test]
fn a_sigmoid_in_the_middle_is_computed() {
    let x = vector(&[0.5, -3.0, 2.0]);
    let model = Model::new()
        .input("x", &[-1, 3])
        .node("Sigmoid", &["x"], "s", vec![])
        .node("Mul", &["x", "s"], "silu", vec![])
        .node("Add", &["silu", "s"], "y", vec![])
        .output("y")
        .output("s");
    let graph = import(model);
    let functions = graph
        .nodes()
        .iter()
        .filter(|n| format!("{:?}", n.op).contains("Sigmoid"))
        .count();
    assert_eq!(functions, 1, "two readers share it");
    assert_eq!(graph.outputs()[1].post.len(), 1);
    let compiled = compile(&graph, &[vec![x.clone()]], PlanOptions::default()).unwrap();
    for (got, v) in ring(&compiled, std::slice::from_ref(&x))
        .iter()
        .zip(x.data())
    {
        let s = 1.0 / (1.0 + (-v).exp());
        assert!((got - (v * s + s)).abs() < 5e-3, "{got}");
    }
}

fn narrow(name: &str, kind: i32, dims: &[i64], data: &[i32]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(kind),
        int32_data: data.to_vec(),
        ..Default::default()
    }
}

/// Weights are folded, activations clipped; what is left of the difference is half a step of each grid.
#[test]
fn quantised_models() {
    let x = [0.3f32, -5.0, 1.27, 0.004];
    let mut model = Model::new()
        .input("x", &[-1, 4])
        .floats("sx", &[], &[0.01])
        .floats("sw", &[2], &[0.02, 0.05]);
    model.graph.initializer.extend([
        narrow("zx", data_type::INT8, &[], &[10]),
        narrow("zw", data_type::INT8, &[2], &[0, 3]),
        narrow(
            "w",
            data_type::INT8,
            &[4, 2],
            &[10, 20, -30, 40, 50, -60, 70, 127],
        ),
    ]);
    let model = model
        .node("QuantizeLinear", &["x", "sx", "zx"], "q", vec![])
        .node("DequantizeLinear", &["q", "sx", "zx"], "d", vec![])
        .node(
            "DequantizeLinear",
            &["w", "sw", "zw"],
            "wd",
            vec![int("axis", 1)],
        )
        .node("MatMul", &["d", "wd"], "y", vec![])
        .output("y");
    let w = [[10, 20], [-30, 40], [50, -60], [70, 127]];
    let real = |i: usize, j: usize| f64::from(w[i][j] - [0, 3][j]) * [0.02, 0.05][j];
    // -128 - 10 steps of 0.01 at the lower end, 127 - 10 at the upper.
    let clipped: Vec<f64> = x.iter().map(|v| f64::from(*v).clamp(-1.38, 1.17)).collect();
    let want: Vec<f64> = (0..2)
        .map(|j| (0..4).map(|i| clipped[i] * real(i, j)).sum())
        .collect();
    // What the quantised model itself gives: rounded to the grid first.
    let rounded: Vec<f64> = (0..2)
        .map(|j| {
            (0..4)
                .map(|i| (clipped[i] / 0.01).round() * 0.01 * real(i, j))
                .sum()
        })
        .collect();
    for j in 0..2 {
        let bound: f64 = (0..4).map(|i| 0.005 * real(i, j).abs()).sum();
        assert!((want[j] - rounded[j]).abs() <= bound + 1e-9);
    }
    check(model, &[vector(&x)], &want, 2e-4);
}

#[test]
fn quantised_values_are_not_computed_with() {
    let mut model = Model::new().input("x", &[-1, 4]).floats("s", &[], &[0.01]);
    model
        .graph
        .initializer
        .push(narrow("z", data_type::UINT8, &[], &[10]));
    let relu = model
        .node("QuantizeLinear", &["x", "s", "z"], "q", vec![])
        .node("Relu", &["q"], "y", vec![])
        .output("y");
    let refused = Graph::from_onnx(&relu.bytes(), ImportLimits::default()).unwrap_err();
    assert!(
        refused.to_string().contains("DequantizeLinear"),
        "{refused}"
    );
}

/// Compiles for positions only and returns them.
fn positions(x: &Tensor, policy: OutputPolicy) -> Vec<i64> {
    let n = x.dims()[1] as i64;
    let model = Model::new()
        .input("x", &[-1, n])
        .floats("w", &[], &[0.75])
        .node("Mul", &["x", "w"], "h", vec![])
        .node("Softmax", &["h"], "y", vec![])
        .output("y");
    let graph = import(model);
    let options = PlanOptions {
        outputs: policy,
        ..PlanOptions::default()
    };
    let compiled = compile(&graph, &[vec![x.clone()]], options).unwrap();
    let encoded = compiled.program.encode_input(0, x.data()).unwrap();
    let out = compiled.program.run_clear(&[encoded], x.batch()).unwrap();
    let got = compiled
        .program
        .decode_output(0, &out[0], x.batch())
        .unwrap();
    let clear = graph
        .with_outputs(policy)
        .unwrap()
        .run_f32(std::slice::from_ref(x))
        .unwrap();
    assert_eq!(got, clear);
    // What is revealed is positions, not scores.
    let revealed = compiled.program.value(compiled.program.outputs()[0].value);
    assert!(revealed.elements() < x.dims()[1] || policy == OutputPolicy::TopK(n as u32));
    got[0].as_i64().unwrap().to_vec()
}

fn largest(lane: &[f32], k: usize) -> Vec<i64> {
    let mut order: Vec<usize> = (0..lane.len()).collect();
    order.sort_by(|a, b| lane[*b].partial_cmp(&lane[*a]).unwrap());
    order.into_iter().take(k).map(|i| i as i64).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Small integers, so that there are ties: the first of equal ones wins.
    #[test]
    fn labels_and_ranks(n in 2usize..70, batch in 1usize..4, k in 1usize..5, spread in 1i64..40, seed in any::<u64>()) {
        let values: Vec<f32> = numbers(seed, n * batch).iter().map(|v| (v * spread as f32).round()).collect();
        let x = Tensor::new(vec![batch, n], values.clone()).unwrap();
        let k = k.min(n);
        let want = |k| values.chunks(n).flat_map(|lane| largest(lane, k)).collect::<Vec<_>>();
        prop_assert_eq!(positions(&x, OutputPolicy::Labels), want(1));
        prop_assert_eq!(positions(&x, OutputPolicy::TopK(k as u32)), want(k));
    }
}

#[test]
fn labels_need_an_axis() {
    let model = Model::new()
        .input("x", &[-1, 3])
        .node("ReduceSum", &["x", "axes"], "y", vec![int("keepdims", 0)])
        .ints("axes", &[1])
        .output("y");
    let graph = import(model);
    let options = PlanOptions {
        outputs: OutputPolicy::Labels,
        ..PlanOptions::default()
    };
    let refused = compile(&graph, &[vec![vector(&[1.0, 2.0, 3.0])]], options);
    assert!(matches!(refused, Err(PlanError::Outputs { .. })));
}
