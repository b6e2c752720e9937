//! Choices of a plan.

use super::{LinkProfile, PlanError, Rates};
use crate::graph::OutputPolicy;

/// Choices of a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanOptions {
    /// Fraction bits to aim for: fewer bits to compare against more precision.
    pub accuracy: Accuracy,
    /// Fraction bits at most.
    pub fraction_bits: u8,
    /// Fraction bits below which a plan is refused rather than made imprecise.
    pub min_fraction_bits: u8,
    /// Bits of magnitude beyond what calibration saw.
    pub headroom_bits: u8,
    /// Who knows the weights.
    pub weights: WeightPrivacy,
    /// What bounds tell about the layers.
    pub bounds: BoundPolicy,
    /// What is revealed.
    pub outputs: OutputPolicy,
    /// A smooth function is within `2^-function_bits` of f64, relative to its largest result if that is above 1.
    pub function_bits: u8,
    /// Between the evaluators.
    pub link: LinkProfile,
    /// How fast they are. Not measured unless asked for: a published plan is the same wherever it is compiled.
    pub rates: Rates,
    /// Records at once that the plan is made for. It works for any number.
    pub batch: u32,
    /// Whether signs may be computed by function secret sharing.
    pub fss: FssPolicy,
}

/// How many fraction bits a plan takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Accuracy {
    /// As many as fit, up to [`PlanOptions::fraction_bits`].
    #[default]
    Most,
    /// The fewest, in steps of two, with which no output differs from the float model by more than this on the
    /// calibration records.
    Within(f32),
}

/// Whether signs may be computed by function secret sharing: one round instead of four, for a kilobyte a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FssPolicy {
    /// Never: the program can be evaluated by any number of evaluators.
    #[default]
    Never,
    /// Where the link makes it cheaper. There may be two evaluators only.
    WhereCheaper,
}

/// Who knows the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WeightPrivacy {
    /// Everybody: they are part of the program.
    #[default]
    Public,
    /// The owner; evaluators hold shares.
    Private,
}

/// What the bounds of values and weights tell about the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BoundPolicy {
    /// Each value has its own bound: the fewest bits to compare.
    #[default]
    Calibrated,
    /// One bound for all values but inputs, one scale and bound for all private weights.
    Uniform,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            accuracy: Accuracy::Most,
            fraction_bits: 16,
            min_fraction_bits: 10,
            headroom_bits: 3,
            weights: WeightPrivacy::Public,
            bounds: BoundPolicy::Calibrated,
            outputs: OutputPolicy::Values,
            function_bits: 10,
            link: LinkProfile::default(),
            rates: Rates::DEFAULT,
            batch: 1,
            fss: FssPolicy::Never,
        }
    }
}

impl PlanOptions {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        let Self {
            fraction_bits,
            min_fraction_bits,
            headroom_bits,
            ..
        } = *self;
        let sound = 1 <= min_fraction_bits
            && min_fraction_bits <= fraction_bits
            && fraction_bits <= 24
            && headroom_bits <= 16
            && (1..=24).contains(&self.function_bits);
        match sound {
            true => Ok(()),
            false => Err(PlanError::Options {
                fraction_bits,
                min_fraction_bits,
                headroom_bits,
            }),
        }
    }
}
