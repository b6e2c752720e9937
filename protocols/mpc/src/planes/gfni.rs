//! Transposing 64 x 64 bits by Galois-field instructions on 512-bit registers.
//!
//! A vector holds eight of the 64 words. In each, bytes are gathered so that word `k` has byte `k`
//! of all eight, and `gf2p8affine` turns each word, an 8 x 8 matrix of bits: then byte `i` of word
//! `k` has bit `8 k + i` of the eight. What is left is to transpose the words between vectors, and
//! once more the bytes in each. Some fifty instructions, where shifts and masks take several hundred.

#![allow(unsafe_code)]

use std::arch::is_x86_feature_detected as has;
use std::arch::x86_64::*;
use std::sync::OnceLock;

/// Proof that the processor has the instructions.
#[derive(Clone, Copy)]
pub(super) struct Gfni(());

impl Gfni {
    pub(super) fn get() -> Option<Self> {
        static FOUND: OnceLock<bool> = OnceLock::new();
        let found = *FOUND.get_or_init(|| has!("avx512f") && has!("avx512vbmi") && has!("gfni"));
        found.then_some(Self(()))
    }

    /// Bit `j` of word `b` becomes bit `b` of word `j`.
    pub(super) fn transpose(self, block: &mut [u64; 64]) {
        // SAFETY: a `Gfni` exists only if all features of `transpose` were detected.
        unsafe { transpose(block) }
    }
}

#[target_feature(enable = "avx512f,avx512vbmi,gfni")]
fn transpose(block: &mut [u64; 64]) {
    // Byte 8 k + j comes from byte 8 j + k: an 8 x 8 transposition of bytes. The first time upside
    // down, since the instruction counts the rows of a matrix from the last byte.
    const STRAIGHT: [u8; 64] = order(0);
    const TURNED: [u8; 64] = order(7);
    // SAFETY: 64 bytes each, and the load needs no alignment.
    let load = |bytes: &[u8; 64]| unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
    let (straight, turned) = (load(&STRAIGHT), load(&TURNED));
    // Unit vectors, times each word as a matrix: byte i is column i.
    let unit = _mm512_set1_epi64(0x8040_2010_0804_0201_u64 as i64);
    let mut v: [__m512i; 8] = std::array::from_fn(|i| {
        let words: &[u64; 8] = block[8 * i..].first_chunk().expect("eight of 64, qed");
        // SAFETY: 8 words = 64 bytes, and the load needs no alignment.
        let v = unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
        _mm512_gf2p8affine_epi64_epi8::<0>(unit, _mm512_permutexvar_epi8(turned, v))
    });
    transpose_words(&mut v);
    for (v, out) in v.iter().zip(block.as_chunks_mut::<8>().0) {
        // SAFETY: 8 words = 64 bytes, and the store needs no alignment.
        unsafe {
            _mm512_storeu_si512(
                out.as_mut_ptr().cast(),
                _mm512_permutexvar_epi8(straight, *v),
            );
        }
    }
}

/// Where byte `8 k + j` comes from: `8 (j ^ turn) + k`.
const fn order(turn: usize) -> [u8; 64] {
    let mut order = [0; 64];
    let mut at = 0;
    while at < 64 {
        order[at] = (8 * ((at % 8) ^ turn) + at / 8) as u8;
        at += 1;
    }
    order
}

/// Word `k` of vector `i` becomes word `i` of vector `k`.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_words(v: &mut [__m512i; 8]) {
    // Pairs of words, then pairs of pairs, then halves.
    let mut t = *v;
    for i in 0..4 {
        t[2 * i] = _mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]);
    }
    // t[2 i + p] = for each quarter q: words 2 q + p of vectors 2 i, 2 i + 1.
    let mut u = t;
    for p in 0..2 {
        for h in 0..2 {
            let (a, b) = (t[4 * h + p], t[4 * h + 2 + p]);
            // Quarters 0, 2 of a, then of b; and 1, 3.
            u[4 * h + p] = _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b);
            u[4 * h + 2 + p] = _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b);
        }
    }
    // u[4 h + 2 s + p] = words of quarters s, s + 2 of vectors 4 h, 4 h + 1; then 4 h + 2, 4 h + 3.
    for s in 0..2 {
        for p in 0..2 {
            let (a, b) = (u[2 * s + p], u[4 + 2 * s + p]);
            v[2 * s + p] = _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b);
            v[4 + 2 * s + p] = _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b);
        }
    }
}
