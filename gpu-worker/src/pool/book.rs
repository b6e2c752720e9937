//! What a worker may keep: how many pools, how many bytes, and what goes when another one needs the room.
//!
//! A state machine without files or clock. Whatever it says is dropped has left the book already; the
//! [shelf](super::Shelf) removes the files before it does what the room was made for.
//!
//! Pools that were used less recently go first, and only they: a pool never pushes out one that was used after
//! it, so that two pools too large for the limit do not drop each other in turns.

use std::collections::BTreeMap;

use ai_link_wire::{Bytes, PeerKey, UnixMillis};

use super::record::PoolName;

/// Pools of one worker at most.
pub const MAX_POOLS: usize = 64;
/// Of them, those of one dealer.
pub const MAX_PER_DEALER: usize = 16;

/// The pools of a worker and what they take.
#[derive(Debug)]
pub struct Book {
    limit: Bytes,
    pools: BTreeMap<PoolName, Account>,
    /// Orders uses within a millisecond.
    uses: u64,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    dealer: PeerKey,
    /// On disk.
    bytes: u64,
    /// For entries that are being stored.
    reserved: u64,
    used: (UnixMillis, u64),
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BookError {
    /// The bytes of the entry do not fit beside what was used more recently.
    #[error(
        "an entry of {entry} does not fit: {held} of {limit} are held by pools that were used later"
    )]
    Full {
        /// The entry.
        entry: Bytes,
        /// Held, without what could be dropped.
        held: Bytes,
        /// `pools` in the configuration.
        limit: Bytes,
    },
    /// The operator wants no pools.
    #[error("this worker keeps no pools")]
    Off,
    /// No such pool here.
    #[error("this worker has no such pool")]
    Unknown,
}

impl Book {
    /// An empty book of at most `limit` bytes; 0 for no pools at all.
    pub fn new(limit: Bytes) -> Self {
        Self {
            limit,
            pools: BTreeMap::new(),
            uses: 0,
        }
    }

    /// The limit.
    pub fn limit(&self) -> Bytes {
        self.limit
    }

    /// What all pools take, also for entries that are being stored.
    pub fn bytes(&self) -> Bytes {
        Bytes(self.pools.values().fold(0, |sum, account| {
            sum.saturating_add(account.bytes)
                .saturating_add(account.reserved)
        }))
    }

    /// Whether the pool is in the book.
    pub fn contains(&self, name: &PoolName) -> bool {
        self.pools.contains_key(name)
    }

    /// Enters a pool that was found on disk, last used at `used`.
    pub fn enter(&mut self, name: PoolName, dealer: PeerKey, bytes: Bytes, used: UnixMillis) {
        let used = self.at(used);
        self.pools.insert(
            name,
            Account {
                dealer,
                bytes: bytes.0,
                reserved: 0,
                used,
            },
        );
    }

    /// Enters a new pool of `dealer`. Gives what must be dropped for it: pools of the same dealer if it has too
    /// many, then others.
    ///
    /// # Errors
    /// [`BookError::Off`].
    pub fn found(
        &mut self,
        name: PoolName,
        dealer: PeerKey,
        now: UnixMillis,
    ) -> Result<Vec<PoolName>, BookError> {
        if self.limit == Bytes(0) {
            return Err(BookError::Off);
        }
        self.enter(name, dealer, Bytes(0), now);
        let mut dropped = self.beyond(MAX_PER_DEALER, name, |account| account.dealer == dealer);
        dropped.extend(self.beyond(MAX_POOLS, name, |_| true));
        Ok(dropped)
    }

    /// Drops the least recently used of those that `which` holds for, but not `kept`, until `most` are left.
    fn beyond(
        &mut self,
        most: usize,
        kept: PoolName,
        which: impl Fn(&Account) -> bool,
    ) -> Vec<PoolName> {
        let mut those: Vec<_> = self.pools.iter().filter(|(_, a)| which(a)).collect();
        those.sort_by_key(|(name, account)| (**name == kept, account.used));
        let excess = those.len().saturating_sub(most);
        let dropped: Vec<PoolName> = those[..excess].iter().map(|(name, _)| **name).collect();
        dropped.iter().for_each(|name| self.forget(name));
        dropped
    }

    /// What exceeds the limit, least recently used first: for a worker that starts with a smaller one.
    pub fn trim(&mut self) -> Vec<PoolName> {
        let mut dropped = Vec::new();
        while self.bytes() > self.limit || self.pools.len() > MAX_POOLS {
            let Some(name) = self.least_used(|_, _| true) else {
                break;
            };
            self.forget(&name);
            dropped.push(name);
        }
        if self.limit == Bytes(0) {
            dropped.extend(std::mem::take(&mut self.pools).into_keys());
        }
        dropped
    }

    /// Reserves `entry` bytes for the pool. Gives what must be dropped for them.
    ///
    /// # Errors
    /// [`BookError`]; then nothing changes.
    pub fn reserve(&mut self, name: &PoolName, entry: Bytes) -> Result<Vec<PoolName>, BookError> {
        let account = *self.pools.get(name).ok_or(BookError::Unknown)?;
        let older = |other: &PoolName, a: &Account| {
            other != name && a.reserved == 0 && a.used < account.used
        };
        let held: u64 = self
            .pools
            .iter()
            .filter(|(other, a)| !older(other, a))
            .fold(0, |sum, (_, a)| {
                sum.saturating_add(a.bytes).saturating_add(a.reserved)
            });
        if held
            .checked_add(entry.0)
            .is_none_or(|sum| sum > self.limit.0)
        {
            return Err(BookError::Full {
                entry,
                held: Bytes(held),
                limit: self.limit,
            });
        }
        let mut dropped = Vec::new();
        while self.bytes().0.saturating_add(entry.0) > self.limit.0 {
            // An empty pool frees nothing.
            let Some(oldest) = self.least_used(|other, a| older(other, a) && a.bytes > 0) else {
                break;
            };
            self.forget(&oldest);
            dropped.push(oldest);
        }
        if let Some(account) = self.pools.get_mut(name) {
            account.reserved = account.reserved.saturating_add(entry.0);
        }
        Ok(dropped)
    }

    /// Gives back what was reserved for an entry, stored or not; the pool now takes `bytes`.
    pub fn settle(&mut self, name: &PoolName, entry: Bytes, bytes: Bytes) {
        if let Some(account) = self.pools.get_mut(name) {
            account.reserved = account.reserved.saturating_sub(entry.0);
            account.bytes = bytes.0;
        }
    }

    /// Notes that a session takes from the pool.
    pub fn used(&mut self, name: &PoolName, now: UnixMillis) {
        let now = self.at(now);
        if let Some(account) = self.pools.get_mut(name) {
            account.used = now;
        }
    }

    /// Strikes a pool out.
    pub fn forget(&mut self, name: &PoolName) {
        self.pools.remove(name);
    }

    fn least_used(&self, which: impl Fn(&PoolName, &Account) -> bool) -> Option<PoolName> {
        let those = self.pools.iter().filter(|(name, a)| which(name, a));
        those.min_by_key(|(_, a)| a.used).map(|(name, _)| *name)
    }

    fn at(&mut self, time: UnixMillis) -> (UnixMillis, u64) {
        self.uses += 1;
        (time, self.uses)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ai_link_wire::Digest;

    const T: UnixMillis = UnixMillis(1000);
    const DEALER: PeerKey = PeerKey([1; 32]);

    fn name(n: u16) -> PoolName {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        PoolName(Digest(bytes))
    }

    fn store(book: &mut Book, n: u16, entry: u64) -> Result<Vec<PoolName>, BookError> {
        let dropped = book.reserve(&name(n), Bytes(entry))?;
        let had = book.pools[&name(n)].bytes;
        book.settle(&name(n), Bytes(entry), Bytes(had + entry));
        assert!(book.bytes() <= book.limit());
        Ok(dropped)
    }

    #[test]
    fn the_least_recently_used_pool_goes_whole() {
        let mut book = Book::new(Bytes(100));
        for n in 0..3 {
            assert_eq!(book.found(name(n), DEALER, T), Ok(vec![]));
            assert_eq!(store(&mut book, n, 30), Ok(vec![]));
        }
        book.used(&name(0), UnixMillis(1001));
        // 1 is the oldest now, and goes for 2; what is left has room for no more.
        assert_eq!(store(&mut book, 2, 30), Ok(vec![name(1)]));
        assert!(!book.contains(&name(1)));
        assert_eq!(
            store(&mut book, 2, 30),
            Err(BookError::Full {
                entry: Bytes(30),
                held: Bytes(90),
                limit: Bytes(100)
            })
        );
        // 0 was used later and may push out 2.
        assert_eq!(store(&mut book, 0, 20), Ok(vec![name(2)]));
        assert_eq!(book.bytes(), Bytes(50));
        assert_eq!(store(&mut book, 1, 1), Err(BookError::Unknown));
    }

    #[test]
    fn too_large_an_entry_drops_nothing() {
        let mut book = Book::new(Bytes(100));
        for n in 0..2 {
            book.found(name(n), DEALER, T).unwrap();
            store(&mut book, n, 40).unwrap();
        }
        assert!(matches!(
            book.reserve(&name(1), Bytes(61)),
            Err(BookError::Full {
                held: Bytes(40),
                ..
            })
        ));
        assert!(book.contains(&name(0)));
        assert!(book.reserve(&name(1), Bytes(u64::MAX)).is_err());
        assert_eq!(book.bytes(), Bytes(80));
    }

    #[test]
    fn what_is_being_stored_counts_and_is_not_dropped() {
        let mut book = Book::new(Bytes(100));
        for n in 0..2 {
            book.found(name(n), DEALER, T).unwrap();
        }
        assert_eq!(book.reserve(&name(0), Bytes(60)), Ok(vec![]));
        assert!(book.reserve(&name(1), Bytes(60)).is_err());
        book.settle(&name(0), Bytes(60), Bytes(0));
        assert_eq!(book.reserve(&name(1), Bytes(60)), Ok(vec![]));
    }

    #[test]
    fn dealers_and_the_worker_have_a_most() {
        let mut book = Book::new(Bytes(100));
        let other = PeerKey([2; 32]);
        book.found(name(1000), other, T).unwrap();
        for n in 0..MAX_PER_DEALER as u16 {
            assert_eq!(book.found(name(n), DEALER, T), Ok(vec![]), "{n}");
        }
        // Not the other dealer's, which is older.
        assert_eq!(book.found(name(500), DEALER, T), Ok(vec![name(0)]));
        let mut most = 0;
        for n in 0..2 * MAX_POOLS as u16 {
            let dealer = PeerKey([u8::try_from(n / 8).unwrap() + 10; 32]);
            book.found(name(2000 + n), dealer, T).unwrap();
            assert!(book.contains(&name(2000 + n)));
            most = most.max(book.pools.len());
        }
        assert_eq!(most, MAX_POOLS);
    }

    #[test]
    fn a_smaller_limit_drops_what_exceeds_it() {
        let mut book = Book::new(Bytes(50));
        for n in 0..4 {
            book.enter(name(n), DEALER, Bytes(20), UnixMillis(100 - u64::from(n)));
        }
        assert_eq!(book.trim(), [name(3), name(2)]);
        assert_eq!(book.bytes(), Bytes(40));
        let mut off = Book::new(Bytes(0));
        off.enter(name(1), DEALER, Bytes(0), T);
        assert_eq!(off.trim(), [name(1)]);
        assert_eq!(off.found(name(2), DEALER, T), Err(BookError::Off));
    }
}
