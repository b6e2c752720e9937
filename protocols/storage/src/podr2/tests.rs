//! Proofs against vectors computed independently (Python), and against cheats.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::account::Account;
use crate::fid::ContentHash;
use crate::podr2::testing::key;

const SMALL: usize = 16 << 10;

fn fragment(size: usize) -> (ContentHash, Vec<u8>) {
    let bytes: Vec<u8> = (0..size as u64)
        .map(|i| ((i * i * 7 + i) >> 3) as u8)
        .collect();
    (ContentHash::of(&bytes), bytes)
}

fn draw() -> [u8; 32] {
    std::array::from_fn(|i| i as u8)
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A number in decimal, by schoolbook division.
fn decimal(bytes: &[u8]) -> String {
    let mut digits = Vec::new();
    let mut number = bytes.to_vec();
    while number.iter().any(|byte| *byte != 0) {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            *byte = (value / 10) as u8;
            rest = value % 10;
        }
        digits.push(char::from(b'0' + rest as u8));
    }
    digits.iter().rev().collect()
}

/// Name, phi hash (in order), sha256 of u, of mu and of sigma, length of mu.
fn check_vectors(size: usize, expected: [&str; 5], length: usize) {
    let (name, bytes) = fragment(size);
    assert_eq!(name.to_string(), expected[0]);
    let key = key();
    let tags = key.tag(name, &bytes, size, &draw());
    let mut phi = String::new();
    for index in 0..BLOCKS {
        phi.push_str(&decimal(&tags.tag(index).unwrap()));
    }
    assert_eq!(sha256(phi.as_bytes()), expected[1]);
    assert_eq!(sha256(&tags.key().u()), expected[2]);
    let challenge = Challenge::from_seed(&[9; 32]);
    let indices: Vec<usize> = challenge
        .entries()
        .map(|(index, _)| index)
        .take(5)
        .collect();
    assert_eq!(indices, [0, 23, 97, 111, 137]);
    let proof = Proof::new(&key.public(), &tags, &bytes, size, &challenge);
    assert_eq!(
        (sha256(proof.mu()).as_str(), proof.mu().len()),
        (expected[3], length)
    );
    assert_eq!(sha256(proof.sigma()), expected[4]);
    proof.verify(&key.public(), tags.key(), &challenge).unwrap();
}

#[test]
fn vectors_of_a_small_fragment() {
    check_vectors(
        SMALL,
        [
            "aa932a576590204876dd5cb37387362cebf54a8796031feb8dc877388cb0a3a5",
            "ea48324e8587441fcb79c3cf1046eb5d72ef58e311a9e35a1902a56615a7e7ff",
            "5b774a79f3dc5cdc62426c5dcf455f3eab458162c4d34a8ab0077a211715af81",
            "6dc6d4f9ae18f646745d2542484304d5aeb891ce0254572d52862b4c8c4ad90f",
            "12c2bfa216e687ba79e4a45d21d3fb3b700146519e90b04f4ea4a961c9d6eb76",
        ],
        37,
    );
}

#[test]
fn vectors_of_a_fragment_of_the_network() {
    check_vectors(
        8 << 20,
        [
            "8dbefd3556f47d64bd036dd2d2e5d2a94c9397656a83baba2803df216ad6803e",
            "dd69330feb982c82b2c1dc9dc1bfba17c785d39bffc58dce22babcba21ff460c",
            "a2cf657fe65a3509be5585906477400cc9995a59984c3da3939ff85300e6232b",
            "df13a9da9d830b640b0d2a9eb261208d09fabf2888388ccdc26d8a75fbc3a4ed",
            "31021605c46935dc8dee72d8f1beddfeb511c7e8d6a8c479184d64e3d0c14444",
        ],
        8211,
    );
}

#[test]
fn cheats_are_caught() {
    let key = key();
    let public = key.public();
    let (name, bytes) = fragment(SMALL);
    let tags = key.tag(name, &bytes, SMALL, &draw());
    tags.verify(&public).unwrap();
    let challenge = Challenge::from_seed(&[1; 32]);
    let prove = |bytes: &[u8]| Proof::new(&public, &tags, bytes, SMALL, &challenge);
    let check = |proof: &Proof| proof.verify(&public, tags.key(), &challenge);
    assert_eq!(check(&prove(&bytes)), Ok(()));

    // A bit of a challenged block.
    let (asked, _) = challenge.entries().nth(20).unwrap();
    let mut damaged = bytes.clone();
    damaged[asked * SMALL / BLOCKS] ^= 1;
    assert_eq!(check(&prove(&damaged)), Err(Mismatch::Equation));
    // A fragment that lost its end.
    assert_eq!(check(&prove(&bytes[..SMALL / 2])), Err(Mismatch::Equation));
    // A proof for another challenge.
    let other = Challenge::from_seed(&[2; 32]);
    let proof = Proof::new(&public, &tags, &bytes, SMALL, &other);
    assert_eq!(check(&proof), Err(Mismatch::Equation));
    // Another fragment, with tags that are good for it.
    let (other_name, other_bytes) = fragment(SMALL - 1);
    let other_tags = key.tag(other_name, &other_bytes, SMALL, &draw());
    let proof = Proof::new(&public, &other_tags, &other_bytes, SMALL, &challenge);
    assert_eq!(check(&proof), Err(Mismatch::Equation));
    // u that the prover would like: the record's counts.
    let forged = FragmentKey::new(name, &other_tags.key().u());
    assert_eq!(
        prove(&bytes).verify(&public, &forged, &challenge),
        Err(Mismatch::Equation)
    );
    // Zero.
    let zero = Proof::from_bytes(&[&b"AILPROO\x01"[..], &[0; MODULUS]].concat()).unwrap();
    assert_eq!(check(&zero), Err(Mismatch::Range));
    // Tags that somebody else signed, or changed.
    let mut changed = tags.to_bytes();
    changed[500] ^= 1;
    assert_eq!(
        TagSet::from_bytes(&changed).unwrap().verify(&public),
        Err(TagError::Signature)
    );
    let stranger = PublicKey::new(&public.modulus(), Account([5; 32])).unwrap();
    assert_eq!(tags.verify(&stranger), Err(TagError::Signature));
}

#[test]
fn keys_round_trip_and_bad_ones_are_refused() {
    let key = key();
    let bytes = key.to_bytes();
    assert!(TaggingKey::from_bytes(&bytes).unwrap().public() == key.public());
    for at in [0, 10, 200, 263] {
        let mut changed = bytes.to_vec();
        changed[at] ^= 4;
        assert!(TaggingKey::from_bytes(&changed).is_err(), "{at}");
    }
    assert!(TaggingKey::from_bytes(&bytes[1..]).is_err());
    assert_eq!(format!("{key:?}"), "TaggingKey(..)");
    assert!(matches!(
        PublicKey::new(&[0; MODULUS], Account([1; 32])),
        Err(KeyError::Modulus)
    ));
}

/// Ten nodes over three simulated months, some of which fail in some way at some time.
#[test]
fn the_auditor_finds_those_that_fail_and_no_others() {
    let key = key();
    let (name, bytes) = fragment(SMALL);
    let tags = key.tag(name, &bytes, SMALL, &draw());
    let config = AuditConfig::default();
    let mut auditor = Auditor::new(config, key.public());
    for node in 0..10 {
        auditor.watch(Account([node; 32]), tags.key().clone(), Duration::ZERO);
    }
    let subject = |node: u8| Subject {
        node: Account([node; 32]),
        fragment: name,
    };
    let (hour, mut now, mut repairs, mut counter) =
        (Duration::from_secs(3600), Duration::ZERO, Vec::new(), 0_u8);
    // Node 3 falls silent after 2 days, node 5 answers wrongly after 3, node 7 once only.
    let mut slips = 1;
    while now < hour * 24 * 6 {
        counter = counter.wrapping_add(1);
        for action in auditor.poll(now, &[counter; 32]) {
            let (asked, challenge) = match action {
                AuditAction::Repair(lost) => {
                    repairs.push(lost);
                    continue;
                }
                AuditAction::Challenge(asked, challenge) => (asked, challenge),
            };
            let days = now.as_secs() / 86_400;
            let mut proof = Some(Proof::new(&key.public(), &tags, &bytes, SMALL, &challenge));
            match asked.node.0[0] {
                3 if days >= 2 => continue,
                5 if days >= 3 => {
                    let half = &bytes[..SMALL / 2];
                    proof = Some(Proof::new(&key.public(), &tags, half, SMALL, &challenge));
                }
                7 if days >= 1 && slips > 0 => {
                    slips -= 1;
                    proof = None;
                }
                _ => {}
            }
            let (verdict, action) = auditor.answer(asked, proof.as_ref(), now);
            let again = auditor.answer(asked, proof.as_ref(), now);
            assert_eq!(again, (Verdict::Unasked, None), "answers count once");
            if let Some(AuditAction::Repair(lost)) = action {
                assert_eq!(verdict, Verdict::Failed);
                repairs.push(lost);
            }
        }
        now += hour / 6;
    }
    assert_eq!(repairs, [subject(3), subject(5)]);
    assert_eq!(auditor.watched(), 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_change_of_a_challenged_block_shows(seed: [u8; 32], asked in 0..CHALLENGED, flip in 1..=255_u8, at in 0..SMALL / BLOCKS) {
        let key = key();
        let (name, bytes) = fragment(SMALL);
        // Tagging is slow: the tags of one fragment serve all cases.
        static TAGS: std::sync::OnceLock<TagSet> = std::sync::OnceLock::new();
        let tags = TAGS.get_or_init(|| key.tag(name, &bytes, SMALL, &draw()));
        let challenge = Challenge::from_seed(&seed);
        prop_assert_eq!(&Challenge::from_bytes(&challenge.to_bytes()).unwrap(), &challenge);
        let public = key.public();
        let proof = Proof::new(&public, tags, &bytes, SMALL, &challenge);
        prop_assert_eq!(&Proof::from_bytes(&proof.to_bytes()).unwrap(), &proof);
        prop_assert_eq!(proof.verify(&public, tags.key(), &challenge), Ok(()));
        let (index, _) = challenge.entries().nth(asked).unwrap();
        let mut damaged = bytes.clone();
        damaged[index * SMALL / BLOCKS + at] ^= flip;
        let proof = Proof::new(&public, tags, &damaged, SMALL, &challenge);
        prop_assert_eq!(proof.verify(&public, tags.key(), &challenge), Err(Mismatch::Equation));
    }

    #[test]
    fn bytes_parse_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
        let _ = TagSet::from_bytes(&bytes);
        let _ = Challenge::from_bytes(&bytes);
        let _ = Proof::from_bytes(&[&b"AILPROO\x01"[..], &bytes].concat());
    }
}
