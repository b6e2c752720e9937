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
        pool: Some(PoolTag([6; 32])),
        inputs: vec![cast.input_part()],
    };
    let bytes = encode(&hello, Limit::RECORD).unwrap();
    assert_eq!(
        decode::<SessionHello>(&bytes, Limit::RECORD).unwrap(),
        hello
    );
    let hello = PoolHello {
        ticket: cast.signed_ticket(),
        purpose: PoolPurpose::Refill {
            pool: PoolTag([6; 32]),
            from: u64::MAX,
        },
        entries: u16::MAX,
    };
    let bytes = encode(&hello, Limit::RECORD).unwrap();
    assert_eq!(decode::<PoolHello>(&bytes, Limit::RECORD).unwrap(), hello);
    let part = Digest([1; 32]);
    for reply in [
        PoolReply::Accepted {
            contribution: Some(part),
        },
        PoolReply::Drawn(vec![part; EvaluatorNumber::COUNT.into()]),
        PoolReply::Refused(PoolRefusal::ticket_invalid("x".repeat(1000))),
    ] {
        let bytes = encode(&reply, Limit::bytes(1024)).unwrap();
        assert_eq!(
            decode::<PoolReply>(&bytes, Limit::bytes(1024)).unwrap(),
            reply
        );
    }
    let many = encode(&PoolReply::Drawn(vec![part; 9]), Limit::bytes(1024)).unwrap();
    assert!(decode::<PoolReply>(&many, Limit::bytes(1024)).is_err());
    for pool in [None, Some(PoolTag([6; 32]))] {
        let reply = HelloReply::Accepted { pool };
        let bytes = encode(&reply, Limit::bytes(64)).unwrap();
        assert_eq!(
            decode::<HelloReply>(&bytes, Limit::bytes(64)).unwrap(),
            reply
        );
    }
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
fn a_heartbeat_announces_a_bounded_number_of_pools_and_weights() {
    let cast = Cast::new();
    let offer = PoolOffer {
        pool: PoolTag([6; 32]),
        commitment: Commitment([3; 32]),
        batch: u32::MAX,
        group: vec![PeerKey([1; 32]); Role::MAX_GROUP],
        level: u32::MAX,
    };
    let hosted = HostedWeights {
        model: ModelName::new("x".repeat(ModelName::MAX)).unwrap(),
        version: ModelVersion(u32::MAX),
        commitment: Commitment([3; 32]),
        sharing: Digest([5; 32]),
        role: Role::Dealer,
        group: [PeerKey([1; 32]); 3],
    };
    let heartbeat = Heartbeat {
        peer: cast.workers[0].peer_key(),
        active_jobs: 1,
        capacity: 4,
        cached_models: vec![Commitment([3; 32]); WorkerRecord::MAX_CACHED],
        pools: vec![offer; Heartbeat::MAX_POOLS],
        hosted: vec![hosted; Heartbeat::MAX_HOSTED],
        keys: vec![Digest([8; 32]); Heartbeat::MAX_KEYS],
        inputs: vec![Digest([9; 32]); Heartbeat::MAX_INPUTS],
    };
    // The fullest one still fits a record.
    let bytes = encode(&heartbeat, Limit::RECORD).unwrap();
    assert_eq!(
        decode::<Heartbeat>(&bytes, Limit::RECORD).unwrap(),
        heartbeat
    );
    let refused = |change: &dyn Fn(&mut Heartbeat)| {
        let mut heartbeat = heartbeat.clone();
        change(&mut heartbeat);
        let bytes = encode(&heartbeat, Limit::CONTROL).unwrap();
        decode::<Heartbeat>(&bytes, Limit::CONTROL).is_err()
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&|h| h.pools.push(h.pools[0].clone())));
    assert!(refused(&|h| h.hosted.push(h.hosted[0].clone())));
    assert!(refused(&|h| h.keys.push(h.keys[0])));
    assert!(refused(&|h| h.inputs.push(h.inputs[0])));
    assert!(refused(&|h| h.pools[0].group.push(PeerKey([1; 32]))));
}

#[test]
fn words_about_keys_and_ciphertexts_survive_and_are_bounded() {
    let job = FheJob {
        key: Digest([1; 32]),
        set: 1,
        pieces: vec![Digest([2; 32]); FheJob::MAX_PIECES],
        salt: Digest([3; 32]),
    };
    let limit = Limit::bytes(8192);
    let bytes = encode(&job, limit).unwrap();
    assert_eq!(decode::<FheJob>(&bytes, limit).unwrap(), job);
    let mut more = job.clone();
    more.pieces.push(Digest([2; 32]));
    assert!(decode::<FheJob>(&encode(&more, limit).unwrap(), limit).is_err());
    for reply in [
        FheReply::Ready,
        FheReply::Send {
            pieces: (0..128).collect(),
        },
        FheReply::Refused(FheRefusal::key("x".repeat(1000))),
        FheReply::Refused(FheRefusal::record(7, "y".repeat(1000))),
        FheReply::Refused(FheRefusal::Piece { piece: 3 }),
    ] {
        let bytes = encode(&reply, Limit::bytes(1024)).unwrap();
        let back: FheReply = decode(&bytes, Limit::bytes(1024)).unwrap();
        assert_eq!(back, reply);
    }
    let many = FheReply::Send {
        pieces: (0..129).collect(),
    };
    let bytes = encode(&many, Limit::bytes(1024)).unwrap();
    assert!(decode::<FheReply>(&bytes, Limit::bytes(1024)).is_err());
}

#[test]
fn pieces_of_keys_have_one_form() {
    let piece = KeyPiece {
        index: 0x0102,
        bytes: b"abc",
    };
    assert_eq!(piece.to_bytes(), b"\x02\x01abc");
    assert_eq!(KeyPiece::parse(b"\x02\x01abc"), Ok(piece));
    let largest = vec![0; KeyPiece::MAX_FRAME];
    assert!(KeyPiece::parse(&largest).is_ok());
    for bytes in [0, 1, 2, KeyPiece::MAX_FRAME + 1] {
        let frame = vec![0; bytes];
        assert_eq!(KeyPiece::parse(&frame), Err(KeyPieceError { bytes }));
    }
}

#[test]
fn commitments_to_ciphertexts_depend_on_salt_order_and_lengths() {
    let salt = Digest([1; 32]);
    let of = |salt: &Digest, parts: &[&[u8]]| FheJob::commitment(salt, parts.iter().copied());
    let known = of(&salt, &[b"ab", b"c"]);
    assert_eq!(known, of(&salt, &[b"ab", b"c"]));
    for other in [
        of(&Digest([2; 32]), &[b"ab", b"c"]),
        of(&salt, &[b"c", b"ab"]),
        of(&salt, &[b"a", b"bc"]),
        of(&salt, &[b"abc"]),
    ] {
        assert_ne!(other, known);
    }
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

#[test]
fn records_of_stored_inputs_round_trip_and_are_bounded() {
    let cast = Cast::new();
    let permit = Permit {
        record: cast.shared_input(),
        grants: vec![WorkerGrant {
            peer: PeerKey([4; 32]),
            share: Share::Masked,
            grant: GrantBytes::new(vec![9; 321]).unwrap(),
        }],
    };
    let bytes = encode(&permit, Limit::RECORD).unwrap();
    assert_eq!(decode::<Permit>(&bytes, Limit::RECORD).unwrap(), permit);
    assert!(permit.grant(&PeerKey([4; 32]), Share::Masked).is_some());
    assert!(permit.grant(&PeerKey([4; 32]), Share::Seed).is_none());
    assert!(permit.grant(&PeerKey([5; 32]), Share::Masked).is_none());
    let many = Permit {
        grants: vec![permit.grants[0].clone(); Permit::MAX_GRANTS + 1],
        ..permit
    };
    let bytes = encode(&many, Limit::CONTROL).unwrap();
    assert!(decode::<Permit>(&bytes, Limit::CONTROL).is_err());
    assert!(GrantBytes::new(vec![0; GrantBytes::MAX + 1]).is_none());
    assert!(LocationText::new("x".repeat(LocationText::MAX + 1)).is_none());
}

#[test]
fn a_ticket_has_stored_inputs_only_where_a_worker_deals_and_each_at_a_port_of_its_own() {
    let cast = Cast::new();
    let with = |ports: &[u8]| {
        let mut ticket = cast.ticket();
        ticket.inputs = ports
            .iter()
            .map(|port| StoredInput {
                port: *port,
                input: Digest([*port; 32]),
            })
            .collect();
        ticket
    };
    assert_eq!(with(&[0, 3]).check(), Ok(()));
    for ports in [&[1, 1][..], &[2, 1], &[64]] {
        assert_eq!(with(ports).check(), Err(TicketError::InputPorts));
    }
    let mut deals = with(&[0]);
    deals.dealer = DealerSeat::Client;
    assert!(matches!(
        deals.check(),
        Err(TicketError::InputsGroup {
            dealer: DealerSeat::Client,
            ..
        })
    ));
}
