//! Nodes on loopback, over all transports, with honest and dishonest peers.

use std::time::Duration;

use ai_link_wire::node::{
    AddressFailure, BULK_PROTOCOL, CONTROL_PROTOCOL, ConnectError, FrameError, StreamRefusal,
};
use ai_link_wire::*;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use tokio::time::Instant;

use crate::samples::Cast;

const SOON: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
enum Transport {
    Tcp,
    Quic,
    /// Questions go over TCP.
    Direct,
}

impl Transport {
    fn listen(self) -> Multiaddr {
        match self {
            // With a direct listener beside it, which nobody asked for.
            Self::Tcp | Self::Direct => "/ip4/127.0.0.1/tcp/0",
            Self::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        }
        .parse()
        .unwrap()
    }

    /// The addresses of `node` that lead over this transport only.
    fn at(self, node: &Node) -> Vec<Multiaddr> {
        let of_this = |address: &Multiaddr| {
            let direct = address.to_string().ends_with("/tls");
            !direct || matches!(self, Self::Direct)
        };
        node.listen_addrs().into_iter().filter(of_this).collect()
    }
}

/// The same test on every transport.
macro_rules! on_all_transports {
    ($($test:ident)*) => {
        on_all_transports!(tcp Tcp, quic Quic, direct Direct: [$($test)*]);
    };
    ($($module:ident $transport:ident),*: $tests:tt) => {
        $(on_all_transports!(@ $module $transport $tests);)*
    };
    (@ $module:ident $transport:ident [$($test:ident)*]) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test(super::Transport::$transport).await;
                }
            )*
        }
    };
}

on_all_transports! {
    a_capture_holds_everything_that_the_process_saw
    a_node_that_serves_nothing_says_so
    an_abort_reaches_a_reader_that_waits_for_something_else
    bulk_goes_both_ways
    closed_streams_keep_their_frames
    frames_of_another_length_or_kind_are_refused
    many_streams_at_once_are_all_taken
    questions_are_answered
    silence_ends_at_the_deadline
    what_exceeds_the_limits_is_refused_in_words
}

fn config(name: &str) -> NodeConfig {
    NodeConfig::client(Identity::derive(b"node tests", name))
}

async fn listening(transport: Transport, mut config: NodeConfig) -> (Node, Incoming) {
    config.listen = vec![transport.listen()];
    Node::start(config).await.unwrap()
}

/// A node that answers `Info` with the number of questions so far, and everything else not at all.
async fn counting(transport: Transport, name: &str) -> (Node, tokio::task::JoinHandle<()>) {
    let (node, mut incoming) = listening(transport, config(name)).await;
    let account = AccountId([1; 32]);
    let serving = tokio::spawn(async move {
        let mut workers = 0;
        let mut unanswered = Vec::new();
        while let Some(asked) = incoming.requests.recv().await {
            if asked.request != ControlRequest::Info {
                unanswered.push(asked.reply);
                continue;
            }
            workers += 1;
            let info = CoordinatorInfo {
                account,
                fee: Planck(1),
                voucher_cumulative: Planck(0),
                voucher: None,
                workers,
            };
            asked.reply.send(ControlResponse::Info(info)).unwrap();
        }
    });
    (node, serving)
}

fn count(response: ControlResponse) -> u32 {
    match response {
        ControlResponse::Info(info) => info.workers,
        other => panic!("{other:?}"),
    }
}

async fn pair(
    transport: Transport,
    server: NodeConfig,
    client: NodeConfig,
) -> (Node, BulkStream, Node, BulkStream, Incoming) {
    let (server, mut incoming) = listening(transport, server).await;
    let (client, _) = Node::start(client).await.unwrap();
    let near = client
        .open(server.peer_id(), &transport.at(&server), SOON)
        .await
        .unwrap();
    let (from, far) = incoming.streams.recv().await.unwrap();
    assert_eq!(from, client.peer_id());
    assert_eq!(
        (near.peer(), far.peer()),
        (server.peer_id(), client.peer_id())
    );
    (server, far, client, near, incoming)
}

async fn questions_are_answered(transport: Transport) {
    let (server, _serving) = counting(transport, "server").await;
    let (client, _) = Node::start(config("client")).await.unwrap();
    for expected in 1..=3 {
        let answer = client
            .request(
                server.peer_id(),
                &transport.at(&server),
                ControlRequest::Info,
                SOON,
            )
            .await
            .unwrap();
        assert_eq!(count(answer), expected);
    }
    // From now on without an address: the connection is there.
    let answer = client
        .request(server.peer_id(), &[], ControlRequest::Info, SOON)
        .await
        .unwrap();
    assert_eq!(count(answer), 4);
}

/// Both ends send 8 MiB at the same time, which must not be a deadlock.
async fn bulk_goes_both_ways(transport: Transport) {
    let bytes = 8 << 20;
    let payload = |seed: u8| {
        (0..bytes)
            .map(|i| (i as u8).wrapping_mul(31) ^ seed)
            .collect::<Vec<u8>>()
    };
    let (_server, far, _client, near, _) =
        pair(transport, config("server"), config("client")).await;
    let run = async |stream: BulkStream, mine: Vec<u8>| {
        let (mut reader, mut writer) = stream.split();
        let (sent, received) = tokio::join!(
            async {
                writer.send(FrameKind::Data, &mine).await?;
                writer.send(FrameKind::Receipt, b"done").await
            },
            async {
                let data = reader.recv_exact(FrameKind::Data, bytes).await?;
                let last = reader.recv_bounded(FrameKind::Receipt, 100).await?;
                Ok::<_, StreamError>((data, last))
            }
        );
        sent.unwrap();
        (received.unwrap(), reader, writer)
    };
    let (at_far, at_near) = tokio::join!(run(far, payload(1)), run(near, payload(2)));
    assert!(
        at_far.0.0 == payload(2) && at_near.0.0 == payload(1),
        "payloads differ"
    );
    assert_eq!(
        (at_far.0.1, at_near.0.1),
        (b"done".to_vec(), b"done".to_vec())
    );
}

/// What was sent before an orderly close arrives, and the end is seen as one.
async fn closed_streams_keep_their_frames(transport: Transport) {
    let (_server, far, _client, mut near, _) =
        pair(transport, config("server"), config("client")).await;
    near.send(FrameKind::Data, &[5; 100_000]).await.unwrap();
    near.send(FrameKind::Data, &[]).await.unwrap();
    near.close().await.unwrap();
    drop(near);
    // Into memory that held something else before.
    let used = vec![9; 100_000];
    let at = used.as_ptr();
    let (mut far, _writer) = far.split();
    let received = far.recv_exact_into(FrameKind::Data, 100_000, used).await;
    let received = received.unwrap();
    assert_eq!((received.as_ptr(), &received), (at, &vec![5; 100_000]));
    assert!(far.recv_exact(FrameKind::Data, 0).await.unwrap().is_empty());
    let error = far.recv_bounded(FrameKind::Data, 10).await.unwrap_err();
    assert!(matches!(error, StreamError::Closed), "{error:?}");
}

async fn frames_of_another_length_or_kind_are_refused(transport: Transport) {
    let (server, mut far, client, mut near, mut incoming) =
        pair(transport, config("server"), config("client")).await;
    near.send(FrameKind::Data, &[0; 100]).await.unwrap();
    let error = far.recv_exact(FrameKind::Data, 99).await.unwrap_err();
    let StreamError::Frame(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        error,
        FrameError::WrongLength {
            kind: FrameKind::Data,
            claimed: 100,
            expected: 99
        }
    );

    let mut again = async || {
        let near = client.open(server.peer_id(), &[], SOON).await.unwrap();
        let (_, far) = incoming.streams.recv().await.unwrap();
        (near, far)
    };
    let (mut near, mut far) = again().await;
    near.send(FrameKind::Data, &[0; 100]).await.unwrap();
    let error = far.recv_bounded(FrameKind::Data, 50).await.unwrap_err();
    let StreamError::Frame(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        error,
        FrameError::TooLong {
            kind: FrameKind::Data,
            claimed: 100,
            max: 50
        }
    );

    let (mut near, mut far) = again().await;
    near.send(FrameKind::Receipt, &[0; 10]).await.unwrap();
    let wanted = [(FrameKind::Data, 100), (FrameKind::Abort, 100)];
    let error = far.recv_any(&wanted).await.unwrap_err();
    let StreamError::Frame(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        error,
        FrameError::UnexpectedKind {
            found: FrameKind::Receipt,
            expected: vec![FrameKind::Data, FrameKind::Abort]
        }
    );

    let (mut near, mut far) = again().await;
    near.send(FrameKind::Abort, &[1, 2, 3]).await.unwrap();
    let (kind, payload) = far.recv_any(&wanted).await.unwrap();
    assert_eq!((kind, payload), (FrameKind::Abort, vec![1, 2, 3]));
}

async fn an_abort_reaches_a_reader_that_waits_for_something_else(transport: Transport) {
    let (_server, mut far, _client, mut near, _) =
        pair(transport, config("server"), config("client")).await;
    let abort = Abort::new("the dealer sent garbage", Some(PeerKey([3; 32])));
    near.send(FrameKind::Abort, &encode(&abort, Limit::RECORD).unwrap())
        .await
        .unwrap();
    match far.recv_exact(FrameKind::Data, 1 << 20).await.unwrap_err() {
        StreamError::Aborted { abort: found } => assert_eq!(found, abort),
        other => panic!("{other:?}"),
    }
    far.send(FrameKind::Abort, &[0xff; 20]).await.unwrap();
    let error = near.recv_exact(FrameKind::Data, 4).await.unwrap_err();
    assert!(
        matches!(
            error,
            StreamError::Malformed {
                kind: FrameKind::Abort,
                ..
            }
        ),
        "{error:?}"
    );
}

/// A libp2p peer that writes whatever bytes it likes on our protocols.
struct Rogue {
    control: libp2p_stream::Control,
    server: PeerId,
}

impl Rogue {
    async fn connect(server: &Node) -> Self {
        let mut swarm = libp2p::SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(
                libp2p::tcp::Config::default(),
                libp2p::noise::Config::new,
                libp2p::yamux::Config::default,
            )
            .unwrap()
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(SOON))
            .build();
        let control = swarm.behaviour().new_control();
        swarm.dial(server.listen_addrs()[0].clone()).unwrap();
        loop {
            match swarm.select_next_some().await {
                libp2p::swarm::SwarmEvent::ConnectionEstablished { .. } => break,
                libp2p::swarm::SwarmEvent::OutgoingConnectionError { error, .. } => {
                    panic!("{error}")
                }
                _ => {}
            }
        }
        tokio::spawn(async move {
            loop {
                swarm.next().await;
            }
        });
        Self {
            control,
            server: server.peer_id(),
        }
    }

    async fn open(&mut self, protocol: libp2p::StreamProtocol) -> libp2p::Stream {
        self.control
            .open_stream(self.server, protocol)
            .await
            .unwrap()
    }

    /// Sends raw bytes as a question, and returns the raw bytes that come back.
    async fn ask(&mut self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = self.open(CONTROL_PROTOCOL).await;
        stream.write_all(bytes).await?;
        stream.close().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_answered_in_words_and_the_node_lives_on() {
    let (server, _serving) = counting(Transport::Tcp, "server").await;
    let mut rogue = Rogue::connect(&server).await;

    let answer = rogue.ask(b"\x04\0\0\0\xff\xff\xff\xff").await.unwrap();
    let answer: ControlResponse = decode(&answer[4..], Limit::CONTROL).unwrap();
    assert!(
        matches!(&answer, ControlResponse::Refused(Refusal::Malformed(_))),
        "{answer:?}"
    );
    // A length beyond the limit, a message that ends early, and nothing at all: no answer.
    for bytes in [b"\xff\xff\xff\xffxx".as_slice(), b"\x09\0\0\0abc", b""] {
        assert_eq!(rogue.ask(bytes).await.unwrap_or_default(), b"");
    }
    let info = [
        &[1, 0, 0, 0][..],
        &encode(&ControlRequest::Info, Limit::CONTROL).unwrap(),
    ]
    .concat();
    let answer = rogue.ask(&info).await.unwrap();
    assert_eq!(count(decode(&answer[4..], Limit::CONTROL).unwrap()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_headers_that_lie_are_refused() {
    let (server, mut incoming) = listening(Transport::Tcp, config("server")).await;
    let mut rogue = Rogue::connect(&server).await;
    let mut lie = async |bytes: &[u8]| {
        let mut stream = rogue.open(BULK_PROTOCOL).await;
        let mut verdict = [0];
        stream.read_exact(&mut verdict).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
        let (_, far) = incoming.streams.recv().await.unwrap();
        (stream, far)
    };
    let (_near, mut far) = lie(b"\xff\xff\xff\xff\x03").await;
    let error = far.recv_bounded(FrameKind::Data, 1000).await.unwrap_err();
    assert!(
        matches!(
            &error,
            StreamError::Frame(FrameError::TooLong {
                claimed: 0xffff_ffff,
                ..
            })
        ),
        "{error:?}"
    );
    let (_near, mut far) = lie(b"\x01\0\0\0\x00x").await;
    let error = far.recv_bounded(FrameKind::Data, 1000).await.unwrap_err();
    assert!(
        matches!(
            &error,
            StreamError::Frame(FrameError::UnknownKind { kind: 0 })
        ),
        "{error:?}"
    );
    let (near, mut far) = lie(b"\x0a\0\0\0\x03abc").await;
    drop(near);
    let error = far.recv_exact(FrameKind::Data, 10).await.unwrap_err();
    assert!(
        matches!(&error, StreamError::Closed | StreamError::Io(_)),
        "{error:?}"
    );
}

async fn silence_ends_at_the_deadline(transport: Transport) {
    let (server, _serving) = counting(transport, "server").await;
    let (client, _) = Node::start(config("client")).await.unwrap();
    let deadline = Duration::from_millis(300);
    let question = ControlRequest::Job(JobId([0; 16]));
    let error = client
        .request(server.peer_id(), &transport.at(&server), question, deadline)
        .await
        .unwrap_err();
    assert!(matches!(error, RequestError::Deadline { .. }), "{error:?}");

    let (_server, mut far, _client, mut near, _) =
        pair(transport, config("server 2"), config("client 2")).await;
    near.set_deadline(Instant::now() + deadline);
    let error = near.recv_exact(FrameKind::Data, 4).await.unwrap_err();
    assert!(
        matches!(
            error,
            StreamError::Deadline {
                doing: "receiving",
                ..
            }
        ),
        "{error:?}"
    );
    // Nobody reads at the far end, so that sending comes to a halt as well.
    far.set_deadline(Instant::now() + deadline);
    let error = far
        .send(FrameKind::Data, &vec![0; 64 << 20])
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            StreamError::Deadline {
                doing: "sending",
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_fail_are_named() {
    let (server, _incoming) = listening(Transport::Tcp, config("server")).await;
    let (client, _) = Node::start(config("client")).await.unwrap();
    let somebody = Identity::derive(b"node tests", "somebody").peer_id();

    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", free.local_addr().unwrap().port())
        .parse()
        .unwrap();
    drop(free);
    let memory: Multiaddr = "/memory/7".parse().unwrap();
    let error = client
        .open(somebody, &[closed.clone(), memory.clone()], SOON)
        .await
        .unwrap_err();
    let OpenError::Connect(ConnectError::Unreachable { peer, failures }) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*peer, somebody);
    let why = |address: &Multiaddr| {
        let named =
            |failed: &&AddressFailure| failed.address.to_string().starts_with(&address.to_string());
        failures
            .iter()
            .find(named)
            .map(|failed| failed.why.as_str())
    };
    assert!(
        why(&closed).is_some_and(|why| why.contains("refused")),
        "{failures:?}"
    );
    assert_eq!(why(&memory), Some("no transport for this address"));

    let error = client
        .open(somebody, &server.listen_addrs(), SOON)
        .await
        .unwrap_err();
    let OpenError::Connect(ConnectError::WrongPeer { found, .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(found, server.peer_id());

    let error = client
        .request(somebody, &[], ControlRequest::Info, SOON)
        .await
        .unwrap_err();
    assert!(
        matches!(error, RequestError::Connect(ConnectError::NoAddress { .. })),
        "{error:?}"
    );
    let error = client.open(client.peer_id(), &[], SOON).await.unwrap_err();
    assert!(
        matches!(error, OpenError::Connect(ConnectError::ToSelf { .. })),
        "{error:?}"
    );
}

async fn what_exceeds_the_limits_is_refused_in_words(transport: Transport) {
    let mut limited = config("server");
    limited.limits.inbound_requests_per_peer = 1;
    limited.limits.inbound_streams_per_peer = 1;
    let (server, far, client, near, mut incoming) =
        pair(transport, limited, config("client")).await;

    let error = client.open(server.peer_id(), &[], SOON).await.unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Refused {
                refusal: StreamRefusal::Busy,
                ..
            }
        ),
        "{error:?}"
    );
    // The place is free again when the taker drops the stream.
    drop((near, far));
    let _again = client.open(server.peer_id(), &[], SOON).await.unwrap();

    let asking = tokio::spawn({
        let (client, server) = (client.clone(), server.peer_id());
        async move {
            client
                .request(server, &[], ControlRequest::Info, SOON)
                .await
        }
    });
    let first = incoming.requests.recv().await.unwrap();
    assert_eq!(first.peer, client.peer_id());
    let answer = client
        .request(server.peer_id(), &[], ControlRequest::Info, SOON)
        .await
        .unwrap();
    assert!(
        matches!(answer, ControlResponse::Refused(Refusal::Busy { .. })),
        "{answer:?}"
    );
    first.reply.send(ControlResponse::HeartbeatOk).unwrap();
    assert_eq!(asking.await.unwrap().unwrap(), ControlResponse::HeartbeatOk);
}

async fn a_node_that_serves_nothing_says_so(transport: Transport) {
    let (server, incoming) = listening(transport, config("server")).await;
    let (client, _) = Node::start(config("client")).await.unwrap();
    drop(incoming);
    let error = client
        .open(server.peer_id(), &transport.at(&server), SOON)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Refused {
                refusal: StreamRefusal::NotServing,
                ..
            }
        ),
        "{error:?}"
    );
    let answer = client
        .request(server.peer_id(), &[], ControlRequest::Info, SOON)
        .await
        .unwrap();
    assert!(
        matches!(answer, ControlResponse::Refused(Refusal::Internal(_))),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_question_is_answered() {
    let (server, mut incoming) = listening(Transport::Tcp, config("server")).await;
    let (client, _) = Node::start(config("client")).await.unwrap();
    let dropping = tokio::spawn(async move { drop(incoming.requests.recv().await) });
    let answer = client
        .request(
            server.peer_id(),
            &server.listen_addrs(),
            ControlRequest::Info,
            SOON,
        )
        .await
        .unwrap();
    assert!(
        matches!(answer, ControlResponse::Refused(Refusal::Internal(_))),
        "{answer:?}"
    );
    dropping.await.unwrap();
}

async fn many_streams_at_once_are_all_taken(transport: Transport) {
    let (server, mut incoming) = listening(transport, config("server")).await;
    let addrs = transport.at(&server);
    let mut opening = tokio::task::JoinSet::new();
    let mut clients = Vec::new();
    for n in 0..4 {
        let (client, _) = Node::start(config(&format!("client {n}"))).await.unwrap();
        for _ in 0..4 {
            let (client, server, addrs) = (client.clone(), server.peer_id(), addrs.clone());
            opening.spawn(async move { client.open(server, &addrs, SOON).await });
        }
        clients.push(client);
    }
    let mut taken = Vec::new();
    while let Some(opened) = opening.join_next().await {
        let near = opened.unwrap().unwrap();
        taken.push((near, incoming.streams.recv().await.unwrap()));
    }
    assert_eq!(taken.len(), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_breaks_streams_of_libp2p_and_refuses_further_use() {
    shutdown_breaks_streams(Transport::Tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_breaks_direct_streams_and_refuses_further_use() {
    shutdown_breaks_streams(Transport::Direct).await;
}

async fn shutdown_breaks_streams(transport: Transport) {
    let (server, mut far, client, mut near, _incoming) =
        pair(transport, config("server"), config("client")).await;
    let handle = server.clone();
    server.shutdown().await;
    let error = near.recv_exact(FrameKind::Data, 4).await.unwrap_err();
    assert!(
        matches!(error, StreamError::Closed | StreamError::Io(_)),
        "{error:?}"
    );
    assert!(far.recv_exact(FrameKind::Data, 4).await.is_err());
    let error = handle.open(client.peer_id(), &[], SOON).await.unwrap_err();
    assert!(
        matches!(error, OpenError::Connect(ConnectError::NodeStopped)),
        "{error:?}"
    );
}

async fn a_capture_holds_everything_that_the_process_saw(transport: Transport) {
    let dir = tempfile::tempdir().unwrap();
    let mut captured = config("server");
    captured.capture = Some(dir.path().join("capture"));
    let (server, mut far, client, mut near, mut incoming) =
        pair(transport, captured, config("client")).await;
    near.send(FrameKind::Data, b"to the server").await.unwrap();
    far.recv_exact(FrameKind::Data, 13).await.unwrap();
    far.send(FrameKind::Data, b"from the server").await.unwrap();
    near.recv_exact(FrameKind::Data, 15).await.unwrap();
    let question = Cast::new().requests().remove(0);
    let asking = client.request(server.peer_id(), &[], question.clone(), SOON);
    let answering = async {
        let asked = incoming.requests.recv().await.unwrap();
        asked
            .reply
            .send(ControlResponse::Refused(Refusal::internal(
                "captured words",
            )))
            .unwrap();
    };
    let (answer, ()) = tokio::join!(asking, answering);
    answer.unwrap();

    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir.path().join("capture")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(
            name.starts_with(&client.peer_id().to_string()) && name.ends_with(".bin"),
            "{name}"
        );
        all.push(std::fs::read(entry.path()).unwrap());
    }
    assert_eq!(
        all.len(),
        2,
        "one file for the stream, one for control messages"
    );
    let question = encode(&question, Limit::CONTROL).unwrap();
    for needle in [
        b"\x0d\0\0\0\x03to the server".as_slice(),
        b"from the server",
        b"captured words",
        &question,
    ] {
        let found = all
            .iter()
            .any(|file| file.windows(needle.len()).any(|at| at == needle));
        assert!(found, "{needle:?} is not in the capture");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_an_error() {
    let (server, _incoming) = listening(Transport::Tcp, config("server")).await;
    let mut second = config("second");
    second.listen = server.listen_addrs();
    let error = Node::start(second).await.map(|_| ()).unwrap_err();
    let NodeError::Listen { address, .. } = error else {
        panic!("{error:?}")
    };
    assert!(server.listen_addrs().contains(&address), "{address}");

    let mut bad = config("third");
    bad.bootstrap = server.listen_addrs();
    let error = Node::start(bad).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, NodeError::Bootstrap { .. }), "{error:?}");
}

/// The client knows only the bootstrap node; Kademlia and identify tell it where the worker is.
#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_peer_can_be_reached_without_an_address() {
    let (server, _serving) = counting(Transport::Tcp, "server").await;
    let mut knowing = config("client");
    knowing.bootstrap = vec![
        server.listen_addrs()[0]
            .clone()
            .with(libp2p::multiaddr::Protocol::P2p(server.peer_id())),
    ];
    let (client, _) = Node::start(knowing).await.unwrap();
    let answer = client
        .request(server.peer_id(), &[], ControlRequest::Info, SOON)
        .await
        .unwrap();
    assert_eq!(count(answer), 1);
}
