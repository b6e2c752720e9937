//! What an operator of a coordinator writes into its configuration file.

use std::path::PathBuf;
use std::time::Duration;

use ai_link_observe::Loopback;
use ai_link_wire::{Multiaddr, Planck};
use serde::{Deserialize, Serialize};

use crate::Policy;

/// Configuration of a coordinator process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorConfig {
    /// File with the coordinator's identity; made when it does not exist.
    pub identity: PathBuf,
    /// Addresses to listen on; port 0 lets the system choose. Default: loopback, TCP and QUIC.
    #[serde(default = "loopback")]
    pub listen: Vec<Multiaddr>,
    /// WebSocket URL of the chain.
    pub chain: String,
    /// Directory of the job ledger; made when it does not exist.
    pub data_dir: PathBuf,
    /// The coordinator's own share of every job, for example `"0.001 AIL"`.
    #[serde(with = "amount")]
    pub fee: Planck,
    /// What is held as bond when the coordinator registers itself on chain.
    #[serde(with = "amount")]
    pub bond: Planck,
    /// A worker with a smaller bond is not matched. Default: whatever the chain admits.
    #[serde(default, with = "amount")]
    pub minimum_worker_bond: Planck,
    /// The longest a completed job waits for settlement, in milliseconds.
    #[serde(default = "epoch_interval_ms")]
    pub epoch_interval_ms: u64,
    /// Settle at once when this many jobs wait.
    #[serde(default = "epoch_jobs")]
    pub epoch_jobs: u32,
    /// Where to serve metrics, at `/metrics`: an address on loopback. Default: nowhere.
    #[serde(default)]
    pub metrics: Option<Loopback>,
    /// Where to serve the operator's page: an address on loopback. Default: nowhere.
    #[serde(default)]
    pub dashboard: Option<Loopback>,
    /// Where to append all decrypted traffic of this process. For diagnosis.
    #[serde(default)]
    pub capture_dir: Option<PathBuf>,
}

impl CoordinatorConfig {
    /// A configuration with defaults for all that has one.
    pub fn new(
        identity: impl Into<PathBuf>,
        chain: impl Into<String>,
        data_dir: impl Into<PathBuf>,
        fee: Planck,
        bond: Planck,
    ) -> Self {
        Self {
            identity: identity.into(),
            listen: loopback(),
            chain: chain.into(),
            data_dir: data_dir.into(),
            fee,
            bond,
            minimum_worker_bond: Planck::ZERO,
            epoch_interval_ms: epoch_interval_ms(),
            epoch_jobs: epoch_jobs(),
            metrics: None,
            dashboard: None,
            capture_dir: None,
        }
    }

    /// The policy that follows from it.
    pub fn policy(&self) -> Policy {
        let mut policy = Policy {
            fee: self.fee,
            minimum_bond: self.minimum_worker_bond,
            ..Policy::default()
        };
        policy.settlement.interval = Duration::from_millis(self.epoch_interval_ms);
        policy.settlement.jobs = self.epoch_jobs.max(1);
        policy
    }
}

fn loopback() -> Vec<Multiaddr> {
    ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"]
        .map(|address| address.parse().expect("a literal multiaddress; qed"))
        .into()
}

fn epoch_interval_ms() -> u64 {
    10_000
}

fn epoch_jobs() -> u32 {
    128
}

/// Money as text: TOML and JSON numbers do not hold 128 bits.
mod amount {
    use ai_link_wire::Planck;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(amount: &Planck, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(amount)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Planck, D::Error> {
        String::deserialize(input)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn is_read_with_defaults_and_knows_no_other_fields() {
        let text = r#"{ "identity": "c.key", "chain": "ws://127.0.0.1:9944", "data_dir": "data",
            "fee": "0.001 AIL", "bond": "100 AIL" }"#;
        let config: CoordinatorConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.fee, Planck(1_000_000_000));
        assert_eq!(config.bond, Planck::ail(100));
        assert_eq!(config.listen.len(), 2);
        let again = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<CoordinatorConfig>(&again).unwrap(),
            config
        );

        let typo = text.replace("\"fee\"", "\"fees\"");
        assert!(serde_json::from_str::<CoordinatorConfig>(&typo).is_err());
        let exposed = text.replacen('{', r#"{ "dashboard": "0.0.0.0:8080","#, 1);
        let refused = serde_json::from_str::<CoordinatorConfig>(&exposed);
        assert!(refused.unwrap_err().to_string().contains("other machines"));
        let number = text.replace("\"0.001 AIL\"", "0.001");
        assert!(serde_json::from_str::<CoordinatorConfig>(&number).is_err());
    }
}
