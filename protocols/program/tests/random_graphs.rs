//! Random shapes, weights and geometry: the importer, the float reference and the ring reference against values computed
//! here from the definitions.
#![allow(clippy::unwrap_used)]

mod common;

use ai_link_program::{Graph, ImportLimits, PlanOptions, Tensor, compile};
use common::{Model, float, int, ints};
use proptest::prelude::*;

/// Numbers in -2..2 out of a seed: what they are does not matter, that they repeat does.
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

/// Runs the model both ways on `x` and compares every output element with `want`, and the two with each other.
fn check(model: Model, x: Tensor, want: &[f64]) -> Result<(), TestCaseError> {
    let graph = Graph::from_onnx(&model.bytes(), ImportLimits::default()).unwrap();
    let inputs = vec![x];
    let out = graph.run_f32(&inputs).unwrap();
    let got = out[0].as_f32().unwrap();
    prop_assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        prop_assert!(
            (f64::from(*g) - w).abs() < 1e-4 * (1.0 + w.abs()),
            "float: {} is not {}",
            g,
            w
        );
    }
    let program = compile(
        &graph,
        std::slice::from_ref(&inputs),
        PlanOptions::default(),
    )
    .unwrap()
    .program;
    let batch = inputs[0].batch();
    let ring = program.encode_input(0, inputs[0].data()).unwrap();
    let ring = program.run_clear(&[ring], batch).unwrap();
    let out = program.decode_output(0, &ring[0], batch).unwrap();
    for (g, w) in out[0].as_f32().unwrap().iter().zip(want) {
        prop_assert!(
            (f64::from(*g) - w).abs() < 2e-3 * (1.0 + w.abs()),
            "ring: {} is not {}",
            g,
            w
        );
    }
    Ok(())
}

/// One axis of a window: sizes and where it sits.
#[derive(Clone, Copy, Debug)]
struct Axis {
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    after: usize,
}

impl Axis {
    fn out(&self) -> usize {
        (self.size + self.before + self.after - self.dilation * (self.kernel - 1) - 1) / self.stride
            + 1
    }

    fn at(&self, o: usize, k: usize) -> Option<usize> {
        let i = (o * self.stride + k * self.dilation) as i64 - self.before as i64;
        (0..self.size as i64).contains(&i).then_some(i as usize)
    }
}

fn axis() -> impl Strategy<Value = Axis> {
    (
        1usize..5,
        1usize..4,
        1usize..3,
        0usize..3,
        0usize..3,
        0usize..5,
    )
        .prop_map(|(kernel, stride, dilation, before, after, more)| {
            // Padding below the kernel's reach, so that no window sees only padding; input large enough for one window.
            let (before, after) = (before.min(kernel - 1), after.min(kernel - 1));
            let size = dilation * (kernel - 1) + 1 + more;
            Axis {
                size,
                kernel,
                stride,
                dilation,
                before,
                after,
            }
        })
}

fn geometry(v: &Axis, h: &Axis) -> Vec<onnx_attribute::Attribute> {
    let pair = |name, a: usize, b: usize| ints(name, &[a as i64, b as i64]);
    vec![
        pair("kernel_shape", v.kernel, h.kernel),
        pair("strides", v.stride, h.stride),
        pair("dilations", v.dilation, h.dilation),
        ints(
            "pads",
            &[v.before, h.before, v.after, h.after].map(|p| p as i64),
        ),
    ]
}

mod onnx_attribute {
    pub(super) use ai_link_program::onnx::proto::AttributeProto as Attribute;
}

fn tensor(dims: &[usize], seed: u64) -> Tensor {
    Tensor::new(dims.to_vec(), numbers(seed, dims.iter().product())).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convolutions(
        v in axis(), h in axis(), groups in 1usize..3, ic in 1usize..3, oc in 1usize..3,
        batch in 1usize..3, seed in any::<u64>(),
    ) {
        let (ins, outs) = (groups * ic, groups * oc);
        let x = tensor(&[batch, ins, v.size, h.size], seed);
        let w = numbers(seed ^ 1, outs * ic * v.kernel * h.kernel);
        let b = numbers(seed ^ 2, outs);
        let mut want = Vec::new();
        for n in 0..batch {
            for o in 0..outs {
                for y in 0..v.out() {
                    for z in 0..h.out() {
                        let mut sum = f64::from(b[o]);
                        for i in 0..ic {
                            for ky in 0..v.kernel {
                                for kx in 0..h.kernel {
                                    if let (Some(r), Some(c)) = (v.at(y, ky), h.at(z, kx)) {
                                        let channel = n * ins + o / oc * ic + i;
                                        let x = x.data()[(channel * v.size + r) * h.size + c];
                                        let w = w[((o * ic + i) * v.kernel + ky) * h.kernel + kx];
                                        sum += f64::from(x) * f64::from(w);
                                    }
                                }
                            }
                        }
                        want.push(sum);
                    }
                }
            }
        }
        let mut attributes = geometry(&v, &h);
        attributes.push(int("group", groups as i64));
        let model = Model::new()
            .input("x", &[-1, ins as i64, v.size as i64, h.size as i64])
            .floats("w", &[outs, ic, v.kernel, h.kernel], &w)
            .floats("b", &[outs], &b)
            .node("Conv", &["x", "w", "b"], "y", attributes)
            .output("y");
        check(model, x, &want)?;
    }

    /// Max pooling of an activation (which moves behind the pool), and average pooling.
    #[test]
    fn pools(
        v in axis(), h in axis(), channels in 1usize..3, batch in 1usize..3, alpha in prop::sample::select(vec![None, Some(0.3f32), Some(-0.5)]),
        with_padding in 0i64..2, seed in any::<u64>(),
    ) {
        let x = tensor(&[batch, channels, v.size, h.size], seed);
        let slope = f64::from(alpha.unwrap_or(0.0));
        let act = |x: f32| if x > 0.0 { f64::from(x) } else { slope * f64::from(x) };
        let (mut largest, mut mean) = (Vec::new(), Vec::new());
        for plane in x.data().chunks(v.size * h.size) {
            for y in 0..v.out() {
                for z in 0..h.out() {
                    let taps = (0..v.kernel).flat_map(|a| (0..h.kernel).map(move |b| (a, b)));
                    let seen: Vec<f64> = taps
                        .filter_map(|(a, b)| Some(act(plane[v.at(y, a)? * h.size + h.at(z, b)?])))
                        .collect();
                    largest.push(seen.iter().copied().fold(f64::NEG_INFINITY, f64::max));
                    // Without ceil_mode every tap is within the padded input.
                    let count = if with_padding == 1 { v.kernel * h.kernel } else { seen.len() };
                    mean.push(seen.iter().sum::<f64>() / count as f64);
                }
            }
        }
        let model = |op: &str| {
            let m = Model::new().input("x", &[-1, channels as i64, v.size as i64, h.size as i64]);
            let m = match alpha {
                None => m.node("Relu", &["x"], "a", vec![]),
                Some(alpha) => m.node("LeakyRelu", &["x"], "a", vec![float("alpha", alpha)]),
            };
            let mut attributes = geometry(&v, &h);
            if op == "AveragePool" {
                attributes.push(int("count_include_pad", with_padding));
            }
            let mut m = m.node(op, &["a"], "y", attributes).output("y");
            // Dilated average pools came with operator set 19.
            m.opset = 19;
            m
        };
        check(model("MaxPool"), x.clone(), &largest)?;
        check(model("AveragePool"), x, &mean)?;
    }

    /// A deep stack of layers keeps its precision.
    #[test]
    fn perceptrons(widths in prop::collection::vec(1usize..12, 2..6), batch in 1usize..4, seed in any::<u64>()) {
        let x = tensor(&[batch, widths[0]], seed);
        let mut model = Model::new().input("x", &[-1, widths[0] as i64]);
        let mut rows: Vec<Vec<f64>> =
            x.data().chunks(widths[0]).map(|r| r.iter().map(|v| f64::from(*v)).collect()).collect();
        let mut name = "x".to_owned();
        for (i, pair) in widths.windows(2).enumerate() {
            let (k, n) = (pair[0], pair[1]);
            let w: Vec<f32> = numbers(seed ^ (i as u64 + 7), k * n).iter().map(|w| w / k as f32).collect();
            let b = numbers(seed ^ (i as u64 + 77), n);
            let (wn, bn, hn, yn) = (format!("w{i}"), format!("b{i}"), format!("h{i}"), format!("y{i}"));
            model = model
                .floats(&wn, &[k, n], &w)
                .floats(&bn, &[n], &b)
                .node("Gemm", &[&name, &wn, &bn], &hn, vec![])
                .node("Relu", &[&hn], &yn, vec![]);
            for row in &mut rows {
                let out = |j: usize| {
                    let dot: f64 = (0..k).map(|i| row[i] * f64::from(w[i * n + j])).sum();
                    (dot + f64::from(b[j])).max(0.0)
                };
                *row = (0..n).map(out).collect();
            }
            name = yn;
        }
        check(model.output(&name), x, &rows.concat())?;
    }

    #[test]
    fn clips(lo in -1.5f32..0.5, span in 0.0f32..1.5, which in 1usize..4, n in 1usize..9, seed in any::<u64>()) {
        let x = tensor(&[2, n], seed);
        let hi = lo + span;
        let (min, max) = (if which & 1 != 0 { "lo" } else { "" }, if which & 2 != 0 { "hi" } else { "" });
        let clip = |v: f32| {
            let v = if which & 1 != 0 { v.max(lo) } else { v };
            f64::from(if which & 2 != 0 { v.min(hi) } else { v })
        };
        let want: Vec<f64> = x.data().iter().map(|v| clip(*v)).collect();
        let model = Model::new()
            .input("x", &[-1, n as i64])
            .floats("lo", &[], &[lo])
            .floats("hi", &[], &[hi])
            .node("Clip", &["x", min, max], "y", vec![])
            .output("y");
        check(model, x, &want)?;
    }

    #[test]
    fn transposes(dims in prop::collection::vec(1usize..5, 3), order in 0usize..6, seed in any::<u64>()) {
        let perm = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]][order];
        let x = tensor(&[2, dims[0], dims[1], dims[2]], seed);
        let record: usize = dims.iter().product();
        let mut want = Vec::new();
        for n in 0..2 {
            for a in 0..dims[perm[0]] {
                for b in 0..dims[perm[1]] {
                    for c in 0..dims[perm[2]] {
                        let mut at = [0; 3];
                        (at[perm[0]], at[perm[1]], at[perm[2]]) = (a, b, c);
                        let i = (at[0] * dims[1] + at[1]) * dims[2] + at[2];
                        want.push(f64::from(x.data()[n * record + i]));
                    }
                }
            }
        }
        let full: Vec<i64> = std::iter::once(0).chain(perm.iter().map(|p| *p as i64 + 1)).collect();
        let model = Model::new()
            .input("x", &[-1, dims[0] as i64, dims[1] as i64, dims[2] as i64])
            .node("Transpose", &["x"], "y", vec![ints("perm", &full)])
            .output("y");
        check(model, x, &want)?;
    }
}

/// Relu before a max pool moves behind it, and scale and shift go into the layer: seen in the number of comparisons and
/// steps.
#[test]
fn plans_are_lean() {
    let model = Model::new()
        .input("x", &[-1, 1, 4, 4])
        .floats("k", &[2, 1, 1, 1], &[0.3, -0.7])
        .floats("s", &[2], &[1.5, 0.5])
        .floats("o", &[2], &[0.1, 0.2])
        .floats("m", &[2], &[0.0, 0.0])
        .node("Conv", &["x", "k"], "a", vec![])
        .node(
            "BatchNormalization",
            &["a", "s", "o", "m", "s"],
            "b",
            vec![],
        )
        .node("Relu", &["b"], "r", vec![])
        .node(
            "MaxPool",
            &["r"],
            "y",
            vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])],
        )
        .output("y");
    let graph = Graph::from_onnx(&model.bytes(), ImportLimits::default()).unwrap();
    let x = tensor(&[3, 1, 4, 4], 5);
    let program = compile(&graph, &[vec![x]], PlanOptions::default())
        .unwrap()
        .program;
    let kinds: Vec<&str> = program.steps().iter().map(|s| s.op.kind()).collect();
    let want = [
        "Conv",
        "Rearrange",
        "Rearrange",
        "Max",
        "Rearrange",
        "Rearrange",
        "Max",
        "Relu",
    ];
    assert_eq!(kinds, want);
    // Four taps of 2 x 2 x 2 outputs: two levels of 2 and 1 comparisons, then one sign each.
    let compared: usize = program
        .steps()
        .iter()
        .filter(|s| s.op.is_interactive())
        .map(|s| program.value(s.output).elements())
        .sum();
    assert_eq!(compared, 8 * (2 + 1 + 1));
}
