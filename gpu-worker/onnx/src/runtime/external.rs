//! Weights are inside the model.
//!
//! A tensor of an ONNX file may say that its data lies in another file. ONNX Runtime would read it from the current
//! directory, so that a stranger's model could compute on files of this machine.

use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto,
};

use crate::error::RuntimeError;

pub(super) fn refuse(model: &ModelProto) -> Result<(), RuntimeError> {
    let functions = model.functions.iter().flat_map(|f| &f.node);
    let training = model.training_info.iter();
    let trained = training.flat_map(|t| t.initialization.iter().chain(&t.algorithm));
    model.graph.iter().chain(trained).try_for_each(graph)?;
    functions.into_iter().try_for_each(node)
}

fn graph(graph: &GraphProto) -> Result<(), RuntimeError> {
    graph.initializer.iter().try_for_each(tensor)?;
    graph.sparse_initializer.iter().try_for_each(sparse)?;
    graph.node.iter().try_for_each(node)
}

fn node(node: &NodeProto) -> Result<(), RuntimeError> {
    node.attribute.iter().try_for_each(attribute)
}

/// Recursion ends where the decoder's did: it refuses deeper messages.
fn attribute(attribute: &AttributeProto) -> Result<(), RuntimeError> {
    let tensors = attribute.t.iter().chain(&attribute.tensors);
    tensors.into_iter().try_for_each(tensor)?;
    let sparse_tensors = attribute
        .sparse_tensor
        .iter()
        .chain(&attribute.sparse_tensors);
    sparse_tensors.into_iter().try_for_each(sparse)?;
    attribute
        .g
        .iter()
        .chain(&attribute.graphs)
        .try_for_each(graph)
}

fn sparse(sparse: &SparseTensorProto) -> Result<(), RuntimeError> {
    sparse
        .values
        .iter()
        .chain(&sparse.indices)
        .try_for_each(tensor)
}

fn tensor(tensor: &TensorProto) -> Result<(), RuntimeError> {
    let inside = tensor.external_data.is_empty()
        && tensor.data_location.unwrap_or_default() == DataLocation::Default as i32;
    if inside {
        return Ok(());
    }
    Err(RuntimeError::Refused(format!(
        "the data of tensor `{}` is external: put the weights into the file",
        tensor.name
    )))
}
