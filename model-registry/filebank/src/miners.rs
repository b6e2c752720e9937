//! What storage nodes say to the chain themselves.

use std::collections::BTreeMap;

use ai_link_registry::{CallError, RegistryClient};
use ai_link_storage::{ContentHash, Fid, node::NodeId};
use ai_link_wire::Digest;
use async_trait::async_trait;

use crate::convert::chain_fid;

/// Why a node did not say something.
#[derive(Debug, thiserror::Error)]
pub enum MinerError {
    /// Nobody here can make it.
    #[error("storage node {0} cannot be made to tell the chain anything: its key is not here")]
    NoKey(NodeId),
    /// The chain did not take it.
    #[error("the chain did not take what storage node {node} said")]
    Refused {
        /// Which node.
        node: NodeId,
        /// Why.
        #[source]
        source: CallError,
    },
}

impl MinerError {
    /// Whether the chain answered with that error of that pallet.
    pub(crate) fn is(&self, pallet: &str, error: &str) -> bool {
        matches!(self, Self::Refused { source, .. } if source.is(pallet, error))
    }
}

/// How a store has its nodes tell the chain what they have. Each is a transaction that the node signs; all
/// wait until it is final.
#[async_trait]
pub trait Miners: Send + Sync + 'static {
    /// `transfer_report`: the node has fragment `index` (from 0) of every segment.
    async fn report(&self, node: NodeId, fid: Fid, index: u8) -> Result<(), MinerError>;

    /// `generate_restoral_order`: the node has lost a fragment.
    async fn lost(&self, node: NodeId, fid: Fid, fragment: ContentHash) -> Result<(), MinerError>;

    /// `claim_restoral_order`: the node takes a fragment over.
    async fn claim(&self, node: NodeId, fragment: ContentHash) -> Result<(), MinerError>;

    /// `restoral_order_complete`: the node has the fragment that it took over.
    async fn restored(&self, node: NodeId, fragment: ContentHash) -> Result<(), MinerError>;
}

/// Nodes of one operator, whose keys the store has. Nodes that belong to others report by themselves.
#[derive(Clone, Default)]
pub struct HeldKeys(BTreeMap<NodeId, RegistryClient>);

impl HeldKeys {
    /// Nodes by the clients that sign for them.
    pub fn new(clients: impl IntoIterator<Item = RegistryClient>) -> Self {
        let clients = clients.into_iter();
        Self(
            clients
                .map(|client| (ai_link_storage::Account(client.account().0), client))
                .collect(),
        )
    }

    fn client(&self, node: NodeId) -> Result<&RegistryClient, MinerError> {
        self.0.get(&node).ok_or(MinerError::NoKey(node))
    }
}

impl std::fmt::Debug for HeldKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn refused(node: NodeId) -> impl FnOnce(CallError) -> MinerError {
    move |source| MinerError::Refused { node, source }
}

#[async_trait]
impl Miners for HeldKeys {
    async fn report(&self, node: NodeId, fid: Fid, index: u8) -> Result<(), MinerError> {
        let reported = self.client(node)?.report_fragment(chain_fid(fid), index);
        reported.await.map(drop).map_err(refused(node))
    }

    async fn lost(&self, node: NodeId, fid: Fid, fragment: ContentHash) -> Result<(), MinerError> {
        let client = self.client(node)?;
        let ordered = client.order_repair(chain_fid(fid), Digest(fragment.0));
        ordered.await.map(drop).map_err(refused(node))
    }

    async fn claim(&self, node: NodeId, fragment: ContentHash) -> Result<(), MinerError> {
        let claimed = self.client(node)?.claim_repair(Digest(fragment.0));
        claimed.await.map(drop).map_err(refused(node))
    }

    async fn restored(&self, node: NodeId, fragment: ContentHash) -> Result<(), MinerError> {
        let completed = self.client(node)?.complete_repair(Digest(fragment.0));
        completed.await.map(drop).map_err(refused(node))
    }
}
