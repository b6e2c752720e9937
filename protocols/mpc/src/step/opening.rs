//! Openings: what an evaluator remembers of what it sent, and what comes of everyone's messages.

use crate::buffers::{give_bytes, take_bytes};
use crate::planes::{CHUNK, for_chunks};

/// An opening of ring elements under way: this evaluator's share of each.
pub(crate) struct RingOpening {
    share: Vec<u64>,
}

impl RingOpening {
    /// An opening of `share`, which was sent to all others.
    pub(crate) fn new(share: Vec<u64>) -> Self {
        Self { share }
    }

    /// The sum of all shares.
    pub(crate) fn finish(&mut self, theirs: Vec<Vec<u8>>) -> Vec<u64> {
        let mut out = std::mem::take(&mut self.share);
        for_chunks(
            out.chunks_mut(CHUNK).collect(),
            || (),
            |(), chunk, out| {
                for message in &theirs {
                    let words = message[8 * CHUNK * chunk..].as_chunks().0;
                    let sum = out.iter_mut().zip(words);
                    sum.for_each(|(o, t)| *o = o.wrapping_add(u64::from_le_bytes(*t)));
                }
            },
        );
        theirs.into_iter().for_each(give_bytes);
        out
    }
}

/// An opening of bits under way: this evaluator's message.
#[derive(Default)]
pub(crate) struct BitOpening {
    sent: Vec<u8>,
}

impl BitOpening {
    /// An opening whose message is `sent`; returns the message.
    pub(crate) fn send(&mut self, sent: Vec<u8>) -> Vec<u8> {
        self.sent = take_bytes(sent.len());
        self.sent.copy_from_slice(&sent);
        sent
    }

    /// The exclusive or of all messages.
    pub(crate) fn finish(&mut self, theirs: Vec<Vec<u8>>) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.sent);
        for message in theirs {
            out.iter_mut().zip(&message).for_each(|(o, t)| *o ^= t);
            give_bytes(message);
        }
        out
    }
}
