//! The first frames of a stream: the ticket, and the answer to it.

use std::time::Duration;

use ai_link_wire::node::{BulkStream, FrameKind, Node, OpenError, StreamError};
use ai_link_wire::{
    CodecError, CopyHello, GroupMember, HelloReply, Hosting, InputPart, Limit, PeerKey, PoolHello,
    PoolTag, SessionHello, SessionRefusal, Signed, Ticket, codec,
};
use tokio::time::timeout;

/// A signed ticket and a party.
const HELLO: Limit = Limit::RECORD;
/// A signed [`Hosting`].
const HOSTING: Limit = Limit::bytes(4096);
/// A name of 32 bytes.
pub(crate) const COPY: Limit = Limit::bytes(64);
/// A word, and a reason of at most 256 bytes.
const REPLY: Limit = Limit::bytes(1024);

/// What the opening side says of itself.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// Which party it is.
    pub from: ai_link_wire::Party,
    /// From the dealer to an evaluator: the pool that the session could take from.
    pub pool: Option<PoolTag>,
    /// From the client: what the member needs to bring its shares of stored inputs.
    pub inputs: Vec<InputPart>,
}

impl From<ai_link_wire::Party> for Introduction {
    /// Of a session that takes nothing from a pool.
    fn from(from: ai_link_wire::Party) -> Self {
        Self {
            from,
            pool: None,
            inputs: Vec::new(),
        }
    }
}

/// A stream that was accepted.
#[derive(Debug)]
pub struct Opened {
    /// The stream.
    pub stream: BulkStream,
    /// From the dealer to the client: the pool of the session. From an evaluator to the dealer: the one that was
    /// offered, if it is there too; then, or if it is not, the dealer [settles](settle) what is used.
    pub pool: Option<PoolTag>,
}

/// Opens a stream to `member`, shows the ticket, and waits for it to be accepted.
///
/// # Errors
/// [`HelloError`]; every variant names `member` as the party that did not answer as it should.
pub async fn open(
    node: &Node,
    ticket: &Signed<Ticket>,
    introduction: impl Into<Introduction>,
    member: &GroupMember,
    within: Duration,
) -> Result<Opened, HelloError> {
    let peer = member.peer;
    let Introduction { from, pool, inputs } = introduction.into();
    let attempt = async {
        let mut stream = node
            .open(peer.peer_id(), &member.addresses, within)
            .await
            .map_err(|source| HelloError::Open { peer, source })?;
        let hello = SessionHello {
            ticket: ticket.clone(),
            from,
            pool,
            inputs,
        };
        let bytes =
            codec::encode(&hello, HELLO).map_err(|source| HelloError::Codec { peer, source })?;
        stream
            .send(FrameKind::Hello, &bytes)
            .await
            .map_err(|source| HelloError::Stream { peer, source })?;
        let reply = stream
            .recv_bounded(FrameKind::HelloReply, REPLY.get())
            .await
            .map_err(|source| HelloError::Stream { peer, source })?;
        match codec::decode(&reply, REPLY).map_err(|source| HelloError::Codec { peer, source })? {
            HelloReply::Accepted { pool } => Ok(Opened { stream, pool }),
            HelloReply::Refused(refusal) => Err(HelloError::Refused { peer, refusal }),
        }
    };
    timeout(within, attempt)
        .await
        .map_err(|_| HelloError::Silent { peer, within })?
}

/// What a stream that was opened to us is for.
#[derive(Debug)]
pub enum Greeting {
    /// A session.
    Session(Box<SessionHello>),
    /// A dealer wants to deal ahead.
    Pool(Box<PoolHello>),
    /// A model's owner brings a part of private weights.
    Hosting(Box<Signed<Hosting>>),
    /// A worker wants a copy of something.
    Copy(CopyHello),
}

/// Reads the first frame of a stream that was opened to us.
///
/// # Errors
/// [`AcceptError`] when it is none of the above or does not come in time.
pub async fn accept(stream: &mut BulkStream, within: Duration) -> Result<Greeting, AcceptError> {
    let wanted = [
        (FrameKind::Hello, HELLO.get()),
        (FrameKind::PoolHello, HELLO.get()),
        (FrameKind::Hosting, HOSTING.get()),
        (FrameKind::CopyHello, COPY.get()),
    ];
    let (kind, frame) = timeout(within, stream.recv_any(&wanted))
        .await
        .map_err(|_| AcceptError::Silent { within })??;
    Ok(match kind {
        FrameKind::PoolHello => Greeting::Pool(Box::new(codec::decode(&frame, HELLO)?)),
        FrameKind::CopyHello => Greeting::Copy(codec::decode(&frame, COPY)?),
        FrameKind::Hosting => Greeting::Hosting(Box::new(codec::decode(&frame, HOSTING)?)),
        _ => Greeting::Session(Box::new(codec::decode(&frame, HELLO)?)),
    })
}

/// From the dealer to an evaluator to which it offered a pool: what the session takes from.
///
/// # Errors
/// [`HelloError::Stream`], [`HelloError::Codec`].
pub async fn settle(
    stream: &mut BulkStream,
    peer: PeerKey,
    pool: Option<PoolTag>,
) -> Result<(), HelloError> {
    let bytes = encode_reply(&HelloReply::Accepted { pool })
        .map_err(|source| HelloError::Codec { peer, source })?;
    let sent = stream.send(FrameKind::HelloReply, &bytes).await;
    sent.map_err(|source| HelloError::Stream { peer, source })
}

/// At an evaluator that was offered a pool: what the dealer [settled](settle).
///
/// # Errors
/// [`AcceptError`].
pub async fn settled(
    stream: &mut BulkStream,
    within: Duration,
) -> Result<Option<PoolTag>, AcceptError> {
    let frame = stream.recv_bounded(FrameKind::HelloReply, REPLY.get());
    let frame = timeout(within, frame)
        .await
        .map_err(|_| AcceptError::Silent { within })??;
    match codec::decode(&frame, REPLY)? {
        HelloReply::Accepted { pool } => Ok(pool),
        HelloReply::Refused(_) => Ok(None),
    }
}

/// The encoding of an answer, for a stream whose halves are in use already.
///
/// # Errors
/// [`CodecError`].
pub fn encode_reply(reply: &HelloReply) -> Result<Vec<u8>, CodecError> {
    codec::encode(reply, REPLY)
}

/// Answers a hello.
///
/// # Errors
/// [`AcceptError`] when the answer cannot be sent.
pub async fn reply(stream: &mut BulkStream, reply: &HelloReply) -> Result<(), AcceptError> {
    let bytes = encode_reply(reply)?;
    Ok(stream.send(FrameKind::HelloReply, &bytes).await?)
}

/// Why a stream to a member of the group is not there.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// The answer is not one.
    #[error("worker {peer} answered with something that is no reply to a hello")]
    Codec {
        /// The member.
        peer: PeerKey,
        /// What is wrong with it.
        #[source]
        source: CodecError,
    },
    /// No connection.
    #[error("cannot reach worker {peer}")]
    Open {
        /// The member.
        peer: PeerKey,
        /// Address by address.
        #[source]
        source: OpenError,
    },
    /// It refuses the session.
    #[error("worker {peer} refuses the session: {refusal}")]
    Refused {
        /// The member.
        peer: PeerKey,
        /// Its reason.
        refusal: SessionRefusal,
    },
    /// Reached, and no answer.
    #[error("worker {peer} did not answer within {within:?}")]
    Silent {
        /// The member.
        peer: PeerKey,
        /// How long it had.
        within: Duration,
    },
    /// The stream broke.
    #[error("the stream to worker {peer} broke")]
    Stream {
        /// The member.
        peer: PeerKey,
        /// How.
        #[source]
        source: StreamError,
    },
}

impl HelloError {
    /// The member that is at fault, as far as this side can tell.
    pub fn culprit(&self) -> PeerKey {
        match self {
            // It may be another one of the group that it could not reach.
            Self::Stream {
                peer,
                source: StreamError::Aborted { abort },
            } => abort.culprit.unwrap_or(*peer),
            Self::Codec { peer, .. }
            | Self::Open { peer, .. }
            | Self::Refused { peer, .. }
            | Self::Silent { peer, .. }
            | Self::Stream { peer, .. } => *peer,
        }
    }
}

/// Why an incoming stream is no session.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The frame is not a hello.
    #[error("the first frame is not a hello")]
    Codec(#[from] CodecError),
    /// The dealer settled on a pool that this side does not have.
    #[error("the dealer settled on the pool {settled}, which is not here")]
    Pool {
        /// What it said.
        settled: PoolTag,
    },
    /// Nothing came.
    #[error("no hello within {within:?}")]
    Silent {
        /// How long the peer had.
        within: Duration,
    },
    /// The stream broke.
    #[error("the stream broke before the session began")]
    Stream(#[from] StreamError),
}
