//! Formats of version 1, as they were first written: they stay readable, or their version changes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test failing")]

mod common;

use ai_link_fhe::{ClientKey, Offer, Package};
use common::{case, entropy, file, keys};

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
}

/// Writes the sample of an offer: once per version.
#[test]
#[ignore = "writes the sample that another test reads"]
fn write_offer() {
    let calibration = common::rows("breast-cancer-calibration.npy");
    let made = Offer::compile(&file("tree.onnx"), &calibration, Default::default()).unwrap();
    let folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::write(folder.join("v1.offer"), made.encode()).unwrap();
}

/// Writes the samples: once per version.
#[test]
#[ignore = "writes the samples that the other tests read"]
fn write() {
    let package = case("tree", "breast-cancer").package;
    let keys = keys(package.program.set());
    let integers = integers(&package);
    let request = keys
        .client
        .encrypt(&package.program, &integers, entropy(99))
        .unwrap();
    let evaluator = ai_link_fhe::Evaluator::new(package.program.clone());
    let answer = evaluator
        .run(&keys.evaluation, &request, Default::default())
        .unwrap();
    let folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::write(folder.join("v1.client"), &*keys.client.to_secret_bytes()).unwrap();
    std::fs::write(folder.join("v1.package"), package.encode()).unwrap();
    std::fs::write(folder.join("v1.request"), request).unwrap();
    std::fs::write(folder.join("v1.answer"), answer).unwrap();
    println!("{}", keys.client.id());
}
