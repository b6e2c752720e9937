//! Dealing ahead over the network: the shell around [pools](crate::pool).
//!
//! A dealer that has served a group [keeps](keep) a pool for it filled: when nothing runs, [`fill`] opens a stream to
//! each evaluator with a hello of its own kind, which shows the ticket of a session that they all served, and deals
//! entry by entry. Evaluators [`store`] what comes. Whenever a session begins on either side, dealing waits before the
//! next message, and ends before the next entry.

mod fill;
mod paced;
mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ai_link_wire::{DealerSeat, PeerKey, PoolTag, Role, Signed, Ticket, UnixMillis};
use tokio::time::sleep;

use crate::pool::demand::{Demands, Next};
use crate::pool::{Claim, PoolKey};
use crate::tally::NotDealt;
use crate::worker::Worker;

pub(crate) use store::{Filling, incoming};

/// One entry, with all pauses for sessions.
const ENTRY_WITHIN: Duration = Duration::from_secs(120);
/// At least as often as this the dealer looks whether there is something to deal.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The ticket of a session that was served.
#[derive(Debug)]
pub(crate) struct Proof {
    signed: Signed<Ticket>,
    ticket: Ticket,
}

/// What this worker was asked to deal.
#[derive(Debug, Default)]
pub(crate) struct Asked(Mutex<Demands<Arc<Proof>>>);

impl Asked {
    /// Notes a session that this worker dealt for.
    pub(crate) fn served(&self, signed: &Signed<Ticket>, ticket: &Ticket) {
        let Some(key) = pool_key(ticket) else { return };
        let proof = Arc::new(Proof {
            signed: signed.clone(),
            ticket: ticket.clone(),
        });
        self.with(|demands| demands.served(key, proof, UnixMillis::now()));
    }

    /// Also after a panic elsewhere: what is asked for is no more than a hint.
    fn with<T>(&self, act: impl FnOnce(&mut Demands<Arc<Proof>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The pool that a ticket's session could take from: none where the client deals.
pub(crate) fn pool_key(ticket: &Ticket) -> Option<PoolKey> {
    if ticket.dealer != DealerSeat::Worker {
        return None;
    }
    let of = |dealer: bool| {
        let members = ticket.group.iter();
        members
            .filter(move |m| (m.role == Role::Dealer) == dealer)
            .map(|m| m.peer)
    };
    Some(PoolKey {
        commitment: ticket.commitment,
        batch: ticket.batch,
        sharing: ticket.sharing,
        dealer: of(true).next()?,
        evaluators: of(false).collect::<Vec<PeerKey>>(),
    })
}

/// At a dealer: an entry for the session of a ticket, if there is one that no other session was promised.
pub(crate) async fn claim(worker: &Arc<Worker>, ticket: &Ticket) -> Option<Claim> {
    let (shelf, key) = (Arc::clone(&worker.pools), pool_key(ticket)?);
    blocking(move || shelf.claim(&key, UnixMillis::now()))
        .await
        .ok()?
}

/// At an evaluator: its part of the pool that the dealer offers for the session of a ticket, if it is here.
pub(crate) async fn part(worker: &Arc<Worker>, ticket: &Ticket, pool: PoolTag) -> Option<Claim> {
    let (shelf, key) = (Arc::clone(&worker.pools), pool_key(ticket)?);
    blocking(move || shelf.part(&key, pool, UnixMillis::now()))
        .await
        .ok()?
}

/// At a dealer: drops a pool of which an evaluator has no part any more.
pub(crate) async fn discard(worker: &Arc<Worker>, claim: Claim) {
    let shelf = Arc::clone(&worker.pools);
    let dropped = blocking(move || shelf.discard(&claim.name())).await;
    if let Ok(Err(error)) = dropped {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "cannot drop a pool"
        );
    }
}

/// Deals ahead for ever, whenever this worker has nothing better to do.
pub(crate) async fn keep(worker: Arc<Worker>) {
    let mut changes = worker.activity.watch();
    loop {
        let wait = match next(&worker).await {
            Next::Fill {
                key,
                proof,
                entries,
            } => {
                fill_one(&worker, &key, &proof, entries).await;
                continue;
            }
            Next::At(time) => time.saturating_since(UnixMillis::now()).min(LOOK_EVERY),
            Next::Nothing => LOOK_EVERY,
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = changes.next() => {}
        }
    }
}

async fn next(worker: &Arc<Worker>) -> Next<Arc<Proof>> {
    let shelf = Arc::clone(&worker.pools);
    let levels: BTreeMap<PoolKey, usize> = blocking(move || {
        let levels = shelf.levels().into_iter();
        levels
            .map(|level| (level.record.key, level.entries))
            .collect()
    })
    .await
    .unwrap_or_default();
    let occupation = worker.activity.occupation();
    worker.asked.with(|demands| {
        let level = |key: &PoolKey| levels.get(key).copied().unwrap_or(0);
        demands.next(UnixMillis::now(), occupation, level)
    })
}

async fn fill_one(worker: &Arc<Worker>, key: &PoolKey, proof: &Arc<Proof>, entries: usize) {
    let done = fill::fill(worker, key, proof, entries).await;
    match &done {
        Ok(dealt) => tracing::info!(model = %key.commitment, dealt, "dealt ahead"),
        Err(error) => tracing::info!(
            model = %key.commitment, error = error as &dyn std::error::Error,
            "cannot deal ahead now"
        ),
    }
    let outcome = match &done {
        Ok(_) => Ok(()),
        Err(error) if error.is_busy() => Err(NotDealt::Busy),
        Err(_) => Err(NotDealt::Failed),
    };
    worker.tally.dealing.count((), outcome);
    worker.asked.with(|demands| match done {
        Ok(_) => demands.filled(key),
        Err(error) if error.is_busy() => demands.busy(key, UnixMillis::now()),
        Err(_) => demands.failed(key, UnixMillis::now()),
    });
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    tokio::task::spawn_blocking(work).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ai_link_program::fixed::ProgramBuilder;
    use ai_link_session::parties;
    use ai_link_wire::{
        AccountId, Commitment, Digest, Fid, GroupMember, JobId, Level, ModelVersion, Planck,
        SignatureBytes,
    };

    fn ticket(dealer: DealerSeat, sharing: Option<Digest>) -> Ticket {
        let roles = Role::of_group(Level::Mpc, 2, dealer).unwrap();
        let members = (0..).zip(roles).map(|(i, role)| GroupMember {
            role,
            peer: PeerKey([i; 32]),
            operator: AccountId([i; 32]),
            addresses: Vec::new(),
        });
        Ticket {
            job: JobId([1; 16]),
            attempt: 0,
            client: AccountId([100; 32]),
            coordinator: AccountId([101; 32]),
            model: "digits".parse().unwrap(),
            version: ModelVersion(1),
            commitment: Commitment([1; 32]),
            manifest: Fid([1; 32]),
            level: Level::Mpc,
            dealer,
            evaluators: 2,
            sharing,
            inputs: Vec::new(),
            batch: 7,
            group: members.collect(),
            price: Planck(0),
            payouts: Vec::new(),
            deadline: UnixMillis(1),
            terms_signature: SignatureBytes([0; 64]),
        }
    }

    /// The application names a pool by its ticket, workers by their records: both must mean the same.
    #[test]
    fn workers_and_applications_mean_the_same_pool() {
        let mut b = ProgramBuilder::new("nothing");
        let x = b.input("x", &[2], 8);
        b.output("x", x);
        let program = b.finish().unwrap();
        let number = PoolTag([9; 32]);
        for sharing in [None, Some(Digest([5; 32]))] {
            let ticket = ticket(DealerSeat::Worker, sharing);
            let key = pool_key(&ticket).unwrap();
            assert_eq!(key.members(), [0, 1, 2].map(|i| PeerKey([i; 32])));
            let ours = key.pool_id(program.digest(), number);
            assert_eq!(parties::pool_id(&ticket, &program, number), Some(ours));
        }
        // Nobody but the application knows what it deals itself.
        let ticket = ticket(DealerSeat::Client, None);
        assert_eq!(pool_key(&ticket), None);
        assert_eq!(parties::pool_id(&ticket, &program, number), None);
    }
}
