//! Every message of a session, known from program and batch alone.
//!
//! Machines, tests, `explain` and price quotes read sizes and rounds from here, so they cannot
//! disagree.

use std::fmt;

use ai_link_program::fixed::Program;

use crate::error::MpcError;
use crate::keys::{PUBLIC_KEY_BYTES, SEED_BYTES};
use crate::step::{Protocol, Seat, StepPlan};

/// Bytes of one message at most: a bound on what any party must buffer.
pub const MAX_MESSAGE: usize = 1 << 30;

/// Messages and rounds of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    batch: usize,
    input_words: usize,
    output_words: usize,
    steps: Vec<StepCost>,
    plans: Vec<Option<StepPlan>>,
}

/// What one step of the program costs on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepCost {
    /// Name of the step.
    pub name: String,
    /// Name of its operator.
    pub kind: &'static str,
    /// Elements of the result, whole batch.
    pub elements: usize,
    /// Bytes from the dealer to evaluator 1, in one message; 0 = no message.
    pub dealt: usize,
    /// Bytes that each evaluator sends the other, per round; empty = a local step.
    pub openings: Vec<usize>,
}

impl Schedule {
    /// The schedule of `program` for `batch` records.
    pub fn new(program: &Program, batch: usize) -> Result<Self, MpcError> {
        if batch == 0 {
            return Err(MpcError::EmptyBatch);
        }
        let too_large = |bytes| MpcError::BatchTooLarge {
            batch,
            bytes,
            limit: MAX_MESSAGE,
        };
        // Bounds every product below: at most 2^30 elements a value, some dozen bytes an element.
        if batch > program.max_batch() {
            return Err(too_large(usize::MAX));
        }
        let words = |id| program.value(id).elements() * batch;
        let input_words = program.inputs().iter().map(|port| words(port.value)).sum();
        let output_words = program.outputs().iter().map(|port| words(port.value)).sum();
        let (mut steps, mut plans) = (Vec::new(), Vec::new());
        for (index, step) in program.steps().iter().enumerate() {
            let elements = words(step.output);
            let plan = StepPlan::new(&step.op, step.tactic, elements);
            if plan.is_none() && step.op.is_interactive() {
                return Err(MpcError::Unsupported {
                    step: index,
                    kind: step.op.kind(),
                });
            }
            steps.push(StepCost {
                name: step.name.clone(),
                kind: step.op.kind(),
                elements,
                dealt: plan
                    .as_ref()
                    .map_or(0, |plan| plan.dealt_bytes(Seat::new(1, 2, 1))),
                openings: plan
                    .iter()
                    .flat_map(|plan| (0..plan.rounds()).map(|round| plan.opened_bytes(round)))
                    .collect(),
            });
            plans.push(plan);
        }
        let schedule = Self {
            batch,
            input_words,
            output_words,
            steps,
            plans,
        };
        let largest = schedule.largest_message();
        match largest <= MAX_MESSAGE {
            true => Ok(schedule),
            false => Err(too_large(largest)),
        }
    }

    /// Records.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// What each step costs, in program order.
    pub fn steps(&self) -> &[StepCost] {
        &self.steps
    }

    /// Rounds between the evaluators.
    pub fn rounds(&self) -> usize {
        self.steps.iter().map(|step| step.openings.len()).sum()
    }

    /// Bytes of masked input that the client sends to each evaluator.
    pub fn input_bytes(&self) -> usize {
        8 * self.input_words
    }

    /// Bytes of output that the client is sent by each evaluator and by the dealer.
    pub fn output_bytes(&self) -> usize {
        8 * self.output_words
    }

    /// Bytes from the dealer to evaluator 1, without the key agreement.
    pub fn dealt_bytes(&self) -> usize {
        self.steps.iter().map(|step| step.dealt).sum()
    }

    /// Bytes that each evaluator sends the other.
    pub fn online_bytes(&self) -> usize {
        self.steps.iter().flat_map(|step| &step.openings).sum()
    }

    /// Bytes of each key that dealer and evaluator exchange.
    pub fn key_bytes(&self) -> usize {
        PUBLIC_KEY_BYTES
    }

    /// Bytes of the seed that the client sends to the dealer.
    pub fn seed_bytes(&self) -> usize {
        SEED_BYTES
    }

    pub(crate) fn input_words(&self) -> usize {
        self.input_words
    }

    pub(crate) fn plan(&self, step: usize) -> Option<&StepPlan> {
        self.plans[step].as_ref()
    }

    fn largest_message(&self) -> usize {
        let steps = self
            .steps
            .iter()
            .flat_map(|step| step.openings.iter().chain([&step.dealt]));
        let ends = [self.input_bytes(), self.output_bytes()];
        steps.copied().chain(ends).max().unwrap_or(0)
    }
}

/// A table of the interactive steps and the totals, for `explain`.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<32} {:>10} {:>7} {:>12} {:>12}",
            "step", "elements", "rounds", "dealt", "online"
        )?;
        for step in self.steps.iter().filter(|step| !step.openings.is_empty()) {
            let online: usize = step.openings.iter().sum();
            let name = format!("{} {}", step.kind, step.name);
            writeln!(
                f,
                "{name:<32} {:>10} {:>7} {:>12} {online:>12}",
                step.elements,
                step.openings.len(),
                step.dealt,
            )?;
        }
        write!(
            f,
            "{} records: {} rounds; bytes: input 2 x {}, dealt {}, online 2 x {}, output 3 x {}",
            self.batch,
            self.rounds(),
            self.input_bytes(),
            self.dealt_bytes(),
            self.online_bytes(),
            self.output_bytes(),
        )
    }
}
