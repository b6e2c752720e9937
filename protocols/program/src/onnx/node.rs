//! A node of the file: its attributes and operands, checked as they are read.

use super::error::Why;
use super::proto::{AttributeProto, NodeProto};
use super::value::{Const, Secret, Value};

/// A node with its operands looked up.
pub(super) struct OnnxNode<'a> {
    pub(super) proto: &'a NodeProto,
    pub(super) name: String,
    /// `None` where an optional operand is left out.
    pub(super) operands: Vec<Option<Value>>,
}

impl OnnxNode<'_> {
    pub(super) fn op(&self) -> &str {
        self.proto.op_type.as_deref().unwrap_or("")
    }

    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.proto
            .attribute
            .iter()
            .find(|a| a.name.as_deref() == Some(name))
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|a| a.i).unwrap_or(default)
    }

    pub(super) fn maybe_int(&self, name: &str) -> Option<i64> {
        self.attribute(name)?.i
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).and_then(|a| a.f).unwrap_or(default)
    }

    pub(super) fn maybe_float(&self, name: &str) -> Option<f32> {
        self.attribute(name)?.f
    }

    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    pub(super) fn floats(&self, name: &str) -> Option<&[f32]> {
        self.attribute(name).map(|a| a.floats.as_slice())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.attribute(name)?.s.as_deref()?).ok()
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&super::proto::TensorProto> {
        self.attribute(name)?.t.as_ref()
    }

    /// Operand `i`, if it is given.
    pub(super) fn maybe(&self, i: usize) -> Option<&Value> {
        self.operands.get(i)?.as_ref()
    }

    /// Operand `i`.
    pub(super) fn operand(&self, i: usize) -> Result<&Value, Why> {
        self.maybe(i).ok_or(Why::MissingOperand(i))
    }

    /// Operand `i`, which must be a constant if it is given.
    pub(super) fn maybe_const(&self, i: usize, what: &'static str) -> Result<Option<&Const>, Why> {
        match self.maybe(i) {
            None => Ok(None),
            Some(Value::Const(c)) => Ok(Some(c)),
            Some(_) => Err(Why::NotConstant(what)),
        }
    }

    /// Operand `i`, which must be a constant.
    pub(super) fn constant(&self, i: usize, what: &'static str) -> Result<&Const, Why> {
        self.maybe_const(i, what)?.ok_or(Why::MissingOperand(i))
    }

    /// Operand `i`, which must depend on the input.
    pub(super) fn secret(&self, i: usize) -> Result<&Secret, Why> {
        match self.operand(i)? {
            Value::Secret(s) => Ok(s),
            _ => Err(Why::DataType("the first operand is a constant")),
        }
    }

    /// Integers from operand `i` or, in older operator sets, from an attribute.
    pub(super) fn ints_at(&self, i: usize, name: &'static str) -> Result<Option<Vec<i64>>, Why> {
        match self.maybe_const(i, name)? {
            Some(c) => match c.known_ints() {
                Some(v) => Ok(Some(v)),
                None if c.ints().is_some() => Err(Why::DependsOnBatch),
                None => Err(Why::DataType("integers are needed")),
            },
            None => Ok(self.ints(name).map(<[i64]>::to_vec)),
        }
    }
}

/// Axis of a tensor of `rank` as an index without batch: `offset` axes in front are the batch.
pub(super) fn axis(axis: i64, rank: usize, offset: usize) -> Result<usize, Why> {
    let full = i64::try_from(rank + offset).unwrap_or(i64::MAX);
    let positive = if axis < 0 {
        axis.saturating_add(full)
    } else {
        axis
    };
    let bad = Why::Attribute {
        name: "axis",
        problem: "is out of range",
    };
    if positive < 0 || positive >= full {
        return Err(bad);
    }
    let index = usize::try_from(positive).map_err(|_| bad)?;
    index
        .checked_sub(offset)
        .ok_or(Why::MixesBatch("it works along the first axis"))
}
