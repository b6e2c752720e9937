//! Where a development network keeps what, and the file that says what runs where.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The directory that holds all state of a development network.
#[derive(Clone, Debug)]
pub(crate) struct StateDir(PathBuf);

impl StateDir {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self(root)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// The home of one process.
    pub(crate) fn process(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.0.join(name).join("data")
    }

    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.0.join(name).join("config.toml")
    }

    pub(crate) fn ready(&self, name: &str) -> PathBuf {
        self.0.join(name).join("ready.json")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.0.join(name).join("log")
    }

    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.0.join("keys").join(format!("{name}.key"))
    }

    pub(crate) fn network(&self) -> PathBuf {
        self.0.join("network.json")
    }

    /// Which port each process was given.
    pub(crate) fn ports(&self) -> PathBuf {
        self.0.join("ports.json")
    }

    /// Where captures of decrypted frames go when they are asked for.
    pub(crate) fn capture(&self, name: &str) -> PathBuf {
        self.0.join(name).join("capture")
    }
}

/// What runs where: written by `dev up`, read by every command that talks to the network.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    /// WebSocket URL of the chain.
    pub(crate) chain: String,
    /// HTTP URL of the storage gateway.
    pub(crate) storage: String,
    /// Who keeps the record of files.
    #[serde(default)]
    pub(crate) files: FilesKept,
    /// Multiaddresses of the coordinator, each ending in `/p2p/PEER`.
    pub(crate) coordinator: Vec<String>,
    /// HTTP URL of the application's gateway.
    pub(crate) gateway: String,
    /// Names of the processes in the order in which they were started.
    pub(crate) processes: Vec<String>,
    /// Key file of the model owner.
    pub(crate) owner_key: PathBuf,
    /// Key file of the application (the gateway's account).
    pub(crate) client_key: PathBuf,
}

/// Where the record is of which files are stored.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FilesKept {
    /// With the store alone.
    #[default]
    InStore,
    /// On the chain, which is asked whether what was put is stored.
    OnChain,
}

impl Network {
    /// # Errors
    /// When no network was started in `dir`, or its file is from another version.
    pub(crate) fn load(dir: &StateDir) -> Result<Self, LayoutError> {
        let path = dir.network();
        let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => LayoutError::NoNetwork {
                dir: dir.root().into(),
            },
            _ => LayoutError::Read {
                path: path.clone(),
                source,
            },
        })?;
        serde_json::from_str(&text).map_err(|source| LayoutError::Parse { path, source })
    }

    pub(crate) fn save(&self, dir: &StateDir) -> Result<(), LayoutError> {
        let path = dir.network();
        let text = serde_json::to_string_pretty(self).map_err(|source| LayoutError::Parse {
            path: path.clone(),
            source,
        })?;
        write_atomically(&path, text.as_bytes())
            .map_err(|source| LayoutError::Write { path, source })
    }
}

/// Written by a process once it serves.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Ready {
    pub(crate) pid: u32,
    /// `chain`, `storage`, `coordinator`, `worker` or `gateway`.
    pub(crate) role: String,
    /// URLs or multiaddresses it serves at.
    pub(crate) addresses: Vec<String>,
    /// Its account, where it has one.
    pub(crate) account: Option<String>,
    /// Where its metrics are, if it serves any.
    #[serde(default)]
    pub(crate) metrics: Option<String>,
    /// Where its operator's page is, if it serves one.
    #[serde(default)]
    pub(crate) dashboard: Option<String>,
}

impl Ready {
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        write_atomically(path, &serde_json::to_vec_pretty(self)?)
    }

    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }
}

/// A reader sees the old file or the new one, never half of one.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, path)
}

/// What can be wrong with a state directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("no network was started in {dir}; run `ai-link dev up --dir {dir}` first", dir = .dir.display())]
    NoNetwork { dir: PathBuf },
    #[error("{path} is not what this version writes; run `ai-link dev down`, remove the directory, and start again", path = .path.display())]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot read {path}", path = .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}", path = .path.display())]
    Write { path: PathBuf, source: io::Error },
}
