//! Three workers' shelves on a real disk, the engine between them, and a crash at every operation of the file
//! system.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use ai_link_mpc::pool::{DealAhead, Dispense, StoreAhead, entry_bytes};
use ai_link_mpc::{Client, Evaluator, EvaluatorIndex, Machine, MpcError, SessionSpec};
use ai_link_program::fixed::{BitWindow, Op, Program, ProgramBuilder};
use ai_link_wire::{Commitment, Digest};

use super::super::disk::crash;
use super::super::record::samples::record;
use super::*;

const NOW: UnixMillis = UnixMillis(5);

fn program() -> Program {
    let mut b = ProgramBuilder::new("small");
    let x = b.input_bounded("x", &[2], 8, 20);
    let window = BitWindow { lo: 0, hi: 21 };
    let h = b.step(Op::Relu { bits: 0, window }, &[x], None, 8, 20);
    b.output("h", h);
    b.finish().unwrap()
}

fn secret(n: u64, who: u8) -> Secret32 {
    let mut bytes = [who; 32];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    Secret32::new(bytes)
}

/// A worker's disk, and its shelf while it runs.
struct Worker {
    dir: PathBuf,
    me: PeerKey,
    shelf: Option<Arc<Shelf>>,
}

impl Worker {
    fn new(root: &Path, me: PeerKey) -> Self {
        let dir = root.join(me.to_string());
        let mut worker = Self {
            dir,
            me,
            shelf: None,
        };
        worker.start(Bytes(1 << 20)).unwrap();
        worker
    }

    fn start(&mut self, limit: Bytes) -> Result<(), ShelfError> {
        self.shelf = None;
        let shelf = Shelf::open(self.dir.clone(), self.me, secret(1, self.me.0[0]), limit)?;
        self.shelf = Some(shelf);
        Ok(())
    }

    fn shelf(&self) -> &Arc<Shelf> {
        self.shelf.as_ref().unwrap()
    }

    /// Entries by pool.
    fn entries(&self) -> Vec<usize> {
        self.shelf().levels().iter().map(|l| l.entries).collect()
    }
}

/// The group of [`record`], on one disk each.
struct Group {
    _root: tempfile::TempDir,
    dealer: Worker,
    evaluators: Vec<Worker>,
    program: Arc<Program>,
    runs: u64,
    /// Pools founded so far; no number is drawn twice.
    founded: u8,
    /// What every worker has sent something under.
    used: Vec<(PeerKey, PoolName, u64)>,
}

/// What a scenario may meet: the crashed worker's disk, or what the others then say.
#[derive(Debug)]
struct Failed;

impl From<ShelfError> for Failed {
    fn from(_: ShelfError) -> Self {
        Self
    }
}

impl From<MpcError> for Failed {
    fn from(_: MpcError) -> Self {
        Self
    }
}

impl Group {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let key = record(1, 1, 1).key;
        Self {
            dealer: Worker::new(root.path(), key.dealer),
            evaluators: key
                .evaluators
                .iter()
                .map(|peer| Worker::new(root.path(), *peer))
                .collect(),
            _root: root,
            program: Arc::new(program()),
            runs: 0,
            founded: 0,
            used: Vec::new(),
        }
    }

    fn key(&self) -> PoolKey {
        record(1, 1, 1).key
    }

    fn spec(&self) -> SessionSpec {
        let mut session = [0; 32];
        session[..8].copy_from_slice(&self.runs.to_le_bytes());
        SessionSpec::new(Arc::clone(&self.program), session, 1)
    }

    /// What the daemons do to fill a pool, without the network.
    fn fill(&mut self) -> Result<(), Failed> {
        let key = self.key();
        let known = self.dealer.shelf().find(&key).map(|(record, _)| record);
        let theirs = |w: &Worker| w.shelf().find(&key).map(|(record, _)| record);
        let agreed = known.filter(|k| {
            self.evaluators
                .iter()
                .all(|w| theirs(w).as_ref() == Some(k))
        });
        let record = match agreed {
            Some(record) => record,
            None => {
                self.founded += 1;
                let record = PoolRecord {
                    program: Digest(self.program.digest()),
                    ..record(1, 1, self.founded)
                };
                for worker in self.evaluators.iter().chain([&self.dealer]) {
                    worker.shelf().found(record.clone(), NOW)?;
                }
                record
            }
        };
        let name = record.name();
        self.runs += 1;
        let spec = self.spec();
        let mut rooms = Vec::new();
        let mut pools = Vec::new();
        for (worker, part) in self
            .evaluators
            .iter()
            .zip([Party::EVALUATOR_0, Party::EVALUATOR_1])
            .chain([(&self.dealer, Party::Dealer)])
        {
            let bytes = entry_bytes(&spec, part)?;
            rooms.push(worker.shelf().room(name, Bytes(bytes))?);
            pools.push(worker.shelf().find(&key).ok_or(Failed)?.1);
        }
        let dealer = pools.pop().ok_or(Failed)?;
        let mut dealer = DealAhead::new(spec.clone(), dealer, None, &secret(self.runs, 0))?;
        let mut evaluators = Vec::new();
        for (index, pool) in [EvaluatorIndex::ZERO, EvaluatorIndex::ONE]
            .into_iter()
            .zip(pools)
        {
            let entropy = secret(self.runs, 1 + index.get());
            evaluators.push(StoreAhead::new(spec.clone(), index, pool, None, entropy)?);
        }
        let mut machines: Vec<&mut dyn Machine> = vec![&mut dealer];
        machines.extend(evaluators.iter_mut().map(|m| m as &mut dyn Machine));
        exchange(&mut machines, |_| ())?;
        Ok(())
    }

    /// A session from the pool, if every worker has it.
    fn session(&mut self) -> Result<(), Failed> {
        let key = self.key();
        let claim = self.dealer.shelf().claim(&key, NOW).ok_or(Failed)?;
        self.runs += 1;
        let spec = self.spec();
        let mut claims = Vec::new();
        for worker in &self.evaluators {
            claims.push(
                worker
                    .shelf()
                    .part(&key, claim.session, NOW)
                    .ok_or(Failed)?,
            );
        }
        let id = key.pool_id(self.program.digest(), claim.session);
        let mut dealer = Dispense::new(&spec, &claim.pool, None)?;
        let index = dealer.index();
        let mut client = Client::from_pool(spec.clone(), vec![vec![3.5, -2.0]], id)?;
        let mut evaluators = Vec::new();
        for (index, claim) in [EvaluatorIndex::ZERO, EvaluatorIndex::ONE]
            .into_iter()
            .zip(&claims)
        {
            let pool = Arc::clone(&claim.pool);
            evaluators.push(Evaluator::from_pool(spec.clone(), index, None, pool)?);
        }
        let mut machines: Vec<&mut dyn Machine> = vec![&mut client, &mut dealer];
        machines.extend(evaluators.iter_mut().map(|m| m as &mut dyn Machine));
        let mut senders = Vec::new();
        let ran = exchange(&mut machines, |party| senders.push(party));
        for (party, worker) in [
            (Party::Dealer, &self.dealer),
            (Party::EVALUATOR_0, &self.evaluators[0]),
            (Party::EVALUATOR_1, &self.evaluators[1]),
        ] {
            if senders.contains(&party) {
                self.used.push((worker.me, claim.name(), index));
            }
        }
        ran?;
        let outputs = client.into_outputs()?;
        let values = outputs[0].as_f32().unwrap();
        assert!((values[0] - 3.5).abs() < 0.1 && values[1].abs() < 0.1);
        Ok(())
    }

    /// Whoever crashed starts again.
    fn restart(&mut self) {
        if crash::is_down() {
            crash::restart();
            for worker in self.evaluators.iter_mut().chain([&mut self.dealer]) {
                worker.start(Bytes(1 << 20)).unwrap();
            }
        }
    }

    fn check_used_once(&self, what: u64) {
        let mut used = self.used.clone();
        used.sort();
        assert!(
            used.windows(2).all(|w| w[0] != w[1]),
            "crash {what}: {used:?}"
        );
    }
}

/// Carries messages until nobody has any, in the order of `machines`.
fn exchange(
    machines: &mut [&mut dyn Machine],
    mut sent: impl FnMut(Party),
) -> Result<(), MpcError> {
    let mut waiting = Vec::new();
    loop {
        let mut moved = false;
        for machine in machines.iter_mut() {
            let party = machine.party();
            while let Some(transmit) = machine.poll_transmit() {
                sent(party);
                waiting.push((party, transmit));
                moved = true;
            }
            while let Some(expected) = machine.next_expected() {
                let due = waiting
                    .iter()
                    .position(|(from, t)| t.to == party && *from == expected.from);
                let Some(due) = due else { break };
                let (from, transmit) = waiting.remove(due);
                machine.handle(from, transmit.payload)?;
                moved = true;
                while let Some(transmit) = machine.poll_transmit() {
                    sent(party);
                    waiting.push((party, transmit));
                }
            }
        }
        if !moved {
            assert!(machines.iter().all(|m| m.is_finished()), "all wait");
            return Ok(());
        }
    }
}

fn scenario(group: &mut Group) -> (usize, usize) {
    let (mut filled, mut served) = (0, 0);
    for step in "ffssfsfs".chars() {
        match step {
            'f' => filled += usize::from(group.fill().is_ok()),
            _ => served += usize::from(group.session().is_ok()),
        }
        group.restart();
    }
    (filled, served)
}

#[test]
fn no_entry_is_used_twice_wherever_the_disk_stops() {
    crash::restart();
    let mut healthy = Group::new();
    crash::restart();
    assert_eq!(scenario(&mut healthy), (4, 4));
    let points = crash::restart();
    healthy.check_used_once(0);
    assert!(points > 60, "{points}");
    for point in 0..points {
        let mut group = Group::new();
        crash::restart();
        crash::after(point);
        let (filled, served) = scenario(&mut group);
        crash::restart();
        group.check_used_once(point);
        // What was under way is lost, and perhaps what was being founded; the rest is not.
        assert!(
            filled >= 3 && served >= 2,
            "crash {point}: {filled} filled, {served} served"
        );
    }
}

#[test]
fn pools_are_found_again_and_what_was_taken_is_gone() {
    crash::restart();
    let mut group = Group::new();
    for _ in 0..3 {
        group.fill().unwrap();
    }
    group.session().unwrap();
    let limit = Bytes(1 << 20);
    group.dealer.start(limit).unwrap();
    group.evaluators[0].start(limit).unwrap();
    assert_eq!(group.dealer.entries(), [2]);
    assert_eq!(group.evaluators[0].entries(), [2]);
    group.session().unwrap();
    group.session().unwrap();
    assert!(group.session().is_err(), "the pool is empty");
    assert_eq!(group.dealer.entries(), [0]);
    // An evaluator that lost its part: nothing to promise from there, and a new pool takes its place.
    group.fill().unwrap();
    let name = group.evaluators[1].shelf().levels()[0].name;
    group.evaluators[1].shelf().discard(&name).unwrap();
    assert!(group.session().is_err());
    group.fill().unwrap();
    assert_ne!(group.dealer.shelf().levels()[0].name, name);
    assert_eq!(group.dealer.entries(), [1]);
    group.session().unwrap();
    group.check_used_once(0);
}

#[test]
fn an_entry_is_promised_to_one_session() {
    crash::restart();
    let mut group = Group::new();
    let key = group.key();
    group.fill().unwrap();
    let shelf = Arc::clone(group.dealer.shelf());
    let claim = shelf.claim(&key, NOW).unwrap();
    assert!(shelf.claim(&key, NOW).is_none());
    assert_eq!(group.dealer.entries(), [0]);
    drop(claim);
    assert_eq!(group.dealer.entries(), [1]);
    let mut other = key.clone();
    other.commitment = Commitment([9; 32]);
    assert!(shelf.claim(&other, NOW).is_none());
    other = key.clone();
    other.batch = 2;
    assert!(shelf.claim(&other, NOW).is_none());
    // Evaluators promise nothing, and dealers hold no evaluator's part.
    assert!(group.evaluators[0].shelf().claim(&key, NOW).is_none());
    let session = shelf.find(&key).unwrap().0.session;
    assert!(shelf.part(&key, session, NOW).is_none());
    assert!(
        group.evaluators[0]
            .shelf()
            .part(&key, session, NOW)
            .is_some()
    );
    assert!(
        group.evaluators[0]
            .shelf()
            .part(&key, PoolTag([0; 32]), NOW)
            .is_none()
    );
}

#[test]
fn what_the_dealer_lost_goes_unless_a_session_has_the_pool_in_hand() {
    crash::restart();
    let mut group = Group::new();
    let key = group.key();
    group.fill().unwrap();
    group.fill().unwrap();
    let shelf = group.evaluators[0].shelf();
    let (record, _) = shelf.find(&key).unwrap();
    let claim = shelf.part(&key, record.session, NOW).unwrap();
    shelf.retain(&record.name(), 2).unwrap();
    assert_eq!(lock(&claim.pool).level(), 2);
    drop(claim);
    shelf.retain(&record.name(), 1).unwrap();
    assert_eq!(group.evaluators[0].entries(), [1]);
    // The dealer still has the first, and the evaluator refuses it.
    assert!(group.session().is_err());
    group.session().unwrap();
    group.check_used_once(0);
}

#[test]
fn a_smaller_limit_and_damage_drop_pools_for_good() {
    crash::restart();
    let mut group = Group::new();
    group.fill().unwrap();
    let bytes = group.evaluators[0].shelf().levels()[0].bytes;
    let path = {
        let shelf = group.evaluators[0].shelf();
        shelf.path(&shelf.levels()[0].name)
    };
    assert!(path.exists() && bytes > Bytes(0));
    group.evaluators[0].start(bytes).unwrap();
    assert_eq!(group.evaluators[0].entries(), [1]);
    group.evaluators[0].start(Bytes(bytes.0 - 1)).unwrap();
    assert!(group.evaluators[0].entries().is_empty() && !path.exists());
    group.evaluators[0].start(bytes).unwrap();
    assert!(group.evaluators[0].entries().is_empty());
    // No pools at all.
    group.dealer.start(Bytes(0)).unwrap();
    assert!(group.dealer.entries().is_empty());
    let refused = group.dealer.shelf().found(record(1, 1, 7), NOW);
    assert!(matches!(refused, Err(ShelfError::Book(BookError::Off))));
    // A record that cannot be read.
    let limit = Bytes(1 << 20);
    let level = group.evaluators[1].shelf().levels()[0].clone();
    let path = group.evaluators[1].shelf().path(&level.name);
    fs::write(PoolRecord::file(&path), b"damaged").unwrap();
    group.evaluators[1].start(limit).unwrap();
    assert!(group.evaluators[1].entries().is_empty() && !path.exists());
    // Another process.
    assert!(matches!(
        Shelf::open(
            group.evaluators[1].dir.clone(),
            level.record.key.dealer,
            secret(1, 1),
            limit
        ),
        Err(ShelfError::Locked { .. })
    ));
}

#[test]
fn room_is_made_of_what_was_used_least() {
    crash::restart();
    let root = tempfile::tempdir().unwrap();
    let worker = Worker::new(root.path(), PeerKey([0xe0; 32]));
    let shelf = worker.shelf();
    let names: Vec<PoolName> = (1..=3)
        .map(|model| shelf.found(record(1, model, model), NOW).unwrap())
        .collect();
    let room = shelf.room(names[0], Bytes(600 << 10)).unwrap();
    // Being stored counts, and cannot be dropped.
    assert!(shelf.room(names[2], Bytes(600 << 10)).is_err());
    drop(room);
    let _room = shelf.room(names[2], Bytes(600 << 10)).unwrap();
    assert_eq!(shelf.levels().len(), 3, "empty pools take no room");
    let gone = shelf.room(PoolName(Digest([0; 32])), Bytes(1));
    assert!(matches!(gone, Err(ShelfError::Book(BookError::Unknown))));
}
