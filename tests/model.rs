//! `ai-link model check` and `model explain` on a committed model.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn ai_link(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ai-link"))
        .args(arguments)
        .output()
        .unwrap()
}

fn model(command: &str, flags: &[&str]) -> Output {
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/benchmarks/models/digits");
    let (onnx, records) = (
        format!("{files}/model.onnx"),
        format!("{files}/calibration.npy"),
    );
    ai_link(&[&["model", command, &onnx, "--calibration", &records], flags].concat())
}

fn json(output: Output) -> Value {
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_str(&text).unwrap()
}

fn rounds(explained: &Value) -> u64 {
    explained["totals"]["rounds"].as_u64().unwrap()
}

#[test]
fn explained_layers_cost_what_is_measured() {
    let explained = json(model(
        "explain",
        &[
            "--json",
            "--level",
            "mpc",
            "--rtt",
            "2ms",
            "--bandwidth",
            "1gbit",
            "--run",
            "1",
        ],
    ));
    let layers = explained["layers"].as_array().unwrap();
    let interactive: Vec<&Value> = layers.iter().filter(|l| l["operator"] != "local").collect();
    assert!(!interactive.is_empty());
    for layer in layers {
        for figure in ["rounds", "bytes_online", "bytes_dealt"] {
            assert_eq!(
                layer["measured"][figure], layer["predicted"][figure],
                "{layer}"
            );
        }
    }
    let sum: u64 = layers
        .iter()
        .map(|l| l["measured"]["rounds"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, rounds(&explained));
    // Every comparison says what else was possible.
    let signs = interactive
        .iter()
        .filter(|l| l["operator"] == "Relu" || l["operator"] == "Max");
    assert!(signs.clone().count() > 0);
    for sign in signs {
        assert!(
            sign["instead"]
                .as_array()
                .unwrap()
                .iter()
                .any(|o| o["how"] == "keys")
        );
    }
    let elsewhere = explained["elsewhere"].as_array().unwrap();
    assert!(elsewhere.iter().any(|e| e["name"] == "wide area"));
}

#[test]
fn the_plan_follows_the_link_the_weights_and_the_evaluators() {
    let explain = |flags: &[&str]| {
        let flags = [&["--json", "--rates", "default"], flags].concat();
        json(model("explain", &flags))
    };
    let near = explain(&["--rtt", "0.06ms", "--bandwidth", "16gbit"]);
    let slow = ["--rtt", "40ms", "--bandwidth", "100mbit"];
    let far = explain(&slow);
    let keys = explain(&[&slow[..], &["--evaluators", "2"]].concat());
    assert!(rounds(&far) <= rounds(&near));
    assert!(rounds(&keys) < rounds(&far));
    let online = |e: &Value| e["totals"]["predicted"]["online"].as_f64().unwrap();
    // Half a round trip for each round, and three for the dealer's word, the input and the output.
    assert!(online(&keys) >= 0.02 * (rounds(&keys) as f64 + 3.0));
    let private = explain(&["--weights", "private"]);
    assert_eq!(private["weights"], "private");
    let kinds = private["layers"].as_array().unwrap();
    assert!(kinds.iter().any(|l| l["operator"] == "ConvShared"));
    // The same flags, the same plan, whatever the machine is doing.
    assert_eq!(far, explain(&slow));
}

#[test]
fn labels_alone_can_be_asked_for() {
    let outputs = |flags: &[&str]| {
        let checked = json(model("check", &[&["--json"], flags].concat()));
        checked["outputs"].as_array().unwrap()[0]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(outputs(&[]).ends_with("[10]"));
    assert!(outputs(&["--outputs", "labels"]).ends_with("[]"));
    assert!(outputs(&["--outputs", "top3"]).ends_with("[3]"));
    let refused = model("check", &["--outputs", "top11"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("cannot be revealed"));
}
