//! Which workers a job goes to.
//!
//! Hard filters first ([`filter`]): each either passes a candidate or names the reason against it.
//! Then small rankers ([`rank`]) give every candidate left a score. Then the group ([`group`]): for
//! masked evaluation the best sum of scores over the evaluators, and the dealer unless the client
//! deals, of *distinct operators*, within the client's price. That engine keeps an input secret only
//! while they do not collude, so distinct operators are a filter and never a preference. A group that
//! has material for the very job dealt ahead gets a bonus on top of its workers' scores. A worker that holds
//! the client's evaluation key scores as much more as sending it (some 22 MB) would cost.
//!
//! Inputs that workers bring from storage narrow the choice: a worker needs a grant for the share that goes with
//! its part, and must be where the policies of the inputs permit it to be ([`filter`]).
//!
//! [`choose`] is a pure function: the same view, roster, request, time and seed give the same
//! group.

use ai_link_storage::location::LocationPolicy;
use ai_link_wire::{
    CandidateRefusal, Commitment, Digest, Level, PeerKey, Planck, RefusalReason, Region, Role,
    Seats, StoredInput, Trusted, UnixMillis,
};

use crate::ledger::TrackRecord;
use crate::roster::{Member, Presence, Roster};
use crate::view::{BondedWorker, ChainView};

pub mod filter;
pub mod group;
pub mod hosting;
pub mod rank;
mod sheet;

pub use group::{Chosen, NoGroup};
pub use sheet::Sheet;

/// What a job needs of its workers.
#[derive(Clone, Debug)]
pub struct Demand<'a> {
    /// The privacy level.
    pub level: Level,
    /// Regions that workers may stand in; none means any.
    pub regions: &'a [Region],
    /// Where inputs come from storage: who has grants for which share of them.
    pub seats: Option<&'a Seats>,
    /// These inputs. Who has its share of one at hand need not pull it.
    pub inputs: &'a [StoredInput],
    /// Where the owners of such inputs permit them to be pulled. A worker that any of these does not permit is
    /// left out.
    pub policies: &'a [LocationPolicy],
    /// The parts of the group, in the order in which a ticket lists them.
    pub roles: &'a [Role],
    /// The package the workers must have or fetch.
    pub commitment: Commitment,
    /// Records of the job, for which a pool must be; none where hosts are looked for.
    pub batch: Option<u32>,
    /// The client's evaluation key, at level `fhe`: who holds it need not be sent it.
    pub key: Option<Digest>,
    /// The workers that the client named, if it did.
    pub trusted: Option<&'a Trusted>,
    /// Workers not to be asked: the request's own list and the culprits of earlier attempts.
    pub excluded: &'a [PeerKey],
    /// What of the client's maximum is left for the workers together.
    pub budget: Planck,
    /// A worker with less at stake is not matched.
    pub minimum_bond: Planck,
}

/// A registered worker, with everything known about it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What it said about itself.
    pub member: &'a Member,
    /// What the chain says about it.
    pub bonded: Option<&'a BondedWorker>,
    /// How alive it looks.
    pub presence: Presence,
    /// Milliseconds since its last sign of life.
    pub silent_ms: u64,
    /// How its earlier jobs went.
    pub track: TrackRecord,
}

/// Chooses the group for a job.
///
/// `track` tells how a worker's earlier jobs went; only its failure is an outer error.
pub fn choose<'a, E>(
    view: &'a ChainView,
    roster: &'a Roster,
    demand: &Demand<'_>,
    ranking: &rank::Ranking<'_>,
    track: impl Fn(&PeerKey) -> Result<TrackRecord, E>,
    now: UnixMillis,
) -> Result<Result<Chosen<'a>, NoGroup>, E> {
    let mut refused = Vec::new();
    let mut passed = Vec::new();
    for member in roster.members() {
        let candidate = Candidate {
            member,
            bonded: view.worker(&member.record.peer),
            presence: roster.presence(member, now),
            silent_ms: now.0.saturating_sub(member.last_seen.0),
            track: track(&member.record.peer)?,
        };
        match filter::first_objection(&candidate, demand) {
            Some(reason) => refused.push(refusal(&candidate, reason)),
            None => passed.push(candidate),
        }
    }
    let ranked = ranking.rank(passed, demand);
    let warm = ranking.warm(&ranked, demand);
    Ok(group::assemble(ranked, &warm, demand, refused))
}

pub(crate) fn refusal(candidate: &Candidate<'_>, reason: RefusalReason) -> CandidateRefusal {
    let record = &candidate.member.record;
    CandidateRefusal {
        peer: record.peer,
        operator: record.operator,
        reason,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
