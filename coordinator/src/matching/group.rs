//! Distinct operators for the parts of a group.
//!
//! In a group of k parts, every part keeps its k best operators (each by its best worker). The best
//! group overall is among those: if it used an operator outside a part's k best, at least one of
//! those k would not be used by the other k - 1 parts, and swapping it in makes the group no worse.
//! So the number of combinations does not grow with the number of workers. The same holds with
//! "cheapest" for "best", so if the k cheapest of each part do not fit the budget, nothing does.
//! Between these two the best of all combinations that fit is taken.
//!
//! Evaluators are interchangeable, so each set of them is looked at once, better ones in front; and
//! what cannot become the best is not walked further. For two evaluators and a dealer a handful of
//! combinations decide, for eight and a dealer at most 18 over 8 times 18, nearly all of them pruned.
//!
//! A group with a pool for the job ([`Warm`]) is worth more than the sum of its workers, so the argument
//! above does not hold for it. There are few of them: each is judged by itself, with its bonus, beside
//! the best of all others.

use ai_link_wire::{AccountId, CandidateRefusal, PeerKey, Planck, RefusalReason, Role, Seats};

use super::rank::{Ranked, Warm};
use super::sheet::{Sheet, Warmth};
use super::{Candidate, Demand, refusal};
use crate::roster::Member;

/// The group for a job.
#[derive(Clone, Debug)]
pub struct Chosen<'a> {
    /// Who plays which part, in the order in which a ticket lists them.
    pub group: Vec<(Role, &'a Member)>,
    /// Why others were not eligible.
    pub refused: Vec<CandidateRefusal>,
    /// What was thought of each.
    pub sheet: Sheet,
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
        /// What was thought of each.
        sheet: Sheet,
    },
    /// The cheapest group costs more than is left for workers.
    TooExpensive {
        /// What the cheapest group's workers cost together.
        cheapest: Planck,
        /// What was thought of each candidate.
        sheet: Sheet,
    },
}

/// Puts the best group together. `ranked` is sorted best first.
pub(super) fn assemble<'a>(
    ranked: Vec<Ranked<'a>>,
    warm: &[Warm],
    demand: &Demand<'_>,
    mut refused: Vec<CandidateRefusal>,
) -> Result<Chosen<'a>, NoGroup> {
    let (roles, budget) = (demand.roles, demand.budget);
    let mut cheapest_first: Vec<&Ranked<'a>> = ranked.iter().collect();
    cheapest_first.sort_by_key(|ranked| ranked.candidate.member.record.price_per_job);

    let kept = roles.len();
    let shortlists: Vec<Vec<&Ranked<'a>>> = roles
        .iter()
        .map(|&role| {
            let able = |ranked: &Ranked<'_>| is_able(ranked, role, demand);
            let mut list = best_of_each_operator(able, kept, ranked.iter());
            for ranked in best_of_each_operator(able, kept, cheapest_first.iter().copied()) {
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
    let seats: Vec<Seat<'_, 'a>> = shortlists
        .iter()
        .zip(roles)
        .map(|(list, &role)| Seat {
            list,
            evaluates: matches!(role, Role::Evaluator(_)),
        })
        .collect();
    search.extend(&seats, 0, &mut Vec::with_capacity(kept));
    for warm in warm {
        if let Some(group) = seated(&ranked, &warm.group, demand) {
            search.judge(&group, warm.bonus);
        }
    }
    let Search { best, cheapest, .. } = search;
    if let Some((_, group)) = best {
        let members = group.into_iter().map(|ranked| ranked.candidate.member);
        let group: Vec<_> = roles.iter().copied().zip(members).collect();
        let is = |warm: &Warm| {
            let peers = group.iter().map(|(_, member)| member.record.peer);
            peers.eq(warm.group.iter().copied())
        };
        let warmth = match warm.iter().any(is) {
            true => Warmth::Warm,
            false => Warmth::Cold,
        };
        let sheet = Sheet::new(&ranked, &group, warmth, &refused);
        return Ok(Chosen {
            group,
            refused,
            sheet,
        });
    }
    if let Some(cheapest) = cheapest {
        let sheet = Sheet::new(&ranked, &[], Warmth::Cold, &refused);
        return Err(NoGroup::TooExpensive { cheapest, sheet });
    }
    let eligible = u32::try_from(ranked.len()).unwrap_or(u32::MAX);
    let candidates = ranked.iter().map(|ranked| &ranked.candidate);
    if shortlists.iter().any(Vec::is_empty) {
        refused.extend(candidates.map(|c| refusal(c, RefusalReason::RoleNotOffered)));
    } else {
        refused.extend(same_operator(candidates));
    }
    let sheet = Sheet::new(&ranked, &[], Warmth::Cold, &refused);
    Err(NoGroup::TooFew {
        eligible,
        refused,
        sheet,
    })
}

/// A part to fill, and who may fill it.
struct Seat<'l, 'a> {
    list: &'l [&'l Ranked<'a>],
    evaluates: bool,
}

/// A walk over all combinations of the shortlists.
struct Search<'r, 'a> {
    budget: Planck,
    best: Option<(u64, Vec<&'r Ranked<'a>>)>,
    cheapest: Option<Planck>,
}

impl<'r, 'a> Search<'r, 'a> {
    /// Fills `open`, the first of them with a worker from `from` on in its list.
    fn extend(&mut self, open: &[Seat<'r, 'a>], from: usize, group: &mut Vec<&'r Ranked<'a>>) {
        let Some((seat, rest)) = open.split_first() else {
            return self.judge(group, 0);
        };
        if self.is_hopeless(open, group) {
            return;
        }
        for (at, ranked) in seat.list.iter().enumerate().skip(from) {
            if group
                .iter()
                .all(|taken| operator(taken) != operator(ranked))
            {
                // All evaluators have the same list: the next one comes after this one.
                let next = match rest.first() {
                    Some(next) if next.evaluates && seat.evaluates => at + 1,
                    _ => 0,
                };
                group.push(ranked);
                self.extend(rest, next, group);
                group.pop();
            }
        }
    }

    /// Whether no group that begins with these can be better than the best one known, nor, while there
    /// is none, cheaper than the cheapest.
    fn is_hopeless(&self, open: &[Seat<'r, 'a>], group: &[&'r Ranked<'a>]) -> bool {
        let too_dear = cost(group).is_none_or(|cost| cost > self.budget);
        match &self.best {
            Some((known, _)) => {
                let top = |seat: &Seat<'r, 'a>| seat.list.iter().map(|r| r.score).max();
                let most = open
                    .iter()
                    .filter_map(top)
                    .fold(score(group), u64::saturating_add);
                too_dear || most <= *known
            }
            None => {
                too_dear
                    && self
                        .cheapest
                        .is_some_and(|known| cost(group) >= Some(known))
            }
        }
    }

    /// `bonus`: what the group is worth beyond its workers.
    fn judge(&mut self, group: &[&'r Ranked<'a>], bonus: u64) {
        let Some(cost) = cost(group) else {
            return;
        };
        if self.cheapest.is_none_or(|known| cost < known) {
            self.cheapest = Some(cost);
        }
        let score = score(group).saturating_add(bonus);
        if cost <= self.budget && self.best.as_ref().is_none_or(|(known, _)| score > *known) {
            self.best = Some((score, group.to_vec()));
        }
    }
}

/// What these workers cost together; `None`: more than there can be.
fn cost(group: &[&Ranked<'_>]) -> Option<Planck> {
    let price = |ranked: &&Ranked<'_>| ranked.candidate.member.record.price_per_job;
    Planck::checked_sum(group.iter().map(price))
}

fn score(group: &[&Ranked<'_>]) -> u64 {
    let scores = group.iter().map(|ranked| ranked.score);
    scores.fold(0, u64::saturating_add)
}

/// The workers of a group, if each can play its part and their operators are distinct.
fn seated<'r, 'a>(
    ranked: &'r [Ranked<'a>],
    group: &[PeerKey],
    demand: &Demand<'_>,
) -> Option<Vec<&'r Ranked<'a>>> {
    let mut seated: Vec<&Ranked<'a>> = Vec::with_capacity(demand.roles.len());
    for (wanted, role) in group.iter().zip(demand.roles) {
        let found = ranked.iter().find(|ranked| peer(ranked) == wanted)?;
        let able = is_able(found, *role, demand);
        let known = |taken: &&Ranked<'_>| operator(taken) == operator(found);
        if !able || seated.iter().any(known) {
            return None;
        }
        seated.push(found);
    }
    (seated.len() == demand.roles.len()).then_some(seated)
}

/// Whether a worker offers a part, and has what it takes to bring the stored inputs that go with it.
fn is_able(ranked: &Ranked<'_>, role: Role, demand: &Demand<'_>) -> bool {
    let record = &ranked.candidate.member.record;
    let seated = |seats: &Seats| seats.allow(role, &record.peer);
    record.roles.contains(role) && demand.seats.is_none_or(seated)
}

/// The first `kept` workers for a part, at most one of each operator.
fn best_of_each_operator<'r, 'a: 'r>(
    able: impl Fn(&Ranked<'_>) -> bool,
    kept: usize,
    ranked: impl Iterator<Item = &'r Ranked<'a>>,
) -> Vec<&'r Ranked<'a>> {
    let mut list: Vec<&Ranked<'a>> = Vec::with_capacity(kept);
    for ranked in ranked {
        if list.len() == kept {
            break;
        }
        if able(ranked) && !list.iter().any(|known| operator(known) == operator(ranked)) {
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
