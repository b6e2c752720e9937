//! One WebSocket that is opened again when it is needed and gone.

use std::{sync::Arc, time::Duration};

use subxt::rpcs::{
    Error,
    client::{
        JsonrpseeRpcClient, RawRpcFuture, RawRpcSubscription, RawValue, RpcClientT,
        jsonrpsee_client,
    },
};
use tokio::sync::Mutex;

/// How long opening the connection may take.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);

/// The connection to a chain.
pub(crate) struct Link {
    url: String,
    /// Empty until first used. A closed connection stays here until the next question notices.
    open: Mutex<Option<Arc<JsonrpseeRpcClient>>>,
}

impl Link {
    pub(crate) fn new(url: String) -> Self {
        Self {
            url,
            open: Mutex::new(None),
        }
    }

    async fn connection(&self) -> Result<Arc<JsonrpseeRpcClient>, Error> {
        let mut open = self.open.lock().await;
        if let Some(connection) = open.as_ref().filter(|connection| connection.is_connected()) {
            return Ok(connection.clone());
        }
        let opening = tokio::time::timeout(OPEN_DEADLINE, jsonrpsee_client(&self.url));
        let connection = opening
            .await
            .map_err(|elapsed| Error::Client(Box::new(elapsed)))??;
        tracing::debug!(url = self.url, "connected to the chain");
        Ok(open.insert(Arc::new(connection)).clone())
    }
}

impl RpcClientT for Link {
    fn request_raw<'a>(
        &'a self,
        method: &'a str,
        params: Option<Box<RawValue>>,
    ) -> RawRpcFuture<'a, Box<RawValue>> {
        Box::pin(async move { self.connection().await?.request_raw(method, params).await })
    }

    fn subscribe_raw<'a>(
        &'a self,
        sub: &'a str,
        params: Option<Box<RawValue>>,
        unsub: &'a str,
    ) -> RawRpcFuture<'a, RawRpcSubscription> {
        Box::pin(async move {
            self.connection()
                .await?
                .subscribe_raw(sub, params, unsub)
                .await
        })
    }
}
