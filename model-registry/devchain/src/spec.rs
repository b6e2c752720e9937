//! The same chain for a node that executes wasm: a chain specification in the form that Substrate nodes and
//! Chopsticks read.

use serde_json::{Map, Value, json};
use sp_core::storage::well_known_keys;

use crate::chain::{Genesis, OpenError};

/// What chain specifications call the chain.
const ID: &str = "ai-link";

/// A specification of a chain that begins with `genesis` and executes `runtime`, the wasm of the runtime's crate:
/// raw, that is every entry of the state of block 0.
///
/// # Errors
/// If the genesis is not sound.
pub fn chain_spec(genesis: &Genesis, runtime: &[u8]) -> Result<Value, OpenError> {
    let mut state = genesis.storage()?.top;
    state.insert(well_known_keys::CODE.to_vec(), runtime.to_vec());
    let hex = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
    let top: Map<_, _> = state
        .iter()
        .map(|(key, value)| (hex(key), Value::String(hex(value))))
        .collect();
    Ok(json!({
        "name": "AI-LINK",
        "id": ID,
        "chainType": "Development",
        "bootNodes": [],
        "telemetryEndpoints": null,
        "protocolId": ID,
        "properties": { "tokenSymbol": "AIL", "tokenDecimals": 12, "ss58Format": 42 },
        "genesis": { "raw": { "top": top, "childrenDefault": {} } },
    }))
}
