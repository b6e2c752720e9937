//! What encryption and authentication cost: streams and sessions beside a bare socket.
//!
//! Both ends are in this process, on loopback, on one runtime. The same frames of the same bytes go over:
//!
//! - `plain`: tokio TCP, nothing else; the floor. Header and payload in one vectored write, kept buffers.
//! - `direct`: a bulk stream on a direct connection (TLS 1.3).
//! - `session`: the same under `SessionLinks` and `drive`, which is what a round of a session goes through.
//! - `tcp`, `quic`: a bulk stream through libp2p (noise and yamux; QUIC).
//!
//! Two questions:
//!
//! - `round trip`: a frame there and a frame of the same size back. This is one round of the protocol.
//! - `one way`: a burst of 1 MiB frames, then a one-byte answer. This is how preprocessing is sent.
//!
//! Samples of all transports take turns, so that what else the machine does hits all of them. The table divides
//! the fastest sample, and the median, by that of `plain`; `aes` is how long sealing and opening the
//! same bytes takes by itself, on one core.
//!
//! Arguments choose transports and scripts by name: `-- direct "one way"`. `plain` is always there.

#![allow(missing_docs, clippy::unwrap_used)]

use std::future::Future;
use std::hint::black_box;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use ai_link_mpc::buffers::{give_bytes, take_bytes};
use ai_link_mpc::{Expected, Machine, MpcError, Party, Stats, Transmit, Work, drive};
use ai_link_session::links::SessionLinks;
use ai_link_wire::node::{BulkReader, BulkWriter};
use ai_link_wire::{BulkStream, FrameKind, Identity, Incoming, Multiaddr, Node, NodeConfig};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const ROUND_TRIPS: [usize; 4] = [64, 4 * KIB, 64 * KIB, MIB];
const BURST: usize = 8;
const DEADLINE: Duration = Duration::from_secs(60);
/// Of a frame of a bulk stream: length and kind. The plain transport sends as much.
const HEADER: usize = 5;
/// How long a sample takes on the plain transport.
const SAMPLE: Duration = Duration::from_millis(40);
const SAMPLES: usize = 25;

/// What the near end asks of the far end, over and over.
#[derive(Clone, Copy)]
enum Script {
    RoundTrip(usize),
    OneWay,
}

impl Script {
    const ALL: [Self; 5] = [
        Self::RoundTrip(ROUND_TRIPS[0]),
        Self::RoundTrip(ROUND_TRIPS[1]),
        Self::RoundTrip(ROUND_TRIPS[2]),
        Self::RoundTrip(ROUND_TRIPS[3]),
        Self::OneWay,
    ];

    fn bytes(self) -> usize {
        match self {
            Self::RoundTrip(bytes) => 2 * bytes,
            Self::OneWay => BURST * MIB,
        }
    }

    fn label(self) -> String {
        match self {
            Self::RoundTrip(bytes) if bytes < KIB => format!("round trip of {bytes} B"),
            Self::RoundTrip(bytes) => format!("round trip of {} KiB", bytes / KIB),
            Self::OneWay => format!("one way {BURST} x 1 MiB"),
        }
    }
}

/// Both ends of a connection.
trait Bench {
    fn take(&mut self, runtime: &Runtime, script: Script, turns: u64) -> Duration;
}

/// One end of a conversation in frames of agreed sizes.
trait Link: Send + 'static {
    fn send(&mut self, payload: &[u8]) -> impl Future<Output = ()> + Send;
    fn recv(&mut self, bytes: usize) -> impl Future<Output = ()> + Send;
}

/// A bulk stream, with a buffer for what comes in.
struct Bulk {
    reader: BulkReader,
    writer: BulkWriter,
    incoming: Vec<u8>,
}

impl From<BulkStream> for Bulk {
    fn from(stream: BulkStream) -> Self {
        let (reader, writer) = stream.split();
        Self {
            reader,
            writer,
            incoming: Vec::new(),
        }
    }
}

impl Link for Bulk {
    async fn send(&mut self, payload: &[u8]) {
        let sent = self.writer.send(FrameKind::Data, payload);
        sent.await.unwrap();
    }

    async fn recv(&mut self, bytes: usize) {
        let (kind, room) = (FrameKind::Data, std::mem::take(&mut self.incoming));
        let received = self.reader.recv_exact_into(kind, bytes, room);
        self.incoming = black_box(received.await.unwrap());
    }
}

/// A socket, with a buffer for what comes in.
struct Plain {
    socket: TcpStream,
    incoming: Vec<u8>,
}

impl Plain {
    fn new(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        Self {
            socket,
            incoming: Vec::new(),
        }
    }
}

impl Link for Plain {
    async fn send(&mut self, payload: &[u8]) {
        let mut header = [FrameKind::Data as u8; HEADER];
        header[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        let parts = [IoSlice::new(&header), IoSlice::new(payload)];
        let sent = self.socket.write_vectored(&parts).await.unwrap();
        assert!(sent >= HEADER, "five bytes fit");
        let rest = &payload[sent - HEADER..];
        self.socket.write_all(rest).await.unwrap();
    }

    async fn recv(&mut self, bytes: usize) {
        self.incoming.resize(HEADER + bytes, 0);
        self.socket.read_exact(&mut self.incoming).await.unwrap();
        black_box(&self.incoming);
    }
}

/// Two ends, each a link.
struct Pair<L>(Option<(L, L)>);

impl Pair<Bulk> {
    fn bulk((near, far): (BulkStream, BulkStream)) -> Self {
        Self(Some((near.into(), far.into())))
    }
}

impl<L: Link> Bench for Pair<L> {
    fn take(&mut self, runtime: &Runtime, script: Script, turns: u64) -> Duration {
        let (mut near, mut far) = self.0.take().unwrap();
        let (took, near, far) = runtime.block_on(async move {
            let far = tokio::spawn(async move {
                serve(&mut far, script, turns).await;
                far
            });
            // On a worker thread like the other end.
            let near = tokio::spawn(async move {
                let took = ask(&mut near, script, turns).await;
                (took, near)
            });
            let (took, near) = near.await.unwrap();
            (took, near, far.await.unwrap())
        });
        self.0 = Some((near, far));
        took
    }
}

async fn serve(link: &mut impl Link, script: Script, turns: u64) {
    let frame = vec![7; MIB];
    for _ in 0..turns {
        match script {
            Script::RoundTrip(bytes) => {
                link.recv(bytes).await;
                link.send(&frame[..bytes]).await;
            }
            Script::OneWay => {
                for _ in 0..BURST {
                    link.recv(MIB).await;
                }
                link.send(&[1]).await;
            }
        }
    }
}

async fn ask(link: &mut impl Link, script: Script, turns: u64) -> Duration {
    let frame = vec![7; MIB];
    let start = Instant::now();
    for _ in 0..turns {
        match script {
            Script::RoundTrip(bytes) => {
                link.send(&frame[..bytes]).await;
                link.recv(bytes).await;
            }
            Script::OneWay => {
                for _ in 0..BURST {
                    link.send(&frame).await;
                }
                link.recv(1).await;
            }
        }
    }
    start.elapsed()
}

/// Two evaluators that do nothing but send each other messages, in turns.
struct Talker {
    me: Party,
    peer: Party,
    script: Script,
    turns: u64,
    /// Messages of this turn that came.
    came: usize,
    outbox: Vec<Vec<u8>>,
    stats: Stats,
}

impl Talker {
    fn new(me: Party, peer: Party, script: Script, turns: u64) -> Self {
        let mut talker = Self {
            me,
            peer,
            script,
            turns,
            came: 0,
            outbox: Vec::new(),
            stats: Stats::default(),
        };
        if talker.asks() {
            talker.ask(None);
        }
        talker
    }

    fn asks(&self) -> bool {
        self.me == Party::EVALUATOR_0
    }

    fn ask(&mut self, spare: Option<Vec<u8>>) {
        match self.script {
            Script::RoundTrip(bytes) => self.outbox.push(spare.unwrap_or_else(|| vec![7; bytes])),
            Script::OneWay => self.outbox.extend((0..BURST).map(|_| take_bytes(MIB))),
        }
    }
}

impl Machine for Talker {
    fn party(&self) -> Party {
        self.me
    }

    fn next_expected(&self) -> Option<Expected> {
        let bytes = match (self.script, self.asks()) {
            (Script::RoundTrip(bytes), _) => bytes,
            (Script::OneWay, true) => 1,
            (Script::OneWay, false) => MIB,
        };
        let from = self.peer;
        (self.turns > 0).then_some(Expected { from, bytes })
    }

    fn handle(&mut self, _from: Party, payload: Vec<u8>) -> Result<(), MpcError> {
        self.came += 1;
        let all = match (self.script, self.asks()) {
            (Script::OneWay, false) => BURST,
            _ => 1,
        };
        if self.came < all {
            give_bytes(payload);
            return Ok(());
        }
        (self.came, self.turns) = (0, self.turns - 1);
        match (self.asks(), self.script) {
            (true, _) if self.turns > 0 => self.ask(Some(payload)),
            (true, _) => {}
            (false, Script::RoundTrip(_)) => self.outbox.push(payload),
            (false, Script::OneWay) => {
                give_bytes(payload);
                self.outbox.push(vec![1]);
            }
        }
        Ok(())
    }

    fn work_to_handle(&self) -> Work {
        Work::Light
    }

    fn work_to_transmit(&self) -> Work {
        Work::Light
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        let (to, payload) = (self.peer, self.outbox.pop()?);
        Some(Transmit { to, payload })
    }

    fn is_finished(&self) -> bool {
        self.turns == 0 && self.outbox.is_empty()
    }

    fn stats(&self) -> &Stats {
        &self.stats
    }
}

/// The streams of two evaluators.
struct Session(Option<(SessionLinks, SessionLinks)>);

impl Bench for Session {
    fn take(&mut self, runtime: &Runtime, script: Script, turns: u64) -> Duration {
        let (near, far) = self.0.take().unwrap();
        let (zero, one) = (Party::EVALUATOR_0, Party::EVALUATOR_1);
        let run = |me, peer, mut links: SessionLinks| {
            runtime.spawn(async move {
                let talker = Talker::new(me, peer, script, turns);
                let start = Instant::now();
                drive(talker, &mut links, start + DEADLINE).await.unwrap();
                (start.elapsed(), links)
            })
        };
        let (far, near) = (run(one, zero, far), run(zero, one, near));
        let (took, near) = runtime.block_on(near).unwrap();
        let (_, far) = runtime.block_on(far).unwrap();
        self.0 = Some((near, far));
        took
    }
}

/// Sealing and opening the same bytes in records of TLS, and nothing else.
struct Aes(LessSafeKey);

impl Aes {
    fn new() -> Self {
        Self(LessSafeKey::new(
            UnboundKey::new(&AES_128_GCM, &[7; 16]).unwrap(),
        ))
    }

    fn pass(&self, record: &mut Vec<u8>, bytes: usize) {
        record.resize(bytes, 7);
        // The nonce is the same each time: nothing is hidden here.
        let nonce = || Nonce::assume_unique_for_key([0; 12]);
        self.0
            .seal_in_place_append_tag(nonce(), Aad::empty(), record)
            .unwrap();
        black_box(self.0.open_in_place(nonce(), Aad::empty(), record).unwrap());
    }
}

impl Bench for Aes {
    fn take(&mut self, _runtime: &Runtime, script: Script, turns: u64) -> Duration {
        let frames = match script {
            Script::RoundTrip(bytes) => vec![bytes; 2],
            Script::OneWay => vec![MIB; BURST],
        };
        let mut record = Vec::new();
        let start = Instant::now();
        for _ in 0..turns {
            for frame in &frames {
                for from in (0..*frame).step_by(16 * KIB) {
                    self.pass(&mut record, (frame - from).min(16 * KIB));
                }
            }
        }
        start.elapsed()
    }
}

/// A node that takes streams, and everything that is opened to it.
struct Bed {
    runtime: Runtime,
    server: Node,
    incoming: Incoming,
    listener: TcpListener,
}

impl Bed {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let (server, incoming) = runtime
            .block_on(Node::start(NodeConfig::loopback(Identity::generate())))
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        Self {
            runtime,
            server,
            incoming,
            listener,
        }
    }

    fn plain(&self) -> Pair<Plain> {
        let (near, far) = self.runtime.block_on(async {
            let address = self.listener.local_addr().unwrap();
            tokio::join!(TcpStream::connect(address), self.listener.accept())
        });
        Pair(Some((
            Plain::new(near.unwrap()),
            Plain::new(far.unwrap().0),
        )))
    }

    /// A stream to the addresses that `kind` accepts.
    fn stream(&mut self, client: &Node, kind: impl Fn(&str) -> bool) -> (BulkStream, BulkStream) {
        let of_kind = |address: &Multiaddr| kind(&address.to_string());
        let mut addresses = self.server.listen_addrs();
        addresses.retain(of_kind);
        assert!(!addresses.is_empty());
        self.runtime.block_on(async {
            let opening = client.open(self.server.peer_id(), &addresses, DEADLINE);
            let (near, far) = tokio::join!(opening, self.incoming.streams.recv());
            (near.unwrap(), far.unwrap().1)
        })
    }
}

fn main() {
    // `cargo test --benches` only asks whether it runs.
    let (samples, sample) = match std::env::args().any(|arg| arg == "--test") {
        true => (1, Duration::ZERO),
        false => (SAMPLES, SAMPLE),
    };
    let mut bed = Bed::new();
    let client = |bed: &Bed| {
        let config = NodeConfig::client(Identity::generate());
        bed.runtime.block_on(Node::start(config)).unwrap().0
    };
    // Nodes of their own, so that each has one connection of its kind.
    let clients = [(); 4].map(|()| client(&bed));
    let is_direct = |address: &str| address.ends_with("/tls");
    let is_quic = |address: &str| address.contains("/quic");
    let is_tcp = |address: &str| !is_direct(address) && !is_quic(address);
    let near_key = clients[1].peer_key();
    let (near, far) = bed.stream(&clients[1], is_direct);
    let runtime = bed.runtime.handle().clone();
    let session = {
        let _inside = runtime.enter();
        let far_key = bed.server.peer_key();
        let near = SessionLinks::new([(Party::EVALUATOR_1, far_key, near)]);
        let far = SessionLinks::new([(Party::EVALUATOR_0, near_key, far)]);
        Session(Some((near, far)))
    };
    let mut benches: Vec<(&str, Box<dyn Bench>)> = vec![
        ("plain", Box::new(bed.plain())),
        (
            "direct",
            Box::new(Pair::bulk(bed.stream(&clients[0], is_direct))),
        ),
        ("session", Box::new(session)),
        ("tcp", Box::new(Pair::bulk(bed.stream(&clients[2], is_tcp)))),
        (
            "quic",
            Box::new(Pair::bulk(bed.stream(&clients[3], is_quic))),
        ),
        ("aes", Box::new(Aes::new())),
    ];
    let chosen = |name: &str, of: &[String]| {
        let named = |arg: &&String| !arg.starts_with('-') && of.iter().any(|n| n.contains(&**arg));
        let args: Vec<_> = std::env::args().skip(1).collect();
        let mut named = args.iter().filter(named).peekable();
        named.peek().is_none() || named.any(|arg| name.contains(&**arg))
    };
    let names: Vec<_> = benches.iter().map(|(name, _)| (*name).to_owned()).collect();
    benches.retain(|(name, _)| *name == "plain" || chosen(name, &names));
    let labels = Script::ALL.map(Script::label);
    println!(
        "{:<22} {:>8} {:>12} {:>12} {:>9} {:>8} {:>8}",
        "transport", "", "fastest", "median", "MB/s", "x plain", "median"
    );
    for script in Script::ALL {
        if !chosen(&script.label(), &labels) {
            continue;
        }
        let turns = turns(&bed.runtime, &mut *benches[0].1, script, sample);
        let mut seconds = vec![Vec::new(); benches.len()];
        for _ in 0..samples {
            for ((_, bench), seconds) in benches.iter_mut().zip(&mut seconds) {
                let took = bench.take(&bed.runtime, script, turns);
                seconds.push(took.as_secs_f64() / turns as f64);
            }
        }
        print(script, &benches, seconds);
    }
}

/// Turns that take about `sample` on `plain`, after some to warm up.
fn turns(runtime: &Runtime, plain: &mut dyn Bench, script: Script, sample: Duration) -> u64 {
    let warm = plain.take(runtime, script, 20) / 20;
    let turns = sample.as_secs_f64() / warm.as_secs_f64().max(1e-9);
    (turns as u64).clamp(1, 100_000)
}

fn print(script: Script, benches: &[(&str, Box<dyn Bench>)], mut seconds: Vec<Vec<f64>>) {
    let spread = |samples: &mut Vec<f64>| {
        samples.sort_by(f64::total_cmp);
        (samples[0], samples[samples.len() / 2])
    };
    let plain = spread(&mut seconds[0]);
    for ((name, _), samples) in benches.iter().zip(&mut seconds) {
        let (fastest, median) = spread(samples);
        println!(
            "{:<22} {name:>8} {:>9.1} us {:>9.1} us {:>9.1} {:>8.2} {:>8.2}",
            script.label(),
            fastest * 1e6,
            median * 1e6,
            script.bytes() as f64 / fastest / 1e6,
            fastest / plain.0,
            median / plain.1,
        );
    }
}
