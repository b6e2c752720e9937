//! One row for each interactive layer, and one for what is local between two.

use ai_link_mpc::rehearsal::{Rehearsed, StepTime};
use ai_link_program::fixed::{Op, Program, Step, Tactic};
use ai_link_program::plan::{Alternative, CostModel};
use ai_link_program::{FssPolicy, Prediction, Setting, StepPrediction};
use serde::Serialize;

/// A layer, or all local work between two.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) operator: String,
    /// Of the result, without batch; empty for local work.
    pub(super) shape: Vec<usize>,
    /// How it is computed.
    pub(super) how: String,
    pub(super) predicted: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) measured: Option<Figures>,
    /// Other ways to compute it, for whoever has two evaluators or another link.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) instead: Vec<Other>,
}

/// What a layer costs.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Figures {
    pub(super) rounds: u32,
    /// Each evaluator to the other.
    pub(super) bytes_online: u64,
    /// To evaluator 0 and to evaluator 1.
    pub(super) bytes_dealt: [u64; 2],
    pub(super) seconds: f64,
    pub(super) dealing_seconds: f64,
}

/// A way that was not taken.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Other {
    pub(super) how: String,
    pub(super) rounds: usize,
    pub(super) bytes_online: u64,
    /// To the one who receives corrections, and to the other.
    pub(super) bytes_dealt: [u64; 2],
    pub(super) seconds: f64,
    /// For two evaluators only.
    pub(super) two_evaluators_only: bool,
}

impl Figures {
    fn predicted(step: &StepPrediction) -> Self {
        Self {
            rounds: step.rounds,
            bytes_online: step.bytes_online,
            bytes_dealt: step.bytes_dealt,
            seconds: step.seconds,
            dealing_seconds: step.dealing,
        }
    }

    fn measured(step: &StepTime) -> Self {
        Self {
            rounds: step.rounds,
            bytes_online: step.bytes_online,
            bytes_dealt: step.bytes_dealt,
            seconds: step.seconds,
            dealing_seconds: step.dealing,
        }
    }

    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.bytes_online += other.bytes_online;
        self.bytes_dealt[0] += other.bytes_dealt[0];
        self.bytes_dealt[1] += other.bytes_dealt[1];
        self.seconds += other.seconds;
        self.dealing_seconds += other.dealing_seconds;
    }
}

/// The rows of a program.
pub(super) fn layers(
    program: &Program,
    prediction: &Prediction,
    measured: Option<&Rehearsed>,
    setting: &Setting,
    fss: FssPolicy,
) -> Vec<Layer> {
    let model = CostModel::new(setting.link, setting.rates);
    let mut rows: Vec<Layer> = Vec::new();
    let mut local = 0;
    for (i, (step, predicted)) in program.steps().iter().zip(&prediction.steps).enumerate() {
        let figures = Figures::predicted(predicted);
        let taken = measured.map(|m| Figures::measured(&m.steps[i]));
        if step.op.is_interactive() {
            local = 0;
            rows.push(Layer {
                name: step.name.clone(),
                operator: step.op.kind().to_owned(),
                shape: program.value(step.output).dims.clone(),
                how: how(program, step),
                predicted: figures,
                measured: taken,
                instead: others(&model, step, predicted.elements, fss),
            });
            continue;
        }
        local += 1;
        match rows.last_mut() {
            Some(row) if local > 1 => {
                row.predicted.add(figures);
                if let (Some(sum), Some(taken)) = (&mut row.measured, taken) {
                    sum.add(taken);
                }
                row.how = local_work(local, &format!("{}, {}", kinds(&row.how), step.op.kind()));
            }
            _ => rows.push(Layer {
                name: step.name.clone(),
                operator: "local".into(),
                shape: Vec::new(),
                how: local_work(1, step.op.kind()),
                predicted: figures,
                measured: taken,
                instead: Vec::new(),
            }),
        }
    }
    rows
}

fn local_work(count: usize, kinds: &str) -> String {
    let mut each: Vec<&str> = kinds.split(", ").collect();
    each.sort_unstable();
    each.dedup();
    format!("{count} steps: {}", each.join(", "))
}

/// The operators in what [`local_work`] made.
fn kinds(text: &str) -> &str {
    text.split_once(": ").map_or(text, |(_, kinds)| kinds)
}

/// How a step is computed.
fn how(program: &Program, step: &Step) -> String {
    let fraction = program.value(step.output).fraction;
    let sign = |lo: u8, hi: u8| format!("bits {lo}..{hi} by {}", tactic(step.tactic));
    let what = match &step.op {
        Op::Relu { bits: 0, window } => sign(window.lo, window.hi),
        Op::Relu { bits, window } => {
            format!("{}, and >> {bits}", sign(window.lo, window.hi))
        }
        Op::Max { window } | Op::Positive { window } => sign(window.lo, window.hi),
        Op::Trunc { bits } => format!(">> {bits}"),
        Op::Table {
            segment_bits,
            index_bits,
            coefficients,
        } => {
            let degree = program.constant(*coefficients).dims[1] - 1;
            format!("table of 2^{index_bits} segments of 2^{segment_bits} units, degree {degree}")
        }
        Op::LinearShared { weights, .. } | Op::ConvShared { weights, .. } => {
            format!("private weights {:?}", program.parameter(*weights).dims)
        }
        _ => "one opening".into(),
    };
    format!("{what}; fraction {fraction}")
}

/// A tactic in words.
fn tactic(tactic: Tactic) -> String {
    match tactic {
        Tactic::Auto => "a tree of 3-bit leaves or fewer, 3 at once".into(),
        Tactic::Tree { leaf_bits, fan_in } => {
            format!("a tree of {leaf_bits}-bit leaves, {fan_in} at once")
        }
        Tactic::Fss => "keys".into(),
    }
}

/// The ways not taken, the cheapest first.
fn others(model: &CostModel, step: &Step, elements: u64, fss: FssPolicy) -> Vec<Other> {
    let mut all: Vec<Alternative> = model
        .alternatives(&step.op, elements, FssPolicy::WhereCheaper)
        .into_iter()
        .filter(|other| other.tactic != step.tactic)
        .collect();
    all.sort_by(|a, b| a.weight.total_cmp(&b.weight));
    let other = |a: Alternative| Other {
        how: tactic(a.tactic),
        rounds: a.cost.openings.len(),
        bytes_online: a.cost.openings.iter().sum(),
        bytes_dealt: a.cost.dealt,
        seconds: model.online(&a.cost),
        two_evaluators_only: a.tactic == Tactic::Fss && fss == FssPolicy::Never,
    };
    all.into_iter().map(other).collect()
}

/// How signs are computed in a program: each tactic with the number of its layers.
pub(super) fn tactics(program: &Program) -> Vec<(String, usize)> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for step in program.steps().iter().filter(|s| s.op.window().is_some()) {
        let words = tactic(step.tactic);
        match counts.iter_mut().find(|(known, _)| *known == words) {
            Some((_, n)) => *n += 1,
            None => counts.push((words, 1)),
        }
    }
    counts
}
