//! Shapes that an operator makes out of its operands.

use super::{
    ConstId, Constant, ConvGeometry, Op, ParamId, ParamInfo, Parts, PoolGeometry, StepError, limits,
};

/// What an operator determines about its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// The shape.
    Dims(Vec<usize>),
    /// Only the number of elements (`Reshape`, `Rearrange`).
    Elements(usize),
}

pub(crate) fn made(op: &Op, inputs: &[&[usize]], parts: &Parts) -> Result<Made, StepError> {
    let (constants, parameters) = (&parts.constants, &parts.parameters);
    let operands = |want: usize| match inputs.len() == want {
        true => Ok(()),
        false => Err(StepError::Operands {
            want,
            have: inputs.len(),
        }),
    };
    match op {
        Op::Add | Op::Sub | Op::Mul | Op::MatMul | Op::Max { .. } => operands(2)?,
        Op::Concat { .. } if inputs.is_empty() => operands(1)?,
        Op::Concat { .. } => {}
        _ => operands(1)?,
    }
    let x = inputs.first().copied().unwrap_or_default();
    match op {
        Op::Linear { weights, bias } => {
            let w = &constant(constants, *weights)?.dims;
            let bias = bias.map(|b| constant(constants, b)).transpose()?;
            linear(w, bias.map(|b| b.dims.as_slice()), x)
        }
        Op::LinearShared { weights, bias } => {
            let w = &parameter(parameters, *weights)?.dims;
            let bias = bias.map(|b| parameter(parameters, b)).transpose()?;
            linear(w, bias.map(|b| b.dims.as_slice()), x)
        }
        Op::Conv {
            weights,
            bias,
            geometry,
        } => {
            let w = &constant(constants, *weights)?.dims;
            let bias = bias.map(|b| constant(constants, b)).transpose()?;
            conv(w, bias.map(|b| b.dims.as_slice()), geometry, x)
        }
        Op::ConvShared {
            weights,
            bias,
            geometry,
        } => {
            let w = &parameter(parameters, *weights)?.dims;
            let bias = bias.map(|b| parameter(parameters, b)).transpose()?;
            conv(w, bias.map(|b| b.dims.as_slice()), geometry, x)
        }
        Op::SumPool(geometry) => {
            let &[c, height, width] = x else {
                return Err(StepError::OperandShape {
                    have: x.to_vec(),
                    why: "a pool takes channels, height and width",
                });
            };
            let [oh, ow] = window_output([height, width], geometry)
                .ok_or(StepError::Geometry { height, width })?;
            Ok(Made::Dims(vec![c, oh, ow]))
        }
        Op::SumAxes { axes } => {
            let ascending = axes.windows(2).all(|w| w[0] < w[1]);
            if axes.is_empty() || !ascending || axes.iter().any(|a| *a >= x.len()) {
                return Err(StepError::Axes {
                    axes: axes.clone(),
                    rank: x.len(),
                });
            }
            let sized = |(i, d): (usize, &usize)| if axes.contains(&i) { 1 } else { *d };
            Ok(Made::Dims(x.iter().enumerate().map(sized).collect()))
        }
        Op::Add | Op::Sub | Op::Mul | Op::Max { .. } => match inputs {
            [a, b] if a == b => Ok(Made::Dims(a.to_vec())),
            _ => Err(StepError::OperandShape {
                have: inputs.last().copied().unwrap_or_default().to_vec(),
                why: "both operands must have the same shape",
            }),
        },
        Op::MatMul => match inputs {
            [x, y] => matmul(x, y),
            _ => operands(2).map(|()| Made::Elements(0)),
        },
        Op::AddConst { constant: id } => {
            let c = constant(constants, *id)?;
            match c.dims == x {
                true => Ok(Made::Dims(x.to_vec())),
                false => Err(unfit("addends", &c.dims, x)),
            }
        }
        Op::MulConst { constant: id } => {
            let c = constant(constants, *id)?;
            match c.dims.is_empty() || c.dims == x {
                true => Ok(Made::Dims(x.to_vec())),
                false => Err(unfit("factors", &c.dims, x)),
            }
        }
        Op::Rearrange { map } => Ok(Made::Elements(map.len())),
        Op::Reshape => Ok(Made::Elements(x.iter().product())),
        Op::Concat { axis } => concat(*axis, inputs),
        Op::Table {
            index_bits,
            coefficients,
            ..
        } => {
            let c = &constant(constants, *coefficients)?.dims;
            match *c.as_slice() {
                [rows, 1..=limits::TABLE_COEFFICIENTS]
                    if rows.is_power_of_two()
                        && rows.trailing_zeros() == u32::from(*index_bits) =>
                {
                    Ok(Made::Dims(x.to_vec()))
                }
                _ => Err(unfit("coefficients", c, x)),
            }
        }
        Op::Trunc { .. } | Op::Relu { .. } | Op::Positive { .. } => Ok(Made::Dims(x.to_vec())),
    }
}

fn linear(w: &[usize], bias: Option<&[usize]>, x: &[usize]) -> Result<Made, StepError> {
    let (&[k, n], Some(&last)) = (w, x.last()) else {
        return Err(unfit("weights", w, x));
    };
    if k != last {
        return Err(unfit("weights", w, x));
    }
    check_bias(bias, n, x)?;
    let mut dims = x.to_vec();
    if let Some(last) = dims.last_mut() {
        *last = n;
    }
    Ok(Made::Dims(dims))
}

fn matmul(x: &[usize], y: &[usize]) -> Result<Made, StepError> {
    let ([groups @ .., m, k], [others @ .., inner, n]) = (x, y) else {
        return Err(StepError::OperandShape {
            have: x.to_vec(),
            why: "a matrix product takes matrices",
        });
    };
    if groups != others || k != inner {
        return Err(StepError::OperandShape {
            have: y.to_vec(),
            why: "matrices of a product agree in the contracted axis and in all axes before the last two",
        });
    }
    Ok(Made::Dims([groups, &[*m, *n]].concat()))
}

fn conv(
    w: &[usize],
    bias: Option<&[usize]>,
    geometry: &ConvGeometry,
    x: &[usize],
) -> Result<Made, StepError> {
    let (&[oc, ic_group, kh, kw], &[ic, height, width]) = (w, x) else {
        return Err(unfit("weights", w, x));
    };
    let ConvGeometry {
        strides,
        pads,
        dilations,
        groups,
    } = *geometry;
    if groups == 0 || ic_group.checked_mul(groups) != Some(ic) || oc % groups != 0 {
        return Err(unfit("weights", w, x));
    }
    check_bias(bias, oc, x)?;
    let pool = PoolGeometry {
        kernel: [kh, kw],
        strides,
        pads,
        dilations,
    };
    let [oh, ow] =
        window_output([height, width], &pool).ok_or(StepError::Geometry { height, width })?;
    Ok(Made::Dims(vec![oc, oh, ow]))
}

/// Output height and width of windows over `input`; `None` when the geometry is not sound or no window fits.
pub(crate) fn window_output(input: [usize; 2], g: &PoolGeometry) -> Option<[usize; 2]> {
    let mut out = [0; 2];
    for i in 0..2 {
        let [k, s, d] = [g.kernel[i], g.strides[i], g.dilations[i]];
        let [before, after] = [g.pads[i], g.pads[i + 2]];
        let sound = [k, s, d, before, after]
            .iter()
            .all(|v| *v <= limits::GEOMETRY);
        if !sound || k == 0 || s == 0 || d == 0 || input[i] > limits::VALUE_ELEMENTS {
            return None;
        }
        // All terms are at most 2^32: no overflow in 64 bits.
        let reach = (d * (k - 1)) + 1;
        out[i] = (input[i] + before + after).checked_sub(reach)? / s + 1;
    }
    Some(out)
}

fn concat(axis: usize, inputs: &[&[usize]]) -> Result<Made, StepError> {
    let x = inputs.first().copied().unwrap_or_default();
    if axis >= x.len() {
        return Err(StepError::Axes {
            axes: vec![axis],
            rank: x.len(),
        });
    }
    let mut dims = x.to_vec();
    dims[axis] = 0;
    for other in inputs {
        let fits = other.len() == x.len() && (0..x.len()).all(|i| i == axis || other[i] == x[i]);
        if !fits {
            return Err(StepError::OperandShape {
                have: other.to_vec(),
                why: "operands of a concatenation agree in all axes but one",
            });
        }
        dims[axis] = dims[axis].saturating_add(other[axis]);
    }
    Ok(Made::Dims(dims))
}

fn constant(constants: &[Constant], id: ConstId) -> Result<&Constant, StepError> {
    constants
        .get(id.index())
        .ok_or(StepError::UnknownConstant { constant: id.0 })
}

fn parameter(parameters: &[ParamInfo], id: ParamId) -> Result<&ParamInfo, StepError> {
    parameters
        .get(id.index())
        .ok_or(StepError::UnknownParameter { parameter: id.0 })
}

fn check_bias(bias: Option<&[usize]>, n: usize, x: &[usize]) -> Result<(), StepError> {
    match bias {
        Some(dims) if dims != [n] => Err(unfit("biases", dims, x)),
        _ => Ok(()),
    }
}

fn unfit(what: &'static str, have: &[usize], x: &[usize]) -> StepError {
    StepError::ConstantShape {
        what,
        have: have.to_vec(),
        input: x.to_vec(),
    }
}
