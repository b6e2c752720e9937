//! The workers that have registered, and whether they are alive.
//!
//! ```text
//!            heartbeat                heartbeat (welcome back)
//!          ┌──────────┐   ┌───────────────────┬──────────────────┐
//!          ▼          │   ▼                   │                  │
//! register ──▶ Fresh ─┴─────▶ stale_after ▶ Stale ─ gone_after ▶ Gone ─▶ forgotten when
//!                                                                        the roster is full
//! ```
//!
//! Only a `Fresh` worker is matched. The state is a function of the last sign of life and the
//! present time, so no timer can be missed. The roster is not persisted: after a restart workers
//! are unknown, are told so at their next heartbeat, and register again.

use std::collections::{BTreeMap, BTreeSet};

use ai_link_wire::{
    Commitment, Digest, Heartbeat, HostedWeights, PeerKey, PoolOffer, UnixMillis, WorkerRecord,
};

use crate::policy::PresencePolicy;

/// Registered workers, bounded by [`PresencePolicy::max_workers`].
#[derive(Debug)]
pub struct Roster {
    policy: PresencePolicy,
    members: BTreeMap<PeerKey, Member>,
}

/// A registered worker.
#[derive(Clone, Debug)]
pub struct Member {
    /// What the worker said and signed.
    pub record: WorkerRecord,
    /// When it signed that, by its own clock.
    pub issued: UnixMillis,
    /// Until when the record holds.
    pub expires: UnixMillis,
    /// The last sign of life, by the coordinator's clock.
    pub last_seen: UnixMillis,
    /// Jobs it is working on: its own count at the last heartbeat, corrected by what was matched
    /// and finished here since. Every heartbeat puts it right again.
    pub active: u16,
    /// Jobs it takes at a time. One, until its first heartbeat says more.
    pub capacity: u16,
    /// Models it holds ready.
    pub cached: BTreeSet<Commitment>,
    /// Pools that it can serve from as their dealer.
    pub pools: Vec<PoolOffer>,
    /// Private weights that it keeps a part of.
    pub hosted: Vec<HostedWeights>,
    /// Evaluation keys that it holds, or was matched to be sent since its last heartbeat.
    pub keys: BTreeSet<Digest>,
    /// Stored inputs of which it has a share at hand.
    pub inputs: BTreeSet<Digest>,
    heartbeat_issued: Option<UnixMillis>,
}

/// How alive a worker looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Heard of lately: may be matched.
    Fresh,
    /// Silent for longer than agreed: not matched.
    Stale,
    /// Silent for so long (or its record has run out) that its place may be given away.
    Gone,
}

/// Why a registration or a heartbeat was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// No place left, and nobody is gone.
    #[error("all {limit} places of the roster are taken; try another coordinator")]
    Full {
        /// How many places there are.
        limit: u32,
    },
    /// An older record or heartbeat than one already known: a replay, or messages out of order.
    #[error("a newer message of this worker is known already")]
    Outdated,
    /// A heartbeat of a worker that is not registered (any more).
    #[error("this worker is not registered here; register first")]
    Unknown,
}

impl Roster {
    /// An empty roster.
    pub fn new(policy: PresencePolicy) -> Self {
        Self {
            policy,
            members: BTreeMap::new(),
        }
    }

    /// Adds a worker or renews its record. The record's signature has been checked.
    pub fn register(
        &mut self,
        record: WorkerRecord,
        issued: UnixMillis,
        expires: UnixMillis,
        now: UnixMillis,
    ) -> Result<(), RosterError> {
        let peer = record.peer;
        let known = self.members.get(&peer);
        if known.is_some_and(|known| known.issued > issued) {
            return Err(RosterError::Outdated);
        }
        let (active, capacity, pools, hosted, keys, inputs, heartbeat_issued) = match known {
            Some(known) => (
                known.active,
                known.capacity,
                known.pools.clone(),
                known.hosted.clone(),
                known.keys.clone(),
                known.inputs.clone(),
                known.heartbeat_issued,
            ),
            None => {
                self.make_room(now)?;
                (
                    0,
                    1,
                    Vec::new(),
                    Vec::new(),
                    BTreeSet::new(),
                    BTreeSet::new(),
                    None,
                )
            }
        };
        let cached = record.cached_models.iter().copied().collect();
        self.members.insert(
            peer,
            Member {
                record,
                issued,
                expires,
                last_seen: now,
                active,
                capacity,
                cached,
                pools,
                hosted,
                keys,
                inputs,
                heartbeat_issued,
            },
        );
        Ok(())
    }

    /// Notes a sign of life. The heartbeat's signature has been checked.
    pub fn heartbeat(
        &mut self,
        heartbeat: &Heartbeat,
        issued: UnixMillis,
        now: UnixMillis,
    ) -> Result<(), RosterError> {
        let member = self
            .members
            .get_mut(&heartbeat.peer)
            .ok_or(RosterError::Unknown)?;
        if member.expires <= now {
            return Err(RosterError::Unknown);
        }
        if member.heartbeat_issued.is_some_and(|last| last >= issued) {
            return Err(RosterError::Outdated);
        }
        member.heartbeat_issued = Some(issued);
        member.last_seen = now;
        member.active = heartbeat.active_jobs;
        member.capacity = heartbeat.capacity;
        member.cached = heartbeat.cached_models.iter().copied().collect();
        // A pool is its dealer's to offer: nobody else can raise or lower what a group is worth by it.
        let own = |offer: &&PoolOffer| offer.group.last() == Some(&heartbeat.peer);
        member.pools = heartbeat.pools.iter().filter(own).cloned().collect();
        member.hosted.clone_from(&heartbeat.hosted);
        member.keys = heartbeat.keys.iter().copied().collect();
        member.inputs = heartbeat.inputs.iter().copied().collect();
        Ok(())
    }

    /// Counts a job just matched to `group`, in the order of its ticket, if its dealer has a pool for it: the next
    /// one is to know that an entry is promised. Every heartbeat puts it right again.
    pub fn promised(&mut self, group: &[PeerKey], commitment: &Commitment, batch: u32) {
        let dealer = group.last().and_then(|peer| self.members.get_mut(peer));
        let offers = dealer.into_iter().flat_map(|member| &mut member.pools);
        let fits = |offer: &&mut PoolOffer| {
            offer.commitment == *commitment && offer.batch == batch && offer.group == group
        };
        if let Some(offer) = offers.into_iter().find(fits) {
            offer.level = offer.level.saturating_sub(1);
        }
    }

    /// Notes that a client was sent to `peer` with this evaluation key: its next job is to go there too. Every heartbeat
    /// puts it right again.
    pub fn brings_key(&mut self, peer: &PeerKey, key: Digest) {
        if let Some(member) = self.members.get_mut(peer)
            && member.keys.len() < Heartbeat::MAX_KEYS
        {
            member.keys.insert(key);
        }
    }

    /// Counts a job just matched to this worker.
    pub fn assigned(&mut self, peer: &PeerKey) {
        if let Some(member) = self.members.get_mut(peer) {
            member.active = member.active.saturating_add(1);
        }
    }

    /// Counts a job this worker is done with.
    pub fn released(&mut self, peer: &PeerKey) {
        if let Some(member) = self.members.get_mut(peer) {
            member.active = member.active.saturating_sub(1);
        }
    }

    /// How alive a member looks at `now`.
    pub fn presence(&self, member: &Member, now: UnixMillis) -> Presence {
        let silent = now.saturating_since(member.last_seen);
        if member.expires <= now || silent >= self.policy.gone_after {
            Presence::Gone
        } else if silent >= self.policy.stale_after {
            Presence::Stale
        } else {
            Presence::Fresh
        }
    }

    /// The worker with this key.
    pub fn member(&self, peer: &PeerKey) -> Option<&Member> {
        self.members.get(peer)
    }

    /// Everyone registered, in the order of their keys.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// How many workers could be matched at `now`.
    pub fn fresh(&self, now: UnixMillis) -> usize {
        self.members
            .values()
            .filter(|member| self.presence(member, now) == Presence::Fresh)
            .count()
    }

    /// When the roster is full, forgets the worker that has been gone for longest.
    fn make_room(&mut self, now: UnixMillis) -> Result<(), RosterError> {
        let limit = self.policy.max_workers;
        if self.members.len() < limit as usize {
            return Ok(());
        }
        let gone = self
            .members
            .iter()
            .filter(|(_, member)| self.presence(member, now) == Presence::Gone)
            .min_by_key(|(_, member)| member.last_seen)
            .map(|(peer, _)| *peer)
            .ok_or(RosterError::Full { limit })?;
        self.members.remove(&gone);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
