//! The interactive steps: truncation, ReLU, maximum.
//!
//! All leave a fresh mask. With `L = lambda >> f`, `mu = msb(lambda)`, and from public `m`
//! (`|z| < 2^62`, `m' = m + 2^62`)
//!
//! ```text
//! z >> f = pub - L + W mu,   pub = (m' >> f) - 2^(62 - f),   W = (1 - msb(m')) 2^(64 - f)
//! ```
//!
//! exactly, up to one unit (the addition `m' = z + 2^62 + lambda` wrapped iff `mu = 1` and
//! `msb(m') = 0`). Evaluators open `y + lambda_out` in one message each. The mask of the result is
//! not drawn first and then dealt: whatever seeds give is taken as its pad, and the dealer works
//! out what mask that means. This makes one dealt word per element needless:
//!
//! * **Trunc**: pad `r` from seeds, `lambda_out = r + L`; the opening is `pub + W mu + r`.
//! * **ReLU** `b (z >> f)` with `b = hat ^ beta`: pad `p` from seeds, `lambda_out = p + beta L`.
//!   Where hat = 0 the opening is `pub beta + p + W beta mu`; where hat = 1 it is
//!   `pub (1 - beta) + q + W (1 - beta) mu` with `q = p + (2 beta - 1) L`. Dealt: `beta`, `q`, and
//!   the low `f` bits of `beta mu` and `(1 - beta) mu`. Only one of `p` and `q` is ever used.
//! * **Max** `b + relu(a - b)`, with the mask of `b` added to the fresh one.

mod deal;
mod evaluate;
mod narrow;
pub(crate) mod sign;

pub(crate) use deal::deal;
pub(crate) use evaluate::{Progress, Run};

use ai_link_program::fixed::Op;

use crate::planes::plane_bytes;
use sign::SignPlan;

/// What an interactive step costs and how it is computed; the same at every party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepPlan {
    /// Elements of the whole batch.
    pub(crate) elements: usize,
    /// Bits shifted out.
    pub(crate) shift: u32,
    /// How the sign is computed, if it is.
    pub(crate) sign: Option<SignPlan>,
}

impl StepPlan {
    /// The plan of `op` over `elements`, or `None` for a linear one.
    pub(crate) fn new(op: &Op, elements: usize) -> Option<Self> {
        let (shift, sign) = match op {
            Op::Trunc { bits } => (*bits, None),
            Op::Relu { bits, window } => (*bits, Some(SignPlan::new(window.lo, window.hi))),
            // Differences can use bit 62, above which there is no room for a guard bit.
            Op::Max { window } if window.hi >= 63 => (0, Some(SignPlan::new(0, 63))),
            Op::Max { window } => (0, Some(SignPlan::new(window.lo, window.hi))),
            _ => return None,
        };
        Some(Self {
            elements,
            shift: u32::from(shift),
            sign,
        })
    }

    /// Bytes that hold the low `shift` bits of a dealt wrap term.
    pub(crate) fn wrap_bytes(&self) -> usize {
        match self.shift {
            0 => 0,
            1..=8 => 1,
            9..=16 => 2,
            17..=32 => 4,
            _ => 8,
        }
    }

    /// Bytes from the dealer to evaluator 1 for `elements` of the step.
    pub(crate) fn dealt_bytes_of(&self, elements: usize) -> usize {
        match &self.sign {
            None => elements * self.wrap_bytes(),
            Some(sign) => {
                plane_bytes(sign.dealt(), elements) + elements * (16 + 2 * self.wrap_bytes())
            }
        }
    }

    /// Bytes from the dealer to evaluator 1.
    pub(crate) fn dealt_bytes(&self) -> usize {
        self.dealt_bytes_of(self.elements)
    }

    /// Rounds of opening.
    pub(crate) fn rounds(&self) -> usize {
        1 + self.sign.as_ref().map_or(0, SignPlan::rounds)
    }

    /// Bytes that each evaluator sends in `round`.
    pub(crate) fn opened_bytes(&self, round: usize) -> usize {
        match &self.sign {
            Some(sign) if round < sign.rounds() => plane_bytes(sign.opened(round), self.elements),
            _ => 8 * self.elements,
        }
    }
}
