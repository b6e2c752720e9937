//! What every back-end owes: the same answers up to rounding, and the same errors.

#![allow(clippy::unwrap_used)]

mod common;

use ai_link_onnx::{Dim, LoadError, NamedTensor, OnnxSession, RunError, Runtime};
use common::{data, on_each};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    model: String,
    inputs: Vec<Given>,
    outputs: Vec<Given>,
}

#[derive(Deserialize)]
struct Given {
    name: String,
    dims: Vec<usize>,
    data: Vec<f32>,
}

impl Given {
    fn tensor(&self) -> NamedTensor {
        NamedTensor {
            name: self.name.clone(),
            dims: self.dims.clone(),
            data: self.data.clone(),
        }
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_slice(&data("reference.json")).unwrap()
}

fn load(runtime: &Runtime, model: &str) -> OnnxSession {
    runtime.load(&data(&format!("{model}.onnx"))).unwrap()
}

#[test]
fn answers_are_those_of_the_reference() {
    let cases = cases();
    assert!(cases.len() >= 9);
    on_each(|runtime| {
        for case in &cases {
            let session = load(runtime, &case.model);
            assert_eq!(session.backend(), runtime.backend());
            // The order in which inputs are given is free, that of outputs is the model's.
            let inputs: Vec<_> = case.inputs.iter().rev().map(Given::tensor).collect();
            let outputs = session.run(&inputs).unwrap();
            assert_eq!(outputs.len(), case.outputs.len());
            for (found, wanted) in outputs.iter().zip(&case.outputs) {
                let what = format!(
                    "`{}` of {} on {}",
                    wanted.name,
                    case.model,
                    runtime.backend()
                );
                assert_eq!(
                    (&found.name, &found.dims),
                    (&wanted.name, &wanted.dims),
                    "{what}"
                );
                assert_eq!(found.data.len(), wanted.data.len(), "{what}");
                for (f, w) in found.data.iter().zip(&wanted.data) {
                    assert!(
                        (f - w).abs() <= 1e-5 * w.abs().max(1.0),
                        "{what}: {f} is not {w}"
                    );
                }
            }
        }
    });
}

#[test]
fn ports_are_declared_alike() {
    on_each(|runtime| {
        let ports = |model: &str| {
            let session = load(runtime, model);
            let text = |ports: &[ai_link_onnx::Port]| {
                let each: Vec<_> = ports.iter().map(ToString::to_string).collect();
                each.join(", ")
            };
            format!("{} -> {}", text(session.inputs()), text(session.outputs()))
        };
        assert_eq!(
            ports("several"),
            "a [?, 3], b [?, 3] -> total [?, 1], scaled [?, 3], sum [?, 3]"
        );
        assert_eq!(ports("image"), "image [?, 2, ?, ?] -> classes [?, 3]");
        let declared = load(runtime, "attention").inputs()[0].clone();
        assert_eq!(declared.dims, [Dim::Dynamic, Dim::Dynamic, Dim::Fixed(8)]);
        assert!(declared.accepts(&[3, 1, 8]) && !declared.accepts(&[3, 1, 9]));
    });
}

#[test]
fn models_that_are_none_are_refused() {
    let several = data("several.onnx");
    on_each(|runtime| {
        let refused = |bytes: &[u8]| {
            let error = runtime.load(bytes).unwrap_err();
            assert!(
                matches!(&error, LoadError::Refused { bytes: b, .. } if *b == bytes.len()),
                "{error:?} on {}",
                runtime.backend()
            );
        };
        for garbage in [
            &b""[..],
            b"\0",
            b"not a model",
            &[0xff; 1000],
            &several[..several.len() / 2],
        ] {
            refused(garbage);
        }
        for model in ["operator", "undefined", "cycle", "shapes", "short-weights"] {
            refused(&data(&format!("bad-{model}.onnx")));
        }
    });
}

#[test]
fn integers_are_refused_by_name() {
    on_each(|runtime| {
        for (model, wanted) in [("bad-int-input", "x"), ("bad-int-output", "y")] {
            let error = runtime.load(&data(&format!("{model}.onnx"))).unwrap_err();
            let LoadError::NotFloat { port, kind } = error else {
                panic!("{error:?} on {}", runtime.backend())
            };
            assert_eq!((port.as_str(), kind.as_str()), (wanted, "i64"));
        }
    });
}

/// The file that they name lies where tests run.
#[test]
fn weights_outside_the_model_are_refused() {
    assert!(std::fs::metadata("Cargo.toml").unwrap().len() > 12);
    on_each(|runtime| {
        for model in ["bad-external.onnx", "bad-external-branch.onnx"] {
            let error = runtime.load(&data(model)).unwrap_err();
            let LoadError::Refused { source, .. } = error else {
                panic!("{error:?} on {}", runtime.backend())
            };
            assert!(source.to_string().contains("`w` is external"), "{source}");
        }
    });
}

#[test]
fn wrong_inputs_are_told_apart() {
    on_each(|runtime| {
        let session = load(runtime, "several");
        let tensor = |name: &str, dims: &[usize], n: usize| NamedTensor {
            name: name.into(),
            dims: dims.into(),
            data: vec![1.0; n],
        };
        let (a, b) = (tensor("a", &[2, 3], 6), tensor("b", &[2, 3], 6));
        let fails = |inputs: &[NamedTensor]| session.run(inputs).unwrap_err();

        assert!(matches!(fails(&[]), RunError::MissingInput(port) if port.name == "a"));
        assert!(
            matches!(fails(std::slice::from_ref(&a)), RunError::MissingInput(port) if port.name == "b")
        );
        let other = tensor("c", &[2, 3], 6);
        assert!(
            matches!(fails(&[a.clone(), other]), RunError::UnexpectedInput { name, .. } if name == "c")
        );
        assert!(matches!(
            fails(&[a.clone(), a.clone()]),
            RunError::UnexpectedInput { .. }
        ));
        let shape = |dims: &[usize], n| fails(&[tensor("a", dims, n), b.clone()]);
        assert!(matches!(shape(&[2, 4], 8), RunError::Shape { given, .. } if given == [2, 4]));
        assert!(matches!(shape(&[3], 3), RunError::Shape { .. }));
        for (dims, n) in [([2, 3], 5), ([0, 3], 0), ([usize::MAX, 3], 3)] {
            assert!(
                matches!(shape(&dims, n), RunError::ElementCount { elements, .. } if elements == n)
            );
        }

        let outputs = session.run(&[a, b]).unwrap();
        assert_eq!(
            outputs[0].data,
            [3.0, 3.0],
            "errors leave the session usable"
        );
    });
}

#[test]
fn a_run_that_fails_is_an_error_and_leaves_the_session_usable() {
    on_each(|runtime| {
        let session = load(runtime, "fails-above-four");
        let x = |row: f32| NamedTensor {
            name: "x".into(),
            dims: vec![1, 2],
            data: vec![0.0, row],
        };
        let error = session.run(&[x(1e6)]).unwrap_err();
        assert!(matches!(error, RunError::Failed(_)), "{error:?}");
        assert_eq!(session.run(&[x(4.0)]).unwrap()[0].dims, [1, 2, 4]);
    });
}

#[test]
fn a_session_serves_many_threads() {
    let case = cases()
        .into_iter()
        .find(|case| case.model == "attention")
        .unwrap();
    on_each(|runtime| {
        let session = load(runtime, "attention");
        let inputs: Vec<_> = case.inputs.iter().map(Given::tensor).collect();
        let alone = session.run(&inputs).unwrap();
        std::thread::scope(|scope| {
            let run = || (0..50).all(|_| session.run(&inputs).unwrap() == alone);
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
        });
    });
}
