//! Who is at fault when an evaluation breaks off, as far as one side can tell.

use std::error::Error as _;

use ai_link_mpc::{DriveError, MpcError};
use ai_link_wire::{PeerKey, Role, Ticket};

use crate::links::SessionError;
use crate::parties;

/// The peers to leave out of the next group.
///
/// An abort names its culprit; a broken or silent stream is its far end's doing; when evaluators disagree all of
/// them are suspect, since the masked outputs alone do not tell who is right.
pub fn culprits(error: &DriveError, ticket: &Ticket) -> Vec<PeerKey> {
    let key = |party| parties::peer_key(ticket, party);
    match error {
        DriveError::Protocol {
            source: MpcError::EvaluatorsDisagree { .. },
            ..
        } => {
            let group = ticket.group.iter();
            let evaluators = group.filter(|m| matches!(m.role, Role::Evaluator(_)));
            evaluators.map(|m| m.peer).collect()
        }
        DriveError::Link { source, peer, .. } => {
            let session = source
                .source()
                .and_then(|e| e.downcast_ref::<SessionError>());
            session
                .and_then(SessionError::culprit)
                .or_else(|| key(*peer))
                .into_iter()
                .collect()
        }
        error => error.peer().and_then(key).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ticket;
    use ai_link_mpc::Party;
    use ai_link_wire::DealerSeat;

    #[test]
    fn all_evaluators_that_disagree_are_suspect_and_the_dealer_is_not() {
        for (evaluators, dealer) in [(2, DealerSeat::Worker), (3, DealerSeat::Client)] {
            let ticket = ticket(evaluators, dealer);
            let error = DriveError::Protocol {
                peer: Party::EVALUATOR_1,
                source: MpcError::EvaluatorsDisagree { index: 0 },
            };
            let suspects = culprits(&error, &ticket);
            let wanted: Vec<_> = ticket.group[..evaluators.into()]
                .iter()
                .map(|m| m.peer)
                .collect();
            assert_eq!(suspects, wanted);
        }
    }
}
