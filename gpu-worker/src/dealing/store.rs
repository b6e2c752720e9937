//! An evaluator's side: stores what a dealer deals ahead.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ai_link_mpc::pool::{StoreAhead, entry_bytes};
use ai_link_mpc::{EvaluatorIndex, Party, SessionSpec, drive};
use ai_link_session::links::SessionLinks;
use ai_link_session::parties;
use ai_link_wire::node::{BulkStream, FrameKind};
use ai_link_wire::{
    Bytes, Digest, Level, PeerId, PeerKey, PoolHello, PoolPurpose, PoolRefusal, PoolReply, PoolTag,
    Role, Ticket, UnixMillis, codec,
};
use tokio::time::{Instant, timeout};

use super::fill::REPLY;
use super::paced::PacedLinks;
use super::{ENTRY_WITHIN, blocking, pool_key};
use crate::pool::book::BookError;
use crate::pool::demand::{MAX_TARGET, Occupation};
use crate::pool::{OpenPool, PoolKey, PoolName, PoolRecord, ShelfError};
use crate::random;
use crate::session::admit;
use crate::worker::Worker;

/// Dealers that deal to this worker at once. Each may make it hold one entry in memory.
const MAX_DEALERS: usize = 4;
/// How long the dealer may take to say what was drawn.
const DRAWN_WITHIN: Duration = Duration::from_secs(15);

/// Who deals to this worker now.
#[derive(Debug, Default)]
pub(crate) struct Filling(Mutex<BTreeSet<PeerKey>>);

/// A dealer's place among them.
struct Place<'a> {
    filling: &'a Filling,
    dealer: PeerKey,
}

impl Filling {
    /// A place, if there is one, and the dealer has none already.
    fn place(&self, dealer: PeerKey) -> Option<Place<'_>> {
        let mut dealers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = dealers.len() < MAX_DEALERS && dealers.insert(dealer);
        free.then(|| Place {
            filling: self,
            dealer,
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut dealers = self
            .filling
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        dealers.remove(&self.dealer);
    }
}

/// Takes a stream over which a dealer wants to deal ahead, to its end.
pub(crate) async fn incoming(
    worker: Arc<Worker>,
    peer: PeerId,
    mut stream: BulkStream,
    hello: PoolHello,
) {
    let Ok(peer) = PeerKey::try_from(peer) else {
        return refuse(stream, PoolRefusal::WrongPeer).await;
    };
    // Dropped with the stream.
    let Some(_place) = worker.filling.place(peer) else {
        return refuse(stream, PoolRefusal::Busy).await;
    };
    let accepted = match accept(&worker, peer, &mut stream, &hello).await {
        Ok(accepted) => accepted,
        Err(refusal) => {
            tracing::debug!(%peer, %refusal, "not stored");
            return refuse(stream, refusal).await;
        }
    };
    let mut links = SessionLinks::new([(Party::Dealer, peer, stream)]);
    let entries = usize::from(hello.entries).min(MAX_TARGET);
    let mut stored = 0;
    while stored < entries && worker.activity.occupation() != Occupation::Busy {
        match accepted.store(&worker, &mut links).await {
            Ok(()) => stored += 1,
            Err(why) => {
                // Also how a dealer ends that has to go and serve.
                tracing::debug!(%peer, why, "nothing more is stored");
                break;
            }
        }
    }
    links.close().await;
    tracing::info!(%peer, pool = %accepted.name, stored, "stored ahead");
}

async fn refuse(mut stream: BulkStream, refusal: PoolRefusal) {
    let _ = send(&mut stream, &PoolReply::Refused(refusal)).await;
    let _ = stream.close().await;
}

async fn send(stream: &mut BulkStream, reply: &PoolReply) -> Result<(), PoolRefusal> {
    let bytes = codec::encode(reply, REPLY).map_err(PoolRefusal::failed)?;
    let sent = stream.send(FrameKind::PoolReply, &bytes).await;
    sent.map_err(PoolRefusal::failed)
}

/// A pool into which a dealer may deal.
struct Accepted {
    name: PoolName,
    pool: OpenPool,
    spec: SessionSpec,
    index: EvaluatorIndex,
    sharing: Option<[u8; 32]>,
    bytes: Bytes,
}

/// Checks that the dealer's group was matched by a bonded coordinator and has served a session here, and opens or
/// founds the pool.
async fn accept(
    worker: &Arc<Worker>,
    peer: PeerKey,
    stream: &mut BulkStream,
    hello: &PoolHello,
) -> Result<Accepted, PoolRefusal> {
    let ticket = hello.ticket.verify_at_any_time();
    let ticket = ticket.map_err(PoolRefusal::ticket_invalid)?;
    admit::matched(worker, hello.ticket.signer().account(), ticket, Level::Mpc)
        .await
        .map_err(PoolRefusal::ticket_invalid)?;
    let (key, index) = part(worker, ticket)?;
    if key.dealer != peer {
        return Err(PoolRefusal::WrongPeer);
    }
    // The mark of the session: it was run here, not long ago.
    match worker.used.contains(&hello.ticket.digest()) {
        Ok(true) => {}
        Ok(false) => return Err(PoolRefusal::NotServed),
        Err(error) => return Err(PoolRefusal::failed(error)),
    }
    if worker.activity.occupation() == Occupation::Busy {
        return Err(PoolRefusal::Busy);
    }
    let program = worker
        .cache
        .load(ticket.commitment, ticket.manifest)
        .await
        .map_err(PoolRefusal::failed)?;
    let digest = Digest(program.digest());
    let spec = parties::spec(ticket, Digest([0; 32]), program);
    let bytes = entry_bytes(&spec, index.party()).map_err(PoolRefusal::ticket_invalid)?;
    if bytes > worker.config.pools.0 {
        return Err(PoolRefusal::NoRoom);
    }
    let (name, pool) = match hello.purpose {
        PoolPurpose::Found(dealers) => {
            let session = draw(stream, dealers, &key, index).await?;
            let record = PoolRecord {
                key: key.clone(),
                program: digest,
                session,
            };
            found(worker, record).await?
        }
        PoolPurpose::Refill { pool, from } => {
            let open = known(worker, key.clone(), pool, from).await?;
            send(stream, &PoolReply::Accepted { contribution: None }).await?;
            open
        }
    };
    Ok(Accepted {
        name,
        pool,
        spec,
        index,
        sharing: key.sharing.map(|sharing| sharing.0),
        bytes: Bytes(bytes),
    })
}

/// The group's key, and this worker's number in it.
fn part(worker: &Worker, ticket: &Ticket) -> Result<(PoolKey, EvaluatorIndex), PoolRefusal> {
    let other = || PoolRefusal::ticket_invalid("this worker is none of its evaluators");
    let key = pool_key(ticket)
        .ok_or_else(|| PoolRefusal::ticket_invalid("its group has no dealer of its own"))?;
    match ticket.role_of(&worker.identity.peer_key()) {
        Some(Role::Evaluator(number)) => Ok((key, parties::index_of(number))),
        Some(Role::Dealer) | None => Err(other()),
    }
}

/// Draws the number of a new pool with the others.
async fn draw(
    stream: &mut BulkStream,
    dealer: Digest,
    key: &PoolKey,
    index: EvaluatorIndex,
) -> Result<PoolTag, PoolRefusal> {
    let own = random::contribution().map_err(PoolRefusal::failed)?;
    let contribution = Some(own);
    send(stream, &PoolReply::Accepted { contribution }).await?;
    let reply = stream.recv_bounded(FrameKind::PoolReply, REPLY.get());
    let reply = timeout(DRAWN_WITHIN, reply).await;
    let reply = reply
        .map_err(|_| PoolRefusal::failed("the dealer did not say what was drawn"))?
        .map_err(PoolRefusal::failed)?;
    match codec::decode(&reply, REPLY) {
        // Without its own part an evaluator could be given an old number.
        Ok(PoolReply::Drawn(parts))
            if parts.len() == key.evaluators.len()
                && parts.get(usize::from(index.get())) == Some(&own) =>
        {
            Ok(PoolTag::drawn(&dealer, &parts))
        }
        _ => Err(PoolRefusal::failed("this is not what was drawn")),
    }
}

async fn found(
    worker: &Arc<Worker>,
    record: PoolRecord,
) -> Result<(PoolName, OpenPool), PoolRefusal> {
    let shelf = Arc::clone(&worker.pools);
    let founded = blocking(move || {
        let name = shelf.found(record.clone(), UnixMillis::now())?;
        let (_, pool) = shelf.find(&record.key).ok_or(BookError::Unknown)?;
        Ok::<_, ShelfError>((name, pool))
    });
    let founded = founded.await.map_err(PoolRefusal::failed)?;
    founded.map_err(|error| no_room(&error))
}

/// The pool that is there, without what its dealer has lost.
async fn known(
    worker: &Arc<Worker>,
    key: PoolKey,
    session: PoolTag,
    from: u64,
) -> Result<(PoolName, OpenPool), PoolRefusal> {
    let shelf = Arc::clone(&worker.pools);
    let found = blocking(move || {
        let (record, pool) = shelf.find(&key).filter(|(r, _)| r.session == session)?;
        let name = record.name();
        Some(shelf.retain(&name, from).map(|()| (name, pool)))
    });
    match found.await.map_err(PoolRefusal::failed)? {
        None => Err(PoolRefusal::Unknown),
        Some(found) => found.map_err(PoolRefusal::failed),
    }
}

fn no_room(error: &ShelfError) -> PoolRefusal {
    match error {
        ShelfError::Book(BookError::Full { .. } | BookError::Off) => PoolRefusal::NoRoom,
        error => PoolRefusal::failed(error),
    }
}

impl Accepted {
    /// Stores the next entry.
    async fn store(&self, worker: &Arc<Worker>, links: &mut SessionLinks) -> Result<(), String> {
        let entropy = random::entropy().map_err(|e| crate::chain(&e))?;
        let (shelf, name, bytes) = (Arc::clone(&worker.pools), self.name, self.bytes);
        let (spec, index, sharing) = (self.spec.clone(), self.index, self.sharing);
        let pool = Arc::clone(&self.pool);
        let begun = blocking(move || {
            let room = shelf.room(name, bytes).map_err(|e| crate::chain(&e))?;
            let machine = StoreAhead::new(spec, index, pool, sharing, entropy);
            Ok::<_, String>((room, machine.map_err(|e| crate::chain(&e))?))
        });
        let (room, machine) = begun.await.map_err(|e| crate::chain(&e))??;
        let mut links = PacedLinks {
            links,
            activity: &worker.activity,
        };
        let deadline = (Instant::now() + ENTRY_WITHIN).into_std();
        let driven = drive(machine, &mut links, deadline).await;
        blocking(move || drop(room))
            .await
            .map_err(|e| crate::chain(&e))?;
        driven.map(drop).map_err(|e| crate::chain(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_dealers_deal_at_once_and_each_once() {
        let filling = Filling::default();
        let dealer = |n| PeerKey([n; 32]);
        let mut places: Vec<_> = (0..4).map(|n| filling.place(dealer(n))).collect();
        assert!(places.iter().all(Option::is_some));
        assert!(filling.place(dealer(9)).is_none(), "no place is free");
        places.pop();
        assert!(filling.place(dealer(0)).is_none(), "it has a place");
        assert!(filling.place(dealer(9)).is_some());
        assert!(filling.place(dealer(3)).is_some());
    }
}
