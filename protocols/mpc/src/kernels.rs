//! Ring kernels: products modulo 2^64, vectorised and threaded, chosen at run time.
//!
//! A masked layer with public weights is one ring product per evaluator and one at the dealer, so
//! this is where the time goes. [`VectorKernels`] implements [`RingKernels`] with:
//!
//! | instruction set | how a 64-bit product is made | tile |
//! |---|---|---|
//! | AVX-512 IFMA, constants spanning less than 2^20 | two `vpmadd52luq` on the halves of the wide operand | 6 x 16 |
//! | AVX-512 DQ | `vpmullq` | 10 x 16 |
//! | AVX2 | three `vpmuludq` | 2 x 8 |
//! | any other | `u64::wrapping_mul` | 4 x 8 |
//!
//! All give the same bits; tests compare them on awkward shapes. Operands are packed into panels
//! and `k` is blocked by 256 so that a panel of the right operand stays in the first-level cache
//! (the layout of Goto and van de Geijn, TOMS 2008). Convolutions pack their windows on the fly
//! (implicit im2col); depthwise ones go row by row. Products with a few rows read the weights once,
//! in place. Running time and addresses depend on shapes only (the IFMA choice also on the public weights).
//!
//! # How fast
//! One thread of an AVX-512 Xeon, up to 480 x 512 x 512: 15 to 18 G multiply-additions
//! a second by IFMA (two instructions for eight products; 22 at most), 9 to 10 by `vpmullq`, 4 by
//! AVX2; f64 by the `gemm` crate 42. There `vpmullq` is three micro-operations, so 64-bit products
//! do not reach the rate of f64; where it is one (Zen 5) the design's trial kernel did.
//!
//! # Place for more
//! Weights packed once per model (`Weights::id` is there for that), 32-bit rings, 8-bit limbs on VNNI.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod cells;
mod conv;
mod direct;
#[cfg(target_arch = "x86_64")]
mod full;
mod gemm;
mod isa;
#[cfg(target_arch = "x86_64")]
mod narrow16;
#[cfg(target_arch = "x86_64")]
mod narrow20;
mod pack;
mod packed;
mod plan;
mod portable;
mod prepared;
mod scratch;

pub use isa::Isa;
pub(crate) use isa::{Vectorised, dispatch};
pub use prepared::Prepared;

use std::sync::Arc;

use ai_link_program::fixed::Program;
use ai_link_program::kernels::{ConvShape, GemmShape, RingKernels, Weights};

use conv::{Filters, Use};
use gemm::Right;
use packed::PackedWeights;
use plan::Values;
use prepared::Layout;

/// Below this many multiplications a second thread costs more than it brings.
const PARALLEL_FROM: usize = 1 << 18;

/// Vectorised ring products for this machine.
#[derive(Clone, Debug)]
pub struct VectorKernels {
    isa: Isa,
    packed: Option<Arc<PackedWeights>>,
}

impl VectorKernels {
    /// The fastest kernels that this machine runs.
    pub fn best() -> Self {
        Self::with_isa(Isa::best())
    }

    /// The same for a program: its public weights are packed when first used, and all sessions that
    /// run this `program` share them.
    pub fn for_program(program: &Arc<Program>) -> Self {
        Self {
            packed: Some(PackedWeights::of(program)),
            ..Self::best()
        }
    }

    /// Kernels of one instruction set, to compare them.
    pub fn with_isa(isa: Isa) -> Self {
        Self { isa, packed: None }
    }

    /// `out [m, n] = a [m, k] * b [k, n]` for any ring elements, all row-major.
    ///
    /// # Panics
    /// If a slice has another size than the shape says.
    pub fn product(&self, shape: GemmShape, a: &[u64], b: &[u64], out: &mut [u64]) {
        let right = Right::borrowed(self.isa, shape.inner, shape.columns, b);
        gemm::gemm(shape.rows, a, &right, out);
    }

    /// `out [batch, oc, oh, ow] = x ⋆ w` (cross-correlation with zero padding) for any ring elements.
    ///
    /// # Panics
    /// If a slice has another size than the shape says.
    pub fn convolve(&self, shape: &ConvShape, x: &[u64], w: &[u64], out: &mut [u64]) {
        let filters = Filters::new(self.isa, Values::Any, Use::Once, shape, w);
        conv::conv(shape, x, &filters, out);
    }
}

impl Default for VectorKernels {
    fn default() -> Self {
        Self::best()
    }
}

impl RingKernels for VectorKernels {
    fn gemm(&self, shape: GemmShape, x: &[u64], weights: Weights<'_>, out: &mut [u64]) {
        let GemmShape { inner, columns, .. } = shape;
        let pack = || {
            let w = bytemuck::cast_slice(weights.data);
            Right::new(self.isa, Values::Public, inner, columns, w)
        };
        let kept = self.packed.as_ref();
        let kept = kept.and_then(|p| p.get(weights, || Prepared(Layout::Gemm(pack()))));
        match kept {
            Some(Prepared(Layout::Gemm(right))) if right.fits(inner, columns) => {
                gemm::gemm(shape.rows, x, right, out);
            }
            _ => gemm::gemm(shape.rows, x, &pack(), out),
        }
    }

    fn conv(&self, shape: &ConvShape, x: &[u64], weights: Weights<'_>, out: &mut [u64]) {
        let pack = |reuse| {
            let w = bytemuck::cast_slice(weights.data);
            Filters::new(self.isa, Values::Public, reuse, shape, w)
        };
        let kept = self.packed.as_ref();
        let kept = kept.and_then(|p| p.get(weights, || Prepared(Layout::Conv(pack(Use::Often)))));
        match kept {
            Some(Prepared(Layout::Conv(filters))) if filters.fit(shape) => {
                conv::conv(shape, x, filters, out);
            }
            _ => conv::conv(shape, x, &pack(Use::Once), out),
        }
    }
}
