//! Every message of a session, known from program and batch alone.
//!
//! Machines, tests, `explain` and price quotes read sizes and rounds from here, so they cannot
//! disagree.

use std::fmt;

use ai_link_program::fixed::{Op, Program, Step};

use crate::error::MpcError;
use crate::keys::{KeyMessage, SEED_BYTES};
use crate::party::{EvaluatorIndex, MAX_EVALUATORS};
use crate::step::product::{Factors, MatMul, Mul, Product};
use crate::step::{Protocol as _, Seat, StepPlan};
use crate::work;

/// Bytes of one message at most: a bound on what any party must buffer.
pub const MAX_MESSAGE: usize = 1 << 30;

/// Messages and rounds of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    batch: usize,
    input_words: usize,
    /// Of them, words that do not come from the client.
    stored_words: usize,
    output_words: usize,
    evaluators: u8,
    key_bytes: usize,
    steps: Vec<StepCost>,
    plans: Vec<Option<Plan>>,
    receivers: Vec<usize>,
    /// Of each step, see [`work`](crate::work).
    operations: Vec<u64>,
}

/// An interactive step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// On one masked value, or the difference of two.
    Step(StepPlan),
    /// Of two masked values.
    Mul(Mul),
    /// Of two masked matrices.
    MatMul(MatMul),
    /// With private weights.
    Product(Product),
}

impl Plan {
    fn rounds(&self) -> usize {
        match self {
            Self::Step(plan) => plan.rounds(),
            Self::Mul(plan) => plan.rounds(),
            Self::MatMul(plan) => plan.rounds(),
            Self::Product(plan) => plan.rounds(),
        }
    }

    fn dealt_bytes(&self, seat: Seat) -> usize {
        match self {
            Self::Step(plan) => plan.dealt_bytes(seat),
            Self::Mul(plan) => plan.dealt_bytes(seat),
            Self::MatMul(plan) => plan.dealt_bytes(seat),
            Self::Product(plan) => plan.dealt_bytes(seat),
        }
    }

    fn opened_bytes(&self, round: usize) -> usize {
        match self {
            Self::Step(plan) => plan.opened_bytes(round),
            Self::Mul(plan) => plan.opened_bytes(round),
            Self::MatMul(plan) => plan.opened_bytes(round),
            Self::Product(plan) => plan.opened_bytes(),
        }
    }
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
    /// Bytes from the dealer to each evaluator, in one message each; 0 = no message.
    pub dealt: Vec<usize>,
    /// Bytes that each evaluator sends each other one, per round; empty = a local step.
    pub openings: Vec<usize>,
}

impl Schedule {
    /// The schedule of `program` for `batch` records, two evaluators and a dealer of their own.
    pub fn new(program: &Program, batch: usize) -> Result<Self, MpcError> {
        Self::for_group(program, batch, 2)
    }

    /// The schedule for any number of evaluators.
    pub(crate) fn for_group(
        program: &Program,
        batch: usize,
        evaluators: u8,
    ) -> Result<Self, MpcError> {
        if !(2..=MAX_EVALUATORS).contains(&evaluators) {
            return Err(MpcError::EvaluatorCount { evaluators });
        }
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
        let (mut steps, mut plans, mut receivers) = (Vec::new(), Vec::new(), Vec::new());
        let steps_of = program.steps().iter();
        let operations = steps_of.map(|step| work::operations(program, step, batch));
        let all = usize::from(evaluators);
        // Takes turns, so that no link carries all corrections.
        let mut receiver = 0;
        for (index, step) in program.steps().iter().enumerate() {
            let elements = words(step.output);
            let plan = plan_of(program, index, step, batch, all)?;
            if plan.is_some() {
                receiver = (receiver + 1) % all;
            }
            let seats = (0..all).map(|i| Seat::new(i, all, receiver));
            let dealt = |seat| plan.as_ref().map_or(0, |plan| plan.dealt_bytes(seat));
            steps.push(StepCost {
                name: step.name.clone(),
                kind: step.op.kind(),
                elements,
                dealt: seats.map(dealt).collect(),
                openings: plan
                    .iter()
                    .flat_map(|plan| (0..plan.rounds()).map(|round| plan.opened_bytes(round)))
                    .collect(),
            });
            plans.push(plan);
            receivers.push(receiver);
        }
        let schedule = Self {
            batch,
            input_words,
            stored_words: 0,
            output_words,
            evaluators,
            key_bytes: KeyMessage::bytes(program),
            steps,
            plans,
            receivers,
            operations: operations.collect(),
        };
        let largest = schedule.largest_message();
        match largest <= MAX_MESSAGE {
            true => Ok(schedule),
            false => Err(too_large(largest)),
        }
    }

    /// Evaluators.
    pub fn evaluators(&self) -> u8 {
        self.evaluators
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
        8 * self.client_words()
    }

    /// Bytes of output that the client is sent by each evaluator and by the dealer.
    pub fn output_bytes(&self) -> usize {
        8 * self.output_words
    }

    /// Bytes from the dealer to all evaluators, without the key agreement.
    pub fn dealt_bytes(&self) -> usize {
        self.steps.iter().flat_map(|step| &step.dealt).sum()
    }

    /// Bytes from the dealer to one evaluator, without the key agreement.
    pub fn dealt_bytes_to(&self, evaluator: EvaluatorIndex) -> usize {
        let dealt = |step: &StepCost| step.dealt.get(evaluator.at()).copied().unwrap_or(0);
        self.steps.iter().map(dealt).sum()
    }

    /// Bytes that each evaluator sends each other one.
    pub fn online_bytes(&self) -> usize {
        self.steps.iter().flat_map(|step| &step.openings).sum()
    }

    /// Bytes of each key that dealer and evaluator exchange.
    pub fn key_bytes(&self) -> usize {
        self.key_bytes
    }

    /// Bytes of the seed that the client sends to the dealer.
    pub fn seed_bytes(&self) -> usize {
        SEED_BYTES
    }

    /// Of the input, words that the client masks.
    pub(crate) fn client_words(&self) -> usize {
        self.input_words - self.stored_words
    }

    /// The same with so many words of input that workers bring.
    pub(crate) fn with_stored(mut self, stored_words: usize) -> Self {
        self.stored_words = stored_words;
        self
    }

    pub(crate) fn input_words(&self) -> usize {
        self.input_words
    }

    pub(crate) fn plan(&self, step: usize) -> Option<&Plan> {
        self.plans[step].as_ref()
    }

    /// Which evaluator is sent the corrections of a step.
    pub(crate) fn receiver(&self, step: usize) -> usize {
        self.receivers[step]
    }

    /// The place of an evaluator in a step.
    pub(crate) fn seat(&self, step: usize, index: EvaluatorIndex) -> Seat {
        Seat::new(
            index.at(),
            usize::from(self.evaluators),
            self.receivers[step],
        )
    }

    /// Operations of a step.
    pub(crate) fn operations(&self, step: usize) -> u64 {
        self.operations[step]
    }

    /// Operations of all steps from `next` on, up to and with the first interactive one.
    pub(crate) fn operations_from(&self, next: usize) -> u64 {
        let local = self
            .plans
            .iter()
            .skip(next)
            .take_while(|plan| plan.is_none());
        let end = (next + local.count() + 1).min(self.operations.len());
        self.operations.get(next..end).unwrap_or(&[]).iter().sum()
    }

    fn largest_message(&self) -> usize {
        let steps = self
            .steps
            .iter()
            .flat_map(|step| step.openings.iter().chain(&step.dealt));
        let ends = [self.input_bytes(), self.output_bytes()];
        steps.copied().chain(ends).max().unwrap_or(0)
    }
}

fn plan_of(
    program: &Program,
    index: usize,
    step: &Step,
    batch: usize,
    evaluators: usize,
) -> Result<Option<Plan>, MpcError> {
    if let Some(product) = Product::new(program, index, step, batch) {
        return Ok(Some(Plan::Product(product)));
    }
    if let Some(product) = MatMul::new(program, step, batch) {
        return Ok(Some(Plan::MatMul(product)));
    }
    let elements = program.value(step.output).elements() * batch;
    if let (Op::Mul, [x, y]) = (&step.op, step.inputs.as_slice()) {
        let factors = if x == y {
            Factors::Square
        } else {
            Factors::Two
        };
        return Ok(Some(Plan::Mul(Mul::new(elements, factors))));
    }
    let plan = StepPlan::new(program, index, step, elements, evaluators)?;
    if plan.is_none() && step.op.is_interactive() {
        return Err(MpcError::Unsupported {
            step: index,
            kind: step.op.kind(),
        });
    }
    Ok(plan.map(Plan::Step))
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
                step.dealt.iter().sum::<usize>(),
            )?;
        }
        let n = usize::from(self.evaluators);
        write!(
            f,
            "{} records: {} rounds; bytes: input {n} x {}, dealt {}, online {} x {}, output {} x {}",
            self.batch,
            self.rounds(),
            self.input_bytes(),
            self.dealt_bytes(),
            n * (n - 1),
            self.online_bytes(),
            n + 1,
            self.output_bytes(),
        )
    }
}
