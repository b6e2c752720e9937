//! Reed–Solomon coding of one segment.
//!
//! GF(2^8) with polynomial 0x11D and the systematic Vandermonde matrix of klauspost/reedsolomon,
//! which is what CESS gateways use; `reed-solomon-erasure` builds the same matrix. The parity rows
//! are pinned by a test.

use std::io;

use reed_solomon_erasure::galois_8::ReedSolomon;
use sha2::{Digest, Sha256};

use super::hasher::absorb_zeros;
use super::{DATA_FRAGMENTS, FRAGMENTS, Geometry, PARITY_FRAGMENTS, trim_zeros};
use crate::fid::ContentHash;

/// Columns coded at a time. Small enough for twelve stripes to stay in the processor's cache, and
/// the reason why coding needs no more memory than the segment itself.
const STRIPE: usize = 1 << 15;

/// Codes segments of one geometry.
pub(crate) struct Codec {
    geometry: Geometry,
    code: ReedSolomon,
    zero_fragment: ContentHash,
}

/// Where coding puts fragments, piece by piece.
pub(crate) trait FragmentSink {
    /// Takes the next bytes of fragment `index`.
    fn append(&mut self, index: usize, bytes: &[u8]) -> io::Result<()>;
}

/// What coding a segment yields besides the fragments themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EncodedSegment {
    /// Hash of the padded segment.
    pub(crate) hash: ContentHash,
    /// Hashes of the fragments by index.
    pub(crate) fragments: [ContentHash; FRAGMENTS],
    /// Lengths of the fragments by index, without trailing zeros.
    pub(crate) lengths: [usize; FRAGMENTS],
}

/// Why a segment cannot be rebuilt from what there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RebuildError {
    /// Too few fragments.
    #[error("{have} fragments are left and {DATA_FRAGMENTS} are needed")]
    TooFew {
        /// Fragments there are.
        have: usize,
    },
    /// The caller passed fragments that cannot be of one segment.
    #[error("fragment {index} is out of place or longer than a fragment")]
    Misplaced {
        /// Its index.
        index: usize,
    },
}

impl Codec {
    pub(crate) fn new(geometry: Geometry) -> Self {
        let code = ReedSolomon::new(DATA_FRAGMENTS, PARITY_FRAGMENTS)
            .expect("4 + 8 is within the 256 shards that GF(2^8) allows, qed");
        let zero_fragment = padded_hash(&[], geometry.fragment());
        Self {
            geometry,
            code,
            zero_fragment,
        }
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The hash of a fragment of zeros, which is never stored.
    pub(crate) fn zero_fragment(&self) -> ContentHash {
        self.zero_fragment
    }

    /// The hash of a fragment given without its trailing zeros.
    pub(crate) fn fragment_hash(&self, trimmed: &[u8]) -> ContentHash {
        if trimmed.is_empty() {
            return self.zero_fragment;
        }
        padded_hash(trimmed, self.geometry.fragment())
    }

    /// The hash of a segment given as its data fragments without their trailing zeros.
    pub(crate) fn segment_hash<B: AsRef<[u8]>>(&self, data: &[B; DATA_FRAGMENTS]) -> ContentHash {
        let mut hasher = Sha256::new();
        for fragment in data {
            let fragment = fragment.as_ref();
            hasher.update(fragment);
            absorb_zeros(&mut hasher, self.geometry.fragment() - fragment.len());
        }
        ContentHash(hasher.finalize().into())
    }

    /// Cuts and codes a segment of at most the segment size; what is missing to it is zeros.
    ///
    /// Fragments reach the sink in order and without padding, but a parity fragment may still end
    /// in zeros: `lengths` tells where to cut it.
    pub(crate) fn encode(
        &self,
        segment: &[u8],
        sink: &mut dyn FragmentSink,
    ) -> io::Result<EncodedSegment> {
        let size = self.geometry.fragment();
        debug_assert!(segment.len() <= self.geometry.segment());
        let data: [&[u8]; DATA_FRAGMENTS] = std::array::from_fn(|index| {
            let start = (index * size).min(segment.len());
            let end = (start + size).min(segment.len());
            trim_zeros(&segment[start..end])
        });
        let mut fragments = [self.zero_fragment; FRAGMENTS];
        let mut lengths = [0; FRAGMENTS];
        for (index, fragment) in data.iter().enumerate() {
            if !fragment.is_empty() {
                sink.append(index, fragment)?;
                fragments[index] = self.fragment_hash(fragment);
                lengths[index] = fragment.len();
            }
        }

        let width = data
            .iter()
            .map(|fragment| fragment.len())
            .max()
            .unwrap_or(0);
        if width > 0 {
            let mut hashers: [Sha256; PARITY_FRAGMENTS] = std::array::from_fn(|_| Sha256::new());
            let mut input = vec![vec![0; STRIPE.min(width)]; DATA_FRAGMENTS];
            let mut output = vec![vec![0; STRIPE.min(width)]; PARITY_FRAGMENTS];
            for start in (0..width).step_by(STRIPE) {
                let columns = STRIPE.min(width - start);
                for (stripe, fragment) in input.iter_mut().zip(&data) {
                    stripe.truncate(columns);
                    copy_padded(stripe, fragment, start);
                }
                for stripe in &mut output {
                    stripe.truncate(columns);
                }
                self.code
                    .encode_sep(&input, &mut output)
                    .expect("4 input and 8 output stripes of equal length, qed");
                for (parity, stripe) in output.iter().enumerate() {
                    let index = DATA_FRAGMENTS + parity;
                    hashers[parity].update(stripe);
                    sink.append(index, stripe)?;
                    let trimmed = trim_zeros(stripe).len();
                    if trimmed > 0 {
                        lengths[index] = start + trimmed;
                    }
                }
            }
            for (parity, mut hasher) in hashers.into_iter().enumerate() {
                absorb_zeros(&mut hasher, size - width);
                fragments[DATA_FRAGMENTS + parity] = ContentHash(hasher.finalize().into());
            }
        }
        Ok(EncodedSegment {
            hash: self.segment_hash(&data),
            fragments,
            lengths,
        })
    }

    /// Rebuilds the fragments `wanted` from at least 4 others, each given with its index and
    /// without trailing zeros, and returns them in the order of `wanted`, also without trailing
    /// zeros.
    ///
    /// What is passed must have been verified: a wrong fragment gives wrong results.
    pub(crate) fn rebuild(
        &self,
        present: &[(usize, &[u8])],
        wanted: &[usize],
    ) -> Result<Vec<Vec<u8>>, RebuildError> {
        if present.len() < DATA_FRAGMENTS {
            return Err(RebuildError::TooFew {
                have: present.len(),
            });
        }
        let mut sources: [Option<&[u8]>; FRAGMENTS] = [None; FRAGMENTS];
        for &(index, bytes) in present {
            match sources.get_mut(index) {
                Some(slot @ None) if bytes.len() <= self.geometry.fragment() => *slot = Some(bytes),
                _ => return Err(RebuildError::Misplaced { index }),
            }
        }
        if let Some(&index) = wanted.iter().find(|index| **index >= FRAGMENTS) {
            return Err(RebuildError::Misplaced { index });
        }

        // Beyond the longest of any 4 fragments all columns are zero.
        let width = present
            .iter()
            .map(|(_, bytes)| bytes.len())
            .max()
            .unwrap_or(0);
        let mut rebuilt = vec![Vec::with_capacity(width); wanted.len()];
        let mut stripes = vec![vec![0; STRIPE.min(width)]; FRAGMENTS];
        for start in (0..width).step_by(STRIPE) {
            let columns = STRIPE.min(width - start);
            for (stripe, source) in stripes.iter_mut().zip(&sources) {
                stripe.truncate(columns);
                copy_padded(stripe, source.unwrap_or_default(), start);
            }
            let mut shards: Vec<(&mut [u8], bool)> = stripes
                .iter_mut()
                .zip(&sources)
                .map(|(stripe, source)| (stripe.as_mut_slice(), source.is_some()))
                .collect();
            self.code
                .reconstruct(&mut shards)
                .expect("12 stripes of equal length of which at least 4 are present, qed");
            for (fragment, index) in rebuilt.iter_mut().zip(wanted) {
                fragment.extend_from_slice(&stripes[*index]);
            }
        }
        for fragment in &mut rebuilt {
            fragment.truncate(trim_zeros(fragment).len());
        }
        Ok(rebuilt)
    }
}

/// Fills `stripe` with the bytes of `fragment` from column `start`, then zeros.
fn copy_padded(stripe: &mut [u8], fragment: &[u8], start: usize) {
    let rest = fragment.get(start..).unwrap_or_default();
    let count = rest.len().min(stripe.len());
    stripe[..count].copy_from_slice(&rest[..count]);
    stripe[count..].fill(0);
}

fn padded_hash(trimmed: &[u8], size: usize) -> ContentHash {
    let mut hasher = Sha256::new();
    hasher.update(trimmed);
    absorb_zeros(&mut hasher, size - trimmed.len());
    ContentHash(hasher.finalize().into())
}
