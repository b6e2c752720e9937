//! The latest requests for a group and why they were answered as they were.
//!
//! Bounded in all and for each client, so that nobody can fill the memory or push out much of what others did.

use std::collections::{BTreeMap, VecDeque};

use ai_link_wire::{
    AccountId, ControlResponse, Decision, Explanation, JobId, JobRequest, Outcome, Planck, Refusal,
    UnixMillis,
};

use super::Stop;
use crate::matching::Sheet;

/// Jobs remembered.
const MAX_JOBS: usize = 2048;
/// Of these, of one client.
const MAX_JOBS_PER_CLIENT: usize = 64;

/// What a request is decided for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Intent {
    /// For a ticket, which is recorded before it is given.
    #[default]
    Ticket,
    /// To say what would be decided: nothing changes.
    Quote,
}

/// What is noted while a request is decided.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) intent: Intent,
    /// The answer was given before: nothing is decided.
    pub(super) repeated: bool,
    pub(super) budget: Planck,
    pub(super) explored: bool,
    pub(super) sheet: Sheet,
}

/// Decisions by client and job; the newest jobs of each client.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    clients: BTreeMap<AccountId, VecDeque<(JobId, Vec<Decision>)>>,
    /// Whose turn it is to be forgotten: one entry for each job remembered.
    order: VecDeque<(AccountId, JobId)>,
}

impl Decisions {
    /// Remembers a decision.
    pub(super) fn note(&mut self, client: AccountId, job: JobId, decision: Decision) {
        let jobs = self.clients.entry(client).or_default();
        if let Some((_, decisions)) = jobs.iter_mut().find(|(known, _)| *known == job) {
            if decisions.len() == Explanation::MAX_DECISIONS {
                decisions.remove(0);
            }
            return decisions.push(decision);
        }
        jobs.push_back((job, vec![decision]));
        self.order.push_back((client, job));
        if jobs.len() > MAX_JOBS_PER_CLIENT
            && let Some((oldest, _)) = jobs.pop_front()
        {
            self.order.retain(|known| *known != (client, oldest));
        }
        if self.order.len() > MAX_JOBS
            && let Some((client, job)) = self.order.pop_front()
            && let Some(jobs) = self.clients.get_mut(&client)
        {
            jobs.retain(|(known, _)| *known != job);
            if jobs.is_empty() {
                self.clients.remove(&client);
            }
        }
    }

    /// The newest decision of each of the latest `most` jobs, newest job first.
    pub(super) fn newest(
        &self,
        most: usize,
    ) -> impl Iterator<Item = (AccountId, JobId, &Decision)> {
        let latest = self.order.iter().rev().take(most);
        latest.filter_map(|(client, job)| {
            let (_, decisions) = self.of(client, Some(*job))?;
            Some((*client, *job, decisions.last()?))
        })
    }

    /// A job of a client's, or its newest.
    pub(super) fn of(
        &self,
        client: &AccountId,
        job: Option<JobId>,
    ) -> Option<(JobId, &[Decision])> {
        let jobs = self.clients.get(client)?;
        let (job, decisions) = match job {
            Some(job) => jobs.iter().find(|(known, _)| *known == job)?,
            None => jobs.back()?,
        };
        Some((*job, decisions))
    }
}

/// The decision on `request`, if `answer` is one.
pub(super) fn decision(
    request: &JobRequest,
    notes: Notes,
    answer: &Result<ControlResponse, Stop>,
    now: UnixMillis,
) -> Option<Decision> {
    let outcome = match answer {
        _ if notes.repeated => return None,
        Ok(ControlResponse::Ticket(ticket)) => {
            // Signed a moment ago.
            let ticket = ticket.verify_at_any_time().ok()?;
            Outcome::Matched {
                version: ticket.version,
                price: ticket.price,
                payouts: ticket.payouts.clone(),
            }
        }
        Ok(ControlResponse::NoMatch { .. }) => Outcome::NoMatch,
        Ok(_) => return None,
        // To be asked again in a moment.
        Err(Stop::LookUp(_) | Stop::Refuse(Refusal::Busy { .. })) => return None,
        Err(Stop::Refuse(refusal)) => Outcome::Refused(refusal.clone()),
    };
    let Sheet { listed, unlisted } = notes.sheet;
    Some(Decision {
        attempt: request.attempt,
        at: now,
        model: request.model.clone(),
        level: request.level,
        batch: request.batch,
        max_price: request.max_price,
        budget: notes.budget,
        explored: notes.explored,
        outcome,
        candidates: listed,
        unlisted,
    })
}

#[cfg(test)]
mod tests {
    use ai_link_wire::{Level, ModelName};

    use super::*;

    fn some(attempt: u32) -> Decision {
        Decision {
            attempt,
            at: UnixMillis(1),
            model: ModelName::new("digits").expect("a name"),
            level: Level::Mpc,
            batch: 1,
            max_price: Planck(1),
            budget: Planck(1),
            explored: false,
            outcome: Outcome::NoMatch,
            candidates: Vec::new(),
            unlisted: 0,
        }
    }

    fn job(n: u16) -> JobId {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        JobId(id)
    }

    #[test]
    fn a_client_keeps_its_newest_and_pushes_out_only_its_own() {
        let (busy, calm) = (AccountId([1; 32]), AccountId([2; 32]));
        let mut decisions = Decisions::default();
        decisions.note(calm, job(0), some(0));
        for n in 0..1000 {
            decisions.note(busy, job(n), some(0));
        }
        assert!(decisions.of(&calm, Some(job(0))).is_some());
        assert_eq!(
            decisions.of(&busy, None).map(|(job, _)| job),
            Some(job(999))
        );
        assert!(decisions.of(&busy, Some(job(936))).is_some());
        assert!(decisions.of(&busy, Some(job(935))).is_none());
        assert!(decisions.of(&busy, Some(job(0))).is_none());
        assert_eq!(decisions.order.len(), MAX_JOBS_PER_CLIENT + 1);
    }

    #[test]
    fn all_of_it_is_bounded() {
        let mut decisions = Decisions::default();
        for n in 0..3000_u16 {
            let mut client = [0; 32];
            client[..2].copy_from_slice(&n.to_be_bytes());
            decisions.note(AccountId(client), job(n), some(0));
        }
        assert_eq!(decisions.order.len(), MAX_JOBS);
        assert_eq!(decisions.clients.len(), MAX_JOBS);
        let (one, at) = (AccountId([7; 32]), job(1));
        for attempt in 0..40 {
            decisions.note(one, at, some(attempt));
        }
        let kept: Vec<_> = decisions
            .of(&one, Some(at))
            .map(|(_, kept)| kept.iter().map(|d| d.attempt).collect())
            .unwrap_or_default();
        assert_eq!(kept, (24..40).collect::<Vec<_>>());
    }
}
