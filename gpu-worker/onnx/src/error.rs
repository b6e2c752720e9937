//! Errors of choosing a runtime, of loading and of running. The runtime's own error is the `source`, never part of the text.

use std::path::PathBuf;

use crate::{MAX_MODEL_BYTES, Port};

/// Why ONNX Runtime is not used. Whoever runs this program has to act, or can do without.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// There is no such file.
    #[error(
        "there is no ONNX Runtime library at {path}: name the file, such as libonnxruntime.so.1.32.0, which the \
         package onnxruntime of PyPI has in onnxruntime/capi",
        path = .path.display()
    )]
    Absent {
        /// As asked for.
        path: PathBuf,
    },

    /// Another one is in use, and a process holds one at most.
    #[error(
        "ONNX Runtime from {path} is not used: this process already holds {held}",
        path = .path.display(), held = .held.display()
    )]
    Another {
        /// As asked for.
        path: PathBuf,
        /// In use.
        held: PathBuf,
    },

    /// The system does not load it.
    #[error(
        "the ONNX Runtime library {path} cannot be loaded: it is damaged, for another kind of machine, or lacks a \
         library that it needs",
        path = .path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: RuntimeError,
    },

    /// A library, of something else.
    #[error("{path} is a library, but not ONNX Runtime", path = .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },

    /// An old one.
    #[error(
        "{path} is ONNX Runtime {version}, and 1.{} or newer is needed",
        ort::MINOR_VERSION, path = .path.display()
    )]
    TooOld {
        /// The file.
        path: PathBuf,
        /// As it says.
        version: String,
    },

    /// It was loaded, and does not work. It stays in the process, and no other can be loaded into it.
    #[error(
        "ONNX Runtime from {path} was loaded and does not work; another one needs another process",
        path = .path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: RuntimeError,
    },
}

/// Why a model could not be loaded. Whoever exported the model has to act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// An input or output is not a tensor of `f32`.
    #[error(
        "`{port}` is a tensor of {kind}, and only f32 is supported: export the model with f32 inputs and outputs"
    )]
    NotFloat {
        /// The input's or output's name.
        port: String,
        /// The element type that the model declares.
        kind: String,
    },

    /// The runtime does not take the bytes for a model that it can run.
    #[error(
        "the {bytes} bytes are not a model that can be run: it is damaged or uses an operator that is not supported"
    )]
    Refused {
        /// Size of the model.
        bytes: usize,
        /// What the runtime said.
        source: RuntimeError,
    },

    /// More bytes than a session accepts.
    #[error("the model has {bytes} bytes, more than the {MAX_MODEL_BYTES} that a session accepts")]
    TooLarge {
        /// Size of the model.
        bytes: usize,
    },
}

/// Why a loaded model could not be run. The caller has to act, except on [`RunError::Failed`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The axes of a tensor hold another number of elements than it has, or none.
    #[error(
        "`{input}` has {elements} elements, but axes {dims:?}: give one element or more, as many as the axes hold"
    )]
    ElementCount {
        /// The input's name.
        input: String,
        /// Its axes as given.
        dims: Vec<usize>,
        /// The number of elements given.
        elements: usize,
    },

    /// The runtime gave up although the inputs fit the model's declaration.
    #[error("the model failed on inputs that fit what it declares")]
    Failed(#[source] RuntimeError),

    /// An input that the model declares is missing.
    #[error("input `{0}` is missing: give it once")]
    MissingInput(Port),

    /// A tensor whose axes differ from those that the model declares.
    #[error("`{}` was given with axes {given:?}, the model declares `{declared}`", declared.name)]
    Shape {
        /// What the model declares.
        declared: Port,
        /// The axes given.
        given: Vec<usize>,
    },

    /// A tensor that the model does not declare, or one given twice.
    #[error("`{name}` is no input of the model or is given twice: the inputs are {known:?}")]
    UnexpectedInput {
        /// The tensor's name.
        name: String,
        /// The names that the model declares.
        known: Vec<String>,
    },
}

/// What the runtime underneath said.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// It panicked. It asserts where it could check, so that a damaged model may end like this; the panic was
    /// caught, and the session and the process can go on.
    #[error("the runtime panicked: {0}")]
    Panicked(String),

    /// It refused.
    #[error("{0}")]
    Refused(String),
}
