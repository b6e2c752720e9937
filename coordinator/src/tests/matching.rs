//! Why workers are not matched, and that they are when nothing is against it.

use ai_link_wire::{
    Commitment, ControlResponse, DealerSeat, Digest, Fid, JobRequest, JobState, Level,
    LocationText, ModelName, ModelVersion, PayoutReason, PeerKey, Planck, Refusal, RefusalReason,
    Region, Role, RoleSet, Seats, StoredInput, WorkerRecord,
};

use super::world::{
    FEE, RECORD_PRICE, WORKER_PRICE, World, job_state, policy, price_of_job, refused, world,
};
use crate::ledger::MemoryStore;
use crate::view::PublishedVersion;

/// The reason given for worker 0 when it is the only obstacle.
fn reason_for_worker_0(world: &mut World<MemoryStore>) -> RefusalReason {
    match world.matched(0, 1, 0) {
        ControlResponse::NoMatch { reasons } => {
            let peer = world.workers[0].peer_key();
            reasons
                .into_iter()
                .find(|refusal| refusal.peer == peer)
                .unwrap()
                .reason
        }
        other => panic!("no reasons: {other:?}"),
    }
}

#[test]
fn a_ticket_is_complete_and_signed() {
    let mut world = world();
    let signed = world.ticket(0, 1, 0);
    let ticket = signed.verify(world.now).unwrap();
    ticket.check().unwrap();
    assert_eq!(signed.signer().account(), world.account());
    assert_eq!(ticket.price, price_of_job());
    assert_eq!(
        ticket.payouts.iter().map(|p| p.amount.0).sum::<u128>(),
        ticket.price.0
    );
    assert_eq!(ticket.batch, 3);
    assert_eq!(ticket.version, ModelVersion(1));
    assert!(matches!(
        world.complete(0, &signed),
        ControlResponse::Completed { .. }
    ));
    world.settle_all();
    assert_eq!(job_state(&mut world, 0, 1), JobState::Settled { epoch: 1 });
    let owner = world.owner;
    assert_eq!(world.chain.paid[&owner], 3 * RECORD_PRICE);
    for operator in &world.operators {
        assert_eq!(world.chain.paid[operator], WORKER_PRICE);
    }
    let coordinator = world.account();
    assert_eq!(world.chain.paid[&coordinator], FEE);
}

#[test]
fn candidates_not_on_chain() {
    let mut world = world();
    let peer = world.workers[0].peer_key();
    world.chain.workers.remove(&peer);
    world.refresh();
    assert_eq!(
        reason_for_worker_0(&mut world),
        RefusalReason::NotRegisteredOnChain
    );
}

#[test]
fn candidates_with_another_operator_on_chain() {
    let mut world = world();
    let (peer, other) = (world.workers[0].peer_key(), world.operators[1]);
    world.chain.workers.get_mut(&peer).unwrap().operator = other;
    world.refresh();
    assert_eq!(
        reason_for_worker_0(&mut world),
        RefusalReason::NotRegisteredOnChain
    );
}

#[test]
fn candidates_with_too_small_a_bond() {
    let mut world = world();
    let peer = world.workers[0].peer_key();
    world.chain.workers.get_mut(&peer).unwrap().bond = Planck(49);
    world.refresh();
    let reason = reason_for_worker_0(&mut world);
    assert_eq!(
        reason,
        RefusalReason::BondTooLow {
            have: Planck(49),
            need: Planck(50)
        }
    );
}

#[test]
fn silent_candidates() {
    let mut world = world();
    world.pass(6_000);
    for worker in 1..3 {
        world.heartbeat(worker, 10);
    }
    world.pass(2_000);
    let reason = reason_for_worker_0(&mut world);
    assert!(
        matches!(
            reason,
            RefusalReason::Stale {
                last_seen_ms: 8_000..
            }
        ),
        "{reason:?}"
    );
}

#[test]
fn candidates_that_do_not_offer_what_is_needed() {
    type Change = fn(&mut WorkerRecord);
    let cases: [(Change, RefusalReason); 4] = [
        (
            |record| record.levels = vec![Level::Sealed],
            RefusalReason::LevelNotOffered,
        ),
        (
            |record| record.roles = RoleSet::NONE,
            RefusalReason::RoleNotOffered,
        ),
        (
            |record| record.roles = RoleSet::ALL,
            RefusalReason::Excluded,
        ),
        (
            |record| record.price_per_job = Planck(2_000),
            RefusalReason::PriceTooHigh {
                have: Planck(2_000),
                max: Planck(1_000 - FEE - 3 * RECORD_PRICE),
            },
        ),
    ];
    for (change, expected) in cases {
        let mut world = world();
        let mut record = world.record(0);
        change(&mut record);
        world.register_as(0, record);
        let mut request = world.request(0, 1, 0);
        if expected == RefusalReason::Excluded {
            request.exclude = vec![world.workers[0].peer_key()];
        }
        match world.match_as(0, request) {
            ControlResponse::NoMatch { reasons } => {
                assert_eq!(reasons.len(), 1);
                assert_eq!(reasons[0].reason, expected);
                assert_eq!(reasons[0].peer, world.workers[0].peer_key());
                assert_eq!(reasons[0].operator, world.operators[0]);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_group_without_a_dealer() {
    let mut world = world();
    for worker in 0..3 {
        let record = WorkerRecord {
            roles: RoleSet::EVALUATOR,
            ..world.record(worker)
        };
        world.register_as(worker, record);
    }
    assert_eq!(
        reason_for_worker_0(&mut world),
        RefusalReason::RoleNotOffered
    );
}

/// A request of which one input comes from storage.
fn with_stored_input(
    world: &World<MemoryStore>,
    dealers: &[usize],
    evaluators: &[usize],
) -> JobRequest {
    let peers = |workers: &[usize]| {
        let peers = workers
            .iter()
            .map(|worker| world.workers[*worker].peer_key());
        peers.collect()
    };
    JobRequest {
        inputs: vec![StoredInput {
            port: 0,
            input: Digest([5; 32]),
        }],
        seats: Seats {
            dealers: peers(dealers),
            evaluators: peers(evaluators),
        },
        ..world.request(0, 1, 0)
    }
}

#[test]
fn workers_take_the_seats_that_their_grants_are_for() {
    for dealer in 0..3 {
        let mut world = world();
        let evaluators: Vec<usize> = (0..3).filter(|worker| *worker != dealer).collect();
        let request = with_stored_input(&world, &[dealer], &evaluators);
        let inputs = request.inputs.clone();
        match world.match_as(0, request) {
            ControlResponse::Ticket(ticket) => {
                let ticket = ticket.verify_at_any_time().unwrap();
                let dealt_by = ticket.member(Role::Dealer).unwrap().peer;
                assert_eq!(dealt_by, world.workers[dealer].peer_key());
                assert_eq!(ticket.inputs, inputs);
            }
            other => panic!("{other:?}"),
        }
    }
    // One without a grant, and nobody with one for the seed.
    let mut world = world();
    let request = with_stored_input(&world, &[1], &[2]);
    assert_eq!(refusals(&mut world, request), [(0, RefusalReason::NoGrant)]);
    let request = with_stored_input(&world, &[], &[0, 1, 2]);
    let reasons = refusals(&mut world, request);
    assert_eq!(reasons.len(), 3);
    assert!(
        reasons
            .iter()
            .all(|(_, r)| *r == RefusalReason::RoleNotOffered)
    );
    // Two inputs at one port, or with the client dealing, are no request.
    let mut request = with_stored_input(&world, &[0], &[1, 2]);
    request.inputs.push(request.inputs[0]);
    assert!(matches!(
        world.match_as(0, request),
        ControlResponse::Refused(Refusal::Malformed(_))
    ));
}

#[test]
fn an_inputs_policy_leaves_out_workers_elsewhere_and_says_why() {
    let site = |country: &str| LocationText::new(format!(r#"{{"country":"{country}"}}"#));
    let policy = |text: &str| vec![LocationText::new(text).unwrap()];
    let mut world = world();
    for (worker, country) in ["DE", "FR", "US"].into_iter().enumerate() {
        let mut record = world.record(worker);
        record.site = site(country);
        world.register_as(worker, record);
    }
    let request = |world: &World<MemoryStore>, text: &str| JobRequest {
        policies: policy(text),
        ..with_stored_input(world, &[0], &[1, 2])
    };
    let eu = request(&world, r#"{"allow-countries":["EU"]}"#);
    let [(2, RefusalReason::Location(why))] = &refusals(&mut world, eu)[..] else {
        panic!("another refusal");
    };
    assert!(why.contains("it is in US"), "{why}");
    // Self-declared is less than attested; and whoever names no site is nowhere.
    let attested = request(&world, r#"{"least-evidence":"attested"}"#);
    assert_eq!(refusals(&mut world, attested).len(), 3);
    let record = world.record(1);
    world.register_as(1, record);
    let anywhere = request(&world, r#"{"deny-countries":["CN"]}"#);
    let [(1, RefusalReason::Location(why))] = &refusals(&mut world, anywhere)[..] else {
        panic!("another refusal");
    };
    assert!(why.contains("names no site"), "{why}");
    // What cannot be read is not passed over.
    for text in ["{}", "{", r#"{"allow-countries":["Narnia"]}"#] {
        let bad = request(&world, text);
        assert!(matches!(
            world.match_as(0, bad),
            ControlResponse::Refused(Refusal::Malformed(_))
        ));
    }
}

/// Who is refused, and why.
fn refusals(world: &mut World<MemoryStore>, request: JobRequest) -> Vec<(usize, RefusalReason)> {
    match world.match_as(0, request) {
        ControlResponse::NoMatch { reasons } => {
            let place = |peer| world.workers.iter().position(|w| w.peer_key() == peer);
            let reasons = reasons.into_iter();
            reasons
                .map(|r| (place(r.peer).unwrap(), r.reason))
                .collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn candidates_in_another_region() {
    let mut world = world();
    let mut request = world.request(0, 1, 0);
    request.regions = vec![Region::new("us-east").unwrap()];
    match world.match_as(0, request) {
        ControlResponse::NoMatch { reasons } => {
            assert_eq!(reasons.len(), 3);
            assert!(
                reasons
                    .iter()
                    .all(|r| r.reason == RefusalReason::RegionNotAllowed)
            );
        }
        other => panic!("{other:?}"),
    }
    let mut request = world.request(0, 1, 0);
    request.regions = vec![
        Region::new("us-east").unwrap(),
        Region::new("eu-de").unwrap(),
    ];
    assert!(matches!(
        world.match_as(0, request),
        ControlResponse::Ticket(_)
    ));
}

#[test]
fn busy_candidates_until_they_are_done() {
    let mut world = world();
    world.pass(1);
    world.heartbeat(0, 1);
    let ticket = world.ticket(0, 1, 0);
    match world.matched(0, 2, 0) {
        ControlResponse::NoMatch { reasons } => {
            let expected = RefusalReason::AtCapacity {
                active: 1,
                capacity: 1,
            };
            assert_eq!(reasons[0].reason, expected);
        }
        other => panic!("{other:?}"),
    }
    world.complete(0, &ticket);
    world.ticket(0, 2, 0);
    world.fail(0, 2, 0, vec![]);
    world.ticket(0, 3, 0);
}

#[test]
fn two_workers_of_one_operator() {
    let mut world = World::new(MemoryStore::default(), &[0, 1, 1], policy());
    world.everyone_ready();
    match world.matched(0, 1, 0) {
        ControlResponse::NoMatch { reasons } => {
            assert_eq!(reasons.len(), 1);
            assert_eq!(reasons[0].reason, RefusalReason::SameOperator);
            assert_eq!(reasons[0].operator, world.operators[1]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn too_few_workers() {
    let mut world = World::new(MemoryStore::default(), &[0, 1, 2], policy());
    world.register(0);
    let expected = Refusal::NotEnoughWorkers { have: 1, need: 3 };
    assert_eq!(refused(world.matched(0, 1, 0)), expected);
}

#[test]
fn prices_above_the_clients_maximum() {
    let mut world = world();
    // The fixed part alone.
    let mut request = world.request(0, 1, 0);
    request.max_price = Planck(20);
    let fixed = Planck(FEE + 3 * RECORD_PRICE);
    let expected = Refusal::PriceTooHigh {
        price: fixed,
        max: Planck(20),
    };
    assert_eq!(refused(world.match_as(0, request)), expected);
    // The cheapest group.
    let mut request = world.request(0, 1, 0);
    request.max_price = Planck(price_of_job().0 - 1);
    let max = request.max_price;
    let expected = Refusal::PriceTooHigh {
        price: price_of_job(),
        max,
    };
    assert_eq!(refused(world.match_as(0, request)), expected);
    let mut request = world.request(0, 1, 0);
    request.max_price = price_of_job();
    assert!(matches!(
        world.match_as(0, request),
        ControlResponse::Ticket(_)
    ));
}

#[test]
fn models_that_are_not_there() {
    let mut world = world();
    let mut request = world.request(0, 1, 0);
    request.model = ModelName::new("nothing").unwrap();
    let model = request.model.clone();
    assert_eq!(
        refused(world.match_as(0, request)),
        Refusal::UnknownModel { model }
    );

    let mut request = world.request(0, 1, 0);
    request.version = Some(ModelVersion(2));
    let model = request.model.clone();
    let version = ModelVersion(2);
    assert_eq!(
        refused(world.match_as(0, request)),
        Refusal::UnknownVersion { model, version }
    );

    let mut request = world.request(0, 1, 0);
    request.level = Level::Fhe;
    let (model, level) = (request.model.clone(), Level::Fhe);
    assert_eq!(
        refused(world.match_as(0, request)),
        Refusal::LevelNotOffered { model, level }
    );
}

#[test]
fn a_model_published_a_moment_ago_is_found() {
    let mut world = world();
    let name = ModelName::new("fresh").unwrap();
    let published = world.chain.models[&world.model].clone();
    world.chain.models.insert(name.clone(), published);
    let mut request = world.request(0, 1, 0);
    request.model = name;
    assert!(matches!(
        world.match_as(0, request),
        ControlResponse::Ticket(_)
    ));
}

#[test]
fn an_empty_escrow_and_a_deposit_a_moment_ago() {
    let mut world = world();
    let client = world.clients[0].account();
    world.chain.escrow.insert(client, price_of_job().0);
    world.ticket(0, 1, 0);
    let expected = Refusal::InsufficientEscrow {
        have: Planck(0),
        need: price_of_job(),
    };
    assert_eq!(refused(world.matched(0, 2, 0)), expected);
    world.chain.deposit(client, price_of_job().0);
    world.ticket(0, 2, 0);
}

#[test]
fn a_client_that_deals_gets_evaluators_only_and_pays_them_only() {
    let mut world = World::new(MemoryStore::default(), &[0, 1, 2, 3, 3], policy());
    world.everyone_ready();
    let mut request = world.request(0, 1, 0);
    request.dealer = DealerSeat::Client;
    request.evaluators = 4;
    let ControlResponse::Ticket(signed) = world.match_as(0, request.clone()) else {
        panic!("no ticket")
    };
    let ticket = signed.verify(world.now).unwrap();
    ticket.check().unwrap();
    let roles = Role::of_group(Level::Mpc, 4, DealerSeat::Client).unwrap();
    assert!(ticket.group.iter().map(|m| m.role).eq(roles));
    let price = 4 * WORKER_PRICE + 3 * RECORD_PRICE + FEE;
    assert_eq!(ticket.price, Planck(price));
    let dealt = ticket
        .payouts
        .iter()
        .any(|p| p.reason == PayoutReason::Dealer);
    assert!(!dealt);
    // Another attempt asks for the same, or is none.
    let mut other = request.clone();
    other.attempt = 1;
    other.dealer = DealerSeat::Worker;
    assert!(matches!(
        refused(world.match_as(0, other)),
        Refusal::Malformed(_)
    ));
    assert!(matches!(
        world.complete(0, &signed),
        ControlResponse::Completed { .. }
    ));
    // There are five workers and four operators.
    let mut request = world.request(0, 2, 0);
    request.dealer = DealerSeat::Client;
    request.evaluators = 5;
    assert!(matches!(
        world.match_as(0, request.clone()),
        ControlResponse::NoMatch { .. }
    ));
    request.evaluators = 6;
    request.job = ai_link_wire::JobId([3; 16]);
    assert!(matches!(
        world.match_as(0, request.clone()),
        ControlResponse::NoMatch { .. }
    ));
    for evaluators in [0, 1, 9, 255] {
        request.evaluators = evaluators;
        assert!(matches!(
            refused(world.match_as(0, request.clone())),
            Refusal::Malformed(_)
        ));
    }
}

/// A world whose model has a second version, offered at level `fhe` alone, and whose workers from `first` on serve it.
fn encrypted_world(first: usize) -> World<MemoryStore> {
    let mut world = world();
    let model = world.model.clone();
    let published = world.chain.models.get_mut(&model).unwrap();
    let version = PublishedVersion {
        commitment: Commitment([3; 32]),
        manifest: Fid([4; 32]),
        levels: vec![Level::Fhe],
    };
    published.versions.insert(ModelVersion(2), version);
    published.latest = ModelVersion(2);
    world.refresh();
    for worker in first..world.workers.len() {
        world.pass(1);
        let record = WorkerRecord {
            levels: vec![Level::Mpc, Level::Fhe],
            ..world.record(worker)
        };
        world.register_as(worker, record);
    }
    world
}

fn encrypted(world: &World<MemoryStore>, client: usize, job: u8) -> JobRequest {
    JobRequest {
        level: Level::Fhe,
        evaluators: 1,
        key: Some(Digest([client as u8; 32])),
        ..world.request(client, job, 0)
    }
}

fn the_worker(response: ControlResponse) -> PeerKey {
    match response {
        ControlResponse::Ticket(signed) => {
            let ticket = signed.verify_at_any_time().unwrap();
            ticket.check().unwrap();
            assert_eq!((ticket.level, ticket.group.len()), (Level::Fhe, 1));
            let payouts = ticket.payouts.iter().map(|p| p.amount.0).sum::<u128>();
            assert_eq!(payouts, 3 * RECORD_PRICE + WORKER_PRICE + FEE);
            ticket.group[0].peer
        }
        other => panic!("no ticket: {other:?}"),
    }
}

#[test]
fn at_level_fhe_the_group_is_one_worker_and_stays_the_one_with_the_key() {
    let mut world = encrypted_world(0);
    let mut firsts = Vec::new();
    for client in 0..2 {
        let request = encrypted(&world, client, 10 * client as u8);
        let first = the_worker(world.match_as(client, request));
        // The next ones go where the key was just sent, whatever the load says.
        for job in 1..4 {
            let request = encrypted(&world, client, 10 * client as u8 + job);
            assert_eq!(the_worker(world.match_as(client, request)), first);
        }
        firsts.push(first);
    }
    // A worker that failed the client is left out, key or not.
    let mut request = encrypted(&world, 0, 100);
    request.exclude = vec![firsts[0]];
    assert_ne!(the_worker(world.match_as(0, request)), firsts[0]);
}

#[test]
fn levels_are_those_of_the_model_and_of_the_worker() {
    let mut world = encrypted_world(2);
    let (model, level) = (world.model.clone(), Level::Mpc);
    let request = world.request(0, 1, 0);
    let refusal = refused(world.match_as(0, request));
    assert_eq!(refusal, Refusal::LevelNotOffered { model, level });
    // Only one of the three serves the level.
    let request = encrypted(&world, 0, 2);
    assert_eq!(
        the_worker(world.match_as(0, request)),
        world.workers[2].peer_key()
    );
    let mut request = encrypted(&world, 0, 3);
    request.exclude = vec![world.workers[2].peer_key()];
    match world.match_as(0, request) {
        ControlResponse::NoMatch { reasons } => {
            let missing =
                |r: &&ai_link_wire::CandidateRefusal| r.reason == RefusalReason::LevelNotOffered;
            assert_eq!(reasons.iter().filter(missing).count(), 2);
        }
        other => panic!("matched: {other:?}"),
    }
    // Nor is a group of another shape made.
    let mut request = encrypted(&world, 0, 4);
    request.evaluators = 3;
    assert!(matches!(
        refused(world.match_as(0, request)),
        Refusal::Malformed(_)
    ));
}
