//! Messages that are refused whatever the ledger holds, and the bounds.

use std::time::Duration;

use ai_link_wire::{
    Commitment, ControlRequest, ControlResponse, Digest, Heartbeat, Held, JobFailure, JobId,
    JobState, Limit, PeerKey, Refusal, Signed, WorkerRecord,
};

use super::world::{World, job_state, policy, refused, world, world_with};
use crate::ledger::MemoryStore;

#[test]
fn bad_requests() {
    let mut world = world();
    let mut request = world.request(0, 1, 0);
    request.batch = 0;
    assert!(matches!(
        refused(world.match_as(0, request)),
        Refusal::Malformed(_)
    ));
    let mut request = world.request(0, 1, 0);
    request.batch = 5_000;
    let expected = Refusal::BatchTooLarge {
        batch: 5_000,
        max: 4_096,
    };
    assert_eq!(refused(world.match_as(0, request)), expected);
    let mut request = world.request(0, 1, 0);
    request.deadline = world.now;
    assert_eq!(refused(world.match_as(0, request)), Refusal::Expired);
    let mut request = world.request(0, 1, 0);
    request.deadline = world.now.saturating_add(Duration::from_secs(3_600));
    assert!(matches!(
        refused(world.match_as(0, request)),
        Refusal::Malformed(_)
    ));
    // Signed by another client than the one who is to pay.
    let request = world.request(1, 1, 0);
    assert_eq!(refused(world.match_as(0, request)), Refusal::WrongSigner);
    // An old request.
    let request = world.request(0, 1, 0);
    let signed = Signed::sign(&world.clients[0], request, world.now, world.now).unwrap();
    world.pass(1);
    let caller = world.clients[0].peer_key();
    assert_eq!(
        refused(world.ask(caller, &ControlRequest::Match(signed))),
        Refusal::Expired
    );
}

/// Changes every byte of an encoded message in turn; what still decodes must be refused.
#[test]
fn no_changed_byte_gets_through() {
    let mut world = world();
    let request = world.request(0, 1, 0);
    let expires = world.now.saturating_add(Duration::from_secs(30));
    let signed = Signed::sign(&world.clients[0], request, world.now, expires).unwrap();
    let caller = world.clients[0].peer_key();
    let bytes = ai_link_wire::encode(&ControlRequest::Match(signed), Limit::CONTROL).unwrap();
    let mut decoded = 0;
    for at in 1..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let message = ai_link_wire::decode(&changed, Limit::CONTROL);
        if let Ok(message @ ControlRequest::Match(_)) = message {
            decoded += 1;
            refused(world.ask(caller, &message));
        }
    }
    assert!(
        decoded > 100,
        "only {decoded} of {} changed messages decoded",
        bytes.len()
    );
}

#[test]
fn registrations_that_are_refused() {
    let mut world = World::new(MemoryStore::default(), &[0, 1, 2], policy());
    let expires = world.now.saturating_add(Duration::from_secs(60));
    // For another worker.
    let signed = Signed::sign(&world.workers[1], world.record(0), world.now, expires).unwrap();
    let caller = world.workers[1].peer_key();
    let response = world.ask(caller, &ControlRequest::Register(signed));
    assert_eq!(refused(response), Refusal::WrongSigner);
    // Sent by someone else.
    let signed = Signed::sign(&world.workers[0], world.record(0), world.now, expires).unwrap();
    let response = world.ask(caller, &ControlRequest::Register(signed.clone()));
    assert_eq!(refused(response), Refusal::WrongSigner);
    // Expired.
    let own = world.workers[0].peer_key();
    world.pass(60_001);
    let response = world.ask(own, &ControlRequest::Register(signed));
    assert_eq!(refused(response), Refusal::Expired);
    // Without an address.
    let record = WorkerRecord {
        addresses: vec![],
        ..world.record(0)
    };
    assert!(matches!(
        refused(world.register_as(0, record)),
        Refusal::Malformed(_)
    ));
    // Names an operator that has not registered it on chain.
    let record = WorkerRecord {
        operator: world.operators[1],
        ..world.record(0)
    };
    assert_eq!(
        refused(world.register_as(0, record)),
        Refusal::NotRegisteredOnChain
    );
    // A heartbeat without a registration.
    assert_eq!(refused(world.heartbeat(0, 1)), Refusal::NotRegistered);
    // Registered on chain a moment ago.
    let bonded = world.chain.workers.remove(&own).unwrap();
    world.refresh();
    assert_eq!(refused(world.register(0)), Refusal::NotRegisteredOnChain);
    world.chain.workers.insert(own, bonded);
    assert!(matches!(
        world.register(0),
        ControlResponse::Registered { .. }
    ));
}

#[test]
fn heartbeats_that_are_refused() {
    let mut world = world();
    let expires = world.now.saturating_add(Duration::from_secs(60));
    let heartbeat = Heartbeat {
        peer: world.workers[0].peer_key(),
        active_jobs: 0,
        capacity: 9,
        cached_models: vec![],
        pools: vec![],
        hosted: vec![],
        keys: vec![],
        inputs: vec![],
    };
    let signed = Signed::sign(&world.workers[1], heartbeat, world.now, expires).unwrap();
    let caller = world.workers[0].peer_key();
    let response = world.ask(caller, &ControlRequest::Heartbeat(signed));
    assert_eq!(refused(response), Refusal::WrongSigner);
    // The same heartbeat again is a replay.
    assert_eq!(refused(world.heartbeat(2, 100)), Refusal::Expired);
}

/// What `caller` is told of who holds something.
fn holders(world: &mut World<MemoryStore>, caller: PeerKey, held: Held) -> ControlResponse {
    world.ask(caller, &ControlRequest::Holders(held))
}

#[test]
fn holders_are_named_to_registered_workers_the_least_busy_first() {
    let mut world = World::new(MemoryStore::default(), &[0, 1, 2, 3, 4, 5, 6], policy());
    world.everyone_ready();
    let model = Held::Model(Commitment([3; 32]));
    let input = Held::Input(Digest([9; 32]));
    world.pass(1);
    // All but the first have the model, and worker 2 the input; the higher its number the less it does.
    for worker in 1..7 {
        let identity = &world.workers[worker];
        let heartbeat = Heartbeat {
            peer: identity.peer_key(),
            active_jobs: 7 - worker as u16,
            capacity: 9,
            cached_models: vec![Commitment([3; 32])],
            pools: vec![],
            hosted: vec![],
            keys: vec![],
            inputs: vec![Digest([9; 32]); usize::from(worker == 2)],
        };
        let expires = world.now.saturating_add(Duration::from_secs(60));
        let signed = Signed::sign(identity, heartbeat, world.now, expires).unwrap();
        let answer = world.ask(identity.peer_key(), &ControlRequest::Heartbeat(signed));
        assert_eq!(answer, ControlResponse::HeartbeatOk);
    }
    let peers: Vec<PeerKey> = world.workers.iter().map(|w| w.peer_key()).collect();
    let named = |answer: ControlResponse| match answer {
        ControlResponse::Holders(holders) => holders.iter().map(|h| h.peer).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let got = holders(&mut world, peers[0], model);
    assert_eq!(named(got), [6, 5, 4, 3].map(|i| peers[i]));
    // Nobody is told of itself.
    let got = holders(&mut world, peers[6], model);
    assert_eq!(named(got), [5, 4, 3, 2].map(|i| peers[i]));
    let got = holders(&mut world, peers[0], input);
    assert_eq!(named(got), [peers[2]]);
    let got = holders(&mut world, peers[2], input);
    assert_eq!(named(got), []);
    let client = world.clients[0].peer_key();
    let got = holders(&mut world, client, input);
    assert_eq!(refused(got), Refusal::NotRegistered);
    // Whoever was silent for long is not named.
    world.pass(60_000);
    let got = holders(&mut world, peers[0], model);
    assert_eq!(named(got), []);
}

#[test]
fn a_full_roster() {
    let mut policy = policy();
    policy.presence.max_workers = 2;
    let mut world = World::new(MemoryStore::default(), &[0, 1, 2], policy);
    world.register(0);
    world.register(1);
    assert!(matches!(refused(world.register(2)), Refusal::Busy { .. }));
    // Someone known can still renew, and the place of one that is gone is given away.
    assert!(matches!(
        world.register(0),
        ControlResponse::Registered { .. }
    ));
    world.pass(60_000);
    assert!(matches!(
        world.register(2),
        ControlResponse::Registered { .. }
    ));
}

#[test]
fn too_many_jobs() {
    let mut policy = policy();
    policy.ledger.max_live_per_client = 2;
    policy.ledger.max_live = 3;
    let mut world = world_with(policy);
    world.ticket(0, 1, 0);
    world.ticket(0, 2, 0);
    assert_eq!(
        refused(world.matched(0, 3, 0)),
        Refusal::TooManyJobs { open: 2, max: 2 }
    );
    world.ticket(1, 4, 0);
    assert_eq!(
        refused(world.matched(1, 5, 0)),
        Refusal::TooManyJobs { open: 3, max: 3 }
    );
    // Another attempt at a known job needs no room.
    world.ticket(0, 2, 1);
}

#[test]
fn failures_that_are_refused() {
    let mut world = world();
    let ticket = world.ticket(0, 1, 0);
    assert_eq!(refused(world.fail(0, 2, 0, vec![])), Refusal::UnknownJob);
    assert_eq!(refused(world.fail(0, 1, 1, vec![])), Refusal::UnknownJob);
    assert_eq!(
        refused(world.fail(1, 1, 0, vec![])),
        Refusal::UnknownJob,
        "not its job"
    );
    let client = world.clients[0].account();
    let failure = JobFailure::new(JobId([1; 16]), 0, client, vec![], "I am not the client");
    let signed = Signed::sign(&world.clients[1], failure, world.now, world.now).unwrap();
    let caller = world.clients[1].peer_key();
    assert_eq!(
        refused(world.ask(caller, &ControlRequest::Fail(signed))),
        Refusal::WrongSigner
    );
    world.complete(0, &ticket);
    let state = JobState::Completed;
    assert_eq!(
        refused(world.fail(0, 1, 0, vec![])),
        Refusal::WrongState { state }
    );
}

#[test]
fn a_job_is_shown_to_its_client_only() {
    let mut world = world();
    world.ticket(0, 1, 0);
    assert_eq!(job_state(&mut world, 0, 1), JobState::Accepted);
    let other = world.clients[1].peer_key();
    let answer = world.ask(other, &ControlRequest::Job(JobId([1; 16])));
    assert_eq!(answer, ControlResponse::Job(None));
}
