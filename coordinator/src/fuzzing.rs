//! Bodies of fuzz targets, also driven by an ordinary property test.

use ai_link_wire::{
    ControlRequest, ControlResponse, Identity, Limit, PeerKey, Refusal, UnixMillis,
};

use crate::core::{LookedUp, Reaction};
use crate::ledger::MemoryStore;
use crate::{Coordinator, Policy};

/// Any bytes as a control message, from some caller: an answer or a look-up, never a panic, and
/// never an internal failure.
pub fn control_message(bytes: &[u8]) {
    let Ok(request) = ai_link_wire::decode::<ControlRequest>(bytes, Limit::CONTROL) else {
        return;
    };
    let identity = Identity::from_seed([1; 32]);
    let opened = Coordinator::open(identity, Policy::default(), [2; 32], MemoryStore::default());
    let Ok(mut coordinator) = opened else { return };
    let reaction = coordinator.handle(
        PeerKey([3; 32]),
        &request,
        &LookedUp::default(),
        UnixMillis(1_000_000_000),
    );
    if let Reaction::Reply(ControlResponse::Refused(Refusal::Internal(why))) = reaction {
        panic!("a message from outside made the coordinator fail: {why}");
    }
}
