//! The only file that knows ONNX Runtime, through `ort`.
//!
//! `ort` holds one library for the life of the process and panics in whatever uses it before there is one, even in
//! making an error value. So nothing of `ort` but `init_from` is called until a library is loaded, and everything
//! that follows runs under [`guarded`]. A library that `init_from` refuses is let go of, and another can be tried; one
//! that it accepts and that fails afterwards stays, which [`State::Unusable`] remembers.

use std::error::Error as _;
use std::fmt::Display;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::{Environment, EnvironmentBuilder, GlobalThreadPoolOptions};
use ort::logging::LogLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};
use ort::{LoadDynamicError, util};

use super::{Executor, Model, guarded, panic_message};
use crate::error::{LibraryError, LoadError, RuntimeError};
use crate::library::{is_searched_for, version};
use crate::{Backend, Dim, NamedTensor, Port};

/// What this process knows of the library.
enum State {
    /// None was accepted so far.
    None,
    Loaded(Loaded),
    /// `ort` holds one that does not work and will not take another.
    Unusable {
        path: PathBuf,
        why: RuntimeError,
    },
}

static STATE: Mutex<State> = Mutex::new(State::None);

/// The library, loaded and initialised.
#[derive(Clone)]
pub(super) struct Loaded(Arc<Inner>);

struct Inner {
    path: PathBuf,
    backend: Backend,
    environment: Environment,
}

pub(super) fn load(path: &Path, threads: NonZeroUsize) -> Result<Loaded, LibraryError> {
    // `ort` would look for other relative paths beside the program first.
    let absolute = (!is_searched_for(path)).then(|| std::path::absolute(path).ok());
    let path = absolute.flatten().unwrap_or_else(|| path.to_owned());
    // Each change is one assignment, so that a panic leaves no half-made one.
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    match &*state {
        State::Loaded(loaded) if loaded.0.path == path => return Ok(loaded.clone()),
        State::Loaded(Loaded(inner)) => {
            return Err(LibraryError::Another {
                path,
                held: inner.path.clone(),
            });
        }
        State::Unusable { path: held, why } => {
            return Err(LibraryError::Unusable {
                path: held.clone(),
                source: why.clone(),
            });
        }
        State::None => {}
    }
    let builder = open(&path)?;
    match guarded(|| initialise(&path, builder, threads)) {
        Ok(loaded) => {
            *state = State::Loaded(loaded.clone());
            Ok(loaded)
        }
        Err(why) => {
            *state = State::Unusable {
                path: path.clone(),
                why: why.clone(),
            };
            Err(LibraryError::Unusable { path, source: why })
        }
    }
}

/// Has the system load the file, and `ort` accept its version.
fn open(path: &Path) -> Result<EnvironmentBuilder, LibraryError> {
    if !is_searched_for(path) && !path.is_file() {
        return Err(LibraryError::Absent { path: path.into() });
    }
    let broken = |why| LibraryError::Broken {
        path: path.into(),
        source: why,
    };
    match catch_unwind(AssertUnwindSafe(|| ort::init_from(path))) {
        Ok(Ok(builder)) => Ok(builder),
        Ok(Err(LoadDynamicError::BadVersion { version_str, .. })) => Err(LibraryError::TooOld {
            path: path.into(),
            version: version_str,
        }),
        Ok(Err(LoadDynamicError::MissingApi { .. })) => {
            Err(LibraryError::Foreign { path: path.into() })
        }
        Ok(Err(LoadDynamicError::Dlopen { error, .. })) => {
            // The system's words are the source of "dlopen failed".
            let error = error.source().map_or_else(|| error.to_string(), text);
            match is_searched_for(path) && says_absent(&error, path) {
                true => Err(LibraryError::Absent { path: path.into() }),
                false => Err(broken(RuntimeError::Refused(error))),
            }
        }
        Ok(Err(error)) => Err(broken(RuntimeError::Refused(error.to_string()))),
        Err(panic) => Err(broken(RuntimeError::Panicked(panic_message(&*panic)))),
    }
}

/// Whether the system's loader says that it found no file of this name, rather than that what it found is broken.
fn says_absent(error: &str, path: &Path) -> bool {
    let error = error.to_lowercase();
    let names = path
        .to_str()
        .is_some_and(|name| error.contains(&format!("{}:", name.to_lowercase())));
    names && error.contains("no such file")
}

fn initialise(
    path: &Path,
    builder: EnvironmentBuilder,
    threads: NonZeroUsize,
) -> Result<Loaded, String> {
    let minor = util::probe(path).ok_or("its version does not begin with 1.")?;
    let text = |error: ort::Error| error.to_string();
    // The caller's thread works too. Threads of the pool that have nothing to do sleep: others use these cores.
    let pool = GlobalThreadPoolOptions::default()
        .with_intra_threads(threads.get())
        .and_then(|pool| pool.with_inter_threads(1))
        .and_then(|pool| pool.with_spin_control(false))
        .map_err(text)?;
    let environment = builder
        .with_telemetry(false)
        .with_global_thread_pool(pool)
        // What it logs may quote inputs, and nobody but the sender may read those. Errors are values here.
        .with_logger(Arc::new(|_, _, _, _, _| {}))
        .build()
        .map_err(text)?;
    environment.set_log_level(LogLevel::Fatal);
    Ok(Loaded(Arc::new(Inner {
        path: path.into(),
        backend: Backend {
            name: "onnxruntime",
            version: version(path, minor).into(),
        },
        environment,
    })))
}

impl Loaded {
    pub(super) fn path(&self) -> &PathBuf {
        &self.0.path
    }

    pub(super) fn backend(&self) -> &Backend {
        &self.0.backend
    }

    /// `bytes` were decoded as a model and hold all their weights.
    pub(super) fn model(&self, bytes: &[u8]) -> Result<Model, LoadError> {
        let session = guarded(|| {
            Session::builder(&self.0.environment)?
                // Not its own format, which would be taken for what it is unasked, and hardly checked.
                .with_config_entry("session.load_model_format", "ONNX")?
                .commit_from_memory(bytes)
        });
        let session = session.map_err(|source| LoadError::Refused {
            bytes: bytes.len(),
            source,
        })?;
        let ports = |outlets: &[Outlet]| outlets.iter().map(port).collect::<Result<Vec<_>, _>>();
        let (inputs, outputs) = (ports(session.inputs())?, ports(session.outputs())?);
        let names = |ports: &[Port]| ports.iter().map(|port| port.name.clone()).collect();
        Ok(Model {
            executor: Box::new(Runnable {
                inputs: names(&inputs),
                outputs: names(&outputs),
                session: Mutex::new(session),
            }),
            inputs,
            outputs,
        })
    }
}

/// One run at a time, as `ort` demands; within a run the operators share the pool.
struct Runnable {
    session: Mutex<Session>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Executor for Runnable {
    fn run(&self, inputs: &[&NamedTensor]) -> Result<Vec<NamedTensor>, RuntimeError> {
        let values = inputs.iter().zip(&self.inputs).map(|(tensor, name)| {
            let dims = tensor.dims.as_slice();
            let value = TensorRef::from_array_view((dims, tensor.data.as_slice()));
            Ok((name.as_str(), SessionInputValue::from(value.map_err(text)?)))
        });
        // A run that panicked has changed nothing of ours.
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        guarded(|| {
            let values = values.collect::<Result<Vec<_>, String>>()?;
            let found = session.run(values).map_err(text)?;
            let named = self.outputs.iter().zip(found.values());
            named
                .map(|(name, value)| {
                    let (shape, data) = value.try_extract_tensor::<f32>().map_err(text)?;
                    let dims = shape.iter().map(|&size| usize::try_from(size));
                    Ok(NamedTensor {
                        name: name.clone(),
                        dims: dims.collect::<Result<_, _>>().map_err(text)?,
                        data: data.to_vec(),
                    })
                })
                .collect::<Result<Vec<_>, String>>()
        })
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

fn port(outlet: &Outlet) -> Result<Port, LoadError> {
    let name = outlet.name().to_owned();
    let (kind, shape) = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => (*ty, shape),
        other => {
            let kind = other.to_string();
            return Err(LoadError::NotFloat { port: name, kind });
        }
    };
    if kind != TensorElementType::Float32 {
        let kind = kind.to_string();
        return Err(LoadError::NotFloat { port: name, kind });
    }
    let dims = shape
        .iter()
        .map(|&size| usize::try_from(size).map_or(Dim::Dynamic, Dim::Fixed))
        .collect();
    Ok(Port { name, dims })
}
