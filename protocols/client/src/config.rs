//! What an application's operator configures.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ai_link_observe::Loopback;
use ai_link_wire::{
    AccountId, DealerSeat, Level, Multiaddr, PeerKey, Planck, Purpose, Region, Trusted,
};
use serde::{Deserialize, Serialize};

use crate::group::Group;

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
    /// Directory for receipts, the record of what was promised to whom, and encrypted keys.
    pub data: PathBuf,
    /// Most that one record may cost.
    pub max_price_per_record: Planck,
    /// The privacy level that every request gets at least: `"mpc"` or `"fhe"`. A model that is not offered at it is used
    /// at a level above it, or not at all.
    #[serde(default = "default_level")]
    pub level: Level,
    /// Who deals: `"worker"` or `"client"`. With `"client"`, inputs are safe unless all evaluators collude, and no
    /// request is served with less.
    #[serde(default)]
    pub dealer: DealerSeat,
    /// Evaluators of a group: 2 to 8.
    #[serde(default = "default_evaluators")]
    pub evaluators: u8,
    /// What answers are used for: `"commercial"` or `"non-commercial"`. Signed with every request; models whose terms
    /// do not permit it are refused.
    #[serde(default)]
    pub purpose: Purpose,
    /// Regions that workers may stand in; none means any.
    #[serde(default)]
    pub regions: Vec<Region>,
    /// Groups that are tried before the application hears of a failure.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// From the request to the answer, over all attempts.
    #[serde(default = "default_deadline_ms")]
    pub deadline_ms: u64,
    /// The same at level `fhe`, where a job takes seconds a record.
    #[serde(default = "default_fhe_deadline_ms")]
    pub fhe_deadline_ms: u64,
    /// Whom to trust at level `sealed`. Without this section nothing is ever sent at that level, whatever is asked; with it,
    /// requests are that ask for the level by name, or that only it serves (text and vectors).
    #[serde(default)]
    pub sealed: Option<SealedConfig>,
}

/// The workers that may see this application's data, each or all of an operator: one must be named, 16 of each may.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SealedConfig {
    /// Workers, by peer key.
    #[serde(default)]
    pub workers: Vec<PeerKey>,
    /// Operators, by account.
    #[serde(default)]
    pub operators: Vec<AccountId>,
    /// From the request to the end of its answer.
    #[serde(default = "default_sealed_deadline_ms")]
    pub deadline_ms: u64,
}

impl SealedConfig {
    /// As requests name them.
    pub(crate) fn trusted(&self) -> Trusted {
        Trusted {
            workers: self.workers.clone(),
            operators: self.operators.clone(),
        }
    }
}

fn default_sealed_deadline_ms() -> u64 {
    600_000
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
    /// Where to serve metrics, at `/metrics`: an address on loopback. Nowhere by default.
    #[serde(default)]
    pub metrics: Option<Loopback>,
    /// Largest body.
    #[serde(default = "default_body_bytes")]
    pub body_bytes: usize,
    /// A file of keys, one a line; requests must then send `Authorization: Bearer` and one of them, except for health.
    #[serde(default)]
    pub api_keys: Option<PathBuf>,
    /// Who pays, whom to ask, how long to wait.
    pub client: ClientConfig,
}

impl ClientConfig {
    /// The group that requests get which ask for no other.
    pub fn group(&self) -> Group {
        Group {
            dealer: self.dealer,
            evaluators: self.evaluators,
        }
    }

    pub(crate) fn deadline(&self, level: Level) -> Duration {
        Duration::from_millis(match level {
            Level::Fhe => self.fhe_deadline_ms,
            Level::Mpc => self.deadline_ms,
            Level::Sealed => self
                .sealed
                .as_ref()
                .map_or(self.deadline_ms, |sealed| sealed.deadline_ms),
        })
    }
}

fn default_level() -> Level {
    Level::Mpc
}

fn default_fhe_deadline_ms() -> u64 {
    600_000
}

fn default_evaluators() -> u8 {
    Group::default().evaluators
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
