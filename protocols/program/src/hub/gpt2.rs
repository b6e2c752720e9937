//! GPT-2: learned positions, norms before each block, one matrix for query, key and value.
//!
//! Radford et al., "Language Models are Unsupervised Multitask Learners" (2019). Scale and shift of the norms are folded
//! into the matrices behind them. Of the last block only the last position is computed.

use super::build::{Build, Heads, folded, times};
use super::config::{HubConfig, above_zero, activation, divides, positive};
use super::tensors::Tensors;
use super::{HubError, LOGITS, Lookup, Tables};
use crate::graph::{FloatConst, Function};

pub(super) struct Spec {
    pub(super) hidden: usize,
    inner: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) vocabulary: usize,
    pub(super) context: usize,
    eps: f64,
    prefix: &'static str,
}

type Dense = (FloatConst, Option<Vec<f32>>);

impl Spec {
    pub(super) fn of(config: &HubConfig, tensors: &Tensors<'_>) -> Result<Self, HubError> {
        activation(
            config.activation_function.as_deref(),
            &["gelu_new", "gelu_pytorch_tanh"],
        )?;
        if config.scale_attn_weights == Some(false)
            || config.scale_attn_by_inverse_layer_idx == Some(true)
        {
            return Err(HubError::unsupported("another scale of attention"));
        }
        let hidden = positive("n_embd", config.n_embd)?;
        let heads = positive("n_head", config.n_head)?;
        divides("n_head", heads, hidden)?;
        let eps = config.layer_norm_epsilon.unwrap_or(1e-5);
        Ok(Self {
            hidden,
            inner: positive("n_inner", config.n_inner.or(Some(4 * hidden)))?,
            layers: positive("n_layer", config.n_layer)?,
            heads,
            vocabulary: positive("vocab_size", config.vocab_size)?,
            context: positive("n_positions", config.n_positions)?,
            eps: above_zero("layer_norm_epsilon", eps)?,
            prefix: match tensors.has("transformer.wte.weight") {
                true => "transformer.",
                false => "",
            },
        })
    }

    fn name(&self, part: &str) -> String {
        format!("{}{part}", self.prefix)
    }

    pub(super) fn table_names(&self) -> Vec<String> {
        vec![self.name("wte.weight"), self.name("wpe.weight")]
    }

    fn parts(&self, t: &Tensors<'_>) -> Result<[Vec<f32>; 2], HubError> {
        let table = |part: &str, rows: usize| t.floats(&self.name(part), &[rows, self.hidden]);
        Ok([
            table("wte.weight", self.vocabulary)?,
            table("wpe.weight", self.context)?,
        ])
    }

    pub(super) fn tables(&self, t: &Tensors<'_>) -> Result<Tables, HubError> {
        let [words, places] = self.parts(t)?;
        let tables = Tables {
            hidden: self.hidden,
            words,
            places: Some(places),
            segment: None,
            norm: None,
        };
        tables.checked()
    }

    /// A layer behind a norm. GPT-2 stores its matrices `[inputs, outputs]`.
    fn behind(
        &self,
        t: &Tensors<'_>,
        norm: &str,
        layer: &str,
        outputs: usize,
    ) -> Result<Dense, HubError> {
        let (weights, bias) = self.dense(t, layer, [self.hidden, outputs])?;
        let part = |part: &str| t.floats(&self.name(&format!("{norm}.{part}")), &[self.hidden]);
        Ok(folded(
            weights,
            bias,
            &part("weight")?,
            Some(&part("bias")?),
        ))
    }

    fn dense(&self, t: &Tensors<'_>, layer: &str, dims: [usize; 2]) -> Result<Dense, HubError> {
        let part =
            |part: &str, dims: &[usize]| t.floats(&self.name(&format!("{layer}.{part}")), dims);
        let weights = FloatConst {
            dims: dims.to_vec(),
            data: part("weight", &dims)?,
        };
        Ok((weights, Some(part("bias", &dims[1..])?)))
    }

    pub(super) fn build(
        &self,
        t: &Tensors<'_>,
        lookup: Lookup,
        b: &mut Build,
    ) -> Result<(), HubError> {
        let hidden = self.hidden;
        let mut x = b.embedded(lookup, hidden, || {
            let [mut words, places] = self.parts(t)?;
            words.extend(places);
            let table = FloatConst {
                dims: vec![self.vocabulary + self.context, hidden],
                data: words,
            };
            Ok((table, None))
        })?;
        let mask = b.mask(self.heads);
        let heads = Heads {
            heads: self.heads,
            kv: self.heads,
            size: hidden / self.heads,
        };
        b.cached(self.layers, heads);
        let scale = (1.0 / (heads.size as f64).sqrt()) as f32;
        for i in 0..self.layers {
            let name = |part: &str| format!("h.{i}.{part}");
            let last = i + 1 == self.layers;
            b.label(format!("layer {i} norm"));
            let y = b.normal(x, self.eps);
            b.label(format!("layer {i} attention"));
            let qkv = self.behind(t, &name("ln_1"), &name("attn.c_attn"), 3 * hidden)?;
            let [q, k, v] = thirds(qkv, hidden);
            let (seen, mask) = match last {
                true => (b.row(y, b.chunk - 1), b.last_of_heads(mask)),
                false => (y, mask),
            };
            let (w, bias) = times(q, scale);
            let q = b.linear(seen, w, bias);
            let k = b.linear(y, k.0, k.1);
            let v = b.linear(y, v.0, v.1);
            let [q, k, v] = [q, k, v].map(|x| b.split(x, self.heads));
            let k = b.with_past(i, 0, k, heads);
            let v = b.with_past(i, 1, v, heads);
            let mixed = b.attend(q, k, v, mask, heads);
            let (w, bias) = self.dense(t, &name("attn.c_proj"), [hidden, hidden])?;
            let out = b.linear(mixed, w, bias);
            if last {
                x = b.row(x, b.chunk - 1);
            }
            x = b.add(x, out);
            b.label(format!("layer {i} second norm"));
            let y = b.normal(x, self.eps);
            b.label(format!("layer {i} mlp"));
            let (w, bias) = self.behind(t, &name("ln_2"), &name("mlp.c_fc"), self.inner)?;
            let up = b.linear(y, w, bias);
            let up = b.gate(up, Function::GeluTanhTail);
            let (w, bias) = self.dense(t, &name("mlp.c_proj"), [self.inner, hidden])?;
            let down = b.linear(up, w, bias);
            x = b.add(x, down);
        }
        b.label("last norm");
        let y = b.normal(x, self.eps);
        b.label("scores");
        let head = match t.has("lm_head.weight") {
            true => "lm_head.weight".to_owned(),
            false => self.name("wte.weight"),
        };
        let weights = t.matrix(&head, [hidden, self.vocabulary])?;
        let part = |part: &str| t.floats(&self.name(&format!("ln_f.{part}")), &[hidden]);
        let (w, bias) = folded(weights, None, &part("weight")?, Some(&part("bias")?));
        let scores = b.linear(y, w, bias);
        let scores = b.flat(scores);
        b.output(LOGITS, scores);
        b.give_keys();
        Ok(())
    }
}

/// One matrix for query, key and value as three.
fn thirds((weights, bias): Dense, hidden: usize) -> [Dense; 3] {
    [0, 1, 2].map(|third| {
        let rows = weights.data.chunks_exact(3 * hidden);
        let columns = third * hidden..(third + 1) * hidden;
        let data = rows.flat_map(|row| row[columns.clone()].iter().copied());
        let part = FloatConst {
            dims: vec![hidden, hidden],
            data: data.collect(),
        };
        (
            part,
            bias.as_ref().map(|bias| bias[columns.clone()].to_vec()),
        )
    })
}
