//! Blocked matrix products over the tiles.

#![allow(unsafe_code)]

use ai_link_program::kernels::GemmShape;
use rayon::prelude::*;

use super::isa::{Isa, Kind, Vectorised, dispatch};
use super::pack::{Dense, Form, KC, Rows, narrow_offset, pack_left, pack_right};
use super::{PARALLEL_FROM, portable};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// Up to this many rows the weights are read in place, once, instead of being packed.
const FEW_ROWS: usize = 32;
/// Rows of the left operand that one task takes at most.
const ROW_BLOCK: usize = 120;

/// The tile to use for a product, and how it wants its operands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    tile: Tile,
    pub(super) mr: usize,
    pub(super) nr: usize,
    pub(super) left: Form,
    pub(super) right: Form,
}

#[derive(Clone, Copy, Debug)]
enum Tile {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    NarrowLeft,
    #[cfg(target_arch = "x86_64")]
    NarrowRight,
}

/// Which operand is the public, possibly narrow one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

impl Plan {
    /// Picks the tile for `isa`, where `constants` are on `side`.
    pub(super) fn new(isa: Isa, side: Side, constants: &[u64]) -> Self {
        let (tile, mr, nr, left, right) = match isa.0 {
            Kind::Portable => (
                Tile::Portable,
                portable::MR,
                portable::NR,
                Form::Whole,
                Form::Whole,
            ),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => (Tile::Avx2, avx2::MR, avx2::NR, Form::Halves, Form::Whole),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => (
                Tile::Avx512,
                avx512::MR,
                avx512::NR,
                Form::Whole,
                Form::Whole,
            ),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Ifma => match (narrow_offset(isa, constants), side) {
                (None, _) => (
                    Tile::Avx512,
                    avx512::MR,
                    avx512::NR,
                    Form::Whole,
                    Form::Whole,
                ),
                (Some(offset), Side::Left) => (
                    Tile::NarrowLeft,
                    avx512::MR_IFMA,
                    avx512::NR,
                    Form::Offset(offset),
                    Form::Halves,
                ),
                (Some(offset), Side::Right) => (
                    Tile::NarrowRight,
                    avx512::MR_IFMA,
                    avx512::NR,
                    Form::Halves,
                    Form::Offset(offset),
                ),
            },
        };
        Self {
            tile,
            mr,
            nr,
            left,
            right,
        }
    }

    /// Overwrites `tile` with the product of two panels.
    fn run(&self, a: &[u64], b: &[u64], tile: &mut [u64]) {
        match self.tile {
            Tile::Portable => portable::tile(a, b, tile),
            // SAFETY: `Plan::new` makes this variant only from an `Isa` of that kind, and such
            // values exist only where the features were detected. The same holds below.
            #[cfg(target_arch = "x86_64")]
            Tile::Avx2 => unsafe { avx2::tile(a, b, tile) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tile::Avx512 => unsafe { avx512::tile(a, b, tile) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tile::NarrowLeft => unsafe { avx512::tile_narrow_left(a, b, tile) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tile::NarrowRight => unsafe { avx512::tile_narrow_right(a, b, tile) },
        }
    }

    /// Adds the product of packed `a` (any rows, `kc` long) and packed `b` (`columns`, `kc` long)
    /// to columns `column..` of `out`, whose rows are `stride` long.
    pub(super) fn block(
        &self,
        kc: usize,
        a: &[u64],
        b: &[u64],
        out: &mut [u64],
        stride: usize,
        (column, columns): (usize, usize),
    ) {
        let a_panel = kc * self.mr * self.left.limbs();
        let b_panel = kc * self.nr * self.right.limbs();
        let mut tile = [0u64; 160];
        let tile = &mut tile[..self.mr * self.nr];
        for (j, b) in b.chunks_exact(b_panel).enumerate() {
            let first = j * self.nr;
            let width = self.nr.min(columns - first);
            for (a, out) in a
                .chunks_exact(a_panel)
                .zip(out.chunks_mut(self.mr * stride))
            {
                self.run(a, b, tile);
                for (row, tile) in out.chunks_exact_mut(stride).zip(tile.chunks_exact(self.nr)) {
                    for (o, t) in row[column + first..][..width].iter_mut().zip(tile) {
                        *o = o.wrapping_add(*t);
                    }
                }
            }
        }
    }
}

/// Blocks of the contracted axis: (start, length).
pub(super) fn k_blocks(inner: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..inner).step_by(KC).map(move |k| (k, KC.min(inner - k)))
}

/// `out = a * b`, where `b` is the public operand.
pub(super) fn gemm(isa: Isa, shape: GemmShape, a: &[u64], b: &[u64], out: &mut [u64]) {
    let GemmShape {
        rows,
        inner,
        columns,
    } = shape;
    assert_eq!(a.len(), rows * inner, "left operand of {shape:?}");
    assert_eq!(b.len(), inner * columns, "right operand of {shape:?}");
    assert_eq!(out.len(), rows * columns, "result of {shape:?}");
    out.fill(0);
    if out.is_empty() || inner == 0 {
        return;
    }
    let parallel = rows * inner * columns >= PARALLEL_FROM;
    if rows <= FEW_ROWS || columns == 1 {
        return few_rows(isa, shape, a, b, out, parallel);
    }
    let plan = Plan::new(isa, Side::Right, b);
    let right = Dense { data: b, columns };
    let pack = |k| {
        let mut packed = Vec::new();
        pack_right(&right, k, (0, columns), plan.nr, plan.right, &mut packed);
        packed
    };
    let blocks: Vec<(usize, usize)> = k_blocks(inner).collect();
    let packed: Vec<Vec<u64>> = match parallel {
        true => blocks.par_iter().map(|k| pack(*k)).collect(),
        false => blocks.iter().map(|k| pack(*k)).collect(),
    };
    // Enough tasks that threads finish together, each a multiple of the tile.
    let tasks = if parallel {
        2 * rayon::current_num_threads()
    } else {
        1
    };
    let per_task = rows
        .div_ceil(tasks)
        .next_multiple_of(plan.mr)
        .min(ROW_BLOCK);
    let task = |(out, a): (&mut [u64], &[u64])| {
        let mut left = Vec::new();
        for (k, right) in blocks.iter().zip(&packed) {
            pack_left(a, inner, *k, plan.mr, plan.left, &mut left);
            plan.block(k.1, &left, right, out, columns, (0, columns));
        }
        if let Form::Offset(offset) = plan.right {
            for (out, a) in out.chunks_exact_mut(columns).zip(a.chunks_exact(inner)) {
                let sum = a
                    .iter()
                    .fold(0u64, |s, v| s.wrapping_add(*v))
                    .wrapping_mul(offset);
                out.iter_mut().for_each(|o| *o = o.wrapping_add(sum));
            }
        }
    };
    let (out_rows, a_rows) = (per_task * columns, per_task * inner);
    match parallel {
        true => out
            .par_chunks_mut(out_rows)
            .zip(a.par_chunks(a_rows))
            .for_each(task),
        false => out
            .chunks_mut(out_rows)
            .zip(a.chunks(a_rows))
            .for_each(task),
    }
}

/// A product with so few rows that reading the weights is all it costs: they are read once, front
/// to back, split over the threads along the contracted axis.
fn few_rows(isa: Isa, shape: GemmShape, a: &[u64], b: &[u64], out: &mut [u64], parallel: bool) {
    let GemmShape { inner, columns, .. } = shape;
    if columns == 1 {
        for (o, a) in out.iter_mut().zip(a.chunks_exact(inner)) {
            *o = a
                .iter()
                .zip(b)
                .fold(0, |s, (a, b)| s.wrapping_add(a.wrapping_mul(*b)));
        }
        return;
    }
    if !parallel {
        return dispatch(
            isa,
            Axpy {
                a,
                inner,
                k0: 0,
                b,
                columns,
                out,
            },
        );
    }
    let per_task = inner.div_ceil(rayon::current_num_threads());
    let parts: Vec<Vec<u64>> = b
        .par_chunks(per_task * columns)
        .enumerate()
        .map(|(i, b)| {
            let mut part = vec![0; out.len()];
            let out = part.as_mut_slice();
            dispatch(
                isa,
                Axpy {
                    a,
                    inner,
                    k0: i * per_task,
                    b,
                    columns,
                    out,
                },
            );
            part
        })
        .collect();
    for part in parts {
        out.iter_mut()
            .zip(part)
            .for_each(|(o, p)| *o = o.wrapping_add(p));
    }
}

/// `out += a[.., k0..] * b`, four rows of `b` at a time.
struct Axpy<'a> {
    a: &'a [u64],
    inner: usize,
    k0: usize,
    b: &'a [u64],
    columns: usize,
    out: &'a mut [u64],
}

impl Vectorised for Axpy<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let n = self.columns;
        for (block, b) in self.b.chunks(4 * n).enumerate() {
            let k = self.k0 + 4 * block;
            for (a, out) in self
                .a
                .chunks_exact(self.inner)
                .zip(self.out.chunks_exact_mut(n))
            {
                if b.len() == 4 * n {
                    let (b0, rest) = b.split_at(n);
                    let (b1, rest) = rest.split_at(n);
                    let (b2, b3) = rest.split_at(n);
                    let a: [u64; 4] = [a[k], a[k + 1], a[k + 2], a[k + 3]];
                    for ((((o, b0), b1), b2), b3) in out.iter_mut().zip(b0).zip(b1).zip(b2).zip(b3)
                    {
                        let low = a[0].wrapping_mul(*b0).wrapping_add(a[1].wrapping_mul(*b1));
                        let high = a[2].wrapping_mul(*b2).wrapping_add(a[3].wrapping_mul(*b3));
                        *o = o.wrapping_add(low).wrapping_add(high);
                    }
                } else {
                    for (a, b) in a[k..].iter().zip(b.chunks_exact(n)) {
                        for (o, b) in out.iter_mut().zip(b) {
                            *o = o.wrapping_add(a.wrapping_mul(*b));
                        }
                    }
                }
            }
        }
    }
}

/// The correction that a narrow left operand's offset needs: the column sums of `b`.
pub(super) fn add_column_sums(
    b: &impl Rows,
    inner: usize,
    offset: u64,
    (column, columns): (usize, usize),
    out: &mut [u64],
    stride: usize,
) {
    let mut sums = vec![0u64; columns];
    let mut row = vec![0u64; columns];
    for k in 0..inner {
        b.copy(k, column, &mut row);
        sums.iter_mut()
            .zip(&row)
            .for_each(|(s, v)| *s = s.wrapping_add(*v));
    }
    for out in out.chunks_exact_mut(stride) {
        for (o, s) in out[column..][..columns].iter_mut().zip(&sums) {
            *o = o.wrapping_add(s.wrapping_mul(offset));
        }
    }
}
