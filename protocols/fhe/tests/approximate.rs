//! Networks: what is decrypted differs from the integer reference by as much noise as was predicted, and classes hold.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test failing")]

mod common;

use ai_link_fhe::{Activations, AnyDecrypted, Evaluator, Options, compile, run_float};
use common::{Case, case, run};

fn check(case: Case, model: &str, count: usize) {
    let Case {
        onnx,
        package,
        records,
        labels,
    } = case;
    let proof = package.program.prove().unwrap();
    let float = run_float(&onnx, &records, Default::default()).unwrap();
    let evaluator = Evaluator::new(package.program.clone());
    let (mut squares, mut same, mut values, mut right) = (0.0, 0, 0, [0; 3]);
    for (i, record) in records.iter().take(count).enumerate() {
        let clear = package
            .program
            .run_clear(&package.encoder.encode(record).unwrap())
            .unwrap();
        let found = run(&evaluator, &package, record, i as u64);
        assert!(matches!(found, AnyDecrypted::Approximate(_)));
        for (a, b) in clear.outputs.iter().zip(found.local()) {
            squares += ((a - b) as f64).powi(2);
            values += 1;
        }
        let integer = package.decoder.read(&clear.outputs);
        let encrypted = package.decoder.answer(&found);
        same += usize::from(integer.class == encrypted.class);
        for (n, class) in right.iter_mut().zip([&float[i], &integer, &encrypted]) {
            *n += usize::from(class.class == Some(labels[i] as usize));
        }
    }
    let rms = (squares / f64::from(values)).sqrt();
    println!(
        "{model}: rms {rms:.1}, {proof:?}, {:?}, same {same}, right {right:?} of {count}",
        package.fidelity
    );
    assert!(
        rms < 1.5 * proof.output_deviation && rms > proof.output_deviation / 2.0,
        "{rms} against {}",
        proof.output_deviation
    );
    assert!(same + 2 >= count, "{same} of {count}");
    assert!(right[1] + 2 >= right[0], "{right:?}");
}

#[test]
fn relu() {
    check(case("mlp_relu", "digits"), "mlp_relu", 25);
}

#[test]
fn tanh() {
    check(case("mlp_tanh", "digits"), "mlp_tanh", 15);
}

#[test]
fn fewer_activations() {
    let mut case = case("mlp_relu", "digits");
    let all = case.package.program.bootstraps();
    let calibration = common::rows("digits-calibration.npy");
    let options = Options {
        activations: Activations::Necessary,
        ..Options::default()
    };
    case.package = compile(&case.onnx, &calibration, options).unwrap();
    assert!(case.package.program.bootstraps() < all);
    check(case, "mlp_relu, fewer activations", 25);
}
