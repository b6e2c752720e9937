//! Grants open for whom, what and when they say.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::contract::signer;
use crate::seal::{open_object, seal_object};

const MODEL: Purpose = Purpose::Model([4; 32]);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn hour() -> Duration {
    Duration::from_secs(3600)
}

fn grant(key: &DataKey, recipient: &RecipientKey, purpose: Purpose) -> Grant {
    let (object, until) = (Fid([1; 32]), now() + hour());
    Grant::new(
        key,
        object,
        recipient.recipient(),
        purpose,
        until,
        &signer(1),
    )
    .unwrap()
}

#[test]
fn a_grant_opens_for_its_recipient_purpose_and_time_alone() {
    let (key, sealed) = seal_object(b"an input").unwrap();
    let worker = RecipientKey::generate().unwrap();
    let granted = grant(&key, &worker, MODEL);
    let granted = Grant::from_bytes(&granted.to_bytes()).unwrap();
    let opened = granted.open(&worker, MODEL, now(), &[]).unwrap();
    assert_eq!(*open_object(&opened, &sealed).unwrap(), b"an input");

    let other = RecipientKey::generate().unwrap();
    assert_eq!(
        granted.open(&other, MODEL, now(), &[]),
        Err(GrantError::OtherRecipient)
    );
    let asked = Purpose::Model([5; 32]);
    let error = GrantError::OtherPurpose {
        granted: MODEL,
        asked,
    };
    assert_eq!(granted.open(&worker, asked, now(), &[]), Err(error));
    assert!(
        granted
            .open(&worker, Purpose::Anything, now(), &[])
            .is_err()
    );
    let ago = Duration::ZERO;
    assert_eq!(
        granted.open(&worker, MODEL, now() + hour(), &[]),
        Err(GrantError::Ended { ago })
    );
    let any = grant(&key, &worker, Purpose::Anything);
    assert!(any.open(&worker, Purpose::Job([1; 32]), now(), &[]).is_ok());
}

#[test]
fn only_the_owner_revokes() {
    let (key, _) = seal_object(b"an input").unwrap();
    let worker = RecipientKey::generate().unwrap();
    let granted = grant(&key, &worker, MODEL);
    let revoked = Revocation::new(granted.id(), now(), &signer(1));
    let revoked = Revocation::from_bytes(&revoked.to_bytes()).unwrap();
    assert_eq!(
        granted.open(&worker, MODEL, now(), &[revoked]),
        Err(GrantError::Revoked)
    );
    let strangers = Revocation::new(granted.id(), now(), &signer(2));
    let others = Revocation::new(GrantId([0; 16]), now(), &signer(1));
    assert!(
        granted
            .open(&worker, MODEL, now(), &[strangers.clone(), others])
            .is_ok()
    );
    // A stranger that claims to be the owner.
    let mut forged = strangers.to_bytes();
    forged[32..64].copy_from_slice(&granted.owner().0);
    let forged = Revocation::from_bytes(&forged).unwrap();
    assert!(granted.open(&worker, MODEL, now(), &[forged]).is_ok());
}

#[test]
fn the_book_survives_and_keeps_its_word() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("grants.json");
    let (key, _) = seal_object(b"an input").unwrap();
    let (worker, other) = (
        RecipientKey::generate().unwrap(),
        RecipientKey::generate().unwrap(),
    );
    let (object, until, owner) = (Fid([3; 32]), now() + hour(), signer(1));
    let mut book = GrantBook::open(&path).unwrap();
    let unknown = book.grant(object, worker.recipient(), MODEL, until, &owner);
    assert!(matches!(unknown, Err(BookError::Unknown(_))));
    book.keep(object, &key).unwrap();
    book.grant(object, worker.recipient(), MODEL, until, &owner)
        .unwrap();

    let mut book = GrantBook::open(&path).unwrap();
    assert_eq!(book.key(object).unwrap(), key);
    let [granted] = &book.grants(object)[..] else {
        panic!("one grant");
    };
    assert!(
        granted
            .open(&worker, MODEL, now(), &book.revocations(object))
            .is_ok()
    );
    book.revoke(object, worker.recipient(), now(), &owner)
        .unwrap();

    let mut book = GrantBook::open(&path).unwrap();
    let granted = &book.grants(object)[0];
    let opened = granted.open(&worker, MODEL, now(), &book.revocations(object));
    assert_eq!(opened, Err(GrantError::Revoked));
    let again = book.grant(object, worker.recipient(), MODEL, until, &owner);
    assert!(matches!(again, Err(BookError::Barred { .. })));
    book.grant(object, other.recipient(), MODEL, until, &owner)
        .unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!format!("{book:?}").contains(&hex::encode(*key.expose())));
    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(
        GrantBook::open(&path),
        Err(BookError::Malformed { .. })
    ));
}

#[test]
fn a_model_is_granted_to_everybody_or_to_one_asker() {
    let (key, _) = seal_object(b"an input").unwrap();
    let worker = RecipientKey::generate().unwrap();
    let by = |model: u8, asker: u8| Purpose::ModelBy {
        model: [model; 32],
        asker: Account([asker; 32]),
    };
    let one = grant(&key, &worker, by(4, 7));
    let one = Grant::from_bytes(&one.to_bytes()).unwrap();
    assert!(one.open(&worker, by(4, 7), now(), &[]).is_ok());
    for asked in [by(4, 8), by(5, 7), MODEL, Purpose::Anything] {
        let granted = by(4, 7);
        assert_eq!(
            one.open(&worker, asked, now(), &[]),
            Err(GrantError::OtherPurpose { granted, asked })
        );
    }
    let all = grant(&key, &worker, MODEL);
    assert!(all.open(&worker, by(4, 8), now(), &[]).is_ok());
    assert!(all.open(&worker, by(5, 8), now(), &[]).is_err());
}

#[test]
fn a_grant_is_sealed_to_the_key_that_an_account_signs_with() {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
    let recipient = Recipient::of_ed25519(secret.verifying_key().as_bytes()).unwrap();
    let worker = RecipientKey::from_bytes(secret.to_scalar_bytes());
    assert_eq!(worker.recipient(), recipient);
    let (key, _) = seal_object(b"an input").unwrap();
    let granted = grant(&key, &worker, MODEL);
    assert_eq!(granted.open(&worker, MODEL, now(), &[]).unwrap(), key);
    // The identity of the curve, and a point of order 8.
    let mut one = [0; 32];
    one[0] = 1;
    for weak in [one, [0; 32]] {
        assert_eq!(Recipient::of_ed25519(&weak), Err(GrantError::WeakRecipient));
    }
}

#[test]
fn weak_keys_are_refused() {
    let (key, _) = seal_object(b"x").unwrap();
    let weak = Grant::new(
        &key,
        Fid([1; 32]),
        Recipient([0; 32]),
        MODEL,
        now(),
        &signer(1),
    );
    assert_eq!(weak, Err(GrantError::WeakRecipient));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_change_of_a_grant_is_refused(at in 0..GRANT, flip in 1..=255_u8) {
        let (key, _) = seal_object(b"x").unwrap();
        let worker = RecipientKey::from_bytes([9; 32]);
        let mut bytes = grant(&key, &worker, MODEL).to_bytes();
        bytes[at] ^= flip;
        if let Ok(grant) = Grant::from_bytes(&bytes) {
            prop_assert!(grant.open(&worker, MODEL, now(), &[]).is_err());
        }
    }
}
