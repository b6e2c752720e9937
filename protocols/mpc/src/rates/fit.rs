//! Seconds a unit from samples of many units: non-negative least squares.

use std::time::Duration;

use ai_link_program::plan::{Rates, Role, Unit, Work};

/// So much work took so long.
#[derive(Clone, Debug)]
pub(super) struct Equation {
    pub(super) role: Role,
    /// What was done, for people.
    pub(super) step: String,
    pub(super) work: Work,
    pub(super) seconds: f64,
}

impl Equation {
    pub(super) fn new(role: Role, step: &str, work: Work, took: Duration) -> Self {
        // A clock that did not move would make the relative error infinite.
        let seconds = took.as_secs_f64().max(1e-8);
        Self {
            role,
            step: step.to_owned(),
            // Samples run on one thread: nothing is handed to others.
            work: work.without(Unit::Fork),
            seconds,
        }
    }
}

/// Rounds of coordinate descent.
const SWEEPS: usize = 3000;

/// The seconds of each unit that make the sum of squared relative errors least. Units that no
/// equation mentions have the default rate.
pub(super) fn solve(equations: &[&Equation], role: Role) -> [f64; Unit::COUNT] {
    const N: usize = Unit::COUNT;
    // Normal equations of the relative errors.
    let (mut normal, mut right) = ([[0.0; N]; N], [0.0; N]);
    for equation in equations {
        let row = equation.work.counts().map(|n| n / equation.seconds);
        for i in (0..N).filter(|i| row[*i] != 0.0) {
            right[i] += row[i];
            for j in 0..N {
                normal[i][j] += row[i] * row[j];
            }
        }
    }
    let mut seconds = [0.0; N];
    for _ in 0..SWEEPS {
        for i in (0..N).filter(|i| normal[*i][*i] > 0.0) {
            let others: f64 = (0..N)
                .filter(|j| *j != i)
                .map(|j| normal[i][j] * seconds[j])
                .sum();
            seconds[i] = ((right[i] - others) / normal[i][i]).max(0.0);
        }
    }
    for unit in Unit::ALL {
        let i = unit.index();
        if normal[i][i] == 0.0 {
            seconds[i] = Rates::DEFAULT.unit(role, unit);
        }
    }
    seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equation(work: Work, seconds: f64) -> Equation {
        Equation {
            role: Role::Evaluator,
            step: String::new(),
            // Samples run on one thread: nothing is handed to others.
            work: work.without(Unit::Fork),
            seconds,
        }
    }

    #[test]
    fn exact_equations_are_solved() {
        let cases = [
            (Work::of(Unit::Step, 1).and(Unit::Moved, 100), 1e-6 + 100e-9),
            (
                Work::of(Unit::Step, 1).and(Unit::Moved, 9000),
                1e-6 + 9000e-9,
            ),
            (
                Work::of(Unit::Step, 2).and(Unit::Tap, 50),
                2e-6 + 50.0 * 3e-9,
            ),
        ];
        let all: Vec<Equation> = cases.iter().map(|(w, s)| equation(*w, *s)).collect();
        let seconds = solve(&all.iter().collect::<Vec<_>>(), Role::Evaluator);
        for (unit, want) in [(Unit::Step, 1e-6), (Unit::Moved, 1e-9), (Unit::Tap, 3e-9)] {
            let got = seconds[unit.index()];
            assert!(
                (got / want - 1.0).abs() < 1e-3,
                "{unit:?}: {got} s, not {want}"
            );
        }
        let default = Rates::DEFAULT.unit(Role::Evaluator, Unit::Direct);
        assert_eq!(seconds[Unit::Direct.index()], default);
    }

    #[test]
    fn no_unit_takes_less_than_nothing() {
        // Twice the work in less time: the fixed part takes it all.
        let all = [
            equation(Work::of(Unit::Step, 1).and(Unit::Moved, 10), 2e-6),
            equation(Work::of(Unit::Step, 1).and(Unit::Moved, 20), 1e-6),
        ];
        let seconds = solve(&all.iter().collect::<Vec<_>>(), Role::Evaluator);
        assert!(seconds.iter().all(|s| *s >= 0.0));
        assert!(seconds[Unit::Step.index()] > 0.0);
    }
}
