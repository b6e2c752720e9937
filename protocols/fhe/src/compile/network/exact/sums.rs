//! Sums of integers that stand for real numbers.

use crate::program::INPUT_SHIFT;

/// Bits of the torus below an input's unit.
const INPUT_LOG: u32 = 64 - INPUT_SHIFT;
/// How often all weights are gone through for errors that cancel.
const SWEEPS: usize = 2;
/// What a weight's own error counts beside that of the sum, so that few calibration records do not mislead.
const OWN: f64 = 0.1;

/// An integer of which sums are made.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Real value of 0.
    pub(super) zero: f64,
    /// Real value of 1 above that of 0; 0 for a unit that says nothing.
    pub(super) one: f64,
    /// On the calibration records.
    pub(super) values: Vec<i32>,
    /// The same around their mean.
    pub(super) centred: Vec<f32>,
    /// Least and most that it can be.
    pub(super) bounds: (i64, i64),
    /// On the torus, 1 is `2^-log`.
    pub(super) log: u32,
    /// On the torus, twice the integer that is at 0: results of tables are centred.
    pub(super) centre2: i64,
}

impl Source {
    /// An input from its values.
    pub(super) fn input(offset: f32, step: f32, limit: i64, values: Vec<i32>) -> Self {
        Self {
            zero: f64::from(offset),
            one: f64::from(step),
            centred: centred(&values),
            values,
            bounds: (-limit, limit),
            log: INPUT_LOG,
            centre2: 0,
        }
    }
}

/// `constant + sum of weight source`, in integers.
#[derive(Clone, Debug)]
pub(super) struct Sum {
    pub(super) terms: Vec<(usize, i64)>,
    pub(super) constant: i64,
    /// Real value of 1.
    pub(super) scale: f64,
    /// On the calibration records.
    pub(super) values: Vec<i64>,
    /// Least and most that it can be.
    pub(super) bounds: (i64, i64),
}

/// What a sum must keep to.
pub(super) struct Room {
    /// Least and most value.
    pub(super) low: i64,
    pub(super) high: i64,
    /// Squared norm of weights.
    pub(super) norm2: f64,
}

impl Sum {
    /// The sum of `terms` (source, real weight of its integer) that follows `target`, with the finest scale from `scale` on
    /// that keeps to `room`. Its constant is the one that is right on average.
    pub(super) fn fit(
        sources: &[Source],
        terms: &[(usize, f64)],
        target: &[f64],
        mut scale: f64,
        room: &Room,
    ) -> Self {
        loop {
            let integers: Vec<i64> = terms
                .iter()
                .map(|(_, w)| (w / scale).round() as i64)
                .collect();
            let norm2: f64 = integers.iter().map(|w| (*w as f64).powi(2)).sum();
            if norm2 > room.norm2 {
                scale *= 1.03;
                continue;
            }
            let integers = refined(sources, terms, integers, scale, room.norm2);
            let mut values = vec![0i64; target.len()];
            for (s, w) in &integers {
                for (sum, v) in values.iter_mut().zip(&sources[*s].values) {
                    *sum += w * i64::from(*v);
                }
            }
            let apart = target
                .iter()
                .zip(&values)
                .map(|(t, v)| t / scale - *v as f64);
            let mut constant = (apart.sum::<f64>() / target.len() as f64).round() as i64;
            let least = values.iter().min().copied().unwrap_or(0);
            let most = values.iter().max().copied().unwrap_or(0);
            if most - least > room.high - room.low {
                scale *= 1.03;
                continue;
            }
            constant = constant.clamp(room.low - least, room.high - most);
            values.iter_mut().for_each(|v| *v += constant);
            let bound = |pick: fn((i64, i64)) -> i64, other: fn((i64, i64)) -> i64| {
                let reach = |(s, w): &(usize, i64)| {
                    let bounds = sources[*s].bounds;
                    w * if *w > 0 { pick(bounds) } else { other(bounds) }
                };
                constant + integers.iter().map(reach).sum::<i64>()
            };
            return Self {
                bounds: (bound(|b| b.0, |b| b.1), bound(|b| b.1, |b| b.0)),
                terms: integers,
                constant,
                scale,
                values,
            };
        }
    }

    /// Whether it keeps to the room for any record.
    pub(super) fn always_fits(&self, room: &Room) -> bool {
        self.bounds.0 >= room.low && self.bounds.1 <= room.high
    }
}

/// Weights near those of plain rounding with which errors cancel each other on the calibration records: one by one, each
/// is moved to where the sum of all is closest, as in the rounding of Frantar et al. (*GPTQ*, ICLR 2023) but in place.
fn refined(
    sources: &[Source],
    terms: &[(usize, f64)],
    mut integers: Vec<i64>,
    scale: f64,
    most: f64,
) -> Vec<(usize, i64)> {
    let records = terms.first().map_or(0, |(s, _)| sources[*s].centred.len());
    let mut residual = vec![0.0f32; records];
    let mut norm2 = 0.0;
    let add = |residual: &mut [f32], source: usize, weight: f64| {
        let weight = weight as f32;
        for (r, x) in residual.iter_mut().zip(&sources[source].centred) {
            *r += weight * x;
        }
    };
    for ((s, w), i) in terms.iter().zip(&integers) {
        add(&mut residual, *s, w - scale * *i as f64);
        norm2 += (*i as f64).powi(2);
    }
    for _ in 0..SWEEPS {
        for ((s, w), i) in terms.iter().zip(&mut integers) {
            let x = &sources[*s].centred;
            let squares = f64::from(x.iter().map(|x| x * x).sum::<f32>());
            if squares == 0.0 {
                // It says nothing, and would amplify noise.
                norm2 -= (*i as f64).powi(2);
                *i = 0;
                continue;
            }
            let product: f32 = x.iter().zip(&residual).map(|(x, r)| x * r).sum();
            let own = w - scale * *i as f64;
            let pull = f64::from(product) + OWN * squares * own;
            let by = (pull / ((1.0 + OWN) * squares * scale)).round();
            let more = by * (2.0 * *i as f64 + by);
            if by != 0.0 && norm2 + more <= most {
                norm2 += more;
                *i += by as i64;
                add(&mut residual, *s, -scale * by);
            }
        }
    }
    let kept = terms.iter().zip(integers);
    kept.map(|((s, _), i)| (*s, i))
        .filter(|(_, i)| *i != 0)
        .collect()
}

/// Around their mean.
pub(super) fn centred(values: &[i32]) -> Vec<f32> {
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64;
    values
        .iter()
        .map(|v| (f64::from(*v) - mean) as f32)
        .collect()
}

/// The sum of `terms` on each record.
pub(super) fn real(sources: &[Source], terms: &[(usize, f64)], records: usize) -> Vec<f64> {
    let mut sums = vec![0.0; records];
    for (s, w) in terms {
        for (sum, v) in sums.iter_mut().zip(&sources[*s].values) {
            *sum += w * f64::from(*v);
        }
    }
    sums
}

/// Slope and value at zero of the line through `y` over `x`; a constant where `x` is one.
pub(super) fn line(x: &[i64], y: &[f64]) -> (f64, f64) {
    let count = x.len() as f64;
    let mean_x = x.iter().map(|v| *v as f64).sum::<f64>() / count;
    let mean_y = y.iter().sum::<f64>() / count;
    let (mut squares, mut products) = (0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let x = *x as f64 - mean_x;
        squares += x * x;
        products += x * (y - mean_y);
    }
    let slope = if squares > 0.0 {
        products / squares
    } else {
        0.0
    };
    (slope, mean_y - slope * mean_x)
}

/// Least and most.
pub(super) fn extent(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(*v), h.max(*v))
        })
}
