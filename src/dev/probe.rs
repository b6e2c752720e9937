//! Asking a coordinator how many workers it knows.

use std::time::{Duration, Instant};

use ai_link_wire::multiaddr::Protocol;
use ai_link_wire::node::{Node, NodeConfig};
use ai_link_wire::{ControlRequest, ControlResponse, CoordinatorInfo, Identity, Multiaddr};

use super::layout::Network;
use crate::output::Failure;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Waits until the coordinator knows at least `wanted` workers.
pub(crate) async fn wait_for_workers(
    network: &Network,
    wanted: u32,
    within: Duration,
) -> Result<(), Failure> {
    let started = Instant::now();
    let probe = Probe::start(network).await?;
    loop {
        let known = probe.info().await.map_or(0, |info| info.workers);
        if known >= wanted {
            return Ok(());
        }
        if started.elapsed() > within {
            return Err(Failure::message(format!(
                "the coordinator knows {known} of {wanted} workers after {within:?}; see the workers' logs"
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A node that only asks, with a throw-away key.
pub(crate) struct Probe {
    node: Node,
    address: Multiaddr,
}

impl Probe {
    pub(crate) async fn start(network: &Network) -> Result<Self, Failure> {
        let identity = Identity::try_generate().map_err(Failure::failed)?;
        Self::of(identity, network).await
    }

    /// One that asks with a key of its own.
    pub(crate) async fn of(identity: Identity, network: &Network) -> Result<Self, Failure> {
        let config = NodeConfig::client(identity);
        let (node, _) = Node::start(config).await.map_err(Failure::failed)?;
        let address = network
            .coordinator
            .first()
            .and_then(|a| a.parse().ok())
            .ok_or_else(|| Failure::message("the network file names no coordinator"))?;
        Ok(Self { node, address })
    }

    /// One question to the coordinator.
    pub(crate) async fn ask(&self, request: ControlRequest) -> Result<ControlResponse, Failure> {
        let mut bare = self.address.clone();
        let Some(Protocol::P2p(peer)) = bare.pop() else {
            return Err(Failure::message("the coordinator's address names no peer"));
        };
        self.node
            .request(peer, &[bare], request, ANSWER_WITHIN)
            .await
            .map_err(Failure::failed)
    }

    pub(crate) async fn info(&self) -> Result<CoordinatorInfo, Failure> {
        match self.ask(ControlRequest::Info).await? {
            ControlResponse::Info(info) => Ok(info),
            other => Err(Failure::message(format!(
                "the coordinator answered {other:?}"
            ))),
        }
    }
}
