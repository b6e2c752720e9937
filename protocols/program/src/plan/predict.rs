//! What a session will take: rounds, bytes and seconds, step by step.

use crate::fixed::{Program, Tactic};

use super::LinkProfile;
use super::along::{Actor, Start, along};
use super::cost::{StepCost, Task};
use super::rates::{Rates, Role, Unit, Work};

/// Bytes of a dealer's grant to a client: an index and a seed.
const GRANT: u64 = 40;

/// Which machines compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Placement {
    /// Each party has a machine of its own, with [`LinkProfile::cores`].
    #[default]
    Apart,
    /// All parties share one machine with [`LinkProfile::cores`].
    Together,
}

/// Where a session runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Setting {
    /// Between all parties.
    pub link: LinkProfile,
    /// How fast the machines are.
    pub rates: Rates,
    /// Who shares them.
    pub placement: Placement,
}

impl From<LinkProfile> for Setting {
    /// Machines of the default rates, one for each party.
    fn from(link: LinkProfile) -> Self {
        Self {
            link,
            ..Self::default()
        }
    }
}

impl Setting {
    /// Seconds from a message's sending to its use.
    pub(super) fn delivery(&self, bytes: u64) -> f64 {
        let half = self.link.round_trip.as_secs_f64() / 2.0;
        half + self.serialised(bytes) + self.rates.turn
    }

    /// Seconds for which a message keeps its link busy.
    pub(super) fn serialised(&self, bytes: u64) -> f64 {
        bytes as f64 * 8.0 / self.link.bandwidth_bits.max(1) as f64
    }

    /// Threads that a task can use.
    pub(super) fn threads(&self, task: &Task) -> f64 {
        f64::from(self.link.cores.max(1)).min(task.pieces as f64)
    }

    /// How fast each of so many busy threads of one machine is.
    pub(super) fn speed(&self, threads: f64) -> f64 {
        let cores = f64::from(self.link.cores.max(1));
        (cores / threads).min(1.0) / self.rates.drag
    }

    /// Seconds of a task that as many parties as share a machine in this `role` do at the same time.
    fn computing(&self, role: Role, task: &Task) -> f64 {
        let parties = match (self.placement, role) {
            (Placement::Together, Role::Evaluator) => 2.0,
            _ => 1.0,
        };
        let threads = self.threads(task);
        let forks = if threads > 1.0 {
            self.rates.forking(role, task)
        } else {
            0.0
        };
        let alone = self.rates.seconds(role, &task.work) - self.rates.forking(role, task);
        forks + alone / (threads * self.speed(parties * threads))
    }

    /// Seconds of work on one thread of each of so many parties.
    fn serial(&self, role: Role, work: Work, parties: f64) -> f64 {
        let parties = match self.placement {
            Placement::Apart => 1.0,
            Placement::Together => parties,
        };
        self.rates.seconds(role, &work) / self.speed(parties)
    }
}

/// What one step is predicted to take.
#[derive(Clone, Debug, PartialEq)]
pub struct StepPrediction {
    /// Name of the step.
    pub name: String,
    /// Its operator.
    pub kind: &'static str,
    /// How it is computed.
    pub tactic: Tactic,
    /// Elements of the result, whole batch.
    pub elements: u64,
    /// Messages between the evaluators.
    pub rounds: u32,
    /// Bytes that each evaluator sends the other.
    pub bytes_online: u64,
    /// Bytes that the dealer sends evaluator 0 and evaluator 1.
    pub bytes_dealt: [u64; 2],
    /// From the result before it to its own: the evaluators' work, half a round trip for each round, the opened bytes.
    pub seconds: f64,
    /// The dealer's work.
    pub dealing: f64,
}

/// What a session is predicted to take.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Every step of the program, in order.
    pub steps: Vec<StepPrediction>,
    /// Seconds until the evaluators have the masked input.
    pub input: f64,
    /// Seconds from the last step until the client has the output.
    pub output: f64,
    /// Seconds to deal for it ahead of time, until evaluators have everything.
    pub dealing: f64,
    /// Seconds from request to answer when it was dealt ahead.
    pub online: f64,
    /// Seconds from request to answer when it is dealt along the way.
    pub along: f64,
    /// Bytes that the client sends each evaluator.
    pub bytes_input: u64,
    /// Bytes that each evaluator and the dealer send the client.
    pub bytes_output: u64,
}

impl Prediction {
    /// Messages between the evaluators, one after the other.
    pub fn rounds(&self) -> u32 {
        self.steps.iter().map(|step| step.rounds).sum()
    }

    /// Bytes that each evaluator sends the other.
    pub fn bytes_online(&self) -> u64 {
        self.steps.iter().map(|step| step.bytes_online).sum()
    }

    /// Bytes that the dealer sends evaluator 0 and evaluator 1.
    pub fn bytes_dealt(&self) -> [u64; 2] {
        let dealt = |i: usize| self.steps.iter().map(|step| step.bytes_dealt[i]).sum();
        [dealt(0), dealt(1)]
    }
}

/// A step as the prediction sees it.
pub(super) struct Costed {
    pub(super) cost: StepCost,
    /// Bytes to evaluator 0 and evaluator 1.
    pub(super) dealt: [u64; 2],
}

impl Program {
    /// Rounds, bytes and seconds of every step and of the whole for `batch` records, two evaluators and a dealer.
    pub fn predict(&self, batch: usize, setting: &Setting) -> Prediction {
        let mut receiver = 0;
        let costed = self.steps().iter().map(|step| {
            let cost = self.step_cost(step, batch);
            // Evaluators take turns at receiving what one of them must be sent.
            if step.op.is_interactive() {
                receiver = 1 - receiver;
            }
            let [more, less] = cost.dealt;
            let dealt = if receiver == 0 {
                [more, less]
            } else {
                [less, more]
            };
            Costed { cost, dealt }
        });
        let costed: Vec<Costed> = costed.collect();
        let ends = Ends::of(self, batch, &costed);
        let steps = self.steps().iter().zip(&costed);
        let steps: Vec<StepPrediction> = steps
            .map(|(step, Costed { cost, dealt })| {
                let opened = cost.openings.iter().map(|bytes| setting.delivery(*bytes));
                let work = setting.computing(Role::Evaluator, &cost.evaluating);
                StepPrediction {
                    name: step.name.clone(),
                    kind: step.op.kind(),
                    tactic: step.tactic,
                    elements: (self.value(step.output).elements() * batch) as u64,
                    rounds: cost.openings.len() as u32,
                    bytes_online: cost.openings.iter().sum(),
                    bytes_dealt: *dealt,
                    seconds: work + opened.sum::<f64>(),
                    dealing: setting.computing(Role::Dealer, &cost.dealing),
                }
            })
            .collect();
        let input = ends.input(setting);
        let output = ends.output(setting);
        let inner: f64 = steps.iter().map(|step| step.seconds).sum();
        Prediction {
            input,
            output,
            dealing: ends.dealing(setting, &costed),
            online: input + inner + output,
            along: ends.along(setting, &costed) + output,
            bytes_input: 8 * ends.input,
            bytes_output: 8 * ends.output,
            steps,
        }
    }
}

/// What happens before the first and after the last step.
struct Ends {
    /// Elements of the input.
    input: u64,
    /// Elements of the output.
    output: u64,
    /// Bytes dealt ahead for each evaluator.
    stored: [u64; 2],
}

impl Ends {
    fn of(program: &Program, batch: usize, steps: &[Costed]) -> Self {
        let size = |id| (program.value(id).elements() * batch) as u64;
        let stored = |i: usize| steps.iter().map(|step| step.dealt[i]).sum();
        Self {
            input: program.inputs().iter().map(|port| size(port.value)).sum(),
            output: program.outputs().iter().map(|port| size(port.value)).sum(),
            stored: [stored(0), stored(1)],
        }
    }

    /// From the dealer's word, which entry of the pool it is, until evaluators have opened theirs and the input is there.
    fn input(&self, setting: &Setting) -> f64 {
        let masked = Work::of(Unit::Input, self.input);
        let stored = |i: usize| Work::of(Unit::Stored, self.stored[i]);
        let opened = [0, 1].map(|i| setting.serial(Role::Evaluator, stored(i), 2.0));
        let masking = setting.serial(Role::Client, masked, 2.0);
        let sent = setting.delivery(GRANT) + masking + setting.delivery(8 * self.input);
        let ready = opened.map(|opened| (setting.delivery(8) + opened).max(sent));
        ready[0].max(ready[1]) + setting.serial(Role::Evaluator, masked, 2.0) + setting.rates.wake
    }

    /// Filling a pool: the index goes out, keys come back, corrections follow, and evaluators say that they have them.
    fn dealing(&self, setting: &Setting, steps: &[Costed]) -> f64 {
        let rates = &setting.rates;
        let agreed = Work::of(Unit::Key, 2).and(Unit::Input, self.input);
        let start = Start {
            dealer: 2.0 * setting.delivery(8)
                + rates.seconds(Role::Evaluator, &Work::of(Unit::Key, 1))
                + rates.seconds(Role::Dealer, &agreed),
            evaluators: 0.0,
        };
        let most = self.stored.into_iter().max().unwrap_or(0);
        let stored = Work::of(Unit::Stored, most);
        along(setting, steps, start, Actor::Dealer)
            + rates.seconds(Role::Dealer, &stored)
            + setting.delivery(8)
    }

    /// Without a pool, until the last step: keys, the client's seed and the input go out at once.
    fn along(&self, setting: &Setting, steps: &[Costed]) -> f64 {
        let rates = &setting.rates;
        let masked = Work::of(Unit::Input, self.input);
        let begun = |keys| masked.and(Unit::Key, keys);
        let start = Start {
            dealer: setting.delivery(0) + rates.seconds(Role::Dealer, &begun(2)),
            evaluators: setting.delivery(8 * self.input)
                + rates.seconds(Role::Evaluator, &begun(1)),
        };
        along(setting, steps, start, Actor::Evaluators)
    }

    fn output(&self, setting: &Setting) -> f64 {
        let output = Work::of(Unit::Output, self.output);
        setting.serial(Role::Evaluator, output, 2.0)
            + setting.delivery(8 * self.output)
            + setting.rates.wake
            + setting.rates.seconds(Role::Client, &output)
    }
}
