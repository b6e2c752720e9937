//! Tree ensembles without a comparison under encryption.
//!
//! The client sends, for every threshold of every feature, one bit: above or not. Any function of *one* feature is then
//! a sum of bits, for free. A part of a tree becomes a table look-up ([`groups`]): its features' intervals are numbered,
//! the numbers are added with strides, so that the sum tells which leaf is reached; features that the path from the root
//! constrains add so much outside of their intervals that the sum leaves the cells of the leaves, where the table is
//! zero. What all leaves of a part have in common can be left to a neighbouring part, so the first split of every tree
//! costs nothing.
//!
//! Leaf values become integers ([`quantise`]): the sum over all trees must be told apart from its neighbours through
//! the noise of as many bootstraps. Fewer levels let more leaves of a tree coincide, and coinciding leaves need no look-up.

mod grid;
mod groups;
mod quantise;

use std::collections::HashMap;

use super::{Options, fidelity, scores};
use crate::encoder::{Code, Decoder, Encoder};
use crate::error::CompileError;
use crate::model::{Ensemble, Pipeline};
use crate::noise;
use crate::package::{Method, Package, Range};
use crate::parameters::ParameterSet;
use crate::program::{Bootstrap, CachedId, Exactness, Form, INPUT_SHIFT, Output, Program, Table};
use grid::Grid;
use groups::{Group, Plan};
use quantise::Quantised;

/// How much coarser than the noise asks for leaf values may be, tried in order.
const COARSENESS: [f64; 9] = [1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0];
/// Values of a sum that are tried first: more than any program can tell apart.
const MOST_LEVELS: f64 = 4096.0;
const ANSWER_BITS: u8 = 20;

pub(super) fn compile(
    pipeline: &Pipeline,
    model: &Ensemble,
    prepared: &[Vec<f32>],
    options: &Options,
) -> Result<Package, CompileError> {
    let float: Vec<Vec<f64>> = prepared.iter().map(|x| pipeline.model.eval(x)).collect();
    let grid = Grid::of(model);
    let sets = options.set.map_or(ParameterSet::ALL.to_vec(), |s| vec![s]);
    let mut best: Option<(f64, Package)> = None;
    let mut fallback: Option<(f64, Package)> = None;
    let mut refusal = None;
    for set in sets {
        let build = |levels: f64| attempt(pipeline, model, &grid, prepared, &float, set, levels);
        // As many levels as the noise of as many bootstraps allows; each depends on the other.
        let mut levels = MOST_LEVELS;
        let finest = loop {
            match build(levels) {
                Err(CompileError::Noise { .. }) if levels > 2.0 => levels *= 0.95,
                found => break found,
            }
        };
        if let Err(e) = finest {
            refusal = Some(e);
            continue;
        }
        for coarseness in COARSENESS {
            let Ok(package) = build(levels / coarseness) else {
                continue;
            };
            let cost = package.program.bootstraps() as f64 * relative_time(set);
            if !package
                .fidelity
                .is_within(&pipeline.head, options.tolerance)
            {
                let error = package.fidelity.rms_error;
                if fallback.as_ref().is_none_or(|(e, _)| error < *e) {
                    fallback = Some((error, package));
                }
                continue;
            }
            if best.as_ref().is_none_or(|(c, _)| cost < *c) {
                best = Some((cost, package));
            }
        }
    }
    match (best.or(fallback), refusal) {
        (Some((_, package)), _) => Ok(package),
        (None, Some(refusal)) => Err(refusal),
        (None, None) => Err(CompileError::Model("no setting was tried".into())),
    }
}

/// Time of a bootstrap relative to that of the fastest set; measured by `benchmarks fhe`.
pub(super) fn relative_time(set: ParameterSet) -> f64 {
    match set {
        ParameterSet::Ring1024 => 1.0,
        ParameterSet::Ring2048 => 1.3,
    }
}

/// One program, with about `levels` values of its sums.
fn attempt(
    pipeline: &Pipeline,
    model: &Ensemble,
    grid: &Grid,
    prepared: &[Vec<f32>],
    float: &[Vec<f64>],
    set: ParameterSet,
    levels: f64,
) -> Result<Package, CompileError> {
    let cells = 1usize << (noise::cells(set, 0.0) as usize).ilog2();
    let quantised = Quantised::new(model, prepared, levels);
    let plans: Vec<Plan> = (0..model.base.len())
        .map(|k| Plan::new(&quantised, k, grid, cells))
        .collect::<Result<_, _>>()?;
    let (program, encoder, decoder) =
        assemble(pipeline, model, grid, set, cells, &quantised, &plans)?;
    program.prove()?;
    let integer = scores(&program, &encoder, &decoder, prepared)?;
    Ok(Package {
        fidelity: fidelity(float, &integer, &pipeline.head),
        method: Method::Trees,
        range: Range::Proven,
        program,
        encoder,
        decoder,
    })
}

fn assemble(
    pipeline: &Pipeline,
    model: &Ensemble,
    grid: &Grid,
    set: ParameterSet,
    cells: usize,
    quantised: &Quantised,
    plans: &[Plan],
) -> Result<(Program, Encoder, Decoder), CompileError> {
    // Only thresholds that something reads are sent.
    let mut sent: HashMap<(usize, usize), u32> = HashMap::new();
    let used = plans.iter().flat_map(|p| {
        let groups = p.groups.iter().flat_map(|g| g.bits.iter().map(|(b, _)| *b));
        groups.chain(p.linear.keys().copied())
    });
    let mut used: Vec<(usize, usize)> = used.collect();
    used.sort_unstable();
    used.dedup();
    let mut thresholds: Vec<(u32, f32)> = Vec::new();
    for bit in used {
        sent.insert(bit, thresholds.len() as u32);
        thresholds.push((bit.0 as u32, grid.threshold(bit)));
    }
    if thresholds.is_empty() {
        thresholds.push((0, 0.0));
    }
    let cell = 1u64 << (63 - cells.ilog2());
    let unit = (1u64 << INPUT_SHIFT) as f64;
    let inputs = thresholds.len() as u32;
    let mut tables: Vec<Table> = Vec::new();
    let mut table_index: HashMap<Table, u32> = HashMap::new();
    let mut layer: Vec<Bootstrap> = Vec::new();
    let mut outputs = Vec::new();
    let mut offset = Vec::new();
    for (k, plan) in plans.iter().enumerate() {
        let (low, high) = quantised.range(k);
        let middle = low + (high - low) / 2;
        let count = (high - low + 1).max(1) as u64;
        // A multiple of an input's unit, so that first splits come out right.
        let step = ((1u64 << (64 - INPUT_SHIFT)) / (count + 1)).min(1 << (62 - INPUT_SHIFT))
            << INPUT_SHIFT;
        if step == 0 {
            return Err(CompileError::Model("too many levels".into()));
        }
        let per_unit = (step >> INPUT_SHIFT) as i64;
        let mut terms: Vec<(u32, i64)> = plan
            .linear
            .iter()
            .map(|(bit, v)| (sent[bit], v * per_unit))
            .filter(|(_, w)| *w != 0)
            .collect();
        terms.sort_unstable();
        for group in plan.merged() {
            let table = group_table(&group, set, cells, step);
            let next = tables.len() as u32;
            let index = *table_index.entry(table).or_insert_with_key(|t| {
                tables.push(t.clone());
                next
            });
            let mut form: Vec<(u32, i64)> = group
                .bits
                .iter()
                .map(|(bit, v)| (sent[bit], (*v as f64 * cell as f64 / unit).round() as i64))
                .collect();
            form.sort_unstable();
            terms.push((inputs + layer.len() as u32, 1));
            layer.push(Bootstrap {
                form: Form {
                    terms: form,
                    constant: (group.start as u64)
                        .wrapping_mul(cell)
                        .wrapping_add(cell / 2),
                },
                table: index,
                gain: 1,
            });
        }
        outputs.push(Output {
            form: Form {
                terms,
                constant: step.wrapping_mul((plan.constant - middle) as u64),
            },
            step,
        });
        offset.push(model.base[k] + quantised.offset[k] + middle as f64 * quantised.scale);
    }
    let program = Program {
        set,
        exactness: Exactness::Exact,
        inputs,
        input_bits: 2,
        tables,
        layers: if layer.is_empty() {
            Vec::new()
        } else {
            vec![layer]
        },
        outputs,
        answer_bits: ANSWER_BITS,
        id: CachedId::default(),
    };
    program.check()?;
    let encoder = Encoder {
        features: pipeline.features as u32,
        steps: pipeline.steps.clone(),
        code: Code::Thermometer(thresholds),
    };
    let scale = vec![quantised.scale; plans.len()];
    let decoder = Decoder::each(scale, offset, pipeline.head.clone());
    Ok((program, encoder, decoder))
}

/// Values of a group's cells, each as wide as the others; the rest is zero.
fn group_table(group: &Group, set: ParameterSet, cells: usize, step: u64) -> Table {
    let width = set.degree() / cells;
    let value = |i: usize| group.values.get(i / width).copied().unwrap_or(0);
    let entries: Vec<i64> = (0..set.degree())
        .map(|i| value(i).wrapping_mul(step as i64))
        .collect();
    Table::from_entries(&entries, cells as u16)
}
