//! What commands that talk to a network have in common: which one, and with whose keys.

use std::path::PathBuf;

use ai_link_registry::Registry;
use ai_link_wire::{AccountId, Identity};

use crate::cli::Global;
use crate::dev::{Network, StateDir};
use crate::output::Failure;

/// The directory of `--dir`, or the default one.
pub(super) fn state_dir(global: &Global) -> Result<StateDir, Failure> {
    let root = match &global.dir {
        Some(dir) => dir.clone(),
        None => default_dir()?,
    };
    let root = std::path::absolute(&root).map_err(Failure::failed)?;
    Ok(StateDir::new(root))
}

/// A network that was started.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) dir: StateDir,
    pub(super) network: Network,
}

impl Context {
    pub(super) fn load(global: &Global) -> Result<Self, Failure> {
        let dir = state_dir(global)?;
        let network = Network::load(&dir).map_err(Failure::failed)?;
        Ok(Self { dir, network })
    }

    pub(super) async fn registry(&self) -> Result<Registry, Failure> {
        Registry::connect(&self.network.chain)
            .await
            .map_err(Failure::failed)
    }

    /// An account by its SS58 form, or by the name of a key of the directory.
    pub(super) fn account(&self, text: &str) -> Result<AccountId, Failure> {
        if let Ok(account) = text.parse() {
            return Ok(account);
        }
        let key = Identity::load(self.dir.key(text)).map_err(Failure::failed)?;
        Ok(key.account())
    }

    pub(super) fn owner(&self) -> Result<Identity, Failure> {
        Identity::load(&self.network.owner_key).map_err(Failure::failed)
    }
}

fn default_dir() -> Result<PathBuf, Failure> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".local/state"));
    match state.or_else(home) {
        Some(base) => Ok(base.join("ai-link")),
        None => Err(Failure::usage(
            "neither HOME nor XDG_STATE_HOME is set; give --dir",
        )),
    }
}
