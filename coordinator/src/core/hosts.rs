//! Workers for a model's owner, who wants its private weights hosted.

use ai_link_wire::{
    CandidateRefusal, ControlResponse, GroupMember, HostsRequest, Level, PeerKey, Planck, Refusal,
    RefusalReason, Role, UnixMillis,
};
use sha2::{Digest as _, Sha256};

use super::refusal::by_ledger;
use super::{Coordinator, LookedUp, Stop};
use crate::ledger::Store;
use crate::matching::{self, Candidate, Demand, NoGroup, filter, rank};
use crate::roster::Member;

impl<S: Store> Coordinator<S> {
    pub(super) fn hosts(
        &self,
        caller: PeerKey,
        request: &HostsRequest,
        looked_up: &LookedUp,
        now: UnixMillis,
    ) -> Result<ControlResponse, Stop> {
        let (version, model) = self.find_model(&request.model, Some(request.version), looked_up)?;
        if model.owner != caller.account() {
            return Err(Refusal::WrongSigner.into());
        }
        let demand = Demand {
            level: Level::Mpc,
            regions: &[],
            seats: None,
            inputs: &[],
            policies: &[],
            roles: &Role::TRIO,
            commitment: model.versions[&version].commitment,
            batch: None,
            key: None,
            trusted: None,
            excluded: &request.exclude,
            // The owner pays nothing for it: who hosts is paid by the jobs.
            budget: Planck(u128::MAX),
            minimum_bond: self.policy.minimum_bond,
        };
        let members = match request.named.as_slice() {
            [] => self.proposed(caller, &demand, now)?,
            [zero, one, dealer] => self.named([zero, one, dealer], &demand, now),
            other => {
                let why = format!("three hosts are needed, {} were named", other.len());
                return Err(Refusal::malformed(why).into());
            }
        };
        Ok(match members {
            Ok(members) => {
                let both = Role::TRIO.into_iter().zip(members);
                let group = both.map(|(role, member)| GroupMember {
                    role,
                    peer: member.record.peer,
                    operator: member.record.operator,
                    addresses: member.record.addresses.clone(),
                });
                ControlResponse::Hosts(group.collect())
            }
            Err(mut reasons) => {
                reasons.truncate(ControlResponse::MAX_REASONS);
                ControlResponse::NoMatch { reasons }
            }
        })
    }

    /// The best three of distinct operators.
    fn proposed(
        &self,
        caller: PeerKey,
        demand: &Demand<'_>,
        now: UnixMillis,
    ) -> Result<Result<Vec<&Member>, Vec<CandidateRefusal>>, Stop> {
        let seed = Sha256::new()
            .chain_update(self.chance)
            .chain_update(b"hosts")
            .chain_update(caller.0)
            .chain_update(now.0.to_le_bytes())
            .finalize();
        let ranking = rank::Ranking {
            weights: &self.policy.weights,
            exploration_per_mille: self.policy.exploration_per_mille,
            seed: seed.into(),
        };
        let track = |peer: &_| self.ledger.track(peer);
        let chosen = matching::choose(&self.view, &self.roster, demand, &ranking, track, now)
            .map_err(by_ledger)?;
        Ok(match chosen {
            Ok(chosen) => Ok(chosen.group.into_iter().map(|(_, member)| member).collect()),
            Err(NoGroup::TooFew {
                refused, eligible, ..
            }) if refused.is_empty() => {
                let (have, need) = (eligible, 3);
                return Err(Refusal::NotEnoughWorkers { have, need }.into());
            }
            Err(NoGroup::TooFew { refused, .. }) => Err(refused),
            // Prices that add up to more than there is: nobody can ever pay such a group.
            Err(NoGroup::TooExpensive { cheapest, .. }) => {
                let max = demand.budget;
                let price = cheapest;
                return Err(Refusal::PriceTooHigh { price, max }.into());
            }
        })
    }

    /// The workers that the owner names, or what is against them.
    fn named(
        &self,
        peers: [&PeerKey; 3],
        demand: &Demand<'_>,
        now: UnixMillis,
    ) -> Result<Vec<&Member>, Vec<CandidateRefusal>> {
        let mut members: Vec<&Member> = Vec::with_capacity(peers.len());
        let mut refused = Vec::new();
        for (peer, role) in peers.into_iter().zip(Role::TRIO) {
            let bonded = self.view.worker(peer);
            let Some(member) = self.roster.member(peer) else {
                refused.extend(bonded.map(|bonded| CandidateRefusal {
                    peer: *peer,
                    operator: bonded.operator,
                    // Never heard of, or not for so long that it was forgotten.
                    reason: RefusalReason::Stale {
                        last_seen_ms: now.0,
                    },
                }));
                continue;
            };
            let candidate = Candidate {
                member,
                bonded,
                presence: self.roster.presence(member, now),
                silent_ms: now.0.saturating_sub(member.last_seen.0),
                track: Default::default(),
            };
            let taken = |known: &&Member| known.record.operator == member.record.operator;
            let reason = filter::first_objection(&candidate, demand).or_else(|| {
                if !member.record.roles.contains(role) {
                    Some(RefusalReason::RoleNotOffered)
                } else {
                    members
                        .iter()
                        .any(taken)
                        .then_some(RefusalReason::SameOperator)
                }
            });
            match reason {
                Some(reason) => refused.push(matching::refusal(&candidate, reason)),
                None => members.push(member),
            }
        }
        match members.len() == peers.len() {
            true => Ok(members),
            false => Err(refused),
        }
    }
}
