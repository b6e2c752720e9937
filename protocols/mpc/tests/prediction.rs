//! What the planner expects a step to cost is what it costs: rounds and bytes of the closed forms against the schedule
//! that parties follow.
#![allow(clippy::unwrap_used)]

use ai_link_mpc::Schedule;
use ai_link_program::fixed::{BitWindow, ConvGeometry, Op, Program, ProgramBuilder, Tactic};

/// Every interactive operator, comparisons of many widths in trees of all shapes.
fn program() -> Program {
    let mut b = ProgramBuilder::new("all");
    let x = b.input_bounded("x", &[2, 3, 5], 8, 20);
    let y = b.input_bounded("y", &[2, 3, 5], 8, 20);
    let mut last = x;
    for bits in [1, 8, 9, 16, 20] {
        let z = b.step(Op::Reshape, &[x], Some(&[2, 3, 5]), 8, 20);
        let wide = b.mul_scalar(z, 1 << 20, 20);
        last = b.trunc(wide, bits);
    }
    let trees =
        (1..=4).flat_map(|leaf_bits| (2..=4).map(move |fan_in| Tactic::Tree { leaf_bits, fan_in }));
    for tactic in trees.chain([Tactic::Auto, Tactic::Fss]) {
        for (bits, lo, hi) in [
            (0, 0, 20),
            (1, 1, 21),
            (8, 5, 31),
            (8, 8, 40),
            (8, 0, 63),
            (2, 2, 63),
        ] {
            let window = BitWindow { lo, hi };
            b.step(Op::Relu { bits, window }, &[x], None, 8 - bits, 20);
            b.tactic(tactic);
        }
        for (lo, hi) in [(0, 20), (4, 33), (19, 20), (0, 63)] {
            let window = BitWindow { lo, hi };
            b.step(Op::Positive { window }, &[x], None, 0, 1);
            b.tactic(tactic);
        }
        for (lo, hi) in [(0, 21), (3, 40), (0, 63)] {
            let window = BitWindow { lo, hi };
            b.step(Op::Max { window }, &[x, y], None, 8, 20);
            b.tactic(tactic);
            b.step(Op::Positive { window }, &[x], None, 0, 1);
            b.tactic(tactic);
        }
    }
    for (segment_bits, index_bits, values) in [(20, 1, 1), (16, 5, 2), (15, 6, 3), (13, 8, 4)] {
        b.table(
            x,
            segment_bits,
            index_bits,
            vec![1; values << index_bits],
            8,
        );
    }
    for (index_bits, columns) in [(1, 1), (2, 2), (4, 3), (8, 4)] {
        let rows = 1usize << index_bits;
        b.table(x, 20, index_bits, vec![1; rows * columns], 8);
    }
    b.mul(x, y);
    b.mul(x, x);
    let turned = b.step(Op::Reshape, &[y], Some(&[2, 5, 3]), 8, 20);
    b.matmul(x, turned);
    let matrix = b.step(Op::Reshape, &[x], Some(&[30]), 8, 20);
    let map = (0..25).collect();
    let matrix = b.step(Op::Rearrange { map }, &[matrix], Some(&[5, 5]), 8, 20);
    b.matmul(matrix, matrix);
    let w = b.parameter("w", &[5, 4], 4, 10);
    let c = b.parameter("c", &[4], 12, 20);
    b.linear_shared(x, w, Some(c));
    let k = b.parameter("k", &[3, 2, 2, 2], 4, 10);
    b.conv_shared(x, k, None, ConvGeometry::UNIT);
    b.output("z", last);
    b.finish().unwrap()
}

#[test]
fn planner_and_engine_agree_on_every_byte() {
    let program = program();
    for batch in [1, 2, 7, 64] {
        let schedule = Schedule::new(&program, batch).unwrap();
        assert_eq!(schedule.steps().len(), program.steps().len());
        for (step, engine) in program.steps().iter().zip(schedule.steps()) {
            let planner = program.step_cost(step, batch);
            let what = format!(
                "{} {:?} {:?} of {batch}",
                step.op.kind(),
                step.op.window(),
                step.tactic
            );
            let openings: Vec<u64> = engine.openings.iter().map(|n| *n as u64).collect();
            assert_eq!(planner.openings, openings, "{what}: opened");
            let mut dealt: Vec<u64> = engine.dealt.iter().map(|n| *n as u64).collect();
            dealt.sort_unstable_by(|a, b| b.cmp(a));
            assert_eq!(planner.dealt.to_vec(), dealt, "{what}: dealt");
        }
    }
}
