//! The walk over the nodes of a file.

use std::collections::HashMap;

use prost::Message;
use sha2::{Digest, Sha256};

use super::error::{ImportError, ImportLimits, OPSETS, Unsupported, Why};
use super::node::OnnxNode;
use super::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto, data_type};
use super::value::{Const, Rows, Secret, Value};
use super::{ops, scan, tensor};
use crate::fixed::limits;
use crate::graph::{Function, Graph, GraphInput, GraphOutput, Node, NodeOp};
use crate::post::ClientOp;
use crate::tensor::elements;

/// Decodes a file within `limits`, without looking at what is in it: for models that are no tensor programs, such as
/// tree ensembles of the `ai.onnx.ml` domain.
pub fn decode(bytes: &[u8], limits: ImportLimits) -> Result<ModelProto, ImportError> {
    within("size in bytes", bytes.len(), limits.bytes)?;
    scan::check_entries(bytes, &limits)?;
    let model = ModelProto::decode(bytes).map_err(ImportError::Decode)?;
    let nodes = model.graph.as_ref().map_or(0, |g| g.node.len());
    within("number of nodes", nodes, limits.nodes)?;
    Ok(model)
}

impl Graph {
    /// Imports an ONNX model. See the [`onnx`](crate::onnx) module for what is supported.
    pub fn from_onnx(bytes: &[u8], limits: ImportLimits) -> Result<Self, ImportError> {
        let model = decode(bytes, limits)?;
        let opset = model
            .opset_import
            .iter()
            .find(|o| matches!(o.domain.as_deref(), None | Some("" | "ai.onnx")))
            .and_then(|o| o.version);
        if !opset.is_some_and(|v| OPSETS.contains(&v)) {
            return Err(ImportError::Opset { have: opset });
        }
        let graph = model.graph.ok_or(ImportError::Missing { what: "graph" })?;
        let mut import = Import {
            limits,
            fixed_batch: FixedBatch::One,
            spent: 0,
            names: HashMap::new(),
            values: Vec::new(),
            nodes: Vec::new(),
            settled: Vec::new(),
        };
        import.initializers(&graph)?;
        let inputs = import.inputs(&graph)?;
        import.nodes(&graph.node)?;
        let outputs = import.outputs(&graph)?;
        let graph = Graph {
            name: graph.name.unwrap_or_default().chars().take(64).collect(),
            source: Sha256::digest(bytes).into(),
            inputs,
            outputs,
            values: import.values,
            nodes: import.nodes,
        };
        Ok(graph.simplify())
    }
}

/// Whether the file fixes the batch to 1, so that a leading 1 in a shape means the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FixedBatch {
    One,
    No,
}

/// A client operator that was computed after all.
pub(super) struct Settled {
    /// Of which value, and what.
    pub(super) of: (usize, ClientOp),
    pub(super) made: Secret,
}

/// The state of an import.
pub(super) struct Import {
    pub(super) limits: ImportLimits,
    pub(super) fixed_batch: FixedBatch,
    /// Elements of all tensors made so far.
    spent: usize,
    names: HashMap<String, Value>,
    values: Vec<Vec<usize>>,
    nodes: Vec<Node>,
    /// What turned out to be in the middle and not the client's.
    pub(super) settled: Vec<Settled>,
}

impl Import {
    /// Accounts for a tensor of `dims` before it is made; returns its number of elements.
    pub(super) fn reserve(&mut self, dims: &[usize]) -> Result<usize, Why> {
        no_empty_axes(dims)?;
        let too_large = || Why::TooLarge {
            dims: dims.to_vec(),
        };
        let n = elements(dims)
            .filter(|n| *n <= self.limits.tensor_elements)
            .ok_or_else(too_large)?;
        let spent = self.spent.saturating_add(n);
        if spent > self.limits.total_elements || dims.len() > limits::RANK + 1 {
            return Err(too_large());
        }
        self.spent = spent;
        Ok(n)
    }

    /// Adds a node to the graph; `dims` is the shape of the result without batch, which has been reserved or is
    /// reserved here.
    pub(super) fn emit(
        &mut self,
        name: &str,
        op: NodeOp,
        inputs: &[usize],
        dims: Vec<usize>,
    ) -> Result<Secret, Why> {
        if dims.contains(&0) || dims.len() > limits::RANK {
            return Err(Why::Shape {
                shapes: vec![dims],
                problem: "every axis must have a positive size, and at most eight are supported",
            });
        }
        self.reserve(&dims)?;
        self.values.push(dims.clone());
        let output = self.values.len() - 1;
        let name = name.chars().take(limits::NAME_BYTES / 4).collect();
        self.nodes.push(Node {
            name,
            op,
            inputs: inputs.to_vec(),
            output,
        });
        Ok(Secret {
            value: output,
            dims,
            post: Vec::new(),
            grid: None,
            rows: Rows::Records,
        })
    }

    /// What `x` is the square root of, if it is one.
    pub(super) fn root_of(&self, x: &Secret) -> Option<Secret> {
        let made = self
            .nodes
            .iter()
            .rev()
            .find(|node| node.output == x.value)?;
        let (NodeOp::Function(Function::Sqrt), [value]) = (&made.op, made.inputs.as_slice()) else {
            return None;
        };
        Some(Secret {
            value: *value,
            ..x.clone()
        })
    }

    fn initializers(&mut self, graph: &GraphProto) -> Result<(), ImportError> {
        for t in &graph.initializer {
            let name = t.name.clone().unwrap_or_default();
            let c = tensor::read(t, &self.limits).map_err(|source| ImportError::Initializer {
                name: name.clone(),
                source,
            })?;
            self.spent = self
                .spent
                .saturating_add(elements(&c.dims).unwrap_or(usize::MAX));
            within("number of elements", self.spent, self.limits.total_elements)?;
            self.names.insert(name, Value::Const(c));
        }
        Ok(())
    }

    fn inputs(&mut self, graph: &GraphProto) -> Result<Vec<GraphInput>, ImportError> {
        let mut inputs = Vec::new();
        for info in &graph.input {
            let name = info.name.clone().unwrap_or_default();
            // Before IR version 4, initialisers are listed among the inputs.
            if matches!(self.names.get(&name), Some(Value::Const(_))) {
                continue;
            }
            let bad = |why| ImportError::Input {
                name: name.clone(),
                why,
            };
            if name.len() > limits::NAME_BYTES {
                return Err(bad("its name is too long"));
            }
            let (fixed, dims) = record_dims(info).map_err(bad)?;
            if fixed == FixedBatch::No {
                self.fixed_batch = FixedBatch::No;
            }
            self.reserve(&dims)
                .map_err(|_| bad("it is past the import limits"))?;
            self.values.push(dims.clone());
            let value = self.values.len() - 1;
            let secret = Value::Secret(Secret {
                value,
                dims,
                post: Vec::new(),
                grid: None,
                rows: Rows::Records,
            });
            if self.names.insert(name.clone(), secret).is_some() {
                return Err(bad("two inputs have this name"));
            }
            inputs.push(GraphInput { name, value });
            within("number of inputs", inputs.len(), limits::PORTS)?;
        }
        match inputs.is_empty() {
            true => Err(ImportError::Missing { what: "input" }),
            false => Ok(inputs),
        }
    }

    fn nodes(&mut self, nodes: &[NodeProto]) -> Result<(), ImportError> {
        let mut refused = Vec::new();
        for (index, proto) in nodes.iter().enumerate() {
            let op = proto.op_type.clone().unwrap_or_default();
            let name = match proto.name.as_deref() {
                None | Some("") => format!("{op}_{index}"),
                Some(name) => name.to_owned(),
            };
            let results = match self.node(proto, &name) {
                Ok(results) => results,
                Err(why) => {
                    let name = name.chars().take(limits::NAME_BYTES).collect();
                    refused.push(Unsupported {
                        index,
                        node: name,
                        op,
                        why,
                    });
                    Vec::new()
                }
            };
            let mut results = results.into_iter();
            for output in proto.output.iter().filter(|o| !o.is_empty()) {
                let value = results.next().unwrap_or(Value::Refused);
                if self.names.insert(output.clone(), value).is_some() {
                    let op = proto.op_type.clone().unwrap_or_default();
                    let why = Why::Redefined(output.clone());
                    refused.push(Unsupported {
                        index,
                        node: name.clone(),
                        op,
                        why,
                    });
                }
            }
        }
        match refused.is_empty() {
            true => Ok(()),
            false => Err(ImportError::Unsupported(refused)),
        }
    }

    /// The results of one node; missing ones stand for results that may not be used.
    fn node(&mut self, proto: &NodeProto, name: &str) -> Result<Vec<Value>, Why> {
        let mut operands = Vec::with_capacity(proto.input.len());
        for input in &proto.input {
            operands.push(match (input.as_str(), self.names.get(input)) {
                ("", _) => None,
                (_, Some(Value::Refused)) => return Ok(Vec::new()),
                (_, Some(value)) => Some(value.clone()),
                (_, None) => return Err(Why::Undefined(input.clone())),
            });
        }
        if let Some(domain) = proto
            .domain
            .as_deref()
            .filter(|d| !matches!(*d, "" | "ai.onnx"))
        {
            return Err(Why::Domain(domain.to_owned()));
        }
        let mut node = OnnxNode {
            proto,
            name: name.to_owned(),
            operands,
        };
        ops::settle(self, &mut node)?;
        ops::import(self, &node)
    }

    fn outputs(&self, graph: &GraphProto) -> Result<Vec<GraphOutput>, ImportError> {
        let mut outputs = Vec::new();
        for info in &graph.output {
            let name = info.name.clone().unwrap_or_default();
            let bad = |why| ImportError::Output {
                name: name.clone(),
                why,
            };
            if name.len() > limits::NAME_BYTES {
                return Err(bad("its name is too long"));
            }
            match self.names.get(&name) {
                Some(Value::Secret(s)) if s.grid.is_some() => {
                    return Err(bad("it is quantised: end the model with DequantizeLinear"));
                }
                Some(Value::Secret(s)) if s.rows == Rows::Merged => {
                    return Err(bad("its first axis is not the batch"));
                }
                Some(Value::Secret(s)) => outputs.push(GraphOutput {
                    name,
                    value: s.value,
                    post: s.post.clone(),
                }),
                Some(Value::Const(_)) => return Err(bad("it does not depend on any input")),
                Some(Value::Refused) => {
                    return Err(bad("it is a result that inference does not produce"));
                }
                None => return Err(bad("nothing defines it")),
            }
            within("number of outputs", outputs.len(), limits::PORTS)?;
        }
        match outputs.is_empty() {
            true => Err(ImportError::Missing { what: "output" }),
            false => Ok(outputs),
        }
    }
}

/// Shape of an input without its batch axis.
fn record_dims(info: &ValueInfoProto) -> Result<(FixedBatch, Vec<usize>), &'static str> {
    let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let tensor = tensor.ok_or("it is not a tensor")?;
    let floats = [data_type::FLOAT, data_type::DOUBLE, data_type::FLOAT16];
    if !floats.contains(&tensor.elem_type.unwrap_or(0)) {
        return Err("its elements are not floats");
    }
    let dims = tensor
        .shape
        .as_ref()
        .map(|s| s.dim.as_slice())
        .unwrap_or_default();
    let Some((batch, rest)) = dims.split_first() else {
        return Err("it has no axes; the first axis must be the batch");
    };
    let fixed = match batch.dim_value {
        Some(1) => FixedBatch::One,
        Some(n) if n > 1 => {
            return Err("its first axis, the batch, is fixed; make it dynamic or 1");
        }
        _ => FixedBatch::No,
    };
    let size = |v: Option<i64>| v.and_then(|v| usize::try_from(v).ok()).filter(|v| *v > 0);
    let dims: Option<Vec<usize>> = rest.iter().map(|d| size(d.dim_value)).collect();
    let dims = dims.ok_or("an axis other than the batch has no fixed size")?;
    match dims.len() <= limits::RANK {
        true => Ok((fixed, dims)),
        false => Err("it has too many axes"),
    }
}

fn within(what: &'static str, have: usize, limit: usize) -> Result<(), ImportError> {
    match have <= limit {
        true => Ok(()),
        false => Err(ImportError::TooLarge { what, have, limit }),
    }
}

/// Refuses shapes like `[0, 2^40]`: no elements, yet axes of any length. An empty list `[0]` is fine.
pub(super) fn no_empty_axes(dims: &[usize]) -> Result<(), Why> {
    match dims.len() > 1 && dims.contains(&0) {
        true => Err(shape_error(&[dims], "empty tensors are not supported")),
        false => Ok(()),
    }
}

/// The shape of the operands as a refusal.
pub(super) fn shape_error(shapes: &[&[usize]], problem: &'static str) -> Why {
    Why::Shape {
        shapes: shapes.iter().map(|s| s.to_vec()).collect(),
        problem,
    }
}

/// The floats of a constant, if they are finite.
pub(super) fn finite(c: &Const) -> Result<&[f32], Why> {
    let floats = c.floats().ok_or(Why::DataType("floats are needed"))?;
    match floats.iter().all(|v| v.is_finite()) {
        true => Ok(floats),
        false => Err(Why::NotFinite),
    }
}
