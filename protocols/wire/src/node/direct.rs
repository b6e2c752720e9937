//! Direct connections: one TCP connection with TLS 1.3 for one stream at a time.
//!
//! A libp2p stream passes a multiplexer and several tasks on its way, and on loopback costs many times a
//! bare socket. Between two parties that exchange thousands of small messages, or gigabytes, that is
//! most of the time. So a node that listens takes streams on a port of their own as well; who they are
//! with is proven by the same keys in the same way (see `tls`), and what they may take of
//! this node is bounded by the same limits.
//!
//! * `tls`: the handshake. `record`: what comes after. `line`: a connection.
//! * `listen`: taking streams. This file: opening them.
//! * `desk`, `idle`: a connection whose stream was closed in order by both sides carries the next
//!   one. The opener keeps it for some time, the taker a little longer, so that as a rule it
//!   is the opener who lets go. Whether a kept connection still lives is known from the
//!   verdict that the taker gives on every stream: if none comes, a new connection is made, and nothing
//!   was sent yet.
//!
//! Everything that ends in another way closes its connection.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use libp2p::{Multiaddr, PeerId};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::error::{AddressFailure, ConnectError, OpenError};
use super::{BulkStream, NodeLimits, Shared, accept};
use crate::{Identity, WorkerRecord};

mod address;
mod desk;
mod idle;
mod line;
pub(super) mod listen;
mod record;
mod tls;

pub(super) use address::{direct, host, is_direct, listen_address, plain_tcp};
pub(super) use desk::Lent;
pub(super) use line::{Left, LineReader, LineWriter};

use idle::Idle;
use line::{Line, Sockets};
use tls::{Credentials, Secured};

/// How long connecting and the handshake may take before libp2p is asked.
const CONNECT_WITHIN: Duration = Duration::from_secs(4);
/// How long a kept connection may take for the verdict before a new one is made.
const REUSE_WITHIN: Duration = Duration::from_secs(3);
/// How long the peer may take to end a stream that this side has ended.
const END_WITHIN: Duration = Duration::from_secs(5);
/// How long what the peer still sends on a broken stream is read away.
const LINGER: Duration = Duration::from_secs(2);
/// Connections that wait for one of the two.
const RETIRING: usize = 256;
/// From when on it is worth to remember that a peer could not be reached directly.
const SLOW: Duration = Duration::from_secs(1);
/// How long such a peer is asked through libp2p only.
const AVOID: Duration = Duration::from_secs(30);
/// Peers of which that is remembered.
const MOST_AVOIDED: usize = 1024;

/// The direct connections of a node.
pub(super) struct Direct {
    credentials: Credentials,
    sockets: Arc<Sockets>,
    idle: Arc<Idle>,
    retiring: Arc<Semaphore>,
    avoided: Mutex<HashMap<PeerId, Instant>>,
    stopped: watch::Sender<bool>,
}

/// Why there is no direct stream.
pub(super) enum Failed {
    /// The peer's word, or a defect here: no other way would lead further.
    For(OpenError),
    /// It was not reached.
    Unreached(Unreached),
}

/// Addresses that did not work.
#[derive(Default)]
pub(super) struct Unreached {
    failures: Vec<AddressFailure>,
    other: Option<(PeerId, Multiaddr)>,
}

impl Direct {
    /// # Errors
    /// In words, when the libraries cannot make a certificate.
    pub(super) fn new(identity: &Identity, limits: &NodeLimits) -> Result<Arc<Self>, String> {
        let idle = Arc::new(Idle::new(
            limits.idle_streams,
            limits.idle_streams_per_peer,
            limits.idle_stream,
        ));
        tokio::spawn(idle::sweep(Arc::downgrade(&idle)));
        Ok(Arc::new(Self {
            credentials: Credentials::new(identity)?,
            sockets: Arc::default(),
            idle,
            retiring: Arc::new(Semaphore::new(RETIRING)),
            avoided: Mutex::default(),
            stopped: watch::Sender::new(false),
        }))
    }

    /// Breaks all streams and ends all listening.
    pub(super) fn stop(&self) {
        self.stopped.send_replace(true);
        self.idle.stop();
        self.sockets.stop();
    }

    /// Opens a stream on a kept connection, or on a new one to one of those of `addrs` that are of direct
    /// listeners. The caller sets the deadline.
    pub(super) async fn open(
        &self,
        peer: PeerId,
        addrs: &[Multiaddr],
        shared: &Shared,
    ) -> Result<BulkStream, Failed> {
        while let Some(mut line) = self.idle.take(peer) {
            let asking = async {
                line.ask().await?;
                verdict(&mut line).await
            };
            match timeout(REUSE_WITHIN, asking).await {
                Ok(Ok(verdict)) => return self.taken(peer, verdict, line, shared),
                // Most often the peer closed it just now. Nothing of the stream was sent.
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a kept connection is gone"),
                Err(_) => tracing::debug!(%peer, "a kept connection is silent"),
            }
        }
        let targets: Vec<_> = addrs
            .iter()
            .filter_map(|address| Some((address, address::socket_address(address, peer)?)))
            .take(WorkerRecord::MAX_ADDRESSES)
            .collect();
        if targets.is_empty() || self.is_avoided(peer) {
            return Err(Failed::Unreached(Unreached::default()));
        }
        let started = Instant::now();
        match self.connect(peer, targets).await {
            Ok((verdict, line)) => self.taken(peer, verdict, line, shared),
            Err(unreached) => {
                if started.elapsed() >= SLOW {
                    self.avoid(peer);
                }
                Err(Failed::Unreached(unreached))
            }
        }
    }

    /// Connects to all addresses at once, and takes the first on which the peer answers. Handshakes
    /// come one after the other, so that the peer is never asked for two streams.
    async fn connect(
        &self,
        peer: PeerId,
        targets: Vec<(&Multiaddr, SocketAddr)>,
    ) -> Result<(u8, Line), Unreached> {
        let mut unreached = Unreached::default();
        let mut attempts: FuturesUnordered<_> = targets
            .into_iter()
            .map(|(address, at)| async move {
                (
                    address,
                    within(CONNECT_WITHIN, TcpStream::connect(at)).await,
                )
            })
            .collect();
        while let Some((address, connected)) = attempts.next().await {
            match self.greet(peer, connected).await {
                Ok(answered) => return Ok(answered),
                Err(error) => unreached.add(address, &error),
            }
        }
        Err(unreached)
    }

    async fn greet(
        &self,
        peer: PeerId,
        connected: io::Result<TcpStream>,
    ) -> io::Result<(u8, Line)> {
        let socket = connected?;
        socket.set_nodelay(true)?;
        let shaking = self.credentials.connect(socket, peer);
        let mut line = self.line(within(CONNECT_WITHIN, shaking).await?)?;
        // The verdict has the caller's deadline: the peer may be slow to have a place.
        Ok((verdict(&mut line).await?, line))
    }

    fn line(&self, secured: Secured) -> io::Result<Line> {
        let stopped = || io::Error::other("this node was shut down");
        let socket = self.sockets.register(secured.socket).ok_or_else(stopped)?;
        Ok(Line::new(socket, secured.sealer, secured.opener))
    }

    fn taken(
        &self,
        peer: PeerId,
        verdict: u8,
        line: Line,
        shared: &Shared,
    ) -> Result<BulkStream, Failed> {
        accept::judge(verdict, peer).map_err(Failed::For)?;
        let (reader, writer, returned) = desk::lend(line);
        let stream = BulkStream::direct(peer, (reader, writer), shared, None)
            .map_err(|source| Failed::For(OpenError::Capture { source }))?;
        let (idle, retiring) = (self.idle.clone(), self.retiring.clone());
        tokio::spawn(async move {
            if let Some(line) = recover(returned, &retiring).await {
                idle.park(peer, line);
            }
        });
        Ok(stream)
    }

    fn is_avoided(&self, peer: PeerId) -> bool {
        let avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
        avoided
            .get(&peer)
            .is_some_and(|until| Instant::now() < *until)
    }

    fn avoid(&self, peer: PeerId) {
        let mut avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if avoided.len() >= MOST_AVOIDED {
            avoided.retain(|_, until| now < *until);
        }
        if avoided.len() < MOST_AVOIDED {
            avoided.insert(peer, now + AVOID);
        }
    }
}

/// A handle of the node's task: when it goes, however it goes, direct connections do as well.
pub(super) struct Stop(pub(super) Arc<Direct>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Unreached {
    fn add(&mut self, address: &Multiaddr, error: &io::Error) {
        if let Some(found) = tls::wrong_peer(error) {
            self.other = Some((found, address.clone()));
        }
        self.failures.push(AddressFailure {
            address: address.clone(),
            why: super::task::chain(error),
        });
    }

    /// The error of libp2p after this one.
    pub(super) fn and(self, error: ConnectError) -> ConnectError {
        let Self {
            mut failures,
            other,
        } = self;
        match (error, other) {
            (
                ConnectError::Unreachable {
                    peer,
                    failures: more,
                },
                _,
            ) => {
                failures.extend(more);
                ConnectError::Unreachable { peer, failures }
            }
            (ConnectError::NoAddress { peer }, Some((found, address))) => ConnectError::WrongPeer {
                peer,
                found,
                address,
            },
            (ConnectError::NoAddress { peer }, None) if !failures.is_empty() => {
                ConnectError::Unreachable { peer, failures }
            }
            (error, _) => error,
        }
    }
}

async fn within<T>(time: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let done = timeout(time, work).await;
    done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The first byte of a stream, from its taker.
async fn verdict(line: &mut Line) -> io::Result<u8> {
    let mut verdict = Vec::new();
    match line.reader.read(&mut verdict, 1).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(verdict[0]),
    }
}

/// Waits until a stream is done with, and gives its connection back if it can carry another.
async fn recover(returned: oneshot::Receiver<Line>, retiring: &Semaphore) -> Option<Line> {
    let mut line = returned.await.ok()?;
    let _place = retiring.try_acquire().ok()?;
    if !line.writer.has_ended() {
        return None;
    }
    if !line.reader.is_within_frame()
        && let Ok(Ok(())) = timeout(END_WITHIN, line.ended()).await
        && line.is_reusable()
    {
        line.renew();
        return Some(line);
    }
    // Whatever it was, the peer shall be able to read what was sent to it.
    let _ = timeout(LINGER, line.linger()).await;
    None
}
