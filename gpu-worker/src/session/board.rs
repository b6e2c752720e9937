//! Where the streams of a session meet.
//!
//! A session needs one stream from each party that opens to this worker (see `ai_link_session::parties`);
//! they arrive in any order. The board is a state machine without sockets or clock: it is generic over the
//! stream, is told the time, and says when a session is complete or has waited too long.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ai_link_mpc::Party;
use ai_link_wire::{Digest, UnixMillis};

/// Sessions that may be waiting for streams at once.
pub const MAX_WAITING: usize = 64;

/// Streams by the party at their far end.
pub type Streams<S> = Vec<(Party, S)>;

/// Sessions that wait for streams.
#[derive(Debug)]
pub struct Board<S> {
    /// By digest of the signed ticket, so that streams shown different tickets never meet.
    waiting: HashMap<Digest, Waiting<S>>,
}

#[derive(Debug)]
struct Waiting<S> {
    expected: Vec<Party>,
    /// After this the streams are given back, so that a party that never comes cannot hold a place.
    until: UnixMillis,
    streams: Streams<S>,
}

/// What became of an offered stream.
#[derive(Debug)]
pub enum Offer<S> {
    /// All streams are here.
    Complete(Streams<S>),
    /// Others are awaited.
    Waiting,
    /// The stream is given back with the reason.
    Refused(OfferError, S),
}

/// Why a stream was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OfferError {
    /// The party opened a second stream for the same session.
    #[error("a stream from this party is already waiting in this session")]
    Duplicate,
    /// The board is full.
    #[error("{MAX_WAITING} sessions are already waiting for their streams")]
    Full,
    /// This party does not open to this worker.
    #[error("this party does not open a stream to this worker")]
    Unexpected,
}

impl<S> Default for Board<S> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
        }
    }
}

impl<S> Board<S> {
    /// Takes a stream that `from` opened to us in `session`, which needs one of each of `expected`. That follows
    /// from the ticket, so that all streams of a session bring the same.
    pub fn offer(
        &mut self,
        session: Digest,
        expected: &[Party],
        from: Party,
        stream: S,
        until: UnixMillis,
    ) -> Offer<S> {
        if !expected.contains(&from) {
            return Offer::Refused(OfferError::Unexpected, stream);
        }
        let full = self.waiting.len() >= MAX_WAITING;
        let mut entry = match self.waiting.entry(session) {
            Entry::Vacant(_) if full => return Offer::Refused(OfferError::Full, stream),
            Entry::Vacant(vacant) => vacant.insert_entry(Waiting {
                expected: expected.to_vec(),
                until,
                streams: Vec::new(),
            }),
            Entry::Occupied(occupied) => occupied,
        };
        let waiting = entry.get_mut();
        if waiting.expected != expected {
            return Offer::Refused(OfferError::Unexpected, stream);
        }
        if waiting.streams.iter().any(|(party, _)| *party == from) {
            return Offer::Refused(OfferError::Duplicate, stream);
        }
        waiting.streams.push((from, stream));
        if waiting.streams.len() < expected.len() {
            return Offer::Waiting;
        }
        Offer::Complete(entry.remove().streams)
    }

    /// Sessions whose time is over: their streams and the parties that never came.
    pub fn expire(&mut self, now: UnixMillis) -> Vec<(Streams<S>, Vec<Party>)> {
        let over: Vec<Digest> = self
            .waiting
            .iter()
            .filter(|(_, w)| w.until <= now)
            .map(|(d, _)| *d)
            .collect();
        over.into_iter()
            .filter_map(|digest| self.waiting.remove(&digest))
            .map(|w| {
                let missing = w
                    .expected
                    .iter()
                    .copied()
                    .filter(|p| !w.streams.iter().any(|(have, _)| have == p))
                    .collect();
                (w.streams, missing)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: UnixMillis = UnixMillis(100);
    /// What the last of three evaluators waits for, in a group with a dealer.
    const ALL: [Party; 4] = [
        Party::Client,
        Party::EVALUATOR_0,
        Party::EVALUATOR_1,
        Party::Dealer,
    ];
    const EVALUATOR_0: [Party; 2] = [Party::Client, Party::Dealer];

    #[test]
    fn streams_meet_in_any_order() {
        for start in 0..4 {
            let mut board = Board::default();
            for i in 0..4 {
                let from = ALL[(start + i) % 4];
                match board.offer(Digest([1; 32]), &ALL, from, i, T) {
                    Offer::Waiting => assert!(i < 3),
                    Offer::Complete(streams) => {
                        assert_eq!((i, streams.len()), (3, 4));
                    }
                    Offer::Refused(e, _) => panic!("{e}"),
                }
            }
        }
    }

    #[test]
    fn strangers_duplicates_and_floods_are_refused() {
        let mut board = Board::default();
        let d = Digest([1; 32]);
        assert!(matches!(
            board.offer(d, &[Party::Client], Party::EVALUATOR_0, 0, T),
            Offer::Refused(OfferError::Unexpected, 0)
        ));
        assert!(matches!(
            board.offer(d, &EVALUATOR_0, Party::Client, 1, T),
            Offer::Waiting
        ));
        assert!(matches!(
            board.offer(d, &EVALUATOR_0, Party::Client, 2, T),
            Offer::Refused(OfferError::Duplicate, 2)
        ));
        for i in 0..MAX_WAITING as u8 + 1 {
            let offer = board.offer(
                Digest([i.wrapping_add(9); 32]),
                &EVALUATOR_0,
                Party::Dealer,
                3,
                T,
            );
            if i as usize >= MAX_WAITING - 1 {
                assert!(matches!(offer, Offer::Refused(OfferError::Full, 3)), "{i}");
            }
        }
    }

    #[test]
    fn who_never_came_is_named() {
        let mut board = Board::default();
        let _ = board.offer(Digest([1; 32]), &ALL, Party::Dealer, 0, T);
        assert!(board.expire(UnixMillis(99)).is_empty());
        let over = board.expire(T);
        assert_eq!(over.len(), 1);
        assert_eq!(over[0].1, ALL[..3].to_vec());
        assert!(board.expire(UnixMillis(1000)).is_empty());
    }
}
