//! Llama 1 to 3, and models that are stored as such (Mistral without a sliding window, SmolLM, TinyLlama, ...).
//!
//! Touvron et al., "LLaMA" (2023) and "The Llama 3 Herd of Models" (2024).

use super::rotary::{Pairs, Scaling, Spec};
use crate::config::{GgufConfig, HubConfig, above_zero, divides, positive};
use crate::error::LoadError;
use crate::weights::Weights;

/// From `config.json`.
pub(crate) fn of_hub(config: &HubConfig) -> Result<Spec, LoadError> {
    HubConfig::activation(config.hidden_act.as_deref(), "silu")?;
    let (theta, scaling) = config.rope(10_000.0)?;
    let attention = config.attention_bias.unwrap_or(false);
    checked(Spec {
        biases: [attention, attention, config.mlp_bias.unwrap_or(false)],
        theta,
        scaling,
        ..sizes(config)?
    })
}

/// What Llama and Qwen say in the same words.
pub(super) fn sizes(config: &HubConfig) -> Result<Spec, LoadError> {
    let hidden = positive("hidden_size", config.hidden_size)?;
    let heads = positive("num_attention_heads", config.num_attention_heads)?;
    let head_size = config.head_dim.or(Some(hidden / heads));
    Ok(Spec {
        hidden,
        inner: positive("intermediate_size", config.intermediate_size)?,
        layers: positive("num_hidden_layers", config.num_hidden_layers)?,
        heads,
        kv_heads: positive(
            "num_key_value_heads",
            config.num_key_value_heads.or(Some(heads)),
        )?,
        head_size: positive("head_dim", head_size)?,
        vocabulary: positive("vocab_size", config.vocab_size)?,
        context: positive("max_position_embeddings", config.max_position_embeddings)?,
        eps: above_zero("rms_norm_eps", config.rms_norm_eps.unwrap_or(1e-6))?,
        theta: 10_000.0,
        scaling: Scaling::None,
        pairs: Pairs::Halves,
        biases: [false; 3],
        head_norms: false,
    })
}

/// From a GGUF file.
pub(crate) fn of_gguf(config: &GgufConfig<'_>, weights: &mut Weights) -> Result<Spec, LoadError> {
    if config
        .count("expert_count")
        .is_some_and(|experts| experts > 0)
    {
        return Err(LoadError::unsupported("a mixture of experts"));
    }
    let spec = Spec {
        pairs: Pairs::Neighbours,
        ..gguf_sizes(config, weights)?
    };
    // llama.cpp writes the scaling of Llama 3 as a divisor for each frequency.
    let divisors = "rope_freqs.weight";
    if !weights.has(divisors) {
        return checked(spec);
    }
    let tensor = weights.tensor(divisors, &[spec.head_size / 2])?;
    let read = tensor.to_vec1().map_err(|source| LoadError::Tensor {
        name: divisors.into(),
        source,
    });
    checked(Spec {
        scaling: Scaling::Divisors(read?),
        ..spec
    })
}

/// What Llama and Qwen say in the same words.
pub(super) fn gguf_sizes(config: &GgufConfig<'_>, weights: &Weights) -> Result<Spec, LoadError> {
    config.refuse("rope.scaling.type")?;
    let hidden = positive("embedding_length", config.count("embedding_length"))?;
    let heads = positive("attention.head_count", config.count("attention.head_count"))?;
    let Weights::Gguf(content, _) = weights else {
        return Err(LoadError::missing("GGUF file"));
    };
    let embed = content.tensor_infos.get("token_embd.weight");
    let embed = embed.ok_or_else(|| LoadError::missing("tensor token_embd.weight"))?;
    let kv_heads = config.count("attention.head_count_kv").or(Some(heads));
    let head_size = config
        .count("attention.key_length")
        .or(Some(hidden / heads));
    let head_size = positive("attention.key_length", head_size)?;
    let eps = config.number("attention.layer_norm_rms_epsilon");
    let eps = eps.ok_or_else(|| LoadError::missing("attention.layer_norm_rms_epsilon"))?;
    if let Some(rotated) = config.count("rope.dimension_count")
        && rotated != head_size
    {
        return Err(LoadError::unsupported("a rotation of a part of each head"));
    }
    Ok(Spec {
        hidden,
        inner: positive("feed_forward_length", config.count("feed_forward_length"))?,
        layers: positive("block_count", config.count("block_count"))?,
        heads,
        kv_heads: positive("attention.head_count_kv", kv_heads)?,
        head_size,
        vocabulary: positive("token_embd.weight", embed.shape.dims().first().copied())?,
        context: positive("context_length", config.count("context_length"))?,
        eps: above_zero("attention.layer_norm_rms_epsilon", eps)?,
        theta: above_zero(
            "rope.freq_base",
            config.number("rope.freq_base").unwrap_or(10_000.0),
        )? as f32,
        scaling: Scaling::None,
        pairs: Pairs::Halves,
        biases: [false; 3],
        head_norms: false,
    })
}

/// Heads must go into heads, and components into pairs.
pub(super) fn checked(spec: Spec) -> Result<Spec, LoadError> {
    divides("num_key_value_heads", spec.kv_heads, spec.heads)?;
    divides("head_dim", 2, spec.head_size)?;
    Ok(spec)
}
