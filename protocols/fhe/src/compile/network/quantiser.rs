//! From rows in real numbers to forms in integers.

use super::rows::Row;
use super::{TORUS, Unit};
use crate::program::{Form, INPUT_SHIFT};

/// Turns rows into forms.
pub(super) struct Quantiser<'a> {
    pub(super) inputs: usize,
    pub(super) offset: &'a [f32],
    pub(super) step: &'a [f32],
    pub(super) units: &'a [Unit],
    pub(super) gains: &'a [f64],
    pub(super) order: Vec<usize>,
}

impl Quantiser<'_> {
    pub(super) fn sequence(&self) -> Vec<usize> {
        let mut sequence: Vec<usize> = (0..self.order.len())
            .filter(|u| self.units[*u].amplitude != 0.0)
            .collect();
        sequence.sort_by_key(|u| self.order[*u]);
        sequence
    }

    /// `row` in torus units, `slope` per real unit.
    pub(super) fn form(&self, row: &Row, slope: f64) -> Form {
        let input_unit = TORUS / (1u64 << INPUT_SHIFT) as f64;
        let mut constant = row.constant * slope;
        let mut terms: Vec<(u32, i64)> = Vec::new();
        for (source, weight) in &row.terms {
            let (source, integer) = match source.checked_sub(self.inputs) {
                None => {
                    constant += weight * f64::from(self.offset[*source]) * slope;
                    let exact = weight * f64::from(self.step[*source]) * slope * input_unit;
                    (*source, exact.round())
                }
                Some(u) if self.units[u].amplitude == 0.0 => {
                    constant += weight * self.units[u].zero * slope;
                    continue;
                }
                Some(u) => {
                    let unit = &self.units[u];
                    let exact = weight * unit.amplitude * slope;
                    let integer = (exact / self.gains[u]).round();
                    constant += weight * unit.zero * slope;
                    // What rounding leaves on average.
                    constant += (exact - integer * self.gains[u]) * unit.mean;
                    (self.inputs + self.order[u], integer)
                }
            };
            if integer != 0.0 {
                terms.push((source as u32, integer as i64));
            }
        }
        terms.sort_unstable();
        let fraction = constant.rem_euclid(1.0);
        Form {
            terms,
            constant: (fraction * TORUS) as u64,
        }
    }
}
