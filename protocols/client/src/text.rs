//! Texts at level `mpc`: vectors and generation, with the client's half of a language model.
//!
//! Tokens, look-ups in public tables, pooling and sampling happen in this process
//! ([`ai-link-text`](ai_link_text) says what that makes public); workers evaluate the layers between on shares, as of any
//! other model. A request for vectors takes one job for each [`RECORDS`] records; an answer takes one for each chunk of its
//! prompt and one a token. Keys and values of earlier tokens are kept here, between jobs, and shared afresh
//! ([`hub`] says why); workers keep nothing, so every token may be evaluated by another group, and a
//! worker that is lost costs one token's attempt.

use std::collections::VecDeque;
use std::sync::Arc;

use ai_link_program::hub;
use ai_link_text::{Answer, Causal, End, Sampling, Sentences, Text, TextError};
use ai_link_wire::{JobId, Level, ModelName, ModelVersion};

use crate::client::{Client, InferJob, Inference};
use crate::error::InferError;
use crate::group::Group;
use crate::models::Model;

/// Records of one job: what workers prepare for a record of a small encoder is tens of megabytes.
pub const RECORDS: u32 = 4;

/// Texts of which vectors are wanted.
#[derive(Clone, Debug)]
pub struct EmbedJob {
    /// The model.
    pub model: ModelName,
    /// Its version; the latest if `None`.
    pub version: Option<ModelVersion>,
    /// Who evaluates.
    pub group: Group,
    /// The texts.
    pub texts: Vec<String>,
}

/// Vectors, in the order of the texts.
#[derive(Debug)]
pub struct Vectors {
    /// One for each text.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts.
    pub tokens: u64,
    /// The jobs that it took.
    pub jobs: Vec<Inference>,
}

/// A beginning that is to be continued.
#[derive(Clone, Debug)]
pub struct GenerateJob {
    /// The model.
    pub model: ModelName,
    /// Its version; the latest if `None`.
    pub version: Option<ModelVersion>,
    /// Who evaluates.
    pub group: Group,
    /// The beginning.
    pub prompt: String,
    /// Most tokens of the answer; `None`: as many as there is room for.
    pub max_tokens: Option<u32>,
    /// Strings before which it ends.
    pub stop: Vec<String>,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

/// A part of what comes.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// More text.
    Text(String),
    /// The end: last.
    Done {
        /// Why.
        end: End,
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens of the answer.
        said: usize,
    },
}

impl Client {
    /// Vectors of texts under sharing.
    ///
    /// # Errors
    /// [`InferError`].
    pub async fn embed(&self, job: EmbedJob) -> Result<Vectors, InferError> {
        let model = self.model(&job.model, job.version).await;
        let model = model.map_err(InferError::Model)?;
        self.resolve(&model, Some(Level::Mpc))?;
        let text = text_of(&model)?;
        let sentences: &Sentences = match text.as_ref() {
            Text::Sentences(sentences) => sentences,
            Text::Causal(_) => return Err(kind("predicts text and makes no vectors")),
        };
        let batch = sentences.batch(&job.texts).map_err(InferError::Text)?;
        let mut states = Vec::new();
        let mut jobs = Vec::new();
        let mut from = 0;
        while from < batch.records {
            let count = RECORDS.min(batch.records - from);
            let part = |input: &Vec<f32>| {
                let record = input.len() / batch.records as usize;
                input[from as usize * record..][..count as usize * record].to_vec()
            };
            let inputs = batch.inputs.iter().map(part).collect();
            let inference = self.one(&model, job.group, count, inputs).await?;
            states.extend_from_slice(values(&inference, hub::STATES)?);
            jobs.push(inference);
            from += count;
        }
        Ok(Vectors {
            vectors: sentences
                .vectors(&batch, &states)
                .map_err(InferError::Text)?,
            tokens: batch.tokens,
            jobs,
        })
    }

    /// Begins an answer under sharing. Its first token is there when this returns, so that what fails at once has failed
    /// here.
    ///
    /// # Errors
    /// [`InferError`].
    pub async fn generate(&self, job: GenerateJob) -> Result<Generation, InferError> {
        let model = self.model(&job.model, job.version).await;
        let model = model.map_err(InferError::Model)?;
        self.resolve(&model, Some(Level::Mpc))?;
        let text = text_of(&model)?;
        let most = job.max_tokens.map(|n| n as usize);
        let answer = causal(&text)?.begin(&job.prompt, most, job.stop, job.sampling);
        let mut generation = Generation {
            client: self.clone(),
            group: job.group,
            answer: answer.map_err(InferError::Text)?,
            model,
            text,
            jobs: Vec::new(),
            ready: VecDeque::new(),
            ended: false,
        };
        while generation.answer.said() == 0 && !generation.ended {
            generation.advance().await?;
        }
        Ok(generation)
    }

    /// One evaluation.
    async fn one(
        &self,
        model: &Model,
        group: Group,
        batch: u32,
        inputs: Vec<Vec<f32>>,
    ) -> Result<Inference, InferError> {
        let job = InferJob {
            model: model.name.clone(),
            version: Some(model.version),
            level: Some(Level::Mpc),
            group,
            batch,
            inputs,
            stored: Vec::new(),
        };
        self.infer(job).await
    }
}

/// An answer that is coming. Dropping it ends it: no further token is asked for.
#[derive(Debug)]
pub struct Generation {
    client: Client,
    model: Model,
    text: Arc<Text>,
    group: Group,
    answer: Answer,
    jobs: Vec<JobId>,
    ready: VecDeque<Piece>,
    ended: bool,
}

impl Generation {
    /// The jobs so far, one a chunk of the prompt and one a token: the names of their receipts.
    pub fn jobs(&self) -> &[JobId] {
        &self.jobs
    }

    /// Prompt and answer so far, in tokens.
    pub fn tokens(&self) -> &[u32] {
        self.answer.tokens()
    }

    /// The next piece; `None` after [`Piece::Done`].
    ///
    /// # Errors
    /// [`InferError`]: a token that no group evaluated before its deadline ends the answer.
    pub async fn next(&mut self) -> Result<Option<Piece>, InferError> {
        while self.ready.is_empty() && !self.ended {
            self.advance().await?;
        }
        Ok(self.ready.pop_front())
    }

    /// One token more.
    async fn advance(&mut self) -> Result<(), InferError> {
        let model = causal(&self.text)?;
        let inputs = self.answer.record(model).map_err(InferError::Text)?;
        let inference = self.client.one(&self.model, self.group, 1, inputs).await?;
        self.jobs.push(inference.job);
        let logits = values(&inference, hub::LOGITS)?;
        // Without a cache there are none.
        let keys = values(&inference, hub::KEYS).unwrap_or_default();
        let continued = self.answer.take(model, logits, keys);
        let continued = continued.map_err(InferError::Text)?;
        if !continued.text.is_empty() {
            self.ready.push_back(Piece::Text(continued.text));
        }
        if let Some(end) = continued.end {
            self.ended = true;
            self.ready.push_back(Piece::Done {
                end,
                prompt: self.answer.prompt(),
                said: self.answer.said(),
            });
        }
        Ok(())
    }
}

fn text_of(model: &Model) -> Result<Arc<Text>, InferError> {
    model
        .content
        .text
        .clone()
        .ok_or_else(|| InferError::NoText {
            model: model.name.clone(),
        })
}

fn causal(text: &Text) -> Result<&Causal, InferError> {
    match text {
        Text::Causal(causal) => Ok(causal),
        Text::Sentences(_) => Err(kind("makes vectors and predicts no text")),
    }
}

fn kind(does: &'static str) -> InferError {
    InferError::Text(TextError::Kind { does })
}

fn values<'a>(inference: &'a Inference, name: &str) -> Result<&'a [f32], InferError> {
    let output = inference.outputs.iter().find(|o| o.name == name);
    output.and_then(|o| o.as_f32()).ok_or(InferError::Protocol)
}
