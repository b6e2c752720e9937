//! Workers that hold what another one would otherwise pull from storage.

use ai_link_wire::{ControlResponse, Held, Holder, MAX_HOLDERS, PeerKey, Refusal, UnixMillis};

use super::{Coordinator, Stop};
use crate::ledger::Store;
use crate::roster::{Member, Presence};

impl<S: Store> Coordinator<S> {
    /// The least busy first. Asked by registered workers only: who holds an input is nobody else's business.
    pub(super) fn holders(
        &self,
        caller: PeerKey,
        held: &Held,
        now: UnixMillis,
    ) -> Result<ControlResponse, Stop> {
        if self.roster.member(&caller).is_none() {
            return Err(Refusal::NotRegistered.into());
        }
        let fits = |member: &&Member| {
            let holds = match held {
                Held::Model(commitment) => member.cached.contains(commitment),
                Held::Input(input) => member.inputs.contains(input),
            };
            holds
                && member.record.peer != caller
                && self.roster.presence(member, now) == Presence::Fresh
        };
        let mut holders: Vec<&Member> = self.roster.members().filter(fits).collect();
        holders.sort_by_key(|member| member.active);
        let holder = |member: &Member| Holder {
            peer: member.record.peer,
            addresses: member.record.addresses.clone(),
        };
        let nearest = holders.into_iter().take(MAX_HOLDERS);
        Ok(ControlResponse::Holders(nearest.map(holder).collect()))
    }
}
