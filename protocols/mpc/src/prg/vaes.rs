//! AES-128 in counter mode, four blocks to an instruction (VAES on 512-bit registers).
//!
//! The same stream as the `aes` crate gives, which is the reference and what runs elsewhere; that
//! crate uses one block to an instruction. The key schedule is that of FIPS 197, section 5.2, by the
//! instruction made for it (Gueron, *Intel Advanced Encryption Standard Instructions Set*, 2012,
//! figure 24): no tables, so no address depends on the key.

#![allow(unsafe_code)]

use std::arch::is_x86_feature_detected as has;
use std::arch::x86_64::*;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Combine;

/// Bytes of a vector.
const V: usize = 64;
/// Vectors under way at once: enough to hide the latency of a round.
const BATCH: usize = 8;

/// Round keys of AES-128. Exists only where the processor has the instructions, which is what makes
/// running the code below sound.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Schedule([[u8; 16]; 11]);

impl Schedule {
    pub(super) fn new(key: &[u8; 16]) -> Option<Self> {
        let all = has!("aes") && has!("vaes") && has!("avx512f") && has!("avx512bw");
        // SAFETY: the processor was just found to have `aes`; `sse2` is part of x86-64.
        all.then(|| Self(unsafe { expand(key) }))
    }

    /// Combines `out` with the stream whose counter blocks start with `head`, from block 0.
    pub(super) fn apply(&self, head: [u8; 8], combine: Combine, out: &mut [u8]) {
        // SAFETY: a `Schedule` exists only if all features of `stream` were detected.
        unsafe {
            match combine {
                Combine::Set => stream::<SET>(&self.0, head, out),
                Combine::Xor => stream::<XOR>(&self.0, head, out),
                Combine::Add => stream::<ADD>(&self.0, head, out),
            }
        }
    }
}

const SET: u8 = 0;
const XOR: u8 = 1;
const ADD: u8 = 2;

/// The key schedule.
#[target_feature(enable = "aes")]
fn expand(key: &[u8; 16]) -> [[u8; 16]; 11] {
    let mut keys = [[0; 16]; 11];
    keys[0] = *key;
    // SAFETY: both arrays have 16 bytes, and neither instruction needs alignment.
    let load = |bytes: &[u8; 16]| unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    let store = |bytes: &mut [u8; 16], v| unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), v) };
    macro_rules! round {
        ($i:literal, $constant:literal) => {
            let last = load(&keys[$i - 1]);
            let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$constant>(last));
            // Every word of the key, and all those before it.
            let sum = _mm_xor_si128(last, _mm_slli_si128::<4>(last));
            let sum = _mm_xor_si128(sum, _mm_slli_si128::<8>(sum));
            store(&mut keys[$i], _mm_xor_si128(sum, word));
        };
    }
    round!(1, 0x01);
    round!(2, 0x02);
    round!(3, 0x04);
    round!(4, 0x08);
    round!(5, 0x10);
    round!(6, 0x20);
    round!(7, 0x40);
    round!(8, 0x80);
    round!(9, 0x1b);
    round!(10, 0x36);
    keys
}

#[target_feature(enable = "avx512f,avx512bw,vaes")]
fn stream<const COMBINE: u8>(keys: &[[u8; 16]; 11], head: [u8; 8], out: &mut [u8]) {
    // SAFETY: a key has 16 bytes, and the load needs no alignment.
    let key = |i: usize| unsafe { _mm_loadu_si128(keys[i].as_ptr().cast()) };
    let keys: [__m512i; 11] = std::array::from_fn(|i| _mm512_broadcast_i32x4(key(i)));
    let head = i64::from_le_bytes(head);
    let mut counter = _mm512_set_epi64(3, head, 2, head, 1, head, 0, head);
    let four = _mm512_set_epi64(4, 0, 4, 0, 4, 0, 4, 0);
    // The number of a block is big-endian, in the upper half of its 16 bytes.
    let order = _mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 7, 6, 5, 4, 3, 2, 1, 0);
    let order = _mm512_broadcast_i32x4(order);
    let mut next = || {
        let block = _mm512_xor_si512(_mm512_shuffle_epi8(counter, order), keys[0]);
        counter = _mm512_add_epi64(counter, four);
        block
    };

    let (batches, rest) = out.as_chunks_mut::<{ BATCH * V }>();
    for batch in batches {
        let mut blocks = [_mm512_setzero_si512(); BATCH];
        for block in &mut blocks {
            *block = next();
        }
        for key in &keys[1..10] {
            for block in &mut blocks {
                *block = _mm512_aesenc_epi128(*block, *key);
            }
        }
        for (block, out) in blocks.iter().zip(batch.as_chunks_mut::<V>().0) {
            combine::<COMBINE>(_mm512_aesenclast_epi128(*block, keys[10]), out);
        }
    }
    for out in rest.chunks_mut(V) {
        let mut block = next();
        for key in &keys[1..10] {
            block = _mm512_aesenc_epi128(block, *key);
        }
        let block = _mm512_aesenclast_epi128(block, keys[10]);
        let mut last = [0; V];
        let n = out.len();
        last[..n].copy_from_slice(out);
        combine::<COMBINE>(block, &mut last);
        out.copy_from_slice(&last[..n]);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn combine<const COMBINE: u8>(stream: __m512i, out: &mut [u8; V]) {
    let at: *mut __m512i = out.as_mut_ptr().cast();
    // SAFETY: `out` has the 64 bytes of a vector, and neither load nor store needs alignment.
    unsafe {
        let value = match COMBINE {
            XOR => _mm512_xor_si512(_mm512_loadu_si512(at), stream),
            ADD => _mm512_add_epi64(_mm512_loadu_si512(at), stream),
            _ => stream,
        };
        _mm512_storeu_si512(at, value);
    }
}
