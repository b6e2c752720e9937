//! Tensors by name, from safetensors or GGUF, checked against the shape that the configuration gives them.

use std::collections::HashMap;
use std::io::Cursor;

use candle_core::quantized::{QMatMul, gguf_file};
use candle_core::safetensors::BufferedSafetensors;
use candle_core::{D, DType, Device, Module, Result as Computed, Tensor};

use crate::error::LoadError;

/// A checkpoint's tensors. Each is taken once; floats become `f32`, quantised matrices stay as they are stored.
pub(crate) enum Weights {
    Dense(HashMap<String, Tensor>),
    Gguf(gguf_file::Content, Cursor<Vec<u8>>),
}

impl Weights {
    /// Reads safetensors files. Names in several of them: the last one counts, as in the model hub's library.
    pub(crate) fn safetensors(files: Vec<(String, Vec<u8>)>) -> Result<Self, LoadError> {
        let mut tensors = HashMap::new();
        for (file, bytes) in files {
            let failed = |name: &str| {
                let name = format!("{file}: {name}");
                move |source| LoadError::Tensor { name, source }
            };
            let stored = BufferedSafetensors::new(bytes).map_err(failed("header"))?;
            let names: Vec<String> = stored.tensors().into_iter().map(|(n, _)| n).collect();
            for name in names {
                let tensor = stored.load(&name, &Device::Cpu).map_err(failed(&name))?;
                // Integers are buffers of old checkpoints (position ids, masks); the models compute them.
                if tensor.dtype().is_float() {
                    let tensor = tensor.to_dtype(DType::F32).map_err(failed(&name))?;
                    tensors.insert(name, tensor);
                }
            }
        }
        Ok(Self::Dense(tensors))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::Dense(tensors) => tensors.contains_key(name),
            Self::Gguf(content, _) => content.tensor_infos.contains_key(name),
        }
    }

    /// A tensor as `f32`.
    pub(crate) fn tensor(&mut self, name: &str, wanted: &[usize]) -> Result<Tensor, LoadError> {
        let failed = |source| LoadError::Tensor {
            name: name.to_owned(),
            source,
        };
        let tensor = match self {
            Self::Dense(tensors) => tensors
                .remove(name)
                .ok_or_else(|| LoadError::missing(format!("tensor {name}")))?,
            Self::Gguf(content, file) => {
                let stored = content.tensor(file, name, &Device::Cpu).map_err(failed)?;
                stored.dequantize(&Device::Cpu).map_err(failed)?
            }
        };
        expect(name, tensor.dims(), wanted)?;
        Ok(tensor)
    }

    /// The matrix of `y = x Aᵀ`, of shape `[outputs, inputs]`, and its bias if it has one.
    pub(crate) fn linear(
        &mut self,
        name: &str,
        [outputs, inputs]: [usize; 2],
        bias: bool,
    ) -> Result<Linear, LoadError> {
        let weight = format!("{name}.weight");
        let failed = |source| LoadError::Tensor {
            name: weight.clone(),
            source,
        };
        let matrix = match self {
            Self::Gguf(content, file) => {
                let stored = content
                    .tensor(file, &weight, &Device::Cpu)
                    .map_err(failed)?;
                expect(&weight, stored.shape().dims(), &[outputs, inputs])?;
                QMatMul::from_qtensor(stored).map_err(failed)?
            }
            Self::Dense(_) => QMatMul::Tensor(self.tensor(&weight, &[outputs, inputs])?),
        };
        let bias = match bias {
            true => Some(self.tensor(&format!("{name}.bias"), &[outputs])?),
            false => None,
        };
        Ok(Linear { matrix, bias })
    }

    pub(crate) fn layer_norm(
        &mut self,
        name: &str,
        size: usize,
        eps: f64,
    ) -> Result<LayerNorm, LoadError> {
        Ok(LayerNorm {
            weight: self.tensor(&format!("{name}.weight"), &[size])?,
            bias: self.tensor(&format!("{name}.bias"), &[size])?,
            eps: eps as f32,
        })
    }
}

fn expect(name: &str, found: &[usize], wanted: &[usize]) -> Result<(), LoadError> {
    match found == wanted {
        true => Ok(()),
        false => Err(LoadError::Shape {
            name: name.to_owned(),
            found: found.to_vec(),
            wanted: wanted.to_vec(),
        }),
    }
}

/// `y = x Aᵀ + b`.
pub(crate) struct Linear {
    matrix: QMatMul,
    bias: Option<Tensor>,
}

impl Linear {
    pub(crate) fn new(matrix: Tensor, bias: Option<Tensor>) -> Self {
        let matrix = QMatMul::Tensor(matrix);
        Self { matrix, bias }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Computed<Tensor> {
        let y = self.matrix.forward(x)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// Layer normalisation with weight and bias, over the last axis.
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    pub(crate) fn forward(&self, x: &Tensor) -> Computed<Tensor> {
        debug_assert_eq!(x.dim(D::Minus1).ok(), self.weight.dim(0).ok());
        candle_nn::ops::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}
