//! What `ai-link chain --config FILE` reads, and running a chain from it.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU64,
    path::PathBuf,
    time::Duration,
};

use ai_link_runtime::{AccountId, UNITS};
use serde::{Deserialize, Serialize};

use crate::{DevChain, Genesis, OpenError, ServeError};

/// Configuration of an embedded chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevChainConfig {
    /// Address of the JSON-RPC server; port 0 takes a free one. Default `127.0.0.1:9944`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Directory of the database; made if it is missing.
    pub data_dir: PathBuf,
    /// Accounts that own money from the first block on. It cannot be changed later.
    #[serde(default)]
    pub endowed: Vec<Endowment>,
    /// Milliseconds after which a block without transactions is made. Default: never.
    #[serde(default)]
    pub block_interval_ms: Option<NonZeroU64>,
}

/// Money that an account owns from the first block on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endowment {
    /// The account in SS58 form.
    pub account: AccountId,
    /// Whole AIL.
    pub ail: u64,
}

impl DevChainConfig {
    /// What the chain begins with.
    pub fn genesis(&self) -> Genesis {
        let planck = |ail: u64| u128::from(ail) * UNITS;
        let endowed = self.endowed.iter();
        Genesis {
            endowed: endowed
                .map(|one| (one.account.clone(), planck(one.ail)))
                .collect(),
        }
    }
}

/// Why a chain did not run, or stopped running.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be opened.
    #[error("the chain cannot be opened")]
    Open(#[source] Box<OpenError>),
    /// It could not be served, or failed later.
    #[error("the chain stopped")]
    Serve(#[from] ServeError),
}

/// Runs a chain until `shutdown` completes or the chain fails. `on_ready` is called once with the
/// URL under which it answers, which names the real port where the configuration says 0.
pub async fn run(
    config: DevChainConfig,
    on_ready: impl FnOnce(&str),
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let chain = DevChain::open(&config.data_dir, &config.genesis())
        .map_err(|error| RunError::Open(Box::new(error)))?;
    let interval = config
        .block_interval_ms
        .map(|ms| Duration::from_millis(ms.get()));
    let mut serving = chain.serve(config.listen, interval).await?;
    on_ready(serving.url());
    tokio::select! {
        () = shutdown => Ok(serving.stop().await?),
        failure = serving.failed() => Err(failure.into()),
    }
}

fn default_listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 9944).into()
}
