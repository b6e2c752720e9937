//! Static operands packed once.

use std::fmt;

use ai_link_program::kernels::ConvShape;

use super::VectorKernels;
use super::conv::{self, Filters, Use};
use super::gemm::{self, Right};
use super::plan::Values;

/// The static operand of many products, laid out for this machine's kernels. Wiped on drop, since
/// a share of weights is one.
pub struct Prepared(pub(super) Layout);

pub(super) enum Layout {
    Gemm(Right<'static>),
    Conv(Filters),
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Layout::Gemm(right) => write!(f, "Prepared([{}, {}])", right.inner, right.columns),
            Layout::Conv(filters) => write!(
                f,
                "Prepared({} filters of {} taps)",
                filters.out_channels, filters.taps
            ),
        }
    }
}

impl VectorKernels {
    /// Packs the right operand `w [inner, columns]` of products with any number of rows.
    ///
    /// # Panics
    /// If `w` has another size.
    pub fn prepare_gemm(&self, inner: usize, columns: usize, w: &[u64]) -> Prepared {
        let right = Right::new(self.isa, Values::Any, inner, columns, w);
        Prepared(Layout::Gemm(right))
    }

    /// `out [rows, columns] = x [rows, inner] * w`.
    ///
    /// # Panics
    /// If `w` was prepared for something else, or a slice has another size than that says.
    pub fn product_prepared(&self, rows: usize, x: &[u64], w: &Prepared, out: &mut [u64]) {
        let Layout::Gemm(right) = &w.0 else {
            panic!("{w:?} is not the operand of a product");
        };
        gemm::gemm(rows, x, right, out);
    }

    /// Packs the filters `w [out_channels, in_channels / groups, kh, kw]` of convolutions of this
    /// shape, for any batch.
    ///
    /// # Panics
    /// If `w` has another size than `shape` says.
    pub fn prepare_conv(&self, shape: &ConvShape, w: &[u64]) -> Prepared {
        let filters = Filters::new(self.isa, Values::Any, Use::Often, shape, w);
        Prepared(Layout::Conv(filters))
    }

    /// `out [batch, oc, oh, ow] = x ⋆ w`.
    ///
    /// # Panics
    /// If `w` was prepared for something else, or a slice has another size than `shape` says.
    pub fn convolve_prepared(&self, shape: &ConvShape, x: &[u64], w: &Prepared, out: &mut [u64]) {
        let Layout::Conv(filters) = &w.0 else {
            panic!("{w:?} are not filters");
        };
        conv::conv(shape, x, filters, out);
    }
}
