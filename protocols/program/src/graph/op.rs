//! Operators of the float graph.

use super::Function;

/// A constant of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatConst {
    /// Shape, without batch.
    pub dims: Vec<usize>,
    /// Elements, row-major.
    pub data: Vec<f32>,
}

/// What one node does. Shapes are without batch.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeOp {
    /// `x [rows.., k] -> x W + bias [rows.., n]`.
    Linear {
        /// `[k, n]`.
        weights: FloatConst,
        /// `n` elements.
        bias: Option<Vec<f32>>,
    },
    /// Cross-correlation with zero padding: `x [ic, h, w] -> [oc, oh, ow]`.
    Conv {
        /// `[oc, ic / groups, kh, kw]`.
        weights: FloatConst,
        /// `oc` elements.
        bias: Option<Vec<f32>>,
        /// Channel groups.
        groups: usize,
        /// How the kernel moves.
        window: Window,
    },
    /// `max(x, 0)`.
    Relu,
    /// `x` where positive, `alpha x` elsewhere.
    LeakyRelu {
        /// Slope of the negative side.
        alpha: f32,
    },
    /// `min(max(x, lo), hi)`.
    Clip {
        /// Lower bound.
        lo: Option<f32>,
        /// Upper bound; not below `lo`.
        hi: Option<f32>,
    },
    /// Largest element of each window; padding never wins.
    MaxPool(Window),
    /// Mean of each window: over its valid elements, or over all positions within the padded input.
    AveragePool {
        /// How the window moves.
        window: Window,
        /// Number that each output element is divided by, `[oh, ow]`.
        counts: Vec<u32>,
    },
    /// Mean over axes (strictly ascending), each kept as size 1.
    Mean {
        /// Axes, without batch.
        axes: Vec<usize>,
    },
    /// Sum over axes (strictly ascending), each kept as size 1.
    Sum {
        /// Axes, without batch.
        axes: Vec<usize>,
    },
    /// Sum of two values of equal shape.
    Add,
    /// Difference of two values of equal shape.
    Sub,
    /// Elementwise maximum of two values of equal shape.
    Max,
    /// Elementwise product of two values of equal shape.
    Mul,
    /// Matrix products of two values: `[g.., m, k]` times `[g.., k, n]`.
    MatMul,
    /// `exp(x - max) / sum` along the last axis.
    Softmax,
    /// `scale x + shift`: part of how an operator is composed, or one of its attributes. Unlike the constants of
    /// `MulConst` and `AddConst`, these are no weights and stay public.
    Affine {
        /// Factor.
        scale: f32,
        /// Addend.
        shift: f32,
    },
    /// Multiplies by a constant of the value's shape that is part of the architecture, such as the cosines of rotary
    /// positions: no weight, and always public.
    Scale(FloatConst),
    /// 1 where `x >= 0`, else 0.
    Positive,
    /// A smooth function, elementwise.
    Function(Function),
    /// Largest element over axes (strictly ascending), each kept as size 1.
    ReduceMax {
        /// Axes, without batch.
        axes: Vec<usize>,
    },
    /// Positions of the `k` largest elements along the last axis, largest first; of equal ones the first.
    TopK {
        /// At most the size of the axis.
        k: usize,
    },
    /// Adds a constant of the value's shape.
    AddConst(FloatConst),
    /// Multiplies by a constant of the value's shape.
    MulConst(FloatConst),
    /// Output element `i` is input element `map[i]`, or zero where that is [`PAD`](crate::fixed::PAD).
    Rearrange(Vec<u32>),
    /// Same elements, other shape.
    Reshape,
    /// Joins values along an axis.
    Concat {
        /// Axis, without batch.
        axis: usize,
    },
}

impl NodeOp {
    /// Elementwise, and never decreasing: commutes with a maximum.
    pub(crate) fn is_monotone(&self) -> bool {
        match self {
            NodeOp::Relu | NodeOp::Clip { .. } => true,
            NodeOp::LeakyRelu { alpha } => *alpha >= 0.0,
            NodeOp::Affine { scale, .. } => *scale >= 0.0,
            NodeOp::Function(f) => f.is_monotone(),
            _ => false,
        }
    }
}

/// How a kernel or pooling window moves over `[channels, height, width]`. Arrays are `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Window size.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub strides: [usize; 2],
    /// Padding `[top, left, bottom, right]`. Windows of a pool with `ceil_mode` may reach beyond it.
    pub pads: [usize; 4],
    /// Distance between taps.
    pub dilations: [usize; 2],
    /// Output height and width.
    pub output: [usize; 2],
}

impl Window {
    /// Input coordinate of tap `tap` of window `at` along `axis`, if it is not padding.
    pub fn source(&self, axis: usize, at: usize, tap: usize, size: usize) -> Option<usize> {
        let padded = at * self.strides[axis] + tap * self.dilations[axis];
        padded.checked_sub(self.pads[axis]).filter(|i| *i < size)
    }

    /// First input element of a window of one plane. The importer made sure that every window has one.
    pub(crate) fn first(&self, input: [usize; 2], oy: usize, ox: usize) -> usize {
        let first = |axis: usize, at: usize| {
            (0..self.kernel[axis]).find_map(|tap| self.source(axis, at, tap, input[axis]))
        };
        first(0, oy).unwrap_or(0) * input[1] + first(1, ox).unwrap_or(0)
    }

    /// Input elements of each window of one plane of `input` size, in order of output elements.
    pub fn elements(&self, input: [usize; 2], oy: usize, ox: usize) -> Vec<usize> {
        let mut found = Vec::new();
        for ky in 0..self.kernel[0] {
            for kx in 0..self.kernel[1] {
                let y = self.source(0, oy, ky, input[0]);
                let x = self.source(1, ox, kx, input[1]);
                if let (Some(y), Some(x)) = (y, x) {
                    found.push(y * input[1] + x);
                }
            }
        }
        found
    }
}
