use ai_link_wire::signed::CLOCK_TOLERANCE_MS;
use ai_link_wire::*;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::identity::hex32;
use crate::samples::{Cast, T0, T1};

/// The same bytes as a [`Ticket`]'s envelope, but another kind, or another version.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct OtherKind(Ticket);
impl Record for OtherKind {
    const KIND: &'static str = "other";
    const VERSION: u16 = Ticket::VERSION;
}
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct OtherVersion(Ticket);
impl Record for OtherVersion {
    const KIND: &'static str = Ticket::KIND;
    const VERSION: u16 = Ticket::VERSION + 1;
}

/// What a ticket was before groups had several sizes: three workers, and nothing about who deals.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FirstTicket {
    job: JobId,
    attempt: u32,
    client: AccountId,
    coordinator: AccountId,
    model: ModelName,
    version: ModelVersion,
    commitment: Commitment,
    manifest: Fid,
    level: Level,
    batch: u32,
    group: Vec<GroupMember>,
    price: Planck,
    payouts: Vec<Payout>,
    deadline: UnixMillis,
}
impl Record for FirstTicket {
    const KIND: &'static str = Ticket::KIND;
    const VERSION: u16 = 1;
}

fn reread<T: Record, U>(signed: &Signed<T>) -> Signed<U> {
    decode(&encode(signed, Limit::RECORD).unwrap(), Limit::RECORD).unwrap()
}

#[test]
fn a_genuine_record_gives_its_value() {
    let cast = Cast::new();
    let signed: Signed<Ticket> = reread(&cast.signed_ticket());
    assert_eq!(signed.verify(T0).unwrap(), &cast.ticket());
    assert_eq!(signed.verify(T1).unwrap(), &cast.ticket());
    assert_eq!(signed.signer(), cast.coordinator.peer_key());
    assert_eq!((signed.issued_at(), signed.expires_at()), (T0, T1));
    assert_eq!(signed.digest(), cast.signed_ticket().digest());
}

#[test]
fn a_record_has_a_life() {
    let cast = Cast::new();
    let signed: Signed<Ticket> = reread(&cast.signed_ticket());
    let late = UnixMillis(T1.0 + 1);
    assert!(matches!(signed.verify(late), Err(SignedError::Expired { now, .. }) if now == late));
    signed
        .verify(UnixMillis(T0.0 - CLOCK_TOLERANCE_MS))
        .unwrap();
    let early = UnixMillis(T0.0 - CLOCK_TOLERANCE_MS - 1);
    assert!(matches!(
        signed.verify(early),
        Err(SignedError::NotYetValid { .. })
    ));
    assert_eq!(signed.verify_at_any_time().unwrap(), &cast.ticket());
    let error = Signed::sign(&cast.client, cast.ticket(), T1, T0).unwrap_err();
    assert!(matches!(error, SignError::Lifetime { .. }));
}

#[test]
fn kinds_and_versions_are_not_mixed_up() {
    let signed = Cast::new().signed_ticket();
    let other: Signed<OtherKind> = reread(&signed);
    assert!(matches!(
        other.verify(T0),
        Err(SignedError::WrongKind { expected: "other", found }) if found == "ticket"
    ));
    let other: Signed<OtherVersion> = reread(&signed);
    assert!(matches!(
        other.verify(T0),
        Err(SignedError::WrongVersion {
            expected: 5,
            found: 4,
            ..
        })
    ));
}

#[test]
fn a_ticket_of_the_first_version_is_refused_by_its_version() {
    let cast = Cast::new();
    let ticket = cast.ticket();
    let first = FirstTicket {
        job: ticket.job,
        attempt: ticket.attempt,
        client: ticket.client,
        coordinator: ticket.coordinator,
        model: ticket.model,
        version: ticket.version,
        commitment: ticket.commitment,
        manifest: ticket.manifest,
        level: ticket.level,
        batch: ticket.batch,
        group: ticket.group,
        price: ticket.price,
        payouts: ticket.payouts,
        deadline: ticket.deadline,
    };
    let signed = Signed::sign(&cast.coordinator, first, T0, T1).unwrap();
    let read: Signed<Ticket> = reread(&signed);
    assert!(matches!(
        read.verify(T0),
        Err(SignedError::WrongVersion {
            expected: 4,
            found: 1,
            ..
        })
    ));
}

/// Renaming the envelope does not help: kind and version are under the signature.
#[test]
fn a_relabelled_record_is_not_signed() {
    let signed = Cast::new().signed_ticket();
    let mut json = serde_json::to_value(&signed).unwrap();
    json["kind"] = "other".into();
    let other: Signed<OtherKind> = serde_json::from_value(json.clone()).unwrap();
    assert!(matches!(
        other.verify(T0),
        Err(SignedError::BadSignature { .. })
    ));
    json["kind"] = "ticket".into();
    json["version"] = OtherVersion::VERSION.into();
    let other: Signed<OtherVersion> = serde_json::from_value(json.clone()).unwrap();
    assert!(matches!(
        other.verify(T0),
        Err(SignedError::BadSignature { .. })
    ));
    json["version"] = Ticket::VERSION.into();
    json["signer"] = Identity::derive(b"x", "mallory")
        .peer_key()
        .to_string()
        .into();
    let other: Signed<Ticket> = serde_json::from_value(json).unwrap();
    assert!(matches!(
        other.verify(T0),
        Err(SignedError::BadSignature { .. })
    ));
}

#[test]
fn what_nobody_could_read_is_not_signed() {
    let cast = Cast::new();
    let mut ticket = cast.ticket();
    ticket.payouts = vec![ticket.payouts[0]; Ticket::MAX_PAYOUTS + 1];
    let error = Signed::sign(&cast.coordinator, ticket, T0, T1).unwrap_err();
    assert!(
        matches!(error, SignError::Unreadable(CodecError::Decode(_))),
        "{error:?}"
    );
}

#[test]
fn unverified_values_do_not_show_in_debug() {
    let signed: Signed<Ticket> = reread(&Cast::new().signed_ticket());
    assert!(!format!("{signed:?}").contains("digits-cnn"));
    signed.verify(T0).unwrap();
    assert!(format!("{signed:?}").contains("digits-cnn"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// One flipped bit anywhere: it does not decode, or it does not verify.
    #[test]
    fn a_flipped_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let signed = Cast::new().signed_ticket();
        let mut bytes = encode(&signed, Limit::RECORD).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(damaged) = decode::<Signed<Ticket>>(&bytes, Limit::RECORD) {
            prop_assert!(damaged.verify_at_any_time().is_err(), "byte {at} bit {bit}");
            prop_assert_ne!(damaged.digest(), signed.digest());
        }
    }
}

/// Bytes and signature computed with another implementation of ed25519.
#[test]
fn voucher_bytes_are_exact() {
    let client = Identity::from_seed([7; 32]);
    let total = Planck(1_234_567_890_123_456_789);
    let voucher = Voucher::sign(&client, AccountId([9; 32]), total);
    let signed = Voucher::signed_bytes(&voucher.client, &voucher.coordinator, total);
    assert_eq!(
        hex::encode(signed),
        "61692d6c696e6b2f766f75636865722f7631\
         ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c\
         0909090909090909090909090909090909090909090909090909090909090909\
         1581e97df41022110000000000000000"
    );
    assert_eq!(
        voucher.signature.to_string(),
        "d28c08387eb94531ec12c8d3bfcb2abd79a5514b8a738483172296d92a7573862cb996a376040010478c7df5a2\
         c83a8537f3d007f7cc1e7012a616355476aa07"
    );
    voucher.verify().unwrap();
    let wrong = [
        Voucher {
            cumulative: Planck(total.0 + 1),
            ..voucher
        },
        Voucher {
            coordinator: AccountId([8; 32]),
            ..voucher
        },
        Voucher {
            client: AccountId([7; 32]),
            ..voucher
        },
    ];
    for voucher in wrong {
        assert_eq!(voucher.verify().unwrap_err().client, voucher.client);
    }
}

#[test]
fn binding_bytes_are_exact() {
    let operator = AccountId(hex32(&"05".repeat(32)));
    let expected = format!(
        "61692d6c696e6b2f706565722d62696e64696e672f7631{}",
        "05".repeat(32)
    );
    assert_eq!(hex::encode(binding_message(&operator)), expected);
}
