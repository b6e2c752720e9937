//! BERT, as an encoder of sentences.
//!
//! Devlin et al., "BERT" (2019); Reimers and Gurevych, "Sentence-BERT" (2019).

use candle_core::{Result as Computed, Tensor};

use crate::attention::{Ragged, Sight, attend, split_heads};
use crate::config::{HubConfig, above_zero, divides, positive};
use crate::error::LoadError;
use crate::weights::{LayerNorm, Linear, Weights};

pub(crate) struct Bert {
    heads: usize,
    context: usize,
    hidden: usize,
    words: Tensor,
    positions: Tensor,
    /// Of the first segment, which is the only one here.
    segment: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

struct Layer {
    q: Linear,
    k: Linear,
    v: Linear,
    output: Linear,
    between: LayerNorm,
    up: Linear,
    down: Linear,
    after: LayerNorm,
}

impl Bert {
    pub(crate) fn load(config: &HubConfig, w: &mut Weights) -> Result<Self, LoadError> {
        HubConfig::activation(config.hidden_act.as_deref(), "gelu")?;
        if let Some(kind) = config.position_embedding_type.as_deref()
            && kind != "absolute"
        {
            return Err(LoadError::unsupported(format!("positions `{kind}`")));
        }
        let hidden = positive("hidden_size", config.hidden_size)?;
        let heads = positive("num_attention_heads", config.num_attention_heads)?;
        divides("num_attention_heads", heads, hidden)?;
        let inner = positive("intermediate_size", config.intermediate_size)?;
        let vocabulary = positive("vocab_size", config.vocab_size)?;
        let context = positive("max_position_embeddings", config.max_position_embeddings)?;
        let segments = positive("type_vocab_size", config.type_vocab_size.or(Some(2)))?;
        let eps = above_zero("layer_norm_eps", config.layer_norm_eps.unwrap_or(1e-12))?;
        let prefix = match w.has("bert.embeddings.word_embeddings.weight") {
            true => "bert.",
            false => "",
        };
        let failed = |source| LoadError::Tensor {
            name: "embeddings.token_type_embeddings.weight".into(),
            source,
        };
        let embedding = |part: &str| format!("{prefix}embeddings.{part}");
        let segment = w.tensor(
            &embedding("token_type_embeddings.weight"),
            &[segments, hidden],
        )?;
        let layer = |i: usize, w: &mut Weights| -> Result<Layer, LoadError> {
            let name = |part: &str| format!("{prefix}encoder.layer.{i}.{part}");
            let square = [hidden, hidden];
            Ok(Layer {
                q: w.linear(&name("attention.self.query"), square, true)?,
                k: w.linear(&name("attention.self.key"), square, true)?,
                v: w.linear(&name("attention.self.value"), square, true)?,
                output: w.linear(&name("attention.output.dense"), square, true)?,
                between: w.layer_norm(&name("attention.output.LayerNorm"), hidden, eps)?,
                up: w.linear(&name("intermediate.dense"), [inner, hidden], true)?,
                down: w.linear(&name("output.dense"), [hidden, inner], true)?,
                after: w.layer_norm(&name("output.LayerNorm"), hidden, eps)?,
            })
        };
        let count = positive("num_hidden_layers", config.num_hidden_layers)?;
        Ok(Self {
            heads,
            context,
            hidden,
            segment: segment.narrow(0, 0, 1).map_err(failed)?,
            words: w.tensor(&embedding("word_embeddings.weight"), &[vocabulary, hidden])?,
            positions: w.tensor(&embedding("position_embeddings.weight"), &[context, hidden])?,
            norm: w.layer_norm(&embedding("LayerNorm"), hidden, eps)?,
            layers: (0..count).map(|i| layer(i, w)).collect::<Result<_, _>>()?,
        })
    }

    /// Most tokens of a text.
    pub(crate) fn context(&self) -> usize {
        self.context
    }

    /// Size of a vector.
    pub(crate) fn hidden(&self) -> usize {
        self.hidden
    }

    pub(crate) fn vocabulary(&self) -> usize {
        self.words.dims().first().copied().unwrap_or(0)
    }

    /// A vector for each token: `[tokens, hidden]`.
    pub(crate) fn forward(&self, batch: &Ragged) -> Computed<Tensor> {
        let words = self.words.index_select(&batch.tokens()?, 0)?;
        let places = self.positions.index_select(&batch.positions()?, 0)?;
        let embedded = (words + places)?.broadcast_add(&self.segment)?;
        let mut x = self.norm.forward(&embedded)?;
        for layer in &self.layers {
            let heads = |linear: &Linear| split_heads(&linear.forward(&x)?, self.heads);
            let (q, k, v) = (heads(&layer.q)?, heads(&layer.k)?, heads(&layer.v)?);
            let mixed = attend(batch, &q, &k, &v, Sight::Full)?;
            let y = layer
                .between
                .forward(&(&x + layer.output.forward(&mixed)?)?)?;
            let inner = layer.up.forward(&y)?.gelu_erf()?;
            x = layer.after.forward(&(&y + layer.down.forward(&inner)?)?)?;
        }
        Ok(x)
    }
}
