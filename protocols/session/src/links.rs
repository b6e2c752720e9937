//! The streams of a running session as `ai-link-mpc` wants them: send to a party, receive from a party.

use std::collections::HashMap;
use std::time::Duration;

use ai_link_mpc::buffers::spare_bytes;
use ai_link_mpc::{LinkError, Links, Party};
use ai_link_wire::node::{BulkReader, BulkStream, FrameKind, StreamError};
use ai_link_wire::{Abort, Limit, PeerKey, codec};
use tokio::time::timeout;

mod outgoing;

use outgoing::{Outgoing, Unsent};

/// Size of an [`Abort`]: a reason of at most 256 bytes and a key.
pub const ABORT: Limit = Limit::bytes(512);
/// How long the last frames of a session may take to leave.
const FLUSH_WITHIN: Duration = Duration::from_secs(10);

/// The open streams of one party in one session.
#[derive(Debug)]
pub struct SessionLinks {
    links: HashMap<Party, Link>,
}

#[derive(Debug)]
struct Link {
    peer: PeerKey,
    reader: BulkReader,
    outgoing: Outgoing,
}

impl SessionLinks {
    /// Takes over streams on which the hello is done.
    pub fn new(streams: impl IntoIterator<Item = (Party, PeerKey, BulkStream)>) -> Self {
        let mut links = Self {
            links: HashMap::new(),
        };
        for (party, peer, stream) in streams {
            links.add(party, peer, stream);
        }
        links
    }

    /// Sends one frame of any kind.
    ///
    /// # Errors
    /// [`SessionError`] naming the peer.
    pub async fn send_frame(
        &mut self,
        to: Party,
        kind: FrameKind,
        payload: Vec<u8>,
    ) -> Result<(), SessionError> {
        let link = self.link(to)?;
        link.outgoing
            .send(kind, payload)
            .await
            .map_err(|unsent| match unsent {
                Unsent::Closed => SessionError::Closed {
                    party: to,
                    peer: link.peer,
                },
                Unsent::Broken(source) => SessionError::Stream {
                    party: to,
                    peer: link.peer,
                    source,
                },
            })
    }

    /// Receives a frame of `kind` of at most `limit` bytes.
    ///
    /// # Errors
    /// [`SessionError`] naming the peer, or the one that the peer's abort names.
    pub async fn recv_frame(
        &mut self,
        from: Party,
        kind: FrameKind,
        limit: usize,
    ) -> Result<Vec<u8>, SessionError> {
        let link = self.link(from)?;
        let peer = link.peer;
        let received = link.reader.recv_bounded(kind, limit).await;
        received.map_err(|source| SessionError::of(from, peer, source))
    }

    /// Adds a stream that was opened later.
    pub fn add(&mut self, party: Party, peer: PeerKey, stream: BulkStream) {
        let (reader, writer) = stream.split();
        let link = Link {
            peer,
            reader,
            outgoing: Outgoing::new(writer),
        };
        self.links.insert(party, link);
    }

    /// Tells a party that the session is over and why. Best effort: the party may be the one that is gone.
    pub async fn abort(&mut self, to: Party, abort: &Abort) {
        if let Ok(bytes) = codec::encode(abort, ABORT) {
            let _ = self.send_frame(to, FrameKind::Abort, bytes).await;
        }
    }

    /// Waits until everything that was sent has left, then closes the streams.
    pub async fn close(self) {
        for (party, link) in self.links {
            if timeout(FLUSH_WITHIN, link.outgoing.close()).await.is_err() {
                tracing::debug!(?party, peer = %link.peer, "stream did not close in time");
            }
        }
    }

    fn link(&mut self, party: Party) -> Result<&mut Link, SessionError> {
        self.links
            .get_mut(&party)
            .ok_or(SessionError::NoLink { party })
    }
}

impl Links for SessionLinks {
    async fn send(&mut self, to: Party, payload: Vec<u8>) -> Result<(), LinkError> {
        self.send_frame(to, FrameKind::Data, payload)
            .await
            .map_err(LinkError::new)
    }

    async fn recv(&mut self, from: Party, bytes: usize) -> Result<Vec<u8>, LinkError> {
        let link = self.link(from).map_err(LinkError::new)?;
        let peer = link.peer;
        let buffer = spare_bytes(bytes);
        let receiving = link.reader.recv_exact_into(FrameKind::Data, bytes, buffer);
        receiving
            .await
            .map_err(|source| LinkError::new(SessionError::of(from, peer, source)))
    }
}

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A party says so.
    #[error("{by} ended the session: {reason}")]
    Aborted {
        /// Who said it.
        by: PeerKey,
        /// Whom it names; itself if it names nobody.
        culprit: PeerKey,
        /// Its words.
        reason: String,
    },
    /// The stream to it broke while something waited to be sent.
    #[error("the stream to {party:?} ({peer}) is closed")]
    Closed {
        /// Party at the far end.
        party: Party,
        /// Its key.
        peer: PeerKey,
    },
    /// A defect of this program: the schedule speaks to a party that has no stream.
    #[error("there is no stream to {party:?} in this session")]
    NoLink {
        /// The party.
        party: Party,
    },
    /// The stream from it broke.
    #[error("the stream from {party:?} ({peer}) broke")]
    Stream {
        /// Party at the far end.
        party: Party,
        /// Its key.
        peer: PeerKey,
        /// How.
        #[source]
        source: StreamError,
    },
}

impl SessionError {
    /// What a broken stream means: an abort names its own culprit, anything else is the far end's doing.
    fn of(party: Party, peer: PeerKey, source: StreamError) -> Self {
        match source {
            StreamError::Aborted { abort } => Self::Aborted {
                by: peer,
                culprit: abort.culprit.unwrap_or(peer),
                reason: abort.reason,
            },
            source => Self::Stream {
                party,
                peer,
                source,
            },
        }
    }

    /// Who is at fault, as far as this side can tell.
    pub fn culprit(&self) -> Option<PeerKey> {
        match self {
            Self::Aborted { culprit, .. } => Some(*culprit),
            Self::Closed { peer, .. } | Self::Stream { peer, .. } => Some(*peer),
            Self::NoLink { .. } => None,
        }
    }
}
