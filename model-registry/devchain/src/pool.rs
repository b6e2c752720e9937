//! Transactions that wait for a block.
//!
//! Order comes from tags, as in Substrate's pool: the runtime says which tags a transaction requires
//! and which it provides (for the nonce check: the sender's previous and own nonce). A transaction
//! whose requirements no block and no other transaction provides waits, so a sender may have many
//! transactions in flight and they may arrive in any order.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
};

use sp_core::H256;
use sp_runtime::transaction_validity::ValidTransaction;

/// What a transaction needs or gives.
pub(crate) type Tag = Vec<u8>;

/// How much the pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Transactions.
    pub transactions: usize,
    /// Bytes of all transactions together.
    pub bytes: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            transactions: 4096,
            bytes: 32 << 20,
        }
    }
}

/// Why the pool did not take a transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// It is there already.
    #[error("the transaction {hash:?} is in the pool already")]
    AlreadyImported {
        /// Hash of the transaction.
        hash: H256,
    },
    /// Another one with the same nonce is there and pays no less.
    #[error(
        "a transaction with the same nonce and priority {old} is in the pool; this one has {new}"
    )]
    TooLowPriority {
        /// Priority of the one in the pool.
        old: u64,
        /// Priority of the refused one.
        new: u64,
    },
    /// No room, and nothing that could make room.
    #[error(
        "the pool is full: {transactions} transactions, {bytes} bytes; try again after the next block"
    )]
    Full {
        /// Transactions held.
        transactions: usize,
        /// Bytes held.
        bytes: usize,
    },
}

/// Where a transaction stands after it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can go into the next block.
    Ready,
    /// It waits for an earlier transaction of its sender.
    Future,
}

/// What happened when a transaction was taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) standing: Standing,
    /// Transactions with the same tags that it replaces.
    pub(crate) usurped: Vec<H256>,
    /// Waiting transactions that had to make room.
    pub(crate) evicted: Vec<H256>,
}

struct Entry {
    hash: H256,
    bytes: Vec<u8>,
    priority: u64,
    /// Requirements that no block has met yet.
    requires: BTreeSet<Tag>,
    provides: Vec<Tag>,
    /// Last block it may be in.
    valid_till: u64,
}

/// The pool.
pub(crate) struct Pool {
    limits: PoolLimits,
    /// By order of arrival.
    entries: BTreeMap<u64, Entry>,
    by_hash: HashMap<H256, u64>,
    by_tag: HashMap<Tag, u64>,
    bytes: usize,
    arrivals: u64,
}

impl Pool {
    pub(crate) fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            entries: BTreeMap::new(),
            by_hash: HashMap::new(),
            by_tag: HashMap::new(),
            bytes: 0,
            arrivals: 0,
        }
    }

    /// Number of transactions held.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether a transaction of the pool provides `tag`.
    pub(crate) fn provides(&self, tag: &[u8]) -> bool {
        self.by_tag.contains_key(tag)
    }

    /// Takes a transaction that the runtime found valid at block `number`.
    pub(crate) fn insert(
        &mut self,
        hash: H256,
        bytes: Vec<u8>,
        validity: ValidTransaction,
        number: u32,
    ) -> Result<Taken, PoolError> {
        if self.by_hash.contains_key(&hash) {
            return Err(PoolError::AlreadyImported { hash });
        }
        let rivals: BTreeSet<u64> = validity
            .provides
            .iter()
            .filter_map(|tag| self.by_tag.get(tag))
            .copied()
            .collect();
        let strongest = rivals
            .iter()
            .filter_map(|id| self.entries.get(id))
            .map(|entry| entry.priority)
            .max();
        if let Some(old) = strongest.filter(|old| *old >= validity.priority) {
            return Err(PoolError::TooLowPriority {
                old,
                new: validity.priority,
            });
        }
        let usurped: Vec<H256> = rivals
            .into_iter()
            .filter_map(|id| self.remove(id))
            .map(|entry| entry.hash)
            .collect();
        let evicted = self.make_room(bytes.len())?;

        let id = self.arrivals;
        self.arrivals += 1;
        self.bytes += bytes.len();
        self.by_hash.insert(hash, id);
        for tag in &validity.provides {
            self.by_tag.insert(tag.clone(), id);
        }
        self.entries.insert(
            id,
            Entry {
                hash,
                bytes,
                priority: validity.priority,
                requires: validity.requires.into_iter().collect(),
                provides: validity.provides,
                valid_till: u64::from(number).saturating_add(validity.longevity),
            },
        );
        let standing = if self.ready_ids().contains(&id) {
            Standing::Ready
        } else {
            Standing::Future
        };
        Ok(Taken {
            standing,
            usurped,
            evicted,
        })
    }

    /// Whether a block could be made.
    pub(crate) fn has_ready(&self) -> bool {
        self.entries.values().any(|entry| entry.requires.is_empty())
    }

    /// Goes through the transactions in the order in which they may be applied.
    pub(crate) fn selection(&self) -> Selection<'_> {
        Selection::new(self)
    }

    /// Takes note of a block: `included` and `refused` transactions go away, what the former provide
    /// is met from now on, and what is too old for another block goes too. Returns the latter.
    pub(crate) fn after_block(
        &mut self,
        number: u32,
        included: &[H256],
        refused: &[H256],
    ) -> Vec<H256> {
        let mut met = BTreeSet::new();
        for hash in included {
            if let Some(entry) = self
                .by_hash
                .get(hash)
                .copied()
                .and_then(|id| self.remove(id))
            {
                met.extend(entry.provides);
            }
        }
        for hash in refused {
            if let Some(id) = self.by_hash.get(hash).copied() {
                self.remove(id);
            }
        }
        for entry in self.entries.values_mut() {
            entry.requires.retain(|tag| !met.contains(tag));
        }
        let old: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.valid_till <= u64::from(number))
            .map(|(id, _)| *id)
            .collect();
        old.into_iter()
            .filter_map(|id| self.remove(id))
            .map(|entry| entry.hash)
            .collect()
    }

    /// Evicts waiting transactions, the latest first, until one more of `bytes` fits. The latest,
    /// because an earlier one is nearer to its turn.
    fn make_room(&mut self, bytes: usize) -> Result<Vec<H256>, PoolError> {
        let mut evicted = Vec::new();
        let full = |pool: &Self| {
            pool.entries.len() >= pool.limits.transactions
                || pool.bytes.saturating_add(bytes) > pool.limits.bytes
        };
        if !full(self) {
            return Ok(evicted);
        }
        let ready = self.ready_ids();
        let waiting: Vec<u64> = self
            .entries
            .keys()
            .rev()
            .filter(|id| !ready.contains(id))
            .copied()
            .collect();
        for id in waiting {
            if !full(self) {
                break;
            }
            evicted.extend(self.remove(id).map(|entry| entry.hash));
        }
        if full(self) {
            return Err(PoolError::Full {
                transactions: self.entries.len(),
                bytes: self.bytes,
            });
        }
        Ok(evicted)
    }

    fn ready_ids(&self) -> BTreeSet<u64> {
        let mut ready = BTreeSet::new();
        let mut selection = self.selection();
        while let Some(candidate) = selection.next() {
            ready.insert(candidate.id);
            selection.met(candidate.id);
        }
        ready
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.by_hash.remove(&entry.hash);
        for tag in &entry.provides {
            self.by_tag.remove(tag);
        }
        self.bytes -= entry.bytes.len();
        Some(entry)
    }
}

/// A transaction whose turn it is.
pub(crate) struct Candidate<'a> {
    pub(crate) id: u64,
    pub(crate) hash: H256,
    pub(crate) bytes: &'a [u8],
}

/// A walk through a pool. The walker tells which transactions worked, because only those make the
/// ones that depend on them ready.
pub(crate) struct Selection<'a> {
    pool: &'a Pool,
    /// Transactions whose turn it is; the higher priority first, then the earlier.
    ready: BinaryHeap<(u64, Reverse<u64>)>,
    /// For those whose turn it is not: the number of requirements not met.
    missing: HashMap<u64, usize>,
    dependents: HashMap<&'a Tag, Vec<u64>>,
}

impl<'a> Selection<'a> {
    fn new(pool: &'a Pool) -> Self {
        let mut selection = Self {
            pool,
            ready: BinaryHeap::new(),
            missing: HashMap::new(),
            dependents: HashMap::new(),
        };
        for (id, entry) in &pool.entries {
            if entry.requires.is_empty() {
                selection.ready.push((entry.priority, Reverse(*id)));
            } else {
                selection.missing.insert(*id, entry.requires.len());
                for tag in &entry.requires {
                    selection.dependents.entry(tag).or_default().push(*id);
                }
            }
        }
        selection
    }

    /// The next transaction.
    pub(crate) fn next(&mut self) -> Option<Candidate<'a>> {
        let (_, Reverse(id)) = self.ready.pop()?;
        let entry = self.pool.entries.get(&id)?;
        Some(Candidate {
            id,
            hash: entry.hash,
            bytes: &entry.bytes,
        })
    }

    /// Transaction `id` was applied.
    pub(crate) fn met(&mut self, id: u64) {
        let Some(entry) = self.pool.entries.get(&id) else {
            return;
        };
        for tag in &entry.provides {
            for dependent in self.dependents.remove(tag).unwrap_or_default() {
                let Some(missing) = self.missing.get_mut(&dependent) else {
                    continue;
                };
                *missing -= 1;
                if *missing == 0 {
                    self.missing.remove(&dependent);
                    if let Some(entry) = self.pool.entries.get(&dependent) {
                        self.ready.push((entry.priority, Reverse(dependent)));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIMITS: PoolLimits = PoolLimits {
        transactions: 4,
        bytes: 1000,
    };

    fn hash(sender: u8, nonce: u8) -> H256 {
        H256::from_low_u64_be(u64::from(sender) << 8 | u64::from(nonce))
    }

    /// As the runtime describes the transaction of a sender whose next nonce is `account_nonce`.
    fn describe(sender: u8, nonce: u8, account_nonce: u8, priority: u64) -> ValidTransaction {
        ValidTransaction {
            priority,
            requires: if nonce > account_nonce {
                vec![vec![sender, nonce - 1]]
            } else {
                vec![]
            },
            provides: vec![vec![sender, nonce]],
            longevity: 64,
            propagate: true,
        }
    }

    fn put(pool: &mut Pool, sender: u8, nonce: u8) -> Result<Taken, PoolError> {
        pool.insert(
            hash(sender, nonce),
            vec![0; 100],
            describe(sender, nonce, 0, 1),
            0,
        )
    }

    fn order(pool: &Pool) -> Vec<H256> {
        let mut order = Vec::new();
        let mut selection = pool.selection();
        while let Some(candidate) = selection.next() {
            order.push(candidate.hash);
            selection.met(candidate.id);
        }
        order
    }

    #[test]
    fn nonces_are_applied_in_order_whatever_order_they_come_in() {
        let mut pool = Pool::new(LIMITS);
        assert_eq!(put(&mut pool, 1, 2).unwrap().standing, Standing::Future);
        assert!(!pool.has_ready());
        assert_eq!(put(&mut pool, 1, 1).unwrap().standing, Standing::Future);
        assert_eq!(put(&mut pool, 1, 0).unwrap().standing, Standing::Ready);
        assert_eq!(order(&pool), [hash(1, 0), hash(1, 1), hash(1, 2)]);
    }

    #[test]
    fn a_failed_transaction_holds_back_those_after_it() {
        let mut pool = Pool::new(LIMITS);
        for nonce in 0..3 {
            put(&mut pool, 1, nonce).unwrap();
        }
        let mut selection = pool.selection();
        assert_eq!(selection.next().unwrap().hash, hash(1, 0));
        assert!(selection.next().is_none());
        assert!(pool.after_block(1, &[], &[hash(1, 0)]).is_empty());
        assert!(!pool.has_ready());
        assert_eq!(pool.len(), 2);
    }

    #[test]
    fn an_included_transaction_frees_the_next() {
        let mut pool = Pool::new(LIMITS);
        put(&mut pool, 1, 0).unwrap();
        put(&mut pool, 1, 1).unwrap();
        pool.after_block(1, &[hash(1, 0)], &[]);
        assert!(pool.has_ready());
        assert_eq!(order(&pool), [hash(1, 1)]);
        assert!(pool.provides(&[1, 1]) && !pool.provides(&[1, 0]));
    }

    #[test]
    fn a_better_paying_transaction_replaces_one_with_the_same_nonce() {
        let mut pool = Pool::new(LIMITS);
        put(&mut pool, 1, 0).unwrap();
        assert_eq!(
            put(&mut pool, 1, 0),
            Err(PoolError::AlreadyImported { hash: hash(1, 0) })
        );
        let other = H256::repeat_byte(9);
        let same = pool.insert(other, vec![0; 100], describe(1, 0, 0, 1), 0);
        assert_eq!(same, Err(PoolError::TooLowPriority { old: 1, new: 1 }));
        let better = pool
            .insert(other, vec![0; 100], describe(1, 0, 0, 2), 0)
            .unwrap();
        assert_eq!(better.usurped, [hash(1, 0)]);
        assert_eq!(order(&pool), [other]);
    }

    #[test]
    fn a_full_pool_evicts_waiting_transactions_and_then_refuses() {
        let mut pool = Pool::new(LIMITS);
        for (sender, nonce) in [(1, 5), (2, 0), (3, 5), (4, 0)] {
            put(&mut pool, sender, nonce).unwrap();
        }
        assert_eq!(put(&mut pool, 5, 0).unwrap().evicted, [hash(3, 5)]);
        assert_eq!(put(&mut pool, 6, 0).unwrap().evicted, [hash(1, 5)]);
        let refused = put(&mut pool, 7, 0);
        assert_eq!(
            refused,
            Err(PoolError::Full {
                transactions: 4,
                bytes: 400
            })
        );
        assert_eq!(pool.len(), 4);
    }

    #[test]
    fn an_expired_transaction_goes() {
        let mut pool = Pool::new(LIMITS);
        put(&mut pool, 1, 1).unwrap();
        assert!(pool.after_block(63, &[], &[]).is_empty());
        assert_eq!(pool.after_block(64, &[], &[]), [hash(1, 1)]);
        assert_eq!(pool.len(), 0);
    }
}
