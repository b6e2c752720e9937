//! Attributes of a node, by name.

use ai_link_program::onnx::proto::{AttributeProto, NodeProto, TensorProto, data_type};

use crate::error::CompileError;

pub(super) struct Attributes<'a>(&'a NodeProto);

impl<'a> Attributes<'a> {
    pub(super) fn of(node: &'a NodeProto) -> Self {
        Self(node)
    }

    fn find(&self, name: &str) -> Option<&'a AttributeProto> {
        self.0
            .attribute
            .iter()
            .find(|a| a.name.as_deref() == Some(name))
    }

    pub(super) fn float(&self, name: &str) -> Option<f32> {
        self.find(name)?.f
    }

    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.find(name)?.i
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.find(name)?.s.as_deref()?).ok()
    }

    pub(super) fn floats(&self, name: &str) -> &'a [f32] {
        self.find(name).map_or(&[], |a| &a.floats)
    }

    pub(super) fn ints(&self, name: &str) -> &'a [i64] {
        self.find(name).map_or(&[], |a| &a.ints)
    }

    pub(super) fn strings(&self, name: &str) -> Vec<String> {
        let texts = self.find(name).map_or(&[][..], |a| &a.strings);
        texts
            .iter()
            .map(|s| String::from_utf8_lossy(s).into_owned())
            .collect()
    }

    /// A list of floats in a tensor; empty without it.
    pub(super) fn tensor(&self, name: &str) -> Result<Vec<f32>, CompileError> {
        let Some(tensor) = self.list(name, data_type::FLOAT, "floats of 32 bits")? else {
            return Ok(Vec::new());
        };
        let Some(raw) = tensor.raw_data.as_deref() else {
            return Ok(tensor.float_data.clone());
        };
        let (words, rest) = raw.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(CompileError::Model(format!("{name} is cut off")));
        }
        Ok(words.iter().map(|w| f32::from_le_bytes(*w)).collect())
    }

    /// A list of bytes in a tensor; empty without it.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, CompileError> {
        let Some(tensor) = self.list(name, data_type::UINT8, "bytes")? else {
            return Ok(Vec::new());
        };
        let Some(raw) = tensor.raw_data.as_deref() else {
            let byte = |v: &i32| u8::try_from(*v).unwrap_or(u8::MAX);
            return Ok(tensor.int32_data.iter().map(byte).collect());
        };
        Ok(raw.to_vec())
    }

    /// A tensor that is here, and of a type.
    fn list(
        &self,
        name: &str,
        kind: i32,
        what: &str,
    ) -> Result<Option<&'a TensorProto>, CompileError> {
        let Some(tensor) = self.find(name).and_then(|a| a.t.as_ref()) else {
            return Ok(None);
        };
        let is_here = tensor.data_location.unwrap_or(0) == 0 && tensor.external_data.is_empty();
        if is_here && tensor.data_type == Some(kind) && tensor.dims.len() <= 1 {
            return Ok(Some(tensor));
        }
        Err(CompileError::Model(format!(
            "{name} must be one list of {what} in the file"
        )))
    }

    /// Names of classes, integers or strings.
    pub(super) fn labels(&self, ints: &str, strings: &str) -> Vec<String> {
        let named = self.strings(strings);
        if named.is_empty() {
            return self.ints(ints).iter().map(i64::to_string).collect();
        }
        named
    }

    pub(super) fn name(&self) -> (String, String) {
        let name = self.0.name.clone().unwrap_or_default();
        (name, self.0.op_type.clone().unwrap_or_default())
    }
}
