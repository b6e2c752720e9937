//! The operators of a fixed-point program.

use serde::{Deserialize, Serialize};

use super::{ConstId, ParamId};

/// In a [`Op::Rearrange`] map: this output element is zero.
pub const PAD: u32 = u32::MAX;

/// What one step does. Shapes are per record; `b` below is the batch.
///
/// The first group, up to `Concat`, is linear and local: under a mask, `m_z = f(m_x)` and `lambda_z = f(lambda_x)`, with
/// bias and addend on `m` only. The second group is interactive and leaves a fresh mask.
///
/// Products of two masked operands come out *doubled*: with `X0 = x - d`, `X1 = x + d` at the two evaluators and
/// `W0 = w - e`, `W1 = w + e`, `W0 X0 + W1 X1 = 2 w x + 2 e d`, one product for each evaluator and nothing dealt for the
/// result. The program accounts for the two as one more fraction bit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// `x [b, rows.., k] -> x W + bias [b, rows.., n]`. The fraction grows by that of the weights.
    Linear {
        /// `[k, n]`.
        weights: ConstId,
        /// `[n]`, at the fraction of the output.
        bias: Option<ConstId>,
    },
    /// Cross-correlation as in ONNX: `x [b, ic, h, w] -> [b, oc, oh, ow]`, zero padding.
    Conv {
        /// `[oc, ic / groups, kh, kw]`.
        weights: ConstId,
        /// `[oc]`, at the fraction of the output.
        bias: Option<ConstId>,
        /// Strides, pads, dilations, groups.
        geometry: ConvGeometry,
    },
    /// Zero-padded window sums: `x [b, c, h, w] -> [b, c, oh, ow]`.
    SumPool(PoolGeometry),
    /// Sums over `axes` (without batch, strictly ascending), each kept as size 1.
    SumAxes {
        /// Axes, without batch.
        axes: Vec<usize>,
    },
    /// Sum of two values of the same shape and fraction.
    Add,
    /// Difference of two values of the same shape and fraction.
    Sub,
    /// Adds a constant of the value's shape, at the value's fraction, to every record.
    AddConst {
        /// The addend.
        constant: ConstId,
    },
    /// Multiplies elementwise by a constant of the value's shape, or by a scalar (shape `[]`).
    MulConst {
        /// The factor.
        constant: ConstId,
    },
    /// Per record: output element `i` is input element `map[i]`, or zero where `map[i]` is [`PAD`].
    /// Serves transpose, slice, pad, expand and the views of a pool.
    Rearrange {
        /// Source element of each output element.
        map: Vec<u32>,
    },
    /// Same elements, other shape.
    Reshape,
    /// Joins one or more values along `axis` (without batch).
    Concat {
        /// Axis, without batch.
        axis: usize,
    },
    /// Arithmetic shift right (floor). The fraction shrinks by `bits`. Masked evaluation: at most one unit off.
    Trunc {
        /// At least 1.
        bits: u8,
    },
    /// `max(z, 0) >> bits`; `bits` may be 0. The fraction shrinks by `bits`.
    Relu {
        /// Shift after the comparison.
        bits: u8,
        /// Which bits of `z` decide its sign; `window.lo <= bits`, so that a doubtful sign moves the result by
        /// at most one unit.
        window: BitWindow,
    },
    /// Elementwise maximum of two values of the same shape and fraction.
    Max {
        /// Which bits of `x - y` decide.
        window: BitWindow,
    },
    /// `2 (x W + bias)` with private weights: [`Linear`](Self::Linear), doubled. The fraction grows by that of the
    /// weights and one.
    LinearShared {
        /// `[k, n]`.
        weights: ParamId,
        /// `[n]`, at the fractions of operand and weights together: it is doubled with the product.
        bias: Option<ParamId>,
    },
    /// `2 (x ⋆ W + bias)` with private weights: [`Conv`](Self::Conv), doubled.
    ConvShared {
        /// `[oc, ic / groups, kh, kw]`.
        weights: ParamId,
        /// `[oc]`, at the fractions of operand and weights together.
        bias: Option<ParamId>,
        /// Strides, pads, dilations, groups.
        geometry: ConvGeometry,
    },
    /// `2 x y` elementwise for two values of the same shape. The fractions add up, and one more.
    Mul,
    /// `2 x y`, matrix products of two values: `x [b, g.., m, k]`, `y [b, g.., k, n] -> [b, g.., m, n]`. The fractions
    /// add up, and one more.
    MatMul,
    /// 1 where `z >= 0`, else 0, with fraction 0.
    Positive {
        /// Which bits of `z` decide its sign.
        window: BitWindow,
    },
    /// A polynomial per segment: `y = sum_d C[u][d] low^d` with `u = floor(z / 2^s)` and `low = z - u 2^s`.
    ///
    /// Masked evaluation may take `u + 1` for `u`, with `low` less by `2^s`: both are the same point, seen from the
    /// start of its own segment or of the next. So each row must be good on `(-2^s, 2^s)` around its start. The plan
    /// guarantees `|z| < 2^(s + n - 1) - 2^s`. The fraction of the result is what the coefficients make it.
    Table {
        /// `s`: a segment is `2^s` units of `z` long.
        segment_bits: u8,
        /// `n`, 1 to 8: `2^n` segments.
        index_bits: u8,
        /// `[2^n, D + 1]` with `D <= 3`. Row `v` is segment `v` for `v < 2^(n - 1)`, else segment `v - 2^n`.
        coefficients: ConstId,
    },
}

impl Op {
    /// Whether the step needs messages between the evaluators or dealt material.
    pub fn is_interactive(&self) -> bool {
        // Exhaustive: whoever adds an operator decides.
        match self {
            Op::Linear { .. }
            | Op::Conv { .. }
            | Op::SumPool(_)
            | Op::SumAxes { .. }
            | Op::Add
            | Op::Sub
            | Op::AddConst { .. }
            | Op::MulConst { .. }
            | Op::Rearrange { .. }
            | Op::Reshape
            | Op::Concat { .. } => false,
            Op::Trunc { .. }
            | Op::Relu { .. }
            | Op::Max { .. }
            | Op::LinearShared { .. }
            | Op::ConvShared { .. }
            | Op::Mul
            | Op::MatMul
            | Op::Positive { .. }
            | Op::Table { .. } => true,
        }
    }

    /// The bits that decide a sign, for the operators that need one.
    pub fn window(&self) -> Option<BitWindow> {
        match self {
            Op::Relu { window, .. } | Op::Max { window } | Op::Positive { window } => Some(*window),
            _ => None,
        }
    }

    /// The private constants that the step multiplies and adds.
    pub fn parameters(&self) -> impl Iterator<Item = ParamId> {
        let ids = match self {
            Op::LinearShared { weights, bias } | Op::ConvShared { weights, bias, .. } => {
                [Some(*weights), *bias]
            }
            _ => [None; 2],
        };
        ids.into_iter().flatten()
    }

    /// The operator's name, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Linear { .. } => "Linear",
            Op::Conv { .. } => "Conv",
            Op::SumPool(_) => "SumPool",
            Op::SumAxes { .. } => "SumAxes",
            Op::Add => "Add",
            Op::Sub => "Sub",
            Op::AddConst { .. } => "AddConst",
            Op::MulConst { .. } => "MulConst",
            Op::Rearrange { .. } => "Rearrange",
            Op::Reshape => "Reshape",
            Op::Concat { .. } => "Concat",
            Op::Trunc { .. } => "Trunc",
            Op::Relu { .. } => "Relu",
            Op::Max { .. } => "Max",
            Op::LinearShared { .. } => "LinearShared",
            Op::ConvShared { .. } => "ConvShared",
            Op::Mul => "Mul",
            Op::MatMul => "MatMul",
            Op::Positive { .. } => "Positive",
            Op::Table { .. } => "Table",
        }
    }
}

/// How a convolution kernel moves. Arrays are `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvGeometry {
    /// Step between windows.
    pub strides: [usize; 2],
    /// Zeros added at `[top, left, bottom, right]`.
    pub pads: [usize; 4],
    /// Distance between kernel taps.
    pub dilations: [usize; 2],
    /// Channel groups; 1 = dense.
    pub groups: usize,
}

impl ConvGeometry {
    /// Stride 1, no padding, no dilation, dense.
    pub const UNIT: Self = Self {
        strides: [1, 1],
        pads: [0; 4],
        dilations: [1, 1],
        groups: 1,
    };
}

/// How a pooling window moves. Arrays are `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PoolGeometry {
    /// Window size.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub strides: [usize; 2],
    /// Zeros added at `[top, left, bottom, right]`.
    pub pads: [usize; 4],
    /// Distance between taps.
    pub dilations: [usize; 2],
}

/// The sign of `z` is computed from bits `lo..hi`.
///
/// The plan guarantees |z| < 2^hi. A value with |z| < 2^lo may be judged either way. `lo = 0` is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BitWindow {
    /// First bit looked at.
    pub lo: u8,
    /// Bits of magnitude: `lo < hi <= 63`.
    pub hi: u8,
}

impl BitWindow {
    /// Bits looked at.
    pub fn width(self) -> u8 {
        self.hi - self.lo
    }
}

/// How an interactive step is computed: same result, other cost. Part of the program, so that all parties agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tactic {
    /// The engine's own choice.
    #[default]
    Auto,
    /// Signs by one-time truth tables of `leaf_bits` and a tree that merges `fan_in` nodes at once: few bytes, some
    /// rounds.
    Tree {
        /// 1 to 4.
        leaf_bits: u8,
        /// 2 to 4.
        fan_in: u8,
    },
    /// Signs by function secret sharing: one round, about a kilobyte dealt for each element. For two evaluators only.
    Fss,
}
