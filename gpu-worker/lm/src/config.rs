//! `config.json` and the metadata of GGUF files: numbers that somebody else wrote, within bounds.

use candle_core::quantized::gguf_file::Value;
use serde::Deserialize;

use crate::error::LoadError;
use crate::family::rotary::Scaling;

/// What no model of today exceeds; more is a mistake, and would only cost memory.
const MOST: usize = 1 << 24;

/// A number that must be at least one.
pub(crate) fn positive(field: &'static str, value: Option<usize>) -> Result<usize, LoadError> {
    match value {
        None => Err(LoadError::missing(field)),
        Some(value @ 1..=MOST) => Ok(value),
        Some(value) => Err(LoadError::Config {
            field,
            value: value.to_string(),
            why: "from 1 to 2^24",
        }),
    }
}

/// `whole` must be a multiple of `part`.
pub(crate) fn divides(field: &'static str, part: usize, whole: usize) -> Result<(), LoadError> {
    match whole.is_multiple_of(part) {
        true => Ok(()),
        false => Err(LoadError::Config {
            field,
            value: format!("{part}, {whole}"),
            why: "a divisor",
        }),
    }
}

/// A finite number above zero.
pub(crate) fn above_zero(field: &'static str, value: f64) -> Result<f64, LoadError> {
    match value.is_finite() && value > 0.0 {
        true => Ok(value),
        false => Err(LoadError::Config {
            field,
            value: value.to_string(),
            why: "above zero",
        }),
    }
}

/// One or several token ids.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Ids {
    One(u32),
    Several(Vec<u32>),
}

impl Ids {
    pub(crate) fn list(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Several(ids) => ids,
        }
    }
}

/// The fields of `config.json` that some family reads. What is not there is `None`: families know their defaults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HubConfig {
    pub(crate) model_type: Option<String>,
    pub(crate) hidden_size: Option<usize>,
    pub(crate) intermediate_size: Option<usize>,
    pub(crate) num_hidden_layers: Option<usize>,
    pub(crate) num_attention_heads: Option<usize>,
    pub(crate) num_key_value_heads: Option<usize>,
    pub(crate) head_dim: Option<usize>,
    pub(crate) vocab_size: Option<usize>,
    pub(crate) max_position_embeddings: Option<usize>,
    pub(crate) rms_norm_eps: Option<f64>,
    pub(crate) layer_norm_eps: Option<f64>,
    pub(crate) rope_theta: Option<f64>,
    pub(crate) rope_scaling: Option<RopeScaling>,
    /// Newer checkpoints have both in one place.
    pub(crate) rope_parameters: Option<RopeScaling>,
    pub(crate) attention_bias: Option<bool>,
    pub(crate) mlp_bias: Option<bool>,
    pub(crate) use_sliding_window: Option<bool>,
    pub(crate) hidden_act: Option<String>,
    pub(crate) position_embedding_type: Option<String>,
    pub(crate) type_vocab_size: Option<usize>,
    pub(crate) eos_token_id: Option<Ids>,
    // GPT-2 has names of its own.
    pub(crate) n_embd: Option<usize>,
    pub(crate) n_layer: Option<usize>,
    pub(crate) n_head: Option<usize>,
    pub(crate) n_positions: Option<usize>,
    pub(crate) n_inner: Option<usize>,
    pub(crate) activation_function: Option<String>,
    pub(crate) layer_norm_epsilon: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RopeScaling {
    rope_type: Option<String>,
    /// The older name.
    #[serde(rename = "type")]
    kind: Option<String>,
    pub(crate) rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
}

impl RopeScaling {
    pub(crate) fn scaling(&self) -> Result<Scaling, LoadError> {
        let number = |field, value: Option<f64>| {
            let value = value.ok_or_else(|| LoadError::missing(field));
            value.and_then(|v| above_zero(field, v)).map(|v| v as f32)
        };
        let kind = self.rope_type.as_deref().or(self.kind.as_deref());
        match kind.unwrap_or("default") {
            "default" => Ok(Scaling::None),
            "linear" => Ok(Scaling::Linear(number("factor", self.factor)?)),
            "llama3" => {
                let low = number("low_freq_factor", self.low_freq_factor)?;
                let high = number("high_freq_factor", self.high_freq_factor)?;
                if low >= high {
                    return Err(LoadError::Config {
                        field: "high_freq_factor",
                        value: high.to_string(),
                        why: "above low_freq_factor",
                    });
                }
                Ok(Scaling::Llama3 {
                    factor: number("factor", self.factor)?,
                    low,
                    high,
                    context: number(
                        "original_max_position_embeddings",
                        self.original_max_position_embeddings,
                    )?,
                })
            }
            other => Err(LoadError::unsupported(format!("rope scaling `{other}`"))),
        }
    }
}

impl HubConfig {
    /// Base and stretching of rotary positions.
    pub(crate) fn rope(&self, default: f64) -> Result<(f32, Scaling), LoadError> {
        let parameters = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref());
        let theta = parameters.and_then(|p| p.rope_theta).or(self.rope_theta);
        let theta = above_zero("rope_theta", theta.unwrap_or(default))?;
        let scaling = parameters.map_or(Ok(Scaling::None), RopeScaling::scaling)?;
        Ok((theta as f32, scaling))
    }

    /// The activation function must be the family's.
    pub(crate) fn activation(found: Option<&str>, known: &str) -> Result<(), LoadError> {
        match found {
            None => Ok(()),
            Some(found) if found == known => Ok(()),
            Some(found) => Err(LoadError::unsupported(format!("activation `{found}`"))),
        }
    }
}

/// The metadata of a GGUF file under one architecture's prefix.
pub(crate) struct GgufConfig<'a> {
    pub(crate) metadata: &'a std::collections::HashMap<String, Value>,
    pub(crate) architecture: &'a str,
}

impl GgufConfig<'_> {
    fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.get(&format!("{}.{key}", self.architecture))
    }

    pub(crate) fn count(&self, key: &str) -> Option<usize> {
        let value = self.value(key)?;
        value.to_u32().ok().and_then(|v| usize::try_from(v).ok())
    }

    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        self.value(key)?.to_f32().ok().map(f64::from)
    }

    /// Keys of extensions that would change the results and are not implemented.
    pub(crate) fn refuse(&self, key: &str) -> Result<(), LoadError> {
        match self.value(key) {
            None => Ok(()),
            Some(Value::String(s)) if s == "none" => Ok(()),
            Some(_) => Err(LoadError::unsupported(format!(
                "{}.{key}",
                self.architecture
            ))),
        }
    }
}
