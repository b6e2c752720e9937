//! Taking direct connections, and the streams on them, one after the other.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use libp2p::PeerId;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::super::BulkStream;
use super::super::accept::{Answer, Door};
use super::super::admission::{Admission, Permit};
use super::super::limits::NodeLimits;
use super::line::Line;
use super::{Direct, desk, recover};

/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long an opener may take to receive one byte.
const VERDICT_WITHIN: Duration = Duration::from_secs(10);
/// A pause when the system has no more sockets to give.
const BREATH: Duration = Duration::from_millis(100);

/// What a listener is bounded by.
pub(in super::super) struct Listening {
    direct: Arc<Direct>,
    /// Gone with the node.
    door: Weak<Door>,
    handshakes: Admission<IpAddr>,
    waiting: Admission<PeerId>,
    /// How long a connection waits for its next stream: longer than openers keep theirs, so that
    /// they rarely ask on one that was just given up here.
    wait: Duration,
}

impl Listening {
    pub(in super::super) fn new(
        direct: Arc<Direct>,
        door: &Arc<Door>,
        limits: &NodeLimits,
    ) -> Arc<Self> {
        Arc::new(Self {
            direct,
            door: Arc::downgrade(door),
            handshakes: Admission::new(limits.handshakes, limits.handshakes_per_ip),
            waiting: Admission::new(limits.idle_streams, limits.idle_streams_per_peer),
            wait: limits.idle_stream + limits.idle_stream / 2,
        })
    }

    /// Takes connections until the node stops.
    pub(in super::super) async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut stopped = self.direct.stopped.subscribe();
        loop {
            let accepted = tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, from)) => self.greet(socket, from),
                Err(error) => {
                    tracing::warn!(%error, "a direct connection could not be taken");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }

    /// Begins the handshake, if there is a place for it. Nobody is known yet, so there is nobody to
    /// tell otherwise.
    fn greet(self: &Arc<Self>, socket: TcpStream, from: SocketAddr) {
        let Some(permit) = self.handshakes.admit(from.ip().to_canonical()) else {
            return tracing::debug!(%from, "too many handshakes, dropped one");
        };
        let listening = self.clone();
        tokio::spawn(async move {
            match timeout(HANDSHAKE_WITHIN, listening.shake(socket)).await {
                Ok(Ok((peer, line))) => {
                    drop(permit);
                    listening.serve(peer, line).await;
                }
                Ok(Err(error)) => tracing::debug!(%from, %error, "a handshake failed"),
                Err(_) => tracing::debug!(%from, "a handshake took too long"),
            }
        });
    }

    async fn shake(&self, socket: TcpStream) -> std::io::Result<(PeerId, Line)> {
        socket.set_nodelay(true)?;
        let secured = self.direct.credentials.accept(socket).await?;
        Ok((secured.peer, self.direct.line(secured)?))
    }

    /// Takes one stream after the other.
    async fn serve(&self, peer: PeerId, mut line: Line) {
        while let Some(returned) = self.take(peer, line).await {
            let Some(back) = recover(returned, &self.direct.retiring).await else {
                return;
            };
            line = back;
            let Some(permit) = self.waiting.admit(peer) else {
                return line.hang_up();
            };
            match timeout(self.wait, line.asked()).await {
                Ok(Ok(())) => drop(permit),
                Ok(Err(_)) => return,
                Err(_) => return line.hang_up(),
            }
        }
    }

    /// Gives the verdict on a stream; `None` unless it is taken.
    async fn take(&self, peer: PeerId, mut line: Line) -> Option<oneshot::Receiver<Line>> {
        let door = self.door.upgrade()?;
        let (verdict, permit) = match door.answer(peer) {
            Answer::Take(permit) => match door.place().await {
                Ok(place) => return give(&door, peer, line, permit, place).await,
                Err(verdict) => (verdict, permit),
            },
            Answer::Refuse(verdict, permit) => (verdict, permit),
            Answer::Drop => return None,
        };
        // Best effort: without it the opener sees a closed stream.
        if let Ok(Ok(())) = timeout(VERDICT_WITHIN, line.writer.say(verdict)).await {
            line.hang_up();
        }
        drop(permit);
        None
    }
}

async fn give(
    door: &Door,
    peer: PeerId,
    mut line: Line,
    permit: Permit<PeerId>,
    place: mpsc::Permit<'_, (PeerId, BulkStream)>,
) -> Option<oneshot::Receiver<Line>> {
    match timeout(VERDICT_WITHIN, line.writer.say(super::accept::TAKEN)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "an opener left");
            return None;
        }
        Err(_) => {
            tracing::debug!(%peer, "an opener does not read");
            return None;
        }
    }
    let (reader, writer, returned) = desk::lend(line);
    match BulkStream::direct(peer, (reader, writer), &door.shared, Some(permit)) {
        Ok(stream) => {
            place.send((peer, stream));
            Some(returned)
        }
        Err(error) => {
            tracing::error!(%peer, %error, "stream dropped: cannot capture it");
            None
        }
    }
}
