//! Static operands packed once.

use ai_link_program::kernels::{ConvShape, GemmShape};
use zeroize::Zeroizing;

use super::{VectorKernels, conv, gemm};

/// The static operand of many products, laid out for this machine's kernels. Wiped on drop, since
/// a share of weights is one.
pub struct Prepared {
    layout: Layout,
    words: Zeroizing<Vec<u64>>,
}

/// What the operand was packed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Gemm { inner: usize, columns: usize },
    Conv { out_channels: usize, taps: usize },
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Prepared").field(&self.layout).finish()
    }
}

impl VectorKernels {
    /// Packs the right operand `w [inner, columns]` of products with any number of rows.
    ///
    /// # Panics
    /// If `w` has another size.
    pub fn prepare_gemm(&self, inner: usize, columns: usize, w: &[u64]) -> Prepared {
        assert_eq!(w.len(), inner * columns, "right operand");
        Prepared {
            layout: Layout::Gemm { inner, columns },
            words: Zeroizing::new(w.to_vec()),
        }
    }

    /// `out [rows, columns] = x [rows, inner] * w`.
    ///
    /// # Panics
    /// If `w` was prepared for something else, or a slice has another size than that says.
    pub fn product_prepared(&self, rows: usize, x: &[u64], w: &Prepared, out: &mut [u64]) {
        let Layout::Gemm { inner, columns } = w.layout else {
            panic!("{w:?} is not the operand of a product");
        };
        let shape = GemmShape {
            rows,
            inner,
            columns,
        };
        gemm::gemm(self.isa, shape, x, &w.words, out);
    }

    /// Packs the filters `w [out_channels, in_channels / groups, kh, kw]` of convolutions of this
    /// shape, for any batch.
    ///
    /// # Panics
    /// If `w` has another size than `shape` says.
    pub fn prepare_conv(&self, shape: &ConvShape, w: &[u64]) -> Prepared {
        let (out_channels, taps) = (shape.out_channels, conv::taps(shape));
        assert_eq!(w.len(), out_channels * taps, "filters of {shape:?}");
        Prepared {
            layout: Layout::Conv { out_channels, taps },
            words: Zeroizing::new(w.to_vec()),
        }
    }

    /// `out [batch, oc, oh, ow] = x ⋆ w`.
    ///
    /// # Panics
    /// If `w` was prepared for something else, or a slice has another size than `shape` says.
    pub fn convolve_prepared(&self, shape: &ConvShape, x: &[u64], w: &Prepared, out: &mut [u64]) {
        let (out_channels, taps) = (shape.out_channels, conv::taps(shape));
        assert_eq!(w.layout, Layout::Conv { out_channels, taps }, "filters");
        conv::conv(self.isa, shape, x, &w.words, out);
    }
}
