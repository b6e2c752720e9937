//! Products modulo 2^32, for layers that a small ring is enough for.
//!
//! With VNNI: `x = x0 + 2^16 x1`, where `x0` is signed, and `w` alike. Then `x0 w0` of two steps of
//! the contracted axis is one `vpdpwssd`, and so is `x1 w0 + x0 w1`, which counts modulo 2^16, of one
//! step: 3/32 of an instruction for a product. Elsewhere the compiler's 32-bit multiplication.

#[cfg(target_arch = "x86_64")]
mod vnni;

use std::marker::PhantomData;

use ai_link_program::kernels::{ConvShape, GemmShape};
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::PARALLEL_FROM;
use super::conv::{planes, taps, windows::Windows};
use super::gemm::parts;
use super::isa::{Isa, Kind, Vectorised, dispatch};

/// Blocks of the contracted axis and of columns: a megabyte and a half of the second-level cache.
const KC: usize = 256;
const NC: usize = 512;
/// Output pixels whose windows are laid out at a time.
const PIXELS: usize = 256;

/// How a tile of `M` by `N` is made from panels, whose steps hold `WORDS` words for each row or
/// column and stand for `STEP` elements of the contracted axis.
trait Tile {
    const M: usize;
    const N: usize;
    const STEP: usize;
    const WORDS: usize;

    fn left(x: &[u32], words: impl FnMut(usize, u32));
    fn right(x: &[u32], words: impl FnMut(usize, u32));

    /// The product of two panels, row by row.
    fn run(a: &[u32], b: &[u32], tile: &mut [u32]);
}

/// Plain loops.
struct Plain<const M: usize, const N: usize>;

impl<const M: usize, const N: usize> Tile for Plain<M, N> {
    const M: usize = M;
    const N: usize = N;
    const STEP: usize = 1;
    const WORDS: usize = 1;

    #[inline(always)]
    fn left(x: &[u32], mut words: impl FnMut(usize, u32)) {
        words(0, x[0]);
    }

    #[inline(always)]
    fn right(x: &[u32], words: impl FnMut(usize, u32)) {
        Self::left(x, words);
    }

    #[inline(always)]
    fn run(a: &[u32], b: &[u32], tile: &mut [u32]) {
        let mut acc = [[0u32; N]; M];
        for (a, b) in a.as_chunks::<M>().0.iter().zip(b.as_chunks::<N>().0) {
            for (acc, a) in acc.iter_mut().zip(a) {
                for (acc, b) in acc.iter_mut().zip(b) {
                    *acc = acc.wrapping_add(a.wrapping_mul(*b));
                }
            }
        }
        tile.copy_from_slice(acc.as_flattened());
    }
}

/// `out [rows, columns] = a [rows, inner] * b [inner, columns]`.
pub(super) fn product(isa: Isa, shape: GemmShape, a: &[u32], b: &[u32], out: &mut [u32]) {
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
    let task = |(a, out): (&[u32], &mut [u32])| {
        let place = (out, columns, 0);
        multiply(isa, a, inner, (b, columns), place);
    };
    if rows * inner * columns < PARALLEL_FROM {
        return task((a, out));
    }
    let high = rows.div_ceil(2 * rayon::current_num_threads()).max(24);
    a.par_chunks(high * inner)
        .zip(out.par_chunks_mut(high * columns))
        .for_each(task);
}

/// `out = x ⋆ w`, cross-correlation with zero padding.
pub(super) fn convolve(isa: Isa, s: &ConvShape, x: &[u32], w: &[u32], out: &mut [u32]) {
    let taps = taps(s);
    let pixels = s.output[0] * s.output[1];
    let plane = s.input[0] * s.input[1];
    assert_eq!(x.len(), s.batch * s.in_channels * plane, "input of {s:?}");
    assert_eq!(w.len(), s.out_channels * taps, "filters of {s:?}");
    let expected = s.batch * s.out_channels * pixels;
    assert_eq!(out.len(), expected, "output of {s:?}");
    out.fill(0);
    if out.is_empty() || taps == 0 {
        return;
    }
    let parallel = out.len() * taps >= PARALLEL_FROM;
    let out_group = s.out_channels / s.groups;
    let one = |(unit, out): (usize, &mut [u32])| {
        let planes = planes(s, x, unit);
        let windows = Windows { shape: s, planes };
        let w = &w[unit % s.groups * out_group * taps..][..out_group * taps];
        let mut laid_out = Zeroizing::new(vec![0; taps * PIXELS.min(pixels)]);
        for (pixel, n) in parts(pixels, PIXELS) {
            let laid_out = &mut laid_out[..taps * n];
            for (k, row) in laid_out.chunks_exact_mut(n).enumerate() {
                windows.copy(k, pixel, row);
            }
            let laid_out = &*laid_out;
            let task = |(w, out): (&[u32], &mut [u32])| {
                multiply(isa, w, taps, (laid_out, n), (out, pixels, pixel));
            };
            if parallel {
                let high = out_group.div_ceil(rayon::current_num_threads()).max(24);
                w.par_chunks(high * taps)
                    .zip(out.par_chunks_mut(high * pixels))
                    .for_each(task);
            } else {
                task((w, out));
            }
        }
    };
    if parallel {
        out.par_chunks_mut(out_group * pixels)
            .enumerate()
            .for_each(one);
    } else {
        out.chunks_mut(out_group * pixels).enumerate().for_each(one);
    }
}

/// Adds `a * b` to the columns of `out` from `column` on, whose rows are `stride` long.
fn multiply(
    isa: Isa,
    a: &[u32],
    inner: usize,
    (b, columns): (&[u32], usize),
    (out, stride, column): (&mut [u32], usize, usize),
) {
    let product = Product {
        a,
        inner,
        b,
        columns,
        out,
        stride,
        column,
    };
    match isa.0 {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512Ifma => dispatch(isa, With::<vnni::Vnni>(product, PhantomData)),
        // The compiler makes nothing good of these loops with AVX-512. Where that is, AVX2 is too.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => dispatch(Isa(Kind::Avx2), With::<Plain<4, 16>>(product, PhantomData)),
        _ => dispatch(isa, With::<Plain<4, 16>>(product, PhantomData)),
    }
}

struct Product<'a> {
    a: &'a [u32],
    inner: usize,
    b: &'a [u32],
    columns: usize,
    out: &'a mut [u32],
    stride: usize,
    column: usize,
}

/// A product by tiles of one kind.
struct With<'a, T>(Product<'a>, PhantomData<T>);

impl<T: Tile> Vectorised for With<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Product {
            a,
            inner,
            b,
            columns,
            out,
            stride,
            column,
        } = self.0;
        let rows = a.len() / inner;
        let steps = KC.min(inner).div_ceil(T::STEP);
        let left_words = steps * T::WORDS * T::M;
        let right_words = steps * T::WORDS * T::N;
        let panels = NC.min(columns).div_ceil(T::N);
        let mut left = Zeroizing::new(vec![0; left_words]);
        let mut right = Zeroizing::new(vec![0; panels * right_words]);
        let mut tile = Zeroizing::new(vec![0; T::M * T::N]);
        for (j0, width) in parts(columns, NC) {
            for (k0, kc) in parts(inner, KC) {
                let steps = kc.div_ceil(T::STEP);
                for ((j, n), right) in parts(width, T::N).zip(right.chunks_exact_mut(right_words)) {
                    right.fill(0);
                    for (step, cell) in right
                        .chunks_exact_mut(T::WORDS * T::N)
                        .enumerate()
                        .take(steps)
                    {
                        for i in 0..n {
                            let mut x = [0; 2];
                            for (k, x) in (k0 + step * T::STEP..k0 + kc).zip(&mut x[..T::STEP]) {
                                *x = b[k * columns + j0 + j + i];
                            }
                            T::right(&x, |word, v| cell[word * T::N + i] = v);
                        }
                    }
                }
                for (i, m) in parts(rows, T::M) {
                    left.fill(0);
                    for r in 0..m {
                        let row = &a[(i + r) * inner + k0..][..kc];
                        let cells = left.chunks_exact_mut(T::WORDS * T::M);
                        for (cell, x) in cells.zip(row.chunks(T::STEP)) {
                            let x = [x[0], x.get(1).copied().unwrap_or(0)];
                            T::left(&x, |word, v| cell[word * T::M + r] = v);
                        }
                    }
                    for ((j, n), right) in parts(width, T::N).zip(right.chunks_exact(right_words)) {
                        let used = steps * T::WORDS;
                        T::run(&left[..used * T::M], &right[..used * T::N], &mut tile);
                        for (r, tile) in tile.chunks_exact(T::N).enumerate().take(m) {
                            let out = &mut out[(i + r) * stride + column + j0 + j..][..n];
                            for (o, t) in out.iter_mut().zip(tile) {
                                *o = o.wrapping_add(*t);
                            }
                        }
                    }
                }
            }
        }
    }
}
