//! Bit planes: one bit of many elements side by side, so that Boolean work is 64 elements wide.
//!
//! Elements are handled in chunks of [`CHUNK`]. Within a chunk, plane `b` holds bit `b` of every
//! element, element `j` at bit `j % 64` of word `j / 64`. On the wire a plane of a chunk with fewer
//! elements has only the words that are needed; its unused bits carry masked zeros.

#[cfg(target_arch = "x86_64")]
mod gfni;

use rayon::prelude::*;

use crate::buffers::take_bytes;

/// Words of a plane.
pub(crate) const WORDS: usize = 16;
/// Elements handled together: the material of a chunk fits the second-level cache.
pub(crate) const CHUNK: usize = 64 * WORDS;

/// One bit of every element of a chunk.
pub(crate) type Plane = [u64; WORDS];

pub(crate) const ZERO: Plane = [0; WORDS];

#[inline(always)]
pub(crate) fn xor(a: &Plane, b: &Plane) -> Plane {
    std::array::from_fn(|i| a[i] ^ b[i])
}

#[inline(always)]
pub(crate) fn and(a: &Plane, b: &Plane) -> Plane {
    std::array::from_fn(|i| a[i] & b[i])
}

#[inline(always)]
pub(crate) fn or(a: &Plane, b: &Plane) -> Plane {
    std::array::from_fn(|i| a[i] | b[i])
}

/// `target ^= a & b`.
#[inline(always)]
pub(crate) fn xor_and(target: &mut Plane, a: &Plane, b: &Plane) {
    for i in 0..WORDS {
        target[i] ^= a[i] & b[i];
    }
}

/// `bit ? b : a`.
#[inline(always)]
pub(crate) fn mux(bit: &Plane, a: &Plane, b: &Plane) -> Plane {
    std::array::from_fn(|i| a[i] ^ (bit[i] & (a[i] ^ b[i])))
}

/// Words that a plane of `elements` (at most [`CHUNK`]) needs on the wire.
pub(crate) fn words_of(elements: usize) -> usize {
    elements.div_ceil(64)
}

/// Bytes of `planes` planes over `elements` elements in all chunks.
pub(crate) fn plane_bytes(planes: usize, elements: usize) -> usize {
    8 * planes * words_of(elements)
}

/// Cuts bits `lo..lo + out.len()` of up to [`CHUNK`] values into planes; missing values are zero.
#[inline(always)]
pub(crate) fn slice_bits(values: &[u64], lo: u32, out: &mut [Plane]) {
    let mut block = [0u64; 64];
    let transpose = fastest_transpose();
    for word in 0..WORDS {
        let part = values.get(64 * word..).unwrap_or_default();
        if part.is_empty() {
            out.iter_mut().for_each(|plane| plane[word] = 0);
            continue;
        }
        let n = part.len().min(64);
        for (b, v) in block.iter_mut().zip(&part[..n]) {
            *b = v >> lo;
        }
        block[n..].fill(0);
        transpose(&mut block);
        for (plane, bits) in out.iter_mut().zip(&block) {
            plane[word] = *bits;
        }
    }
}

/// The transposition for this machine.
#[inline(always)]
fn fastest_transpose() -> impl Fn(&mut [u64; 64]) {
    #[cfg(target_arch = "x86_64")]
    let gfni = gfni::Gfni::get();
    move |block| {
        #[cfg(target_arch = "x86_64")]
        if let Some(gfni) = gfni {
            return gfni.transpose(block);
        }
        transpose(block);
    }
}

/// Transposes a 64 x 64 bit matrix: bit `j` of word `b` becomes bit `b` of word `j`.
/// (Warren, Hacker's Delight, 7-3.)
#[inline(always)]
fn transpose(a: &mut [u64; 64]) {
    swap::<32>(a, 0x0000_0000_ffff_ffff);
    swap::<16>(a, 0x0000_ffff_0000_ffff);
    swap::<8>(a, 0x00ff_00ff_00ff_00ff);
    swap::<4>(a, 0x0f0f_0f0f_0f0f_0f0f);
    swap::<2>(a, 0x3333_3333_3333_3333);
    swap::<1>(a, 0x5555_5555_5555_5555);
}

#[inline(always)]
fn swap<const J: usize>(a: &mut [u64; 64], mask: u64) {
    for pair in a.chunks_exact_mut(2 * J) {
        let (low, high) = pair.split_at_mut(J);
        for i in 0..J {
            let t = ((low[i] >> J) ^ high[i]) & mask;
            low[i] ^= t << J;
            high[i] ^= t;
        }
    }
}

/// Reads planes of `words` words each from bytes that hold exactly them.
#[inline(always)]
pub(crate) fn read_planes(bytes: &[u8], words: usize, out: &mut [Plane]) {
    if words == WORDS && cfg!(target_endian = "little") {
        bytemuck::cast_slice_mut::<Plane, u8>(out).copy_from_slice(bytes);
        return;
    }
    for (plane, bytes) in out.iter_mut().zip(bytes.chunks_exact(8 * words)) {
        *plane = ZERO;
        read_words(bytes, &mut plane[..words]);
    }
}

/// Writes the first `words` words of each plane.
#[inline(always)]
pub(crate) fn write_planes(planes: &[Plane], words: usize, out: &mut [u8]) {
    if words == WORDS && cfg!(target_endian = "little") {
        out.copy_from_slice(bytemuck::cast_slice::<Plane, u8>(planes));
        return;
    }
    for (plane, out) in planes.iter().zip(out.chunks_exact_mut(8 * words)) {
        write_words(&plane[..words], out);
    }
}

/// The planes in bytes that hold exactly `count`: in place where they can be used so, else a copy
/// in `room`.
#[inline(always)]
pub(crate) fn view_planes<'a>(
    bytes: &'a [u8],
    words: usize,
    count: usize,
    room: &'a mut Vec<Plane>,
) -> &'a [Plane] {
    if words == WORDS
        && cfg!(target_endian = "little")
        && let Ok(planes) = bytemuck::try_cast_slice(bytes)
    {
        return planes;
    }
    let room = resized(room, count);
    read_planes(bytes, words, room);
    room
}

/// Little-endian words: in place where they can be used so, else a copy in `room`.
#[inline(always)]
pub(crate) fn view_words<'a>(bytes: &'a [u8], room: &'a mut Vec<u64>) -> &'a [u64] {
    if cfg!(target_endian = "little")
        && let Ok(words) = bytemuck::try_cast_slice(bytes)
    {
        return words;
    }
    room.resize(bytes.len() / 8, 0);
    read_words(bytes, room);
    room
}

/// Fills bytes with `count` planes that `fill` makes, in place where possible, else in `room`.
#[inline(always)]
pub(crate) fn fill_planes<T>(
    bytes: &mut [u8],
    words: usize,
    count: usize,
    room: &mut Vec<Plane>,
    fill: impl FnOnce(&mut [Plane]) -> T,
) -> T {
    if words == WORDS
        && cfg!(target_endian = "little")
        && let Ok(planes) = bytemuck::try_cast_slice_mut(bytes)
    {
        return fill(planes);
    }
    let room = resized(room, count);
    let result = fill(room);
    write_planes(room, words, bytes);
    result
}

/// Planes of the right number; what they hold is to be overwritten.
pub(crate) fn resized(planes: &mut Vec<Plane>, count: usize) -> &mut [Plane] {
    planes.resize(count, ZERO);
    planes
}

/// Reads little-endian words.
#[inline(always)]
pub(crate) fn read_words(bytes: &[u8], out: &mut [u64]) {
    let (words, _) = bytes.as_chunks::<8>();
    for (o, word) in out.iter_mut().zip(words) {
        *o = u64::from_le_bytes(*word);
    }
}

/// Writes little-endian words.
#[inline(always)]
pub(crate) fn write_words(words: &[u64], out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut::<8>();
    for (o, word) in out.iter_mut().zip(words) {
        *o = word.to_le_bytes();
    }
}

/// Words as a message.
pub(crate) fn to_bytes(words: &[u64]) -> Vec<u8> {
    let mut bytes = take_bytes(8 * words.len());
    write_message(words, &mut bytes);
    bytes
}

/// Writes the words of a message, by all cores if it is long.
pub(crate) fn write_message(words: &[u64], out: &mut [u8]) {
    let chunks = out.chunks_mut(8 * CHUNK).zip(words.chunks(CHUNK));
    for_chunks(
        chunks.collect(),
        || (),
        |(), _, (out, words)| write_words(words, out),
    );
}

/// A message as words.
pub(crate) fn from_bytes(bytes: &[u8]) -> Vec<u64> {
    let mut words = vec![0; bytes.len() / 8];
    read_words(bytes, &mut words);
    words
}

/// Chunks that a thread takes at once, at least.
const GRAIN: usize = 8;

/// Runs `work` on every chunk: on this thread if there are few, for waking another takes longer, else
/// on all. `scratch` is made once per thread that helps.
pub(crate) fn for_chunks<T: Send, S>(
    chunks: Vec<T>,
    scratch: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, usize, T) + Sync + Send,
) {
    if chunks.len() < 2 * GRAIN {
        let mut scratch = scratch();
        chunks
            .into_iter()
            .enumerate()
            .for_each(|(i, chunk)| work(&mut scratch, i, chunk));
    } else {
        chunks
            .into_par_iter()
            .enumerate()
            .with_min_len(GRAIN)
            .for_each_init(scratch, |scratch, (i, chunk)| work(scratch, i, chunk));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn planes_hold_the_bits(
            values in proptest::collection::vec(any::<u64>(), 1..CHUNK), lo in 0u32..64, n in 1usize..20,
        ) {
            let n = n.min(64 - lo as usize);
            let mut planes = vec![[u64::MAX; WORDS]; n];
            slice_bits(&values, lo, &mut planes);
            for j in 0..CHUNK {
                let v = values.get(j).copied().unwrap_or(0);
                for (b, plane) in planes.iter().enumerate() {
                    prop_assert_eq!(plane[j / 64] >> (j % 64) & 1, v >> (lo as usize + b) & 1);
                }
            }
        }

        #[test]
        fn both_transpositions_are_the_definition(words in proptest::collection::vec(any::<u64>(), 64)) {
            let words: [u64; 64] = words.try_into().unwrap();
            let (mut plain, mut fast) = (words, words);
            transpose(&mut plain);
            fastest_transpose()(&mut fast);
            for (j, (plain, fast)) in plain.iter().zip(&fast).enumerate() {
                let want = (0..64).map(|b| (words[b] >> j & 1) << b).sum::<u64>();
                prop_assert_eq!((*plain, *fast), (want, want));
            }
        }

        #[test]
        fn planes_survive_the_wire(
            words in proptest::collection::vec(any::<u64>(), 3 * WORDS), n in 1usize..=WORDS,
        ) {
            let mut planes = [ZERO; 3];
            for (p, w) in planes.iter_mut().zip(words.chunks(WORDS)) {
                p[..n].copy_from_slice(&w[..n]);
            }
            let mut bytes = vec![0; 3 * 8 * n];
            write_planes(&planes, n, &mut bytes);
            let mut back = [[u64::MAX; WORDS]; 3];
            read_planes(&bytes, n, &mut back);
            prop_assert_eq!(planes, back);
        }
    }
}
