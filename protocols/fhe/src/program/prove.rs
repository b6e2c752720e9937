//! Noise of every step, and the probability that any goes wrong.

use super::{Exactness, Form, Layout, Program, Table};
use crate::error::CompileError;
use crate::noise;

/// Sums with more terms than this over one input ciphertext go through the FFT.
pub(crate) const DENSE: usize = 48;

/// What is proved about a program's noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proof {
    /// Binary logarithm of the largest failure probability of a table look-up; `-inf` where there is none that fails.
    pub look_up_log2: f64,
    /// Binary logarithm of the largest failure probability of an output; likewise.
    pub output_log2: f64,
    /// Binary logarithm of a bound on the failure probability of a whole record.
    pub record_log2: f64,
    /// Largest standard deviation in front of a table, in table entries (of which `2 N` make the torus).
    pub position_deviation: f64,
    /// Largest standard deviation of an output, in its steps.
    pub output_deviation: f64,
}

impl Program {
    /// Variance of what each form sums up, by the variance of sources.
    fn variance(&self, form: &Form, sources: &[f64]) -> f64 {
        let sum: f64 = form
            .terms
            .iter()
            .map(|(s, w)| sources[*s as usize] * (*w as f64).powi(2))
            .sum();
        let inputs = form.terms.iter().filter(|t| t.0 < self.inputs);
        let norm2: f64 = inputs.map(|t| (t.1 as f64).powi(2)).sum();
        sum + noise::fft(self.set, norm2)
    }

    /// Noise of every step by tfhe's formulas.
    ///
    /// For an exact program this refuses whatever fails with more than [`noise::FAILURE_LOG2`]; that phases are in the middles
    /// of cells is how the compiler makes them. An approximate one has no cells that a look-up could miss; its deviations
    /// are reported.
    pub fn prove(&self) -> Result<Proof, CompileError> {
        let set = self.set;
        let mut sources = vec![noise::fresh(set); self.inputs()];
        let mut proof = Proof {
            look_up_log2: f64::NEG_INFINITY,
            output_log2: f64::NEG_INFINITY,
            record_log2: f64::NEG_INFINITY,
            position_deviation: 0.0,
            output_deviation: 0.0,
        };
        let entries = 2.0 * set.degree() as f64;
        let mut sum = 0.0;
        for (l, layer) in self.layers.iter().enumerate() {
            for (i, b) in layer.iter().enumerate() {
                let variance = self.variance(&b.form, &sources) + noise::before_table(set);
                proof.position_deviation = proof.position_deviation.max(variance.sqrt() * entries);
                let cells = self.tables[b.table as usize].cells;
                if self.exactness == Exactness::Exact {
                    // Weights are rounded to 2^-24 of the torus, each term by half of that.
                    let slack = (b.form.terms.len() + 1) as f64 * (-25f64).exp2();
                    let half = 0.25 / f64::from(cells.max(1)) - slack;
                    let log2 = noise::failure_log2(half, variance);
                    if log2 > noise::FAILURE_LOG2 {
                        let place = format!("bootstrap {i} of layer {l}, with {cells} cells,");
                        return Err(CompileError::Noise { place, log2 });
                    }
                    proof.look_up_log2 = proof.look_up_log2.max(log2);
                    sum += log2.exp2();
                }
            }
            let bootstrapped = noise::bootstrapped(set);
            let moved: Vec<f64> = layer
                .iter()
                .map(|b| match self.exactness {
                    Exactness::Exact => bootstrapped,
                    Exactness::Approximate => {
                        // What moves the position moves the entry by the table's slope.
                        let before = self.variance(&b.form, &sources) + noise::before_table(set);
                        let gain = b.gain as f64 * (-64f64).exp2();
                        let table = &self.tables[b.table as usize];
                        bootstrapped + before * (entries * gain).powi(2) * table.steepness()
                    }
                })
                .collect();
            sources.extend(moved);
        }
        let mut answer = noise::answer_rounding(set, u32::from(self.answer_bits));
        if self.layout() == Layout::Packed {
            answer += noise::packing(set);
        }
        for (i, o) in self.outputs.iter().enumerate() {
            let own = match self.layout() {
                // The product's mask is that of all sums.
                Layout::Shared => {
                    let all = self.outputs.iter();
                    all.map(|o| self.variance(&o.form, &sources)).sum()
                }
                Layout::Separate | Layout::Packed => self.variance(&o.form, &sources),
            };
            let variance = own + answer;
            let step = o.step as f64 * (-64f64).exp2();
            proof.output_deviation = proof.output_deviation.max(variance.sqrt() / step);
            if self.exactness == Exactness::Exact {
                let log2 = noise::failure_log2(step / 2.0, variance);
                if log2 > noise::FAILURE_LOG2 {
                    let place = format!("output {i}");
                    return Err(CompileError::Noise { place, log2 });
                }
                proof.output_log2 = proof.output_log2.max(log2);
                sum += log2.exp2();
            }
        }
        proof.record_log2 = sum.log2();
        Ok(proof)
    }
}

impl Table {
    /// Mean square of the differences between neighbouring entries.
    fn steepness(&self) -> f64 {
        let entries = self.expand();
        let squares = entries.windows(2).map(|w| ((w[1] - w[0]) as f64).powi(2));
        squares.sum::<f64>() / entries.len() as f64
    }
}
