//! Products with weights, public or private: which fractions, and what becomes of the weights.

use zeroize::Zeroizing;

use super::lower::{Held, Lowering};
use super::quantise::{WEIGHT_BITS, quantise, weight_fraction};
use super::{BoundPolicy, WeightPrivacy};
use crate::fixed::{ConvGeometry, Op, ParamId, ValueId, limits};
use crate::graph::FloatConst;

/// A layer that multiplies by weights.
#[derive(Clone, Copy)]
pub(super) enum Layer {
    Linear,
    Conv(ConvGeometry),
}

/// What a doubled product adds to the fraction.
const DOUBLED: u8 = 1;

impl Lowering<'_> {
    /// A layer whose result has magnitude `range`.
    pub(super) fn layer(
        &mut self,
        x: usize,
        layer: Layer,
        weights: &FloatConst,
        bias: Option<&[f32]>,
        range: f64,
    ) -> Held {
        if self.options.weights == WeightPrivacy::Private {
            return self.private_layer(x, layer, weights, bias, range);
        }
        self.product(x, &weights.data, range, |l, x, q, w| {
            let weights = l.builder.constant(&weights.dims, w);
            let bias = bias.map(|b| l.addend(&[b.len()], b, q));
            let op = match layer {
                Layer::Linear => Op::Linear { weights, bias },
                Layer::Conv(geometry) => Op::Conv {
                    weights,
                    bias,
                    geometry,
                },
            };
            l.step(op, &[x], q, range)
        })
    }

    fn private_layer(
        &mut self,
        x: usize,
        layer: Layer,
        weights: &FloatConst,
        bias: Option<&[f32]>,
        range: f64,
    ) -> Held {
        let wanted = match self.options.bounds {
            BoundPolicy::Calibrated => weight_fraction(&weights.data, self.target),
            BoundPolicy::Uniform => self.target,
        };
        let (x, w) = self.operand(x, wanted, range, DOUBLED);
        let fraction = x.fraction + w + DOUBLED;
        let bias = bias.map(|b| {
            let most = u16::from(limits::BOUND_BITS);
            let dims = [b.len()];
            self.parameter("bias", &dims, b, x.fraction + w, most)
        });
        let weights = self.parameter("weights", &weights.dims, &weights.data, w, WEIGHT_BITS);
        let op = match layer {
            Layer::Linear => Op::LinearShared { weights, bias },
            Layer::Conv(geometry) => Op::ConvShared {
                weights,
                bias,
                geometry,
            },
        };
        let id = self.step(op, &[x.id], fraction, range);
        Held::new(id, fraction, range)
    }

    /// A private constant of the current layer. Under [`BoundPolicy::Uniform`] its bound is as large as it may be.
    fn parameter(
        &mut self,
        what: &'static str,
        dims: &[usize],
        data: &[f32],
        fraction: u8,
        most: u16,
    ) -> ParamId {
        let (data, need) = quantise(data.iter().map(|v| f64::from(*v)), fraction);
        self.secrets.push(Zeroizing::new(data));
        self.demand(what, need, most);
        let bound = match self.options.bounds {
            BoundPolicy::Calibrated => need.min(most),
            BoundPolicy::Uniform => most,
        };
        let name = match self.layer.is_empty() {
            true => what.to_owned(),
            false => format!("{}/{what}", self.layer),
        };
        let bound = u8::try_from(bound).unwrap_or(limits::BOUND_BITS);
        self.builder.parameter(&name, dims, fraction, bound)
    }

    /// A product of `x` with public weights whose result has magnitude `range`: picks the fractions, then calls `make`
    /// with the operand, the fraction of the result and the quantised weights.
    pub(super) fn product(
        &mut self,
        x: usize,
        weights: &[f32],
        range: f64,
        make: impl FnOnce(&mut Self, ValueId, u8, Vec<i64>) -> ValueId,
    ) -> Held {
        let wanted = weight_fraction(weights, self.target);
        let (x, w) = self.operand(x, wanted, range, 0);
        self.multiply(x, weights, w, range, make)
    }

    /// The operand of a product and the fraction of the weights: with pending bits if the result fits, else without.
    fn operand(&mut self, x: usize, wanted: u8, range: f64, extra: u8) -> (Held, u8) {
        let held = self.held(x);
        match self.fitting(held.fraction + extra, wanted, range) {
            Some(w) => (held, w),
            // Pending bits must go first. If it still does not fit, the bound of the result says so.
            None => (
                self.narrow(x),
                self.fitting(self.target + extra, wanted, range)
                    .unwrap_or(wanted.min(self.target)),
            ),
        }
    }

    pub(super) fn multiply(
        &mut self,
        x: Held,
        weights: &[f32],
        w: u8,
        range: f64,
        make: impl FnOnce(&mut Self, ValueId, u8, Vec<i64>) -> ValueId,
    ) -> Held {
        let (data, need) = quantise(weights.iter().map(|v| f64::from(*v)), w);
        self.demand("weights", need, WEIGHT_BITS);
        let fraction = x.fraction + w;
        let id = make(self, x.id, fraction, data);
        Held::new(id, fraction, range)
    }

    /// The largest fraction for weights, `wanted` or the target, with which the result fits.
    pub(super) fn fitting(&self, fraction: u8, wanted: u8, range: f64) -> Option<u8> {
        [wanted, wanted.min(self.target)]
            .into_iter()
            .find(|w| self.fits(range, fraction + w))
    }
}
