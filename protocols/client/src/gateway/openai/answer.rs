//! From a request to the items of its answer.

use ai_link_sealed::message::{Generate, Prompt, Reason, SealedEvent, SealedRequest};
use ai_link_text::{End, Sampling};
use ai_link_wire::{JobId, Level, ModelName};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use super::super::{Gateway, GatewayError};
use super::{OpenAiError, Served};
use crate::InferError;
use crate::sealed::{Item, SealedAnswer, SealedJob};
use crate::text::{GenerateJob, Generation, Piece};

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

/// An answer that is coming.
pub(super) enum Answer {
    /// From a trusted worker.
    Sealed(SealedAnswer),
    /// Put together here.
    Masked(Box<Generation>),
}

impl Answer {
    /// The jobs so far: the names of their receipts.
    pub(super) fn jobs(&self) -> Vec<JobId> {
        match self {
            Self::Sealed(answer) => vec![answer.job()],
            Self::Masked(generation) => generation.jobs().to_vec(),
        }
    }

    /// The next event; `None` when all of the answer is here and its receipts are kept.
    pub(super) async fn next(&mut self) -> Result<Option<SealedEvent>, InferError> {
        let generation = match self {
            Self::Sealed(answer) => return next(answer).await,
            Self::Masked(generation) => generation,
        };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(generation.next().await?.map(|piece| match piece {
            Piece::Text(text) => SealedEvent::Text(text),
            Piece::Done { end, prompt, said } => SealedEvent::Done {
                reason: match end {
                    End::Stop => Reason::Stop,
                    End::Length => Reason::Length,
                },
                prompt_tokens: count(prompt),
                answer_tokens: count(said),
            },
        }))
    }
}

/// A permit to be worked on, held until the answer has been given out.
pub(super) fn permit(gateway: &Gateway) -> Result<OwnedSemaphorePermit, OpenAiError> {
    let busy = GatewayError::Busy {
        limit: gateway.concurrency,
    };
    let permit = gateway.permits.clone().try_acquire_owned();
    Ok(permit.map_err(|_| busy)?)
}

/// Begins to generate, at the level that was settled.
pub(super) async fn generate(
    gateway: &Gateway,
    served: Served,
    request: Generate,
) -> Result<Answer, OpenAiError> {
    if served.level == Level::Sealed {
        let request = SealedRequest::Generate(request);
        let answer = sealed(gateway, served.name, 1, request).await?;
        return Ok(Answer::Sealed(answer));
    }
    let Prompt::Text(prompt) = request.prompt else {
        return Err(OpenAiError::field(
            "messages",
            "at level mpc there is no template for conversations: send a completion request",
        ));
    };
    let s = request.sampling;
    let job = GenerateJob {
        model: served.name,
        version: None,
        group: served.group,
        prompt,
        max_tokens: request.max_tokens,
        stop: request.stop,
        sampling: Sampling {
            temperature: s.temperature,
            top_p: s.top_p,
            top_k: s.top_k,
            seed: s.seed,
            repetition_penalty: s.repetition_penalty,
            presence_penalty: s.presence_penalty,
            frequency_penalty: s.frequency_penalty,
        },
    };
    let generation = gateway.client.generate(job).await?;
    Ok(Answer::Masked(Box::new(generation)))
}

/// Sends a request to a trusted worker.
pub(super) async fn sealed(
    gateway: &Gateway,
    model: ModelName,
    batch: u32,
    request: SealedRequest,
) -> Result<SealedAnswer, OpenAiError> {
    let job = SealedJob {
        model,
        version: None,
        batch,
        request,
    };
    Ok(gateway.client.sealed(job).await?)
}

/// The next event; `None` when all of the answer is here and its receipt is kept.
async fn next(answer: &mut SealedAnswer) -> Result<Option<SealedEvent>, InferError> {
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
