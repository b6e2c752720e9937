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

/// A layer of attention and two dense layers, the first four times as wide.
#[derive(Clone, Copy)]
pub(super) struct Transformer {
    pub(super) positions: usize,
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) order: Order,
}

/// Where a layer normalises.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Sums, as encoders like BERT do, where every position sees every other.
    NormLast,
    /// What goes into attention and dense layers, as decoders like GPT-2 do, where a position sees those before it.
    NormFirst,
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

    /// One layer of an encoder or decoder, after Vaswani et al., *Attention is all you need* (NeurIPS 2017).
    pub(super) fn transformer(&mut self, t: &Transformer) {
        let Transformer {
            positions,
            width,
            heads,
            order,
        } = *t;
        let head = width / heads;
        let x = self.here();
        if order == Order::NormFirst {
            self.layer_norm(width);
        }
        self.matmul(width, 3 * width);
        self.bias(3 * width);
        self.reshape(&[0, positions, 3, heads, head]);
        self.transpose(&[0, 2, 3, 1, 4]);
        let all = self.here();
        let [query, key, value] = [0, 1, 2].map(|part| {
            self.go(all.clone());
            self.pick(part);
            self.here()
        });
        self.go(key);
        self.transpose(&[0, 1, 3, 2]);
        let key = self.here();
        self.go(query);
        self.node("MatMul", &[key.name], Vec::new(), 1);
        let root = self.constant(&[1], vec![1.0 / (head as f32).sqrt()]);
        self.node("Mul", &[root], Vec::new(), 1);
        if order == Order::NormFirst {
            // A position sees those before it.
            let hidden = |i: usize| {
                if i % positions > i / positions {
                    -100.0
                } else {
                    0.0
                }
            };
            let mask = (0..positions * positions).map(hidden).collect();
            let mask = self.constant(&[positions, positions], mask);
            self.node("Add", &[mask], Vec::new(), 1);
        }
        self.node("Softmax", &[], vec![int("axis", -1)], 1);
        self.node("MatMul", &[value.name], Vec::new(), 1);
        self.transpose(&[0, 2, 1, 3]);
        self.reshape(&[0, positions, width]);
        self.matmul(width, width);
        self.bias(width);
        self.add(x);
        if order == Order::NormLast {
            self.layer_norm(width);
        }
        let x = self.here();
        if order == Order::NormFirst {
            self.layer_norm(width);
        }
        self.matmul(width, 4 * width);
        self.bias(4 * width);
        self.node("Gelu", &[], Vec::new(), 1);
        self.matmul(4 * width, width);
        self.bias(width);
        self.add(x);
        if order == Order::NormLast {
            self.layer_norm(width);
        }
    }

    /// The values at the last position, times a matrix: a score for every word.
    pub(super) fn language_head(&mut self, positions: usize, width: usize, words: usize) {
        let last = self.index(positions - 1);
        self.node("Gather", &[last], vec![int("axis", 1)], 1);
        self.layer_norm(width);
        // Of deviation 0.02, as GPT-2's embeddings are initialised.
        let weights = self.he(&[width, words], 2 * width, 0.02 * (width as f32).sqrt());
        self.node("MatMul", &[weights], Vec::new(), 1);
    }

    fn layer_norm(&mut self, width: usize) {
        let scale = self.constant(&[width], vec![1.0; width]);
        let bias = self.constant(&[width], vec![0.0; width]);
        self.node(
            "LayerNormalization",
            &[scale, bias],
            vec![int("axis", -1)],
            1,
        );
    }

    fn bias(&mut self, width: usize) {
        let bias = self.constant(&[width], vec![0.0; width]);
        self.node("Add", &[bias], Vec::new(), 1);
    }

    fn reshape(&mut self, dims: &[usize]) {
        let shape = self.indices(&[dims.len()], dims);
        self.node("Reshape", &[shape], Vec::new(), 1);
    }

    fn transpose(&mut self, order: &[usize]) {
        self.node("Transpose", &[], vec![ints("perm", order)], 1);
    }

    /// One part of the first axis behind the batch, which goes.
    fn pick(&mut self, part: usize) {
        let part = self.index(part);
        self.node("Gather", &[part], vec![int("axis", 1)], 1);
    }

    fn index(&mut self, at: usize) -> String {
        self.indices(&[], &[at])
    }

    fn indices(&mut self, dims: &[usize], values: &[usize]) -> String {
        let name = format!("w{}", self.graph.initializer.len());
        self.graph.initializer.push(TensorProto {
            name: Some(name.clone()),
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type: Some(data_type::INT64),
            int64_data: values.iter().map(|v| *v as i64).collect(),
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
                version: Some(20),
            }],
        };
        model.encode_to_vec()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        i: Some(value),
        r#type: Some(attribute_type::INT),
        ..AttributeProto::default()
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
    let tensors = tensors.iter().filter(|t| t.int64_data.is_empty());
    let elements = |t: &TensorProto| t.dims.iter().map(|d| *d as usize).product::<usize>();
    tensors.map(elements).sum()
}
