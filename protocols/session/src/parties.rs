//! Which peer plays which party.

use ai_link_mpc::Party;
use ai_link_wire::{GroupMember, PeerKey, Role, Ticket};

/// The party that a worker's role is.
pub fn party_of(role: Role) -> Party {
    match role {
        Role::Dealer => Party::Dealer,
        Role::Evaluator0 => Party::EVALUATOR_0,
        Role::Evaluator1 => Party::EVALUATOR_1,
    }
}

/// The party that the first frame of a stream names.
pub fn from_wire(party: ai_link_wire::Party) -> Party {
    match party {
        ai_link_wire::Party::Client => Party::Client,
        ai_link_wire::Party::Worker(role) => party_of(role),
    }
}

/// The group member that plays `party`; the client is not in the group.
pub fn member(ticket: &Ticket, party: Party) -> Option<&GroupMember> {
    ticket.group.iter().find(|m| party_of(m.role) == party)
}

/// The key of the peer that plays `party`. A client's peer key is its account: both are the same ed25519 key.
pub fn peer_key(ticket: &Ticket, party: Party) -> Option<PeerKey> {
    match party {
        Party::Client => Some(PeerKey(ticket.client.0)),
        _ => member(ticket, party).map(|m| m.peer),
    }
}

/// The role that `peer` plays in the group.
pub fn role_of(ticket: &Ticket, peer: PeerKey) -> Option<Role> {
    ticket.group.iter().find(|m| m.peer == peer).map(|m| m.role)
}

/// The parties whose streams `role` waits for.
pub fn opened_by_others(role: Role) -> &'static [Party] {
    match role {
        Role::Dealer => &[Party::Client],
        Role::Evaluator0 => &[Party::Client, Party::Dealer],
        Role::Evaluator1 => &[Party::Client, Party::Dealer, Party::EVALUATOR_0],
    }
}

/// The parties to which `role` opens a stream itself.
pub fn opened_by_us(role: Role) -> &'static [Party] {
    match role {
        Role::Dealer => &[Party::EVALUATOR_0, Party::EVALUATOR_1],
        Role::Evaluator0 => &[Party::EVALUATOR_1],
        Role::Evaluator1 => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_workers_is_opened_from_exactly_one_side() {
        let roles = [Role::Dealer, Role::Evaluator0, Role::Evaluator1];
        for a in roles {
            for b in roles {
                let opens = opened_by_us(a).contains(&party_of(b));
                let waits = opened_by_others(b).contains(&party_of(a));
                assert_eq!(opens, waits, "{a:?} -> {b:?}");
                if a != b {
                    let back = opened_by_us(b).contains(&party_of(a));
                    assert!(opens ^ back, "{a:?} and {b:?} need exactly one stream");
                }
            }
            assert_eq!(from_wire(a.into()), party_of(a));
            assert!(opened_by_others(a).contains(&Party::Client));
        }
    }
}
