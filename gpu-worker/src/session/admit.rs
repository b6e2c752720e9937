//! Whether a stream belongs to a session that this worker takes part in.

use std::sync::Arc;

use ai_link_mpc::Party;
use ai_link_session::parties;
use ai_link_wire::{
    AccountId, Level, PeerId, PeerKey, Role, SessionHello, SessionRefusal, SignedError, Ticket,
    UnixMillis,
};

use super::{Admitted, Work};
use crate::cache::CacheError;
use crate::dealing;
use crate::worker::Worker;

/// Checks the ticket, who shows it, and, for the client's stream, that the model can be had and there is room.
pub(super) async fn admit(
    worker: &Arc<Worker>,
    peer: PeerId,
    hello: &SessionHello,
) -> Result<Admitted, SessionRefusal> {
    let ticket = verified(worker, hello).await?;
    let role = ticket
        .role_of(&worker.identity.peer_key())
        .ok_or(SessionRefusal::NotInGroup)?;
    let from = parties::from_wire(hello.from);
    let claimed = parties::peer_key(ticket, from).ok_or(SessionRefusal::WrongPeer)?;
    // libp2p proved the peer id with the handshake; the ticket says whose it must be.
    if PeerKey::try_from(peer).ok() != Some(claimed)
        || !parties::opened_by_others(ticket, role).contains(&from)
    {
        return Err(SessionRefusal::WrongPeer);
    }
    let session = hello.ticket.digest();
    match worker.used.contains(&session) {
        Ok(false) => {}
        Ok(true) => return Err(SessionRefusal::SessionUsed),
        // Without the record of used sessions nothing may run.
        Err(error) => return Err(unavailable(&error)),
    }
    let work = match from {
        Party::Client => Some(work(worker, ticket, role).await?),
        _ => None,
    };
    Ok(Admitted {
        session,
        role,
        from,
        peer: claimed,
        ticket: ticket.clone(),
        work,
    })
}

async fn verified<'h>(
    worker: &Worker,
    hello: &'h SessionHello,
) -> Result<&'h Ticket, SessionRefusal> {
    let now = UnixMillis::now();
    let ticket = hello.ticket.verify(now).map_err(|error| match error {
        SignedError::Expired { .. } => SessionRefusal::Expired,
        error => SessionRefusal::ticket_invalid(error),
    })?;
    if ticket.deadline <= now {
        return Err(SessionRefusal::Expired);
    }
    matched(worker, hello.ticket.signer().account(), ticket).await?;
    Ok(ticket)
}

/// Checks that a ticket signed by `signer` makes sense, and that a bonded coordinator signed it.
pub(crate) async fn matched(
    worker: &Worker,
    signer: AccountId,
    ticket: &Ticket,
) -> Result<(), SessionRefusal> {
    ticket.check().map_err(SessionRefusal::ticket_invalid)?;
    if ticket.level != Level::Mpc {
        return Err(SessionRefusal::ticket_invalid(
            "this worker serves level mpc only",
        ));
    }
    if signer != ticket.coordinator {
        return Err(SessionRefusal::ticket_invalid(
            "not signed by the coordinator it names",
        ));
    }
    match worker
        .coordinators
        .is_bonded(&worker.registry, signer)
        .await
    {
        Ok(true) => Ok(()),
        Ok(false) => Err(SessionRefusal::ticket_invalid(
            "its coordinator is not bonded on chain",
        )),
        Err(error) => Err(SessionRefusal::ticket_invalid(format!(
            "cannot ask the chain: {error}"
        ))),
    }
}

async fn work(worker: &Arc<Worker>, ticket: &Ticket, role: Role) -> Result<Work, SessionRefusal> {
    let permit = worker
        .permits
        .clone()
        .try_acquire_owned()
        .map_err(|_| SessionRefusal::Busy)?;
    let running = worker.activity.begin();
    // The ticket says what to load, the chain says what the owner published: they must agree, so that a
    // coordinator cannot have a worker sign for another model.
    let release = worker
        .registry
        .version(&ticket.model, ticket.version)
        .await
        .map_err(|e| unavailable(&e))?
        .ok_or_else(|| SessionRefusal::model_unavailable("this version is not on the chain"))?;
    if release.commitment != ticket.commitment || release.manifest != ticket.manifest {
        return Err(SessionRefusal::CommitmentMismatch);
    }
    let program = worker
        .cache
        .load(ticket.commitment, ticket.manifest)
        .await
        .map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot load a model"
            );
            match error {
                CacheError::CommitmentMismatch { .. } => SessionRefusal::CommitmentMismatch,
                error => unavailable(&error),
            }
        })?;
    if program.parameters().is_empty() != ticket.sharing.is_none() {
        return Err(SessionRefusal::ticket_invalid(
            "it names a sharing of weights and they are public, or the reverse",
        ));
    }
    if ticket.batch as usize > program.max_batch() {
        return Err(SessionRefusal::ticket_invalid(
            "the batch is larger than the model allows",
        ));
    }
    let loaded = worker.hosted.load(ticket, role, &program).await;
    let weights = loaded.map_err(|error| {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "cannot use private weights"
        );
        SessionRefusal::model_unavailable(
            "this worker has no usable part of its private weights for this group",
        )
    })?;
    let claim = match role {
        Role::Dealer => dealing::claim(worker, ticket).await,
        Role::Evaluator(_) => None,
    };
    Ok(Work {
        program,
        weights,
        claim,
        _permit: permit,
        _running: running,
    })
}

fn unavailable(error: &dyn std::error::Error) -> SessionRefusal {
    SessionRefusal::model_unavailable(error)
}
