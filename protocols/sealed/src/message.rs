//! What is encrypted: the request, and the events of its answer.

use ai_link_wire::{CodecError, Limit, codec};
use serde::{Deserialize, Serialize};

/// A request, encoded.
pub const REQUEST: Limit = Limit::bytes(16 << 20);
/// An event, encoded: one chunk.
pub const EVENT: Limit = Limit::bytes(16 << 20);
/// Bytes of a request in one chunk.
pub const REQUEST_CHUNK: usize = 256 << 10;

/// What is asked of the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SealedRequest {
    /// To generate text.
    Generate(Generate),
    /// To make vectors of texts.
    Embed {
        /// One vector each.
        texts: Vec<String>,
    },
    /// To evaluate an ONNX model.
    Infer {
        /// Its inputs, by name.
        inputs: Vec<Tensor>,
    },
}

/// A tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tensor {
    /// Its name in the model.
    pub name: String,
    /// Its shape.
    pub dims: Vec<u64>,
    /// Row-major.
    pub values: Vec<f32>,
}

/// A request to generate text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    /// From what.
    pub prompt: Prompt,
    /// Most tokens of the answer.
    pub max_tokens: Option<u32>,
    /// Strings before which it ends.
    pub stop: Vec<String>,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

/// What text is generated from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Prompt {
    /// Text that is continued.
    Text(String),
    /// A conversation, for the model's template.
    Chat {
        /// JSON: a list of messages.
        messages: String,
        /// JSON: a list of tools.
        tools: Option<String>,
    },
}

/// How tokens are chosen; the worker checks the ranges.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0: the likeliest token.
    pub temperature: f32,
    /// The likeliest tokens that together reach this probability.
    pub top_p: f32,
    /// So many of the likeliest; 0: all.
    pub top_k: u32,
    /// The same seed gives the same answer.
    pub seed: u64,
    /// 1 does nothing.
    pub repetition_penalty: f32,
    /// 0 does nothing.
    pub presence_penalty: f32,
    /// 0 does nothing.
    pub frequency_penalty: f32,
}

/// A part of an answer: one chunk each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SealedEvent {
    /// More text.
    Text(String),
    /// The end of the text: last.
    Done {
        /// Why.
        reason: Reason,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens of the answer.
        answer_tokens: u32,
    },
    /// Vectors: last.
    Vectors {
        /// One for each text.
        vectors: Vec<Vec<f32>>,
        /// Tokens of all texts.
        tokens: u32,
    },
    /// Outputs of an ONNX model: last.
    Outputs(Vec<Tensor>),
    /// There is no answer, or no more of it: last, and no receipt follows.
    Failed(SealedFailure),
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The model ended it, or a stop string came.
    Stop,
    /// It has as many tokens as it may.
    Length,
}

/// Why the worker gives no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SealedFailure {
    /// It has too much to do.
    #[error("the worker is busy")]
    Busy,
    /// The request is at fault: another worker would say the same.
    #[error("{0}")]
    Invalid(String),
    /// The worker is at fault.
    #[error("the worker failed: {0}")]
    Failed(String),
}

impl SealedRequest {
    /// # Errors
    /// [`CodecError::TooLong`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self, REQUEST)
    }

    /// # Errors
    /// [`CodecError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, REQUEST)
    }
}

impl SealedEvent {
    /// # Errors
    /// [`CodecError::TooLong`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self, EVENT)
    }

    /// # Errors
    /// [`CodecError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, EVENT)
    }

    /// Whether nothing follows.
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Text(_))
    }
}
