//! BERT, as an encoder of sentences.
//!
//! Devlin et al., "BERT" (2019); Reimers and Gurevych, "Sentence-BERT" (2019).

use super::build::{Build, Heads, times};
use super::config::{HubConfig, above_zero, activation, divides, positive};
use super::tables::Norm;
use super::tensors::Tensors;
use super::{HubError, Lookup, STATES, Tables};
use crate::graph::{FloatConst, Function};

pub(super) struct Spec {
    pub(super) hidden: usize,
    inner: usize,
    layers: usize,
    pub(super) heads: usize,
    pub(super) vocabulary: usize,
    pub(super) context: usize,
    segments: usize,
    eps: f64,
    prefix: &'static str,
}

impl Spec {
    pub(super) fn of(config: &HubConfig, tensors: &Tensors<'_>) -> Result<Self, HubError> {
        activation(config.hidden_act.as_deref(), &["gelu"])?;
        if let Some(kind) = config.position_embedding_type.as_deref()
            && kind != "absolute"
        {
            return Err(HubError::unsupported(format!("positions `{kind}`")));
        }
        let hidden = positive("hidden_size", config.hidden_size)?;
        let heads = positive("num_attention_heads", config.num_attention_heads)?;
        divides("num_attention_heads", heads, hidden)?;
        Ok(Self {
            hidden,
            inner: positive("intermediate_size", config.intermediate_size)?,
            layers: positive("num_hidden_layers", config.num_hidden_layers)?,
            heads,
            vocabulary: positive("vocab_size", config.vocab_size)?,
            context: positive("max_position_embeddings", config.max_position_embeddings)?,
            segments: positive("type_vocab_size", config.type_vocab_size.or(Some(2)))?,
            eps: above_zero("layer_norm_eps", config.layer_norm_eps.unwrap_or(1e-12))?,
            prefix: match tensors.has("bert.embeddings.word_embeddings.weight") {
                true => "bert.",
                false => "",
            },
        })
    }

    fn embedding(&self, part: &str) -> String {
        format!("{}embeddings.{part}", self.prefix)
    }

    pub(super) fn table_names(&self) -> Vec<String> {
        let parts = [
            "word_embeddings.weight",
            "position_embeddings.weight",
            "token_type_embeddings.weight",
            "LayerNorm.weight",
            "LayerNorm.bias",
        ];
        parts.iter().map(|part| self.embedding(part)).collect()
    }

    fn norm(&self, t: &Tensors<'_>, name: &str) -> Result<[Vec<f32>; 2], HubError> {
        let part = |part: &str| t.floats(&format!("{name}.{part}"), &[self.hidden]);
        Ok([part("weight")?, part("bias")?])
    }

    /// All tables but the norm: words, places, the first segment.
    fn parts(&self, t: &Tensors<'_>) -> Result<[Vec<f32>; 3], HubError> {
        let table = |part: &str, rows: usize| t.floats(&self.embedding(part), &[rows, self.hidden]);
        let mut segment = table("token_type_embeddings.weight", self.segments)?;
        segment.truncate(self.hidden);
        Ok([
            table("word_embeddings.weight", self.vocabulary)?,
            table("position_embeddings.weight", self.context)?,
            segment,
        ])
    }

    pub(super) fn tables(&self, t: &Tensors<'_>) -> Result<Tables, HubError> {
        let [words, places, segment] = self.parts(t)?;
        let [weight, bias] = self.norm(t, &self.embedding("LayerNorm"))?;
        let tables = Tables {
            hidden: self.hidden,
            words,
            places: Some(places),
            segment: Some(segment),
            norm: Some(Norm {
                weight,
                bias,
                eps: self.eps,
            }),
        };
        tables.checked()
    }

    pub(super) fn build(
        &self,
        t: &Tensors<'_>,
        lookup: Lookup,
        b: &mut Build,
    ) -> Result<(), HubError> {
        let (hidden, eps) = (self.hidden, self.eps);
        let mut x = b.embedded(lookup, hidden, || {
            let [mut words, places, segment] = self.parts(t)?;
            words.extend(places);
            let table = FloatConst {
                dims: vec![self.vocabulary + self.context, hidden],
                data: words,
            };
            Ok((table, Some(segment)))
        })?;
        if lookup == Lookup::OneHot {
            let [weight, bias] = self.norm(t, &self.embedding("LayerNorm"))?;
            let y = b.normal(x, eps);
            x = b.affine(y, &weight, Some(&bias));
        }
        let mask = b.mask(self.heads);
        let heads = Heads {
            heads: self.heads,
            kv: self.heads,
            size: hidden / self.heads,
        };
        let scale = (1.0 / (heads.size as f64).sqrt()) as f32;
        for i in 0..self.layers {
            let name = |part: &str| format!("{}encoder.layer.{i}.{part}", self.prefix);
            let dense = |part: &str, dims: [usize; 2]| -> Result<_, HubError> {
                let weights = t.matrix(&name(&format!("{part}.weight")), dims)?;
                let bias = t.floats(&name(&format!("{part}.bias")), &dims[1..])?;
                Ok((weights, Some(bias)))
            };
            let square = [hidden, hidden];
            b.label(format!("layer {i} attention"));
            let (w, bias) = times(dense("attention.self.query", square)?, scale);
            let q = b.linear(x, w, bias);
            let (w, bias) = dense("attention.self.key", square)?;
            let k = b.linear(x, w, bias);
            let (w, bias) = dense("attention.self.value", square)?;
            let v = b.linear(x, w, bias);
            let [q, k, v] = [q, k, v].map(|x| b.split(x, self.heads));
            let mixed = b.attend(q, k, v, mask, heads);
            let (w, bias) = dense("attention.output.dense", square)?;
            let out = b.linear(mixed, w, bias);
            let sum = b.add(x, out);
            b.label(format!("layer {i} norm"));
            let [weight, bias] = self.norm(t, &name("attention.output.LayerNorm"))?;
            let y = b.normal(sum, eps);
            let y = b.affine(y, &weight, Some(&bias));
            b.label(format!("layer {i} mlp"));
            let (w, bias) = dense("intermediate.dense", [hidden, self.inner])?;
            let up = b.linear(y, w, bias);
            let up = b.gate(up, Function::GeluTail);
            let (w, bias) = dense("output.dense", [self.inner, hidden])?;
            let down = b.linear(up, w, bias);
            let sum = b.add(y, down);
            b.label(format!("layer {i} last norm"));
            let [weight, bias] = self.norm(t, &name("output.LayerNorm"))?;
            let y = b.normal(sum, eps);
            x = b.affine(y, &weight, Some(&bias));
        }
        b.output(STATES, x);
        Ok(())
    }
}
