//! What was thought of each candidate, for whoever asks why.

use ai_link_wire::{
    CandidateRefusal, ControlResponse, PassedOver, PeerKey, Role, Verdict, Weighed,
};

use super::rank::Ranked;
use crate::roster::Member;

/// Candidates with what was decided about them: those of the group first, then those that could have been in it, then the
/// others.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    /// At most [`ControlResponse::MAX_REASONS`].
    pub listed: Vec<Weighed>,
    /// How many more there are.
    pub unlisted: u32,
}

impl Sheet {
    /// The sheet of a match. `warm`: whether the group was chosen for what was dealt ahead for it.
    pub(super) fn new(
        ranked: &[Ranked<'_>],
        group: &[(Role, &Member)],
        warm: Warmth,
        refused: &[CandidateRefusal],
    ) -> Self {
        let role = |peer: &PeerKey| {
            let of = |(_, member): &&(Role, &Member)| member.record.peer == *peer;
            group.iter().find(of).map(|(role, _)| *role)
        };
        let scores = ranked.iter().filter(|r| role(peer(r)).is_some());
        let lowest = scores.map(|r| r.score).min();
        let is_free = |r: &&Ranked<'_>| !refused.iter().any(|known| known.peer == *peer(r));
        let passed_over = |r: &Ranked<'_>| {
            let record = &r.candidate.member.record;
            let same = |(_, member): &(Role, &Member)| member.record.operator == record.operator;
            let fits = |(role, _): &(Role, &Member)| record.roles.contains(*role);
            match lowest {
                _ if group.iter().any(same) => PassedOver::SameOperator,
                Some(lowest) if r.score <= lowest => PassedOver::Outscored,
                Some(_) if !group.iter().any(fits) => PassedOver::NoGroup,
                Some(_) if warm == Warmth::Warm => PassedOver::WarmGroup,
                _ => PassedOver::NoGroup,
            }
        };
        let chosen = ranked.iter().filter_map(|r| {
            let verdict = Verdict::Chosen {
                role: role(peer(r))?,
                price: r.candidate.member.record.price_per_job,
                score: r.points,
            };
            Some(weighed(r, verdict))
        });
        let others = ranked.iter().filter(|r| role(peer(r)).is_none());
        let passed = others.filter(is_free).map(|r| {
            let verdict = Verdict::Passed {
                price: r.candidate.member.record.price_per_job,
                score: r.points,
                why: passed_over(r),
            };
            weighed(r, verdict)
        });
        let refused = refused.iter().map(|refusal| Weighed {
            peer: refusal.peer,
            operator: refusal.operator,
            verdict: Verdict::Refused(refusal.reason.clone()),
        });
        let mut all = chosen.chain(passed).chain(refused);
        let listed = all.by_ref().take(ControlResponse::MAX_REASONS).collect();
        let unlisted = u32::try_from(all.count()).unwrap_or(u32::MAX);
        Self { listed, unlisted }
    }
}

/// Whether a group was chosen for what was dealt ahead for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Warmth {
    /// It was, or it would have been chosen anyway.
    Warm,
    /// Nothing was dealt ahead for it.
    Cold,
}

fn weighed(ranked: &Ranked<'_>, verdict: Verdict) -> Weighed {
    let record = &ranked.candidate.member.record;
    Weighed {
        peer: record.peer,
        operator: record.operator,
        verdict,
    }
}

fn peer<'r>(ranked: &'r Ranked<'_>) -> &'r PeerKey {
    &ranked.candidate.member.record.peer
}
