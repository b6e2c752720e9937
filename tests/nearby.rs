//! What a worker gets from another one instead of storage is what storage would have given, or nothing.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;
use std::time::Duration;

use ai_link_session::copies::{self, CopyError};
use ai_link_wire::{
    Commitment, ControlRequest, ControlResponse, CopyOf, CopyReply, Held, Holder, PeerKey, Refusal,
    Signed, Ticket,
};
use common::session::{Manual, Masking, program};
use common::{Net, Records, assert_agrees};

const WORKERS: u16 = 4;

fn package(net: &Net, worker: &str, commitment: Commitment) -> PathBuf {
    let models = net.path().join(worker).join("data/models");
    models.join(format!("{commitment}.package"))
}

/// The workers, by their keys.
fn workers(net: &Net) -> Vec<(PeerKey, String)> {
    let names = (0..WORKERS).map(|i| format!("worker-{i}"));
    names
        .map(|name| (net.key(&name).peer_key(), name))
        .collect()
}

/// A job of one record; returns its ticket when the answer was right.
async fn job(net: &Net, client: &Manual, exclude: Vec<PeerKey>) -> Signed<Ticket> {
    let records = Records::load("digits");
    let program = program(net, "digits").await;
    let mut request = client.request("digits", 1, Duration::from_secs(30));
    request.exclude = exclude;
    let signed = client.matched(request).await;
    let record = records.record(0);
    let (answer, _) = client.evaluate(&signed, program, record, Masking::On).await;
    assert_agrees(answer[0].as_f32().unwrap(), records.scores(0));
    signed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_changed_is_not_used() {
    let net = Net::up(WORKERS, &[]);
    let client = Manual::new(&net, "client").await;
    let signed = job(&net, &client, Vec::new()).await;
    let ticket = signed.verify_at_any_time().unwrap();
    let commitment = ticket.commitment;
    let all = workers(&net);
    let serves = |peer: &PeerKey| ticket.group.iter().any(|member| member.peer == *peer);
    let (_, idle) = all.iter().find(|(peer, _)| !serves(peer)).unwrap();
    let theirs = package(&net, idle, commitment);
    assert!(!theirs.exists());

    // Copies are for workers, and nobody else is told who has what.
    let holder = Holder {
        peer: ticket.group[0].peer,
        addresses: ticket.group[0].addresses.clone(),
    };
    let asked = copies::fetch(&client.node, &holder, CopyOf::Package(commitment), 1 << 30);
    let refused = asked.await.unwrap_err();
    assert!(
        matches!(
            refused,
            CopyError::Refused {
                refusal: CopyReply::NotAWorker
            }
        ),
        "{refused:?}"
    );
    let unknown = CopyOf::Package(Commitment([7; 32]));
    let refused = copies::fetch(&client.node, &holder, unknown, 1 << 30).await;
    assert!(matches!(
        refused.unwrap_err(),
        CopyError::Refused {
            refusal: CopyReply::NotHere
        }
    ));
    let answer = client
        .ask(ControlRequest::Holders(Held::Model(commitment)))
        .await;
    assert_eq!(answer, ControlResponse::Refused(Refusal::NotRegistered));

    // Whoever has the package has it in memory, and its files are changed. The fourth worker is told of them, and
    // takes what storage gives.
    let whole = std::fs::read(package(&net, &all[0].1, commitment))
        .or_else(|_| std::fs::read(package(&net, &all[1].1, commitment)))
        .unwrap();
    for (_, name) in all.iter().filter(|(peer, _)| serves(peer)) {
        let mut changed = whole.clone();
        changed[1000] ^= 1;
        std::fs::write(package(&net, name, commitment), changed).unwrap();
    }
    // Until the coordinator knows from their heartbeats that they have it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    job(&net, &client, vec![ticket.group[0].peer]).await;
    assert_eq!(std::fs::read(theirs).unwrap(), whole);
    let log = net.log(idle);
    assert!(log.contains("a copy is not what was asked for"), "{log}");
    assert!(!log.contains("copied from another worker"), "{log}");
}
