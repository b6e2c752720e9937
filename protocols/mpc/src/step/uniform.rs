//! Statistical test of the steps with keys and tables: what evaluators see of them is uniform,
//! whatever the operand. As [`crate::uniformity`], one step at a time.

use std::collections::BTreeMap;

use super::fss::Fss;
use super::positive::Positive;
use super::sign::{SignPlan, Tree};
use super::table::{Source, Table};
use super::{Progress, Protocol, Seat, Seeds};
use crate::keys::Secret32;
use crate::planes::from_bytes;
use crate::prg::{Prg, Purpose, Seed};
use crate::uniformity::excesses;

const RUNS: u8 = 96;
const ELEMENTS: usize = 18;
/// The largest operand; all plans below are for it.
const MAX: i64 = (1 << 36) - 1;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Masks {
    Drawn,
    Zero,
}

/// What two evaluators see of a step, per kind: one byte vector per run.
type Views = BTreeMap<String, Vec<Vec<u8>>>;

fn plans() -> Vec<(&'static str, Box<dyn Protocol>)> {
    let tree = SignPlan::new(8, 36, Tree::default());
    // Segments of 2^30, so that the largest operand lies in the last but one.
    let coefficients: Vec<i64> = (0..3 << 8).map(|i| i * i * 31 - 999).collect();
    let table = |source| Box::new(Table::new(ELEMENTS, 30, 8, &coefficients, source));
    vec![
        ("relu by keys", Box::new(Fss::select(ELEMENTS, 8, 8, 36))),
        ("maximum by keys", Box::new(Fss::select(ELEMENTS, 0, 0, 37))),
        ("sign by keys", Box::new(Fss::sign(ELEMENTS, 8, 36))),
        ("sign by the tree", Box::new(Positive::new(ELEMENTS, tree))),
        ("table by keys", table(Source::Keys)),
        ("table by corrections", table(Source::Dealt)),
    ]
}

/// The generator of `party` (2 = of the operand's mask) in a run.
fn generator(run: u8, party: u8, masks: Masks) -> Prg {
    let seed = Seed::new(Secret32::new([run ^ 0x5a; 32]), [party; 32]);
    match masks {
        Masks::Drawn => seed.step(1),
        Masks::Zero => seed.zeroed().step(1),
    }
}

fn record(plan: &dyn Protocol, z: i64, masks: Masks) -> Views {
    let mut views = Views::new();
    for run in 0..RUNS {
        let receiver = 1;
        let prgs = [0, 1].map(|party| generator(run, party, masks));
        let mut lambda = vec![0; ELEMENTS];
        generator(run, 2, masks).fill(Purpose::Input, 0, &mut lambda);
        let masked = lambda.iter().map(|l| l.wrapping_add(z as u64));
        let m: Vec<u64> = masked.collect();
        let dealt = plan.deal(&[&lambda], Seeds::new(&[&prgs[0], &prgs[1]], receiver));

        let mut see = |kind: String, bytes: Vec<u8>| {
            if !bytes.is_empty() {
                views.entry(kind).or_default().push(bytes);
            }
        };
        let (mut runs, mut sent) = (Vec::new(), Vec::new());
        let starts = prgs.into_iter().zip(dealt.messages).enumerate();
        for (i, (prg, message)) in starts {
            see(format!("dealt to evaluator {i}"), message.clone());
            let seat = Seat::new(i, 2, receiver);
            let (started, opening) = plan.start(seat, prg, message, vec![m.clone()]);
            runs.push(started);
            sent.push(opening);
        }
        for round in 0..plan.rounds() {
            for (i, message) in sent.iter().enumerate() {
                see(format!("opening of evaluator {i}"), message.clone());
            }
            let (a, b) = (from_bytes(&sent[0]), from_bytes(&sent[1]));
            let last = round + 1 == plan.rounds();
            let lanes = a.iter().zip(b);
            let opened = lanes.flat_map(|(a, b)| match last {
                true => a.wrapping_add(b).to_le_bytes(),
                false => (a ^ b).to_le_bytes(),
            });
            see(format!("opened in round {round}"), opened.collect());
            let theirs: Vec<Vec<u8>> = sent.drain(..).rev().collect();
            for (run, theirs) in runs.iter_mut().zip(theirs) {
                if let Progress::Open(message) = run.next(vec![theirs]) {
                    sent.push(message);
                }
            }
        }
    }
    // Rounds of different sizes do not share positions.
    for samples in views.values_mut() {
        let runs = usize::from(RUNS);
        if samples.len() > runs {
            let per_run = samples.len() / runs;
            *samples = samples.chunks(per_run).map(<[_]>::concat).collect();
        }
    }
    views
}

const OPERANDS: [i64; 5] = [0, 1, -1, MAX, -MAX];

#[test]
fn everything_seen_of_a_step_is_uniform_for_adversarial_operands() {
    for (name, plan) in plans() {
        for z in OPERANDS {
            let views = record(&*plan, z, Masks::Drawn);
            assert!(views.len() >= 4, "{name}");
            for (kind, samples) in views {
                assert_eq!(samples.len(), usize::from(RUNS));
                let [bytes, bits] = excesses(&samples);
                assert!(
                    bytes < 6.0 && bits < 6.0,
                    "{name} of {z}: {kind}: bytes {bytes:.1}, bits {bits:.1} deviations too many"
                );
            }
        }
    }
}

#[test]
fn the_test_notices_missing_masks_of_a_step() {
    for (name, plan) in plans() {
        for z in OPERANDS {
            for (kind, samples) in record(&*plan, z, Masks::Zero) {
                let [bytes, bits] = excesses(&samples);
                assert!(
                    bytes > 6.0 && bits > 6.0,
                    "{name} of {z}: {kind}: bytes {bytes:.1}, bits {bits:.1} pass without masks"
                );
            }
        }
    }
}
