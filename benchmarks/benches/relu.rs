//! A layer of 10^6 ReLUs with truncation, split as a network would: *offline* is the dealer's work
//! (expansion of the input masks and dealing), *online* is what both evaluators do one after the
//! other on this machine, from masked input to masked output. No network: `Schedule` tells the
//! bytes.
//!
//! `cargo bench -p ai-link-benchmarks --bench relu`.
#![allow(missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_link_mpc::{
    Client, Dealer, Evaluator, EvaluatorIndex, Machine, MpcError, Party, Secret32, SessionSpec,
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

/// Times of one session.
struct Times {
    offline: Duration,
    online: Duration,
}

/// Hands every message of `from` to whom it is for. Only one machine is on each side here.
fn next(machine: &mut dyn Machine) -> Vec<u8> {
    machine.poll_transmit().expect("a message is due").payload
}

fn session(spec: &SessionSpec) -> Result<Times, MpcError> {
    let secret = |n| Secret32::new([n; 32]);
    let mut client = Client::new(spec.clone(), vec![vec![0.5; ELEMENTS]], secret(1))?;
    let mut dealer = Dealer::new(spec.clone(), secret(2))?;
    let mut zero = Evaluator::new(spec.clone(), EvaluatorIndex::ZERO, secret(3))?;
    let mut one = Evaluator::new(spec.clone(), EvaluatorIndex::ONE, secret(4))?;
    dealer.handle(Party::EVALUATOR_0, next(&mut zero))?;
    dealer.handle(Party::EVALUATOR_1, next(&mut one))?;
    zero.handle(Party::Dealer, next(&mut dealer))?;
    one.handle(Party::Dealer, next(&mut dealer))?;
    let seed = next(&mut client);

    let start = Instant::now();
    dealer.handle(Party::Client, seed)?;
    let corrections = next(&mut dealer);
    let offline = start.elapsed();

    let (input0, input1) = (next(&mut client), next(&mut client));
    let start = Instant::now();
    zero.handle(Party::Client, input0)?;
    one.handle(Party::Client, input1)?;
    one.handle(Party::Dealer, corrections)?;
    loop {
        let (sent0, sent1) = (zero.poll_transmit(), one.poll_transmit());
        let (Some(sent0), Some(sent1)) = (sent0, sent1) else {
            panic!("both evaluators open in every round");
        };
        if sent0.to == Party::Client {
            assert_eq!(sent0.payload, sent1.payload);
            return Ok(Times {
                offline,
                online: start.elapsed(),
            });
        }
        zero.handle(Party::EVALUATOR_1, sent1.payload)?;
        one.handle(Party::EVALUATOR_0, sent0.payload)?;
    }
}

fn relu(c: &mut Criterion) {
    let spec = spec();
    println!("{}", spec.schedule().expect("a valid batch"));
    let mut group = c.benchmark_group("relu/1000000");
    group.throughput(Throughput::Elements(ELEMENTS as u64));
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(4));
    type Part = fn(Times) -> Duration;
    let parts: [(&str, Part); 3] = [
        ("offline", |t| t.offline),
        ("online, both evaluators", |t| t.online),
        ("all", |t| t.offline + t.online),
    ];
    for (name, part) in parts {
        group.bench_function(name, |b| {
            b.iter_custom(|n| {
                (0..n)
                    .map(|_| part(session(&spec).expect("an honest session")))
                    .sum()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, relu);
criterion_main!(benches);
