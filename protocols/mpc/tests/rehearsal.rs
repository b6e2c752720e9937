//! What a rehearsal counts is what was predicted; and it never ends early.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use ai_link_mpc::Secret32;
use ai_link_mpc::rehearsal::{Rehearsal, RehearsalError};
use ai_link_program::fixed::{ConvGeometry, Op, Program, ProgramBuilder, Tactic};
use ai_link_program::{LinkProfile, Parameters, Placement, Rates, Setting};
use proptest::prelude::*;

const DEADLINE: Duration = Duration::from_secs(60);

fn fresh() -> impl FnMut() -> Secret32 {
    let mut next = 0u64;
    move || {
        next += 1;
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&next.to_le_bytes());
        Secret32::new(bytes)
    }
}

fn link(micros: u64) -> LinkProfile {
    LinkProfile {
        round_trip: Duration::from_micros(micros),
        bandwidth_bits: 1_000_000_000,
        cores: 2,
    }
}

/// A straight line of the steps that `choices` name.
fn program(choices: &[(u8, u8)]) -> Program {
    let mut b = ProgramBuilder::new("random");
    let mut x = b.input_bounded("x", &[2, 4, 4], 20, 30);
    let mut private = 0;
    for (choice, detail) in choices {
        let tree = Tactic::Tree {
            leaf_bits: 2 + detail % 3,
            fan_in: 2 + detail / 3 % 3,
        };
        x = match choice % 8 {
            0 => b.relu(x, 2),
            1 => b.trunc(x, 1 + detail % 2),
            2 => {
                let other = b.mul_scalar(x, 3, 0);
                b.max(x, other)
            }
            3 => b.rearrange(x, &[2, 4, 4], (0..32).rev().collect()),
            4 => b.conv(
                x,
                [2, 2, 1, 1],
                vec![1, 2, -1, 1],
                None,
                ConvGeometry::UNIT,
                0,
            ),
            5 => {
                private += 1;
                let w = b.parameter(&format!("w{private}"), &[2, 2, 1, 1], 0, 4);
                let y = b.conv_shared(x, w, None, ConvGeometry::UNIT);
                b.trunc(y, 1)
            }
            6 => {
                let window = ai_link_program::fixed::BitWindow { lo: 0, hi: 63 };
                b.step(Op::Positive { window }, &[x], None, 0, 1);
                b.tactic(tree);
                x
            }
            _ => {
                let y = b.relu(x, 0);
                b.tactic(Tactic::Fss);
                y
            }
        };
    }
    b.output("y", x);
    b.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rounds_and_bytes_are_as_predicted(
        choices in proptest::collection::vec((any::<u8>(), any::<u8>()), 1..9), batch in 1usize..5,
    ) {
        let program = Arc::new(program(&choices));
        let zeros = program.parameters().iter().map(|p| vec![0; p.elements()]);
        let parameters = Parameters::new(&program, zeros.collect()).unwrap();
        let mut fresh = fresh();
        let rehearsal =
            Rehearsal::new(program.clone(), &parameters, link(0), DEADLINE, &fresh()).unwrap();
        let done = rehearsal.run(batch, &[vec![0.001; 32 * batch]], &mut fresh).unwrap();
        let predicted = program.predict(batch, &link(0).into());
        prop_assert_eq!(done.steps.len(), predicted.steps.len());
        for (measured, predicted) in done.steps.iter().zip(&predicted.steps) {
            prop_assert_eq!(measured.rounds, predicted.rounds);
            prop_assert_eq!(measured.bytes_online, predicted.bytes_online);
            prop_assert_eq!(measured.bytes_dealt, predicted.bytes_dealt, "{}", predicted.kind);
            // From one result to the next, of which computing is a part.
            prop_assert!(measured.seconds >= 0.0 && measured.busy >= 0.0 && measured.dealing >= 0.0);
        }
    }
}

/// Links take their time: no step is done before its messages can have come. (At least, never at most.)
#[test]
fn messages_are_not_early() {
    let program = Arc::new(program(&[(0, 0), (1, 0)]));
    let mut fresh = fresh();
    let link = link(8000);
    let rehearsal = Rehearsal::new(
        program.clone(),
        &Parameters::none(),
        link,
        DEADLINE,
        &fresh(),
    )
    .unwrap();
    let done = rehearsal.run(1, &[vec![0.001; 32]], &mut fresh).unwrap();
    let half = 0.004;
    for step in &done.steps {
        // Both evaluators begin a step at about the same time, and neither ends before it has the other's last message.
        assert!(
            step.seconds >= half * f64::from(step.rounds) * 0.9 - 0.002,
            "{step:?}"
        );
    }
    let rounds: u32 = done.steps.iter().map(|s| s.rounds).sum();
    // The dealer's word, the input, the output.
    assert!(done.online >= half * (f64::from(rounds) + 3.0));
    assert!(done.along >= half * (f64::from(rounds) + 2.0));
    assert!(done.dealing >= 4.0 * half);
}

#[test]
fn a_rehearsal_that_takes_too_long_is_ended() {
    let program = Arc::new(program(&[(1, 0)]));
    let mut fresh = fresh();
    let link = link(400_000);
    let short = Duration::from_millis(50);
    let rehearsal = Rehearsal::new(program, &Parameters::none(), link, short, &fresh()).unwrap();
    let error = rehearsal
        .run(1, &[vec![0.001; 32]], &mut fresh)
        .unwrap_err();
    let ended = matches!(
        error,
        RehearsalError::Deadline { .. } | RehearsalError::Silence { .. }
    );
    assert!(ended, "{error:?}");
}

/// Predictions are pure, and know who shares a machine.
#[test]
fn one_machine_is_slower_than_four() {
    let program = program(&[(0, 0), (4, 0), (1, 0)]);
    let setting = |placement| Setting {
        link: LinkProfile {
            cores: 1,
            ..LinkProfile::LOOPBACK
        },
        rates: Rates::DEFAULT,
        placement,
    };
    let apart = program.predict(512, &setting(Placement::Apart));
    let together = program.predict(512, &setting(Placement::Together));
    assert_eq!(apart, program.predict(512, &setting(Placement::Apart)));
    assert!(together.online > apart.online);
    assert!(together.along > apart.along);
    assert_eq!(together.bytes_dealt(), apart.bytes_dealt());
}
