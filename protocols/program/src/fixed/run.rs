//! The clear ring reference.

use super::{Op, Program, RunError, limits};
use crate::kernels::PortableKernels;
use crate::ops::{ConstTerms, apply_linear};

impl Program {
    /// Runs the program in the clear on ring inputs `[batch, dims...]`, one per port. Truncation is an exact floor.
    ///
    /// Returns one ring vector per output port, before post-processing.
    pub fn run_clear(&self, inputs: &[Vec<u64>], batch: usize) -> Result<Vec<Vec<u64>>, RunError> {
        let mut values = self.start_clear(inputs, batch)?;
        let last = self.last_uses();
        for (i, step) in self.steps().iter().enumerate() {
            let result = self.step_clear(i, &values, batch);
            values[step.output.index()] = result;
            for id in &step.inputs {
                if last[id.index()] == Some(i) {
                    values[id.index()] = Vec::new();
                }
            }
        }
        Ok(self
            .outputs()
            .iter()
            .map(|o| values[o.value.index()].clone())
            .collect())
    }

    /// Like [`run_clear`](Self::run_clear), but returns *every* value, by [`super::ValueId::index`]: for tests that want
    /// to know at which step two evaluations part.
    pub fn trace_clear(
        &self,
        inputs: &[Vec<u64>],
        batch: usize,
    ) -> Result<Vec<Vec<u64>>, RunError> {
        let mut values = self.start_clear(inputs, batch)?;
        for (i, step) in self.steps().iter().enumerate() {
            values[step.output.index()] = self.step_clear(i, &values, batch);
        }
        Ok(values)
    }

    /// Largest admissible batch: every value stays within [`limits::BATCH_ELEMENTS`].
    pub fn max_batch(&self) -> usize {
        let largest = self
            .values()
            .iter()
            .map(super::ValueInfo::elements)
            .max()
            .unwrap_or(1);
        limits::BATCH_ELEMENTS / largest.max(1)
    }

    fn start_clear(&self, inputs: &[Vec<u64>], batch: usize) -> Result<Vec<Vec<u64>>, RunError> {
        let max = self.max_batch();
        if batch == 0 || batch > max {
            return Err(RunError::Batch { batch, max });
        }
        if inputs.len() != self.inputs().len() {
            return Err(RunError::Inputs {
                want: self.inputs().len(),
                have: inputs.len(),
            });
        }
        let mut values = vec![Vec::new(); self.values().len()];
        for (port, data) in self.inputs().iter().zip(inputs) {
            let want = self.value(port.value).elements() * batch;
            if data.len() != want {
                return Err(RunError::Elements {
                    name: port.name.clone(),
                    batch,
                    want,
                    have: data.len(),
                });
            }
            values[port.value.index()] = data.clone();
        }
        Ok(values)
    }

    fn step_clear(&self, index: usize, values: &[Vec<u64>], batch: usize) -> Vec<u64> {
        let step = &self.steps()[index];
        let inputs: Vec<&[u64]> = step
            .inputs
            .iter()
            .map(|id| values[id.index()].as_slice())
            .collect();
        let shift = |z: i64, bits: u8| (z >> bits) as u64;
        match step.op {
            Op::Trunc { bits } => inputs[0].iter().map(|z| shift(*z as i64, bits)).collect(),
            Op::Relu { bits, .. } => inputs[0]
                .iter()
                .map(|z| shift((*z as i64).max(0), bits))
                .collect(),
            Op::Max { .. } => {
                let pairs = inputs[0].iter().zip(inputs[1]);
                pairs
                    .map(|(a, b)| (*a as i64).max(*b as i64) as u64)
                    .collect()
            }
            _ => apply_linear(
                self,
                step,
                &inputs,
                batch,
                ConstTerms::Include,
                &PortableKernels,
            ),
        }
    }
}
