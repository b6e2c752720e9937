//! Inputs that workers bring from storage.

use ai_link_mpc::pool::{Pool, PoolId, VolatileStore};
use ai_link_mpc::stored::{StoredPorts, StoredShare};
use ai_link_mpc::testing::{GroupWeights, Session, secret};
use ai_link_mpc::{
    Client, Dealer, DealerSeat, Evaluator, EvaluatorIndex, Machine, MpcError, Party, Phase,
    SessionSpec,
};
use ai_link_program::fixed::{Program, ProgramBuilder};

use super::private::{private_cnn, shared};
use super::{inputs, ints, mlp, spec};

/// Two owners' features side by side, and two layers.
fn joint() -> Program {
    let mut b = ProgramBuilder::new("joint");
    let x = b.input_bounded("a", &[4], 12, 20);
    let y = b.input_bounded("b", &[3], 12, 20);
    let x = b.linear(x, [4, 5], ints(1, 20, 4096), None, 12);
    let y = b.linear(y, [3, 5], ints(2, 15, 4096), None, 12);
    let sum = b.add(x, y);
    let h = b.relu(sum, 4);
    b.output("h", h);
    b.finish().unwrap()
}

/// Both parts of a sharing: for evaluators `m`, for the dealer `lambda`.
struct Shared {
    port: usize,
    masked: Vec<u64>,
    mask: Vec<u64>,
}

fn share_of(program: &Program, port: usize, values: &[f32], seed: u64) -> Shared {
    let words = program.encode_input(port, values).unwrap();
    let mask: Vec<u64> = ints(seed + 1000, words.len(), i64::MAX / 4)
        .into_iter()
        .map(|l| (l as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .collect();
    let masked = words.iter().zip(&mask).map(|(x, l)| x.wrapping_add(*l));
    Shared {
        port,
        masked: masked.collect(),
        mask,
    }
}

fn shares(all: &[Shared], part: impl Fn(&Shared) -> &Vec<u64>) -> Vec<StoredShare> {
    let shares = all.iter().map(|shared| StoredShare {
        port: shared.port,
        words: part(shared).clone().into(),
    });
    shares.collect()
}

/// A session in which the inputs in `all` are stored, and the others the client's.
fn session(
    spec: &SessionSpec,
    mut inputs: Vec<Vec<f32>>,
    all: &[Shared],
    weights: Option<&GroupWeights>,
    entropy: u64,
) -> Session {
    for shared in all {
        inputs[shared.port].clear();
    }
    let client = Client::new(spec.clone(), inputs, secret(entropy, 0)).unwrap();
    let dealer = match weights {
        None => Dealer::new(spec.clone(), secret(entropy, 1)),
        Some(w) => Dealer::with_weights(spec.clone(), w.mask.clone(), secret(entropy, 1)),
    };
    let dealer = dealer.unwrap().with_stored(shares(all, |s| &s.mask));
    let evaluators = spec.evaluator_indices().map(|index| {
        let entropy = secret(entropy, 2 + index.get());
        let evaluator = match weights {
            None => Evaluator::new(spec.clone(), index, entropy),
            Some(w) => {
                let share = w.evaluators[usize::from(index.get())].clone();
                Evaluator::with_weights(spec.clone(), index, share, entropy)
            }
        };
        let evaluator = evaluator.unwrap();
        evaluator.with_stored(shares(all, |s| &s.masked)).unwrap()
    });
    Session::of(client, Some(dealer.unwrap()), evaluators.collect())
}

fn stored(spec: SessionSpec, ports: &[usize]) -> SessionSpec {
    SessionSpec {
        stored: StoredPorts::of(ports.iter().copied()).unwrap(),
        ..spec
    }
}

#[test]
fn whoever_brings_the_input_the_answer_is_the_same() {
    let program = joint();
    for ports in [&[][..], &[0], &[1], &[0, 1]] {
        for (evaluators, batch) in [(2, 1), (2, 5), (3, 2)] {
            let spec = SessionSpec {
                evaluators,
                ..stored(spec(program.clone(), batch), ports)
            };
            let inputs = inputs(&program, batch, 7);
            let encode = |(i, v): (usize, &Vec<f32>)| program.encode_input(i, v).unwrap();
            let ring: Vec<_> = inputs.iter().enumerate().map(encode).collect();
            let want = program.run_clear(&ring, batch).unwrap();
            let all: Vec<Shared> = ports
                .iter()
                .map(|port| share_of(&program, *port, &inputs[*port], 3))
                .collect();
            // The same sharing serves many sessions.
            for entropy in [1, 2] {
                let mut session = session(&spec, inputs.clone(), &all, None, entropy);
                session.run().unwrap();
                let got = session.client.ring_outputs().unwrap();
                let off = super::distance(&got, &want);
                assert!(off <= 2, "{ports:?}, {evaluators} evaluators: {off}");
                // A client without an input sends a seed, and nothing else.
                let own: usize = [4, 3]
                    .iter()
                    .enumerate()
                    .filter(|(port, _)| !ports.contains(port))
                    .map(|(_, words)| 8 * words * batch)
                    .sum();
                let sent = session.client.stats().bytes_sent.of(Phase::Input);
                assert_eq!(sent as usize, 32 + own * usize::from(evaluators));
                for party in [Party::Dealer, Party::EVALUATOR_0, Party::EVALUATOR_1] {
                    let digests = session.client.digests_of(party).unwrap();
                    let stats = match party {
                        Party::Dealer => session.dealer.as_ref().unwrap().stats(),
                        Party::EVALUATOR_0 => session.evaluators[0].stats(),
                        _ => session.evaluators[1].stats(),
                    };
                    assert_eq!(digests.input, stats.input_digest);
                    assert_eq!(digests.output, stats.output_digest);
                }
            }
        }
    }
}

#[test]
fn private_weights_meet_a_stored_input() {
    let (program, parameters) = private_cnn();
    let weights = GroupWeights::from(shared(&program, &parameters, 1));
    let spec = stored(spec(program.clone(), 2), &[0]);
    let inputs = inputs(&program, 2, 5);
    let all = [share_of(&program, 0, &inputs[0], 9)];
    let mut with_storage = session(&spec, inputs.clone(), &all, Some(&weights), 1);
    with_storage.run().unwrap();
    let plain = SessionSpec {
        stored: StoredPorts::NONE,
        ..spec
    };
    let mut without = Session::with_weights(&plain, inputs, Some(&weights), 2).unwrap();
    without.run().unwrap();
    let got = with_storage.client.ring_outputs().unwrap();
    let want = without.client.ring_outputs().unwrap();
    // Truncations of shared products may be off by one each.
    assert!(super::distance(&got[..1], &want[..1]) <= 2 * (144 * 11 + 1));
}

#[test]
fn what_does_not_fit_is_refused() {
    let program = joint();
    let both = stored(spec(program.clone(), 2), &[0, 1]);
    let (a, b) = (vec![0.5; 8], vec![0.25; 6]);
    let all = [share_of(&program, 0, &a, 1), share_of(&program, 1, &b, 2)];
    let dealer = || Dealer::new(both.clone(), secret(1, 1)).unwrap();
    let evaluator = || Evaluator::new(both.clone(), EvaluatorIndex::ZERO, secret(1, 2)).unwrap();
    // One missing, one twice, one of another size.
    let one = || shares(&all[..1], |s| &s.masked);
    assert!(matches!(
        evaluator().with_stored(one()),
        Err(MpcError::StoredShares {
            expected: 2,
            found: 1
        })
    ));
    let twice = one().into_iter().chain(one()).collect();
    assert!(matches!(
        dealer().with_stored(twice),
        Err(MpcError::StoredShares { .. })
    ));
    let mut short = shares(&all, |s| &s.masked);
    short[1].words.pop();
    assert!(matches!(
        evaluator().with_stored(short),
        Err(MpcError::InputSize {
            expected: 6,
            found: 5,
            ..
        })
    ));
    // A session that has stored inputs does not go on without them.
    let client = Client::new(both.clone(), vec![Vec::new(); 2], secret(1, 0)).unwrap();
    let evaluators = [EvaluatorIndex::ZERO, EvaluatorIndex::ONE]
        .map(|index| Evaluator::new(both.clone(), index, secret(1, 2 + index.get())).unwrap());
    let mut session = Session::of(client, Some(dealer()), evaluators.into());
    assert!(matches!(
        session.run(),
        Err(MpcError::StoredShares { found: 0, .. })
    ));
    // The client sends nothing for a port that is stored.
    assert!(matches!(
        Client::new(both.clone(), vec![a, b], secret(1, 0)),
        Err(MpcError::InputSize { expected: 0, .. })
    ));
    // It does not deal: it would have the mask.
    let deals = SessionSpec {
        dealer: DealerSeat::Client,
        ..both.clone()
    };
    assert!(matches!(deals.schedule(), Err(MpcError::StoredGroup)));
    let beyond = stored(spec(mlp(), 1), &[1]);
    assert!(matches!(
        beyond.schedule(),
        Err(MpcError::NoSuchPort { port: 1, inputs: 1 })
    ));
    assert!(StoredPorts::of([64]).is_none() && StoredPorts::of([3, 3]).is_none());
    // And no pool serves it.
    let id = PoolId {
        program: program.digest(),
        batch: 2,
        sharing: None,
        dealer: [1; 32],
        evaluators: vec![[2; 32], [3; 32]],
        session: [4; 32],
    };
    let store = VolatileStore::default();
    let pool = Pool::open(store, id, Party::EVALUATOR_0, &secret(1, 9), 1 << 20).unwrap();
    let pooled = Evaluator::from_pool(both, EvaluatorIndex::ZERO, None, pool.shared());
    assert!(matches!(pooled, Err(MpcError::Pool { .. })));
}
