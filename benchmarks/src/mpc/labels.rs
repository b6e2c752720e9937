//! Names for what a machine does at each message: known beforehand, because messages are.

use ai_link_mpc::{Schedule, StepCost};

use super::seat::Kind;
use super::who::Who;

/// What a machine does with each message that it takes, and for each that it gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Labels {
    pub(super) taken: Vec<String>,
    pub(super) given: Vec<String>,
}

impl Labels {
    /// For a worker in a session of `kind`. What the client does and what is done ahead has no parts.
    pub(super) fn of(who: Who, kind: Kind, schedule: &Schedule) -> Self {
        match (who.evaluator(), kind) {
            (_, Kind::Ahead) | (None, Kind::FromPool) => Self::default(),
            (None, Kind::Whole) => Self {
                taken: vec!["keys".into(), "keys".into(), "input".into()],
                given: dealt(schedule),
            },
            (Some(index), _) => Self {
                taken: opened(schedule, usize::from(index.get()), kind),
                given: Vec::new(),
            },
        }
    }
}

/// Kinds of the local steps before each interactive one, that one, and of those behind the last.
fn groups(schedule: &Schedule) -> (Vec<(String, &StepCost)>, String) {
    let (mut groups, mut local): (Vec<(String, &StepCost)>, Vec<&str>) = Default::default();
    for step in schedule.steps() {
        match step.openings.is_empty() {
            true => local.push(step.kind),
            false => groups.push((joined(&mut local), step)),
        }
    }
    (groups, joined(&mut local))
}

/// Each kind once, in order; takes them.
fn joined(kinds: &mut Vec<&str>) -> String {
    let mut once: Vec<&str> = Vec::new();
    for kind in std::mem::take(kinds) {
        if !once.contains(&kind) {
            once.push(kind);
        }
    }
    once.join(", ")
}

fn both(first: &str, second: &str) -> String {
    let parts = [first, second];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// The dealer gives its keys, then the corrections step by step, then the masks of the output.
fn dealt(schedule: &Schedule) -> Vec<String> {
    let (groups, rest) = groups(schedule);
    let mut given = vec!["keys".to_owned(); usize::from(schedule.evaluators())];
    for (local, step) in groups {
        let messages = step.dealt.iter().filter(|bytes| **bytes > 0);
        given.extend(messages.map(|_| both(&local, step.kind)));
    }
    given.push(both(&rest, "output"));
    given
}

/// An evaluator takes a key or the number of an entry, the input, and then corrections and openings.
fn opened(schedule: &Schedule, index: usize, kind: Kind) -> Vec<String> {
    let (groups, rest) = groups(schedule);
    let waits = |step: &StepCost| kind == Kind::Whole && step.dealt[index] > 0;
    // What follows a message is done with it, up to the next message.
    let following = |next: usize| match groups.get(next) {
        None => both(&rest, "output"),
        Some((local, step)) if waits(step) => local.clone(),
        Some((local, step)) => both(local, &format!("{} begins", step.kind)),
    };
    let arrow = |what: String, then: String| match then.is_empty() {
        true => what,
        false => format!("{what} -> {then}"),
    };
    let mut taken = vec![
        "key or entry".to_owned(),
        arrow("input".to_owned(), following(0)),
    ];
    for (i, (_, step)) in groups.iter().enumerate() {
        if waits(step) {
            taken.push(format!("{} begins", step.kind));
        }
        let rounds = step.openings.len();
        for round in 1..=rounds {
            let name = format!("{} {round}/{rounds}", step.kind);
            taken.push(match round == rounds {
                true => arrow(name, following(i + 1)),
                false => name,
            });
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ai_link_program::fixed::ProgramBuilder;

    use super::*;

    #[test]
    fn every_message_has_a_name() {
        let mut b = ProgramBuilder::new("two comparisons");
        let x = b.input("x", &[4], 8);
        let h = b.relu(x, 0);
        let h = b.add(h, x);
        let m = b.max(h, x);
        b.output("m", m);
        let schedule = Schedule::new(&b.finish().unwrap(), 1).unwrap();
        let whole = Labels::of(Who::Dealer, Kind::Whole, &schedule);
        let corrections = schedule.steps().iter().flat_map(|s| &s.dealt);
        assert_eq!(
            whole.given.len(),
            2 + corrections.filter(|b| **b > 0).count() + 1
        );
        assert_eq!(whole.given.last().unwrap(), "output");
        for who in [Who::Evaluator0, Who::Evaluator1] {
            let pooled = Labels::of(who, Kind::FromPool, &schedule).taken;
            assert_eq!(pooled.len(), 2 + schedule.rounds());
            assert_eq!(pooled[1], "input -> Relu begins");
            assert_eq!(pooled.last().unwrap().split(" -> ").last(), Some("output"));
            assert!(
                pooled
                    .iter()
                    .any(|label| label.ends_with("Add, Max begins")),
                "{pooled:?}"
            );
            let whole = Labels::of(who, Kind::Whole, &schedule).taken;
            let index = usize::from(who.evaluator().unwrap().get());
            let mine = schedule.steps().iter().filter(|s| s.dealt[index] > 0);
            assert_eq!(whole.len(), pooled.len() + mine.count());
        }
    }
}
