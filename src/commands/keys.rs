//! `ai-link keys`: the application's keys for level `fhe`.

use ai_link_client::fhe::{self, KeyInfo, KeyStore};
use ai_link_wire::Identity;
use serde_json::json;

use super::context::Context;
use crate::cli::{Global, KeysCommand};
use crate::output::{Failure, Output};

pub(super) fn run(global: &Global, command: &KeysCommand, output: &Output) -> Result<(), Failure> {
    if !fhe::IS_BUILT {
        return Err(Failure::message("this build of ai-link has no level fhe"));
    }
    let context = Context::load(global)?;
    let identity = Identity::load(&context.network.client_key).map_err(Failure::failed)?;
    // Where the gateway keeps them: it notices when they are replaced.
    let dir = context.dir.data("gateway").join("keys");
    let store = KeyStore::open(dir, &identity).map_err(Failure::failed)?;
    let keys = match command {
        KeysCommand::List => store.list(),
        KeysCommand::Rotate => store.rotate(),
    };
    let keys = keys.map_err(Failure::failed)?;
    output.result(&json!({ "keys": keys }), |_| text(&keys))
}

fn text(keys: &[KeyInfo]) -> String {
    let line = |key: &KeyInfo| {
        format!(
            "{:10} {}  {} bytes for each worker, made {} s after 1970",
            key.set, key.key, key.evaluation_bytes, key.made
        )
    };
    match keys {
        [] => "no keys: one is made for each parameter set when it is first needed".into(),
        keys => keys.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}
