//! How fast this machine is, for predictions: measured by running small programs through the very
//! machines and kernels that sessions use.
//!
//! Each step of a sample gives an equation: its [`Work`] in units times
//! seconds a unit is what it took. All of them together are solved for the seconds, none of them
//! negative, with the least relative error. On one thread, so that the rates are those of a core.
//! Takes some tenths of a second.

mod fit;
mod samples;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_link_program::plan::{Rates, Role, Unit, Waits, Work};
use ai_link_program::{LinkProfile, Program};
use rayon::prelude::*;

use crate::client::Client;
use crate::dealer::Dealer;
use crate::evaluator::Evaluator;
use crate::keys::Secret32;
use crate::party::{EvaluatorIndex, Party};
use crate::pool::{Body, Entry, Pool, VolatileStore};
use crate::rehearsal::{Rehearsal, Rehearsed};
use crate::session::{Machine, SessionSpec};
use crate::timed::{Timed, Times};
use crate::weights::{self, WeightMask, WeightShare};

use fit::Equation;
use samples::Sample;

/// Each sample is run so often. What it took least but one is taken: other processes only add.
const REPEATS: usize = 6;
/// No machine is slower than that in a session: what looks like it is other processes.
const MOST_DRAG: f64 = 3.0;
/// A session of a sample may take so long.
const DEADLINE: Duration = Duration::from_secs(10);

/// Measures this machine.
pub fn measure() -> Rates {
    solved(&sampled())
}

/// What a sample took, and what its units of work make of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// Whose work.
    pub role: Role,
    /// Which.
    pub step: String,
    /// Seconds that it took.
    pub seconds: f64,
    /// Seconds by the rates.
    pub fitted: f64,
}

/// Measures this machine, and tells how well the rates explain what they were made of.
pub fn measure_and_explain() -> (Rates, Vec<Sampled>) {
    let equations = sampled();
    let rates = solved(&equations);
    let sample = |e: &Equation| Sampled {
        role: e.role,
        step: e.step.clone(),
        seconds: e.seconds,
        fitted: rates.seconds(e.role, &e.work),
    };
    let samples = equations.iter().map(sample).collect();
    (rates, samples)
}

/// All samples, on one thread.
fn sampled() -> Vec<Equation> {
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    match alone {
        Ok(pool) => pool.install(all_equations),
        // No thread to be had: what is measured is then that of several.
        Err(_) => all_equations(),
    }
}

fn solved(equations: &[Equation]) -> Rates {
    let fork = fork();
    let seconds = Role::ALL.map(|role| {
        let ours: Vec<&Equation> = equations.iter().filter(|e| e.role == role).collect();
        let mut seconds = fit::solve(&ours, role);
        seconds[Unit::Fork.index()] = fork;
        seconds
    });
    let rates = Rates::new(seconds, Waits::default(), 1.0);
    let rates = rates.with_drag(drag(&rates));
    rates.with_waits(waits(&rates))
}

fn all_equations() -> Vec<Equation> {
    let mut equations = Vec::new();
    for sample in samples::all() {
        equations.extend(run(&sample));
    }
    equations.extend(stored());
    equations
}

/// The second smallest.
fn least<T: Copy + PartialOrd>(mut all: Vec<T>) -> Option<T> {
    all.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    all.get(1).or(all.first()).copied()
}

/// What the parties of a sample took, least of several runs.
fn run(sample: &Sample) -> Vec<Equation> {
    let program = &sample.program;
    // Shared once: the parts are packed when they are first used.
    let shared = (!program.parameters().is_empty()).then(|| {
        let entropy = Secret32::new([0x5a; 32]);
        let shared = weights::share(program, &sample.parameters, &entropy);
        let shared = shared.expect("the parameters are those of the program, qed");
        (Arc::new(shared.mask), shared.evaluators.map(Arc::new))
    });
    let runs = (0..REPEATS).map(|n| once(sample, shared.as_ref(), n as u8));
    let runs: Vec<Vec<Equation>> = runs.collect();
    let Some(first) = runs.first() else {
        return Vec::new();
    };
    let quickest = |i: usize| {
        let seconds = least(runs.iter().map(|run| run[i].seconds).collect());
        Equation {
            seconds: seconds.unwrap_or(first[i].seconds),
            ..first[i].clone()
        }
    };
    (0..first.len()).map(quickest).collect()
}

type Shared = (Arc<WeightMask>, [Arc<WeightShare>; 2]);

/// Runs a sample, message by message, on this thread.
fn once(sample: &Sample, shared: Option<&Shared>, run: u8) -> Vec<Equation> {
    let entropy = |party: u8| Secret32::new([party ^ run.wrapping_mul(17); 32]);
    let program = &sample.program;
    let spec = SessionSpec::new(program.clone(), [run; 32], sample.batch);
    let elements = program
        .inputs()
        .iter()
        .map(|p| program.value(p.value).elements());
    let elements: Vec<usize> = elements.map(|n| n * sample.batch).collect();
    let inputs = elements.iter().map(|n| vec![0.25; *n]).collect();
    let sound = "samples are sound, qed";
    let began = Instant::now();
    let client = Client::new(spec.clone(), inputs, entropy(0)).expect(sound);
    let masking = began.elapsed();
    let dealer = match shared {
        None => Dealer::new(spec.clone(), entropy(1)),
        Some((mask, _)) => Dealer::with_weights(spec.clone(), mask.clone(), entropy(1)),
    };
    let evaluator = |index: EvaluatorIndex| {
        let entropy = entropy(2 + index.get());
        let made = match shared {
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
        Equation::new(Role::Client, "input", Work::of(Unit::Input, input), masking),
        Equation::new(
            Role::Client,
            "output",
            Work::of(Unit::Output, output),
            unmasking,
        ),
    ];
    let mut of_party = |role: Role, keys: u64, times: Times| {
        let begun = Work::of(Unit::Input, input).and(Unit::Key, keys);
        equations.push(Equation::new(role, "input", begun, times.input.busy));
        let ended = Work::of(Unit::Output, output);
        equations.push(Equation::new(role, "output", ended, times.output.busy));
        for (step, part) in program.steps().iter().zip(times.steps) {
            let cost = program.step_cost(step, sample.batch);
            let task = match role {
                Role::Dealer => cost.dealing,
                _ => cost.evaluating,
            };
            let dims = &program.value(step.output).dims;
            let name = format!("{} {dims:?} of {}", step.op.kind(), sample.batch);
            equations.push(Equation::new(role, &name, task.work, part.busy));
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
    // As memory that is used again, which fresh pages would hide.
    const BYTES: usize = 96 << 10;
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
            body: Body::from(&[3; BYTES][..]),
        };
        let began = Instant::now();
        let stored = pool.append(index, entry);
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
    let quickest = |i: usize, role| {
        let time = least(took.iter().map(|pair| pair[i]).collect());
        time.map(|time| Equation::new(role, "entry of a pool", work, time))
    };
    let both = [quickest(0, Role::Dealer), quickest(1, Role::Evaluator)];
    both.into_iter().flatten().collect()
}

/// How much longer evaluators compute in a session than the rates say.
fn drag(rates: &Rates) -> f64 {
    let sample = samples::session();
    let steps = sample.program.steps().iter();
    let work = steps.map(|step| sample.program.step_cost(step, sample.batch).evaluating.work);
    let alone: f64 = work.map(|work| rates.seconds(Role::Evaluator, &work)).sum();
    let busy = |done: &Rehearsed| done.steps.iter().map(|step| step.busy).sum::<f64>();
    let mut all: Vec<f64> = rehearsed(&sample).iter().map(busy).collect();
    all.sort_by(f64::total_cmp);
    match all.get(all.len() / 2) {
        Some(busy) if alone > 0.0 => (busy / alone).clamp(1.0, MOST_DRAG),
        _ => Rates::DEFAULT.drag,
    }
}

/// Sessions of a sample over links that take no time, all parties in this process.
fn rehearsed(sample: &Sample) -> Vec<Rehearsed> {
    let link = LinkProfile {
        round_trip: Duration::ZERO,
        bandwidth_bits: u64::MAX,
        cores: 1,
    };
    let mut next = 0u8;
    let mut fresh = || {
        next = next.wrapping_add(1);
        Secret32::new([next; 32])
    };
    let (program, entropy) = (sample.program.clone(), fresh());
    let rehearsal = Rehearsal::new(program, &sample.parameters, link, DEADLINE, &entropy);
    let Ok(rehearsal) = rehearsal else {
        return Vec::new();
    };
    let ports = sample.program.inputs().iter();
    let sizes = ports.map(|port| sample.program.value(port.value).elements() * sample.batch);
    let inputs: Vec<Vec<f32>> = sizes.map(|n| vec![0.25; n]).collect();
    // The first one packs weights.
    let runs = (0..=REPEATS).map(|_| rehearsal.run(sample.batch, &inputs, &mut fresh));
    runs.skip(1).flatten().collect()
}

/// Seconds for work to be handed to the threads of the pool, by a thread outside that waits for it.
fn fork() -> f64 {
    let times = (0..2 * REPEATS).map(|_| {
        // As between two rounds: long enough for threads to fall asleep.
        std::thread::sleep(Duration::from_micros(200));
        let mut parts = [0u8; 64];
        let began = Instant::now();
        parts
            .par_iter_mut()
            .with_min_len(8)
            .for_each(|part| *part = std::hint::black_box(1));
        began.elapsed().as_secs_f64()
    });
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// How long parties wait for each other's messages beyond the link.
fn waits(rates: &Rates) -> Waits {
    let sample = samples::rounds();
    let done = rehearsed(&sample);
    let steps = |done: &Rehearsed| done.steps.iter().map(|step| step.seconds).sum::<f64>();
    let round = |done: &Rehearsed| steps(done) / done.steps.len() as f64;
    let rounds = least(done.iter().map(round).collect());
    let ends = least(done.iter().map(|done| done.output).collect());
    let (Some(round), Some(end)) = (rounds, ends) else {
        let Rates { turn, wake, .. } = Rates::DEFAULT;
        return Waits { turn, wake };
    };
    let turn = (round - rates.drag * own_work(rates, &sample.program)).max(0.0);
    let wake = (end - turn).max(0.0);
    Waits { turn, wake }
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
                let wanted = match (role, unit) {
                    // Measured on several threads, apart from all else.
                    (_, Unit::Fork) => false,
                    // Only evaluators open, and grow trees.
                    (Role::Dealer, Unit::Round | Unit::TreeBlock) => false,
                    _ => true,
                };
                assert_eq!(known, wanted, "{unit:?} of {role:?}");
            }
        }
    }

    #[test]
    fn measured_rates_are_those_of_a_machine() {
        let rates = measure();
        assert!(rates.turn >= 0.0 && rates.wake >= 0.0 && rates.drag >= 1.0);
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
