//! Where peers were reached, for callers who do not know.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use libp2p::{Multiaddr, PeerId};

use crate::WorkerRecord;

/// Peers at most.
const MOST: usize = 1024;

/// Addresses that led to their peers.
#[derive(Debug, Default)]
pub(super) struct Book(Mutex<HashMap<PeerId, Vec<Multiaddr>>>);

impl Book {
    /// The addresses to try: those that are given, or else those that were last good.
    pub(super) fn addresses(&self, peer: PeerId, given: &[Multiaddr]) -> Vec<Multiaddr> {
        if !given.is_empty() {
            return given.to_vec();
        }
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.get(&peer).cloned().unwrap_or_default()
    }

    /// Among `addresses` is one that led to `peer`.
    pub(super) fn note(&self, peer: PeerId, addresses: &[Multiaddr]) {
        if addresses.is_empty() {
            return;
        }
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if book.len() >= MOST
            && !book.contains_key(&peer)
            && let Some(any) = book.keys().next().copied()
        {
            book.remove(&any);
        }
        let kept = addresses.iter().take(WorkerRecord::MAX_ADDRESSES);
        book.insert(peer, kept.cloned().collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_again_and_the_book_is_bounded() {
        let book = Book::default();
        let address =
            |port: usize| -> Multiaddr { format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap() };
        let peers: Vec<_> = (0..MOST + 10).map(|_| PeerId::random()).collect();
        for (port, peer) in peers.iter().enumerate() {
            book.note(*peer, &[address(port)]);
            assert_eq!(book.addresses(*peer, &[]), [address(port)]);
        }
        assert_eq!(book.0.lock().unwrap().len(), MOST);
        let last = peers[MOST + 9];
        book.note(last, &[]);
        assert_eq!(book.addresses(last, &[]), [address(MOST + 9)]);
        assert_eq!(book.addresses(last, &[address(1)]), [address(1)]);
        book.note(last, &vec![address(2); 100]);
        assert_eq!(book.addresses(last, &[]).len(), WorkerRecord::MAX_ADDRESSES);
    }
}
