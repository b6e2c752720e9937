//! The two models of the demonstration: import, compile, and agree with ONNX Runtime on every held-out record.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use ai_link_program::package::CalibrationSummary;
use ai_link_program::{Datatype, Graph, ImportLimits, Package, PackageLimits, PlanOptions, Tensor};

/// Reads a little-endian float array in version 1 of the npy format.
fn npy(path: PathBuf) -> Tensor {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    assert!(
        header.contains("'<f4'") && header.contains("'fortran_order': False"),
        "{header}"
    );
    let shape = header
        .split_once("'shape': (")
        .unwrap()
        .1
        .split_once(')')
        .unwrap()
        .0;
    let dims = shape
        .split(',')
        .filter_map(|d| d.trim().parse().ok())
        .collect();
    let data = bytes[start..]
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    Tensor::new(dims, data).unwrap()
}

fn agrees(model: &str, record_dims: &[i64], classes: usize) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../benchmarks/models")
        .join(model);
    let onnx = std::fs::read(folder.join("model.onnx")).unwrap();
    let calibration = vec![vec![npy(folder.join("calibration.npy"))]];
    let package = Package::build(
        model,
        &onnx,
        ImportLimits::default(),
        &calibration,
        PlanOptions::default(),
    )
    .unwrap();
    assert_eq!(package.calibration.agreeing, package.calibration.records);
    assert!(
        package.calibration.max_abs_error < 1e-3,
        "{:?}",
        package.calibration
    );

    println!("{}{:?}", package.program, package.calibration);

    // What a worker loads is what the owner built.
    let bytes = package.to_bytes();
    let package = Package::from_bytes(&bytes, PackageLimits::default()).unwrap();
    let signature = package.program.signature();
    assert_eq!(signature.inputs[0].shape[1..], *record_dims);
    assert_eq!(signature.outputs[0].shape, [-1, classes as i64]);
    assert_eq!(signature.outputs[0].datatype, Datatype::Fp32);

    let records = npy(folder.join("records.npy"));
    let expected = npy(folder.join("expected.npy"));
    let batch = records.batch();
    let input = package.program.encode_input(0, records.data()).unwrap();
    let ring = package.program.run_clear(&[input], batch).unwrap();
    let output = package
        .program
        .decode_output(0, &ring[0], batch)
        .unwrap()
        .pop()
        .unwrap();
    let got = output.as_f32().unwrap();
    let class = |p: &[f32]| (0..classes).max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap();
    for (i, (got, want)) in got
        .chunks(classes)
        .zip(expected.data().chunks(classes))
        .enumerate()
    {
        assert_eq!(
            class(got),
            class(want),
            "{model}: record {i} has another class"
        );
        for (g, w) in got.iter().zip(want) {
            assert!(
                (g - w).abs() < 2e-3,
                "{model}: record {i} has probability {g}, not {w}"
            );
        }
    }

    let graph = Graph::from_onnx(&onnx, ImportLimits::default()).unwrap();
    let held_out = CalibrationSummary::measure(&graph, &package.program, &[vec![records]]).unwrap();
    assert_eq!(held_out.agreeing, batch as u64);
}

#[test]
fn breast_cancer() {
    agrees("breast-cancer", &[30], 2);
}

#[test]
fn digits() {
    agrees("digits", &[1, 8, 8], 10);
}
