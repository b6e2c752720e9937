//! Operator `TreeEnsemble` of `ai.onnx.ml` 5: files of `data/tree_ensemble_5.py` give the scores that ONNX Runtime finds for
//! them, and hostile ones typed errors.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test failing")]

mod common;

use ai_link_fhe::{AnyDecrypted, CompileError, Evaluator, Method, Options, compile, run_float};
use ai_link_program::onnx::proto::{AttributeProto, ModelProto};
use common::{file, rows, run};
use prost::Message as _;

fn near(scores: &[f64], want: &[f32]) -> bool {
    let close =
        |(s, w): (&f64, &f32)| (s - f64::from(*w)).abs() < 1e-4 * f64::from(w.abs()).max(1.0);
    scores.len() == want.len() && scores.iter().zip(want).all(close)
}

#[test]
fn floats_are_those_of_onnx_runtime() {
    for name in ["forest_5", "boosted_5"] {
        let (records, scores) = (
            rows(&format!("{name}-records.npy")),
            rows(&format!("{name}-scores.npy")),
        );
        let found =
            run_float(&file(&format!("{name}.onnx")), &records, Default::default()).unwrap();
        assert!(!scores.is_empty() && found.len() == scores.len());
        for (found, want) in found.iter().zip(&scores) {
            assert!(
                near(&found.scores, want),
                "{name}: {:?} {want:?}",
                found.scores
            );
        }
    }
}

/// All modes and several targets: classes under encryption are those of ONNX Runtime.
#[test]
fn a_forest_of_three_classes() {
    let (records, scores) = (rows("forest_5-records.npy"), rows("forest_5-scores.npy"));
    let package = compile(&file("forest_5.onnx"), &records, Options::default()).unwrap();
    assert_eq!(package.method, Method::Trees);
    assert_eq!(package.decoder.labels(), ["0", "1", "2"]);
    let evaluator = Evaluator::new(package.program.clone());
    let mut right = 0;
    for (i, (record, scores)) in records.iter().zip(&scores).enumerate() {
        let integers = package.encoder.encode(record).unwrap();
        let clear = package.program.run_clear(&integers).unwrap();
        let best = (0..3).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        right += usize::from(package.decoder.read(&clear.outputs).class == best);
        if i < 4 {
            let AnyDecrypted::Exact(found) = run(&evaluator, &package, record, i as u64) else {
                panic!("trees are exact");
            };
            assert_eq!(found.local(), clear.outputs, "record {i}");
        }
    }
    assert!(right + 1 >= records.len(), "{right} of {}", records.len());
}

#[test]
fn a_regression() {
    let records = rows("boosted_5-records.npy");
    let package = compile(&file("boosted_5.onnx"), &records, Options::default()).unwrap();
    assert!(package.decoder.labels().is_empty());
    let spread = package.fidelity.rms_score;
    assert!(
        package.fidelity.rms_error < 0.02 * spread,
        "{:?}",
        package.fidelity
    );
}

/// The model with an attribute of its ensemble changed.
fn altered(change: impl Fn(&mut Vec<AttributeProto>)) -> Result<(), CompileError> {
    let mut model = ModelProto::decode(&file("forest_5.onnx")[..]).unwrap();
    let node = &mut model.graph.as_mut().unwrap().node[0];
    assert_eq!(node.op_type.as_deref(), Some("TreeEnsemble"));
    change(&mut node.attribute);
    let records = rows("forest_5-records.npy");
    compile(&model.encode_to_vec(), &records, Options::default()).map(|_| ())
}

fn attribute<'a>(all: &'a mut [AttributeProto], name: &str) -> &'a mut AttributeProto {
    let mut all = all.iter_mut();
    all.find(|a| a.name.as_deref() == Some(name)).unwrap()
}

fn refused(change: impl Fn(&mut Vec<AttributeProto>), why: &str) {
    let error = altered(change).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn hostile_files_are_refused() {
    altered(|_| ()).unwrap();
    refused(
        |a| attribute(a, "tree_roots").ints[0] = 1 << 40,
        "not there",
    );
    refused(|a| attribute(a, "tree_roots").ints[0] = -1, "not there");
    // A node below itself.
    refused(
        |a| {
            attribute(a, "nodes_truenodeids").ints[0] = 0;
            attribute(a, "nodes_trueleafs").ints[0] = 0;
        },
        "too deep",
    );
    refused(|a| attribute(a, "leaf_targetids").ints[0] = 3, "target");
    refused(|a| attribute(a, "nodes_featureids").ints[0] = 13, "feature");
    refused(
        |a| attribute(a, "leaf_targetids").ints.truncate(1),
        "different lengths",
    );
    refused(
        |a| a.retain(|a| a.name.as_deref() != Some("nodes_splits")),
        "different lengths",
    );
    refused(
        |a| attribute(a, "aggregate_function").i = Some(2),
        "sums and averages",
    );
    refused(
        |a| attribute(a, "post_transform").i = Some(4),
        "post_transform",
    );
    refused(
        |a| {
            let modes = attribute(a, "nodes_modes").t.as_mut().unwrap();
            modes.raw_data = None;
            modes.int32_data = vec![4; modes.dims[0] as usize];
        },
        "equality",
    );
    refused(
        |a| attribute(a, "nodes_splits").t.as_mut().unwrap().data_type = Some(11),
        "floats of 32 bits",
    );
}

/// Without `ArgMax`.
#[test]
fn without_a_choice_sums_are_the_answer() {
    let mut model = ModelProto::decode(&file("forest_5.onnx")[..]).unwrap();
    let graph = model.graph.as_mut().unwrap();
    graph.node.truncate(1);
    graph.output.retain(|o| o.name.as_deref() == Some("scores"));
    let records = rows("forest_5-records.npy");
    let package = compile(&model.encode_to_vec(), &records, Options::default()).unwrap();
    assert!(package.decoder.labels().is_empty());
    assert_eq!(package.decoder.scores(), 3);
}
