//! Who is at fault when an evaluation breaks off, as far as one side can tell.

use std::error::Error as _;

use ai_link_mpc::{DriveError, MpcError, Party};
use ai_link_wire::{PeerKey, Ticket};

use crate::links::SessionError;
use crate::parties;

/// The peers to leave out of the next group.
///
/// An abort names its culprit; a broken or silent stream is its far end's doing; two evaluators that disagree
/// are both suspect, since only a third opinion could tell them apart.
pub fn culprits(error: &DriveError, ticket: &Ticket) -> Vec<PeerKey> {
    let key = |party| parties::peer_key(ticket, party);
    match error {
        DriveError::Protocol {
            source: MpcError::EvaluatorsDisagree { .. },
            ..
        } => [Party::EVALUATOR_0, Party::EVALUATOR_1]
            .into_iter()
            .filter_map(key)
            .collect(),
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
