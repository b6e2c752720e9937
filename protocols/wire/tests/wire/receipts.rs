use ai_link_wire::*;

use crate::samples::{Cast, T0, T1, place};

#[test]
fn an_honest_trail_holds() {
    let cast = Cast::new();
    let mut receipt = cast.job_receipt();
    receipt.workers.reverse();
    let verified = JobReceipt::check(&cast.countersign(receipt)).unwrap();
    assert_eq!(verified.job(), JobId([7; 16]));
    assert_eq!(verified.ticket(), &cast.ticket());
    assert_eq!(verified.ticket_digest(), cast.signed_ticket().digest());
    assert_eq!(verified.price(), Planck(100));
    assert_eq!(verified.finished(), T1);
    let roles: Vec<_> = verified
        .workers()
        .iter()
        .map(|worker| worker.role)
        .collect();
    assert_eq!(roles, Role::TRIO);
}

#[test]
fn an_honest_trail_of_evaluators_alone_holds() {
    let cast = Cast::client_deals();
    let verified = JobReceipt::check(&cast.countersign(cast.job_receipt())).unwrap();
    let roles: Vec<_> = verified.workers().iter().map(|w| w.role).collect();
    assert_eq!(roles, cast.roles());
    assert_eq!(roles.len(), 3);
    assert!(!roles.contains(&Role::Dealer));
    // One receipt too few, also where nobody deals.
    let mut receipt = cast.job_receipt();
    receipt.workers.pop();
    let error = JobReceipt::check(&cast.countersign(receipt)).unwrap_err();
    assert!(matches!(
        error,
        ReceiptError::WorkerCount {
            expected: 3,
            found: 2
        }
    ));
}

fn refusal(change: impl FnOnce(&Cast, &mut JobReceipt)) -> ReceiptError {
    let cast = Cast::new();
    let mut receipt = cast.job_receipt();
    change(&cast, &mut receipt);
    JobReceipt::check(&cast.countersign(receipt)).unwrap_err()
}

/// A trail that is honest but for its ticket, which the coordinator signed like this.
fn ticket_refusal(change: impl FnOnce(&mut Ticket)) -> TicketError {
    let cast = Cast::new();
    let mut ticket = cast.ticket();
    change(&mut ticket);
    let signed = Signed::sign(&cast.coordinator, ticket, T0, T1).unwrap();
    let receipt = cast.countersign(cast.job_receipt_for(signed));
    match JobReceipt::check(&receipt).unwrap_err() {
        ReceiptError::Ticket(error) => error,
        other => panic!("{other:?}"),
    }
}

/// The receipt of one worker is changed before that worker signs it.
fn worker_refusal(role: Role, change: impl FnOnce(&mut WorkerReceipt)) -> ReceiptError {
    refusal(|cast, receipt| {
        let mut body = cast.worker_receipt(role, &receipt.ticket);
        change(&mut body);
        let signed = Signed::sign(&cast.workers[place(role)], body, T0, T1).unwrap();
        receipt.workers[place(role)] = signed;
    })
}

/// Breaks the signature of a record.
fn forge<T: Record>(signed: &Signed<T>) -> Signed<T> {
    let mut json = serde_json::to_value(signed).unwrap();
    let expires = json["expires"].as_u64().unwrap();
    json["expires"] = (expires + 1).into();
    serde_json::from_value(json).unwrap()
}

#[test]
fn broken_signatures_are_told_apart() {
    let cast = Cast::new();
    let receipt = forge(&cast.countersign(cast.job_receipt()));
    let error = JobReceipt::check(&receipt).unwrap_err();
    assert!(matches!(
        error,
        ReceiptError::Countersignature(SignedError::BadSignature { .. })
    ));
    let error = refusal(|_, receipt| receipt.ticket = forge(&receipt.ticket));
    assert!(matches!(
        error,
        ReceiptError::TicketSignature(SignedError::BadSignature { .. })
    ));
    for role in Role::TRIO {
        let error = refusal(|_, receipt| {
            let worker = &mut receipt.workers[place(role)];
            *worker = forge(worker);
        });
        assert!(
            matches!(error, ReceiptError::WorkerSignature { role: found, .. } if found == role),
            "{error:?}"
        );
    }
}

#[test]
fn the_right_parties_must_have_signed() {
    let cast = Cast::new();
    let mallory = Identity::derive(b"samples", "mallory");
    let receipt = Signed::sign(&mallory, cast.job_receipt(), T0, T1).unwrap();
    let error = JobReceipt::check(&receipt).unwrap_err();
    assert!(
        matches!(error, ReceiptError::NotByClient { found, .. } if found == mallory.peer_key())
    );

    let error = refusal(|cast, receipt| {
        receipt.ticket = Signed::sign(&mallory, cast.ticket(), T0, T1).unwrap();
    });
    assert!(
        matches!(error, ReceiptError::NotByCoordinator { found, .. } if found == mallory.peer_key())
    );
    let error = refusal(|cast, receipt| {
        let body = cast.worker_receipt(Role::Dealer, &receipt.ticket);
        receipt.workers[2] = Signed::sign(&mallory, body, T0, T1).unwrap();
    });
    assert!(matches!(
        error,
        ReceiptError::WorkerMissing {
            role: Role::Dealer,
            ..
        }
    ));
}

#[test]
fn every_worker_signs_once_for_its_own_part() {
    let error = refusal(|_, receipt| drop(receipt.workers.pop()));
    assert!(matches!(
        error,
        ReceiptError::WorkerCount {
            expected: 3,
            found: 2
        }
    ));
    let error = refusal(|_, receipt| receipt.workers[1] = receipt.workers[0].clone());
    assert!(matches!(
        error,
        ReceiptError::WorkerMissing {
            role: Role::EVALUATOR_1,
            ..
        }
    ));
    let error = worker_refusal(Role::EVALUATOR_0, |receipt| receipt.role = Role::Dealer);
    assert!(matches!(
        error,
        ReceiptError::Role {
            ticket: Role::EVALUATOR_0,
            receipt: Role::Dealer,
            ..
        }
    ));
}

#[test]
fn worker_receipts_are_about_this_ticket_and_model() {
    let error = worker_refusal(Role::Dealer, |receipt| receipt.ticket = Digest([0; 32]));
    assert!(matches!(
        error,
        ReceiptError::OtherTicket {
            role: Role::Dealer,
            ..
        }
    ));
    let error = worker_refusal(Role::Dealer, |receipt| {
        receipt.commitment = Commitment([0; 32])
    });
    assert!(matches!(
        error,
        ReceiptError::OtherModel {
            role: Role::Dealer,
            ..
        }
    ));
    let error = worker_refusal(Role::EVALUATOR_1, |receipt| receipt.started.0 = T1.0 + 1);
    assert!(matches!(
        error,
        ReceiptError::Times {
            role: Role::EVALUATOR_1,
            ..
        }
    ));
    // A receipt of the same workers for another attempt.
    let error = refusal(|cast, receipt| {
        let ticket = Ticket {
            attempt: 1,
            ..cast.ticket()
        };
        receipt.ticket = Signed::sign(&cast.coordinator, ticket, T0, T1).unwrap();
    });
    assert!(matches!(error, ReceiptError::OtherTicket { .. }));
}

#[test]
fn money_adds_up() {
    let error = refusal(|_, receipt| receipt.price = Planck(99));
    assert!(matches!(
        error,
        ReceiptError::Price {
            ticket: Planck(100),
            receipt: Planck(99)
        }
    ));
    let error = ticket_refusal(|ticket| ticket.payouts[0].amount = Planck(31));
    assert_eq!(
        error,
        TicketError::Payouts {
            payouts: Some(Planck(101)),
            price: Planck(100)
        }
    );
    let error = ticket_refusal(|ticket| {
        ticket.payouts[0].amount = Planck(u128::MAX);
    });
    assert_eq!(
        error,
        TicketError::Payouts {
            payouts: None,
            price: Planck(100)
        }
    );
}

#[test]
fn no_one_has_two_parts_in_a_group() {
    let error = ticket_refusal(|ticket| ticket.group[1].operator = ticket.group[0].operator);
    assert!(matches!(error, TicketError::SameOperator { .. }));
    let error = ticket_refusal(|ticket| ticket.group[2].peer = ticket.group[0].peer);
    assert!(matches!(error, TicketError::SamePeer { .. }));
    let error = ticket_refusal(|ticket| ticket.group.swap(0, 1));
    assert!(matches!(
        error,
        TicketError::Group {
            level: Level::Mpc,
            ..
        }
    ));
    let error = ticket_refusal(|ticket| drop(ticket.group.pop()));
    assert!(matches!(error, TicketError::Group { .. }));
    let error = ticket_refusal(|ticket| ticket.batch = 0);
    assert_eq!(error, TicketError::EmptyBatch);
}

#[test]
fn a_group_is_what_the_ticket_says() {
    // A dealer although the client deals, none although a worker does, and a missing evaluator.
    let error = ticket_refusal(|ticket| ticket.dealer = DealerSeat::Client);
    assert!(matches!(error, TicketError::Group { .. }));
    let error = ticket_refusal(|ticket| {
        ticket.group.pop();
        ticket.payouts[0].amount = Planck(30);
    });
    assert!(matches!(error, TicketError::Group { .. }));
    let error = ticket_refusal(|ticket| ticket.evaluators = 3);
    assert!(matches!(error, TicketError::Group { .. }));
    for evaluators in [0, 1, 9, 255] {
        let error = ticket_refusal(|ticket| {
            ticket.evaluators = evaluators;
            ticket.dealer = DealerSeat::Client;
        });
        assert!(
            matches!(error, TicketError::NoSuchGroup { evaluators: found, .. } if found == evaluators)
        );
    }
    // A single evaluator would see the input if it had the dealer's word for it: two at least.
    let mut ticket = Cast::client_deals().ticket();
    ticket.check().unwrap();
    ticket.group.truncate(1);
    ticket.evaluators = 1;
    assert!(matches!(
        ticket.check(),
        Err(TicketError::NoSuchGroup { .. })
    ));
}

#[test]
fn private_weights_are_held_by_two_evaluators_and_a_dealer() {
    let sharing = Some(Digest([5; 32]));
    let ticket = Ticket {
        sharing,
        ..Cast::new().ticket()
    };
    ticket.check().unwrap();
    let ticket = Ticket {
        sharing,
        ..Cast::client_deals().ticket()
    };
    assert_eq!(
        ticket.check(),
        Err(TicketError::Sharing {
            evaluators: 3,
            dealer: DealerSeat::Client
        })
    );
}

#[test]
fn no_one_keeps_two_parts_of_private_weights() {
    let cast = Cast::new();
    let host = |i: usize, operator: u8| Host {
        peer: cast.workers[i].peer_key(),
        operator: AccountId([operator; 32]),
    };
    let hosting = Hosting {
        owner: cast.client.account(),
        model: ModelName::new("digits-cnn").unwrap(),
        version: ModelVersion(1),
        commitment: Commitment([3; 32]),
        sharing: Digest([5; 32]),
        group: [host(0, 0), host(1, 1), host(2, 2)],
    };
    hosting.check().unwrap();
    for (i, role) in Role::TRIO.into_iter().enumerate() {
        assert_eq!(hosting.role_of(&cast.workers[i].peer_key()), Some(role));
    }
    assert_eq!(hosting.role_of(&cast.workers[3].peer_key()), None);
    let with = |group| Hosting {
        group,
        ..hosting.clone()
    };
    assert!(matches!(
        with([host(0, 0), host(1, 1), host(2, 1)]).check(),
        Err(HostingError::SameOperator { .. })
    ));
    assert!(matches!(
        with([host(0, 0), host(1, 1), host(0, 2)]).check(),
        Err(HostingError::SamePeer { .. })
    ));
    let signed = Signed::sign(&cast.client, hosting, T0, T1).unwrap();
    let bytes = encode(&signed, Limit::bytes(4096)).unwrap();
    let read: Signed<Hosting> = decode(&bytes, Limit::bytes(4096)).unwrap();
    read.verify(T0).unwrap();
}

#[test]
fn the_largest_group_is_read_and_a_larger_one_refused() {
    let roles = Role::of_group(Level::Mpc, 8, DealerSeat::Worker).unwrap();
    assert_eq!(roles.len(), Role::MAX_GROUP);
    let cast = Cast::new();
    let mut ticket = cast.ticket();
    ticket.evaluators = 8;
    ticket.group = (0..)
        .zip(&roles)
        .map(|(i, role)| GroupMember {
            role: *role,
            peer: PeerKey([i; 32]),
            operator: AccountId([i; 32]),
            addresses: vec!["/ip4/127.0.0.1/tcp/4001".parse().unwrap(); 8],
        })
        .collect();
    ticket.check().unwrap();
    let bytes = encode(&ticket, Limit::RECORD).unwrap();
    assert_eq!(decode::<Ticket>(&bytes, Limit::RECORD).unwrap(), ticket);
    ticket.group.push(ticket.group[0].clone());
    let bytes = encode(&ticket, Limit::RECORD).unwrap();
    assert!(decode::<Ticket>(&bytes, Limit::RECORD).is_err());
    // And a role that no group has.
    let bytes = encode(
        &Role::Evaluator(EvaluatorNumber::new(7).unwrap()),
        Limit::RECORD,
    )
    .unwrap();
    assert_eq!(bytes, [0, 7]);
    assert!(decode::<Role>(&[0, 8], Limit::RECORD).is_err());
}

#[test]
fn the_promise_is_that_of_the_group() {
    let trio = Cast::new().ticket();
    assert!(trio.promise().contains("two of the three workers collude"));
    assert!(!trio.promise().contains("weights"));
    let private = Ticket {
        sharing: Some(Digest([5; 32])),
        ..trio.clone()
    };
    assert!(private.promise().contains("weights"));
    let many = Ticket {
        evaluators: 5,
        ..trio
    };
    assert!(
        many.promise()
            .contains("the dealer and an evaluator collude, or all 5")
    );
    let own = Cast::client_deals().ticket();
    assert!(own.promise().contains("unless all 3 evaluators collude"));
}
