//! The four parties by name.

use ai_link_mpc::{EvaluatorIndex, Party};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A party of the benchmark.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(super) enum Who {
    /// Has the input, gets the output, conducts the measurement.
    Client,
    /// Deals.
    Dealer,
    /// The first evaluator.
    Evaluator0,
    /// The second evaluator.
    Evaluator1,
}

impl Who {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [
        Self::Client,
        Self::Dealer,
        Self::Evaluator0,
        Self::Evaluator1,
    ];
    /// All but the client.
    pub(super) const WORKERS: [Self; 3] = [Self::Dealer, Self::Evaluator0, Self::Evaluator1];

    /// As `ai-link-mpc` calls it.
    pub(super) fn party(self) -> Party {
        match self {
            Self::Client => Party::Client,
            Self::Dealer => Party::Dealer,
            Self::Evaluator0 => Party::EVALUATOR_0,
            Self::Evaluator1 => Party::EVALUATOR_1,
        }
    }

    /// Its index, if it is an evaluator.
    pub(super) fn evaluator(self) -> Option<EvaluatorIndex> {
        match self {
            Self::Evaluator0 => Some(EvaluatorIndex::ZERO),
            Self::Evaluator1 => Some(EvaluatorIndex::ONE),
            Self::Client | Self::Dealer => None,
        }
    }

    /// On the command line and in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Dealer => "dealer",
            Self::Evaluator0 => "evaluator0",
            Self::Evaluator1 => "evaluator1",
        }
    }

    /// To whom it opens a stream; the others open theirs to it.
    pub(super) fn opens(self) -> &'static [Self] {
        match self {
            Self::Client => &Self::WORKERS,
            Self::Dealer => &[Self::Evaluator0, Self::Evaluator1],
            Self::Evaluator0 => &[Self::Evaluator1],
            Self::Evaluator1 => &[],
        }
    }
}
