//! Qwen 2, 2.5 and 3 (dense): Llama's decoder with biases of query, key and value, or with norms of query and key.
//!
//! "Qwen2 Technical Report" (2024), "Qwen3 Technical Report" (2025).

use super::llama;
use super::rotary::Spec;
use crate::config::{GgufConfig, HubConfig};
use crate::error::LoadError;
use crate::weights::Weights;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    Two,
    Three,
}

/// From `config.json`.
pub(crate) fn of_hub(config: &HubConfig, generation: Generation) -> Result<Spec, LoadError> {
    HubConfig::activation(config.hidden_act.as_deref(), "silu")?;
    if config.use_sliding_window == Some(true) {
        return Err(LoadError::unsupported("a sliding window of attention"));
    }
    let (theta, scaling) = config.rope(10_000.0)?;
    let attention = config.attention_bias.unwrap_or(false);
    let spec = llama::sizes(config)?;
    llama::checked(Spec {
        biases: match generation {
            Generation::Two => [true, false, false],
            Generation::Three => [attention, attention, false],
        },
        head_norms: generation == Generation::Three,
        theta,
        scaling,
        ..spec
    })
}

/// From a GGUF file.
pub(crate) fn of_gguf(
    config: &GgufConfig<'_>,
    weights: &Weights,
    generation: Generation,
) -> Result<Spec, LoadError> {
    llama::checked(Spec {
        biases: [weights.has("blk.0.attn_q.bias"), false, false],
        head_norms: generation == Generation::Three,
        ..llama::gguf_sizes(config, weights)?
    })
}
