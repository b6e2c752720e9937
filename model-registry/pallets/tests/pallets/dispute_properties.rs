//! Random histories with coordinators that cheat and clients that lie.
//!
//! Jobs are delivered and accepted; the first coordinator settles them as it must, the others leave out, alter, underpay
//! or do not settle at all, as the history has it. Clients promise the same money to several coordinators, withdraw,
//! and claim with a worker's help what was never owed; outsiders dispute what was paid. Workers look after every
//! settlement and whenever time passes, as the worker's daemon does. Then:
//!
//! * no money is made or lost, and all invariants of all pallets hold, after every step;
//! * nobody who delivered is unpaid in the end: every account has exactly what its accepted jobs gave it, unless
//!   the client's escrow did not cover them or the coordinator had no bond left, and then not more;
//! * the coordinator that does what it must never loses a planck of its bond;
//! * a lie by client and worker costs the client, not the coordinator.

use std::cell::Cell;

use ai_link_pallets::{
    Balance, BondedCoordinators, CoordinatorBonds,
    disputes::{self, AlteredLeaf, Answer, Basis, Error, Leaf, Outcome, SignedTerms, TermsId},
    settlement::{self, PayoutItem, Payouts},
};
use frame_support::{
    assert_noop, assert_ok, dispatch::DispatchResult, storage::with_storage_layer,
};
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

use crate::evidence::*;
use crate::mock::*;

const CLIENTS: usize = 3;
/// The first one does what it must.
const COORDINATORS: usize = 3;
const WORKERS: usize = 3;
const BOND: Balance = 9_000;
const ESCROW: Balance = 600;
/// Within which a coordinator promises to settle.
const SETTLE_WITHIN: u64 = 300;

#[derive(Clone, Debug)]
enum Action {
    Deliver {
        client: usize,
        coordinator: usize,
        /// To whom, and how much.
        shares: Vec<(usize, Balance)>,
        fee: Balance,
    },
    /// How each of the jobs is treated, in turn.
    Settle {
        coordinator: usize,
        how: Vec<How>,
    },
    /// A job that was settled is disputed by an outsider.
    FalseDispute(usize),
    /// A client accepts a job that never was for money that was taken for others.
    Lie {
        client: usize,
        coordinator: usize,
        back: Balance,
    },
    Withdraw {
        client: usize,
        amount: Balance,
    },
    Leave {
        coordinator: usize,
    },
    Wait(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Right,
    Omit,
    Alter,
    Underpay,
}

fn action() -> impl Strategy<Value = Action> {
    let shares = prop::collection::vec((0..WORKERS, 1..20u128), 1..4);
    let how = prop_oneof![
        4 => Just(How::Right),
        1 => Just(How::Omit),
        1 => Just(How::Alter),
        1 => Just(How::Underpay),
    ];
    prop_oneof![
        12 => (0..CLIENTS, 0..COORDINATORS, shares, 0..5u128)
            .prop_map(|(client, coordinator, shares, fee)| Action::Deliver { client, coordinator, shares, fee }),
        6 => (0..COORDINATORS, prop::collection::vec(how, 1..4))
            .prop_map(|(coordinator, how)| Action::Settle { coordinator, how }),
        2 => any::<usize>().prop_map(Action::FalseDispute),
        1 => (0..CLIENTS, 0..COORDINATORS, 1..60u128)
            .prop_map(|(client, coordinator, back)| Action::Lie { client, coordinator, back }),
        1 => (0..CLIENTS, 1..400u128).prop_map(|(client, amount)| Action::Withdraw { client, amount }),
        1 => (1..COORDINATORS).prop_map(|coordinator| Action::Leave { coordinator }),
        3 => (1..2 * SETTLE_WITHIN).prop_map(Action::Wait),
    ]
}

struct Job {
    claim: SignedTerms,
    client: usize,
    coordinator: usize,
    cumulative: Balance,
    settle_by: u64,
    /// When it is settled: the epoch and how.
    settled: Option<(u64, How)>,
}

struct Epoch {
    coordinator: usize,
    number: u64,
    leaves: Vec<Leaf>,
    payouts: Payouts,
    /// Jobs by leaf.
    jobs: Vec<usize>,
}

struct World {
    clients: Vec<Party>,
    coordinators: Vec<Party>,
    workers: Vec<Party>,
    outsider: Party,
    jobs: Vec<Job>,
    epochs: Vec<Epoch>,
    open: Vec<TermsId>,
    /// What lying clients had to pay, by worker.
    extra: [Balance; WORKERS],
    /// Whether a bond was too small.
    exhausted: bool,
    faults: u32,
    refuted: u32,
}

impl World {
    fn new() -> Self {
        let parties = |kind: &str, count: usize| {
            (0..count)
                .map(|i| Party::new(&format!("{kind}{i}")))
                .collect::<Vec<_>>()
        };
        Self {
            clients: parties("client", CLIENTS),
            coordinators: parties("coordinator", COORDINATORS),
            workers: parties("worker", WORKERS),
            outsider: Party::new("outsider"),
            jobs: Vec::new(),
            epochs: Vec::new(),
            open: Vec::new(),
            extra: [0; WORKERS],
            exhausted: false,
            faults: 0,
            refuted: 0,
        }
    }

    fn bond(&self, coordinator: usize) -> Balance {
        Operators::bond(&self.coordinators[coordinator].account())
    }

    fn stands(&self, coordinator: usize) -> bool {
        Operators::has_bonded_coordinator(&self.coordinators[coordinator].account())
    }

    fn taken(&self, client: usize, coordinator: usize) -> Balance {
        settlement::Settled::<Test>::get(
            self.clients[client].account(),
            self.coordinators[coordinator].account(),
        )
    }

    fn escrow(&self, client: usize) -> Balance {
        settlement::Escrow::<Test>::get(self.clients[client].account())
            .map_or(0, |escrow| escrow.total())
    }

    /// What the client promised in all.
    fn promised(&self, client: usize, coordinator: usize) -> Balance {
        let own = self
            .jobs
            .iter()
            .rfind(|job| job.client == client && job.coordinator == coordinator);
        own.map_or(0, |job| job.cumulative)
    }

    fn deliver(
        &mut self,
        client: usize,
        coordinator: usize,
        shares: &[(usize, Balance)],
        fee: Balance,
    ) {
        let price = shares.iter().map(|(_, amount)| amount).sum::<Balance>() + fee;
        let before = self.promised(client, coordinator);
        let covered = before - self.taken(client, coordinator) + price <= self.escrow(client);
        if !covered || !self.stands(coordinator) || self.jobs.len() >= 190 {
            return;
        }
        let number = self.jobs.len() as u8;
        let claim = self.terms(client, coordinator, number, shares, fee);
        self.jobs.push(Job {
            claim,
            client,
            coordinator,
            cumulative: before + price,
            settle_by: Timestamp::get() + SETTLE_WITHIN,
            settled: None,
        });
    }

    fn terms(
        &self,
        client: usize,
        coordinator: usize,
        number: u8,
        shares: &[(usize, Balance)],
        fee: Balance,
    ) -> SignedTerms {
        let coordinator = &self.coordinators[coordinator];
        let mut payouts: Vec<_> = shares
            .iter()
            .map(|(worker, amount)| (&self.workers[*worker], *amount))
            .collect();
        payouts.push((coordinator, fee));
        terms(coordinator, &self.clients[client], number, &payouts)
    }

    /// Settles all that the clients' escrow covers.
    fn settle(&mut self, coordinator: usize, how: &[How]) {
        if !self.stands(coordinator) {
            return;
        }
        let mut reach: Vec<Balance> = (0..CLIENTS)
            .map(|client| self.taken(client, coordinator) + self.escrow(client))
            .collect();
        let mut vouchers: Vec<Option<Balance>> = vec![None; CLIENTS];
        let mut batch = Vec::new();
        for (i, job) in self.jobs.iter().enumerate() {
            if job.coordinator != coordinator || job.settled.is_some() {
                continue;
            }
            if job.cumulative <= reach[job.client] {
                vouchers[job.client] = Some(job.cumulative);
                batch.push(i);
            } else {
                // Later ones of the same client wait too.
                reach[job.client] = 0;
            }
        }
        if batch.is_empty() {
            return;
        }
        let account = self.coordinators[coordinator].account();
        let number = settlement::LastEpoch::<Test>::get(&account) + 1;
        let (mut leaves, mut jobs, mut items) = (Vec::new(), Vec::new(), Vec::new());
        for (turn, i) in batch.iter().enumerate() {
            let job = &mut self.jobs[*i];
            let decided = disputes::Decided::<Test>::contains_key(job.claim.terms.id());
            let how = match coordinator {
                0 => How::Right,
                // Its bond has paid: the money is its own.
                _ if decided => How::Omit,
                _ => how[turn % how.len()],
            };
            job.settled = Some((number, how));
            let price = job.claim.terms.price().unwrap();
            match how {
                How::Right => items.extend(job.claim.terms.payouts.clone()),
                How::Omit | How::Alter => items.push(PayoutItem {
                    account: account.clone(),
                    amount: price,
                }),
                How::Underpay => {
                    let mut parts = job.claim.terms.payouts.clone().into_inner();
                    parts[0].amount -= 1;
                    parts.push(PayoutItem {
                        account: account.clone(),
                        amount: 1,
                    });
                    items.extend(parts);
                }
            }
            if how == How::Omit {
                continue;
            }
            let claim = self.jobs[*i].claim.clone();
            leaves.push(match how {
                How::Alter => {
                    let coordinator = &self.coordinators[coordinator];
                    let client = &self.clients[self.jobs[*i].client];
                    leaf(&terms(
                        coordinator,
                        client,
                        *i as u8,
                        &[(coordinator, price)],
                    ))
                }
                _ => leaf(&claim),
            });
            jobs.push(*i);
        }
        items.retain(|item| item.amount > 0);
        let payouts: Payouts = items.try_into().unwrap();
        let claims: Vec<_> = vouchers
            .iter()
            .enumerate()
            .filter_map(|(client, cumulative)| {
                let party = &self.clients[client];
                Some(party.voucher(&self.coordinators[coordinator], (*cumulative)?))
            })
            .collect();
        assert_ok!(Settlement::settle(
            self.coordinators[coordinator].origin(),
            number,
            root(&leaves),
            leaves.len() as u32,
            claims.try_into().unwrap(),
            payouts.clone(),
        ));
        self.epochs.push(Epoch {
            coordinator,
            number,
            leaves,
            payouts,
            jobs,
        });
        self.answer_open(self.epochs.len() - 1);
        self.watch_epoch(self.epochs.len() - 1);
    }

    /// Answers disputes about broken promises that were kept now, if late.
    fn answer_open(&mut self, index: usize) {
        let epoch = &self.epochs[index];
        for (at, i) in epoch.jobs.iter().enumerate() {
            let job = &self.jobs[*i];
            let id = job.claim.terms.id();
            let altered = matches!(job.settled, Some((_, How::Alter)));
            let Some(dispute) = disputes::Disputes::<Test>::get(id).filter(|_| !altered) else {
                continue;
            };
            let late = Timestamp::get() > dispute.answer_by;
            let outcome = with_storage_layer(|| {
                Disputes::answer(
                    self.coordinators[job.coordinator].origin(),
                    id,
                    Answer::Included {
                        epoch: epoch.number,
                        receipt: receipt(&job.claim),
                        inclusion: inclusion(&epoch.leaves, at),
                    },
                )
            });
            assert_eq!(outcome.is_err(), late);
        }
    }

    /// What workers do when an epoch was settled.
    fn watch_epoch(&mut self, index: usize) {
        let Epoch {
            coordinator,
            number,
            ..
        } = self.epochs[index];
        for i in 0..self.jobs.len() {
            let job = &self.jobs[i];
            if job.coordinator != coordinator {
                continue;
            }
            match job.settled {
                Some((epoch, How::Omit)) if epoch == number => {
                    let id = job.claim.terms.id();
                    if disputes::Decided::<Test>::contains_key(id)
                        || disputes::Disputes::<Test>::contains_key(id)
                    {
                        continue;
                    }
                    self.faults += 1;
                    let acceptance =
                        acceptance(&self.clients[job.client], &job.claim, job.cumulative);
                    let basis = Basis::Taken {
                        epoch: number,
                        acceptance,
                    };
                    self.dispute(i, basis);
                }
                Some((epoch, How::Alter)) if epoch == number => {
                    self.faults += 1;
                    let epoch = &self.epochs[index];
                    let at = epoch.jobs.iter().position(|job| *job == i).unwrap();
                    let party = &self.coordinators[coordinator];
                    let outcome = Disputes::prove_altered(
                        self.outsider.origin(),
                        job.claim.clone(),
                        promise(party, &job.claim, job.cumulative, job.settle_by),
                        AlteredLeaf {
                            epoch: number,
                            leaf: epoch.leaves[at].clone(),
                            inclusion: inclusion(&epoch.leaves, at),
                        },
                    );
                    self.unless_exhausted(coordinator, outcome);
                }
                _ => {}
            }
        }
        for worker in 0..WORKERS {
            let epoch = &self.epochs[index];
            let account = self.workers[worker].account();
            let shown: Vec<_> = (epoch.jobs.iter().enumerate())
                .filter(|(_, job)| {
                    let job = &self.jobs[**job];
                    !matches!(job.settled, Some((_, How::Alter)))
                })
                .map(|(at, job)| settled_job(&self.jobs[*job].claim, &epoch.leaves, at))
                .collect();
            let underpaid = epoch.jobs.iter().any(|job| {
                let job = &self.jobs[*job];
                matches!(job.settled, Some((_, How::Underpay)))
                    && job.claim.terms.payouts[0].account == account
            });
            let prove = || {
                with_storage_layer(|| {
                    Disputes::prove_underpaid(
                        self.outsider.origin(),
                        self.coordinators[coordinator].account(),
                        number,
                        account.clone(),
                        epoch.payouts.clone(),
                        shown.clone().try_into().unwrap(),
                    )
                })
            };
            let outcome = prove();
            if underpaid {
                self.faults += 1;
                self.unless_exhausted(coordinator, outcome);
            } else {
                assert_eq!(outcome, Err(Error::<Test>::NotUnderpaid.into()));
            }
        }
    }

    fn unless_exhausted(&mut self, coordinator: usize, outcome: DispatchResult) {
        match outcome {
            Ok(()) => self.exhausted |= self.bond(coordinator) == 0,
            Err(error) => {
                assert_eq!(error, Error::<Test>::NoBond.into());
                self.exhausted = true;
            }
        }
    }

    fn dispute(&mut self, job: usize, basis: Basis) {
        let claim = self.jobs[job].claim.clone();
        let id = claim.terms.id();
        let outcome =
            with_storage_layer(|| Disputes::dispute(self.outsider.origin(), claim, basis));
        if outcome.is_ok() {
            self.open.push(id);
        }
        self.unless_exhausted(self.jobs[job].coordinator, outcome);
    }

    /// What workers do when time has passed: promises that are overdue, and disputes that were not answered.
    fn watch_time(&mut self) {
        for i in 0..self.jobs.len() {
            let job = &self.jobs[i];
            let id = job.claim.terms.id();
            let overdue = job.settled.is_none() && Timestamp::get() > job.settle_by;
            let in_time = Timestamp::get() <= job.settle_by + DISPUTE_WINDOW;
            let known = disputes::Disputes::<Test>::contains_key(id)
                || disputes::Decided::<Test>::contains_key(id);
            let covered =
                job.cumulative <= self.taken(job.client, job.coordinator) + self.escrow(job.client);
            if overdue && in_time && !known && covered {
                assert!(job.coordinator != 0, "it settles in time");
                self.faults += 1;
                let party = &self.coordinators[job.coordinator];
                let basis =
                    Basis::Promised(promise(party, &job.claim, job.cumulative, job.settle_by));
                self.dispute(i, basis);
            }
        }
        for id in std::mem::take(&mut self.open) {
            let Some(dispute) = disputes::Disputes::<Test>::get(id) else {
                continue;
            };
            if Timestamp::get() <= dispute.answer_by {
                assert_noop!(
                    Disputes::conclude(self.outsider.origin(), id),
                    Error::<Test>::NotYet
                );
                self.open.push(id);
                continue;
            }
            let coordinator = &dispute.terms.coordinator;
            let before = Operators::bond(coordinator);
            assert_ok!(Disputes::conclude(self.outsider.origin(), id));
            if disputes::Decided::<Test>::get(id) == Some(Outcome::Omitted) {
                let shares = dispute.terms.payouts.iter();
                let due: Balance = shares
                    .filter(|part| part.account != *coordinator)
                    .map(|part| part.amount)
                    .sum();
                self.exhausted |= before < due;
            }
        }
    }

    /// Disputes a job that was paid, which the coordinator refutes.
    fn dispute_falsely(&mut self, pick: usize) {
        let paid: Vec<_> = (0..self.jobs.len())
            .filter(|i| {
                let decided =
                    disputes::Decided::<Test>::contains_key(self.jobs[*i].claim.terms.id());
                matches!(self.jobs[*i].settled, Some((_, How::Right))) && !decided
            })
            .collect();
        let Some(i) = paid.get(pick % paid.len().max(1)) else {
            return;
        };
        let job = &self.jobs[*i];
        let (number, _) = job.settled.unwrap();
        let epoch = self
            .epochs
            .iter()
            .find(|epoch| epoch.coordinator == job.coordinator && epoch.number == number)
            .unwrap();
        let basis = Basis::Taken {
            epoch: number,
            acceptance: acceptance(&self.clients[job.client], &job.claim, job.cumulative),
        };
        let before = self.outsider.free();
        let opened = with_storage_layer(|| {
            Disputes::dispute(self.outsider.origin(), job.claim.clone(), basis)
        });
        // Too late, or nothing left to win.
        if opened.is_err() {
            return;
        }
        let at = epoch.jobs.iter().position(|job| job == i).unwrap();
        assert_ok!(Disputes::answer(
            self.coordinators[job.coordinator].origin(),
            job.claim.terms.id(),
            Answer::Included {
                epoch: number,
                receipt: receipt(&job.claim),
                inclusion: inclusion(&epoch.leaves, at),
            }
        ));
        assert_eq!(self.outsider.free(), before - DISPUTE_DEPOSIT);
        self.refuted += 1;
    }

    /// A client and the first worker claim that money of the last epoch was for a job that never was.
    fn lie(&mut self, client: usize, coordinator: usize, back: Balance) {
        let number = settlement::LastEpoch::<Test>::get(self.coordinators[coordinator].account());
        let taken = self.taken(client, coordinator);
        let Some(cumulative) = taken.checked_sub(back).filter(|left| *left >= 30) else {
            return;
        };
        let never = self.terms(
            client,
            coordinator,
            255 - self.refuted as u8 % 50,
            &[(0, 30)],
            0,
        );
        let basis = Basis::Taken {
            epoch: number,
            acceptance: acceptance(&self.clients[client], &never, cumulative),
        };
        let opened =
            with_storage_layer(|| Disputes::dispute(self.outsider.origin(), never.clone(), basis));
        if opened.is_err() {
            return;
        }
        let claimed = position(&never, cumulative);
        let real = self
            .jobs
            .iter()
            .find(|job| {
                job.coordinator == coordinator
                    && claimed.contradicts(&position(&job.claim, job.cumulative))
            })
            .expect("all that was taken was for some job; qed");
        let before = self.escrow(client);
        assert_ok!(Disputes::answer(
            self.coordinators[coordinator].origin(),
            never.terms.id(),
            Answer::OtherJob {
                terms: real.claim.terms.id(),
                price: real.claim.terms.price().unwrap(),
                acceptance: acceptance(&self.clients[client], &real.claim, real.cumulative),
            }
        ));
        let paid = before - self.escrow(client);
        assert_eq!(paid, before.min(30));
        self.extra[0] += paid;
        self.refuted += 1;
    }

    fn wait(&mut self, milliseconds: u64) {
        self.settle(0, &[How::Right]);
        pass(milliseconds);
        self.watch_time();
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Deliver {
                client,
                coordinator,
                shares,
                fee,
            } => self.deliver(*client, *coordinator, shares, *fee),
            Action::Settle { coordinator, how } => self.settle(*coordinator, how),
            Action::FalseDispute(pick) => self.dispute_falsely(*pick),
            Action::Lie {
                client,
                coordinator,
                back,
            } => self.lie(*client, *coordinator, *back),
            Action::Withdraw { client, amount } => {
                let origin = || self.clients[*client].origin();
                let _ = with_storage_layer(|| Settlement::withdraw(origin()));
                let _ = with_storage_layer(|| Settlement::request_withdrawal(origin(), *amount));
            }
            Action::Leave { coordinator } => {
                let party = &self.coordinators[*coordinator];
                let leave = || Operators::deregister(party.origin(), party.peer());
                let withdraw = || Operators::withdraw_bond(party.origin(), party.peer());
                let _ = with_storage_layer(withdraw);
                let _ = with_storage_layer(leave);
            }
            Action::Wait(milliseconds) => self.wait(*milliseconds),
        }
    }

    /// Whether the chain found that the client could not pay, or no job was owed by anybody else.
    fn is_owed(&self, job: &Job) -> bool {
        job.settled.is_some() || disputes::Decided::<Test>::contains_key(job.claim.terms.id())
    }

    /// What each worker should have by now.
    fn due(&self) -> [Balance; WORKERS] {
        std::array::from_fn(|worker| {
            let account = self.workers[worker].account();
            let jobs = self.jobs.iter().filter(|job| self.is_owed(job));
            let parts = jobs.flat_map(|job| job.claim.terms.payouts.iter());
            let own = parts.filter(|part| part.account == account);
            ENDOWMENT + self.extra[worker] + own.map(|part| part.amount).sum::<Balance>()
        })
    }
}

/// Runs a history; counts faults and false disputes.
fn play(actions: &[Action]) -> (u32, u32) {
    let mut world = World::new();
    let parties: Vec<_> = world
        .clients
        .iter()
        .chain(&world.coordinators)
        .chain(&world.workers)
        .chain([&world.outsider])
        .cloned()
        .collect();
    let endowed: Vec<_> = parties.iter().collect();
    run(&endowed, || {
        for party in &world.coordinators {
            let proof = party.proof(party);
            assert_ok!(Operators::register_coordinator(
                party.origin(),
                party.peer(),
                BOND,
                proof
            ));
        }
        for party in &world.clients {
            assert_ok!(Settlement::deposit(party.origin(), ESCROW));
        }
        let issuance = Balances::total_issuance();
        let check = |world: &World, action: &dyn std::fmt::Debug| {
            assert_eq!(Balances::total_issuance(), issuance, "after {action:?}");
            check_state();
            assert_eq!(world.bond(0), BOND, "after {action:?}");
        };
        for action in actions {
            world.act(action);
            check(&world, action);
        }
        // Nothing more happens but that those who look after their jobs do so.
        for _ in 0..2 {
            world.wait(SETTLE_WITHIN + 1);
            check(&world, &"the end");
            world.wait(ANSWER_WITHIN + 1);
            check(&world, &"the end");
        }
        assert!(world.open.is_empty());
        for job in world.jobs.iter().filter(|job| !world.is_owed(job)) {
            let reach = world.taken(job.client, job.coordinator) + world.escrow(job.client);
            assert!(
                reach < job.cumulative || world.bond(job.coordinator) == 0 || world.exhausted,
                "a job that could be paid was not"
            );
        }
        for (worker, due) in world.workers.iter().zip(world.due()) {
            assert!(worker.free() <= due, "paid twice");
            assert!(worker.free() == due || world.exhausted, "not paid in full");
        }
    });
    (world.faults, world.refuted)
}

#[test]
fn nobody_who_delivered_is_unpaid_and_nobody_honest_pays() {
    let config = ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..Default::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, b"ai-link disputes: seeded for all");
    let (faults, refuted) = (Cell::new(0), Cell::new(0));
    TestRunner::new_with_rng(config, rng)
        .run(&prop::collection::vec(action(), 1..64), |actions| {
            let (found, lies) = play(&actions);
            faults.set(faults.get() + found);
            refuted.set(refuted.get() + lies);
            Ok(())
        })
        .unwrap();
    // Guards against generators that drift into testing one side only.
    assert!(faults.get() > 200, "only {} faults", faults.get());
    assert!(refuted.get() > 50, "only {} false disputes", refuted.get());
}
