//! What every program satisfies, wherever it came from.

use super::{Exactness, Form, INPUT_BITS, Program};
use crate::error::FormatError;

/// Limits that keep any accepted program within reason.
pub(crate) mod limits {
    /// Packed inputs.
    pub(crate) const INPUTS: usize = 1 << 16;
    /// Bootstraps.
    pub(crate) const BOOTSTRAPS: usize = 1 << 16;
    /// Tables: a worker expands each to a ring element's size, 16 kB, before it runs anything.
    pub(crate) const TABLES: usize = 1 << 14;
    /// Outputs.
    pub(crate) const OUTPUTS: usize = 1 << 10;
    /// Terms of all forms together.
    pub(crate) const TERMS: usize = 1 << 25;
}

impl Program {
    /// Checks everything that evaluation relies on.
    pub(crate) fn check(&self) -> Result<(), FormatError> {
        let bad = |problem: String| Err(FormatError::Program(problem));
        let within = |what: &str, have: usize, limit: usize| {
            if have > limit {
                return Err(FormatError::Program(format!("{have} {what}, past {limit}")));
            }
            Ok(())
        };
        within("inputs", self.inputs(), limits::INPUTS)?;
        within("bootstraps", self.bootstraps(), limits::BOOTSTRAPS)?;
        within("tables", self.tables.len(), limits::TABLES)?;
        within("outputs", self.outputs.len(), limits::OUTPUTS)?;
        if self.inputs == 0 || self.outputs.is_empty() {
            return bad("no inputs or no outputs".into());
        }
        if self.input_bits == 0 || u32::from(self.input_bits) > INPUT_BITS {
            return bad(format!("inputs of {} bits", self.input_bits));
        }
        if !(8..=56).contains(&self.answer_bits) {
            return bad(format!("answers of {} bits", self.answer_bits));
        }
        for (i, table) in self.tables.iter().enumerate() {
            let sum: usize = table.runs.iter().map(|(n, _)| usize::from(*n)).sum();
            let cells = usize::from(table.cells);
            if sum != self.set.degree()
                || cells > sum
                || table.runs.iter().any(|(n, _)| *n == 0)
                || (self.exactness == Exactness::Exact && cells == 0)
            {
                return bad(format!("table {i} has {sum} entries and {cells} cells"));
            }
        }
        let mut known = self.inputs();
        let mut terms = 0;
        for (l, layer) in self.layers.iter().enumerate() {
            if layer.is_empty() {
                return bad(format!("layer {l} is empty"));
            }
            for b in layer {
                self.check_form(&b.form, known)?;
                terms += b.form.terms.len();
                if b.table as usize >= self.tables.len() {
                    return bad(format!("table {} does not exist", b.table));
                }
            }
            known += layer.len();
        }
        for o in &self.outputs {
            self.check_form(&o.form, known)?;
            terms += o.form.terms.len();
            if o.step == 0 || o.step > 1 << 62 {
                return bad(format!("an output's step is {}", o.step));
            }
        }
        within("terms", terms, limits::TERMS)
    }

    fn check_form(&self, form: &Form, known: usize) -> Result<(), FormatError> {
        let ascending = form.terms.windows(2).all(|w| w[0].0 < w[1].0);
        let exist = form.terms.last().is_none_or(|t| (t.0 as usize) < known);
        let small = form.terms.iter().all(|t| t.1.unsigned_abs() < 1 << 32);
        if ascending && exist && small {
            return Ok(());
        }
        let problem = "a sum reads sources out of order, twice, from later, or with a huge weight";
        Err(FormatError::Program(problem.into()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test failing")]
    use super::*;

    #[test]
    fn a_few_bytes_do_not_become_gigabytes_of_tables() {
        let mut program = Program::sum_of_two();
        let table = program.tables[0].clone();
        program.tables.resize(limits::TABLES, table.clone());
        assert_eq!(program.check(), Ok(()));
        program.tables.push(table);
        assert!(program.check().is_err());
        assert!(Program::decode(&program.encode()).is_err());
    }
}
