//! From a decrypted request to the events of its answer.

use std::sync::Arc;

use ai_link_lm::{self as lm, Event, GenerateError};
use ai_link_onnx::{NamedTensor, OnnxSession};
use ai_link_sealed::message::{
    Generate, Prompt, Reason, SealedEvent, SealedFailure, SealedRequest, Tensor,
};
use tokio::sync::mpsc;

use super::Model;

/// Texts of one request for vectors.
const MOST_TEXTS: usize = 256;

/// The events of an answer, as they come.
pub(super) enum Events {
    /// Text. Dropping it stops the engine at the next token.
    Text(lm::Answer),
    /// One event.
    One(Option<SealedEvent>),
}

impl Events {
    /// The next one; `None` after the last.
    pub(super) async fn next(&mut self) -> Option<SealedEvent> {
        match self {
            Self::One(event) => event.take(),
            Self::Text(answer) => Some(match answer.next().await? {
                Ok(Event::Text(text)) => SealedEvent::Text(text),
                Ok(Event::Done(done)) => SealedEvent::Done {
                    reason: match done.reason {
                        lm::Reason::Stop => Reason::Stop,
                        lm::Reason::Length => Reason::Length,
                    },
                    prompt_tokens: count(done.prompt_tokens),
                    answer_tokens: count(done.answer_tokens),
                },
                Err(error) => SealedEvent::Failed(failure(&error)),
            }),
        }
    }
}

/// Begins an answer. What takes long is done on threads that may block.
pub(super) async fn begin(model: Arc<Model>, request: SealedRequest, batch: u32) -> Events {
    let (send, mut receive) = mpsc::channel(1);
    let beginning = tokio::task::spawn_blocking(move || {
        let _ = send.blocking_send(begun(&model, request, batch));
    });
    let events = receive.recv().await;
    if let Err(error) = beginning.await {
        tracing::error!(%error, "a model panicked");
    }
    match events {
        Some(Ok(events)) => events,
        Some(Err(failure)) => Events::One(Some(SealedEvent::Failed(failure))),
        None => {
            let why = "the model stopped unexpectedly".into();
            Events::One(Some(SealedEvent::Failed(SealedFailure::Failed(why))))
        }
    }
}

fn begun(model: &Model, request: SealedRequest, batch: u32) -> Result<Events, SealedFailure> {
    match (model, request) {
        (Model::Language(engine), SealedRequest::Generate(request)) => {
            let answer = engine.generate(generate(request)?);
            answer.map(Events::Text).map_err(|error| failure(&error))
        }
        (Model::Embedding(embedder), SealedRequest::Embed { texts }) => {
            if texts.len() > MOST_TEXTS || texts.len() != batch as usize {
                return Err(invalid(format!(
                    "{} texts were sent; the ticket is for {batch}, and {MOST_TEXTS} is the most",
                    texts.len()
                )));
            }
            let vectors = embedder.embed(&texts).map_err(|error| failure(&error))?;
            let tokens = count(vectors.iter().map(|v| v.tokens).sum());
            let vectors = vectors.into_iter().map(|v| v.vector).collect();
            Ok(Events::One(Some(SealedEvent::Vectors { vectors, tokens })))
        }
        (Model::Onnx(model), SealedRequest::Infer { inputs }) => {
            outputs(model, inputs, batch).map(|o| Events::One(Some(SealedEvent::Outputs(o))))
        }
        (Model::Language(_), _) => Err(invalid("the model generates text, nothing else")),
        (Model::Embedding(_), _) => Err(invalid("the model makes vectors of texts, nothing else")),
        (Model::Onnx(_), _) => Err(invalid("the model maps tensors to tensors, nothing else")),
    }
}

fn generate(request: Generate) -> Result<lm::Generate, SealedFailure> {
    let json = |text: &str| {
        let parsed = serde_json::from_str(text);
        parsed.map_err(|error| invalid(format!("messages or tools are not JSON: {error}")))
    };
    let s = request.sampling;
    Ok(lm::Generate {
        prompt: match request.prompt {
            Prompt::Text(text) => lm::Prompt::Text(text),
            Prompt::Chat { messages, tools } => lm::Prompt::Chat {
                messages: json(&messages)?,
                tools: tools.as_deref().map(json).transpose()?,
            },
        },
        max_tokens: request.max_tokens.map(|most| most as usize),
        stop: request.stop,
        sampling: lm::Sampling {
            temperature: s.temperature,
            top_p: s.top_p,
            top_k: s.top_k,
            seed: s.seed,
            repetition_penalty: s.repetition_penalty,
            presence_penalty: s.presence_penalty,
            frequency_penalty: s.frequency_penalty,
        },
    })
}

fn outputs(
    model: &OnnxSession,
    inputs: Vec<Tensor>,
    batch: u32,
) -> Result<Vec<Tensor>, SealedFailure> {
    let inputs = inputs.into_iter().map(|tensor| {
        let dims = tensor.dims.iter().map(|d| usize::try_from(*d));
        let dims: Vec<usize> = dims
            .collect::<Result<_, _>>()
            .map_err(|e| invalid(e.to_string()))?;
        if dims.first() != Some(&(batch as usize)) {
            let name = &tensor.name;
            return Err(invalid(format!(
                "the first axis of `{name}` is not the {batch} of the ticket"
            )));
        }
        Ok(NamedTensor {
            name: tensor.name,
            dims,
            data: tensor.values,
        })
    });
    let inputs: Vec<_> = inputs.collect::<Result<_, SealedFailure>>()?;
    let outputs = model
        .run(&inputs)
        .map_err(|error| invalid(crate::chain(&error)))?;
    let tensor = |output: NamedTensor| Tensor {
        name: output.name,
        dims: output.dims.iter().map(|d| *d as u64).collect(),
        values: output.data,
    };
    Ok(outputs.into_iter().map(tensor).collect())
}

fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

fn invalid(why: impl Into<String>) -> SealedFailure {
    SealedFailure::Invalid(why.into())
}

/// Whose fault it is: the client is told, encrypted.
fn failure(error: &GenerateError) -> SealedFailure {
    match error {
        GenerateError::Busy { .. } => SealedFailure::Busy,
        GenerateError::Empty
        | GenerateError::NoTemplate
        | GenerateError::Option { .. }
        | GenerateError::Template(_)
        | GenerateError::TooLong { .. } => SealedFailure::Invalid(error.to_string()),
        GenerateError::Compute(_)
        | GenerateError::NotANumber
        | GenerateError::Stopped
        | GenerateError::Tokenizer(_) => SealedFailure::Failed(error.to_string()),
    }
}
