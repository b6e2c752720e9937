//! Private weights: sharing them among three workers.
//!
//! What a model's owner does once for each hosting group: choose three workers of distinct operators, share the weights
//! ([`ai_link_mpc::weights`]), and bring each worker its part over an authenticated, encrypted stream, along with a
//! signed [`Hosting`]. Only the owner's machine ever has two parts. A worker's word that it stored its part comes after
//! the part is on its disk.
//!
//! A coordinator may propose the workers. It is not trusted: operators are checked on the chain, and a coordinator that
//! proposes workers in the same hands needs bonds of three operators for it. Who wants to choose names the workers.

use std::time::Duration;

use ai_link_mpc::Secret32;
use ai_link_mpc::weights::{SharedWeights, WeightError};
use ai_link_program::{Package, PrivateWeights};
use ai_link_registry::{QueryError, Registry};
use ai_link_wire::node::{
    BulkStream, FrameKind, Node, NodeConfig, NodeError, OpenError, RequestError, StreamError,
};
use ai_link_wire::{
    AccountId, CodecError, Commitment, ControlRequest, ControlResponse, Digest, GroupMember, Host,
    Hosting, HostingError, HostingRefusal, HostingReply, HostsRequest, Identity, Limit, ModelName,
    ModelVersion, Multiaddr, PeerKey, Refusal, Role, SignError, Signed, UnixMillis, codec,
};
use futures::future::join_all;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::client::Coordinator;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const OPEN_WITHIN: Duration = Duration::from_secs(15);
/// How long one part may take to be delivered and stored.
const DELIVER_WITHIN: Duration = Duration::from_secs(15 * 60);
/// A part travels in frames of this size, and the last one with what is left: so a worker reads it.
const CHUNK: usize = 1 << 20;
const RECORD: Limit = Limit::bytes(4096);
const REPLY: Limit = Limit::bytes(1024);

/// What is to be hosted.
#[derive(Debug)]
pub struct Hostable<'a> {
    /// The model.
    pub model: ModelName,
    /// Its version, which is on the chain.
    pub version: ModelVersion,
    /// Its package's bytes hash to this.
    pub commitment: Commitment,
    /// The public half.
    pub package: &'a Package,
    /// The private half.
    pub weights: &'a PrivateWeights,
}

/// Who is to host.
#[derive(Clone, Debug)]
pub enum Hosts {
    /// Whom a coordinator proposes, without these.
    Any {
        /// Workers that are not wanted.
        exclude: Vec<PeerKey>,
    },
    /// These: evaluator 0, evaluator 1 and dealer. A coordinator says where they are.
    Named([PeerKey; 3]),
}

/// Weights that are hosted.
#[derive(Clone, Debug)]
pub struct Hosted {
    /// What every worker of the group has stored.
    pub hosting: Hosting,
    /// Bytes of the three parts, in the order of [`Role::TRIO`].
    pub bytes: [usize; 3],
}

/// A model's owner, connected to the network.
#[derive(Debug)]
pub struct Owner {
    identity: Identity,
    node: Node,
    registry: Registry,
    coordinator: Coordinator,
}

impl Owner {
    /// Starts a node that dials only. `coordinator` ends in `/p2p/PEER`.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn start(
        identity: Identity,
        registry: Registry,
        coordinator: &Multiaddr,
    ) -> Result<Self, HostError> {
        let coordinator = Coordinator::parse(coordinator).map_err(|_| HostError::Address {
            address: coordinator.clone(),
        })?;
        let (node, _) = Node::start(NodeConfig::client(identity.clone()))
            .await
            .map_err(HostError::Node)?;
        Ok(Self {
            identity,
            node,
            registry,
            coordinator,
        })
    }

    /// Shares the weights afresh and brings every worker its part. When this returns, all three have it on disk.
    ///
    /// # Errors
    /// [`HostError`]. Workers that have stored their part of this sharing keep it, of no use to anyone, until the next
    /// try replaces it.
    pub async fn host(&self, what: &Hostable<'_>, hosts: &Hosts) -> Result<Hosted, HostError> {
        let group = self.group(what, hosts).await?;
        self.check(&group).await?;
        let shared = share(what)?;
        let hosting = Hosting {
            owner: self.identity.account(),
            model: what.model.clone(),
            version: what.version,
            commitment: what.commitment,
            sharing: Digest(shared.mask.sharing()),
            group: group.each_ref().map(|member| Host {
                peer: member.peer,
                operator: member.operator,
            }),
        };
        hosting.check().map_err(HostError::Group)?;
        let now = UnixMillis::now();
        let until = now.saturating_add(DELIVER_WITHIN);
        let signed =
            Signed::sign(&self.identity, hosting.clone(), now, until).map_err(HostError::Sign)?;
        let [zero, one] = &shared.evaluators;
        let parts = [zero.to_bytes(), one.to_bytes(), shared.mask.to_bytes()];
        drop(shared);
        let bytes = parts.each_ref().map(|part| part.len());
        let delivering = group
            .iter()
            .zip(&parts)
            .map(|(member, part)| self.deliver(member, &signed, part));
        let failed: Vec<_> = join_all(delivering)
            .await
            .into_iter()
            .filter_map(Result::err)
            .collect();
        match failed.is_empty() {
            true => Ok(Hosted { hosting, bytes }),
            false => Err(HostError::Delivery(failed)),
        }
    }

    /// Three workers, in the order of their roles, with where they are.
    async fn group(
        &self,
        what: &Hostable<'_>,
        hosts: &Hosts,
    ) -> Result<[GroupMember; 3], HostError> {
        let (named, exclude) = match hosts {
            Hosts::Any { exclude } => (Vec::new(), exclude.clone()),
            Hosts::Named(peers) => (peers.to_vec(), Vec::new()),
        };
        let request = HostsRequest {
            model: what.model.clone(),
            version: what.version,
            named,
            exclude,
        };
        let coordinator = &self.coordinator;
        let answer = self.node.request(
            coordinator.peer,
            &coordinator.addresses,
            ControlRequest::Hosts(request),
            ANSWER_WITHIN,
        );
        let group = match answer.await.map_err(HostError::Coordinator)? {
            ControlResponse::Hosts(group) => group,
            ControlResponse::NoMatch { reasons } => return Err(HostError::NoHosts { reasons }),
            ControlResponse::Refused(refusal) => return Err(HostError::Refused(refusal)),
            _ => return Err(HostError::Protocol),
        };
        let group: [GroupMember; 3] = group.try_into().map_err(|_| HostError::Protocol)?;
        let asked = match hosts {
            Hosts::Any { exclude } => group.iter().all(|m| !exclude.contains(&m.peer)),
            Hosts::Named(peers) => group.iter().map(|m| &m.peer).eq(peers),
        };
        let in_order = group.iter().map(|m| m.role).eq(Role::TRIO);
        match asked && in_order {
            true => Ok(group),
            false => Err(HostError::Protocol),
        }
    }

    /// That every worker is registered for the operator that the coordinator names.
    async fn check(&self, group: &[GroupMember; 3]) -> Result<(), HostError> {
        for member in group {
            let bonded = self.registry.worker(member.peer).await;
            let bonded = bonded.map_err(HostError::Chain)?;
            if bonded.map(|bonded| bonded.operator) != Some(member.operator) {
                return Err(HostError::Worker {
                    peer: member.peer,
                    named: member.operator,
                });
            }
        }
        Ok(())
    }

    async fn deliver(
        &self,
        member: &GroupMember,
        signed: &Signed<Hosting>,
        part: &Zeroizing<Vec<u8>>,
    ) -> Result<(), DeliveryError> {
        let peer = member.peer;
        let because = |source| DeliveryError {
            peer,
            role: member.role,
            source,
        };
        let opening = self
            .node
            .open(peer.peer_id(), &member.addresses, OPEN_WITHIN);
        let mut stream = opening.await.map_err(|e| because(e.into()))?;
        stream.set_deadline(Instant::now() + DELIVER_WITHIN);
        hand_over(&mut stream, signed, part).await.map_err(because)
    }
}

async fn hand_over(
    stream: &mut BulkStream,
    signed: &Signed<Hosting>,
    part: &[u8],
) -> Result<(), DeliveryFailure> {
    let record = codec::encode(signed, RECORD)?;
    stream.send(FrameKind::Hosting, &record).await?;
    match reply(stream).await? {
        HostingReply::Send { bytes } if bytes == part.len() as u64 => {}
        HostingReply::Send { bytes } => {
            return Err(DeliveryFailure::Size {
                asked: bytes,
                part: part.len(),
            });
        }
        HostingReply::Refused(refusal) => return Err(DeliveryFailure::Refused(refusal)),
        HostingReply::Stored => return Err(DeliveryFailure::Order),
    }
    for chunk in part.chunks(CHUNK) {
        stream.send(FrameKind::Data, chunk).await?;
    }
    match reply(stream).await? {
        HostingReply::Stored => Ok(()),
        HostingReply::Refused(refusal) => Err(DeliveryFailure::Refused(refusal)),
        HostingReply::Send { .. } => Err(DeliveryFailure::Order),
    }
}

async fn reply(stream: &mut BulkStream) -> Result<HostingReply, DeliveryFailure> {
    let bytes = stream
        .recv_bounded(FrameKind::HostingReply, REPLY.get())
        .await?;
    Ok(codec::decode(&bytes, REPLY)?)
}

fn share(what: &Hostable<'_>) -> Result<SharedWeights, HostError> {
    let mut entropy = Zeroizing::new([0; 32]);
    getrandom::fill(entropy.as_mut()).map_err(HostError::Entropy)?;
    let entropy = Secret32::new(*entropy);
    let parameters = what.weights.parameters();
    ai_link_mpc::weights::share(&what.package.program, parameters, &entropy)
        .map_err(HostError::Share)
}

/// Why weights are not hosted.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// An address without a peer.
    #[error("the coordinator address {address} must end in /p2p/ and an ed25519 peer id")]
    Address {
        /// As given.
        address: Multiaddr,
    },
    /// The chain did not answer.
    #[error("cannot check the workers on the chain")]
    Chain(#[source] QueryError),
    /// The coordinator did not answer.
    #[error("the coordinator does not answer")]
    Coordinator(#[source] RequestError),
    /// Some workers do not have their part.
    #[error("{} of the three workers did not store their part: {}", .0.len(), listed(.0))]
    Delivery(Vec<DeliveryError>),
    /// No randomness, so nothing was shared.
    #[error("the operating system gave no randomness, so nothing was shared")]
    Entropy(#[source] getrandom::Error),
    /// A group that would have the weights.
    #[error("the group would have the weights")]
    Group(#[source] HostingError),
    /// No three workers of distinct operators.
    #[error("no three workers of distinct operators can host: {}", crate::error::listed(.reasons))]
    NoHosts {
        /// Why each candidate was left out.
        reasons: Vec<ai_link_wire::CandidateRefusal>,
    },
    /// The network.
    #[error("cannot start the network node")]
    Node(#[source] NodeError),
    /// An answer to another question.
    #[error("the coordinator's answer does not fit the question")]
    Protocol,
    /// The coordinator refuses.
    #[error("the coordinator refuses: {0}")]
    Refused(Refusal),
    /// The weights are not those of the package.
    #[error("the weights cannot be shared")]
    Share(#[source] WeightError),
    /// A record too large to sign.
    #[error("cannot sign the hosting")]
    Sign(#[source] SignError),
    /// A worker that is not that operator's.
    #[error("worker {peer} is not registered on chain for operator {named}")]
    Worker {
        /// The worker.
        peer: PeerKey,
        /// As the coordinator says.
        named: AccountId,
    },
}

/// A worker that did not store its part.
#[derive(Debug, thiserror::Error)]
#[error("{role} {peer}")]
pub struct DeliveryError {
    /// The worker.
    pub peer: PeerKey,
    /// The part.
    pub role: Role,
    /// Why.
    #[source]
    pub source: DeliveryFailure,
}

/// Why a part is not stored.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryFailure {
    /// Its answer is none.
    #[error("it answered with something else")]
    Codec(#[from] CodecError),
    /// It cannot be reached.
    #[error("it cannot be reached")]
    Open(#[from] OpenError),
    /// It answers what was not asked.
    #[error("its answers come in another order than they should")]
    Order,
    /// It refuses.
    #[error("it refuses: {0}")]
    Refused(HostingRefusal),
    /// It has another program.
    #[error("it wants {asked} bytes, its part has {part}")]
    Size {
        /// What it asks for.
        asked: u64,
        /// Bytes of its part.
        part: usize,
    },
    /// The stream broke.
    #[error("the stream broke")]
    Stream(#[from] StreamError),
}

fn listed(errors: &[DeliveryError]) -> String {
    let each: Vec<String> = errors
        .iter()
        .map(|error| format!("{error}: {}", error.source))
        .collect();
    each.join("; ")
}
