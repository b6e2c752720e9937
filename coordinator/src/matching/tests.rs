//! Groups against an exhaustive search, and each ranker by itself. (Each filter is reached through
//! the coordinator in `tests::matching`.)

use std::time::Duration;

use ai_link_wire::{
    AccountId, Bytes, DealerSeat, Heartbeat, JobId, JobRequest, Level, ModelName, PoolOffer,
    PoolTag, Purpose, Role, RoleSet, WeightPrivacy, WorkerRecord,
};
use proptest::prelude::*;

use super::rank::{FULL, Ranking, Weights};
use super::*;
use crate::policy::PresencePolicy;

const NOW: UnixMillis = UnixMillis(1_000_000);
const MODEL: Commitment = Commitment([1; 32]);

#[derive(Clone, Copy, Debug)]
struct Worker {
    operator: u8,
    price: u16,
    roles: u8,
}

fn record(index: u8, worker: Worker) -> WorkerRecord {
    WorkerRecord {
        peer: PeerKey([index; 32]),
        operator: AccountId([worker.operator; 32]),
        addresses: vec![],
        roles: RoleSet::try_from(worker.roles).unwrap(),
        levels: vec![Level::Mpc],
        regions: vec![],
        site: None,
        cores: 1,
        memory: Bytes(1),
        cached_models: vec![],
        price_per_job: Planck(u128::from(worker.price)),
        software: String::new(),
    }
}

fn setting(workers: &[Worker]) -> (ChainView, Roster) {
    let mut view = ChainView::default();
    let mut roster = Roster::new(PresencePolicy::default());
    for (index, worker) in (0..).zip(workers) {
        let record = record(index, *worker);
        let bonded = BondedWorker {
            operator: record.operator,
            bond: Planck(1),
        };
        view.put_worker(record.peer, Some(bonded));
        let expires = NOW.saturating_add(Duration::from_secs(60));
        roster.register(record, NOW, expires, NOW).unwrap();
    }
    (view, roster)
}

fn request() -> JobRequest {
    JobRequest {
        job: JobId([0; 16]),
        attempt: 0,
        client: AccountId([99; 32]),
        model: ModelName::new("digits").unwrap(),
        version: None,
        level: Level::Mpc,
        purpose: Purpose::Commercial,
        dealer: DealerSeat::Worker,
        evaluators: 2,
        weights: WeightPrivacy::Public,
        key: None,
        trusted: None,
        batch: 1,
        max_price: Planck(1_000),
        regions: vec![],
        inputs: Vec::new(),
        seats: Default::default(),
        policies: Vec::new(),
        exclude: vec![],
        deadline: NOW,
    }
}

fn demand(request: &JobRequest, budget: u128) -> Demand<'_> {
    Demand {
        level: request.level,
        regions: &request.regions,
        seats: None,
        inputs: &[],
        policies: &[],
        roles: match request.level {
            Level::Mpc => &Role::TRIO,
            Level::Fhe | Level::Sealed => &Role::TRIO[..1],
        },
        commitment: MODEL,
        batch: Some(request.batch),
        trusted: request.trusted.as_ref(),
        key: request.key,
        excluded: &[],
        budget: Planck(budget),
        minimum_bond: Planck(0),
    }
}

fn ranking(weights: &Weights, seed: u8) -> Ranking<'_> {
    Ranking {
        weights,
        exploration_per_mille: 0,
        seed: [seed; 32],
    }
}

fn no_history(_: &PeerKey) -> Result<TrackRecord, std::convert::Infallible> {
    Ok(TrackRecord::default())
}

fn chosen<'a>(
    view: &'a ChainView,
    roster: &'a Roster,
    demand: &Demand<'_>,
    ranking: &Ranking<'_>,
) -> Result<Chosen<'a>, NoGroup> {
    let Ok(chosen) = choose(view, roster, demand, ranking, no_history, NOW);
    chosen
}

/// Cost and score of every group of distinct operators, by trying all.
fn all_groups(ranked: &[rank::Ranked<'_>], roles: &[Role]) -> Vec<(u128, u64)> {
    fn extend<'r, 'a>(
        ranked: &'r [rank::Ranked<'a>],
        open: &[Role],
        group: &mut Vec<&'r rank::Ranked<'a>>,
        groups: &mut Vec<(u128, u64)>,
    ) {
        let record = |r: &rank::Ranked<'a>| &r.candidate.member.record;
        let Some((role, rest)) = open.split_first() else {
            let cost = group.iter().map(|r| record(r).price_per_job.0).sum();
            groups.push((cost, group.iter().map(|r| r.score).sum()));
            return;
        };
        for next in ranked {
            let taken = |r: &&rank::Ranked<'a>| record(r).operator == record(next).operator;
            if record(next).roles.contains(*role) && !group.iter().any(taken) {
                group.push(next);
                extend(ranked, rest, group, groups);
                group.pop();
            }
        }
    }
    let mut groups = Vec::new();
    extend(ranked, roles, &mut Vec::new(), &mut groups);
    groups
}

/// Two to four evaluators, and either seat of the dealer.
fn roles() -> impl Strategy<Value = Vec<Role>> {
    (2..=4_u8, any::<bool>()).prop_map(|(evaluators, client)| {
        let dealer = if client {
            DealerSeat::Client
        } else {
            DealerSeat::Worker
        };
        Role::of_group(Level::Mpc, evaluators, dealer).unwrap()
    })
}

fn worker() -> impl Strategy<Value = Worker> {
    (0..6_u8, 0..400_u16, 0..4_u8).prop_map(|(operator, price, roles)| Worker {
        operator,
        price,
        roles,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_group_is_the_best_there_is(
        workers in proptest::collection::vec(worker(), 0..14),
        roles in roles(),
        budget in 0..1_300_u128,
        seed in any::<u8>(),
    ) {
        let (view, roster) = setting(&workers);
        let request = request();
        let demand = Demand { roles: &roles, ..demand(&request, budget) };
        let weights = Weights::default();
        let ranking = ranking(&weights, seed);
        let passed: Vec<_> = roster
            .members()
            .map(|member| Candidate {
                member,
                bonded: view.worker(&member.record.peer),
                presence: Presence::Fresh,
                silent_ms: 0,
                track: TrackRecord::default(),
            })
            .filter(|candidate| filter::first_objection(candidate, &demand).is_none())
            .collect();
        let ranked = ranking.rank(passed, &demand);
        let groups = all_groups(&ranked, &roles);
        let score_of = |member: &Member| {
            ranked.iter().find(|r| r.candidate.member.record.peer == member.record.peer).unwrap().score
        };
        match chosen(&view, &roster, &demand, &ranking) {
            Ok(chosen) => {
                let found: Vec<_> = chosen.group.iter().map(|(role, _)| *role).collect();
                prop_assert_eq!(found, roles);
                let cost: u128 =
                    chosen.group.iter().map(|(_, m)| m.record.price_per_job.0).sum();
                let score: u64 = chosen.group.iter().map(|(_, member)| score_of(member)).sum();
                prop_assert!(cost <= budget);
                prop_assert!(groups.contains(&(cost, score)), "not a group of distinct operators");
                let best = groups.iter().map(|(_, score)| *score).max().unwrap();
                let best_costs = groups.iter().filter(|(_, s)| *s == best).map(|(cost, _)| *cost);
                // When the best of all fits whatever its tie, it is the one.
                if best_costs.max().unwrap() <= budget {
                    prop_assert_eq!(score, best);
                }
            }
            Err(NoGroup::TooExpensive { cheapest, .. }) => {
                let least = groups.iter().map(|(cost, _)| *cost).min();
                prop_assert_eq!(Some(cheapest.0), least);
                prop_assert!(cheapest.0 > budget);
            }
            Err(NoGroup::TooFew { refused, eligible, .. }) => {
                prop_assert!(groups.is_empty());
                prop_assert!(refused.len() <= workers.len());
                prop_assert_eq!(eligible as usize, ranked.len());
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_group(
        workers in proptest::collection::vec(worker(), 0..10),
        seed in any::<u8>(),
    ) {
        let (view, roster) = setting(&workers);
        let request = request();
        let demand = demand(&request, 2_000);
        let weights = Weights::default();
        let peers = |chosen: Chosen<'_>| -> Vec<PeerKey> {
            chosen.group.iter().map(|(_, member)| member.record.peer).collect()
        };
        let first = chosen(&view, &roster, &demand, &ranking(&weights, seed)).ok().map(peers);
        let again = chosen(&view, &roster, &demand, &ranking(&weights, seed)).ok().map(peers);
        prop_assert_eq!(first, again);
    }
}

/// Eight evaluators and a dealer of forty workers, the cheap ones bad, too dear together for the best: the search is
/// bounded, and finds one that fits.
#[test]
fn the_largest_group_of_many_workers_is_found() {
    let workers: Vec<_> = (0..40)
        .map(|i| Worker {
            operator: i,
            price: 100 + u16::from(i),
            roles: 3,
        })
        .collect();
    let (view, roster) = setting(&workers);
    let request = request();
    let roles = Role::of_group(Level::Mpc, 8, DealerSeat::Worker).unwrap();
    let weights = Weights {
        chance: 1,
        ..NOTHING
    };
    let least: u128 = (100..109).sum();
    for (budget, fits) in [
        (least - 1, false),
        (least, true),
        (least + 60, true),
        (4_000, true),
    ] {
        let demand = Demand {
            seats: None,
            policies: &[],
            roles: &roles,
            ..demand(&request, budget)
        };
        match chosen(&view, &roster, &demand, &ranking(&weights, 7)) {
            Ok(chosen) => {
                let prices = chosen.group.iter().map(|(_, m)| m.record.price_per_job.0);
                let operators: std::collections::BTreeSet<_> = chosen
                    .group
                    .iter()
                    .map(|(_, m)| m.record.operator)
                    .collect();
                assert!(fits && prices.sum::<u128>() <= budget);
                assert_eq!(operators.len(), 9);
            }
            Err(NoGroup::TooExpensive { cheapest, .. }) => {
                assert!(!fits);
                assert_eq!(cheapest.0, least);
            }
            Err(NoGroup::TooFew { .. }) => panic!("there are forty"),
        }
    }
}

fn score(weights: Weights, change: impl Fn(&mut Member, &mut TrackRecord)) -> u64 {
    let (_, roster) = setting(&[Worker {
        operator: 0,
        price: 100,
        roles: 3,
    }]);
    let mut member = roster.members().next().unwrap().clone();
    member.capacity = 4;
    let mut track = TrackRecord::default();
    change(&mut member, &mut track);
    let candidate = Candidate {
        member: &member,
        bonded: None,
        presence: Presence::Fresh,
        silent_ms: 0,
        track,
    };
    let request = request();
    ranking(&weights, 0).rank(vec![candidate], &demand(&request, 400))[0].score
}

const NOTHING: Weights = Weights {
    price: 0,
    load: 0,
    cached: 0,
    reliability: 0,
    chance: 0,
    pool: 0,
    key: 0,
    inputs: 0,
};

/// Six workers of six operators that differ in price, and a pool that the three dearest have.
fn warm_setting(level: u32, batch: u32, last: u8) -> (ChainView, Roster) {
    let worker = |i| Worker {
        operator: i,
        price: 100 + 50 * u16::from(i),
        roles: 3,
    };
    let workers: Vec<_> = (0..6).map(worker).collect();
    let (view, mut roster) = setting(&workers);
    let group = [4, 3, last].map(|i| PeerKey([i; 32])).to_vec();
    let heartbeat = Heartbeat {
        peer: PeerKey([5; 32]),
        active_jobs: 0,
        capacity: 1,
        cached_models: vec![],
        pools: vec![PoolOffer {
            pool: PoolTag([1; 32]),
            commitment: MODEL,
            batch,
            group,
            level,
        }],
        hosted: vec![],
        keys: vec![],
        inputs: vec![],
    };
    roster.heartbeat(&heartbeat, NOW, NOW).unwrap();
    (view, roster)
}

fn group_of(view: &ChainView, roster: &Roster, weights: &Weights, budget: u128) -> Vec<u8> {
    let request = request();
    let demand = demand(&request, budget);
    let chosen = chosen(view, roster, &demand, &ranking(weights, 3)).unwrap();
    chosen
        .group
        .iter()
        .map(|(_, m)| m.record.peer.0[0])
        .collect()
}

#[test]
fn a_group_with_a_pool_for_the_job_is_preferred_and_price_still_counts() {
    let weights = |price, pool| Weights {
        price,
        pool,
        ..NOTHING
    };
    let (view, roster) = warm_setting(2, 1, 5);
    // In the order of the pool, not of the scores.
    assert_eq!(group_of(&view, &roster, &weights(1, 40), 2_000), [4, 3, 5]);
    // Whoever is cheap enough wins against a little preference.
    let mut cheap = group_of(&view, &roster, &weights(40, 1), 2_000);
    cheap.sort();
    assert_eq!(cheap, [0, 1, 2]);
    // What the client cannot pay is not taken, warm or not.
    let mut cheap = group_of(&view, &roster, &weights(1, 40), 600);
    cheap.sort();
    assert_ne!(cheap, [3, 4, 5]);
    // An empty pool, another batch, one that is not the announcing worker's: nothing.
    for (level, batch, last) in [(0, 1, 5), (2, 2, 5), (2, 1, 0), (2, 1, 3)] {
        let (view, roster) = warm_setting(level, batch, last);
        let mut cheap = group_of(&view, &roster, &weights(1, 40), 2_000);
        cheap.sort();
        assert_eq!(cheap, [0, 1, 2], "{level} {batch} {last}");
    }
}

#[test]
fn a_pool_is_promised_once_for_each_entry() {
    let weights = Weights {
        price: 1,
        pool: 40,
        ..NOTHING
    };
    let (view, mut roster) = warm_setting(2, 1, 5);
    let group = [4, 3, 5].map(|i| PeerKey([i; 32]));
    for _ in 0..2 {
        assert_eq!(group_of(&view, &roster, &weights, 2_000), [4, 3, 5]);
        roster.promised(&group, &Commitment([9; 32]), 1);
        roster.promised(&group, &MODEL, 2);
        roster.promised(&group, &MODEL, 1);
    }
    let mut cold = group_of(&view, &roster, &weights, 2_000);
    cold.sort();
    assert_eq!(cold, [0, 1, 2]);
    // Nobody's but its dealer's word counts, also after it registers anew.
    let member = roster.member(&PeerKey([5; 32])).unwrap();
    assert_eq!(member.pools[0].level, 0);
}

#[test]
fn cheap_workers_rank_higher() {
    let weights = Weights {
        price: 2,
        ..NOTHING
    };
    let at = |price| {
        score(weights, |member, _| {
            member.record.price_per_job = Planck(price)
        })
    };
    assert_eq!([at(0), at(100), at(400)], [2 * FULL, 2 * FULL * 3 / 4, 0]);
}

#[test]
fn idle_workers_rank_higher() {
    let weights = Weights { load: 1, ..NOTHING };
    let at = |active| score(weights, |member, _| member.active = active);
    assert_eq!([at(0), at(1), at(4), at(9)], [FULL, FULL * 3 / 4, 0, 0]);
}

#[test]
fn workers_with_the_model_rank_higher() {
    let weights = Weights {
        cached: 1,
        ..NOTHING
    };
    assert_eq!(score(weights, |_, _| {}), 0);
    assert_eq!(
        score(weights, |member, _| member.cached = [MODEL].into()),
        FULL
    );
}

#[test]
fn the_worker_that_holds_the_clients_key_is_preferred_and_not_left_to_chance() {
    let worker = |i| Worker {
        operator: i,
        price: 100 + 10 * u16::from(i),
        roles: 3,
    };
    let workers: Vec<_> = (0..5).map(worker).collect();
    let (view, mut roster) = setting(&workers);
    let key = Digest([7; 32]);
    let weights = Weights::default();
    let of = |roster: &Roster, held, seed| {
        let request = JobRequest {
            level: Level::Fhe,
            evaluators: 1,
            key: held,
            ..request()
        };
        let mut demand = demand(&request, 1_000);
        // The workers of these tests offer `mpc`; the part of a group of one is what matters here.
        demand.level = Level::Mpc;
        let ranking = Ranking {
            exploration_per_mille: 1000,
            ..ranking(&weights, seed)
        };
        let chosen = chosen(&view, roster, &demand, &ranking).unwrap();
        assert_eq!(chosen.group.len(), 1);
        chosen.group[0].1.record.peer.0[0]
    };
    let some = |roster: &Roster, held| {
        (0..40)
            .map(|seed| of(roster, held, seed))
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert!(
        some(&roster, Some(key)).len() > 1,
        "nobody has it: chance may decide"
    );
    roster.brings_key(&PeerKey([4; 32]), key);
    assert_eq!(some(&roster, Some(key)), [4].into());
    assert!(some(&roster, None).len() > 1);
    assert!(some(&roster, Some(Digest([8; 32]))).len() > 1);
    // The worker knows better.
    let heartbeat = Heartbeat {
        peer: PeerKey([4; 32]),
        active_jobs: 0,
        capacity: 1,
        cached_models: vec![],
        pools: vec![],
        hosted: vec![],
        keys: vec![],
        inputs: vec![],
    };
    roster.heartbeat(&heartbeat, NOW, NOW).unwrap();
    assert!(some(&roster, Some(key)).len() > 1);
}

#[test]
fn reliable_workers_rank_higher() {
    let weights = Weights {
        reliability: 1,
        ..NOTHING
    };
    let at = |delivered, failed| {
        score(weights, |_, track| {
            *track = TrackRecord { delivered, failed }
        })
    };
    assert_eq!(at(0, 0), FULL / 2);
    assert_eq!(at(2, 0), FULL * 3 / 4);
    assert_eq!(at(0, 2), FULL / 4);
    assert!(at(u64::MAX, 0) <= FULL);
}

#[test]
fn amounts_near_the_largest_do_not_overflow() {
    let (_, roster) = setting(&[Worker {
        operator: 0,
        price: 0,
        roles: 3,
    }]);
    let mut member = roster.members().next().unwrap().clone();
    member.record.price_per_job = Planck(u128::MAX / 2);
    let candidate = Candidate {
        member: &member,
        bonded: None,
        presence: Presence::Fresh,
        silent_ms: 0,
        track: TrackRecord::default(),
    };
    let weights = Weights {
        price: 1,
        ..NOTHING
    };
    let request = request();
    let ranked = ranking(&weights, 0).rank(vec![candidate], &demand(&request, u128::MAX));
    assert!(
        ranked[0].score.abs_diff(FULL / 2) <= 1,
        "{}",
        ranked[0].score
    );
}

#[test]
fn the_exploration_share_is_kept() {
    let weights = Weights::default();
    let explores = |per_mille| {
        (0..2_000_u32)
            .filter(|i| {
                let mut seed = [0; 32];
                seed[..4].copy_from_slice(&i.to_le_bytes());
                Ranking {
                    weights: &weights,
                    exploration_per_mille: per_mille,
                    seed,
                }
                .explores()
            })
            .count()
    };
    assert_eq!(explores(0), 0);
    assert_eq!(explores(1_000), 2_000);
    // 200 expected, standard deviation 13: the draws are fixed, so this cannot flicker.
    assert!((140..260).contains(&explores(100)), "{}", explores(100));
}

#[test]
fn whoever_has_more_of_the_inputs_at_hand_scores_more() {
    let input = |n| StoredInput {
        port: n,
        input: Digest([n; 32]),
    };
    let inputs = [input(1), input(2)];
    let request = request();
    let weights = Weights {
        inputs: 1,
        ..NOTHING
    };
    let score = |held: &[u8], inputs: &[StoredInput]| {
        let (_, roster) = setting(&[Worker {
            operator: 0,
            price: 100,
            roles: 3,
        }]);
        let mut member = roster.members().next().unwrap().clone();
        member.inputs = held.iter().map(|n| Digest([*n; 32])).collect();
        let candidate = Candidate {
            member: &member,
            bonded: None,
            presence: Presence::Fresh,
            silent_ms: 0,
            track: TrackRecord::default(),
        };
        let demand = Demand {
            inputs,
            ..demand(&request, 400)
        };
        ranking(&weights, 0).rank(vec![candidate], &demand)[0].score
    };
    assert_eq!(score(&[3], &inputs), 0);
    assert_eq!(score(&[1, 3], &inputs), rank::FULL / 2);
    assert_eq!(score(&[1, 2], &inputs), rank::FULL);
    assert_eq!(score(&[1, 2], &[]), 0);
}

#[test]
fn exploration_reaches_workers_that_ranking_never_would() {
    let workers: Vec<_> = (0..6)
        .map(|i| Worker {
            operator: i,
            price: u16::from(i) * 50,
            roles: 3,
        })
        .collect();
    let (view, roster) = setting(&workers);
    let request = request();
    let demand = demand(&request, 2_000);
    let weights = Weights {
        price: 1,
        ..NOTHING
    };
    let dearest = PeerKey([5; 32]);
    let reached = |per_mille| {
        (0..64).any(|seed| {
            let ranking = Ranking {
                weights: &weights,
                exploration_per_mille: per_mille,
                seed: [seed; 32],
            };
            let chosen = chosen(&view, &roster, &demand, &ranking).unwrap();
            chosen
                .group
                .iter()
                .any(|(_, member)| member.record.peer == dearest)
        })
    };
    assert!(!reached(0));
    assert!(reached(1_000));
}

#[test]
fn one_worker_is_a_group_for_levels_without_sharing() {
    let (view, roster) = setting(&[Worker {
        operator: 0,
        price: 10,
        roles: 3,
    }]);
    let mut request = request();
    request.level = Level::Mpc;
    let weights = Weights::default();
    let none = chosen(
        &view,
        &roster,
        &demand(&request, 100),
        &ranking(&weights, 0),
    );
    assert!(matches!(none, Err(NoGroup::TooFew { eligible: 1, .. })));
    request.level = Level::Sealed;
    let nobody = chosen(
        &view,
        &roster,
        &demand(&request, 100),
        &ranking(&weights, 0),
    );
    assert!(nobody.is_err(), "at level sealed a worker must be named");
    let mut record = record(
        0,
        Worker {
            operator: 0,
            price: 10,
            roles: 3,
        },
    );
    record.levels = vec![Level::Sealed];
    let mut roster = Roster::new(PresencePolicy::default());
    roster
        .register(record, NOW, UnixMillis(NOW.0 + 1_000), NOW)
        .unwrap();
    let find = |request: &JobRequest| {
        let demand = demand(request, 100);
        chosen(&view, &roster, &demand, &ranking(&weights, 0)).map(|found| found.group)
    };
    assert!(find(&request).is_err(), "nobody is named");
    let (peer, operator) = (|i| PeerKey([i; 32]), |i| AccountId([i; 32]));
    let (worker, own) = (peer(0), operator(0));
    let named = |workers, operators| Some(Trusted { workers, operators });
    for strangers in [
        named(vec![], vec![]),
        named(vec![peer(5)], vec![operator(5)]),
    ] {
        request.trusted = strangers;
        assert!(find(&request).is_err(), "others are named");
    }
    request.trusted = named(vec![worker], vec![]);
    assert_eq!(find(&request).unwrap().len(), 1);
    request.trusted = named(vec![], vec![own]);
    let group = find(&request).unwrap();
    assert_eq!(group.len(), 1);
    assert_eq!(group[0].0, Role::EVALUATOR_0);
}
