//! Private weights: only complete groups that host them are matched, in their roles.

use ai_link_wire::{
    CandidateRefusal, Commitment, ControlRequest, ControlResponse, DealerSeat, Digest, Heartbeat,
    HostedWeights, HostsRequest, Identity, ModelName, ModelVersion, PeerKey, Refusal,
    RefusalReason, Role, RoleSet, Signed, WeightPrivacy,
};
use std::time::Duration;

use super::world::{World, policy, refused};
use crate::ledger::MemoryStore;

const SHARING: Digest = Digest([5; 32]);

/// Six operators with a worker each, so that an ordinary group would hardly ever be the hosting one.
fn world() -> World<MemoryStore> {
    let mut world = World::new(MemoryStore::default(), &[0, 1, 2, 3, 4, 5], policy());
    world.everyone_ready();
    world
}

fn hosted(world: &World<MemoryStore>, group: [usize; 3], sharing: Digest) -> [HostedWeights; 3] {
    let peers = group.map(|i| world.workers[i].peer_key());
    Role::TRIO.map(|role| HostedWeights {
        model: world.model.clone(),
        version: ModelVersion(1),
        commitment: Commitment([1; 32]),
        sharing,
        role,
        group: peers,
    })
}

fn beat(world: &mut World<MemoryStore>, worker: usize, hosted: Vec<HostedWeights>) {
    world.pass(1);
    let identity = &world.workers[worker];
    let heartbeat = Heartbeat {
        peer: identity.peer_key(),
        active_jobs: 0,
        capacity: 100,
        cached_models: vec![],
        pools: vec![],
        hosted,
        keys: vec![],
        inputs: vec![],
    };
    let expires = world.now.saturating_add(Duration::from_secs(60));
    let signed = Signed::sign(identity, heartbeat, world.now, expires).unwrap();
    let caller = identity.peer_key();
    let answer = world.ask(caller, &ControlRequest::Heartbeat(signed));
    assert_eq!(answer, ControlResponse::HeartbeatOk);
}

fn host(world: &mut World<MemoryStore>, group: [usize; 3], sharing: Digest) {
    for (worker, part) in group.into_iter().zip(hosted(world, group, sharing)) {
        beat(world, worker, vec![part]);
    }
}

fn ask(world: &mut World<MemoryStore>, job: u8) -> ControlResponse {
    let mut request = world.request(0, job, 0);
    request.weights = WeightPrivacy::Private;
    world.match_as(0, request)
}

fn not_hosted(world: &World<MemoryStore>) -> Refusal {
    Refusal::NotHosted {
        model: world.model.clone(),
        version: ModelVersion(1),
    }
}

#[test]
fn a_job_goes_to_the_group_that_hosts_in_its_roles() {
    let mut world = world();
    assert_eq!(refused(ask(&mut world, 1)), not_hosted(&world));
    host(&mut world, [4, 1, 3], SHARING);
    for job in 2..12 {
        let ControlResponse::Ticket(signed) = ask(&mut world, job) else {
            panic!("no ticket")
        };
        let ticket = signed.verify(world.now).unwrap();
        ticket.check().unwrap();
        assert_eq!(ticket.sharing, Some(SHARING));
        let peers: Vec<PeerKey> = ticket.group.iter().map(|m| m.peer).collect();
        assert_eq!(peers, [4, 1, 3].map(|i| world.workers[i].peer_key()));
    }
    // Who asks for public weights gets any group and no sharing.
    let ticket = world.ticket(0, 20, 0);
    assert_eq!(ticket.verify(world.now).unwrap().sharing, None);
}

#[test]
fn parts_that_do_not_make_a_whole_are_no_group() {
    type Change = fn(&mut [HostedWeights; 3]);
    let changes: [Change; 6] = [
        |parts| parts[0].sharing = Digest([6; 32]),
        |parts| parts[1].role = Role::EVALUATOR_0,
        |parts| parts[2].group.swap(0, 1),
        |parts| parts[1].commitment = Commitment([9; 32]),
        |parts| parts[0].version = ModelVersion(2),
        |parts| parts[2].model = ModelName::new("copied-digits").unwrap(),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut world = world();
        let mut parts = hosted(&world, [0, 1, 2], SHARING);
        change(&mut parts);
        for (worker, part) in parts.into_iter().enumerate() {
            beat(&mut world, worker, vec![part]);
        }
        assert_eq!(
            refused(ask(&mut world, 1)),
            not_hosted(&world),
            "change {i}"
        );
    }
    // One of the three says nothing, and somebody else claims its place.
    let mut world = world();
    let parts = hosted(&world, [0, 1, 2], SHARING);
    beat(&mut world, 0, vec![parts[0].clone()]);
    beat(&mut world, 1, vec![parts[1].clone()]);
    beat(&mut world, 5, vec![parts[2].clone()]);
    assert_eq!(refused(ask(&mut world, 1)), not_hosted(&world));
}

#[test]
fn a_lost_host_makes_the_model_unavailable_until_it_is_hosted_again() {
    let mut world = world();
    host(&mut world, [0, 1, 2], SHARING);
    // Worker 2 falls silent; everyone else lives on.
    world.pass(8_000);
    for worker in [3, 4, 5] {
        world.heartbeat(worker, 100);
    }
    let parts = hosted(&world, [0, 1, 2], SHARING);
    beat(&mut world, 0, vec![parts[0].clone()]);
    beat(&mut world, 1, vec![parts[1].clone()]);
    assert_eq!(refused(ask(&mut world, 1)), not_hosted(&world));
    // A worker that the client excludes is as good as lost.
    let mut other = World::new(MemoryStore::default(), &[0, 1, 2, 3, 4, 5], policy());
    other.everyone_ready();
    host(&mut other, [0, 1, 2], SHARING);
    let mut request = other.request(0, 1, 0);
    request.weights = WeightPrivacy::Private;
    request.exclude = vec![other.workers[1].peer_key()];
    let answer = other.match_as(0, request);
    assert_eq!(refused(answer), not_hosted(&other));
    // Hosted again by others.
    let again = Digest([7; 32]);
    host(&mut world, [5, 0, 4], again);
    let ControlResponse::Ticket(ticket) = ask(&mut world, 2) else {
        panic!("no ticket")
    };
    assert_eq!(ticket.verify(world.now).unwrap().sharing, Some(again));
}

#[test]
fn what_is_against_a_hosting_group_is_said() {
    let mut world = world();
    host(&mut world, [0, 1, 2], SHARING);
    // Worker 1 has a part and no room.
    let part = hosted(&world, [0, 1, 2], SHARING)[1].clone();
    world.pass(1);
    let identity = &world.workers[1];
    let busy = Heartbeat {
        peer: identity.peer_key(),
        active_jobs: 4,
        capacity: 4,
        cached_models: vec![],
        pools: vec![],
        hosted: vec![part],
        keys: vec![],
        inputs: vec![],
    };
    let expires = world.now.saturating_add(Duration::from_secs(60));
    let signed = Signed::sign(identity, busy, world.now, expires).unwrap();
    let caller = identity.peer_key();
    world.ask(caller, &ControlRequest::Heartbeat(signed));
    match ask(&mut world, 1) {
        ControlResponse::NoMatch { reasons } => {
            let reason = RefusalReason::AtCapacity {
                active: 4,
                capacity: 4,
            };
            let only = CandidateRefusal {
                peer: caller,
                operator: world.operators[1],
                reason,
            };
            assert_eq!(reasons, [only]);
        }
        other => panic!("{other:?}"),
    }
    // A group of another shape cannot hold private weights.
    let mut request = world.request(0, 2, 0);
    request.weights = WeightPrivacy::Private;
    request.dealer = DealerSeat::Client;
    let answer = world.match_as(0, request);
    assert!(matches!(refused(answer), Refusal::Malformed(_)));
}

fn hosts(
    world: &mut World<MemoryStore>,
    caller: PeerKey,
    named: Vec<PeerKey>,
    exclude: Vec<PeerKey>,
) -> ControlResponse {
    let request = HostsRequest {
        model: world.model.clone(),
        version: ModelVersion(1),
        named,
        exclude,
    };
    world.ask(caller, &ControlRequest::Hosts(request))
}

#[test]
fn an_owner_is_told_three_workers_of_distinct_operators() {
    // Two workers of operator 0.
    let mut world = World::new(MemoryStore::default(), &[0, 0, 1, 2], policy());
    world.everyone_ready();
    let owner = Identity::derive(b"world", "owner0").peer_key();
    let peers: Vec<_> = world.workers.iter().map(Identity::peer_key).collect();
    let ControlResponse::Hosts(group) = hosts(&mut world, owner, vec![], vec![]) else {
        panic!("no hosts")
    };
    assert!(group.iter().map(|m| m.role).eq(Role::TRIO));
    let mut operators: Vec<_> = group.iter().map(|m| m.operator).collect();
    operators.sort_unstable();
    operators.dedup();
    assert_eq!(operators.len(), 3);
    assert!(group.iter().all(|m| !m.addresses.is_empty()));

    let named = vec![peers[3], peers[1], peers[2]];
    let ControlResponse::Hosts(group) = hosts(&mut world, owner, named.clone(), vec![]) else {
        panic!("no hosts")
    };
    assert!(group.iter().map(|m| m.peer).eq(named));

    // Not to anyone else, not two of one operator, not whom it does not want, not whom nobody knows.
    let stranger = world.clients[0].peer_key();
    let answer = hosts(&mut world, stranger, vec![], vec![]);
    assert_eq!(refused(answer), Refusal::WrongSigner);
    let same = vec![peers[0], peers[1], peers[2]];
    let ControlResponse::NoMatch { reasons } = hosts(&mut world, owner, same, vec![]) else {
        panic!("two of one operator")
    };
    assert_eq!(reasons[0].reason, RefusalReason::SameOperator);
    let answer = hosts(&mut world, owner, vec![], vec![peers[2]]);
    assert!(
        matches!(answer, ControlResponse::NoMatch { .. }),
        "{answer:?}"
    );
    let answer = hosts(&mut world, owner, vec![peers[0]], vec![]);
    assert!(matches!(refused(answer), Refusal::Malformed(_)));
    let unknown = vec![peers[0], peers[2], PeerKey([77; 32])];
    let answer = hosts(&mut world, owner, unknown, vec![]);
    assert!(
        matches!(answer, ControlResponse::NoMatch { .. }),
        "{answer:?}"
    );
    // A worker that does not deal cannot keep the dealer's part.
    let mut record = world.record(3);
    record.roles = RoleSet::EVALUATOR;
    world.pass(1);
    world.register_as(3, record);
    let named = vec![peers[0], peers[2], peers[3]];
    let ControlResponse::NoMatch { reasons } = hosts(&mut world, owner, named, vec![]) else {
        panic!("it does not deal")
    };
    assert_eq!(reasons[0].reason, RefusalReason::RoleNotOffered);
}
