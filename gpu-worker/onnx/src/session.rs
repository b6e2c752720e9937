//! A loaded model.

use std::fmt;

use crate::error::{LoadError, RunError};
use crate::runtime::{Model, Runtime};
use crate::{Backend, NamedTensor, Port};

/// The largest model that [`OnnxSession::load`] accepts, in bytes: that of a protobuf message.
pub const MAX_MODEL_BYTES: usize = i32::MAX as usize;

/// A model ready to run, from as many threads as wanted.
pub struct OnnxSession {
    model: Model,
    backend: Backend,
}

impl OnnxSession {
    /// Loads an ONNX model for the built-in back-end; [`Runtime::load`] does so for the one that is wanted.
    ///
    /// # Errors
    ///
    /// [`LoadError`], also when the bytes make the runtime panic.
    pub fn load(bytes: &[u8]) -> Result<Self, LoadError> {
        Runtime::built_in().load(bytes)
    }

    pub(crate) fn new(model: Model, backend: Backend) -> Self {
        Self { model, backend }
    }

    /// The library that executes this model.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Runs the model once.
    ///
    /// `inputs` holds every declared input once, in any order. The outputs come in the order in which the model
    /// declares them.
    ///
    /// # Errors
    ///
    /// [`RunError`], also when the inputs make the runtime panic; the session stays usable.
    pub fn run(&self, inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>, RunError> {
        let ordered = self.in_declared_order(inputs)?;
        for (tensor, declared) in ordered.iter().zip(self.inputs()) {
            check(tensor, declared)?;
        }
        self.model.executor.run(&ordered).map_err(RunError::Failed)
    }

    /// The declared inputs.
    pub fn inputs(&self) -> &[Port] {
        &self.model.inputs
    }

    /// The declared outputs.
    pub fn outputs(&self) -> &[Port] {
        &self.model.outputs
    }

    fn in_declared_order<'a>(
        &self,
        inputs: &'a [NamedTensor],
    ) -> Result<Vec<&'a NamedTensor>, RunError> {
        let declared = self.inputs();
        let mut ordered = vec![None; declared.len()];
        for tensor in inputs {
            let place = declared.iter().position(|port| port.name == tensor.name);
            let Some(slot) = place.map(|i| &mut ordered[i]).filter(|slot| slot.is_none()) else {
                let known = declared.iter().map(|port| port.name.clone()).collect();
                return Err(RunError::UnexpectedInput {
                    name: tensor.name.clone(),
                    known,
                });
            };
            *slot = Some(tensor);
        }
        ordered
            .into_iter()
            .zip(declared)
            .map(|(tensor, port)| tensor.ok_or_else(|| RunError::MissingInput(port.clone())))
            .collect()
    }
}

impl fmt::Debug for OnnxSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnnxSession")
            .field("backend", &self.backend)
            .field("inputs", &self.inputs())
            .field("outputs", &self.outputs())
            .finish_non_exhaustive()
    }
}

fn check(tensor: &NamedTensor, declared: &Port) -> Result<(), RunError> {
    if !declared.accepts(&tensor.dims) {
        return Err(RunError::Shape {
            declared: declared.clone(),
            given: tensor.dims.clone(),
        });
    }
    let held = tensor
        .dims
        .iter()
        .try_fold(1usize, |n, &size| n.checked_mul(size));
    match held {
        Some(n) if n > 0 && n == tensor.data.len() => Ok(()),
        _ => Err(RunError::ElementCount {
            input: tensor.name.clone(),
            dims: tensor.dims.clone(),
            elements: tensor.data.len(),
        }),
    }
}
