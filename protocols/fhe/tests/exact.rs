//! Linear models and tree ensembles: what is decrypted equals the integer reference, on every record tried.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test failing")]

mod common;

use ai_link_fhe::{AnyDecrypted, Evaluator, Exactness, run_float};
use common::{Case, case, run};

/// Error of a regression's integers on held-out records, as a share of the spread of its values.
const MOST_ERROR: f64 = 0.02;

/// Compares encrypted runs of the first `count` records with the reference, and the reference on all with floats.
fn check(model: &str, data: &str, count: usize, accuracy: f64) {
    let Case {
        onnx,
        package,
        records,
        labels,
    } = case(model, data);
    assert_eq!(package.program.exactness(), Exactness::Exact);
    let proof = package.program.prove().unwrap();
    assert!(proof.record_log2 < -100.0, "{proof:?}");
    let evaluator = Evaluator::new(package.program.clone());
    for (i, record) in records.iter().take(count).enumerate() {
        let clear = package
            .program
            .run_clear(&package.encoder.encode(record).unwrap())
            .unwrap();
        let AnyDecrypted::Exact(found) = run(&evaluator, &package, record, i as u64) else {
            panic!("{model} must be exact");
        };
        assert_eq!(found.local(), clear.outputs, "{model}, record {i}");
    }
    let float = run_float(&onnx, &records, Default::default()).unwrap();
    let classes = records.iter().map(|r| {
        let clear = package
            .program
            .run_clear(&package.encoder.encode(r).unwrap())
            .unwrap();
        package.decoder.read(&clear.outputs)
    });
    let classes: Vec<_> = classes.collect();
    let right = |readings: &[ai_link_fhe::Reading]| {
        let hits = readings
            .iter()
            .zip(&labels)
            .filter(|(r, l)| r.class == Some(**l as usize));
        hits.count() as f64 / labels.len() as f64
    };
    if package.decoder.labels().is_empty() {
        let pairs = float.iter().zip(&classes);
        let apart: f64 = pairs
            .map(|(f, i)| (f.scores[0] - i.scores[0]).powi(2))
            .sum();
        let mean = float.iter().map(|f| f.scores[0]).sum::<f64>() / float.len() as f64;
        let spread: f64 = float.iter().map(|f| (f.scores[0] - mean).powi(2)).sum();
        let error = (apart / spread).sqrt();
        assert!(error < MOST_ERROR, "{model}: error {error} of the spread");
    } else {
        let (of_float, of_integer) = (right(&float), right(&classes));
        assert!(of_float >= accuracy, "{model}: float {of_float}");
        assert!(
            of_integer >= of_float - 0.01,
            "{model}: {of_integer} of {of_float}"
        );
    }
    println!(
        "{model}: {} bootstraps, {:?}",
        package.program.bootstraps(),
        package.fidelity
    );
}

#[test]
fn logistic_regression() {
    check("logistic", "breast-cancer", usize::MAX, 0.95);
}

#[test]
fn linear_svm() {
    check("linear_svc", "breast-cancer", usize::MAX, 0.94);
}

#[test]
fn support_vector_classifier() {
    check("svc", "breast-cancer", usize::MAX, 0.94);
}

/// Of the digits 0 to 4, so that half of the records have no class that it knows.
#[test]
fn support_vector_classifier_of_five_classes() {
    check("svc_five", "digits", 20, 0.42);
}

#[test]
fn support_vector_regression() {
    check("svr", "diabetes", usize::MAX, 0.0);
}

#[test]
fn linear_regression() {
    check("linear_regression", "diabetes", usize::MAX, 0.0);
}

#[test]
fn logistic_regression_of_ten_classes() {
    check("multinomial", "digits", 20, 0.93);
}

#[test]
fn decision_tree() {
    check("tree", "breast-cancer", usize::MAX, 0.85);
}

#[test]
fn random_forest() {
    check("forest", "breast-cancer", 20, 0.9);
}

#[test]
fn gradient_boosting() {
    check("boosted", "breast-cancer", 12, 0.9);
}

#[test]
fn xgboost() {
    check("xgboost", "breast-cancer", 12, 0.9);
}

#[test]
fn lightgbm() {
    check("lightgbm", "breast-cancer", 12, 0.9);
}

#[test]
fn xgboost_regression() {
    check("xgboost_regression", "diabetes", 6, 0.0);
}

#[test]
fn decision_tree_of_ten_classes() {
    check("digits_tree", "digits", 4, 0.5);
}

#[test]
fn larger_ring() {
    let set = ai_link_fhe::ParameterSet::Ring2048;
    let package = common::compiled("forest", "breast-cancer", set);
    let evaluator = Evaluator::new(package.program.clone());
    for (i, record) in common::rows("breast-cancer-records.npy")
        .iter()
        .take(4)
        .enumerate()
    {
        let clear = package
            .program
            .run_clear(&package.encoder.encode(record).unwrap())
            .unwrap();
        let found = run(&evaluator, &package, record, i as u64);
        assert_eq!(found.local(), clear.outputs);
    }
}
