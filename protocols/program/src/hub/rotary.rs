//! The decoder that Llama and Qwen share: RMS norms, rotary positions, grouped heads, gated MLP.
//!
//! Touvron et al., "LLaMA" (2023) and "The Llama 3 Herd of Models" (2024); "Qwen2 Technical Report" (2024), "Qwen3
//! Technical Report" (2025); rotary positions: Su et al., RoFormer (2021); grouped-query attention: Ainslie et al. (2023);
//! SwiGLU: Shazeer (2020). Factors of the norms are folded into the matrices behind them. Of the last block only the last
//! position is computed.

use super::build::{Build, Heads, folded, times};
use super::config::{HubConfig, RopeScaling, above_zero, activation, divides, positive};
use super::tensors::Tensors;
use super::{HubError, LOGITS, Lookup, Tables};
use crate::graph::{FloatConst, Function};

pub(super) struct Spec {
    pub(super) hidden: usize,
    inner: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) kv: usize,
    pub(super) size: usize,
    pub(super) vocabulary: usize,
    pub(super) context: usize,
    eps: f64,
    /// Radians a position, for each pair of components.
    frequencies: Vec<f64>,
    /// Biases of query, key and value; of the attention's output; of the MLP.
    biases: [bool; 3],
    /// Queries and keys are normalised head by head.
    head_norms: bool,
}

/// Numbers of a head: no model of today has more.
const MOST_HEAD: usize = 1 << 12;

const EMBED: &str = "model.embed_tokens.weight";

impl Spec {
    pub(super) fn of(config: &HubConfig, kind: &str) -> Result<Self, HubError> {
        activation(config.hidden_act.as_deref(), &["silu"])?;
        if config.use_sliding_window == Some(true) {
            return Err(HubError::unsupported("a sliding window of attention"));
        }
        let hidden = positive("hidden_size", config.hidden_size)?;
        let heads = positive("num_attention_heads", config.num_attention_heads)?;
        let kv = config.num_key_value_heads.or(Some(heads));
        let kv = positive("num_key_value_heads", kv)?;
        let size = positive("head_dim", config.head_dim.or(Some(hidden / heads)))?;
        divides("num_key_value_heads", kv, heads)?;
        divides("head_dim", 2, size)?;
        if size > MOST_HEAD {
            return Err(HubError::Config {
                field: "head_dim",
                value: size.to_string(),
                why: "at most 4096",
            });
        }
        let attention = config.attention_bias.unwrap_or(false);
        Ok(Self {
            hidden,
            inner: positive("intermediate_size", config.intermediate_size)?,
            layers: positive("num_hidden_layers", config.num_hidden_layers)?,
            heads,
            kv,
            size,
            vocabulary: positive("vocab_size", config.vocab_size)?,
            context: positive("max_position_embeddings", config.max_position_embeddings)?,
            eps: above_zero("rms_norm_eps", config.rms_norm_eps.unwrap_or(1e-6))?,
            frequencies: frequencies(config, size)?,
            biases: match kind {
                "qwen2" => [true, false, false],
                "qwen3" => [attention, attention, false],
                _ => [attention, attention, config.mlp_bias.unwrap_or(false)],
            },
            head_norms: kind == "qwen3",
        })
    }

    pub(super) fn table_names(&self) -> Vec<String> {
        vec![EMBED.to_owned()]
    }

    pub(super) fn tables(&self, t: &Tensors<'_>) -> Result<Tables, HubError> {
        let tables = Tables {
            hidden: self.hidden,
            words: t.floats(EMBED, &[self.vocabulary, self.hidden])?,
            places: None,
            segment: None,
            norm: None,
        };
        tables.checked()
    }

    pub(super) fn build(
        &self,
        t: &Tensors<'_>,
        lookup: Lookup,
        b: &mut Build,
    ) -> Result<(), HubError> {
        let (hidden, inner, size) = (self.hidden, self.inner, self.size);
        let mut x = b.embedded(lookup, hidden, || {
            let table = FloatConst {
                dims: vec![self.vocabulary, hidden],
                data: t.floats(EMBED, &[self.vocabulary, hidden])?,
            };
            Ok((table, None))
        })?;
        let mask = b.mask(self.heads);
        let heads = Heads {
            heads: self.heads,
            kv: self.kv,
            size,
        };
        b.cached(self.layers, heads);
        let scale = (1.0 / (size as f64).sqrt()) as f32;
        let [qkv_bias, out_bias, mlp_bias] = self.biases;
        for i in 0..self.layers {
            let name = |part: &str| format!("model.layers.{i}.{part}");
            let dense = |part: &str, dims: [usize; 2], bias: bool| -> Result<_, HubError> {
                let weights = t.matrix(&name(&format!("{part}.weight")), dims)?;
                let bias = bias.then(|| t.floats(&name(&format!("{part}.bias")), &dims[1..]));
                Ok((weights, bias.transpose()?))
            };
            let norm = |part: &str| t.floats(&name(&format!("{part}.weight")), &[hidden]);
            let last = i + 1 == self.layers;
            b.label(format!("layer {i} norm"));
            let y = b.rms(x, self.eps);
            b.label(format!("layer {i} attention"));
            let before = norm("input_layernorm")?;
            let (wide, narrow) = (self.heads * size, self.kv * size);
            let behind = |part: &str, outputs: usize| -> Result<_, HubError> {
                let (w, bias) = dense(part, [hidden, outputs], qkv_bias)?;
                Ok(folded(w, bias, &before, None))
            };
            let q = behind("self_attn.q_proj", wide)?;
            // Where heads are normalised, what their factors fold into is the norm's result.
            let q = if self.head_norms { q } else { times(q, scale) };
            let q = b.linear(y, q.0, q.1);
            let k = behind("self_attn.k_proj", narrow)?;
            let k = b.linear(y, k.0, k.1);
            let v = behind("self_attn.v_proj", narrow)?;
            let v = b.linear(y, v.0, v.1);
            let (mut q, mut k) = (b.split(q, self.heads), b.split(k, self.kv));
            let v = b.split(v, self.kv);
            if self.head_norms {
                let factor = |part: &str, by: f32| -> Result<Vec<f32>, HubError> {
                    let weights = t.floats(&name(&format!("self_attn.{part}.weight")), &[size])?;
                    Ok(weights.into_iter().map(|w| w * by).collect())
                };
                let normal = b.rms(q, self.eps);
                q = b.affine(normal, &factor("q_norm", scale)?, None);
                let normal = b.rms(k, self.eps);
                k = b.affine(normal, &factor("k_norm", 1.0)?, None);
            }
            let k = b.with_past(i, 0, k, heads);
            let v = b.with_past(i, 1, v, heads);
            let q = b.turned(q, &self.frequencies, b.positions - b.chunk);
            let k = b.turned(k, &self.frequencies, 0);
            let (q, mask) = match last {
                true => (b.last_of_heads(q), b.last_of_heads(mask)),
                false => (q, mask),
            };
            let mixed = b.attend(q, k, v, mask, heads);
            let (w, bias) = dense("self_attn.o_proj", [wide, hidden], out_bias)?;
            let out = b.linear(mixed, w, bias);
            if last {
                x = b.row(x, b.chunk - 1);
            }
            x = b.add(x, out);
            b.label(format!("layer {i} second norm"));
            let y = b.rms(x, self.eps);
            b.label(format!("layer {i} mlp"));
            let between = norm("post_attention_layernorm")?;
            let behind = |part: &str| -> Result<_, HubError> {
                let (w, bias) = dense(part, [hidden, inner], mlp_bias)?;
                Ok(folded(w, bias, &between, None))
            };
            let (w, bias) = behind("mlp.gate_proj")?;
            let gate = b.linear(y, w, bias);
            let gate = b.gate(gate, Function::SiluTail);
            let (w, bias) = behind("mlp.up_proj")?;
            let up = b.linear(y, w, bias);
            let gated = b.mul(gate, up);
            let (w, bias) = dense("mlp.down_proj", [inner, hidden], mlp_bias)?;
            let down = b.linear(gated, w, bias);
            x = b.add(x, down);
        }
        b.label("last norm");
        let y = b.rms(x, self.eps);
        b.label("scores");
        // A checkpoint without an output matrix uses the embedding for it, whatever the configuration says.
        let head = match t.has("lm_head.weight") {
            true => "lm_head.weight",
            false => EMBED,
        };
        let weights = t.matrix(head, [hidden, self.vocabulary])?;
        let norm = t.floats("model.norm.weight", &[hidden])?;
        let (w, bias) = folded(weights, None, &norm, None);
        let scores = b.linear(y, w, bias);
        let scores = b.flat(scores);
        b.output(LOGITS, scores);
        b.give_keys();
        Ok(())
    }
}

fn frequencies(config: &HubConfig, size: usize) -> Result<Vec<f64>, HubError> {
    let parameters = config.rope_parameters.as_ref();
    let parameters = parameters.or(config.rope_scaling.as_ref());
    let theta = parameters.and_then(|p| p.rope_theta).or(config.rope_theta);
    let theta = above_zero("rope_theta", theta.unwrap_or(10_000.0))?;
    let plain = (0..size / 2).map(|i| theta.powf(-2.0 * i as f64 / size as f64));
    match parameters {
        None => Ok(plain.collect()),
        Some(scaling) => plain.map(|f| stretched(scaling, f)).collect(),
    }
}

/// How a frequency is stretched for contexts longer than those trained on.
fn stretched(scaling: &RopeScaling, frequency: f64) -> Result<f64, HubError> {
    let number = |field, value: Option<f64>| {
        let value = value.ok_or_else(|| HubError::missing(field));
        value.and_then(|v| above_zero(field, v))
    };
    let kind = scaling.rope_type.as_deref().or(scaling.kind.as_deref());
    match kind.unwrap_or("default") {
        "default" => Ok(frequency),
        "linear" => Ok(frequency / number("factor", scaling.factor)?),
        "llama3" => {
            let factor = number("factor", scaling.factor)?;
            let low = number("low_freq_factor", scaling.low_freq_factor)?;
            let high = number("high_freq_factor", scaling.high_freq_factor)?;
            if low >= high {
                return Err(HubError::Config {
                    field: "high_freq_factor",
                    value: high.to_string(),
                    why: "above low_freq_factor",
                });
            }
            let context = number(
                "original_max_position_embeddings",
                scaling.original_max_position_embeddings,
            )?;
            let turns = context * frequency / std::f64::consts::TAU;
            let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            Ok(frequency * (smooth + (1.0 - smooth) / factor))
        }
        other => Err(HubError::unsupported(format!("rope scaling `{other}`"))),
    }
}
