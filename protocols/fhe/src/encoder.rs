//! From a record to the integers that are encrypted, and from decrypted integers to an answer: the client's part of a
//! model, all in the clear.

use serde::{Deserialize, Serialize};

use crate::decrypted::AnyDecrypted;
use crate::error::FheError;
use crate::model::{Head, Step};

/// Turns records into integers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Encoder {
    pub(crate) features: u32,
    pub(crate) steps: Vec<Step>,
    pub(crate) code: Code,
}

/// How values become integers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Code {
    /// For each threshold of each feature, whether the value is above it. The grid tells where trees split, not how.
    Thermometer(Vec<(u32, f32)>),
    /// `round((x - offset) / step)` within `±limit`, by feature; beyond that it saturates.
    Grid {
        offset: Vec<f32>,
        step: Vec<f32>,
        limit: i64,
    },
}

/// An answer in the clear. Of an approximate program it must not be shown to the worker, nor anything computed from it
/// ([`Decrypted`](crate::Decrypted)).
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Scores or values, one per output.
    pub scores: Vec<f64>,
    /// Index of the class, if this is a classifier.
    pub class: Option<usize>,
}

/// Turns integers into answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decoder {
    /// Value of one, by output.
    pub(crate) scale: Vec<f64>,
    /// The score that each output is a part of.
    pub(crate) score: Vec<u32>,
    /// Value of zero, by score.
    pub(crate) offset: Vec<f64>,
    pub(crate) head: Head,
}

impl Encoder {
    /// Values of a record.
    pub fn features(&self) -> usize {
        self.features as usize
    }

    /// Packed integers of a record.
    pub fn integers(&self) -> usize {
        match &self.code {
            Code::Thermometer(grid) => grid.len(),
            Code::Grid { offset, .. } => offset.len(),
        }
    }

    /// Scales, imputes, normalises: what the float model does before anything that is encrypted.
    pub(crate) fn prepare(&self, record: &[f32]) -> Result<Vec<f32>, FheError> {
        if record.len() != self.features() {
            return Err(FheError::Record {
                want: self.features(),
                have: record.len(),
            });
        }
        let mut x = record.to_vec();
        self.steps.iter().for_each(|s| s.apply(&mut x));
        match x.iter().position(|v| v.is_nan()) {
            None => Ok(x),
            Some(index) => Err(FheError::Value {
                index,
                value: "NaN".into(),
                problem: "the model has no Imputer for it",
            }),
        }
    }

    /// The integers of a record.
    pub fn encode(&self, record: &[f32]) -> Result<Vec<i64>, FheError> {
        let x = self.prepare(record)?;
        Ok(match &self.code {
            Code::Thermometer(grid) => grid
                .iter()
                .map(|(f, t)| i64::from(x[*f as usize] > *t))
                .collect(),
            Code::Grid {
                offset,
                step,
                limit,
            } => {
                let code = |((x, o), s): ((&f32, &f32), &f32)| {
                    let steps = (f64::from(*x) - f64::from(*o)) / f64::from(*s);
                    (steps.round_ties_even() as i64).clamp(-limit, *limit)
                };
                x.iter().zip(offset).zip(step).map(code).collect()
            }
        })
    }

    pub(crate) fn check(&self) -> bool {
        let n = self.features();
        let fits = self.steps.iter().all(|s| match s {
            Step::Scale { offset, scale } => offset.len() == n && scale.len() == n,
            Step::Impute { values, .. } => values.len() == n,
            Step::Normalize(_) => true,
        });
        fits && match &self.code {
            Code::Thermometer(grid) => grid.iter().all(|(f, t)| (*f as usize) < n && !t.is_nan()),
            Code::Grid {
                offset,
                step,
                limit,
            } => {
                let sizes = offset.len() == n && step.len() == n;
                sizes
                    && step.iter().all(|s| *s > 0.0)
                    && *limit > 0
                    && offset.iter().all(|o| o.is_finite())
            }
        }
    }
}

impl Decoder {
    /// With a score for each output.
    pub(crate) fn each(scale: Vec<f64>, offset: Vec<f64>, head: Head) -> Self {
        Self {
            score: (0..scale.len() as u32).collect(),
            scale,
            offset,
            head,
        }
    }

    /// The answer that integers stand for.
    pub fn read(&self, values: &[i64]) -> Reading {
        let mut scores = self.offset.clone();
        for ((value, scale), score) in values.iter().zip(&self.scale).zip(&self.score) {
            scores[*score as usize] += *value as f64 * scale;
        }
        let class = self.head.class(&scores);
        Reading { scores, class }
    }

    /// The answer that a decryption stands for.
    pub fn answer(&self, decrypted: &AnyDecrypted) -> Reading {
        self.read(decrypted.local())
    }

    /// Scores of an answer.
    pub fn scores(&self) -> usize {
        self.offset.len()
    }

    /// Names of classes; empty for a regression.
    pub fn labels(&self) -> &[String] {
        &self.head.labels
    }

    pub(crate) fn check(&self, outputs: usize) -> bool {
        let numbers = self.scale.iter().chain(&self.offset).all(|v| v.is_finite());
        let scores = self.offset.len();
        let pairs = self.head.pairs().is_none_or(|pairs| pairs == scores);
        let parts = self.scale.len() == outputs && self.score.len() == outputs;
        parts && self.score.iter().all(|s| (*s as usize) < scores) && numbers && pairs
    }
}
