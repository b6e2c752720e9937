//! Offering this worker to a coordinator, and saying that it is alive.

use std::sync::Arc;
use std::time::Duration;

use ai_link_mpc::Party;
use ai_link_wire::node::RequestError;
use ai_link_wire::{
    ControlRequest, ControlResponse, Heartbeat, LocationText, Multiaddr, PeerId, PoolOffer,
    Refusal, Signed, UnixMillis, WorkerRecord,
};
use tokio::time::sleep;

use crate::tally::Unheard;
use crate::worker::Worker;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// After a coordinator could not be reached.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// An offer is renewed when the coordinator forgot it, so it need not last.
const OFFER_VALID: Duration = Duration::from_secs(3600);
/// However often a coordinator asks for heartbeats, this is the most often it gets them.
const MIN_BEAT: Duration = Duration::from_millis(100);

/// A coordinator and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Coordinator {
    pub(crate) peer: PeerId,
    pub(crate) addresses: Vec<Multiaddr>,
}

/// Registers with `coordinator`, then beats, for ever; registers again when it was forgotten.
pub(crate) async fn announce(worker: Arc<Worker>, coordinator: Coordinator) {
    let mut reachable = true;
    loop {
        match register(&worker, &coordinator).await {
            Ok(every) => {
                reachable = true;
                tracing::info!(coordinator = %coordinator.peer, "registered");
                beat(&worker, &coordinator, every).await;
            }
            Err(error) if reachable => {
                reachable = false;
                tracing::warn!(coordinator = %coordinator.peer, %error, "cannot register; trying on");
            }
            Err(_) => {}
        }
        sleep(RETRY_EVERY).await;
    }
}

/// Returns how often the coordinator wants to hear from us.
async fn register(worker: &Worker, coordinator: &Coordinator) -> Result<Duration, AnnounceError> {
    let site = worker.config.site.as_ref();
    let record = WorkerRecord {
        peer: worker.identity.peer_key(),
        operator: worker.operator,
        addresses: worker.addresses(),
        roles: worker.config.role_set(),
        levels: worker.levels(),
        regions: worker.config.regions.clone(),
        site: site.and_then(|site| LocationText::new(site.to_json())),
        cores: worker.device.units(),
        memory: worker.device.memory(),
        cached_models: worker.cache.commitments(),
        price_per_job: worker.config.price_per_job,
        software: worker.software.clone(),
    };
    let now = UnixMillis::now();
    let signed = Signed::sign(
        &worker.identity,
        record,
        now,
        now.saturating_add(OFFER_VALID),
    )?;
    match ask(worker, coordinator, ControlRequest::Register(signed)).await? {
        ControlResponse::Registered { heartbeat_every_ms } => {
            Ok(Duration::from_millis(heartbeat_every_ms.into()).max(MIN_BEAT))
        }
        ControlResponse::Refused(refusal) => Err(AnnounceError::Refused(refusal)),
        _ => Err(AnnounceError::Protocol),
    }
}

/// Beats until the coordinator does not answer or no longer knows us.
async fn beat(worker: &Worker, coordinator: &Coordinator, every: Duration) {
    // The first one at once: it tells the capacity, of which the coordinator assumes the least until then.
    loop {
        let heartbeat = Heartbeat {
            peer: worker.identity.peer_key(),
            active_jobs: worker.active(),
            capacity: worker.config.capacity,
            cached_models: worker.cache.commitments(),
            pools: offers(worker).await,
            hosted: worker.hosted.announced(),
            keys: worker.keys.announced(),
            inputs: worker.objects.inputs(),
        };
        let now = UnixMillis::now();
        let Ok(signed) = Signed::sign(
            &worker.identity,
            heartbeat,
            now,
            now.saturating_add(every * 4),
        ) else {
            return;
        };
        match ask(worker, coordinator, ControlRequest::Heartbeat(signed)).await {
            Ok(ControlResponse::HeartbeatOk) => sleep(every).await,
            Ok(ControlResponse::Refused(refusal)) => {
                tracing::info!(%refusal, "the coordinator refuses the heartbeat; registering again");
                return;
            }
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(coordinator = %coordinator.peer, %error, "no answer to a heartbeat");
                return;
            }
        }
    }
}

/// The pools that sessions could take from, as their dealer announces them.
async fn offers(worker: &Worker) -> Vec<PoolOffer> {
    let shelf = Arc::clone(&worker.pools);
    let levels = tokio::task::spawn_blocking(move || shelf.levels()).await;
    let levels = levels.unwrap_or_default().into_iter();
    levels
        .filter(|level| level.part == Party::Dealer && level.entries > 0)
        .map(|level| PoolOffer {
            pool: level.record.session,
            commitment: level.record.key.commitment,
            batch: level.record.key.batch,
            group: level.record.key.members(),
            level: u32::try_from(level.entries).unwrap_or(u32::MAX),
        })
        .take(Heartbeat::MAX_POOLS)
        .collect()
}

async fn ask(
    worker: &Worker,
    coordinator: &Coordinator,
    request: ControlRequest,
) -> Result<ControlResponse, RequestError> {
    let answer = worker
        .node
        .request(
            coordinator.peer,
            &coordinator.addresses,
            request,
            ANSWER_WITHIN,
        )
        .await;
    let outcome = match &answer {
        Ok(ControlResponse::Refused(_)) => Err(Unheard::Refused),
        Ok(_) => Ok(()),
        Err(_) => Err(Unheard::Unreachable),
    };
    worker.tally.announcements.count((), outcome);
    answer
}

#[derive(Debug, thiserror::Error)]
enum AnnounceError {
    #[error("the coordinator's answer does not fit the question")]
    Protocol,
    #[error("the coordinator refuses: {0}")]
    Refused(Refusal),
    #[error("the coordinator does not answer: {0}")]
    Request(#[from] RequestError),
    #[error("cannot sign the offer: {0}")]
    Sign(#[from] ai_link_wire::SignError),
}
