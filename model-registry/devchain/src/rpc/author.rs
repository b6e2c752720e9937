//! `author_*`: submitting transactions.

use std::{sync::Arc, time::Duration};

use jsonrpsee::{
    RpcModule, SubscriptionMessage, SubscriptionSink,
    core::SubscriptionResult,
    server::RegisterMethodError,
    types::{ErrorObjectOwned, error::INTERNAL_ERROR_CODE},
};
use serde::Serialize;
use sp_core::{Bytes, H256};

use super::error;
use crate::{
    Standing,
    node::{LostTo, Node, Outcome},
};

/// How long a client may take to accept a message before its subscription ends.
pub(super) const SEND_DEADLINE: Duration = Duration::from_secs(10);

/// What a watcher is told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Status {
    Future,
    Ready,
    InBlock(H256),
    Finalized(H256),
    Usurped(H256),
    Dropped,
    Invalid,
}

pub(super) fn register(module: &mut RpcModule<Arc<Node>>) -> Result<(), RegisterMethodError> {
    module.register_blocking_method("author_submitExtrinsic", |params, node, _| {
        let Bytes(transaction) = params.one()?;
        node.submit(transaction)
            .map_err(|refused| error::submission(&refused))
    })?;
    module.register_subscription(
        "author_submitAndWatchExtrinsic",
        "author_extrinsicUpdate",
        "author_unwatchExtrinsic",
        |params, pending, node, _| async move {
            let transaction = match params.one::<Bytes>() {
                Ok(Bytes(transaction)) => transaction,
                Err(malformed) => {
                    pending.reject(malformed).await;
                    return Ok(());
                }
            };
            let submitting = Arc::clone(&node);
            drop(node);
            let submitted =
                tokio::task::spawn_blocking(move || submitting.submit_and_watch(transaction)).await;
            let watched = match submitted {
                Ok(Ok(watched)) => watched,
                Ok(Err(refused)) => {
                    pending.reject(error::submission(&refused)).await;
                    return Ok(());
                }
                Err(_) => {
                    let code = INTERNAL_ERROR_CODE;
                    pending
                        .reject(ErrorObjectOwned::owned(code, "Internal error", None::<()>))
                        .await;
                    return Ok(());
                }
            };
            let sink = pending.accept().await?;
            let first = match watched.standing {
                Standing::Ready => Status::Ready,
                Standing::Future => Status::Future,
            };
            tell(&sink, &first).await?;
            let outcome = tokio::select! {
                () = sink.closed() => return Ok(()),
                outcome = watched.outcome => outcome,
            };
            // The channel closes only with the node.
            let Ok(outcome) = outcome else { return Ok(()) };
            match outcome {
                Outcome::Included(block) => {
                    tell(&sink, &Status::InBlock(block)).await?;
                    tell(&sink, &Status::Finalized(block)).await
                }
                Outcome::Lost(LostTo::Invalidity) => tell(&sink, &Status::Invalid).await,
                Outcome::Lost(LostTo::Room) => tell(&sink, &Status::Dropped).await,
                Outcome::Lost(LostTo::Rival(rival)) => tell(&sink, &Status::Usurped(rival)).await,
            }
        },
    )?;
    Ok(())
}

async fn tell(sink: &SubscriptionSink, status: &Status) -> SubscriptionResult {
    sink.send_timeout(SubscriptionMessage::from_json(status)?, SEND_DEADLINE)
        .await?;
    Ok(())
}
