//! The only file that knows tract.
//!
//! Every call runs under [`guarded`], because tract asserts and indexes where a model is inconsistent. That is
//! also why tract is called directly and not through the C interface of ONNX Runtime (`ort` with `ort-tract`):
//! a panic cannot leave an `extern "system"` function, so there one flipped bit of a model ends the process.

use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;

use super::{Executor, Model, guarded};
use crate::error::{LoadError, RuntimeError};
use crate::{Dim, NamedTensor, Port};

/// A model that tract has optimised.
struct Runnable {
    plan: Arc<TypedRunnableModel>,
    outputs: Vec<String>,
}

pub(super) fn proto(mut bytes: &[u8]) -> TractResult<ModelProto> {
    tract_onnx::onnx().proto_model_for_read(&mut bytes)
}

pub(super) fn load(bytes: usize, proto: &ModelProto) -> Result<Model, LoadError> {
    let refused = |source| LoadError::Refused { bytes, source };
    let (model, output_names) = guarded(|| parse(proto)).map_err(refused)?;
    let (input_facts, output_facts) = guarded(|| {
        let inputs = (0..model.inputs.len()).map(|i| {
            let name = model.node(model.input_outlets()?[i].node).name.clone();
            TractResult::Ok((name, model.input_fact(i)?.clone()))
        });
        let outputs = output_names
            .iter()
            .enumerate()
            .map(|(i, name)| TractResult::Ok((name.clone(), model.output_fact(i)?.clone())));
        Ok::<_, TractError>((
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
    Ok(Model {
        executor: Box::new(Runnable {
            plan,
            outputs: output_names,
        }),
        inputs,
        outputs,
    })
}

impl Executor for Runnable {
    fn run(&self, inputs: &[&NamedTensor]) -> Result<Vec<NamedTensor>, RuntimeError> {
        guarded(|| {
            let values = inputs
                .iter()
                .map(|tensor| Ok(Tensor::from_shape(&tensor.dims, &tensor.data)?.into()))
                .collect::<TractResult<_>>()?;
            self.plan
                .run(values)?
                .into_iter()
                .zip(&self.outputs)
                .map(|(value, name)| {
                    let view = value.to_plain_array_view::<f32>()?;
                    Ok(NamedTensor {
                        name: name.clone(),
                        dims: view.shape().to_vec(),
                        data: view.iter().copied().collect(),
                    })
                })
                .collect::<TractResult<_>>()
        })
    }
}

/// The optimised model, and its outputs' names as the file has them (tract keeps those of nodes).
fn parse(proto: &ModelProto) -> TractResult<(TypedModel, Vec<String>)> {
    let graph = proto.graph.as_ref();
    let output_names = graph
        .map(|graph| graph.output.iter().map(|output| output.name.clone()))
        .map(Iterator::collect)
        .unwrap_or_default();
    // No directory: nothing on disk is read, whatever the model says.
    let parsed = tract_onnx::onnx().parse(proto, None)?;
    if let Some(first) = parsed.unresolved_inputs.first() {
        return Err(TractError::msg(format!(
            "`{first}` is used and never defined"
        )));
    }
    Ok((parsed.model.into_optimized()?, output_names))
}

fn port((name, fact): (String, TypedFact)) -> Result<Port, LoadError> {
    if fact.datum_type != f32::datum_type() {
        // tract's own type of 64-bit integers that shapes are computed with; the file says int64.
        let kind = match fact.datum_type == TDim::datum_type() {
            true => "i64".into(),
            false => format!("{:?}", fact.datum_type).to_lowercase(),
        };
        return Err(LoadError::NotFloat { port: name, kind });
    }
    let size = |dim: &TDim| usize::try_from(dim.to_i64().ok()?).ok();
    let dims = fact
        .shape
        .iter()
        .map(|dim| size(dim).map_or(Dim::Dynamic, Dim::Fixed))
        .collect();
    Ok(Port { name, dims })
}
