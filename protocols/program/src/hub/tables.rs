//! What a client looks tokens up in.

use super::HubError;

/// Public tables of embeddings: from a token and its place in its text to the row that is shared.
#[derive(Clone, Debug)]
pub struct Tables {
    pub(super) hidden: usize,
    /// `[vocabulary, hidden]`.
    pub(super) words: Vec<f32>,
    /// `[context, hidden]`, where places are learned.
    pub(super) places: Option<Vec<f32>>,
    /// Added to every row: the embedding of the first segment.
    pub(super) segment: Option<Vec<f32>>,
    /// Then every row is normalised.
    pub(super) norm: Option<Norm>,
}

/// Layer normalisation.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) eps: f64,
}

impl Tables {
    /// Numbers in a row.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Tokens that there are.
    pub fn vocabulary(&self) -> usize {
        self.words.len() / self.hidden
    }

    /// The row of `token` at `place` of its text, in f64 on the way; `None` if there is no such token or place.
    pub fn row(&self, token: u32, place: usize) -> Option<Vec<f32>> {
        let line = |table: &[f32], at: usize| -> Option<Vec<f64>> {
            let from = at.checked_mul(self.hidden)?;
            let row = table.get(from..from.checked_add(self.hidden)?)?;
            Some(row.iter().map(|v| f64::from(*v)).collect())
        };
        let mut row = line(&self.words, usize::try_from(token).ok()?)?;
        let mut add = |more: &[f64]| row.iter_mut().zip(more).for_each(|(a, b)| *a += b);
        if let Some(places) = &self.places {
            add(&line(places, place)?);
        }
        if let Some(segment) = &self.segment {
            add(&line(segment, 0)?);
        }
        if let Some(norm) = &self.norm {
            norm.apply(&mut row);
        }
        Some(row.into_iter().map(|v| v as f32).collect())
    }

    /// Sizes agree.
    pub(super) fn checked(self) -> Result<Self, HubError> {
        match self.hidden > 0 && !self.words.is_empty() {
            true => Ok(self),
            false => Err(HubError::missing("embedding")),
        }
    }
}

impl Norm {
    fn apply(&self, row: &mut [f64]) {
        let n = row.len() as f64;
        let mean = row.iter().sum::<f64>() / n;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        let inverse = (variance + self.eps).sqrt().recip();
        let affine = self.weight.iter().zip(&self.bias);
        for (v, (w, b)) in row.iter_mut().zip(affine) {
            *v = (*v - mean) * inverse * f64::from(*w) + f64::from(*b);
        }
    }
}
