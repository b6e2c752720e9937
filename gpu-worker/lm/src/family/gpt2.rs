//! GPT-2: learned positions, layer norms, one matrix for query, key and value.
//!
//! Radford et al., "Language Models are Unsupervised Multitask Learners" (2019).

use candle_core::{Result as Computed, Tensor};

use super::Causal;
use crate::attention::{Cache, Ragged, Sight, attend, split_heads};
use crate::config::{HubConfig, above_zero, divides, positive};
use crate::error::LoadError;
use crate::weights::{LayerNorm, Linear, Weights};

pub(crate) struct Gpt2 {
    heads: usize,
    hidden: usize,
    words: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    head: Linear,
}

struct Layer {
    before: LayerNorm,
    qkv: Linear,
    output: Linear,
    between: LayerNorm,
    up: Linear,
    down: Linear,
}

impl Gpt2 {
    pub(crate) fn load(config: &HubConfig, w: &mut Weights) -> Result<Self, LoadError> {
        HubConfig::activation(config.activation_function.as_deref(), "gelu_new")?;
        let hidden = positive("n_embd", config.n_embd)?;
        let heads = positive("n_head", config.n_head)?;
        divides("n_head", heads, hidden)?;
        let vocabulary = positive("vocab_size", config.vocab_size)?;
        let context = positive("n_positions", config.n_positions)?;
        let inner = positive("n_inner", config.n_inner.or(Some(4 * hidden)))?;
        let eps = above_zero(
            "layer_norm_epsilon",
            config.layer_norm_epsilon.unwrap_or(1e-5),
        )?;
        // The first checkpoints have no prefix.
        let prefix = match w.has("transformer.wte.weight") {
            true => "transformer.",
            false => "",
        };
        let words = w.tensor(&format!("{prefix}wte.weight"), &[vocabulary, hidden])?;
        let layer = |i: usize, w: &mut Weights| -> Result<Layer, LoadError> {
            let name = |part: &str| format!("{prefix}h.{i}.{part}");
            Ok(Layer {
                before: w.layer_norm(&name("ln_1"), hidden, eps)?,
                qkv: transposed(w, &name("attn.c_attn"), [hidden, 3 * hidden])?,
                output: transposed(w, &name("attn.c_proj"), [hidden, hidden])?,
                between: w.layer_norm(&name("ln_2"), hidden, eps)?,
                up: transposed(w, &name("mlp.c_fc"), [hidden, inner])?,
                down: transposed(w, &name("mlp.c_proj"), [inner, hidden])?,
            })
        };
        let count = positive("n_layer", config.n_layer)?;
        let layers = (0..count).map(|i| layer(i, w)).collect::<Result<_, _>>()?;
        let head = match w.has("lm_head.weight") {
            true => w.linear("lm_head", [vocabulary, hidden], false)?,
            false => Linear::new(words.clone(), None),
        };
        Ok(Self {
            heads,
            hidden,
            words,
            positions: w.tensor(&format!("{prefix}wpe.weight"), &[context, hidden])?,
            layers,
            norm: w.layer_norm(&format!("{prefix}ln_f"), hidden, eps)?,
            head,
        })
    }
}

/// GPT-2 stores its matrices the other way round: `[inputs, outputs]`.
fn transposed(
    w: &mut Weights,
    name: &str,
    [inputs, outputs]: [usize; 2],
) -> Result<Linear, LoadError> {
    let weight = w.tensor(&format!("{name}.weight"), &[inputs, outputs])?;
    let weight = weight.t().and_then(|t| t.contiguous());
    let weight = weight.map_err(|source| LoadError::Tensor {
        name: name.to_owned(),
        source,
    })?;
    let bias = w.tensor(&format!("{name}.bias"), &[outputs])?;
    Ok(Linear::new(weight, Some(bias)))
}

impl Causal for Gpt2 {
    fn context(&self) -> usize {
        self.positions.dims().first().copied().unwrap_or(0)
    }

    fn layers(&self) -> usize {
        self.layers.len()
    }

    fn vocabulary(&self) -> usize {
        self.words.dims().first().copied().unwrap_or(0)
    }

    fn forward(&self, batch: &Ragged, caches: &mut [&mut Cache]) -> Computed<Tensor> {
        let words = self.words.index_select(&batch.tokens()?, 0)?;
        let mut x = (words + self.positions.index_select(&batch.positions()?, 0)?)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let qkv = layer.qkv.forward(&layer.before.forward(&x)?)?;
            let part = |at: usize| {
                let part = qkv.narrow(1, at * self.hidden, self.hidden)?;
                split_heads(&part, self.heads)
            };
            let (q, k, v) = (part(0)?, part(1)?, part(2)?);
            let mixed = attend(batch, &q, &k, &v, Sight::Causal(caches, index))?;
            x = (x + layer.output.forward(&mixed)?)?;
            let up = layer.up.forward(&layer.between.forward(&x)?)?;
            x = (x + layer.down.forward(&up.gelu()?)?)?;
        }
        let last = self.norm.forward(&batch.last_rows(&x)?)?;
        self.head.forward(&last)
    }
}
