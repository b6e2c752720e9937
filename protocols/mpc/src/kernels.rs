//! Ring kernels: products modulo 2^64, vectorised and threaded, chosen at run time.
//!
//! A masked layer is one ring product for each party, so this is where the time goes.
//! [`VectorKernels`] makes it with:
//!
//! | processor | operands | how a product is made | instructions each | tile |
//! |---|---|---|---|---|
//! | AVX-512 with IFMA, VNNI, VBMI | any | 52-bit limbs: `vpmadd52luq`, `vpmadd52huq`, `vpdpwssd` (`full`) | 5/16 | 5 x 16 |
//! | the same | public weights of 16 bits | `vpmadd52luq` for 36 bits, `vpdpwssd` for 28 (`narrow16`) | 3/16 | 6 x 16 |
//! | the same | public weights that span less than 2^20 | two `vpmadd52luq` (`narrow20`) | 1/4 | 6 x 16 |
//! | AVX-512 | any | `vpmullq` | 1/4, of three micro-operations each | 10 x 16 |
//! | AVX2 | any | `vpmuludq` and two half `vpmulld` | 1 | 3 x 8 |
//! | AVX2 | public weights of 32 bits | `vpmuldq` and half a `vpmulld` (`narrow32`) | 3/4 | 4 x 8 |
//! | any other | any | `u64::wrapping_mul` | | 4 x 8 |
//!
//! All give the same bits; tests compare them on awkward shapes and extreme operands. Products
//! modulo 2^32 ([`VectorKernels::product32`]) take 3/32 of an instruction with VNNI.
//!
//! # Blocks and packing
//! Operands are packed into panels (the layout of Goto and van de Geijn, TOMS 2008), 128 elements of
//! the contracted axis at a time, so that a panel of each side stays in the first-level cache.
//! A static right operand is kept in its narrowest form, 2, 4 or 8 bytes an element, which is what
//! products of a few rows are bound by; for many rows a panel is widened once and used by all.
//! Convolutions lay out windows on the fly; 1 x 1 ones read the input in place, depthwise ones go
//! row by row, and those with few output pixels are turned, so that filters are the right operand.
//!
//! Public weights are packed when a program first uses them and kept as long as the program is in
//! memory, for all its sessions ([`VectorKernels::for_program`]). Shares of private weights are
//! packed by their owner ([`Prepared`]).
//!
//! # Threads
//! Large products are cut into about four tasks for each thread of rayon's pool, of 100 rows or 256
//! output pixels at most, and jobs that run at the same time take turns between tasks: a few
//! milliseconds at common layers, some tens where thousands of columns or taps meet. Small products
//! stay on the caller's thread and use buffers that each thread keeps and wipes after use.
//!
//! # What may be seen in the timing
//! Running time and addresses depend on shapes, and for public weights on their width. They depend
//! on no operand that is secret.
//!
//! # How fast
//! G multiply-additions a second on two cores of a Sapphire Rapids Xeon, by
//! `cargo bench -p benchmarks --bench gemm`, which prints more shapes:
//!
//! | shape | f64, `gemm` crate | 16-bit weights | 20-bit weights | kept share |
//! |---|---|---|---|---|
//! | 1024 x 1024 x 1024 | 83 | 45 | 35 | 29 |
//! | 32 x 1024 x 1024 | 29 | 40 | 32 | 25 |
//! | 1 x 2048 x 1000 | 3.5 | 16 | 10 | 5 |
//! | 3 x 3, 64 channels, 56 x 56 | 69 | 40 | 33 | 27 |
//! | 3 x 3, 512 channels, 7 x 7 | 50 | 34 | 28 | 24 |
//! | 1 x 1, 64 to 256 channels, 56 x 56 | 73 | 32 | 28 | 23 |
//!
//! By the count of instructions at most 59, 44 and 35. A single row is bound by memory. What is short
//! along the contracted axis, as the last line, pays for adding up its results.
//!
//! # Place for more
//! A level of Strassen's recursion for large products of two shares would save an eighth.
//! Tensor cores by 8-bit limbs are another implementation of [`RingKernels`].

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
#[cfg(target_arch = "x86_64")]
mod narrow32;
mod pack;
mod packed;
mod plan;
mod portable;
mod prepared;
mod ring32;
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
pub(crate) const PARALLEL_FROM: usize = 1 << 18;

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

/// The ring of integers modulo 2^32.
impl VectorKernels {
    /// `out [m, n] = a [m, k] * b [k, n]`, all row-major.
    ///
    /// # Panics
    /// If a slice has another size than the shape says.
    pub fn product32(&self, shape: GemmShape, a: &[u32], b: &[u32], out: &mut [u32]) {
        ring32::product(self.isa, shape, a, b, out);
    }

    /// `out [batch, oc, oh, ow] = x ⋆ w` (cross-correlation with zero padding).
    ///
    /// # Panics
    /// If a slice has another size than the shape says.
    pub fn convolve32(&self, shape: &ConvShape, x: &[u32], w: &[u32], out: &mut [u32]) {
        ring32::convolve(self.isa, shape, x, w, out);
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
