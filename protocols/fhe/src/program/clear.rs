//! The integer reference.

use super::{Form, INPUT_SHIFT, Program, Table};
use crate::error::FheError;

/// What [`Program::run_clear`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearRun {
    /// One integer per output.
    pub outputs: Vec<i64>,
    /// Table position that each bootstrap reads, of `2 N`; an encrypted run reads one within the noise of it.
    pub positions: Vec<u32>,
}

impl Program {
    /// Evaluates the program on integers, without noise: what an encrypted run of an exact program returns, and what
    /// that of an approximate one returns up to noise.
    pub fn run_clear(&self, inputs: &[i64]) -> Result<ClearRun, FheError> {
        self.check_inputs(inputs)?;
        let mut sources: Vec<u64> = inputs.iter().map(|x| (*x as u64) << INPUT_SHIFT).collect();
        let tables: Vec<Vec<i64>> = self.tables.iter().map(Table::expand).collect();
        let log = self.set.degree().ilog2() + 1;
        let mut positions = Vec::with_capacity(self.bootstraps());
        for layer in &self.layers {
            let found: Vec<u64> = layer
                .iter()
                .map(|b| {
                    let position = (b.form.eval(&sources) >> (64 - log)) as usize;
                    positions.push(position as u32);
                    let table = &tables[b.table as usize];
                    let entry = match position.checked_sub(table.len()) {
                        None => table[position],
                        Some(beyond) => table[beyond].wrapping_neg(),
                    };
                    entry.wrapping_mul(b.gain) as u64
                })
                .collect();
            sources.extend(found);
        }
        let outputs = self
            .outputs
            .iter()
            .map(|o| round(o.form.eval(&sources), o.step))
            .collect();
        Ok(ClearRun { outputs, positions })
    }

    /// Whether a record of integers fits.
    pub(crate) fn check_inputs(&self, inputs: &[i64]) -> Result<(), FheError> {
        if inputs.len() != self.inputs() {
            return Err(FheError::Record {
                want: self.inputs(),
                have: inputs.len(),
            });
        }
        let half = 1i64 << (self.input_bits - 1);
        match inputs.iter().position(|x| !(-half..=half).contains(x)) {
            None => Ok(()),
            Some(index) => Err(FheError::Value {
                index,
                value: inputs[index].to_string(),
                problem: "more bits than an input has",
            }),
        }
    }
}

impl Form {
    pub(super) fn eval(&self, sources: &[u64]) -> u64 {
        self.terms.iter().fold(self.constant, |sum, (s, w)| {
            sum.wrapping_add(sources[*s as usize].wrapping_mul(*w as u64))
        })
    }
}

impl Table {
    /// All `N` entries.
    pub(crate) fn expand(&self) -> Vec<i64> {
        let run = |(n, v): &(u16, i64)| std::iter::repeat_n(*v, usize::from(*n));
        self.runs.iter().flat_map(run).collect()
    }

    /// From all entries.
    pub(crate) fn from_entries(entries: &[i64], cells: u16) -> Self {
        let mut runs: Vec<(u16, i64)> = Vec::new();
        for e in entries {
            match runs.last_mut() {
                Some((n, v)) if v == e => *n += 1,
                _ => runs.push((1, *e)),
            }
        }
        Self { runs, cells }
    }
}

/// The multiple of `step` nearest to a torus word, as a signed number of steps.
pub(crate) fn round(word: u64, step: u64) -> i64 {
    let (value, step) = (i128::from(word as i64), i128::from(step));
    (value + step / 2).div_euclid(step) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rounding_undoes_encoding(value in -1000i64..1000, step in 1u64 << 40..1 << 52, noise in -0.49f64..0.49) {
            let word = (value as u64).wrapping_mul(step).wrapping_add((noise * step as f64) as i64 as u64);
            prop_assert_eq!(round(word, step), value);
        }

        #[test]
        fn tables_survive_run_lengths(entries in prop::collection::vec(-3i64..3, 1..200)) {
            prop_assert_eq!(Table::from_entries(&entries, 1).expand(), entries);
        }
    }
}
