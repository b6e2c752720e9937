//! The task that owns the swarm.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use libp2p::request_response::{self, OutboundFailure, OutboundRequestId, ResponseChannel};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, TransportError, identify, ping};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::admission::{Admission, Permit};
use super::behaviour::{Behaviour, BehaviourEvent};
use super::capture::CaptureFile;
use super::direct::Stop;
use super::start::advertised;
use super::{AddressFailure, ConnectError, IncomingRequest, KAD_PROTOCOL, RequestError, Shared};
use crate::{CodecError, ControlRequest, ControlResponse, Limit, Refusal, WorkerRecord, codec};

/// Connections being made at a time for this process.
const MAX_DIALS: usize = 128;
/// Peers whose control messages have a capture file open.
const MAX_CAPTURES: usize = 256;
/// What a peer is told to wait when too many questions are open.
const RETRY_AFTER_MS: u32 = 500;

pub(super) enum Command {
    Connect {
        peer: PeerId,
        addrs: Vec<Multiaddr>,
        reply: oneshot::Sender<Result<(), ConnectError>>,
    },
    Request {
        peer: PeerId,
        bytes: Vec<u8>,
        reply: Answer,
    },
    Shutdown(oneshot::Sender<()>),
}

type Answer = oneshot::Sender<Result<Vec<u8>, RequestError>>;

/// An answer that this process is working on: where it goes, to whom, and what it is.
type Reply = (
    ResponseChannel<Vec<u8>>,
    PeerId,
    ControlResponse,
    Permit<PeerId>,
);

pub(super) struct Task {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    requests: mpsc::Sender<IncomingRequest>,
    listening: watch::Sender<Vec<Multiaddr>>,
    shared: Arc<Shared>,
    dials: HashMap<ConnectionId, Dial>,
    answers: HashMap<OutboundRequestId, (PeerId, Answer)>,
    admission: Admission<PeerId>,
    replies: FuturesUnordered<BoxFuture<'static, Reply>>,
    captures: HashMap<PeerId, CaptureFile>,
    direct: Vec<SocketAddr>,
    _stop: Stop,
}

struct Dial {
    peer: PeerId,
    addrs: Vec<Multiaddr>,
    waiting: Vec<oneshot::Sender<Result<(), ConnectError>>>,
}

impl Task {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        commands: mpsc::Receiver<Command>,
        requests: mpsc::Sender<IncomingRequest>,
        listening: watch::Sender<Vec<Multiaddr>>,
        shared: Arc<Shared>,
        (direct, stop): (Vec<SocketAddr>, Stop),
    ) -> Self {
        let limits = &shared.limits;
        let admission = Admission::new(limits.inbound_requests, limits.inbound_requests_per_peer);
        Self {
            swarm,
            commands,
            requests,
            listening,
            shared,
            dials: HashMap::new(),
            answers: HashMap::new(),
            admission,
            replies: FuturesUnordered::new(),
            captures: HashMap::new(),
            direct,
            _stop: stop,
        }
    }

    /// Runs until it is told to stop or nobody can tell it anything any more.
    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Connect { peer, addrs, reply }) => self.connect(peer, addrs, reply),
                    Some(Command::Request { peer, bytes, reply }) => self.ask(peer, bytes, reply),
                    Some(Command::Shutdown(done)) => {
                        drop(self);
                        // The caller may have stopped waiting.
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                event = self.swarm.select_next_some() => self.on_event(event),
                Some((channel, peer, response, permit)) = self.replies.next() => {
                    self.respond(channel, peer, &response);
                    drop(permit);
                }
            }
        }
    }

    fn connect(
        &mut self,
        peer: PeerId,
        addrs: Vec<Multiaddr>,
        reply: oneshot::Sender<Result<(), ConnectError>>,
    ) {
        // Receivers that are gone have met their deadline; nothing is to be told to them.
        let refuse = |reply: oneshot::Sender<_>, error| drop(reply.send(Err(error)));
        if peer == *self.swarm.local_peer_id() {
            return refuse(reply, ConnectError::ToSelf { peer });
        }
        if self.swarm.is_connected(&peer) {
            return drop(reply.send(Ok(())));
        }
        let same = self
            .dials
            .values_mut()
            .find(|dial| dial.peer == peer && dial.addrs == addrs);
        if let Some(dial) = same {
            dial.waiting.retain(|waiting| !waiting.is_closed());
            return dial.waiting.push(reply);
        }
        if self.dials.len() >= MAX_DIALS {
            return refuse(reply, ConnectError::Overloaded { max: MAX_DIALS });
        }
        // Always: another dial to this peer may be under way, but to other addresses.
        let options = match addrs.is_empty() {
            true => DialOpts::peer_id(peer)
                .condition(PeerCondition::Always)
                .build(),
            false => DialOpts::peer_id(peer)
                .condition(PeerCondition::Always)
                .addresses(addrs.clone())
                .extend_addresses_through_behaviour()
                .build(),
        };
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => drop(self.dials.insert(
                id,
                Dial {
                    peer,
                    addrs,
                    waiting: vec![reply],
                },
            )),
            Err(error) => refuse(reply, connect_error(peer, &error)),
        }
    }

    fn ask(&mut self, peer: PeerId, bytes: Vec<u8>, reply: Answer) {
        let max = self.shared.limits.outbound_requests;
        self.answers.retain(|_, (_, answer)| !answer.is_closed());
        if self.answers.len() >= max {
            return drop(reply.send(Err(RequestError::Overloaded { max })));
        }
        if let Err(error) = self.capture(peer, &bytes) {
            return drop(reply.send(Err(RequestError::Io {
                peer,
                source: error,
            })));
        }
        let id = self
            .swarm
            .behaviour_mut()
            .control
            .send_request(&peer, bytes);
        self.answers.insert(id, (peer, reply));
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Control(event)) => self.on_control(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => self.on_identified(peer_id, info),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event {
                connection,
                result: Ok(rtt),
                ..
            })) => self.shared.links().measured(&connection, rtt),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                let address = endpoint.get_remote_address();
                self.shared.links().made(connection_id, peer_id, address);
                let made = self.dials.extract_if(|_, dial| dial.peer == peer_id);
                for (_, dial) in made {
                    dial.waiting
                        .into_iter()
                        .for_each(|waiting| drop(waiting.send(Ok(()))));
                }
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => {
                if let Some(dial) = self.dials.remove(&connection_id) {
                    let error = connect_error(dial.peer, &error);
                    for waiting in dial.waiting {
                        drop(waiting.send(Err(error.clone())));
                    }
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                ..
            } => {
                self.shared.links().closed(&connection_id);
                if num_established == 0 {
                    self.captures.remove(&peer_id);
                }
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => {
                self.listening
                    .send_replace(advertised(self.swarm.listeners(), &self.direct));
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener had an error");
            }
            SwarmEvent::ListenerClosed {
                addresses,
                reason: Err(error),
                ..
            } => {
                tracing::error!(?addresses, %error, "no longer listening");
                self.listening
                    .send_replace(advertised(self.swarm.listeners(), &self.direct));
            }
            _ => {}
        }
    }

    /// Remembers where a peer of this network says it listens.
    fn on_identified(&mut self, peer: PeerId, info: identify::Info) {
        if info.protocols.contains(&KAD_PROTOCOL) {
            let kad = &mut self.swarm.behaviour_mut().kad;
            // What it said before is replaced, so that the list does not grow with every answer.
            kad.remove_peer(&peer);
            for address in info
                .listen_addrs
                .into_iter()
                .take(WorkerRecord::MAX_ADDRESSES)
            {
                kad.add_address(&peer, address);
            }
        }
    }

    fn on_control(&mut self, event: request_response::Event<Vec<u8>, Vec<u8>>) {
        use request_response::{Event, Message};
        match event {
            Event::Message {
                peer,
                message:
                    Message::Request {
                        request, channel, ..
                    },
                ..
            } => {
                self.on_request(peer, &request, channel);
            }
            Event::Message {
                peer,
                message:
                    Message::Response {
                        request_id,
                        response,
                    },
                ..
            } => {
                if let Some((_, answer)) = self.answers.remove(&request_id) {
                    let captured = self.capture(peer, &response);
                    let result = captured
                        .map(|()| response)
                        .map_err(|source| RequestError::Io { peer, source });
                    drop(answer.send(result));
                }
            }
            Event::OutboundFailure {
                request_id, error, ..
            } => {
                if let Some((peer, answer)) = self.answers.remove(&request_id) {
                    let timeout = self.shared.limits.request_timeout;
                    drop(answer.send(Err(request_error(peer, error, timeout))));
                }
            }
            Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "a question of another peer failed");
            }
            Event::ResponseSent { .. } => {}
        }
    }

    fn on_request(&mut self, peer: PeerId, bytes: &[u8], channel: ResponseChannel<Vec<u8>>) {
        let refuse = |task: &mut Self, channel, refusal| {
            task.respond(channel, peer, &ControlResponse::Refused(refusal));
        };
        let Some(permit) = self.admission.admit(peer) else {
            return refuse(
                self,
                channel,
                Refusal::Busy {
                    retry_after_ms: RETRY_AFTER_MS,
                },
            );
        };
        if let Err(error) = self.capture(peer, bytes) {
            tracing::error!(%peer, %error, "a question was dropped: cannot capture it");
            return refuse(self, channel, Refusal::internal("cannot write a file"));
        }
        let request: ControlRequest = match codec::decode(bytes, Limit::CONTROL) {
            Ok(request) => request,
            Err(error) => {
                return refuse(self, channel, Refusal::malformed(chain(&error)));
            }
        };
        let (reply, answer) = oneshot::channel();
        match self.requests.try_send(IncomingRequest {
            peer,
            request,
            reply,
        }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return refuse(
                    self,
                    channel,
                    Refusal::Busy {
                        retry_after_ms: RETRY_AFTER_MS,
                    },
                );
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return refuse(
                    self,
                    channel,
                    Refusal::internal("this peer takes no questions"),
                );
            }
        }
        let within = self.shared.limits.request_timeout;
        self.replies.push(Box::pin(async move {
            let response = match timeout(within, answer).await {
                Ok(Ok(response)) => response,
                Ok(Err(_)) => ControlResponse::Refused(Refusal::internal("no answer was made")),
                Err(_) => ControlResponse::Refused(Refusal::internal("no answer in time")),
            };
            (channel, peer, response, permit)
        }));
    }

    fn respond(
        &mut self,
        channel: ResponseChannel<Vec<u8>>,
        peer: PeerId,
        response: &ControlResponse,
    ) {
        let encoded = codec::encode(response, Limit::CONTROL).or_else(|error| {
            tracing::error!(%peer, error = %chain(&error), "an answer cannot be encoded");
            let refusal = Refusal::internal("the answer cannot be encoded");
            codec::encode(&ControlResponse::Refused(refusal), Limit::CONTROL)
        });
        let Ok(bytes) = encoded else {
            return;
        };
        if let Err(error) = self.capture(peer, &bytes) {
            return tracing::error!(%peer, %error, "an answer was dropped: cannot capture it");
        }
        if self
            .swarm
            .behaviour_mut()
            .control
            .send_response(channel, bytes)
            .is_err()
        {
            tracing::debug!(%peer, "the asker left before the answer");
        }
    }

    fn capture(&mut self, peer: PeerId, bytes: &[u8]) -> std::io::Result<()> {
        let Some(capture) = &self.shared.capture else {
            return Ok(());
        };
        if !self.captures.contains_key(&peer) {
            if self.captures.len() >= MAX_CAPTURES {
                self.captures.clear();
            }
            self.captures.insert(peer, capture.file(&peer)?);
        }
        self.captures[&peer].append(&[bytes])
    }
}

fn connect_error(peer: PeerId, error: &DialError) -> ConnectError {
    match error {
        DialError::LocalPeerId { .. } => ConnectError::ToSelf { peer },
        DialError::NoAddresses => ConnectError::NoAddress { peer },
        DialError::WrongPeerId { obtained, address } => ConnectError::WrongPeer {
            peer,
            found: *obtained,
            address: address.clone(),
        },
        DialError::Transport(failures) => ConnectError::Unreachable {
            peer,
            failures: failures
                .iter()
                .map(|(address, error)| AddressFailure {
                    address: address.clone(),
                    why: match error {
                        TransportError::MultiaddrNotSupported(_) => {
                            "no transport for this address".into()
                        }
                        TransportError::Other(error) => chain(error),
                    },
                })
                .collect(),
        },
        denied @ (DialError::Denied { .. }
        | DialError::Aborted
        | DialError::DialPeerConditionFalse(_)) => ConnectError::Denied {
            peer,
            why: chain(denied),
        },
    }
}

fn request_error(
    peer: PeerId,
    failure: OutboundFailure,
    timeout: std::time::Duration,
) -> RequestError {
    match failure {
        OutboundFailure::DialFailure | OutboundFailure::ConnectionClosed => {
            RequestError::Closed { peer }
        }
        OutboundFailure::Timeout => RequestError::Deadline {
            peer,
            deadline: timeout,
        },
        OutboundFailure::UnsupportedProtocols => RequestError::Unsupported { peer },
        OutboundFailure::Io(error) => {
            // The codec says so when the answer is longer than any.
            match error.downcast::<CodecError>() {
                Ok(source) => RequestError::Malformed { peer, source },
                Err(source) => RequestError::Io { peer, source },
            }
        }
    }
}

/// An error with its causes, for a place that keeps only text.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
