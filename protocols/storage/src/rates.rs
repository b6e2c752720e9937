//! How fast this machine codes and hashes, for benchmarks: each over the same bytes, on one core.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::layout::{Codec, DATA_FRAGMENTS, FRAGMENTS, Geometry, Kernel};

/// Seconds that one pass over a segment of 32 MiB takes, the least of several, on one core.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodingTimes {
    /// Making 8 parity fragments of 4 data fragments.
    pub encode: Duration,
    /// Making 4 data fragments of 4 parity fragments: the worst case.
    pub decode: Duration,
    /// Hashing 4 fragments and the segment: what a read of the segment verifies.
    pub verify: Duration,
    /// SHA-256 over the segment.
    pub sha256: Duration,
    /// Copying the segment in memory.
    pub copy: Duration,
}

/// Measures with this kernel, `rounds` times.
pub fn measure(kernel: Kernel, rounds: u32) -> CodingTimes {
    let codec = Codec::with_kernel(Geometry::CESS, kernel);
    let size = codec.geometry().fragment();
    let mut state = 1_u64;
    let segment: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .take(codec.geometry().segment())
    .collect();
    let data: [&[u8]; DATA_FRAGMENTS] = std::array::from_fn(|i| &segment[i * size..(i + 1) * size]);
    let mut parity = vec![vec![1; size]; FRAGMENTS - DATA_FRAGMENTS];
    let mut decoded = vec![vec![1; size]; DATA_FRAGMENTS];
    let mut copy = vec![1; segment.len()];
    let mut times = CodingTimes {
        encode: Duration::MAX,
        decode: Duration::MAX,
        verify: Duration::MAX,
        sha256: Duration::MAX,
        copy: Duration::MAX,
    };
    for _ in 0..rounds.max(1) {
        codec.encode_into(data, &mut parity);
        keep(&mut times.encode, || codec.encode_into(data, &mut parity));
        let sources = std::array::from_fn(|i| (DATA_FRAGMENTS + i, &parity[i][..]));
        keep(&mut times.decode, || {
            codec.decode_into(sources, &mut decoded)
        });
        keep(&mut times.verify, || {
            for fragment in data {
                std::hint::black_box(codec.fragment_hash(fragment));
            }
            std::hint::black_box(codec.segment_hash(&data));
        });
        keep(&mut times.sha256, || {
            std::hint::black_box(Sha256::digest(&segment));
        });
        keep(&mut times.copy, || {
            copy.copy_from_slice(std::hint::black_box(&segment))
        });
    }
    assert!(
        decoded.iter().zip(data).all(|(found, data)| found == data),
        "decoding is right"
    );
    std::hint::black_box(&copy);
    times
}

fn keep(best: &mut Duration, work: impl FnOnce()) {
    let started = Instant::now();
    work();
    *best = (*best).min(started.elapsed());
}
