//! Who may hold how many of a bounded thing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use libp2p::PeerId;

/// Places for peers, bounded in all and for each peer.
#[derive(Clone, Debug)]
pub(super) struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: usize,
    per_peer: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_peer: HashMap<PeerId, usize>,
}

/// One place, held until dropped.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Admission,
    peer: PeerId,
}

impl Admission {
    pub(super) fn new(total: usize, per_peer: usize) -> Self {
        Self(Arc::new(Inner {
            total,
            per_peer,
            held: Mutex::default(),
        }))
    }

    /// A place for `peer`, if one is free for it.
    pub(super) fn admit(&self, peer: PeerId) -> Option<Permit> {
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = held.by_peer.get(&peer).copied().unwrap_or(0);
        if held.total >= self.0.total || of_peer >= self.0.per_peer {
            return None;
        }
        held.total += 1;
        held.by_peer.insert(peer, of_peer + 1);
        Some(Permit {
            admission: self.clone(),
            peer,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut held = self
            .admission
            .0
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
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
