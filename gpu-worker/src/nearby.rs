//! Where this worker's caches pull from: another worker that has it already, or storage.
//!
//! A coordinator names workers that announced what is wanted. One or two of them are asked for a copy; whatever
//! goes wrong, storage is asked as if there were none. Nothing is believed: a copy counts only when it hashes to its name, the same test that what
//! comes from storage has to pass.
//!
//! In the other direction, this worker sends what its caches hold, to workers that the chain knows. That gives
//! away nothing that storage does not give to anyone who knows the name: packages as their owners published
//! them, and inputs as their owners sealed them. An input with a location policy is not sent at all, since this
//! worker cannot tell where another one is. Parts of private weights are in neither cache.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ai_link_session::copies;
use ai_link_storage::HttpStore;
use ai_link_wire::node::{BulkStream, Node};
use ai_link_wire::{
    ControlRequest, ControlResponse, CopyHello, CopyOf, CopyReply, Held, Holder, PeerId, PeerKey,
};
use tokio::fs::File;

use crate::announce::Coordinator;
use crate::worker::Worker;

/// How long a coordinator may take to name holders.
const NAMED_WITHIN: Duration = Duration::from_secs(2);
/// Holders that are asked before storage is.
const TRIES: usize = 2;
/// Copies that are sent at a time.
pub(crate) const COPIES_AT_ONCE: usize = 4;

/// Storage, and the workers around.
#[derive(Clone, Debug)]
pub struct Source {
    pub(crate) storage: HttpStore,
    neighbours: Option<Arc<Neighbours>>,
}

/// How other workers are found and reached.
pub(crate) struct Neighbours {
    node: Node,
    coordinators: Vec<Coordinator>,
}

impl fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Neighbours")
            .field("coordinators", &self.coordinators)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// Storage alone.
    pub fn storage(storage: HttpStore) -> Self {
        Self {
            storage,
            neighbours: None,
        }
    }

    /// Storage, and workers that `coordinators` name.
    pub(crate) fn with_neighbours(
        storage: HttpStore,
        node: Node,
        coordinators: Vec<Coordinator>,
    ) -> Self {
        let neighbours = Neighbours { node, coordinators };
        Self {
            storage,
            neighbours: Some(Arc::new(neighbours)),
        }
    }

    /// A copy of at most `most` bytes that `is_it` takes for what was wanted, from a worker that is known to have
    /// `held`. `None`: ask storage.
    pub(crate) async fn nearby(
        &self,
        held: Held,
        what: CopyOf,
        most: u64,
        is_it: impl Fn(&[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        let neighbours = self.neighbours.as_ref()?;
        for holder in neighbours.holders(held).await.iter().take(TRIES) {
            let peer = holder.peer;
            match copies::fetch(&neighbours.node, holder, what, most).await {
                Ok(copy) if is_it(&copy) => {
                    tracing::info!(%peer, ?what, bytes = copy.len(), "copied from another worker");
                    return Some(copy);
                }
                Ok(_) => tracing::warn!(%peer, ?what, "a copy is not what was asked for"),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(%peer, ?what, error, "no copy from this worker");
                }
            }
        }
        None
    }
}

impl Neighbours {
    /// Who has it, as the first coordinator says that knows anybody.
    async fn holders(&self, held: Held) -> Vec<Holder> {
        for coordinator in &self.coordinators {
            let (peer, addresses) = (coordinator.peer, &coordinator.addresses);
            let request = ControlRequest::Holders(held);
            let asked = self.node.request(peer, addresses, request, NAMED_WITHIN);
            if let Ok(ControlResponse::Holders(holders)) = asked.await
                && !holders.is_empty()
            {
                return holders;
            }
        }
        Vec::new()
    }
}

/// Sends another worker a copy of something that is here.
pub(crate) async fn incoming(
    worker: Arc<Worker>,
    peer: PeerId,
    mut stream: BulkStream,
    hello: CopyHello,
) {
    let sent = match find(&worker, peer, hello.what).await {
        Ok((file, bytes, _turn)) => copies::send(&mut stream, bytes, file).await,
        Err(refusal) => copies::refuse(&mut stream, refusal).await,
    };
    if let Err(error) = sent {
        tracing::debug!(%peer, error = &error as &dyn std::error::Error, "a copy was not sent");
    }
}

/// The file that holds it, its size, and a turn to send it.
async fn find(
    worker: &Worker,
    peer: PeerId,
    what: CopyOf,
) -> Result<(File, u64, impl Sized), CopyReply> {
    let turn = Arc::clone(&worker.copies).try_acquire_owned();
    let turn = turn.map_err(|_| CopyReply::Busy)?;
    let path = match what {
        CopyOf::Package(commitment) => Some(worker.cache.path(commitment)),
        CopyOf::Object(fid) => worker.objects.to_copy(ai_link_storage::Fid(fid.0)),
    };
    let path = path.ok_or(CopyReply::NotHere)?;
    // Opened before the chain is asked: that something is not here is free to find out.
    let file = File::open(path).await.map_err(|_| CopyReply::NotHere)?;
    let bytes = file.metadata().await.map_err(|_| CopyReply::NotHere)?.len();
    let key = PeerKey::try_from(peer).map_err(|_| CopyReply::NotAWorker)?;
    match worker.registry.worker(key).await {
        Ok(Some(_)) => Ok((file, bytes, turn)),
        Ok(None) => Err(CopyReply::NotAWorker),
        Err(_) => Err(CopyReply::Busy),
    }
}
