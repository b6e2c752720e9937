//! What levels with one worker have in common: who may begin, and how the client is told.
//!
//! At levels `fhe` and `sealed` a session is one stream between the client and this worker, so nothing has to be
//! collected ([`board`](super::board)): its hello is admitted or refused at once.

use std::sync::Arc;
use std::time::Duration;

use ai_link_session::hello;
use ai_link_wire::node::BulkStream;
use ai_link_wire::{
    HelloReply, Level, Party, PeerId, PeerKey, Role, SessionHello, SessionRefusal, Ticket,
    UnixMillis,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::admit as tickets;
use crate::activity::Running;
use crate::worker::Worker;

/// A place among the sessions that run at once; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    _running: Running,
}

/// Checks the ticket of a hello, that the client sent it, and that there is a place. The model is not loaded yet.
pub(crate) async fn admit<'h>(
    worker: &Arc<Worker>,
    peer: PeerId,
    hello: &'h SessionHello,
    level: Level,
) -> Result<(&'h Ticket, Place), SessionRefusal> {
    let ticket = tickets::verified(worker, hello, level).await?;
    if ticket.role_of(&worker.identity.peer_key()) != Some(Role::EVALUATOR_0) {
        return Err(SessionRefusal::NotInGroup);
    }
    // libp2p proved the peer id with the handshake; the ticket says whose it must be.
    if hello.from != Party::Client || PeerKey::from(ticket.client).peer_id() != peer {
        return Err(SessionRefusal::WrongPeer);
    }
    tickets::not_used(worker, hello)?;
    let permit = worker
        .permits
        .clone()
        .try_acquire_owned()
        .map_err(|_| SessionRefusal::Busy)?;
    let place = Place {
        _permit: permit,
        _running: worker.activity.begin(),
    };
    tickets::released(worker, ticket, level).await?;
    Ok((ticket, place))
}

/// Tells the client whether its session begins; `None` if it does not.
pub(crate) async fn begin<A>(
    stream: &mut BulkStream,
    peer: PeerId,
    admitted: Result<A, SessionRefusal>,
) -> Option<A> {
    match admitted {
        Ok(admitted) => {
            let accepted = HelloReply::Accepted { pool: None };
            match hello::reply(stream, &accepted).await {
                Ok(()) => Some(admitted),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(%peer, error, "peer left after its hello");
                    None
                }
            }
        }
        Err(refusal) => {
            tracing::info!(%peer, %refusal, "session refused");
            let _ = hello::reply(stream, &HelloReply::Refused(refusal)).await;
            let _ = stream.close().await;
            None
        }
    }
}

/// When a ticket's time is over.
pub(crate) fn deadline(ticket: &Ticket) -> Instant {
    let left = ticket.deadline.0.saturating_sub(UnixMillis::now().0);
    Instant::now() + Duration::from_millis(left)
}
