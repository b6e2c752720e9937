//! Fixtures, made by `benchmarks/models/fhe/train.py`, and one key per parameter set.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use ai_link_fhe::{
    AnyDecrypted, ClientKey, Control, Entropy, EvaluationKey, Evaluator, GeneratedKey, Options,
    Package, ParameterSet, compile,
};

pub(crate) struct Keys {
    pub(crate) client: ClientKey,
    pub(crate) bytes: Vec<u8>,
    pub(crate) evaluation: Arc<EvaluationKey>,
}

/// Entropy of a test: fixed bytes, each number once.
pub(crate) fn entropy(number: u64) -> Entropy {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Entropy::new(bytes)
}

pub(crate) fn keys(set: ParameterSet) -> &'static Keys {
    static KEYS: [OnceLock<Keys>; 2] = [OnceLock::new(), OnceLock::new()];
    let (at, number) = match set {
        ParameterSet::Ring1024 => (0, 1 << 60),
        ParameterSet::Ring2048 => (1, 1 << 61),
    };
    KEYS[at].get_or_init(|| {
        let GeneratedKey { client, evaluation } = ClientKey::generate(set, entropy(number));
        let key = EvaluationKey::decode(&evaluation).unwrap();
        Keys {
            client,
            bytes: evaluation,
            evaluation: Arc::new(key),
        }
    })
}

pub(crate) fn file(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Rows of an array of floats.
pub(crate) fn rows(name: &str) -> Vec<Vec<f32>> {
    let bytes = file(name);
    let npy = npyz::NpyFile::new(&bytes[..]).unwrap();
    let width = npy.shape().get(1).map_or(1, |w| *w as usize);
    let all: Vec<f32> = npy.into_vec().unwrap();
    all.chunks(width).map(<[f32]>::to_vec).collect()
}

pub(crate) struct Case {
    pub(crate) onnx: Vec<u8>,
    pub(crate) package: Package,
    pub(crate) records: Vec<Vec<f32>>,
    pub(crate) labels: Vec<f32>,
}

/// A model compiled with its calibration records.
pub(crate) fn case(model: &str, data: &str) -> Case {
    let onnx = file(&format!("{model}.onnx"));
    let calibration = rows(&format!("{data}-calibration.npy"));
    let package = compile(&onnx, &calibration, Options::default()).unwrap();
    Case {
        onnx,
        package,
        records: rows(&format!("{data}-records.npy")),
        labels: rows(&format!("{data}-labels.npy")).concat(),
    }
}

/// A model compiled for one parameter set.
pub(crate) fn compiled(model: &str, data: &str, set: ParameterSet) -> Package {
    let options = Options {
        set: Some(set),
        ..Options::default()
    };
    let calibration = rows(&format!("{data}-calibration.npy"));
    compile(&file(&format!("{model}.onnx")), &calibration, options).unwrap()
}

/// One record through encryption.
pub(crate) fn run(
    evaluator: &Evaluator,
    package: &Package,
    record: &[f32],
    number: u64,
) -> AnyDecrypted {
    let keys = keys(package.program.set());
    let integers = package.encoder.encode(record).unwrap();
    let request = keys
        .client
        .encrypt(&package.program, &integers, entropy(number))
        .unwrap();
    assert_eq!(request.len(), package.program.request_bytes());
    let answer = evaluator
        .run(&keys.evaluation, &request, Control::default())
        .unwrap();
    assert_eq!(answer.len(), package.program.answer_bytes());
    assert!(answer.len() <= 20_000, "{}", answer.len());
    keys.client.decrypt(&package.program, &answer).unwrap()
}
