//! Sessions from material dealt ahead, and crashes at every point of it.

use std::sync::Arc;

use ai_link_mpc::pool::faulty::{Crash, Disk, FaultyStore, Moment, Removals};
use ai_link_mpc::pool::{
    DealAhead, Dispense, Pool, PoolError, PoolId, SharedPool, Store as _, StoreAhead, entry_bytes,
};
use ai_link_mpc::testing::{Event, GroupWeights, exchange, secret};
use ai_link_mpc::{
    Client, DealerSeat, Evaluator, EvaluatorIndex, Machine, MpcError, Party, SessionSpec,
};
use ai_link_program::fixed::{BitWindow, Op, Program, ProgramBuilder};

use super::private::{private_cnn, shared};
use super::{clear, distance, inputs, mlp, spec};

const LIMIT: u64 = 1 << 20;

fn id_of(spec: &SessionSpec, sharing: Option<[u8; 32]>) -> PoolId {
    PoolId {
        program: spec.program.digest(),
        batch: spec.batch as u64,
        sharing,
        dealer: [0xd; 32],
        evaluators: spec.evaluator_indices().map(|i| [i.get(); 32]).collect(),
        session: [0x5e; 32],
    }
}

/// A worker's machine: its disk survives, its pool is opened again after a crash.
struct Node {
    party: Party,
    id: PoolId,
    disk: Disk,
    pool: SharedPool<FaultyStore>,
}

impl Node {
    fn new(party: Party, id: PoolId, disk: Disk, limit: u64) -> Self {
        let pool = open(party, &id, &disk, limit).shared();
        Self {
            party,
            id,
            disk,
            pool,
        }
    }

    /// Starts again after a crash; without one nothing happens.
    fn revive(&mut self) {
        if self.disk.is_down() {
            self.pool = open(self.party, &self.id, &self.disk, LIMIT).shared();
        }
    }
}

/// Opens a pool, starting the machine again whenever it crashes at that.
fn open(party: Party, id: &PoolId, disk: &Disk, limit: u64) -> Pool<FaultyStore> {
    let node = secret(77, 1);
    loop {
        disk.restart();
        match Pool::open(disk.store(), id.clone(), party, &node, limit) {
            Ok(pool) => return pool,
            Err(error) => assert!(disk.is_down(), "{error}"),
        }
    }
}

struct Group {
    spec: SessionSpec,
    dealer: Node,
    evaluators: Vec<Node>,
    weights: Option<GroupWeights>,
    /// Sessions and deals so far, for entropy.
    runs: u64,
    /// Which index each party has masked something with.
    used: Vec<(Party, u64)>,
}

impl Group {
    fn new(
        spec: SessionSpec,
        weights: Option<GroupWeights>,
        mut disk: impl FnMut(Party) -> Disk,
    ) -> Self {
        let sharing = weights.as_ref().map(|w| w.mask.sharing());
        let id = id_of(&spec, sharing);
        let mut node = |party| Node::new(party, id.clone(), disk(party), LIMIT);
        Self {
            dealer: node(Party::Dealer),
            evaluators: spec.evaluator_indices().map(|i| node(i.party())).collect(),
            weights,
            spec,
            runs: 0,
            used: Vec::new(),
        }
    }

    fn entropy(&mut self, party: u8) -> ai_link_mpc::Secret32 {
        self.runs += 1;
        secret(self.runs, party)
    }

    fn sharing(&self) -> Option<[u8; 32]> {
        self.weights.as_ref().map(|w| w.mask.sharing())
    }

    fn deal(&mut self) -> Result<(), MpcError> {
        let mask = self.weights.as_ref().map(|w| w.mask.clone());
        let entropy = self.entropy(0);
        let pool = self.dealer.pool.clone();
        let mut dealer = DealAhead::new(self.spec.clone(), pool, mask, &entropy)?;
        let mut evaluators = Vec::new();
        for index in self.spec.evaluator_indices() {
            let entropy = self.entropy(1 + index.get());
            let pool = self.evaluators[usize::from(index.get())].pool.clone();
            let sharing = self.sharing();
            evaluators.push(StoreAhead::new(
                self.spec.clone(),
                index,
                pool,
                sharing,
                entropy,
            )?);
        }
        let mut machines: Vec<&mut dyn Machine> = vec![&mut dealer];
        machines.extend(evaluators.iter_mut().map(|m| m as &mut dyn Machine));
        exchange(&mut machines, |_| ())
    }

    /// Runs a session and returns its outputs. Notes who used which index, whatever happens.
    fn session(&mut self, inputs: Vec<Vec<f32>>) -> Result<Vec<Vec<u64>>, MpcError> {
        self.runs += 1;
        let mut session = [0; 32];
        session[..8].copy_from_slice(&self.runs.to_le_bytes());
        let spec = SessionSpec {
            session,
            ..self.spec.clone()
        };
        let mut dealer = Dispense::new(&spec, &self.dealer.pool, self.sharing())?;
        let named = dealer.index();
        let mut client = Client::from_pool(spec.clone(), inputs, self.dealer.id.clone())?;
        let mut evaluators = Vec::new();
        for (index, node) in spec.evaluator_indices().zip(&self.evaluators) {
            let share = self.weights.as_ref();
            let share = share.map(|w| Arc::clone(&w.evaluators[usize::from(index.get())]));
            evaluators.push(Evaluator::from_pool(
                spec.clone(),
                index,
                share,
                node.pool.clone(),
            )?);
        }
        let mut machines: Vec<&mut dyn Machine> = vec![&mut client, &mut dealer];
        machines.extend(evaluators.iter_mut().map(|m| m as &mut dyn Machine));
        let mut senders = Vec::new();
        let ran = exchange(&mut machines, |event| {
            if let Event::Sent(from, _) = event {
                senders.push(from);
            }
        });
        senders.sort();
        senders.dedup();
        let used = senders.into_iter().map(|party| (party, named));
        self.used.extend(used);
        ran?;
        let stats = evaluators.iter().map(|e| e.stats().clone());
        for (index, stats) in spec.evaluator_indices().zip(stats) {
            let seen = client.digests_of(index.party()).unwrap();
            assert_eq!(
                (seen.input, seen.output),
                (stats.input_digest, stats.output_digest)
            );
        }
        let seen = client.digests_of(Party::Dealer).unwrap();
        let stats = dealer.stats();
        assert_eq!(
            (seen.input, seen.output),
            (stats.input_digest, stats.output_digest)
        );
        client.ring_outputs()
    }

    /// Whoever crashed starts again, and the dealer tells what it still has.
    fn revive(&mut self) {
        self.dealer.revive();
        let lowest = self.dealer.pool.lock().unwrap().lowest();
        for node in &mut self.evaluators {
            node.revive();
            // If it crashes at this, it starts again and does not need to.
            let retained = node.pool.lock().unwrap().retain_from(lowest);
            if retained.is_err() {
                node.revive();
            }
        }
        self.dealer.revive();
    }

    fn levels(&self) -> Vec<usize> {
        let all = self.evaluators.iter().chain([&self.dealer]);
        all.map(|node| node.pool.lock().unwrap().level()).collect()
    }

    /// Who used which index more than once.
    fn repeated(&self) -> Vec<(Party, u64)> {
        let mut used = self.used.clone();
        used.sort();
        let again = used.windows(2).filter(|w| w[0] == w[1]);
        again.map(|w| w[0]).collect()
    }

    fn check_used_once(&self, what: &str) {
        let repeated = self.repeated();
        assert!(repeated.is_empty(), "{what}: used twice: {repeated:?}");
    }
}

#[test]
fn sessions_from_a_pool_are_the_clear_program() {
    let program = mlp();
    for evaluators in [2, 3] {
        let spec = SessionSpec {
            evaluators,
            ..spec(program.clone(), 3)
        };
        let mut group = Group::new(spec, None, |_| Disk::default());
        for _ in 0..3 {
            group.deal().unwrap();
        }
        assert!(group.levels().iter().all(|level| *level == 3));
        for round in 0..3 {
            let inputs = inputs(&program, 3, round);
            let want = clear(&program, &inputs, 3);
            let got = group.session(inputs).unwrap();
            assert!(distance(&got, &want) <= 17 << 12, "round {round}");
        }
        assert!(group.levels().iter().all(|level| *level == 0));
        let empty = group.session(inputs(&program, 3, 9));
        assert!(matches!(
            empty,
            Err(MpcError::Pool {
                source: PoolError::Empty
            })
        ));
        group.check_used_once("no crash");
    }
}

#[test]
fn private_weights_and_pools_go_together() {
    let (program, parameters) = private_cnn();
    let weights = GroupWeights::from(shared(&program, &parameters, 1));
    let spec = spec(program.clone(), 2);
    let mut group = Group::new(spec, Some(weights), |_| Disk::default());
    group.deal().unwrap();
    group.deal().unwrap();
    for round in 0..2 {
        let inputs = inputs(&program, 2, round);
        let encode = |(i, v): (usize, &Vec<f32>)| program.encode_input(i, v).unwrap();
        let ring: Vec<Vec<u64>> = inputs.iter().enumerate().map(encode).collect();
        let want = program.run_clear_with(&parameters, &ring, 2).unwrap();
        let got = group.session(inputs).unwrap();
        assert!(distance(&got[..1], &want[..1]) <= 144 * 11 + 1);
    }
}

/// Evaluators take turns at receiving corrections, so that a pool loads all links and disks alike.
#[test]
fn every_evaluator_stores_its_turns() {
    let mut b = ProgramBuilder::new("turns");
    let mut x = b.input_bounded("x", &[64], 8, 20);
    let window = BitWindow { lo: 0, hi: 21 };
    for _ in 0..12 {
        x = b.step(Op::Relu { bits: 0, window }, &[x], None, 8, 20);
    }
    b.output("y", x);
    let program = b.finish().unwrap();
    for evaluators in [2, 3] {
        let spec = SessionSpec {
            evaluators,
            ..spec(program.clone(), 1)
        };
        let schedule = spec.schedule().unwrap();
        let mut group = Group::new(spec.clone(), None, |_| Disk::default());
        group.deal().unwrap();
        let stored = |node: &Node| node.pool.lock().unwrap().bytes();
        let part = |node: &Node| entry_bytes(&spec, node.party).unwrap();
        let all = group.evaluators.iter().chain([&group.dealer]);
        all.for_each(|node| assert_eq!(stored(node), part(node), "{}", node.party));
        let sizes: Vec<u64> = group.evaluators.iter().map(stored).collect();
        assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
        assert!(sizes[0] > schedule.dealt_bytes() as u64 / u64::from(evaluators));
    }
    let stranger = Party::Evaluator(EvaluatorIndex::new(2).unwrap());
    assert!(entry_bytes(&spec(program, 1), stranger).is_err());
}

/// A small program with every kind of message: bits, ring elements, corrections to both.
fn small() -> Program {
    let mut b = ProgramBuilder::new("small");
    let x = b.input_bounded("x", &[2], 8, 20);
    let window = BitWindow { lo: 0, hi: 21 };
    let h = b.step(Op::Relu { bits: 0, window }, &[x], None, 8, 20);
    let square = b.mul(h, x);
    b.output("square", square);
    b.finish().unwrap()
}

/// What the parties try to do, whatever happens.
fn scenario(group: &mut Group) -> usize {
    let mut completed = 0;
    for step in "ddsddsssds".chars() {
        if step == 'd' {
            let _ = group.deal();
        } else {
            let inputs = vec![vec![3.5, -2.0]];
            let want = clear(&group.spec.program, &inputs, 1);
            if let Ok(got) = group.session(inputs) {
                assert_eq!(got, want, "parties used different entries");
                completed += 1;
            }
        }
        group.revive();
    }
    completed
}

fn all_crashes(operations: u64) -> impl Iterator<Item = Crash> {
    (0..operations).flat_map(|operation| {
        [Moment::Before, Moment::After]
            .into_iter()
            .flat_map(move |moment| {
                [Removals::Kept, Removals::Lost].map(|removals| Crash {
                    operation,
                    moment,
                    removals,
                })
            })
    })
}

#[test]
fn no_index_is_used_twice_wherever_anyone_crashes() {
    let spec = spec(small(), 1);
    let mut healthy = Group::new(spec.clone(), None, |_| Disk::default());
    assert_eq!(scenario(&mut healthy), 5);
    healthy.check_used_once("no crash");
    let nodes: Vec<(Party, u64)> = [&healthy.dealer]
        .into_iter()
        .chain(&healthy.evaluators)
        .map(|node| (node.party, node.disk.operations()))
        .collect();
    let mut runs = 0;
    for (party, operations) in &nodes {
        assert!(*operations > 20, "{party} stores something");
        // A little beyond, for what is only done after a crash.
        for crash in all_crashes(operations + 2) {
            let mut group = Group::new(spec.clone(), None, |of| match of == *party {
                true => Disk::crashing(crash),
                false => Disk::default(),
            });
            let completed = scenario(&mut group);
            let what = format!("{party} at {crash:?}");
            group.check_used_once(&what);
            // The session during which it crashed, and the one whose entry was lost.
            assert!(completed >= 3, "{what}: {completed} sessions of 5");
            runs += 1;
        }
    }
    assert!(runs > 250, "{runs} crashes");
    // Two parties crash: the dealer and an evaluator, anywhere.
    for a in 0..nodes[0].1 {
        for b in 0..nodes[1].1 {
            let crash = |operation| Crash {
                operation,
                moment: Moment::After,
                removals: Removals::Lost,
            };
            let mut group = Group::new(spec.clone(), None, |of| match of {
                Party::Dealer => Disk::crashing(crash(a)),
                Party::EVALUATOR_0 => Disk::crashing(crash(b)),
                _ => Disk::default(),
            });
            let completed = scenario(&mut group);
            group.check_used_once(&format!("dealer at {a}, evaluator 0 at {b}"));
            assert!(completed >= 1, "dealer at {a}, evaluator 0 at {b}");
        }
    }
}

/// The test above must be able to fail: with a store that loses its marks it does.
#[test]
fn lost_marks_are_noticed() {
    let spec = spec(small(), 1);
    for party in [Party::Dealer, Party::EVALUATOR_0] {
        let repeats = all_crashes(40).filter(|crash| {
            let mut group = Group::new(spec.clone(), None, |of| match of == party {
                true => Disk::forgetful(*crash),
                false => Disk::default(),
            });
            scenario(&mut group);
            !group.repeated().is_empty()
        });
        // An evaluator alone does not repeat: the dealer names each index once.
        assert_eq!(repeats.count() > 0, party == Party::Dealer, "{party}");
    }
}

#[test]
fn pools_refuse_what_is_not_theirs_and_drop_nothing() {
    let program = mlp();
    let spec = spec(program.clone(), 1);
    let mut group = Group::new(spec.clone(), None, |_| Disk::default());
    group.deal().unwrap();
    let size = group.dealer.pool.lock().unwrap().bytes();
    assert!(size > 0);

    // A full pool stops; what is in it stays.
    let id = group.dealer.id.clone();
    let full = Node::new(
        Party::Dealer,
        id.clone(),
        group.dealer.disk.clone(),
        size + 10,
    );
    let refused = DealAhead::new(spec.clone(), full.pool.clone(), None, &secret(1, 1)).map(drop);
    assert!(matches!(
        refused,
        Err(MpcError::Pool { source: PoolError::Full { bytes, .. } }) if bytes == size
    ));
    assert_eq!(full.pool.lock().unwrap().level(), 1);
    let disk = group.evaluators[0].disk.clone();
    let full = Node::new(Party::EVALUATOR_0, id, disk, size + 10);
    let refused = StoreAhead::new(
        spec.clone(),
        EvaluatorIndex::ZERO,
        full.pool,
        None,
        secret(1, 1),
    );
    assert!(matches!(
        refused.map(drop),
        Err(MpcError::Pool {
            source: PoolError::Full { .. }
        })
    ));

    // Another batch, group or seat.
    let others = [
        SessionSpec {
            batch: 2,
            ..spec.clone()
        },
        SessionSpec {
            evaluators: 3,
            ..spec.clone()
        },
        SessionSpec {
            dealer: DealerSeat::Client,
            ..spec.clone()
        },
        SessionSpec {
            program: Arc::new(small()),
            ..spec.clone()
        },
    ];
    for other in others {
        let refused = Dispense::new(&other, &group.dealer.pool, None).map(drop);
        assert!(matches!(
            refused,
            Err(MpcError::Pool {
                source: PoolError::OtherSession
            })
        ));
        let pool = group.evaluators[0].pool.clone();
        assert!(Evaluator::from_pool(other, EvaluatorIndex::ZERO, None, pool).is_err());
    }
    assert_eq!(group.levels(), [1, 1, 1]);

    // An index that is not there, and one that was used.
    let evaluator = |group: &Group| {
        let pool = group.evaluators[0].pool.clone();
        Evaluator::from_pool(spec.clone(), EvaluatorIndex::ZERO, None, pool).unwrap()
    };
    let name = |index: u64| index.to_le_bytes().to_vec();
    for index in [1, 7, u64::MAX] {
        let error = evaluator(&group)
            .handle(Party::Dealer, name(index))
            .unwrap_err();
        assert!(matches!(
            error,
            MpcError::Pool { source: PoolError::Gone { index: i } } if i == index
        ));
    }
    evaluator(&group).handle(Party::Dealer, name(0)).unwrap();
    assert!(evaluator(&group).handle(Party::Dealer, name(0)).is_err());

    // An index that was seen, dealt again.
    let pool = group.evaluators[0].pool.clone();
    let mut again =
        StoreAhead::new(spec.clone(), EvaluatorIndex::ZERO, pool, None, secret(1, 1)).unwrap();
    assert!(matches!(
        again.handle(Party::Dealer, name(0)),
        Err(MpcError::Pool {
            source: PoolError::Order { index: 0, seen: 0 }
        })
    ));
}

#[test]
fn a_damaged_entry_is_refused_and_gone() {
    let spec = spec(mlp(), 1);
    let mut group = Group::new(spec.clone(), None, |_| Disk::default());
    group.deal().unwrap();
    let node = &group.evaluators[1];
    let mut bytes = node.disk.store().read(0).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    node.disk.store().append(0, bytes).unwrap();
    for expected in ["does not open", "used before"] {
        let pool = node.pool.clone();
        let mut machine =
            Evaluator::from_pool(spec.clone(), EvaluatorIndex::ONE, None, pool).unwrap();
        let error = machine.handle(Party::Dealer, vec![0; 8]).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(expected), "{source}");
        assert!(machine.poll_transmit().is_none());
    }
}
