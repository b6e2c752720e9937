//! What the operator sees and what a client is told: the same as what happened, and to nobody else.

use ai_link_observe::Metrics;
use ai_link_observe::exposition::Exposition;
use ai_link_wire::node::{Link, Path, Transport};
use ai_link_wire::{
    ControlRequest, ControlResponse, Explanation, JobId, JobState, Level, Outcome, PassedOver,
    Planck, Refusal, RefusalReason, Role, Score, Signed, Verdict,
};

use super::world::{World, policy, price_of_job, refused, world, world_with};
use crate::ledger::MemoryStore;
use crate::settlement::Submission;
use crate::state::{LinkPath, State, WorkerPresence};
use crate::tally::{Lost, Question, Refused};

fn explain(world: &mut World<MemoryStore>, client: usize, job: Option<u8>) -> Option<Explanation> {
    let caller = world.clients[client].peer_key();
    let job = job.map(|job| JobId([job; 16]));
    match world.ask(caller, &ControlRequest::Explain(job)) {
        ControlResponse::Explained(explanation) => explanation.map(|boxed| *boxed),
        other => panic!("{other:?}"),
    }
}

fn state(world: &mut World<MemoryStore>, links: &[Link]) -> State {
    let now = world.now;
    world.core().state(links, now).unwrap()
}

#[test]
fn a_match_is_explained_by_the_scores_it_was_made_by() {
    let mut policy = policy();
    policy.exploration_per_mille = 0;
    let mut world = World::new(MemoryStore::default(), &[0, 1, 2, 2, 3], policy);
    world.everyone_ready();
    let ticket = world.ticket(0, 1, 0);
    let ticket = ticket.verify_at_any_time().unwrap();
    let explained = explain(&mut world, 0, Some(1)).unwrap();
    assert_eq!(explained.status.unwrap().state, JobState::Accepted);
    let [decision] = explained.decisions.as_slice() else {
        panic!("{:?}", explained.decisions);
    };
    assert!(!decision.explored);
    assert_eq!(decision.budget, Planck(1_000 - 3 * 7 - 11));
    let Outcome::Matched { price, payouts, .. } = &decision.outcome else {
        panic!("{:?}", decision.outcome);
    };
    assert_eq!((*price, payouts), (price_of_job(), &ticket.payouts));
    // All five are there, each once; those chosen are the ticket's, in its roles.
    assert_eq!((decision.candidates.len(), decision.unlisted), (5, 0));
    let total = |score: &Score| score.total();
    let mut lowest = u64::MAX;
    for weighed in &decision.candidates {
        if let Verdict::Chosen { role, price, score } = &weighed.verdict {
            assert_eq!(ticket.member(*role).map(|m| m.peer), Some(weighed.peer));
            assert_eq!(*price, Planck(100));
            lowest = lowest.min(total(score));
        }
    }
    let operators: Vec<_> = ticket.group.iter().map(|m| m.operator).collect();
    let mut passed = 0;
    for weighed in &decision.candidates {
        if let Verdict::Passed { score, why, .. } = &weighed.verdict {
            passed += 1;
            match why {
                PassedOver::SameOperator => assert!(operators.contains(&weighed.operator)),
                PassedOver::Outscored => assert!(total(score) <= lowest),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(passed, 2);
    // A repeated message decides nothing.
    world.ticket(0, 1, 0);
    assert_eq!(explain(&mut world, 0, Some(1)).unwrap().decisions.len(), 1);
}

#[test]
fn what_was_against_each_is_told_with_its_numbers() {
    let mut world = world();
    let mut request = world.request(0, 1, 0);
    request.exclude = vec![world.workers[0].peer_key()];
    request.max_price = Planck(3 * 7 + 11 + 300);
    let dear = ai_link_wire::WorkerRecord {
        price_per_job: Planck(301),
        ..world.record(1)
    };
    world.pass(5);
    world.register_as(1, dear);
    let answer = world.match_as(0, request);
    assert!(
        matches!(answer, ControlResponse::NoMatch { .. }),
        "{answer:?}"
    );
    let explained = explain(&mut world, 0, None).unwrap();
    assert_eq!((explained.job, explained.status), (JobId([1; 16]), None));
    let decision = &explained.decisions[0];
    assert_eq!(decision.outcome, Outcome::NoMatch);
    let verdict = |worker: usize| {
        let peer = world.workers[worker].peer_key();
        let mut found = decision.candidates.iter().filter(|w| w.peer == peer);
        let verdict = found.next().map(|weighed| weighed.verdict.clone());
        assert!(found.next().is_none(), "listed once");
        verdict
    };
    assert_eq!(verdict(0), Some(Verdict::Refused(RefusalReason::Excluded)));
    let (have, max) = (Planck(301), Planck(300));
    let dear = Verdict::Refused(RefusalReason::PriceTooHigh { have, max });
    assert_eq!(verdict(1), Some(dear));
    assert!(matches!(
        verdict(2),
        Some(Verdict::Passed {
            why: PassedOver::NoGroup,
            ..
        })
    ));
}

#[test]
fn a_refusal_whoever_the_workers_is_explained_too() {
    let mut world = world();
    let mut request = world.request(1, 9, 0);
    request.max_price = Planck(5);
    world.match_as(1, request);
    let explained = explain(&mut world, 1, Some(9)).unwrap();
    let refusal = Refusal::PriceTooHigh {
        price: Planck(3 * 7 + 11),
        max: Planck(5),
    };
    assert_eq!(explained.decisions[0].outcome, Outcome::Refused(refusal));
    assert_eq!(explained.decisions[0].candidates, []);
}

#[test]
fn nobody_is_told_of_a_job_of_somebody_else() {
    let mut world = world();
    world.ticket(0, 1, 0);
    assert!(explain(&mut world, 0, Some(1)).is_some());
    assert_eq!(explain(&mut world, 1, Some(1)), None);
    assert_eq!(explain(&mut world, 1, None), None);
    // Who asks for another's id learns nothing of it, and neither does its owner.
    world.matched(1, 1, 0);
    let stranger = explain(&mut world, 1, Some(1)).unwrap();
    assert_eq!(stranger.status, None);
    assert!(matches!(
        stranger.decisions[0].outcome,
        Outcome::Refused(Refusal::WrongSigner)
    ));
    assert_eq!(explain(&mut world, 0, Some(1)).unwrap().decisions.len(), 1);
    let worker = world.workers[0].peer_key();
    let answer = world.ask(worker, &ControlRequest::Explain(Some(JobId([1; 16]))));
    assert_eq!(answer, ControlResponse::Explained(None));
}

#[test]
fn a_quote_is_what_a_ticket_would_be_and_changes_nothing() {
    let mut policy = policy();
    policy.exploration_per_mille = 0;
    let mut world = world_with(policy);
    let request = world.request(0, 1, 0);
    let expires = request.deadline;
    let signed = Signed::sign(&world.clients[0], request, world.now, expires).unwrap();
    let caller = world.clients[0].peer_key();
    let before = state(&mut world, &[]);
    let quote = ControlRequest::Quote(signed.clone());
    let ControlResponse::Quoted(decision) = world.ask(caller, &quote) else {
        panic!("no quote");
    };
    let Outcome::Matched { price, .. } = &decision.outcome else {
        panic!("{decision:?}");
    };
    assert_eq!((*price, decision.candidates.len()), (price_of_job(), 3));
    let after = state(&mut world, &[]);
    assert_eq!(after, before, "nothing is reserved, counted or remembered");
    assert_eq!(explain(&mut world, 0, Some(1)), None);
    let ticket = world.ticket(0, 1, 0);
    assert_eq!(ticket.verify_at_any_time().unwrap().price, *price);
    let explained = explain(&mut world, 0, Some(1)).unwrap();
    assert_eq!(explained.decisions[0].candidates, decision.candidates);
    // For one's own jobs only.
    let other = world.clients[1].peer_key();
    let answer = world.ask(other, &ControlRequest::Quote(signed));
    assert_eq!(refused(answer), Refusal::WrongSigner);
}

#[test]
fn after_a_restart_the_status_is_left() {
    let mut world = world();
    let ticket = world.ticket(0, 1, 0);
    world.complete(0, &ticket);
    world.restart();
    let explained = explain(&mut world, 0, Some(1)).unwrap();
    assert_eq!(explained.status.unwrap().state, JobState::Completed);
    assert_eq!(explained.decisions, []);
    assert_eq!(explain(&mut world, 0, None), None);
}

#[test]
fn attempts_successes_and_failures_are_counted_once() {
    let mut policy = policy();
    policy.ledger.max_attempts = 2;
    let mut world = world_with(policy);
    // Delivered in the second attempt, 40 ms after the first ticket.
    world.ticket(0, 1, 0);
    world.fail(0, 1, 0, vec![]);
    let second = world.ticket(0, 1, 1);
    world.ticket(0, 1, 1);
    world.pass(40);
    world.complete(0, &second);
    world.complete(0, &second);
    // Lost: all attempts failed; and not delivered in time.
    for attempt in 0..2 {
        world.ticket(0, 2, attempt);
        world.fail(0, 2, attempt, vec![]);
    }
    world.ticket(1, 3, 0);
    let mut unknown = world.request(1, 4, 0);
    unknown.model = "no-such".parse().unwrap();
    world.match_as(1, unknown);
    world.pass(20_000);
    world.poll();

    let tally = world.core().tally().clone();
    assert_eq!(tally.jobs.attempted(Level::Mpc), 3);
    assert_eq!(tally.jobs.succeeded(Level::Mpc), 1);
    let lost = [(Lost::DeadlinePassed, 1), (Lost::AttemptsExhausted, 1)];
    assert_eq!(tally.jobs.failed(Level::Mpc), lost);
    assert_eq!(tally.matches.attempted(Level::Mpc), 6);
    assert_eq!(tally.matches.succeeded(Level::Mpc), 5);
    assert_eq!(tally.matches.failed(Level::Mpc), [(Refused::Model, 1)]);
    assert_eq!(
        tally.latency.snapshot(Level::Mpc).quantile_ms(1.0),
        Some(50)
    );
    assert_eq!(tally.jobs.attempted(Level::Fhe), 0);
    // What repeats is a question all the same.
    assert_eq!(tally.questions.attempted(Question::Match), 7);
    assert_eq!(tally.questions.succeeded(Question::Complete), 2);

    let metrics = Metrics::new("coordinator", "0");
    tally.register(&metrics);
    let now = world.now;
    world.core().gauge(now);
    let read = Exposition::parse(&metrics.exposition()).unwrap();
    let of = |name: &str, labels: &[(&str, &str)]| read.sum(name, labels).unwrap();
    assert_eq!(
        of(
            "ai_link_coordinator_jobs_attempted_total",
            &[("level", "mpc")]
        ),
        3.0
    );
    let labels = [("level", "mpc"), ("reason", "deadline_passed")];
    assert_eq!(of("ai_link_coordinator_jobs_failed_total", &labels), 1.0);
    assert_eq!(
        of("ai_link_coordinator_job_seconds_count", &[("level", "mpc")]),
        1.0
    );
    assert_eq!(
        of("ai_link_coordinator_workers", &[("presence", "stale")]),
        3.0
    );
    assert_eq!(of("ai_link_coordinator_live_jobs", &[]), 1.0);
}

#[test]
fn labels_are_words_and_name_nobody() {
    fn check<L: ai_link_observe::Label>() {
        for value in L::ALL {
            let text = value.text();
            assert!(
                text.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                "{text}"
            );
        }
    }
    check::<Question>();
    check::<Refused>();
    check::<Lost>();
    check::<crate::tally::Unsettled>();
    check::<crate::tally::Presence>();
}

#[test]
fn the_operator_sees_what_there_is() {
    let mut world = world();
    let ticket = world.ticket(0, 1, 0);
    world.complete(0, &ticket);
    let links = [
        Link {
            peer: world.workers[0].peer_key().peer_id(),
            path: Path::Relayed,
            transport: Transport::Quic,
            rtt: Some(std::time::Duration::from_micros(1500)),
            connections: 1,
        },
        Link {
            peer: world.clients[0].peer_key().peer_id(),
            path: Path::Direct,
            transport: Transport::Tcp,
            rtt: None,
            connections: 2,
        },
    ];
    let seen = state(&mut world, &links);
    assert_eq!(seen.workers.items.len(), 3);
    let first = world.workers[0].peer_key();
    let worker = seen.workers.items.iter().find(|w| w.peer == first).unwrap();
    assert_eq!(worker.presence, WorkerPresence::Fresh);
    let link = worker.link.unwrap();
    assert_eq!((link.path, link.rtt_ms), (LinkPath::Relayed, Some(1.5)));
    assert_eq!((worker.delivered, worker.roles.len()), (1, 2));
    assert_eq!(worker.regions, ["eu-de"]);
    let [others] = seen.others.as_slice() else {
        panic!("{:?}", seen.others);
    };
    assert_eq!((others.path, others.count), (LinkPath::Direct, 1));
    let mpc = seen.levels.iter().find(|l| l.level == Level::Mpc).unwrap();
    assert_eq!((mpc.jobs, mpc.delivered, mpc.latency.count()), (1, 1, 1));
    assert_eq!(seen.recent[0].price, Some(price_of_job()));
    assert_eq!(seen.recent[0].group.len(), 3);
    assert_eq!(seen.models.items[0].name.to_string(), "digits");
    // Delivered and not settled: pending.
    let coordinator = world.account();
    let of = |state: &State, account| {
        let found = state.earnings.items.iter().find(|e| e.account == account);
        found.cloned().unwrap()
    };
    let pending = of(&seen, coordinator);
    assert_eq!((pending.total, pending.pending), (Planck(0), Planck(11)));
    world.settle_all();
    let seen = state(&mut world, &[]);
    let paid = of(&seen, coordinator);
    assert_eq!((paid.coordinating, paid.pending), (Planck(11), Planck(0)));
    assert_eq!(of(&seen, world.owner).owning, Planck(21));
    let dealer = ticket.verify_at_any_time().unwrap();
    let dealer = dealer.member(Role::Dealer).unwrap().operator;
    assert_eq!(of(&seen, dealer).working, Planck(100));
    let [epoch] = seen.epochs.as_slice() else {
        panic!("{:?}", seen.epochs);
    };
    assert_eq!(
        (epoch.epoch, epoch.jobs, epoch.amount),
        (1, 1, price_of_job())
    );
    // As JSON, and back.
    let json = serde_json::to_string(&seen).unwrap();
    assert_eq!(serde_json::from_str::<State>(&json).unwrap(), seen);
    assert!(json.contains("AIL\""), "{json}");
}

#[test]
fn what_was_paid_is_counted_once_across_restarts() {
    let mut world = world();
    for job in 1..4 {
        let ticket = world.ticket(0, job, 0);
        world.complete(0, &ticket);
    }
    world.pass(3_000);
    let [draft] = world.poll().unwrap().try_into().unwrap();
    world.chain.settle(&draft).unwrap();
    // It dies before it hears of it, and reads the chain twice after.
    world.restart();
    world.refresh();
    world.restart();
    let seen = state(&mut world, &[]);
    let jobs: u64 = seen.epochs.iter().map(|epoch| epoch.jobs).sum();
    assert_eq!(jobs, 3);
    let all: u128 = seen.earnings.items.iter().map(|e| e.total.0).sum();
    assert_eq!(all, 3 * price_of_job().0);
    let settlements = world.core().tally().settlements.clone();
    assert_eq!(settlements.attempted(()), 0, "counters begin anew");
    let (now, outcome) = (world.now, Submission::Finalised);
    world.core().submitted(1, outcome, now).unwrap();
    assert_eq!(settlements.succeeded(()), 0, "not of this process");
}
