//! How fast this machine is, for predictions: measured by running small programs through the very
//! machines and kernels that sessions use.
//!
//! Each step of a sample gives an equation: its [`Work`](ai_link_program::plan::Work) in units times
//! seconds a unit is what it took. All of them together are solved for the seconds, none of them
//! negative, with the least relative error. On one thread, so that the rates are those of a core.
//! Takes some tenths of a second.

mod fit;
mod samples;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_link_program::plan::{Rates, Role, Unit, Work};
use ai_link_program::{LinkProfile, Parameters, Program};

use crate::client::Client;
use crate::dealer::Dealer;
use crate::evaluator::Evaluator;
use crate::kernels::VectorKernels;
use crate::keys::Secret32;
use crate::party::{EvaluatorIndex, Party};
use crate::pool::{Entry, Pool, VolatileStore};
use crate::rehearsal::Rehearsal;
use crate::session::{Machine, SessionSpec};
use crate::timed::{Timed, Times};
use crate::weights;

use fit::Equation;
use samples::Sample;

/// Each sample is run so often, and the middle of what it took is taken.
const REPEATS: usize = 5;
/// How long the cores are compared with one core.
const COMPARED: Duration = Duration::from_millis(8);

/// Measures this machine.
pub fn measure() -> Rates {
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let equations = match alone {
        Ok(pool) => pool.install(all_equations),
        // No thread to be had: what is measured is then that of several.
        Err(_) => all_equations(),
    };
    let seconds = Role::ALL.map(|role| {
        let ours: Vec<&Equation> = equations.iter().filter(|e| e.role == role).collect();
        fit::solve(&ours, role)
    });
    let rates = Rates::new(seconds, 0.0, crowding());
    rates.with_turn(turn(&rates))
}

fn all_equations() -> Vec<Equation> {
    let mut equations = Vec::new();
    for sample in samples::all() {
        equations.extend(run(&sample));
    }
    equations.extend(stored());
    equations
}

/// What the parties of a sample took, middle of several runs.
fn run(sample: &Sample) -> Vec<Equation> {
    let runs: Vec<Vec<Equation>> = (0..REPEATS).map(|n| once(sample, n as u8)).collect();
    let Some(first) = runs.first() else {
        return Vec::new();
    };
    let middle = |i: usize| {
        let mut all: Vec<f64> = runs.iter().map(|run| run[i].seconds).collect();
        all.sort_by(f64::total_cmp);
        Equation {
            seconds: all[all.len() / 2],
            ..first[i]
        }
    };
    (0..first.len()).map(middle).collect()
}

/// Runs a sample, message by message, on this thread.
fn once(sample: &Sample, run: u8) -> Vec<Equation> {
    let entropy = |party: u8| Secret32::new([party ^ run.wrapping_mul(17); 32]);
    let program = &sample.program;
    let spec = SessionSpec::new(program.clone(), [run; 32], sample.batch);
    let elements = program
        .inputs()
        .iter()
        .map(|p| program.value(p.value).elements());
    let elements: Vec<usize> = elements.map(|n| n * sample.batch).collect();
    let inputs = elements.iter().map(|n| vec![0.25; *n]).collect();
    let shared = (!program.parameters().is_empty()).then(|| {
        let shared = weights::share(program, &sample.parameters, &entropy(9));
        let shared = shared.expect("the parameters are those of the program, qed");
        (Arc::new(shared.mask), shared.evaluators.map(Arc::new))
    });
    let sound = "samples are sound, qed";
    let began = Instant::now();
    let client = Client::new(spec.clone(), inputs, entropy(0)).expect(sound);
    let masking = began.elapsed();
    let dealer = match &shared {
        None => Dealer::new(spec.clone(), entropy(1)),
        Some((mask, _)) => Dealer::with_weights(spec.clone(), mask.clone(), entropy(1)),
    };
    let evaluator = |index: EvaluatorIndex| {
        let entropy = entropy(2 + index.get());
        let made = match &shared {
            None => Evaluator::new(spec.clone(), index, entropy),
            Some((_, shares)) => {
                let share = shares[index.at()].clone();
                Evaluator::with_weights(spec.clone(), index, share, entropy)
            }
        };
        Timed::new(made.expect(sound), program.steps().len(), began)
    };
    let mut client = client;
    let mut dealer = Timed::new(dealer.expect(sound), program.steps().len(), began);
    let [mut zero, mut one] = [EvaluatorIndex::ZERO, EvaluatorIndex::ONE].map(evaluator);
    exchange(&mut [&mut client, &mut dealer, &mut zero, &mut one]);
    let began = Instant::now();
    let _ = std::hint::black_box(client.into_outputs());
    let unmasking = began.elapsed();

    let input: u64 = elements.iter().map(|n| *n as u64).sum();
    let outputs = program.outputs().iter();
    let output = outputs.map(|p| program.value(p.value).elements());
    let output = (output.sum::<usize>() * sample.batch) as u64;
    let mut equations = vec![
        Equation::new(Role::Client, Work::of(Unit::Input, input), masking),
        Equation::new(Role::Client, Work::of(Unit::Output, output), unmasking),
    ];
    let mut of_party = |role: Role, keys: u64, times: Times| {
        let begun = Work::of(Unit::Input, input).and(Unit::Key, keys);
        equations.push(Equation::new(role, begun, times.input.busy));
        let ended = Work::of(Unit::Output, output);
        equations.push(Equation::new(role, ended, times.output.busy));
        for (step, part) in program.steps().iter().zip(times.steps) {
            let cost = program.step_cost(step, sample.batch);
            let task = match role {
                Role::Dealer => cost.dealing,
                _ => cost.evaluating,
            };
            equations.push(Equation::new(role, task.work, part.busy));
        }
    };
    of_party(Role::Dealer, 2, dealer.into_parts().1);
    of_party(Role::Evaluator, 1, zero.into_parts().1);
    of_party(Role::Evaluator, 1, one.into_parts().1);
    equations
}

/// Delivers messages until everyone is finished.
fn exchange(machines: &mut [&mut dyn Machine]) {
    let mut queues: std::collections::HashMap<(Party, Party), std::collections::VecDeque<Vec<u8>>> =
        std::collections::HashMap::new();
    while !machines.iter().all(|machine| machine.is_finished()) {
        for machine in machines.iter_mut() {
            while let Some(sent) = machine.poll_transmit() {
                let queue = queues.entry((machine.party(), sent.to)).or_default();
                queue.push_back(sent.payload);
            }
            let Some(expected) = machine.next_expected() else {
                continue;
            };
            let queue = queues.get_mut(&(expected.from, machine.party()));
            if let Some(payload) = queue.and_then(|queue| queue.pop_front()) {
                let handled = machine.handle(expected.from, payload);
                handled.expect("machines of one session understand each other, qed");
            }
        }
    }
}

/// Storing an entry in a pool, and taking it.
fn stored() -> Vec<Equation> {
    const BYTES: usize = 1 << 20;
    let node = Secret32::new([1; 32]);
    let store = VolatileStore::default();
    let pool = Pool::open(store, samples::pool(), Party::EVALUATOR_0, &node, u64::MAX);
    let Ok(mut pool) = pool else {
        return Vec::new();
    };
    let mut took = Vec::new();
    for index in 0..REPEATS as u64 {
        let entry = Entry {
            secret: Secret32::new([2; 32]),
            body: vec![3; BYTES].into(),
        };
        let began = Instant::now();
        let stored = pool.append(index, &entry);
        let storing = began.elapsed();
        let began = Instant::now();
        let taken = pool.take(index);
        // Every step takes its part of it.
        let read = std::hint::black_box(taken.map(|entry| entry.body.to_vec()));
        if stored.is_ok() && read.is_ok() {
            took.push([storing, began.elapsed()]);
        }
    }
    let work = Work::of(Unit::Stored, BYTES as u64);
    let middle = |i: usize, role| {
        let mut times: Vec<Duration> = took.iter().map(|pair| pair[i]).collect();
        times.sort();
        let middle = times.get(times.len() / 2);
        middle.map(|time| Equation::new(role, work, *time))
    };
    let both = [middle(0, Role::Dealer), middle(1, Role::Evaluator)];
    both.into_iter().flatten().collect()
}

/// How much slower a core is when all are busy.
fn crowding() -> f64 {
    let alone = products(1);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores == 1 {
        return 1.0;
    }
    let all = products(cores) / cores as f64;
    (alone / all).max(1.0)
}

/// Products that so many threads make in [`COMPARED`].
fn products(threads: usize) -> f64 {
    let one = || {
        // Small enough to stay on its thread.
        let shape = samples::SMALL;
        let kernels = VectorKernels::best();
        let (a, b) = (
            vec![3; shape.rows * shape.inner],
            vec![5; shape.inner * shape.columns],
        );
        let mut out = vec![0; shape.rows * shape.columns];
        let (began, mut count) = (Instant::now(), 0u32);
        while began.elapsed() < COMPARED {
            kernels.product(shape, &a, &b, &mut out);
            std::hint::black_box(&mut out);
            count += 1;
        }
        f64::from(count) / began.elapsed().as_secs_f64()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .sum()
    })
}

/// Seconds from one thread's message to another's use of it.
fn turn(rates: &Rates) -> f64 {
    let link = LinkProfile {
        round_trip: Duration::ZERO,
        bandwidth_bits: u64::MAX,
        cores: 2,
    };
    let program = samples::rounds();
    let entropy = Secret32::new([7; 32]);
    let deadline = Duration::from_secs(10);
    let rehearsal = Rehearsal::new(
        program.clone(),
        &Parameters::none(),
        link,
        deadline,
        &entropy,
    );
    let mut runs = Vec::new();
    let mut next = 0u8;
    for _ in 0..REPEATS {
        let mut fresh = || {
            next = next.wrapping_add(1);
            Secret32::new([next; 32])
        };
        let inputs = [vec![0.5; samples::ROUND_ELEMENTS]];
        let Ok(rehearsal) = &rehearsal else { continue };
        if let Ok(done) = rehearsal.run(1, &inputs, &mut fresh) {
            let steps: f64 = done.steps.iter().map(|step| step.seconds).sum();
            runs.push(steps / done.steps.len() as f64);
        }
    }
    runs.sort_by(f64::total_cmp);
    let Some(round) = runs.get(runs.len() / 2) else {
        return Rates::DEFAULT.turn;
    };
    (round - own_work(rates, &program)).max(0.0)
}

/// Seconds that an evaluator computes for a step of the program of rounds.
fn own_work(rates: &Rates, program: &Program) -> f64 {
    let work = |step| rates.seconds(Role::Evaluator, &program.step_cost(step, 1).evaluating.work);
    let all: f64 = program.steps().iter().map(work).sum();
    all / program.steps().len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_every_role_is_measured() {
        let equations = all_equations();
        for role in [Role::Dealer, Role::Evaluator] {
            for unit in Unit::ALL {
                let known = equations
                    .iter()
                    .any(|e| e.role == role && e.work.counts()[unit.index()] > 0.0);
                // Only evaluators open.
                let wanted = role == Role::Evaluator || unit != Unit::Round;
                let wanted = wanted && !(role == Role::Dealer && unit == Unit::TreeBlock);
                assert_eq!(known, wanted, "{unit:?} of {role:?}");
            }
        }
    }

    #[test]
    fn measured_rates_are_those_of_a_machine() {
        let rates = measure();
        assert!(rates.turn >= 0.0 && rates.crowding >= 1.0);
        for role in Role::ALL {
            for unit in Unit::ALL {
                assert!(rates.unit(role, unit).is_finite() && rates.unit(role, unit) >= 0.0);
            }
        }
        // A product takes some time.
        let work = Work::of(Unit::Product16, 1 << 20).and(Unit::Weight16, 1 << 10);
        assert!(rates.seconds(Role::Evaluator, &work) > 0.0);
    }
}
