//! Damaged models and wrong inputs end in typed errors.

#![allow(clippy::unwrap_used)]

use ai_link_onnx::{Dim, LoadError, NamedTensor, OnnxSession, RunError};
use proptest::prelude::*;

const MODEL: &[u8] = include_bytes!("../../../benchmarks/models/breast-cancer/model.onnx");

#[test]
fn garbage_is_refused() {
    for garbage in [
        &b""[..],
        b"\0",
        b"not a model",
        &[0xff; 1000],
        &MODEL[..MODEL.len() / 2],
    ] {
        let error = OnnxSession::load(garbage).unwrap_err();
        assert!(
            matches!(error, LoadError::Refused { bytes, .. } if bytes == garbage.len()),
            "{error:?}"
        );
    }
}

/// The model's first constant says that its 120 bytes lie in `Cargo.toml`, which does exist where tests run.
#[test]
fn weights_in_another_file_are_refused() {
    let entry = |key: &str, value: &str| {
        let inner = [field(1, key.as_bytes()), field(2, value.as_bytes())].concat();
        field(13, &inner) // TensorProto.external_data
    };
    let mut outside = [
        entry("location", "Cargo.toml"),
        entry("offset", "0"),
        entry("length", "120"),
    ]
    .concat();
    outside.extend([14 << 3, 1]); // TensorProto.data_location = EXTERNAL
    outside.extend(field(12, &vec![b' '; 120 - outside.len()])); // TensorProto.doc_string keeps the size

    let mut model = MODEL.to_vec();
    let raw_data = MODEL
        .windows(2)
        .position(|w| w == [9 << 3 | 2, 120])
        .unwrap();
    assert_eq!(outside.len(), 2 + 120);
    model[raw_data..raw_data + outside.len()].copy_from_slice(&outside);
    let error = OnnxSession::load(&model).unwrap_err();
    let LoadError::Refused { source, .. } = error else {
        panic!("{error:?}")
    };
    assert!(source.to_string().contains("external"), "{source}");
}

/// A length-delimited protobuf field of less than 128 bytes.
fn field(number: u8, payload: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, payload.len() as u8], payload].concat()
}

#[test]
fn wrong_inputs_are_told_apart() {
    let session = OnnxSession::load(MODEL).unwrap();
    let tensor = |name: &str, dims: &[usize], n: usize| NamedTensor {
        name: name.into(),
        dims: dims.into(),
        data: vec![1.0; n],
    };
    let good = tensor("features", &[2, 30], 60);

    assert!(
        matches!(session.run(&[]), Err(RunError::MissingInput(port)) if port.name == "features")
    );
    assert!(
        matches!(session.run(&[tensor("image", &[1, 30], 30)]), Err(RunError::UnexpectedInput { name, .. }) if name == "image")
    );
    assert!(matches!(
        session.run(&[good.clone(), good.clone()]),
        Err(RunError::UnexpectedInput { .. })
    ));
    assert!(
        matches!(session.run(&[tensor("features", &[2, 31], 62)]), Err(RunError::Shape { given, .. }) if given == [2, 31])
    );
    assert!(matches!(
        session.run(&[tensor("features", &[30], 30)]),
        Err(RunError::Shape { .. })
    ));
    assert!(matches!(
        session.run(&[tensor("features", &[2, 30], 59)]),
        Err(RunError::ElementCount { elements: 59, .. })
    ));
    assert!(matches!(
        session.run(&[tensor("features", &[0, 30], 0)]),
        Err(RunError::ElementCount { elements: 0, .. })
    ));
    assert!(matches!(
        session.run(&[tensor("features", &[usize::MAX, 30], 30)]),
        Err(RunError::ElementCount { .. })
    ));

    assert_eq!(
        session.run(&[good]).unwrap()[0].dims,
        [2, 2],
        "errors leave the session usable"
    );
}

/// Byte flips that made the executor panic, and did end the process while it was behind a C interface.
#[test]
fn a_panic_inside_the_executor_is_an_error() {
    let mut caught = 0;
    for seed in 0..400 {
        let mut model = MODEL.to_vec();
        let mut bits = Xorshift(0x9e37_79b9_7f4a_7c15 ^ seed);
        for _ in 0..4 {
            let at = bits.next() as usize % model.len();
            model[at] = bits.next() as u8;
        }
        caught += usize::from(load_and_run(&model) == Outcome::Panicked);
    }
    assert!(caught > 0, "no seed reaches a panic any more: pick others");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_models_never_end_the_process(
        flips in proptest::collection::vec((0..MODEL.len(), any::<u8>()), 1..8),
        keep in prop_oneof![3 => Just(MODEL.len()), 1 => 0..MODEL.len()],
    ) {
        let mut model = MODEL.to_vec();
        for (at, byte) in flips {
            model[at] = byte;
        }
        model.truncate(keep);
        load_and_run(&model);
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Panicked,
    Refused,
    Ran,
}

fn load_and_run(model: &[u8]) -> Outcome {
    let session = match OnnxSession::load(model) {
        Ok(session) => session,
        Err(LoadError::Refused {
            source: ai_link_onnx::RuntimeError::Panicked(_),
            ..
        }) => return Outcome::Panicked,
        Err(_) => return Outcome::Refused,
    };
    let inputs: Option<Vec<_>> = session
        .inputs()
        .iter()
        .map(|port| {
            let dims: Vec<usize> = port
                .dims
                .iter()
                .map(|dim| if let Dim::Fixed(n) = dim { *n } else { 2 })
                .collect();
            let n = dims
                .iter()
                .try_fold(1usize, |n, &d| n.checked_mul(d))
                .filter(|&n| n <= 1 << 16)?;
            Some(NamedTensor {
                name: port.name.clone(),
                dims,
                data: vec![1.0; n],
            })
        })
        .collect();
    match inputs.map(|inputs| session.run(&inputs)) {
        Some(Ok(_)) => Outcome::Ran,
        Some(Err(RunError::Failed(ai_link_onnx::RuntimeError::Panicked(_)))) => Outcome::Panicked,
        _ => Outcome::Refused,
    }
}

struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
