//! Addresses of direct connections: `/ip4/192.0.2.1/tcp/7071/tls`, `/ip6/.../tcp/.../tls`, with or
//! without `/p2p/<peer id>` behind. libp2p's own transports have none that ends in `/tls`.

use std::net::{IpAddr, SocketAddr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// Whether libp2p is to be spared this address.
pub(in super::super) fn is_direct(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::Tls)
}

/// Where to connect to, if `address` is one of a direct listener (of `peer`).
pub(super) fn socket_address(address: &Multiaddr, peer: PeerId) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let at = SocketAddr::new(ip(parts.next()?)?, port(parts.next()?)?);
    if parts.next()? != Protocol::Tls {
        return None;
    }
    match (parts.next(), parts.next()) {
        (None, None) => Some(at),
        (Some(Protocol::P2p(named)), None) if named == peer => Some(at),
        _ => None,
    }
}

/// Where to listen, if `address` is one of a direct listener.
pub(in super::super) fn listen_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let at = SocketAddr::new(ip(parts.next()?)?, port(parts.next()?)?);
    (parts.next()? == Protocol::Tls && parts.next().is_none()).then_some(at)
}

/// The address of a direct listener at `at`.
pub(in super::super) fn direct(at: SocketAddr) -> Multiaddr {
    Multiaddr::from(at.ip())
        .with(Protocol::Tcp(at.port()))
        .with(Protocol::Tls)
}

/// The internet address that a multiaddress begins with, and its TCP port if it is one of libp2p's
/// TCP transport.
pub(in super::super) fn plain_tcp(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let at = SocketAddr::new(ip(parts.next()?)?, port(parts.next()?)?);
    matches!(parts.next(), None | Some(Protocol::P2p(_))).then_some(at)
}

/// The internet address that a multiaddress begins with.
pub(in super::super) fn host(address: &Multiaddr) -> Option<IpAddr> {
    ip(address.iter().next()?)
}

fn ip(part: Protocol<'_>) -> Option<IpAddr> {
    match part {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}

fn port(part: Protocol<'_>) -> Option<u16> {
    match part {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_direct_addresses_are_taken() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        let of = |text: &str| socket_address(&text.parse().unwrap(), peer);
        let here: SocketAddr = "127.0.0.1:7071".parse().unwrap();
        assert_eq!(of("/ip4/127.0.0.1/tcp/7071/tls"), Some(here));
        assert_eq!(
            of(&format!("/ip4/127.0.0.1/tcp/7071/tls/p2p/{peer}")),
            Some(here)
        );
        let six = "[2001:db8::1]:9".parse().unwrap();
        assert_eq!(of("/ip6/2001:db8::1/tcp/9/tls"), Some(six));
        for text in [
            "/ip4/127.0.0.1/tcp/7071",
            "/ip4/127.0.0.1/udp/7071/quic-v1",
            "/ip4/127.0.0.1/tcp/7071/tls/ws",
            "/dns4/example.org/tcp/7071/tls",
            &format!("/ip4/127.0.0.1/tcp/7071/tls/p2p/{other}"),
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        for at in [here, six] {
            let address = direct(at);
            assert!(is_direct(&address));
            assert_eq!(listen_address(&address), Some(at));
            assert_eq!((plain_tcp(&address), host(&address)), (None, Some(at.ip())));
        }
        let plain: Multiaddr = "/ip4/127.0.0.1/tcp/7071".parse().unwrap();
        assert_eq!(plain_tcp(&plain), Some(here));
        assert!(!is_direct(&plain) && listen_address(&plain).is_none());
    }
}
