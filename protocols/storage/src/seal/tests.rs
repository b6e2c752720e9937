//! Sealed objects under attack.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tokio::io::AsyncReadExt;

use super::*;

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| ((i * 131) >> 3) as u8).collect()
}

/// Three full chunks and a short one.
fn sample() -> (Vec<u8>, DataKey, Vec<u8>) {
    let plaintext = bytes(3 * CHUNK + 100);
    let (key, sealed) = seal_object(&plaintext).unwrap();
    (plaintext, key, sealed)
}

/// Where chunk `number` lies.
fn chunk(number: usize) -> std::ops::Range<usize> {
    let start = HEADER + number * (CHUNK + TAG);
    start..start + CHUNK + TAG
}

/// Opens in one go and as a stream; both must agree.
fn open(key: &DataKey, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let at_once = open_object(key, sealed).map(|plaintext| plaintext.to_vec());
    let streamed = futures::executor::block_on(async {
        let mut plaintext = Vec::new();
        match OpeningReader::new(key.clone(), sealed)
            .read_to_end(&mut plaintext)
            .await
        {
            Ok(_) => Ok(plaintext),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
                Err(*error
                    .get_ref()
                    .unwrap()
                    .downcast_ref::<SealError>()
                    .unwrap())
            }
        }
    });
    assert_eq!(at_once, streamed);
    at_once
}

#[test]
fn round_trips_at_every_kind_of_length() {
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7] {
        let plaintext = bytes(length);
        let (key, sealed) = seal_object(&plaintext).unwrap();
        assert_eq!(sealed.len() as u64, sealed_size(length as u64), "{length}");
        assert_eq!(open(&key, &sealed), Ok(plaintext), "{length}");
    }
}

#[test]
fn streaming_seals_the_same_format() {
    for length in [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
        let plaintext = bytes(length);
        let (key, sealed) = futures::executor::block_on(async {
            // A source that gives one byte, then the rest, then ends.
            let (first, rest) = plaintext.split_at(length.min(1));
            let (key, mut reader) = SealingReader::new(first.chain(rest)).unwrap();
            let mut sealed = Vec::new();
            reader.read_to_end(&mut sealed).await.unwrap();
            (key, sealed)
        });
        assert_eq!(sealed.len() as u64, sealed_size(length as u64));
        assert_eq!(open(&key, &sealed), Ok(plaintext));
    }
}

#[test]
fn a_failing_source_does_not_look_like_the_end() {
    let source = tokio_test_source(bytes(CHUNK + 5));
    let (key, mut reader) = SealingReader::new(source).unwrap();
    let mut sealed = Vec::new();
    let result = futures::executor::block_on(reader.read_to_end(&mut sealed));
    assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    assert!(matches!(
        open(&key, &sealed),
        Err(SealError::Truncated { .. })
    ));
}

/// Gives the bytes, then an error.
fn tokio_test_source(bytes: Vec<u8>) -> impl tokio::io::AsyncRead + Unpin {
    let items: [std::io::Result<_>; 2] = [
        Ok(bytes::Bytes::from(bytes)),
        Err(std::io::ErrorKind::BrokenPipe.into()),
    ];
    tokio_util::io::StreamReader::new(futures::stream::iter(items))
}

#[test]
fn every_object_has_its_own_key() {
    let (key, sealed) = seal_object(b"same").unwrap();
    let (other_key, other) = seal_object(b"same").unwrap();
    assert_ne!(sealed, other);
    assert_eq!(open(&key, &other), Err(SealError::WrongKey));
    assert_eq!(open(&other_key, &sealed), Err(SealError::WrongKey));
    assert_eq!(format!("{key:?}"), "DataKey(..)");
}

#[test]
fn truncation_is_refused_everywhere() {
    let (_, key, sealed) = sample();
    // Around every boundary, and at some places between.
    let mut cuts: Vec<usize> = (0..HEADER + 40).collect();
    for number in 0..=3 {
        let start = chunk(number).start;
        cuts.extend(start - 20..start + 20);
        cuts.push(start + 1000);
    }
    cuts.extend(sealed.len() - 120..sealed.len());
    cuts.retain(|cut| *cut < sealed.len());
    for cut in cuts {
        let error = open(&key, &sealed[..cut]).unwrap_err();
        assert!(
            matches!(
                error,
                SealError::Truncated { .. } | SealError::Damaged { .. }
            ),
            "cut at {cut}: {error:?}"
        );
    }
    // At a boundary the parts are all authentic, and only the flag of the last one is missing.
    for number in 1..=3 {
        let cut = chunk(number).start;
        let truncated = SealError::Truncated { bytes: cut as u64 };
        assert_eq!(open(&key, &sealed[..cut]), Err(truncated));
    }
}

#[test]
fn appended_bytes_are_refused() {
    let (_, key, sealed) = sample();
    for tail in [
        vec![0],
        vec![0; TAG],
        vec![0; CHUNK + TAG],
        sealed[chunk(0)].to_vec(),
    ] {
        let longer = [&sealed[..], &tail].concat();
        assert!(matches!(
            open(&key, &longer),
            Err(SealError::Damaged { number: 3 })
        ));
    }
    // Also behind a last chunk that is full, where the added bytes begin a chunk of their own.
    let (key, sealed) = seal_object(&bytes(CHUNK)).unwrap();
    for tail in [vec![0], vec![0; TAG], sealed[chunk(0)].to_vec()] {
        let longer = [&sealed[..], &tail].concat();
        assert_eq!(open(&key, &longer), Err(SealError::Damaged { number: 0 }));
    }
}

#[test]
fn moved_repeated_and_dropped_chunks_are_refused() {
    let (_, key, sealed) = sample();
    let mut swapped = sealed.clone();
    swapped.copy_within(chunk(1), chunk(0).start);
    swapped[chunk(1)].copy_from_slice(&sealed[chunk(0)]);
    assert_eq!(open(&key, &swapped), Err(SealError::Damaged { number: 0 }));

    let repeated = [&sealed[..chunk(1).end], &sealed[chunk(1).start..]].concat();
    assert_eq!(open(&key, &repeated), Err(SealError::Damaged { number: 2 }));

    let dropped = [&sealed[..chunk(1).start], &sealed[chunk(2).start..]].concat();
    assert_eq!(open(&key, &dropped), Err(SealError::Damaged { number: 1 }));
}

#[test]
fn chunks_of_another_object_are_refused() {
    let (_, key, mut sealed) = sample();
    let (_, _, other) = sample();
    sealed[chunk(2)].copy_from_slice(&other[chunk(2)]);
    assert_eq!(open(&key, &sealed), Err(SealError::Damaged { number: 2 }));
}

#[test]
fn every_header_bit_counts() {
    let (key, sealed) = seal_object(b"short").unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            0..8 => SealError::NotSealed,
            8..HEADER => SealError::WrongKey,
            _ => SealError::Damaged { number: 0 },
        };
        assert_eq!(open(&key, &flipped), Err(expected), "bit {bit}");
    }
}

#[test]
fn chunks_of_wrong_length_are_misuse() {
    let (_, _, mut sealer) = Sealer::new().unwrap();
    assert_eq!(sealer.next(b"short"), Err(SealError::Misused { length: 5 }));
    let long = vec![0; CHUNK + 1];
    assert_eq!(
        sealer.last(&long),
        Err(SealError::Misused { length: CHUNK + 1 })
    );
}

/// Pins the format: computed with another implementation (Python's `cryptography`).
#[test]
fn known_object() {
    let key = DataKey::from_bytes(std::array::from_fn(|i| i as u8));
    let sealed = hex::decode(KNOWN).unwrap();
    assert_eq!(open(&key, &sealed).unwrap(), b"a model");
}

const KNOWN: &str = "41494c5345414c016465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f80818283\
    54b652cbc573d98ed910b277fc4236650e407e71782bcdb947553bc6fa7322e8b8227b5c19483c55\
    c1d2c99b5e97315a21b48e7225fb59";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_change_is_refused(at in 0..3 * (CHUNK + TAG), flip in 1..=255_u8) {
        let (_, key, mut sealed) = sample();
        sealed[at] ^= flip;
        prop_assert!(open(&key, &sealed).is_err());
    }

    #[test]
    fn any_bytes_are_refused_without_panic(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
        let key = DataKey::from_bytes([1; 32]);
        prop_assert!(open(&key, &tail).is_err());
        let fitting = fitting_header(&key);
        prop_assert!(open(&key, &[&fitting[..], &tail].concat()).is_err());
    }
}
