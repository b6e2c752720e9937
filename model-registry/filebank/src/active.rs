//! What an application asks the chain after its store said that something is stored.

use std::sync::Arc;

use ai_link_registry::{QueryError, Registry};
use ai_link_storage::{ActiveFiles, Fid, FileState, StorageError};
use ai_link_wire::AccountId;
use async_trait::async_trait;

use crate::convert::chain_fid;

/// The chain's own word on an account's files.
///
/// A file that is active for others only is not stored for this account: they may give it up, and then nobody
/// pays for it.
#[derive(Clone, Debug)]
pub struct ActiveOnChain {
    chain: Registry,
    owner: AccountId,
}

impl ActiveOnChain {
    /// Asks `chain` about the files of `owner`; to be given to
    /// [`HttpStore::asking`](ai_link_storage::HttpStore::asking).
    pub fn new(chain: Registry, owner: AccountId) -> Arc<Self> {
        Arc::new(Self { chain, owner })
    }
}

#[async_trait]
impl ActiveFiles for ActiveOnChain {
    async fn state(&self, fid: Fid) -> Result<Option<FileState>, StorageError> {
        let asked = |error: QueryError| StorageError::chain("answer")(error);
        let file = self.chain.file(chain_fid(fid)).await.map_err(asked)?;
        if let Some(file) = file {
            let own = file.owners.iter().any(|held| held.account == self.owner);
            return Ok((own && file.active).then_some(FileState::Active));
        }
        let deal = self.chain.deal(chain_fid(fid)).await.map_err(asked)?;
        Ok(deal.map(|deal| FileState::Pending {
            reported: u32::try_from(deal.reported.len()).unwrap_or(u32::MAX),
        }))
    }
}
