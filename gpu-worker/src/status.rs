//! What a worker tells its operator: a file in its data directory, for `ai-link doctor` and monitoring.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ai_link_mpc::Party;
use ai_link_wire::{Bytes, Commitment};
use serde::{Deserialize, Serialize};

use crate::fhe::KeyShelf;
use crate::pool::Shelf;
use crate::worker::Worker;

/// How often the file is looked at; it is written when something changed.
const EVERY: Duration = Duration::from_millis(500);
const FILE: &str = "status.json";

/// A worker's pools and keys.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct WorkerStatus {
    /// Bytes of all pools.
    pub pool_bytes: Bytes,
    /// What they may take.
    pub pool_limit: Bytes,
    /// Each of them.
    pub pools: Vec<PoolStatus>,
    /// Clients' evaluation keys on disk.
    #[serde(default)]
    pub keys: usize,
    /// Their bytes.
    #[serde(default)]
    pub key_bytes: Bytes,
}

/// A pool.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PoolStatus {
    /// Its name.
    pub pool: String,
    /// The model that it is for.
    pub model: Commitment,
    /// Records of a session.
    pub batch: u32,
    /// `dealer`, or `evaluator 0` and so on.
    pub part: String,
    /// Sessions that it can serve.
    pub entries: usize,
    /// Bytes of this worker's part.
    pub bytes: Bytes,
}

impl WorkerStatus {
    /// The status of the worker whose data directory is `data`.
    ///
    /// # Errors
    /// When there is none, or it is of another version.
    pub fn load(data: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(data.join(FILE))?)?)
    }

    fn of(shelf: &Shelf, keys: &KeyShelf) -> Self {
        let levels = shelf.levels();
        let pools: Vec<PoolStatus> = levels
            .into_iter()
            .map(|level| PoolStatus {
                pool: level.name.to_string(),
                model: level.record.key.commitment,
                batch: level.record.key.batch,
                part: Party::to_string(&level.part),
                entries: level.entries,
                bytes: level.bytes,
            })
            .collect();
        let (keys, key_bytes) = keys.kept();
        Self {
            keys,
            key_bytes,
            pool_bytes: Bytes(pools.iter().map(|pool| pool.bytes.0).sum()),
            pool_limit: shelf.limit(),
            pools,
        }
    }

    /// A reader sees the old file or the new one, never half of one.
    fn save(&self, data: &Path) -> io::Result<()> {
        let path = data.join(FILE);
        let part = path.with_extension("part");
        fs::write(&part, serde_json::to_vec_pretty(self)?)?;
        fs::rename(part, path)
    }
}

/// Keeps the file up to date.
pub(crate) async fn keep(worker: Arc<Worker>) {
    let mut told = None;
    loop {
        let (shelf, keys) = (Arc::clone(&worker.pools), Arc::clone(&worker.keys));
        let looking = tokio::task::spawn_blocking(move || WorkerStatus::of(&shelf, &keys));
        let Ok(now) = looking.await else {
            return;
        };
        if told.as_ref() != Some(&now) {
            match now.save(&worker.config.data) {
                Ok(()) => told = Some(now),
                Err(error) => tracing::debug!(%error, "cannot write the status"),
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
