//! What can go wrong, by what was asked of the node.

use std::fmt;
use std::io;
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};

use crate::CodecError;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A bootstrap address does not say whose it is.
    #[error("bootstrap address {address} does not end in /p2p/<peer id>")]
    Bootstrap {
        /// The address.
        address: Multiaddr,
    },
    /// The capture directory cannot be used.
    #[error("cannot write captures")]
    Capture(#[source] io::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What the transport says.
        why: String,
    },
    /// The system did not say in time where the node listens.
    #[error("{missing} addresses were not ready for listening within {within:?}")]
    ListenTimeout {
        /// Addresses that are not ready.
        missing: usize,
        /// How long they had.
        within: Duration,
    },
    /// The transports cannot be set up.
    #[error("cannot set up the transports: {why}")]
    Transport {
        /// Why.
        why: String,
    },
}

/// Why there is no connection to a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// A limit of this node forbids it.
    #[error("the limits of this node forbid a connection to {peer}: {why}")]
    Denied {
        /// The peer.
        peer: PeerId,
        /// Which limit.
        why: String,
    },
    /// Nobody knows where the peer is.
    #[error("no address of {peer} is known: give one")]
    NoAddress {
        /// The peer.
        peer: PeerId,
    },
    /// The node was shut down.
    #[error("this node was shut down")]
    NodeStopped,
    /// Too many connections are being made.
    #[error("this node is connecting to {max} peers already: try again later")]
    Overloaded {
        /// Most at a time.
        max: usize,
    },
    /// The peer is this node.
    #[error("{peer} is this node itself")]
    ToSelf {
        /// The peer.
        peer: PeerId,
    },
    /// No address worked.
    #[error("no address of {peer} can be reached:{}", List(failures))]
    Unreachable {
        /// The peer.
        peer: PeerId,
        /// Address by address, why not.
        failures: Vec<AddressFailure>,
    },
    /// Someone else is there.
    #[error("{found} is at {address}, not {peer}")]
    WrongPeer {
        /// The peer that was wanted.
        peer: PeerId,
        /// The peer that is there.
        found: PeerId,
        /// Where.
        address: Multiaddr,
    },
}

/// Why one address did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressFailure {
    /// The address.
    pub address: Multiaddr,
    /// Why.
    pub why: String,
}

struct List<'a>(&'a [AddressFailure]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|failed| write!(f, " {} ({});", failed.address, failed.why))
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The connection closed while the question was under way: the peer may have acted on it.
    #[error("the connection to {peer} closed before the answer came")]
    Closed {
        /// The peer.
        peer: PeerId,
    },
    /// No connection.
    #[error("not connected")]
    Connect(#[from] ConnectError),
    /// No answer in time: the peer may have acted on the question.
    #[error("{peer} did not answer within {deadline:?}")]
    Deadline {
        /// The peer.
        peer: PeerId,
        /// How long it had.
        deadline: Duration,
    },
    /// The question is too long.
    #[error("the question cannot be encoded")]
    Encode(#[source] CodecError),
    /// The stream broke: the peer may have acted on the question.
    #[error("the stream to {peer} broke")]
    Io {
        /// The peer.
        peer: PeerId,
        /// How.
        source: io::Error,
    },
    /// The answer is none.
    #[error("{peer} answered with something that is no answer")]
    Malformed {
        /// The peer.
        peer: PeerId,
        /// What is wrong.
        source: CodecError,
    },
    /// The node was shut down.
    #[error("this node was shut down")]
    NodeStopped,
    /// Too many questions are open.
    #[error("{max} questions of this node wait for answers already: try again later")]
    Overloaded {
        /// Most at a time.
        max: usize,
    },
    /// The peer is no party of this network, or of an incompatible version.
    #[error("{peer} does not speak the control protocol")]
    Unsupported {
        /// The peer.
        peer: PeerId,
    },
}

/// Why a stream was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The capture file cannot be made.
    #[error("cannot capture the stream")]
    Capture {
        /// Why.
        source: io::Error,
    },
    /// The peer closed before it took the stream, each time.
    #[error("{peer} closed the connection before it took the stream, {tries} times")]
    Closed {
        /// The peer.
        peer: PeerId,
        /// How often.
        tries: u32,
        /// The last time's reason.
        source: io::Error,
    },
    /// No connection.
    #[error("not connected")]
    Connect(#[from] ConnectError),
    /// Not taken in time.
    #[error("{peer} did not take the stream within {deadline:?}")]
    Deadline {
        /// The peer.
        peer: PeerId,
        /// How long it had.
        deadline: Duration,
    },
    /// The peer's first byte means nothing.
    #[error("{peer} answered {verdict} to a new stream, which means nothing")]
    Malformed {
        /// The peer.
        peer: PeerId,
        /// The byte.
        verdict: u8,
    },
    /// The peer refuses.
    #[error("{peer} refuses the stream: {refusal}")]
    Refused {
        /// The peer.
        peer: PeerId,
        /// Why.
        refusal: StreamRefusal,
    },
    /// The peer is no party of this network, or of an incompatible version.
    #[error("{peer} does not speak the bulk protocol")]
    Unsupported {
        /// The peer.
        peer: PeerId,
    },
}

/// Why a peer refuses a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamRefusal {
    /// It has too many.
    #[error("it has too many streams; try again later")]
    Busy,
    /// It takes none.
    #[error("it takes no streams")]
    NotServing,
}
