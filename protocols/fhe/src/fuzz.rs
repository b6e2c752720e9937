//! What the fuzzer calls: one function per decoder of bytes from outside. Tests drive them too.

use std::sync::OnceLock;

use ai_link_program::ImportLimits;

use crate::{
    ClientKey, Entropy, EvaluationKey, KeyId, KeyUpload, Offer, Package, ParameterSet, Program,
};
use crate::{answer, onnx, request};

/// A package, and a program: whatever is accepted can be encoded again, and runs in the clear.
pub fn package(bytes: &[u8]) {
    if let Ok(package) = Package::decode(bytes) {
        assert_eq!(Package::decode(&package.encode()).as_ref(), Ok(&package));
        if let Ok(integers) = package
            .encoder
            .encode(&vec![0.5; package.encoder.features()])
        {
            let _ = package.program.run_clear(&integers);
        }
    }
    if let Ok(program) = Program::decode(bytes)
        && program.inputs() + program.bootstraps() < 1 << 12
    {
        let run = program
            .run_clear(&vec![0; program.inputs()])
            .expect("zeros fit, qed");
        assert_eq!(run.outputs.len(), program.outputs());
        let _ = program.prove();
    }
}

/// Offers: whatever is accepted can be encoded again.
pub fn offer(bytes: &[u8]) {
    if let Ok(offer) = Offer::decode(bytes) {
        assert_eq!(Offer::decode(&offer.encode()).as_ref(), Ok(&offer));
    }
}

/// Evaluation keys, whole and in pieces, and client keys.
pub fn keys(bytes: &[u8]) {
    let _ = EvaluationKey::inspect(bytes);
    let _ = ClientKey::from_secret_bytes(bytes);
    let mut upload = KeyUpload::new(ParameterSet::Ring1024, KeyId::of(bytes));
    let piece = bytes.first().copied().unwrap_or_default();
    let _ = upload.accept(usize::from(piece), bytes);
}

/// Requests and answers of a small program.
pub fn ciphertexts(bytes: &[u8]) {
    static KEY: OnceLock<(ClientKey, Program)> = OnceLock::new();
    let (key, program) = KEY.get_or_init(|| {
        let key = ClientKey::generate(ParameterSet::Ring1024, Entropy::new([3; 32])).client;
        (key, Program::sum_of_two())
    });
    let _ = crate::key_of(bytes);
    // As they are, and with a header that passes.
    let _ = request::decode(bytes, program, program.id(), key.id());
    let _ = answer::decrypt(key, program, bytes);
    for magic in [request::MAGIC, answer::MAGIC] {
        let mut whole = crate::header::write(magic, key.id(), program.id(), bytes.len());
        whole.extend(bytes);
        let _ = request::decode(&whole, program, program.id(), key.id());
        let _ = answer::decrypt(key, program, &whole);
    }
}

/// ONNX files with models of the `ai.onnx.ml` domain.
pub fn onnx(bytes: &[u8]) {
    let limits = ImportLimits {
        bytes: 1 << 20,
        entries: 1 << 14,
        nodes: 256,
        tensor_elements: 1 << 12,
        total_elements: 1 << 16,
    };
    if let Ok(Some(pipeline)) = onnx::read(bytes, limits) {
        let _ = pipeline.model.eval(&vec![0.5; pipeline.features]);
    }
}
