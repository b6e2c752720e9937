//! Model families, one a file.

pub(crate) mod bert;
pub(crate) mod gpt2;
pub(crate) mod llama;
pub(crate) mod qwen;
pub(crate) mod rotary;

use candle_core::{Result, Tensor};

use crate::attention::{Cache, Ragged};

/// A model that predicts the next token.
pub(crate) trait Causal: Send {
    /// Tokens of a sequence, prompt and answer together.
    fn context(&self) -> usize;

    /// Layers, each of which has its part of a [`Cache`].
    fn layers(&self) -> usize;

    /// Tokens that there are.
    fn vocabulary(&self) -> usize;

    /// Feeds each sequence its next tokens. Returns the logits after each one's last: `[sequences, vocabulary]`.
    fn forward(&self, batch: &Ragged, caches: &mut [&mut Cache]) -> Result<Tensor>;
}
