//! Outputs in integers: each score is several sums, added up by the client.

use super::sums::{Room, Sum, extent, real};
use super::units::Units;
use super::{PARTS, cut};
use crate::compile::network::lower::Lowered;
use crate::compile::network::rows::Row;
use crate::compile::network::{ANSWER_BITS_EXACT, HEADROOM};
use crate::error::CompileError;

/// Lattice of sums of inputs: as fine as packing leaves it.
const LINEAR_LOG: u32 = 13;

/// A sum that is sent.
pub(super) struct Part {
    pub(super) sum: Sum,
    /// It is on multiples of `2^-log` of the torus.
    pub(super) log: u32,
    /// Whether no record leaves the torus.
    pub(super) always_fits: bool,
}

/// What is sent for each score.
pub(super) struct Answer {
    /// Sums of inputs, by score.
    linear: Vec<Option<Part>>,
    /// Sums of results of tables, by score, each next one finer.
    results: Vec<Vec<Part>>,
    /// In floats, by record and score.
    float: Vec<Vec<f64>>,
}

impl Answer {
    pub(super) fn new(
        lowered: &Lowered,
        units: &Units,
        float: &[Vec<f64>],
    ) -> Result<Self, CompileError> {
        let mut made = Self {
            linear: Vec::new(),
            results: Vec::new(),
            float: float.to_vec(),
        };
        for row in &lowered.outputs {
            // The linear parts of kinks are read from the inputs.
            let mut rows = vec![row.clone()];
            for (source, weight) in &row.terms {
                let unit = source.checked_sub(units.inputs);
                if let Some(u) = unit
                    && let Some(plan) = &units.plans[u]
                    && plan.pass != 0.0
                {
                    rows.push(lowered.units[u].0.scaled(weight * plan.pass));
                }
            }
            let terms = units.terms(&Row::sum(&rows));
            let (inputs, results): (Vec<_>, Vec<_>) =
                terms.into_iter().partition(|(s, _)| *s < units.inputs);
            made.linear.push(linear(units, &inputs, float.len()));
            made.results.push(parts(units, results, float.len()));
        }
        let reads = lowered.outputs.iter().any(|r| !r.terms.is_empty());
        if reads && made.parts(PARTS).next().is_none() {
            let problem = "no output keeps a weight that the noise of tables leaves apart";
            return Err(CompileError::Inexact(problem.into()));
        }
        Ok(made)
    }

    /// All sums, with their scores: at most `parts` of results of tables for each.
    pub(super) fn parts(&self, parts: usize) -> impl Iterator<Item = (usize, &Part)> {
        let linear = self.linear.iter().enumerate();
        let linear = linear.filter_map(|(score, part)| Some((score, part.as_ref()?)));
        let results = self.results.iter().enumerate();
        linear.chain(
            results.flat_map(move |(score, sums)| sums.iter().take(parts).map(move |p| (score, p))),
        )
    }

    /// Scores of the calibration records.
    pub(super) fn scores(&self, parts: usize) -> Vec<Vec<f64>> {
        let (.., offset) = self.decoding(parts);
        let mut scores = vec![offset; self.float.len()];
        for (score, part) in self.parts(parts) {
            for (scores, v) in scores.iter_mut().zip(&part.sum.values) {
                scores[score] += part.sum.scale * *v as f64;
            }
        }
        scores
    }

    /// Scales and scores by output; offsets by score, those that are right on average.
    pub(super) fn decoding(&self, parts: usize) -> (Vec<f64>, Vec<u32>, Vec<f64>) {
        let records = self.float.len() as f64;
        let count = self.results.len();
        let mut offset = vec![0.0; count];
        for float in &self.float {
            offset
                .iter_mut()
                .zip(float)
                .for_each(|(o, f)| *o += f / records);
        }
        let (mut scale, mut scores) = (Vec::new(), Vec::new());
        for (score, part) in self.parts(parts) {
            let sum: f64 = part.sum.values.iter().map(|v| *v as f64).sum();
            offset[score] -= part.sum.scale * sum / records;
            scale.push(part.sum.scale);
            scores.push(score as u32);
        }
        (scale, scores, offset)
    }
}

/// All values of a lattice, around zero.
fn room(log: u32, norm2: f64) -> Room {
    let half = 1i64 << (log - 1);
    Room {
        low: 1 - half,
        high: half - 1,
        norm2,
    }
}

/// The sum closest to `terms` on a lattice, around its middle.
fn part(units: &Units, terms: &[(usize, f64)], records: usize, log: u32, norm2: f64) -> Part {
    let values = real(&units.sources, terms, records);
    let (low, high) = extent(&values);
    let target: Vec<f64> = values.iter().map(|v| v - (low + high) / 2.0).collect();
    let norm: f64 = terms.iter().map(|(_, w)| w * w).sum();
    let by_range = HEADROOM * (high - low) / f64::from(log).exp2();
    let scale = by_range.max((norm / norm2).sqrt());
    let room = room(log, norm2);
    let sum = Sum::fit(&units.sources, terms, &target, scale.max(1e-300), &room);
    Part {
        always_fits: sum.always_fits(&room),
        sum,
        log,
    }
}

fn linear(units: &Units, terms: &[(usize, f64)], records: usize) -> Option<Part> {
    if terms.is_empty() {
        return None;
    }
    Some(part(units, terms, records, LINEAR_LOG, f64::INFINITY))
}

fn parts(units: &Units, mut terms: Vec<(usize, f64)>, records: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    let Some(log) = units.log(&terms) else {
        return parts;
    };
    let norm2 = cut::of_output(units.shape.set, log, u32::from(ANSWER_BITS_EXACT));
    if norm2 < 1.0 {
        return parts;
    }
    for _ in 0..PARTS {
        let found = part(units, &terms, records, log, norm2);
        if found.sum.terms.is_empty() {
            break;
        }
        // What it rounded away is for the next.
        for (source, weight) in &found.sum.terms {
            if let Some(term) = terms.iter_mut().find(|(s, _)| s == source) {
                term.1 -= found.sum.scale * *weight as f64;
            }
        }
        terms.retain(|(_, w)| *w != 0.0);
        parts.push(found);
    }
    parts
}
