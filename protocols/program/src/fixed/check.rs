//! The complete check behind [`Program::new`](super::Program::new).

use super::{
    Op, ParamInfo, Parts, ProgramError, Step, StepError, Tactic, ValueId, ValueInfo, limits,
    op::PAD,
    shape::{Made, made},
};
use crate::post::post_is_valid;
use crate::tensor::elements;

pub(super) fn check(parts: &Parts) -> Result<(), ProgramError> {
    check_sizes(parts)?;
    for (i, info) in parts.values.iter().enumerate() {
        check_value(ValueId(i as u32), info)?;
    }
    for (i, c) in parts.constants.iter().enumerate() {
        if c.dims.len() > limits::RANK || elements(&c.dims) != Some(c.data.len()) {
            return Err(ProgramError::ConstantShape {
                constant: i,
                dims: c.dims.clone(),
                have: c.data.len(),
            });
        }
    }
    for (i, p) in parts.parameters.iter().enumerate() {
        check_parameter(i, p)?;
    }
    let mut defined = vec![false; parts.values.len()];
    for port in &parts.inputs {
        define(&mut defined, port.value)?;
    }
    for (index, step) in parts.steps.iter().enumerate() {
        check_step(parts, &defined, step).map_err(|source| ProgramError::Step {
            index,
            name: step.name.clone(),
            source,
        })?;
        define(&mut defined, step.output)?;
    }
    if let Some(i) = defined.iter().position(|d| !d) {
        return Err(ProgramError::Undefined {
            value: ValueId(i as u32),
        });
    }
    for output in &parts.outputs {
        let Some(info) = parts.values.get(output.value.index()) else {
            return Err(ProgramError::OutputUndefined {
                name: output.name.clone(),
                value: output.value,
            });
        };
        if !post_is_valid(&output.post, &info.dims) {
            return Err(ProgramError::Post {
                name: output.name.clone(),
                dims: info.dims.clone(),
            });
        }
    }
    Ok(())
}

fn check_sizes(parts: &Parts) -> Result<(), ProgramError> {
    let within = |what, have, limit| match have <= limit {
        true => Ok(()),
        false => Err(ProgramError::TooLarge { what, have, limit }),
    };
    within("number of steps", parts.steps.len(), limits::ITEMS)?;
    within("number of values", parts.values.len(), limits::ITEMS)?;
    within("number of constants", parts.constants.len(), limits::ITEMS)?;
    let parameters = parts.parameters.len();
    within("number of parameters", parameters, limits::ITEMS)?;
    within("number of inputs", parts.inputs.len(), limits::PORTS)?;
    within("number of outputs", parts.outputs.len(), limits::PORTS)?;
    if parts.inputs.is_empty() {
        return Err(ProgramError::Missing { what: "input" });
    }
    if parts.outputs.is_empty() {
        return Err(ProgramError::Missing { what: "output" });
    }
    let names = std::iter::once(&parts.name)
        .chain(parts.inputs.iter().map(|p| &p.name))
        .chain(parts.outputs.iter().map(|p| &p.name))
        .chain(parts.steps.iter().map(|s| &s.name))
        .chain(parts.parameters.iter().map(|p| &p.name));
    for name in names {
        within("length of a name", name.len(), limits::NAME_BYTES)?;
    }
    for output in &parts.outputs {
        within("length of post-processing", output.post.len(), limits::RANK)?;
    }
    for step in &parts.steps {
        within("number of operands", step.inputs.len(), limits::ITEMS)?;
    }
    let maps = parts.steps.iter().map(|s| match &s.op {
        Op::Rearrange { map } => map.len(),
        _ => 0,
    });
    let total: usize = parts
        .constants
        .iter()
        .map(|c| c.data.len())
        .chain(maps)
        .sum();
    within(
        "number of constant elements",
        total,
        limits::CONSTANT_ELEMENTS,
    )?;
    let private = parts.parameters.iter().fold(0usize, |sum, p| {
        sum.saturating_add(elements(&p.dims).unwrap_or(usize::MAX))
    });
    within(
        "number of parameter elements",
        private,
        limits::CONSTANT_ELEMENTS,
    )
}

fn check_parameter(index: usize, info: &ParamInfo) -> Result<(), ProgramError> {
    let sized = elements(&info.dims).is_some_and(|n| n > 0) && info.dims.len() <= limits::RANK;
    let scaled = info.fraction <= limits::BOUND_BITS && info.bound_bits <= limits::BOUND_BITS;
    match sized && scaled {
        true => Ok(()),
        false => Err(ProgramError::Parameter {
            parameter: index,
            name: info.name.clone(),
            dims: info.dims.clone(),
            fraction: info.fraction,
            bound_bits: info.bound_bits,
        }),
    }
}

fn check_value(value: ValueId, info: &ValueInfo) -> Result<(), ProgramError> {
    let sized = elements(&info.dims).is_some_and(|n| (1..=limits::VALUE_ELEMENTS).contains(&n));
    if info.dims.len() > limits::RANK || !sized {
        return Err(ProgramError::ValueShape {
            value,
            dims: info.dims.clone(),
        });
    }
    let ValueInfo {
        fraction,
        bound_bits,
        ..
    } = *info;
    if fraction > limits::BOUND_BITS || bound_bits > limits::BOUND_BITS {
        return Err(ProgramError::ValueScale {
            value,
            fraction,
            bound_bits,
        });
    }
    Ok(())
}

fn define(defined: &mut [bool], value: ValueId) -> Result<(), ProgramError> {
    match defined.get_mut(value.index()) {
        Some(slot) if !*slot => {
            *slot = true;
            Ok(())
        }
        _ => Err(ProgramError::Definition { value }),
    }
}

fn check_step(parts: &Parts, defined: &[bool], step: &Step) -> Result<(), StepError> {
    let mut inputs = Vec::with_capacity(step.inputs.len());
    for id in &step.inputs {
        match (defined.get(id.index()), parts.values.get(id.index())) {
            (Some(true), Some(info)) => inputs.push(info),
            _ => return Err(StepError::UsedBeforeDefined { value: *id }),
        }
    }
    let Some(output) = parts.values.get(step.output.index()) else {
        return Err(StepError::UsedBeforeDefined { value: step.output });
    };
    let dims: Vec<&[usize]> = inputs.iter().map(|v| v.dims.as_slice()).collect();
    match made(&step.op, &dims, parts)? {
        Made::Dims(want) if want != output.dims => {
            return Err(StepError::ResultShape {
                want,
                have: output.dims.clone(),
            });
        }
        Made::Elements(want) if want != output.elements() => {
            return Err(StepError::ResultElements {
                want,
                have: output.dims.clone(),
            });
        }
        _ => {}
    }
    if let (Op::Rearrange { map }, Some(x)) = (&step.op, inputs.first()) {
        let n = x.elements();
        if let Some(entry) = map.iter().find(|e| **e != PAD && **e as usize >= n) {
            return Err(StepError::Map {
                entry: *entry,
                elements: n,
            });
        }
    }
    check_fraction(parts, &step.op, &inputs, output)?;
    check_window(&step.op, &inputs)?;
    check_table(&step.op, &inputs)?;
    check_tactic(&step.op, step.tactic)
}

fn check_fraction(
    parts: &Parts,
    op: &Op,
    inputs: &[&ValueInfo],
    output: &ValueInfo,
) -> Result<(), StepError> {
    // Ids are in range: the shapes have been worked out.
    let of = |id: super::ParamId| {
        parts
            .parameters
            .get(id.index())
            .map(|p| u16::from(p.fraction))
    };
    let first = inputs.first().map_or(0, |v| v.fraction);
    let same = inputs.iter().all(|v| v.fraction == first);
    let fits = match op {
        // The fraction of the weights is the difference, so it may be anything but negative.
        Op::Linear { .. } | Op::Conv { .. } | Op::MulConst { .. } => output.fraction >= first,
        Op::Trunc { bits } => *bits > 0 && output.fraction.checked_add(*bits) == Some(first),
        Op::Relu { bits, .. } => output.fraction.checked_add(*bits) == Some(first),
        Op::LinearShared { weights, bias } | Op::ConvShared { weights, bias, .. } => {
            let sum = of(*weights).map(|w| w + u16::from(first));
            sum.map(|s| s + 1) == Some(output.fraction.into()) && bias.is_none_or(|b| of(b) == sum)
        }
        Op::Mul | Op::MatMul => {
            let sum: u16 = inputs.iter().map(|v| u16::from(v.fraction)).sum();
            u16::from(output.fraction) == sum + 1
        }
        Op::Positive { .. } => output.fraction == 0,
        Op::Table { .. } => true,
        _ => same && output.fraction == first,
    };
    match fits {
        true => Ok(()),
        false => Err(StepError::Fraction {
            operands: inputs.iter().map(|v| v.fraction).collect(),
            result: output.fraction,
        }),
    }
}

fn check_window(op: &Op, inputs: &[&ValueInfo]) -> Result<(), StepError> {
    let bound = inputs.iter().map(|v| v.bound_bits).max().unwrap_or(0);
    let (window, need, start) = match op {
        Op::Relu { bits, window } => (*window, bound, *bits),
        // The difference of two values has one bit more.
        Op::Max { window } => (*window, bound + 1, window.hi.saturating_sub(1)),
        Op::Positive { window } => (*window, bound, window.hi.saturating_sub(1)),
        _ => return Ok(()),
    };
    let fits = window.lo < window.hi && window.hi <= 63 && window.hi >= need && window.lo <= start;
    match fits {
        true => Ok(()),
        false => Err(StepError::Window {
            lo: window.lo,
            hi: window.hi,
            need,
            start,
        }),
    }
}

/// The last segments on both sides are not needed in full (see [`Op::Table`]): the bound is a power of two and may reach
/// into them, the values may not.
fn check_table(op: &Op, inputs: &[&ValueInfo]) -> Result<(), StepError> {
    let Op::Table {
        segment_bits,
        index_bits,
        ..
    } = *op
    else {
        return Ok(());
    };
    let bound_bits = inputs.iter().map(|v| v.bound_bits).max().unwrap_or(0);
    let reach = u16::from(segment_bits) + u16::from(index_bits);
    let fits = (1..=limits::TABLE_INDEX_BITS).contains(&index_bits)
        && reach > u16::from(bound_bits)
        && reach <= u16::from(limits::BOUND_BITS);
    match fits {
        true => Ok(()),
        false => Err(StepError::Table {
            segment_bits,
            index_bits,
            bound_bits,
        }),
    }
}

fn check_tactic(op: &Op, tactic: Tactic) -> Result<(), StepError> {
    let fits = match tactic {
        Tactic::Auto => true,
        Tactic::Tree { leaf_bits, fan_in } => {
            op.window().is_some() && (1..=4).contains(&leaf_bits) && (2..=4).contains(&fan_in)
        }
        Tactic::Fss => op.window().is_some(),
    };
    match fits {
        true => Ok(()),
        false => Err(StepError::Tactic {
            kind: op.kind(),
            tactic,
        }),
    }
}
