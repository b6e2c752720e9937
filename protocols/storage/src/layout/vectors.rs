//! The layout against vectors computed independently from CESS's sources, at the real sizes, and
//! against a naive coder at small ones.
#![allow(clippy::unwrap_used)]

use std::io;

use proptest::prelude::*;

use super::*;
use crate::fid::{ContentHash, FidRule};

/// Keeps fragments in memory.
#[derive(Default)]
struct Kept([Vec<u8>; FRAGMENTS]);

impl FragmentSink for Kept {
    fn append(&mut self, index: usize, bytes: &[u8]) -> io::Result<()> {
        self.0[index].extend_from_slice(bytes);
        Ok(())
    }
}

fn encode(codec: &Codec, segment: &[u8]) -> (EncodedSegment, [Vec<u8>; FRAGMENTS]) {
    let mut kept = Kept::default();
    let encoded = codec.encode(segment, &mut kept).unwrap();
    for (fragment, length) in kept.0.iter_mut().zip(encoded.lengths) {
        fragment.truncate(length);
    }
    (encoded, kept.0)
}

fn segments_of(bytes: &[u8]) -> Vec<ContentHash> {
    let mut hasher = FidHasher::new();
    hasher.update(bytes);
    hasher.finish()
}

#[test]
fn zeros() {
    let codec = Codec::new(Geometry::CESS);
    assert_eq!(
        codec.zero_fragment().to_string(),
        "2daeb1f36095b44b318410b3f4e8b5d989dcc7bb023d1426c492dab0a3053e74"
    );
    let (encoded, kept) = encode(&codec, &[0]);
    assert_eq!(
        encoded.hash.to_string(),
        "83ee47245398adee79bd9c0a8bc57b821e92aba10f5f9ade8a5d1fae4d8c4302"
    );
    assert_eq!(encoded.fragments, [codec.zero_fragment(); FRAGMENTS]);
    assert!(kept.iter().all(Vec::is_empty), "zeros are not written");
    assert_eq!(
        FidRule::DeOss.fid(&[encoded.hash]).unwrap().to_string(),
        "323eabd8c5bc51adb392a9819a5ac1904e31db23ec711f0ee725436e9fbf64a8"
    );
    assert_eq!(
        FidRule::Retriever.fid(&[encoded.hash]).unwrap().to_string(),
        "7143bc9c1ef7ec6ed281d9aaa13e45f024d61f06bc650121f684f1ae5b9503e0"
    );
}

#[test]
fn hello_world() {
    let codec = Codec::new(Geometry::CESS);
    let (encoded, kept) = encode(&codec, b"hello world");
    assert_eq!(
        encoded.hash.to_string(),
        "b11c760ebe38e3d5ad3ffb4a0d2bd3753e44c7f53f41062f0a3de9e5ff8f5120"
    );
    assert_eq!(segments_of(b"hello world"), [encoded.hash]);
    assert_eq!(
        FidHasher::fid_of(b"hello world", FidRule::DeOss)
            .unwrap()
            .to_string(),
        "56fe5489fa37425d5bfd4def2789eacc3ccf21185cb8102b76218de97e59f5f9"
    );
    assert_eq!(
        FidHasher::fid_of(b"hello world", FidRule::Retriever)
            .unwrap()
            .to_string(),
        "be151c001e90c6615bc6d5308d30f53cea49791beab0fd5b26ec6f5f729d73d8"
    );
    let zero = "2daeb1f36095b44b318410b3f4e8b5d989dcc7bb023d1426c492dab0a3053e74";
    let expected = [
        "ed2119d87bbe9d561903010e118880148508e509b9e80cf2418ea09a861bfa2b",
        zero,
        zero,
        zero,
        "55087d138b5c89e3705d73e35e36c04a3fd7e799bcdea59b50bed5c106fec56f",
        "f9df299d54055a16bcaa22d3e2a944f7e7afae075f048f4a1ba6497dc6660105",
        "f8720309f08e67e72fa7dce766229810d021f296e74e9b343c9852ee8f9f0cef",
        "ec2a06152f3ec542b082abfc9315e1884b0d7da37e3ee92e22b6f709f9f9fece",
        "f77f2728d83594c1fde15ca76437b8be305c89ed517a2b1f3cdf8d86bc9cbf44",
        "b17a9cf1b0ff938f46c9ec603cd9c309496bc7da4830c12d7b25bf0d39f1eb4b",
        "708b17a9503eb7816041a8b0f343abf80e7c684ce100ef47c511347f4fa74a9c",
        "d97799d16900f0e0762529a405a9e6d03425033a38f49c178c3df8a4d1cb3ff6",
    ];
    assert_eq!(encoded.fragments.map(|hash| hash.to_string()), expected);
    assert!(
        kept.iter().all(|fragment| fragment.len() <= 11),
        "padding is not written"
    );
}

#[test]
fn several_segments() {
    let expected = [
        "e35460e26db59551591797d5d9f6c5dcc1177e7b9ad3947eaafe1fe7432e84ee",
        "1e8676a7a5783e345c031b33f544edc7d3e55119144a7c44ff7e67c05e50126e",
        "6dacdfc8a2012f2121b69a553283364b84a8d9cbcc10feaaa6eda619440c779c",
    ];
    let mut hasher = FidHasher::new();
    for byte in 1..=3 {
        let piece = vec![byte; 1 << 20];
        for _ in 0..32 {
            hasher.update(&piece);
        }
    }
    let segments = hasher.finish();
    assert_eq!(
        segments
            .iter()
            .map(ContentHash::to_string)
            .collect::<Vec<_>>(),
        expected
    );
    for rule in FidRule::ALL {
        assert_eq!(
            rule.fid(&segments[..2]).unwrap().to_string(),
            "8a408de993e9f99ce7c8f93aa8017a47aea45b324293c8d30d2af12652670e83"
        );
    }
    assert_eq!(
        FidRule::DeOss.fid(&segments).unwrap().to_string(),
        "91d0dd7708d72d1aa64164d03153828c04234ce48f4cdb7554cbd1874e5df4bb"
    );
    assert_eq!(
        FidRule::Retriever.fid(&segments).unwrap().to_string(),
        "5ecf48232978a12fbcc819be0689c3ab50f54d034bdeeeee6b940b86856ee74a"
    );
}

/// Rows 4 to 11 of the coding matrix.
const PARITY_ROWS: [[u8; 4]; 8] = [
    [0x1b, 0x1c, 0x12, 0x14],
    [0x1c, 0x1b, 0x14, 0x12],
    [0x12, 0x14, 0x1b, 0x1c],
    [0x14, 0x12, 0x1c, 0x1b],
    [0xf5, 0xe8, 0xc4, 0xd8],
    [0xe8, 0xf5, 0xd8, 0xc4],
    [0xc4, 0xd8, 0xf5, 0xe8],
    [0xd8, 0xc4, 0xe8, 0xf5],
];

#[test]
fn parity_rows() {
    let codec = Codec::new(Geometry::with_fragment(1));
    for column in 0..DATA_FRAGMENTS {
        let mut segment = [0; DATA_FRAGMENTS];
        segment[column] = 1;
        let (_, kept) = encode(&codec, &segment);
        for (row, fragment) in PARITY_ROWS.iter().zip(&kept[DATA_FRAGMENTS..]) {
            assert_eq!(fragment[..], [row[column]]);
        }
    }
}

/// Multiplication in GF(2^8) modulo 0x11D, one bit at a time.
fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        let carry = a & 0x80 != 0;
        a <<= 1;
        if carry {
            a ^= 0x1d;
        }
        b >>= 1;
    }
    product
}

/// All twelve padded fragments, by definition.
fn naive(segment: &[u8], size: usize) -> Vec<Vec<u8>> {
    let mut padded = segment.to_vec();
    padded.resize(size * DATA_FRAGMENTS, 0);
    let mut fragments: Vec<Vec<u8>> = padded.chunks(size).map(<[u8]>::to_vec).collect();
    for row in PARITY_ROWS {
        let parity = (0..size)
            .map(|column| {
                (0..DATA_FRAGMENTS).fold(0, |sum, i| sum ^ multiply(row[i], fragments[i][column]))
            })
            .collect();
        fragments.push(parity);
    }
    fragments
}

#[test]
fn any_four_of_twelve_rebuild_everything() {
    let codec = Codec::new(Geometry::with_fragment(40));
    // Ends inside the third fragment, so that trimmed fragments of several lengths take part.
    let segment: Vec<u8> = (0..101_u32).map(|i| (i * i % 251) as u8).collect();
    let (encoded, kept) = encode(&codec, &segment);
    let everything: Vec<usize> = (0..FRAGMENTS).collect();
    let mut subsets = 0;
    for mask in 0..1_u32 << FRAGMENTS {
        if mask.count_ones() != 4 {
            continue;
        }
        subsets += 1;
        let present: Vec<(usize, &[u8])> = (0..FRAGMENTS)
            .filter(|index| mask >> index & 1 == 1)
            .map(|index| (index, kept[index].as_slice()))
            .collect();
        let rebuilt = codec.rebuild(&present, &everything).unwrap();
        for (fragment, hash) in rebuilt.iter().zip(encoded.fragments) {
            assert_eq!(codec.fragment_hash(fragment), hash, "subset {mask:012b}");
        }
        let data: [&bytes::Bytes; 4] = std::array::from_fn(|index| &rebuilt[index]);
        assert_eq!(
            codec.segment_hash(&data),
            encoded.hash,
            "subset {mask:012b}"
        );
    }
    assert_eq!(subsets, 495);
}

#[test]
fn rebuilding_refuses_too_few_and_misplaced_fragments() {
    let codec = Codec::new(Geometry::with_fragment(4));
    let bytes: &[u8] = &[1, 2, 3, 4];
    assert_eq!(
        codec.rebuild(&[(0, bytes), (1, bytes), (2, bytes)], &[3]),
        Err(RebuildError::TooFew { have: 3 })
    );
    assert_eq!(
        codec.rebuild(&[(0, bytes), (1, bytes), (1, bytes), (2, bytes)], &[3]),
        Err(RebuildError::Misplaced { index: 1 })
    );
    assert_eq!(
        codec.rebuild(&[(0, bytes), (1, bytes), (2, &[1; 5]), (3, bytes)], &[4]),
        Err(RebuildError::Misplaced { index: 2 })
    );
    assert_eq!(
        codec.rebuild(&[(0, bytes), (1, bytes), (2, bytes), (12, bytes)], &[4]),
        Err(RebuildError::Misplaced { index: 12 })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn coding_equals_its_definition(
        mut segment in proptest::collection::vec(any::<u8>(), 1..=160),
        zeros in 0..160_usize,
    ) {
        let codec = Codec::new(Geometry::with_fragment(40));
        let tail = segment.len().saturating_sub(zeros);
        segment[tail..].fill(0);
        let (encoded, kept) = encode(&codec, &segment);
        for (index, mut expected) in naive(&segment, 40).into_iter().enumerate() {
            prop_assert_eq!(encoded.fragments[index], ContentHash::of(&expected));
            expected.truncate(trim_zeros(&expected).len());
            prop_assert_eq!(&kept[index], &expected);
        }
    }
}

/// All kernels, in one go and in pieces, against the crate that CESS's Rust code uses.
#[test]
fn coding_equals_that_of_reed_solomon_erasure() {
    let size = (1 << 15) + 321;
    let reference = reed_solomon_erasure::galois_8::ReedSolomon::new(4, 8).unwrap();
    for (length, seed) in [(4 * size, 1_u32), (2 * size + 5, 2), (7, 3), (3 * size, 4)] {
        let segment: Vec<u8> = (0..length as u32)
            .map(|i| ((i + seed).wrapping_mul(2_654_435_761) >> 23) as u8)
            .collect();
        let mut shards = segment.clone();
        shards.resize(4 * size, 0);
        let mut shards: Vec<Vec<u8>> = shards.chunks(size).map(<[u8]>::to_vec).collect();
        shards.resize(FRAGMENTS, vec![0; size]);
        reference.encode(&mut shards).unwrap();
        for kernel in Kernel::available() {
            let codec = Codec::with_kernel(Geometry::with_fragment(size), kernel);
            let (encoded, kept) = encode(&codec, &segment);
            let whole = codec.encode_whole(segment.clone().into());
            assert_eq!(
                (whole.hash, whole.hashes),
                (encoded.hash, encoded.fragments),
                "{kernel}"
            );
            for (index, shard) in shards.iter().enumerate() {
                assert_eq!(kept[index], trim_zeros(shard), "{kernel} {index}");
                assert_eq!(
                    whole.fragments[index],
                    trim_zeros(shard),
                    "{kernel} {index}"
                );
            }
        }
    }
}

#[test]
fn stripes_join_up() {
    // More columns than one stripe, and not a multiple of it.
    let size = 100_003;
    let codec = Codec::new(Geometry::with_fragment(size));
    let segment: Vec<u8> = (0..3 * size as u32 + 77)
        .map(|i| ((i * 2_654_435_761) >> 24) as u8)
        .collect();
    let (encoded, kept) = encode(&codec, &segment);
    for (index, expected) in naive(&segment, size).iter().enumerate() {
        assert_eq!(
            encoded.fragments[index],
            ContentHash::of(expected),
            "fragment {index}"
        );
    }
    let present: Vec<(usize, &[u8])> = [3, 5, 8, 11]
        .map(|index| (index, kept[index].as_slice()))
        .to_vec();
    assert_eq!(
        codec.rebuild(&present, &[0, 7]).unwrap(),
        [kept[0].clone(), kept[7].clone()]
    );
}
