//! What executes models, chosen when the program runs.

mod builtin;
mod external;
mod onnxruntime;

use std::any::Any;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::error::{LibraryError, LoadError, RuntimeError};
use crate::library::{self, Library};
use crate::{BUILT_IN, Backend, MAX_MODEL_BYTES, NamedTensor, OnnxSession, Port};

/// What executes models. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runtime(Kind);

#[derive(Clone)]
enum Kind {
    BuiltIn,
    OnnxRuntime(onnxruntime::Loaded),
}

/// A runtime, and what was found and not used.
#[derive(Debug)]
pub struct Opened {
    /// What executes models.
    pub runtime: Runtime,
    /// Libraries that are there and cannot be used. Whoever opened the runtime should say so.
    pub passed_over: Vec<LibraryError>,
}

impl Runtime {
    /// tract, pure Rust, which every build has.
    pub const fn built_in() -> Self {
        Self(Kind::BuiltIn)
    }

    /// ONNX Runtime from this file, or under this name where the system's loader searches.
    ///
    /// A process loads one library at most, and with it one pool of `threads` threads for the work within an
    /// operator, which all sessions share: opening the same library again gives the same one.
    ///
    /// # Errors
    ///
    /// [`LibraryError`]; the built-in back-end is not affected, and unless the error says so neither is another
    /// library.
    pub fn onnx_runtime(library: &Path, threads: NonZeroUsize) -> Result<Self, LibraryError> {
        onnxruntime::load(library, threads).map(|loaded| Self(Kind::OnnxRuntime(loaded)))
    }

    /// What `library` wants.
    ///
    /// # Errors
    ///
    /// [`LibraryError`] when one file is demanded and cannot be used.
    pub fn open(library: &Library, threads: NonZeroUsize) -> Result<Opened, LibraryError> {
        let mut passed_over = Vec::new();
        let runtime = match library {
            Library::BuiltIn => Self::built_in(),
            Library::At(path) => Self::onnx_runtime(path, threads)?,
            Library::Auto => {
                let mut found = None;
                for path in library::candidates() {
                    match Self::onnx_runtime(&path, threads) {
                        Ok(runtime) => {
                            found = Some(runtime);
                            break;
                        }
                        // Nothing was asked for by name, so that nothing is missing.
                        Err(LibraryError::Absent { path }) if library::is_searched_for(&path) => {}
                        Err(error) => passed_over.push(error),
                    }
                }
                found.unwrap_or_else(Self::built_in)
            }
        };
        Ok(Opened {
            runtime,
            passed_over,
        })
    }

    /// The library that executes models.
    pub fn backend(&self) -> &Backend {
        match &self.0 {
            Kind::BuiltIn => &BUILT_IN,
            Kind::OnnxRuntime(loaded) => loaded.backend(),
        }
    }

    /// The file that it was loaded from; `None` for what is built in.
    pub fn library(&self) -> Option<&PathBuf> {
        match &self.0 {
            Kind::BuiltIn => None,
            Kind::OnnxRuntime(loaded) => Some(loaded.path()),
        }
    }

    /// Loads an ONNX model. Its weights must be inside: files beside it are never read.
    ///
    /// # Errors
    ///
    /// [`LoadError`], also when the bytes make the runtime panic.
    pub fn load(&self, bytes: &[u8]) -> Result<OnnxSession, LoadError> {
        if bytes.len() > MAX_MODEL_BYTES {
            return Err(LoadError::TooLarge { bytes: bytes.len() });
        }
        let refused = |source| LoadError::Refused {
            bytes: bytes.len(),
            source,
        };
        let proto = guarded(|| builtin::proto(bytes)).map_err(refused)?;
        external::refuse(&proto).map_err(refused)?;
        let model = match &self.0 {
            Kind::BuiltIn => builtin::load(bytes.len(), &proto)?,
            Kind::OnnxRuntime(loaded) => {
                drop(proto);
                loaded.model(bytes)?
            }
        };
        Ok(OnnxSession::new(model, self.backend().clone()))
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("BuiltIn"),
            Self::OnnxRuntime(loaded) => f.debug_tuple("OnnxRuntime").field(loaded.path()).finish(),
        }
    }
}

/// A loaded model, as each back-end has it.
pub(crate) struct Model {
    pub(crate) executor: Box<dyn Executor>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
}

/// Runs one model.
pub(crate) trait Executor: Send + Sync {
    /// `inputs` are checked and in the declared order; so are the outputs.
    fn run(&self, inputs: &[&NamedTensor]) -> Result<Vec<NamedTensor>, RuntimeError>;
}

/// Runs `call`; a panic becomes an error. Sound to resume after: `call` only reads what outlives it, and every state
/// that it was in the middle of changing is dropped by unwinding.
fn guarded<T, E: fmt::Display>(call: impl FnOnce() -> Result<T, E>) -> Result<T, RuntimeError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        // Alternate: tract prints its chain of causes so; others have no such form.
        Ok(Err(error)) => Err(RuntimeError::Refused(format!("{error:#}"))),
        Err(panic) => Err(RuntimeError::Panicked(panic_message(&*panic))),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
        .to_owned()
}
