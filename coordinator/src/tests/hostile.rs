//! Bytes from outside.

use std::time::Duration;

use ai_link_wire::{ControlRequest, JobFailure, JobId, Limit, Signed, encode};
use proptest::prelude::*;

use super::world::{World, policy};
use crate::fuzzing::control_message;
use crate::ledger::MemoryStore;

/// Genuine messages of every kind, to be damaged.
fn messages() -> Vec<Vec<u8>> {
    let mut world = World::new(MemoryStore::default(), &[0, 1, 2], policy());
    world.everyone_ready();
    let expires = world.now.saturating_add(Duration::from_secs(60));
    let ticket = world.ticket(0, 1, 0);
    let record = Signed::sign(&world.workers[0], world.record(0), world.now, expires).unwrap();
    let request = Signed::sign(
        &world.clients[0],
        world.request(0, 1, 0),
        world.now,
        expires,
    )
    .unwrap();
    let client = world.clients[0].account();
    let failure = JobFailure::new(JobId([1; 16]), 0, client, vec![], "");
    let failure = Signed::sign(&world.clients[0], failure, world.now, expires).unwrap();
    let voucher = world.voucher(0, ai_link_wire::Planck(1));
    [
        ControlRequest::Register(record),
        ControlRequest::Match(request),
        ControlRequest::Fail(failure),
        world.completion(0, &ticket, voucher),
        ControlRequest::Proof(JobId([1; 16])),
        ControlRequest::Unsettled,
        ControlRequest::Job(JobId([1; 16])),
        ControlRequest::Info,
    ]
    .iter()
    .map(|message| encode(message, Limit::CONTROL).unwrap())
    .collect()
}

#[test]
fn damaged_messages_never_break_it() {
    for message in messages() {
        control_message(&message);
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] = changed[at].wrapping_add(1);
            control_message(&changed);
            if at % 16 == 0 {
                control_message(&message[..at]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_never_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        control_message(&bytes);
    }
}
