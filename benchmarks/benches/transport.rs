//! What encryption, authentication and multiplexing cost: bulk streams of a node beside a bare socket.
//!
//! Both ends are in this process, on loopback. Three transports carry the same frames of the same bytes:
//! `plain` (tokio TCP, nothing else; the floor), `tcp` (noise and yamux) and `quic`. Two questions:
//!
//! - `round-trip`: a frame there and a frame of the same size back. This is one round of the protocol.
//! - `one-way`: a burst of 1 MiB frames, then a one-byte answer. This is how preprocessing is sent.
//!
//! The table at the end divides the fastest sample by that of `plain`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::future::Future;
use std::hint::black_box;
use std::time::{Duration, Instant};

use ai_link_wire::{BulkStream, FrameKind, Identity, Incoming, Node, NodeConfig};
use criterion::{BenchmarkId, Criterion, Throughput};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const ROUND_TRIPS: [usize; 3] = [64, 64 * KIB, MIB];
const BURST: usize = 8;
const DEADLINE: Duration = Duration::from_secs(10);
/// Of a frame of a bulk stream: length and kind. The plain transport sends as much.
const HEADER: usize = 5;

/// One end of a conversation in frames of agreed sizes.
trait Link: Send + 'static {
    fn send(&mut self, payload: &[u8]) -> impl Future<Output = ()> + Send;
    fn recv(&mut self, bytes: usize) -> impl Future<Output = ()> + Send;
}

impl Link for BulkStream {
    async fn send(&mut self, payload: &[u8]) {
        BulkStream::send(self, FrameKind::Data, payload)
            .await
            .unwrap();
    }

    async fn recv(&mut self, bytes: usize) {
        black_box(self.recv_exact(FrameKind::Data, bytes).await.unwrap());
    }
}

/// A socket, with one buffer for each direction that is kept.
struct Plain {
    socket: TcpStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Plain {
    fn new(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        Self {
            socket,
            incoming: Vec::new(),
            outgoing: Vec::new(),
        }
    }
}

impl Link for Plain {
    async fn send(&mut self, payload: &[u8]) {
        self.outgoing.clear();
        self.outgoing
            .extend_from_slice(&(payload.len() as u32).to_le_bytes());
        self.outgoing.push(FrameKind::Data as u8);
        self.outgoing.extend_from_slice(payload);
        self.socket.write_all(&self.outgoing).await.unwrap();
    }

    async fn recv(&mut self, bytes: usize) {
        self.incoming.resize(HEADER + bytes, 0);
        self.socket.read_exact(&mut self.incoming).await.unwrap();
        black_box(&self.incoming);
    }
}

/// What the far end of a link does until the link breaks.
#[derive(Clone, Copy)]
enum Script {
    Echo(usize),
    Sink,
}

impl Script {
    async fn serve(self, mut link: impl Link, turns: u64) {
        let frame = vec![7; MIB];
        for _ in 0..turns {
            match self {
                Self::Echo(bytes) => {
                    link.recv(bytes).await;
                    link.send(&frame[..bytes]).await;
                }
                Self::Sink => {
                    for _ in 0..BURST {
                        link.recv(MIB).await;
                    }
                    link.send(&[1]).await;
                }
            }
        }
    }

    /// The near end: how long `turns` take.
    async fn ask(self, link: &mut impl Link, turns: u64) -> Duration {
        let frame = vec![7; MIB];
        let start = Instant::now();
        for _ in 0..turns {
            match self {
                Self::Echo(bytes) => {
                    link.send(&frame[..bytes]).await;
                    link.recv(bytes).await;
                }
                Self::Sink => {
                    for _ in 0..BURST {
                        link.send(&frame).await;
                    }
                    link.recv(1).await;
                }
            }
        }
        start.elapsed()
    }

    fn bytes(self) -> usize {
        match self {
            Self::Echo(bytes) => 2 * bytes,
            Self::Sink => BURST * MIB,
        }
    }

    fn label(self) -> String {
        match self {
            Self::Echo(bytes) if bytes < KIB => format!("round-trip of {bytes} B"),
            Self::Echo(bytes) => format!("round-trip of {} KiB", bytes / KIB),
            Self::Sink => format!("one-way {} MiB", BURST),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Transport {
    Plain,
    Tcp,
    Quic,
}

impl Transport {
    const ALL: [Self; 3] = [Self::Plain, Self::Tcp, Self::Quic];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tcp => "tcp",
            Self::Quic => "quic",
        }
    }
}

/// Both ends of everything that is measured.
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

    /// Connects, and measures `turns` turns without the connecting.
    fn measure(
        &mut self,
        transport: Transport,
        client: &Node,
        script: Script,
        turns: u64,
    ) -> Duration {
        let Self {
            runtime,
            server,
            incoming,
            listener,
        } = self;
        runtime.block_on(async {
            if transport == Transport::Plain {
                let address = listener.local_addr().unwrap();
                let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
                return converse(
                    Plain::new(near.unwrap()),
                    Plain::new(far.unwrap().0),
                    script,
                    turns,
                )
                .await;
            }
            let addresses: Vec<_> = server
                .listen_addrs()
                .into_iter()
                .filter(|address| {
                    address.to_string().contains("/quic") == (transport == Transport::Quic)
                })
                .collect();
            let opening = client.open(server.peer_id(), &addresses, DEADLINE);
            let (near, far) = tokio::join!(opening, incoming.streams.recv());
            converse(near.unwrap(), far.unwrap().1, script, turns).await
        })
    }
}

async fn converse<L: Link>(mut near: L, far: L, script: Script, turns: u64) -> Duration {
    // One turn first, so that windows are open and buffers are there.
    let far = tokio::spawn(script.serve(far, turns + 1));
    script.ask(&mut near, 1).await;
    let took = script.ask(&mut near, turns).await;
    far.await.unwrap();
    took
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .configure_from_args();
    let mut bed = Bed::new();
    let clients: BTreeMap<Transport, Node> = Transport::ALL
        .map(|transport| {
            let config = NodeConfig::client(Identity::generate());
            (
                transport,
                bed.runtime.block_on(Node::start(config)).unwrap().0,
            )
        })
        .into();

    let scripts = ROUND_TRIPS
        .map(Script::Echo)
        .into_iter()
        .chain([Script::Sink]);
    let mut table = Vec::new();
    for script in scripts {
        let mut group = criterion.benchmark_group(format!("transport/{}", script.label()));
        group.throughput(Throughput::Bytes(script.bytes() as u64));
        let mut seconds = BTreeMap::new();
        for (&transport, client) in &clients {
            let samples: &mut Vec<f64> = seconds.entry(transport).or_default();
            group.bench_function(BenchmarkId::from_parameter(transport.name()), |bencher| {
                bencher.iter_custom(|turns| {
                    let took = bed.measure(transport, client, script, turns);
                    samples.push(took.as_secs_f64() / turns as f64);
                    took
                });
            });
        }
        group.finish();
        table.push((script, seconds));
    }
    print(table);
    criterion.final_summary();
}

fn print(table: Vec<(Script, BTreeMap<Transport, Vec<f64>>)>) {
    println!(
        "{:<22} {:>6} {:>12} {:>12} {:>10} {:>9}",
        "transport", "", "fastest", "median", "MB/s", "x plain"
    );
    for (script, seconds) in table {
        let plain = seconds.get(&Transport::Plain).and_then(|s| spread(s));
        for (transport, samples) in seconds {
            // No samples: filtered out on the command line.
            let Some((fastest, median)) = spread(&samples) else {
                continue;
            };
            let ratio = plain.map_or(String::from("-"), |(p, _)| format!("{:.2}", fastest / p));
            println!(
                "{:<22} {:>6} {:>9.1} us {:>9.1} us {:>10.1} {ratio:>9}",
                script.label(),
                transport.name(),
                fastest * 1e6,
                median * 1e6,
                script.bytes() as f64 / fastest / 1e6,
            );
        }
    }
}

/// The least and the middle of the samples. The least is what was disturbed least by the rest of the machine.
fn spread(samples: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some((*sorted.first()?, *sorted.get(sorted.len() / 2)?))
}
