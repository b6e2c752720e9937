//! The dealer's side: fills a pool by some entries.

use std::sync::Arc;
use std::time::Duration;

use ai_link_mpc::pool::{DealAhead, entry_bytes};
use ai_link_mpc::weights::WeightMask;
use ai_link_mpc::{DriveError, MpcError, Party, SessionSpec, drive};
use ai_link_session::links::SessionLinks;
use ai_link_session::parties;
use ai_link_wire::node::{BulkStream, FrameKind, OpenError, StreamError};
use ai_link_wire::{
    Bytes, CodecError, Digest, GroupMember, Limit, PeerKey, PoolHello, PoolPurpose, PoolRefusal,
    PoolReply, PoolTag, Role, UnixMillis, codec,
};
use futures::future::try_join_all;
use tokio::time::{Instant, timeout};

use super::paced::PacedLinks;
use super::{ENTRY_WITHIN, Proof, blocking};
use crate::cache::CacheError;
use crate::engine::Weights;
use crate::hosting::HostedError;
use crate::pool::demand::Occupation;
use crate::pool::{OpenPool, PoolKey, PoolName, PoolRecord, ShelfError};
use crate::random;
use crate::worker::Worker;

/// How long an evaluator may take to answer. It may have to read the model.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// A ticket and a few numbers.
pub(super) const HELLO: Limit = Limit::RECORD;
/// At most eight contributions, or a reason.
pub(super) const REPLY: Limit = Limit::bytes(1024);

/// Deals up to `entries` entries into the pool for `key`, which is founded if it is not there. Returns how many.
///
/// # Errors
/// [`FillError`]; what was stored before it stays.
pub(super) async fn fill(
    worker: &Arc<Worker>,
    key: &PoolKey,
    proof: &Proof,
    entries: usize,
) -> Result<usize, FillError> {
    let ticket = &proof.ticket;
    let program = worker
        .cache
        .load(ticket.commitment, ticket.manifest)
        .await
        .map_err(FillError::Model)?;
    let weights = worker.hosted.load(ticket, Role::Dealer, &program).await;
    let mask = match weights.map_err(FillError::Weights)? {
        Weights::Public => None,
        Weights::Mask(mask) => Some(mask),
        Weights::Share(_) => return Err(FillError::OtherPart),
    };
    let digest = Digest(program.digest());
    // A pool's entries have session digests of their own.
    let spec = parties::spec(ticket, Digest([0; 32]), program);
    let bytes = entry_bytes(&spec, Party::Dealer).map_err(FillError::Engine)?;
    let filling = Fill {
        worker,
        key,
        proof,
        program: digest,
        mask,
        spec,
        bytes: Bytes(bytes),
        entries: u16::try_from(entries).unwrap_or(u16::MAX),
    };
    filling.run().await
}

struct Fill<'a> {
    worker: &'a Arc<Worker>,
    key: &'a PoolKey,
    proof: &'a Proof,
    program: Digest,
    mask: Option<Arc<WeightMask>>,
    spec: SessionSpec,
    /// Of this worker's part of an entry.
    bytes: Bytes,
    entries: u16,
}

/// A pool at all workers of the group, and the streams to the evaluators.
struct Opened {
    name: PoolName,
    pool: OpenPool,
    links: SessionLinks,
}

impl Fill<'_> {
    async fn run(&self) -> Result<usize, FillError> {
        let started = self.worker.activity.occupation();
        let mut opened = self.open().await?;
        let mut dealt = 0;
        let mut result = Ok(());
        for _ in 0..self.entries {
            // A session came, even if it is over: whether to go on is decided anew.
            if started == Occupation::Busy || self.worker.activity.occupation() != started {
                break;
            }
            result = self.deal(&mut opened).await;
            if result.is_err() {
                break;
            }
            dealt += 1;
        }
        opened.links.close().await;
        match (dealt, result) {
            // What there was room and time for.
            (1.., _) => Ok(dealt),
            (_, result) => result.map(|()| 0),
        }
    }

    /// The pool that is there, or else a new one.
    async fn open(&self) -> Result<Opened, FillError> {
        let (shelf, key) = (Arc::clone(&self.worker.pools), self.key.clone());
        let known = blocking(move || shelf.find(&key))
            .await
            .map_err(FillError::Stopped)?;
        let Some((record, pool)) = known.filter(|(record, _)| record.program == self.program)
        else {
            return self.found().await;
        };
        let name = record.name();
        match self.refill(&record, &pool).await {
            Ok(links) => Ok(Opened { name, pool, links }),
            Err(FillError::Refused {
                peer,
                refusal: PoolRefusal::Unknown,
            }) => {
                tracing::info!(pool = %name, %peer, "an evaluator has dropped its part; founding another pool");
                self.found().await
            }
            Err(error) => Err(error),
        }
    }

    async fn refill(
        &self,
        record: &PoolRecord,
        pool: &OpenPool,
    ) -> Result<SessionLinks, FillError> {
        let lowest = Arc::clone(pool);
        let from = blocking(move || crate::pool::shelf::lock(&lowest).lowest())
            .await
            .map_err(FillError::Stopped)?;
        let purpose = PoolPurpose::Refill {
            pool: record.session,
            from,
        };
        let streams = self.greet(purpose).await?;
        let streams = streams
            .into_iter()
            .map(|(member, stream, _)| (parties::party_of(member.role), member.peer, stream));
        Ok(SessionLinks::new(streams))
    }

    /// Draws a number with the evaluators, and founds the pool of this number.
    async fn found(&self) -> Result<Opened, FillError> {
        let own = random::contribution().map_err(FillError::Entropy)?;
        let mut streams = self.greet(PoolPurpose::Found(own)).await?;
        let contributions = streams
            .iter()
            .map(|(member, _, drawn)| drawn.ok_or(FillError::Protocol { peer: member.peer }))
            .collect::<Result<Vec<_>, _>>()?;
        let session = PoolTag::drawn(&own, &contributions);
        let drawn = codec::encode(&PoolReply::Drawn(contributions), REPLY);
        let drawn = drawn.map_err(FillError::Encode)?;
        for (member, stream, _) in &mut streams {
            let peer = member.peer;
            let sent = stream.send(FrameKind::PoolReply, &drawn).await;
            sent.map_err(|source| FillError::Stream { peer, source })?;
        }
        let record = PoolRecord {
            key: self.key.clone(),
            program: self.program,
            session,
        };
        let (shelf, founded) = (Arc::clone(&self.worker.pools), record.clone());
        let founded = blocking(move || {
            let name = shelf.found(founded, UnixMillis::now())?;
            let (_, pool) = shelf.find(&record.key).ok_or(ShelfError::NotInGroup)?;
            Ok((name, pool))
        });
        let (name, pool) = founded
            .await
            .map_err(FillError::Stopped)?
            .map_err(FillError::Shelf)?;
        let streams = streams
            .into_iter()
            .map(|(member, stream, _)| (parties::party_of(member.role), member.peer, stream));
        Ok(Opened {
            name,
            pool,
            links: SessionLinks::new(streams),
        })
    }

    /// Opens a stream to every evaluator, in the order of the group. All must accept.
    async fn greet(
        &self,
        purpose: PoolPurpose,
    ) -> Result<Vec<(&GroupMember, BulkStream, Option<Digest>)>, FillError> {
        let hello = PoolHello {
            ticket: self.proof.signed.clone(),
            purpose,
            entries: self.entries,
        };
        let hello = codec::encode(&hello, HELLO).map_err(FillError::Encode)?;
        let evaluators = self.proof.ticket.group.iter();
        let evaluators = evaluators.filter(|m| m.role != Role::Dealer);
        try_join_all(evaluators.map(|member| self.greet_one(member, &hello))).await
    }

    async fn greet_one<'m>(
        &self,
        member: &'m GroupMember,
        hello: &[u8],
    ) -> Result<(&'m GroupMember, BulkStream, Option<Digest>), FillError> {
        let peer = member.peer;
        let stream = |source| FillError::Stream { peer, source };
        let greeting = async {
            let node = &self.worker.node;
            let opened = node.open(peer.peer_id(), &member.addresses, ANSWER_WITHIN);
            let mut open = opened
                .await
                .map_err(|source| FillError::Open { peer, source })?;
            open.send(FrameKind::PoolHello, hello)
                .await
                .map_err(stream)?;
            let reply = open.recv_bounded(FrameKind::PoolReply, REPLY.get());
            let reply = reply.await.map_err(stream)?;
            match codec::decode(&reply, REPLY).map_err(FillError::Encode)? {
                PoolReply::Accepted { contribution } => Ok((member, open, contribution)),
                PoolReply::Refused(refusal) => Err(FillError::Refused { peer, refusal }),
                PoolReply::Drawn(_) => Err(FillError::Protocol { peer }),
            }
        };
        timeout(ANSWER_WITHIN, greeting)
            .await
            .map_err(|_| FillError::Silent { peer })?
    }

    /// One entry.
    async fn deal(&self, opened: &mut Opened) -> Result<(), FillError> {
        let entropy = random::entropy().map_err(FillError::Entropy)?;
        let (shelf, name, bytes) = (Arc::clone(&self.worker.pools), opened.name, self.bytes);
        let (spec, pool, mask) = (
            self.spec.clone(),
            Arc::clone(&opened.pool),
            self.mask.clone(),
        );
        let begun = blocking(move || {
            let room = shelf.room(name, bytes).map_err(FillError::Shelf)?;
            let machine = DealAhead::new(spec, pool, mask, &entropy).map_err(FillError::Engine)?;
            Ok::<_, FillError>((room, machine))
        });
        let (room, machine) = begun.await.map_err(FillError::Stopped)??;
        let mut links = PacedLinks {
            links: &mut opened.links,
            activity: &self.worker.activity,
        };
        let deadline = (Instant::now() + ENTRY_WITHIN).into_std();
        let driven = drive(machine, &mut links, deadline).await;
        // Its drop may wait for the disk.
        blocking(move || drop(room))
            .await
            .map_err(FillError::Stopped)?;
        driven.map(drop).map_err(FillError::Drive)
    }
}

impl FillError {
    /// Whether an evaluator only has something better to do.
    pub(super) fn is_busy(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                refusal: PoolRefusal::Busy,
                ..
            }
        )
    }
}

/// Why nothing was dealt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FillError {
    #[error("dealing broke off")]
    Drive(#[source] DriveError),
    #[error("a message cannot be read or written")]
    Encode(#[source] CodecError),
    #[error("the engine cannot deal ahead")]
    Engine(#[source] MpcError),
    #[error("the operating system gave no randomness")]
    Entropy(#[source] getrandom::Error),
    #[error("the model cannot be had")]
    Model(#[source] CacheError),
    #[error("cannot reach evaluator {peer}")]
    Open {
        peer: PeerKey,
        #[source]
        source: OpenError,
    },
    #[error("this worker keeps an evaluator's part of the weights, and so cannot deal")]
    OtherPart,
    #[error("evaluator {peer} answered something else than was asked")]
    Protocol { peer: PeerKey },
    #[error("evaluator {peer} refuses: {refusal}")]
    Refused { peer: PeerKey, refusal: PoolRefusal },
    #[error("there is no pool")]
    Shelf(#[source] ShelfError),
    #[error("evaluator {peer} does not answer")]
    Silent { peer: PeerKey },
    #[error("the worker stops")]
    Stopped(#[source] tokio::task::JoinError),
    #[error("the stream to evaluator {peer} broke")]
    Stream {
        peer: PeerKey,
        #[source]
        source: StreamError,
    },
    #[error("this worker cannot use the mask of the model's weights")]
    Weights(#[source] HostedError),
}
