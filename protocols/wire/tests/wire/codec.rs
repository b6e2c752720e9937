use ai_link_wire::*;
use proptest::prelude::*;

use crate::samples::Cast;

#[test]
fn every_message_round_trips() {
    let cast = Cast::new();
    for request in cast.requests() {
        let bytes = encode(&request, Limit::CONTROL).unwrap();
        assert_eq!(
            decode::<ControlRequest>(&bytes, Limit::CONTROL).unwrap(),
            request
        );
    }
    for response in cast.responses() {
        let bytes = encode(&response, Limit::CONTROL).unwrap();
        assert_eq!(
            decode::<ControlResponse>(&bytes, Limit::CONTROL).unwrap(),
            response
        );
    }
    let hello = SessionHello {
        ticket: cast.signed_ticket(),
        from: Party::Worker(Role::Dealer),
    };
    let bytes = encode(&hello, Limit::RECORD).unwrap();
    assert_eq!(
        decode::<SessionHello>(&bytes, Limit::RECORD).unwrap(),
        hello
    );
}

#[test]
fn records_survive_json() {
    let cast = Cast::new();
    let receipt = cast.countersign(cast.job_receipt());
    let text = serde_json::to_string(&receipt).unwrap();
    let read: Signed<JobReceipt> = serde_json::from_str(&text).unwrap();
    assert_eq!(read, receipt);
    JobReceipt::check(&read).unwrap();
    let record = cast.worker_record();
    let text = serde_json::to_string(&record).unwrap();
    assert!(
        text.contains(&record.operator.to_string()),
        "accounts are SS58 in JSON: {text}"
    );
    assert_eq!(serde_json::from_str::<WorkerRecord>(&text).unwrap(), record);
}

#[test]
fn trailing_bytes_are_refused() {
    let mut bytes = encode(&Planck(5), Limit::RECORD).unwrap();
    bytes.push(0);
    let error = decode::<Planck>(&bytes, Limit::RECORD).unwrap_err();
    assert!(
        matches!(error, CodecError::Trailing { left: 1, used: 1 }),
        "{error:?}"
    );
}

#[test]
fn limits_are_exact_in_both_directions() {
    let value = vec![1_u8; 100];
    let bytes = encode(&value, Limit::bytes(101)).unwrap();
    assert_eq!(bytes.len(), 101);
    assert_eq!(decode::<Vec<u8>>(&bytes, Limit::bytes(101)).unwrap(), value);
    let error = encode(&value, Limit::bytes(100)).unwrap_err();
    assert!(
        matches!(error, CodecError::TooLong { limit: 100, .. }),
        "{error:?}"
    );
    let error = decode::<Vec<u8>>(&bytes, Limit::bytes(100)).unwrap_err();
    assert!(
        matches!(
            error,
            CodecError::TooLong {
                length: 101,
                limit: 100
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_field_beyond_its_bound_is_refused() {
    let cast = Cast::new();
    let mut record = cast.worker_record();
    record.addresses = vec![record.addresses[0].clone(); 8];
    record.software = "x".repeat(64);
    record.cached_models = vec![Commitment([1; 32]); 64];
    let bytes = encode(&record, Limit::RECORD).unwrap();
    assert_eq!(
        decode::<WorkerRecord>(&bytes, Limit::RECORD).unwrap(),
        record
    );

    let refused = |change: &dyn Fn(&mut WorkerRecord)| {
        let mut record = record.clone();
        change(&mut record);
        let bytes = encode(&record, Limit::RECORD).unwrap();
        decode::<WorkerRecord>(&bytes, Limit::RECORD).is_err()
    };
    assert!(refused(&|record| record
        .addresses
        .push(record.addresses[0].clone())));
    assert!(refused(&|record| record.software.push('x')));
    assert!(refused(&|record| record
        .cached_models
        .push(Commitment([1; 32]))));
}

#[test]
fn own_reasons_are_cut_at_a_character() {
    let long = "ä".repeat(200); // 400 bytes
    let Refusal::Malformed(cut) = Refusal::malformed(&long) else {
        panic!("another variant")
    };
    assert_eq!(cut, "ä".repeat(128));
    assert_eq!(Abort::new(format!("x{long}"), None).reason.len(), 255);
}

fn all_entries(data: &[u8]) {
    fuzz_entry::records(data);
    fuzz_entry::control(data);
    fuzz_entry::session(data);
    fuzz_entry::frame(data);
    fuzz_entry::text(data);
}

/// Encodings of good values, for mutation: random bytes alone seldom get past the first field.
fn seeds() -> Vec<Vec<u8>> {
    let cast = Cast::new();
    let mut seeds = vec![
        encode(&cast.worker_record(), Limit::RECORD).unwrap(),
        encode(&cast.ticket(), Limit::RECORD).unwrap(),
        encode(&cast.job_request(), Limit::RECORD).unwrap(),
        encode(&cast.job_receipt(), Limit::RECORD).unwrap(),
        encode(&cast.countersign(cast.job_receipt()), Limit::RECORD).unwrap(),
        encode(
            &HelloReply::Refused(SessionRefusal::ticket_invalid("no")),
            Limit::RECORD,
        )
        .unwrap(),
        b"12.5 AIL".to_vec(),
        cast.client.account().to_string().into_bytes(),
    ];
    seeds.extend(
        cast.requests()
            .iter()
            .map(|r| encode(r, Limit::CONTROL).unwrap()),
    );
    seeds.extend(
        cast.responses()
            .iter()
            .map(|r| encode(r, Limit::CONTROL).unwrap()),
    );
    seeds
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..512)) {
        all_entries(&data);
    }

    #[test]
    fn text_never_panics(text in ".{0,80}|[0-9.]{0,50} ?AIL|[a-z0-9._-]{1,70}") {
        fuzz_entry::text(text.as_bytes());
    }

    #[test]
    fn damaged_messages_never_panic(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut data = which.get(&seeds()).clone();
        for (at, byte) in damage {
            let at = at.index(data.len());
            data[at] = byte;
        }
        if let Some(cut) = cut {
            data.truncate(cut.index(data.len() + 1));
        }
        all_entries(&data);
    }

    #[test]
    fn a_truncated_message_is_refused(
        which in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let requests = Cast::new().requests();
        let bytes = encode(which.get(&requests), Limit::CONTROL).unwrap();
        let cut = cut.index(bytes.len());
        prop_assert!(decode::<ControlRequest>(&bytes[..cut], Limit::CONTROL).is_err());
    }

    #[test]
    fn amounts_print_and_parse(planck in any::<u128>()) {
        let amount = Planck(planck);
        prop_assert_eq!(amount.to_string().parse::<Planck>(), Ok(amount));
        prop_assert_eq!(planck.to_string().parse::<Planck>(), Ok(amount));
    }
}
