//! Who takes part in a session.

use std::fmt;

/// Evaluators of one session at most.
pub const MAX_EVALUATORS: u8 = 8;

/// A participant of a masked evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// Owns the input and learns the output.
    Client,
    /// Knows masks, never data.
    Dealer,
    /// Computes on masked values.
    Evaluator(EvaluatorIndex),
}

impl Party {
    /// The first evaluator.
    pub const EVALUATOR_0: Self = Self::Evaluator(EvaluatorIndex::ZERO);
    /// The second evaluator.
    pub const EVALUATOR_1: Self = Self::Evaluator(EvaluatorIndex::ONE);
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Dealer => f.write_str("dealer"),
            Self::Evaluator(index) => write!(f, "evaluator {}", index.get()),
        }
    }
}

/// Which of the evaluators: below [`MAX_EVALUATORS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EvaluatorIndex(u8);

impl EvaluatorIndex {
    /// The first: adds the public terms.
    pub const ZERO: Self = Self(0);
    /// The second.
    pub const ONE: Self = Self(1);

    /// The evaluator number `index`, if there can be one.
    pub fn new(index: u8) -> Option<Self> {
        (index < MAX_EVALUATORS).then_some(Self(index))
    }

    /// The first `count` evaluators ([`MAX_EVALUATORS`] at most), in order.
    pub fn first(count: u8) -> impl DoubleEndedIterator<Item = Self> + Clone {
        (0..count.min(MAX_EVALUATORS)).map(Self)
    }

    /// Its number.
    pub fn get(self) -> u8 {
        self.0
    }

    /// Its number, to index with.
    pub(crate) fn at(self) -> usize {
        usize::from(self.0)
    }

    /// This evaluator as a [`Party`].
    pub fn party(self) -> Party {
        Party::Evaluator(self)
    }
}
