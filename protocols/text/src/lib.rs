//! What an application does itself of a language model, so that texts and tokens never leave it.
//!
//! At level `mpc` workers evaluate a [program](ai_link_program) on shares. Everything before and after it happens here:
//!
//! * [`Text`] is the part of a published model that applications read: tokenizer, public tables of embeddings, how vectors
//!   are pooled. [`pack`] makes it of a checkpoint.
//! * [`Sentences`] turns texts into records (several short ones share one) and the program's output into vectors.
//! * [`Causal`] turns a prompt into a record and scores into the next token ([`Sampler`]) and text ([`Joiner`], [`Stops`]).
//!
//! Level `sealed` uses [`Recipe`], [`Sampler`], [`Joiner`] and [`Stops`] at the worker.
//!
//! # What is public, and what is not
//!
//! Public: the model with its number of positions (`ai-link model publish --positions`), how many records a request takes,
//! and how many tokens were generated, since each is a record of its own. Not public: the texts, their tokens, where in a
//! record they are and how long they are, beyond what the number of records tells. All of that is in shared inputs
//! ([`hub`](ai_link_program::hub) says how).
//!
//! The application learns the last layer's vector of every token (encoders) and the scores of every word (decoders), not
//! only the pooled vector or the chosen word. They are its own output; but who asks often enough learns more about private
//! weights from them.
#![forbid(unsafe_code)]

mod causal;
mod error;
mod files;
mod front;
mod join;
mod part;
mod recipe;
mod sampling;
mod sentences;

pub use causal::{Answer, Causal, Continued, End};
pub use error::{TextError, TokenizerError};
pub use files::read_directory;
pub use join::{Flow, Joiner, Stops};
pub use part::{Text, pack};
pub use recipe::{Pooling, Recipe, RecipeError, Scale};
pub use sampling::{SampleError, Sampler, Sampling};
pub use sentences::{Batch, Sentences};

/// What the fuzzer calls: whatever the bytes, an error or a half that cuts a text into tokens or says why not.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    match Text::from_bytes(bytes) {
        Ok(Text::Sentences(sentences)) => drop(sentences.batch(&["a text".into()])),
        Ok(Text::Causal(causal)) => drop(causal.tokens("a text")),
        Err(_) => {}
    }
}
