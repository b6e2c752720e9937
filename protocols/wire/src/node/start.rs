//! Making a node: transports, swarm, and the tasks that serve it.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, identity, kad, noise, tcp, yamux};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::accept::Door;
use super::behaviour::Behaviour;
use super::book::Book;
use super::capture::Capture;
use super::direct::listen::Listening;
use super::direct::{self, Direct, Stop};
use super::task::Task;
use super::{BULK_PROTOCOL, Incoming, Node, NodeConfig, NodeError, Shared, accept};
use crate::Identity;

/// Commands of this process that wait for the task.
const COMMANDS: usize = 64;
/// Questions and streams of others that wait for this process.
const INCOMING: usize = 64;
/// How long the system may take to bind sockets.
const LISTEN_WITHIN: Duration = Duration::from_secs(10);
/// How long one attempt to connect may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection without streams is kept.
const IDLE_CONNECTION: Duration = Duration::from_secs(60);

pub(super) async fn start(config: NodeConfig) -> Result<(Node, Incoming), NodeError> {
    let NodeConfig {
        identity,
        listen,
        limits,
        bootstrap,
        capture,
    } = config;
    let capture = capture
        .map(Capture::new)
        .transpose()
        .map_err(NodeError::Capture)?;
    let bootstrap = bootstrap
        .into_iter()
        .map(with_peer)
        .collect::<Result<Vec<_>, _>>()?;
    let direct = Direct::new(&identity, &limits).map_err(|why| NodeError::Transport { why })?;
    let stop = Stop(direct.clone());
    let shared = Arc::new(Shared {
        limits,
        capture,
        book: Book::default(),
        links: Default::default(),
    });

    let mode = match listen.is_empty() {
        true => kad::Mode::Client,
        false => kad::Mode::Server,
    };
    let mut swarm = swarm(&identity, &shared, mode)?;
    let (listen_directly, listen) = split(listen);
    let listeners = listen_directly_on(listen_directly).await?;
    let listening = listen_on(&mut swarm, listen).await?;
    let direct_at: Vec<_> = listeners.iter().map(|(at, _)| *at).collect();
    let listening = advertised(listening.iter(), &direct_at);
    let bootstrapping = !bootstrap.is_empty();
    for (peer, address) in bootstrap {
        swarm.behaviour_mut().kad.add_address(&peer, address);
    }
    if bootstrapping {
        // Fails only when no peer is known.
        let _ = swarm.behaviour_mut().kad.bootstrap();
    }

    let mut streams = swarm.behaviour().streams.new_control();
    let opened = streams
        .accept(BULK_PROTOCOL)
        .expect("a new behaviour has no protocol registered; qed");
    let (commands, commanded) = mpsc::channel(COMMANDS);
    let (asked, requests) = mpsc::channel(INCOMING);
    let (taken, incoming_streams) = mpsc::channel(INCOMING);
    let (addresses, listening) = watch::channel(listening);
    let door = Arc::new(Door::new(taken, shared.clone()));
    let taking = Listening::new(direct.clone(), &door, &shared.limits);
    for (_, listener) in listeners {
        tokio::spawn(taking.clone().run(listener));
    }
    tokio::spawn(accept::run(opened, door));
    let stopping = (direct_at, stop);
    tokio::spawn(Task::new(swarm, commanded, asked, addresses, shared.clone(), stopping).run());

    let node = Node {
        peer: identity.peer_key(),
        commands,
        listening,
        streams,
        direct,
        shared,
    };
    Ok((
        node,
        Incoming {
            requests,
            streams: incoming_streams,
        },
    ))
}

fn swarm(
    identity: &Identity,
    shared: &Shared,
    mode: kad::Mode,
) -> Result<Swarm<Behaviour>, NodeError> {
    let transport = |why: String| NodeError::Transport { why };
    let keypair = identity::Keypair::ed25519_from_bytes(identity.secret_seed().as_mut())
        .map_err(|error| transport(error.to_string()))?;
    let tcp = tcp::Config::new().nodelay(true);
    let builder = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp, noise::Config::new, yamux::Config::default)
        .map_err(|error| transport(error.to_string()))?
        .with_quic()
        .with_behaviour(|keypair| Behaviour::new(keypair, &shared.limits, mode));
    let Ok(builder) = builder;
    Ok(builder
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE_CONNECTION))
        .with_connection_timeout(CONNECT_WITHIN)
        .build())
}

async fn listen_on(
    swarm: &mut Swarm<Behaviour>,
    addresses: Vec<Multiaddr>,
) -> Result<Vec<Multiaddr>, NodeError> {
    let mut waiting = Vec::new();
    for address in addresses {
        refuse_taken_port(&address)?;
        let listener = swarm
            .listen_on(address.clone())
            .map_err(|error| NodeError::Listen {
                address: address.clone(),
                why: super::task::chain(&error),
            })?;
        waiting.push((listener, address));
    }
    let mut listening = Vec::new();
    let until = Instant::now() + LISTEN_WITHIN;
    while !waiting.is_empty() {
        let event = timeout_at(until, swarm.select_next_some())
            .await
            .map_err(|_| NodeError::ListenTimeout {
                missing: waiting.len(),
                within: LISTEN_WITHIN,
            })?;
        match event {
            SwarmEvent::NewListenAddr {
                listener_id,
                address,
            } => {
                waiting.retain(|(listener, _)| *listener != listener_id);
                listening.push(address);
            }
            SwarmEvent::ListenerClosed {
                listener_id,
                reason: Err(error),
                ..
            } => {
                let failed = waiting
                    .into_iter()
                    .find(|(listener, _)| *listener == listener_id);
                if let Some((_, address)) = failed {
                    return Err(NodeError::Listen {
                        address,
                        why: error.to_string(),
                    });
                }
                return Err(NodeError::Transport {
                    why: error.to_string(),
                });
            }
            _ => {}
        }
    }
    Ok(listening)
}

/// Where to take direct connections, and where to take those of libp2p.
///
/// Where no direct listener is asked for, there is one beside each TCP listener that the
/// system chooses a port for, or that only this machine reaches. Others have ports that
/// firewalls know, and one that they do not know would be of no use there.
fn split(listen: Vec<Multiaddr>) -> (Vec<Multiaddr>, Vec<Multiaddr>) {
    let (mut directly, others): (Vec<_>, Vec<_>) = listen.into_iter().partition(direct::is_direct);
    if directly.is_empty() {
        let beside = others.iter().filter_map(direct::plain_tcp);
        let hosts = beside.filter(|at| at.port() == 0 || at.ip().is_loopback());
        directly.extend(hosts.map(|at| direct::direct(SocketAddr::new(at.ip(), 0))));
        directly.dedup();
    }
    (directly, others)
}

async fn listen_directly_on(
    addresses: Vec<Multiaddr>,
) -> Result<Vec<(SocketAddr, tokio::net::TcpListener)>, NodeError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let failed = |why: String| NodeError::Listen {
            address: address.clone(),
            why,
        };
        let at = direct::listen_address(&address)
            .ok_or_else(|| failed("it is none of a direct listener".into()))?;
        let bound = async {
            let listener = tokio::net::TcpListener::bind(at).await?;
            Ok::<_, std::io::Error>((listener.local_addr()?, listener))
        };
        listeners.push(bound.await.map_err(|error| failed(error.to_string()))?);
    }
    Ok(listeners)
}

/// What others are told: the addresses of libp2p and of the direct listeners. Of the latter those
/// that listen everywhere are named by the hosts of the former. They come second, so that who
/// keeps only the first few has some of both.
pub(super) fn advertised<'a>(
    listening: impl Iterator<Item = &'a Multiaddr>,
    direct_at: &[SocketAddr],
) -> Vec<Multiaddr> {
    let listening: Vec<_> = listening.cloned().collect();
    let mut addresses: Vec<_> = listening.iter().take(1).cloned().collect();
    for at in direct_at {
        if at.ip().is_unspecified() {
            let hosts = listening.iter().filter_map(direct::host);
            let hosts = hosts.filter(|ip| ip.is_ipv4() == at.is_ipv4());
            addresses.extend(hosts.map(|ip| direct::direct(SocketAddr::new(ip, at.port()))));
        } else {
            addresses.push(direct::direct(*at));
        }
    }
    addresses.extend(listening.into_iter().skip(1));
    let mut seen = HashSet::new();
    addresses.retain(|address| seen.insert(address.clone()));
    addresses
}

/// libp2p binds TCP ports so that several sockets can share one. A second process on the same port
/// would then silently take half of the first one's connections; better that it does not start.
fn refuse_taken_port(address: &Multiaddr) -> Result<(), NodeError> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => {
            TcpListener::bind((ip, port))
                .map(drop)
                .map_err(|error| NodeError::Listen {
                    address: address.clone(),
                    why: error.to_string(),
                })
        }
        _ => Ok(()),
    }
}

fn with_peer(address: Multiaddr) -> Result<(PeerId, Multiaddr), NodeError> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Ok((peer, address)),
        _ => Err(NodeError::Bootstrap { address }),
    }
}
