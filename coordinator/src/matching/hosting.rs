//! Groups that keep the private weights of a model.
//!
//! Such a job goes to three workers that hold the parts of one sharing, each in its own part: there is
//! nothing to assemble, only complete groups to compare. Complete means that all three say so: the
//! same sharing of the same model's version, the same group, each its own place in it.

use std::collections::BTreeSet;

use ai_link_wire::{
    CandidateRefusal, Digest, HostedWeights, ModelName, ModelVersion, PeerKey, Planck,
    RefusalReason, Role, UnixMillis,
};

use super::rank::Ranked;
use super::sheet::{Sheet, Warmth};
use super::{Candidate, Chosen, Demand, NoGroup, filter, rank, refusal};
use crate::ledger::TrackRecord;
use crate::roster::{Member, Presence, Roster};
use crate::view::ChainView;

/// The version of a model whose weights are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The model.
    pub model: &'a ModelName,
    /// Its version.
    pub version: ModelVersion,
}

/// Why no group is chosen.
#[derive(Clone, Debug)]
pub enum NoHosts {
    /// No complete group of live workers keeps the weights, or only ones that the client excludes.
    NotHosted,
    /// There are complete groups, and reasons against each.
    Unfit(NoGroup),
}

/// Chooses among the groups that keep the weights; also says which sharing it is.
///
/// `track` tells how a worker's earlier jobs went; only its failure is an outer error.
pub fn choose<'a, E>(
    view: &'a ChainView,
    roster: &'a Roster,
    wanted: Wanted<'_>,
    demand: &Demand<'_>,
    ranking: &rank::Ranking<'_>,
    track: impl Fn(&PeerKey) -> Result<TrackRecord, E>,
    now: UnixMillis,
) -> Result<Result<(Digest, Chosen<'a>), NoHosts>, E> {
    let mut best: Option<(u64, Digest, [&'a Member; 3], Vec<Ranked<'a>>)> = None;
    let mut cheapest: Option<Planck> = None;
    let mut refused: Vec<CandidateRefusal> = Vec::new();
    for (sharing, peers) in announced(roster, wanted, demand) {
        let Some(members) = complete(roster, wanted, demand, (sharing, &peers), now) else {
            continue;
        };
        let mut candidates = Vec::with_capacity(members.len());
        for member in members {
            candidates.push(Candidate {
                member,
                bonded: view.worker(&member.record.peer),
                presence: roster.presence(member, now),
                silent_ms: now.0.saturating_sub(member.last_seen.0),
                track: track(&member.record.peer)?,
            });
        }
        let objections = objections(&candidates, demand);
        if !objections.is_empty() {
            refused.extend(objections);
            continue;
        }
        let prices = members.map(|member| member.record.price_per_job);
        let Some(cost) = Planck::checked_sum(prices) else {
            continue;
        };
        if cheapest.is_none_or(|known| cost < known) {
            cheapest = Some(cost);
        }
        let ranked = ranking.rank(candidates, demand);
        let score = ranked
            .iter()
            .fold(0_u64, |sum, r| sum.saturating_add(r.score));
        if cost <= demand.budget && best.as_ref().is_none_or(|(known, ..)| score > *known) {
            best = Some((score, sharing, members, ranked));
        }
    }
    Ok(match (best, cheapest) {
        (Some((_, sharing, members, ranked)), _) => {
            let group: Vec<_> = Role::TRIO.into_iter().zip(members).collect();
            // Other groups that keep the weights are compared as wholes, and not listed.
            let sheet = Sheet::new(&ranked, &group, Warmth::Cold, &refused);
            let chosen = Chosen {
                group,
                refused,
                sheet,
            };
            Ok((sharing, chosen))
        }
        (None, Some(cheapest)) => {
            let sheet = Sheet::new(&[], &[], Warmth::Cold, &refused);
            Err(NoHosts::Unfit(NoGroup::TooExpensive { cheapest, sheet }))
        }
        (None, None) if refused.iter().all(|r| is_absence(&r.reason)) => Err(NoHosts::NotHosted),
        (None, None) => Err(NoHosts::Unfit(NoGroup::TooFew {
            eligible: 0,
            sheet: Sheet::new(&[], &[], Warmth::Cold, &refused),
            refused,
        })),
    })
}

/// The groups that someone says keep the weights.
fn announced(
    roster: &Roster,
    wanted: Wanted<'_>,
    demand: &Demand<'_>,
) -> BTreeSet<(Digest, [PeerKey; 3])> {
    let hosted = roster.members().flat_map(|member| &member.hosted);
    hosted
        .filter(|hosted| {
            hosted.model == *wanted.model
                && hosted.version == wanted.version
                && hosted.commitment == demand.commitment
        })
        .map(|hosted| (hosted.sharing, hosted.group))
        .collect()
}

/// The members of a group, if each of them is there and says that it keeps its part.
fn complete<'a>(
    roster: &'a Roster,
    wanted: Wanted<'_>,
    demand: &Demand<'_>,
    (sharing, group): (Digest, &[PeerKey; 3]),
    now: UnixMillis,
) -> Option<[&'a Member; 3]> {
    let member = |place: usize| {
        let member = roster.member(&group[place])?;
        let own = |hosted: &HostedWeights| {
            hosted.sharing == sharing
                && hosted.group == *group
                && hosted.role == Role::TRIO[place]
                && hosted.model == *wanted.model
                && hosted.version == wanted.version
                && hosted.commitment == demand.commitment
        };
        let there = roster.presence(member, now) != Presence::Gone;
        (there && member.hosted.iter().any(own)).then_some(member)
    };
    Some([member(0)?, member(1)?, member(2)?])
}

/// What is against each of them.
fn objections(candidates: &[Candidate<'_>], demand: &Demand<'_>) -> Vec<CandidateRefusal> {
    let mut operators = BTreeSet::new();
    let mut refused = Vec::new();
    for (candidate, role) in candidates.iter().zip(Role::TRIO) {
        let record = &candidate.member.record;
        let reason = filter::first_objection(candidate, demand).or_else(|| {
            if !record.roles.contains(role) {
                Some(RefusalReason::RoleNotOffered)
            } else if demand
                .seats
                .is_some_and(|seats| !seats.allow(role, &record.peer))
            {
                Some(RefusalReason::NoGrant)
            } else if !operators.insert(record.operator) {
                Some(RefusalReason::SameOperator)
            } else {
                None
            }
        });
        refused.extend(reason.map(|reason| refusal(candidate, reason)));
    }
    refused
}

/// Whether a worker is as good as not there: its part cannot be had, now and by this client.
fn is_absence(reason: &RefusalReason) -> bool {
    matches!(
        reason,
        RefusalReason::Excluded | RefusalReason::NotRegisteredOnChain | RefusalReason::Stale { .. }
    )
}
