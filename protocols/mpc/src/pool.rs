//! Pools: material dealt ahead of requests, encrypted at rest, used once across crashes.
//!
//! Nothing that a dealer deals depends on data. So an idle group deals ahead ([`DealAhead`] at the
//! dealer, [`StoreAhead`] at each evaluator), and a request finds its corrections in place: what
//! is left is the masked input, the openings and the output. The dealer draws the seed of the input
//! masks itself and gives it to the client when one comes ([`Dispense`]): 40 bytes.
//!
//! A pool belongs to a program, a batch size, a sharing of the weights if they are private, a group
//! of peers, and a number drawn by them ([`PoolId`]); all of that is in the session digest that salts
//! an entry's keys and in the associated data of its encryption.
//!
//! # Used once
//! 1. An index is reserved, durably, before anything is dealt for it, so that a dealer that crashed
//!    does not deal it again.
//! 2. Evaluators store their part, durably, and say so; only then the dealer stores its own. So what
//!    a dealer offers the evaluators have, or have used.
//! 3. Each party marks the index, durably, before it sends anything that the entry masks, and an
//!    index that is marked, unknown or below those seen is refused. After a crash a marked entry is
//!    gone for good.
//! 4. The dealer names the index of a session to client and evaluators. If anyone refuses, the
//!    session ends; the next one has another index.
//!
//! A test runs this with a crash before and after every operation on every party's store.
//!
//! # At rest
//! AES-256-GCM under a key of this pool, party and entry, by HKDF-SHA256 from a secret of the node.
//! 16 bytes derived from the entry's own fresh secret go into its key: an index whose first attempt
//! was lost may be dealt again by a *new* pool on the same disk image without repeating a nonce.
//! Who reads the disk learns how many entries there are and their size, and who can write it can
//! lose entries but not bring one back: restoring an old image of the disk does, so keep pools out
//! of backups.
//!
//! # Bounds
//! A pool has a limit in bytes. When it is reached, dealing stops; nothing unused is ever dropped to
//! make room. [`refill`] says how much to deal, and nothing while a request runs.

mod ahead;
mod dispense;
mod entry;
#[cfg(any(test, feature = "testing"))]
pub mod faulty;
mod id;
mod policy;
mod store;
mod volatile;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::MpcError;
use crate::keys::Secret32;
use crate::party::Party;
use crate::session::SessionSpec;

pub use ahead::{DealAhead, StoreAhead};
pub use dispense::Dispense;
pub(crate) use dispense::{GRANT_BYTES, INDEX_BYTES, Source};
pub(crate) use entry::{Body, Entry};
pub use id::PoolId;
pub use policy::{Load, refill};
pub use store::{Contents, Store, StoreError};
pub use volatile::VolatileStore;

/// Why a pool gives or takes nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// No entry is left.
    #[error("the pool is empty: deal for this request")]
    Empty,
    /// The limit is reached; nothing is dropped to make room.
    #[error("the pool holds {bytes} of at most {limit} bytes and an entry takes {entry}")]
    Full {
        /// Bytes of all entries.
        bytes: u64,
        /// The limit.
        limit: u64,
        /// Bytes of the entry that does not fit.
        entry: u64,
    },
    /// The entry was used, or never came.
    #[error("entry {index} is not there, or was used before")]
    Gone {
        /// Its index.
        index: u64,
    },
    /// An index that was seen before.
    #[error("entry {index} comes after entry {seen} was seen")]
    Order {
        /// The index.
        index: u64,
        /// The last one seen.
        seen: u64,
    },
    /// The stored bytes are not what was stored: the disk, or a key of another node.
    #[error("entry {index} does not open: the disk is damaged, or it is another node's")]
    Damaged {
        /// Its index.
        index: u64,
    },
    /// The pool is for other sessions.
    #[error("the pool is for another program, batch, group or sharing of weights")]
    OtherSession,
    /// The store failed. Reopen it: what it did last may or may not have happened.
    #[error("the store of the pool failed")]
    Store(#[from] StoreError),
}

/// One party's part of a pool.
pub struct Pool<S> {
    store: S,
    id: PoolId,
    owner: Party,
    key: Secret32,
    limit: u64,
    /// Lowest index that nobody has used for anything.
    next: u64,
    /// Sizes of the entries that can be taken.
    unused: BTreeMap<u64, u64>,
}

/// A pool that several sessions use.
pub type SharedPool<S> = Arc<Mutex<Pool<S>>>;

impl<S: Store> Pool<S> {
    /// Opens the part of `owner`, whose entries are encrypted under a key from `node`, a secret of
    /// this node that stays the same. Entries that were marked are removed. The pool takes at most
    /// `limit` bytes.
    pub fn open(
        mut store: S,
        id: PoolId,
        owner: Party,
        node: &Secret32,
        limit: u64,
    ) -> Result<Self, PoolError> {
        let Contents {
            next,
            entries,
            marked,
        } = store.load()?;
        let mut unused = entries;
        for index in marked {
            unused.remove(&index);
            store.remove(index)?;
        }
        let after = unused.keys().next_back().map_or(0, |last| last + 1);
        Ok(Self {
            key: entry::key(node, &id, owner),
            store,
            id,
            owner,
            limit,
            next: next.max(after),
            unused,
        })
    }

    /// Which sessions it is for.
    pub fn id(&self) -> &PoolId {
        &self.id
    }

    /// Entries that can be taken.
    pub fn level(&self) -> usize {
        self.unused.len()
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.unused.values().sum()
    }

    /// Whether an entry of `bytes` fits.
    pub(crate) fn check_room(&self, entry: u64) -> Result<(), PoolError> {
        let (bytes, limit) = (self.bytes(), self.limit);
        match bytes.checked_add(entry).is_some_and(|sum| sum <= limit) {
            true => Ok(()),
            false => Err(PoolError::Full {
                bytes,
                limit,
                entry,
            }),
        }
    }

    /// Reserves the index of the next entry. It is never given again.
    pub(crate) fn reserve(&mut self) -> Result<u64, PoolError> {
        let index = self.next;
        // Whatever becomes of the store: not this one again.
        self.next = index + 1;
        self.store.reserve(index + 1)?;
        Ok(index)
    }

    /// Refuses an index that was seen before.
    pub(crate) fn check_new(&self, index: u64) -> Result<(), PoolError> {
        match index >= self.next {
            true => Ok(()),
            false => Err(PoolError::Order {
                index,
                seen: self.next - 1,
            }),
        }
    }

    /// Stores an entry durably. The dealer's index was [reserved](Self::reserve), an evaluator's
    /// is [new](Self::check_new).
    pub(crate) fn append(&mut self, index: u64, entry: Entry) -> Result<(), PoolError> {
        let sealed = entry.seal(&self.key, &self.id, self.owner, index);
        self.check_room(sealed.len() as u64)?;
        self.next = self.next.max(index + 1);
        let bytes = sealed.len() as u64;
        self.store.append(index, sealed)?;
        self.unused.insert(index, bytes);
        Ok(())
    }

    /// The index that a dealer offers next.
    pub(crate) fn first(&self) -> Option<u64> {
        self.unused.keys().next().copied()
    }

    /// Takes an entry: when this returns it is marked as used for good.
    pub(crate) fn take(&mut self, index: u64) -> Result<Entry, PoolError> {
        // If marking fails it is not known whether it is marked: not to be offered either way.
        self.unused
            .remove(&index)
            .ok_or(PoolError::Gone { index })?;
        self.store.mark(index)?;
        let sealed = self.store.read(index)?;
        let entry = Entry::open(sealed, &self.key, &self.id, self.owner, index)?;
        self.store.remove(index)?;
        Ok(entry)
    }

    /// Drops all entries before `index`: what an evaluator still has of a dealer that has lost its
    /// part of them, and says from where on it has some.
    pub fn retain_from(&mut self, index: u64) -> Result<(), PoolError> {
        let kept = self.unused.split_off(&index);
        for index in std::mem::replace(&mut self.unused, kept).into_keys() {
            self.store.remove(index)?;
        }
        Ok(())
    }

    /// The first index that this party can still use; at the dealer, what evaluators may
    /// [retain](Self::retain_from).
    pub fn lowest(&self) -> u64 {
        self.first().unwrap_or(self.next)
    }

    /// For several sessions.
    pub fn shared(self) -> SharedPool<S> {
        Arc::new(Mutex::new(self))
    }
}

/// Bytes that an entry for sessions like `spec` takes in the store of `owner`: none at the client.
pub fn entry_bytes(spec: &SessionSpec, owner: Party) -> Result<u64, MpcError> {
    let schedule = spec.schedule()?;
    Ok(match owner {
        Party::Client => 0,
        Party::Dealer => Entry::sealed_bytes(schedule.output_bytes()),
        Party::Evaluator(index) if index.get() < spec.evaluators => {
            Entry::sealed_bytes(schedule.dealt_bytes_to(index))
        }
        Party::Evaluator(_) => {
            let evaluators = spec.evaluators;
            let index = owner;
            return Err(MpcError::NoSuchEvaluator { index, evaluators });
        }
    })
}

/// The pool, also after a panic elsewhere: every change of it is whole or refused by its checks.
fn lock<S>(pool: &SharedPool<S>) -> std::sync::MutexGuard<'_, Pool<S>> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}
