//! Builds ONNX models in memory.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "each test file uses its own part"
)]

use ai_link_program::onnx::proto::*;
use prost::Message;

/// A model under construction.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) graph: GraphProto,
    pub(crate) opset: i64,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            opset: 17,
            ..Self::default()
        }
    }

    pub(crate) fn input(mut self, name: &str, dims: &[i64]) -> Self {
        self.graph.input.push(value(name, data_type::FLOAT, dims));
        self
    }

    pub(crate) fn floats(mut self, name: &str, dims: &[usize], data: &[f32]) -> Self {
        self.graph.initializer.push(TensorProto {
            name: Some(name.into()),
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type: Some(data_type::FLOAT),
            float_data: data.to_vec(),
            ..Default::default()
        });
        self
    }

    pub(crate) fn ints(mut self, name: &str, data: &[i64]) -> Self {
        self.graph.initializer.push(TensorProto {
            name: Some(name.into()),
            dims: vec![data.len() as i64],
            data_type: Some(data_type::INT64),
            int64_data: data.to_vec(),
            ..Default::default()
        });
        self
    }

    pub(crate) fn node(
        mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<AttributeProto>,
    ) -> Self {
        self.graph.node.push(NodeProto {
            name: Some(format!("{op} of {output}")),
            op_type: Some(op.into()),
            input: inputs.iter().map(|s| (*s).into()).collect(),
            output: vec![output.into()],
            attribute: attributes,
            ..Default::default()
        });
        self
    }

    /// Equal parts along an axis.
    pub(crate) fn split(mut self, input: &str, outputs: &[&str], axis: i64) -> Self {
        self.graph.node.push(NodeProto {
            name: Some(format!("Split of {input}")),
            op_type: Some("Split".into()),
            input: vec![input.into()],
            output: outputs.iter().map(|s| (*s).into()).collect(),
            attribute: vec![int("axis", axis)],
            ..Default::default()
        });
        self
    }

    pub(crate) fn output(mut self, name: &str) -> Self {
        self.graph.output.push(ValueInfoProto {
            name: Some(name.into()),
            r#type: None,
        });
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let model = ModelProto {
            ir_version: Some(8),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto {
                domain: None,
                version: Some(self.opset),
            }],
            ..Default::default()
        };
        model.encode_to_vec()
    }
}

/// A typed value; a size of -1 is dynamic.
pub(crate) fn value(name: &str, elem_type: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = |d: &i64| match *d {
        -1 => DimensionProto {
            dim_param: Some("n".into()),
            ..Default::default()
        },
        d => DimensionProto {
            dim_value: Some(d),
            ..Default::default()
        },
    };
    let shape = TensorShapeProto {
        dim: dims.iter().map(dim).collect(),
    };
    let tensor = TensorTypeProto {
        elem_type: Some(elem_type),
        shape: Some(shape),
    };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor),
        }),
    }
}

pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        i: Some(i),
        r#type: Some(attribute_type::INT),
        ..Default::default()
    }
}

pub(crate) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        ints: ints.to_vec(),
        r#type: Some(attribute_type::INTS),
        ..Default::default()
    }
}

pub(crate) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        f: Some(f),
        r#type: Some(attribute_type::FLOAT),
        ..Default::default()
    }
}
