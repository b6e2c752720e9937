//! Writes ONNX files, layer behind layer.

use ai_link_program::onnx::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute_type,
    data_type,
};
use prost::Message as _;

use super::INPUT;
use super::draw::Draw;

/// A graph under construction. Layers are added behind [`here`](Self::here).
pub(super) struct Writer {
    graph: GraphProto,
    draw: Draw,
    here: Value,
    made: usize,
}

/// A value of the graph, and how many rows and columns it has if it is an image.
#[derive(Clone)]
pub(super) struct Value {
    name: String,
    size: usize,
}

/// How a convolution goes on beyond the edges.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Padding {
    /// It does not.
    Valid,
    /// With zeros, so many that the result has `size / stride` rows, rounded up; the odd one behind, as TensorFlow does.
    Same,
}

impl Writer {
    pub(super) fn new(name: &str, record: &[usize], seed: u64) -> Self {
        let mut dims = vec![None];
        dims.extend(record.iter().map(|d| Some(*d as i64)));
        let graph = GraphProto {
            name: Some(name.to_owned()),
            input: vec![port(INPUT, &dims)],
            ..GraphProto::default()
        };
        let here = Value {
            name: INPUT.to_owned(),
            size: record.last().copied().unwrap_or(1),
        };
        Self {
            graph,
            draw: Draw::new(seed),
            here,
            made: 0,
        }
    }

    /// Where the next layer goes.
    pub(super) fn here(&self) -> Value {
        self.here.clone()
    }

    /// Continues behind another value.
    pub(super) fn go(&mut self, value: Value) {
        self.here = value;
    }

    /// Weights of He's initialisation, times `gain`.
    fn he(&mut self, dims: &[usize], fan: usize, gain: f32) -> String {
        let deviation = (2.0 / fan as f32).sqrt() * gain;
        let n = dims.iter().product();
        let data = (0..n).map(|_| self.draw.normal() * deviation).collect();
        self.constant(dims, data)
    }

    fn constant(&mut self, dims: &[usize], data: Vec<f32>) -> String {
        let name = format!("w{}", self.graph.initializer.len());
        self.graph.initializer.push(TensorProto {
            name: Some(name.clone()),
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type: Some(data_type::FLOAT),
            raw_data: Some(data.iter().flat_map(|v| v.to_le_bytes()).collect()),
            ..TensorProto::default()
        });
        name
    }

    fn node(&mut self, op: &str, more: &[String], attributes: Vec<AttributeProto>, size: usize) {
        self.made += 1;
        let output = format!("{}{}", op.to_lowercase(), self.made);
        let first = std::mem::replace(
            &mut self.here,
            Value {
                name: output.clone(),
                size,
            },
        );
        self.graph.node.push(NodeProto {
            name: Some(output.clone()),
            op_type: Some(op.to_owned()),
            input: [first.name].into_iter().chain(more.to_vec()).collect(),
            output: vec![output],
            attribute: attributes,
            ..NodeProto::default()
        });
    }

    pub(super) fn dense(&mut self, inputs: usize, outputs: usize, bias: f32) {
        let weights = self.he(&[inputs, outputs], inputs, 1.0);
        let bias = self.constant(&[outputs], vec![bias; outputs]);
        self.node("Gemm", &[weights, bias], Vec::new(), 1);
    }

    /// Times a matrix of variance `1 / inputs`.
    pub(super) fn matmul(&mut self, inputs: usize, outputs: usize) {
        let weights = self.he(&[inputs, outputs], inputs, 0.5f32.sqrt());
        self.node("MatMul", &[weights], Vec::new(), 1);
    }

    pub(super) fn conv(
        &mut self,
        kernel: usize,
        inputs: usize,
        outputs: usize,
        stride: usize,
        padding: Padding,
        gain: f32,
    ) {
        let dims = [outputs, inputs, kernel, kernel];
        let weights = self.he(&dims, inputs * kernel * kernel, gain);
        let bias = self.constant(&[outputs], vec![0.0; outputs]);
        let size = self.here.size;
        let (made, pads) = match padding {
            Padding::Valid => ((size - kernel) / stride + 1, [0, 0]),
            Padding::Same => {
                let made = size.div_ceil(stride);
                let pad = ((made - 1) * stride + kernel).saturating_sub(size);
                (made, [pad / 2, pad - pad / 2])
            }
        };
        let [before, after] = pads;
        let attributes = vec![
            ints("kernel_shape", &[kernel, kernel]),
            ints("strides", &[stride, stride]),
            ints("pads", &[before, before, after, after]),
        ];
        self.node("Conv", &[weights, bias], attributes, made);
    }

    pub(super) fn max_pool(&mut self, kernel: usize, stride: usize, pad: usize) {
        let made = (self.here.size + 2 * pad - kernel) / stride + 1;
        let attributes = vec![
            ints("kernel_shape", &[kernel, kernel]),
            ints("strides", &[stride, stride]),
            ints("pads", &[pad; 4]),
        ];
        self.node("MaxPool", &[], attributes, made);
    }

    pub(super) fn relu(&mut self) {
        self.node("Relu", &[], Vec::new(), self.here.size);
    }

    pub(super) fn add(&mut self, other: Value) {
        self.node("Add", &[other.name], Vec::new(), self.here.size);
    }

    pub(super) fn flatten(&mut self) {
        self.node("Flatten", &[], Vec::new(), 1);
    }

    /// The mean of each channel.
    pub(super) fn global_mean(&mut self) {
        self.node("GlobalAveragePool", &[], Vec::new(), 1);
        self.flatten();
    }

    /// The file, whose output is what was made last.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.graph.output.push(ValueInfoProto {
            name: Some(self.here.name),
            r#type: Some(TypeProto {
                tensor_type: Some(TensorTypeProto {
                    elem_type: Some(data_type::FLOAT),
                    shape: None,
                }),
            }),
        });
        let model = ModelProto {
            ir_version: Some(8),
            producer_name: Some("benchmarks".to_owned()),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto {
                domain: None,
                version: Some(17),
            }],
        };
        model.encode_to_vec()
    }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        ints: values.iter().map(|v| *v as i64).collect(),
        r#type: Some(attribute_type::INTS),
        ..AttributeProto::default()
    }
}

/// A float input; a size of `None` is dynamic.
fn port(name: &str, dims: &[Option<i64>]) -> ValueInfoProto {
    let dim = |size: &Option<i64>| DimensionProto {
        dim_value: *size,
        dim_param: size.is_none().then(|| "n".to_owned()),
    };
    let shape = TensorShapeProto {
        dim: dims.iter().map(dim).collect(),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: Some(data_type::FLOAT),
                shape: Some(shape),
            }),
        }),
    }
}

/// Elements of all initialisers.
#[cfg(test)]
pub(super) fn parameters(onnx: &[u8]) -> usize {
    #![allow(clippy::unwrap_used)]
    let model = ModelProto::decode(onnx).unwrap();
    let tensors = model.graph.unwrap().initializer;
    let elements = |t: &TensorProto| t.dims.iter().map(|d| *d as usize).product::<usize>();
    tensors.iter().map(elements).sum()
}
