//! Packing operands into the panels that a tile reads front to back.

use super::isa::{Isa, Vectorised, dispatch};

/// Block of the contracted axis: a right-hand panel of 256 x 16 words stays in the first-level cache.
pub(super) const KC: usize = 256;

/// How an operand's elements are stored in a panel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// One word per element.
    Whole,
    /// Lower and upper 32 bits in separate rows.
    Halves,
    /// One word per element, less this offset: what remains is below 2^20.
    Offset(u64),
}

impl Form {
    pub(super) fn limbs(self) -> usize {
        match self {
            Self::Whole | Self::Offset(_) => 1,
            Self::Halves => 2,
        }
    }
}

/// A matrix of which rows can be copied out, such as a slice or the windows of a convolution.
pub(super) trait Rows: Sync {
    /// Copies `out.len()` elements of row `k` from `column` on.
    fn copy(&self, k: usize, column: usize, out: &mut [u64]);
}

/// A row-major slice.
pub(super) struct Dense<'a> {
    pub(super) data: &'a [u64],
    pub(super) columns: usize,
}

impl Rows for Dense<'_> {
    fn copy(&self, k: usize, column: usize, out: &mut [u64]) {
        out.copy_from_slice(&self.data[k * self.columns + column..][..out.len()]);
    }
}

/// Packs `rows` rows of `a` (row-major, `inner` columns) for columns `k0..k0 + kc` into panels of
/// `mr` rows; missing rows are zero.
pub(super) fn pack_left(
    a: &[u64],
    inner: usize,
    (k0, kc): (usize, usize),
    mr: usize,
    form: Form,
    out: &mut Vec<u64>,
) {
    let rows = a.len() / inner;
    let stride = mr * form.limbs();
    out.clear();
    out.resize(rows.div_ceil(mr) * kc * stride, 0);
    for (panel, out) in out.chunks_exact_mut(kc * stride).enumerate() {
        for (i, row) in a[panel * mr * inner..]
            .chunks_exact(inner)
            .take(mr)
            .enumerate()
        {
            let row = &row[k0..k0 + kc];
            for (cell, v) in out.chunks_exact_mut(stride).zip(row) {
                match form {
                    Form::Whole => cell[i] = *v,
                    Form::Offset(offset) => cell[i] = v.wrapping_sub(offset),
                    Form::Halves => {
                        cell[i] = *v & 0xffff_ffff;
                        cell[mr + i] = *v >> 32;
                    }
                }
            }
        }
    }
}

/// Packs `columns` columns from `column` of rows `k0..k0 + kc` of `b` into panels of `nr` columns;
/// missing columns are zero.
pub(super) fn pack_right(
    b: &impl Rows,
    (k0, kc): (usize, usize),
    (column, columns): (usize, usize),
    nr: usize,
    form: Form,
    out: &mut Vec<u64>,
) {
    let stride = nr * form.limbs();
    let panels = columns.div_ceil(nr);
    out.clear();
    out.resize(panels * kc * stride, 0);
    let mut row = vec![0; columns];
    for k in 0..kc {
        b.copy(k0 + k, column, &mut row);
        for (panel, part) in row.chunks(nr).enumerate() {
            let cell = &mut out[(panel * kc + k) * stride..][..stride];
            match form {
                Form::Whole => cell[..part.len()].copy_from_slice(part),
                Form::Offset(offset) => {
                    for (c, v) in cell.iter_mut().zip(part) {
                        *c = v.wrapping_sub(offset);
                    }
                }
                Form::Halves => {
                    let (low, high) = cell.split_at_mut(nr);
                    for ((l, h), v) in low.iter_mut().zip(high).zip(part) {
                        *l = v & 0xffff_ffff;
                        *h = v >> 32;
                    }
                }
            }
        }
    }
}

/// If signed `data` spans less than 2^20, its minimum: less that, every element fits 20 bits.
pub(super) fn narrow_offset(isa: Isa, data: &[u64]) -> Option<u64> {
    let (mut min, mut max) = (i64::MAX, i64::MIN);
    for data in data.chunks(4096) {
        let (low, high) = dispatch(isa, Span { data });
        (min, max) = (min.min(low), max.max(high));
        if max.checked_sub(min)? >= 1 << 20 {
            return None;
        }
    }
    (!data.is_empty()).then_some(min as u64)
}

/// Signed minimum and maximum.
struct Span<'a> {
    data: &'a [u64],
}

impl Vectorised for Span<'_> {
    type Output = (i64, i64);

    #[inline(always)]
    fn run(self) -> (i64, i64) {
        self.data
            .iter()
            .fold((i64::MAX, i64::MIN), |(min, max), v| {
                (min.min(*v as i64), max.max(*v as i64))
            })
    }
}
