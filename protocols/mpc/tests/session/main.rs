//! Whole programs between four parties in memory, against the clear reference.
#![allow(clippy::unwrap_used)]

mod groups;
mod pools;
mod private;
mod signs;
mod stored;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ai_link_mpc::testing::{ChannelLinks, Delivered, Session, channel_links, secret};
use ai_link_mpc::{
    Client, Dealer, DriveError, Evaluator, EvaluatorIndex, Links, Machine, MpcError, Party, Phase,
    SessionSpec, drive,
};
use ai_link_program::ClientOp;
use ai_link_program::fixed::{
    BitWindow, ConvGeometry, Op, PAD, PoolGeometry, Program, ProgramBuilder, Tactic,
};

/// Small reproducible integers in -scale..scale.
fn ints(seed: u64, n: usize, scale: i64) -> Vec<i64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as i64 % (2 * scale) - scale
    };
    std::iter::repeat_with(next).take(n).collect()
}

fn floats(seed: u64, n: usize) -> Vec<f32> {
    ints(seed, n, 4000)
        .into_iter()
        .map(|v| v as f32 / 1000.0)
        .collect()
}

fn spec(program: Program, batch: usize) -> SessionSpec {
    SessionSpec::new(Arc::new(program), [7; 32], batch)
}

/// Two hidden layers, with the windows that a calibrated plan would give.
fn mlp() -> Program {
    let mut b = ProgramBuilder::new("mlp");
    let mut x = b.input_bounded("x", &[30], 12, 20);
    let relu = Op::Relu {
        bits: 12,
        window: BitWindow { lo: 12, hi: 40 },
    };
    for (layer, (k, n)) in [(30, 16), (16, 8)].into_iter().enumerate() {
        let seed = layer as u64;
        let weights = b.constant(&[k, n], ints(seed + 1, k * n, 4096));
        let bias = Some(b.constant(&[n], ints(seed + 5, n, 1 << 24)));
        let z = b.step(Op::Linear { weights, bias }, &[x], None, 24, 40);
        x = b.step(relu.clone(), &[z], None, 12, 28);
    }
    let z = b.linear(x, [8, 2], ints(9, 16, 4096), Some(ints(10, 2, 1 << 24)), 12);
    b.output_post("p", z, vec![ClientOp::Softmax { axis: 0 }]);
    b.output_post(
        "class",
        z,
        vec![ClientOp::ArgMax {
            axis: 0,
            keep_dims: ai_link_program::KeepDims::Drop,
        }],
    );
    b.finish().unwrap()
}

/// Every operator once.
fn cnn() -> Program {
    let mut b = ProgramBuilder::new("cnn");
    let x = b.input("image", &[2, 6, 6], 10);
    let side = b.input("side", &[4], 10);
    let padded = ConvGeometry {
        pads: [1; 4],
        ..ConvGeometry::UNIT
    };
    let z = b.conv(
        x,
        [4, 2, 3, 3],
        ints(1, 72, 1024),
        Some(ints(2, 4, 1 << 20)),
        padded,
        10,
    );
    let h = b.relu(z, 10);
    // 2 x 2 maximum by views of the four corners of each window.
    let view = |dy: usize, dx: usize| -> Vec<u32> {
        let at = |c: usize, y: usize, x: usize| (c * 36 + (2 * y + dy) * 6 + 2 * x + dx) as u32;
        (0..36).map(|i| at(i / 9, i / 3 % 3, i % 3)).collect()
    };
    let corners: Vec<_> = [(0, 0), (0, 1), (1, 0), (1, 1)]
        .map(|(dy, dx)| b.rearrange(h, &[4, 3, 3], view(dy, dx)))
        .to_vec();
    let top = b.max(corners[0], corners[1]);
    let window = BitWindow { lo: 0, hi: 63 };
    let low = b.step(Op::Max { window }, &[corners[2], corners[3]], None, 10, 62);
    let pooled = b.max(top, low);
    let depthwise = ConvGeometry {
        groups: 4,
        pads: [1; 4],
        ..ConvGeometry::UNIT
    };
    let d = b.conv(pooled, [4, 1, 3, 3], ints(3, 36, 1024), None, depthwise, 10);
    let d = b.trunc(d, 10);
    let d = b.sub(pooled, d);
    let sums = b.sum_pool(
        d,
        PoolGeometry {
            kernel: [2, 2],
            strides: [1, 1],
            pads: [0; 4],
            dilations: [1, 1],
        },
    );
    let sums = b.add_const(sums, ints(4, 16, 1 << 12));
    let scaled = b.mul_scalar(sums, 300, 8);
    let scaled = b.trunc(scaled, 8);
    let total = b.sum_axes(scaled, &[1, 2]);
    let total = b.reshape(total, &[4]);
    let both = b.concat(&[total, side], 0);
    let mixed = b.linear(both, [8, 4], ints(5, 32, 1024), None, 10);
    let mixed = b.relu(mixed, 10);
    let sum = b.add(mixed, total);
    // An exact ReLU (no shift), and an element that is always zero.
    let exact = b.relu(sum, 0);
    let out = b.rearrange(exact, &[5], vec![3, 2, 1, 0, PAD]);
    b.output("features", out);
    b.output("pooled", pooled);
    b.finish().unwrap()
}

fn inputs(program: &Program, batch: usize, seed: u64) -> Vec<Vec<f32>> {
    let ports = program.inputs().iter().enumerate();
    ports
        .map(|(i, p)| floats(seed + i as u64, program.value(p.value).elements() * batch))
        .collect()
}

fn clear(program: &Program, inputs: &[Vec<f32>], batch: usize) -> Vec<Vec<u64>> {
    let encode = |(i, v): (usize, &Vec<f32>)| program.encode_input(i, v).unwrap();
    let ring: Vec<Vec<u64>> = inputs.iter().enumerate().map(encode).collect();
    program.run_clear(&ring, batch).unwrap()
}

/// Largest distance in ring units, and that something other than zero came out.
fn distance(got: &[Vec<u64>], want: &[Vec<u64>]) -> u64 {
    let (got, want) = (got.concat(), want.concat());
    assert_eq!(got.len(), want.len());
    assert!(
        want.iter().any(|w| *w != 0),
        "a reference of zeros tests nothing"
    );
    got.iter()
        .zip(want)
        .map(|(g, w)| (g.wrapping_sub(w) as i64).unsigned_abs())
        .max()
        .unwrap()
}

#[test]
fn an_mlp_is_the_clear_program() {
    let program = mlp();
    for batch in [1, 3, 64] {
        let spec = spec(program.clone(), batch);
        let inputs = inputs(&program, batch, 20);
        let want = clear(&program, &inputs, batch);
        let mut session = Session::new(&spec, inputs, 1).unwrap();
        session.run().unwrap();
        let got = session.client.ring_outputs().unwrap();
        // One unit (2^-12) per hidden value, times weights below 1: 16 units of 2^-12 at most.
        assert!(
            distance(&got, &want) <= 17 << 12,
            "batch {batch}: {}",
            distance(&got, &want)
        );
        let classes = session.client.into_outputs().unwrap();
        let want = program.decode_output(1, &want[1], batch).unwrap();
        assert_eq!(classes[1].as_i64(), want[0].as_i64());
        let sum: f32 = classes[0].as_f32().unwrap().iter().sum();
        assert!((sum - batch as f32).abs() < 1e-3, "softmax");
    }
}

#[test]
fn a_cnn_with_every_operator_is_the_clear_program() {
    let program = cnn();
    for batch in [1, 5] {
        let inputs = inputs(&program, batch, 30);
        let want = clear(&program, &inputs, batch);
        let mut session = Session::new(&spec(program.clone(), batch), inputs, 2).unwrap();
        session.run().unwrap();
        let got = session.client.ring_outputs().unwrap();
        assert!(
            distance(&got, &want) <= 256,
            "batch {batch}: {}",
            distance(&got, &want)
        );
        // The pool comes right after one truncation.
        assert!(distance(&got[1..], &want[1..]) <= 1);
    }
}

#[test]
fn without_truncation_results_are_exact() {
    let mut b = ProgramBuilder::new("exact");
    let (x, y) = (b.input("x", &[70], 8), b.input("y", &[70], 8));
    let m = b.max(x, y);
    let d = b.sub(x, m);
    let r = b.relu(d, 0);
    let s = b.relu(x, 0);
    b.output("max", m);
    b.output("zero", r);
    b.output("relu", s);
    let program = b.finish().unwrap();
    let inputs = inputs(&program, 20, 40);
    let want = clear(&program, &inputs, 20);
    let mut session = Session::new(&spec(program, 20), inputs, 3).unwrap();
    session.run().unwrap();
    assert_eq!(distance(&session.client.ring_outputs().unwrap(), &want), 0);
}

#[test]
fn the_schedule_is_what_happens() {
    for (program, batch) in [(mlp(), 7), (cnn(), 2), (signs::signs(Tactic::Fss), 5)] {
        let spec = spec(program.clone(), batch);
        let schedule = spec.schedule().unwrap();
        let mut session = Session::new(&spec, inputs(&program, batch, 50), 4).unwrap();
        session.run().unwrap();
        let sent = |from, to| -> Vec<usize> {
            let all = session
                .transcript
                .iter()
                .filter(|m| m.from == from && m.to == to);
            all.map(|m| m.payload.len()).collect()
        };
        use Party::{Client, Dealer};
        let [zero, one] = [Party::EVALUATOR_0, Party::EVALUATOR_1];
        let steps = schedule.steps().iter();
        let openings: Vec<usize> = steps.clone().flat_map(|s| s.openings.clone()).collect();
        assert_eq!(openings.len(), schedule.rounds());
        assert_eq!(sent(zero, one), openings);
        assert_eq!(sent(one, zero), openings);
        for (i, evaluator) in [zero, one].into_iter().enumerate() {
            let dealt: Vec<usize> = steps.clone().map(|s| s.dealt[i]).collect();
            let dealt = dealt.into_iter().filter(|bytes| *bytes > 0);
            let want: Vec<usize> = [schedule.key_bytes()].into_iter().chain(dealt).collect();
            assert_eq!(sent(Dealer, evaluator), want);
            assert!(want.len() > 1, "corrections go to either in turn");
        }
        assert_eq!(sent(Client, Dealer), [schedule.seed_bytes()]);
        assert_eq!(sent(Client, zero), [schedule.input_bytes()]);
        for from in [Dealer, zero, one] {
            assert_eq!(sent(from, Client), [schedule.output_bytes()]);
        }
        for evaluator in &session.evaluators {
            let stats = evaluator.stats();
            assert_eq!(stats.rounds as usize, schedule.rounds());
            assert_eq!(
                stats.bytes_sent.of(Phase::Online) as usize,
                schedule.online_bytes()
            );
            assert_eq!(
                stats.bytes_received.of(Phase::Online) as usize,
                schedule.online_bytes()
            );
            let total = session
                .transcript
                .iter()
                .filter(|m| m.from == evaluator.party());
            let total: usize = total.map(|m| m.payload.len()).sum();
            assert_eq!(stats.bytes_sent.total() as usize, total);
        }
        let dealer = session.dealer.as_ref().unwrap();
        let dealt = dealer.stats().bytes_sent.of(Phase::Dealt) as usize;
        assert_eq!(dealt, schedule.dealt_bytes() + 2 * schedule.key_bytes());
        assert!(schedule.to_string().contains("rounds"));
    }
}

#[test]
fn receipts_of_all_parties_are_what_the_client_expects() {
    let program = mlp();
    let mut session = Session::new(&spec(program.clone(), 2), inputs(&program, 2, 60), 5).unwrap();
    assert_eq!(session.client.digests_of(Party::Dealer), None);
    session.run().unwrap();
    let stats = [
        (Party::Dealer, session.dealer.as_ref().unwrap().stats()),
        (Party::EVALUATOR_0, session.evaluators[0].stats()),
        (Party::EVALUATOR_1, session.evaluators[1].stats()),
    ];
    for (party, stats) in stats {
        let expected = session.client.digests_of(party).unwrap();
        assert_eq!(
            (stats.input_digest, stats.output_digest),
            (expected.input, expected.output)
        );
        assert_ne!(stats.input_digest, [0; 32]);
        assert_ne!(stats.output_digest, [0; 32]);
    }
}

#[test]
fn sessions_are_reproducible_and_differ_by_session() {
    let program = mlp();
    let run = |session: [u8; 32], entropy| {
        let spec = SessionSpec {
            session,
            ..spec(program.clone(), 2)
        };
        let mut s = Session::new(&spec, inputs(&program, 2, 70), entropy).unwrap();
        s.run().unwrap();
        s.transcript
    };
    assert_eq!(run([1; 32], 6), run([1; 32], 6));
    for other in [run([2; 32], 6), run([1; 32], 7)] {
        for (a, b) in run([1; 32], 6).iter().zip(other) {
            assert_ne!(a.payload, b.payload, "{:?} to {:?}", a.from, a.to);
        }
    }
}

#[test]
fn the_dealer_hears_nothing_about_the_input() {
    let program = mlp();
    let heard = |inputs| {
        let mut s = Session::new(&spec(program.clone(), 2), inputs, 8).unwrap();
        s.run().unwrap();
        let to_dealer = s.transcript.into_iter().filter(|m| m.to == Party::Dealer);
        to_dealer.map(|m| m.payload).collect::<Vec<_>>()
    };
    assert_eq!(heard(inputs(&program, 2, 80)), heard(vec![vec![0.0; 60]]));
}

fn tampered(change: impl FnMut(&mut Delivered)) -> MpcError {
    let program = mlp();
    let mut session = Session::new(&spec(program.clone(), 2), inputs(&program, 2, 90), 9).unwrap();
    session.run_with(change).unwrap_err()
}

#[test]
fn messages_of_the_wrong_size_or_sender_are_refused() {
    for (from, to) in [
        (Party::Client, Party::Dealer),
        (Party::Client, Party::EVALUATOR_0),
        (Party::Dealer, Party::EVALUATOR_0),
        (Party::Dealer, Party::EVALUATOR_1),
        (Party::EVALUATOR_0, Party::EVALUATOR_1),
        (Party::EVALUATOR_1, Party::EVALUATOR_0),
        (Party::EVALUATOR_1, Party::Client),
        (Party::Dealer, Party::Client),
    ] {
        for longer in [true, false] {
            let error = tampered(|m| {
                if (m.from, m.to) == (from, to) {
                    match longer {
                        true => m.payload.push(0),
                        false => drop(m.payload.pop()),
                    }
                }
            });
            let MpcError::WrongSize {
                from: blamed,
                expected,
                found,
            } = error
            else {
                panic!("{from} to {to}: {error}");
            };
            assert_eq!(
                (blamed, found),
                (from, if longer { expected + 1 } else { expected - 1 })
            );
        }
        let error = tampered(|m| {
            if (m.from, m.to) == (from, to) {
                m.from = m.to;
            }
        });
        let MpcError::UnexpectedSender {
            party,
            expected,
            from: blamed,
            ..
        } = error
        else {
            panic!("{from} to {to}: {error}");
        };
        assert_eq!((party, expected, blamed), (to, from, to));
    }
}

#[test]
fn evaluators_that_disagree_are_noticed() {
    let error = tampered(|m| {
        if (m.from, m.to) == (Party::EVALUATOR_1, Party::Client) {
            m.payload[17] ^= 1;
        }
    });
    assert!(
        matches!(error, MpcError::EvaluatorsDisagree { index: 2 }),
        "{error}"
    );
    // A wrong opening reaches only one of them, so their outputs part.
    let error = tampered(|m| {
        if (m.from, m.to) == (Party::EVALUATOR_1, Party::EVALUATOR_0) {
            m.payload.iter_mut().for_each(|byte| *byte ^= 0xff);
        }
    });
    assert!(
        matches!(error, MpcError::EvaluatorsDisagree { .. }),
        "{error}"
    );
}

#[test]
fn weak_keys_end_the_session() {
    let error = tampered(|m| {
        if (m.from, m.to) == (Party::EVALUATOR_0, Party::Dealer) {
            m.payload.fill(0);
        }
    });
    assert!(
        matches!(
            error,
            MpcError::WeakPublicKey {
                from: Party::EVALUATOR_0
            }
        ),
        "{error}"
    );
}

#[test]
fn a_finished_or_failed_machine_takes_nothing_more() {
    let program = mlp();
    let spec = spec(program.clone(), 1);
    let mut session = Session::new(&spec, inputs(&program, 1, 100), 10).unwrap();
    session.run().unwrap();
    let extra = session.evaluators[0].handle(Party::EVALUATOR_1, vec![0; 8]);
    assert!(matches!(
        extra,
        Err(MpcError::UnexpectedMessage { bytes: 8, .. })
    ));
    let dealer = session.dealer.as_mut().unwrap();
    let extra = dealer.handle(Party::Client, vec![0; 32]);
    assert!(matches!(
        extra,
        Err(MpcError::UnexpectedMessage {
            party: Party::Dealer,
            ..
        })
    ));
    let again = dealer.handle(Party::Client, vec![0; 32]);
    assert!(matches!(again, Err(MpcError::Failed)));

    let mut fresh = Session::new(&spec, inputs(&program, 1, 100), 11).unwrap();
    assert!(matches!(
        fresh.client.ring_outputs(),
        Err(MpcError::NotFinished {
            waiting_for: Some(Party::Dealer)
        })
    ));
    assert!(fresh.client.handle(Party::Client, Vec::new()).is_err());
    let bytes = spec.schedule().unwrap().output_bytes();
    let after = fresh.client.handle(Party::Dealer, vec![0; bytes]);
    assert!(matches!(after, Err(MpcError::Failed)));
}

#[test]
fn impossible_requests_are_refused_with_reasons() {
    let program = mlp();
    let client = |batch, inputs| Client::new(spec(program.clone(), batch), inputs, secret(0, 0));
    assert!(matches!(client(0, vec![]), Err(MpcError::EmptyBatch)));
    assert!(matches!(
        client(usize::MAX, vec![]),
        Err(MpcError::BatchTooLarge { .. })
    ));
    assert!(matches!(
        client(1 << 22, vec![]),
        Err(MpcError::BatchTooLarge { .. })
    ));
    assert!(matches!(
        client(1, vec![]),
        Err(MpcError::InputCount {
            expected: 1,
            found: 0
        })
    ));
    assert!(matches!(
        client(2, vec![vec![0.0; 30]]),
        Err(MpcError::InputSize {
            expected: 60,
            found: 30,
            ..
        })
    ));
    assert!(matches!(
        client(1, vec![vec![f32::NAN; 30]]),
        Err(MpcError::Encode { .. })
    ));
}

async fn driven(
    spec: &SessionSpec,
    inputs: Vec<Vec<f32>>,
) -> (Client, [Result<(), DriveError>; 3]) {
    let [mut at_client, mut at_dealer, mut at_0, mut at_1] = channel_links();
    let deadline = Instant::now() + Duration::from_secs(60);
    let client = Client::new(spec.clone(), inputs, secret(1, 0)).unwrap();
    let dealer = Dealer::new(spec.clone(), secret(1, 1)).unwrap();
    let evaluator = |i, n| Evaluator::new(spec.clone(), i, secret(1, n)).unwrap();
    let (zero, one) = (
        evaluator(EvaluatorIndex::ZERO, 2),
        evaluator(EvaluatorIndex::ONE, 3),
    );
    let (client, d, e0, e1) = tokio::join!(
        drive(client, &mut at_client, deadline),
        drive(dealer, &mut at_dealer, deadline),
        drive(zero, &mut at_0, deadline),
        drive(one, &mut at_1, deadline),
    );
    (client.unwrap(), [d.map(drop), e0.map(drop), e1.map(drop)])
}

#[test]
fn the_drive_loop_runs_a_session_on_either_runtime() {
    let program = cnn();
    let inputs = inputs(&program, 3, 110);
    let want = clear(&program, &inputs, 3);
    let spec = spec(program, 3);
    for mut builder in [
        tokio::runtime::Builder::new_multi_thread(),
        tokio::runtime::Builder::new_current_thread(),
    ] {
        let runtime = builder.enable_all().build().unwrap();
        let (client, workers) = runtime.block_on(driven(&spec, inputs.clone()));
        workers.into_iter().for_each(Result::unwrap);
        assert!(distance(&client.ring_outputs().unwrap(), &want) <= 256);
    }
}

#[tokio::test]
async fn the_drive_loop_says_who_broke_the_session() {
    let spec = spec(mlp(), 1);
    let evaluator = || Evaluator::new(spec.clone(), EvaluatorIndex::ZERO, secret(1, 2)).unwrap();
    let links = || -> [ChannelLinks; 4] { channel_links() };

    // Nobody answers.
    let [_c, _d, mut at_0, _e] = links();
    let soon = Instant::now() + Duration::from_millis(20);
    let error = drive(evaluator(), &mut at_0, soon)
        .await
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(
            error,
            DriveError::Deadline {
                peer: Party::Dealer,
                ..
            }
        ),
        "{error}"
    );

    // The dealer is gone.
    let [_c, dealer, mut at_0, _e] = links();
    drop(dealer);
    let later = Instant::now() + Duration::from_secs(60);
    let error = drive(evaluator(), &mut at_0, later)
        .await
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(
            error,
            DriveError::Link {
                peer: Party::Dealer,
                ..
            }
        ),
        "{error}"
    );

    // The dealer sends a key that no one should accept.
    let [_c, mut dealer, mut at_0, _e] = links();
    dealer.send(Party::EVALUATOR_0, vec![0; 32]).await.unwrap();
    let error = drive(evaluator(), &mut at_0, later)
        .await
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(
            error,
            DriveError::Protocol {
                peer: Party::Dealer,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(error.peer(), Some(Party::Dealer));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    #[test]
    fn arbitrary_messages_get_an_answer(
        data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600),
    ) {
        ai_link_mpc::testing::fuzz_machines(&data);
    }
}
