//! `state_*`: storage, runtime calls, metadata.

use std::sync::Arc;

use codec::Decode;
use jsonrpsee::{
    PendingSubscriptionSink, RpcModule, SubscriptionMessage,
    core::{RpcResult, SubscriptionResult},
    server::RegisterMethodError,
    types::{ErrorObjectOwned, error::INVALID_PARAMS_CODE},
};
use serde_json::json;
use sp_core::{Bytes, H256};
use tokio::sync::broadcast::error::RecvError;

use super::{author::SEND_DEADLINE, error};
use crate::node::Node;

/// Keys in one answer or one question.
const MAX_KEYS: usize = 1000;

pub(super) fn register(module: &mut RpcModule<Arc<Node>>) -> Result<(), RegisterMethodError> {
    module.register_blocking_method("state_getStorage", |params, node, _| {
        let mut params = params.sequence();
        let Bytes(key) = params.next()?;
        let at: Option<H256> = params.optional_next()?;
        let chain = node.chain();
        let value = chain.storage(at.unwrap_or_else(|| chain.head_hash()), &key);
        value
            .map(|value| value.map(Bytes))
            .map_err(|failure| error::read(&failure))
    })?;
    module.register_blocking_method("state_queryStorageAt", |params, node, _| -> RpcResult<_> {
        let mut params = params.sequence();
        let keys: Vec<Bytes> = params.next()?;
        check_count(keys.len())?;
        let at: Option<H256> = params.optional_next()?;
        let chain = node.chain();
        let at = at.unwrap_or_else(|| chain.head_hash());
        let mut changes = Vec::with_capacity(keys.len());
        for key in keys {
            let value = chain
                .storage(at, &key)
                .map_err(|failure| error::read(&failure))?;
            changes.push((key, value.map(Bytes)));
        }
        Ok(json!([{ "block": at, "changes": changes }]))
    })?;
    module.register_blocking_method("state_getKeysPaged", |params, node, _| {
        let mut params = params.sequence();
        let prefix: Option<Bytes> = params.next()?;
        let count: u32 = params.next()?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        check_count(count)?;
        let after: Option<Bytes> = params.optional_next()?;
        let at: Option<H256> = params.optional_next()?;
        let chain = node.chain();
        let at = at.unwrap_or_else(|| chain.head_hash());
        let prefix = prefix.unwrap_or_else(|| Bytes(Vec::new()));
        let keys = chain.keys(at, &prefix, after.as_ref().map(|after| &after[..]), count);
        keys.map(|keys| keys.into_iter().map(Bytes).collect::<Vec<_>>())
            .map_err(|failure| error::read(&failure))
    })?;
    module.register_blocking_method("state_call", |params, node, _| {
        let mut params = params.sequence();
        let method: String = params.next()?;
        let Bytes(arguments) = params.next()?;
        let at: Option<H256> = params.optional_next()?;
        call(&node, at, &method, &arguments).map(Bytes)
    })?;
    module.register_blocking_method("state_getMetadata", |params, node, _| {
        let at: Option<H256> = params.sequence().optional_next()?;
        let answer = call(&node, at, "Metadata_metadata", &[])?;
        // The metadata comes as opaque bytes with their length in front.
        Vec::<u8>::decode(&mut answer.as_slice())
            .map(Bytes)
            .map_err(|source| {
                ErrorObjectOwned::owned(
                    jsonrpsee::types::error::INTERNAL_ERROR_CODE,
                    "Internal error",
                    Some(source.to_string()),
                )
            })
    })?;
    module.register_method("state_getRuntimeVersion", |_, _, _| {
        serde_json::to_value(&ai_link_runtime::VERSION).map_err(|source| {
            ErrorObjectOwned::owned(
                jsonrpsee::types::error::INTERNAL_ERROR_CODE,
                "Internal error",
                Some(source.to_string()),
            )
        })
    })?;
    // What links the runtime into the process cannot see another one: the first version is the only one.
    module.register_subscription(
        "state_subscribeRuntimeVersion",
        "state_runtimeVersion",
        "state_unsubscribeRuntimeVersion",
        |_, pending, _, _| version(pending),
    )?;
    module.register_subscription(
        "state_subscribeStorage",
        "state_storage",
        "state_unsubscribeStorage",
        |params, pending, node, _| {
            let keys: Result<Vec<Bytes>, _> = params.sequence().next();
            follow(pending, Arc::clone(&node), keys)
        },
    )?;
    Ok(())
}

/// Tells what is stored under `keys`, and after every block what of it has changed.
async fn follow(
    pending: PendingSubscriptionSink,
    node: Arc<Node>,
    keys: Result<Vec<Bytes>, ErrorObjectOwned>,
) -> SubscriptionResult {
    let keys = match keys.and_then(|keys| check_count(keys.len()).map(|()| keys)) {
        Ok(keys) => keys,
        Err(refused) => {
            pending.reject(refused).await;
            return Ok(());
        }
    };
    let mut blocks = node.heads();
    let sink = pending.accept().await?;
    let mut known: Vec<Option<Option<Vec<u8>>>> = vec![None; keys.len()];
    loop {
        let (block, changes) = {
            let chain = node.chain();
            let head = chain.head_hash();
            let mut changes = Vec::new();
            for (key, known) in keys.iter().zip(&mut known) {
                let value = chain.storage(head, key)?;
                if known.as_ref() != Some(&value) {
                    changes.push((key.clone(), value.clone().map(Bytes)));
                    *known = Some(value);
                }
            }
            (head, changes)
        };
        if !changes.is_empty() {
            let set = json!({ "block": block, "changes": changes });
            sink.send_timeout(SubscriptionMessage::from_json(&set)?, SEND_DEADLINE)
                .await?;
        }
        let block = tokio::select! {
            () = sink.closed() => return Ok(()),
            block = blocks.recv() => block,
        };
        if matches!(block, Err(RecvError::Closed)) {
            return Ok(());
        }
    }
}

async fn version(pending: PendingSubscriptionSink) -> SubscriptionResult {
    let sink = pending.accept().await?;
    let version = SubscriptionMessage::from_json(&ai_link_runtime::VERSION)?;
    sink.send_timeout(version, SEND_DEADLINE).await?;
    sink.closed().await;
    Ok(())
}

fn call(node: &Node, at: Option<H256>, method: &str, arguments: &[u8]) -> RpcResult<Vec<u8>> {
    let chain = node.chain();
    let at = at.unwrap_or_else(|| chain.head_hash());
    chain
        .call(at, method, arguments)
        .map_err(|failure| error::read(&failure))
}

fn check_count(count: usize) -> RpcResult<()> {
    if count <= MAX_KEYS {
        return Ok(());
    }
    let message = format!("{count} keys asked for, at most {MAX_KEYS} are given at once");
    Err(ErrorObjectOwned::owned(
        INVALID_PARAMS_CODE,
        message,
        None::<()>,
    ))
}
