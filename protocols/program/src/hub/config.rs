//! `config.json`: numbers that somebody else wrote, within bounds.

use serde::Deserialize;

use super::HubError;

/// What no model of today exceeds.
const MOST: usize = 1 << 24;

/// A number that must be at least one.
pub(super) fn positive(field: &'static str, value: Option<usize>) -> Result<usize, HubError> {
    match value {
        None => Err(HubError::missing(field)),
        Some(value @ 1..=MOST) => Ok(value),
        Some(value) => Err(HubError::Config {
            field,
            value: value.to_string(),
            why: "from 1 to 2^24",
        }),
    }
}

/// `whole` must be a multiple of `part`.
pub(super) fn divides(field: &'static str, part: usize, whole: usize) -> Result<(), HubError> {
    match whole.is_multiple_of(part) {
        true => Ok(()),
        false => Err(HubError::Config {
            field,
            value: format!("{part}, {whole}"),
            why: "a divisor",
        }),
    }
}

/// A finite number above zero.
pub(super) fn above_zero(field: &'static str, value: f64) -> Result<f64, HubError> {
    match value.is_finite() && value > 0.0 {
        true => Ok(value),
        false => Err(HubError::Config {
            field,
            value: value.to_string(),
            why: "above zero",
        }),
    }
}

/// The activation function must be one of the family's.
pub(super) fn activation(found: Option<&str>, known: &[&str]) -> Result<(), HubError> {
    match found {
        Some(found) if !known.contains(&found) => {
            Err(HubError::unsupported(format!("activation `{found}`")))
        }
        _ => Ok(()),
    }
}

/// The fields that some family reads. What is not there is `None`: families know their defaults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HubConfig {
    pub(super) model_type: Option<String>,
    pub(super) hidden_size: Option<usize>,
    pub(super) intermediate_size: Option<usize>,
    pub(super) num_hidden_layers: Option<usize>,
    pub(super) num_attention_heads: Option<usize>,
    pub(super) num_key_value_heads: Option<usize>,
    pub(super) head_dim: Option<usize>,
    pub(super) vocab_size: Option<usize>,
    pub(super) max_position_embeddings: Option<usize>,
    pub(super) rms_norm_eps: Option<f64>,
    pub(super) layer_norm_eps: Option<f64>,
    pub(super) rope_theta: Option<f64>,
    pub(super) rope_scaling: Option<RopeScaling>,
    /// Newer checkpoints have both in one place.
    pub(super) rope_parameters: Option<RopeScaling>,
    pub(super) attention_bias: Option<bool>,
    pub(super) mlp_bias: Option<bool>,
    pub(super) use_sliding_window: Option<bool>,
    pub(super) hidden_act: Option<String>,
    pub(super) position_embedding_type: Option<String>,
    pub(super) type_vocab_size: Option<usize>,
    // GPT-2 has names of its own.
    pub(super) n_embd: Option<usize>,
    pub(super) n_layer: Option<usize>,
    pub(super) n_head: Option<usize>,
    pub(super) n_positions: Option<usize>,
    pub(super) n_inner: Option<usize>,
    pub(super) activation_function: Option<String>,
    pub(super) layer_norm_epsilon: Option<f64>,
    pub(super) scale_attn_weights: Option<bool>,
    pub(super) scale_attn_by_inverse_layer_idx: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RopeScaling {
    pub(super) rope_type: Option<String>,
    /// The older name.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) rope_theta: Option<f64>,
    pub(super) factor: Option<f64>,
    pub(super) low_freq_factor: Option<f64>,
    pub(super) high_freq_factor: Option<f64>,
    pub(super) original_max_position_embeddings: Option<f64>,
}
