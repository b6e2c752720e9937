//! Vectors of texts, as sentence-transformers makes them.

use ai_link_text::{Pooling, Recipe, Scale};
use candle_core::{D, Tensor};
use tokenizers::Tokenizer;

use crate::attention::Ragged;
use crate::checkpoint::known;
use crate::error::{GenerateError, LoadError};
use crate::family::bert::Bert;
use crate::files::Files;

/// A sentence-transformer.
pub struct Embedder {
    model: Bert,
    tokenizer: Tokenizer,
    pooling: Pooling,
    scale: Scale,
    longest: usize,
}

/// A text's vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// The vector.
    pub vector: Vec<f32>,
    /// Tokens of the text, special ones included.
    pub tokens: usize,
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder")
            .field("size", &self.size())
            .field("pooling", &self.pooling)
            .field("scale", &self.scale)
            .finish_non_exhaustive()
    }
}

impl Embedder {
    pub(crate) fn new(
        model: Bert,
        mut tokenizer: Tokenizer,
        files: &Files,
    ) -> Result<Self, LoadError> {
        known(&tokenizer, model.vocabulary())?;
        // Texts of different lengths need no padding here.
        tokenizer.with_padding(None);
        let recipe = Recipe::read(|name| files.get(name))?;
        let longest = recipe.longest.unwrap_or(usize::MAX).min(model.context());
        let truncation = tokenizers::TruncationParams {
            max_length: longest,
            ..Default::default()
        };
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(LoadError::Tokenizer)?;
        Ok(Self {
            model,
            tokenizer,
            pooling: recipe.pooling,
            scale: recipe.scale,
            longest,
        })
    }

    /// Numbers in a vector.
    pub fn size(&self) -> usize {
        self.model.hidden()
    }

    /// Tokens of a text beyond which it is cut, as sentence-transformers does.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// A vector for each text. All of them are computed together.
    ///
    /// # Errors
    /// [`GenerateError`].
    pub fn embed(&self, texts: &[String]) -> Result<Vec<Embedding>, GenerateError> {
        let encoded = self.tokenizer.encode_batch_fast(texts.to_vec(), true);
        let encoded = encoded.map_err(GenerateError::Tokenizer)?;
        let mut batch = Ragged::default();
        for encoding in &encoded {
            match encoding.get_ids() {
                [] => return Err(GenerateError::Empty),
                ids => batch.push(ids, 0),
            }
        }
        if batch.spans.is_empty() {
            return Ok(Vec::new());
        }
        let states = self.model.forward(&batch)?;
        let pooled = batch.spans.iter().map(|span| match self.pooling {
            Pooling::First => states.narrow(0, span.start, 1)?.squeeze(0),
            Pooling::Mean => states.narrow(0, span.start, span.len())?.mean(0),
        });
        let pooled: Vec<Tensor> = pooled.collect::<Result<_, _>>()?;
        let mut vectors = Tensor::stack(&pooled, 0)?;
        if self.scale == Scale::Unit {
            // As torch's `normalize`: never divided by less than this.
            let length = vectors
                .sqr()?
                .sum_keepdim(D::Minus1)?
                .sqrt()?
                .maximum(1e-12)?;
            vectors = vectors.broadcast_div(&length)?;
        }
        let vectors = vectors.to_vec2::<f32>()?.into_iter();
        let tokens = batch.spans.iter().map(ExactSizeIterator::len);
        Ok(vectors
            .zip(tokens)
            .map(|(vector, tokens)| Embedding { vector, tokens })
            .collect())
    }
}
