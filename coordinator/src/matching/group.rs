//! Distinct operators for the parts of a group.
//!
//! With three parts, every part keeps its three best operators (each by its best worker). The best
//! group overall is among those: if it used an operator outside a part's three best, at least one
//! of those three would not be used by the other two parts, and swapping it in makes the group no
//! worse. So 27 combinations decide, however many workers there are. The same holds with
//! "cheapest" for "best", so if the three cheapest of each part do not fit the budget, nothing
//! does. Between these two the best of all combinations that fit is taken.

use ai_link_wire::{AccountId, CandidateRefusal, PeerKey, Planck, RefusalReason, Role};

use super::rank::Ranked;
use super::{Candidate, refusal};
use crate::roster::Member;

/// The group for a job.
#[derive(Clone, Debug)]
pub struct Chosen<'a> {
    /// Who plays which part, in the order in which a ticket lists them.
    pub group: Vec<(Role, &'a Member)>,
    /// Why others were not eligible.
    pub refused: Vec<CandidateRefusal>,
}

/// Why there is no group.
#[derive(Clone, Debug)]
pub enum NoGroup {
    /// Not enough eligible workers of distinct operators.
    TooFew {
        /// Workers that passed all filters.
        eligible: u32,
        /// A reason for every candidate that cannot be used.
        refused: Vec<CandidateRefusal>,
    },
    /// The cheapest group costs more than is left for workers.
    TooExpensive {
        /// What the cheapest group's workers cost together.
        cheapest: Planck,
    },
}

/// Puts the best group together. `ranked` is sorted best first.
pub(super) fn assemble<'a>(
    ranked: Vec<Ranked<'a>>,
    roles: &[Role],
    budget: Planck,
    mut refused: Vec<CandidateRefusal>,
) -> Result<Chosen<'a>, NoGroup> {
    let mut cheapest_first: Vec<&Ranked<'a>> = ranked.iter().collect();
    cheapest_first.sort_by_key(|ranked| ranked.candidate.member.record.price_per_job);

    let kept = roles.len();
    let shortlists: Vec<Vec<&Ranked<'a>>> = roles
        .iter()
        .map(|&role| {
            let mut list = best_of_each_operator(role, kept, ranked.iter());
            for ranked in best_of_each_operator(role, kept, cheapest_first.iter().copied()) {
                if !list.iter().any(|known| peer(known) == peer(ranked)) {
                    list.push(ranked);
                }
            }
            list
        })
        .collect();

    let mut search = Search {
        budget,
        best: None,
        cheapest: None,
    };
    search.extend(&shortlists, &mut Vec::with_capacity(kept));
    let Search { best, cheapest, .. } = search;
    if let Some((_, group)) = best {
        let members = group.into_iter().map(|ranked| ranked.candidate.member);
        let group = roles.iter().copied().zip(members).collect();
        return Ok(Chosen { group, refused });
    }
    if let Some(cheapest) = cheapest {
        return Err(NoGroup::TooExpensive { cheapest });
    }
    let eligible = u32::try_from(ranked.len()).unwrap_or(u32::MAX);
    let candidates = ranked.iter().map(|ranked| &ranked.candidate);
    if shortlists.iter().any(Vec::is_empty) {
        refused.extend(candidates.map(|c| refusal(c, RefusalReason::RoleNotOffered)));
    } else {
        refused.extend(same_operator(candidates));
    }
    Err(NoGroup::TooFew { eligible, refused })
}

/// A walk over all combinations of the shortlists.
struct Search<'r, 'a> {
    budget: Planck,
    best: Option<(u64, Vec<&'r Ranked<'a>>)>,
    cheapest: Option<Planck>,
}

impl<'r, 'a> Search<'r, 'a> {
    fn extend(&mut self, open: &[Vec<&'r Ranked<'a>>], group: &mut Vec<&'r Ranked<'a>>) {
        let Some((shortlist, rest)) = open.split_first() else {
            return self.judge(group);
        };
        for ranked in shortlist {
            if group
                .iter()
                .all(|taken| operator(taken) != operator(ranked))
            {
                group.push(ranked);
                self.extend(rest, group);
                group.pop();
            }
        }
    }

    fn judge(&mut self, group: &[&'r Ranked<'a>]) {
        let prices = group
            .iter()
            .map(|ranked| ranked.candidate.member.record.price_per_job);
        let Some(cost) = Planck::checked_sum(prices) else {
            return;
        };
        if self.cheapest.is_none_or(|known| cost < known) {
            self.cheapest = Some(cost);
        }
        let score = group
            .iter()
            .fold(0, |sum: u64, ranked| sum.saturating_add(ranked.score));
        if cost <= self.budget && self.best.as_ref().is_none_or(|(known, _)| score > *known) {
            self.best = Some((score, group.to_vec()));
        }
    }
}

/// The first `kept` workers for a part, at most one of each operator.
fn best_of_each_operator<'r, 'a: 'r>(
    role: Role,
    kept: usize,
    ranked: impl Iterator<Item = &'r Ranked<'a>>,
) -> Vec<&'r Ranked<'a>> {
    let mut list: Vec<&Ranked<'a>> = Vec::with_capacity(kept);
    for ranked in ranked {
        if list.len() == kept {
            break;
        }
        let able = ranked.candidate.member.record.roles.contains(role);
        if able && !list.iter().any(|known| operator(known) == operator(ranked)) {
            list.push(ranked);
        }
    }
    list
}

/// Eligible workers that only repeat an operator another eligible worker stands for already.
fn same_operator<'r, 'a: 'r>(
    candidates: impl Iterator<Item = &'r Candidate<'a>>,
) -> Vec<CandidateRefusal> {
    let mut seen = Vec::new();
    let mut refused = Vec::new();
    for candidate in candidates {
        let operator = candidate.member.record.operator;
        if seen.contains(&operator) {
            refused.push(refusal(candidate, RefusalReason::SameOperator));
        } else {
            seen.push(operator);
        }
    }
    refused
}

fn operator(ranked: &Ranked<'_>) -> AccountId {
    ranked.candidate.member.record.operator
}

fn peer<'r>(ranked: &'r Ranked<'_>) -> &'r PeerKey {
    &ranked.candidate.member.record.peer
}
