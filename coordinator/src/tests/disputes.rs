//! Showing jobs to those whom they concern, and refuting disputes.

use ai_link_registry::{DisputeAnswer, DisputeInfo};
use ai_link_wire::{
    Acceptance, AccountId, ControlRequest, ControlResponse, Identity, JobId, JobProof, Leaf,
    PeerKey, Planck, Signed, Ticket, UnixMillis,
};

use super::world::{World, price_of_job, world};
use crate::core::Refutation;
use crate::ledger::MemoryStore;

fn proof(world: &mut World<MemoryStore>, caller: PeerKey, job: u8) -> Option<JobProof> {
    match world.ask(caller, &ControlRequest::Proof(JobId([job; 16]))) {
        ControlResponse::Proof(proof) => proof.map(|proof| *proof),
        other => panic!("no proof: {other:?}"),
    }
}

fn dispute(ticket: &Signed<Ticket>, cumulative: Planck) -> DisputeInfo {
    let ticket = ticket.verify_at_any_time().unwrap();
    DisputeInfo {
        terms: ticket.terms().id(),
        job: ticket.job,
        client: ticket.client,
        coordinator: ticket.coordinator,
        disputer: AccountId([1; 32]),
        price: ticket.price,
        cumulative,
        answer_by: UnixMillis(u64::MAX),
    }
}

#[test]
fn a_job_is_acknowledged_when_delivered_and_shown_when_settled() {
    let mut world = world();
    let ticket = world.ticket(0, 1, 0);
    let client = world.clients[0].peer_key();
    assert_eq!(proof(&mut world, client, 1), None, "not delivered");
    world.complete(0, &ticket);
    let other = world.ticket(1, 2, 0);
    world.complete(1, &other);

    let body = ticket.verify_at_any_time().unwrap().clone();
    let worker = body.group[0].peer;
    let payee = PeerKey::from(body.payouts[0].account);
    for caller in [client, worker, payee] {
        let proof = proof(&mut world, caller, 1).unwrap();
        assert_eq!(proof.claim.check().unwrap(), &body);
        assert_eq!(proof.claim.acceptance.cumulative, price_of_job());
        let promise = proof.claim.acknowledgement.unwrap();
        let within = world.policy.settlement.promised_within;
        assert_eq!(promise.settle_by, world.now.saturating_add(within));
        assert_eq!(proof.settled, None);
    }
    for stranger in [world.clients[1].peer_key(), PeerKey([77; 32])] {
        assert_eq!(proof(&mut world, stranger, 1), None);
    }
    let before = proof(&mut world, client, 1).unwrap();
    world.settle_all();
    let after = proof(&mut world, worker, 1).unwrap();
    assert_eq!(after.claim, before.claim, "the same promise for ever");
    let settled = after.settled.unwrap();
    let entry = world.core().ledger().job(&body.job).unwrap().unwrap();
    let receipt = entry.delivery.unwrap().receipt.digest();
    let leaf = Leaf {
        job: body.job,
        terms: body.terms().id(),
        receipt,
    };
    assert_eq!((settled.epoch, settled.jobs, settled.leaf), (1, 2, leaf));
    assert!(settled.verify(world.chain.roots[0]));
}

#[test]
fn what_waits_is_told_to_those_whom_it_concerns() {
    let mut world = world();
    let ticket = world.ticket(0, 1, 0);
    let body = ticket.verify_at_any_time().unwrap().clone();
    world.complete(0, &ticket);
    let mut ask = |caller: PeerKey| match world.ask(caller, &ControlRequest::Unsettled) {
        ControlResponse::Unsettled(jobs) => jobs,
        other => panic!("{other:?}"),
    };
    let seen = ask(PeerKey::from(body.client));
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].job, seen[0].price), (body.job, body.price));
    assert_eq!(seen[0].payouts, body.payouts);
    assert_eq!(ask(PeerKey::from(body.payouts[0].account)), seen);
    assert_eq!(ask(PeerKey([9; 32])), []);
    world.settle_all();
    let caller = PeerKey::from(body.client);
    let none = world.ask(caller, &ControlRequest::Unsettled);
    assert_eq!(none, ControlResponse::Unsettled(vec![]));
}

#[test]
fn what_was_settled_is_refuted_and_what_is_not_yet_will_be() {
    let mut world = world();
    let ticket = world.ticket(0, 1, 0);
    let undelivered = world.ticket(0, 2, 0);
    world.complete(0, &ticket);
    let price = price_of_job();
    let about = dispute(&ticket, price);
    assert_eq!(world.core().refute(&about).unwrap(), Refutation::NotYet);
    world.settle_all();
    let Refutation::Answer(DisputeAnswer::Included(proof)) = world.core().refute(&about).unwrap()
    else {
        panic!("no answer");
    };
    assert!(proof.verify(world.chain.roots[0]));

    // A client and a worker say that the same money was for a job that never was delivered.
    let lie = dispute(&undelivered, price);
    let Refutation::Answer(DisputeAnswer::OtherJob {
        terms,
        price: paid,
        acceptance,
    }) = world.core().refute(&lie).unwrap()
    else {
        panic!("no answer");
    };
    let body = ticket.verify_at_any_time().unwrap();
    assert_eq!((terms, paid), (body.terms().id(), price));
    acceptance.verify(body).unwrap();
    // Money that was never taken is nothing to defend: the chain does not open such a dispute.
    let beyond = dispute(&undelivered, Planck(2 * price.0));
    assert_eq!(world.core().refute(&beyond).unwrap(), Refutation::None);
}

#[test]
fn a_payment_says_what_it_is_for() {
    let mut world = world();
    let ticket = world.ticket(0, 1, 0);
    let body = ticket.verify_at_any_time().unwrap().clone();
    let voucher = world.voucher(0, price_of_job());
    let caller = world.clients[0].peer_key();
    let stranger = Identity::derive(b"world", "client1");
    let mut wrong = world.completion(0, &ticket, voucher);
    for signature in [
        Acceptance::sign(&stranger, &body, voucher.cumulative).signature,
        Acceptance::sign(&world.clients[0], &body, Planck(1)).signature,
    ] {
        if let ControlRequest::Complete { acceptance, .. } = &mut wrong {
            *acceptance = signature;
        }
        let refused = super::world::refused(world.ask(caller, &wrong));
        assert_eq!(refused, ai_link_wire::Refusal::BadSignature);
    }
    let right = world.completion(0, &ticket, voucher);
    assert!(matches!(
        world.ask(caller, &right),
        ControlResponse::Completed { .. }
    ));
}
