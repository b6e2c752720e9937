//! Segment hashes and fids of a stream.

use sha2::{Digest, Sha256};

use super::Geometry;
use crate::fid::{ContentHash, Fid, FidRule};

/// Computes the segment hashes of bytes that pass by, and from them the fid, without keeping the
/// bytes.
#[derive(Clone)]
pub struct FidHasher {
    geometry: Geometry,
    /// Over the segment that is being filled.
    current: Sha256,
    /// Bytes of it seen so far; less than a segment between calls.
    filled: usize,
    segments: Vec<ContentHash>,
    size: u64,
}

impl FidHasher {
    /// Starts with the sizes of the CESS network.
    pub fn new() -> Self {
        Self::with_geometry(Geometry::CESS)
    }

    pub(crate) fn with_geometry(geometry: Geometry) -> Self {
        Self {
            geometry,
            current: Sha256::new(),
            filled: 0,
            segments: Vec::new(),
            size: 0,
        }
    }

    /// Takes the next bytes of the object.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = self.geometry.segment() - self.filled;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.current.update(now);
            self.filled += now.len();
            if self.filled == self.geometry.segment() {
                self.close_segment();
            }
            bytes = later;
        }
    }

    /// Bytes taken so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of all segments, the last one padded with zeros. Hashing the padding takes up to
    /// some tens of milliseconds: call it where blocking is allowed.
    pub fn finish(mut self) -> Vec<ContentHash> {
        if self.filled > 0 {
            absorb_zeros(&mut self.current, self.geometry.segment() - self.filled);
            self.close_segment();
        }
        self.segments
    }

    /// The fid of `bytes`; `None` if there are none.
    pub fn fid_of(bytes: &[u8], rule: FidRule) -> Option<Fid> {
        let mut hasher = Self::new();
        hasher.update(bytes);
        rule.fid(&hasher.finish())
    }

    fn close_segment(&mut self) {
        self.segments
            .push(ContentHash(self.current.finalize_reset().into()));
        self.filled = 0;
    }
}

impl Default for FidHasher {
    fn default() -> Self {
        Self::new()
    }
}

/// Feeds `count` zero bytes to a hash.
pub(crate) fn absorb_zeros(hasher: &mut Sha256, mut count: usize) {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    while count > 0 {
        let now = count.min(ZEROS.len());
        hasher.update(&ZEROS[..now]);
        count -= now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_do_not_matter(bytes in proptest::collection::vec(any::<u8>(), 1..400), cut in 1..97_usize) {
            let geometry = Geometry::with_fragment(16);
            let mut whole = FidHasher::with_geometry(geometry);
            whole.update(&bytes);
            let mut pieces = FidHasher::with_geometry(geometry);
            for piece in bytes.chunks(cut) {
                pieces.update(piece);
            }
            let expected: Vec<_> = bytes
                .chunks(64)
                .map(|segment| {
                    let mut padded = segment.to_vec();
                    padded.resize(64, 0);
                    ContentHash::of(&padded)
                })
                .collect();
            prop_assert_eq!(pieces.size(), bytes.len() as u64);
            prop_assert_eq!(&whole.finish(), &expected);
            prop_assert_eq!(&pieces.finish(), &expected);
        }
    }
}
