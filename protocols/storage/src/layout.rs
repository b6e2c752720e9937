//! How CESS cuts, codes and names data.
//!
//! A file is cut into segments of 32 MiB, the last one padded with zeros. A segment is cut into 4
//! data fragments of 8 MiB to which Reed–Solomon coding adds 8 parity fragments; any 4 of the 12
//! restore the segment. Segments and fragments are named by their SHA-256.
//!
//! Padding makes a 20 KiB model a 96 MiB set of fragments. The hashes must cover all of that (they
//! are what other CESS software computes), but nothing else needs to: the code is column-wise, so
//! parity of zeros is zeros, and everything here works on fragments *without their trailing
//! zeros*. A fragment of zeros only has a well-known hash and no bytes at all.

mod codec;
mod gf;
mod hasher;
#[cfg(test)]
mod vectors;

pub(crate) use codec::{Codec, FragmentSink, WholeSegment};
#[cfg(test)]
use codec::{EncodedSegment, RebuildError};
pub use gf::Kernel;
pub use hasher::FidHasher;
pub(crate) use hasher::absorb_zeros;

/// Size of a segment in bytes (32 MiB).
pub const SEGMENT_SIZE: u64 = 32 << 20;
/// Size of a fragment in bytes (8 MiB).
pub const FRAGMENT_SIZE: u64 = 8 << 20;
/// Data fragments of a segment.
pub const DATA_FRAGMENTS: usize = 4;
/// Parity fragments of a segment.
pub const PARITY_FRAGMENTS: usize = 8;
/// All fragments of a segment.
pub const FRAGMENTS: usize = DATA_FRAGMENTS + PARITY_FRAGMENTS;
/// The most segments a file may have on the CESS chain: 31.25 GiB in all.
pub const MAX_SEGMENTS: usize = 1000;

/// The sizes of the layout. CESS has only one; tests use small ones so that they can afford many
/// segments and every subset of fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    fragment: usize,
}

impl Geometry {
    /// The sizes of the network.
    pub(crate) const CESS: Self = Self {
        fragment: FRAGMENT_SIZE as usize,
    };

    /// Fragments of `fragment` bytes, for tests.
    #[cfg(test)]
    pub(crate) const fn with_fragment(fragment: usize) -> Self {
        assert!(fragment > 0);
        Self { fragment }
    }

    /// Bytes of a fragment.
    pub(crate) const fn fragment(self) -> usize {
        self.fragment
    }

    /// Bytes of a segment.
    pub(crate) const fn segment(self) -> usize {
        self.fragment * DATA_FRAGMENTS
    }

    /// How many segments an object of `size` bytes has.
    pub(crate) const fn segments(self, size: u64) -> u64 {
        size.div_ceil(self.segment() as u64)
    }
}

impl Default for Geometry {
    fn default() -> Self {
        Self::CESS
    }
}

/// `bytes` without the zeros at its end.
pub(crate) fn trim_zeros(bytes: &[u8]) -> &[u8] {
    const BLOCK: usize = 4096;
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    let mut end = bytes.len();
    // Whole blocks first: comparing slices is much faster than looking at single bytes.
    while end >= BLOCK && bytes[end - BLOCK..end] == ZEROS {
        end -= BLOCK;
    }
    while end > 0 && bytes[end - 1] == 0 {
        end -= 1;
    }
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trimming_keeps_everything_up_to_the_last_non_zero_byte() {
        assert_eq!(trim_zeros(&[]), &[] as &[u8]);
        assert_eq!(trim_zeros(&[0; 10_000]), &[] as &[u8]);
        for at in [0, 1, 4095, 4096, 4097, 9_999] {
            let mut bytes = vec![0; 10_000];
            bytes[at] = 1;
            assert_eq!(trim_zeros(&bytes).len(), at + 1);
        }
    }
}
