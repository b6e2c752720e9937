//! Which nodes get an object.

use std::collections::{BTreeMap, VecDeque};

use futures::future::join_all;
use sha2::{Digest, Sha256};

use super::Inner;
use super::nodes::Member;
use crate::error::StorageError;
use crate::layout::FRAGMENTS;
use crate::location::LocationPolicy;
use crate::node::NodeId;

/// The most reasons that an error tells.
const TOLD: usize = 4;

impl Inner {
    /// Twelve distinct nodes for a new object.
    pub(super) async fn place(
        &self,
        policy: Option<&LocationPolicy>,
        salt: &[u8],
    ) -> Result<[NodeId; FRAGMENTS], StorageError> {
        let chosen = self.choose(policy, &[], FRAGMENTS, salt).await?;
        // As many as were asked for.
        Ok(std::array::from_fn(|i| chosen[i]))
    }

    pub(super) fn full(&self) -> StorageError {
        StorageError::Full {
            capacity: self.members.values().map(Member::capacity).sum(),
        }
    }

    /// `count` distinct nodes that the policy permits, that answer and have room, and that are none
    /// of `taken`. Regions take turns, and `salt` decides within one.
    pub(super) async fn choose(
        &self,
        policy: Option<&LocationPolicy>,
        taken: &[NodeId],
        count: usize,
        salt: &[u8],
    ) -> Result<Vec<NodeId>, StorageError> {
        let mut reasons = Vec::new();
        let mut permitted = Vec::new();
        for (account, member) in &self.members {
            if taken.contains(account) {
                continue;
            }
            match policy.map_or(Ok(()), |policy| policy.permits(&member.site)) {
                Ok(()) => permitted.push((*account, member)),
                Err(refused) => reasons.push(format!("{account}: {refused}")),
            }
        }
        let room = self.codec.geometry().fragment() as u64;
        let checks = permitted.iter().map(|(_, member)| member.checked());
        let (mut usable, mut full) = (Vec::new(), 0);
        for ((account, member), checked) in permitted.iter().zip(join_all(checks).await) {
            match checked {
                Ok(status) if status.occupied + room > status.capacity => {
                    full += 1;
                    reasons.push(format!("{account}: it is full"));
                }
                Ok(_) => usable.push((*account, &member.site)),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        if usable.len() < count && usable.len() + full >= count {
            return Err(self.full());
        }
        if usable.len() < count {
            let (found, total) = (usable.len(), self.members.len());
            reasons.truncate(TOLD);
            return Err(StorageError::Placement {
                needed: count,
                found,
                total,
                reasons: reasons.join("; "),
            });
        }
        usable.sort_by_cached_key(|(account, _)| {
            <[u8; 32]>::from(
                Sha256::new()
                    .chain_update(salt)
                    .chain_update(account.0)
                    .finalize(),
            )
        });
        let mut regions: BTreeMap<_, VecDeque<NodeId>> = BTreeMap::new();
        for (account, site) in usable {
            regions
                .entry((site.country, &site.region))
                .or_default()
                .push_back(account);
        }
        let mut chosen = Vec::with_capacity(count);
        while chosen.len() < count {
            for queue in regions.values_mut() {
                if chosen.len() < count {
                    chosen.extend(queue.pop_front());
                }
            }
        }
        Ok(chosen)
    }
}
