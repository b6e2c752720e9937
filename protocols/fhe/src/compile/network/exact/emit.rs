//! From integers to a program.

use std::collections::HashMap;

use super::cut::Cut;
use super::sums::{Source, Sum};
use super::units::Plan;
use super::{Attempt, Shape};
use crate::compile::network::ANSWER_BITS_EXACT;
use crate::error::CompileError;
use crate::program::{Bootstrap, CachedId, Exactness, Form, INPUT_BITS, Output, Program, Table};

/// A look-up before results have their places: `form` names them by when they were made.
struct LookUp {
    result: usize,
    form: Form,
    table: Table,
}

struct Emitter<'a> {
    shape: Shape,
    sources: &'a [Source],
    inputs: usize,
    layers: Vec<Vec<LookUp>>,
    /// The result that holds each unit.
    units: HashMap<usize, usize>,
    results: usize,
}

/// The program, and whether its sums fit for every record.
pub(super) fn program(
    found: &Attempt,
    shape: Shape,
    inputs: usize,
) -> Result<(Program, bool), CompileError> {
    let units = &found.units;
    let mut emitter = Emitter {
        shape,
        sources: &units.sources,
        inputs,
        layers: Vec::new(),
        units: HashMap::new(),
        results: 0,
    };
    let depth = units.depths.iter().max().map_or(0, |d| d + 1);
    for layer in 0..depth {
        let first = emitter.layers.len();
        for (u, plan) in units.plans.iter().enumerate() {
            if let Some(plan) = plan
                && units.depths[u] == layer
            {
                emitter.unit(u, plan, first);
            }
        }
    }
    let parts: Vec<_> = found.answer.parts(found.parts).collect();
    let fit = parts.iter().all(|(_, p)| p.always_fits);
    let fit = fit && units.plans.iter().flatten().all(|p| p.always_fits);
    let outputs: Vec<(Form, u64)> = parts
        .iter()
        .map(|(_, part)| (emitter.form(&part.sum, part.log), 1 << (64 - part.log)))
        .collect();
    // Inputs are within `±limit`, a power of two less one.
    let input_bits = (shape.limit as u64 + 1).ilog2() + 1;
    let input_bits = input_bits.min(INPUT_BITS) as u8;
    Ok((emitter.finish(outputs, input_bits), fit))
}

impl Emitter<'_> {
    /// A sum's values, modulo `2^window`, in multiples of `2^-window` of the torus.
    fn form(&self, sum: &Sum, window: u32) -> Form {
        let (modulus, half) = (1i64 << window, 1i64 << (window - 1));
        let mut constant = (sum.constant as u64) << (64 - window);
        let mut terms = Vec::new();
        for (source, weight) in &sum.terms {
            // Only the weight modulo the window counts; the smallest amplifies noise least.
            let weight = (weight + half).rem_euclid(modulus) - half;
            if weight == 0 {
                continue;
            }
            let from = &self.sources[*source];
            let centre = from.centre2.wrapping_mul(weight) as u64;
            constant = constant.wrapping_add(centre << (63 - window));
            let place = match source.checked_sub(self.inputs) {
                None => *source,
                Some(u) => self.inputs + self.units[&u],
            };
            terms.push((place as u32, weight << (from.log - window)));
        }
        Form { terms, constant }
    }

    fn look_up(&mut self, layer: usize, form: Form, table: Table) -> usize {
        while self.layers.len() <= layer {
            self.layers.push(Vec::new());
        }
        let result = self.results;
        self.layers[layer].push(LookUp {
            result,
            form,
            table,
        });
        self.results += 1;
        result
    }

    /// Look-ups that cut the unit's accumulator, and the one that reads it.
    fn unit(&mut self, u: usize, plan: &Plan, first: usize) {
        let Cut { bits, digits } = &plan.cut;
        let mut layer = first;
        let mut low = 0;
        // Results that take digits away, on the lattice of the accumulator.
        let mut less = Form::default();
        for digit in digits {
            let window = digit.window();
            let form = self.shifted(&plan.sum, &less, *bits, low + window, window);
            let unit = 1u64 << (64 - bits + low);
            if digit.bits == 1 {
                // Half a unit for 0, minus half a unit for 1.
                let table = self.table(&[(unit / 2) as i64], 1);
                less.terms.push(self.term(layer, form, table));
                layer += 1;
            } else {
                let sign = self.table(&[1 << 62], 1 << (window - 1));
                let top = self.term(layer, form.clone(), sign);
                let mut rest = form;
                rest.terms.push(top);
                rest.constant = rest.constant.wrapping_sub(1 << 62);
                let cells = 1i64 << digit.bits;
                let values: Vec<i64> = (0..cells)
                    .map(|c| (cells - 1 - 2 * c) * (unit / 2) as i64)
                    .collect();
                let table = self.table(&values, cells as u16);
                less.terms.push(self.term(layer + 1, rest, table));
                layer += 2;
            }
            let middle = ((1u64 << digit.bits) - 1).wrapping_mul(unit / 2);
            less.constant = less.constant.wrapping_sub(middle);
            low += digit.bits;
        }
        let form = self.shifted(&plan.sum, &less, *bits, *bits, plan.cut.top());
        let log = self.sources[self.inputs + u].log;
        let value = |l: &u32| (2 * i64::from(*l) - i64::from(plan.count) + 1) << (63 - log);
        let values: Vec<i64> = plan.levels.iter().map(value).collect();
        let table = self.table(&values, plan.levels.len() as u16);
        let result = self.look_up(layer, form, table);
        self.units.insert(u, result);
    }

    fn term(&mut self, layer: usize, form: Form, table: Table) -> (u32, i64) {
        ((self.inputs + self.look_up(layer, form, table)) as u32, 1)
    }

    /// The accumulator less the digits already known, shifted so that `end` bits of it are on the torus, of which the upper
    /// `window` are cells; in the middle of one.
    fn shifted(&self, sum: &Sum, less: &Form, bits: u32, end: u32, window: u32) -> Form {
        let mut form = self.form(sum, end);
        let shift = bits - end;
        form.terms
            .extend(less.terms.iter().map(|(s, w)| (*s, w << shift)));
        form.constant = form
            .constant
            .wrapping_add(less.constant << shift)
            .wrapping_add(1 << (63 - window));
        form
    }

    /// A table of `cells`, with as many entries for each value.
    fn table(&self, values: &[i64], cells: u16) -> Table {
        let width = self.shape.set.degree() / values.len();
        let entries: Vec<i64> = values
            .iter()
            .flat_map(|v| std::iter::repeat_n(*v, width))
            .collect();
        Table::from_entries(&entries, cells)
    }

    fn finish(self, outputs: Vec<(Form, u64)>, input_bits: u8) -> Program {
        let mut place = vec![0u32; self.results];
        let all = self.layers.iter().flatten();
        for (at, look_up) in all.enumerate() {
            place[look_up.result] = (self.inputs + at) as u32;
        }
        let placed = |form: Form| {
            let at = |(s, w): (u32, i64)| match (s as usize).checked_sub(self.inputs) {
                None => (s, w),
                Some(result) => (place[result], w),
            };
            let mut terms: Vec<(u32, i64)> = form.terms.into_iter().map(at).collect();
            terms.sort_unstable();
            Form { terms, ..form }
        };
        let mut tables: Vec<Table> = Vec::new();
        let mut known: HashMap<Table, u32> = HashMap::new();
        let mut layers = Vec::new();
        for layer in self.layers {
            let mut made = Vec::new();
            for LookUp { form, table, .. } in layer {
                let next = tables.len() as u32;
                let table = *known.entry(table).or_insert_with_key(|t| {
                    tables.push(t.clone());
                    next
                });
                made.push(Bootstrap {
                    form: placed(form),
                    table,
                    gain: 1,
                });
            }
            layers.push(made);
        }
        let outputs = outputs.into_iter().map(|(form, step)| Output {
            form: placed(form),
            step,
        });
        Program {
            set: self.shape.set,
            exactness: Exactness::Exact,
            inputs: self.inputs as u32,
            input_bits,
            tables,
            outputs: outputs.collect(),
            layers,
            answer_bits: ANSWER_BITS_EXACT,
            id: CachedId::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test failing")]
    use super::super::cut::{self, Digit};
    use super::*;
    use crate::parameters::ParameterSet;

    const LEVELS: u32 = 4;
    const LOG: u32 = 7;

    /// A program that cuts and reads one input, which is the accumulator.
    fn reader(set: ParameterSet, cut: Cut) -> (Program, Plan) {
        let half = 1i64 << (cut.bits - 1);
        let input = Source::input(0.0, 1.0, half, vec![0]);
        let unit = Source {
            log: LOG,
            centre2: i64::from(LEVELS) - 1,
            ..input.clone()
        };
        let sources = [input, unit];
        let cells = 1u32 << (cut.top() - 1);
        let plan = Plan {
            sum: Sum {
                terms: vec![(0, 1)],
                constant: 0,
                scale: 1.0,
                values: vec![0],
                bounds: (-half, half),
            },
            // No symmetry that a mistake could hide behind.
            levels: (0..cells).map(|c| (c * c + c / 2) % LEVELS).collect(),
            count: LEVELS,
            pass: 0.0,
            always_fits: true,
            cut,
        };
        let shape = Shape {
            set,
            limit: half,
            fine: plan.cut.removed(),
            levels: LEVELS,
        };
        let mut emitter = Emitter {
            shape,
            sources: &sources,
            inputs: 1,
            layers: Vec::new(),
            units: HashMap::new(),
            results: 0,
        };
        emitter.unit(0, &plan, 0);
        let read = Sum {
            terms: vec![(1, 1)],
            ..plan.sum.clone()
        };
        let output = (emitter.form(&read, LOG), 1 << (64 - LOG));
        let program = emitter.finish(vec![output], plan.cut.bits as u8 + 1);
        (program, plan)
    }

    /// Every value of the accumulator is read as its cell says, and every phase on the way is in the middle of a cell.
    fn goes_through_all_values(set: ParameterSet, cut: Cut) {
        let (program, plan) = reader(set, cut);
        program.check().unwrap();
        let half = 1i64 << (plan.cut.bits - 1);
        for value in -half..half {
            let run = program.run_clear(&[value]).unwrap();
            assert_eq!(
                run.outputs,
                [i64::from(plan.level(value))],
                "{value}, {:?}",
                plan.cut
            );
            let look_ups = program.layers.iter().flatten();
            for (position, look_up) in run.positions.iter().zip(look_ups) {
                let cells = usize::from(program.tables[look_up.table as usize].cells);
                let width = set.degree() / cells;
                assert_eq!(
                    *position as usize % width,
                    width / 2,
                    "{value}, {:?}",
                    plan.cut
                );
            }
        }
    }

    #[test]
    fn cuts_of_sums_of_inputs_are_exact() {
        for set in ParameterSet::ALL {
            for fine in super::super::FINE {
                if let Some(digits) = cut::digits(set, fine) {
                    let bits = cut::cells(set) + fine;
                    goes_through_all_values(set, Cut { bits, digits });
                }
            }
        }
    }

    #[test]
    fn cuts_of_sums_of_results_are_exact() {
        for set in ParameterSet::ALL {
            let cuts: Vec<Cut> = (3..=12)
                .filter_map(|log| Some(cut::of_results(set, log)?.0))
                .collect();
            assert!(
                cuts.iter().any(|c| c.digits.iter().any(|d| d.bits > 1)),
                "{cuts:?}"
            );
            cuts.into_iter()
                .for_each(|c| goes_through_all_values(set, c));
        }
    }

    #[test]
    fn digits_of_one_bit_are_exact_in_a_row() {
        let digits = vec![Digit { bits: 1 }; 5];
        goes_through_all_values(ParameterSet::Ring2048, Cut { bits: 10, digits });
    }
}
