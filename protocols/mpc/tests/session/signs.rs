//! Steps by function secret sharing, tables, and signs as numbers, in whole sessions.

use ai_link_mpc::testing::Session;
use ai_link_mpc::{DealerSeat, MpcError, SessionSpec};
use ai_link_program::fixed::{BitWindow, Op, Program, ProgramBuilder, Tactic, ValueId};

use super::{clear, distance, inputs, ints, spec};

/// `3 x + 7`, whatever segment is taken.
fn line(b: &mut ProgramBuilder, x: ValueId) -> ValueId {
    let segment = |v: i64| if v < 32 { v } else { v - 64 };
    let rows = (0..64).flat_map(|v| [3 * (segment(v) << 10) + 7, 3]);
    b.table(x, 10, 6, rows.collect(), 10)
}

/// Every operator with a sign under `tactic`, and a table.
pub(crate) fn signs(tactic: Tactic) -> Program {
    let mut b = ProgramBuilder::new("signs");
    let x = b.input_bounded("x", &[20], 10, 13);
    let weights = b.constant(&[20, 20], ints(1, 400, 1 << 10));
    let z = b.step(
        Op::Linear {
            weights,
            bias: None,
        },
        &[x],
        None,
        20,
        28,
    );
    let window = BitWindow { lo: 10, hi: 28 };
    let relu = b.step(Op::Relu { bits: 10, window }, &[z], None, 10, 20);
    b.tactic(tactic);
    let max = b.max(relu, x);
    b.tactic(tactic);
    let positive = b.positive(z);
    b.tactic(tactic);
    let line = line(&mut b, x);
    for (name, value) in [
        ("relu", relu),
        ("max", max),
        ("positive", positive),
        ("line", line),
    ] {
        b.output(name, value);
    }
    b.finish().unwrap()
}

const TREE: Tactic = Tactic::Tree {
    leaf_bits: 3,
    fan_in: 3,
};

fn check(spec: &SessionSpec, seed: u64) {
    let inputs = inputs(&spec.program, spec.batch, seed);
    let want = clear(&spec.program, &inputs, spec.batch);
    let mut session = Session::new(spec, inputs, seed).unwrap();
    session.run().unwrap();
    let got = session.client.ring_outputs().unwrap();
    // ReLU may be a unit off, and so may what the maximum makes of it.
    for (i, most) in [1, 1, 0, 0].into_iter().enumerate() {
        let off = distance(&got[i..=i], &want[i..=i]);
        assert!(off <= most, "output {i}: {off} off");
    }
}

#[test]
fn every_tactic_computes_the_clear_program() {
    for (tactic, rounds) in [(Tactic::Fss, 4), (TREE, 15), (Tactic::Auto, 15)] {
        for batch in [1, 7, 120] {
            let spec = spec(signs(tactic), batch);
            assert_eq!(spec.schedule().unwrap().rounds(), rounds, "{tactic:?}");
            check(&spec, 5);
            let seat = DealerSeat::Client;
            check(
                &SessionSpec {
                    dealer: seat,
                    ..spec
                },
                6,
            );
        }
    }
}

#[test]
fn keys_go_to_both_evaluators_and_few_bytes_beside() {
    let schedule = spec(signs(Tactic::Fss), 3).schedule().unwrap();
    let of = |kind: &str| {
        let mut steps = schedule.steps().iter();
        let step = steps.find(|step| step.kind == kind).unwrap();
        assert_eq!(step.openings, [8 * step.elements]);
        let each: Vec<usize> = step.dealt.iter().map(|b| b / step.elements).collect();
        (*each.iter().min().unwrap(), *each.iter().max().unwrap())
    };
    // 19 bits of window: 17 levels, four leaves.
    let key = |levels: usize, payload: usize| levels * (16 + payload) + 4 * payload + 8;
    assert_eq!(of("Relu"), (key(17, 18), key(17, 18) + 20));
    assert_eq!(of("Positive"), (key(61, 8), key(61, 8) + 8));
    assert_eq!(of("Table"), (16 * 5 + 2 * 16 + 8, 16 * 5 + 2 * 16 + 8));
}

#[test]
fn larger_groups_take_trees_and_refuse_keys() {
    for evaluators in [3, 8] {
        for dealer in [DealerSeat::Worker, DealerSeat::Client] {
            let group = |tactic| SessionSpec {
                evaluators,
                dealer,
                ..spec(signs(tactic), 2)
            };
            check(&group(Tactic::Auto), 7);
            let refused = group(Tactic::Fss).schedule();
            let expected = usize::from(evaluators);
            assert!(
                matches!(
                    refused,
                    Err(MpcError::TwoEvaluatorsOnly { step: 1, kind: "Relu", evaluators })
                        if evaluators == expected
                ),
                "{refused:?}"
            );
        }
    }
}
