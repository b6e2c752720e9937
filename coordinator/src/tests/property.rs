//! Generated histories, with crashes, lost answers and an unreliable way to the chain. After every
//! step the invariants hold; at the end everything delivered is paid exactly once.
//!
//! A failure prints the shortest history that fails, as Rust: paste it into [`replay`].

use std::collections::{BTreeMap, BTreeSet};

use ai_link_wire::{AccountId, ControlResponse, JobId, JobState, Planck, Refusal, Signed, Ticket};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::world::{Crash, FileStore, Reopen, World, policy};
use crate::ledger::{Ledger, MemoryStore, Phase, Store};
use crate::settlement::Submission;

/// One step of a history. Indices are taken modulo what exists.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Register { worker: u8 },
    Heartbeat { worker: u8, capacity: u16 },
    Match { client: u8, job: u8, attempt: u32 },
    Complete { ticket: u8 },
    Fail { ticket: u8, culprit: u8 },
    Pass { millis: u64 },
    Poll { chain: Way },
    Deposit { client: u8, amount: u16 },
    CrashAtNextCommit { lost: bool },
    Restart,
}

/// How a submission fares.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Works,
    LostBefore,
    LostAfter,
    CoordinatorDiesBefore,
    CoordinatorDiesAfter,
}

fn action() -> impl Strategy<Value = Action> {
    let way = prop_oneof![
        4 => Just(Way::Works),
        1 => Just(Way::LostBefore),
        1 => Just(Way::LostAfter),
        1 => Just(Way::CoordinatorDiesBefore),
        1 => Just(Way::CoordinatorDiesAfter),
    ];
    prop_oneof![
        2 => any::<u8>().prop_map(|worker| Action::Register { worker }),
        2 => (any::<u8>(), 0..4_u16)
            .prop_map(|(worker, capacity)| Action::Heartbeat { worker, capacity }),
        8 => (0..2_u8, 0..12_u8, 0..4_u32)
            .prop_map(|(client, job, attempt)| Action::Match { client, job, attempt }),
        6 => any::<u8>().prop_map(|ticket| Action::Complete { ticket }),
        2 => (any::<u8>(), 0..3_u8)
            .prop_map(|(ticket, culprit)| Action::Fail { ticket, culprit }),
        3 => (0..6_000_u64).prop_map(|millis| Action::Pass { millis }),
        4 => way.prop_map(|chain| Action::Poll { chain }),
        1 => (0..2_u8, 0..2_000_u16)
            .prop_map(|(client, amount)| Action::Deposit { client, amount }),
        1 => any::<bool>().prop_map(|lost| Action::CrashAtNextCommit { lost }),
        1 => Just(Action::Restart),
    ]
}

/// What clients know: the tickets they got and the deliveries that were acknowledged.
#[derive(Default)]
struct Clients {
    tickets: Vec<(usize, Signed<Ticket>)>,
    acknowledged: BTreeMap<JobId, Signed<Ticket>>,
    reported_failed: BTreeSet<(JobId, u32)>,
}

fn replay<S>(store: S, actions: &[Action]) -> Result<(), TestCaseError>
where
    S: Store + Clone + Reopen,
{
    // Two workers share an operator.
    let mut world = World::new(store, &[0, 1, 2, 3, 3], policy());
    // Enough for three jobs, so that histories run into the end of the escrow.
    world.chain.deposited = 0;
    world.chain.escrow.clear();
    for client in &world.clients {
        world.chain.deposit(client.account(), 1_100);
    }
    world.everyone_ready();
    let mut clients = Clients::default();
    for action in actions {
        step(&mut world, &mut clients, *action)?;
        invariants(&mut world, &clients)?;
    }
    everything_ends_well(&mut world, &clients)
}

fn step<S>(world: &mut World<S>, clients: &mut Clients, action: Action) -> Result<(), TestCaseError>
where
    S: Store + Clone + Reopen,
{
    match action {
        Action::Register { worker } => {
            let worker = usize::from(worker) % world.workers.len();
            world.register(worker);
        }
        Action::Heartbeat { worker, capacity } => {
            let worker = usize::from(worker) % world.workers.len();
            world.heartbeat(worker, capacity);
        }
        Action::Match {
            client,
            job,
            attempt,
        } => {
            // Odd jobs are the second client's, except for a try at another's id.
            let client = usize::from(client);
            let answer = world.matched(client, job, attempt);
            if died(&answer) {
                world.restart();
            } else if let ControlResponse::Ticket(ticket) = answer {
                check_ticket(world, &ticket)?;
                let known = clients.tickets.iter().find(|(_, known)| {
                    let (a, b) = (body(known), body(&ticket));
                    (a.job, a.attempt) == (b.job, b.attempt)
                });
                match known {
                    Some((_, known)) => prop_assert_eq!(known, &ticket, "an attempt given twice"),
                    None => clients.tickets.push((client, ticket)),
                }
            }
        }
        Action::Complete { ticket } => {
            let Some((client, ticket)) = pick(&clients.tickets, ticket) else {
                return Ok(());
            };
            let answer = world.complete(client, &ticket);
            if died(&answer) {
                world.restart();
            } else if matches!(answer, ControlResponse::Completed { .. }) {
                let job = body(&ticket).job;
                clients.acknowledged.entry(job).or_insert(ticket);
            }
        }
        Action::Fail { ticket, culprit } => {
            let Some((client, ticket)) = pick(&clients.tickets, ticket) else {
                return Ok(());
            };
            let ticket = body(&ticket);
            let culprit = ticket.group[usize::from(culprit) % 3].peer;
            let answer = world.fail(client, ticket.job.0[0], ticket.attempt, vec![culprit]);
            if died(&answer) {
                world.restart();
            } else if answer == ControlResponse::FailureNoted {
                clients.reported_failed.insert((ticket.job, ticket.attempt));
            }
        }
        Action::Pass { millis } => world.pass(millis),
        Action::Poll { chain } => poll(world, chain)?,
        Action::Deposit { client, amount } => {
            let client = world.clients[usize::from(client)].account();
            world.chain.deposit(client, u128::from(amount));
        }
        Action::CrashAtNextCommit { lost } => {
            let when = if lost { Crash::Before } else { Crash::After };
            *world.store.fuse.lock().unwrap() = Some((0, when));
        }
        Action::Restart => world.restart(),
    }
    Ok(())
}

fn poll<S>(world: &mut World<S>, way: Way) -> Result<(), TestCaseError>
where
    S: Store + Clone + Reopen,
{
    let Some(drafts) = world.poll() else {
        world.restart();
        return Ok(());
    };
    for draft in drafts {
        let epoch = draft.epoch;
        let now = world.now;
        let lands = matches!(way, Way::Works | Way::LostAfter | Way::CoordinatorDiesAfter);
        if lands {
            let judged = world.chain.settle(&draft);
            prop_assert_eq!(judged, Ok(()), "the chain refused epoch {}", epoch);
        }
        match way {
            Way::Works => {
                if world
                    .core()
                    .submitted(epoch, Submission::Finalised, now)
                    .is_err()
                {
                    world.restart();
                }
            }
            Way::LostBefore | Way::LostAfter => {
                world
                    .core()
                    .submitted(epoch, Submission::Unknown, now)
                    .unwrap();
            }
            Way::CoordinatorDiesBefore | Way::CoordinatorDiesAfter => world.restart(),
        }
    }
    Ok(())
}

fn check_ticket<S>(world: &World<S>, ticket: &Signed<Ticket>) -> Result<(), TestCaseError> {
    let ticket = body(ticket);
    prop_assert!(ticket.check().is_ok(), "{:?}", ticket.check());
    let operators: BTreeSet<_> = ticket.group.iter().map(|member| member.operator).collect();
    prop_assert_eq!(operators.len(), 3, "operators are not distinct");
    for member in &ticket.group {
        let bonded = world.chain.workers[&member.peer];
        prop_assert_eq!(
            bonded.operator,
            member.operator,
            "operator is not the chain's"
        );
    }
    Ok(())
}

fn invariants<S>(world: &mut World<S>, clients: &Clients) -> Result<(), TestCaseError>
where
    S: Store + Clone + Reopen,
{
    let chain = world.chain.clone();
    let accounts: Vec<AccountId> = world
        .clients
        .iter()
        .map(|client| client.account())
        .collect();

    // Never more reserved and owed than there is. (Escrow only grows in these histories.)
    let ledger = world.core().ledger();
    for client in &accounts {
        let funds = chain.funds(client);
        let promised = ledger.promised(client, funds).unwrap().0 - funds.settled.0;
        let bound = ledger.reserved(client).0 + promised;
        prop_assert!(
            bound <= funds.escrow.0,
            "{bound} bound, {} in escrow",
            funds.escrow.0
        );
    }

    // Money is conserved, and no job is paid twice.
    let escrow: u128 = chain.escrow.values().sum();
    let paid: u128 = chain.paid.values().sum();
    prop_assert_eq!(escrow + paid, chain.deposited, "money is not conserved");
    let distinct: BTreeSet<_> = chain.paid_jobs.iter().collect();
    prop_assert_eq!(
        distinct.len(),
        chain.paid_jobs.len(),
        "a job was paid twice"
    );

    // Nothing acknowledged is lost, and a failed attempt never counts as delivered.
    for (_, ticket) in &clients.tickets {
        let ticket = body(ticket);
        let entry = ledger.job(&ticket.job).unwrap();
        prop_assert!(entry.is_some(), "job {} is lost", ticket.job);
    }
    for job in clients.acknowledged.keys() {
        let entry = ledger.job(job).unwrap().unwrap();
        let kept = matches!(entry.phase, Phase::Completed | Phase::Settled { .. });
        prop_assert!(kept, "delivery of {job} is lost: {:?}", entry.phase);
        let attempt = entry.delivery.unwrap().attempt;
        let failed = clients.reported_failed.contains(&(*job, attempt));
        prop_assert!(!failed, "a failed attempt is paid");
    }

    // What is kept in memory is what a restart would find.
    let reread = Ledger::open(world.store.inner.clone(), world.policy.ledger).unwrap();
    let ledger = world.core().ledger();
    for client in &accounts {
        prop_assert_eq!(ledger.reserved(client), reread.reserved(client));
        prop_assert_eq!(ledger.has_client(client), reread.has_client(client));
    }
    let jobs = |ledger: &Ledger<_>| -> Vec<JobId> { ledger.unsettled().map(|u| u.job).collect() };
    let reread: Vec<JobId> = reread.unsettled().map(|u| u.job).collect();
    prop_assert_eq!(jobs(ledger), reread);
    Ok(())
}

/// With a chain that works and time to pass, everything is settled or refunded, and everyone has
/// got exactly what the delivered tickets say.
fn everything_ends_well<S>(world: &mut World<S>, clients: &Clients) -> Result<(), TestCaseError>
where
    S: Store + Clone + Reopen,
{
    world.restart();
    world.pass(20_000);
    for _ in 0..12 {
        world.pass(4_000);
        let Some(drafts) = world.poll() else {
            return Err(TestCaseError::fail("the ledger failed without a crash"));
        };
        for draft in drafts {
            let judged = world.chain.settle(&draft);
            prop_assert_eq!(judged, Ok(()));
            let now = world.now;
            world
                .core()
                .submitted(draft.epoch, Submission::Finalised, now)
                .unwrap();
        }
    }
    prop_assert!(world.refresh());
    prop_assert_eq!(
        world.core().ledger().unsettled().len(),
        0,
        "something stays unpaid"
    );
    prop_assert_eq!(world.core().clients().len(), 0, "something stays open");

    // Deliveries count whether or not the client heard of it.
    let mut expected: BTreeMap<AccountId, u128> = BTreeMap::new();
    let jobs: BTreeSet<JobId> = clients
        .tickets
        .iter()
        .map(|(_, ticket)| body(ticket).job)
        .collect();
    let mut settled = 0;
    for job in &jobs {
        let entry = world.core().ledger().job(job).unwrap().unwrap();
        let state = entry.status().state;
        match state {
            JobState::Settled { .. } => {
                settled += 1;
                let delivery = entry.delivery.unwrap();
                let sum = Planck::checked_sum(delivery.payouts.iter().map(|p| p.amount));
                prop_assert_eq!(sum, Some(delivery.price));
                for payout in &delivery.payouts {
                    *expected.entry(payout.account).or_default() += payout.amount.0;
                }
            }
            JobState::Refunded { .. } => {
                prop_assert!(!clients.acknowledged.contains_key(job));
            }
            other => return Err(TestCaseError::fail(format!("job {job} ends as {other:?}"))),
        }
    }
    prop_assert_eq!(settled, world.chain.paid_jobs.len());
    prop_assert_eq!(
        &expected,
        &world.chain.paid,
        "payments differ from the tickets"
    );
    Ok(())
}

fn died(answer: &ControlResponse) -> bool {
    matches!(answer, ControlResponse::Refused(Refusal::Internal(_)))
}

fn body(ticket: &Signed<Ticket>) -> &Ticket {
    ticket.verify_at_any_time().unwrap()
}

fn pick(tickets: &[(usize, Signed<Ticket>)], index: u8) -> Option<(usize, Signed<Ticket>)> {
    tickets
        .get(usize::from(index) % tickets.len().max(1))
        .cloned()
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn histories_in_memory(actions in proptest::collection::vec(action(), 1..60)) {
        replay(MemoryStore::default(), &actions)?;
    }
}

/// The file cannot be opened a second time while it is open, so the invariant about re-reading
/// runs on a copy of the handle.
#[test]
fn a_history_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path().join("ledger.redb"));
    let mut actions = Vec::new();
    for job in 0..4 {
        actions.push(Action::Match {
            client: 0,
            job,
            attempt: 0,
        });
        actions.push(Action::CrashAtNextCommit { lost: job % 2 == 0 });
        actions.push(Action::Complete { ticket: job });
        actions.push(Action::Complete { ticket: job });
        for worker in 0..5 {
            actions.push(Action::Pass { millis: 1 });
            actions.push(Action::Register { worker });
            actions.push(Action::Heartbeat {
                worker,
                capacity: 9,
            });
        }
    }
    actions.push(Action::Pass { millis: 3_000 });
    actions.push(Action::Poll {
        chain: Way::CoordinatorDiesAfter,
    });
    replay(store, &actions).unwrap();
}
