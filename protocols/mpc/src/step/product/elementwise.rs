//! Elementwise products of two masked values; see [`super`].

use super::shares::{self, purpose};
use super::{Opening, add_pad};
use crate::buffers::wipe_bytes;
use crate::planes::{CHUNK, for_chunks, read_words, to_bytes};
use crate::prg::{Prg, Purpose};
use crate::step::opening::RingOpening;
use crate::step::{Dealt, Protocol, Run, Seat, Seeds};

/// Twice the product of two values, or twice the square of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mul {
    elements: usize,
    factors: Factors,
}

/// What is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factors {
    /// One value by itself.
    Square,
    /// Two values.
    Two,
}

impl Factors {
    /// Values that have a mask of their own.
    pub(super) fn count(self) -> usize {
        match self {
            Self::Square => 1,
            Self::Two => 2,
        }
    }
}

impl Mul {
    pub(crate) fn new(elements: usize, factors: Factors) -> Self {
        Self { elements, factors }
    }

    /// Masks that are dealt.
    fn masks(&self) -> usize {
        self.factors.count()
    }
}

impl Protocol for Mul {
    fn rounds(&self) -> usize {
        1
    }

    fn dealt_bytes(&self, seat: Seat) -> usize {
        usize::from(seat.receives()) * 8 * self.masks() * self.elements
    }

    fn opened_bytes(&self, _round: usize) -> usize {
        8 * self.elements
    }

    fn deal(&self, masks: &[&[u64]], seeds: Seeds<'_>) -> Dealt {
        let mut message = vec![0; 8 * self.masks() * self.elements];
        let factors = message.chunks_exact_mut((8 * self.elements).max(1));
        for (factor, (corrections, lambda)) in factors.zip(masks).enumerate() {
            shares::deal_mask(factor, lambda, seeds, corrections);
        }
        let (x, y) = (masks[0], masks[self.masks() - 1]);
        let mut result = vec![0; self.elements];
        let chunks = result.chunks_mut(CHUNK).zip(x.chunks(CHUNK));
        for_chunks(
            chunks.zip(y.chunks(CHUNK)).collect(),
            || (),
            |(), chunk, ((result, x), y)| {
                seeds.sum(Purpose::Pad, chunk as u32, result);
                for ((r, x), y) in result.iter_mut().zip(x).zip(y) {
                    *r = r.wrapping_sub(x.wrapping_mul(*y).wrapping_mul(2));
                }
            },
        );
        Dealt::to_receiver(seeds, message, result)
    }

    fn start(
        &self,
        seat: Seat,
        prg: Prg,
        dealt: Vec<u8>,
        operands: Vec<Vec<u64>>,
    ) -> (Box<dyn Run>, Vec<u8>) {
        let (m_x, m_y) = (&operands[0], &operands[self.masks() - 1]);
        let shares = |factor: usize, chunk: usize, out: &mut [u64]| {
            if seat.receives() {
                let from = 8 * (factor * self.elements + CHUNK * chunk);
                read_words(&dealt[from..from + 8 * out.len()], out);
            } else {
                prg.fill(purpose(factor), chunk as u32, out);
            }
        };
        let public = u64::from(seat.leads());
        let mut out = vec![0; self.elements];
        let chunks = out.chunks_mut(CHUNK).zip(m_x.chunks(CHUNK));
        for_chunks(
            chunks.zip(m_y.chunks(CHUNK)).collect(),
            || (),
            |(), chunk, ((out, m_x), m_y)| {
                let (mut of_x, mut of_y) = ([0u64; CHUNK], [0u64; CHUNK]);
                let (of_x, of_y) = (&mut of_x[..out.len()], &mut of_y[..out.len()]);
                shares(0, chunk, of_x);
                match self.factors {
                    Factors::Square => of_y.copy_from_slice(of_x),
                    Factors::Two => shares(1, chunk, of_y),
                }
                let masks = of_x.iter().zip(of_y);
                for ((o, (m_x, m_y)), (x, y)) in out.iter_mut().zip(m_x.iter().zip(m_y)).zip(masks)
                {
                    let term = m_x.wrapping_mul(m_y.wrapping_mul(public).wrapping_sub(*y));
                    *o = term.wrapping_sub(m_y.wrapping_mul(*x)).wrapping_mul(2);
                }
            },
        );
        wipe_bytes(dealt);
        add_pad(&prg, &mut out);
        let message = to_bytes(&out);
        (Box::new(Opening(RingOpening::new(out))), message)
    }
}
