//! Private weights: the same results, a program that does not tell them, and a package that commits to them.
#![allow(clippy::unwrap_used)]

mod common;

use ai_link_program::fixed::{ConstId, Op};
use ai_link_program::package::{BuildError, PrivateWeightsError, Salt};
use ai_link_program::{
    BoundPolicy, Compiled, Graph, ImportLimits, Package, PackageLimits, PlanOptions,
    PrivateWeights, Tensor, WeightPrivacy, compile,
};
use common::{Model, ints};

fn private() -> PlanOptions {
    PlanOptions {
        weights: WeightPrivacy::Private,
        ..PlanOptions::default()
    }
}

fn uniform() -> PlanOptions {
    PlanOptions {
        bounds: BoundPolicy::Uniform,
        ..private()
    }
}

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

fn tensor(dims: &[usize], seed: u64) -> Tensor {
    Tensor::new(dims.to_vec(), numbers(seed, dims.iter().product())).unwrap()
}

/// Normalised input, convolution with batch normalisation, a shortcut with a scale of its own, pools, two dense layers.
fn network() -> Vec<u8> {
    let mut features = numbers(9, 4 * 12 * 2);
    features.iter_mut().for_each(|v| *v *= 0.3);
    Model::new()
        .input("x", &[-1, 2, 6, 8])
        .floats("mean", &[2, 1, 1], &[0.3, -0.2])
        .floats("deviation", &[2, 1, 1], &[0.7, 1.3])
        .floats("k", &[4, 2, 3, 3], &numbers(1, 72))
        .floats("kb", &[4], &numbers(2, 4))
        .floats("s", &[4], &[1.1, 0.9, 0.3, 2.0])
        .floats("o", &[4], &numbers(3, 4))
        .floats("m", &[4], &numbers(4, 4))
        .floats("v", &[4], &[0.5, 1.5, 1.0, 0.8])
        .floats("place", &[4, 6, 8], &numbers(5, 192))
        .floats("w", &[48, 5], &numbers(6, 240))
        .floats("b", &[5], &numbers(7, 5))
        .floats("w2", &[5, 3], &numbers(8, 15))
        .node("Sub", &["x", "mean"], "c", vec![])
        .node("Div", &["c", "deviation"], "n", vec![])
        .node(
            "Conv",
            &["n", "k", "kb"],
            "a",
            vec![ints("pads", &[1, 1, 1, 1])],
        )
        .node(
            "BatchNormalization",
            &["a", "s", "o", "m", "v"],
            "bn",
            vec![],
        )
        .node("Relu", &["bn"], "r", vec![])
        .node("Mul", &["r", "place"], "p", vec![])
        .node("Add", &["p", "bn"], "sum", vec![])
        .node("Relu", &["sum"], "r2", vec![])
        .node(
            "MaxPool",
            &["r2"],
            "mp",
            vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])],
        )
        .node("Flatten", &["mp"], "f", vec![])
        .node("Gemm", &["f", "w", "b"], "h", vec![])
        .node("Relu", &["h"], "hr", vec![])
        .node("MatMul", &["hr", "w2"], "y", vec![])
        .output("y")
        .bytes()
}

/// The largest difference from the float model on `x`.
fn error(graph: &Graph, compiled: &Compiled, x: &Tensor) -> f32 {
    let Compiled {
        program,
        parameters,
    } = compiled;
    let want = graph.run_f32(std::slice::from_ref(x)).unwrap();
    let ring = program.encode_input(0, x.data()).unwrap();
    let ring = program
        .run_clear_with(parameters, &[ring], x.batch())
        .unwrap();
    let got = program.decode_output(0, &ring[0], x.batch()).unwrap();
    let pairs = want[0]
        .as_f32()
        .unwrap()
        .iter()
        .zip(got[0].as_f32().unwrap());
    pairs.map(|(w, g)| (w - g).abs()).fold(0.0, f32::max)
}

#[test]
fn private_weights_give_the_same_results() {
    let graph = Graph::from_onnx(&network(), ImportLimits::default()).unwrap();
    let x = tensor(&[6, 2, 6, 8], 10);
    for options in [PlanOptions::default(), private(), uniform()] {
        let compiled = compile(&graph, &[vec![x.clone()]], options).unwrap();
        let error = error(&graph, &compiled, &x);
        assert!(error < 2e-3, "{options:?}: {error}\n{}", compiled.program);
        let public = options.weights == WeightPrivacy::Public;
        assert_eq!(compiled.parameters.is_empty(), public);
    }
}

/// What is left public are powers of two: alignment of fractions and counts.
#[test]
fn no_constant_of_a_private_program_is_a_weight() {
    let graph = Graph::from_onnx(&network(), ImportLimits::default()).unwrap();
    let x = tensor(&[2, 2, 6, 8], 10);
    for options in [private(), uniform()] {
        let Compiled { program, .. } = compile(&graph, &[vec![x.clone()]], options).unwrap();
        for step in program.steps() {
            match &step.op {
                Op::Linear { .. } | Op::Conv { .. } | Op::AddConst { .. } => {
                    panic!("{} has public weights", step.name)
                }
                Op::MulConst {
                    constant: ConstId(i),
                } => {
                    let c = &program.constants()[*i as usize];
                    assert!(c.dims.is_empty() && c.data[0].unsigned_abs().is_power_of_two());
                }
                _ => {}
            }
        }
        // Input scale and shift are one layer, and the convolution has swallowed its normalisation.
        let names: Vec<&str> = program
            .parameters()
            .iter()
            .map(|p| p.name.as_str())
            .collect();
        assert_eq!(names.len(), 2 + 2 + 1 + 2 + 1, "{names:?}");
    }
}

/// Hidden units in another order compute the same function with the same ranges from other weights: the programs must be
/// the same to the bit.
#[test]
fn programs_of_different_weights_are_equal() {
    let hidden = 7;
    let (w, b, v) = (
        numbers(21, 3 * hidden),
        numbers(22, hidden),
        numbers(23, hidden * 2),
    );
    let build = |order: &[usize]| {
        let columns = |row: &[f32]| order.iter().map(|i| row[*i]).collect::<Vec<_>>();
        let w: Vec<f32> = w.chunks(hidden).flat_map(columns).collect();
        let v: Vec<f32> = order
            .iter()
            .flat_map(|i| v[2 * i..2 * i + 2].to_vec())
            .collect();
        let model = Model::new()
            .input("x", &[-1, 3])
            .floats("w", &[3, hidden], &w)
            .floats("b", &[hidden], &columns(&b))
            .floats("v", &[hidden, 2], &v)
            .node("Gemm", &["x", "w", "b"], "h", vec![])
            .node("Relu", &["h"], "r", vec![])
            .node("Gemm", &["r", "v"], "y", vec![])
            .output("y");
        Graph::from_onnx(&model.bytes(), ImportLimits::default()).unwrap()
    };
    let (one, other) = (build(&[0, 1, 2, 3, 4, 5, 6]), build(&[3, 0, 6, 5, 1, 4, 2]));
    let x = tensor(&[8, 3], 24);
    for options in [private(), uniform()] {
        let plan = |g: &Graph| compile(g, &[vec![x.clone()]], options).unwrap();
        let (one, other) = (plan(&one), plan(&other));
        assert_eq!(one.program.digest(), other.program.digest());
        assert_ne!(one.parameters, other.parameters);
    }
}

/// Under one bound for all layers, weights of another size change nothing as long as the largest value stays.
#[test]
fn uniform_bounds_hide_the_layers() {
    let build = |first: f32| {
        let model = Model::new()
            .input("x", &[-1, 1])
            .floats("w", &[1, 1], &[first])
            .floats("v", &[1, 1], &[100.0 / first])
            .node("Gemm", &["x", "w"], "h", vec![])
            .node("Relu", &["h"], "r", vec![])
            .node("Gemm", &["r", "v"], "y", vec![])
            .output("y");
        let graph = Graph::from_onnx(&model.bytes(), ImportLimits::default()).unwrap();
        let x = Tensor::new(vec![1, 1], vec![1.0]).unwrap();
        move |options| {
            compile(&graph, &[vec![x.clone()]], options)
                .unwrap()
                .program
        }
    };
    let (small, large) = (build(2.0), build(60.0));
    assert_ne!(small(private()).digest(), large(private()).digest());
    assert_eq!(small(uniform()).digest(), large(uniform()).digest());
}

#[test]
fn packages_commit_to_private_weights() {
    let onnx = network();
    let x = vec![vec![tensor(&[3, 2, 6, 8], 10)]];
    let build = |salt| {
        let limits = ImportLimits::default();
        let salt = Salt::from_random([salt; 32]);
        Package::build_private("net", &onnx, limits, &x, PlanOptions::default(), salt).unwrap()
    };
    let (package, weights) = build(1);
    assert_eq!(package.source, None);
    assert_eq!(package.calibration.agreeing, 3);
    let bytes = package.to_bytes();
    assert_eq!(
        Package::from_bytes(&bytes, PackageLimits::default()).unwrap(),
        package
    );
    let secret = weights.to_bytes();
    assert_eq!(
        PrivateWeights::from_bytes(&secret, &package).unwrap(),
        weights
    );

    // Another salt: the same program, another commitment, and neither half fits the other's.
    let (other, other_weights) = build(2);
    assert_eq!(other.program, package.program);
    assert_ne!(
        Package::commitment_of(&other.to_bytes()),
        Package::commitment_of(&bytes)
    );
    assert_eq!(
        PrivateWeights::from_bytes(&other_weights.to_bytes(), &package),
        Err(PrivateWeightsError::Commitment)
    );
    // One weight changed by one unit.
    let mut changed = secret.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    changed.swap(40, 41);
    let refused = PrivateWeights::from_bytes(&changed, &package).unwrap_err();
    assert!(matches!(
        refused,
        PrivateWeightsError::Commitment | PrivateWeightsError::Parameters(_)
    ));
    assert_eq!(
        PrivateWeights::from_bytes(&secret[..31], &package),
        Err(PrivateWeightsError::TooShort(31))
    );
    assert!(!format!("{weights:?}").contains("1, 1"));

    let limits = ImportLimits::default();
    assert!(matches!(
        Package::build("net", &onnx, limits, &x, private()),
        Err(BuildError::Private)
    ));
    let public = Package::build("net", &onnx, limits, &x, PlanOptions::default()).unwrap();
    assert_eq!(
        PrivateWeights::from_bytes(&secret, &public),
        Err(PrivateWeightsError::Public)
    );
    // A public part that lost its commitment is not a package.
    let mut lost = package.clone();
    lost.parameters = None;
    assert!(Package::from_bytes(&lost.to_bytes(), PackageLimits::default()).is_err());
}
