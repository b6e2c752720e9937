//! More than two evaluators, and clients that deal themselves.

use ai_link_mpc::testing::{Session, links_between, secret};
use ai_link_mpc::{
    Client, Dealer, DealerSeat, Evaluator, EvaluatorIndex, Machine, MpcError, Party, Phase,
    SessionSpec, drive,
};
use std::time::{Duration, Instant};

use super::{clear, cnn, distance, inputs, mlp, spec};

fn group(spec: SessionSpec, evaluators: u8, dealer: DealerSeat) -> SessionSpec {
    SessionSpec {
        evaluators,
        dealer,
        ..spec
    }
}

const SEATS: [DealerSeat; 2] = [DealerSeat::Worker, DealerSeat::Client];

#[test]
fn any_group_computes_the_clear_program() {
    let program = cnn();
    let inputs = inputs(&program, 2, 30);
    let want = clear(&program, &inputs, 2);
    for evaluators in [2, 3, 5, 8] {
        for seat in SEATS {
            let spec = group(spec(program.clone(), 2), evaluators, seat);
            let mut session = Session::new(&spec, inputs.clone(), 2).unwrap();
            assert_eq!(session.dealer.is_none(), seat == DealerSeat::Client);
            assert_eq!(session.evaluators.len(), usize::from(evaluators));
            session.run().unwrap();
            let got = session.client.ring_outputs().unwrap();
            let off = distance(&got, &want);
            assert!(off <= 256, "{evaluators} evaluators, {seat:?} deals: {off}");
            // Everybody talks to whom the seat says, as much as the schedule says.
            let schedule = spec.schedule().unwrap();
            let n = usize::from(evaluators);
            for evaluator in &session.evaluators {
                let Party::Evaluator(index) = evaluator.party() else {
                    panic!("{} is no evaluator", evaluator.party());
                };
                let stats = evaluator.stats();
                assert_eq!(stats.rounds as usize, schedule.rounds());
                let online = stats.bytes_sent.of(Phase::Online) as usize;
                assert_eq!(online, (n - 1) * schedule.online_bytes());
                assert_eq!(stats.bytes_received.of(Phase::Online) as usize, online);
                let dealt = stats.bytes_received.of(Phase::Dealt) as usize;
                assert_eq!(dealt, schedule.key_bytes() + schedule.dealt_bytes_to(index));
            }
            let dealer = spec.dealing_party();
            let sent = session.transcript.iter().filter(|m| m.from == dealer);
            assert!(sent.clone().count() > schedule.steps().len() / 4);
            let stats = match &session.dealer {
                Some(dealer) => dealer.stats(),
                None => session.client.stats(),
            };
            let dealt = stats.bytes_sent.of(Phase::Dealt) as usize;
            assert_eq!(dealt, schedule.dealt_bytes() + n * schedule.key_bytes());
            let total: usize = sent.map(|m| m.payload.len()).sum();
            assert_eq!(stats.bytes_sent.total() as usize, total);
        }
    }
}

#[test]
fn receipts_fit_every_group() {
    let program = mlp();
    for seat in SEATS {
        let spec = group(spec(program.clone(), 1), 3, seat);
        let mut session = Session::new(&spec, inputs(&program, 1, 5), 3).unwrap();
        session.run().unwrap();
        for evaluator in &session.evaluators {
            let expected = session.client.digests_of(evaluator.party()).unwrap();
            let stats = evaluator.stats();
            assert_eq!(
                (stats.input_digest, stats.output_digest),
                (expected.input, expected.output)
            );
        }
        let dealer = session.client.digests_of(Party::Dealer);
        assert_eq!(dealer.is_some(), seat == DealerSeat::Worker);
        let fourth = EvaluatorIndex::new(3).unwrap().party();
        assert_eq!(session.client.digests_of(fourth), None);
    }
}

#[test]
fn one_evaluator_of_many_that_differs_is_noticed() {
    let program = mlp();
    // Keys go to the client too, before the outputs.
    for culprit in EvaluatorIndex::first(4) {
        let spec = group(spec(program.clone(), 2), 4, DealerSeat::Client);
        let mut session = Session::new(&spec, inputs(&program, 2, 6), 4).unwrap();
        let error = session.run_with(|m| {
            if (m.from, m.to) == (culprit.party(), Party::Client) && m.payload.len() > 32 {
                m.payload[9] ^= 1;
            }
        });
        assert!(
            matches!(error, Err(MpcError::EvaluatorsDisagree { index: 1 })),
            "{culprit:?}: {error:?}"
        );
    }
}

#[test]
fn impossible_groups_are_refused() {
    for evaluators in [0, 1, 9, 255] {
        let spec = group(spec(mlp(), 1), evaluators, DealerSeat::Worker);
        assert!(matches!(
            spec.schedule(),
            Err(MpcError::EvaluatorCount { evaluators: n }) if n == evaluators
        ));
    }
    let three = group(spec(mlp(), 1), 3, DealerSeat::Client);
    assert!(matches!(
        Dealer::new(three.clone(), secret(1, 1)),
        Err(MpcError::DealerSeat {
            seat: DealerSeat::Client
        })
    ));
    let fourth = EvaluatorIndex::new(3).unwrap();
    assert!(matches!(
        Evaluator::new(three, fourth, secret(1, 1)),
        Err(MpcError::NoSuchEvaluator { evaluators: 3, .. })
    ));
    assert_eq!(EvaluatorIndex::new(8), None);
}

#[tokio::test]
async fn three_evaluators_and_a_dealing_client_over_links() {
    let program = cnn();
    let inputs = inputs(&program, 3, 110);
    let want = clear(&program, &inputs, 3);
    let spec = group(spec(program, 3), 3, DealerSeat::Client);
    let parties: Vec<Party> = spec.evaluator_indices().map(|i| i.party()).collect();
    let [mut c, mut l0, mut l1, mut l2] =
        links_between([Party::Client, parties[0], parties[1], parties[2]]);
    let deadline = Instant::now() + Duration::from_secs(60);
    let client = Client::new(spec.clone(), inputs, secret(1, 0)).unwrap();
    let mut evaluators = spec
        .evaluator_indices()
        .map(|index| Evaluator::new(spec.clone(), index, secret(1, 2 + index.get())).unwrap());
    let mut next = || evaluators.next().unwrap();
    let (client, a, b, c) = tokio::join!(
        drive(client, &mut c, deadline),
        drive(next(), &mut l0, deadline),
        drive(next(), &mut l1, deadline),
        drive(next(), &mut l2, deadline),
    );
    for evaluator in [a, b, c] {
        assert!(evaluator.unwrap().is_finished());
    }
    assert!(distance(&client.unwrap().ring_outputs().unwrap(), &want) <= 256);
}
