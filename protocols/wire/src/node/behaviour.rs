//! The libp2p protocols of a node, and their limits.

use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{connection_limits, identify, kad, memory_connection_limits, ping, request_response};

use super::control::ControlCodec;
use super::{CONTROL_PROTOCOL, KAD_PROTOCOL, NodeLimits};

/// Questions under way on one connection, from one side.
const CONTROL_STREAMS: usize = 16;

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    // First, so that what exceeds a limit is refused before anyone else learns of it.
    connections: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    pub(super) kad: kad::Behaviour<MemoryStore>,
    pub(super) control: request_response::Behaviour<ControlCodec>,
    pub(super) streams: libp2p_stream::Behaviour,
}

impl Behaviour {
    pub(super) fn new(keypair: &Keypair, limits: &NodeLimits, mode: kad::Mode) -> Self {
        let connections = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(limits.connections))
            .with_max_pending_outgoing(Some(limits.connections))
            .with_max_established_incoming(Some(limits.connections))
            .with_max_established_outgoing(Some(limits.connections))
            .with_max_established_per_peer(Some(limits.connections_per_peer));
        let memory = match limits.memory {
            Some(bytes) => memory_connection_limits::Behaviour::with_max_bytes(
                usize::try_from(bytes.0).unwrap_or(usize::MAX),
            ),
            None => memory_connection_limits::Behaviour::with_max_percentage(0.9),
        };
        let identify = identify::Config::new("/ai-link/1".into(), keypair.public())
            .with_agent_version(concat!("ai-link/", env!("CARGO_PKG_VERSION")).into());
        let local = keypair.public().to_peer_id();
        Self {
            connections: connection_limits::Behaviour::new(connections),
            memory,
            ping: ping::Behaviour::default(),
            identify: identify::Behaviour::new(identify),
            kad: routing(local, mode),
            control: request_response::Behaviour::with_codec(
                ControlCodec,
                [(CONTROL_PROTOCOL, request_response::ProtocolSupport::Full)],
                request_response::Config::default()
                    .with_request_timeout(limits.request_timeout)
                    .with_max_concurrent_streams(CONTROL_STREAMS),
            ),
            streams: libp2p_stream::Behaviour::new(),
        }
    }
}

/// Kademlia for routing only: records and providers that others offer are not stored.
fn routing(local: libp2p::PeerId, mode: kad::Mode) -> kad::Behaviour<MemoryStore> {
    let store = MemoryStoreConfig {
        max_records: 0,
        max_value_bytes: 0,
        max_providers_per_key: 0,
        max_provided_keys: 0,
    };
    let mut config = kad::Config::new(KAD_PROTOCOL);
    config
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_query_timeout(Duration::from_secs(20))
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None);
    let mut kad =
        kad::Behaviour::with_config(local, MemoryStore::with_config(local, store), config);
    kad.set_mode(Some(mode));
    kad
}
