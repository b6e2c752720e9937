//! Vectors of texts.

use ai_link_sealed::message::{SealedEvent, SealedRequest};
use ai_link_wire::{JobId, Level};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Gateway;
use super::answer::{self, parse};
use super::{OpenAiError, Served, level, marks};
use crate::text::EmbedJob;

#[derive(Deserialize)]
struct Request {
    model: String,
    input: Input,
    #[serde(default)]
    encoding_format: Encoding,
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
    /// Of a tokenizer that this side does not have.
    Tokens(#[expect(dead_code, reason = "told apart, and refused")] Vec<Value>),
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    Base64,
}

pub(super) async fn embeddings(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, OpenAiError> {
    let request: Request = parse(&gateway, &body)?;
    if request.dimensions.is_some() {
        return Err(OpenAiError::field(
            "dimensions",
            "vectors cannot be shortened here",
        ));
    }
    let texts = match request.input {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
        Input::Tokens(_) => return Err(OpenAiError::field("input", "send texts, not tokens")),
    };
    if texts.is_empty() {
        return Err(OpenAiError::field("input", "there is no text"));
    }
    let _permit = answer::permit(&gateway)?;
    let served = level(&gateway, &headers, &request.model).await?;
    let at = served.level;
    let (vectors, tokens, jobs) = match at {
        Level::Sealed => of_worker(&gateway, served, texts).await?,
        _ => {
            let job = EmbedJob {
                model: served.name,
                version: None,
                group: served.group,
                texts,
            };
            let made = gateway.client.embed(job).await?;
            let jobs = made.jobs.iter().map(|job| job.job).collect();
            (made.vectors, made.tokens, jobs)
        }
    };
    let data = vectors.iter().enumerate().map(|(index, vector)| {
        let embedding = match request.encoding_format {
            Encoding::Float => json!(vector),
            Encoding::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            }
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let body = json!({
        "object": "list",
        "data": data.collect::<Vec<_>>(),
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    });
    let mut response = Json(body).into_response();
    marks(response.headers_mut(), at, &jobs);
    Ok(response)
}

/// Vectors that a trusted worker makes, with the number of tokens and the job.
async fn of_worker(
    gateway: &Gateway,
    served: Served,
    texts: Vec<String>,
) -> Result<(Vec<Vec<f32>>, u64, Vec<JobId>), OpenAiError> {
    let batch = u32::try_from(texts.len()).unwrap_or(u32::MAX);
    let asked = SealedRequest::Embed { texts };
    let mut answer = answer::sealed(gateway, served.name, batch, asked).await?;
    let job = answer.job();
    match answer::one(&mut answer).await? {
        SealedEvent::Vectors { vectors, tokens } => Ok((vectors, tokens.into(), vec![job])),
        _ => Err(OpenAiError::field("model", "the model makes no vectors")),
    }
}
