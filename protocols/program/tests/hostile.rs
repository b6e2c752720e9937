//! Bytes from anywhere: the bodies of the fuzz targets, driven on stable.
#![allow(clippy::unwrap_used)]

mod common;

use ai_link_program::{
    ImportLimits, Package, PackageError, PackageLimits, PlanOptions, Tensor, onnx, package,
};
use common::{Model, float, int, ints};
use proptest::prelude::*;

/// A model with many kinds of nodes, to be damaged.
fn model() -> Vec<u8> {
    let w: Vec<f32> = (0..54).map(|i| (i as f32 - 20.0) / 10.0).collect();
    Model::new()
        .input("x", &[-1, 3, 6, 6])
        .floats("k", &[2, 3, 3, 3], &w)
        .floats("b", &[2], &[0.5, -0.5])
        .floats("w", &[8, 3], &w[..24])
        .ints("shape", &[0, -1])
        .node(
            "Conv",
            &["x", "k", "b"],
            "a",
            vec![ints("pads", &[1, 0, 1, 0])],
        )
        .node("Relu", &["a"], "r", vec![])
        .node(
            "MaxPool",
            &["r"],
            "p",
            vec![
                ints("kernel_shape", &[3, 2]),
                ints("strides", &[2, 2]),
                int("ceil_mode", 1),
            ],
        )
        .node("LeakyRelu", &["p"], "l", vec![float("alpha", 0.1)])
        .node("Slice", &["l", "s", "e", "ax"], "sl", vec![])
        .ints("s", &[0])
        .ints("e", &[2])
        .ints("ax", &[2])
        .node("Transpose", &["sl"], "t", vec![ints("perm", &[0, 2, 1, 3])])
        .node("Reshape", &["t", "shape"], "f", vec![])
        .node("Gemm", &["f", "w"], "y", vec![])
        .node("Softmax", &["y"], "z", vec![])
        .output("z")
        .output("y")
        .bytes()
}

fn packaged() -> Vec<u8> {
    let x = Tensor::new(
        vec![2, 3, 6, 6],
        (0..216).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect(),
    )
    .unwrap();
    let p = Package::build(
        "small",
        &model(),
        ImportLimits::default(),
        &[vec![x]],
        PlanOptions::default(),
    );
    p.unwrap().to_bytes()
}

/// Overwrites, cuts and doubles at random.
fn damage(mut bytes: Vec<u8>, edits: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    for (at, kind, byte) in edits {
        if bytes.is_empty() {
            break;
        }
        let i = at.index(bytes.len());
        match kind % 4 {
            0 => bytes[i] = *byte,
            1 => bytes.insert(i, *byte),
            2 => drop(bytes.remove(i)),
            _ => bytes[i] ^= 1 << (byte % 8),
        }
    }
    bytes
}

#[test]
fn the_undamaged_ones_are_read() {
    onnx::fuzz(&model());
    let bytes = packaged();
    let read = Package::from_bytes(&bytes, PackageLimits::default()).unwrap();
    assert_eq!(read.to_bytes(), bytes);
    assert_eq!(read.name, "small");
    assert!(read.calibration.max_abs_error < 1e-3);
    assert_eq!(
        (read.calibration.records, read.calibration.agreeing),
        (2, 2)
    );
    assert_eq!(read.program.outputs().len(), 2);
}

#[test]
fn packages_are_refused_for_a_reason() {
    let bytes = packaged();
    let read = |b: &[u8]| Package::from_bytes(b, PackageLimits::default());
    let small = PackageLimits {
        bytes: bytes.len() - 1,
    };
    assert!(matches!(
        Package::from_bytes(&bytes, small),
        Err(PackageError::TooLarge { .. })
    ));
    assert!(matches!(read(&bytes[1..]), Err(PackageError::Magic)));
    assert!(matches!(
        read(&bytes[..bytes.len() - 1]),
        Err(PackageError::Decode(_))
    ));
    assert!(matches!(
        read(&[&bytes[..], &[0]].concat()),
        Err(PackageError::Trailing(1))
    ));
    let mut package = read(&bytes).unwrap();
    package.calibration.agreeing = 3;
    assert!(matches!(
        read(&package.to_bytes()),
        Err(PackageError::Field(_))
    ));
    // A name that claims to be 2^60 bytes long: refused before it is allocated.
    let claim = [&package::MAGIC[..], &[253, 0, 0, 0, 0, 0, 0, 0, 16]].concat();
    assert!(matches!(read(&claim), Err(PackageError::Decode(_))));
}

#[test]
fn the_commitment_covers_every_byte() {
    let bytes = packaged();
    let root = Package::commitment_of(&bytes);
    for i in [0, bytes.len() / 2, bytes.len() - 1] {
        let mut other = bytes.clone();
        other[i] ^= 1;
        assert_ne!(Package::commitment_of(&other), root);
    }
    assert_ne!(Package::commitment_of(&bytes[..bytes.len() - 1]), root);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        onnx::fuzz(&bytes);
        package::fuzz(&bytes);
        package::fuzz(&[&package::MAGIC[..], &bytes].concat());
    }

    #[test]
    fn damaged_models(edits in prop::collection::vec(any::<(prop::sample::Index, u8, u8)>(), 1..6)) {
        onnx::fuzz(&damage(model(), &edits));
    }

    #[test]
    fn damaged_packages(edits in prop::collection::vec(any::<(prop::sample::Index, u8, u8)>(), 1..4)) {
        package::fuzz(&damage(packaged(), &edits));
    }

    /// Attributes and constants that no exporter would write, structure intact.
    #[test]
    fn absurd_numbers(
        node in 0usize..9,
        numbers in prop::collection::vec(prop_oneof![any::<i64>(), -4i64..8, Just(i64::MIN), Just(i64::MAX)], 1..5),
        name in prop::sample::select(vec!["kernel_shape", "strides", "pads", "dilations", "perm", "axis", "group", "ceil_mode", "shape", "s", "e", "ax", "dims"]),
    ) {
        use onnx::proto::*;
        use prost::Message;
        let mut m = ModelProto::decode(model().as_slice()).unwrap();
        let graph = m.graph.as_mut().unwrap();
        if let Some(t) = graph.initializer.iter_mut().find(|t| t.name.as_deref() == Some(name)) {
            t.dims = vec![numbers.len() as i64];
            t.int64_data = numbers;
        } else if name == "dims" {
            graph.initializer[node % 4].dims = numbers;
        } else {
            let attributes = &mut graph.node[node].attribute;
            attributes.retain(|a| a.name.as_deref() != Some(name));
            attributes.push(AttributeProto { i: Some(numbers[0]), ..ints(name, &numbers) });
        }
        onnx::fuzz(&m.encode_to_vec());
    }
}
