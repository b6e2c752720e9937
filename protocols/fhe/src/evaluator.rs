//! Running a program on a ciphertext.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::answer;
use crate::engine::sum::Summation;
use crate::error::FheError;
use crate::ids::ProgramId;
use crate::keys::EvaluationKey;
use crate::program::{Bootstrap, Layout, Program, Table};
use crate::request;

/// A program ready to run: tables expanded, dense weights transformed.
#[derive(Debug)]
pub struct Evaluator {
    program: Program,
    id: ProgramId,
    tables: Vec<Vec<i64>>,
}

/// Watches and stops a run.
#[derive(Clone, Copy, Default)]
pub struct Control<'a> {
    /// Called after every batch with the bootstraps done and all there are, from any thread.
    pub progress: Option<&'a (dyn Fn(usize, usize) + Sync)>,
    /// Stops the run before its next batch when set.
    pub cancel: Option<&'a AtomicBool>,
}

impl std::fmt::Debug for Control<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Control(..)")
    }
}

impl Evaluator {
    /// Prepares `program`.
    pub fn new(program: Program) -> Self {
        Self {
            id: program.id(),
            tables: program.tables.iter().map(Table::expand).collect(),
            program,
        }
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Evaluates one request with all threads of the current rayon pool. Requests may run concurrently; the same request
    /// under the same key gives the same answer.
    pub fn run(
        &self,
        key: &Arc<EvaluationKey>,
        request: &[u8],
        control: Control<'_>,
    ) -> Result<Vec<u8>, FheError> {
        let set = self.program.set();
        if key.set() != set {
            return Err(FheError::WrongParameters {
                want: set,
                have: key.set(),
            });
        }
        let inputs = request::decode(request, &self.program, self.id, key.id())?;
        let mut sums = Summation::new(set, self.program.inputs(), &inputs);
        let (total, done) = (self.program.bootstraps(), AtomicUsize::new(0));
        for layer in &self.program.layers {
            let batch = key.look_ups.split(layer.len());
            let batches: Vec<_> = layer
                .par_chunks(batch)
                .map(|bootstraps| {
                    if control.cancel.is_some_and(|c| c.load(Ordering::Relaxed)) {
                        let done = done.load(Ordering::Relaxed);
                        return Err(FheError::Cancelled { done, total });
                    }
                    let found = self.bootstrap(key, &sums, bootstraps);
                    let now = done.fetch_add(bootstraps.len(), Ordering::Relaxed);
                    if let Some(report) = control.progress {
                        report(now + bootstraps.len(), total);
                    }
                    Ok(found)
                })
                .collect::<Result<_, _>>()?;
            batches.into_iter().for_each(|lwes| sums.extend(lwes));
        }
        let outputs = &self.program.outputs;
        let words = match self.program.layout() {
            Layout::Shared => sums.shared(&self.program),
            Layout::Separate | Layout::Packed => {
                let lwes: Vec<Vec<u64>> = outputs.par_iter().map(|o| sums.eval(&o.form)).collect();
                lwes.concat()
            }
        };
        Ok(answer::encode(words, &self.program, self.id, key))
    }

    /// The results of `bootstraps` as LWE ciphertexts of dimension `k N`, end to end.
    fn bootstrap(
        &self,
        key: &EvaluationKey,
        sums: &Summation<'_>,
        bootstraps: &[Bootstrap],
    ) -> Vec<u64> {
        let set = self.program.set();
        let (degree, rank) = (set.degree(), set.rank());
        let lwes: Vec<u64> = bootstraps.iter().flat_map(|b| sums.eval(&b.form)).collect();
        let glwe = (rank + 1) * degree;
        let mut words = vec![0u64; bootstraps.len() * glwe];
        for (b, accumulator) in bootstraps.iter().zip(words.chunks_exact_mut(glwe)) {
            let entries = &self.tables[b.table as usize];
            for (word, entry) in accumulator[rank * degree..].iter_mut().zip(entries) {
                *word = entry.wrapping_mul(b.gain) as u64;
            }
        }
        key.look_ups.run(set, &lwes, words)
    }
}
