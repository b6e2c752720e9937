//! Formats as they were first written: they stay readable, or their version changes. Packages and offers are at version 2.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test failing")]

mod common;

use ai_link_fhe::{ClientKey, Exactness, Method, Offer, Package, Range};
use common::{entropy, file, keys};

/// The evaluation key made from fixed entropy. Should a new tfhe draw or lay out its words in another way, keys that
/// clients and workers hold would no longer fit together.
const KEY: &str = "75140e6922282d95c858bee2aacf6a5b1b49c6274e993616c879b6cd46fe1a71";

/// The integers of the record that the samples are of.
fn integers(package: &Package) -> Vec<i64> {
    let record = &common::rows("breast-cancer-records.npy")[0];
    package.encoder.encode(record).unwrap()
}

#[test]
fn version_1_is_read() {
    let client = ClientKey::from_secret_bytes(&file("v1.client")).unwrap();
    let package = Package::decode(&file("v1.package")).unwrap();
    let integers = integers(&package);
    assert_eq!(file("v1.request").len(), package.program.request_bytes());
    let found = client
        .decrypt(&package.program, &file("v1.answer"))
        .unwrap();
    assert_eq!(
        found.local(),
        package.program.run_clear(&integers).unwrap().outputs
    );
    assert_eq!(Package::decode(&package.encode()).unwrap(), package);
}

#[test]
fn the_same_entropy_makes_the_same_key_and_request() {
    let keys = keys(ai_link_fhe::ParameterSet::Ring1024);
    assert_eq!(keys.client.id().to_string(), KEY);
    let client = ClientKey::from_secret_bytes(&file("v1.client")).unwrap();
    assert_eq!(client.id(), keys.client.id());
    let package = Package::decode(&file("v1.package")).unwrap();
    let integers = integers(&package);
    let request = keys
        .client
        .encrypt(&package.program, &integers, entropy(99))
        .unwrap();
    assert!(request == file("v1.request"));
    let evaluator = ai_link_fhe::Evaluator::new(package.program);
    let answer = evaluator.run(&keys.evaluation, &file("v1.request"), Default::default());
    assert_eq!(answer.unwrap().len(), file("v1.answer").len());
}

#[test]
fn an_offer_of_version_1_is_read() {
    let offer = Offer::decode(&file("v1.offer")).unwrap();
    assert_eq!((offer.input(), offer.dims()), ("X", &[30][..]));
    assert_eq!(
        *offer.package(),
        Package::decode(&file("v1.package")).unwrap()
    );
    assert_eq!(Offer::decode(&offer.encode()).unwrap(), offer);
    let calibration = common::rows("breast-cancer-calibration.npy");
    let made = Offer::compile(&file("tree.onnx"), &calibration, Default::default()).unwrap();
    assert_eq!(made, offer);
    assert_eq!(offer.package().method, Method::Trees);
    assert_eq!(offer.package().range, Range::Proven);
}

/// A network in exact mode, with several sums for a score.
#[test]
fn version_2_is_read() {
    let offer = Offer::decode(&file("v2.offer")).unwrap();
    let package = Package::decode(&file("v2.package")).unwrap();
    assert_eq!(*offer.package(), package);
    assert_eq!(package.method, Method::Network(Exactness::Exact));
    assert_eq!(package.range, Range::Calibrated);
    assert_eq!(package.encode(), file("v2.package"));
    assert_eq!(offer.encode(), file("v2.offer"));
    let records = common::rows("digits-records.npy");
    let labels = common::rows("digits-labels.npy").concat();
    let right = records.iter().zip(&labels).filter(|(record, label)| {
        let integers = package.encoder.encode(record).unwrap();
        let clear = package.program.run_clear(&integers).unwrap();
        package.decoder.read(&clear.outputs).class == Some(**label as usize)
    });
    assert!(right.count() > 85);
}

#[test]
fn a_package_that_claims_another_mode_than_its_program_has_is_refused() {
    let mut package = Package::decode(&file("v2.package")).unwrap();
    package.method = Method::Network(Exactness::Approximate);
    let error = Package::decode(&package.encode()).map(|_| ()).unwrap_err();
    assert!(
        error.to_string().contains("network, approximate"),
        "{error}"
    );
}

/// Writes the samples of version 2: once.
#[test]
#[ignore = "writes the samples that another test reads"]
fn write_2() {
    let options = ai_link_fhe::Options {
        networks: Exactness::Exact,
        ..Default::default()
    };
    let calibration = common::rows("digits-calibration.npy");
    let made = Offer::compile(&file("mlp_relu.onnx"), &calibration, options).unwrap();
    let folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::write(folder.join("v2.offer"), made.encode()).unwrap();
    std::fs::write(folder.join("v2.package"), made.package().encode()).unwrap();
}
