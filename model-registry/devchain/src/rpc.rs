//! The JSON-RPC methods: the older Substrate ones, which `subxt` falls back to by itself when a
//! server does not list `chainHead_v1_*` and `archive_v1_*`, and which other tools know.

mod author;
mod blocks;
mod error;
mod state;
mod system;

use std::sync::Arc;

use jsonrpsee::{RpcModule, server::RegisterMethodError};
use serde_json::json;

use crate::node::Node;

/// All methods on `node`.
pub(crate) fn module(node: Arc<Node>) -> Result<RpcModule<Arc<Node>>, RegisterMethodError> {
    let mut module = RpcModule::new(node);
    author::register(&mut module)?;
    blocks::register(&mut module)?;
    state::register(&mut module)?;
    system::register(&mut module)?;
    let mut methods: Vec<&'static str> = module.method_names().collect();
    methods.push("rpc_methods");
    methods.sort_unstable();
    module.register_method("rpc_methods", move |_, _, _| json!({ "methods": methods }))?;
    Ok(module)
}
