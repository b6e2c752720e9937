//! Taking a part of private weights from its owner.

use std::error::Error;
use std::time::Duration;

use ai_link_program::Program;
use ai_link_wire::node::{BulkStream, FrameKind, StreamError};
use ai_link_wire::{
    Hosting, HostingRefusal, HostingReply, Limit, PeerId, PeerKey, Role, Signed, UnixMillis, codec,
};
use std::sync::Arc;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{HostedError, parse};
use crate::engine::Weights;
use crate::worker::Worker;

/// How long the whole delivery may take.
const DELIVER_WITHIN: Duration = Duration::from_secs(15 * 60);
/// Largest frame of a delivery. A part is sent in frames of this size, and the last one with what is left.
const CHUNK: usize = 1 << 20;
/// A word, and a reason of at most 256 bytes.
const REPLY: Limit = Limit::bytes(1024);

/// A hosting that holds, for this worker.
struct Accepted {
    hosting: Hosting,
    role: Role,
    program: Arc<Program>,
    /// Size of this worker's part.
    bytes: usize,
}

/// Checks the owner's record, takes the part, stores it, and says so.
pub(crate) async fn receive(
    worker: &Arc<Worker>,
    peer: PeerId,
    mut stream: BulkStream,
    signed: &Signed<Hosting>,
) {
    stream.set_deadline(Instant::now() + DELIVER_WITHIN);
    let outcome = match taken(worker, peer, &mut stream, signed).await {
        Ok(()) => HostingReply::Stored,
        Err(Failure::Refuse(refusal)) => {
            tracing::info!(%peer, %refusal, "hosting refused");
            HostingReply::Refused(refusal)
        }
        Err(Failure::Stream(error)) => {
            tracing::info!(%peer, error = &error as &dyn Error, "hosting broke off");
            return;
        }
    };
    let _ = send(&mut stream, &outcome).await;
    let _ = stream.close().await;
}

async fn taken(
    worker: &Arc<Worker>,
    peer: PeerId,
    stream: &mut BulkStream,
    signed: &Signed<Hosting>,
) -> Result<(), Failure> {
    // One at a time: a part is in memory as a whole before it is stored.
    let _turn = worker
        .hosting_turn
        .try_acquire()
        .map_err(|_| HostingRefusal::Busy)?;
    let accepted = admit(worker, peer, signed).await?;
    let room = worker.hosted.reserve(accepted.bytes).map_err(refusal)?;
    let bytes = accepted.bytes as u64;
    send(stream, &HostingReply::Send { bytes }).await?;
    let part = read(stream, accepted.bytes).await?;
    let (hosted, signed) = (Arc::clone(&worker.hosted), signed.clone());
    // Checks and disk take seconds for a large model.
    let storing = move || {
        check(&accepted, &part).map_err(HostingRefusal::part)?;
        let Accepted { hosting, role, .. } = accepted;
        hosted
            .store(&signed, &hosting, role, &part, room)
            .map_err(refusal)?;
        tracing::info!(model = %hosting.model, version = %hosting.version, %role, "keeps private weights");
        Ok::<_, HostingRefusal>(())
    };
    let stored = tokio::task::spawn_blocking(storing).await;
    Ok(stored.map_err(HostingRefusal::internal)??)
}

/// What the record says must be what the chain says: the signer owns the model, the package is the one on chain, and
/// the workers belong to the operators that are named, which are distinct.
async fn admit(
    worker: &Worker,
    peer: PeerId,
    signed: &Signed<Hosting>,
) -> Result<Accepted, HostingRefusal> {
    let hosting = signed
        .verify(UnixMillis::now())
        .map_err(HostingRefusal::invalid)?;
    hosting.check().map_err(HostingRefusal::invalid)?;
    let owner = signed.signer();
    if owner.account() != hosting.owner || PeerKey::try_from(peer).ok() != Some(owner) {
        return Err(HostingRefusal::invalid(
            "it is not signed and brought by the owner it names",
        ));
    }
    let role = hosting
        .role_of(&worker.identity.peer_key())
        .ok_or_else(|| HostingRefusal::invalid("this worker is not in the group"))?;
    let registry = &worker.registry;
    let unanswered = |error: &dyn Error| HostingRefusal::model_unavailable(crate::chain(error));
    let model = registry.model(&hosting.model).await;
    let model = model.map_err(|e| unanswered(&e))?;
    if model.map(|model| model.owner) != Some(hosting.owner) {
        return Err(HostingRefusal::invalid(
            "the signer does not own the model on the chain",
        ));
    }
    let release = registry.version(&hosting.model, hosting.version).await;
    let release = release
        .map_err(|e| unanswered(&e))?
        .ok_or_else(|| HostingRefusal::model_unavailable("this version is not on the chain"))?;
    if release.commitment != hosting.commitment {
        return Err(HostingRefusal::invalid(
            "the chain has another commitment for this version",
        ));
    }
    for host in &hosting.group {
        let bonded = registry.worker(host.peer).await;
        let bonded = bonded.map_err(|e| unanswered(&e))?;
        if bonded.map(|bonded| bonded.operator) != Some(host.operator) {
            return Err(HostingRefusal::invalid(format!(
                "worker {} is not registered on chain for operator {}",
                host.peer, host.operator
            )));
        }
    }
    let program = worker
        .cache
        .load(release.commitment, release.manifest)
        .await
        .map_err(|e| unanswered(&e))?;
    if program.parameters().is_empty() {
        return Err(HostingRefusal::Public);
    }
    Ok(Accepted {
        bytes: part_bytes(role, &program),
        hosting: hosting.clone(),
        role,
        program,
    })
}

/// The exact size of a part, which follows from the program.
fn part_bytes(role: Role, program: &Program) -> usize {
    match role {
        Role::Dealer => ai_link_mpc::weights::mask_bytes(),
        Role::Evaluator(_) => ai_link_mpc::weights::share_bytes(program),
    }
}

async fn read(stream: &mut BulkStream, bytes: usize) -> Result<Zeroizing<Vec<u8>>, StreamError> {
    let mut frames = Vec::new();
    let mut left = bytes;
    while left > 0 {
        let frame = stream.recv_exact(FrameKind::Data, left.min(CHUNK)).await?;
        left -= frame.len();
        frames.push(Zeroizing::new(frame));
    }
    // All at once, when everything has come: a buffer that grows leaves copies behind that nobody wipes.
    let mut part = Zeroizing::new(Vec::with_capacity(bytes));
    frames
        .iter()
        .for_each(|frame| part.extend_from_slice(frame));
    Ok(part)
}

/// That the bytes are this worker's part of the very sharing that the record names.
fn check(accepted: &Accepted, part: &[u8]) -> Result<(), String> {
    let weights = parse(accepted.role, part, &accepted.program).map_err(|e| crate::chain(&e))?;
    let sharing = match &weights {
        Weights::Mask(mask) => mask.sharing(),
        Weights::Share(share) => share.sharing(),
        Weights::Public => return Err("nothing was sent".into()),
    };
    match sharing == accepted.hosting.sharing.0 {
        true => Ok(()),
        false => Err("they are of another sharing than the record names".into()),
    }
}

async fn send(stream: &mut BulkStream, reply: &HostingReply) -> Result<(), Failure> {
    let bytes = codec::encode(reply, REPLY).map_err(HostingRefusal::internal)?;
    Ok(stream.send(FrameKind::HostingReply, &bytes).await?)
}

fn refusal(error: HostedError) -> HostingRefusal {
    match error {
        HostedError::Full { need, free, limit } => HostingRefusal::Full { need, free, limit },
        error => {
            // Paths and details of the disk stay in this worker's log.
            tracing::error!(error = &error as &dyn Error, "cannot store private weights");
            HostingRefusal::internal("its store failed, or holds as many parts as it can announce")
        }
    }
}

/// Why a part was not taken.
enum Failure {
    Refuse(HostingRefusal),
    Stream(StreamError),
}

impl From<HostingRefusal> for Failure {
    fn from(refusal: HostingRefusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}
