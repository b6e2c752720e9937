//! Computing one job: all its records, on all cores, until it is done or nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use ai_link_fhe::{Control, FheError};
use ai_link_wire::Progress;
use rayon::prelude::*;

use super::{Evaluation, Held};

/// How far a job is, and whether it is to go on. Shared with whoever watches it.
#[derive(Debug)]
pub struct Steps {
    done: AtomicU64,
    total: u64,
    cancelled: AtomicBool,
}

/// What there is to compute.
#[derive(Debug)]
pub struct Job {
    /// The program.
    pub evaluation: Arc<Evaluation>,
    /// The client's key.
    pub key: Held,
    /// One encrypted record each.
    pub requests: Vec<Vec<u8>>,
    /// Where it tells how far it is.
    pub steps: Arc<Steps>,
}

impl Steps {
    /// Of `records` records under `evaluation`.
    pub fn new(evaluation: &Evaluation, records: usize) -> Self {
        let each = evaluation.evaluator().program().bootstraps().max(1);
        Self {
            done: AtomicU64::new(0),
            total: each as u64 * records as u64,
            cancelled: AtomicBool::new(false),
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress {
            done: self.done.load(Ordering::Relaxed).min(self.total),
            total: self.total,
        }
    }

    /// The job stops before its next batch.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Job {
    /// Evaluates all records, in order. Blocks until it is done.
    ///
    /// # Errors
    /// The first record that is refused, and why; [`FheError::Cancelled`] once [`Steps::cancel`] was called.
    pub fn run(&self) -> Result<Vec<Vec<u8>>, (u32, FheError)> {
        let records = self.requests.par_iter().enumerate();
        let answers = records.map(|(i, request)| {
            self.record(request)
                .map_err(|error| (u32::try_from(i).unwrap_or(u32::MAX), error))
        });
        answers.collect()
    }

    fn record(&self, request: &[u8]) -> Result<Vec<u8>, FheError> {
        let evaluator = self.evaluation.evaluator();
        // Batches end in any order on several threads: what they report never goes back.
        let seen = AtomicUsize::new(0);
        let progress = |done: usize, _: usize| {
            let before = seen.fetch_max(done, Ordering::Relaxed);
            let more = done.saturating_sub(before) as u64;
            self.steps.done.fetch_add(more, Ordering::Relaxed);
        };
        let total = evaluator.program().bootstraps();
        if self.steps.cancelled.load(Ordering::Relaxed) {
            return Err(FheError::Cancelled { done: 0, total });
        }
        let control = Control {
            progress: Some(&progress),
            cancel: Some(&self.steps.cancelled),
        };
        let answer = evaluator.run(self.key.key(), request, control)?;
        if total == 0 {
            self.steps.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(answer)
    }
}
