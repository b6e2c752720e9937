//! How much of the machine others may take.

use std::time::Duration;

use crate::Bytes;

/// Bounds on everything that others can make this node hold.
#[derive(Clone, Debug)]
pub struct NodeLimits {
    /// Connections in each direction.
    pub connections: u32,
    /// Connections with one peer. Two parties that dial each other at once have two for a while.
    pub connections_per_peer: u32,
    /// Memory of this process above which no connection is made or taken; `None` is 90 % of the
    /// machine's.
    pub memory: Option<Bytes>,
    /// Questions from others that wait for an answer.
    pub inbound_requests: usize,
    /// Of these, from one peer.
    pub inbound_requests_per_peer: usize,
    /// Questions of our own that wait for an answer.
    pub outbound_requests: usize,
    /// Open streams that others opened.
    pub inbound_streams: usize,
    /// Of these, from one peer.
    pub inbound_streams_per_peer: usize,
    /// Direct connections that others began and whose handshake is not done.
    pub handshakes: usize,
    /// Of these, from one internet address.
    pub handshakes_per_ip: usize,
    /// Direct connections that are kept for a further stream, in each direction.
    pub idle_streams: usize,
    /// Of these, with one peer.
    pub idle_streams_per_peer: usize,
    /// How long this side keeps a connection for a further stream of its own. Those that others opened are
    /// kept half as long again.
    pub idle_stream: Duration,
    /// Longest time for one question, whatever the asker's deadline.
    pub request_timeout: Duration,
    /// Longest time that a stream waits for the next bytes to come or go. A last resort: sessions
    /// have deadlines of their own.
    pub stream_idle: Duration,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_peer: 8,
            memory: None,
            inbound_requests: 128,
            inbound_requests_per_peer: 32,
            outbound_requests: 256,
            inbound_streams: 256,
            inbound_streams_per_peer: 64,
            handshakes: 64,
            handshakes_per_ip: 32,
            idle_streams: 128,
            idle_streams_per_peer: 16,
            idle_stream: Duration::from_secs(60),
            request_timeout: Duration::from_secs(60),
            stream_idle: Duration::from_secs(300),
        }
    }
}
