//! Sums of sources, in floats.

use std::collections::BTreeMap;

/// `constant + sum of weight source`, by ascending source.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) terms: Vec<(usize, f64)>,
    pub(super) constant: f64,
}

impl Row {
    /// A source itself.
    pub(super) fn source(source: usize) -> Self {
        Self {
            terms: vec![(source, 1.0)],
            constant: 0.0,
        }
    }

    pub(super) fn eval(&self, sources: &[f64]) -> f64 {
        self.terms
            .iter()
            .fold(self.constant, |sum, (s, w)| sum + sources[*s] * w)
    }

    pub(super) fn scaled(&self, factor: f64) -> Self {
        Self {
            terms: self.terms.iter().map(|(s, w)| (*s, w * factor)).collect(),
            constant: self.constant * factor,
        }
    }

    pub(super) fn sum(rows: &[Self]) -> Self {
        Self::combine(rows.iter().map(|r| (r, 1.0)), 0.0)
    }

    /// `constant + sum of factor row`.
    pub(super) fn combine<'a>(rows: impl Iterator<Item = (&'a Self, f64)>, constant: f64) -> Self {
        let mut terms: BTreeMap<usize, f64> = BTreeMap::new();
        let mut sum = constant;
        for (row, factor) in rows {
            sum += row.constant * factor;
            for (s, w) in &row.terms {
                *terms.entry(*s).or_default() += w * factor;
            }
        }
        Self {
            terms: terms.into_iter().filter(|(_, w)| *w != 0.0).collect(),
            constant: sum,
        }
    }
}
