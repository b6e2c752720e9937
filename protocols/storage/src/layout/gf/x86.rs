//! The product with the vector instructions of x86.
//!
//! Each function does whole vectors and returns how many bytes of each output it filled.

#![allow(unsafe_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "iterators would not be compiled with the instructions"
)]

use std::arch::x86_64::*;

use super::{Row, product};
use crate::layout::DATA_FRAGMENTS;

type Inputs<'a> = [&'a [u8]; DATA_FRAGMENTS];

pub(super) fn avx2(rows: &[Row], inputs: Inputs<'_>, outputs: &mut [&mut [u8]]) -> usize {
    // SAFETY: the kernel is only made where `available` found AVX2.
    unsafe { run_avx2(rows, inputs, outputs) }
}

pub(super) fn gfni256(rows: &[Row], inputs: Inputs<'_>, outputs: &mut [&mut [u8]]) -> usize {
    // SAFETY: the kernel is only made where `available` found AVX2 and GFNI.
    unsafe { run_gfni256(rows, inputs, outputs) }
}

pub(super) fn gfni512(rows: &[Row], inputs: Inputs<'_>, outputs: &mut [&mut [u8]]) -> usize {
    // SAFETY: the kernel is only made where `available` found AVX-512 F and BW, and GFNI.
    unsafe { run_gfni512(rows, inputs, outputs) }
}

/// Products of a factor with the lower and the upper halves of bytes, in both lanes.
type Halves = [__m256i; 2];

#[target_feature(enable = "avx2")]
fn run_avx2(rows: &[Row], inputs: Inputs<'_>, outputs: &mut [&mut [u8]]) -> usize {
    const WIDTH: usize = 32;
    let mut tables = Vec::with_capacity(rows.len());
    for row in rows {
        tables.push([
            halves(row[0]),
            halves(row[1]),
            halves(row[2]),
            halves(row[3]),
        ]);
    }
    let mask = _mm256_set1_epi8(0x0f);
    let length = inputs[0].len() / WIDTH * WIDTH;
    for at in (0..length).step_by(WIDTH) {
        let mut split = [[_mm256_setzero_si256(); 2]; DATA_FRAGMENTS];
        for i in 0..DATA_FRAGMENTS {
            let bytes = load256(&inputs[i][at..at + WIDTH]);
            let upper = _mm256_and_si256(_mm256_srli_epi64::<4>(bytes), mask);
            split[i] = [_mm256_and_si256(bytes, mask), upper];
        }
        for (table, output) in tables.iter().zip(outputs.iter_mut()) {
            let mut sum = _mm256_setzero_si256();
            for i in 0..DATA_FRAGMENTS {
                sum = _mm256_xor_si256(sum, _mm256_shuffle_epi8(table[i][0], split[i][0]));
                sum = _mm256_xor_si256(sum, _mm256_shuffle_epi8(table[i][1], split[i][1]));
            }
            store256(&mut output[at..at + WIDTH], sum);
        }
    }
    length
}

#[target_feature(enable = "avx2")]
fn halves(factor: u8) -> Halves {
    let mut bytes = [[0; 32]; 2];
    for i in 0..32 {
        bytes[0][i] = product(factor, (i % 16) as u8);
        bytes[1][i] = product(factor, ((i % 16) as u8) << 4);
    }
    [load256(&bytes[0]), load256(&bytes[1])]
}

#[target_feature(enable = "avx2,gfni")]
fn run_gfni256(rows: &[Row], inputs: Inputs<'_>, outputs: &mut [&mut [u8]]) -> usize {
    const WIDTH: usize = 32;
    let matrices: Vec<[u64; DATA_FRAGMENTS]> = rows.iter().map(|row| row.map(bits)).collect();
    let length = inputs[0].len() / WIDTH * WIDTH;
    for at in (0..length).step_by(WIDTH) {
        let mut bytes = [_mm256_setzero_si256(); DATA_FRAGMENTS];
        for i in 0..DATA_FRAGMENTS {
            bytes[i] = load256(&inputs[i][at..at + WIDTH]);
        }
        for (row, output) in matrices.iter().zip(outputs.iter_mut()) {
            let mut sum = _mm256_setzero_si256();
            for i in 0..DATA_FRAGMENTS {
                let matrix = _mm256_set1_epi64x(row[i] as i64);
                let times = _mm256_gf2p8affine_epi64_epi8::<0>(bytes[i], matrix);
                sum = _mm256_xor_si256(sum, times);
            }
            store256(&mut output[at..at + WIDTH], sum);
        }
    }
    length
}

#[target_feature(enable = "avx512f,avx512bw,gfni")]
fn run_gfni512(rows: &[Row], inputs: Inputs<'_>, outputs: &mut [&mut [u8]]) -> usize {
    const WIDTH: usize = 64;
    let matrices: Vec<[u64; DATA_FRAGMENTS]> = rows.iter().map(|row| row.map(bits)).collect();
    let length = inputs[0].len() / WIDTH * WIDTH;
    for at in (0..length).step_by(WIDTH) {
        let mut bytes = [_mm512_setzero_si512(); DATA_FRAGMENTS];
        for i in 0..DATA_FRAGMENTS {
            bytes[i] = load512(&inputs[i][at..at + WIDTH]);
        }
        for (row, output) in matrices.iter().zip(outputs.iter_mut()) {
            let mut sum = _mm512_setzero_si512();
            for i in 0..DATA_FRAGMENTS {
                let matrix = _mm512_set1_epi64(row[i] as i64);
                let times = _mm512_gf2p8affine_epi64_epi8::<0>(bytes[i], matrix);
                sum = _mm512_xor_si512(sum, times);
            }
            store512(&mut output[at..at + WIDTH], sum);
        }
    }
    length
}

/// Multiplication by `factor` as a matrix over bits, in the order of `gf2p8affineqb`: byte 7 - i has
/// the bits of the operand that make up bit i of the result.
fn bits(factor: u8) -> u64 {
    let mut matrix = 0;
    for result in 0..8 {
        for operand in 0..8 {
            let bit = u64::from(product(factor, 1 << operand) >> result & 1);
            matrix |= bit << (8 * (7 - result) + operand);
        }
    }
    matrix
}

#[target_feature(enable = "avx2")]
fn load256(bytes: &[u8]) -> __m256i {
    assert!(bytes.len() == 32);
    // SAFETY: there are exactly 32 bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn store256(bytes: &mut [u8], vector: __m256i) {
    assert!(bytes.len() == 32);
    // SAFETY: there are exactly 32 bytes, and the store needs no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), vector) };
}

#[target_feature(enable = "avx512f")]
fn load512(bytes: &[u8]) -> __m512i {
    assert!(bytes.len() == 64);
    // SAFETY: there are exactly 64 bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
fn store512(bytes: &mut [u8], vector: __m512i) {
    assert!(bytes.len() == 64);
    // SAFETY: there are exactly 64 bytes, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) };
}
