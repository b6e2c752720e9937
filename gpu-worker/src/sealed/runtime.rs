//! What executes ONNX models on this worker.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use ai_link_onnx::{Library, LibraryError};

use crate::config::{OnnxConfig, OnnxLibrary};

/// The library that executes ONNX models.
#[derive(Clone, Debug)]
pub struct Runtime(ai_link_onnx::Runtime);

impl Runtime {
    /// Loads what the configuration asks for, and logs what it is.
    ///
    /// # Errors
    /// [`LibraryError`] when the configuration names a file that cannot be used.
    pub fn open(config: &OnnxConfig) -> Result<Self, LibraryError> {
        let library = match &config.library {
            OnnxLibrary::Auto => Library::Auto,
            OnnxLibrary::BuiltIn => Library::BuiltIn,
            OnnxLibrary::At(path) => Library::At(path.clone()),
        };
        let cores = || available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = config.threads.unwrap_or_else(cores);
        let opened = ai_link_onnx::Runtime::open(&library, threads)?;
        for error in &opened.passed_over {
            tracing::warn!(
                error = crate::chain(error),
                "an ONNX Runtime library is not used"
            );
        }
        let (backend, library) = (opened.runtime.backend(), opened.runtime.library());
        tracing::info!(%backend, ?library, threads, "executes ONNX models");
        Ok(Self(opened.runtime))
    }

    /// Its name and version as a product token, `onnxruntime/1.32.0`.
    pub fn product(&self) -> Option<String> {
        let backend = self.0.backend();
        Some(format!("{}/{}", backend.name, backend.version))
    }

    pub(super) fn get(&self) -> &ai_link_onnx::Runtime {
        &self.0
    }
}
