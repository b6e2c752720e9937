//! A layer of 10^6 ReLUs with truncation, split as a network would: *offline* is the dealer's work
//! (expansion of the input masks and dealing), *online* is what both evaluators do one after the
//! other on this machine, from masked input to masked output, digests for receipts included. No
//! network: the bytes that would go over one are printed.
//!
//! Beside it, measured in the same run: copying as many bytes as are dealt and opened, which no
//! protocol that makes and reads them can beat, and a ReLU of as many `f32` in the clear.
//!
//! `cargo bench -p benchmarks --bench relu`; `RAYON_NUM_THREADS=1` for one core.
#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_link_mpc::{
    Client, Dealer, Evaluator, EvaluatorIndex, Machine, MpcError, Party, Secret32, SessionSpec,
    Transmit,
};
use ai_link_program::fixed::{BitWindow, Op, ProgramBuilder};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ELEMENTS: usize = 1_000_000;

/// One ReLU with the usual window: 16 bits shifted out, |z| < 2^46.
fn spec() -> SessionSpec {
    let mut b = ProgramBuilder::new("relu");
    let x = b.input_bounded("x", &[1000], 24, 46);
    let relu = Op::Relu {
        bits: 16,
        window: BitWindow { lo: 16, hi: 46 },
    };
    let y = b.step(relu, &[x], None, 8, 30);
    b.output("y", y);
    let program = Arc::new(b.finish().expect("a valid program"));
    SessionSpec::new(program, [1; 32], ELEMENTS / 1000)
}

/// What each party computed.
#[derive(Clone, Copy, Default)]
struct Times {
    dealer: Duration,
    evaluators: [Duration; 2],
}

impl Times {
    fn online(&self) -> Duration {
        self.evaluators.iter().sum()
    }

    fn all(&self) -> Duration {
        self.dealer + self.online()
    }
}

fn next(machine: &mut dyn Machine) -> Transmit {
    machine.poll_transmit().expect("a message is due")
}

fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}

fn session(spec: &SessionSpec) -> Result<Times, MpcError> {
    let secret = |n| Secret32::new([n; 32]);
    let parties = [Party::EVALUATOR_0, Party::EVALUATOR_1];
    let mut client = Client::new(spec.clone(), vec![vec![0.5; ELEMENTS]], secret(1))?;
    let mut dealer = Dealer::new(spec.clone(), secret(2))?;
    let mut evaluators = [
        Evaluator::new(spec.clone(), EvaluatorIndex::ZERO, secret(3))?,
        Evaluator::new(spec.clone(), EvaluatorIndex::ONE, secret(4))?,
    ];
    for (evaluator, party) in evaluators.iter_mut().zip(parties) {
        dealer.handle(party, next(evaluator).payload)?;
    }
    for (evaluator, party) in evaluators.iter_mut().zip(parties) {
        let key = next(&mut dealer);
        assert_eq!(key.to, party);
        evaluator.handle(Party::Dealer, key.payload)?;
    }
    let mut times = Times::default();
    let seed = next(&mut client).payload;
    let corrections = timed(&mut times.dealer, || {
        dealer.handle(Party::Client, seed)?;
        Ok::<_, MpcError>(next(&mut dealer))
    })?;
    for (evaluator, time) in evaluators.iter_mut().zip(&mut times.evaluators) {
        let input = next(&mut client).payload;
        timed(time, || evaluator.handle(Party::Client, input))?;
    }
    let receiver = usize::from(corrections.to == Party::EVALUATOR_1);
    timed(&mut times.evaluators[receiver], || {
        evaluators[receiver].handle(Party::Dealer, corrections.payload)
    })?;
    loop {
        let [zero, one] = &mut evaluators;
        let sent = [next(zero), next(one)];
        if sent[0].to == Party::Client {
            assert_eq!(sent[0].payload, sent[1].payload);
            return Ok(times);
        }
        let received = sent.into_iter().rev().zip(parties.into_iter().rev());
        let all = evaluators.iter_mut().zip(&mut times.evaluators);
        for ((evaluator, time), (message, from)) in all.zip(received) {
            timed(time, || evaluator.handle(from, message.payload))?;
        }
    }
}

/// Threads that the engine uses.
fn threads() -> usize {
    let set = std::env::var("RAYON_NUM_THREADS").ok();
    set.and_then(|n| n.parse().ok())
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The best of some sessions, and the bytes, per element.
fn print_split(spec: &SessionSpec) {
    let schedule = spec.schedule().expect("a valid batch");
    println!("{schedule}");
    let all = (0..10).map(|_| session(spec).expect("an honest session"));
    let best = all.min_by_key(Times::all).expect("some sessions");
    let each = |time: Duration| time.as_secs_f64() * 1e9 / ELEMENTS as f64;
    let bytes = |n: usize| n as f64 / ELEMENTS as f64;
    println!(
        "per element, on {} threads: dealing {:.1} ns, evaluator 0 {:.1} ns, evaluator 1 {:.1} ns; \
         dealt {:.2} bytes, opened by each evaluator {:.2} bytes",
        threads(),
        each(best.dealer),
        each(best.evaluators[0]),
        each(best.evaluators[1]),
        bytes(schedule.dealt_bytes()),
        bytes(schedule.online_bytes()),
    );
}

fn relu(c: &mut Criterion) {
    let spec = spec();
    print_split(&spec);
    let mut group = c.benchmark_group("relu/1000000");
    group.throughput(Throughput::Elements(ELEMENTS as u64));
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(4));
    type Part = fn(&Times) -> Duration;
    let parts: [(&str, Part); 3] = [
        ("offline", |t| t.dealer),
        ("online, both evaluators", Times::online),
        ("all", Times::all),
    ];
    for (name, part) in parts {
        group.bench_function(name, |b| {
            b.iter_custom(|n| {
                (0..n)
                    .map(|_| part(&session(&spec).expect("an honest session")))
                    .sum()
            });
        });
    }
    let schedule = spec.schedule().expect("a valid batch");
    let from = vec![1u8; schedule.dealt_bytes() + 2 * schedule.online_bytes()];
    let mut to = vec![0u8; from.len()];
    group.bench_function("copying the bytes dealt and opened", |b| {
        b.iter(|| black_box(&mut to).copy_from_slice(black_box(&from)));
    });
    let input: Vec<f32> = (0..ELEMENTS).map(|i| i as f32 - 5e5).collect();
    let mut output = vec![0f32; ELEMENTS];
    group.bench_function("f32 in the clear", |b| {
        b.iter(|| {
            let pairs = black_box(&mut output).iter_mut().zip(black_box(&input));
            pairs.for_each(|(y, x)| *y = x.max(0.0));
        });
    });
    group.finish();
}

criterion_group!(benches, relu);
criterion_main!(benches);
