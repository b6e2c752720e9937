//! `chain_*`: headers and blocks, and being told about new ones.

use std::sync::Arc;

use jsonrpsee::{
    PendingSubscriptionSink, RpcModule, SubscriptionMessage,
    core::{RpcResult, SubscriptionResult},
    server::RegisterMethodError,
    types::{ErrorObjectOwned, error::INVALID_PARAMS_CODE},
};
use serde::Deserialize;
use serde_json::json;
use sp_core::{Bytes, H256};
use tokio::sync::broadcast::error::RecvError;

use super::{author::SEND_DEADLINE, error};
use crate::node::Node;

/// A block number as clients write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrHex {
    Number(u64),
    Hex(String),
}

impl NumberOrHex {
    /// `None` for a number that no block can have.
    fn number(self) -> RpcResult<Option<u32>> {
        let number = match self {
            Self::Number(number) => number,
            Self::Hex(text) => text
                .strip_prefix("0x")
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .ok_or_else(|| {
                    let message =
                        "a block number is a number or a string of 0x and up to 16 hex digits";
                    ErrorObjectOwned::owned(INVALID_PARAMS_CODE, message, None::<()>)
                })?,
        };
        Ok(u32::try_from(number).ok())
    }
}

pub(super) fn register(module: &mut RpcModule<Arc<Node>>) -> Result<(), RegisterMethodError> {
    module.register_blocking_method("chain_getBlockHash", |params, node, _| {
        let number: Option<NumberOrHex> = params.sequence().optional_next()?;
        let Some(number) = number else {
            return Ok(Some(node.chain().head_hash()));
        };
        let Some(number) = number.number()? else {
            return Ok(None);
        };
        node.chain()
            .hash_at(number)
            .map_err(|failure| error::read(&failure))
    })?;
    module.register_blocking_method("chain_getFinalizedHead", |_, node, _| {
        RpcResult::Ok(node.chain().head_hash())
    })?;
    module.register_blocking_method("chain_getHeader", |params, node, _| {
        let hash: Option<H256> = params.sequence().optional_next()?;
        let chain = node.chain();
        let header = chain.header(hash.unwrap_or_else(|| chain.head_hash()));
        header.map_err(|failure| error::read(&failure))
    })?;
    module.register_blocking_method("chain_getBlock", |params, node, _| -> RpcResult<_> {
        let hash: Option<H256> = params.sequence().optional_next()?;
        let chain = node.chain();
        let hash = hash.unwrap_or_else(|| chain.head_hash());
        let header = chain.header(hash).map_err(|failure| error::read(&failure))?;
        let body = chain.body(hash).map_err(|failure| error::read(&failure))?;
        Ok(header.zip(body).map(|(header, body)| {
            let extrinsics: Vec<Bytes> = body.into_iter().map(Bytes).collect();
            json!({ "block": { "header": header, "extrinsics": extrinsics }, "justifications": null })
        }))
    })?;
    // A block is best and final the moment it exists, so the three streams are the same.
    for (subscribe, notification, unsubscribe) in [
        (
            "chain_subscribeAllHeads",
            "chain_allHead",
            "chain_unsubscribeAllHeads",
        ),
        (
            "chain_subscribeNewHeads",
            "chain_newHead",
            "chain_unsubscribeNewHeads",
        ),
        (
            "chain_subscribeFinalizedHeads",
            "chain_finalizedHead",
            "chain_unsubscribeFinalizedHeads",
        ),
    ] {
        module.register_subscription(
            subscribe,
            notification,
            unsubscribe,
            |_, pending, node, _| heads(pending, Arc::clone(&node)),
        )?;
    }
    Ok(())
}

/// Tells the head and every block after it. A client that is too slow misses blocks in between, as
/// it would with a node; `subxt` fetches those by itself.
async fn heads(pending: PendingSubscriptionSink, node: Arc<Node>) -> SubscriptionResult {
    let mut blocks = node.heads();
    let mut header = node.chain().head().clone();
    drop(node);
    let sink = pending.accept().await?;
    loop {
        sink.send_timeout(SubscriptionMessage::from_json(&header)?, SEND_DEADLINE)
            .await?;
        let sent = header.number;
        loop {
            let block = tokio::select! {
                () = sink.closed() => return Ok(()),
                block = blocks.recv() => block,
            };
            match block {
                Ok(block) if block.header.number > sent => {
                    header = block.header.clone();
                    break;
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
}
