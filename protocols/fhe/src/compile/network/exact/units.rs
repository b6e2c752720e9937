//! Units in integers: what their accumulators sum up, how they are cut and what tables give.

use super::Shape;
use super::cut::{self, Cut};
use super::sums::{Room, Source, Sum, centred, extent, line, real};
use crate::compile::network::lower::Lowered;
use crate::compile::network::rows::Row;
use crate::compile::network::{ANSWER_BITS_EXACT, HEADROOM};
use crate::error::CompileError;

/// Lattices of results of tables that are tried: multiples of `2^-log` of the torus.
const LOGS: std::ops::RangeInclusive<u32> = 3..=12;

/// All units of a network.
pub(super) struct Units {
    /// Inputs, then units.
    pub(super) sources: Vec<Source>,
    /// What each unit is, unless it says nothing.
    pub(super) plans: Vec<Option<Plan>>,
    pub(super) depths: Vec<usize>,
    /// Whether other units read a unit, and not only outputs.
    read_by_units: Vec<bool>,
    pub(super) inputs: usize,
    pub(super) shape: Shape,
}

/// How a unit becomes an integer.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) sum: Sum,
    pub(super) cut: Cut,
    /// What the table gives for the cells of half the torus, from 0 to `count - 1`. In the other half it is
    /// `count - 1` less that.
    pub(super) levels: Vec<u32>,
    pub(super) count: u32,
    /// Added to whoever reads the unit: this times its own row.
    pub(super) pass: f64,
    /// Whether no record leaves the torus.
    pub(super) always_fits: bool,
}

impl Plan {
    /// The table's result for an accumulator.
    pub(super) fn level(&self, value: i64) -> i32 {
        let cell = self.cut.cell(value);
        let level = match cell.checked_sub(self.levels.len()) {
            None => self.levels[cell],
            Some(beyond) => self.count - 1 - self.levels[beyond],
        };
        level as i32
    }
}

impl Units {
    pub(super) fn new(
        lowered: &Lowered,
        traces: &[&Vec<f64>],
        shape: Shape,
        offset: &[f32],
        step: &[f32],
    ) -> Result<Self, CompileError> {
        let limit = shape.limit;
        let input = |i: usize| {
            let code = |t: &&Vec<f64>| {
                let steps = (t[i] - f64::from(offset[i])) / f64::from(step[i]);
                (steps.round_ties_even() as i64).clamp(-limit, limit) as i32
            };
            Source::input(offset[i], step[i], limit, traces.iter().map(code).collect())
        };
        let depths = lowered.depths();
        let mut read_by_units = vec![false; depths.len()];
        let rows = lowered.units.iter().flat_map(|(row, _)| &row.terms);
        for u in rows.filter_map(|(s, _)| s.checked_sub(lowered.inputs)) {
            read_by_units[u] = true;
        }
        let mut made = Self {
            read_by_units,
            sources: (0..lowered.inputs).map(input).collect(),
            plans: vec![None; depths.len()],
            inputs: lowered.inputs,
            shape,
            depths,
        };
        let silent = Source {
            zero: 0.0,
            one: 0.0,
            values: vec![0; traces.len()],
            centred: vec![0.0; traces.len()],
            bounds: (0, 0),
            log: u32::MAX,
            centre2: 0,
        };
        made.sources
            .resize(lowered.inputs + made.depths.len(), silent);
        let layers = made.depths.iter().max().map_or(0, |d| d + 1);
        for layer in 0..layers {
            for u in 0..made.depths.len() {
                if made.depths[u] == layer {
                    made.unit(lowered, traces, u)?;
                }
            }
            made.place(lowered, traces, layer)?;
        }
        made.drop_unread(lowered);
        Ok(made)
    }

    /// Look-ups of a record.
    pub(super) fn bootstraps(&self) -> usize {
        self.plans
            .iter()
            .flatten()
            .map(|p| p.cut.bootstraps())
            .sum()
    }

    /// Terms of a row over integers: source, and the real weight of one.
    pub(super) fn terms(&self, row: &Row) -> Vec<(usize, f64)> {
        let one = |(s, w): &(usize, f64)| (*s, w * self.sources[*s].one);
        let terms = row.terms.iter().map(one);
        terms.filter(|(_, w)| *w != 0.0).collect()
    }

    /// Finest lattice that all results of tables among `terms` are on; `None` without any.
    pub(super) fn log(&self, terms: &[(usize, f64)]) -> Option<u32> {
        let results = terms.iter().filter(|(s, _)| *s >= self.inputs);
        results.map(|(s, _)| self.sources[*s].log).min()
    }

    fn unit(
        &mut self,
        lowered: &Lowered,
        traces: &[&Vec<f64>],
        u: usize,
    ) -> Result<(), CompileError> {
        let (row, expr) = &lowered.units[u];
        let source = self.inputs + u;
        let z: Vec<f64> = traces.iter().map(|t| row.eval(t)).collect();
        let y: Vec<f64> = traces.iter().map(|t| t[source]).collect();
        let mean = y.iter().sum::<f64>() / y.len() as f64;
        self.sources[source].zero = mean;
        let terms = self.terms(row);
        let of_inputs = row.terms.iter().all(|(s, _)| *s < self.inputs);
        let (cut, norm2) = match self.log(&terms) {
            None => {
                let Some(digits) = cut::digits(self.shape.set, self.shape.fine) else {
                    return Ok(());
                };
                let bits = self.shape.cells() + self.shape.fine;
                (Cut { bits, digits }, f64::INFINITY)
            }
            Some(log) => {
                let refuse = || self.refusal(terms.len());
                cut::of_results(self.shape.set, log).ok_or_else(refuse)?
            }
        };
        let half = 1i64 << (cut.bits - 1);
        let kink = expr.kink().filter(|_| of_inputs && !self.read_by_units[u]);
        let (low, high) = extent(&z);
        let span = high - low;
        if span <= 0.0 {
            return Ok(());
        }
        let cells = 1usize << (cut.top() - 1);
        let count = self.shape.levels.min(cells as u32).max(2);
        let (plan, target, room) = match kink {
            Some((negative, positive, _)) => {
                let room = Room {
                    low: -half,
                    high: half - 1,
                    norm2,
                };
                let scale = HEADROOM * low.abs().max(high.abs()) / half as f64;
                let levels = (0..cells).map(|c| (c * count as usize / cells) as u32);
                let pass = (negative + positive) / 2.0;
                ((scale, levels.collect(), pass), z.clone(), room)
            }
            None => {
                let room = Room {
                    low: 0,
                    high: half - 1,
                    norm2,
                };
                let start = low - (HEADROOM - 1.0) / 2.0 * span;
                let scale = HEADROOM * span / half as f64;
                let target = z.iter().map(|z| z - start).collect();
                ((scale, Vec::new(), 0.0), target, room)
            }
        };
        let (scale, mut levels, pass): (f64, Vec<u32>, f64) = plan;
        let sum = Sum::fit(&self.sources, &terms, &target, scale, &room);
        if sum.terms.is_empty() {
            if self.log(&terms).is_some() {
                return Err(self.refusal(terms.len()));
            }
            return Ok(());
        }
        if levels.is_empty() {
            // What the function is in the middle of each cell.
            let (slope, start) = line(&sum.values, &z);
            let width = (1i64 << cut.removed()) as f64;
            let middle = |c: usize| start + slope * ((c as f64 + 0.5) * width - 0.5);
            let f: Vec<f64> = (0..cells).map(|c| expr.eval(middle(c))).collect();
            let (least, most) = extent(&f);
            if most <= least {
                return Ok(());
            }
            let level = |f: &f64| ((f - least) / (most - least) * f64::from(count - 1)).round();
            levels = f.iter().map(|f| level(f) as u32).collect();
        }
        let plan = Plan {
            always_fits: sum.always_fits(&room),
            sum,
            cut,
            levels,
            count,
            pass,
        };
        let values: Vec<i32> = plan.sum.values.iter().map(|v| plan.level(*v)).collect();
        let without: Vec<f64> = y.iter().zip(&z).map(|(y, z)| y - pass * z).collect();
        let wide: Vec<i64> = values.iter().map(|v| i64::from(*v)).collect();
        let (one, zero) = line(&wide, &without);
        self.sources[source] = Source {
            zero,
            one,
            centred: centred(&values),
            values,
            bounds: (0, i64::from(count) - 1),
            log: u32::MAX,
            centre2: i64::from(count) - 1,
        };
        self.plans[u] = Some(plan);
        Ok(())
    }

    fn refusal(&self, terms: usize) -> CompileError {
        CompileError::Inexact(format!(
            "a sum of {terms} results of tables of {} levels needs more values than their noise leaves apart under {}",
            self.shape.levels, self.shape.set
        ))
    }

    /// Chooses the lattice of a layer's results: the finer it is, the less may their readers' weights amplify noise; the
    /// coarser, the sooner do their sums wrap around.
    fn place(
        &mut self,
        lowered: &Lowered,
        traces: &[&Vec<f64>],
        layer: usize,
    ) -> Result<(), CompileError> {
        let set = self.shape.set;
        let is_member = |s: usize| {
            let unit = s.checked_sub(self.inputs);
            unit.is_some_and(|u| self.depths[u] == layer && self.plans[u].is_some())
        };
        // Weights' norm, span and deviation of what each reader reads of this layer; whether a table follows.
        let mut readers = Vec::new();
        let units = lowered.units.iter().map(|(row, _)| (row, true));
        for (row, is_cut) in units.chain(lowered.outputs.iter().map(|row| (row, false))) {
            let read = Row {
                terms: row
                    .terms
                    .iter()
                    .filter(|(s, _)| is_member(*s))
                    .copied()
                    .collect(),
                constant: 0.0,
            };
            let terms = self.terms(&read);
            if terms.is_empty() {
                continue;
            }
            let values = real(&self.sources, &terms, traces.len());
            let (low, high) = extent(&values);
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
            let norm2: f64 = terms.iter().map(|(_, w)| w * w).sum();
            readers.push((is_cut, norm2, high - low, squares / values.len() as f64));
        }
        let mut best: Option<(f64, u32)> = None;
        for log in LOGS {
            let mut cost = 0.0;
            for (is_cut, norm2, span, variance) in &readers {
                let (bits, most) = if *is_cut {
                    (
                        log - 1,
                        cut::of_results(set, log).map_or(0.0, |(_, norm2)| norm2),
                    )
                } else {
                    (log, cut::of_output(set, log, u32::from(ANSWER_BITS_EXACT)))
                };
                let by_range = HEADROOM * span / f64::from(bits).exp2();
                let by_noise = if most >= 1.0 {
                    (norm2 / most).sqrt()
                } else {
                    f64::INFINITY
                };
                cost += by_range.max(by_noise).powi(2) / variance.max(f64::MIN_POSITIVE);
            }
            if cost.is_finite() && best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, log));
            }
        }
        let Some((_, log)) = best else {
            return Err(self.refusal(readers.len()));
        };
        for u in 0..self.depths.len() {
            if self.depths[u] == layer && self.plans[u].is_some() {
                self.sources[self.inputs + u].log = log;
            }
        }
        Ok(())
    }

    /// Forgets units that nothing reads once weights are integers. Outputs may read all that is left.
    fn drop_unread(&mut self, lowered: &Lowered) {
        let mut is_read = vec![false; self.sources.len()];
        for (source, _) in lowered.outputs.iter().flat_map(|row| &row.terms) {
            is_read[*source] = true;
        }
        for u in (0..self.plans.len()).rev() {
            let source = self.inputs + u;
            let Some(plan) = &self.plans[u] else { continue };
            if is_read[source] {
                plan.sum.terms.iter().for_each(|(s, _)| is_read[*s] = true);
                continue;
            }
            debug_assert_eq!(plan.pass, 0.0);
            self.plans[u] = None;
            self.sources[source].one = 0.0;
        }
    }
}
