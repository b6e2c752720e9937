//! Reed–Solomon coding of one segment.
//!
//! GF(2^8) with polynomial 0x11D and the systematic Vandermonde matrix of klauspost/reedsolomon,
//! which is what CESS gateways use: rows `r^0 r^1 r^2 r^3` times the inverse of the top four. The
//! parity rows are pinned by a test, and everything is compared with `reed-solomon-erasure`, which
//! builds the same matrix.

use std::io;

use bytes::Bytes;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::gf::{self, Kernel, Row};
use super::hasher::absorb_zeros;
use super::{DATA_FRAGMENTS, FRAGMENTS, Geometry, PARITY_FRAGMENTS, trim_zeros};
use crate::buffers::Buffer;
use crate::fid::ContentHash;

/// Columns coded at a time. Small enough for twelve stripes to stay in the processor's cache, and
/// the reason why coding needs no more memory than the segment itself.
const STRIPE: usize = 1 << 15;

/// Codes segments of one geometry.
pub(crate) struct Codec {
    geometry: Geometry,
    kernel: Kernel,
    rows: [Row; FRAGMENTS],
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

/// A coded segment in memory.
#[derive(Clone, Debug)]
pub(crate) struct WholeSegment {
    /// Hash of the padded segment.
    pub(crate) hash: ContentHash,
    /// Hashes of the fragments by index.
    pub(crate) hashes: [ContentHash; FRAGMENTS],
    /// The fragments by index, without trailing zeros.
    pub(crate) fragments: [Bytes; FRAGMENTS],
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
        Self::with_kernel(geometry, Kernel::best())
    }

    pub(crate) fn with_kernel(geometry: Geometry, kernel: Kernel) -> Self {
        Self {
            geometry,
            kernel,
            rows: generator(),
            zero_fragment: padded_hash(&[], geometry.fragment()),
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
            let mut output = vec![vec![0; STRIPE.min(width)]; PARITY_FRAGMENTS];
            for start in (0..width).step_by(STRIPE) {
                let columns = STRIPE.min(width - start);
                for stripe in &mut output {
                    stripe.truncate(columns);
                }
                let mut parity: Vec<&mut [u8]> = output.iter_mut().map(Vec::as_mut_slice).collect();
                self.combine(&self.rows[DATA_FRAGMENTS..], data, start, &mut parity);
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
    ) -> Result<Vec<Bytes>, RebuildError> {
        if present.len() < DATA_FRAGMENTS {
            return Err(RebuildError::TooFew {
                have: present.len(),
            });
        }
        let mut seen = [false; FRAGMENTS];
        for &(index, bytes) in present {
            match seen.get_mut(index) {
                Some(slot @ false) if bytes.len() <= self.geometry.fragment() => *slot = true,
                _ => return Err(RebuildError::Misplaced { index }),
            }
        }
        if let Some(&index) = wanted.iter().find(|index| **index >= FRAGMENTS) {
            return Err(RebuildError::Misplaced { index });
        }

        let sources: [&[u8]; DATA_FRAGMENTS] = std::array::from_fn(|i| present[i].1);
        let matrix = std::array::from_fn(|i| self.rows[present[i].0]);
        let inverse =
            gf::invert(matrix).expect("any four distinct rows of this matrix are independent, qed");
        let rows: Vec<Row> = wanted
            .iter()
            .map(|index| gf::row_product(self.rows[*index], &inverse))
            .collect();
        // Beyond the longest of any 4 fragments all columns are zero.
        let width = sources.iter().map(|bytes| bytes.len()).max().unwrap_or(0);
        let mut rebuilt: Vec<Buffer> = wanted.iter().map(|_| Buffer::zeros(width)).collect();
        // A product has at most eight rows; all twelve may be wanted of four others at once.
        for (rows, rebuilt) in rows
            .chunks(PARITY_FRAGMENTS)
            .zip(rebuilt.chunks_mut(PARITY_FRAGMENTS))
        {
            for start in (0..width).step_by(STRIPE) {
                let columns = STRIPE.min(width - start);
                let mut stripes: Vec<&mut [u8]> = rebuilt
                    .iter_mut()
                    .map(|fragment| &mut fragment.bytes()[start..start + columns])
                    .collect();
                self.combine(rows, sources, start, &mut stripes);
            }
        }
        let trimmed = rebuilt.into_iter().map(|mut fragment| {
            let length = trim_zeros(fragment.as_ref()).len();
            fragment.bytes().truncate(length);
            fragment.freeze()
        });
        Ok(trimmed.collect())
    }

    /// Cuts, codes and hashes a segment with all cores. Data fragments share the segment's memory.
    pub(crate) fn encode_whole(&self, segment: Bytes) -> WholeSegment {
        let size = self.geometry.fragment();
        debug_assert!(segment.len() <= self.geometry.segment());
        let data: [Bytes; DATA_FRAGMENTS] = std::array::from_fn(|index| {
            let start = (index * size).min(segment.len());
            let end = (start + size).min(segment.len());
            segment.slice(start..start + trim_zeros(&segment[start..end]).len())
        });
        let slices = data.each_ref().map(|fragment| &fragment[..]);
        let width = slices.iter().map(|data| data.len()).max().unwrap_or(0);
        let mut parity: [Buffer; PARITY_FRAGMENTS] = std::array::from_fn(|_| Buffer::zeros(width));
        let mut columns: Vec<Vec<&mut [u8]>> = Vec::with_capacity(width.div_ceil(STRIPE));
        columns.resize_with(width.div_ceil(STRIPE), || {
            Vec::with_capacity(PARITY_FRAGMENTS)
        });
        for fragment in &mut parity {
            for (column, stripe) in columns.iter_mut().zip(fragment.bytes().chunks_mut(STRIPE)) {
                column.push(stripe);
            }
        }
        let rows = &self.rows[DATA_FRAGMENTS..];
        columns
            .into_par_iter()
            .enumerate()
            .for_each(|(i, mut stripes)| self.combine(rows, slices, i * STRIPE, &mut stripes));

        let mut data = data.into_iter();
        let mut parity = parity.into_iter();
        let fragments: [Bytes; FRAGMENTS] = std::array::from_fn(|index| {
            if index < DATA_FRAGMENTS {
                return data.next().unwrap_or_default();
            }
            let mut fragment = parity.next().unwrap_or_default();
            let length = trim_zeros(fragment.as_ref()).len();
            fragment.bytes().truncate(length);
            fragment.freeze()
        });
        let (hash, hashes) = self.hash_whole(&fragments);
        WholeSegment {
            hash,
            hashes,
            fragments,
        }
    }

    /// Fills `parity`, eight fragments as long as the data's, on this core.
    pub(crate) fn encode_into(&self, data: [&[u8]; DATA_FRAGMENTS], parity: &mut [Vec<u8>]) {
        self.fill(&self.rows[DATA_FRAGMENTS..], data, parity);
    }

    /// Fills `data`, four fragments as long as the sources, on this core.
    pub(crate) fn decode_into(
        &self,
        sources: [(usize, &[u8]); DATA_FRAGMENTS],
        data: &mut [Vec<u8>],
    ) {
        let inverse = gf::invert(sources.map(|(index, _)| self.rows[index]))
            .expect("any four distinct rows of this matrix are independent, qed");
        self.fill(&inverse, sources.map(|(_, bytes)| bytes), data);
    }

    fn fill(&self, rows: &[Row], inputs: [&[u8]; DATA_FRAGMENTS], outputs: &mut [Vec<u8>]) {
        let width = outputs.first().map_or(0, Vec::len);
        for start in (0..width).step_by(STRIPE) {
            let end = (start + STRIPE).min(width);
            let mut stripes: Vec<&mut [u8]> = outputs
                .iter_mut()
                .map(|output| &mut output[start..end])
                .collect();
            self.combine(rows, inputs, start, &mut stripes);
        }
    }

    /// The hash of a segment and those of its fragments, with all cores.
    fn hash_whole(
        &self,
        fragments: &[Bytes; FRAGMENTS],
    ) -> (ContentHash, [ContentHash; FRAGMENTS]) {
        let size = self.geometry.fragment();
        let mut hashes = [self.zero_fragment; FRAGMENTS];
        let [first, others @ ..] = &mut hashes;
        let mut whole = self.zero_fragment;
        rayon::scope(|scope| {
            // The longest comes first. A segment begins like its first fragment, so that is hashed
            // once for both.
            scope.spawn(|_| {
                let mut hasher = Sha256::new();
                for (index, fragment) in fragments[..DATA_FRAGMENTS].iter().enumerate() {
                    hasher.update(fragment);
                    absorb_zeros(&mut hasher, size - fragment.len());
                    if index == 0 {
                        *first = ContentHash(hasher.clone().finalize().into());
                    }
                }
                whole = ContentHash(hasher.finalize().into());
            });
            for (fragment, hash) in fragments[1..].iter().zip(others) {
                scope.spawn(move |_| *hash = self.fragment_hash(fragment));
            }
        });
        (whole, hashes)
    }

    /// Fills `outputs` with `rows` times the columns of `inputs` from `start` on; an input counts as
    /// zeros behind its end.
    fn combine(
        &self,
        rows: &[Row],
        inputs: [&[u8]; DATA_FRAGMENTS],
        start: usize,
        outputs: &mut [&mut [u8]],
    ) {
        let columns = outputs.first().map_or(0, |output| output.len());
        let end = start + columns;
        if inputs.iter().all(|input| input.len() >= end) {
            let inputs = inputs.map(|input| &input[start..end]);
            return self.kernel.multiply(rows, inputs, outputs);
        }
        let mut padded = [const { Vec::new() }; DATA_FRAGMENTS];
        for (stripe, input) in padded.iter_mut().zip(inputs) {
            stripe.resize(columns, 0);
            copy_padded(stripe, input, start);
        }
        let inputs = padded.each_ref().map(Vec::as_slice);
        self.kernel.multiply(rows, inputs, outputs);
    }
}

/// The matrix that makes twelve fragments of four.
fn generator() -> [Row; FRAGMENTS] {
    let vandermonde: [Row; FRAGMENTS] =
        std::array::from_fn(|r| std::array::from_fn(|c| gf::power(r as u8, c)));
    let top = std::array::from_fn(|r| vandermonde[r]);
    let inverse = gf::invert(top).expect("rows of distinct elements are independent, qed");
    vandermonde.map(|row| gf::row_product(row, &inverse))
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
