//! Who takes part in a session.

use std::fmt;

/// A participant of a masked evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// Owns the input and learns the output.
    Client,
    /// Knows masks, never data.
    Dealer,
    /// First evaluator: expands its dealt shares from a seed.
    Evaluator0,
    /// Second evaluator: is sent the dealt corrections.
    Evaluator1,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Dealer => "dealer",
            Self::Evaluator0 => "evaluator 0",
            Self::Evaluator1 => "evaluator 1",
        })
    }
}

/// Which of the two evaluators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EvaluatorIndex {
    /// Expands its dealt shares from a seed, and adds the public terms.
    Zero,
    /// Is sent the dealt corrections.
    One,
}

impl EvaluatorIndex {
    /// This evaluator as a [`Party`].
    pub fn party(self) -> Party {
        match self {
            Self::Zero => Party::Evaluator0,
            Self::One => Party::Evaluator1,
        }
    }

    /// The other evaluator.
    pub fn peer(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }
}
