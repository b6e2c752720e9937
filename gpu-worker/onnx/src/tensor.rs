//! What goes into a session and what comes out.

use std::fmt;

/// A named, dense, row-major tensor of `f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// The name of the model's input or output.
    pub name: String,
    /// Size of every axis, the batch axis included.
    pub dims: Vec<usize>,
    /// The elements; as many as the product of `dims`.
    pub data: Vec<f32>,
}

/// One input or output that a model declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the model.
    pub name: String,
    /// Its axes, outermost first.
    pub dims: Vec<Dim>,
}

impl Port {
    /// Whether a tensor of these sizes fits the declaration.
    pub fn accepts(&self, dims: &[usize]) -> bool {
        self.dims.len() == dims.len()
            && self
                .dims
                .iter()
                .zip(dims)
                .all(|(declared, &given)| match *declared {
                    Dim::Fixed(size) => size == given,
                    Dim::Dynamic => true,
                })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [", self.name)?;
        for (i, dim) in self.dims.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            match dim {
                Dim::Fixed(size) => write!(f, "{comma}{size}")?,
                Dim::Dynamic => write!(f, "{comma}?")?,
            }
        }
        f.write_str("]")
    }
}

/// The size of one declared axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Chosen by whoever runs the model, usually the batch.
    Dynamic,
    /// The only size that the model takes.
    Fixed(usize),
}
