//! The interactive steps, each a small protocol of its own.
//!
//! A [`Protocol`] says what a step costs, deals it, and starts its [`Run`] at an evaluator; a
//! [`StepPlan`] is one of them. A new kind is a file, a variant, and its line in
//! [`StepPlan::new`] and [`StepPlan::protocol`].
//!
//! # What all kinds have in common
//! There are `n >= 2` evaluators. Whatever the dealer deals is shared among all of them, additively
//! or by exclusive or: every evaluator but one, the *receiver*, expands its share from its seed,
//! and the receiver is sent what is missing (its [`Seat`] says who that is; it alternates by step,
//! so that no link carries all). Evaluators *open* a value by sending each other their shares of
//! it; public terms are added by the *leader*, evaluator 0, alone. Every step leaves a fresh mask.
//!
//! # Masks of results
//! The mask of a result is not drawn first and then dealt: whatever the seeds give is taken as its
//! pad, and the dealer works out what mask that means. This makes one dealt word per element
//! needless.

mod dcf;
mod dpf;
pub(crate) mod fss;
mod ggm;
pub(crate) mod material;
pub(crate) mod narrow;
pub(crate) mod opening;
pub(crate) mod positive;
pub(crate) mod product;
pub(crate) mod select;
pub(crate) mod sign;
pub(crate) mod table;
pub(crate) mod trunc;
#[cfg(test)]
mod uniform;

pub(crate) use material::{Seat, Seeds};

use ai_link_program::fixed::{BitWindow, Op, Program, Step, Tactic};

use crate::error::MpcError;
use crate::prg::Prg;
use fss::Fss;
use positive::Positive;
use select::Select;
use sign::{SignPlan, Tree};
use table::{Source, Table};
use trunc::Trunc;

/// An interactive step, the same at every party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StepPlan {
    /// A shift to the right.
    Trunc(Trunc),
    /// ReLU with a shift to the right, or a maximum.
    Select(Select),
    /// Whether a value is not negative.
    Positive(Positive),
    /// ReLU, maximum or sign in one round.
    Fss(Fss),
    /// A polynomial per segment.
    Table(Table),
}

/// What is to be made of a sign.
enum Signed {
    /// The value, shifted, where it is not negative.
    Select { bits: u8 },
    /// The sign itself.
    Positive,
}

impl StepPlan {
    /// The plan of step `index` of the program over `elements` of the whole batch, or `None` for one
    /// that is linear or not of this module.
    pub(crate) fn new(
        program: &Program,
        index: usize,
        step: &Step,
        elements: usize,
        evaluators: usize,
    ) -> Result<Option<Self>, MpcError> {
        let (signed, window) = match step.op {
            Op::Trunc { bits } => return Ok(Some(Self::Trunc(Trunc::new(elements, bits)))),
            Op::Table {
                segment_bits,
                index_bits,
                coefficients,
            } => {
                let source = match (step.tactic, evaluators) {
                    (Tactic::Auto, 3..) => Source::Dealt,
                    (_, evaluators) => two(index, step, evaluators).map(|()| Source::Keys)?,
                };
                let coefficients = &program.constant(coefficients).data;
                let table = Table::new(elements, segment_bits, index_bits, coefficients, source);
                return Ok(Some(Self::Table(table)));
            }
            Op::Relu { bits, window } => (Signed::Select { bits }, window),
            Op::Max { window } => (Signed::Select { bits: 0 }, window),
            Op::Positive { window } => (Signed::Positive, window),
            _ => return Ok(None),
        };
        // Differences can use bit 62, above which there is no room for a guard bit.
        let BitWindow { lo, hi } = match window.hi {
            63.. => BitWindow { lo: 0, hi: 63 },
            _ => window,
        };
        let Some(tree) = Tree::of(step.tactic) else {
            two(index, step, evaluators)?;
            return Ok(Some(Self::Fss(match signed {
                Signed::Select { bits } => Fss::select(elements, bits, lo, hi),
                Signed::Positive => Fss::sign(elements, lo, hi),
            })));
        };
        let sign = SignPlan::new(lo, hi, tree);
        Ok(Some(match signed {
            Signed::Select { bits } => Self::Select(Select::new(elements, bits, sign)),
            Signed::Positive => Self::Positive(Positive::new(elements, sign)),
        }))
    }

    fn protocol(&self) -> &dyn Protocol {
        match self {
            Self::Trunc(plan) => plan,
            Self::Select(plan) => plan,
            Self::Positive(plan) => plan,
            Self::Fss(plan) => plan,
            Self::Table(plan) => plan,
        }
    }
}

/// Function secret sharing is for two evaluators.
fn two(index: usize, step: &Step, evaluators: usize) -> Result<(), MpcError> {
    match evaluators {
        2 => Ok(()),
        _ => Err(MpcError::TwoEvaluatorsOnly {
            step: index,
            kind: step.op.kind(),
            evaluators,
        }),
    }
}

/// What a kind of interactive step does.
pub(crate) trait Protocol {
    /// Rounds of opening.
    fn rounds(&self) -> usize;

    /// Bytes that the dealer sends the evaluator in `seat`.
    fn dealt_bytes(&self, seat: Seat) -> usize;

    /// Bytes that each evaluator sends each other one in `round`.
    fn opened_bytes(&self, round: usize) -> usize;

    /// Deals the step, given the masks of its operands.
    fn deal(&self, masks: &[&[u64]], seeds: Seeds<'_>) -> Dealt;

    /// Starts the step at an evaluator, on masked operands and corrections of
    /// [`dealt_bytes`](Self::dealt_bytes). Returns the first message, too.
    fn start(
        &self,
        seat: Seat,
        prg: Prg,
        dealt: Vec<u8>,
        operands: Vec<Vec<u64>>,
    ) -> (Box<dyn Run>, Vec<u8>);
}

impl Protocol for StepPlan {
    fn rounds(&self) -> usize {
        self.protocol().rounds()
    }

    fn dealt_bytes(&self, seat: Seat) -> usize {
        self.protocol().dealt_bytes(seat)
    }

    fn opened_bytes(&self, round: usize) -> usize {
        self.protocol().opened_bytes(round)
    }

    fn deal(&self, masks: &[&[u64]], seeds: Seeds<'_>) -> Dealt {
        self.protocol().deal(masks, seeds)
    }

    fn start(
        &self,
        seat: Seat,
        prg: Prg,
        dealt: Vec<u8>,
        operands: Vec<Vec<u64>>,
    ) -> (Box<dyn Run>, Vec<u8>) {
        self.protocol().start(seat, prg, dealt, operands)
    }
}

/// What the dealer makes of a step.
pub(crate) struct Dealt {
    /// For each evaluator; empty where nothing is due.
    pub(crate) messages: Vec<Vec<u8>>,
    /// The mask of the result.
    pub(crate) mask: Vec<u64>,
}

impl Dealt {
    /// A step that deals to the receiver alone.
    pub(crate) fn to_receiver(seeds: Seeds<'_>, message: Vec<u8>, mask: Vec<u64>) -> Self {
        let mut messages = vec![Vec::new(); seeds.evaluators()];
        messages[seeds.receiver()] = message;
        Self { messages, mask }
    }
}

/// A step under way at an evaluator.
pub(crate) trait Run: Send {
    /// Continues with the messages of all other evaluators in the current round, which have the
    /// size that the plan says.
    fn next(&mut self, theirs: Vec<Vec<u8>>) -> Progress;
}

/// What follows an opening.
pub(crate) enum Progress {
    /// Another one: this evaluator's message.
    Open(Vec<u8>),
    /// The masked result.
    Done(Vec<u64>),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::prg::Purpose;

    /// Runs a step among `evaluators` on clear values under random masks; returns the unmasked
    /// results. Used by the tests of every kind.
    pub(crate) fn evaluate(
        plan: &impl Protocol,
        operands: &[&[i64]],
        evaluators: usize,
        seed: u8,
    ) -> Vec<i64> {
        let receiver = usize::from(seed) % evaluators;
        let prg = |i: usize| Prg::from_key([seed.wrapping_add(i as u8); 16]);
        let prgs: Vec<Prg> = (0..evaluators).map(prg).collect();
        let prgs: Vec<&Prg> = prgs.iter().collect();
        let (mut lambdas, mut masked) = (Vec::new(), Vec::new());
        for (i, z) in operands.iter().enumerate() {
            let mut lambda = vec![0; z.len()];
            Prg::from_key([seed ^ 0x55; 16]).fill(Purpose::Input, i as u32, &mut lambda);
            let m = z.iter().zip(&lambda);
            masked.push(
                m.map(|(z, l)| (*z as u64).wrapping_add(*l))
                    .collect::<Vec<u64>>(),
            );
            lambdas.push(lambda);
        }
        let lambdas: Vec<&[u64]> = lambdas.iter().map(Vec::as_slice).collect();
        let dealt = plan.deal(&lambdas, Seeds::new(&prgs, receiver));
        assert_eq!(dealt.messages.len(), evaluators);
        let (mut runs, mut sent) = (Vec::new(), Vec::new());
        for (i, message) in dealt.messages.into_iter().enumerate() {
            let seat = Seat::new(i, evaluators, receiver);
            assert_eq!(message.len(), plan.dealt_bytes(seat));
            let (run, opening) = plan.start(seat, prg(i), message, masked.clone());
            runs.push(run);
            sent.push(opening);
        }
        let mut results: Vec<Vec<u64>> = Vec::new();
        for round in 0..plan.rounds() {
            let mut next = Vec::new();
            for (i, run) in runs.iter_mut().enumerate() {
                assert_eq!(sent[i].len(), plan.opened_bytes(round));
                let mut theirs = sent.clone();
                theirs.remove(i);
                match run.next(theirs) {
                    Progress::Open(opening) => next.push(opening),
                    Progress::Done(result) => results.push(result),
                }
            }
            assert_eq!(next.len() + results.len(), evaluators);
            assert_eq!(results.is_empty(), round + 1 < plan.rounds());
            sent = next;
        }
        assert!(results.iter().all(|result| *result == results[0]));
        let unmask = |(m, l): (&u64, &u64)| m.wrapping_sub(*l) as i64;
        results[0].iter().zip(&dealt.mask).map(unmask).collect()
    }
}
