//! What a store remembers about its nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::StorageError;
use crate::location::Site;
use crate::node::{NodeError, NodeStatus, StorageNode};

/// How long a node that failed is asked last.
const PENALTY: Duration = Duration::from_secs(10);

/// A node, where it was registered to be, and how it behaves.
pub(super) struct Member {
    pub(super) node: Arc<dyn StorageNode>,
    pub(super) site: Site,
    /// Since when times below are counted.
    origin: Instant,
    /// Microseconds that a fragment took lately.
    latency: AtomicU64,
    /// Bytes it may take, as it said last.
    capacity: AtomicU64,
    /// Microseconds after `origin` until which it is asked last.
    shunned: AtomicU64,
}

impl Member {
    pub(super) fn new(node: Arc<dyn StorageNode>, site: Site) -> Self {
        Self {
            node,
            site,
            origin: Instant::now(),
            latency: AtomicU64::new(0),
            capacity: AtomicU64::new(0),
            shunned: AtomicU64::new(0),
        }
    }

    /// How long a fragment is likely to take.
    pub(super) fn expected(&self) -> Duration {
        let shunned = self.now() < self.shunned.load(Ordering::Relaxed);
        let latency = Duration::from_micros(self.latency.load(Ordering::Relaxed));
        if shunned { latency + PENALTY } else { latency }
    }

    /// Notes that a fragment took so long.
    pub(super) fn took(&self, time: Duration) {
        let time = time.as_micros().min(u128::from(u32::MAX)) as u64;
        let old = self.latency.load(Ordering::Relaxed);
        let new = if old == 0 { time } else { (old * 3 + time) / 4 };
        self.latency.store(new.max(1), Ordering::Relaxed);
        self.shunned.store(0, Ordering::Relaxed);
    }

    /// Notes that it failed.
    pub(super) fn failed(&self) {
        let until = self.now() + PENALTY.as_micros() as u64;
        self.shunned.store(until, Ordering::Relaxed);
    }

    /// What it says about itself, if that is what it was registered as.
    pub(super) async fn checked(&self) -> Result<NodeStatus, StorageError> {
        let node = self.node.account();
        let status = self.node.status().await.map_err(|source| {
            self.failed();
            StorageError::node(node)(source)
        })?;
        let wrong = |what: String| StorageError::NodeDiffers { node, what };
        if status.account != node {
            return Err(wrong(format!("it is {}", status.account)));
        }
        let (said, known) = (&status.site, &self.site);
        if (said.country, &said.region, said.position)
            != (known.country, &known.region, known.position)
        {
            return Err(wrong(format!(
                "it says it is in {said}, and was registered in {known}"
            )));
        }
        self.capacity.store(status.capacity, Ordering::Relaxed);
        Ok(status)
    }

    /// Bytes it may take, as it said last.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        self.origin.elapsed().as_micros() as u64
    }
}

/// Whether trying again may help.
pub(super) fn is_passing(error: &NodeError) -> bool {
    matches!(
        error,
        NodeError::TimedOut { .. } | NodeError::Unreachable(_)
    )
}
