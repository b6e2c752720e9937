use std::time::Duration;

use ai_link_wire::{AccountId, Bytes, Level, Planck, RoleSet};

use super::*;

const START: UnixMillis = UnixMillis(1_000_000);
const EXPIRES: UnixMillis = UnixMillis(100_000_000);

fn policy() -> PresencePolicy {
    PresencePolicy {
        heartbeat_every: Duration::from_secs(2),
        stale_after: Duration::from_secs(7),
        gone_after: Duration::from_secs(60),
        max_workers: 2,
    }
}

fn record(peer: u8) -> WorkerRecord {
    WorkerRecord {
        peer: PeerKey([peer; 32]),
        operator: AccountId([peer; 32]),
        addresses: vec![],
        roles: RoleSet::ALL,
        levels: vec![Level::Mpc],
        regions: vec![],
        site: None,
        cores: 1,
        memory: Bytes(1),
        cached_models: vec![Commitment([7; 32])],
        price_per_job: Planck(1),
        software: String::new(),
    }
}

fn beat(peer: u8) -> Heartbeat {
    Heartbeat {
        peer: PeerKey([peer; 32]),
        active_jobs: 2,
        capacity: 5,
        cached_models: vec![Commitment([8; 32])],
        pools: vec![],
        hosted: vec![],
        keys: vec![],
        inputs: vec![],
    }
}

fn at(millis: u64) -> UnixMillis {
    UnixMillis(START.0 + millis)
}

fn roster() -> Roster {
    let mut roster = Roster::new(policy());
    roster.register(record(1), START, EXPIRES, START).unwrap();
    roster
}

fn presence(roster: &Roster, now: UnixMillis) -> Presence {
    roster.presence(roster.member(&PeerKey([1; 32])).unwrap(), now)
}

#[test]
fn registered_is_fresh() {
    assert_eq!(presence(&roster(), START), Presence::Fresh);
    assert_eq!(presence(&roster(), at(6_999)), Presence::Fresh);
    assert_eq!(roster().fresh(at(6_999)), 1);
}

#[test]
fn fresh_becomes_stale_by_silence() {
    assert_eq!(presence(&roster(), at(7_000)), Presence::Stale);
    assert_eq!(presence(&roster(), at(59_999)), Presence::Stale);
    assert_eq!(roster().fresh(at(7_000)), 0);
}

#[test]
fn stale_becomes_gone_by_silence() {
    assert_eq!(presence(&roster(), at(60_000)), Presence::Gone);
}

#[test]
fn fresh_stays_fresh_by_heartbeats() {
    let mut roster = roster();
    for i in 1..20 {
        roster
            .heartbeat(&beat(1), at(i * 5_000), at(i * 5_000))
            .unwrap();
        assert_eq!(presence(&roster, at(i * 5_000 + 4_999)), Presence::Fresh);
    }
}

#[test]
fn stale_becomes_fresh_by_a_heartbeat() {
    let mut roster = roster();
    roster.heartbeat(&beat(1), at(30_000), at(30_000)).unwrap();
    assert_eq!(presence(&roster, at(30_000)), Presence::Fresh);
}

#[test]
fn gone_becomes_fresh_by_a_heartbeat() {
    let mut roster = roster();
    roster.heartbeat(&beat(1), at(90_000), at(90_000)).unwrap();
    assert_eq!(presence(&roster, at(90_000)), Presence::Fresh);
}

#[test]
fn gone_becomes_fresh_by_registering_again() {
    let mut roster = roster();
    roster
        .register(record(1), at(90_000), EXPIRES, at(90_000))
        .unwrap();
    assert_eq!(presence(&roster, at(90_000)), Presence::Fresh);
}

#[test]
fn a_record_that_has_run_out_is_gone_whatever_heartbeats_say() {
    let mut roster = Roster::new(policy());
    roster.register(record(1), START, at(5_000), START).unwrap();
    assert_eq!(presence(&roster, at(4_999)), Presence::Fresh);
    assert_eq!(presence(&roster, at(5_000)), Presence::Gone);
    let late = roster.heartbeat(&beat(1), at(5_000), at(5_000));
    assert_eq!(late, Err(RosterError::Unknown));
}

#[test]
fn a_heartbeat_sets_load_capacity_and_cache() {
    let mut roster = roster();
    let before = roster.member(&PeerKey([1; 32])).unwrap();
    assert_eq!((before.active, before.capacity), (0, 1));
    assert!(before.cached.contains(&Commitment([7; 32])));
    roster.heartbeat(&beat(1), at(1), at(1)).unwrap();
    let after = roster.member(&PeerKey([1; 32])).unwrap();
    assert_eq!((after.active, after.capacity), (2, 5));
    assert!(after.cached.contains(&Commitment([8; 32])));
    assert!(!after.cached.contains(&Commitment([7; 32])));
}

#[test]
fn load_is_counted_between_heartbeats_and_never_below_zero() {
    let mut roster = roster();
    let peer = PeerKey([1; 32]);
    roster.assigned(&peer);
    roster.assigned(&peer);
    roster.released(&peer);
    assert_eq!(roster.member(&peer).unwrap().active, 1);
    roster.released(&peer);
    roster.released(&peer);
    assert_eq!(roster.member(&peer).unwrap().active, 0);
    roster.assigned(&PeerKey([9; 32]));
    assert!(roster.member(&PeerKey([9; 32])).is_none());
}

#[test]
fn messages_out_of_order_are_refused() {
    let mut roster = roster();
    roster.heartbeat(&beat(1), at(10), at(10)).unwrap();
    assert_eq!(
        roster.heartbeat(&beat(1), at(10), at(20)),
        Err(RosterError::Outdated)
    );
    assert_eq!(
        roster.heartbeat(&beat(1), at(9), at(20)),
        Err(RosterError::Outdated)
    );
    let older = roster.register(record(1), UnixMillis(START.0 - 1), EXPIRES, at(20));
    assert_eq!(older, Err(RosterError::Outdated));
    // Registering again does not make old heartbeats new.
    roster.register(record(1), at(30), EXPIRES, at(30)).unwrap();
    assert_eq!(
        roster.heartbeat(&beat(1), at(10), at(40)),
        Err(RosterError::Outdated)
    );
}

#[test]
fn a_full_roster_gives_only_places_of_the_gone_away() {
    let mut roster = roster();
    roster.register(record(2), at(10), EXPIRES, at(10)).unwrap();
    let full = roster.register(record(3), at(59_999), EXPIRES, at(59_999));
    assert_eq!(full, Err(RosterError::Full { limit: 2 }));
    roster
        .register(record(3), at(60_020), EXPIRES, at(60_020))
        .unwrap();
    assert!(
        roster.member(&PeerKey([1; 32])).is_none(),
        "the longest gone has lost its place"
    );
    assert!(roster.member(&PeerKey([2; 32])).is_some());
    assert_eq!(
        roster.heartbeat(&beat(1), at(60_030), at(60_030)),
        Err(RosterError::Unknown)
    );
}
