//! What an operator configures.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use ai_link_observe::Loopback;
use ai_link_storage::location::Site;
use ai_link_wire::{Bytes, Multiaddr, Planck, Region, RoleSet};
use serde::{Deserialize, Serialize};

use crate::device::DeviceKind;

/// Configuration of a worker, in TOML. Unknown keys are errors: a typo must not silently mean the default.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// Key file of this worker's peer identity.
    pub identity: PathBuf,
    /// Key file of the operator's account. With it, a worker that is not on chain yet registers itself;
    /// without it, the operator must have registered it.
    #[serde(default)]
    pub operator: Option<PathBuf>,
    /// Bond that is held when the worker registers itself.
    pub bond: Planck,
    /// Where to listen, e.g. `/ip4/0.0.0.0/tcp/7070` and `/ip4/0.0.0.0/udp/7070/quic-v1`, and
    /// `/ip4/0.0.0.0/tcp/7071/tls` for streams on connections of their own, which are several times faster.
    pub listen: Vec<Multiaddr>,
    /// Coordinators to offer this worker to, each ending in `/p2p/PEER`.
    pub coordinators: Vec<Multiaddr>,
    /// WebSocket URL of the chain.
    pub chain: String,
    /// HTTP URL of the storage gateway that models are pulled from.
    pub storage: String,
    /// Directory of this worker's state: used sessions, model cache, evaluation keys, pools, parts of private
    /// weights.
    pub data: PathBuf,
    /// What this worker offers to be: `["dealer", "evaluator"]` by default.
    #[serde(default = "every_part")]
    pub roles: Vec<Part>,
    /// Where it is. Self-declared.
    #[serde(default)]
    pub regions: Vec<Region>,
    /// Where it is, for owners of stored inputs who say where these may be pulled. Self-declared. Without it this
    /// worker gets no input that has a location policy.
    #[serde(default)]
    pub site: Option<Site>,
    /// Asked for each job, whatever its role.
    pub price_per_job: Planck,
    /// Sessions at once; one more is refused as busy.
    #[serde(default = "default_capacity")]
    pub capacity: u16,
    /// Bytes of models kept on disk.
    #[serde(default = "default_cache")]
    pub cache: Bytes,
    /// Bytes of stored inputs, sealed as they are, kept on disk.
    #[serde(default = "default_objects")]
    pub objects: Bytes,
    /// Bytes of material dealt ahead that are kept on disk, for requests that come: `"2 GiB"` by default, 0
    /// for none. A worker that starts with less than it has drops what exceeds it.
    #[serde(default = "default_pools")]
    pub pools: Bytes,
    /// Bytes of clients' evaluation keys kept on disk, some 22 MB each; with 0 this worker does not serve level `fhe`.
    #[serde(default = "default_keys")]
    pub keys: Bytes,
    /// Bytes of evaluation keys kept in memory in the form in which they are used, some four times as large.
    #[serde(default = "default_keys")]
    pub key_memory: Bytes,
    /// Whether to serve level `sealed`, at which this worker sees the data of clients that trust it: yes by default.
    #[serde(default = "default_sealed")]
    pub sealed: bool,
    /// What executes ONNX models at level `sealed`.
    #[serde(default)]
    pub onnx: OnnxConfig,
    /// Bytes of private weights kept for model owners; 0 keeps none.
    #[serde(default = "default_hosting")]
    pub hosting: Bytes,
    /// Where to compute.
    #[serde(default)]
    pub device: DeviceKind,
    /// Where to serve metrics, at `/metrics`: an address on loopback. Nowhere by default.
    #[serde(default)]
    pub metrics: Option<Loopback>,
    /// Diagnostic: append every decrypted frame this process sends or receives to files in this directory.
    /// It shows what this worker sees, and nothing that it could not see anyway.
    #[serde(default)]
    pub capture: Option<PathBuf>,
}

/// What executes ONNX models: the section `[onnx]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnnxConfig {
    /// `"auto"` (the default): ONNX Runtime when its library is found, in the variable `ORT_DYLIB_PATH` or under the
    /// usual names, and otherwise what is built in. `"built-in"`: that. A path: ONNX Runtime from this file, and the
    /// worker does not start without.
    pub library: OnnxLibrary,
    /// Threads that ONNX Runtime may use for the work within operators, for all models together: as many as there
    /// are cores by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<NonZeroUsize>,
}

/// Which library executes ONNX models.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "String", into = "String")]
pub enum OnnxLibrary {
    /// ONNX Runtime when it is found and works.
    #[default]
    Auto,
    /// What every build has.
    BuiltIn,
    /// ONNX Runtime from this file.
    At(PathBuf),
}

impl From<String> for OnnxLibrary {
    fn from(text: String) -> Self {
        match text.as_str() {
            "auto" => Self::Auto,
            "built-in" => Self::BuiltIn,
            _ => Self::At(text.into()),
        }
    }
}

impl From<OnnxLibrary> for String {
    fn from(library: OnnxLibrary) -> Self {
        match library {
            OnnxLibrary::Auto => "auto".into(),
            OnnxLibrary::BuiltIn => "built-in".into(),
            OnnxLibrary::At(path) => path.to_string_lossy().into_owned(),
        }
    }
}

/// What a worker can offer to be.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Makes the masks.
    Dealer,
    /// Either evaluator.
    Evaluator,
}

impl WorkerConfig {
    /// `roles` as the announcement has it.
    pub fn role_set(&self) -> RoleSet {
        self.roles.iter().fold(RoleSet::NONE, |set, part| {
            set.union(match part {
                Part::Dealer => RoleSet::DEALER,
                Part::Evaluator => RoleSet::EVALUATOR,
            })
        })
    }
}

fn every_part() -> Vec<Part> {
    vec![Part::Dealer, Part::Evaluator]
}

fn default_capacity() -> u16 {
    8
}

fn default_keys() -> Bytes {
    Bytes(2 << 30)
}

fn default_sealed() -> bool {
    true
}

fn default_hosting() -> Bytes {
    Bytes(8 << 30)
}

fn default_cache() -> Bytes {
    Bytes(8 << 30)
}

fn default_objects() -> Bytes {
    Bytes(2 << 30)
}

fn default_pools() -> Bytes {
    Bytes(2 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_onnx_section_names_a_library_or_leaves_it_open() {
        let read = |text: &str| toml_like(text).map(|config| config.library);
        assert_eq!(read("{}"), Some(OnnxLibrary::Auto));
        assert_eq!(read(r#"{"library": "auto"}"#), Some(OnnxLibrary::Auto));
        assert_eq!(
            read(r#"{"library": "built-in"}"#),
            Some(OnnxLibrary::BuiltIn)
        );
        let at = OnnxLibrary::At("/opt/libonnxruntime.so".into());
        assert_eq!(read(r#"{"library": "/opt/libonnxruntime.so"}"#), Some(at));
        assert_eq!(read(r#"{"libary": "auto"}"#), None);
        assert_eq!(read(r#"{"threads": 0}"#), None);
    }

    fn toml_like(json: &str) -> Option<OnnxConfig> {
        serde_json::from_str(json).ok()
    }
}
