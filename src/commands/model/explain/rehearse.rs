//! The plan evaluated here, and the middle of what it took.

use std::time::Duration;

use ai_link_mpc::Secret32;
use ai_link_mpc::rehearsal::{Rehearsal, Rehearsed, StepTime};
use ai_link_program::LinkProfile;

use super::subject::Subject;
use crate::output::Failure;

/// One session may take so long.
const DEADLINE: Duration = Duration::from_secs(600);

/// Runs the program so often; medians of everything.
pub(super) fn rehearse(
    subject: &Subject,
    batch: usize,
    link: LinkProfile,
    runs: u16,
) -> Result<Rehearsed, Failure> {
    let inputs = subject.inputs(batch)?;
    let program = subject.program.clone();
    let (entropy, parameters) = (fresh()?, &subject.parameters);
    let rehearsal = Rehearsal::new(program, parameters, link, DEADLINE, &entropy);
    let rehearsal = rehearsal.map_err(Failure::failed)?;
    let mut all = Vec::new();
    // One more, first, that packs weights and fills caches.
    for _ in 0..=runs {
        let mut failed = None;
        let done = rehearsal.run(batch, &inputs, || {
            fresh().unwrap_or_else(|failure| {
                failed = Some(failure);
                Secret32::new([0; 32])
            })
        });
        if let Some(failure) = failed {
            return Err(failure);
        }
        all.push(done.map_err(Failure::failed)?);
    }
    all.remove(0);
    Ok(middle(&all))
}

fn fresh() -> Result<Secret32, Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|e| Failure::message(format!("the system has no random numbers: {e}")))?;
    Ok(Secret32::new(bytes))
}

/// The median of each figure.
fn middle(all: &[Rehearsed]) -> Rehearsed {
    let of = |get: &dyn Fn(&Rehearsed) -> f64| {
        let mut values: Vec<f64> = all.iter().map(get).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let step = |i: usize| StepTime {
        seconds: of(&|run| run.steps[i].seconds),
        busy: of(&|run| run.steps[i].busy),
        dealing: of(&|run| run.steps[i].dealing),
        ..all[0].steps[i]
    };
    Rehearsed {
        steps: (0..all[0].steps.len()).map(step).collect(),
        input: of(&|run| run.input),
        output: of(&|run| run.output),
        dealing: of(&|run| run.dealing),
        online: of(&|run| run.online),
        along: of(&|run| run.along),
    }
}
