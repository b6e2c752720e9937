//! Attention of sequences of different lengths that are computed together.
//!
//! The tokens of all sequences of a step are the rows of one matrix, without padding: what depends on weights is one
//! product for all of them, so each weight is read once a step. Only attention itself goes sequence by sequence, each over
//! its own cache. This is the "selective batching" of Orca (Yu et al., OSDI 2022, section 4.2).

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

/// Caches grow by so many tokens at a time.
const GROW: usize = 128;

/// The tokens of one step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ragged {
    /// Of all sequences, one after the other.
    pub(crate) tokens: Vec<u32>,
    /// The position of each in its sequence.
    pub(crate) positions: Vec<u32>,
    /// Where each sequence's tokens are.
    pub(crate) spans: Vec<Range<usize>>,
}

impl Ragged {
    /// Adds a sequence's next tokens, the first of which has this position.
    pub(crate) fn push(&mut self, tokens: &[u32], start: usize) {
        let from = self.tokens.len();
        self.tokens.extend(tokens);
        let positions = (start..start + tokens.len()).map(|p| u32::try_from(p).unwrap_or(u32::MAX));
        self.positions.extend(positions);
        self.spans.push(from..self.tokens.len());
    }

    /// Rows of `x` (`[tokens, n]`) of each sequence's last token.
    pub(crate) fn last_rows(&self, x: &Tensor) -> Result<Tensor> {
        let rows = self.spans.iter().map(|s| s.end.saturating_sub(1) as u32);
        let rows: Vec<u32> = rows.collect();
        x.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)
    }

    pub(crate) fn tokens(&self) -> Result<Tensor> {
        Tensor::new(self.tokens.as_slice(), &Device::Cpu)
    }

    pub(crate) fn positions(&self) -> Result<Tensor> {
        Tensor::new(self.positions.as_slice(), &Device::Cpu)
    }
}

/// What a sequence keeps for attention: keys and values of each layer.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    layers: Vec<Option<Kept>>,
}

/// `[heads, capacity, size]` each, of which the first `length` tokens count.
#[derive(Debug)]
struct Kept {
    keys: Tensor,
    values: Tensor,
    length: usize,
}

impl Cache {
    pub(crate) fn new(layers: usize) -> Self {
        Self {
            layers: (0..layers).map(|_| None).collect(),
        }
    }

    /// Appends `[heads, tokens, size]` to a layer and returns all that it has.
    fn append(&mut self, layer: usize, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
        let slot = &mut self.layers[layer];
        let (heads, tokens, size) = keys.dims3()?;
        let held = slot.as_ref().map_or(0, |kept| kept.length);
        let length = held + tokens;
        let fits = |kept: &Kept| kept.keys.dim(1).is_ok_and(|capacity| capacity >= length);
        if !slot.as_ref().is_some_and(fits) {
            // By half as much again, so that a long sequence is not copied every few tokens.
            let capacity = length.next_multiple_of(GROW).max(held + held / 2);
            let grown = |old: Option<&Tensor>| -> Result<Tensor> {
                let new = Tensor::zeros((heads, capacity, size), DType::F32, &Device::Cpu)?;
                if let Some(old) = old {
                    new.slice_set(&old.narrow(1, 0, held)?.contiguous()?, 1, 0)?;
                }
                Ok(new)
            };
            *slot = Some(Kept {
                keys: grown(slot.as_ref().map(|kept| &kept.keys))?,
                values: grown(slot.as_ref().map(|kept| &kept.values))?,
                length: held,
            });
        }
        let Some(kept) = slot else {
            candle_core::bail!("the cache was just made")
        };
        kept.keys.slice_set(&keys.contiguous()?, 1, held)?;
        kept.values.slice_set(&values.contiguous()?, 1, held)?;
        kept.length = length;
        let all = |tensor: &Tensor| tensor.narrow(1, 0, length);
        Ok((all(&kept.keys)?, all(&kept.values)?))
    }
}

/// Which keys a token sees.
pub(crate) enum Sight<'a, 'b> {
    /// Those up to itself, of its sequence's cache, in this layer.
    Causal(&'a mut [&'b mut Cache], usize),
    /// All of its sequence.
    Full,
}

/// Attention of `q` (`[heads, tokens, size]`) over `k` and `v` (`[kv_heads, tokens, size]`), where `heads` is a multiple of
/// `kv_heads`. Returns `[tokens, heads * size]`.
pub(crate) fn attend(
    batch: &Ragged,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mut sight: Sight<'_, '_>,
) -> Result<Tensor> {
    let (heads, _, size) = q.dims3()?;
    let kv_heads = k.dim(0)?;
    let scale = 1.0 / (size as f64).sqrt();
    let mut out = Vec::with_capacity(batch.spans.len());
    for (index, span) in batch.spans.iter().enumerate() {
        let count = span.len();
        let part = |x: &Tensor| x.narrow(1, span.start, count);
        let (keys, values, causal) = match &mut sight {
            Sight::Full => (part(k)?, part(v)?, false),
            Sight::Causal(caches, layer) => {
                let (keys, values) = caches[index].append(*layer, &part(k)?, &part(v)?)?;
                (keys, values, true)
            }
        };
        let seen = keys.dim(1)?;
        let shared = heads / kv_heads;
        let queries = part(q)?.contiguous()?;
        let queries = queries.reshape((kv_heads, shared * count, size))?;
        let mut scores = (queries.matmul(&keys.t()?)? * scale)?;
        if causal && count > 1 {
            let before = seen - count;
            let mask = (0..count).flat_map(|row| {
                (0..seen).map(move |key| match key <= before + row {
                    true => 0f32,
                    false => f32::NEG_INFINITY,
                })
            });
            let mask = Tensor::from_iter(mask, &Device::Cpu)?.reshape((1, 1, count, seen))?;
            scores = scores
                .reshape((kv_heads, shared, count, seen))?
                .broadcast_add(&mask)?
                .reshape((kv_heads, shared * count, seen))?;
        }
        let mixed = softmax_last_dim(&scores)?.matmul(&values.contiguous()?)?;
        let mixed = mixed.reshape((heads, count, size))?.transpose(0, 1)?;
        out.push(mixed.reshape((count, heads * size))?);
    }
    match out.as_slice() {
        [only] => Ok(only.clone()),
        _ => Tensor::cat(&out, 0),
    }
}

/// `[tokens, heads * size]` as `[heads, tokens, size]`.
pub(crate) fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (tokens, width) = x.dims2()?;
    let split = x.reshape((tokens, heads, width / heads))?;
    split.transpose(0, 1)?.contiguous()
}
