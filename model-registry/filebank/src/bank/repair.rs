//! Moving fragments on the chain: an order, a claim, a completion.

use ai_link_registry::storage::{ProofOutcome, StoredFile};
use ai_link_storage::node::NodeId;
use ai_link_storage::{Account, ContentHash, Fid, StorageError};
use ai_link_wire::{AccountId, Digest};

use super::{ChainBank, asked, mined};
use crate::convert::{chain_account, chain_fid};

impl ChainBank {
    /// Records, segment by segment, that index `index` of a file is at `node`.
    pub(super) async fn move_index(
        &self,
        fid: Fid,
        file: &StoredFile,
        index: u8,
        node: NodeId,
    ) -> Result<(), StorageError> {
        for segment in &file.segments {
            let Some(fragment) = segment.fragments.get(usize::from(index)) else {
                let what = format!("a repair of index {index}, and there are 12");
                return Err(StorageError::Malformed { what });
            };
            if fragment.miner == chain_account(node) {
                continue;
            }
            let hash = ContentHash(fragment.hash.0);
            self.order(fid, file, hash, fragment.miner).await?;
            // An interrupted repair may have been claimed already.
            match self.miners.claim(node, hash).await {
                Ok(()) => {}
                Err(error) if error.is("FileBank", "OrderNotYours") => {
                    let order = self
                        .chain
                        .repair_order(fragment.hash)
                        .await
                        .map_err(asked)?;
                    let claimer = order.and_then(|order| order.claimed_by);
                    if claimer != Some(chain_account(node)) {
                        return Err(mined(error));
                    }
                }
                Err(error) => return Err(mined(error)),
            }
            self.miners.restored(node, hash).await.map_err(mined)?;
        }
        Ok(())
    }

    /// Makes sure that there is an order for this fragment of this file.
    async fn order(
        &self,
        fid: Fid,
        file: &StoredFile,
        fragment: ContentHash,
        lost_by: AccountId,
    ) -> Result<(), StorageError> {
        let digest = Digest(fragment.0);
        if let Some(order) = self.chain.repair_order(digest).await.map_err(asked)? {
            if order.fid == chain_fid(fid) && order.lost_by == lost_by {
                return Ok(());
            }
            let what = format!("fragment {fragment} is being repaired for {}", order.fid);
            return Err(StorageError::Malformed { what });
        }
        let node = Account(lost_by.0);
        let Err(error) = self.miners.lost(node, fid, fragment).await else {
            return Ok(());
        };
        // A node that is gone says nothing. Whoever acts for an owner may say it.
        tracing::warn!(%fid, %node, %error, "a node does not order the repair of what it lost");
        self.record_failure(fid, file, fragment, lost_by).await
    }

    /// Records that a miner does not have what it should, for any owner that lets this store act.
    pub(super) async fn record_failure(
        &self,
        fid: Fid,
        file: &StoredFile,
        fragment: ContentHash,
        miner: AccountId,
    ) -> Result<(), StorageError> {
        let mut last = StorageError::NotFound { fid };
        for owner in &file.owners {
            let failed = self.chain.submit_service_result(
                owner.account,
                miner,
                chain_fid(fid),
                Digest(fragment.0),
                ProofOutcome::Failed,
            );
            match failed.await {
                Ok(_) => return Ok(()),
                Err(error) => last = StorageError::chain("record a failed proof")(error),
            }
        }
        Err(last)
    }
}
