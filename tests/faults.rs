//! Processes that die, peers that lie.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use ai_link_wire::node::{BulkStream, FrameKind};
use ai_link_wire::{
    AccountId, ControlRequest, ControlResponse, HelloReply, Identity, JobReceipt, JobState, Limit,
    Party, Planck, Refusal, SessionHello, SessionRefusal, Signed, Ticket, UnixMillis, codec,
};
use common::session::{Manual, Masking, program};
use common::{Net, Records, assert_agrees, floats, request};
use serde_json::Value;

/// Sends a record to the gateway; the answer is checked.
async fn infer(net: &Net, at: usize) -> Value {
    let records = Records::load("digits");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = net.gateway("/v2/models/digits/infer");
    let body = request(&records, &input_name(net).await, at, 1);
    let response = http.post(url).json(&body).send().await.unwrap();
    let status = response.status();
    let answer: Value = response.json().await.unwrap();
    assert!(status.is_success(), "{status} {answer}\n{}", net.logs());
    assert_agrees(&floats(&answer["outputs"][0]["data"]), records.scores(at));
    answer
}

async fn input_name(net: &Net) -> String {
    program(net, "digits").await.inputs()[0].name.clone()
}

fn receipt(net: &Net, answer: &Value) -> Signed<JobReceipt> {
    let id = answer["parameters"]["receipt"].as_str().unwrap();
    let path = net
        .path()
        .join(format!("gateway/data/receipts/{id}.receipt"));
    ai_link_client::receipts::load(&path).unwrap()
}

/// A worker of the group that gave `answer`.
fn serving(net: &Net, answer: &Value) -> String {
    let receipt = receipt(net, answer);
    let peer = JobReceipt::check(&receipt).unwrap().ticket().group[0].peer;
    let mut workers = (0..4).map(|i| format!("worker-{i}"));
    workers
        .find(|worker| net.key(worker).peer_key() == peer)
        .unwrap()
}

/// What every account must have been paid, by the receipts.
fn earned(net: &Net) -> BTreeMap<AccountId, u128> {
    let mut earned = BTreeMap::new();
    for path in net.receipts() {
        let receipt = ai_link_client::receipts::load(&path).unwrap();
        for payout in &JobReceipt::check(&receipt).unwrap().ticket().payouts {
            *earned.entry(payout.account).or_default() += payout.amount.0;
        }
    }
    earned
}

/// A job during which `worker` stood still, from before the job was matched: the answer comes when
/// `meanwhile` has made it possible. `None` if the group did without that worker.
async fn while_stopped<F: Future<Output = ()>>(
    net: &Net,
    worker: &str,
    at: usize,
    meanwhile: impl FnOnce() -> F,
) -> Option<Value> {
    net.signal(worker, "STOP");
    let job = infer(net, at);
    tokio::pin!(job);
    // Long for a job of milliseconds, short for heartbeats and deadlines.
    if tokio::time::timeout(Duration::from_millis(1500), &mut job)
        .await
        .is_ok()
    {
        net.signal(worker, "CONT");
        tokio::time::sleep(Duration::from_millis(300)).await;
        return None;
    }
    meanwhile().await;
    Some(job.await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_the_middle_costs_an_attempt_and_is_not_paid() {
    let net = Net::up(4, &[]);
    let mut killed = None;
    for at in 0..10 {
        // One that served just now: matching avoids a worker that was found standing still.
        let worker = serving(&net, &infer(&net, 2 * at).await);
        let answer = while_stopped(&net, &worker, 2 * at + 1, async || {
            net.signal(&worker, "KILL")
        });
        if let Some(answer) = answer.await {
            killed = Some((worker, answer));
            break;
        }
    }
    let (worker, answer) = killed.expect("one of ten groups has a worker of the group before it");
    assert!(
        answer["parameters"]["attempts"].as_u64().unwrap() >= 2,
        "{answer}"
    );
    let receipt = receipt(&net, &answer);
    let verified = JobReceipt::check(&receipt).unwrap();
    let dead = net.key(&worker).peer_key();
    assert!(verified.ticket().group.iter().all(|m| m.peer != dead));

    // Three are left, and still serve.
    infer(&net, 20).await;
    let paid = net.settled().await;
    let registry = net.registry().await;
    let operators: Vec<AccountId> = (0..4)
        .map(|i| net.key(&format!("operator-{i}")).account())
        .collect();
    let earned = earned(&net);
    assert_eq!(earned.values().sum::<u128>(), paid.0);
    // Endowment and bond are the same for all four and registering cost the same, so what differs is what
    // they were paid: exactly what the receipts say, also for the one that died.
    let mut base = None;
    for operator in operators {
        let balance = registry.balance(operator).await.unwrap();
        let had = balance.free.0 + balance.held.0 - earned.get(&operator).copied().unwrap_or(0);
        assert_eq!(
            *base.get_or_insert(had),
            had,
            "{operator} was paid something else than receipts say"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_coordinator_finishes_or_refunds_what_it_accepted() {
    let mut net = Net::up(3, &[]);
    infer(&net, 0).await;
    let client = Manual::new(&net, "client").await;

    // One job is accepted and never run: its reserve must come back.
    let lost = client
        .matched(client.request("digits", 1, Duration::from_secs(4)))
        .await;
    let lost = lost.verify_at_any_time().unwrap().job;

    // One job is in the middle when the coordinator dies. With three workers, worker-0 is in every group.
    let answer = while_stopped(&net, "worker-0", 1, async || {
        net.signal("coordinator", "KILL");
        net.signal("worker-0", "CONT");
    })
    .await
    .expect("worker-0 is in the only group there is");
    let running = receipt(&net, &answer);
    let running = JobReceipt::check(&running).unwrap().job();

    net.start(3, &[]);
    net.settled().await;
    let client = Manual::new(&net, "client").await;
    let state = |job| {
        let client = &client;
        async move {
            match client.ask(ControlRequest::Job(job)).await {
                ControlResponse::Job(Some(status)) => status.state,
                other => panic!("{other:?}"),
            }
        }
    };
    assert!(
        matches!(state(running).await, JobState::Settled { .. }),
        "{:?}",
        state(running).await
    );
    let mut found = state(lost).await;
    for _ in 0..600 {
        if matches!(found, JobState::Refunded { .. }) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        found = state(lost).await;
    }
    assert!(
        matches!(found, JobState::Refunded { .. }),
        "{found:?}\n{}",
        net.logs()
    );

    // And service goes on.
    infer(&net, 2).await;
    net.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_lie_are_refused_in_words_and_harm_nobody() {
    let net = Net::up(3, &[]);
    let client = Manual::new(&net, "client").await;
    let stranger = Manual::new(&net, "owner").await;

    // A request in another's name.
    let mut request = client.request("digits", 1, Duration::from_secs(30));
    request.client = stranger.identity.account();
    let until = request.deadline;
    let signed = Signed::sign(&client.identity, request, UnixMillis::now(), until).unwrap();
    let refusal = refused(client.ask(ControlRequest::Match(signed)).await);
    assert!(
        matches!(refusal, Refusal::WrongSigner | Refusal::BadSignature),
        "{refusal:?}"
    );

    // No escrow, no model, no end of records.
    let poor = match_refusal(&stranger, stranger.request("digits", 1, LONG)).await;
    assert!(
        matches!(poor, Refusal::InsufficientEscrow { .. }),
        "{poor:?}"
    );
    let unknown = match_refusal(&client, client.request("no-such-model", 1, LONG)).await;
    assert!(
        matches!(unknown, Refusal::UnknownModel { .. }),
        "{unknown:?}"
    );
    let huge = match_refusal(&client, client.request("digits", u32::MAX, LONG)).await;
    assert!(
        matches!(
            huge,
            Refusal::BatchTooLarge { .. } | Refusal::PriceTooHigh { .. }
        ),
        "{huge:?}"
    );

    // Tickets that do not hold, at a worker.
    let ticket = client.matched(client.request("digits", 1, LONG)).await;
    let body = ticket.verify_at_any_time().unwrap().clone();
    let forged = |identity: &Identity, ticket: Ticket| {
        Signed::sign(identity, ticket, UnixMillis::now(), until).unwrap()
    };
    let unsigned = forged(&client.identity, body.clone());
    assert!(matches!(
        hello(&client, &unsigned, 0).await,
        SessionRefusal::TicketInvalid(_)
    ));
    let mut own = body.clone();
    own.coordinator = client.identity.account();
    let own = forged(&client.identity, own);
    assert!(matches!(
        hello(&client, &own, 0).await,
        SessionRefusal::TicketInvalid(_)
    ));
    assert!(matches!(
        hello(&stranger, &ticket, 0).await,
        SessionRefusal::WrongPeer
    ));

    // Frames that are none: the stream ends, the worker goes on.
    for (kind, payload) in [
        (FrameKind::Hello, vec![0xff; 200]),
        (FrameKind::Data, vec![1; 100]),
        (FrameKind::Hello, Vec::new()),
    ] {
        let mut stream = open(&client, &body, 0).await;
        stream.send(kind, &payload).await.unwrap();
        let answer = stream.recv_bounded(FrameKind::HelloReply, 1024).await;
        assert!(answer.is_err(), "{answer:?}");
    }

    // The ticket is still good, once.
    let records = Records::load("digits");
    let program = program(&net, "digits").await;
    let (outputs, _) = client
        .evaluate(&ticket, program, records.record(3), Masking::On)
        .await;
    assert_agrees(outputs[0].as_f32().unwrap(), records.scores(3));
    assert!(matches!(
        hello(&client, &ticket, 0).await,
        SessionRefusal::SessionUsed
    ));

    infer(&net, 4).await;
    let paid = net.settled().await;
    assert!(paid > Planck::ZERO);
}

const LONG: Duration = Duration::from_secs(60);

fn refused(response: ControlResponse) -> Refusal {
    match response {
        ControlResponse::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

async fn match_refusal(client: &Manual, request: ai_link_wire::JobRequest) -> Refusal {
    let until = request.deadline;
    let signed = Signed::sign(&client.identity, request, UnixMillis::now(), until).unwrap();
    refused(client.ask(ControlRequest::Match(signed)).await)
}

async fn open(client: &Manual, ticket: &Ticket, member: usize) -> BulkStream {
    let member = &ticket.group[member];
    client
        .node
        .open(member.peer.peer_id(), &member.addresses, LONG)
        .await
        .unwrap()
}

async fn hello(client: &Manual, ticket: &Signed<Ticket>, member: usize) -> SessionRefusal {
    let body = ticket.verify_at_any_time().unwrap();
    let mut stream = open(client, body, member).await;
    let hello = SessionHello {
        ticket: ticket.clone(),
        from: Party::Client,
        pool: None,
        inputs: Vec::new(),
    };
    let bytes = codec::encode(&hello, Limit::RECORD).unwrap();
    stream.send(FrameKind::Hello, &bytes).await.unwrap();
    let reply = stream
        .recv_bounded(FrameKind::HelloReply, 1024)
        .await
        .unwrap();
    match codec::decode(&reply, Limit::bytes(1024)).unwrap() {
        HelloReply::Refused(refusal) => refusal,
        HelloReply::Accepted { .. } => panic!("accepted"),
    }
}
