//! Language models in the clear, for level `sealed`: the worker that the application trusts sees prompt and answer.
//!
//! [`Files`] are a checkpoint in the model hub's format (`config.json`, `tokenizer.json`, `*.safetensors`) or a GGUF file
//! with its `tokenizer.json`. [`Checkpoint::load`] makes a model of them: Llama, Qwen 2 and 3, GPT-2, or BERT for
//! embeddings. An [`Engine`] runs a language model on a thread of its own and batches requests as they come
//! ([`schedule`]); an [`Embedder`] makes vectors.
//!
//! | family | safetensors | GGUF |
//! |---|---|---|
//! | Llama 1 to 3 | yes | yes |
//! | Qwen 2, 2.5, 3 (dense) | yes | yes |
//! | GPT-2 | yes | no |
//! | BERT (sentence-transformers) | yes | no |
//!
//! What a file asks for and is not implemented (other rope scalings, sliding windows, mixtures of experts) is refused at
//! loading. Floats are computed with as `f32`, quantised matrices with candle's integer kernels; everything on the CPU.
//!
//! Files come from a model's owner whom the worker does not know: sizes are checked before memory is reserved, and a chat
//! template runs with bounded fuel.

#![forbid(unsafe_code)]

mod attention;
mod checkpoint;
mod config;
mod embed;
mod engine;
mod error;
mod family;
mod files;
mod gguf;
pub mod schedule;
mod template;
mod weights;

pub use ai_link_text::{Sampler, Sampling};
pub use checkpoint::{Checkpoint, LanguageModel};
pub use embed::{Embedder, Embedding};
pub use engine::{Answer, Done, Engine, Event, Generate, Prompt, Reason};
pub use error::{GenerateError, LoadError};
pub use files::Files;
pub use template::Template;
