//! Which peer plays which party.

use ai_link_mpc::pool::PoolId;
use ai_link_mpc::{DealerSeat, EvaluatorIndex, MAX_EVALUATORS, Party, SessionSpec, StoredPorts};
use ai_link_program::Program;
use ai_link_wire::{Digest, EvaluatorNumber, GroupMember, PeerKey, PoolTag, Role, Ticket};
use std::sync::Arc;

// Both count the same evaluators, so that each number of one is a number of the other.
const _: () = assert!(MAX_EVALUATORS == EvaluatorNumber::COUNT);

/// The engine's number of an evaluator.
pub fn index_of(number: EvaluatorNumber) -> EvaluatorIndex {
    EvaluatorIndex::new(number.get()).expect("both have the same numbers; qed")
}

/// The party that a worker's role is.
pub fn party_of(role: Role) -> Party {
    match role {
        Role::Dealer => Party::Dealer,
        Role::Evaluator(number) => index_of(number).party(),
    }
}

/// The party that the first frame of a stream names.
pub fn from_wire(party: ai_link_wire::Party) -> Party {
    match party {
        ai_link_wire::Party::Client => Party::Client,
        ai_link_wire::Party::Worker(role) => party_of(role),
    }
}

/// Who deals, in the engine's words.
pub fn seat(dealer: ai_link_wire::DealerSeat) -> DealerSeat {
    match dealer {
        ai_link_wire::DealerSeat::Worker => DealerSeat::Worker,
        ai_link_wire::DealerSeat::Client => DealerSeat::Client,
    }
}

/// The session of a [checked](Ticket::check) ticket whose signed form has the digest `session`.
pub fn spec(ticket: &Ticket, session: Digest, program: Arc<Program>) -> SessionSpec {
    let ports = ticket.inputs.iter().map(|input| usize::from(input.port));
    SessionSpec {
        stored: StoredPorts::of(ports).expect("Ticket::check refuses other ports; qed"),
        evaluators: ticket.evaluators,
        dealer: seat(ticket.dealer),
        ..SessionSpec::new(program, session.0, ticket.batch as usize)
    }
}

/// The engine's name of the pool with number `pool` that this ticket's session takes from; `None` where nobody but
/// the client deals. Whoever computes it knows that the pool is for this program, batch, group and sharing of weights.
pub fn pool_id(ticket: &Ticket, program: &Program, pool: PoolTag) -> Option<PoolId> {
    let evaluators = ticket.group.iter().filter(|m| m.role != Role::Dealer);
    Some(PoolId {
        program: program.digest(),
        batch: u64::from(ticket.batch),
        sharing: ticket.sharing.map(|sharing| sharing.0),
        dealer: member(ticket, Party::Dealer)?.peer.0,
        evaluators: evaluators.map(|m| m.peer.0).collect(),
        session: pool.0,
    })
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

/// The parties whose streams `role` waits for: the client, and of the group the dealer and the evaluators before it.
pub fn opened_by_others(ticket: &Ticket, role: Role) -> Vec<Party> {
    let others = ticket.group.iter().map(|m| m.role);
    let opening = others.filter(|other| opens(*other, role)).map(party_of);
    std::iter::once(Party::Client).chain(opening).collect()
}

/// The parties to which `role` opens a stream itself.
pub fn opened_by_us(ticket: &Ticket, role: Role) -> Vec<Party> {
    let others = ticket.group.iter().map(|m| m.role);
    others
        .filter(|other| opens(role, *other))
        .map(party_of)
        .collect()
}

/// Whether the stream between two workers is opened by the first one.
fn opens(from: Role, to: Role) -> bool {
    match (from, to) {
        (Role::Dealer, Role::Evaluator(_)) => true,
        (Role::Evaluator(from), Role::Evaluator(to)) => from < to,
        (_, Role::Dealer) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ticket;
    use ai_link_wire::DealerSeat as Seat;

    #[test]
    fn every_pair_of_workers_is_opened_from_exactly_one_side() {
        for (evaluators, dealer) in [
            (2, Seat::Worker),
            (2, Seat::Client),
            (3, Seat::Client),
            (8, Seat::Worker),
        ] {
            let ticket = ticket(evaluators, dealer);
            let roles: Vec<Role> = ticket.group.iter().map(|m| m.role).collect();
            assert_eq!(
                roles.len(),
                usize::from(evaluators) + usize::from(dealer == Seat::Worker)
            );
            for a in &roles {
                for b in &roles {
                    let opens = opened_by_us(&ticket, *a).contains(&party_of(*b));
                    let waits = opened_by_others(&ticket, *b).contains(&party_of(*a));
                    assert_eq!(opens, waits, "{a:?} -> {b:?}");
                    if a != b {
                        let back = opened_by_us(&ticket, *b).contains(&party_of(*a));
                        assert!(opens ^ back, "{a:?} and {b:?} need exactly one stream");
                    }
                }
                assert_eq!(from_wire((*a).into()), party_of(*a));
                assert!(opened_by_others(&ticket, *a).contains(&Party::Client));
            }
        }
    }
}
