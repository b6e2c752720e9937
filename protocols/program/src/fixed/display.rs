//! A program as people read it: one line per step.

use std::fmt;

use super::{Op, Program, ValueInfo};

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
                Op::Max { window } => write!(f, ", bits {}..{}", window.lo, window.hi)?,
                Op::Linear { weights, .. } | Op::Conv { weights, .. } => {
                    write!(f, " {:?}", self.constant(*weights).dims)?;
                }
                _ => {}
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
