//! Direct connections: who is at the other end, what strangers can do, and how connections are used again.
//! What they have in common with libp2p's streams is tested in `node`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use ai_link_wire::node::{Carrier, ConnectError, StreamError};
use ai_link_wire::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const SOON: Duration = Duration::from_secs(20);

fn config(name: &str) -> NodeConfig {
    NodeConfig::client(Identity::derive(b"direct tests", name))
}

async fn serving(mut config: NodeConfig) -> (Node, Incoming) {
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    Node::start(config).await.unwrap()
}

async fn client(name: &str) -> Node {
    Node::start(config(name)).await.unwrap().0
}

/// The one direct address of a node.
fn direct(node: &Node) -> Multiaddr {
    let mut addresses = node.listen_addrs();
    addresses.retain(|address| address.to_string().ends_with("/tls"));
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    addresses.remove(0)
}

fn port(address: &Multiaddr) -> u16 {
    address
        .to_string()
        .split('/')
        .nth(4)
        .unwrap()
        .parse()
        .unwrap()
}

fn raw(address: &Multiaddr) -> (&'static str, u16) {
    ("127.0.0.1", port(address))
}

/// Between a client and the direct port of a server: counts connections, and spoils them.
struct Between {
    address: Multiaddr,
    made: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    /// What bytes on their way to the server are mixed with.
    noise: Arc<AtomicU8>,
    cut: watch::Sender<u32>,
    hold: watch::Sender<bool>,
}

impl Between {
    async fn new(server: &Node) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let address = format!("/ip4/127.0.0.1/tcp/{}/tls", at.port());
        let to = port(&direct(server));
        let between = Self {
            address: address.parse().unwrap(),
            made: Arc::default(),
            ended: Arc::default(),
            noise: Arc::default(),
            cut: watch::Sender::new(0),
            hold: watch::Sender::new(false),
        };
        let (made, noise) = (between.made.clone(), between.noise.clone());
        let ended = between.ended.clone();
        let (cut, hold) = (between.cut.subscribe(), between.hold.subscribe());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                made.fetch_add(1, Ordering::SeqCst);
                let far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let (mut cut, hold, noise) = (cut.clone(), hold.clone(), noise.clone());
                let ended = ended.clone();
                cut.borrow_and_update();
                let (near, far) = (near.into_split(), far.into_split());
                let passing = async move {
                    tokio::join!(
                        pass(near.0, far.1, hold.clone(), noise),
                        pass(far.0, near.1, hold, Arc::default()),
                    )
                };
                tokio::spawn(async move {
                    tokio::select! {
                        _ = passing => {}
                        _ = cut.changed() => {}
                    }
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        between
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// Breaks the connections that there are.
    async fn cut(&self) {
        self.cut.send_modify(|times| *times += 1);
        while self.ended.load(Ordering::SeqCst) < self.made() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut hold: watch::Receiver<bool>,
    noise: Arc<AtomicU8>,
) {
    // Those made while others are held are not held.
    let held = *hold.borrow_and_update();
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if !held && *hold.borrow() {
            std::future::pending::<()>().await;
        }
        bytes[count - 1] ^= noise.load(Ordering::SeqCst);
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// A short conversation that both sides end in order.
async fn converse(near: &mut BulkStream, far: &mut BulkStream, text: &[u8]) {
    near.send(FrameKind::Data, text).await.unwrap();
    let heard = far.recv_bounded(FrameKind::Data, 1000).await.unwrap();
    assert_eq!(heard, text);
    far.send(FrameKind::Data, b"yes").await.unwrap();
    assert_eq!(near.recv_exact(FrameKind::Data, 3).await.unwrap(), b"yes");
}

/// A server, a client, and what is between.
struct Bed {
    server: Node,
    incoming: Incoming,
    client: Node,
    between: Between,
}

impl Bed {
    async fn new(server: NodeConfig, client: NodeConfig) -> Self {
        let (server, incoming) = serving(server).await;
        let (client, _) = Node::start(client).await.unwrap();
        let between = Between::new(&server).await;
        Self {
            server,
            incoming,
            client,
            between,
        }
    }

    async fn open(&mut self) -> (BulkStream, BulkStream) {
        let addresses = [self.between.address.clone()];
        let near = self.client.open(self.server.peer_id(), &addresses, SOON);
        let near = near.await.unwrap();
        let (from, far) = self.incoming.streams.recv().await.unwrap();
        assert_eq!(
            (near.carrier(), far.carrier()),
            (Carrier::Direct, Carrier::Direct)
        );
        assert_eq!(
            (from, near.peer()),
            (self.client.peer_id(), self.server.peer_id())
        );
        (near, far)
    }

    /// Opens, converses and ends in order on both sides.
    async fn session(&mut self, text: &[u8]) {
        let (mut near, mut far) = self.open().await;
        converse(&mut near, &mut far, text).await;
        near.close().await.unwrap();
        far.close().await.unwrap();
        // Whoever reads to the end knows that the connection is free.
        let end = near.recv_bounded(FrameKind::Data, 10).await.unwrap_err();
        assert!(matches!(end, StreamError::Closed), "{end:?}");
        drop((near, far));
        // Each side keeps its end in a task of its own.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_wanted_peer_is_talked_to() {
    let (server, mut incoming) = serving(config("server")).await;
    let client = client("client").await;
    let somebody = Identity::derive(b"direct tests", "somebody").peer_id();
    let error = client
        .open(somebody, &[direct(&server)], SOON)
        .await
        .unwrap_err();
    let OpenError::Connect(ConnectError::WrongPeer {
        peer,
        found,
        address,
    }) = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(
        (peer, found, address),
        (somebody, server.peer_id(), direct(&server))
    );
    assert!(
        incoming.streams.try_recv().is_err(),
        "the server was given no stream"
    );

    let nowhere: Multiaddr = "/ip4/127.0.0.1/tcp/1/tls".parse().unwrap();
    let error = client
        .open(server.peer_id(), std::slice::from_ref(&nowhere), SOON)
        .await;
    let OpenError::Connect(ConnectError::Unreachable { failures, .. }) = error.unwrap_err() else {
        panic!("an address where nobody is")
    };
    assert_eq!(failures[0].address, nowhere);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port_is_hung_up_on() {
    let (server, mut incoming) = serving(config("server")).await;
    let address = direct(&server);
    let hello_of_tls_1_0 = [22, 3, 1, 0, 5, 1, 0, 0, 1, 0];
    for garbage in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        &[0; 1000],
        &[0xff; 70_000],
        &hello_of_tls_1_0,
        b"\x13/multistream/1.0.0\n",
    ] {
        let mut socket = TcpStream::connect(raw(&address)).await.unwrap();
        // The far end may have hung up before all was written.
        let _ = socket.write_all(garbage).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        // An alert at most.
        assert!(answer.len() < 20, "{answer:?}");
    }
    let near = client("client")
        .await
        .open(server.peer_id(), &[address], SOON)
        .await
        .unwrap();
    assert_eq!(near.carrier(), Carrier::Direct);
    assert!(incoming.streams.recv().await.is_some());
    assert!(
        incoming.streams.try_recv().is_err(),
        "one stream, and none from the garbage"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_strangers_take_no_more_than_their_places() {
    let mut limited = config("server");
    limited.limits.handshakes_per_ip = 2;
    let (server, mut incoming) = serving(limited).await;
    let address = direct(&server);
    let silent = [
        TcpStream::connect(raw(&address)).await.unwrap(),
        TcpStream::connect(raw(&address)).await.unwrap(),
    ];
    // The third is hung up on, unheard.
    let mut third = TcpStream::connect(raw(&address)).await.unwrap();
    assert!(matches!(third.read(&mut [0]).await, Ok(0) | Err(_)));
    // Who has another way takes it.
    let patient = client("patient").await;
    let near = patient
        .open(server.peer_id(), &server.listen_addrs(), SOON)
        .await
        .unwrap();
    assert_eq!(near.carrier(), Carrier::Libp2p);
    let (_, far) = incoming.streams.recv().await.unwrap();
    assert_eq!(far.carrier(), Carrier::Libp2p);
    // Places come back.
    drop(silent);
    for n in 0..100 {
        let next = client(&format!("next {n}")).await;
        let near = next
            .open(server.peer_id(), &server.listen_addrs(), SOON)
            .await
            .unwrap();
        incoming.streams.recv().await.unwrap();
        if near.carrier() == Carrier::Direct {
            return;
        }
    }
    panic!("no place for a handshake came back");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_follow_each_other_on_one_connection() {
    let mut bed = Bed::new(config("server"), config("client")).await;
    for n in 0..5_u8 {
        bed.session(&[n; 100]).await;
        assert_eq!(bed.between.made(), 1, "stream {n}");
    }
    // Two at once are two connections, and both are kept.
    for _ in 0..2 {
        let (mut a, mut b) = bed.open().await;
        let (mut c, mut d) = bed.open().await;
        converse(&mut a, &mut b, b"first").await;
        converse(&mut c, &mut d, b"second").await;
        for mut end in [a, b, c, d] {
            end.close().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(bed.between.made(), 2);
    }
}

/// Frames that nobody read before the end of a stream do not turn up in the next one.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_read_is_not_read_later() {
    let mut bed = Bed::new(config("server"), config("client")).await;
    let (mut near, mut far) = bed.open().await;
    near.send(FrameKind::Data, b"unread").await.unwrap();
    near.close().await.unwrap();
    far.close().await.unwrap();
    drop((near, far));
    bed.session(b"of the next").await;
    assert_eq!(bed.between.made(), 2);

    // Nor does the rest of a frame of which only a part was read, or whose reader gave up.
    let (mut near, mut far) = bed.open().await;
    let waiting = far.recv_exact(FrameKind::Data, 100);
    assert!(
        tokio::time::timeout(Duration::from_millis(20), waiting)
            .await
            .is_err()
    );
    near.close().await.unwrap();
    far.close().await.unwrap();
    drop((near, far));
    let made = bed.between.made();
    bed.session(b"and after that").await;
    assert_eq!(bed.between.made(), made + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_just_dropped_takes_its_connection_along() {
    let mut bed = Bed::new(config("server"), config("client")).await;
    let (mut near, mut far) = bed.open().await;
    converse(&mut near, &mut far, b"words").await;
    drop(far);
    let error = near.recv_exact(FrameKind::Data, 1).await.unwrap_err();
    assert!(matches!(error, StreamError::Io(_)), "{error:?}");
    drop(near);
    bed.session(b"other words").await;
    assert_eq!(bed.between.made(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_broke_is_replaced() {
    let mut bed = Bed::new(config("server"), config("client")).await;
    bed.session(b"first").await;
    bed.between.cut().await;
    bed.session(b"second").await;
    assert_eq!(bed.between.made(), 2);
    // One that is silent, and does not even say that it broke.
    bed.between.hold.send_replace(true);
    bed.session(b"third").await;
    assert_eq!(bed.between.made(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_for_a_time_and_in_number() {
    let mut forgetful = config("client");
    forgetful.limits.idle_stream = Duration::from_millis(1);
    let mut bed = Bed::new(config("server"), forgetful).await;
    bed.session(b"first").await;
    bed.session(b"second").await;
    assert_eq!(bed.between.made(), 2);

    let mut busy = config("server 2");
    busy.limits.idle_streams_per_peer = 0;
    let mut bed = Bed::new(busy, config("client 2")).await;
    bed.session(b"first").await;
    bed.session(b"second").await;
    assert_eq!(bed.between.made(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_on_a_kept_connection_is_heard() {
    let mut bed = Bed::new(config("server"), config("client")).await;
    bed.session(b"first").await;
    let (_, streams) = tokio::sync::mpsc::channel(1);
    drop(std::mem::replace(&mut bed.incoming.streams, streams));
    let addresses = [bed.between.address.clone()];
    let error = bed
        .client
        .open(bed.server.peer_id(), &addresses, SOON)
        .await
        .unwrap_err();
    let refused = matches!(
        error,
        OpenError::Refused {
            refusal: node::StreamRefusal::NotServing,
            ..
        }
    );
    assert!(refused, "{error:?}");
    assert_eq!(bed.between.made(), 1);
}

/// A byte that changes on its way ends the stream and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn tampering_is_noticed() {
    let mut bed = Bed::new(config("server"), config("client")).await;
    let (mut near, mut far) = bed.open().await;
    converse(&mut near, &mut far, b"untouched").await;
    bed.between.noise.store(1, Ordering::SeqCst);
    near.send(FrameKind::Data, b"touched").await.unwrap();
    let error = far.recv_bounded(FrameKind::Data, 100).await.unwrap_err();
    assert!(matches!(error, StreamError::Io(_)), "{error:?}");
    drop((near, far));
    bed.between.noise.store(0, Ordering::SeqCst);
    bed.session(b"untouched again").await;
}

/// The reason of an abort arrives although the peer was in the middle of sending much.
#[tokio::test(flavor = "multi_thread")]
async fn last_words_are_heard() {
    let mut bed = Bed::new(config("server"), config("client")).await;
    let (near, mut far) = bed.open().await;
    let (mut reader, mut writer) = near.split();
    let sending = tokio::spawn(async move {
        let much = vec![1; 8 << 20];
        while writer.send(FrameKind::Data, &much).await.is_ok() {}
    });
    far.recv_exact(FrameKind::Data, 8 << 20).await.unwrap();
    let abort = Abort::new("enough of it", None);
    let bytes = encode(&abort, Limit::RECORD).unwrap();
    far.send(FrameKind::Abort, &bytes).await.unwrap();
    far.close().await.unwrap();
    drop(far);
    match reader.recv_exact(FrameKind::Data, 1).await.unwrap_err() {
        StreamError::Aborted { abort: heard } => assert_eq!(heard, abort),
        other => panic!("{other:?}"),
    }
    drop(reader);
    sending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn direct_listeners_can_be_asked_for() {
    let mut only = config("only");
    only.listen = vec!["/ip4/127.0.0.1/tcp/0/tls".parse().unwrap()];
    let (server, mut incoming) = Node::start(only).await.unwrap();
    assert_eq!(server.listen_addrs(), [direct(&server)]);
    let client = client("client").await;
    let near = client
        .open(server.peer_id(), &[direct(&server)], SOON)
        .await
        .unwrap();
    assert_eq!(near.carrier(), Carrier::Direct);
    assert!(incoming.streams.recv().await.is_some());
    // The address is known from then on.
    assert!(client.open(server.peer_id(), &[], SOON).await.is_ok());

    // Listening everywhere is told as the addresses that libp2p found for itself.
    let mut all = config("all");
    all.listen = ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/tcp/0/tls"]
        .map(|address| address.parse().unwrap())
        .into();
    let (everywhere, _incoming) = Node::start(all).await.unwrap();
    let addresses = everywhere.listen_addrs();
    let told = |end: &str| addresses.iter().any(|a| a.to_string().ends_with(end));
    assert!(told("/tls"), "{addresses:?}");
    assert!(
        addresses.iter().all(|a| !a.to_string().contains("0.0.0.0")),
        "{addresses:?}"
    );

    for bad in ["/ip4/127.0.0.1/tcp/0/tls/ws", "/ip4/127.0.0.1/udp/0/tls"] {
        let mut config = config("bad");
        config.listen = vec![bad.parse().unwrap()];
        let error = Node::start(config).await.map(drop).unwrap_err();
        assert!(matches!(error, NodeError::Listen { .. }), "{error:?}");
    }
}
