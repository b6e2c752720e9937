//! How much computing comes next, roughly and in time.
//!
//! Handing work to another thread and back costs some twenty microseconds on an idle machine, several times
//! what a round of a small layer computes. Doing a convolution of half a second on a thread that
//! serves sockets holds up everyone else. So a machine says beforehand which of the two it is, from the
//! sizes in its schedule: what is light takes some hundred microseconds at most.

use ai_link_program::fixed::{Op, Program, Step};
use ai_link_program::ops::matmul_shape;

/// What a machine's next call costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Some hundred microseconds at most: may be done where it stands.
    Light,
    /// Longer, or unknown: belongs on a thread that may block.
    Heavy,
}

/// Operations up to which work is light.
const LIGHT: u64 = 1 << 16;
/// Products and sums in the ring that one operation stands for: kernels do some of them a cycle.
const PRODUCTS: u64 = 32;

impl Work {
    /// Of so many operations, each about as long as touching an element of a vector a few times.
    pub(crate) fn of(operations: u64) -> Self {
        match operations <= LIGHT {
            true => Self::Light,
            false => Self::Heavy,
        }
    }
}

/// Operations of one step, whole batch: an estimate from above for each call that concerns it.
pub(crate) fn operations(program: &Program, step: &Step, batch: usize) -> u64 {
    let elements = |id| (program.value(id).elements() * batch) as u64;
    let output = elements(step.output);
    let taps = |dims: &[usize], kept: usize| -> u64 {
        let all: usize = dims.iter().product();
        (all / kept.max(1)) as u64
    };
    let products = match &step.op {
        Op::Linear { weights, .. } => {
            let dims = &program.constant(*weights).dims;
            output * taps(dims, dims.last().copied().unwrap_or(1))
        }
        Op::LinearShared { weights, .. } => {
            let dims = &program.parameter(*weights).dims;
            output * taps(dims, dims.last().copied().unwrap_or(1))
        }
        Op::Conv { weights, .. } => {
            let dims = &program.constant(*weights).dims;
            output * taps(dims, dims.first().copied().unwrap_or(1))
        }
        Op::ConvShared { weights, .. } => {
            let dims = &program.parameter(*weights).dims;
            output * taps(dims, dims.first().copied().unwrap_or(1))
        }
        Op::MatMul => output * matmul_shape(program, step).inner as u64,
        _ => 0,
    };
    // Interactive steps expand randomness and go through tables, some dozen bytes an element.
    let each = if step.op.is_interactive() { 32 } else { 1 };
    let input: u64 = step.inputs.iter().map(|input| elements(*input)).sum();
    products / PRODUCTS + each * (output + input)
}

#[cfg(test)]
mod tests {
    use ai_link_program::fixed::ProgramBuilder;

    use super::*;
    use crate::schedule::Schedule;

    #[test]
    fn a_small_layer_is_light_and_a_large_one_is_not() {
        let mut b = ProgramBuilder::new("layers");
        let x = b.input("x", &[784], 10);
        let z = b.linear(x, [784, 128], vec![1; 784 * 128], None, 10);
        let y = b.relu(z, 10);
        b.output("y", y);
        let program = b.finish().unwrap();
        let of = |batch| {
            let schedule = Schedule::new(&program, batch).unwrap();
            let steps = program.steps().len();
            let first = schedule.operations_from(0);
            let all: u64 = (0..steps).map(|step| schedule.operations(step)).sum();
            assert!(0 < first && first <= all);
            assert_eq!(schedule.operations_from(steps), 0);
            Work::of(first)
        };
        assert_eq!((of(1), of(1000)), (Work::Light, Work::Heavy));
    }

    #[test]
    fn limits() {
        assert_eq!(Work::of(0), Work::Light);
        assert_eq!(Work::of(LIGHT), Work::Light);
        assert_eq!(Work::of(LIGHT + 1), Work::Heavy);
        assert_eq!(Work::Light.max(Work::Heavy), Work::Heavy);
    }
}
