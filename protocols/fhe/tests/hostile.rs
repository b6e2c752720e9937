//! Bytes from outside: whatever they are, a value or a typed error.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test failing")]

mod common;

use std::sync::atomic::AtomicBool;

use ai_link_fhe::{
    ClientKey, CompileError, Control, EvaluationKey, Evaluator, FheError, FormatError, KeyId,
    KeyUpload, MAX_KEY_BYTES, Options, Package, ParameterSet, Program, UploadError, compile,
    key_of,
};
use common::{case, entropy, file, keys, rows};

#[test]
fn keys_of_the_wrong_size_or_kind_are_refused() {
    let keys = keys(ParameterSet::Ring1024);
    for set in ParameterSet::ALL {
        assert!(EvaluationKey::encoded_bytes(set) <= MAX_KEY_BYTES);
    }
    let cut = &keys.bytes[..keys.bytes.len() - 1];
    assert!(matches!(
        EvaluationKey::decode(cut),
        Err(FormatError::Size { .. })
    ));
    assert!(matches!(
        EvaluationKey::decode(b"AFE\x01"),
        Err(FormatError::Size { .. })
    ));
    let mut other = keys.bytes.clone();
    other[3] = 9;
    assert!(matches!(
        EvaluationKey::decode(&other),
        Err(FormatError::Magic { .. })
    ));
    let mut other = keys.bytes.clone();
    other[4] = 77;
    assert_eq!(
        EvaluationKey::decode(&other).unwrap_err(),
        FormatError::ParameterSet(77)
    );
    other[4] = ParameterSet::Ring2048.code();
    assert!(matches!(
        EvaluationKey::decode(&other),
        Err(FormatError::Size { .. })
    ));
    let mut longer = keys.bytes.clone();
    longer.push(0);
    assert!(matches!(
        EvaluationKey::decode(&longer),
        Err(FormatError::Size { .. })
    ));
}

#[test]
fn client_keys_survive_storage() {
    let keys = keys(ParameterSet::Ring1024);
    let stored = keys.client.to_secret_bytes();
    let back = ClientKey::from_secret_bytes(&stored).unwrap();
    assert_eq!(
        (back.id(), back.set()),
        (keys.client.id(), keys.client.set())
    );
    assert_eq!(*back.to_secret_bytes(), *stored);
    assert!(ClientKey::from_secret_bytes(&stored[1..]).is_err());
    assert!(ClientKey::from_secret_bytes(&stored[..40]).is_err());
    let mut two = stored.to_vec();
    two[60] = 2;
    assert!(ClientKey::from_secret_bytes(&two).is_err());
    assert!(!format!("{back:?}").contains("[0") && !format!("{back:?}").contains("[1"));
}

#[test]
fn requests_and_answers_are_bound_to_key_and_program() {
    let package = case("tree", "breast-cancer").package;
    let set = package.program.set();
    let other = common::compiled("forest", "breast-cancer", set);
    let keys = keys(set);
    let zeros = vec![0; package.program.inputs()];
    let request = keys
        .client
        .encrypt(&package.program, &zeros, entropy(1))
        .unwrap();
    assert_eq!(key_of(&request), Some(keys.client.id()));
    let evaluator = Evaluator::new(package.program.clone());
    let run = |bytes: &[u8]| evaluator.run(&keys.evaluation, bytes, Control::default());
    let answer = run(&request).unwrap();
    assert_eq!(key_of(&answer), Some(keys.client.id()));
    assert_eq!(
        run(&request).unwrap(),
        answer,
        "evaluation is deterministic"
    );

    let mut foreign = request.clone();
    foreign[10] ^= 1;
    assert!(matches!(run(&foreign), Err(FheError::ForeignKey { .. })));
    let mut foreign = request.clone();
    foreign[50] ^= 1;
    assert!(matches!(
        run(&foreign),
        Err(FheError::ForeignProgram { .. })
    ));
    assert!(matches!(
        run(&request[..100]),
        Err(FheError::Format(FormatError::Size { .. }))
    ));
    assert!(matches!(
        run(&answer),
        Err(FheError::Format(FormatError::Magic { .. }))
    ));
    let wrong =
        Evaluator::new(other.program.clone()).run(&keys.evaluation, &request, Control::default());
    assert!(matches!(wrong, Err(FheError::ForeignProgram { .. })));

    let read = |bytes: &[u8]| keys.client.decrypt(&package.program, bytes).map(|_| ());
    assert_eq!(read(&answer), Ok(()));
    assert!(matches!(
        read(&answer[..answer.len() - 1]),
        Err(FheError::Format(FormatError::Size { .. }))
    ));
    assert!(matches!(
        read(&request),
        Err(FheError::Format(FormatError::Magic { .. }))
    ));
    let mut foreign = answer.clone();
    foreign[5] ^= 1;
    assert!(matches!(read(&foreign), Err(FheError::ForeignKey { .. })));

    let another = ParameterSet::ALL.into_iter().find(|s| *s != set).unwrap();
    let second = common::keys(another);
    let wrong = evaluator.run(&second.evaluation, &request, Control::default());
    assert!(matches!(wrong, Err(FheError::WrongParameters { .. })));
}

#[test]
fn a_run_reports_progress_and_stops_when_asked() {
    let package = case("forest", "breast-cancer").package;
    let keys = keys(package.program.set());
    let zeros = vec![0; package.program.inputs()];
    let request = keys
        .client
        .encrypt(&package.program, &zeros, entropy(2))
        .unwrap();
    let evaluator = Evaluator::new(package.program.clone());
    let seen = std::sync::Mutex::new(0);
    let progress = |done: usize, total: usize| {
        assert!(done <= total);
        *seen.lock().unwrap() += 1;
    };
    let control = Control {
        progress: Some(&progress),
        cancel: None,
    };
    evaluator.run(&keys.evaluation, &request, control).unwrap();
    assert!(*seen.lock().unwrap() > 0);
    let stop = AtomicBool::new(true);
    let control = Control {
        progress: None,
        cancel: Some(&stop),
    };
    let stopped = evaluator.run(&keys.evaluation, &request, control);
    assert!(
        matches!(stopped, Err(FheError::Cancelled { done: 0, .. })),
        "{stopped:?}"
    );
}

#[test]
fn keys_arrive_in_pieces_in_any_order() {
    let keys = keys(ParameterSet::Ring1024);
    let (set, id) = EvaluationKey::inspect(&keys.bytes).unwrap();
    assert_eq!(id, keys.client.id());
    let pieces: Vec<&[u8]> = KeyUpload::pieces(&keys.bytes).collect();
    let mut upload = KeyUpload::new(set, id);
    for (i, piece) in pieces.iter().enumerate().rev().filter(|(i, _)| *i != 5) {
        upload.accept(i, piece).unwrap();
    }
    upload.accept(0, pieces[0]).unwrap();
    assert_eq!(upload.missing().collect::<Vec<_>>(), [5]);
    assert!(matches!(
        upload.accept(5, &pieces[5][1..]),
        Err(UploadError::Piece { piece: 5, .. })
    ));
    assert!(matches!(
        upload.accept(usize::MAX, pieces[5]),
        Err(UploadError::Piece { want: 0, .. })
    ));
    upload.accept(5, pieces[5]).unwrap();
    assert_eq!(upload.finish().unwrap(), keys.bytes);

    let mut wrong = KeyUpload::new(set, KeyId::of(b"another"));
    pieces
        .iter()
        .enumerate()
        .for_each(|(i, p)| wrong.accept(i, p).unwrap());
    assert!(matches!(wrong.finish(), Err(UploadError::Hash { .. })));
}

#[test]
fn packages_survive_storage_and_nothing_else_is_one() {
    let package = case("xgboost", "breast-cancer").package;
    let bytes = package.encode();
    assert_eq!(Package::decode(&bytes).unwrap(), package);
    let program = package.program.encode();
    assert_eq!(Program::decode(&program).unwrap(), package.program);
    // Every prefix, and every byte changed: an error or another valid program, never a panic.
    for end in (0..bytes.len()).step_by(bytes.len() / 200 + 1) {
        assert!(Package::decode(&bytes[..end]).is_err());
    }
    for at in (0..bytes.len()).step_by(bytes.len() / 500 + 1) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x55;
        let _ = Package::decode(&changed);
    }
}

#[test]
fn models_that_do_not_fit_are_refused_with_a_reason() {
    let calibration = rows("breast-cancer-calibration.npy");
    let garbage = compile(b"not a model", &calibration, Options::default());
    assert!(
        matches!(garbage, Err(CompileError::Import(_))),
        "{garbage:?}"
    );
    let none = compile(&file("tree.onnx"), &[], Options::default());
    assert!(matches!(none, Err(CompileError::Calibration { .. })));
    let short = compile(&file("tree.onnx"), &[vec![0.0; 3]], Options::default());
    assert!(matches!(
        short,
        Err(CompileError::Calibration {
            want: 30,
            record: 0
        })
    ));
    let bytes = file("xgboost.onnx");
    for at in (0..bytes.len()).step_by(bytes.len() / 200 + 1) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        let _ = ai_link_fhe::run_float(&changed, &calibration[..1], Default::default());
    }
}

#[test]
fn records_that_cannot_be_encoded_are_refused() {
    let package = case("tree", "breast-cancer").package;
    assert!(matches!(
        package.encoder.encode(&[1.0]),
        Err(FheError::Record { want: 30, have: 1 })
    ));
    let mut record = vec![1.0; 30];
    record[3] = f32::NAN;
    assert!(matches!(
        package.encoder.encode(&record),
        Err(FheError::Value { index: 3, .. })
    ));
    let keys = keys(package.program.set());
    let large = vec![1 << 30; package.program.inputs()];
    let refused = keys.client.encrypt(&package.program, &large, entropy(3));
    assert!(matches!(refused, Err(FheError::Value { index: 0, .. })));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400), magic in 0usize..7) {
        let magics: [&[u8]; 7] = [b"", b"AFP\x01", b"AFM\x01", b"AFE\x01", b"AFS\x01", b"AFR\x01", b"AFA\x01"];
        let bytes = [magics[magic], &bytes].concat();
        ai_link_fhe::fuzz::package(&bytes);
        ai_link_fhe::fuzz::offer(&bytes);
        ai_link_fhe::fuzz::offer(&[b"AFO\x01", &bytes[..]].concat());
        ai_link_fhe::fuzz::keys(&bytes);
        ai_link_fhe::fuzz::ciphertexts(&bytes);
        ai_link_fhe::fuzz::onnx(&bytes);
    }
}
