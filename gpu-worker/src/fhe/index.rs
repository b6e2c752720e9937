//! What is kept within a limit, and what goes when room is needed: the least recently used first, never what is in use.
//!
//! A state machine without files or memory of its own: it is told what was kept and used, and says what to drop.

use std::collections::BTreeMap;

/// Things kept, by name.
#[derive(Debug)]
pub struct Index<K> {
    limit: u64,
    most: usize,
    held: u64,
    /// Counts uses.
    clock: u64,
    entries: BTreeMap<K, Entry>,
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    used: u64,
    users: u32,
}

/// There is no room, and nothing that may go would make enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{need} bytes are needed, at most {limit} may be kept, and what is kept is in use")]
pub struct NoRoom {
    /// Bytes needed.
    pub need: u64,
    /// Bytes that may be kept.
    pub limit: u64,
}

impl<K: Copy + Ord> Index<K> {
    /// Nothing yet; later at most `most` things of `limit` bytes together.
    pub fn new(limit: u64, most: usize) -> Self {
        Self {
            limit,
            most,
            held: 0,
            clock: 0,
            entries: BTreeMap::new(),
        }
    }

    /// Adds a thing, and says what has to go for it. What is there already stays as it is.
    ///
    /// # Errors
    /// [`NoRoom`]; then nothing has to go.
    pub fn insert(&mut self, name: K, bytes: u64) -> Result<Vec<K>, NoRoom> {
        if self.entries.contains_key(&name) {
            return Ok(Vec::new());
        }
        let no_room = NoRoom {
            need: bytes,
            limit: self.limit,
        };
        let mut idle: Vec<_> = self.entries.iter().filter(|(_, e)| e.users == 0).collect();
        idle.sort_by_key(|(_, entry)| entry.used);
        let (mut held, mut count) = (self.held, self.entries.len());
        let mut going = Vec::new();
        let mut idle = idle.into_iter();
        while held.saturating_add(bytes) > self.limit || count >= self.most {
            let (name, entry) = idle.next().ok_or(no_room)?;
            held -= entry.bytes;
            count -= 1;
            going.push(*name);
        }
        for name in &going {
            self.remove(name);
        }
        self.clock += 1;
        let entry = Entry {
            bytes,
            used: self.clock,
            users: 0,
        };
        self.entries.insert(name, entry);
        self.held += bytes;
        Ok(going)
    }

    /// Somebody begins to use a thing. `false` if it is not there.
    pub fn begin(&mut self, name: &K) -> bool {
        self.clock += 1;
        let Some(entry) = self.entries.get_mut(name) else {
            return false;
        };
        entry.used = self.clock;
        entry.users += 1;
        true
    }

    /// Somebody is done with it.
    pub fn end(&mut self, name: &K) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.users = entry.users.saturating_sub(1);
        }
    }

    /// The thing is gone.
    pub fn remove(&mut self, name: &K) {
        if let Some(entry) = self.entries.remove(name) {
            self.held -= entry.bytes;
        }
    }

    /// Names of all that is kept.
    pub fn names(&self) -> impl Iterator<Item = K> + '_ {
        self.entries.keys().copied()
    }

    /// Bytes kept.
    pub fn held(&self) -> u64 {
        self.held
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_least_recently_used_goes_and_what_is_in_use_stays() {
        let mut index = Index::new(100, 8);
        for name in [1, 2, 3] {
            assert_eq!(index.insert(name, 30), Ok(vec![]));
        }
        assert!(index.begin(&1));
        index.end(&1);
        assert_eq!(index.insert(4, 30), Ok(vec![2]));
        assert!(index.begin(&3) && !index.begin(&2));
        assert_eq!(index.insert(5, 60), Ok(vec![1, 4]));
        assert_eq!(
            index.insert(6, 90),
            Err(NoRoom {
                need: 90,
                limit: 100
            })
        );
        assert_eq!(index.names().collect::<Vec<_>>(), [3, 5]);
        index.end(&3);
        assert_eq!(index.insert(6, 90), Ok(vec![3, 5]));
        assert_eq!(
            index.insert(7, 101),
            Err(NoRoom {
                need: 101,
                limit: 100
            })
        );
        assert_eq!(index.held(), 90);
    }

    #[test]
    fn their_number_is_bounded_too() {
        let mut index = Index::new(u64::MAX, 2);
        assert_eq!(index.insert(1, 0), Ok(vec![]));
        assert_eq!(index.insert(2, 0), Ok(vec![]));
        assert_eq!(index.insert(3, 0), Ok(vec![1]));
        assert_eq!(
            Index::new(9, 0).insert(1, 1),
            Err(NoRoom { need: 1, limit: 9 })
        );
    }

    /// A thousand steps drawn by a small generator, beside a model that keeps a plain list.
    #[test]
    fn any_sequence_stays_within_the_limits_and_drops_nothing_in_use() {
        for seed in 0..50u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
            let mut draw = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let mut index = Index::new(1000, 6);
            let mut users: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
            for _ in 0..1000 {
                let name = draw(12);
                match draw(4) {
                    0 | 1 => {
                        let bytes = draw(500);
                        let pinned: u64 = users.values().filter(|u| u.1 > 0).map(|u| u.0).sum();
                        match index.insert(name, bytes) {
                            Ok(going) => {
                                for gone in going {
                                    assert_eq!(users.remove(&gone).unwrap().1, 0, "in use");
                                }
                                users.entry(name).or_insert((bytes, 0));
                            }
                            Err(_) => {
                                let in_use = users.values().filter(|u| u.1 > 0).count();
                                assert!(pinned + bytes > 1000 || in_use >= 6, "there was room");
                            }
                        }
                    }
                    2 => {
                        let there = users.get_mut(&name).map(|u| u.1 += 1).is_some();
                        assert_eq!(index.begin(&name), there);
                    }
                    _ => {
                        index.end(&name);
                        users
                            .entry(name)
                            .and_modify(|u| u.1 = u.1.saturating_sub(1));
                    }
                }
                assert_eq!(index.held(), users.values().map(|u| u.0).sum::<u64>());
                assert!(index.held() <= 1000 && users.len() <= 6);
                assert!(index.names().eq(users.keys().copied()));
            }
        }
    }
}
