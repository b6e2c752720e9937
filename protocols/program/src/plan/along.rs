//! Dealer and evaluators at the same time: who waits for whom, and who takes cores from whom.
//!
//! Both go through the program step by step, the dealer as fast as it can, evaluators as fast as corrections come and
//! openings go. On one machine they share its cores. Time moves from one event to the next.

use super::cost::Task;
use super::predict::{Costed, Placement, Setting};
use super::rates::Role;

/// Whose end is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Actor {
    /// When everything dealt has arrived, evaluators only taking it.
    Dealer,
    /// When evaluators have the result of the last step.
    Evaluators,
}

/// Something that one actor does next.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Seconds of one core, and threads that share them.
    Compute { left: f64, threads: f64 },
    /// Until a time.
    Wait { until: f64 },
}

impl Stage {
    /// A task. Handing it to threads takes as long for several as for one.
    fn of(setting: &Setting, role: Role, task: &Task) -> Self {
        let threads = setting.threads(task);
        let forks = setting.rates.forking(role, task);
        let forked = if threads > 1.0 { forks * threads } else { 0.0 };
        let left = setting.rates.seconds(role, &task.work) - forks + forked;
        Self::Compute { left, threads }
    }
}

/// When everyone has what it needs to begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// The dealer, to deal.
    pub(super) dealer: f64,
    /// The evaluators, to work on the input.
    pub(super) evaluators: f64,
}

/// When `actor` is done.
pub(super) fn along(setting: &Setting, steps: &[Costed], start: Start, actor: Actor) -> f64 {
    let mut dealing = Dealing::new(setting, steps, start.dealer);
    if actor == Actor::Dealer {
        while let Some(stage) = dealing.stage {
            dealing.now += match stage {
                Stage::Compute { left, threads } => left / (threads * setting.speed(threads)),
                Stage::Wait { until } => (until - dealing.now).max(0.0),
            };
            dealing.advance();
        }
        return dealing.arrivals.iter().fold(dealing.now, |a, b| a.max(*b));
    }
    let mut evaluating = Evaluating::new(setting, steps, start.evaluators);
    let mut now = 0.0;
    while let Some(stage) = evaluating.stage(&dealing) {
        // Speed of everyone's threads, given who computes.
        let (mut own, mut others) = (0.0, 0.0);
        if let Some(Stage::Compute { threads, .. }) = stage {
            own = threads;
        }
        if let Some(Stage::Compute { threads, .. }) = dealing.stage {
            others = threads;
        }
        let [own_speed, others_speed] = match setting.placement {
            Placement::Apart => [setting.speed(own), setting.speed(others)],
            Placement::Together => [setting.speed(2.0 * own + others); 2],
        };
        let span = |stage: Option<Stage>, speed: f64| match stage {
            Some(Stage::Compute { left, threads }) => left / (threads * speed),
            Some(Stage::Wait { until }) => (until - now).max(0.0),
            None => f64::INFINITY,
        };
        let spans = [span(stage, own_speed), span(dealing.stage, others_speed)];
        let step = spans[0].min(spans[1]);
        if step.is_infinite() {
            // Nobody has anything to do: corrections that never come do not exist.
            break;
        }
        now += step;
        if let Some(Stage::Compute { left, .. }) = &mut evaluating.stage {
            *left -= step * own * own_speed;
        }
        if let Some(Stage::Compute { left, .. }) = &mut dealing.stage {
            *left -= step * others * others_speed;
        }
        dealing.now = now;
        if spans[1] <= step {
            dealing.advance();
        }
        if spans[0] <= step {
            evaluating.advance(now);
        }
    }
    now
}

/// The dealer on its way through the program.
struct Dealing<'a> {
    setting: &'a Setting,
    steps: &'a [Costed],
    next: usize,
    stage: Option<Stage>,
    now: f64,
    /// When each link to an evaluator is free.
    links: [f64; 2],
    /// When the corrections of each step so far are there.
    arrivals: Vec<f64>,
}

impl<'a> Dealing<'a> {
    fn new(setting: &'a Setting, steps: &'a [Costed], until: f64) -> Self {
        Self {
            setting,
            steps,
            next: 0,
            stage: Some(Stage::Wait { until }),
            now: 0.0,
            links: [0.0; 2],
            arrivals: Vec::new(),
        }
    }

    /// The stage is over.
    fn advance(&mut self) {
        if matches!(self.stage, Some(Stage::Compute { .. })) {
            self.sent();
        }
        let step = self.steps.get(self.next);
        self.stage = step.map(|step| Stage::of(self.setting, Role::Dealer, &step.cost.dealing));
    }

    /// Sends the corrections of the step that was dealt.
    fn sent(&mut self) {
        let mut arrival = self.now;
        for (link, bytes) in self.links.iter_mut().zip(self.steps[self.next].dealt) {
            if bytes > 0 {
                let start = link.max(self.now);
                *link = start + self.setting.serialised(bytes);
                arrival = arrival.max(start + self.setting.delivery(bytes));
            }
        }
        self.arrivals.push(arrival);
        self.next += 1;
    }
}

/// Both evaluators on their way.
struct Evaluating<'a> {
    setting: &'a Setting,
    steps: &'a [Costed],
    next: usize,
    part: Part,
    stage: Option<Stage>,
    /// When the input is there.
    start: f64,
}

/// Parts of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Corrections,
    Work,
    Openings,
}

impl<'a> Evaluating<'a> {
    fn new(setting: &'a Setting, steps: &'a [Costed], start: f64) -> Self {
        Self {
            setting,
            steps,
            next: 0,
            part: Part::Corrections,
            stage: None,
            start,
        }
    }

    /// What is going on; `None` at the end. While corrections are still to be dealt there is nothing to do.
    fn stage(&mut self, dealing: &Dealing<'_>) -> Option<Option<Stage>> {
        let step = self.steps.get(self.next)?;
        if self.part == Part::Corrections {
            let interactive = !step.cost.openings.is_empty();
            self.stage = match dealing.arrivals.get(self.next) {
                _ if !interactive => Some(Stage::Wait { until: self.start }),
                Some(until) => {
                    let until = until.max(self.start);
                    Some(Stage::Wait { until })
                }
                None => None,
            };
        }
        Some(self.stage)
    }

    /// The stage is over.
    fn advance(&mut self, now: f64) {
        let cost = &self.steps[self.next].cost;
        (self.part, self.stage) = match self.part {
            Part::Corrections => {
                let stage = Stage::of(self.setting, Role::Evaluator, &cost.evaluating);
                (Part::Work, Some(stage))
            }
            Part::Work => {
                let opened = cost.openings.iter().map(|b| self.setting.delivery(*b));
                let until = now + opened.sum::<f64>();
                (Part::Openings, Some(Stage::Wait { until }))
            }
            Part::Openings => {
                self.next += 1;
                (Part::Corrections, None)
            }
        };
    }
}
