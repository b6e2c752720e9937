//! AES-128 in counter mode, four blocks to an instruction (VAES on 512-bit registers), or two (256).
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

/// Vectors under way at once: enough to hide the latency of a round.
const BATCH: usize = 8;

/// Round keys of AES-128. Exists only where the processor has the instructions, which is what makes
/// running the code below sound.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Schedule {
    keys: [[u8; 16]; 11],
    #[zeroize(skip)]
    width: Width,
}

/// Bits of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// VAES and AVX2.
    Two,
    /// VAES and AVX-512.
    Four,
}

impl Schedule {
    /// The schedule for the widest registers of this processor.
    pub(super) fn new(key: &[u8; 16]) -> Option<Self> {
        Self::with_width(key, Width::Four).or_else(|| Self::with_width(key, Width::Two))
    }

    /// The schedule for registers of this width, if the processor has the instructions.
    pub(super) fn with_width(key: &[u8; 16], width: Width) -> Option<Self> {
        let registers = match width {
            Width::Two => has!("avx2"),
            Width::Four => has!("avx512f") && has!("avx512bw"),
        };
        (has!("aes") && has!("vaes") && registers).then(|| Self {
            // SAFETY: the processor was just found to have `aes`; `sse2` is part of x86-64.
            keys: unsafe { expand(key) },
            width,
        })
    }

    /// Combines `out` with the stream whose counter blocks start with `head`, from block 0.
    pub(super) fn apply(&self, head: [u8; 8], combine: Combine, out: &mut [u8]) {
        let keys = &self.keys;
        // SAFETY: a `Schedule` of a width exists only if all features of that `stream` were detected.
        unsafe {
            match (self.width, combine) {
                (Width::Two, Combine::Set) => two::stream::<SET>(keys, head, out),
                (Width::Two, Combine::Xor) => two::stream::<XOR>(keys, head, out),
                (Width::Two, Combine::Add) => two::stream::<ADD>(keys, head, out),
                (Width::Four, Combine::Set) => four::stream::<SET>(keys, head, out),
                (Width::Four, Combine::Xor) => four::stream::<XOR>(keys, head, out),
                (Width::Four, Combine::Add) => four::stream::<ADD>(keys, head, out),
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

/// The stream by registers of one width: the same code over other intrinsics.
macro_rules! width {
    (
        $name:ident, $features:literal, $vector:ident, $bytes:literal,
        zero: $zero:ident, broadcast: $broadcast:ident, counter: [$($counter:literal)*], step: $step:literal,
        add: $add:ident, xor: $xor:ident, shuffle: $shuffle:ident, round: $round:ident, last: $last:ident,
        load: $load:ident, store: $store:ident,
    ) => {
        mod $name {
            use super::*;

            /// Bytes of a vector.
            const V: usize = $bytes;

            #[target_feature(enable = $features)]
            pub(super) fn stream<const COMBINE: u8>(keys: &[[u8; 16]; 11], head: [u8; 8], out: &mut [u8]) {
                // SAFETY: a key has 16 bytes, and the load needs no alignment.
                let key = |i: usize| unsafe { _mm_loadu_si128(keys[i].as_ptr().cast()) };
                let keys: [$vector; 11] = std::array::from_fn(|i| $broadcast(key(i)));
                let head = u64::from_le_bytes(head);
                let mut counter = words([$(head, $counter),*]);
                let step = words([$(0 * $counter, $step),*]);
                // The number of a block is big-endian, in the upper half of its 16 bytes.
                let order = _mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 7, 6, 5, 4, 3, 2, 1, 0);
                let order = $broadcast(order);
                let mut next = || {
                    let block = $xor($shuffle(counter, order), keys[0]);
                    counter = $add(counter, step);
                    block
                };

                let (batches, rest) = out.as_chunks_mut::<{ BATCH * V }>();
                for batch in batches {
                    let mut blocks = [$zero(); BATCH];
                    for block in &mut blocks {
                        *block = next();
                    }
                    for key in &keys[1..10] {
                        for block in &mut blocks {
                            *block = $round(*block, *key);
                        }
                    }
                    for (block, out) in blocks.iter().zip(batch.as_chunks_mut::<V>().0) {
                        combine::<COMBINE>($last(*block, keys[10]), out);
                    }
                }
                for out in rest.chunks_mut(V) {
                    let mut block = next();
                    for key in &keys[1..10] {
                        block = $round(block, *key);
                    }
                    let block = $last(block, keys[10]);
                    let mut last = [0; V];
                    let n = out.len();
                    last[..n].copy_from_slice(out);
                    combine::<COMBINE>(block, &mut last);
                    out.copy_from_slice(&last[..n]);
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn words(words: [u64; V / 8]) -> $vector {
                // SAFETY: the words are the bytes of a vector, and the load needs no alignment.
                unsafe { $load(words.as_ptr().cast()) }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn combine<const COMBINE: u8>(stream: $vector, out: &mut [u8; V]) {
                let at: *mut $vector = out.as_mut_ptr().cast();
                // SAFETY: `out` has the bytes of a vector, and neither load nor store needs alignment.
                unsafe {
                    let value = match COMBINE {
                        XOR => $xor($load(at), stream),
                        ADD => $add($load(at), stream),
                        _ => stream,
                    };
                    $store(at, value);
                }
            }
        }
    };
}

width! {
    two, "avx2,vaes", __m256i, 32,
    zero: _mm256_setzero_si256, broadcast: _mm256_broadcastsi128_si256, counter: [0 1], step: 2,
    add: _mm256_add_epi64, xor: _mm256_xor_si256, shuffle: _mm256_shuffle_epi8,
    round: _mm256_aesenc_epi128, last: _mm256_aesenclast_epi128,
    load: _mm256_loadu_si256, store: _mm256_storeu_si256,
}

width! {
    four, "avx512f,avx512bw,vaes", __m512i, 64,
    zero: _mm512_setzero_si512, broadcast: _mm512_broadcast_i32x4, counter: [0 1 2 3], step: 4,
    add: _mm512_add_epi64, xor: _mm512_xor_si512, shuffle: _mm512_shuffle_epi8,
    round: _mm512_aesenc_epi128, last: _mm512_aesenclast_epi128,
    load: _mm512_loadu_si512, store: _mm512_storeu_si512,
}
