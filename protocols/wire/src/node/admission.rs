//! Who may hold how many of a bounded thing.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Places for peers (or for whatever can be told apart), bounded in all and for each peer.
#[derive(Debug)]
pub(super) struct Admission<P: Eq + Hash + Copy>(Arc<Inner<P>>);

#[derive(Debug)]
struct Inner<P> {
    total: usize,
    per_peer: usize,
    held: Mutex<Held<P>>,
}

#[derive(Debug)]
struct Held<P> {
    total: usize,
    by_peer: HashMap<P, usize>,
}

/// One place, held until dropped.
#[derive(Debug)]
pub(super) struct Permit<P: Eq + Hash + Copy> {
    admission: Arc<Inner<P>>,
    peer: P,
}

impl<P: Eq + Hash + Copy> Admission<P> {
    pub(super) fn new(total: usize, per_peer: usize) -> Self {
        Self(Arc::new(Inner {
            total,
            per_peer,
            held: Mutex::new(Held {
                total: 0,
                by_peer: HashMap::new(),
            }),
        }))
    }

    /// A place for `peer`, if one is free for it.
    pub(super) fn admit(&self, peer: P) -> Option<Permit<P>> {
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = held.by_peer.get(&peer).copied().unwrap_or(0);
        if held.total >= self.0.total || of_peer >= self.0.per_peer {
            return None;
        }
        held.total += 1;
        held.by_peer.insert(peer, of_peer + 1);
        Some(Permit {
            admission: self.0.clone(),
            peer,
        })
    }
}

impl<P: Eq + Hash + Copy> Drop for Permit<P> {
    fn drop(&mut self) {
        let held = self.admission.held.lock();
        let mut held = held.unwrap_or_else(PoisonError::into_inner);
        held.total -= 1;
        if let Some(of_peer) = held.by_peer.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                held.by_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;

    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_for_each_peer_and_come_back() {
        let admission = Admission::new(3, 2);
        let (one, other) = (PeerId::random(), PeerId::random());
        let first = admission.admit(one);
        let second = admission.admit(one);
        assert!(first.is_some() && second.is_some());
        assert!(admission.admit(one).is_none(), "a third place for one peer");
        let third = admission.admit(other);
        assert!(third.is_some());
        assert!(admission.admit(other).is_none(), "a fourth place in all");
        drop(first);
        assert!(admission.admit(other).is_some());
        drop((second, third));
        let held = admission
            .0
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        assert!(held.total == 0 && held.by_peer.is_empty());
    }
}
