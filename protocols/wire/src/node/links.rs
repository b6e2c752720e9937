//! The libp2p connections of a node, as they stand.
//!
//! A connection through a relay has `/p2p-circuit` in its address. One that was punched is a direct one made while
//! one through a relay was open to the same peer: that is how DCUtR upgrades a connection
//! (<https://github.com/libp2p/specs/blob/master/relay/DCUtR.md>). Nodes that punch no holes have none of those.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// How a peer is reached.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Path {
    /// A connection from machine to machine.
    Direct,
    /// The same, through address translation on both sides: it took the place of one through a relay.
    Punched,
    /// Through a relay, which sees ciphertext.
    Relayed,
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Transport {
    /// TCP, noise, yamux.
    Tcp,
    /// QUIC.
    Quic,
    /// Anything else.
    Other,
}

/// A peer that this node is connected with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Link {
    /// The peer, authenticated.
    pub peer: PeerId,
    /// The best path to it.
    pub path: Path,
    /// What carries it.
    pub transport: Transport,
    /// The last measured time there and back.
    pub rtt: Option<Duration>,
    /// Connections with this peer.
    pub connections: u32,
}

/// Connections, by their ids. Bounded by the limits on connections.
#[derive(Debug)]
pub(super) struct Links<C>(HashMap<C, Connection>);

#[derive(Debug)]
struct Connection {
    peer: PeerId,
    path: Path,
    transport: Transport,
    rtt: Option<Duration>,
}

impl<C> Default for Links<C> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<C: Eq + Hash> Links<C> {
    /// Notes a connection.
    pub(super) fn made(&mut self, id: C, peer: PeerId, address: &Multiaddr) {
        let relayed =
            |connection: &Connection| connection.peer == peer && connection.path == Path::Relayed;
        let path = match address.iter().any(|part| part == Protocol::P2pCircuit) {
            true => Path::Relayed,
            false if self.0.values().any(relayed) => Path::Punched,
            false => Path::Direct,
        };
        let transport = transport(address);
        self.0.insert(
            id,
            Connection {
                peer,
                path,
                transport,
                rtt: None,
            },
        );
    }

    /// Notes the end of a connection.
    pub(super) fn closed(&mut self, id: &C) {
        self.0.remove(id);
    }

    /// Notes a measured time there and back.
    pub(super) fn measured(&mut self, id: &C, rtt: Duration) {
        if let Some(connection) = self.0.get_mut(id) {
            connection.rtt = Some(rtt);
        }
    }

    /// One for each peer, in the order of the peers: the best path it has.
    pub(super) fn all(&self) -> Vec<Link> {
        let mut links: Vec<Link> = self
            .0
            .values()
            .map(|connection| Link {
                peer: connection.peer,
                path: connection.path,
                transport: connection.transport,
                rtt: connection.rtt,
                connections: 1,
            })
            .collect();
        links.sort_by_key(|link| (link.peer, link.path, link.rtt.is_none(), link.rtt));
        links.dedup_by(|other, kept| {
            let same = other.peer == kept.peer;
            kept.connections += u32::from(same);
            same
        });
        links
    }
}

fn transport(address: &Multiaddr) -> Transport {
    let known = |part| match part {
        Protocol::QuicV1 => Some(Transport::Quic),
        Protocol::Tcp(_) => Some(Transport::Tcp),
        _ => None,
    };
    address.iter().find_map(known).unwrap_or(Transport::Other)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TCP: &str = "/ip4/127.0.0.1/tcp/1";
    const QUIC: &str = "/ip4/127.0.0.1/udp/1/quic-v1";

    fn made(links: &mut Links<u8>, id: u8, peer: PeerId, address: &str) {
        links.made(id, peer, &address.parse().unwrap());
    }

    #[test]
    fn a_direct_connection_beside_a_relayed_one_was_punched() {
        let (a, b, relay) = (PeerId::random(), PeerId::random(), PeerId::random());
        let mut links = Links::default();
        let circuit = format!("{QUIC}/p2p/{relay}/p2p-circuit");
        made(&mut links, 1, a, &circuit);
        assert_eq!(links.all()[0].path, Path::Relayed);
        made(&mut links, 2, b, QUIC);
        made(&mut links, 3, a, TCP);
        let of = |links: &Links<u8>, peer| links.all().into_iter().find(|l| l.peer == peer);
        let punched = of(&links, a).unwrap();
        assert_eq!(
            (punched.path, punched.transport),
            (Path::Punched, Transport::Tcp)
        );
        assert_eq!(punched.connections, 2);
        assert_eq!(of(&links, b).unwrap().path, Path::Direct);
        // The relayed one goes; what was punched stays so.
        links.closed(&1);
        assert_eq!(of(&links, a).unwrap().path, Path::Punched);
        links.closed(&3);
        assert_eq!(of(&links, a), None);
    }

    #[test]
    fn the_time_there_and_back_is_that_of_the_best_path() {
        let peer = PeerId::random();
        let mut links = Links::default();
        made(&mut links, 1, peer, TCP);
        made(&mut links, 2, peer, QUIC);
        links.measured(&2, Duration::from_millis(7));
        links.measured(&9, Duration::from_millis(1));
        let all = links.all();
        assert_eq!(all.len(), 1);
        assert_eq!(
            (all[0].rtt, all[0].transport),
            (Some(Duration::from_millis(7)), Transport::Quic)
        );
    }
}
