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
mod conv;
mod direct;
mod gemm;
mod isa;
mod pack;
mod portable;
mod prepared;

pub use isa::Isa;
pub(crate) use isa::{Vectorised, dispatch};
pub use prepared::Prepared;

use ai_link_program::kernels::{ConvShape, GemmShape, RingKernels, Weights};

/// Below this many multiplications a second thread costs more than it brings.
const PARALLEL_FROM: usize = 1 << 18;

/// Vectorised ring products for this machine.
#[derive(Clone, Debug)]
pub struct VectorKernels {
    isa: Isa,
}

impl VectorKernels {
    /// The fastest kernels that this machine runs.
    pub fn best() -> Self {
        Self { isa: Isa::best() }
    }

    /// Kernels of one instruction set, to compare them.
    pub fn with_isa(isa: Isa) -> Self {
        Self { isa }
    }

    /// `out [m, n] = a [m, k] * b [k, n]` for any ring elements, all row-major.
    ///
    /// # Panics
    /// If a slice has another size than the shape says.
    pub fn product(&self, shape: GemmShape, a: &[u64], b: &[u64], out: &mut [u64]) {
        gemm::gemm(self.isa, shape, a, b, out);
    }

    /// `out [batch, oc, oh, ow] = x ⋆ w` (cross-correlation with zero padding) for any ring elements.
    ///
    /// # Panics
    /// If a slice has another size than the shape says.
    pub fn convolve(&self, shape: &ConvShape, x: &[u64], w: &[u64], out: &mut [u64]) {
        conv::conv(self.isa, shape, x, w, out);
    }
}

impl Default for VectorKernels {
    fn default() -> Self {
        Self::best()
    }
}

impl RingKernels for VectorKernels {
    fn gemm(&self, shape: GemmShape, x: &[u64], weights: Weights<'_>, out: &mut [u64]) {
        gemm::gemm(self.isa, shape, x, bytemuck::cast_slice(weights.data), out);
    }

    fn conv(&self, shape: &ConvShape, x: &[u64], weights: Weights<'_>, out: &mut [u64]) {
        conv::conv(self.isa, shape, x, bytemuck::cast_slice(weights.data), out);
    }
}
