//! The decoder that Llama and its descendants share: RMS norms, rotary positions, grouped heads, gated MLP.
//!
//! Rotary positions: Su et al., RoFormer (2021); grouped-query attention: Ainslie et al. (2023); SwiGLU: Shazeer (2020).

use candle_core::{Device, Result as Computed, Tensor};
use candle_nn::ops::{rms_norm, silu};
use candle_nn::rotary_emb::{rope, rope_i};

use super::Causal;
use crate::attention::{Cache, Ragged, Sight, attend, split_heads};
use crate::error::LoadError;
use crate::weights::{Linear, Weights};

/// What distinguishes one such model from another.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) hidden: usize,
    pub(crate) inner: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_size: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
    pub(crate) eps: f64,
    pub(crate) theta: f32,
    pub(crate) scaling: Scaling,
    pub(crate) pairs: Pairs,
    /// Biases of query, key and value; of the attention's output; of the MLP.
    pub(crate) biases: [bool; 3],
    /// Queries and keys are normalised head by head.
    pub(crate) head_norms: bool,
}

/// How frequencies are stretched for contexts longer than those trained on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scaling {
    None,
    /// All of them by one factor.
    Linear(f32),
    /// Llama 3.1: low ones by the factor, high ones not, between them gradually.
    Llama3 {
        factor: f32,
        low: f32,
        high: f32,
        context: f32,
    },
    /// A divisor each, from the file.
    Divisors(Vec<f32>),
}

/// Which components of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pairs {
    /// The `i`-th with the one half a head further.
    Halves,
    /// Neighbours, as GGUF files of Llama have them.
    Neighbours,
}

/// Names of tensors, which differ between safetensors and GGUF.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Names {
    Hub,
    Gguf,
}

impl Names {
    fn of(self, part: &str) -> &'static str {
        let (hub, gguf) = match part {
            "embed" => ("model.embed_tokens.weight", "token_embd.weight"),
            "norm" => ("model.norm.weight", "output_norm.weight"),
            "head" => ("lm_head", "output"),
            "q" => ("self_attn.q_proj", "attn_q"),
            "k" => ("self_attn.k_proj", "attn_k"),
            "v" => ("self_attn.v_proj", "attn_v"),
            "o" => ("self_attn.o_proj", "attn_output"),
            "q_norm" => ("self_attn.q_norm.weight", "attn_q_norm.weight"),
            "k_norm" => ("self_attn.k_norm.weight", "attn_k_norm.weight"),
            "before" => ("input_layernorm.weight", "attn_norm.weight"),
            "between" => ("post_attention_layernorm.weight", "ffn_norm.weight"),
            "gate" => ("mlp.gate_proj", "ffn_gate"),
            "up" => ("mlp.up_proj", "ffn_up"),
            _ => ("mlp.down_proj", "ffn_down"),
        };
        match self {
            Self::Hub => hub,
            Self::Gguf => gguf,
        }
    }

    fn layer(self, index: usize, part: &str) -> String {
        let name = self.of(part);
        match self {
            Self::Hub => format!("model.layers.{index}.{name}"),
            Self::Gguf => format!("blk.{index}.{name}"),
        }
    }
}

pub(crate) struct Rotary {
    spec: Spec,
    embed: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Linear,
    frequencies: Tensor,
}

struct Layer {
    before: Tensor,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    head_norms: Option<[Tensor; 2]>,
    between: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Rotary {
    pub(crate) fn load(spec: Spec, names: Names, weights: &mut Weights) -> Result<Self, LoadError> {
        let Spec {
            hidden, vocabulary, ..
        } = spec;
        let embed = weights.tensor(names.of("embed"), &[vocabulary, hidden])?;
        // A checkpoint without an output matrix uses the embedding for it, whatever the configuration says.
        let head = match weights.has(&format!("{}.weight", names.of("head"))) {
            true => weights.linear(names.of("head"), [vocabulary, hidden], false)?,
            false => Linear::new(embed.clone(), None),
        };
        let layers = (0..spec.layers).map(|i| Layer::load(&spec, names, i, weights));
        let layers = layers.collect::<Result<_, _>>()?;
        let failed = |source| LoadError::Tensor {
            name: "rotary frequencies".into(),
            source,
        };
        Ok(Self {
            embed,
            layers,
            norm: weights.tensor(names.of("norm"), &[hidden])?,
            head,
            frequencies: Tensor::new(frequencies(&spec), &Device::Cpu).map_err(failed)?,
            spec,
        })
    }
}

/// Radians a position, for each pair.
fn frequencies(spec: &Spec) -> Vec<f32> {
    let size = spec.head_size;
    let plain = (0..size / 2).map(|i| 1.0 / spec.theta.powf(2.0 * i as f32 / size as f32));
    let scaled = plain.enumerate().map(|(i, f)| match &spec.scaling {
        Scaling::None => f,
        Scaling::Linear(factor) => f / factor,
        Scaling::Divisors(divisors) => f / divisors.get(i).copied().unwrap_or(1.0),
        Scaling::Llama3 {
            factor,
            low,
            high,
            context,
        } => {
            let turns = context * f / std::f32::consts::TAU;
            let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            f * (smooth + (1.0 - smooth) / factor)
        }
    });
    scaled.collect()
}

impl Layer {
    fn load(spec: &Spec, names: Names, index: usize, w: &mut Weights) -> Result<Self, LoadError> {
        let [qkv, output, mlp] = spec.biases;
        let (hidden, inner) = (spec.hidden, spec.inner);
        let (heads, kv) = (spec.heads * spec.head_size, spec.kv_heads * spec.head_size);
        let name = |part| names.layer(index, part);
        let head_norms = match spec.head_norms {
            true => Some([
                w.tensor(&name("q_norm"), &[spec.head_size])?,
                w.tensor(&name("k_norm"), &[spec.head_size])?,
            ]),
            false => None,
        };
        Ok(Self {
            before: w.tensor(&name("before"), &[hidden])?,
            q: w.linear(&name("q"), [heads, hidden], qkv)?,
            k: w.linear(&name("k"), [kv, hidden], qkv)?,
            v: w.linear(&name("v"), [kv, hidden], qkv)?,
            o: w.linear(&name("o"), [hidden, heads], output)?,
            head_norms,
            between: w.tensor(&name("between"), &[hidden])?,
            gate: w.linear(&name("gate"), [inner, hidden], mlp)?,
            up: w.linear(&name("up"), [inner, hidden], mlp)?,
            down: w.linear(&name("down"), [hidden, inner], mlp)?,
        })
    }
}

/// Cosines and sines of each token, `[tokens, size / 2]`.
struct Turns {
    cos: Tensor,
    sin: Tensor,
    pairs: Pairs,
}

impl Turns {
    /// `x` is `[heads, tokens, size]`.
    fn apply(&self, x: &Tensor) -> Computed<Tensor> {
        let x = x.unsqueeze(0)?;
        let turned = match self.pairs {
            Pairs::Halves => rope(&x, &self.cos, &self.sin)?,
            Pairs::Neighbours => rope_i(&x, &self.cos, &self.sin)?,
        };
        turned.squeeze(0)
    }
}

impl Causal for Rotary {
    fn context(&self) -> usize {
        self.spec.context
    }

    fn layers(&self) -> usize {
        self.spec.layers
    }

    fn vocabulary(&self) -> usize {
        self.spec.vocabulary
    }

    fn forward(&self, batch: &Ragged, caches: &mut [&mut Cache]) -> Computed<Tensor> {
        let eps = self.spec.eps as f32;
        let positions = batch.positions()?.to_dtype(candle_core::DType::F32)?;
        let angles = positions
            .unsqueeze(1)?
            .matmul(&self.frequencies.unsqueeze(0)?)?;
        let turns = Turns {
            cos: angles.cos()?,
            sin: angles.sin()?,
            pairs: self.spec.pairs,
        };
        let mut x = self.embed.index_select(&batch.tokens()?, 0)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let y = rms_norm(&x, &layer.before, eps)?;
            let mut q = split_heads(&layer.q.forward(&y)?, self.spec.heads)?;
            let mut k = split_heads(&layer.k.forward(&y)?, self.spec.kv_heads)?;
            let v = split_heads(&layer.v.forward(&y)?, self.spec.kv_heads)?;
            if let Some([for_q, for_k]) = &layer.head_norms {
                q = rms_norm(&q, for_q, eps)?;
                k = rms_norm(&k, for_k, eps)?;
            }
            let (q, k) = (turns.apply(&q)?, turns.apply(&k)?);
            let mixed = attend(batch, &q, &k, &v, Sight::Causal(caches, index))?;
            x = (x + layer.o.forward(&mixed)?)?;
            let y = rms_norm(&x, &layer.between, eps)?;
            let gated = (silu(&layer.gate.forward(&y)?)? * layer.up.forward(&y)?)?;
            x = (x + layer.down.forward(&gated)?)?;
        }
        let last = rms_norm(&batch.last_rows(&x)?, &self.norm, eps)?;
        self.head.forward(&last)
    }
}
