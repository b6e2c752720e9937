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
    /// Those of a record that are computed: the last ones.
    pub(crate) chunk: usize,
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
            chunk: shape.chunk,
            context: checkpoint.context(),
            lookup: shape.lookup,
            tables,
            vocabulary: checkpoint.vocabulary(),
            columns: checkpoint.table_rows(),
        })
    }

    /// Tokens that there are.
    pub(crate) fn vocabulary(&self) -> usize {
        self.vocabulary
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

    /// Appends a record: `tokens` fill the chunk, `stretches` of positions cover it, and no position sees another stretch.
    /// Of the positions before the chunk, those in a stretch are seen.
    pub(crate) fn record(
        &self,
        tokens: &[Placed],
        stretches: &[Range<usize>],
        sight: Sight,
        inputs: &mut [Vec<f32>; 2],
    ) -> Result<(), TextError> {
        debug_assert_eq!(tokens.len(), self.chunk);
        let [rows, mask] = inputs;
        for (token, place) in tokens.iter().copied() {
            let unknown = TextError::Unknown { token, place };
            match &self.tables {
                Some(tables) => rows.extend(tables.row(token, place).ok_or(unknown)?),
                None => rows.extend(self.one_hot(token, place).ok_or(unknown)?),
            }
        }
        let n = self.positions;
        let past = n - self.chunk;
        let from = mask.len();
        mask.resize(from + self.chunk * n, hub::UNSEEN);
        for stretch in stretches {
            for row in stretch.start.max(past)..stretch.end {
                let seen = match sight {
                    Sight::Full => stretch.clone(),
                    Sight::Causal => stretch.start..row + 1,
                };
                mask[from + (row - past) * n..][seen].fill(0.0);
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

    /// Names and shapes of rows and mask, without batch.
    pub(crate) fn ports(&self) -> [(&'static str, Vec<usize>); 2] {
        let first = match self.lookup {
            Lookup::Rows => hub::ROWS,
            Lookup::OneHot => hub::TOKENS,
        };
        [
            (first, vec![self.chunk, self.width()]),
            (hub::MASK, vec![self.chunk, self.positions]),
        ]
    }
}

/// Named shapes, without batch.
pub(crate) type Ports = Vec<(&'static str, Vec<usize>)>;

/// Whether `program` has these inputs and outputs.
pub(crate) fn fits(program: &Program, inputs: &Ports, outputs: &Ports) -> Result<(), TextError> {
    let dims = |value| program.value(value).dims.clone();
    let ins = program.inputs().iter();
    let ins: Vec<_> = ins.map(|p| (p.name.as_str(), dims(p.value))).collect();
    let outs = program.outputs().iter().filter(|p| p.post.is_empty());
    let outs: Vec<_> = outs.map(|p| (p.name.as_str(), dims(p.value))).collect();
    match ins == *inputs && outs == *outputs && outs.len() == program.outputs().len() {
        true => Ok(()),
        false => Err(TextError::Fits {
            what: format!("it takes {ins:?} and gives {outs:?}, not {inputs:?} and {outputs:?}"),
        }),
    }
}

/// A record's tensors, of the data of its inputs.
pub(crate) fn tensors(ports: &Ports, data: &[Vec<f32>]) -> Result<Vec<Tensor>, TextError> {
    let made = ports.iter().zip(data).map(|((_, dims), data)| {
        let dims = [&[1], dims.as_slice()].concat();
        Tensor::new(dims, data.clone()).map_err(|e| TextError::Fits {
            what: e.to_string(),
        })
    });
    made.collect()
}
