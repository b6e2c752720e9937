//! Hard filters: each passes a candidate or names the reason against it.
//!
//! The order is from what the worker cannot change at once (chain, bond) to what changes by the
//! second (load), so that the one reason reported is the most lasting one.

use ai_link_storage::location::Site;
use ai_link_wire::{Level, RefusalReason};

use super::{Candidate, Demand};
use crate::roster::Presence;

type Filter = fn(&Candidate<'_>, &Demand<'_>) -> Option<RefusalReason>;

const FILTERS: [Filter; 12] = [
    registered_on_chain,
    bonded_enough,
    trusted,
    excluded,
    alive,
    level_offered,
    some_role_offered,
    region_allowed,
    location_permitted,
    some_share_granted,
    affordable,
    free_capacity,
];

/// The first reason against this candidate, or `None` when it may be matched.
pub fn first_objection(candidate: &Candidate<'_>, demand: &Demand<'_>) -> Option<RefusalReason> {
    FILTERS.iter().find_map(|filter| filter(candidate, demand))
}

/// Bound on chain to the very operator that the record names: otherwise a worker could pose as
/// another operator's and break the distinctness of a group.
fn registered_on_chain(candidate: &Candidate<'_>, _: &Demand<'_>) -> Option<RefusalReason> {
    let bound = candidate
        .bonded
        .is_some_and(|bonded| bonded.operator == candidate.member.record.operator);
    (!bound).then_some(RefusalReason::NotRegisteredOnChain)
}

fn bonded_enough(candidate: &Candidate<'_>, demand: &Demand<'_>) -> Option<RefusalReason> {
    let have = candidate.bonded?.bond;
    let need = demand.minimum_bond;
    (have < need).then_some(RefusalReason::BondTooLow { have, need })
}

fn excluded(candidate: &Candidate<'_>, demand: &Demand<'_>) -> Option<RefusalReason> {
    demand
        .excluded
        .contains(&candidate.member.record.peer)
        .then_some(RefusalReason::Excluded)
}

/// At level `sealed` the worker sees the data: only one that the client named will do.
fn trusted(candidate: &Candidate<'_>, demand: &Demand<'_>) -> Option<RefusalReason> {
    let record = &candidate.member.record;
    let named = match demand.trusted {
        Some(trusted) => trusted.admits(record.peer, record.operator),
        None => demand.level != Level::Sealed,
    };
    (!named).then_some(RefusalReason::NotTrusted)
}

fn alive(candidate: &Candidate<'_>, _: &Demand<'_>) -> Option<RefusalReason> {
    match candidate.presence {
        Presence::Fresh => None,
        Presence::Stale | Presence::Gone => Some(RefusalReason::Stale {
            last_seen_ms: candidate.silent_ms,
        }),
    }
}

fn level_offered(candidate: &Candidate<'_>, demand: &Demand<'_>) -> Option<RefusalReason> {
    let offered = candidate.member.record.levels.contains(&demand.level);
    (!offered).then_some(RefusalReason::LevelNotOffered)
}

fn some_role_offered(candidate: &Candidate<'_>, demand: &Demand<'_>) -> Option<RefusalReason> {
    let offered = candidate.member.record.roles;
    (!demand.roles.iter().any(|role| offered.contains(*role)))
        .then_some(RefusalReason::RoleNotOffered)
}

fn region_allowed(candidate: &Candidate<'_>, demand: &Demand<'_>) -> Option<RefusalReason> {
    let allowed = demand.regions;
    let somewhere = allowed.is_empty()
        || candidate
            .member
            .record
            .regions
            .iter()
            .any(|r| allowed.contains(r));
    (!somewhere).then_some(RefusalReason::RegionNotAllowed)
}

/// Where every policy of the job's stored inputs permits a worker to be. One that says nothing of where it is, or
/// nothing that can be read, is permitted by none.
fn location_permitted(candidate: &Candidate<'_>, demand: &Demand<'_>) -> Option<RefusalReason> {
    if demand.policies.is_empty() {
        return None;
    }
    let site = match &candidate.member.record.site {
        None => Err("it names no site".to_owned()),
        Some(text) => Site::from_json(text.as_str()).map_err(|error| error.to_string()),
    };
    let refused = site.and_then(|site| {
        let mut policies = demand.policies.iter();
        policies
            .try_for_each(|policy| policy.permits(&site))
            .map_err(|refused| refused.to_string())
    });
    refused.err().map(RefusalReason::location)
}

/// A worker without a grant for either share of the job's stored inputs brings none of them. Which part it may
/// play is for the group to see.
fn some_share_granted(candidate: &Candidate<'_>, demand: &Demand<'_>) -> Option<RefusalReason> {
    let seats = demand.seats?;
    let peer = &candidate.member.record.peer;
    let granted = demand.roles.iter().any(|role| seats.allow(*role, peer));
    (!granted).then_some(RefusalReason::NoGrant)
}

/// A worker that alone costs more than is left for all of a group can never be part of a group.
fn affordable(candidate: &Candidate<'_>, demand: &Demand<'_>) -> Option<RefusalReason> {
    let have = candidate.member.record.price_per_job;
    let max = demand.budget;
    (have > max).then_some(RefusalReason::PriceTooHigh { have, max })
}

fn free_capacity(candidate: &Candidate<'_>, _: &Demand<'_>) -> Option<RefusalReason> {
    let (active, capacity) = (candidate.member.active, candidate.member.capacity);
    (active >= capacity).then_some(RefusalReason::AtCapacity { active, capacity })
}
