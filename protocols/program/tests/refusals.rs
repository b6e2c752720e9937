//! What the importer and the planner refuse, and that they say why.
#![allow(clippy::unwrap_used)]

mod common;

use ai_link_program::onnx::proto::*;
use ai_link_program::onnx::{TensorProblem, Unsupported, Why};
use ai_link_program::{Graph, ImportError, ImportLimits, PlanError, PlanOptions, Tensor, compile};
use common::{Model, int, ints, value};

fn import(model: Model) -> Result<Graph, ImportError> {
    Graph::from_onnx(&model.bytes(), ImportLimits::default())
}

fn unsupported(model: Model) -> Vec<Unsupported> {
    match import(model) {
        Err(ImportError::Unsupported(nodes)) => nodes,
        other => panic!("not refused for its nodes: {other:?}"),
    }
}

/// A model of one node `op` on input `x [n, dims..]` and constants.
fn one(op: &str, dims: &[i64], more: &[&str], attributes: Vec<AttributeProto>) -> Model {
    let inputs: Vec<&str> = std::iter::once("x").chain(more.iter().copied()).collect();
    let mut full = vec![-1];
    full.extend(dims);
    Model::new()
        .input("x", &full)
        .node(op, &inputs, "y", attributes)
        .output("y")
}

#[test]
fn all_unsupported_nodes_are_listed_at_once() {
    let model = Model::new()
        .input("x", &[-1, 4])
        .floats("w", &[4, 4], &[1.0; 16])
        .node("Cos", &["x"], "a", vec![])
        .node("MatMul", &["a", "w"], "b", vec![])
        .node("Gemm", &["x", "w"], "c", vec![int("transA", 1)])
        .node("MatMul", &["x", "x"], "d", vec![])
        .node("Transpose", &["x"], "e", vec![])
        .node("Relu", &["nowhere"], "f", vec![])
        .output("b");
    let nodes = unsupported(model);
    let found: Vec<(&str, &Why)> = nodes.iter().map(|n| (n.op.as_str(), &n.why)).collect();
    // MatMul is fine in itself: it only follows a refused node.
    assert!(
        matches!(
            found.as_slice(),
            [
                ("Cos", Why::Operator),
                ("Gemm", Why::MixesBatch(_)),
                ("MatMul", Why::MixesBatch(_)),
                ("Transpose", Why::MixesBatch(_)),
                ("Relu", Why::Undefined(_)),
            ]
        ),
        "{found:?}"
    );
    let text = ImportError::Unsupported(nodes).to_string();
    for part in [
        "Cos of a",
        "Gemm of c",
        "MatMul of d",
        "records of a batch",
        "\"nowhere\"",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn operators_that_mix_records() {
    let mixing = [
        one("Flatten", &[2, 3], &[], vec![int("axis", 0)]),
        one("Flatten", &[2, 3], &[], vec![int("axis", 2)]),
        one("Softmax", &[3], &[], vec![int("axis", 0)]),
        one("ArgMax", &[3], &[], vec![int("axis", 0)]),
        one("Concat", &[3], &["x"], vec![int("axis", 0)]),
        one("ReduceMean", &[3], &[], vec![ints("axes", &[0, 1])]),
        one("ReduceMean", &[3], &[], vec![]),
        one("Gather", &[3], &["i"], vec![]).ints("i", &[0]),
        one("Slice", &[3], &["i", "j", "k"], vec![])
            .ints("i", &[0])
            .ints("j", &[1])
            .ints("k", &[0]),
        one("Unsqueeze", &[3], &["i"], vec![]).ints("i", &[0]),
        one("Squeeze", &[3], &["i"], vec![]).ints("i", &[0]),
        one("Reshape", &[4], &["i"], vec![]).ints("i", &[-1, 2]),
        one("Reshape", &[4], &["i"], vec![]).ints("i", &[1, -1]),
        one("Reshape", &[4], &["i"], vec![]).ints("i", &[4, -1]),
        one("Pad", &[4], &["i"], vec![]).ints("i", &[1, 0, 0, 0]),
        one("Expand", &[4], &["i"], vec![]).ints("i", &[5, 4]),
        one("Add", &[4], &["c"], vec![]).floats("c", &[2, 4], &[0.0; 8]),
        one("Add", &[4], &["c"], vec![]).floats("c", &[1, 1, 4], &[0.0; 4]),
        one("Gemm", &[4], &["c", "d"], vec![])
            .floats("c", &[4, 2], &[0.0; 8])
            .floats("d", &[3, 2], &[0.0; 6]),
    ];
    for model in mixing {
        let node = model.graph.node[0].clone();
        let nodes = unsupported(model);
        assert!(
            matches!(nodes[0].why, Why::MixesBatch(_)),
            "{node:?}: {:?}",
            nodes[0].why
        );
    }
}

#[test]
fn other_reasons() {
    let why = |model| unsupported(model).remove(0).why;
    let after = one("LogSoftmax", &[3], &[], vec![]).node("Relu", &["y"], "z", vec![]);
    assert_eq!(why(after), Why::AfterClientOp);
    let secret = Model::new()
        .input("x", &[-1, 3])
        .input("w", &[-1, 3])
        .node("Gemm", &["x", "w"], "y", vec![])
        .output("y");
    assert!(matches!(why(secret), Why::NotConstant(_)));
    assert!(matches!(
        why(one("Cast", &[3], &[], vec![int("to", 7)])),
        Why::Attribute { name: "to", .. }
    ));
    assert!(matches!(
        why(one("Relu", &[3], &[], vec![]).node("Relu", &["x"], "y", vec![])),
        Why::Redefined(_)
    ));
    assert!(matches!(
        why(one("Div", &[2], &["c"], vec![]).floats("c", &[2], &[1.0, 0.0])),
        Why::NotFinite
    ));
    assert!(matches!(
        why(one("MatMul", &[3], &["c"], vec![]).floats("c", &[2, 2], &[0.0; 4])),
        Why::Shape { .. }
    ));
    let pool = |kernel: &[i64], pads: &[i64]| {
        why(one(
            "MaxPool",
            &[1, 4, 4],
            &[],
            vec![ints("kernel_shape", kernel), ints("pads", pads)],
        ))
    };
    assert!(matches!(pool(&[5, 5], &[0; 4]), Why::Shape { .. }));
    // The first window would see nothing but padding.
    assert!(matches!(pool(&[2, 2], &[2, 2, 0, 0]), Why::Shape { .. }));
    // No elements, but an axis that would take a list of 2^40 positions to slice.
    let hollow = one("Relu", &[3], &[], vec![])
        .ints("i", &[0, 1 << 40])
        .node("ConstantOfShape", &["i"], "c", vec![]);
    assert!(matches!(why(hollow), Why::Shape { .. }));
    let mut foreign = one("Relu", &[3], &[], vec![]);
    foreign.graph.node[0].domain = Some("com.example".into());
    assert_eq!(why(foreign), Why::Domain("com.example".into()));
}

#[test]
fn files_that_cannot_be_used() {
    let relu = || one("Relu", &[3], &[], vec![]);
    let mut old = relu();
    old.opset = 12;
    assert!(matches!(
        import(old),
        Err(ImportError::Opset { have: Some(12) })
    ));
    let mut external = relu().floats("c", &[1], &[1.0]);
    external.graph.initializer[0].data_location = Some(1);
    assert!(matches!(
        import(external),
        Err(ImportError::Initializer {
            source: TensorProblem::External,
            ..
        })
    ));
    let mut short = relu().floats("c", &[2], &[1.0]);
    assert!(matches!(
        import(short),
        Err(ImportError::Initializer {
            source: TensorProblem::Length { want: 2, have: 1 },
            ..
        })
    ));
    short = relu().floats("c", &[1 << 40], &[]);
    assert!(matches!(
        import(short),
        Err(ImportError::Initializer {
            source: TensorProblem::TooLarge { .. },
            ..
        })
    ));
    let hollow = relu().floats("c", &[0, 1 << 40], &[]);
    assert!(matches!(
        import(hollow),
        Err(ImportError::Initializer {
            source: TensorProblem::Shape(_),
            ..
        })
    ));
    for dims in [&[-1i64, -1][..], &[], &[4, 3]] {
        let mut model = relu();
        model.graph.input[0] = value("x", data_type::FLOAT, dims);
        assert!(
            matches!(import(model), Err(ImportError::Input { .. })),
            "{dims:?}"
        );
    }
    let mut integers = relu();
    integers.graph.input[0] = value("x", data_type::INT64, &[-1, 3]);
    assert!(matches!(import(integers), Err(ImportError::Input { .. })));
    assert!(matches!(
        import(relu().output("z")),
        Err(ImportError::Output { .. })
    ));
    assert!(matches!(
        import(Model::new()),
        Err(ImportError::Missing { what: "input" })
    ));

    let bytes = relu().bytes();
    let limit = |change: fn(&mut ImportLimits)| {
        let mut limits = ImportLimits::default();
        change(&mut limits);
        Graph::from_onnx(&bytes, limits).unwrap_err()
    };
    assert!(matches!(
        limit(|l| l.bytes = 10),
        ImportError::TooLarge { limit: 10, .. }
    ));
    assert!(matches!(
        limit(|l| l.nodes = 0),
        ImportError::TooLarge { limit: 0, .. }
    ));
    assert!(matches!(
        limit(|l| l.entries = 5),
        ImportError::TooLarge { limit: 5, .. }
    ));
    assert!(matches!(
        limit(|l| l.total_elements = 5),
        ImportError::Unsupported(_)
    ));
    assert!(matches!(
        Graph::from_onnx(&bytes[..bytes.len() - 1], ImportLimits::default()),
        Err(ImportError::Truncated | ImportError::Decode(_))
    ));
}

fn batch(values: &[f32]) -> Vec<Vec<Tensor>> {
    vec![vec![
        Tensor::new(vec![1, values.len()], values.to_vec()).unwrap(),
    ]]
}

#[test]
fn plans_lower_the_fraction_and_then_refuse() {
    let scale = |factor: f32| {
        let model = Model::new()
            .input("x", &[-1, 2])
            .floats("w", &[2, 1], &[factor, factor / 3.0])
            .floats("v", &[1, 1], &[factor / 3.0])
            .node("MatMul", &["x", "w"], "a", vec![])
            .node("MatMul", &["a", "v"], "y", vec![])
            .output("y");
        import(model).unwrap()
    };
    let input_fraction = |graph: &Graph| {
        let p = compile(graph, &batch(&[1.0, 1.0]), PlanOptions::default())?.program;
        Ok::<u8, PlanError>(p.value(p.inputs()[0].value).fraction)
    };
    assert_eq!(input_fraction(&scale(10.0)), Ok(16));
    let lowered = input_fraction(&scale(1e6)).unwrap();
    assert!((10..16).contains(&lowered), "{lowered}");
    let Err(PlanError::DoesNotFit {
        fraction_bits: 10,
        layers,
    }) = input_fraction(&scale(1e12))
    else {
        panic!("1e12 squared cannot fit");
    };
    // Both layers are named, not only the first.
    let named = |name: &str| layers.iter().any(|l| l.layer == name && l.need > l.have);
    assert!(named("MatMul of a") && named("MatMul of y"), "{layers:?}");

    assert_eq!(
        compile(&scale(1.0), &[], PlanOptions::default()),
        Err(PlanError::NoCalibration)
    );
    let wrong = compile(&scale(1.0), &batch(&[1.0]), PlanOptions::default());
    assert!(matches!(
        wrong,
        Err(PlanError::Calibration { batch: 0, .. })
    ));
    let options = PlanOptions {
        headroom_bits: 40,
        ..PlanOptions::default()
    };
    assert!(matches!(
        compile(&scale(1.0), &batch(&[1.0, 1.0]), options),
        Err(PlanError::Options { .. })
    ));
}
