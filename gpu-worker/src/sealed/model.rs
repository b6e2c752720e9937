//! A model for this level, loaded and ready.

use ai_link_lm::schedule::Limits;
use ai_link_lm::{Checkpoint, Embedder, Engine, Files, LoadError};
use ai_link_onnx::OnnxSession;
use ai_link_sealed::package::{self, PackageError};

use super::Runtime;

/// What computes.
#[derive(Debug)]
pub enum Model {
    /// Predicts text, many requests together.
    Language(Engine),
    /// Makes vectors of texts.
    Embedding(Embedder),
    /// Maps tensors to tensors.
    Onnx(Box<OnnxSession>),
}

impl Model {
    /// From a model's package for this level; `None` in builds without it. `runtime` executes it if it is an ONNX
    /// file.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn load(bytes: &[u8], runtime: &Runtime) -> Result<Option<Self>, ModelError> {
        let files = package::files(bytes).map_err(ModelError::Package)?;
        if let [(name, onnx)] = files.as_slice()
            && name.ends_with(".onnx")
        {
            let model = runtime.get().load(onnx).map_err(ModelError::Onnx)?;
            return Ok(Some(Self::Onnx(Box::new(model))));
        }
        let owned = |(name, bytes): (&str, &[u8])| (name.to_owned(), bytes.to_vec());
        let files: Files = files.into_iter().map(owned).collect();
        match Checkpoint::load(files).map_err(ModelError::Load)? {
            Checkpoint::Embedding(embedder) => Ok(Some(Self::Embedding(embedder))),
            Checkpoint::Language(model) => {
                let engine = Engine::start(model, Limits::default());
                Ok(Some(Self::Language(engine.map_err(ModelError::Load)?)))
            }
        }
    }
}

/// Why a model cannot be used at this level.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The checkpoint.
    #[error("the checkpoint cannot be loaded")]
    Load(#[source] LoadError),
    /// The ONNX file.
    #[error("the ONNX file cannot be loaded")]
    Onnx(#[source] ai_link_onnx::LoadError),
    /// The package.
    #[error("the package cannot be read")]
    Package(#[source] PackageError),
}
