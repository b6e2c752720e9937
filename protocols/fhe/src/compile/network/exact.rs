//! Exact mode: networks whose encrypted answer equals the integer reference on every record.
//!
//! A table tells few cells apart at failure 2^-128, far fewer than an accumulator has values. In approximate mode
//! accumulators lie anywhere in a cell, and noise decides at its borders. Here they are integers on a lattice of the torus
//! whose points the noise never confuses, and they are *cut* to the middles of cells before they are read ([`cut`]): low
//! bits are looked up on their own and subtracted, as in the homomorphic floor of Liu, Micciancio and Polyakov
//! (*Large-Precision Homomorphic Sign Evaluation using FHEW/TFHE Bootstrapping*, ASIACRYPT 2022). One bit costs one
//! bootstrap, up to a table's width costs two.
//!
//! * **Sums of inputs** carry almost no noise: their lattice is as fine as the cut is worth.
//! * **Sums of results of tables** carry theirs: the lattice is what 13 deviations leave, so weights are a few units.
//! * **Outputs** are not cut, since the client can add up: each is sent as several sums, where each next one has the weights
//!   that the one before rounded away. The linear parts of kinks (`a z` of `a z + b |z|`) are sums of inputs and are
//!   sent on their own too.
//!
//! Every combination of [`Shape`] is built in integers on the calibration records, the cheapest within the tolerance
//! wins, and [`Program::prove`](crate::Program::prove) has the last word on noise. That accumulators are in the middles of
//! cells once they are cut is shown by a test that goes through all values of all cuts (`exact/emit.rs`).

mod answer;
mod cut;
mod emit;
mod sums;
mod units;

use super::lower::Lowered;
use crate::compile::linear::grid;
use crate::compile::{Options, fidelity};
use crate::encoder::{Code, Decoder, Encoder};
use crate::error::CompileError;
use crate::model::{Decision, Head};
use crate::package::{Fidelity, Method, Package, Range};
use crate::parameters::ParameterSet;
use crate::program::Exactness;
use answer::Answer;
use units::Units;

/// Limits of inputs that are tried.
const LIMITS: [i64; 4] = [3, 7, 15, 31];
/// Bits below the cells of tables that sums of inputs have, by parameter set.
const FINE: [u32; 6] = [0, 1, 3, 4, 5, 7];
/// Levels that results of tables have, as shares of a table's cells.
const COARSE: [u32; 3] = [1, 2, 4];
/// Sums that a score is sent as, at most, beside its linear part.
const PARTS: usize = 4;
/// Sums that are sent as long as there is a choice: an answer of 17 kB.
const MOST_SUMS: usize = 48;
/// Calibration records that settings are compared on, at most.
const COMPARED: usize = 400;
/// Share of calibration records beyond which a change of class makes it another model; for values, their error relative to
/// their spread.
const WORST: f64 = 0.1;
const WORST_OF_VALUES: f64 = 0.3;

/// One way to make a network of integers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    set: ParameterSet,
    /// Inputs are within `±limit`.
    limit: i64,
    /// Low bits of sums of inputs that are cut off.
    fine: u32,
    /// Levels of a table's results.
    levels: u32,
}

impl Shape {
    /// Binary logarithm of the cells that the torus has.
    fn cells(&self) -> u32 {
        cut::cells(self.set)
    }
}

/// A network in integers, on some calibration records.
struct Attempt {
    units: Units,
    answer: Answer,
    parts: usize,
    fidelity: Fidelity,
    is_within: bool,
}

pub(super) fn compile(
    lowered: &Lowered,
    head: &Head,
    records: &[Vec<f32>],
    traces: &[Vec<f64>],
    options: &Options,
) -> Result<Package, CompileError> {
    let stride = records.len().div_ceil(COMPARED);
    let some: Vec<&Vec<f64>> = traces.iter().step_by(stride).collect();
    let float: Vec<Vec<f64>> = some.iter().map(|t| scores(lowered, t)).collect();
    let mut tried: Vec<(f64, Shape, Fidelity, bool)> = Vec::new();
    let mut refusal = None;
    let attempt = |shape: Shape| {
        let (offset, step) = grid(lowered.inputs, records, shape.limit);
        attempt(lowered, head, &some, &float, shape, &offset, &step, options)
    };
    let mut steps: Vec<(f64, ParameterSet, u32)> = ParameterSet::ALL
        .into_iter()
        .filter(|set| options.set.is_none_or(|asked| asked == *set))
        .flat_map(|set| {
            FINE.into_iter().filter_map(move |fine| {
                let each = cut::digits(set, fine)?
                    .iter()
                    .map(|d| d.bootstraps())
                    .sum::<usize>()
                    + 1;
                Some((
                    each as f64 * crate::compile::trees::relative_time(set),
                    set,
                    fine,
                ))
            })
        })
        .collect();
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (_, set, fine) in steps {
        for limit in LIMITS {
            let mut least = f64::INFINITY;
            for coarse in COARSE {
                let levels = (1u32 << (cut::cells(set) - 1)) / coarse;
                let shape = Shape {
                    set,
                    limit,
                    fine,
                    levels,
                };
                match attempt(shape) {
                    Ok(found) => {
                        let time = found.units.bootstraps() as f64;
                        let time = time * crate::compile::trees::relative_time(set);
                        tried.push((time, shape, found.fidelity, found.is_within));
                        let error = found.fidelity.rms_error;
                        // Fewer levels help where sums of results are the trouble, and then at once.
                        if error > 0.99 * least {
                            break;
                        }
                        least = error;
                    }
                    Err(error) => refusal = Some(error),
                }
            }
        }
        if tried.iter().any(|(.., is_within)| *is_within) {
            break;
        }
    }
    // Those within the tolerance by time, then the rest by how close they are.
    tried.sort_by(|a, b| {
        let closeness = |f: &Fidelity| (f.records - f.same_class, f.rms_error);
        let (close_a, close_b) = (closeness(&a.2), closeness(&b.2));
        let by_closeness = close_a
            .0
            .cmp(&close_b.0)
            .then(close_a.1.total_cmp(&close_b.1));
        b.3.cmp(&a.3).then(match a.3 {
            true => a.0.total_cmp(&b.0).then(by_closeness),
            false => by_closeness.then(a.0.total_cmp(&b.0)),
        })
    });
    for (_, shape, ..) in tried {
        let (offset, step) = grid(lowered.inputs, records, shape.limit);
        let built = attempt(shape).and_then(|found| {
            package(
                lowered, head, records, traces, &found, shape, &offset, &step,
            )
        });
        match built {
            Ok(package) => return Ok(package),
            // The rest is further off.
            Err(error @ CompileError::Inexact(_)) => return Err(error),
            Err(error) => refusal = Some(error),
        }
    }
    let nothing = || CompileError::Inexact("there is nothing to compute".into());
    Err(refusal.unwrap_or_else(nothing))
}

fn scores(lowered: &Lowered, trace: &[f64]) -> Vec<f64> {
    lowered.outputs.iter().map(|row| row.eval(trace)).collect()
}

#[expect(
    clippy::too_many_arguments,
    reason = "the two callers have them at hand, one by one"
)]
fn attempt(
    lowered: &Lowered,
    head: &Head,
    traces: &[&Vec<f64>],
    float: &[Vec<f64>],
    shape: Shape,
    offset: &[f32],
    step: &[f32],
    options: &Options,
) -> Result<Attempt, CompileError> {
    let units = Units::new(lowered, traces, shape, offset, step)?;
    let answer = Answer::new(lowered, &units, float)?;
    // More sums cost nothing but bytes.
    let fits = |parts: &usize| answer.parts(*parts).count() <= MOST_SUMS;
    let parts = (1..=PARTS).rev().find(fits).unwrap_or(1);
    let fidelity = fidelity(float, &answer.scores(parts), head);
    let drift = 1.5 * options.tolerance.sqrt() * fidelity.rms_score;
    Ok(Attempt {
        is_within: fidelity.is_within(head, options.tolerance) && fidelity.rms_error <= drift,
        fidelity,
        parts,
        units,
        answer,
    })
}

#[expect(
    clippy::too_many_arguments,
    reason = "the only caller has them at hand, one by one"
)]
fn package(
    lowered: &Lowered,
    head: &Head,
    records: &[Vec<f32>],
    traces: &[Vec<f64>],
    found: &Attempt,
    shape: Shape,
    offset: &[f32],
    step: &[f32],
) -> Result<Package, CompileError> {
    let (program, range) = emit::program(found, shape, lowered.inputs)?;
    program.check()?;
    program.prove()?;
    let (scale, score, offsets) = found.answer.decoding(found.parts);
    let decoder = Decoder {
        scale,
        score,
        offset: offsets,
        head: head.clone(),
    };
    let encoder = Encoder {
        features: lowered.inputs as u32,
        steps: Vec::new(),
        code: Code::Grid {
            offset: offset.to_vec(),
            step: step.to_vec(),
            limit: shape.limit,
        },
    };
    let float: Vec<Vec<f64>> = traces.iter().map(|t| scores(lowered, t)).collect();
    let integer = crate::compile::scores(&program, &encoder, &decoder, records)?;
    let fidelity = fidelity(&float, &integer, head);
    let worst = match head.decision {
        Decision::Values => WORST_OF_VALUES,
        _ => WORST,
    };
    if !fidelity.is_within(head, worst) {
        let problem = format!(
            "with as few bits as the noise leaves to weights, {} of {} calibration records keep their class, and scores \
             are off by {:.2e} of {:.2e}",
            fidelity.same_class, fidelity.records, fidelity.rms_error, fidelity.rms_score
        );
        return Err(CompileError::Inexact(problem));
    }
    Ok(Package {
        program,
        encoder,
        decoder,
        fidelity,
        method: Method::Network(Exactness::Exact),
        range: if range {
            Range::Proven
        } else {
            Range::Calibrated
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::expr::Expr;
    use super::super::rows::Row;
    use super::*;

    /// `2 x^2 - 1`, so many times: each doubles what was rounded before.
    fn iterated(times: usize) -> Lowered {
        let x = || Box::new(Expr::X);
        let map = Expr::Affine(Box::new(Expr::Mul(x(), x())), 2.0, -1.0);
        Lowered {
            inputs: 1,
            units: (0..times).map(|u| (Row::source(u), map.clone())).collect(),
            outputs: vec![Row::source(times)],
        }
    }

    fn compiled(times: usize) -> Result<Package, CompileError> {
        let lowered = iterated(times);
        let records: Vec<Vec<f32>> = (0..=100).map(|r| vec![r as f32 / 50.0 - 1.0]).collect();
        let traces: Vec<Vec<f64>> = records.iter().map(|r| lowered.trace(r)).collect();
        let head = Head {
            decision: Decision::Values,
            labels: Vec::new(),
        };
        compile(&lowered, &head, &records, &traces, &Options::default())
    }

    #[test]
    fn what_too_few_bits_make_another_model_of_is_refused() {
        let package = compiled(1).map_err(|e| e.to_string());
        assert_eq!(
            package.map(|p| p.method),
            Ok(Method::Network(Exactness::Exact))
        );
        let error = compiled(8).map(|_| ()).map_err(|e| e.to_string());
        assert!(error.is_err_and(|e| e.contains("cannot be exact: with as few bits")));
    }
}
