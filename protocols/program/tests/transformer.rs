//! Products of two values, softmax and normalisation: against f64, and as a whole encoder layer.
#![allow(clippy::unwrap_used)]

mod common;

use ai_link_program::fixed::{Op, Program};
use ai_link_program::{Graph, ImportError, ImportLimits, PlanOptions, Tensor, compile};
use common::{Model, float, int, ints};

fn import(model: Model) -> Graph {
    Graph::from_onnx(&model.bytes(), ImportLimits::default()).unwrap()
}

/// Some numbers in `-1..1`.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn scaled(values: Vec<f32>, by: f32) -> Vec<f32> {
    values.into_iter().map(|v| v * by).collect()
}

fn tensors(graph: &Graph, records: &[Vec<f32>]) -> Vec<Tensor> {
    let ports = graph.inputs().iter().zip(records);
    ports
        .map(|(port, data)| {
            let dims = graph.dims(port.value).unwrap();
            let batch = data.len() / dims.iter().product::<usize>();
            Tensor::new([&[batch], dims].concat(), data.clone()).unwrap()
        })
        .collect()
}

fn planned(graph: &Graph, records: &[Vec<f32>]) -> Program {
    let calibration = [tensors(graph, records)];
    compile(graph, &calibration, PlanOptions::default())
        .unwrap()
        .program
}

/// The first output in fixed point.
fn run(program: &Program, records: &[Vec<f32>], batch: usize) -> Vec<f32> {
    let inputs: Vec<Vec<u64>> = (0..records.len())
        .map(|port| program.encode_input(port, &records[port]).unwrap())
        .collect();
    let out = program.run_clear(&inputs, batch).unwrap();
    let out = program.decode_output(0, &out[0], batch).unwrap();
    out[0].as_f32().unwrap().to_vec()
}

fn kinds(program: &Program) -> Vec<&'static str> {
    program.steps().iter().map(|step| step.op.kind()).collect()
}

fn most(a: &[f32], b: impl IntoIterator<Item = f64>) -> f64 {
    let pairs = a.iter().zip(b);
    pairs
        .map(|(a, b)| (f64::from(*a) - b).abs())
        .fold(0.0, f64::max)
}

#[test]
fn products_of_two_values_broadcast_their_leading_axes() {
    let graph = import(
        Model::new()
            .input("x", &[-1, 3, 4, 5])
            .input("y", &[-1, 1, 5, 2])
            .node("MatMul", &["x", "y"], "z", vec![])
            .output("z"),
    );
    let records = [noise(2 * 60, 1), scaled(noise(2 * 10, 2), 3.0)];
    let program = planned(&graph, &records);
    assert_eq!(kinds(&program), ["Rearrange", "MatMul"]);
    let got = run(&program, &records, 2);
    let want = (0..2 * 3 * 4 * 2).map(|i| {
        let (batch, group, row, column) = (i / 24, i / 8 % 3, i / 2 % 4, i % 2);
        let term = |k: usize| {
            let x = records[0][((batch * 3 + group) * 4 + row) * 5 + k];
            f64::from(x) * f64::from(records[1][(batch * 5 + k) * 2 + column])
        };
        (0..5).map(term).sum::<f64>()
    });
    assert!(most(&got, want.collect::<Vec<_>>()) < 5.0 * 4.0 * 2f64.powi(-17));
}

#[test]
fn products_that_are_none() {
    let why = |x: &[i64], y: &[i64]| {
        let model = Model::new()
            .input("x", x)
            .input("y", y)
            .node("MatMul", &["x", "y"], "z", vec![])
            .output("z");
        let error = Graph::from_onnx(&model.bytes(), ImportLimits::default()).unwrap_err();
        let ImportError::Unsupported(nodes) = error else {
            panic!("{error}");
        };
        nodes[0].why.to_string()
    };
    assert!(why(&[-1, 3, 4], &[-1, 5, 2]).contains("inner sizes"));
    assert!(why(&[-1, 2, 3, 4], &[-1, 3, 4, 2]).contains("leading axes"));
    assert!(why(&[-1, 3, 4], &[-1, 1, 4, 2]).contains("as many axes"));
    assert!(why(&[-1, 4], &[-1, 4, 2]).contains("records"));
}

/// A softmax that is no output: something follows it.
fn softmax(n: i64) -> Graph {
    import(
        Model::new()
            .input("x", &[-1, 2, n])
            .floats("one", &[1], &[1.0])
            .node("Softmax", &["x"], "p", vec![int("axis", -1)])
            .node("Sub", &["p", "one"], "y", vec![])
            .output("y"),
    )
}

#[test]
fn softmax_against_f64_whatever_the_scores_are_like() {
    for n in [1usize, 2, 17, 128] {
        let graph = softmax(n as i64);
        let rows: Vec<Vec<f32>> = [0.0f32, 0.1, 3.0, 20.0]
            .into_iter()
            .flat_map(|by| {
                [-25.0, 0.0, 30.0].map(|shift| {
                    let values = scaled(noise(n, n as u64 + shift as u64), by);
                    values.into_iter().map(|v| v + shift).collect()
                })
            })
            .collect();
        let records = [rows.concat()];
        let program = planned(&graph, &records);
        assert!(kinds(&program).contains(&"Table"));
        let got = run(&program, &records, rows.len() / 2);
        let want = rows.iter().flat_map(|row| {
            let largest = row.iter().copied().fold(f32::MIN, f32::max);
            let powers: Vec<f64> = row.iter().map(|v| f64::from(v - largest).exp()).collect();
            let sum: f64 = powers.iter().sum();
            powers.into_iter().map(move |p| p / sum - 1.0)
        });
        let error = most(&got, want.collect::<Vec<_>>());
        assert!(error < 2f64.powi(-14), "{n} scores: {error}");
        for row in got.chunks_exact(n) {
            let sum: f32 = row.iter().map(|p| p + 1.0).sum();
            assert!((sum - 1.0).abs() < 3e-3, "{n} probabilities sum to {sum}");
        }
    }
}

#[test]
fn a_softmax_at_the_end_stays_with_the_client() {
    let graph = import(
        Model::new()
            .input("x", &[-1, 4])
            .node("Softmax", &["x"], "p", vec![int("axis", -1)])
            .output("p"),
    );
    let program = planned(&graph, &[noise(8, 3)]);
    assert!(kinds(&program).is_empty());
}

/// Over ranges that no single table covers, each result counts by itself.
#[test]
fn inverses_of_operands_that_are_far_apart() {
    type Case = (&'static str, fn(f64) -> f64, [f32; 2]);
    let cases: [Case; 6] = [
        ("Reciprocal", f64::recip, [0.5, 40.0]),
        ("Reciprocal", f64::recip, [-40.0, -0.5]),
        ("Reciprocal", f64::recip, [0.5, 5000.0]),
        ("Sqrt", f64::sqrt, [0.5, 5000.0]),
        ("Pow", |x| x.powf(-0.5), [0.5, 40.0]),
        ("Pow", |x| x.powf(-0.5), [0.5, 5000.0]),
    ];
    for (op, f, [lo, hi]) in cases {
        let inputs: &[&str] = if op == "Pow" { &["x", "e"] } else { &["x"] };
        let model = Model::new()
            .input("x", &[-1, 1])
            .floats("e", &[], &[-0.5])
            .node(op, inputs, "y", vec![])
            .node("Neg", &["y"], "z", vec![])
            .output("z");
        let graph = import(model);
        let program = planned(&graph, &[vec![lo, hi]]);
        let n = 2000;
        let ratio = f64::from(hi / lo);
        let at = |k: i32| (f64::from(lo) * ratio.powf(f64::from(k) / f64::from(n))) as f32;
        let x: Vec<f32> = (0..=n).map(at).collect();
        let got = run(&program, std::slice::from_ref(&x), x.len());
        let mut worst = 0f64;
        for (x, y) in x.iter().zip(&got) {
            // On the grid of the operand.
            let want = -f((f64::from(*x) * 65536.0).round() / 65536.0);
            let error = (f64::from(*y) / want - 1.0).abs();
            worst = worst.max(error);
        }
        assert!(worst < 2f64.powi(-14), "{op} {lo}..{hi}: {worst}");
    }
}

/// `LayerNormalization`, or what exporters of older operator sets make of it.
fn normalisation(n: usize, decomposed: bool) -> Graph {
    let scale: Vec<f32> = (0..n).map(|i| 1.0 + i as f32 / n as f32).collect();
    let model = Model::new()
        .input("x", &[-1, 2, n as i64])
        .floats("scale", &[n], &scale)
        .floats("bias", &[n], &noise(n, 9));
    let model = match decomposed {
        false => {
            let attributes = vec![int("axis", -1), float("epsilon", 1e-3)];
            model.node(
                "LayerNormalization",
                &["x", "scale", "bias"],
                "y",
                attributes,
            )
        }
        true => {
            let last = || vec![ints("axes", &[-1])];
            model
                .floats("two", &[], &[2.0])
                .floats("epsilon", &[], &[1e-3])
                .node("ReduceMean", &["x"], "mean", last())
                .node("Sub", &["x", "mean"], "centred", vec![])
                .node("Pow", &["centred", "two"], "squares", vec![])
                .node("ReduceMean", &["squares"], "variance", last())
                .node("Add", &["variance", "epsilon"], "safe", vec![])
                .node("Sqrt", &["safe"], "deviation", vec![])
                .node("Div", &["centred", "deviation"], "normal", vec![])
                .node("Mul", &["normal", "scale"], "scaled", vec![])
                .node("Add", &["scaled", "bias"], "y", vec![])
        }
    };
    import(model.output("y"))
}

#[test]
fn normalisation_of_small_and_large_rows_at_once() {
    let n = 48;
    let (scale, bias) = (
        (0..n).map(|i| 1.0 + f64::from(i) / f64::from(n)),
        noise(n as usize, 9),
    );
    let scale: Vec<f64> = scale.collect();
    let rows: Vec<Vec<f32>> = [0.2f32, 1.0, 5.0, 30.0]
        .into_iter()
        .map(|by| {
            let values = scaled(noise(n as usize, by as u64 + 5), by);
            values.into_iter().map(|v| v + by).collect()
        })
        .collect();
    let want: Vec<f64> = rows
        .iter()
        .flat_map(|row| {
            let row: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
            let mean = row.iter().sum::<f64>() / f64::from(n);
            let squares = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            let deviation = (squares / f64::from(n) + 1e-3).sqrt();
            let (scale, bias) = (&scale, &bias);
            (0..n as usize)
                .map(move |i| (row[i] - mean) / deviation * scale[i] + f64::from(bias[i]))
                .collect::<Vec<_>>()
        })
        .collect();
    for decomposed in [false, true] {
        let graph = normalisation(n as usize, decomposed);
        let records = [rows.concat()];
        let program = planned(&graph, &records);
        let got = run(&program, &records, 2);
        let error = most(&got, want.iter().copied());
        // Of results up to four.
        assert!(
            error < 4.0 * 2f64.powi(-12),
            "decomposed: {decomposed}: {error}"
        );
    }
}

/// One layer of an encoder: two heads over `s` positions of `h` values.
fn encoder(s: usize, h: usize) -> Graph {
    let head = h / 2;
    let weights = |rows: usize, columns: usize, seed| {
        scaled(noise(rows * columns, seed), 1.7 / (rows as f32).sqrt())
    };
    let mut model = Model::new()
        .input("x", &[-1, s as i64, h as i64])
        .floats("qkv_w", &[h, 3 * h], &weights(h, 3 * h, 11))
        .floats("qkv_b", &[3 * h], &scaled(noise(3 * h, 12), 0.1))
        .floats("out_w", &[h, h], &weights(h, h, 13))
        .floats("up_w", &[h, 4 * h], &weights(h, 4 * h, 14))
        .floats("down_w", &[4 * h, h], &weights(4 * h, h, 15))
        .floats("root", &[], &[(head as f32).sqrt()])
        .floats("ones", &[h], &vec![1.0; h])
        .floats("zeros", &[h], &vec![0.0; h])
        .ints("heads", &[0, s as i64, 2, head as i64])
        .ints("whole", &[0, s as i64, h as i64])
        .node("MatMul", &["x", "qkv_w"], "product", vec![])
        .node("Add", &["product", "qkv_b"], "qkv", vec![]);
    model = model.split("qkv", &["q", "k", "v"], 2);
    for (part, order) in [
        ("q", [0, 2, 1, 3]),
        ("k", [0, 2, 3, 1]),
        ("v", [0, 2, 1, 3]),
    ] {
        let (apart, turned) = (format!("{part}_heads"), format!("{part}_turned"));
        model = model
            .node("Reshape", &[part, "heads"], &apart, vec![])
            .node("Transpose", &[&apart], &turned, vec![ints("perm", &order)]);
    }
    let norm = || vec![int("axis", -1), float("epsilon", 1e-5)];
    import(
        model
            .node("MatMul", &["q_turned", "k_turned"], "raw", vec![])
            .node("Div", &["raw", "root"], "scores", vec![])
            .node("Softmax", &["scores"], "attention", vec![int("axis", -1)])
            .node("MatMul", &["attention", "v_turned"], "mixed", vec![])
            .node(
                "Transpose",
                &["mixed"],
                "back",
                vec![ints("perm", &[0, 2, 1, 3])],
            )
            .node("Reshape", &["back", "whole"], "together", vec![])
            .node("MatMul", &["together", "out_w"], "projected", vec![])
            .node("Add", &["x", "projected"], "sum", vec![])
            .node("LayerNormalization", &["sum", "ones", "zeros"], "h", norm())
            .node("MatMul", &["h", "up_w"], "up", vec![])
            .node("Gelu", &["up"], "act", vec![])
            .node("MatMul", &["act", "down_w"], "down", vec![])
            .node("Add", &["h", "down"], "second", vec![])
            .node(
                "LayerNormalization",
                &["second", "ones", "zeros"],
                "y",
                norm(),
            )
            .output("y"),
    )
}

#[test]
fn an_encoder_layer_follows_the_float_model() {
    let (s, h) = (12, 16);
    let graph = encoder(s, h);
    let records = [scaled(noise(3 * s * h, 21), 1.7)];
    let program = planned(&graph, &records);
    let products = program.steps().iter().filter(|s| s.op == Op::MatMul);
    assert_eq!(products.count(), 2);
    let others = [scaled(noise(2 * s * h, 22), 1.7)];
    let float = graph.run_f32(&tensors(&graph, &others)).unwrap();
    let got = run(&program, &others, 2);
    let error = most(
        &got,
        float[0].as_f32().unwrap().iter().map(|v| f64::from(*v)),
    );
    assert!(error < 5e-3, "{error}");
}

/// Parts along an axis, equal or stated; of a constant they are constants.
#[test]
fn splits_of_secrets_and_constants() {
    let model = Model::new()
        .input("x", &[-1, 2, 5])
        .floats("c", &[1, 5], &[1.0, 2.0, 3.0, 4.0, 5.0])
        .split("x", &["a", "b"], -1)
        .split("c", &["d", "e"], 1)
        .node("Mul", &["a", "d"], "f", vec![])
        .node("Neg", &["b"], "g", vec![])
        .node("Mul", &["g", "e"], "h", vec![])
        .node("Concat", &["f", "h"], "y", vec![int("axis", -1)])
        .output("y");
    let graph = import(model);
    let x = noise(20, 31);
    let float = graph
        .run_f32(&tensors(&graph, std::slice::from_ref(&x)))
        .unwrap();
    // Parts of three and two.
    let want = x.iter().enumerate().map(|(i, v)| {
        let factor = (i % 5 + 1) as f32;
        f64::from(v * if i % 5 < 3 { factor } else { -factor })
    });
    assert!(most(float[0].as_f32().unwrap(), want) < 1e-6);
}

fn refusal(model: Model) -> String {
    let error = Graph::from_onnx(&model.bytes(), ImportLimits::default()).unwrap_err();
    error.to_string()
}

#[test]
fn parts_of_what_the_client_computes_are_refused() {
    let model = Model::new()
        .input("x", &[-1, 4])
        .node("LogSoftmax", &["x"], "p", vec![int("axis", -1)])
        .split("p", &["a", "b"], 1)
        .output("a");
    assert!(refusal(model).contains("Split of p"));
}

/// Exporters merge positions with the batch around a `Gemm`, and nothing else may happen in between.
#[test]
fn rows_of_all_records_go_through_a_gemm_and_back() {
    let merged = || {
        Model::new()
            .input("x", &[-1, 3, 2])
            .floats("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0])
            .ints("rows", &[-1, 2])
            .ints("back", &[-1, 3, 2])
            .node("Reshape", &["x", "rows"], "r", vec![])
    };
    let graph = import(
        merged()
            .node("Gemm", &["r", "w"], "g", vec![])
            .node("Reshape", &["g", "back"], "y", vec![])
            .output("y"),
    );
    let x = noise(12, 41);
    let float = graph
        .run_f32(&tensors(&graph, std::slice::from_ref(&x)))
        .unwrap();
    assert_eq!(float[0].dims, [2, 3, 2]);
    let want = x
        .chunks(2)
        .flat_map(|r| [r[0] + 3.0 * r[1], 2.0 * r[0] + 4.0 * r[1]]);
    assert!(most(float[0].as_f32().unwrap(), want.map(f64::from)) < 1e-6);
    assert!(refusal(merged().node("Relu", &["r"], "y", vec![]).output("y")).contains("merged"));
    let error = refusal(merged().output("r"));
    assert!(error.contains("first axis is not the batch"), "{error}");
    // With one row in a record nothing is merged.
    let one = Model::new()
        .input("x", &[-1, 1, 2])
        .ints("rows", &[-1, 2])
        .node("Reshape", &["x", "rows"], "r", vec![])
        .node("Relu", &["r"], "y", vec![])
        .output("y");
    assert_eq!(import(one).dims(2), Some(&[2][..]));
}

/// What exporters hide from a softmax is hidden, and a large number is not taken for it.
#[test]
fn masks_out_of_reach_are_brought_within_it() {
    let choice = |far: f32| {
        import(
            Model::new()
                .input("x", &[-1, 3])
                .ints("mask", &[1, 1, 0])
                .floats("far", &[], &[far])
                .node("Where", &["mask", "x", "far"], "z", vec![])
                .node("Relu", &["z"], "r", vec![])
                .node("Sub", &["z", "r"], "y", vec![])
                .output("y"),
        )
    };
    let last = |far| {
        let graph = choice(far);
        let out = graph.run_f32(&tensors(&graph, &[vec![-1.0; 3]])).unwrap();
        out[0].as_f32().unwrap()[2]
    };
    assert_eq!(last(f32::NEG_INFINITY), -4096.0);
    assert_eq!(last(f32::MIN), -4096.0);
    assert_eq!(last(-2e9), -2e9);
}

/// The root that a quotient was divided by is not computed beside its inverse.
#[test]
fn a_normalisation_from_parts_takes_one_table() {
    let graph = normalisation(16, true);
    let program = planned(&graph, &[noise(64, 51)]);
    let tables = kinds(&program).into_iter().filter(|kind| *kind == "Table");
    assert_eq!(tables.count(), 1);
}
