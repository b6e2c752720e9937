//! Shares of the factors of a product, and of their masks.

use zeroize::Zeroizing;

use crate::planes::{CHUNK, for_chunks, read_words, write_words};
use crate::prg::{Prg, Purpose};
use crate::step::{Seat, Seeds};

/// Secret words of the whole batch.
pub(super) type Words = Zeroizing<Vec<u64>>;

/// The stream of shares of the mask of factor number `factor`.
pub(super) fn purpose(factor: usize) -> Purpose {
    match factor {
        0 => Purpose::Operand,
        _ => Purpose::Factor,
    }
}

/// At the dealer, for a factor that every evaluator is given a share of the mask of: the corrections `lambda - s`, where
/// `s` is the sum of the shares that are expanded.
pub(super) fn deal_mask(factor: usize, lambda: &[u64], seeds: Seeds<'_>, corrections: &mut [u8]) {
    deal(1, factor, (lambda, seeds), corrections, |_, s| s);
}

/// At the dealer, for a factor that one of two evaluators has as `x + delta` and the other as `x - delta`: the corrections
/// `2 lambda - s`. Returns `delta = s - lambda`; the receiver has the sum.
pub(super) fn deal_delta(
    factor: usize,
    lambda: &[u64],
    seeds: Seeds<'_>,
    corrections: &mut [u8],
) -> Words {
    deal(2, factor, (lambda, seeds), corrections, |lambda, s| {
        s.wrapping_sub(lambda)
    })
}

fn deal(
    times: u64,
    factor: usize,
    (lambda, seeds): (&[u64], Seeds<'_>),
    corrections: &mut [u8],
    keep: impl Fn(u64, u64) -> u64 + Sync + Send,
) -> Words {
    let mut kept: Words = Zeroizing::new(vec![0; lambda.len()]);
    let chunks = corrections
        .chunks_mut(8 * CHUNK)
        .zip(kept.chunks_mut(CHUNK));
    for_chunks(
        chunks.zip(lambda.chunks(CHUNK)).collect(),
        || (),
        |(), chunk, ((corrections, kept), lambda)| {
            seeds.expanded_sum(purpose(factor), chunk as u32, kept);
            let mut words = [0u64; CHUNK];
            let words = &mut words[..lambda.len()];
            for ((c, s), lambda) in words.iter_mut().zip(kept).zip(lambda) {
                *c = lambda.wrapping_mul(times).wrapping_sub(*s);
                *s = keep(*lambda, *s);
            }
            write_words(words, corrections);
        },
    );
    kept
}

/// At an evaluator, after [`deal_mask`]: its share of the mask of the factor that is `m`.
pub(super) fn own_mask(
    seat: Seat,
    prg: &Prg,
    factor: usize,
    corrections: &[u8],
    m: &[u64],
) -> Words {
    own(seat, prg, factor, (corrections, m), |_, share| share)
}

/// At an evaluator, after [`deal_delta`]: its `x + delta` or `x - delta`, where `m` is masked `x`.
pub(super) fn own_factor(
    seat: Seat,
    prg: &Prg,
    factor: usize,
    corrections: &[u8],
    m: &[u64],
) -> Words {
    own(seat, prg, factor, (corrections, m), u64::wrapping_sub)
}

fn own(
    seat: Seat,
    prg: &Prg,
    factor: usize,
    (corrections, m): (&[u8], &[u64]),
    make: impl Fn(u64, u64) -> u64 + Sync + Send,
) -> Words {
    let mut words: Words = Zeroizing::new(vec![0; m.len()]);
    for_chunks(
        words.chunks_mut(CHUNK).zip(m.chunks(CHUNK)).collect(),
        || (),
        |(), chunk, (words, m)| {
            if seat.receives() {
                read_words(&corrections[8 * CHUNK * chunk..], words);
            } else {
                prg.fill(purpose(factor), chunk as u32, words);
            }
            for (word, m) in words.iter_mut().zip(m) {
                *word = make(*m, *word);
            }
        },
    );
    words
}
