//! Packing operands into the panels that a tile reads front to back.

use super::isa::{Isa, Vectorised, dispatch};
use super::plan::{Plan, Side, Tile};
#[cfg(target_arch = "x86_64")]
use super::{narrow16, narrow32};

/// Rows of a row-major matrix that make a left panel, for a block of its columns.
pub(super) struct LeftPanel<'a> {
    pub(super) plan: &'a Plan,
    /// From the panel's first row on.
    pub(super) rows: &'a [u64],
    /// Elements from one row to the next.
    pub(super) inner: usize,
    /// Rows of the panel, at most `mr`.
    pub(super) m: usize,
    /// First element of the contracted axis, and how many.
    pub(super) k: (usize, usize),
    /// Where the panel goes; all but the places of missing rows is overwritten.
    pub(super) out: &'a mut [u64],
}

impl LeftPanel<'_> {
    /// Packs the panel.
    pub(super) fn pack(self) {
        let Self {
            rows, inner, m, k, ..
        } = self;
        if !self.plan.pack_left(rows, inner, m, k, self.out) {
            dispatch(self.plan.isa(), self);
        }
    }
}

impl Vectorised for LeftPanel<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let plan = self.plan;
        let (k0, kc) = self.k;
        let (header, body) = self.out.split_at_mut(plan.left_header);
        for i in 0..self.m {
            let row = &self.rows[i * self.inner + k0..][..kc];
            match (plan.tile, plan.side) {
                (Tile::Portable, _) => {
                    for (cell, v) in body.chunks_exact_mut(plan.left).zip(row) {
                        cell[i] = *v;
                    }
                }
                #[cfg(target_arch = "x86_64")]
                (Tile::Avx2 | Tile::Avx512, _) => {
                    for (cell, v) in body.chunks_exact_mut(plan.left).zip(row) {
                        cell[i] = *v;
                    }
                }
                #[cfg(target_arch = "x86_64")]
                (Tile::Narrow32, Side::Right) => {
                    for (cell, v) in body.chunks_exact_mut(plan.left).zip(row) {
                        cell[i] = narrow32::cut(*v);
                    }
                }
                #[cfg(target_arch = "x86_64")]
                (Tile::Narrow32, Side::Left) => {
                    let weights: &mut [u32] = bytemuck::cast_slice_mut(body);
                    for (cell, v) in weights.chunks_exact_mut(2 * plan.left).zip(row) {
                        cell[i] = *v as u32;
                    }
                }
                #[cfg(target_arch = "x86_64")]
                (Tile::Full, _) => unreachable!("packed by `Plan::pack_left`"),
                #[cfg(target_arch = "x86_64")]
                (Tile::Narrow20 { offset }, Side::Right) => {
                    halves(row, i, plan.mr, body);
                    let sum = row.iter().fold(0u64, |s, v| s.wrapping_add(*v));
                    header[i] = sum.wrapping_mul(offset);
                }
                #[cfg(target_arch = "x86_64")]
                (Tile::Narrow20 { offset }, Side::Left) => {
                    for (cell, v) in body.chunks_exact_mut(plan.left).zip(row) {
                        cell[i] = v.wrapping_sub(offset);
                    }
                }
                #[cfg(target_arch = "x86_64")]
                (Tile::Narrow16, Side::Right) => header[i] = wide16(row, i, body),
                #[cfg(target_arch = "x86_64")]
                (Tile::Narrow16, Side::Left) => weights16(row, i, body),
            }
        }
        let _ = header;
    }
}

/// Lower and upper 32 bits in separate rows.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn halves(row: &[u64], i: usize, mr: usize, body: &mut [u64]) {
    for (cell, v) in body.chunks_exact_mut(2 * mr).zip(row) {
        cell[i] = *v & 0xffff_ffff;
        cell[mr + i] = *v >> 32;
    }
}

/// Row `i` of a left panel of wide elements for 16-bit weights; its header.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn wide16(row: &[u64], i: usize, body: &mut [u64]) -> u64 {
    use narrow16::{LEFT_WIDE, MR};
    let mut sum = 0u64;
    let mut put = |cell: &mut [u64; LEFT_WIDE], x: [u64; 2]| {
        let [(l0, m0, t0), (l1, m1, t1)] = x.map(narrow16::cut);
        sum = sum.wrapping_add(l0).wrapping_add(l1);
        cell[i] = l0;
        cell[MR + i] = l1;
        let pairs: &mut [u32] = bytemuck::cast_slice_mut(cell);
        pairs[4 * MR + i] = m0 | m1 << 16;
        pairs[5 * MR + i] = t0 | t1 << 16;
    };
    let (twos, rest) = row.as_chunks::<2>();
    let cells = body.as_chunks_mut::<LEFT_WIDE>().0;
    for (cell, x) in cells.iter_mut().zip(twos) {
        put(cell, *x);
    }
    if let (Some(cell), [x]) = (cells.get_mut(twos.len()), rest) {
        put(cell, [*x, 0]);
    }
    narrow16::header(sum)
}

/// Row `i` of a left panel of 16-bit weights.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn weights16(row: &[u64], i: usize, body: &mut [u64]) {
    use narrow16::{LEFT_WEIGHTS, MR};
    let cells = body.as_chunks_mut::<LEFT_WEIGHTS>().0;
    for (cell, w) in cells.iter_mut().zip(row.chunks(2)) {
        let w = [w[0], w.get(1).copied().unwrap_or(0)];
        let unsigned = |w: u64| (w as u16 ^ 0x8000).into();
        cell[i] = unsigned(w[0]);
        cell[MR + i] = unsigned(w[1]);
        let pairs: &mut [u32] = bytemuck::cast_slice_mut(cell);
        pairs[4 * MR + i] = u32::from(w[0] as u16) | u32::from(w[1] as u16) << 16;
    }
}

/// Packs all of a static left operand: panel after panel, each for the whole contracted axis.
pub(super) fn pack_left(plan: &Plan, a: &[u64], inner: usize, out: &mut [u64]) {
    let words = plan.left_words(inner);
    if words == 0 {
        return;
    }
    for (panel, out) in out.chunks_exact_mut(words).enumerate() {
        let rows = &a[panel * plan.mr * inner..];
        LeftPanel {
            plan,
            rows,
            inner,
            m: (rows.len() / inner).min(plan.mr),
            k: (0, inner),
            out,
        }
        .pack();
    }
}

/// Packs one panel of a static right operand, columns `column..`, for the whole contracted axis.
pub(super) fn pack_right_panel(
    plan: &Plan,
    b: &[u64],
    columns: usize,
    column: usize,
    out: &mut [u64],
) {
    let width = plan.nr.min(columns - column);
    let inner = b.len() / columns;
    let row = |k: usize| &b[k * columns + column..][..width];
    for (step, out) in out.chunks_exact_mut(plan.right).enumerate() {
        match plan.tile {
            // Weights of two steps in one half of a word, of columns `j` and `j + 8` in one word.
            #[cfg(target_arch = "x86_64")]
            Tile::Narrow16 => {
                for k in (2 * step..inner).take(2) {
                    for (j, w) in row(k).iter().enumerate() {
                        let at = 32 * (j / 8) + 16 * (k % 2);
                        out[j % 8] |= u64::from(*w as u16) << at;
                    }
                }
            }
            #[cfg(target_arch = "x86_64")]
            Tile::Narrow20 { offset } => {
                for (j, w) in row(step).iter().enumerate() {
                    out[j % 8] |= w.wrapping_sub(offset) << (32 * (j / 8));
                }
            }
            #[cfg(target_arch = "x86_64")]
            Tile::Narrow32 => {
                let out: &mut [u32] = bytemuck::cast_slice_mut(out);
                let pairs = out.iter_mut().zip(row(step));
                pairs.for_each(|(out, w)| *out = *w as u32);
            }
            _ => out[..width].copy_from_slice(row(step)),
        }
    }
}

/// Signed minimum and maximum, if they are less than `limit` apart.
pub(super) fn span(isa: Isa, data: &[u64], limit: u64) -> Option<(i64, i64)> {
    let (mut min, mut max) = (i64::MAX, i64::MIN);
    for data in data.chunks(4096) {
        let (low, high) = dispatch(isa, Span { data });
        (min, max) = (min.min(low), max.max(high));
        if max.abs_diff(min) >= limit {
            return None;
        }
    }
    (!data.is_empty()).then_some((min, max))
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
