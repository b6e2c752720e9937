//! Models with answers of ONNX Runtime: the float reference and the ring reference must both give them.
//!
//! `data/generate.py` and `data/transformers.py` write the files. Together they use every operator that the importer knows.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use ai_link_program::{
    Graph, ImportLimits, OutputData, OutputTensor, PlanOptions, Tensor, compile,
};
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn floats(v: &Value) -> Vec<f32> {
    v.as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap() as f32)
        .collect()
}

fn dims(v: &Value) -> Vec<usize> {
    v["dims"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d.as_u64().unwrap() as usize)
        .collect()
}

/// Compares one output with the recorded one.
fn check(what: &str, got: &OutputTensor, want: &Value, tolerance: f32) {
    assert_eq!(got.dims, dims(want), "{what}: shape");
    match &got.data {
        OutputData::F32(got) => {
            for (i, (g, w)) in got.iter().zip(floats(&want["f32"])).enumerate() {
                let allowed = tolerance * (1.0 + w.abs());
                assert!(
                    (g - w).abs() < allowed,
                    "{what}: element {i} is {g}, not {w}"
                );
            }
        }
        OutputData::I64(got) => {
            let want = want["i64"].as_array().unwrap();
            let want: Vec<i64> = want.iter().map(|v| v.as_i64().unwrap()).collect();
            assert_eq!(*got, want, "{what}");
        }
    }
}

/// Functions are within `2^-10` of theirs each, and some models have layers of them.
fn ring_tolerance(name: &str) -> f32 {
    match name {
        "bert" | "gpt2" => 1e-2,
        _ => 1e-3,
    }
}

/// Runs one model both ways.
fn model(name: &str) {
    let bytes = std::fs::read(folder().join(format!("{name}.onnx"))).unwrap();
    let record = std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let graph = Graph::from_onnx(&bytes, ImportLimits::default()).unwrap();
    let inputs: Vec<Tensor> = record["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| Tensor::new(dims(t), floats(&t["f32"])).unwrap())
        .collect();
    let outputs = record["outputs"].as_array().unwrap();
    let float = graph.run_f32(&inputs).unwrap();
    assert_eq!(float.len(), outputs.len());
    for (got, want) in float.iter().zip(outputs) {
        check(
            &format!("{name}, float, output {:?}", got.name),
            got,
            want,
            1e-5,
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
    let encoded: Vec<_> = inputs
        .iter()
        .enumerate()
        .map(|(port, t)| program.encode_input(port, t.data()).unwrap())
        .collect();
    let ring = program.run_clear(&encoded, batch).unwrap();
    for (port, (ring, want)) in ring.iter().zip(outputs).enumerate() {
        let got = program
            .decode_output(port, ring, batch)
            .unwrap()
            .pop()
            .unwrap();
        check(
            &format!("{name}, ring, output {:?}", got.name),
            &got,
            want,
            ring_tolerance(name),
        );
    }
    // Every value stays within its bound, as the windows and truncations assume.
    let trace = program.trace_clear(&encoded, batch).unwrap();
    for (info, value) in program.values().iter().zip(&trace) {
        let limit = 1u64 << info.bound_bits;
        assert!(
            value.iter().all(|v| (*v as i64).unsigned_abs() < limit),
            "{name}: a bound is wrong"
        );
    }
}

macro_rules! models {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { model(stringify!($name)); })*

        #[test]
        fn every_file_is_tested() {
            let mut tested = vec![$(concat!(stringify!($name), ".onnx").to_owned()),*];
            let files = std::fs::read_dir(folder()).unwrap();
            let mut files: Vec<String> = files
                .map(|f| f.unwrap().file_name().into_string().unwrap())
                .filter(|f| f.ends_with(".onnx"))
                .collect();
            tested.sort();
            files.sort();
            assert_eq!(files, tested);
        }
    };
}

models!(
    arithmetic,
    bert,
    clips,
    cnn,
    conv1d,
    conv_auto_pad,
    dropped_window,
    fixed_batch,
    gpt2,
    layout,
    mlp,
    norm,
    pools,
    residual,
    rows,
    shapes,
);
