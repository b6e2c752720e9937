//! A short way to write programs by hand, and the planner's way to collect one.

use super::{
    BitWindow, ConstId, Constant, ConvGeometry, Op, OutputPort, ParamId, ParamInfo, Parts,
    PoolGeometry, Port, Program, ProgramError, Step, Tactic, ValueId, ValueInfo,
    shape::{Made, made},
};
use crate::post::ClientOp;

/// Collects the parts of a [`Program`]; [`finish`](Self::finish) checks them.
///
/// Shapes of results follow from the operator. A mistake on the way is kept as it is and reported by `finish`.
/// Bounds are the caller's: methods without one take the largest, 62 bits, so that every window is 63 bits wide and
/// the program is exact for every input that fits the ring.
///
/// ```
/// use ai_link_program::fixed::ProgramBuilder;
///
/// let mut b = ProgramBuilder::new("one neuron");
/// let x = b.input("x", &[2], 8);
/// let z = b.linear(x, [2, 1], vec![256, -512], Some(vec![1 << 16]), 8);
/// let y = b.relu(z, 8);
/// b.output("y", y);
/// let program = b.finish()?;
/// let x = program.encode_input(0, &[3.0, 0.5])?;
/// let y = program.run_clear(&[x], 1)?;
/// assert_eq!(program.decode_output(0, &y[0], 1)?[0].as_f32(), Some(&[3.0][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ProgramBuilder {
    parts: Parts,
    /// Name of the steps that follow; empty = named after their operator.
    label: String,
}

impl ProgramBuilder {
    /// An empty program.
    pub fn new(name: &str) -> Self {
        Self {
            parts: Parts {
                name: name.to_owned(),
                ..Parts::default()
            },
            ..Self::default()
        }
    }

    /// Names the steps that follow, for people.
    pub fn label(&mut self, name: &str) -> &mut Self {
        self.label = name.to_owned();
        self
    }

    /// Shape and scale of a value made so far.
    pub fn info(&self, value: ValueId) -> Option<&ValueInfo> {
        self.parts.values.get(value.index())
    }

    /// Lowers the bound of a value to `bound_bits`, for one who knows more about it than the steps say.
    pub(crate) fn tighten(&mut self, value: ValueId, bound_bits: u8) {
        if let Some(info) = self.parts.values.get_mut(value.index()) {
            info.bound_bits = info.bound_bits.min(bound_bits);
        }
    }

    /// A secret input with the largest bound.
    pub fn input(&mut self, name: &str, dims: &[usize], fraction: u8) -> ValueId {
        self.input_bounded(name, dims, fraction, super::limits::BOUND_BITS)
    }

    /// A secret input.
    pub fn input_bounded(
        &mut self,
        name: &str,
        dims: &[usize],
        fraction: u8,
        bound_bits: u8,
    ) -> ValueId {
        let value = self.value(ValueInfo {
            dims: dims.to_vec(),
            fraction,
            bound_bits,
        });
        self.parts.inputs.push(Port {
            name: name.to_owned(),
            value,
        });
        value
    }

    /// A revealed output without post-processing.
    pub fn output(&mut self, name: &str, value: ValueId) {
        self.output_post(name, value, Vec::new());
    }

    /// A revealed output.
    pub fn output_post(&mut self, name: &str, value: ValueId, post: Vec<ClientOp>) {
        self.parts.outputs.push(OutputPort {
            name: name.to_owned(),
            value,
            post,
        });
    }

    /// A constant.
    pub fn constant(&mut self, dims: &[usize], data: Vec<i64>) -> ConstId {
        self.parts.constants.push(Constant {
            dims: dims.to_vec(),
            data,
        });
        ConstId(self.parts.constants.len() as u32 - 1)
    }

    /// A private constant.
    pub fn parameter(
        &mut self,
        name: &str,
        dims: &[usize],
        fraction: u8,
        bound_bits: u8,
    ) -> ParamId {
        self.parts.parameters.push(ParamInfo {
            name: name.to_owned(),
            dims: dims.to_vec(),
            fraction,
            bound_bits,
        });
        ParamId(self.parts.parameters.len() as u32 - 1)
    }

    /// Sets how the last step is computed.
    pub fn tactic(&mut self, tactic: Tactic) -> &mut Self {
        if let Some(step) = self.parts.steps.last_mut() {
            step.tactic = tactic;
        }
        self
    }

    /// Any step. `dims` are needed only where the operator does not determine them (`Reshape`, `Rearrange`).
    pub fn step(
        &mut self,
        op: Op,
        inputs: &[ValueId],
        dims: Option<&[usize]>,
        fraction: u8,
        bound_bits: u8,
    ) -> ValueId {
        let shapes: Vec<&[usize]> = inputs
            .iter()
            .filter_map(|id| self.parts.values.get(id.index()))
            .map(|v| v.dims.as_slice())
            .collect();
        let dims = match (dims, made(&op, &shapes, &self.parts)) {
            (Some(dims), _) => dims.to_vec(),
            (None, Ok(Made::Dims(dims))) => dims,
            (None, Ok(Made::Elements(n))) => vec![n],
            // `finish` finds the same error and reports it with the step.
            (None, Err(_)) => vec![1],
        };
        let output = self.value(ValueInfo {
            dims,
            fraction,
            bound_bits,
        });
        let name = match self.label.is_empty() {
            true => format!("{} {}", op.kind(), self.parts.steps.len()),
            false => self.label.clone(),
        };
        self.parts.steps.push(Step {
            name,
            op,
            inputs: inputs.to_vec(),
            output,
            tactic: Tactic::Auto,
        });
        output
    }

    /// `x W + bias`, weights `[k, n]` with `weight_fraction` bits.
    pub fn linear(
        &mut self,
        x: ValueId,
        dims: [usize; 2],
        weights: Vec<i64>,
        bias: Option<Vec<i64>>,
        weight_fraction: u8,
    ) -> ValueId {
        let weights = self.constant(&dims, weights);
        let bias = bias.map(|b| self.constant(&[b.len()], b));
        self.wide(
            Op::Linear { weights, bias },
            &[x],
            None,
            i16::from(weight_fraction),
        )
    }

    /// Convolution, weights `[oc, ic / groups, kh, kw]` with `weight_fraction` bits.
    pub fn conv(
        &mut self,
        x: ValueId,
        dims: [usize; 4],
        weights: Vec<i64>,
        bias: Option<Vec<i64>>,
        geometry: ConvGeometry,
        weight_fraction: u8,
    ) -> ValueId {
        let weights = self.constant(&dims, weights);
        let bias = bias.map(|b| self.constant(&[b.len()], b));
        self.wide(
            Op::Conv {
                weights,
                bias,
                geometry,
            },
            &[x],
            None,
            i16::from(weight_fraction),
        )
    }

    /// Window sums.
    pub fn sum_pool(&mut self, x: ValueId, geometry: PoolGeometry) -> ValueId {
        self.wide(Op::SumPool(geometry), &[x], None, 0)
    }

    /// Sums over axes.
    pub fn sum_axes(&mut self, x: ValueId, axes: &[usize]) -> ValueId {
        self.wide(
            Op::SumAxes {
                axes: axes.to_vec(),
            },
            &[x],
            None,
            0,
        )
    }

    /// Sum of two values.
    pub fn add(&mut self, x: ValueId, y: ValueId) -> ValueId {
        self.wide(Op::Add, &[x, y], None, 0)
    }

    /// Difference of two values.
    pub fn sub(&mut self, x: ValueId, y: ValueId) -> ValueId {
        self.wide(Op::Sub, &[x, y], None, 0)
    }

    /// Adds a constant of the value's shape.
    pub fn add_const(&mut self, x: ValueId, data: Vec<i64>) -> ValueId {
        let dims = self.dims(x);
        let constant = self.constant(&dims, data);
        self.wide(Op::AddConst { constant }, &[x], None, 0)
    }

    /// Multiplies by a scalar with `fraction` bits.
    pub fn mul_scalar(&mut self, x: ValueId, factor: i64, fraction: u8) -> ValueId {
        let constant = self.constant(&[], vec![factor]);
        self.wide(Op::MulConst { constant }, &[x], None, i16::from(fraction))
    }

    /// Gathers elements.
    pub fn rearrange(&mut self, x: ValueId, dims: &[usize], map: Vec<u32>) -> ValueId {
        self.wide(Op::Rearrange { map }, &[x], Some(dims), 0)
    }

    /// Gives another shape.
    pub fn reshape(&mut self, x: ValueId, dims: &[usize]) -> ValueId {
        self.wide(Op::Reshape, &[x], Some(dims), 0)
    }

    /// Joins values along an axis.
    pub fn concat(&mut self, values: &[ValueId], axis: usize) -> ValueId {
        self.wide(Op::Concat { axis }, values, None, 0)
    }

    /// Shifts right.
    pub fn trunc(&mut self, x: ValueId, bits: u8) -> ValueId {
        self.wide(Op::Trunc { bits }, &[x], None, -i16::from(bits))
    }

    /// `max(x, 0) >> bits`, decided from bits `bits..` up.
    pub fn relu(&mut self, x: ValueId, bits: u8) -> ValueId {
        let window = BitWindow { lo: bits, hi: 63 };
        self.wide(Op::Relu { bits, window }, &[x], None, -i16::from(bits))
    }

    /// Elementwise maximum, exact.
    pub fn max(&mut self, x: ValueId, y: ValueId) -> ValueId {
        self.wide(
            Op::Max {
                window: BitWindow { lo: 0, hi: 63 },
            },
            &[x, y],
            None,
            0,
        )
    }

    /// `2 (x W + bias)` with private weights and bias.
    pub fn linear_shared(
        &mut self,
        x: ValueId,
        weights: ParamId,
        bias: Option<ParamId>,
    ) -> ValueId {
        let grow = self.weight_fraction(weights) + 1;
        self.wide(Op::LinearShared { weights, bias }, &[x], None, grow)
    }

    /// Doubled convolution with private weights and bias.
    pub fn conv_shared(
        &mut self,
        x: ValueId,
        weights: ParamId,
        bias: Option<ParamId>,
        geometry: ConvGeometry,
    ) -> ValueId {
        let grow = self.weight_fraction(weights) + 1;
        let op = Op::ConvShared {
            weights,
            bias,
            geometry,
        };
        self.wide(op, &[x], None, grow)
    }

    /// `2 x y`, elementwise.
    pub fn mul(&mut self, x: ValueId, y: ValueId) -> ValueId {
        let grow = self.info(y).map_or(0, |v| i16::from(v.fraction)) + 1;
        self.wide(Op::Mul, &[x, y], None, grow)
    }

    /// `2 x y`, matrix products.
    pub fn matmul(&mut self, x: ValueId, y: ValueId) -> ValueId {
        let grow = self.info(y).map_or(0, |v| i16::from(v.fraction)) + 1;
        self.wide(Op::MatMul, &[x, y], None, grow)
    }

    /// 1 where `x >= 0`, exact.
    pub fn positive(&mut self, x: ValueId) -> ValueId {
        let window = BitWindow { lo: 0, hi: 63 };
        self.step(Op::Positive { window }, &[x], None, 0, 1)
    }

    /// A polynomial per segment; `coefficients` are rows of `degree + 1`.
    pub fn table(
        &mut self,
        x: ValueId,
        segment_bits: u8,
        index_bits: u8,
        coefficients: Vec<i64>,
        fraction: u8,
    ) -> ValueId {
        let rows = 1usize << index_bits.min(super::limits::TABLE_INDEX_BITS);
        let coefficients = self.constant(&[rows, coefficients.len() / rows], coefficients);
        let op = Op::Table {
            segment_bits,
            index_bits,
            coefficients,
        };
        self.step(op, &[x], None, fraction, super::limits::BOUND_BITS)
    }

    /// Checks everything.
    pub fn finish(self) -> Result<Program, ProgramError> {
        Program::new(self.parts)
    }

    fn value(&mut self, info: ValueInfo) -> ValueId {
        self.parts.values.push(info);
        ValueId(self.parts.values.len() as u32 - 1)
    }

    fn weight_fraction(&self, weights: ParamId) -> i16 {
        let info = self.parts.parameters.get(weights.index());
        info.map_or(0, |p| p.fraction.into())
    }

    fn dims(&self, x: ValueId) -> Vec<usize> {
        self.info(x).map(|v| v.dims.clone()).unwrap_or_default()
    }

    fn wide(&mut self, op: Op, inputs: &[ValueId], dims: Option<&[usize]>, grow: i16) -> ValueId {
        let first = inputs
            .first()
            .and_then(|id| self.info(*id))
            .map_or(0, |v| v.fraction);
        // A negative fraction is a mistake of the caller: 255 makes `finish` say so.
        let fraction = u8::try_from(i16::from(first) + grow).unwrap_or(u8::MAX);
        self.step(op, inputs, dims, fraction, super::limits::BOUND_BITS)
    }
}
