//! `system_*`: what clients ask about the node itself.

use std::sync::Arc;

use ai_link_runtime::AccountId;
use jsonrpsee::{RpcModule, server::RegisterMethodError};
use serde_json::json;

use super::error;
use crate::node::Node;

pub(super) fn register(module: &mut RpcModule<Arc<Node>>) -> Result<(), RegisterMethodError> {
    module.register_blocking_method("system_accountNextIndex", |params, node, _| {
        let account: AccountId = params.one()?;
        node.chain()
            .next_nonce(&account)
            .map_err(|failure| error::read(&failure))
    })?;
    module.register_method("system_chain", |_, _, _| "AI-LINK Development")?;
    module.register_method("system_chainType", |_, _, _| "Development")?;
    module.register_method("system_name", |_, _, _| env!("CARGO_PKG_NAME"))?;
    module.register_method("system_version", |_, _, _| env!("CARGO_PKG_VERSION"))?;
    module.register_method(
        "system_properties",
        |_, _, _| json!({ "ss58Format": 42, "tokenDecimals": 12, "tokenSymbol": "AIL" }),
    )?;
    module.register_method(
        "system_health",
        |_, _, _| json!({ "peers": 0, "isSyncing": false, "shouldHavePeers": false }),
    )?;
    Ok(())
}
