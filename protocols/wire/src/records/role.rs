//! What a worker does in a group, and how private a job is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A worker's part in a group under masked evaluation. Groups list their members in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Holds the masked values and the first share of the masks.
    Evaluator0,
    /// Holds the masked values and the second share of the masks.
    Evaluator1,
    /// Makes the masks and deals them; sees no masked value.
    Dealer,
}

impl Role {
    /// All roles, in the order of a group.
    pub const ALL: [Self; 3] = [Self::Evaluator0, Self::Evaluator1, Self::Dealer];

    /// Its place in a group: 0, 1 or 2.
    pub const fn index(self) -> usize {
        match self {
            Self::Evaluator0 => 0,
            Self::Evaluator1 => 1,
            Self::Dealer => 2,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Evaluator0 => "evaluator0",
            Self::Evaluator1 => "evaluator1",
            Self::Dealer => "dealer",
        })
    }
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
    /// Either evaluator.
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
            Role::Evaluator0 | Role::Evaluator1 => self.can_evaluate(),
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
    /// Nobody, unless two of the three matched workers collude.
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

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fhe => "fhe",
            Self::Mpc => "mpc",
            Self::Sealed => "sealed",
        })
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
