//! The node of a party: libp2p, and direct connections beside it.
//!
//! One task owns the swarm; a [`Node`] is a handle to it, and [`Incoming`] is what others ask of
//! this party. Both directions are bounded queues, and every operation has a deadline.
//!
//! * **Transports:** QUIC, and TCP with noise and yamux. Both authenticate the peer's ed25519 key, so
//!   the [`PeerId`] given with a request or stream is proven.
//! * **Control** ([`CONTROL_PROTOCOL`]): one question, one answer, each at most 1 MiB.
//! * **Bulk** ([`BULK_PROTOCOL`]): a stream with length-prefixed frames, see [`BulkStream`].
//! * **Finding peers:** Kademlia under a name of our own, so that this network does not mix with
//!   others. It routes only; nobody can store records at this node.
//!
//! # Direct connections
//!
//! A round of a session is a message of some hundred bytes each way, and a session has dozens of them; its
//! preprocessing is gigabytes. A libp2p stream passes a multiplexer, three tasks and two copies on
//! its way, which makes it some seven times slower than a bare socket for the first and five times for
//! the second. So bulk streams go, where both sides can, over TCP connections of their own:
//!
//! * **Address:** `/ip4/.../tcp/PORT/tls`, in [`NodeConfig::listen`] and among
//!   [`Node::listen_addrs`], in the records that announce a party like any other address.
//!   libp2p never sees it. If none is configured, one is chosen beside each TCP address with port 0
//!   or on loopback.
//! * **Security:** TLS 1.3 by the libp2p TLS specification, as under QUIC: both sides prove their ed25519 keys
//!   in the handshake, so that the [`PeerId`] means the same. AES-128-GCM where the processor
//!   has AES, else ChaCha20-Poly1305. Nothing is lost by falling back to libp2p, so
//!   [`Node::open`] does when no direct address answers; which it was says [`BulkStream::carrier`].
//! * **One stream at a time.** No multiplexer, no flow control but TCP's. A frame is one record and one
//!   write; large ones are sealed in records of 16 KiB, opened where they lie, and copied once.
//! * **Kept:** a connection whose stream both sides have [closed](BulkStream::close) carries the next
//!   one: on a link of 40 ms that saves the two round trips of the handshakes. Openers keep
//!   connections for [`NodeLimits::idle_stream`], and what is said on one that the peer gave up in
//!   the meantime is said again on a new one: until the peer's verdict, nothing of a session is sent.
//!
//! # Refusals
//!
//! What exceeds [`NodeLimits`] is refused at once and in words: a question with
//! [`Refusal::Busy`](crate::Refusal::Busy), a stream with [`OpenError::Refused`]. No peer can take
//! more than its part of the limits. Strangers who have not shown who they are have a few places and
//! seconds for their handshakes, for each internet address and in all, and are hung up on beyond that.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use libp2p::swarm::StreamProtocol;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::{ControlRequest, ControlResponse, Identity, Limit, PeerKey, codec};

mod accept;
mod admission;
mod behaviour;
mod book;
mod capture;
mod carrier;
mod control;
mod direct;
mod error;
mod frame;
mod halves;
mod limits;
mod links;
mod start;
mod stream;
mod task;

pub use error::{AddressFailure, ConnectError, NodeError, OpenError, RequestError, StreamRefusal};
pub use frame::{FrameError, FrameHeader, FrameKind};
pub use limits::NodeLimits;
pub use links::{Link, Path, Transport};
pub use stream::{BulkReader, BulkStream, BulkWriter, Carrier, SentNow, StreamError};

use book::Book;
use capture::Capture;
use direct::{Direct, Failed};
use task::Command;

/// The protocol of control messages.
pub const CONTROL_PROTOCOL: StreamProtocol = StreamProtocol::new("/ai-link/control/2");
/// The protocol of bulk streams.
pub const BULK_PROTOCOL: StreamProtocol = StreamProtocol::new("/ai-link/mpc/2");
/// The protocol by which peers are found.
pub const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/ai-link/kad/1");

/// How often [`Node::open`] tries, in all, when a connection breaks before the peer took the stream.
const OPEN_TRIES: u32 = 3;

/// What a node needs to start.
#[derive(Debug)]
pub struct NodeConfig {
    /// The key that all connections are authenticated with.
    pub identity: Identity,
    /// Where to listen, for libp2p and for direct connections. Empty for a node that only asks.
    pub listen: Vec<Multiaddr>,
    /// How much of the machine others may take.
    pub limits: NodeLimits,
    /// Peers to start from, each with its `/p2p/<peer id>`.
    pub bootstrap: Vec<Multiaddr>,
    /// A directory to which everything that this process sends and receives is appended, decrypted,
    /// one file a stream. For diagnosis, like an `SSLKEYLOGFILE`.
    pub capture: Option<PathBuf>,
}

impl NodeConfig {
    /// Listens on 127.0.0.1, TCP, QUIC and direct, ports chosen by the system.
    pub fn loopback(identity: Identity) -> Self {
        let listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"]
            .map(|address| address.parse().expect("a literal multiaddress; qed"));
        Self {
            listen: listen.into(),
            ..Self::client(identity)
        }
    }

    /// Listens nowhere.
    pub fn client(identity: Identity) -> Self {
        Self {
            identity,
            listen: Vec::new(),
            limits: NodeLimits::default(),
            bootstrap: Vec::new(),
            capture: None,
        }
    }
}

/// A handle to a running node. The node stops when it is told to, or when the last handle is gone.
#[derive(Clone)]
pub struct Node {
    peer: PeerKey,
    commands: mpsc::Sender<Command>,
    listening: watch::Receiver<Vec<Multiaddr>>,
    streams: libp2p_stream::Control,
    direct: Arc<Direct>,
    shared: Arc<Shared>,
}

/// What the streams of a node have in common.
struct Shared {
    limits: NodeLimits,
    capture: Option<Capture>,
    book: Book,
    links: std::sync::Mutex<links::Links<libp2p::swarm::ConnectionId>>,
}

impl Shared {
    fn links(&self) -> std::sync::MutexGuard<'_, links::Links<libp2p::swarm::ConnectionId>> {
        // Every change is one insertion or removal: nothing is half made.
        let links = self.links.lock();
        links.unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What others ask of this node. Dropping a half of it refuses that half.
#[derive(Debug)]
pub struct Incoming {
    /// Questions.
    pub requests: mpsc::Receiver<IncomingRequest>,
    /// Streams, with the authenticated peer that opened each.
    pub streams: mpsc::Receiver<(PeerId, BulkStream)>,
}

/// A question from a peer.
#[derive(Debug)]
pub struct IncomingRequest {
    /// Who asks; authenticated.
    pub peer: PeerId,
    /// What it asks.
    pub request: ControlRequest,
    /// Takes the answer. Dropped unanswered, the peer is told that this node failed.
    pub reply: oneshot::Sender<ControlResponse>,
}

impl Node {
    /// Starts a node and waits until it listens everywhere it should.
    ///
    /// # Errors
    /// [`NodeError`] when an address cannot be listened on, or the capture directory not be used.
    pub async fn start(config: NodeConfig) -> Result<(Self, Incoming), NodeError> {
        start::start(config).await
    }

    /// This node's peer id.
    pub fn peer_id(&self) -> PeerId {
        self.peer.peer_id()
    }

    /// This node's key.
    pub fn peer_key(&self) -> PeerKey {
        self.peer
    }

    /// Where the node listens, with the ports it really has.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.listening.borrow().clone()
    }

    /// The peers that this node is connected with through libp2p, in the order of their ids. Direct connections, which carry
    /// bulk streams, come and go with these and are not listed.
    pub fn links(&self) -> Vec<Link> {
        self.shared.links().all()
    }

    /// Asks `peer`, connecting to one of `addrs` (or to addresses known from before) if needed.
    ///
    /// # Errors
    /// [`RequestError`]. After [`RequestError::Deadline`] and [`RequestError::Closed`] the peer may
    /// or may not have acted on the question.
    pub async fn request(
        &self,
        peer: PeerId,
        addrs: &[Multiaddr],
        request: ControlRequest,
        deadline: Duration,
    ) -> Result<ControlResponse, RequestError> {
        let bytes = codec::encode(&request, Limit::CONTROL).map_err(RequestError::Encode)?;
        let asking = async {
            self.connect(peer, &self.shared.book.addresses(peer, addrs))
                .await?;
            let (reply, answer) = oneshot::channel();
            let command = Command::Request { peer, bytes, reply };
            self.commands
                .send(command)
                .await
                .map_err(|_| RequestError::NodeStopped)?;
            let bytes = answer.await.map_err(|_| RequestError::NodeStopped)??;
            codec::decode(&bytes, Limit::CONTROL)
                .map_err(|source| RequestError::Malformed { peer, source })
        };
        timeout_at(Instant::now() + deadline, asking)
            .await
            .map_err(|_| RequestError::Deadline { peer, deadline })?
    }

    /// Opens a bulk stream to `peer`: on a direct connection if `addrs` (or what is known from before) has
    /// an address for it, else through libp2p, connecting as [`Node::request`] does. Returns when the
    /// peer has taken the stream.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        &self,
        peer: PeerId,
        addrs: &[Multiaddr],
        deadline: Duration,
    ) -> Result<BulkStream, OpenError> {
        let addrs = self.shared.book.addresses(peer, addrs);
        let opening = async {
            if self.commands.is_closed() {
                return Err(ConnectError::NodeStopped.into());
            }
            if peer == self.peer_id() {
                return Err(ConnectError::ToSelf { peer }.into());
            }
            let unreached = match self.direct.open(peer, &addrs, &self.shared).await {
                Ok(stream) => return Ok(stream),
                Err(Failed::For(error)) => {
                    // Its word: the address is right.
                    self.shared.book.note(peer, &addrs);
                    return Err(error);
                }
                Err(Failed::Unreached(unreached)) => unreached,
            };
            match self.open_through_libp2p(peer, &addrs).await {
                Err(OpenError::Connect(error)) => Err(unreached.and(error).into()),
                done => done,
            }
        };
        let stream = timeout_at(Instant::now() + deadline, opening)
            .await
            .map_err(|_| OpenError::Deadline { peer, deadline })??;
        self.shared.book.note(peer, &addrs);
        Ok(stream)
    }

    async fn open_through_libp2p(
        &self,
        peer: PeerId,
        addrs: &[Multiaddr],
    ) -> Result<BulkStream, OpenError> {
        let mut tried = 0;
        loop {
            self.connect(peer, addrs).await?;
            tried += 1;
            match self.open_connected(peer).await {
                // The connection was closing, or the peer dropped the stream before looking at
                // it. Nothing was sent yet, so trying again is safe.
                Err(OpenError::Closed { source, .. }) if tried < OPEN_TRIES => {
                    tracing::debug!(%peer, tried, error = %source, "stream not taken, again");
                    tokio::time::sleep(Duration::from_millis(20 << tried)).await;
                }
                Err(OpenError::Closed { source, .. }) => {
                    return Err(OpenError::Closed {
                        peer,
                        tries: tried,
                        source,
                    });
                }
                done => return done,
            }
        }
    }

    /// Stops the node, for all handles. Connections are closed; streams break.
    pub async fn shutdown(self) {
        let (done, stopped) = oneshot::channel();
        if self.commands.send(Command::Shutdown(done)).await.is_ok() {
            // An error means that the task is gone already, which is what was asked for.
            let _ = stopped.await;
        }
    }

    async fn connect(&self, peer: PeerId, addrs: &[Multiaddr]) -> Result<(), ConnectError> {
        let (reply, connected) = oneshot::channel();
        let command = Command::Connect {
            peer,
            // libp2p has no transport for the others.
            addrs: addrs
                .iter()
                .filter(|address| !direct::is_direct(address))
                .cloned()
                .collect(),
            reply,
        };
        self.commands
            .send(command)
            .await
            .map_err(|_| ConnectError::NodeStopped)?;
        connected.await.map_err(|_| ConnectError::NodeStopped)?
    }

    async fn open_connected(&self, peer: PeerId) -> Result<BulkStream, OpenError> {
        let mut stream = self
            .streams
            .clone()
            .open_stream(peer, BULK_PROTOCOL)
            .await
            .map_err(|error| match error {
                libp2p_stream::OpenStreamError::Io(source) => OpenError::Closed {
                    peer,
                    tries: 1,
                    source,
                },
                _ => OpenError::Unsupported { peer },
            })?;
        accept::await_verdict(&mut stream, peer).await?;
        BulkStream::new(peer, stream, &self.shared, None)
            .map_err(|source| OpenError::Capture { source })
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("peer", &self.peer_id())
            .field("listening", &self.listen_addrs())
            .finish_non_exhaustive()
    }
}
