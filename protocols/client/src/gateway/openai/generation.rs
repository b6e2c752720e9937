//! Text: of a conversation, or after a beginning; whole, or as it comes.

use std::convert::Infallible;

use ai_link_sealed::message::{Generate, Prompt, Reason, Sampling, SealedEvent};
use ai_link_wire::UnixMillis;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::super::Gateway;
use super::answer::{self, Answer, parse};
use super::{OpenAiError, level, marks};
use crate::InferError;

#[derive(Deserialize)]
struct Chat {
    messages: Vec<Value>,
    tools: Option<Value>,
}

#[derive(Deserialize)]
struct Text {
    prompt: Beginning,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Beginning {
    One(String),
    Many(Vec<String>),
}

/// What both have: read by itself, since numbers do not survive `flatten`. Fields that change nothing (`user`, `store`,
/// `metadata`, ...) are passed over; those that would change the answer and cannot be done are refused.
#[derive(Deserialize)]
struct Options {
    model: String,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<u32>,
    seed: Option<i64>,
    stop: Option<Stop>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    repetition_penalty: Option<f32>,
    n: Option<u32>,
    best_of: Option<u32>,
    logprobs: Option<Value>,
    logit_bias: Option<Value>,
    response_format: Option<Value>,
    echo: Option<bool>,
    suffix: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// Stop strings, as OpenAI has it.
const MOST_STOPS: usize = 4;

impl Options {
    fn check(&self) -> Result<(), OpenAiError> {
        let refused = |field, set: bool, why: &str| match set {
            true => Err(OpenAiError::field(field, why)),
            false => Ok(()),
        };
        let set = |value: &Option<Value>| {
            let nothing = |v: &Value| v.is_null() || *v == json!(false) || *v == json!({});
            value.as_ref().is_some_and(|v| !nothing(v))
        };
        refused(
            "n",
            self.n.is_some_and(|n| n != 1),
            "one answer a request is made",
        )?;
        refused(
            "best_of",
            self.best_of.is_some_and(|n| n != 1),
            "one answer a request is made",
        )?;
        refused(
            "logprobs",
            set(&self.logprobs),
            "probabilities are not given",
        )?;
        refused(
            "logit_bias",
            set(&self.logit_bias),
            "logits cannot be biased",
        )?;
        refused(
            "echo",
            self.echo == Some(true),
            "the prompt is not repeated",
        )?;
        refused("suffix", self.suffix.is_some(), "text cannot be inserted")?;
        let format = self.response_format.as_ref();
        let other = format.is_some_and(|f| f["type"] != "text");
        refused("response_format", other, "only text can be asked for")
    }

    fn request(&self, prompt: Prompt) -> Result<Generate, OpenAiError> {
        self.check()?;
        let stop = match &self.stop {
            None => Vec::new(),
            Some(Stop::One(one)) => vec![one.clone()],
            Some(Stop::Many(many)) => many.clone(),
        };
        if stop.len() > MOST_STOPS {
            return Err(OpenAiError::field(
                "stop",
                format!("at most {MOST_STOPS} strings stop an answer"),
            ));
        }
        let seed = match self.seed {
            Some(seed) => seed.cast_unsigned(),
            None => {
                let mut bytes = [0; 8];
                getrandom::fill(&mut bytes).map_err(|e| InferError::Attempt(e.into()))?;
                u64::from_le_bytes(bytes)
            }
        };
        Ok(Generate {
            prompt,
            max_tokens: self.max_completion_tokens.or(self.max_tokens),
            stop,
            sampling: Sampling {
                temperature: self.temperature.unwrap_or(1.0),
                top_p: self.top_p.unwrap_or(1.0),
                top_k: self.top_k.unwrap_or(0),
                seed,
                repetition_penalty: self.repetition_penalty.unwrap_or(1.0),
                presence_penalty: self.presence_penalty.unwrap_or(0.0),
                frequency_penalty: self.frequency_penalty.unwrap_or(0.0),
            },
        })
    }
}

pub(super) async fn chat(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, OpenAiError> {
    let Chat { messages, tools } = parse(&gateway, &body)?;
    let options = parse(&gateway, &body)?;
    if messages.is_empty() {
        return Err(OpenAiError::field("messages", "there is no message"));
    }
    let prompt = Prompt::Chat {
        messages: Value::Array(messages).to_string(),
        tools: tools.filter(|t| !t.is_null()).map(|t| t.to_string()),
    };
    respond(&gateway, &headers, Shape::Chat, options, prompt).await
}

pub(super) async fn text(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, OpenAiError> {
    let Text { prompt } = parse(&gateway, &body)?;
    let options: Options = parse(&gateway, &body)?;
    let prompt = match prompt {
        Beginning::One(text) => text,
        Beginning::Many(texts) => match <[String; 1]>::try_from(texts) {
            Ok([text]) => text,
            Err(_) => {
                return Err(OpenAiError::field(
                    "prompt",
                    "one prompt a request is answered",
                ));
            }
        },
    };
    // OpenAI's default here, unlike for conversations.
    let options = Options {
        max_tokens: options.max_tokens.or(Some(16)),
        ..options
    };
    respond(
        &gateway,
        &headers,
        Shape::Text,
        options,
        Prompt::Text(prompt),
    )
    .await
}

/// Which of the two interfaces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Chat,
    Text,
}

/// What every part of an answer says.
struct Frame {
    shape: Shape,
    id: String,
    model: String,
    created: u64,
}

/// Why it ended, and what it used.
struct End {
    reason: &'static str,
    usage: Value,
    /// Where every token is a job of its own: the names of their receipts.
    receipts: Vec<String>,
}

impl End {
    fn name(&mut self, answer: &Answer) {
        if matches!(answer, Answer::Masked(_)) {
            self.receipts = answer.jobs().iter().map(ToString::to_string).collect();
        }
    }

    /// Adds the receipts to the body that ends the answer.
    fn mark(&self, body: &mut Value) {
        if !self.receipts.is_empty() {
            body["ai_link"] = json!({"receipts": self.receipts});
        }
    }
}

impl Frame {
    fn part(&self, text: Option<&str>, reason: Option<&str>) -> Value {
        let (object, choice) = match self.shape {
            Shape::Text => (
                "text_completion",
                json!({"index": 0, "text": text.unwrap_or(""), "logprobs": null, "finish_reason": reason}),
            ),
            Shape::Chat => {
                let delta = text.map_or(json!({}), |text| json!({"content": text}));
                let choice =
                    json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason});
                ("chat.completion.chunk", choice)
            }
        };
        self.object(object, json!([choice]))
    }

    fn whole(&self, text: &str, end: &End) -> Value {
        let (object, choice) = match self.shape {
            Shape::Text => (
                "text_completion",
                json!({"index": 0, "text": text, "logprobs": null, "finish_reason": end.reason}),
            ),
            Shape::Chat => {
                let message = json!({"role": "assistant", "content": text, "refusal": null});
                let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": end.reason});
                ("chat.completion", choice)
            }
        };
        let mut body = self.object(object, json!([choice]));
        body["usage"] = end.usage.clone();
        end.mark(&mut body);
        body
    }

    fn object(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}

async fn respond(
    gateway: &Gateway,
    headers: &HeaderMap,
    shape: Shape,
    options: Options,
    prompt: Prompt,
) -> Result<Response, OpenAiError> {
    let request = options.request(prompt)?;
    let permit = answer::permit(gateway)?;
    let served = level(gateway, headers, &options.model).await?;
    let at = served.level;
    let mut answer = answer::generate(gateway, served, request).await?;
    let jobs = answer.jobs();
    let job = jobs.first().copied().ok_or(InferError::Protocol)?;
    let prefix = match shape {
        Shape::Chat => "chatcmpl",
        Shape::Text => "cmpl",
    };
    let frame = Frame {
        shape,
        id: format!("{prefix}-{job}"),
        model: options.model,
        created: UnixMillis::now().0 / 1000,
    };
    // What fails before anything came has a status of its own.
    let first = answer.next().await?.ok_or(InferError::Protocol)?;
    let mut response = match options.stream {
        false => {
            let (text, end) = collected(answer, first).await?;
            drop(permit);
            Json(frame.whole(&text, &end)).into_response()
        }
        true => {
            let usage = options.stream_options.unwrap_or_default().include_usage;
            let streaming = Streaming {
                frame,
                answer,
                next: Some(first),
                end: None,
                usage,
                state: Stage::Opening,
                _permit: permit,
            };
            let events = stream::unfold(streaming, |mut streaming| async move {
                let text = streaming.text().await?;
                Some((Ok::<_, Infallible>(text), streaming))
            });
            let mut response = Body::from_stream(events).into_response();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            response
        }
    };
    marks(response.headers_mut(), at, &jobs);
    Ok(response)
}

async fn collected(mut answer: Answer, first: SealedEvent) -> Result<(String, End), OpenAiError> {
    let (mut text, mut end, mut event) = (String::new(), None, Some(first));
    while let Some(this) = event {
        match this {
            SealedEvent::Text(more) => text.push_str(&more),
            other => end = Some(ended(&other)?),
        }
        event = answer.next().await?;
    }
    let mut end = end.ok_or(InferError::Protocol)?;
    end.name(&answer);
    Ok((text, end))
}

fn ended(event: &SealedEvent) -> Result<End, OpenAiError> {
    let SealedEvent::Done {
        reason,
        prompt_tokens,
        answer_tokens,
    } = event
    else {
        return Err(OpenAiError::field("model", "the model generates no text"));
    };
    Ok(End {
        reason: match reason {
            Reason::Stop => "stop",
            Reason::Length => "length",
        },
        usage: json!({
            "prompt_tokens": prompt_tokens,
            "completion_tokens": answer_tokens,
            "total_tokens": u64::from(*prompt_tokens) + u64::from(*answer_tokens),
        }),
        receipts: Vec::new(),
    })
}

/// A streamed answer.
struct Streaming {
    frame: Frame,
    answer: Answer,
    /// The event that came first.
    next: Option<SealedEvent>,
    end: Option<End>,
    usage: bool,
    state: Stage,
    _permit: OwnedSemaphorePermit,
}

/// Where it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Running,
    Over,
}

impl Streaming {
    /// The next lines; `None` after the last.
    async fn text(&mut self) -> Option<String> {
        match self.state {
            Stage::Over => None,
            Stage::Opening if self.frame.shape == Shape::Chat => {
                self.state = Stage::Running;
                let mut opening = self.frame.part(Some(""), None);
                opening["choices"][0]["delta"]["role"] = json!("assistant");
                Some(line(&opening))
            }
            Stage::Opening | Stage::Running => {
                self.state = Stage::Running;
                match self.piece().await {
                    Ok(text) => Some(text),
                    Err(error) => {
                        // No `[DONE]`: what came is not all of it.
                        self.state = Stage::Over;
                        tracing::warn!(error = error.message, "a streamed answer broke off");
                        Some(line(&error.body()))
                    }
                }
            }
        }
    }

    async fn piece(&mut self) -> Result<String, OpenAiError> {
        loop {
            let event = match self.next.take() {
                Some(event) => Some(event),
                None => self.answer.next().await?,
            };
            match event {
                Some(SealedEvent::Text(text)) => {
                    return Ok(line(&self.frame.part(Some(&text), None)));
                }
                Some(other) => self.end = Some(ended(&other)?),
                None => {
                    self.state = Stage::Over;
                    let mut end = self.end.take().ok_or(InferError::Protocol)?;
                    end.name(&self.answer);
                    let mut last = self.frame.part(None, Some(end.reason));
                    end.mark(&mut last);
                    let mut text = line(&last);
                    if self.usage {
                        let object = match self.frame.shape {
                            Shape::Chat => "chat.completion.chunk",
                            Shape::Text => "text_completion",
                        };
                        let mut usage = self.frame.object(object, json!([]));
                        usage["usage"] = end.usage;
                        text.push_str(&line(&usage));
                    }
                    text.push_str("data: [DONE]\n\n");
                    return Ok(text);
                }
            }
        }
    }
}

fn line(value: &Value) -> String {
    format!("data: {value}\n\n")
}
