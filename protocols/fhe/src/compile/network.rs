//! Networks: alternating sums and functions of one value.
//!
//! [`lower`] turns a graph into rows (sums of sources) and units (a function of a row). Here they get integers.
//!
//! * **Inputs** are 8-bit; their weights have as many bits as the torus has room for, since fresh noise is tiny.
//! * **A function** is read from the accumulator as it is, through a table of `N` entries without cells: what noise moves
//!   is the position by a few entries, not a quantum of the activation. Results are approximate.
//! * **Kinks at zero** (`Relu`, `LeakyRelu`) of sums of inputs are `a z + b |z|`. The first term is a sum of inputs again and
//!   moves on into the next rows. `|z| - R/2` over `[-R, R]` is antiperiodic, so the table serves all of the torus: twice the
//!   resolution of one that serves the half, at no cost.
//! * **Linear enough** units of sums of inputs, if asked for ([`Activations::Necessary`]), lose their table: the line
//!   through what they gave on calibration records takes its place, for those whose results change least, as long as the
//!   whole stays within the tolerance.
//! * **Weights after a table** are small integers, since they multiply the table's noise; each unit's table is scaled so
//!   that its largest weight is the largest integer, and the integer's size is chosen to balance rounding and noise.

mod exact;
mod expr;
mod lower;
mod quantiser;
mod rows;

use ai_link_program::Graph;

use super::{Activations, Options, fidelity, linear};
use crate::encoder::{Code, Decoder, Encoder};
use crate::error::CompileError;
use crate::model::{Decision, Head};
use crate::noise;
use crate::package::{Method, Package, Range};
use crate::parameters::ParameterSet;
use crate::program::{Bootstrap, CachedId, Exactness, Output, Program, Table};
use expr::Expr;
use lower::Lowered;
use quantiser::Quantiser;
use rows::Row;

/// Inputs are within `±INPUT_LIMIT`.
const INPUT_LIMIT: i64 = 127;
/// How far beyond what calibration reached accumulators may go.
const HEADROOM: f64 = 1.15;
const ANSWER_BITS: u8 = 18;
/// In exact mode, where sums of inputs are sent too.
const ANSWER_BITS_EXACT: u8 = 22;
/// Torus units of one in an output: much finer than noise.
const OUTPUT_STEP: u64 = 1 << 44;
/// Entries of tables, as fractions of the largest.
const ENTRY_BITS: u32 = 24;
/// Largest integers that weights after a table are tried with.
const WEIGHTS: [i64; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 31, 45, 63];

const TORUS: f64 = 18_446_744_073_709_551_616.0;

/// The line through the results of a unit on calibration records, over its row: slope, value at zero, and the variance
/// that it leaves.
fn line(row: &Row, source: usize, traces: &[Vec<f64>]) -> (f64, f64, f64) {
    let count = traces.len() as f64;
    let points: Vec<(f64, f64)> = traces.iter().map(|t| (row.eval(t), t[source])).collect();
    let mean_z = points.iter().map(|p| p.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|p| p.1).sum::<f64>() / count;
    let squares: f64 = points.iter().map(|p| (p.0 - mean_z).powi(2)).sum();
    let products: f64 = points.iter().map(|p| (p.0 - mean_z) * (p.1 - mean_y)).sum();
    let slope = if squares > 0.0 {
        products / squares
    } else {
        0.0
    };
    let at_zero = mean_y - slope * mean_z;
    let left: f64 = points
        .iter()
        .map(|p| (p.1 - at_zero - slope * p.0).powi(2))
        .sum();
    (slope, at_zero, left / count)
}

impl Unit {
    /// The unit without its table.
    fn linearised(&self, lowered: &Lowered, u: usize, traces: &[Vec<f64>]) -> Self {
        let (pass, zero, _) = line(&lowered.units[u].0, lowered.inputs + u, traces);
        Self {
            pass,
            zero,
            amplitude: 0.0,
            mean: 0.0,
            variance: 0.0,
            ..self.clone()
        }
    }
}

/// What a unit's table holds, in real numbers: the source is `mean + amplitude g`, with `g` in `[-1, 1]` from the table.
#[derive(Clone)]
struct Unit {
    /// Added to whoever reads the unit: `a` of its own row.
    pass: f64,
    /// What `g = 0` stands for.
    zero: f64,
    /// What `g = 1` stands for, above `zero`.
    amplitude: f64,
    /// Accumulator at phase 0, and torus per real unit.
    start: f64,
    slope: f64,
    table: Table,
    /// `g` on calibration records: mean and variance.
    mean: f64,
    variance: f64,
}

pub(super) fn compile(
    graph: &Graph,
    records: &[Vec<f32>],
    options: &Options,
) -> Result<Package, CompileError> {
    let lowered = lower::lower(graph)?;
    let set = options.set.unwrap_or(ParameterSet::Ring1024);
    let want = lowered.inputs;
    let wrong = |r: &Vec<f32>| r.len() != want || r.iter().any(|v| !v.is_finite());
    if records.is_empty() || records.iter().any(wrong) {
        let record = records.iter().position(wrong).unwrap_or(0);
        return Err(CompileError::Calibration { want, record });
    }
    let traces: Vec<Vec<f64>> = records.iter().map(|r| lowered.trace(r)).collect();
    if options.networks == Exactness::Exact {
        if options.activations != Activations::All {
            let problem = "in exact mode every activation keeps its table";
            return Err(CompileError::Inexact(problem.into()));
        }
        let head = head(graph, lowered.outputs.len());
        return exact::compile(&lowered, &head, records, &traces, options);
    }
    let (offset, step) = linear::grid(want, records, INPUT_LIMIT);
    let units: Vec<Unit> = lowered
        .units
        .iter()
        .enumerate()
        .map(|(i, (row, expr))| unit(&lowered, row, expr, want + i, &traces, set))
        .collect();
    let setting = Setting {
        graph,
        lowered: &lowered,
        records,
        traces: &traces,
        set,
        offset,
        step,
    };
    let units = setting.audible(&units);
    let all = setting.build(&units)?;
    if options.activations == Activations::All {
        return Ok(all);
    }
    // The least important units become linear, as many as the tolerance allows.
    let order = setting.by_importance(&units);
    let within = |package: &Package| {
        let head = &package.decoder.head;
        let drift = package.fidelity.rms_error - all.fidelity.rms_error;
        package.fidelity.is_within(head, options.tolerance)
            && drift <= options.tolerance.sqrt() * package.fidelity.rms_score
    };
    let (mut best, mut low, mut high) = (all.clone(), 0, order.len());
    while low < high {
        let count = (low + high).div_ceil(2);
        let mut fewer = units.clone();
        for u in &order[..count] {
            fewer[*u] = units[*u].linearised(&lowered, *u, &traces);
        }
        let package = setting.build(&fewer)?;
        if within(&package) {
            (best, low) = (package, count);
        } else {
            high = count - 1;
        }
    }
    Ok(best)
}

/// What all programs for one network have in common.
struct Setting<'a> {
    graph: &'a Graph,
    lowered: &'a Lowered,
    records: &'a [Vec<f32>],
    traces: &'a [Vec<f64>],
    set: ParameterSet,
    offset: Vec<f32>,
    step: Vec<f32>,
}

impl Setting<'_> {
    /// Torus per real unit of outputs.
    fn output_slope(&self) -> f64 {
        let outputs = &self.lowered.outputs;
        let largest = self
            .traces
            .iter()
            .flat_map(|t| outputs.iter().map(|row| row.eval(t)))
            .fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
        0.5 / (HEADROOM * largest)
    }

    /// Units without those that say less than their own noise would: dead ones, above all.
    fn audible(&self, units: &[Unit]) -> Vec<Unit> {
        let inputs = self.lowered.inputs;
        let slope = self.output_slope();
        let rows = self.lowered.units.iter().map(|(row, _)| row);
        let readers: Vec<(&Row, f64)> = rows
            .zip(units.iter().map(|u| u.slope))
            .chain(self.lowered.outputs.iter().map(|row| (row, slope)))
            .collect();
        let all: Vec<usize> = (0..units.len()).collect();
        let loudest = scales(&all, &readers, units, inputs, 1);
        let noise = noise::bootstrapped(self.set).sqrt();
        let keep = |(u, unit): (usize, &Unit)| {
            if loudest[u] * unit.variance.sqrt() > noise {
                return unit.clone();
            }
            Unit {
                zero: unit.zero + unit.amplitude * unit.mean,
                amplitude: 0.0,
                ..unit.clone()
            }
        };
        units.iter().enumerate().map(keep).collect()
    }

    /// Units of sums of inputs, those first whose results change least when they become linear (selective
    /// linearisation: Cho, Joshi, Garg, Reagen, Hegde, *Selective Network Linearization for Efficient Private Inference*,
    /// ICML 2022, by least squares instead of training).
    fn by_importance(&self, units: &[Unit]) -> Vec<usize> {
        let inputs = self.lowered.inputs;
        let mut weight = vec![0.0; units.len()];
        let rows = self.lowered.units.iter().map(|(row, _)| row);
        for row in rows.chain(&self.lowered.outputs) {
            for (source, w) in &row.terms {
                if let Some(u) = source.checked_sub(inputs) {
                    weight[u] += w * w;
                }
            }
        }
        let mut ranked: Vec<(f64, usize)> = (0..units.len())
            .filter(|u| {
                self.lowered.units[*u]
                    .0
                    .terms
                    .iter()
                    .all(|(s, _)| *s < inputs)
            })
            .map(|u| {
                let (_, _, residual) = line(&self.lowered.units[u].0, inputs + u, self.traces);
                (residual * weight[u], u)
            })
            .collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        ranked.into_iter().map(|(_, u)| u).collect()
    }

    /// The program in which units with an amplitude are tables.
    fn build(&self, units: &[Unit]) -> Result<Package, CompileError> {
        let (lowered, traces, set) = (self.lowered, self.traces, self.set);
        let want = lowered.inputs;
        // Rows that read a unit with a linear part read that unit's row instead.
        let resolved: Vec<Row> = lowered
            .units
            .iter()
            .map(|(row, _)| resolve(row, lowered, units))
            .collect();
        let outputs: Vec<Row> = lowered
            .outputs
            .iter()
            .map(|row| resolve(row, lowered, units))
            .collect();
        let output_slope = self.output_slope();
        let slopes: Vec<f64> = units.iter().map(|u| u.slope).collect();
        let readers: Vec<(&Row, f64)> = resolved
            .iter()
            .zip(&slopes)
            .map(|(r, s)| (r, *s))
            .chain(outputs.iter().map(|r| (r, output_slope)))
            .collect();
        let depth = lowered.depths();
        let layers = depth.iter().copied().max().map_or(0, |d| d + 1);
        let mut gains = vec![0.0; units.len()];
        for layer in 0..layers {
            let members: Vec<usize> = (0..units.len())
                .filter(|u| depth[*u] == layer && units[*u].amplitude != 0.0)
                .collect();
            let most = largest_weight(&members, &readers, units, want, set);
            for (u, gain) in members
                .iter()
                .zip(scales(&members, &readers, units, want, most))
            {
                gains[*u] = gain;
            }
        }
        let encode = Quantiser {
            inputs: want,
            offset: &self.offset,
            step: &self.step,
            units,
            gains: &gains,
            order: order(&depth, units),
        };
        let mut tables: Vec<Table> = Vec::new();
        let mut program_layers: Vec<Vec<Bootstrap>> = vec![Vec::new(); layers];
        for u in encode.sequence() {
            let at = tables
                .iter()
                .position(|t| *t == units[u].table)
                .unwrap_or_else(|| {
                    tables.push(units[u].table.clone());
                    tables.len() - 1
                });
            let shifted = Row {
                constant: resolved[u].constant - units[u].start,
                terms: resolved[u].terms.clone(),
            };
            program_layers[depth[u]].push(Bootstrap {
                form: encode.form(&shifted, units[u].slope),
                table: at as u32,
                gain: (gains[u] * TORUS / f64::from(1u32 << ENTRY_BITS)).round() as i64,
            });
        }
        program_layers.retain(|l| !l.is_empty());
        let program = Program {
            set,
            exactness: Exactness::Approximate,
            inputs: want as u32,
            input_bits: 8,
            tables,
            layers: program_layers,
            outputs: outputs
                .iter()
                .map(|row| Output {
                    form: encode.form(row, output_slope),
                    step: OUTPUT_STEP,
                })
                .collect(),
            answer_bits: ANSWER_BITS,
            id: CachedId::default(),
        };
        program.check()?;
        program.prove()?;
        let head = head(self.graph, outputs.len());
        let decoder = Decoder::each(
            vec![OUTPUT_STEP as f64 / TORUS / output_slope; outputs.len()],
            vec![0.0; outputs.len()],
            head,
        );
        let encoder = Encoder {
            features: want as u32,
            steps: Vec::new(),
            code: Code::Grid {
                offset: self.offset.clone(),
                step: self.step.clone(),
                limit: INPUT_LIMIT,
            },
        };
        let float: Vec<Vec<f64>> = traces
            .iter()
            .map(|t| lowered.outputs.iter().map(|row| row.eval(t)).collect())
            .collect();
        let integer = super::scores(&program, &encoder, &decoder, self.records)?;
        Ok(Package {
            fidelity: fidelity(&float, &integer, &decoder.head),
            method: Method::Network(Exactness::Approximate),
            range: Range::Calibrated,
            program,
            encoder,
            decoder,
        })
    }
}

/// Scores of the graph in floats.
pub(super) fn run_float(
    graph: &Graph,
    records: &[Vec<f32>],
) -> Result<Vec<crate::Reading>, CompileError> {
    let lowered = lower::lower(graph)?;
    let head = head(graph, lowered.outputs.len());
    let one = |(record, r): (usize, &Vec<f32>)| {
        if r.len() != lowered.inputs {
            return Err(CompileError::Calibration {
                want: lowered.inputs,
                record,
            });
        }
        let trace = lowered.trace(r);
        let scores: Vec<f64> = lowered.outputs.iter().map(|row| row.eval(&trace)).collect();
        let class = head.class(&scores);
        Ok(crate::Reading { scores, class })
    };
    records.iter().enumerate().map(one).collect()
}

fn head(graph: &Graph, outputs: usize) -> Head {
    let is_probability = graph.outputs().iter().any(|o| !o.post.is_empty());
    let decision = match outputs {
        1 if is_probability => Decision::Above(0.0),
        1 => Decision::Values,
        _ => Decision::Largest,
    };
    let classes = match decision {
        Decision::Values => 0,
        _ => outputs.max(2),
    };
    Head {
        decision,
        labels: (0..classes).map(|i| i.to_string()).collect(),
    }
}

/// A row with the linear parts of the units that it reads put in.
fn resolve(row: &Row, lowered: &Lowered, units: &[Unit]) -> Row {
    let mut parts = vec![Row {
        terms: row.terms.clone(),
        constant: row.constant,
    }];
    for (source, weight) in &row.terms {
        if let Some(u) = source.checked_sub(lowered.inputs)
            && units[u].pass != 0.0
        {
            parts.push(lowered.units[u].0.scaled(weight * units[u].pass));
        }
    }
    Row::sum(&parts)
}

/// How a unit is read from a table.
fn unit(
    lowered: &Lowered,
    row: &Row,
    expr: &Expr,
    source: usize,
    traces: &[Vec<f64>],
    set: ParameterSet,
) -> Unit {
    let entries = set.degree();
    let z: Vec<f64> = traces.iter().map(|t| row.eval(t)).collect();
    let (low, high) = z
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(*v), h.max(*v))
        });
    let of_inputs = row.terms.iter().all(|(s, _)| *s < lowered.inputs);
    let middle = |i: usize| (i as f64 + 0.5) / entries as f64;
    let whole = f64::from(1u32 << ENTRY_BITS);
    let table = |g: &dyn Fn(usize) -> f64| {
        let values: Vec<i64> = (0..entries)
            .map(|i| (g(i) * whole).round() as i64)
            .collect();
        Table::from_entries(&values, 0)
    };
    let mut unit = match expr.kink() {
        Some((negative, positive, at_zero)) if of_inputs => {
            // b |z| = b R (g' + 1/2), g' = |z| / R - 1/2; g = 2 g'.
            let range = HEADROOM * low.abs().max(high.abs()).max(f64::MIN_POSITIVE);
            let (pass, b) = ((negative + positive) / 2.0, (positive - negative) / 2.0);
            Unit {
                pass,
                zero: at_zero + b * range / 2.0,
                amplitude: b * range / 2.0,
                start: 0.0,
                slope: 0.5 / range,
                table: table(&|i| 2.0 * middle(i) - 1.0),
                mean: 0.0,
                variance: 0.0,
            }
        }
        _ => {
            let span = (high - low).max(1e-9 * high.abs().max(1.0));
            let room = (HEADROOM - 1.0) * span;
            let (low, span) = (low - room, span + 2.0 * room);
            let f: Vec<f64> = (0..entries)
                .map(|i| expr.eval(low + span * middle(i)))
                .collect();
            let (least, most) = f
                .iter()
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
                    (l.min(*v), h.max(*v))
                });
            let (zero, amplitude) = ((least + most) / 2.0, ((most - least) / 2.0).max(1e-12));
            Unit {
                pass: 0.0,
                zero,
                amplitude,
                start: low,
                slope: 0.5 / span,
                table: table(&|i| (f[i] - zero) / amplitude),
                mean: 0.0,
                variance: 0.0,
            }
        }
    };
    let g = |t: &Vec<f64>, z: &f64| (t[source] - unit.pass * z - unit.zero) / unit.amplitude;
    let count = traces.len() as f64;
    let values: Vec<f64> = traces.iter().zip(&z).map(|(t, z)| g(t, z)).collect();
    let values: Vec<f64> = values
        .into_iter()
        .map(|v| if v.is_finite() { v } else { 0.0 })
        .collect();
    unit.mean = values.iter().sum::<f64>() / count;
    unit.variance = values.iter().map(|v| (v - unit.mean).powi(2)).sum::<f64>() / count;
    unit
}

/// The largest integer weight that makes rounding and noise together least.
fn largest_weight(
    members: &[usize],
    readers: &[(&Row, f64)],
    units: &[Unit],
    inputs: usize,
    set: ParameterSet,
) -> i64 {
    let noise = noise::bootstrapped(set);
    let cost = |most: i64| {
        let gains = scales(members, readers, units, inputs, most);
        let mut sum = 0.0;
        for (row, slope) in readers {
            for (source, weight) in &row.terms {
                let Some(place) = source
                    .checked_sub(inputs)
                    .and_then(|u| members.iter().position(|m| *m == u))
                else {
                    continue;
                };
                let unit = &units[members[place]];
                let exact = weight * unit.amplitude * slope;
                let integer = (exact / gains[place]).round();
                sum += noise * integer * integer;
                sum += (exact - integer * gains[place]).powi(2) * unit.variance;
            }
        }
        sum
    };
    let mut best = (f64::INFINITY, 1);
    for most in WEIGHTS {
        let cost = cost(most);
        if cost < best.0 {
            best = (cost, most);
        }
    }
    best.1
}

/// Torus that `g = 1` of each member takes, for weights up to `most`.
fn scales(
    members: &[usize],
    readers: &[(&Row, f64)],
    units: &[Unit],
    inputs: usize,
    most: i64,
) -> Vec<f64> {
    let mut largest = vec![0.0f64; units.len()];
    for (row, slope) in readers {
        for (source, weight) in &row.terms {
            if let Some(u) = source.checked_sub(inputs) {
                largest[u] = largest[u].max((weight * units[u].amplitude * slope).abs());
            }
        }
    }
    members
        .iter()
        .map(|u| (largest[*u] / most as f64).clamp(1e-12, 0.25))
        .collect()
}

/// Position of each unit among those with a table, by layer.
fn order(depth: &[usize], units: &[Unit]) -> Vec<usize> {
    let mut sequence: Vec<usize> = (0..depth.len())
        .filter(|u| units[*u].amplitude != 0.0)
        .collect();
    sequence.sort_by_key(|u| depth[*u]);
    let mut order = vec![0; depth.len()];
    sequence.iter().enumerate().for_each(|(i, u)| order[*u] = i);
    order
}
