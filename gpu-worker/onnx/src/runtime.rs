//! The only file that knows tract.
//!
//! Every call runs under [`guarded`], because tract asserts and indexes where a model is inconsistent. That is
//! also why tract is called directly and not through the C interface of ONNX Runtime (`ort` with `ort-tract`):
//! a panic cannot leave an `extern "system"` function, so there one flipped bit of a model ends the process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tract_onnx::prelude::*;

use crate::error::{LoadError, RuntimeError};
use crate::{Dim, NamedTensor, Port};

/// A model that tract has optimised.
pub(crate) struct Runnable {
    plan: Arc<TypedRunnableModel>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
}

impl Runnable {
    pub(crate) fn load(bytes: &[u8]) -> Result<Self, LoadError> {
        let refused = |source| LoadError::Refused {
            bytes: bytes.len(),
            source,
        };
        let (model, output_names) = guarded(|| parse(bytes)).map_err(refused)?;
        let (input_facts, output_facts) = guarded(|| {
            let inputs = (0..model.inputs.len()).map(|i| {
                let name = model.node(model.input_outlets()?[i].node).name.clone();
                TractResult::Ok((name, model.input_fact(i)?.clone()))
            });
            let outputs = output_names
                .iter()
                .enumerate()
                .map(|(i, name)| TractResult::Ok((name.clone(), model.output_fact(i)?.clone())));
            Ok((
                inputs.collect::<TractResult<Vec<_>>>()?,
                outputs.collect::<TractResult<Vec<_>>>()?,
            ))
        })
        .map_err(refused)?;
        let inputs = input_facts
            .into_iter()
            .map(port)
            .collect::<Result<_, _>>()?;
        let outputs = output_facts
            .into_iter()
            .map(port)
            .collect::<Result<_, _>>()?;
        let plan = guarded(|| model.into_runnable()).map_err(refused)?;
        Ok(Self {
            plan,
            inputs,
            outputs,
        })
    }

    /// `inputs` are checked and in the declared order.
    pub(crate) fn run(&self, inputs: &[&NamedTensor]) -> Result<Vec<NamedTensor>, RuntimeError> {
        guarded(|| {
            let values = inputs
                .iter()
                .map(|tensor| Ok(Tensor::from_shape(&tensor.dims, &tensor.data)?.into()))
                .collect::<TractResult<_>>()?;
            self.plan
                .run(values)?
                .into_iter()
                .zip(&self.outputs)
                .map(|(value, port)| {
                    let view = value.to_plain_array_view::<f32>()?;
                    Ok(NamedTensor {
                        name: port.name.clone(),
                        dims: view.shape().to_vec(),
                        data: view.iter().copied().collect(),
                    })
                })
                .collect()
        })
    }
}

/// The optimised model, and its outputs' names as the file has them (tract keeps those of nodes).
fn parse(mut bytes: &[u8]) -> TractResult<(TypedModel, Vec<String>)> {
    let onnx = tract_onnx::onnx();
    let proto = onnx.proto_model_for_read(&mut bytes)?;
    let output_names = proto
        .graph
        .as_ref()
        .map(|graph| {
            graph
                .output
                .iter()
                .map(|output| output.name.clone())
                .collect()
        })
        .unwrap_or_default();
    // No directory: a tensor whose data lies in a file beside the model is an error, so nothing on disk is read.
    let parsed = onnx.parse(&proto, None)?;
    if let Some(first) = parsed.unresolved_inputs.first() {
        return Err(TractError::msg(format!(
            "`{first}` is used and never defined"
        )));
    }
    Ok((parsed.model.into_optimized()?, output_names))
}

fn port((name, fact): (String, TypedFact)) -> Result<Port, LoadError> {
    if fact.datum_type != f32::datum_type() {
        return Err(LoadError::NotFloat {
            port: name,
            kind: format!("{:?}", fact.datum_type),
        });
    }
    let size = |dim: &TDim| usize::try_from(dim.to_i64().ok()?).ok();
    let dims = fact
        .shape
        .iter()
        .map(|dim| size(dim).map_or(Dim::Dynamic, Dim::Fixed))
        .collect();
    Ok(Port { name, dims })
}

/// Runs `call`; a panic becomes an error. Sound to resume after: `call` only reads the plan, and every state that
/// it was in the middle of changing is dropped by unwinding.
fn guarded<T>(call: impl FnOnce() -> TractResult<T>) -> Result<T, RuntimeError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
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
