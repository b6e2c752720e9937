//! From the float graph to the fixed-point program.
//!
//! # Scales
//!
//! One target fraction `f` (16 bits by default) for the whole program: inputs and the operands of comparisons come out
//! at `f`. A product with weights of `w` fraction bits makes `f + w`. Truncation is lazy: a value keeps its larger
//! fraction ("pending bits") through sums, moves, pools and even further products as long as its magnitude fits, and is
//! brought back to `f` by the next `Relu`, which truncates for free, or by a `Trunc` when a product would not fit
//! otherwise. Operands of different fractions are aligned by a multiplication with a power of two, which is local.
//! Outputs are revealed with whatever fraction they have.
//!
//! `w` is the smallest fraction at which the weights are exact, if there is one; else `f`, or more while the largest
//! weight stays below 2^15, so that small weights lose no precision and still pack into 16 bits.
//!
//! # Bounds
//!
//! Calibration runs the float graph and takes the largest magnitude `A` of every value (at least 1). At fraction `q` it
//! must hold that `bits(A 2^q) + headroom <= 62`. If that fails anywhere, `f` is lowered, down to a minimum; if it still
//! fails, the plan is refused with the layers at fault.
//!
//! # Choices
//!
//! What can be computed in several ways is computed in the one that [`CostModel`] predicts to be cheapest on the link of
//! [`PlanOptions::link`]: the shape of the tree of a comparison or function secret sharing, a clamp before a table or a
//! longer table, a pool over rows and then columns or over all taps of a window at once, all pairs or a tournament.
//! [`Program::predict`] tells the outcome step by step.
//!
//! # Predictions
//!
//! A step's rounds and bytes follow from its shape. Its seconds are those of its [`Work`], counted in units, at the
//! [`Rates`] of a machine, shared among the threads that can share it; and for each round half a round trip, the bytes at
//! the link's rate, and what it takes until a thread is awake. A session adds the masked input, the output, and the dealer,
//! ahead of time or beside the evaluators (a small simulation, `plan/along.rs`: who waits for whom, and who takes cores from
//! whom where parties share a machine). Predicting is pure: the same program, batch and [`Setting`] give the same answer.
//!
//! # Private weights
//!
//! With [`WeightPrivacy::Private`] every constant of the model becomes a parameter: linear layers and convolutions
//! multiply by it as they are ([`Op::LinearShared`], [`Op::ConvShared`]), scale and shift that do not fold into such a
//! layer become depthwise convolutions with kernels of one. The result of a product is doubled, so it has one fraction
//! bit more, and everything that counts fractions accounts for it.
//!
//! Such a program has no weight-dependent data but shapes, scales (fraction bits) and calibrated bounds. Even those
//! tell a little: how large the largest weight and the largest activation of a layer is, to a power of two.
//! [`BoundPolicy::Uniform`] hides it behind one bound for all layers, for some more bits in every comparison. What stays
//! public: the architecture with the attributes of its operators (slopes, clip bounds, counts of pools), a factor that is
//! the same power of two for all elements, and calibration's summary of errors in the [`Package`](crate::Package).
//!
//! # Formulas
//!
//! | float | ring |
//! |---|---|
//! | `Relu` | `Relu { bits: pending }`, window `pending..bound`: a wrong sign moves the result by less than one unit |
//! | `MaxPool` | per level of a tree one `Rearrange` for each side and one `Max`; a padding position repeats the first valid position of its window |
//! | `f(MaxPool)` for monotone `f` | applied behind the pool, where there are fewer elements |
//! | `LeakyRelu` | `alpha x + (1 - alpha) relu(x)` |
//! | `Clip(lo, hi)` | `lo + relu(x - lo) - relu(x - hi)`, both comparisons in one step |
//! | `Clip(lo, inf)` | `lo + relu(x - lo)` |
//! | `Clip(-inf, hi)` | `hi - relu(hi - x)` |
//! | `AveragePool`, `Mean` | window or axis sum, times `1 / count`; for a count of `2^k` that is only a fraction of `k` more bits |
//! | `Transpose`, `Slice`, `Pad`, `Expand` | `Rearrange` |
//! | `Mul` of two values | `Mul`, doubled |
//! | `MatMul` of two values | `MatMul`, doubled |
//! | `a >= b` | `Positive(a - b)`, exact; `a > b` is its complement with the operands swapped |
//! | sigmoid, tanh, exp, ... | clamp by two comparisons where that is cheaper than a longer table, then `Table` |
//! | `ReduceMax` | a tree of `Max` |
//! | positions of the largest | up to 32: all pairs, ranks by a sum, a table that recognises a rank; more: a tournament |
//!
//! # Functions
//!
//! The error of a table against f64, over the whole range of its operand, is at most `2^-function_bits` (10 by default),
//! relative to the largest result if that is above 1. To this come the rounding of the operand, half a unit times the
//! slope, and one unit for the truncation of the result.
//!
//! | function | range | error at 16 fraction bits and 10 function bits |
//! |---|---|---|
//! | sigmoid, tanh, erf | all | 2^-10 |
//! | exp | up to the largest operand of calibration and one more | 2^-10 of the largest result |
//! | log, sqrt, power | half the smallest to twice the largest operand of calibration, all positive | 2^-10 of the largest result |
//! | reciprocal | half the smallest to twice the largest magnitude of calibration, on one side of zero | 2^-10 of the largest result |
//! | 1 / sqrt(x) | the same | 2^-14 of the largest result |
//! | the same and sqrt, where calibration has operands more than a factor of 20 apart | a quarter of the smallest to four times the largest: a coarse table and Newton's iterations | 2^-14 of each result, and what half a unit of the operand is of it |
//! | softmax | all, along the last axis: a maximum to 1/8, squares of powers to 2^-14, the reciprocal of their sum | 2^-14 |
//! | layer and RMS normalisation | as 1 / sqrt(x) of the variance | 2^-12 of the largest result |
//! | rotary positions | all | two units: half of one for each factor and for the operand; local |
//! | elu, selu, softplus, gelu (exact and tanh), silu | all: `relu` and a table of the rest | 2^-10, times `alpha` and `gamma` |
//! | hard sigmoid, hard swish, leaky relu, abs, sign, min, max | all | exact but for rounding |
//! | a / b | as the reciprocal of b | that of the reciprocal times the largest a |
//!
//! A quantised model (`QuantizeLinear`, `DequantizeLinear`) keeps its weights as quantised. Activations are clipped to
//! what the type can hold but not rounded to its grid, so each such pair differs from the original by at most half a step.

mod activation;
mod along;
mod compare;
mod cost;
mod function;
mod inverse;
mod link;
mod lower;
mod options;
mod pool;
mod predict;
mod product;
mod quantise;
mod rates;
mod softmax;
mod table;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::fixed::{ParameterError, Parameters, Program, ProgramBuilder, ProgramError};
use crate::graph::{Graph, GraphRunError, NodeOp};
use crate::package::CalibrationSummary;
use crate::tensor::Tensor;

pub use crate::graph::OutputPolicy;
pub use cost::{Alternative, CostModel, StepCost, Task};
pub use link::LinkProfile;
pub use options::{Accuracy, BoundPolicy, FssPolicy, PlanOptions, WeightPrivacy};
pub use predict::{Placement, Prediction, Setting, StepPrediction};
pub use rates::{Rates, Role, Unit, Waits, Work};

#[cfg(doc)]
use crate::fixed::Op;

/// A compiled model: the program that everybody knows, and what its owner keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// What is evaluated.
    pub program: Program,
    /// Values of private weights; empty when weights are public.
    pub parameters: Parameters,
}

/// Why there is no plan.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum PlanError {
    /// Bounds cannot be learned from nothing.
    #[error("calibration needs at least one record that is like those to come")]
    NoCalibration,
    /// Options that contradict each other or the ring.
    #[error(
        "{fraction_bits} fraction bits (at least {min_fraction_bits}) with {headroom_bits} of headroom is not possible: 1 <= min <= fraction <= 24 and headroom <= 16"
    )]
    Options {
        /// As given.
        fraction_bits: u8,
        /// As given.
        min_fraction_bits: u8,
        /// As given.
        headroom_bits: u8,
    },
    /// The float graph does not run on a calibration batch.
    #[error("calibration batch {batch} cannot be run")]
    Calibration {
        /// Which one.
        batch: usize,
        /// Why.
        #[source]
        source: GraphRunError,
    },
    /// The outputs have no labels to reveal.
    #[error(
        "{policy:?} cannot be revealed: every output needs a last axis with enough elements, and no ArgMax along another axis"
    )]
    Outputs {
        /// As given.
        policy: OutputPolicy,
    },
    /// A function would be taken where it has no value or no bound.
    #[error(
        "layer {layer:?} takes the {function} of values from {lo} to {hi} in calibration: it is evaluated on one side of zero only"
    )]
    Domain {
        /// The node.
        layer: String,
        /// The function.
        function: &'static str,
        /// Smallest operand.
        lo: f64,
        /// Largest operand.
        hi: f64,
    },
    /// Some values do not fit the ring, even at the smallest admissible fraction.
    #[error(
        "with {fraction_bits} fraction bits these layers do not fit:{}",
        lines(layers)
    )]
    DoesNotFit {
        /// The fraction at which it was tried last.
        fraction_bits: u8,
        /// All layers at fault.
        layers: Vec<Misfit>,
    },
    /// No number of fraction bits gives the accuracy asked for.
    #[error(
        "the error on the calibration records is {least} at best, more than {bound}: allow more fraction or function bits"
    )]
    Inaccurate {
        /// As given.
        bound: f32,
        /// The smallest error found.
        least: f32,
    },
    /// A calibration record could not be evaluated in fixed point: a mistake in this crate.
    #[error(
        "the plan does not run on its own calibration records; this is a defect, please report it"
    )]
    Unmeasured,
    /// The plan made is not a program: a mistake in this crate.
    #[error("the plan is not a valid program; this is a defect, please report it with the model")]
    Internal(#[source] ProgramError),
    /// The parameters made do not fit the plan: a mistake in this crate.
    #[error(
        "the private weights do not fit the plan; this is a defect, please report it with the model"
    )]
    InternalParameters(#[source] ParameterError),
}

/// A layer that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The node.
    pub layer: String,
    /// What is too large.
    pub what: &'static str,
    /// Bits it needs.
    pub need: u16,
    /// Bits there are.
    pub have: u16,
}

fn lines(layers: &[Misfit]) -> String {
    let line = |m: &Misfit| {
        format!(
            "\n  {:?}: {} need {} bits, {} fit",
            m.layer, m.what, m.need, m.have
        )
    };
    layers.iter().take(30).map(line).collect()
}

/// Compiles a graph. `calibration` holds batches: for each, one tensor per input of the graph, `[batch, dims...]`.
pub fn compile(
    graph: &Graph,
    calibration: &[Vec<Tensor>],
    options: PlanOptions,
) -> Result<Compiled, PlanError> {
    options.check()?;
    let graph = graph.clone().with_outputs(options.outputs);
    let reference = graph.ok_or(PlanError::Outputs {
        policy: options.outputs,
    })?;
    let model = CostModel::new(options.link, options.rates);
    let mut graph = reference.clone().commute_with_max_pool();
    graph = graph.with_separate_pools(|levels, comparisons| {
        model.maxima(levels, comparisons * u64::from(options.batch.max(1)))
    });
    if options.weights == WeightPrivacy::Private {
        graph = graph.with_affine_layers();
    }
    let (mut ranges, spans) = ranges(&graph, calibration)?;
    check_domains(&graph, &spans)?;
    if options.bounds == BoundPolicy::Uniform {
        level(&graph, &mut ranges);
    }
    let plan = Plan {
        graph,
        ranges,
        spans,
        options,
    };
    match options.accuracy {
        Accuracy::Most => plan.at_most(options.fraction_bits),
        Accuracy::Within(error) => plan.cheapest(&reference, calibration, error),
    }
}

/// A graph with what calibration told about it.
struct Plan {
    graph: Graph,
    ranges: Vec<f64>,
    spans: Vec<Span>,
    options: PlanOptions,
}

impl Plan {
    /// With as many fraction bits as fit, up to `fraction`.
    fn at_most(&self, mut fraction: u8) -> Result<Compiled, PlanError> {
        loop {
            match self.at(fraction) {
                Err(PlanError::DoesNotFit { .. }) if fraction > self.options.min_fraction_bits => {
                    fraction -= 1;
                }
                made => return made,
            }
        }
    }

    fn at(&self, fraction: u8) -> Result<Compiled, PlanError> {
        let lowered = lower::lower(
            &self.graph,
            &self.ranges,
            &self.spans,
            fraction,
            &self.options,
        );
        let (builder, secrets) = lowered.map_err(|layers| PlanError::DoesNotFit {
            fraction_bits: fraction,
            layers,
        })?;
        finish(builder, secrets, &self.options)
    }

    /// With the fewest fraction bits whose error on the calibration records is at most `bound`.
    fn cheapest(
        &self,
        reference: &Graph,
        calibration: &[Vec<Tensor>],
        bound: f32,
    ) -> Result<Compiled, PlanError> {
        let PlanOptions {
            fraction_bits,
            min_fraction_bits,
            ..
        } = self.options;
        let mut refused = None;
        let mut least = f32::INFINITY;
        // Upwards in steps of two: by default 10, 12, 14 and 16.
        let steps = (fraction_bits - min_fraction_bits) / 2;
        for fraction in (0..=steps).rev().map(|k| fraction_bits - 2 * k) {
            let made = match self.at(fraction) {
                Ok(made) => made,
                Err(why) => {
                    refused = Some(why);
                    continue;
                }
            };
            let (program, parameters) = (&made.program, &made.parameters);
            let measured =
                CalibrationSummary::measure_with(reference, program, parameters, calibration);
            let error = measured.map_err(|_| PlanError::Unmeasured)?.max_abs_error;
            if error <= bound {
                return Ok(made);
            }
            least = least.min(error);
        }
        match refused {
            Some(why) if least.is_infinite() => Err(why),
            _ => Err(PlanError::Inaccurate { bound, least }),
        }
    }
}

fn finish(
    builder: ProgramBuilder,
    mut secrets: Vec<Zeroizing<Vec<i64>>>,
    options: &PlanOptions,
) -> Result<Compiled, PlanError> {
    let mut parts = builder.finish().map_err(PlanError::Internal)?.into_parts();
    let model = CostModel::new(options.link, options.rates);
    for step in &mut parts.steps {
        let elements = parts.values[step.output.index()].elements() as u64;
        let elements = elements * u64::from(options.batch.max(1));
        step.tactic = model.tactic(&step.op, elements, options.fss);
    }
    let program = Program::new(parts).map_err(PlanError::Internal)?;
    // Moved out, not copied: the vectors end in `Parameters`, which wipes them.
    let values = secrets.iter_mut().map(|s| std::mem::take(&mut **s));
    let parameters =
        Parameters::new(&program, values.collect()).map_err(PlanError::InternalParameters)?;
    Ok(Compiled {
        program,
        parameters,
    })
}

/// One range for all values but the inputs, whose range clients have to know anyway.
fn level(graph: &Graph, ranges: &mut [f64]) {
    let largest = ranges.iter().copied().fold(1.0, f64::max);
    let is_input = |i: usize| graph.inputs.iter().any(|port| port.value == i);
    for (i, range) in ranges.iter_mut().enumerate() {
        if !is_input(i) {
            *range = largest;
        }
    }
}

/// Smallest and largest value.
type Span = [f64; 2];

/// Largest magnitude of every value over all calibration records, at least 1; smallest and largest value.
fn ranges(graph: &Graph, calibration: &[Vec<Tensor>]) -> Result<(Vec<f64>, Vec<Span>), PlanError> {
    if calibration.is_empty() {
        return Err(PlanError::NoCalibration);
    }
    let mut spans = vec![[f64::INFINITY, f64::NEG_INFINITY]; graph.values.len()];
    for (batch, inputs) in calibration.iter().enumerate() {
        let values = graph
            .trace(inputs)
            .map_err(|source| PlanError::Calibration { batch, source })?;
        for ([lo, hi], value) in spans.iter_mut().zip(&values) {
            for v in value {
                (*lo, *hi) = (lo.min(f64::from(*v)), hi.max(f64::from(*v)));
            }
        }
    }
    // A value that no node makes any more keeps infinities the wrong way round: its magnitude is 1.
    let magnitude = |[lo, hi]: &Span| match lo <= hi {
        true => hi.abs().max(lo.abs()).max(1.0),
        false => 1.0,
    };
    Ok((spans.iter().map(magnitude).collect(), spans))
}

/// Refuses functions that calibration shows to be used where they have no value.
fn check_domains(graph: &Graph, spans: &[Span]) -> Result<(), PlanError> {
    for node in &graph.nodes {
        let NodeOp::Function(f) = node.op else {
            continue;
        };
        let [lo, hi] = spans[node.inputs[0]];
        let outside =
            (f.avoids_zero() && lo <= 0.0 && hi >= 0.0) || (!f.takes_negative() && lo < 0.0);
        if outside {
            return Err(PlanError::Domain {
                layer: node.name.clone(),
                function: f.name(),
                lo,
                hi,
            });
        }
    }
    Ok(())
}
