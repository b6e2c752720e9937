//! The life of a job: attempts, receipts, vouchers, deadlines, settlement.

use ai_link_wire::{
    Acceptance, AccountId, AlreadyKnown, ControlRequest, ControlResponse, Digest, Identity, JobId,
    JobReceipt, JobState, PeerKey, Planck, Refusal, Signed,
};

use super::world::{
    Crash, World, dealer, job_state, policy, price_of_job, refused, world, world_with,
};
use crate::ledger::MemoryStore;
use crate::settlement::Submission;

#[test]
fn job_ids_and_attempts_are_used_once() {
    let mut world = world();
    let first = world.ticket(0, 1, 0);
    assert_eq!(
        world.ticket(0, 1, 0),
        first,
        "the same attempt gives the same ticket"
    );
    world.pass(10);
    assert_eq!(world.ticket(0, 1, 0), first, "also later");
    world.restart();
    assert_eq!(
        world.ticket(0, 1, 0),
        first,
        "also after a restart, with nobody registered"
    );
    world.everyone_ready();
    assert_eq!(
        refused(world.matched(1, 1, 0)),
        Refusal::WrongSigner,
        "another client's id"
    );
    let mut other = world.request(0, 1, 0);
    other.batch = 4;
    assert!(matches!(
        refused(world.match_as(0, other)),
        Refusal::Malformed(_)
    ));
    let second = world.ticket(0, 1, 2);
    assert_ne!(second, first);
    assert!(matches!(
        refused(world.matched(0, 1, 0)),
        Refusal::Malformed(_)
    ));
    assert!(matches!(
        refused(world.matched(0, 1, 1)),
        Refusal::Malformed(_)
    ));
    // Delivered: the id is used up for good.
    world.complete(0, &second);
    let state = JobState::Completed;
    assert_eq!(
        refused(world.matched(0, 1, 3)),
        Refusal::WrongState { state }
    );
}

#[test]
fn attempts_run_out() {
    let mut policy = policy();
    policy.ledger.max_attempts = 2;
    let mut world = world_with(policy);
    world.ticket(0, 1, 0);
    world.fail(0, 1, 0, vec![]);
    assert_eq!(
        job_state(&mut world, 0, 1),
        JobState::Failed,
        "may be tried again"
    );
    world.ticket(0, 1, 1);
    assert!(matches!(
        refused(world.matched(0, 1, 2)),
        Refusal::Malformed(_)
    ));
    let client = world.clients[0].account();
    assert_eq!(world.core().ledger().reserved(&client), price_of_job());
    world.fail(0, 1, 1, vec![]);
    assert!(matches!(
        job_state(&mut world, 0, 1),
        JobState::Refunded { .. }
    ));
    assert_eq!(world.core().ledger().reserved(&client), Planck::ZERO);
}

#[test]
fn culprits_are_not_matched_again_and_never_paid() {
    let mut world = World::new(MemoryStore::default(), &[0, 1, 2, 3], policy());
    world.everyone_ready();
    let first = world.ticket(0, 1, 0);
    let dead = dealer(&first);
    let stranger = PeerKey([77; 32]);
    assert_eq!(
        world.fail(0, 1, 0, vec![dead, dead, stranger]),
        ControlResponse::FailureNoted
    );
    assert_eq!(
        world.fail(0, 1, 0, vec![dead]),
        ControlResponse::FailureNoted
    );
    assert_eq!(
        world.core().ledger().track(&dead).unwrap().failed,
        1,
        "counted once"
    );
    assert_eq!(
        world.core().ledger().track(&stranger).unwrap().failed,
        0,
        "not in the group"
    );

    let second = world.ticket(0, 1, 1);
    assert!(
        second
            .verify_at_any_time()
            .unwrap()
            .role_of(&dead)
            .is_none()
    );
    // The failed attempt cannot be cashed, even with a genuine receipt.
    let state = JobState::Failed;
    assert_eq!(
        refused(world.complete(0, &first)),
        Refusal::WrongState { state }
    );
    world.complete(0, &second);
    world.settle_all();
    let dead = world
        .workers
        .iter()
        .position(|w| w.peer_key() == dead)
        .unwrap();
    assert!(!world.chain.paid.contains_key(&world.operators[dead]));
    assert_eq!(world.chain.paid_jobs, [JobId([1; 16])]);
}

#[test]
fn a_job_delivered_by_two_attempts_is_paid_once() {
    let mut world = World::new(MemoryStore::default(), &[0, 1, 2, 3], policy());
    world.everyone_ready();
    let first = world.ticket(0, 1, 0);
    let second = world.ticket(0, 1, 1);
    let answer = |already| ControlResponse::Completed { already };
    assert_eq!(world.complete(0, &first), answer(AlreadyKnown::No));
    assert_eq!(world.complete(0, &second), answer(AlreadyKnown::Yes));
    assert_eq!(world.complete(0, &first), answer(AlreadyKnown::Yes));
    assert_eq!(world.held(0), price_of_job());
    world.settle_all();
    assert_eq!(world.complete(0, &second), answer(AlreadyKnown::Yes));
    assert_eq!(world.chain.paid.values().sum::<u128>(), price_of_job().0);
}

#[test]
fn vouchers_must_add_exactly_the_price() {
    let mut world = world();
    let ticket = world.ticket(0, 1, 0);
    let caller = world.clients[0].peer_key();
    let price = price_of_job();
    let send = |world: &mut World<MemoryStore>, voucher| {
        let request = world.completion(0, &ticket, voucher);
        world.ask(caller, &request)
    };
    let low = world.voucher(0, Planck(price.0 - 1));
    let expected = Refusal::VoucherTooLow {
        have: Planck(price.0 - 1),
        need: price,
    };
    assert_eq!(refused(send(&mut world, low)), expected);
    let high = world.voucher(0, Planck(price.0 + 1));
    let expected = Refusal::VoucherTooHigh {
        have: Planck(price.0 + 1),
        need: price,
    };
    assert_eq!(refused(send(&mut world, high)), expected);
    let mut forged = world.voucher(0, Planck(price.0 - 1));
    forged.cumulative = price;
    assert_eq!(refused(send(&mut world, forged)), Refusal::BadSignature);
    let others = world.voucher(1, price);
    assert_eq!(refused(send(&mut world, others)), Refusal::WrongSigner);
    let mut elsewhere = world.voucher(0, price);
    elsewhere.coordinator = AccountId([5; 32]);
    assert_eq!(refused(send(&mut world, elsewhere)), Refusal::WrongSigner);
    let good = world.voucher(0, price);
    assert_eq!(
        send(&mut world, good),
        ControlResponse::Completed {
            already: AlreadyKnown::No
        }
    );
    // A client that lost its wallet gets its own signature back.
    let ControlResponse::Info(info) = world.ask(caller, &ControlRequest::Info) else {
        panic!("no info");
    };
    assert_eq!(info.voucher, Some(good));
    assert_eq!(info.voucher_cumulative, price);
}

#[test]
fn receipts_that_do_not_hold() {
    let mut world = world();
    let ticket = world.ticket(0, 1, 0);
    let caller = world.clients[0].peer_key();
    let voucher = world.voucher(0, price_of_job());
    let good = world
        .receipt(0, &ticket)
        .verify_at_any_time()
        .unwrap()
        .clone();
    let send = |world: &mut World<MemoryStore>, signer: &Identity, receipt: JobReceipt| {
        let receipt = Signed::sign(signer, receipt, world.now, world.now).unwrap();
        let ticket = receipt.verify_at_any_time().unwrap().ticket.clone();
        let ticket = ticket.verify_at_any_time().unwrap();
        let acceptance = Acceptance::sign(signer, ticket, voucher.cumulative).signature;
        let request = ControlRequest::Complete {
            receipt,
            voucher,
            acceptance,
        };
        refused(world.ask(caller, &request))
    };
    let client = Identity::derive(b"world", "client0");
    // Two workers only.
    let mut two = good.clone();
    two.workers.pop();
    assert!(matches!(
        send(&mut world, &client, two),
        Refusal::BadReceipt(_)
    ));
    // Not countersigned by the client of the ticket.
    let other = Identity::derive(b"world", "client1");
    assert!(matches!(
        send(&mut world, &other, good.clone()),
        Refusal::BadReceipt(_)
    ));
    // A worker's receipt about something else.
    let mut wrong = good.clone();
    let mut body = wrong.workers[0].verify_at_any_time().unwrap().clone();
    body.ticket = Digest([0; 32]);
    let worker = world
        .workers
        .iter()
        .find(|w| w.peer_key() == wrong.workers[0].signer())
        .unwrap();
    wrong.workers[0] = Signed::sign(worker, body, world.now, world.now).unwrap();
    assert!(matches!(
        send(&mut world, &client, wrong),
        Refusal::BadReceipt(_)
    ));
    // A ticket of another coordinator, otherwise genuine.
    let impostor = Identity::from_seed([42; 32]);
    let mut body = ticket.verify_at_any_time().unwrap().clone();
    body.coordinator = impostor.account();
    let forged = Signed::sign(&impostor, body, world.now, world.now).unwrap();
    let receipt = world
        .receipt(0, &forged)
        .verify_at_any_time()
        .unwrap()
        .clone();
    assert_eq!(send(&mut world, &client, receipt), Refusal::WrongSigner);
    // Another ticket of this coordinator under the same attempt, never given out.
    let us = Identity::from_seed(world.coordinator_key);
    let mut body = ticket.verify_at_any_time().unwrap().clone();
    body.deadline.0 += 1;
    let forged = Signed::sign(&us, body, world.now, world.now).unwrap();
    let receipt = world
        .receipt(0, &forged)
        .verify_at_any_time()
        .unwrap()
        .clone();
    assert!(matches!(
        send(&mut world, &client, receipt),
        Refusal::BadReceipt(_)
    ));
    // A job that was never matched.
    let mut body = ticket.verify_at_any_time().unwrap().clone();
    body.job = JobId([200; 16]);
    let forged = Signed::sign(&us, body, world.now, world.now).unwrap();
    let receipt = world
        .receipt(0, &forged)
        .verify_at_any_time()
        .unwrap()
        .clone();
    assert_eq!(send(&mut world, &client, receipt), Refusal::UnknownJob);
}

#[test]
fn the_reserve_is_released_after_deadline_and_grace_also_after_a_restart() {
    let mut world = world();
    let ticket = world.ticket(0, 1, 0);
    let client = world.clients[0].account();
    world.pass(14_999);
    world.poll();
    assert_eq!(world.core().ledger().reserved(&client), price_of_job());
    world.restart();
    assert_eq!(world.core().ledger().reserved(&client), price_of_job());
    world.pass(1);
    world.poll();
    assert_eq!(world.core().ledger().reserved(&client), Planck::ZERO);
    assert!(matches!(
        job_state(&mut world, 0, 1),
        JobState::Refunded { .. }
    ));
    // Delivered and countersigned is paid, though late, while the escrow covers it.
    let answer = world.complete(0, &ticket);
    assert_eq!(
        answer,
        ControlResponse::Completed {
            already: AlreadyKnown::No
        }
    );
}

#[test]
fn a_late_receipt_needs_escrow_of_its_own() {
    let mut world = world();
    let client = world.clients[0].account();
    world.chain.escrow.insert(client, price_of_job().0);
    let late = world.ticket(0, 1, 0);
    world.pass(15_000);
    world.poll();
    world.everyone_ready();
    let next = world.ticket(0, 2, 0);
    assert!(matches!(
        refused(world.complete(0, &late)),
        Refusal::InsufficientEscrow { .. }
    ));
    assert!(matches!(
        world.complete(0, &next),
        ControlResponse::Completed { .. }
    ));
}

#[test]
fn a_client_that_withdrew_holds_up_nobody_else() {
    let mut world = world();
    let (poor, rich) = (world.ticket(0, 1, 0), world.ticket(1, 2, 0));
    world.complete(0, &poor);
    world.complete(1, &rich);
    let client = world.clients[0].account();
    world.chain.escrow.insert(client, 0);
    world.settle_all();
    assert_eq!(world.chain.paid_jobs, [JobId([2; 16])]);
    assert_eq!(job_state(&mut world, 0, 1), JobState::Completed);
    world.chain.deposit(client, price_of_job().0);
    world.settle_all();
    assert_eq!(job_state(&mut world, 0, 1), JobState::Settled { epoch: 2 });
}

#[test]
fn a_ledger_that_cannot_write_accepts_nothing_more() {
    let mut world = world();
    *world.store.fuse.lock().unwrap() = Some((0, Crash::Before));
    assert!(matches!(
        refused(world.matched(0, 1, 0)),
        Refusal::Internal(_)
    ));
    *world.store.fuse.lock().unwrap() = None;
    assert!(matches!(
        refused(world.matched(0, 2, 0)),
        Refusal::Internal(_)
    ));
    world.restart();
    world.everyone_ready();
    world.ticket(0, 1, 0);
}

#[test]
fn a_batch_is_stored_before_it_is_submitted_and_repeated_as_it_was() {
    let mut world = world();
    let first = world.ticket(0, 1, 0);
    world.complete(0, &first);
    world.pass(3_000);
    let submitted = world.poll().unwrap();
    assert_eq!(submitted.len(), 1);
    assert_eq!(
        world.core().ledger().draft().unwrap().as_ref(),
        Some(&submitted[0])
    );
    assert!(world.poll().unwrap().is_empty(), "one at a time");

    // It dies before the outcome is known; more is delivered after the restart.
    world.restart();
    world.everyone_ready();
    let second = world.ticket(0, 2, 0);
    world.complete(0, &second);
    assert_eq!(
        world.poll().unwrap(),
        submitted,
        "the same batch under the same number"
    );

    // That it got through is learnt from the chain, not from the submission.
    world.chain.settle(&submitted[0]).unwrap();
    let now = world.now;
    world.core().submitted(1, Submission::Unknown, now).unwrap();
    world.settle_all();
    assert_eq!(job_state(&mut world, 0, 1), JobState::Settled { epoch: 1 });
    assert_eq!(job_state(&mut world, 0, 2), JobState::Settled { epoch: 2 });
    assert_eq!(world.chain.paid_jobs, [JobId([1; 16]), JobId([2; 16])]);
}

#[test]
fn what_the_chain_refuses_is_cornered_and_the_rest_is_paid() {
    let mut world = world();
    // The chain refuses every batch with the first client's voucher.
    for job in 0..6 {
        let client = usize::from(job != 2);
        let ticket = world.ticket(client, job, 0);
        world.complete(client, &ticket);
    }
    let bad = world.clients[0].account();
    let mut refusals = 0;
    for _ in 0..20 {
        world.pass(3_000);
        for draft in world.poll().unwrap() {
            let refused = draft.vouchers.iter().any(|voucher| voucher.client == bad);
            let outcome = if refused {
                refusals += 1;
                Submission::Rejected
            } else {
                world.chain.settle(&draft).unwrap();
                Submission::Finalised
            };
            let now = world.now;
            world.core().submitted(draft.epoch, outcome, now).unwrap();
        }
    }
    assert_eq!(world.chain.paid_jobs.len(), 5);
    assert_eq!(job_state(&mut world, 0, 2), JobState::Completed);
    assert!((2..10).contains(&refusals), "{refusals} refusals");
    // The obstacle is gone, and so is the pause.
    world.pass(30_000);
    world.settle_all();
    assert!(matches!(
        job_state(&mut world, 0, 2),
        JobState::Settled { .. }
    ));
}
