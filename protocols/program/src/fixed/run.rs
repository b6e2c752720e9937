//! The clear ring reference.

use super::{Op, ParamId, Parameters, Program, RunError, limits};
use crate::kernels::PortableKernels;
use crate::ops::{ConstTerms, apply_linear, apply_product};

impl Program {
    /// Runs the program in the clear on ring inputs `[batch, dims...]`, one per port. Truncation is an exact floor.
    ///
    /// Returns one ring vector per output port, before post-processing. For programs without private weights.
    pub fn run_clear(&self, inputs: &[Vec<u64>], batch: usize) -> Result<Vec<Vec<u64>>, RunError> {
        self.run_clear_with(&Parameters::none(), inputs, batch)
    }

    /// [`run_clear`](Self::run_clear) with the values of private weights.
    pub fn run_clear_with(
        &self,
        parameters: &Parameters,
        inputs: &[Vec<u64>],
        batch: usize,
    ) -> Result<Vec<Vec<u64>>, RunError> {
        parameters.check(self).map_err(RunError::Parameters)?;
        let mut values = self.start_clear(inputs, batch)?;
        let last = self.last_uses();
        for (i, step) in self.steps().iter().enumerate() {
            let result = self.step_clear(i, parameters, &values, batch);
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
        self.trace_clear_with(&Parameters::none(), inputs, batch)
    }

    /// [`trace_clear`](Self::trace_clear) with the values of private weights.
    pub fn trace_clear_with(
        &self,
        parameters: &Parameters,
        inputs: &[Vec<u64>],
        batch: usize,
    ) -> Result<Vec<Vec<u64>>, RunError> {
        parameters.check(self).map_err(RunError::Parameters)?;
        let mut values = self.start_clear(inputs, batch)?;
        for (i, step) in self.steps().iter().enumerate() {
            values[step.output.index()] = self.step_clear(i, parameters, &values, batch);
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

    fn step_clear(
        &self,
        index: usize,
        parameters: &Parameters,
        values: &[Vec<u64>],
        batch: usize,
    ) -> Vec<u64> {
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
            Op::Positive { .. } => {
                let sign = |z: &u64| u64::from(*z as i64 >= 0);
                inputs[0].iter().map(sign).collect()
            }
            Op::LinearShared { weights, bias } | Op::ConvShared { weights, bias, .. } => {
                let w: Vec<u64> = ring(parameters, weights);
                let mut out = apply_product(self, step, inputs[0], &w, batch, &PortableKernels);
                if let Some(bias) = bias {
                    add_bias(&mut out, &ring(parameters, bias), self, step);
                }
                out.iter_mut().for_each(|z| *z = z.wrapping_mul(2));
                out
            }
            Op::Mul => {
                let pairs = inputs[0].iter().zip(inputs[1]);
                pairs
                    .map(|(x, y)| x.wrapping_mul(*y).wrapping_mul(2))
                    .collect()
            }
            Op::MatMul => {
                let mut out =
                    apply_product(self, step, inputs[0], inputs[1], batch, &PortableKernels);
                out.iter_mut().for_each(|z| *z = z.wrapping_mul(2));
                out
            }
            Op::Table {
                segment_bits,
                index_bits,
                coefficients,
            } => {
                let c = self.constant(coefficients);
                let row = c.dims[1];
                let value = |z: &u64| {
                    let u = (*z as i64) >> segment_bits;
                    table_value(&c.data, row, index_bits, segment_bits, *z, u)
                };
                inputs[0].iter().map(value).collect()
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

/// The polynomial of segment `u` at `z`; `u` is `floor(z / 2^s)`, or one more as masked evaluation may take it.
pub(super) fn table_value(
    coefficients: &[i64],
    row: usize,
    index_bits: u8,
    segment_bits: u8,
    z: u64,
    u: i64,
) -> u64 {
    let low = z.wrapping_sub((u as u64) << segment_bits);
    let at = (u as u64 & ((1 << index_bits) - 1)) as usize;
    let terms = coefficients[at * row..][..row].iter().rev();
    terms.fold(0u64, |sum, c| sum.wrapping_mul(low).wrapping_add(*c as u64))
}

fn ring(parameters: &Parameters, id: ParamId) -> Vec<u64> {
    let tensor = parameters.tensor(id);
    tensor.iter().map(|v| *v as u64).collect()
}

/// Adds `bias[c]` to every element of channel `c`: the last axis of a `Linear`, the first of a `Conv`.
fn add_bias(out: &mut [u64], bias: &[u64], program: &Program, step: &super::Step) {
    let plane = match step.op {
        Op::ConvShared { .. } => program.value(step.output).elements() / bias.len(),
        _ => 1,
    };
    for (i, run) in out.chunks_exact_mut(plane).enumerate() {
        let b = bias[i % bias.len()];
        run.iter_mut().for_each(|o| *o = o.wrapping_add(b));
    }
}
