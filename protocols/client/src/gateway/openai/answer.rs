//! From a request to the items of its answer.

use ai_link_sealed::message::{SealedEvent, SealedRequest};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use super::super::{Gateway, GatewayError};
use super::OpenAiError;
use crate::InferError;
use crate::sealed::{Item, SealedAnswer, SealedJob};

/// A request's body.
pub(super) fn parse<T: DeserializeOwned>(
    gateway: &Gateway,
    body: &Result<Bytes, BytesRejection>,
) -> Result<T, OpenAiError> {
    let limit = gateway.body_bytes;
    let body = body
        .as_ref()
        .map_err(|_| GatewayError::BodyTooLarge { limit })?;
    serde_json::from_slice(body)
        .map_err(|e| OpenAiError::invalid(format!("the body cannot be read: {e}")))
}

/// Sends the request. The permit is held until the answer has been given out.
pub(super) async fn begin(
    gateway: &Gateway,
    model: &str,
    batch: u32,
    request: SealedRequest,
) -> Result<(SealedAnswer, OwnedSemaphorePermit), OpenAiError> {
    let busy = GatewayError::Busy {
        limit: gateway.concurrency,
    };
    let permit = gateway
        .permits
        .clone()
        .try_acquire_owned()
        .map_err(|_| busy)?;
    let name = model
        .parse()
        .map_err(|_| GatewayError::Name(model.to_owned()))?;
    let job = SealedJob {
        model: name,
        version: None,
        batch,
        request,
    };
    Ok((gateway.client.sealed(job).await?, permit))
}

/// The next event; `None` when all of the answer is here and its receipt is kept.
pub(super) async fn next(answer: &mut SealedAnswer) -> Result<Option<SealedEvent>, InferError> {
    match answer.next().await {
        Some(Ok(Item::Event(event))) => Ok(Some(event)),
        Some(Ok(Item::Finished(_))) => Ok(None),
        Some(Err(error)) => Err(error),
        // The task ended without a word: a defect, never taken for the end of an answer.
        None => Err(InferError::Protocol),
    }
}

/// An answer of one event.
pub(super) async fn one(answer: &mut SealedAnswer) -> Result<SealedEvent, InferError> {
    let event = next(answer).await?.ok_or(InferError::Protocol)?;
    match next(answer).await? {
        None => Ok(event),
        Some(_) => Err(InferError::Protocol),
    }
}
