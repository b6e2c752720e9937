//! A program as people read it: one line per step.

use std::fmt;

use super::{Op, Program, Tactic, ValueInfo};

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.name())?;
        for input in self.inputs() {
            let value = Shown(self.value(input.value));
            writeln!(
                f,
                "  %{:<4} {value:<32} input {:?}",
                input.value.0, input.name
            )?;
        }
        for step in self.steps() {
            let value = Shown(self.value(step.output));
            write!(f, "  %{:<4} {value:<32} {}", step.output.0, step.op.kind())?;
            match &step.op {
                Op::Trunc { bits } => write!(f, " >> {bits}")?,
                Op::Relu { bits, window } => {
                    write!(f, " >> {bits}, bits {}..{}", window.lo, window.hi)?;
                }
                Op::Max { window } | Op::Positive { window } => {
                    write!(f, ", bits {}..{}", window.lo, window.hi)?;
                }
                Op::LinearShared { weights, .. } | Op::ConvShared { weights, .. } => {
                    let info = self.parameter(*weights);
                    write!(f, " private {:?} {:?}", info.name, info.dims)?;
                }
                Op::Table {
                    segment_bits,
                    index_bits,
                    coefficients,
                } => {
                    let degree = self.constant(*coefficients).dims[1] - 1;
                    write!(
                        f,
                        " 2^{index_bits} segments of 2^{segment_bits}, degree {degree}"
                    )?;
                }
                Op::Linear { weights, .. } | Op::Conv { weights, .. } => {
                    write!(f, " {:?}", self.constant(*weights).dims)?;
                }
                _ => {}
            }
            match step.tactic {
                Tactic::Auto => {}
                Tactic::Tree { leaf_bits, fan_in } => {
                    write!(f, ", tree of {leaf_bits}-bit leaves by {fan_in}")?;
                }
                Tactic::Fss => write!(f, ", function secret sharing")?,
            }
            for input in &step.inputs {
                write!(f, " %{}", input.0)?;
            }
            writeln!(f, "  ({})", step.name)?;
        }
        for output in self.outputs() {
            writeln!(
                f,
                "  output {:?} = %{} then {:?}",
                output.name, output.value.0, output.post
            )?;
        }
        Ok(())
    }
}

/// `[dims] . fraction < 2^bound`.
struct Shown<'a>(&'a ValueInfo);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ValueInfo {
            dims,
            fraction,
            bound_bits,
        } = self.0;
        f.pad(&format!("{dims:?} fraction {fraction}, {bound_bits} bits"))
    }
}
