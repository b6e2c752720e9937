//! What a worker does in a group, and how private a job is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A worker's part in a group under masked evaluation. Groups list their members in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Holds the masked values, and one share of what the dealer deals.
    Evaluator(EvaluatorNumber),
    /// Makes the masks and deals them; sees no masked value.
    Dealer,
}

impl Role {
    /// The first evaluator.
    pub const EVALUATOR_0: Self = Self::Evaluator(EvaluatorNumber::ZERO);
    /// The second evaluator.
    pub const EVALUATOR_1: Self = Self::Evaluator(EvaluatorNumber::ONE);
    /// The most workers that a group has: all evaluators there can be, and a dealer.
    pub const MAX_GROUP: usize = EvaluatorNumber::COUNT as usize + 1;
    /// The parts of a group of two evaluators and a dealer, in order.
    pub const TRIO: [Self; 3] = [Self::EVALUATOR_0, Self::EVALUATOR_1, Self::Dealer];

    /// The parts of a group, in its order; `None` where there is no such group.
    ///
    /// Masked evaluation takes 2 to 8 evaluators, and a dealer unless the client deals. The other
    /// levels take one worker, which is called evaluator 0, and nobody deals.
    pub fn of_group(level: Level, evaluators: u8, dealer: DealerSeat) -> Option<Vec<Self>> {
        let served = match level {
            Level::Mpc => (2..=EvaluatorNumber::COUNT).contains(&evaluators),
            Level::Fhe | Level::Sealed => evaluators == 1,
        };
        let mut roles: Vec<_> = EvaluatorNumber::first(evaluators)
            .map(Self::Evaluator)
            .collect();
        if level == Level::Mpc && dealer == DealerSeat::Worker {
            roles.push(Self::Dealer);
        }
        served.then_some(roles)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evaluator(number) => f.pad(&format!("evaluator{}", number.get())),
            Self::Dealer => f.pad("dealer"),
        }
    }
}

/// Which of the evaluators of a group: 0 to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct EvaluatorNumber(u8);

impl EvaluatorNumber {
    /// The most evaluators that a group has.
    pub const COUNT: u8 = 8;
    /// The first.
    pub const ZERO: Self = Self(0);
    /// The second.
    pub const ONE: Self = Self(1);

    /// The evaluator of this number, if there can be one.
    pub const fn new(number: u8) -> Option<Self> {
        if number < Self::COUNT {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The first `count` evaluators ([`EvaluatorNumber::COUNT`] at most), in order.
    pub fn first(count: u8) -> impl DoubleEndedIterator<Item = Self> + Clone {
        (0..count.min(Self::COUNT)).map(Self)
    }

    /// Its number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for EvaluatorNumber {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        Self::new(number).ok_or("a group has no evaluator of this number")
    }
}

impl From<EvaluatorNumber> for u8 {
    fn from(number: EvaluatorNumber) -> Self {
        number.0
    }
}

/// Who makes and deals the masks of a job: what must be trusted follows from it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum DealerSeat {
    /// A worker of its own. Data stays private unless it colludes with an evaluator, or all
    /// evaluators with each other.
    #[default]
    Worker,
    /// The client itself, which uploads what is dealt: data stays private unless *all* evaluators
    /// collude.
    Client,
}

impl fmt::Display for DealerSeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Worker => "worker",
            Self::Client => "client",
        })
    }
}

impl FromStr for DealerSeat {
    type Err = ParseSeatError;

    fn from_str(text: &str) -> Result<Self, ParseSeatError> {
        match text {
            "worker" => Ok(Self::Worker),
            "client" => Ok(Self::Client),
            _ => Err(ParseSeatError {
                text: text.chars().take(32).collect(),
            }),
        }
    }
}

/// Who knows a model's weights.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum WeightPrivacy {
    /// Everyone: they are in the package.
    #[default]
    Public,
    /// Their owner; they are shared among the workers that host the model.
    Private,
}

/// The text names nobody who could deal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` cannot deal: write worker or client")]
pub struct ParseSeatError {
    /// What was given, cut to 32 characters.
    pub text: String,
}

/// The parts that a worker is willing to take.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct RoleSet(u8);

impl RoleSet {
    /// No part.
    pub const NONE: Self = Self(0);
    /// Dealer only.
    pub const DEALER: Self = Self(1);
    /// Any evaluator.
    pub const EVALUATOR: Self = Self(2);
    /// Every part.
    pub const ALL: Self = Self(3);

    /// The parts of both sets.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `role` is among them.
    pub const fn contains(self, role: Role) -> bool {
        match role {
            Role::Dealer => self.can_deal(),
            Role::Evaluator(_) => self.can_evaluate(),
        }
    }

    /// Whether the worker deals.
    pub const fn can_deal(self) -> bool {
        self.0 & Self::DEALER.0 != 0
    }

    /// Whether the worker evaluates.
    pub const fn can_evaluate(self) -> bool {
        self.0 & Self::EVALUATOR.0 != 0
    }
}

impl fmt::Debug for RoleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "RoleSet(none)",
            1 => "RoleSet(dealer)",
            2 => "RoleSet(evaluator)",
            _ => "RoleSet(dealer, evaluator)",
        })
    }
}

impl TryFrom<u8> for RoleSet {
    type Error = &'static str;

    fn try_from(bits: u8) -> Result<Self, Self::Error> {
        match bits {
            0..=3 => Ok(Self(bits)),
            _ => Err("unknown bits in a role set"),
        }
    }
}

impl From<RoleSet> for u8 {
    fn from(roles: RoleSet) -> Self {
        roles.0
    }
}

/// Who can learn a job's input. Chosen by the application, never lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nobody: one worker computes on ciphertext.
    Fhe,
    /// Nobody, unless matched workers collude: an evaluator with the dealer, or all evaluators.
    Mpc,
    /// One worker that the application chose.
    Sealed,
}

impl Level {
    /// All levels.
    pub const ALL: [Self; 3] = [Self::Fhe, Self::Mpc, Self::Sealed];

    /// The bit that stands for it in the chain's set of levels: 1, 2 or 4.
    pub const fn bit(self) -> u8 {
        match self {
            Self::Fhe => 1,
            Self::Mpc => 2,
            Self::Sealed => 4,
        }
    }
}

impl ai_link_observe::Label for Level {
    const NAME: &'static str = "level";
    const ALL: &'static [Self] = &Level::ALL;

    fn text(self) -> &'static str {
        match self {
            Self::Fhe => "fhe",
            Self::Mpc => "mpc",
            Self::Sealed => "sealed",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(ai_link_observe::Label::text(*self))
    }
}

impl FromStr for Level {
    type Err = ParseLevelError;

    fn from_str(text: &str) -> Result<Self, ParseLevelError> {
        match text {
            "fhe" => Ok(Self::Fhe),
            "mpc" => Ok(Self::Mpc),
            "sealed" => Ok(Self::Sealed),
            _ => Err(ParseLevelError {
                text: text.chars().take(32).collect(),
            }),
        }
    }
}

/// The text names no privacy level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no privacy level: write fhe, mpc or sealed")]
pub struct ParseLevelError {
    /// What was given, cut to 32 characters.
    pub text: String,
}
