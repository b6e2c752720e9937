//! Tables of polynomials for smooth functions.
//!
//! A table cuts the domain into `2^n` segments of `2^s` units and has a polynomial of degree up to 3 for each, in the
//! distance from the segment's start. Masked evaluation takes the segment of a value or the next one, so each
//! polynomial interpolates the function at Chebyshev nodes of the segment *and its predecessor*: near the best
//! approximation there, and no discontinuity that a choice of segment could show beyond twice the error.
//!
//! The smallest table whose error, measured with the rounded integers in ring arithmetic, is within tolerance is taken.

use super::CostModel;
use crate::graph::{End, Function};

/// What a table is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) function: Function,
    /// Fraction bits of the operand.
    pub(super) fraction: u8,
    /// |operand| < 2^bound_bits units.
    pub(super) bound_bits: u8,
    /// Smallest and largest operand in calibration.
    pub(super) span: [f64; 2],
    /// Bits that the result may take, without headroom.
    pub(super) result_bits: u8,
    /// Magnitude with which later steps hold the result, if it is more than the function's own.
    pub(super) range: f64,
    /// The error may be `2^-precision`, as `measure` says.
    pub(super) precision: u8,
    pub(super) measure: Measure,
    /// Where zero is out of reach, how far beyond calibration the function is good: a factor.
    pub(super) margin: f64,
    /// Weighs a longer table against comparisons with both ends.
    pub(super) model: CostModel,
    /// Of the whole batch.
    pub(super) elements: usize,
}

/// What an error is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// The largest result if that is above 1, else 1.
    Largest,
    /// The result itself.
    Each,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    pub(super) segment_bits: u8,
    pub(super) index_bits: u8,
    /// Rows of `degree + 1`, as in [`Op::Table`](crate::fixed::Op::Table).
    pub(super) coefficients: Vec<i64>,
    /// Fraction bits of the result.
    pub(super) fraction: u8,
    /// Units to subtract from the operand first.
    pub(super) centre: i64,
    /// Units that the operand must be clamped to first.
    pub(super) clamp: [Option<i64>; 2],
    /// Largest result.
    pub(super) magnitude: f64,
    /// Largest error found.
    pub(super) error: f64,
}

/// Units by which truncation and clamping may overshoot.
const SLACK: i64 = 4;

/// Longest segment of a function that saturates.
const LONGEST: f64 = 8.0;

/// Points at which each polynomial is checked, at least.
const SAMPLES: i64 = 24;

/// The cheapest table within tolerance; else the best one there is.
pub(super) fn fit(request: &Request) -> Result<Table, f64> {
    let mut sizes: Vec<(u8, usize)> = (2..=8)
        .flat_map(|n| (1..=3).map(move |degree| (n, degree)))
        .collect();
    let price = |n: u8, degree: usize| request.model.table(n, degree, request.elements);
    let clamping = request.model.clamp(request.elements);
    sizes.sort_by(|a, b| price(a.0, a.1).total_cmp(&price(b.0, b.1)));
    let mut best: Option<(f64, Table)> = None;
    let mut least = f64::INFINITY;
    for (n, degree) in sizes {
        if best
            .as_ref()
            .is_some_and(|(cost, _)| price(n, degree) >= *cost)
        {
            break;
        }
        for s in 1..=(request.bound_bits + 2).saturating_sub(n) {
            let Some(domain) = request.domain(s, n) else {
                continue;
            };
            let Some(table) = request.table(s, n, degree, &domain) else {
                continue;
            };
            least = least.min(table.error / request.scale(table.magnitude));
            let clamps = table.clamp.iter().flatten().count();
            let cost = price(n, degree) + if clamps > 0 { clamping } else { 0.0 };
            let fits = table.error <= request.tolerance(table.magnitude);
            if fits && best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, table));
            }
            // A longer segment than one that covers everything is only worse.
            if clamps == 0 {
                break;
            }
        }
    }
    best.map(|(_, table)| table).ok_or(least)
}

/// Units between which the operand lies once clamped.
#[derive(Clone, Copy, Debug)]
struct Domain {
    from: i64,
    to: i64,
    clamp: [bool; 2],
}

impl Request {
    fn unit(&self) -> f64 {
        2f64.powi(-i32::from(self.fraction))
    }

    fn scale(&self, magnitude: f64) -> f64 {
        match self.measure {
            Measure::Largest => magnitude.max(1.0),
            Measure::Each => 1.0,
        }
    }

    /// How far `have` is from `want`.
    fn distance(&self, have: f64, want: f64) -> f64 {
        match self.measure {
            Measure::Largest => (have - want).abs(),
            Measure::Each => ((have - want) / want).abs(),
        }
    }

    fn tolerance(&self, magnitude: f64) -> f64 {
        2f64.powi(-i32::from(self.precision)) * self.scale(magnitude)
    }

    /// The domain of a table of `2^n` segments of `2^s`; `None` when it does not cover what it must.
    fn domain(&self, s: u8, n: u8) -> Option<Domain> {
        // |operand - centre| < 2^(s + n - 1) - 2^s, with room for what overshoots.
        let half = (1i64 << (s + n - 1)) - (1 << s) - 2 * SLACK;
        if half <= 0 {
            return None;
        }
        let reach = 1i64 << self.bound_bits;
        let ends = self.function.ends();
        let fixed = |side: usize| self.end(ends[side], side);
        match (fixed(0), fixed(1)) {
            (Some(from), Some(to)) => (to - from <= 2 * half).then_some(Domain {
                from,
                to,
                clamp: [false; 2],
            }),
            (None, Some(to)) => {
                let from = to - 2 * half;
                Some(Domain {
                    from: from.max(-reach),
                    to,
                    clamp: [from > -reach, false],
                })
            }
            (Some(from), None) => {
                let to = from + 2 * half;
                Some(Domain {
                    from,
                    to: to.min(reach),
                    clamp: [false, to < reach],
                })
            }
            (None, None) => {
                let clamp = half < reach;
                let to = half.min(reach);
                Some(Domain {
                    from: -to,
                    to,
                    clamp: [clamp; 2],
                })
            }
        }
    }

    /// Where the domain ends, if the function does not saturate there. Beyond calibration there is a factor in the
    /// operand where zero is out of reach, else one.
    fn end(&self, end: End, side: usize) -> Option<i64> {
        let real = match end {
            End::Saturates(_) => return None,
            End::At(v) => v,
            End::Calibrated if self.function.avoids_zero() => {
                let factor = if (self.span[0] > 0.0) == (side == 0) {
                    1.0 / self.margin
                } else {
                    self.margin
                };
                self.span[side] * factor
            }
            End::Calibrated => self.span[side] + if side == 0 { -1.0 } else { 1.0 },
        };
        let units = real / self.unit();
        let outward = if side == 0 {
            units.floor()
        } else {
            units.ceil()
        };
        Some(outward as i64)
    }

    fn table(&self, s: u8, n: u8, degree: usize, domain: &Domain) -> Option<Table> {
        let (unit, f) = (self.unit(), self.function);
        let at = |z: i64| f.eval(z as f64 * unit);
        // What these functions do, they do within a few units of zero: one polynomial cannot follow. And whatever range a
        // model claims, the work here stays bounded.
        if !f.avoids_zero() && (1i64 << s) as f64 * unit > LONGEST {
            return None;
        }
        // Slack around zero must not cross it.
        if f.avoids_zero() && (domain.from > 0) != (domain.to > 0) {
            return None;
        }
        let magnitude = at(domain.from).abs().max(at(domain.to).abs());
        let magnitude = match f {
            Function::GeluTail | Function::GeluTanhTail => 0.2,
            Function::SiluTail => 0.3,
            _ => magnitude,
        };
        let bits = magnitude.max(self.range).max(1.0).log2().floor() as i32 + 1;
        let room = i32::from(self.result_bits) - bits - 1;
        // Small results need as many bits as large ones where each counts by itself.
        let least = at(domain.from).abs().min(at(domain.to).abs());
        let spread = match self.measure {
            Measure::Largest => 0,
            Measure::Each => (magnitude.max(1.0) / least).log2().ceil().clamp(0.0, 62.0) as i32,
        };
        let wanted = degree as i32 * i32::from(s) + i32::from(self.precision) + 6 + spread;
        let fraction = room.min(wanted.max(i32::from(self.fraction)));
        if !(1..=61).contains(&fraction) {
            return None;
        }
        // Behind a clamped end the function goes on to its limit while the table stays.
        let limit = |side: usize| match f.ends()[side] {
            End::Saturates(limit) if domain.clamp[side] => Some(limit),
            _ => None,
        };
        let limits = [(domain.from, limit(0)), (domain.to, limit(1))];
        let mut error = 0f64;
        let hopeless = 64.0 * self.tolerance(magnitude);
        let centre = (domain.from + domain.to).div_euclid(2);
        let mut coefficients = Vec::with_capacity((degree + 1) << n);
        for v in 0..1i64 << n {
            let u = if v < 1 << (n - 1) { v } else { v - (1 << n) };
            let start = centre + (u << s);
            let from = (start - (1 << s) + 1).max(domain.from - SLACK);
            let to = (start + (1 << s) - 1).min(domain.to + SLACK);
            let from = if f.avoids_zero() {
                from.max(domain.from)
            } else {
                from
            };
            let to = if f.avoids_zero() {
                to.min(domain.to)
            } else {
                to
            };
            if from > to {
                coefficients.resize(coefficients.len() + degree + 1, 0);
                continue;
            }
            let row = interpolate(at, start, s, [from, to], degree, fraction)?;
            let value = |z: i64| {
                let low = (z - start) as u64;
                let terms = row.iter().rev();
                let ring = terms.fold(0u64, |sum, c| sum.wrapping_mul(low).wrapping_add(*c as u64));
                ring as i64 as f64 * 2f64.powi(-fraction)
            };
            // Dense enough to see whatever these functions do, which all do it within a few units of 1, or by factors.
            let samples = match f.avoids_zero() {
                true => SAMPLES,
                false => (((to - from) as f64 * unit * 32.0) as i64).max(SAMPLES),
            };
            for k in 0..=samples {
                let z = from + (to - from) * k / samples;
                error = error.max(self.distance(value(z), at(z)));
            }
            if f.avoids_zero() {
                let ratio = to as f64 / from as f64;
                for k in 0..=4 * SAMPLES {
                    let z = (from as f64 * ratio.powf(k as f64 / (4 * SAMPLES) as f64)) as i64;
                    let z = z.clamp(from, to);
                    error = error.max(self.distance(value(z), at(z)));
                }
            }
            for (end, limit) in limits {
                if let (Some(limit), true) = (limit, (from..=to).contains(&end)) {
                    error = error.max((value(end) - limit).abs());
                    // On the way to its limit the function may rise once more.
                    for k in 1..=64 {
                        let behind = (end as f64 * 2f64.powf(f64::from(k) / 4.0)) as i64;
                        error = error.max((value(end) - at(behind)).abs());
                    }
                }
            }
            if error > hopeless {
                return None;
            }
            coefficients.extend(row);
        }
        let clamp = |side: usize, z: i64| domain.clamp[side].then_some(z);
        Some(Table {
            segment_bits: s,
            index_bits: n,
            coefficients,
            fraction: fraction as u8,
            centre,
            clamp: [clamp(0, domain.from), clamp(1, domain.to)],
            magnitude,
            error,
        })
    }
}

/// The polynomial through Chebyshev nodes of `from..=to`, in the distance from `start`, at `fraction`.
fn interpolate(
    at: impl Fn(i64) -> f64,
    start: i64,
    s: u8,
    [from, to]: [i64; 2],
    degree: usize,
    fraction: i32,
) -> Option<Vec<i64>> {
    let size = (1i64 << s) as f64;
    let (middle, radius) = ((from + to) as f64 / 2.0, (to - from) as f64 / 2.0);
    // Nodes on the grid of units; those of a short interval may coincide.
    let mut nodes: Vec<i64> = (0..=degree)
        .map(|i| {
            let angle = std::f64::consts::PI * (i as f64 + 0.5) / (degree as f64 + 1.0);
            (middle + radius * angle.cos()).round() as i64
        })
        .collect();
    nodes.dedup();
    // Newton's divided differences in t = low / 2^s.
    let t: Vec<f64> = nodes.iter().map(|z| (z - start) as f64 / size).collect();
    let mut differences: Vec<f64> = nodes.iter().map(|z| at(*z)).collect();
    for order in 1..t.len() {
        for i in (order..t.len()).rev() {
            differences[i] = (differences[i] - differences[i - 1]) / (t[i] - t[i - order]);
        }
    }
    let mut powers = vec![0.0; degree + 1];
    for (d, node) in differences.iter().zip(&t).rev() {
        // powers = powers * (t - node) + d
        for i in (1..=degree).rev() {
            powers[i] = powers[i - 1] - node * powers[i];
        }
        powers[0] = d - node * powers[0];
    }
    let rounded = powers.iter().enumerate().map(|(d, a)| {
        let scaled = (a * 2f64.powi(fraction - d as i32 * i32::from(s))).round();
        (scaled.abs() < 2f64.powi(62)).then_some(scaled as i64)
    });
    rounded.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::{LinkProfile, Rates};

    fn request(function: Function, span: [f64; 2], bound_bits: u8) -> Request {
        Request {
            function,
            fraction: 16,
            bound_bits,
            span,
            result_bits: 59,
            range: 1.0,
            precision: 10,
            measure: Measure::Largest,
            margin: 2.0,
            model: CostModel::new(
                LinkProfile {
                    round_trip: Duration::ZERO,
                    ..LinkProfile::LOOPBACK
                },
                Rates::DEFAULT,
            ),
            elements: 1 << 16,
        }
    }

    #[test]
    fn sigmoid_takes_a_small_table() {
        let table = fit(&request(Function::Sigmoid, [-30.0, 30.0], 24)).unwrap();
        assert!(table.error <= 2f64.powi(-10));
        assert!(table.coefficients.len() <= 96, "{table:?}");
        assert!(table.clamp.iter().all(Option::is_some));
        // A small operand needs neither clamp nor as many segments.
        let near = fit(&request(Function::Sigmoid, [-1.0, 1.0], 17)).unwrap();
        assert_eq!(near.clamp, [None, None]);
        assert!(near.coefficients.len() < table.coefficients.len());
    }

    #[test]
    fn what_cannot_be_done_says_how_far_it_gets() {
        let mut hard = request(Function::Reciprocal, [1e-4, 100.0], 24);
        hard.precision = 20;
        assert!(fit(&hard).unwrap_err() > 2f64.powi(-20));
    }
}
