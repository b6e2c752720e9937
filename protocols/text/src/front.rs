//! From tokens to a program's inputs.

use std::ops::Range;

use ai_link_program::hub::{self, Checkpoint, Lookup, Shape, Tables};
use ai_link_program::{Program, Tensor};
use tokenizers::Tokenizer;

use crate::error::{TextError, TokenizerError};

/// A token, and its place in its text.
pub(crate) type Placed = (u32, usize);

/// What fills the rest of a record.
pub(crate) const PADDING: u32 = 0;

/// What encoders and decoders have in common.
pub(crate) struct Front {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) positions: usize,
    pub(crate) context: usize,
    lookup: Lookup,
    tables: Option<Tables>,
    vocabulary: usize,
    /// Columns of a one-hot row: words, then learned places.
    columns: usize,
}

/// Which positions of a stretch see which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// All of them.
    Full,
    /// Those up to themselves.
    Causal,
}

impl Front {
    pub(crate) fn new(
        checkpoint: &Checkpoint<'_>,
        shape: Shape,
        tokenizer: &[u8],
    ) -> Result<Self, TextError> {
        let mut tokenizer = Tokenizer::from_bytes(tokenizer).map_err(TokenizerError)?;
        // Records are filled here.
        tokenizer.with_padding(None);
        let tables = match shape.lookup {
            Lookup::Rows => Some(checkpoint.tables().map_err(TextError::Hub)?),
            Lookup::OneHot => None,
        };
        let highest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        if highest as usize >= checkpoint.vocabulary() {
            return Err(TextError::Unknown {
                token: highest,
                place: 0,
            });
        }
        Ok(Self {
            tokenizer,
            positions: shape.positions,
            context: checkpoint.context(),
            lookup: shape.lookup,
            tables,
            vocabulary: checkpoint.vocabulary(),
            columns: checkpoint.table_rows(),
        })
    }

    pub(crate) fn cut_at(&mut self, longest: usize) -> Result<(), TextError> {
        let truncation = tokenizers::TruncationParams {
            max_length: longest,
            ..Default::default()
        };
        let cut = self.tokenizer.with_truncation(Some(truncation));
        cut.map_err(TokenizerError)?;
        Ok(())
    }

    pub(crate) fn tokens(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let encoded = self.tokenizer.encode_fast(text, true);
        Ok(encoded.map_err(TokenizerError)?.get_ids().to_vec())
    }

    /// Numbers of a record's first input.
    fn width(&self) -> usize {
        match &self.tables {
            Some(tables) => tables.hidden(),
            None => self.columns,
        }
    }

    /// Appends a record: `tokens` fill it, `stretches` cover it, and no position sees another stretch.
    pub(crate) fn record(
        &self,
        tokens: &[Placed],
        stretches: &[Range<usize>],
        sight: Sight,
        inputs: &mut [Vec<f32>; 2],
    ) -> Result<(), TextError> {
        debug_assert_eq!(tokens.len(), self.positions);
        let [rows, mask] = inputs;
        for (token, place) in tokens.iter().copied() {
            let unknown = TextError::Unknown { token, place };
            match &self.tables {
                Some(tables) => rows.extend(tables.row(token, place).ok_or(unknown)?),
                None => rows.extend(self.one_hot(token, place).ok_or(unknown)?),
            }
        }
        let n = self.positions;
        let from = mask.len();
        mask.resize(from + n * n, hub::UNSEEN);
        for stretch in stretches {
            for row in stretch.clone() {
                let seen = match sight {
                    Sight::Full => stretch.clone(),
                    Sight::Causal => stretch.start..row + 1,
                };
                mask[from + row * n..][seen].fill(0.0);
            }
        }
        Ok(())
    }

    fn one_hot(&self, token: u32, place: usize) -> Option<Vec<f32>> {
        let token = usize::try_from(token).ok()?;
        let mut row = vec![0.0; self.columns];
        *row.get_mut(..self.vocabulary)?.get_mut(token)? = 1.0;
        // Without learned places there are no columns for them.
        if self.columns > self.vocabulary {
            *row.get_mut(self.vocabulary + place)? = 1.0;
        }
        Some(row)
    }

    /// Inputs as tensors, a record each: for calibration.
    pub(crate) fn tensors(&self, inputs: &[Vec<f32>; 2]) -> Vec<Vec<Tensor>> {
        let n = self.positions;
        let sizes = [[n, self.width()], [n, n]];
        let [rows, mask] = inputs;
        let pairs = rows
            .chunks_exact(n * self.width())
            .zip(mask.chunks_exact(n * n));
        pairs
            .map(|(rows, mask)| {
                let made = [rows, mask].into_iter().zip(sizes).map(|(data, [a, b])| {
                    Tensor::new(vec![1, a, b], data.to_vec())
                        .expect("chunks have the size of the shape; qed")
                });
                made.collect()
            })
            .collect()
    }

    /// Whether `program` takes these inputs and has an output of this name; the size of its output.
    pub(crate) fn fits(&self, program: &Program, output: &str) -> Result<usize, TextError> {
        let first = match self.lookup {
            Lookup::Rows => hub::ROWS,
            Lookup::OneHot => hub::TOKENS,
        };
        let n = self.positions;
        let wanted = [(first, vec![n, self.width()]), (hub::MASK, vec![n, n])];
        let ports = program.inputs().iter();
        let ports = ports.map(|p| (p.name.as_str(), program.value(p.value).dims.clone()));
        let ports: Vec<_> = ports.collect();
        if ports != wanted {
            return Err(TextError::Fits {
                what: format!("it has inputs {ports:?}, not {wanted:?}"),
            });
        }
        let found = match program.outputs() {
            [port] if port.name == output && port.post.is_empty() => Some(port),
            _ => None,
        };
        let port = found.ok_or_else(|| TextError::Fits {
            what: format!("`{output}` is not its only output"),
        })?;
        Ok(program.value(port.value).elements())
    }
}
