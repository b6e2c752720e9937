//! The first block.

use std::collections::HashSet;

use ai_link_runtime::{AccountId, Balance, EXISTENTIAL_DEPOSIT, Header};
use sp_core::{H256, storage::Storage};
use sp_runtime::{
    BuildStorage, Digest,
    traits::{BlakeTwo256, Hash as _, Header as _},
};
use sp_state_machine::InMemoryBackend;

use super::{OpenError, STATE_VERSION};
use crate::nodes::NodeChanges;

/// What the chain begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Genesis {
    /// Accounts and their money in planck.
    pub endowed: Vec<(AccountId, Balance)>,
}

/// The first block and the nodes of its state.
pub(super) struct FirstBlock {
    pub(super) header: Header,
    pub(super) changes: NodeChanges,
}

impl Genesis {
    /// The well-known development accounts, a million AIL each. Everybody knows their secret keys.
    pub fn development() -> Self {
        Self {
            endowed: ai_link_runtime::dev_endowed(),
        }
    }

    /// Checks it, and builds the state.
    pub(crate) fn storage(&self) -> Result<Storage, OpenError> {
        let mut seen = HashSet::new();
        let mut total: Balance = 0;
        for (account, planck) in &self.endowed {
            if *planck < EXISTENTIAL_DEPOSIT {
                let account = account.clone();
                return Err(OpenError::EndowedTooLittle {
                    account,
                    planck: *planck,
                });
            }
            if !seen.insert(account) {
                return Err(OpenError::EndowedTwice {
                    account: account.clone(),
                });
            }
            // Half of the range stays free for what the technical accounts get.
            total = total
                .checked_add(*planck)
                .filter(|total| *total <= Balance::MAX / 2)
                .ok_or(OpenError::EndowedTooMuch)?;
        }
        let storage = ai_link_runtime::genesis_config(&self.endowed)
            .build_storage()
            .map_err(OpenError::Genesis)?;
        if !storage.children_default.is_empty() {
            return Err(OpenError::Genesis("it has child tries".to_owned()));
        }
        Ok(storage)
    }
}

impl FirstBlock {
    /// Checks and builds it.
    pub(super) fn of(genesis: &Genesis) -> Result<Self, OpenError> {
        let storage = genesis.storage()?;
        let mut state: InMemoryBackend<BlakeTwo256> = (storage, STATE_VERSION).into();
        let header = Header::new(
            0,
            BlakeTwo256::ordered_trie_root(Vec::new(), STATE_VERSION),
            *state.root(),
            H256::default(),
            Digest::default(),
        );
        let changes = NodeChanges::of(std::mem::take(state.backend_storage_mut()));
        Ok(Self { header, changes })
    }
}
