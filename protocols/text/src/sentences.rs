//! Vectors of texts.

use std::ops::Range;

use ai_link_program::hub::STATES;
use ai_link_program::{Program, Tensor};

use crate::error::TextError;
use crate::front::{Front, PADDING, Placed, Sight, fits, tensors};
use crate::recipe::Recipe;

/// A sentence-transformer without its layers.
pub struct Sentences {
    pub(crate) front: Front,
    pub(crate) recipe: Recipe,
    pub(crate) size: usize,
}

/// Texts as records of a program.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Records.
    pub records: u32,
    /// One tensor per input of the program.
    pub inputs: Vec<Vec<f32>>,
    /// Tokens of all texts, special ones included.
    pub tokens: u64,
    /// Which rows of all records' are each text's.
    places: Vec<Range<usize>>,
}

/// What of the records is taken.
struct Filling {
    tokens: Vec<Placed>,
    stretches: Vec<Range<usize>>,
}

impl std::fmt::Debug for Sentences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sentences")
            .field("positions", &self.front.positions)
            .field("recipe", &self.recipe)
            .finish_non_exhaustive()
    }
}

impl Sentences {
    /// Numbers in a vector.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether the program is the one that this was packed with.
    ///
    /// # Errors
    /// [`TextError::Fits`].
    pub fn fits(&self, program: &Program) -> Result<(), TextError> {
        let output = (STATES, vec![self.front.positions, self.size]);
        fits(program, &self.front.ports().into(), &vec![output])
    }

    /// Lays texts out in as few records as first-fit finds, longest first. A text longer than the model's own limit is cut,
    /// as the library does; one that has more tokens than a record is refused.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn batch(&self, texts: &[String]) -> Result<Batch, TextError> {
        let most = self.front.positions;
        let mut tokens = Vec::with_capacity(texts.len());
        for (text, words) in texts.iter().enumerate() {
            let ids = self.front.tokens(words)?;
            match ids.len() {
                0 => return Err(TextError::Empty { text }),
                n if n > most => {
                    return Err(TextError::TooLong {
                        text,
                        tokens: n,
                        most,
                    });
                }
                _ => tokens.push(ids),
            }
        }
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        order.sort_by_key(|text| std::cmp::Reverse(tokens[*text].len()));
        let mut records: Vec<Filling> = Vec::new();
        let mut places = vec![0..0; tokens.len()];
        for text in order {
            let ids = &tokens[text];
            let room = |filling: &Filling| most - filling.tokens.len() >= ids.len();
            let at = records.iter().position(room).unwrap_or_else(|| {
                records.push(Filling {
                    tokens: Vec::with_capacity(most),
                    stretches: Vec::new(),
                });
                records.len() - 1
            });
            let start = records[at].tokens.len();
            records[at].push(ids.iter().copied());
            places[text] = at * most + start..at * most + start + ids.len();
        }
        let mut inputs = [Vec::new(), Vec::new()];
        for filling in &mut records {
            filling.push(std::iter::repeat_n(PADDING, most - filling.tokens.len()));
            let Filling { tokens, stretches } = filling;
            self.front
                .record(tokens, stretches, Sight::Full, &mut inputs)?;
        }
        Ok(Batch {
            records: u32::try_from(records.len()).unwrap_or(u32::MAX),
            inputs: inputs.into(),
            tokens: tokens.iter().map(|ids| ids.len() as u64).sum(),
            places,
        })
    }

    /// The texts' vectors, of the program's output for all records.
    ///
    /// # Errors
    /// [`TextError::Fits`] when the output is too short.
    pub fn vectors(&self, batch: &Batch, states: &[f32]) -> Result<Vec<Vec<f32>>, TextError> {
        let size = self.size;
        let of = |place: &Range<usize>| {
            let rows = states.get(place.start * size..place.end * size);
            let rows = rows.ok_or_else(|| TextError::Fits {
                what: "its output is too short".into(),
            })?;
            Ok(self.recipe.apply(rows, size))
        };
        batch.places.iter().map(of).collect()
    }

    /// Records to calibrate a plan with.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn calibration(&self, texts: &[String]) -> Result<Vec<Vec<Tensor>>, TextError> {
        let batch = self.batch(texts)?;
        let ports = self.front.ports().into();
        let records = batch.records as usize;
        let record = |at: usize| {
            let part = |input: &Vec<f32>| {
                let size = input.len() / records;
                input[at * size..(at + 1) * size].to_vec()
            };
            let data: Vec<Vec<f32>> = batch.inputs.iter().map(part).collect();
            tensors(&ports, &data)
        };
        (0..records).map(record).collect()
    }
}

impl Filling {
    /// Adds a stretch, whose places count from 0.
    fn push(&mut self, ids: impl Iterator<Item = u32>) {
        let start = self.tokens.len();
        self.tokens.extend(ids.zip(0..));
        if self.tokens.len() > start {
            self.stretches.push(start..self.tokens.len());
        }
    }
}
