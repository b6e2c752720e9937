//! What is published for level `sealed`: the files of a checkpoint, or an ONNX file, as they are.

use std::path::Path;

use ai_link_lm::Files;
use ai_link_sealed::package;
use ai_link_worker::OnnxConfig;
use ai_link_worker::sealed::{Model, Runtime};

use crate::output::Failure;

/// The package of a directory with `config.json`, `tokenizer.json` and `*.safetensors`, of a `.gguf` file with its
/// `tokenizer.json` beside it, or of an `.onnx` file. It is loaded as a worker loads it, so that what is published runs.
pub(super) fn package(path: &Path) -> Result<Vec<u8>, Failure> {
    let files: Files = match path.extension().is_some_and(|end| end == "onnx") {
        true => {
            let read = std::fs::read(path);
            let bytes =
                read.map_err(|e| Failure::message(format!("cannot read {}: {e}", path.display())))?;
            std::iter::once(("model.onnx".to_owned(), bytes)).collect()
        }
        false => Files::read(path).map_err(Failure::failed)?,
    };
    let bytes = package::pack(files.iter()).map_err(Failure::failed)?;
    drop(files);
    let runtime = Runtime::open(&OnnxConfig::default()).map_err(Failure::failed)?;
    Model::load(&bytes, &runtime).map_err(Failure::failed)?;
    Ok(bytes)
}
