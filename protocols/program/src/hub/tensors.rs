//! Tensors by name, from safetensors files, checked against the shape that the configuration gives them.

use std::collections::BTreeMap;

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::HubError;
use crate::graph::FloatConst;

/// A checkpoint's tensors, as they are stored.
pub(super) struct Tensors<'a>(BTreeMap<String, TensorView<'a>>);

impl<'a> Tensors<'a> {
    /// Of all `.safetensors` among `files`. Names in several of them: the last one counts, as in the model hub's library.
    pub(super) fn open(files: &[(&'a str, &'a [u8])]) -> Result<Self, HubError> {
        let mut tensors = BTreeMap::new();
        for (file, bytes) in files.iter().filter(|(n, _)| n.ends_with(".safetensors")) {
            let failed = |source| HubError::Tensors {
                file: (*file).to_owned(),
                source,
            };
            let stored = SafeTensors::deserialize(bytes).map_err(failed)?;
            tensors.extend(stored.tensors());
        }
        Ok(Self(tensors))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The elements of a tensor of this shape, which must be numbers.
    pub(super) fn floats(&self, name: &str, wanted: &[usize]) -> Result<Vec<f32>, HubError> {
        let view = self.0.get(name);
        let view = view.ok_or_else(|| HubError::missing(format!("tensor {name}")))?;
        if view.shape() != wanted {
            return Err(HubError::Shape {
                name: name.to_owned(),
                found: view.shape().to_vec(),
                wanted: wanted.to_vec(),
            });
        }
        let bad = |what| HubError::Values {
            name: name.to_owned(),
            what,
        };
        let data: Vec<f32> = match view.dtype() {
            Dtype::F32 => each(view.data(), f32::from_le_bytes),
            Dtype::F16 => each(view.data(), |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => each(view.data(), |b| bf16::from_le_bytes(b).to_f32()),
            Dtype::F64 => each(view.data(), |b| f64::from_le_bytes(b) as f32),
            _ => return Err(bad("no floats")),
        };
        match data.iter().all(|v| v.is_finite()) {
            true => Ok(data),
            false => Err(bad("a value that is not finite")),
        }
    }

    /// The matrix of `y = x A'`, stored `[outputs, inputs]`, as `[inputs, outputs]`.
    pub(super) fn matrix(
        &self,
        name: &str,
        [inputs, outputs]: [usize; 2],
    ) -> Result<FloatConst, HubError> {
        let stored = self.floats(name, &[outputs, inputs])?;
        let mut data = vec![0.0; stored.len()];
        for (o, row) in stored.chunks_exact(inputs).enumerate() {
            for (i, v) in row.iter().enumerate() {
                data[i * outputs + o] = *v;
            }
        }
        Ok(FloatConst {
            dims: vec![inputs, outputs],
            data,
        })
    }

    /// A file of some of the tensors.
    pub(super) fn file_of(&self, names: &[String]) -> Result<Vec<u8>, HubError> {
        let views = names.iter().map(|name| {
            let view = self.0.get(name);
            let view = view.ok_or_else(|| HubError::missing(format!("tensor {name}")))?;
            Ok((name.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>, HubError>>()?;
        safetensors::serialize(views, None).map_err(|source| HubError::Tensors {
            file: "the tables".into(),
            source,
        })
    }
}

fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| f(*chunk)).collect()
}
