//! What an application's operator configures.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ai_link_wire::{Multiaddr, Planck, Region};
use serde::{Deserialize, Serialize};

/// Configuration of the SDK: who pays, whom to ask, and how long to wait.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// Key file of the application's account.
    pub identity: PathBuf,
    /// Coordinators to ask, each ending in `/p2p/PEER`; the first that answers is used.
    pub coordinators: Vec<Multiaddr>,
    /// WebSocket URL of the chain.
    pub chain: String,
    /// HTTP URL of a storage gateway.
    pub storage: String,
    /// Directory for receipts and the record of what was promised to whom.
    pub data: PathBuf,
    /// Most that one record may cost.
    pub max_price_per_record: Planck,
    /// Regions that workers may stand in; none means any.
    #[serde(default)]
    pub regions: Vec<Region>,
    /// Groups that are tried before the application hears of a failure.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// From the request to the answer, over all attempts.
    #[serde(default = "default_deadline_ms")]
    pub deadline_ms: u64,
}

/// Configuration of `ai-link gateway`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where to serve HTTP. Plaintext of records passes here: keep it on loopback.
    pub listen: SocketAddr,
    /// Requests worked on at once; one more is answered 429.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// Largest body.
    #[serde(default = "default_body_bytes")]
    pub body_bytes: usize,
    /// Who pays, whom to ask, how long to wait.
    pub client: ClientConfig,
}

impl ClientConfig {
    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }
}

fn default_attempts() -> u32 {
    4
}

fn default_deadline_ms() -> u64 {
    60_000
}

fn default_concurrency() -> usize {
    8
}

fn default_body_bytes() -> usize {
    64 << 20
}
