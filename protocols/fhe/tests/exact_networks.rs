//! Networks in exact mode: what is decrypted equals the integer reference on every record tried, and the integer
//! reference follows the float model.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test failing")]

mod common;

use ai_link_fhe::{
    Activations, AnyDecrypted, CompileError, Evaluator, Exactness, Method, Options, Package,
    ParameterSet, compile, run_float,
};
use common::{file, rows, run};

fn exact() -> Options {
    Options {
        networks: Exactness::Exact,
        ..Options::default()
    }
}

/// Files of the models that the demo runs.
const DEEP: &str = "../../../../benchmarks/models/breast-cancer";

/// The first `count` records encrypted, and all in the clear: of these, `worst` more may be wrong than in floats.
fn check(
    onnx: &[u8],
    package: &Package,
    records: &[Vec<f32>],
    labels: &[f32],
    count: usize,
    worst: usize,
) {
    assert_eq!(package.method, Method::Network(Exactness::Exact));
    assert_eq!(package.program.exactness(), Exactness::Exact);
    let proof = package.program.prove().unwrap();
    assert!(
        proof.look_up_log2 <= -128.0 && proof.output_log2 <= -128.0,
        "{proof:?}"
    );
    let evaluator = Evaluator::new(package.program.clone());
    for (i, record) in records.iter().take(count).enumerate() {
        let integers = package.encoder.encode(record).unwrap();
        let clear = package.program.run_clear(&integers).unwrap();
        let AnyDecrypted::Exact(found) = run(&evaluator, package, record, i as u64) else {
            panic!("an exact program must say so");
        };
        assert_eq!(found.local(), clear.outputs, "record {i}");
    }
    let float = run_float(onnx, records, Default::default()).unwrap();
    let mut right = [0; 2];
    for ((record, label), float) in records.iter().zip(labels).zip(&float) {
        let clear = package
            .program
            .run_clear(&package.encoder.encode(record).unwrap())
            .unwrap();
        let class = Some(*label as usize);
        right[0] += usize::from(float.class == class);
        right[1] += usize::from(package.decoder.read(&clear.outputs).class == class);
    }
    println!(
        "{right:?} of {}, {} bootstraps",
        labels.len(),
        package.program.bootstraps()
    );
    assert!(
        right[1] + worst >= right[0],
        "{right:?} of {}",
        labels.len()
    );
    assert_eq!(&Package::decode(&package.encode()).unwrap(), package);
}

fn digits(model: &str, options: Options) -> (Vec<u8>, Result<Package, CompileError>) {
    let onnx = file(&format!("{model}.onnx"));
    let package = compile(&onnx, &rows("digits-calibration.npy"), options);
    (onnx, package)
}

#[test]
fn relu() {
    let (onnx, package) = digits("mlp_relu", exact());
    let (records, labels) = (
        rows("digits-records.npy"),
        rows("digits-labels.npy").concat(),
    );
    check(&onnx, &package.unwrap(), &records, &labels, 8, 3);
}

#[test]
fn relu_in_the_smaller_ring() {
    let set = Some(ParameterSet::Ring1024);
    let (onnx, package) = digits("mlp_relu", Options { set, ..exact() });
    let (records, labels) = (
        rows("digits-records.npy"),
        rows("digits-labels.npy").concat(),
    );
    let package = package.unwrap();
    assert_eq!(package.program.set(), ParameterSet::Ring1024);
    check(&onnx, &package, &records, &labels, 3, 4);
}

#[test]
fn tanh() {
    let (onnx, package) = digits("mlp_tanh", exact());
    let (records, labels) = (
        rows("digits-records.npy"),
        rows("digits-labels.npy").concat(),
    );
    check(&onnx, &package.unwrap(), &records, &labels, 4, 4);
}

/// Sums of results of tables, cut in their turn.
#[test]
fn two_hidden_layers() {
    let onnx = file(&format!("{DEEP}/model.onnx"));
    let package = compile(&onnx, &rows(&format!("{DEEP}/calibration.npy")), exact()).unwrap();
    assert!(package.program.depth() > 2);
    let records = rows(&format!("{DEEP}/records.npy"));
    let npy = file(&format!("{DEEP}/labels.npy"));
    let labels: Vec<i64> = npyz::NpyFile::new(&npy[..]).unwrap().into_vec().unwrap();
    let labels: Vec<f32> = labels.into_iter().map(|l| l as f32).collect();
    check(&onnx, &package, &records, &labels, 3, 5);
}

#[test]
fn fewer_activations_and_exact_results_are_refused_together() {
    let activations = Activations::Necessary;
    let (_, refused) = digits(
        "mlp_relu",
        Options {
            activations,
            ..exact()
        },
    );
    let error = refused.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("keeps its table"), "{error}");
}
