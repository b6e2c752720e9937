//! The command as it is documented: every field of its object, for both kinds of weights and of parties.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn benchmarks(arguments: &[&str]) -> Output {
    let exe = env!("CARGO_BIN_EXE_benchmarks");
    Command::new(exe).args(arguments).output().unwrap()
}

fn measure(arguments: &[&str]) -> Value {
    let mut all = vec!["mpc", "--json", "--iterations", "2"];
    all.extend(arguments);
    let done = benchmarks(&all);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{arguments:?}: {said}");
    let out = String::from_utf8(done.stdout).unwrap();
    assert_eq!(out.lines().count(), 1, "one object: {out}");
    serde_json::from_str(&out).unwrap()
}

const PARTIES: [&str; 4] = ["client", "dealer", "evaluator0", "evaluator1"];

/// Twice the clear ring's own difference from the float model, which is below 10^-3 for all of these.
const ERROR: f64 = 2e-3;

fn check(model: &str, weights: &str, parties: &str, batch: u64) {
    let batch_text = batch.to_string();
    let found = measure(&[
        "--model",
        model,
        "--weights",
        weights,
        "--parties",
        parties,
        "--batch",
        &batch_text,
    ]);
    let what = format!("{model}, {weights}, {parties}: {found}");
    let number = |name: &str| {
        found[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name} of {what}"))
    };
    for name in ["online_s", "total_s", "dealing_s", "evaluate_s"] {
        assert!(number(name) > 0.0, "{name} of {what}");
    }
    for name in ["online", "total", "dealing"] {
        let least = number(&format!("{name}_min_s"));
        assert!(
            least > 0.0 && least <= number(&format!("{name}_s")),
            "{name} of {what}"
        );
    }
    assert_eq!(found["batch"], batch, "{what}");
    assert_eq!(found["model"], model, "{what}");
    assert_eq!(found["weights"], weights, "{what}");
    assert_eq!(found["parties"], parties, "{what}");
    let error = number("max_abs_err");
    assert!(error > 0.0 && error < ERROR, "{what}");
    assert_eq!(number("argmax_agree"), 1.0, "{what}");

    // What was measured is what the schedule says.
    let planned = &found["planned"];
    assert_eq!(found["rounds"], planned["rounds"], "{what}");
    assert!(found["rounds"].as_u64().unwrap() > 0, "{what}");
    let bytes = |field: &str, party: &str| found[field][party].as_u64();
    for evaluator in ["evaluator0", "evaluator1"] {
        let output = 8 * 10 * batch;
        let online = bytes("bytes_online", evaluator).unwrap();
        let openings = planned["bytes_openings"].as_u64().unwrap();
        assert_eq!(online, openings + output, "{what}");
    }
    let dealt = bytes("bytes_dealt", "dealer").unwrap();
    let corrections = planned["bytes_dealt"].as_u64().unwrap();
    assert!(
        corrections > 0 && dealt > corrections && dealt < corrections + 1000,
        "{what}"
    );
    assert_eq!(bytes("bytes_dealt", "client"), None, "{what}");
    for party in PARTIES {
        assert!(bytes("bytes_total", party).unwrap() > 0, "{what}");
    }

    let memory = found["peak_rss_bytes"].as_object().unwrap();
    match parties {
        "processes" => assert_eq!(memory.keys().collect::<Vec<_>>(), PARTIES, "{what}"),
        _ => assert_eq!(memory.keys().collect::<Vec<_>>(), ["all"], "{what}"),
    }
    assert!(
        memory.values().all(|v| v.as_u64().unwrap() > 1 << 20),
        "{what}"
    );
    let machine = &found["machine"];
    assert!(!machine["cpu"].as_str().unwrap().is_empty(), "{what}");
    assert!(
        !machine["instructions"].as_str().unwrap().is_empty(),
        "{what}"
    );
    assert!(machine["cores"].as_u64().unwrap() > 0, "{what}");
}

#[test]
fn private_weights_among_processes() {
    check("mlp", "private", "processes", 1);
}

#[test]
fn public_weights_among_processes() {
    check("mlp", "public", "processes", 3);
}

#[test]
fn private_weights_among_threads() {
    check("mlp", "private", "threads", 3);
}

#[test]
fn public_weights_among_threads() {
    check("mlp", "public", "threads", 1);
}

#[test]
fn a_file_is_a_model_too() {
    let dir = tempfile::tempdir().unwrap();
    let [model, records] = ["model.onnx", "records.npy"].map(|f| dir.path().join(f));
    let [model, records] = [&model, &records].map(|path| path.to_str().unwrap());
    let done = benchmarks(&[
        "onnx",
        "--model",
        "lenet",
        "--out",
        model,
        "--records",
        records,
    ]);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let bytes = std::fs::read(records).unwrap();
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    assert_eq!(file.shape(), [2, 1, 28, 28]);
    let found = measure(&[
        "--model",
        model,
        "--weights",
        "public",
        "--parties",
        "threads",
    ]);
    assert!(found["max_abs_err"].as_f64().unwrap() < ERROR, "{found}");
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    for (arguments, word) in [
        (&["--model", "vgg"][..], "neither one of mlp"),
        (
            &["--model", "mlp", "--wan", "fast"],
            "is not like 40ms,100mbit",
        ),
        (
            &[
                "--model",
                "mlp",
                "--wan",
                "1ms,1gbit",
                "--parties",
                "threads",
            ],
            "between processes",
        ),
        (&["--model", "mlp", "--batch", "0"], "0 is not in 1..=4096"),
    ] {
        let done = benchmarks(&[&["mpc"], arguments].concat());
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success(), "{arguments:?}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}
