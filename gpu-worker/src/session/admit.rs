//! Whether a stream belongs to a session that this worker takes part in.

use std::sync::Arc;

use ai_link_mpc::Party;
use ai_link_session::parties;
use ai_link_wire::{
    AccountId, InputPart, Level, PeerId, PeerKey, Role, SessionHello, SessionRefusal, SignedError,
    Ticket, UnixMillis,
};

use super::{Admitted, Work};
use crate::cache::CacheError;
use crate::dealing;
use crate::inputs;
use crate::worker::Worker;

/// Checks the ticket, who shows it, and, for the client's stream, that the model can be had and there is room.
pub(super) async fn admit(
    worker: &Arc<Worker>,
    peer: PeerId,
    hello: &SessionHello,
) -> Result<Admitted, SessionRefusal> {
    let ticket = verified(worker, hello, Level::Mpc).await?;
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
    not_used(worker, hello)?;
    let work = match from {
        Party::Client => Some(work(worker, ticket, role, &hello.inputs).await?),
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

/// That the session was not begun before: for an early refusal only.
pub(crate) fn not_used(worker: &Worker, hello: &SessionHello) -> Result<(), SessionRefusal> {
    match worker.used.contains(&hello.ticket.digest()) {
        Ok(false) => Ok(()),
        Ok(true) => Err(SessionRefusal::SessionUsed),
        // Without the record of used sessions nothing may run.
        Err(error) => Err(unavailable(&error)),
    }
}

/// The ticket of a hello, if it holds now and is of `level`.
pub(crate) async fn verified<'h>(
    worker: &Worker,
    hello: &'h SessionHello,
    level: Level,
) -> Result<&'h Ticket, SessionRefusal> {
    let now = UnixMillis::now();
    let ticket = hello.ticket.verify(now).map_err(|error| match error {
        SignedError::Expired { .. } => SessionRefusal::Expired,
        error => SessionRefusal::ticket_invalid(error),
    })?;
    if ticket.deadline <= now {
        return Err(SessionRefusal::Expired);
    }
    matched(worker, hello.ticket.signer().account(), ticket, level).await?;
    Ok(ticket)
}

/// Checks that a ticket signed by `signer` makes sense and is of `level`, and that a bonded coordinator signed it.
pub(crate) async fn matched(
    worker: &Worker,
    signer: AccountId,
    ticket: &Ticket,
    level: Level,
) -> Result<(), SessionRefusal> {
    ticket.check().map_err(SessionRefusal::ticket_invalid)?;
    if ticket.level != level || !worker.levels().contains(&level) {
        return Err(SessionRefusal::ticket_invalid(format!(
            "it is of level {}, which is not served here or not in this way",
            ticket.level
        )));
    }
    if signer != ticket.coordinator {
        return Err(SessionRefusal::ticket_invalid(
            "not signed by the coordinator it names",
        ));
    }
    // Or this worker could not insist on its pay.
    if ticket.check_terms().is_err() {
        return Err(SessionRefusal::ticket_invalid(
            "its coordinator did not sign what the job pays",
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

async fn work(
    worker: &Arc<Worker>,
    ticket: &Ticket,
    role: Role,
    parts: &[InputPart],
) -> Result<Work, SessionRefusal> {
    let permit = worker
        .permits
        .clone()
        .try_acquire_owned()
        .map_err(|_| SessionRefusal::Busy)?;
    let running = worker.activity.begin();
    released(worker, ticket, Level::Mpc).await?;
    let program = worker
        .cache
        .load(ticket.commitment, ticket.manifest)
        .await
        .map_err(not_loaded)?;
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
    let inputs = inputs::bring(worker, ticket, role, parts, &program).await;
    let inputs = inputs.map_err(SessionRefusal::Input)?;
    let claim = match role {
        // What was dealt ahead has input masks of its own.
        _ if !inputs.is_empty() => None,
        Role::Dealer => dealing::claim(worker, ticket).await,
        Role::Evaluator(_) => None,
    };
    Ok(Work {
        program,
        weights,
        inputs,
        claim,
        _permit: permit,
        _running: running,
    })
}

/// That the chain has what the ticket says to load, offered at `level`: a coordinator cannot have a worker sign for
/// another model than its owner published.
pub(crate) async fn released(
    worker: &Worker,
    ticket: &Ticket,
    level: Level,
) -> Result<(), SessionRefusal> {
    let release = worker
        .registry
        .version(&ticket.model, ticket.version)
        .await
        .map_err(|e| unavailable(&e))?
        .ok_or_else(|| SessionRefusal::model_unavailable("this version is not on the chain"))?;
    if release.commitment != ticket.commitment || release.manifest != ticket.manifest {
        return Err(SessionRefusal::CommitmentMismatch);
    }
    if !release.levels.contains(level) {
        return Err(SessionRefusal::model_unavailable(format!(
            "its owner does not offer it at level {level}"
        )));
    }
    Ok(())
}

/// What a client hears when a model cannot be had.
pub(crate) fn not_loaded(error: CacheError) -> SessionRefusal {
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        "cannot load a model"
    );
    match error {
        CacheError::CommitmentMismatch { .. } => SessionRefusal::CommitmentMismatch,
        error => unavailable(&error),
    }
}

fn unavailable(error: &dyn std::error::Error) -> SessionRefusal {
    SessionRefusal::model_unavailable(error)
}
