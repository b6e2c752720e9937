//! The product in plain words.

use super::{POLYNOMIAL, Row};
use crate::layout::DATA_FRAGMENTS;

/// Words worked on at a time: enough for the compiler to use what vectors there are.
const WORDS: usize = 8;
const BLOCK: usize = WORDS * 8;

/// Fills `outputs` from byte `start` on.
pub(super) fn multiply(
    rows: &[Row],
    inputs: [&[u8]; DATA_FRAGMENTS],
    outputs: &mut [&mut [u8]],
    start: usize,
) {
    let length = inputs[0].len();
    let mut at = start;
    while at < length {
        let count = BLOCK.min(length - at);
        let mut powers = [[[0; WORDS]; 8]; DATA_FRAGMENTS];
        for (powers, input) in powers.iter_mut().zip(inputs) {
            powers[0] = load(&input[at..at + count]);
            for bit in 1..8 {
                powers[bit] = powers[bit - 1].map(double);
            }
        }
        for (row, output) in rows.iter().zip(outputs.iter_mut()) {
            let mut sum = [0; WORDS];
            for (factor, powers) in row.iter().zip(&powers) {
                for (bit, power) in powers.iter().enumerate() {
                    if factor >> bit & 1 == 1 {
                        for (sum, power) in sum.iter_mut().zip(power) {
                            *sum ^= power;
                        }
                    }
                }
            }
            store(&sum, &mut output[at..at + count]);
        }
        at += count;
    }
}

/// Doubles each of eight elements.
fn double(word: u64) -> u64 {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let carried = (word & HIGH) >> 7;
    ((word & !HIGH) << 1) ^ (carried * POLYNOMIAL as u64)
}

fn load(bytes: &[u8]) -> [u64; WORDS] {
    let mut block = [0; BLOCK];
    block[..bytes.len()].copy_from_slice(bytes);
    let (words, _) = block.as_chunks::<8>();
    std::array::from_fn(|i| u64::from_le_bytes(words[i]))
}

fn store(words: &[u64; WORDS], bytes: &mut [u8]) {
    let mut block = [0; BLOCK];
    for (chunk, word) in block.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *chunk = word.to_le_bytes();
    }
    bytes.copy_from_slice(&block[..bytes.len()]);
}
